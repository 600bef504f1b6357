"""Modified Bessel functions of real order, exponentially scaled, their logarithms and a ratio, for every argument."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from distrax_like._misc import Numeric, Real, promote

from ._bessel_i import i, log_i, ratio, sine
from ._bessel_k import k, log_k


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _evaluate(fn: Callable[..., Real], v: Real, x: Real, at_zero: Any, far_x: float, far_v: float) -> Real:
    """`fn` for finite v and 0 < x < inf, else its limits; the derivatives at x = 0 are those at the smallest x."""
    known = jnp.isfinite(v) & jnp.isfinite(x)
    start = known & (x == 0) & jnp.isfinite(at_zero)
    inside = start | (known & (x > 0))
    smallest = 8 * float(jnp.finfo(x.dtype).tiny)
    value = fn(jnp.where(inside, v, 1), jnp.where(inside, jnp.where(start, x + smallest, x), 1))
    limit = jnp.where(start, value - jax.lax.stop_gradient(value) + at_zero, at_zero)
    edge = jnp.where(jnp.isinf(x) & (x > 0) & jnp.isfinite(v), far_x, jnp.where(jnp.isinf(v) & (x > 0), far_v, jnp.nan))
    edge = jnp.where(jnp.isinf(v) & jnp.isinf(x), jnp.nan, edge)
    return jnp.where(known & (x == 0), limit, jnp.where(inside, value, edge)).astype(x.dtype)


def _prepare(v: Numeric, x: Numeric) -> tuple[Real, Real]:
    v, x = jnp.broadcast_arrays(*promote(v, x))
    return v, x


def ive(v: Numeric, x: Numeric) -> Real:
    """The scaled modified Bessel function of the first kind, exp(-|x|) I_v(x), of real order.

    For orders v >= 0 where √(v² + x²) is less than 40 (in single precision 12) by I_v (x K_v+1 + x r K_v) = 1, without
    cancellation: K as in `kve`, r = I_v+1 / I_v by its continued fraction. Else by the uniform expansion in
    1 / √(v² + x²). The leading factor is the exponential of a number in doubled precision. Negative orders by
    I_-v = I_v + 2 / π sin(π v) K_v.

    Derivatives in both arguments, of every order: those of the logarithm times the value, see `log_ive`.
    Error at most 5 ulp (float32) and 8 ulp (float64), of the derivatives 18 and 97, besides 3 epsilon near the zeros
    of that in x, and 4 epsilon for negative orders, which have more; over |v| <= 1e4 and x <= 1e30.

    **Arguments:** `v`, `x`: shapes that broadcast; x < 0 for whole v only. **Returns:** the broadcast shape; 1 at
    v = x = 0, ±`inf` at x = 0 for negative v that are not whole; NaN for x < 0 unless v is whole.

    DLMF 10.25, 10.27, 10.41; F. Olver, Asymptotics and Special Functions (1974).
    """
    v, x = _prepare(v, x)
    whole = v == jnp.round(v)
    infinite = jnp.where(whole, 0, jnp.sign(sine(-v)) * jnp.inf)
    at_zero = jnp.where(v == 0, 1, jnp.where(v > 0, 0, infinite)).astype(x.dtype)
    mirrored = x < 0
    value = _evaluate(i, v, jnp.where(mirrored, -x, x), at_zero, 0.0, 0.0)
    return value * jnp.where(mirrored, jnp.where(whole, jnp.where(v % 2 == 0, 1, -1), jnp.nan), 1)


def log_ive(v: Numeric, x: Numeric) -> Real:
    """log(exp(-x) I_v(x)) for x >= 0, also where that underflows; see `ive`.

    For v < 1 and x < 3 / 4 it is by a power series, accurate to full relative precision where it is small.

    The derivative in x is I_v+1 / I_v + v / x - 1 with the continued fraction of the ratio, or that of the uniform
    expansion, which is used for derivatives with more terms from √(v² + x²) = 24 on (in single precision 9). The
    derivative in v before is that of I K (x I' / I - x K' / K) = 1, but for v < 1 and x >= 3 / 4 it is by quadrature of
    an integral over angles.

    Error at most 3 ulp (float32) and 6 ulp (float64); of the derivatives 12 and 73, besides 3 epsilon near the zeros
    of the derivative in x, which are near x = v² for large v and near x = v for small.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape; -`inf` at x = 0 < v, NaN for x < 0
    and where I_v is negative, which happens for v < 0 only.
    """
    v, x = _prepare(v, x)
    infinite = jnp.where(sine(-v) > 0, jnp.inf, jnp.nan)
    at_zero = jnp.where(v == 0, 0, jnp.where((v > 0) | (v == jnp.round(v)), -jnp.inf, infinite)).astype(x.dtype)
    return _evaluate(log_i, v, x, at_zero, -jnp.inf, -jnp.inf)


def kve(v: Numeric, x: Numeric) -> Real:
    """The scaled modified Bessel function of the second kind, exp(x) K_v(x), of real order, for x >= 0.

    By N. Temme's series and the recurrence in the order for x < 3/4 and |v| < 7.5; by the uniform expansion where
    √(v² + x²) is at least 40 (in single precision 12); else the integral ∫ exp(v t - x cosh t) dt / 2 by the
    trapezoidal rule around the saddle point t = asinh(v / x), with positive terms only. The value at the saddle point
    is the exponential of a number in doubled precision.

    Derivatives in both arguments, of every order: those of the logarithm times the value, see `log_kve`.
    Error at most 5 ulp (float32) and 10 ulp (float64), of the derivatives 26 and 34; over |v| <= 1e4 and x <= 1e30.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape; `inf` at 0, NaN for x < 0.

    N. Temme, J. Comput. Phys. 19 (1975); DLMF 10.32, 10.41.
    """
    v, x = _prepare(v, x)
    return _evaluate(k, jnp.where(v < 0, -v, v), x, jnp.full_like(x, jnp.inf), 0.0, jnp.inf)


def log_kve(v: Numeric, x: Numeric) -> Real:
    """log(exp(x) K_v(x)) for x >= 0, also where that overflows; see `kve`.

    The derivatives are means of the integral: of 1 - cosh t in x, and of t in v, taken apart so that nothing cancels.

    Error at most 8 ulp (float32) and 14 ulp (float64), besides 3 epsilon near zeros; of the derivatives 20 and 42.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape; `inf` at 0, NaN for x < 0.
    """
    v, x = _prepare(v, x)
    return _evaluate(log_k, jnp.where(v < 0, -v, v), x, jnp.full_like(x, jnp.inf), -jnp.inf, jnp.inf)


def iv_ratio(v: Numeric, x: Numeric) -> Real:
    """I_v(x) / I_(v-1)(x) for v >= 0 and x >= 0: TFP's `bessel_iv_ratio`.

    The mean length of a von Mises-Fisher vector in 2 v dimensions of concentration x. A continued fraction from a bound
    of D. Amos's type where √(v² + x²) is less than 24 (in single precision 9), else x / (x d/dx log I_v + v) by the
    uniform expansion. Derivatives follow each; in x that of the expansion is put so that nothing cancels.

    Error at most 3 ulp in both widths; of the derivatives 37 (float32) and 130 (float64) for v > 1/2, and besides a few
    epsilon below, where that in x may vanish.

    **Arguments:** `v`, `x`: shapes that broadcast. **Returns:** the broadcast shape, 0 at x = 0 and 1 at `inf`; NaN
    outside.

    D. Amos, Math. Comput. 28 (1974); W. Gautschi and J. Slavik, Math. Comput. 32 (1978).
    """
    v, x = _prepare(v, x)
    at_zero = jnp.where(v > 0, 0, jnp.where(v == 0, jnp.inf, jnp.nan)).astype(x.dtype)
    return _evaluate(ratio, jnp.where(v >= 0, v, jnp.nan), x, at_zero, 1.0, 0.0)
