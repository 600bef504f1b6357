"""Rejection sampling of a whole batch at once, and numbers from random bits."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt

from distrax_like._misc import Numeric, Real, Shape, as_key, as_shape, promote

Bits = UInt[Array, "..."]
ShapeLike = int | tuple[int, ...] | list[int]
# Maps random bits of shape `(words, n)` and vectors of n parameters to proposals and the mask of those accepted.
Propose = Callable[..., tuple[tuple[Real, ...], Bool[Array, " n"]]]

# In batches up to this size rejected draws are not gathered: another proposal for all costs less than finding them.
_MAX_SIZE_WITHOUT_GATHERING = 1024

# Gathered draws are repeated in chunks of one part in 64 of the batch, but not below the least size. Short chunks were
# measured to be faster on a CPU, since a chunk repeats until its last draw is accepted.
_NUM_CHUNKS = 64
_MIN_CHUNK_SIZE = 256


def unit(bits: Bits, dtype: Any) -> Real:
    """Uniform numbers on (0, 1], with full relative precision near zero. All but one bit of a word are used."""
    width = bits.dtype.itemsize * 8
    # Without the lowest bit it is a nonnegative signed integer; processors convert those faster.
    return (_signed(bits >> 1).astype(dtype) + 0.5) * 2.0 ** (1 - width)


def symmetric(bits: Bits, dtype: Any) -> Real:
    """Uniform numbers on [-1, 1], with full relative precision near zero."""
    return (_signed(bits).astype(dtype) + 0.5) * 2.0 ** (1 - bits.dtype.itemsize * 8)


def normal(bits: Bits, dtype: Any) -> Real:
    """Standard normal numbers, one for each word, by inverting the distribution function."""
    limit = 1 - float(jnp.finfo(dtype).epsneg)
    return math.sqrt(2) * jax.lax.erf_inv(jnp.clip(symmetric(bits, dtype), -limit, limit))


def _signed(bits: Bits) -> Array:
    return jax.lax.bitcast_convert_type(bits, jnp.dtype(f"int{bits.dtype.itemsize * 8}"))


def word(dtype: Any) -> Any:
    """The unsigned type with as many bits as the floating `dtype`."""
    return jnp.dtype(f"uint{jnp.dtype(dtype).itemsize * 8}")


def prepare(
    who: str, key: Any, shape: Shape | Sequence[int] | int | None, dtype: Any, *params: Numeric, event: int = 0
) -> tuple[PRNGKeyArray, Shape, Any, tuple[Array, ...]]:
    """The key, the shape, the dtype of the result, and the parameters in the dtype to compute in (at least 32 bits).

    `event`: the number of trailing axes of the parameters that are not part of the shape.

    **Raises:** `ValueError` where the parameters do not broadcast to `shape`, `TypeError` for a dtype that is not
    floating.
    """
    arrays = promote(*params)
    arrays = (arrays,) if len(params) == 1 else arrays
    batch = jnp.broadcast_shapes(*(x.shape[: x.ndim - event] for x in arrays))
    full: Any = batch if shape is None else as_shape(shape)
    try:
        fits = jnp.broadcast_shapes(full, batch) == full
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{who}: parameters of shape {batch} do not broadcast to the shape {full} that was asked for")
    dtype = arrays[0].dtype if dtype is None else jax.dtypes.canonicalize_dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{who}: dtype must be a floating one, got {dtype}")
    wide = jnp.promote_types(dtype, jnp.finfo("single").dtype)
    return as_key(key, who), full, dtype, tuple(x.astype(wide) for x in arrays)


def flat(shape: Shape, *params: Array) -> tuple[Array, ...]:
    """The parameters broadcast to `shape`, as vectors without a gradient."""
    return tuple(jnp.broadcast_to(jax.lax.stop_gradient(x), shape).reshape(-1) for x in params)


def rejection(
    key: PRNGKeyArray,
    words: int,
    bits: Any,
    propose: Propose,
    *params: Float[Array, " n"],
    squeeze: Propose | None = None,
) -> tuple[Float[Array, " n"], ...]:
    """One accepted proposal for each of n elements.

    All elements get a first proposal in one pass over the batch. The rejected ones are gathered in short vectors, one
    after the other, for which proposals repeat until all are accepted; then they are scattered back.

    **Arguments:** `key`: a random key; `words`: the number of random words of type `bits` that a proposal takes;
    `propose`: maps bits of shape `(words, n)` and the parameters to a tuple of vectors and the mask of those accepted;
    `params`: vectors of length n; `squeeze`: a cheaper `propose` for the first pass, which makes the same proposals and
    accepts some of those that `propose` accepts.

    **Returns:** the tuple of vectors.
    """
    (n,) = params[0].shape

    def fresh(number: Any, size: int) -> Bits:
        return jax.random.bits(jax.random.fold_in(key, number), (words, size), bits)

    start = fresh(0, n)
    values, accepted = (squeeze or propose)(start, *params)

    def until_accepted(number, accepted, start, values, params):
        def body(state):
            number, accepted, bits, values = state
            new, good = propose(bits, *params)
            values = tuple(jnp.where(accepted, old, x) for old, x in zip(values, new))
            return number + 1, accepted | good, fresh(number, accepted.size), values

        state = jax.lax.while_loop(lambda state: ~jnp.all(state[1]), body, (number, accepted, start, values))
        return state[0], state[3]

    # After a squeeze the same proposals first take the full test.
    if n <= _MAX_SIZE_WITHOUT_GATHERING:
        again = start if squeeze else fresh(1, n)
        return until_accepted(2, accepted, again, values, params)[1]

    size = max(n // _NUM_CHUNKS, _MIN_CHUNK_SIZE)
    # rank[i] elements up to i are rejected, so the j-th rejected element is the first of rank j.
    rank = jnp.cumsum(~accepted, dtype=jnp.int32)

    def chunk(state):
        done, number, values = state
        where = jnp.searchsorted(rank, done + 1 + jnp.arange(size, dtype=jnp.int32))
        inside = jnp.minimum(where, n - 1)
        again = start[:, inside] if squeeze else fresh(number, size)
        number, new = until_accepted(
            number + 1, where >= n, again, tuple(x[inside] for x in values), tuple(x[inside] for x in params)
        )
        values = tuple(x.at[where].set(y, mode="drop") for x, y in zip(values, new))
        return done + size, number, values

    state = (jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32), values)
    return jax.lax.while_loop(lambda state: state[0] < rank[-1], chunk, state)[2]
