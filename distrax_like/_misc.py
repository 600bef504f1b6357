"""Dtypes, random keys and user callables: the small rules that every package of the library follows."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Shaped

#: What a numerical argument may be: an array, a number, or nested lists and tuples of numbers.
Numeric: TypeAlias = ArrayLike | list[Any] | tuple[Any, ...]

Shape: TypeAlias = tuple[int, ...]

if TYPE_CHECKING:
    #: A random key: typed, from `jax.random.key`, or raw, from `jax.random.PRNGKey`.
    Seed: TypeAlias = Array | np.ndarray
else:
    # At run time `as_key` says what is wrong with a seed.
    Seed = Any

#: What is drawn, or a value of it: of any dtype, since categories are integers.
Event: TypeAlias = Shaped[Array, "..."]

#: What is computed: floating numbers.
Real: TypeAlias = Float[Array, "..."]


def default_float() -> Any:
    """The dtype of a Python float: float32, or float64 where JAX runs with x64."""
    return jnp.result_type(float)


@overload
def promote(x: Numeric, /) -> Array: ...
@overload
def promote(x: Numeric | None, /) -> Any: ...
@overload
def promote(x: Numeric, y: Numeric, /) -> tuple[Array, Array]: ...
@overload
def promote(x: Numeric, y: Numeric, z: Numeric, /) -> tuple[Array, Array, Array]: ...
@overload
def promote(*args: Numeric | None) -> Any: ...
def promote(*args: Numeric | None) -> Any:
    """Arrays of one strong floating dtype, for `self.a, self.b = promote(a, b)`.

    The dtype is the one JAX promotes the arguments to; where that is an integer or boolean one, it is the default
    float. Weak types are stripped, since a weakly typed leaf changes type after one optimizer step and retraces the
    loop. `None` stays `None`.

    **Arguments:** numbers, arrays, nested lists of numbers, or `None`.

    **Returns:** one array for one argument, a tuple for several.

    **Raises:** `TypeError` for complex or non-numeric arguments.
    """
    given: list[Any] = [x for x in args if x is not None]
    if not _are_strong(given):
        # All in one compiled call: one operation after the other costs ten times as much. Python numbers stay numbers,
        # which take on the dtype of the arrays.
        given = _promoted(*(float(x) if type(x) in (bool, int, float) else jnp.asarray(x) for x in given))
    arrays = iter(given)
    out = tuple(x if x is None else next(arrays) for x in args)
    return out[0] if len(out) == 1 else out


def _are_strong(xs: list[Any]) -> bool:
    """Whether all are arrays of one strong floating dtype."""
    if not all(isinstance(x, jax.Array) and not x.weak_type and x.dtype == xs[0].dtype for x in xs):
        return False
    return not xs or bool(jnp.issubdtype(xs[0].dtype, jnp.floating))


@functools.partial(jax.jit, inline=True)
def _promoted(*args: Array) -> tuple[Array, ...]:
    dtype = jnp.result_type(*args)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"expected real numbers, got dtype {dtype}")
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = default_float()
    return tuple(_strong(x, dtype) for x in args)


def exactly_one(who: str, **given: Any) -> None:
    """**Raises:** `ValueError` unless exactly one of the parametrisations of `who` is given, the others being None."""
    count = sum(x is not None for x in given.values())
    if count != 1:
        got = "neither" if count == 0 else "both"
        raise ValueError(f"{who} takes exactly one of {' and '.join(given)}, got {got}")


def require(tree: Any, good: Array, message: str) -> Any:
    """`tree`; where `good` is false, a ValueError at once, or under a transformation an error when the program runs."""
    if isinstance(good, Tracer):
        return eqx.error_if(tree, ~good, message)
    if not good:
        raise ValueError(message)
    return tree


def cast(x: Numeric, dtype: Any) -> Array:
    """`x` as an array of a floating `dtype`, or of a wider one where that is its own. **Raises:** see `promote`."""
    if not isinstance(x, jax.Array):
        x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"expected real numbers, got dtype {x.dtype}")
    # A weak type, that of a Python number, gives way to `dtype`.
    return _strong(x, jnp.result_type(x, dtype))


def keep_within(x: Real, low: Any, high: Any) -> Real:
    """`x` clipped to the range it lies in mathematically, where rounding put it outside; the gradient passes."""
    finite = jnp.where(jnp.isfinite(x), x, 0)
    return jax.lax.stop_gradient(jnp.clip(x, low, high)) + (finite - jax.lax.stop_gradient(finite))


def tree_where(condition: Any, yes: Any, no: Any) -> Any:
    """Leaf by leaf of two trees, `yes` where the condition holds, else `no`."""
    return jtu.tree_map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _strong(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype and not x.weak_type else jax.lax.convert_element_type(x, dtype)


def at_least_single(dtype: Any) -> Any:
    """A floating dtype of at least 32 bits: one of 16 has no integer above 256, nor a probability below 1 / 256."""
    return jnp.result_type(dtype, jnp.finfo("float32").dtype) if jnp.finfo(dtype).bits < 32 else dtype


def is_key(x: Any) -> bool:
    """Whether an array holds typed random keys."""
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.prng_key))


def as_key(seed: Any, who: str) -> PRNGKeyArray:
    """`seed` as one typed random key.

    **Arguments:** `seed`: a key from `jax.random.key` or `jax.random.PRNGKey`; `who`: the method, for the message.

    **Raises:** `TypeError` where there is no seed or it is no key; `ValueError` for a batch of keys.
    """
    if seed is None:
        raise TypeError(f"{who} needs a seed, for example `seed=jax.random.key(0)`")
    if isinstance(seed, jax.Array) or hasattr(seed, "__array__"):
        seed = seed if isinstance(seed, jax.Array) else jnp.asarray(seed)
        if is_key(seed):
            if seed.ndim:
                raise ValueError(f"{who} takes one key, got an array of keys of shape {seed.shape}: use jax.vmap")
            return seed
        if seed.dtype == jnp.uint32 and seed.ndim == 1:
            return jax.random.wrap_key_data(seed)
        if seed.dtype == jnp.uint32 and seed.ndim > 1:
            raise ValueError(f"{who} takes one key, got raw keys of shape {seed.shape}: use jax.vmap")
    raise TypeError(f"{who} needs a random key as seed, for example `seed=jax.random.key(0)`, got {seed!r}")


class _Static(eqx.Module):
    fn: Callable[..., Any] = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


def as_callable(fn: Any, who: str) -> Any:
    """A user's function as a pytree.

    Modules, their bound methods and `jax.tree_util.Partial`s stay dynamic: their arrays are leaves. A plain function
    becomes static; arrays it closes over are constants of the compiled program.

    **Raises:** `TypeError` where `fn` is not callable.
    """
    if not callable(fn):
        raise TypeError(f"{who} must be callable, got {fn!r}")
    return fn if isinstance(fn, eqx.Module | jtu.Partial) else _Static(fn)


def as_shape(shape: SupportsIndex | Sequence[SupportsIndex]) -> Shape:
    """A sample shape given as an int or a sequence of ints, as a tuple of ints."""
    return tuple(operator.index(n) for n in shape) if isinstance(shape, Sequence) else (operator.index(shape),)


def append_zero(x: Float[Array, "... n"]) -> Float[Array, "... m"]:
    """`x` with a zero at the end of the last axis, which may have length zero."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])


