"""What the statistics share: accurate centring, axes, autocovariances, and draws as arrays."""

import math
import operator
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree, Shaped

from distrax_like._misc import (
    Checked,
    Numeric,
    as_count,
    at_least_single,
    check_numbers,
    default_float,
    describe,
    promote,
)
from distrax_like.inference._devices import num_cores

Axis = Annotated[int | Sequence[int] | None, Checked(lambda x, who: _check_axis(x, who))]

#: Numbers that may be complex.
Numbers = Annotated[Numeric, Checked(lambda x, who: _check_complex(x, who))]


def _check_axis(axis: Any, who: str) -> None:
    for i in () if axis is None else axis if isinstance(axis, Sequence) and not isinstance(axis, str) else (axis,):
        as_count(i, who, least=-(2**31))


def _check_complex(x: Any, who: str) -> None:
    if not (isinstance(x, complex) or (isinstance(x, jax.Array | np.ndarray) and jnp.iscomplexobj(x))):
        check_numbers(x, who)

#: Arrays of JAX, which may be traced, or of NumPy.
Either = Shaped[Array | np.ndarray, "..."]

# A statistic of many numbers is computed on the host for about as many draws at a time.
_DRAWS_AT_ONCE = 2**17


def namespace(x: Either | np.generic) -> Any:
    """`numpy` for arrays of its own, else `jax.numpy`: one formula serves both."""
    return np if isinstance(x, np.ndarray | np.generic) else jnp


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


def center(x: Either, axis: int | tuple[int, ...] | None) -> Any:
    """`x` minus its mean over the axes.

    The mean of many numbers far from 0 has a rounding error, which is the mean of the differences and subtracted too.
    """
    x = x - rounded_mean(x, axis)
    return x - namespace(x).mean(x, axis, keepdims=True)


def rounded_mean(x: Either, axis: int | tuple[int, ...] | None) -> Any:
    """The mean, with axes of length 1, rounded in the same way wherever it is used.

    Compilers may fuse its division with a subtraction that follows, in one place and not in another. The two results
    would differ by an ulp of the mean, as much as `center` has to correct. Compilers do not fuse across `where`.
    """
    xp = namespace(x)
    mean = xp.mean(x, axis, keepdims=True)
    return xp.where(xp.isfinite(mean), mean, 0)


def flatten_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """The given axes as one axis in front."""
    x = jnp.moveaxis(x, axes, range(len(axes)))
    return jnp.reshape(x, (math.prod(x.shape[: len(axes)]), *x.shape[len(axes) :]))


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


def lagged_products(x: Either, lags: int, average: Callable[[Any], Any] = lambda power: power) -> Any:
    """Σ_i x[i + k] conj(x[i]) along axis 0 for k < lags. `average` is applied to the spectrum and must be linear."""
    xp, length = namespace(x), fast_length(x.shape[0] + lags)
    if xp.iscomplexobj(x):
        spectrum = xp.fft.fft(x, length, axis=0)
        return xp.fft.ifft(average(spectrum * xp.conj(spectrum)), axis=0)[:lags]
    spectrum = xp.fft.rfft(x, length, axis=0)
    power = average(xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2)
    return xp.fft.irfft(power, length, axis=0)[:lags]


def check_draws(draws: PyTree, who: str) -> None:
    """**Raises:** `TypeError` where a part of a pytree is no array of real numbers, `ValueError` where it is empty."""
    for x in jax.tree.leaves(draws, is_leaf=lambda x: x is None):
        check_numbers(x, who)
        if not np.shape(x)[:1] or np.shape(x)[0] == 0:
            raise ValueError(f"{who} must have draws along the first axis, got shape {np.shape(x)}")


def map_draws(fn: Callable[[Any], Any], draws: PyTree, who: str, ndim: int = 2) -> PyTree:
    """`fn` of every leaf of `draws`, as floats, after a check that it has axes of draws and chains.

    Where the draws are concrete and on the host `fn` gets NumPy arrays in double precision, with one axis behind those
    of draws and chains, and nothing is compiled; else JAX arrays of at least 32 bits.

    **Arguments:** `ndim`: how many axes a leaf must have; `fn` takes all further axes as those of an event.
    """

    if not jax.tree.leaves(draws, is_leaf=lambda x: x is None):
        raise TypeError(f"{who} takes draws, an array or a pytree of arrays, got {describe(draws)}")

    def one(x: Numeric) -> Array:
        check_numbers(x, f"{who}: draws")
        x = x if isinstance(x, np.ndarray) and x.dtype.kind in "fiub" else promote(x)
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
        dtype = at_least_single(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else default_float())
        if not _is_on_host(x):
            return fn(x.astype(dtype))
        event = x.shape[ndim:]
        columns = np.reshape(np.asarray(x), (*x.shape[:ndim], math.prod(event)))
        size = max(1, _DRAWS_AT_ONCE // max(1, math.prod(x.shape[:ndim])))

        def part(i: int) -> Any:
            with np.errstate(all="ignore"):
                return fn(columns[..., i : i + size].astype(float))

        starts = range(0, max(columns.shape[-1], 1), size)
        if len(starts) == 1:
            parts = [part(0)]
        else:
            # Sorting and transforms, which take the time, do not hold Python's lock.
            with ThreadPoolExecutor(num_cores()) as pool:
                parts = list(pool.map(part, starts))
        out = np.concatenate(parts, axis=-1)
        return jnp.asarray(np.reshape(out, (*out.shape[:-1], *event)), jax.dtypes.canonicalize_dtype(dtype))

    return jax.tree.map(one, draws, is_leaf=lambda x: x is None or (isinstance(x, list) and _is_numbers(x)))


def _is_on_host(x: Array | np.ndarray) -> bool:
    if isinstance(x, np.ndarray):
        return True
    return not isinstance(x, Tracer) and x.is_fully_addressable and all(d.platform == "cpu" for d in x.devices())


def _is_numbers(x: Any) -> bool:
    while isinstance(x, list) and x:
        x = x[0]
    return isinstance(x, bool | int | float)
