"""What the statistics share: accurate centring, axes, autocovariances, and draws as arrays."""

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from distrax_like._misc import Checked, Numeric, as_count, at_least_single, check_numbers, describe, promote

Axis = Annotated[int | Sequence[int] | None, Checked(lambda x, who: _check_axis(x, who))]

#: Numbers that may be complex.
Numbers = Annotated[Numeric, Checked(lambda x, who: _check_complex(x, who))]


def _check_axis(axis: Any, who: str) -> None:
    for i in () if axis is None else axis if isinstance(axis, Sequence) and not isinstance(axis, str) else (axis,):
        as_count(i, who, least=-(2**31))


def _check_complex(x: Any, who: str) -> None:
    if not (isinstance(x, complex) or (isinstance(x, jax.Array | np.ndarray) and jnp.iscomplexobj(x))):
        check_numbers(x, who)


def as_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes, all of them for `None`, as a sorted tuple of numbers that are not negative."""
    if axis is None:
        return tuple(range(ndim))
    axes = [operator.index(i) for i in np.atleast_1d(axis)]
    for i in axes:
        if not -ndim <= i < ndim:
            raise ValueError(f"axis {i} is out of range for an array of {ndim} dimensions")
    out = tuple(sorted(i % ndim for i in axes))
    if len(set(out)) != len(out):
        raise ValueError(f"axes must differ, got {axis!r}")
    return out


def as_numbers(x: Any) -> Array:
    """`x` as real floats; complex numbers stay as they are."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.complexfloating) else promote(x)


def center(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """`x` minus its mean over the axes.

    The mean of many numbers far from 0 has a rounding error, which is the mean of the differences and subtracted too.
    """
    x = x - rounded_mean(x, axis)
    return x - jnp.mean(x, axis, keepdims=True)


def rounded_mean(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """The mean, with axes of length 1, rounded in the same way wherever it is used.

    Compilers may fuse its division with a subtraction that follows, in one place and not in another. The two results
    would differ by an ulp of the mean, as much as `center` has to correct. Compilers do not fuse across `where`.
    """
    mean = jnp.mean(x, axis, keepdims=True)
    return jnp.where(jnp.isfinite(mean), mean, 0)


def flatten_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """The given axes as one axis in front."""
    x = jnp.moveaxis(x, axes, range(len(axes)))
    return jnp.reshape(x, (-1, *x.shape[len(axes) :]))


def fast_length(n: int) -> int:
    """The smallest product of 2s, 3s and 5s that is at least `n`, since Fourier transforms of such lengths are fast."""
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
    """Σ_i x[i + k] conj(x[i]) along axis 0 for k < lags. `average` is applied to the spectrum and must be linear."""
    length = fast_length(x.shape[0] + lags)
    if jnp.iscomplexobj(x):
        spectrum = jnp.fft.fft(x, length, axis=0)
        return jnp.fft.ifft(average(spectrum * jnp.conj(spectrum)), axis=0)[:lags]
    spectrum = jnp.fft.rfft(x, length, axis=0)
    power = average(jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2)
    return jnp.fft.irfft(power, length, axis=0)[:lags]


def check_draws(draws: PyTree, who: str) -> None:
    """**Raises:** `TypeError` where a part of a pytree is no array of real numbers, `ValueError` where it is empty."""
    for x in jax.tree.leaves(draws, is_leaf=lambda x: x is None):
        check_numbers(x, who)
        if not np.shape(x)[:1] or np.shape(x)[0] == 0:
            raise ValueError(f"{who} must have draws along the first axis, got shape {np.shape(x)}")


def map_draws(fn: Callable[[Array], Array], draws: PyTree, who: str, ndim: int = 2) -> PyTree:
    """`fn` of every leaf of `draws`, as floats, after a check that it has axes of draws and chains."""

    if not jax.tree.leaves(draws, is_leaf=lambda x: x is None):
        raise TypeError(f"{who} takes draws, an array or a pytree of arrays, got {describe(draws)}")

    def one(x: Numeric) -> Array:
        check_numbers(x, f"{who}: draws")
        x = promote(x)
        x = x.astype(at_least_single(x.dtype))
        if x.ndim < ndim:
            raise ValueError(
                f"{who} takes draws of shape (draw, chain, ...), got shape {x.shape}"
                + (": for one chain write draws[:, None]" if x.ndim == 1 else "")
            )
        if 0 in x.shape[:ndim]:
            raise ValueError(f"{who} needs at least one draw of one chain, got shape {x.shape}")
        if not x.size:
            # There is nothing to compute for events of length zero; the shape is that of events of length one.
            like = jax.ShapeDtypeStruct((*x.shape[:ndim], *(n or 1 for n in x.shape[ndim:])), x.dtype)
            out = jax.eval_shape(fn, like)
            return jnp.zeros(x.shape[x.ndim - out.ndim :], out.dtype)
        return fn(x)

    return jax.tree.map(one, draws, is_leaf=lambda x: x is None or (isinstance(x, list) and _is_numbers(x)))


def _is_numbers(x: Any) -> bool:
    while isinstance(x, list) and x:
        x = x[0]
    return isinstance(x, bool | int | float)
