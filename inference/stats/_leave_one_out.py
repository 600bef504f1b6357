"""Sums and means of exponentials with one term left out or replaced."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._arguments import checked
from distrax_like._misc import Numeric, promote
from distrax_like.math import log_cumsum_exp

from ._arrays import Axis, as_axes, flatten_axes

Two = tuple[Float[Array, "..."], Float[Array, "..."]]


@checked
def log_loosum_exp(logx: Numeric, axis: Axis = None, keepdims: bool = False) -> Two:
    """log Σ_{j ≠ i} exp(logx_j) for each i, and log Σ_j exp(logx_j), over some axes.

    The sums before and after i are added, so that nothing cancels where one term is much larger than the others.

    **Returns:** the shape of `logx`, and it without the axes (of length 1 where `keepdims`).
    """
    left_out, _, total, _ = _leave_one_out(logx, axis, keepdims)
    return left_out, total


@checked
def log_loomean_exp(logx: Numeric, axis: Axis = None, keepdims: bool = False) -> Two:
    """The logs of means in place of the sums of `log_loosum_exp`."""
    left_out, _, total, n = _leave_one_out(logx, axis, keepdims)
    return left_out - jnp.log(jnp.maximum(n - 1, 1)), total - jnp.log(n)


@checked
def log_soosum_exp(logx: Numeric, axis: Axis = None, keepdims: bool = False) -> Two:
    """`log_loosum_exp`, with the geometric mean of the others in place of the term left out."""
    left_out, log_mean, total, _ = _leave_one_out(logx, axis, keepdims)
    return jnp.logaddexp(left_out, log_mean), total


@checked
def log_soomean_exp(logx: Numeric, axis: Axis = None, keepdims: bool = False) -> Two:
    """`log_loomean_exp`, with the geometric mean of the others in place of the term left out."""
    left_out, log_mean, total, n = _leave_one_out(logx, axis, keepdims)
    return jnp.logaddexp(left_out, log_mean) - jnp.log(n), total - jnp.log(n)


def _leave_one_out(logx: Numeric, axis: Axis, keepdims: bool) -> tuple[Array, Array, Array, Array]:
    """log Σ and the mean of the others for each term, log Σ of all, and the number of terms."""
    logx = promote(logx)
    return _compute(logx, as_axes(axis, logx.ndim), keepdims)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _compute(logx: Array, axes: tuple[int, ...], keepdims: bool) -> tuple[Array, Array, Array, Array]:
    moved = jnp.moveaxis(logx, axes, range(len(axes)))
    x = flatten_axes(logx, axes)
    n = x.shape[0]

    def others(cumulate: Any, add: Any, nothing: float) -> Array:
        edge = jnp.full_like(x[:1], nothing)
        before = jnp.concatenate([edge, cumulate(x)[:-1]])
        after = jnp.concatenate([cumulate(x[::-1])[:-1][::-1], edge])
        return jnp.moveaxis(jnp.reshape(add(before, after), moved.shape), range(len(axes)), axes)

    sums = others(lambda z: log_cumsum_exp(z, 0), jnp.logaddexp, -jnp.inf)
    means = others(lambda z: jnp.cumsum(z, 0), jnp.add, 0.0) / (n - 1) if n > 1 else jnp.full_like(logx, jnp.nan)
    total = log_cumsum_exp(x, 0)[-1]
    return sums, means, jnp.expand_dims(total, axes) if keepdims else total, jnp.asarray(n, logx.dtype)
