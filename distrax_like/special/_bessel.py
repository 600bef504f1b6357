"""Modified Bessel functions of real order, exponentially scaled, their logarithms and a ratio, for every argument."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from distrax_like._misc import Numeric, promote
from distrax_like.special._bessel_i import i, log_i, ratio
from distrax_like.special._bessel_k import k, k_damped, log_k
from distrax_like.special._compensated import Values, log1p


def _sine(v: Values) -> Values:
    """2 sin(π v) / π, with its digits near whole numbers."""
    n = jax.lax.stop_gradient(jnp.round(v))
    f = v - n
    return jnp.where(n % 2 == 0, 2, -2) * f * jnp.sinc(f)


def _added(v: Values, x: Values) -> Values:
    other, sine = k_damped(jnp.where(v < 0, -v, v), x), _sine(v)
    return jnp.where((v >= 0) | ((sine == 0) & jnp.isinf(other)), 0, -sine * other)


def _log_added(v: Values, x: Values, own: Values) -> Values:
    """log(1 + what is added to I / I)."""
    minus = v < 0
    sine, log = jnp.where(minus, -_sine(v), 0), jnp.where(minus, log_k(jnp.where(minus, -v, v), x) - 2 * x - own, 0)
    size = jnp.log(jnp.abs(jnp.where(sine == 0, 1, sine)))
    far = (sine != 0) & (log + size > 0)
    near = log1p(sine * jnp.exp(jnp.where(far, 0, log)))
    total = jnp.where(far, log + size, 0)
    return jnp.where(far, total + log1p(jnp.sign(sine) * jnp.exp(-total)), near)


# The function of the second kind is computed for negative orders only.
def _signed_i(v: Values, x: Values) -> Values:
    return i(jnp.where(v < 0, -v, v), x) + jax.lax.cond(jnp.any(v < 0), _added, lambda v, x: jnp.zeros_like(x), v, x)


def _signed_log_i(v: Values, x: Values) -> Values:
    own = log_i(jnp.where(v < 0, -v, v), x)
    return own + jax.lax.cond(jnp.any(v < 0), _log_added, lambda v, x, own: jnp.zeros_like(x), v, x, own)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _evaluate(fn: Callable[..., Values], v: Values, x: Values, at_zero: Any, far_x: float, far_v: float) -> Values:
    """`fn` for finite v and 0 < x < inf, else its limits; the slopes at x = 0 are those at the smallest x."""
    known = jnp.isfinite(v) & jnp.isfinite(x)
    start = known & (x == 0) & jnp.isfinite(at_zero)
    inside = start | (known & (x > 0))
    smallest = 8 * float(jnp.finfo(x.dtype).tiny)
    value = fn(jnp.where(inside, v, 1), jnp.where(inside, jnp.where(start, x + smallest, x), 1))
    limit = jnp.where(start, value - jax.lax.stop_gradient(value) + at_zero, at_zero)
    edge = jnp.where(jnp.isinf(x) & (x > 0) & jnp.isfinite(v), far_x, jnp.where(jnp.isinf(v) & (x > 0), far_v, jnp.nan))
    edge = jnp.where(jnp.isinf(v) & jnp.isinf(x), jnp.nan, edge)
    return jnp.where(known & (x == 0), limit, jnp.where(inside, value, edge)).astype(x.dtype)


def _prepare(v: Numeric, x: Numeric) -> tuple[Values, Values]:
    v, x = jnp.broadcast_arrays(*promote(v, x))
    return v, x


def ive(v: Numeric, x: Numeric) -> Values:
    """The scaled modified Bessel function of the first kind, exp(-|x|) I_v(x), of real order.

    For orders v >= 0: the power series where √(v² + x²) is less than 40 (in single precision 12), with
    (x / 2)^v exp(-x) / Γ(v + 1) from an exponent in doubled precision and Stirling's error term; else the uniform
    expansion in 1 / √(v² + x²), whose exponent is in doubled precision too. Negative orders by
    I_-v = I_v + 2 / π sin(π v) K_v.

    Derivatives in both arguments, of every order: those of the logarithm times the value, see `log_ive`.
    Error at most 8 ulp in both widths, of the derivatives 40 (float32) and 290 (float64) but near their zeros;
    over |v| <= 1e4 and x <= 1e30.

    **Arguments:** `v`, `x`: shapes that broadcast; x < 0 for whole v only. **Returns:** the broadcast shape; 1 at
    v = x = 0, ±`inf` at x = 0 for negative v that are not whole; NaN for x < 0 unless v is whole.

    DLMF 10.25, 10.27, 10.41; F. Olver, Asymptotics and Special Functions (1974).
    """
    v, x = _prepare(v, x)
    whole = v == jnp.round(v)
    infinite = jnp.where(whole, 0, jnp.sign(_sine(-v)) * jnp.inf)
    at_zero = jnp.where(v == 0, 1, jnp.where(v > 0, 0, infinite)).astype(x.dtype)
    mirrored = x < 0
    value = _evaluate(_signed_i, v, jnp.where(mirrored, -x, x), at_zero, 0.0, 0.0)
    return value * jnp.where(mirrored, jnp.where(whole, jnp.where(v % 2 == 0, 1, -1), jnp.nan), 1)


def log_ive(v: Numeric, x: Numeric) -> Values:
    """log(exp(-x) I_v(x)) for x >= 0, also where that underflows; see `ive`.

    The derivative in x is I_v+1 / I_v + v / x - 1 with the continued fraction of the ratio, or that of the uniform
    expansion. The derivative in v, before the uniform expansion holds, is that of the power series for x < 1; above,
    for v >= 1 / 4, from I_v K_v (x I_v' / I_v - x K_v' / K_v) = 1 with K by its integral; and for smaller v from the
    parts of I that are even and odd in v.

    Error at most 4 ulp (float32) and 14 ulp (float64); of the derivatives 40 and 440,
    besides a few epsilon near the zeros of the derivative in x, which are near x = v².

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape; -`inf` at x = 0 < v, NaN for x < 0
    and where I_v is negative, which happens for v < 0 only.
    """
    v, x = _prepare(v, x)
    infinite = jnp.where(_sine(-v) > 0, jnp.inf, jnp.nan)
    at_zero = jnp.where(v == 0, 0, jnp.where((v > 0) | (v == jnp.round(v)), -jnp.inf, infinite)).astype(x.dtype)
    return _evaluate(_signed_log_i, v, x, at_zero, -jnp.inf, -jnp.inf)


def kve(v: Numeric, x: Numeric) -> Values:
    """The scaled modified Bessel function of the second kind, exp(x) K_v(x), of real order, for x >= 0.

    By N. Temme's series and the recurrence in the order for x < 3/4 and |v| < 7.5; by the uniform expansion where
    √(v² + x²) is at least 40 (in single precision 12); else the integral ∫ exp(v t - x cosh t) dt / 2 by the
    trapezoidal rule around the saddle point t = asinh(v / x), with positive terms only. The value at the saddle point
    is the exponential of a number in doubled precision.

    Derivatives in both arguments, of every order: those of the logarithm times the value, see `log_kve`.
    Error at most 5 ulp (float32) and 11 ulp (float64), of the derivatives 25 and 45; over |v| <= 1e4 and x <= 1e30.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape; `inf` at 0, NaN for x < 0.

    N. Temme, J. Comput. Phys. 19 (1975); DLMF 10.32, 10.41.
    """
    v, x = _prepare(v, x)
    return _evaluate(k, jnp.where(v < 0, -v, v), x, jnp.full_like(x, jnp.inf), 0.0, jnp.inf)


def log_kve(v: Numeric, x: Numeric) -> Values:
    """log(exp(x) K_v(x)) for x >= 0, also where that overflows; see `kve`.

    The derivatives are means of the integral: of 1 - cosh t in x, and of t in v, taken apart so that nothing cancels.

    Error at most 8 ulp (float32) and 13 ulp (float64), besides 3 epsilon near zeros; of the derivatives 20 and 42.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape; `inf` at 0, NaN for x < 0.
    """
    v, x = _prepare(v, x)
    return _evaluate(log_k, jnp.where(v < 0, -v, v), x, jnp.full_like(x, jnp.inf), -jnp.inf, jnp.inf)


def iv_ratio(v: Numeric, x: Numeric) -> Values:
    """I_v(x) / I_(v-1)(x) for v >= 0 and x >= 0: TFP's `bessel_iv_ratio`.

    The mean length of a von Mises-Fisher vector in 2 v dimensions of concentration x. A continued fraction from a bound
    of D. Amos's type where √(v² + x²) is less than 40 (in single precision 12), else x / (x d/dx log I_v + v) by the
    uniform expansion. Derivatives follow each; in x that of the expansion is put so that nothing cancels.

    Error at most 3 ulp in both widths; of the derivatives 45 (float32) and 430 (float64) for v > 1/2, and besides a few
    epsilon below, where that in x may vanish.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape, 0 at x = 0 and 1 at `inf`; NaN
    outside.

    D. Amos, Math. Comput. 28 (1974); W. Gautschi and J. Slavik, Math. Comput. 32 (1978).
    """
    v, x = _prepare(v, x)
    at_zero = jnp.where(v > 0, 0, jnp.where(v == 0, jnp.inf, jnp.nan)).astype(x.dtype)
    return _evaluate(ratio, jnp.where(v >= 0, v, jnp.nan), x, at_zero, 1.0, 0.0)
