"""Elementary functions whose plain formulas lose digits, overflow, or have no gradient somewhere."""


import jax
import jax.numpy as jnp
import jax.scipy.special as jsp

from distrax_like._misc import Numeric, Real, promote

from ._compensated import log1p, set_derivatives, two_sum, with_derivatives
from ._log_series import log_and_deviance
from ._stirling import log_ratio, stirlerr

_log1mexp = with_derivatives(
    lambda x: jnp.where(
        jnp.abs(x) < 0.6931,
        jnp.log(-jnp.expm1(-jnp.minimum(jnp.abs(x), 0.6931))),
        log1p(-jnp.exp(-jnp.maximum(jnp.abs(x), 0.6931))),
    ),
    lambda x: jnp.where(x < 0, -1, 1) / jnp.expm1(jnp.abs(x)),
)


def log1mexp(x: Numeric) -> Real:
    """log(1 - exp(-|x|)), to full relative accuracy for small and for large x.

    It is log(-expm1(-|x|)) below log 2 and log1p(-exp(-|x|)) above. Error at most 3 ulp in both widths, of the
    derivative sign(x) / expm1(|x|) 3. **Returns:** `-inf` at 0, whose derivative is infinite.

    M. Mächler, Accurately computing log(1 - exp(-|a|)) (2012).
    """
    return _log1mexp(promote(x))


@jax.custom_jvp
def _log_sub_exp(x: Real, y: Real) -> Real:
    high, low = jnp.maximum(x, y), jnp.minimum(x, y)
    # Two equal infinities have no difference: e^-inf - e^-inf is 0, e^inf - e^inf is nothing.
    gap = jnp.where((high == low) | (high == -jnp.inf), 0, high - low)
    return jnp.where((high == jnp.inf) & (low == jnp.inf), jnp.nan, high + jnp.where(gap == 0, -jnp.inf, log1mexp(gap)))


set_derivatives(_log_sub_exp, lambda x, y: -1 / jnp.expm1(y - x), lambda x, y: -1 / jnp.expm1(x - y))


def log_sub_exp(x: Numeric, y: Numeric, return_sign: bool = False) -> Real | tuple[Real, Real]:
    """log|exp(x) - exp(y)|, and the sign of the difference where `return_sign`.

    It is max(x, y) + log1mexp(x - y). Error at most 1 ulp in both widths, besides an epsilon of max(|x|, 1) near
    zeros; of the derivatives 1 / (1 - exp(y - x)) and 1 / (1 - exp(x - y)) 4.

    **Arguments:** `x`, `y`: shapes that broadcast. **Returns:** the broadcast shape; `-inf` where x = y.
    """
    x, y = jnp.broadcast_arrays(*promote(x, y))
    out = _log_sub_exp(x, y)
    return (out, jnp.sign(x - y)) if return_sign else out


def _even_log_cosh(x: Real) -> Real:
    size = jnp.abs(x)
    small = jnp.minimum(size, 1)
    # cosh x - 1 without cancellation, from expm1.
    grown = jnp.expm1(small)
    tail = size - (jnp.log(2.0).astype(x.dtype) - jnp.log1p(jnp.exp(-2 * size)))
    return jnp.where(size < 1, jnp.log1p(grown * grown / (2 * (1 + grown))), tail)


_log_cosh = with_derivatives(_even_log_cosh, jnp.tanh)


def log_cosh(x: Numeric) -> Real:
    """log cosh x, for any x: log1p(cosh x - 1) for |x| < 1, else |x| + log1p(exp(-2 |x|)) - log 2.

    Error at most 5 ulp in both widths, of the derivative tanh x 3.
    """
    return _log_cosh(promote(x))


def _log1psquare_formula(x: Real) -> Real:
    size = jnp.abs(x)
    huge = size > 2.0**60
    square = x * x
    # Far out it is the logarithm of the square, which overflows.
    _, log, _ = log_and_deviance(square, jnp.where(huge, size, 1 + square))
    return jnp.where(jnp.isfinite(x), jnp.where(huge, 2, 1) * log, size)


_log1psquare = with_derivatives(
    _log1psquare_formula,
    lambda x: jnp.where(jnp.abs(x) < 1, 2 * x / (1 + x * x), 2 / (x + 1 / jnp.where(jnp.abs(x) < 1, 1, x))),
)


def log1psquare(x: Numeric) -> Real:
    """log(1 + x^2), where x^2 may overflow or be small beside 1.

    Error at most 2 ulp in both widths, of the derivative 2 x / (1 + x^2) 2.
    """
    return _log1psquare(promote(x))


_sqrt1pm1 = with_derivatives(
    lambda x: jnp.where(x == jnp.inf, jnp.inf, x / (1 + jnp.sqrt(1 + x))), lambda x: 0.5 / jnp.sqrt(1 + x)
)


def sqrt1pm1(x: Numeric) -> Real:
    """sqrt(1 + x) - 1 = x / (1 + sqrt(1 + x)), for x >= -1. Error at most 2 ulp, of the derivative 2; NaN below."""
    return _sqrt1pm1(promote(x))


_softplus_inverse = with_derivatives(
    # The first loses nothing near the zero at log 2, the second does not overflow.
    lambda x: jnp.where(x < 2, jnp.log(jnp.expm1(jnp.minimum(x, 2))), x + log1p(-jnp.exp(-jnp.maximum(x, 2)))),
    lambda x: -1 / jnp.expm1(-x),
)


