"""Dtypes, random keys and user callables: the small rules that every package of the library follows."""

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, SupportsIndex, TypeAlias, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Shaped

Shape: TypeAlias = tuple[int, ...]


class Checked(NamedTuple):
    """What the annotation of an argument carries to have it checked: `check(value, who)` raises where it is wrong."""

    check: Callable[[Any, str], object]


# At run time the checks below say what is wrong with an argument, which a type checker of annotations could not.
if TYPE_CHECKING:
    #: What a numerical argument may be: an array, a number, or nested lists and tuples of numbers.
    Numeric: TypeAlias = ArrayLike | list[Any] | tuple[Any, ...]
    #: A shape as an argument: an integer, or a sequence of integers.
    ShapeLike: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
    #: A random key: typed, from `jax.random.key`, or raw, from `jax.random.PRNGKey`.
    Seed: TypeAlias = Array | np.ndarray
else:
    Numeric = Annotated[Any, Checked(lambda x, who: check_numbers(x, who))]
    ShapeLike = Annotated[Any, Checked(lambda x, who: as_shape(x, who))]
    Seed = Annotated[Any, Checked(lambda x, who: as_key(x, who.removesuffix(": seed")))]

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
        given = _promoted(*(float(x) if type(x) in (bool, int, float) else _as_array(x) for x in given))
    arrays = iter(given)
    out = tuple(x if x is None else next(arrays) for x in args)
    return out[0] if len(out) == 1 else out


def _are_strong(xs: list[Any]) -> bool:
    """Whether all are arrays of one strong floating dtype."""
    if not all(isinstance(x, jax.Array) and x.dtype == xs[0].dtype for x in xs):
        return False
    return not xs or (bool(jnp.issubdtype(xs[0].dtype, jnp.floating)) and not any(x.weak_type for x in xs))


@functools.partial(jax.jit, inline=True)
def _promoted(*args: Array) -> tuple[Array, ...]:
    dtype = jnp.result_type(*args)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = default_float()
    return tuple(_strong(x, dtype) for x in args)


def exactly_one(who: str, **given: Any) -> None:
    """**Raises:** `ValueError` unless exactly one of the parametrisations of `who` is given, the others being None."""
    count = sum(x is not None for x in given.values())
    if count != 1:
        got = "neither" if count == 0 else "both"
        raise ValueError(f"{who} takes exactly one of {' and '.join(given)}, got {got}")


def require_entries(who: str, *given: Numeric | None) -> None:
    """**Raises:** `ValueError` where the last axis of an array has length zero."""
    if any(x is not None and np.shape(x)[-1:] == (0,) for x in given):
        raise ValueError(f"{who} must have at least one entry along the last axis")


def require(tree: Any, good: Array, message: str) -> Any:
    """`tree`; where `good` is false, a ValueError at once, or under a transformation an error when the program runs."""
    if isinstance(good, Tracer):
        return eqx.error_if(tree, ~good, message)
    if not good:
        raise ValueError(message)
    return tree


def cast(x: Numeric, dtype: Any, who: str = "the value") -> Array:
    """`x` as an array of a floating `dtype`, or of a wider one where that is its own. **Raises:** see `promote`."""
    x = _as_array(x, who)
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
        seed = seed if isinstance(seed, jax.Array) else np.asarray(seed)
        if is_key(seed):
            if seed.ndim:
                raise ValueError(f"{who} takes one key, got an array of keys of shape {seed.shape}: use jax.vmap")
            return seed
        if seed.dtype == jnp.uint32 and seed.ndim == 1:
            return jax.random.wrap_key_data(jnp.asarray(seed))
        if seed.dtype == jnp.uint32 and seed.ndim > 1:
            raise ValueError(f"{who} takes one key, got raw keys of shape {seed.shape}: use jax.vmap")
    raise TypeError(f"{who} needs a random key as seed, for example `seed=jax.random.key(0)`, got {describe(seed)}")


class _Static(eqx.Module):
    fn: Callable[..., Any] = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


def as_callable(fn: Any, who: str, *arguments: str) -> Any:
    """A user's function as a pytree.

    Modules, their bound methods and `jax.tree_util.Partial`s stay dynamic: their arrays are leaves. A plain function
    becomes static; arrays it closes over are constants of the compiled program.

    **Arguments:** `arguments`: what the function is called with, one word for each, where that is known.

    **Raises:** `TypeError` where `fn` is not callable, or not with that many arguments.
    """
    check_callable(fn, who, *arguments)
    return fn if isinstance(fn, eqx.Module | jtu.Partial) else _Static(fn)


def check_callable(fn: object, who: str, *arguments: str) -> None:
    """**Raises:** `TypeError` where `fn` is not callable, or not with `arguments`; see `as_callable`."""
    if not callable(fn):
        raise TypeError(f"{who} must be callable, got {describe(fn)}")
    if arguments:
        try:
            signature = inspect.signature(fn)
        except (TypeError, ValueError):  # of a builtin
            return
        try:
            signature.bind(*arguments)
        except TypeError:
            raise TypeError(
                f"{who} is called with {len(arguments)} arguments ({', '.join(arguments)}), got {describe(fn)}"
            ) from None


