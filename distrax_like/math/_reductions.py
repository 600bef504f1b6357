"""Sums and means of exponentials, compensated sums, and a differentiable sort."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, Real, promote
from distrax_like.special._compensated import two_sum

Axis = int | Sequence[int] | None


def log_cumsum_exp(x: Numeric, axis: int = -1) -> Real:
    """log Σ_{j <= i} exp(x_j) along an axis. **Returns:** the shape of `x`; `-inf` where all of these terms are.

    It is an associative scan of pairs (maximum, sum), so that leading terms of `-inf` do not make gradients NaN.
    """
    x = promote(x)
    # A maximum of -inf would give NaN in the difference to it.
    top = jax.lax.stop_gradient(jax.lax.cummax(x, axis=axis % x.ndim))
    shift = jnp.where(jnp.isfinite(top), top, 0)

    def add(left: tuple[Real, Real], right: tuple[Real, Real]) -> tuple[Real, Real]:
        high = jnp.maximum(left[0], right[0])
        return high, left[1] * jnp.exp(left[0] - high) + right[1] * jnp.exp(right[0] - high)

    # Each sum is relative to the running maximum.
    level, total = jax.lax.associative_scan(add, (shift, jnp.exp(x - shift)), axis=axis % x.ndim)
    safe = jnp.where(total == 0, 1, total)
    return jnp.where(total == 0, -jnp.inf, level + jnp.log(safe))


def _axes(axis: Axis) -> int | tuple[int, ...] | None:
    return tuple(axis) if isinstance(axis, Sequence) else axis


def reduce_weighted_logsumexp(
    logx: Numeric, w: Numeric | None = None, axis: Axis = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log|Σ w exp(logx)| over the axes; with `return_sign` also the sign of the sum, without it NaN for a negative sum.

    Where all of `logx` is `-inf`, so is the result, with a gradient of 0.

    **Arguments:** `logx`: any shape; `w`: weights of any sign, a shape that broadcasts with it; `axis`: one, several or
    (None) all axes.
    """
    terms, weights = promote(logx, w)
    # The derivative of JAX's function is 0 / 0 there.
    empty = jnp.all(terms == -jnp.inf, axis=_axes(axis), keepdims=True)
    safe = jnp.where(empty, 0, terms)
    out, sign = jsp.logsumexp(safe, axis=_axes(axis), b=weights, keepdims=keepdims, return_sign=True)
    empty = jnp.reshape(empty, out.shape)
    out, sign = jnp.where(empty, -jnp.inf, out), jnp.where(empty, 0, sign)
    return (out, sign) if return_sign else jnp.where(sign < 0, jnp.nan, out)


def reduce_logmeanexp(logx: Numeric, axis: Axis = None, keepdims: bool = False) -> Real:
    """log of the mean of exp(logx) over the axes."""
    logx = promote(logx)
    total = reduce_weighted_logsumexp(logx, axis=axis, keepdims=keepdims)
    return total - jnp.log(jnp.asarray(logx.size // max(total.size, 1), logx.dtype))


def reduce_log_harmonic_mean_exp(logx: Numeric, axis: Axis = None, keepdims: bool = False) -> Real:
    """log of the harmonic mean of exp(logx) over the axes: minus `reduce_logmeanexp` of -logx."""
    return -reduce_logmeanexp(-promote(logx), axis, keepdims)


class KahanSum(NamedTuple):
    """A rounded sum and the correction of its rounding error: the accurate sum is `total + correction`."""

    total: Real
    correction: Real


def reduce_kahan_sum(x: Numeric, axis: Axis = None, keepdims: bool = False) -> KahanSum:
    """The sum over the axes, and separately the sum of the rounding errors of its additions.

    One half is added to the other until one element is left, and the rounding error of each addition is computed
    exactly. The correction is the plain sum of these errors, so the result is as if computed in twice the precision and
    rounded. Its gradient is that of a sum.

    T. Ogita, S. Rump and S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005).
    """
    x = promote(x)
    given = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(i % x.ndim for i in given)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    flat = jnp.reshape(jnp.transpose(x, rest + axes), (*(x.shape[i] for i in rest), -1))
    total, correction = _pairwise(flat)
    if keepdims:
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        total, correction = jnp.reshape(total, shape), jnp.reshape(correction, shape)
    return KahanSum(total, correction)


def _pairwise(x: Float[Array, "... n"]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    lost = jnp.zeros_like(x)
    while x.shape[-1] > 1:
        odd = [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] % 2)]
        x, lost = jnp.pad(x, odd), jnp.pad(lost, odd)
        half = x.shape[-1] // 2
        x, error = two_sum(x[..., :half], x[..., half:])
        lost = lost[..., :half] + lost[..., half:] + error
    return (x[..., 0], lost[..., 0]) if x.shape[-1] else (jnp.sum(x, -1), jnp.sum(x, -1))


def soft_sorting_matrix(x: Numeric, temperature: Numeric) -> Float[Array, "... n n"]:
    """A matrix whose rows sum to 1 and which, as temperature goes to 0, puts `x` in descending order.

    Row i is softmax(((n - 1 - 2 i) x - Σ_j |x - x_j|) / temperature), for i from 0.

    A. Grover, E. Wang, A. Zweig and S. Ermon, Stochastic optimization of sorting networks via continuous relaxations
    (2019).
    """
    x, temperature = promote(x, temperature)
    n = x.shape[-1]
    spread = jnp.sum(jnp.abs(x[..., :, None] - x[..., None, :]), -1)
    scale = n - 1 - 2 * jnp.arange(n, dtype=x.dtype)
    return jax.nn.softmax((scale[:, None] * x[..., None, :] - spread[..., None, :]) / temperature[..., None, None], -1)
