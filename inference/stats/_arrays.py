"""What the statistics share: centring that keeps the digits, axes, autocovariances, and draws as arrays."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from distrax_like._misc import Numeric, promote

Axis = int | Sequence[int] | None


def as_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes, all of them for `None`, as a sorted tuple of numbers that are not negative."""
    if axis is None:
        return tuple(range(ndim))
    axes = [operator.index(axis)] if np.ndim(axis) == 0 else [operator.index(i) for i in axis]  # type: ignore[arg-type, union-attr] # pyright: ignore
    for i in axes:
        if not -ndim <= i < ndim:
            raise ValueError(f"axis {i} is out of range for an array of {ndim} dimensions")
    out = tuple(sorted(i % ndim for i in axes))
    if len(set(out)) != len(out):
        raise ValueError(f"axes must differ, got {axis!r}")
    return out


def as_numbers(x: Any) -> Array:
    """`x` as real floats, or as it is where it is complex."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.complexfloating) else promote(x)


def center(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """`x` minus its mean over the axes.

    The mean of many numbers far from 0 has lost digits: the mean of what is left takes them back.
    """
    x = x - rounded_mean(x, axis)
    return x - jnp.mean(x, axis, keepdims=True)


def rounded_mean(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """The mean, kept of length 1, as one number wherever it is used.

    Compilers fuse its division with a subtraction after it, here and not there, and the two differ by an ulp of it: so
    much as two means taken one after the other would leave. A choice cannot be fused.
    """
    mean = jnp.mean(x, axis, keepdims=True)
    return jnp.where(jnp.isfinite(mean), mean, 0)


def flatten_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """The given axes in front, as one."""
    x = jnp.moveaxis(x, axes, range(len(axes)))
    return jnp.reshape(x, (-1, *x.shape[len(axes) :]))


def fast_length(n: int) -> int:
    """The smallest product of 2s, 3s and 5s that is at least `n`: transforms of that length are fast."""
    best = 1 << max(n - 1, 0).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            length = three << max(-(-n // three) - 1, 0).bit_length()
            best = min(best, length)
            three *= 3
        five *= 5
    return best


def lagged_products(x: Array, lags: int, average: Callable[[Array], Array] = lambda power: power) -> Array:
    """Σ_i x[i + k] conj(x[i]) along axis 0 for k < lags. `average` is applied to the spectrum: it must be linear."""
    length = fast_length(x.shape[0] + lags)
    if jnp.iscomplexobj(x):
        spectrum = jnp.fft.fft(x, length, axis=0)
        return jnp.fft.ifft(average(spectrum * jnp.conj(spectrum)), axis=0)[:lags]
    spectrum = jnp.fft.rfft(x, length, axis=0)
    power = average(jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2)
    return jnp.fft.irfft(power, length, axis=0)[:lags]


def map_draws(fn: Callable[[Array], Array], draws: PyTree, who: str, ndim: int = 2) -> PyTree:
    """`fn` of every leaf of `draws`, as floats, after a check that draws and chains are there."""

    def one(x: Numeric) -> Array:
        x = promote(x)
        if x.ndim < ndim:
            raise ValueError(
                f"{who} takes draws of shape (draw, chain, ...), got shape {x.shape}"
                + (": for one chain write draws[:, None]" if x.ndim == 1 else "")
            )
        return fn(x)

    return jax.tree.map(one, draws, is_leaf=lambda x: isinstance(x, list) and _is_numbers(x))


def _is_numbers(x: Any) -> bool:
    while isinstance(x, list) and x:
        x = x[0]
    return isinstance(x, bool | int | float)