#: Up to this length a reduction over an axis is written out.
MAX_TERMS = 8


def reduce_last(of_two: Callable[..., Any], of_axis: Callable[..., Any], x: Shaped[Array, "..."]) -> Array:
    """A reduction over the last axis, such as `jnp.add` and `jnp.sum`.

    A short axis is written out, since only then does a compiler fuse several reductions of one array, or a reduction
    with what follows it. So it is for the axes of one event, not for those of data, which may be spread over devices:
    each slice of such an axis is a communication between them.
    """
    if not 0 < x.shape[-1] <= MAX_TERMS:
        return of_axis(x, axis=-1)
    return functools.reduce(of_two, (x[..., i] for i in range(x.shape[-1])))


@jax.custom_jvp
def sum_last(x: Float[Array, "... n"]) -> Float[Array, "..."]:
    """The sum over the last axis, by `reduce_last`."""
    return reduce_last(jnp.add, jnp.sum, x)


@sum_last.defjvp
def _(primals: Any, tangents: Any) -> Any:
    # The transpose of this sum copies a cotangent; that of the terms would pad it, once for each.
    (x,), (tangent,) = primals, tangents
    return sum_last(x), jnp.sum(tangent, axis=-1)


def sum_trailing(x: Float[Array, "..."], ndims: int) -> Float[Array, "..."]:
    """The sum over the last `ndims` axes."""
    return jnp.sum(x, axis=tuple(range(-ndims, 0))) if ndims else x
