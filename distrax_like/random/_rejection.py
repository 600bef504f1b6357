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
# From the words of random bits, of shape `(words, n)`, and n parameters of each kind: proposals and which to accept.
Propose = Callable[..., tuple[tuple[Real, ...], Bool[Array, " n"]]]

# Below this many draws the rejected ones are not gathered: a full round costs less than finding them.
_FEW = 1024

# The rejected ones are dealt with this part of the batch at a time: measured on a CPU, shorter vectors cost less, since
# each waits for its unluckiest element.
_SHARE = 64


def unit(bits: Bits, dtype: Any) -> Real:
    """Uniform numbers on (0, 1], which keep their relative precision near zero: all but one bit of the word count."""
    width = bits.dtype.itemsize * 8
    # As a signed number of one bit less, which processors convert faster.
    return (_signed(bits >> 1).astype(dtype) + 0.5) * 2.0 ** (1 - width)


def symmetric(bits: Bits, dtype: Any) -> Real:
    """Uniform numbers on [-1, 1], which keep their relative precision near zero."""
    return (_signed(bits).astype(dtype) + 0.5) * 2.0 ** (1 - bits.dtype.itemsize * 8)


def normal(bits: Bits, dtype: Any) -> Real:
    """Standard normal numbers, one a word, by the inverse of their distribution function."""
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

    `event` trailing axes of the parameters are no part of the shape.

    **Raises:** `ValueError` where the parameters do not broadcast to `shape`.
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

    All elements get a first proposal in one pass over the batch. Those that were rejected are gathered, a part of the
    batch at a time, into a short vector on which proposals repeat until all are accepted; then they are put back.

    **Arguments:** `key`: a random key; `words`: how many random words of type `bits` a proposal takes; `propose`: maps
    bits of shape `(words, n)` and the parameters to a tuple of vectors and the mask of those accepted; `params`:
    vectors of length n. `squeeze`: a cheap `propose` for the first pass that makes the same proposals and accepts part
    of what `propose` would.

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

    # With a squeeze the first full test is of the proposals that are there.
    if n <= _FEW:
        again = start if squeeze else fresh(1, n)
        return until_accepted(2, accepted, again, values, params)[1]

    size = max(n // _SHARE, _FEW // 4)
    # rank[i] rejected ones up to element i, so the j-th rejected one is where the rank first reaches j.
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