def softplus_inverse(x: Numeric) -> Real:
    """log(exp(x) - 1), the inverse of softplus, for x >= 0.

    It is log(expm1(x)) below 2 and x + log1p(-exp(-x)) above, and neither overflows nor cancels. Error at most 3 ulp in
    both widths, besides 2 epsilon near its zero; of the derivative 1 / (1 - exp(-x)) 4. **Returns:** `-inf` at 0.
    """
    return _softplus_inverse(promote(x))


def xlogy(x: Numeric, y: Numeric) -> Real:
    """x log y, with 0 log 0 = 0 and a gradient of zero there, where JAX's gradient is NaN."""
    x, y = promote(x, y)
    return jsp.xlogy(x, jnp.where((x == 0) & (y == 0), 1, y))


def xlog1py(x: Numeric, y: Numeric) -> Real:
    """x log(1 + y), with 0 log 0 = 0 and a gradient of zero there, where JAX's gradient is NaN."""
    x, y = promote(x, y)
    return jsp.xlog1py(x, jnp.where((x == 0) & (y == -1), 0, y))


def mul0(x: Numeric, log_p: Numeric) -> Real:
    """x log_p with 0 times an infinity = 0, as in p log p or in a count times the logarithm of a probability.

    The derivatives are those of a product, log_p and x, but that in x is 0 where x is 0 and log_p infinite.

    **Arguments:** `x`, `log_p`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    x, log_p = promote(x, log_p)
    return x * jnp.where((x == 0) & jnp.isinf(log_p), 0, log_p)


@jax.custom_jvp
def _atan_difference(x: Real, y: Real) -> Real:
    # Divided by the larger of the two, which keeps 1 + x y from overflowing.
    swap = jnp.abs(x) > jnp.abs(y)
    small, big = jnp.where(swap, y, x), jnp.where(swap, x, y)
    scale = jnp.maximum(jnp.abs(big), 1)
    difference, lo = two_sum(x, -y)
    return jnp.arctan2((difference + lo) / scale, 1 / scale + small * (big / scale))


def _atan_derivative(x: Real) -> Real:
    # No square of a large number.
    size = jnp.abs(x)
    big = jnp.maximum(size, 1)
    return jnp.where(size > 1, 1 / big / (big + 1 / big), 1 / (1 + jnp.minimum(size, 1) ** 2))


set_derivatives(_atan_difference, lambda x, y: _atan_derivative(x), lambda x, y: -_atan_derivative(y))


def atan_difference(x: Numeric, y: Numeric) -> Real:
    """atan(x) - atan(y), accurate where x and y are close: atan2(x - y, 1 + x y), for any signs and sizes.

    Error at most 2 ulp in both widths, of the derivatives 1 / (1 + x^2) and -1 / (1 + y^2) 2.

    **Arguments:** `x`, `y`: shapes that broadcast. **Returns:** the broadcast shape, in [-π, π].
    """
    x, y = jnp.broadcast_arrays(*promote(x, y))
    return _atan_difference(x, y)


def log_combinations(n: Numeric, counts: Numeric) -> Real:
    """The log of the multinomial coefficient n! / Π k_i! of counts k that sum to n; they need not be whole.

    With Stirling's error δ it is Σ k log(n / k) + (log(2 π n) - Σ log(2 π k)) / 2 + δ(n) - Σ δ(k) over k > 0, in which
    large numbers do not cancel. Error at most 2 ulp, besides 16 epsilon near its zeros.

    **Arguments:** `n`: the totals, shape `(...)`; `counts`: shape `(..., k)`. **Returns:** the shape of `n`.
    """
    n, counts = promote(n, counts)
    none = counts == 0
    k = jnp.where(none, 1, counts)
    whole = jnp.where(n == 0, 1, n)
    # A single k of n gives exactly 0.
    terms = k * log_ratio(whole[..., None], k) - 0.5 * jnp.log(2 * jnp.pi * k) - stirlerr(k)
    total = jnp.sum(jnp.where(none, 0, terms), -1) + (0.5 * jnp.log(2 * jnp.pi * whole) + stirlerr(whole))
    return jnp.where(n == 0, 0, total)


def soft_threshold(x: Numeric, threshold: Numeric) -> Real:
    """sign(x) max(|x| - threshold, 0): the proximal operator of threshold |x|, for a threshold >= 0."""
    x, threshold = promote(x, threshold)
    return jnp.sign(x) * jax.nn.relu(jnp.abs(x) - threshold)


def clip_by_value_preserve_gradient(x: Numeric, low: Numeric, high: Numeric) -> Real:
    """x clipped to [low, high], with the gradient of x."""
    x, low, high = promote(x, low, high)
    return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)


def smootherstep(x: Numeric) -> Real:
    """6 x^5 - 15 x^4 + 10 x^3 for x in [0, 1], 0 below and 1 above: a step with two continuous derivatives."""
    x = jnp.clip(promote(x), 0, 1)
    return x**3 * (x * (6 * x - 15) + 10)


def round_exponential_bump_function(x: Numeric) -> Real:
    """exp(-x^2 / (1 - x^2)) for |x| < 1, else 0: smooth, 1 at 0, with support [-1, 1]."""
    x = promote(x)
    outside = jnp.abs(x) >= 1
    safe = jnp.where(outside, 0, x)
    return jnp.where(outside, 0, jnp.exp(-(safe**2) / ((1 - safe) * (1 + safe))))