def as_shape(shape: Any, who: str = "a shape") -> Shape:
    """A shape given as an integer or a sequence of integers, as a tuple of ints.

    **Raises:** `TypeError` where it is neither; `ValueError` where one is negative.
    """
    try:
        sizes = tuple(map(_index, shape if isinstance(shape, Sequence) or np.ndim(shape) == 1 else (shape,)))
    except Exception:
        raise TypeError(f"{who} must be an integer or a sequence of integers, got {describe(shape)}") from None
    if any(n < 0 for n in sizes):
        raise ValueError(f"{who} must not have negative sizes, got {describe(shape)}")
    return sizes


def as_count(value: object, who: str, least: int = 0) -> int:
    """An integer, in Python or in an array, as an int.

    **Raises:** `TypeError` where it is none, `ValueError` where it is below `least`.
    """
    try:
        n = _index(value)
    except Exception:
        raise TypeError(f"{who} must be an integer, got {describe(value)}") from None
    if n < least:
        bound = "not be negative" if least == 0 else f"be at least {least}"
        raise ValueError(f"{who} must {bound}, got {n}")
    return n


def _index(x: Any) -> int:
    if isinstance(x, bool | np.bool_) or getattr(x, "dtype", None) == np.bool_:
        raise TypeError
    return operator.index(x)


def as_instance(value: Any, kind: type | tuple[type, ...], who: str, what: str | None = None) -> Any:
    """`value`. **Raises:** `TypeError` where it is no instance of `kind`, which messages call `what`."""
    if isinstance(value, kind):
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = " or ".join(f"{'an' if k.__name__[0] in 'AEIOU' else 'a'} {k.__name__}" for k in kinds)
    hint = f"; make an instance, {value.__name__}(...)" if isinstance(value, type) and issubclass(value, kinds) else ""
    raise TypeError(f"{who} must be {what or names}, got {describe(value)}{hint}")


def check_range(
    x: Any,
    who: str,
    above: ArrayLike | None = None,
    below: ArrayLike | None = None,
    least: ArrayLike | None = None,
    most: ArrayLike | None = None,
) -> None:
    """Checks numbers whose values are known; those that are traced pass.

    **Raises:** `TypeError` where they are no numbers; `ValueError` for NaN or a value that is not greater than `above`,
    less than `below`, at least `least` and at most `most`.
    """
    check_numbers(x, who)
    if any(isinstance(leaf, Tracer) for leaf in jtu.tree_leaves(x)):
        return
    values = np.asarray(x)
    rules = (
        (above, np.greater, "greater than"),
        (least, np.greater_equal, "at least"),
        (below, np.less, "less than"),
        (most, np.less_equal, "at most"),
    )
    given = [(end, holds, words) for end, holds, words in rules if end is not None]
    if not all(holds(values, end).all() for end, holds, _ in given):  # false of NaN
        wanted = " and ".join(f"{words} {end:g}" for end, _, words in given)
        if least is not None and most is not None:
            wanted = f"between {least:g} and {most:g}"
        raise ValueError(f"{who} must be {wanted}, got {describe(x)}")


def check_numbers(x: Any, who: str) -> None:
    """**Raises:** `TypeError` unless `x` is an array of real numbers, a number, or nested lists and tuples of them."""
    kind = type(x)
    if kind in _NUMBERS:
        return
    if kind in _ARRAYS or (isinstance(x, jax.Array | np.ndarray | np.generic) and kind is not np.ma.MaskedArray):
        # By type, since asking whether something is a `jax.Array` takes a microsecond.
        if not isinstance(x, Tracer):
            _ARRAYS.add(kind)
        if _is_real(x.dtype):
            return
    elif isinstance(x, list | tuple) and not hasattr(x, "_fields"):
        for element in x:
            check_numbers(element, who)
        shapes = {np.shape(element) for element in x} if len(x) > 1 else ()
        if len(shapes) > 1:
            raise ValueError(f"{who} must be an array, got nested lists of different lengths")
        return
    elif hasattr(x, "__jax_array__") or (hasattr(x, "__array__") and kind is not np.ma.MaskedArray):
        if hasattr(x, "__jax_array__") or _is_real(np.asarray(x).dtype):
            return
    raise TypeError(f"{who} must be an array of real numbers, got {describe(x)}")


_NUMBERS = frozenset({float, int, bool})
_ARRAYS: set[type] = set()


@functools.cache
def _is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def _as_array(x: Any, who: str = "an argument") -> Array:
    """`jnp.asarray`. **Raises:** see `check_numbers`."""
    check_numbers(x, who)
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def describe(x: object) -> str:
    """A value in a message: short, and what it is where that is not the same as how it is printed."""
    if isinstance(x, type):
        return f"the class {x.__name__}"
    if isinstance(x, np.ma.MaskedArray):
        return "a NumPy masked array (fill it, or leave out what is masked)"
    if isinstance(x, jax.Array) and is_key(x):
        return "a random key"
    if isinstance(x, jax.Array | np.ndarray) and (x.size > MAX_TERMS or isinstance(x, Tracer)):
        return f"an array of {x.dtype} of shape {x.shape}"
    if isinstance(x, jax.Array | np.ndarray):
        return f"the array {np.asarray(x).tolist()} of {x.dtype}"
    if callable(x) and hasattr(x, "__name__") and not isinstance(x, eqx.Module):
        return f"the function {x.__name__}"
    text = " ".join(repr(x).split())
    return text if len(text) <= 80 else f"{text[:76]} ..."


def broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether arrays of `shape` broadcast to the shape `to`."""
    try:
        return jnp.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


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
