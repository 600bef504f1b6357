"""The module base: annotated fields, the construction check, and everything that follows from the annotations.

A field annotated `Float[Array, "*#batch d"]` has batch dimensions followed by one event dimension of its own. From
that alone come the batch shape, indexing, broadcasting and the check that the fields of one object fit each other.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Shaped, jaxtyped

from ._arguments import CheckedModule
from ._misc import Numeric, Shape, ShapeLike, as_shape, broadcasts, describe, is_key, promote
from .supports import Support

_KEY = "distrax_like"
_BATCH = "*#batch"

M = TypeVar("M", bound="Module")


class _Parameter(NamedTuple):
    support: Support | Callable[[Any], Support]


class _Data(NamedTuple):
    last_ndims: Callable[[Any], int] | None
    support: Support | None


class _Submodule(NamedTuple):
    batch: str | Callable[[Any], int]


def parameter(support: Support | Callable[[Any], Support], **kwargs: Any) -> Any:
    """A field that holds one parameter: a floating array whose values lie in `support`.

    **Arguments:**

    - `support`: a member of `distrax_like.supports`, or a function of the module that gives one from the fields above
      this one, such as `parameter(lambda self: greater_than(self.low))`.
    - `kwargs`: passed to `equinox.field`, for example `default`.
    """
    return eqx.field(converter=_convert, metadata={_KEY: _Parameter(support)}, **kwargs)


def _convert(value: Numeric) -> Any:
    # Equinox takes the annotation for that of the argument of `__init__`. Whether it may be None, the field says.
    return promote(value)


def data(last_ndims: Callable[[Any], int] | None = None, support: Support | None = None, **kwargs: Any) -> Any:
    """A field that holds arrays that are not trained: observations, index points, masks, counts.

    They are leaves like any other, but `constrain` stops their gradient and `trainable` gives False for them.

    **Arguments:** `last_ndims`: a function from the module to the number of dimensions for which the last axis of the
    annotation stands, such as the features of points; `support`: what the values lie in, for `validate`.
    """
    return eqx.field(metadata={_KEY: _Data(last_ndims, support)}, **kwargs)


def submodule(batch: str | Callable[[Any], int] = _BATCH, **kwargs: Any) -> Any:
    """A field that holds another module (or a tuple of them) that shares this module's batch dimensions.

    **Arguments:** `batch`: the submodule's batch shape in the language of annotations, `"*#batch k"` for one that has a
    further batch dimension of its own, which is checked with the other fields; or a function from the module to the
    number of those further dimensions.
    """
    return eqx.field(metadata={_KEY: _Submodule(batch)}, **kwargs)


class _Spec(NamedTuple):
    name: str
    role: _Parameter | _Data | _Submodule | None
    declared: Any  # the jaxtyping type of an array in the annotation, or None
    annotation: Any  # the same for `ShapeDtypeStruct`s; for a submodule, that of its batch shape; or None
    trailing: tuple[str, ...] | None  # the named axes behind the batch dimensions; None where the field has no batch
    is_optional: bool  # whether the field may be None

    @property
    def dims(self) -> str:
        return self.annotation.dim_str


@functools.cache
def _specs(cls: type) -> tuple[_Spec, ...]:
    """What the fields of a class declare, in order; static ones are left out."""
    specs = []
    for field in dataclasses.fields(cls):
        if field.metadata.get("static"):
            continue
        role = field.metadata.get(_KEY)
        declared: Any = None
        annotation: Any = None
        trailing: tuple[str, ...] | None = None
        if isinstance(role, _Submodule):
            if callable(role.batch):
                trailing = ()
            else:
                annotation = Shaped[jax.ShapeDtypeStruct, role.batch]
                trailing = tuple(role.batch.split()[1:])
        elif role is not None and (declared := _array_annotation(field.type)) is not None:
            annotation = declared.dtype[jax.ShapeDtypeStruct, declared.dim_str]
            axes = declared.dim_str.split()
            trailing = tuple(axes[1:]) if axes[:1] == [_BATCH] else None
        is_optional = field.type is Any or type(None) in get_args(field.type)
        specs.append(_Spec(field.name, role, declared, annotation, trailing, is_optional))
    return tuple(specs)


def _array_annotation(annotation: Any) -> Any:
    """The jaxtyping type in the annotation of a field, `Float[Array, "..."] | None` included; None where it has
    none."""
    return next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "dim_str")), None)


def _check_declarations(cls: type) -> None:
    """**Raises:** `TypeError` for an array field that is not declared, which would not be a parameter, and for a
    property where its base has a method, or the other way round."""
    for name, own in cls.__dict__.items():
        inherited = next((base.__dict__[name] for base in cls.__mro__[1:] if name in base.__dict__), None)
        if isinstance(own, property) and isinstance(inherited, types.FunctionType):
            raise TypeError(f"{cls.__name__}: {name} must be a method, so write it without @property")
        if isinstance(own, types.FunctionType) and isinstance(inherited, property):
            raise TypeError(f"{cls.__name__}: {name} must be a property, so write @property above it")
    for name, annotation in cls.__dict__.get("__annotations__", {}).items():
        if isinstance(annotation, str):
            raise TypeError(
                f"{cls.__name__}: the annotation of {name} is a string, which cannot be executed; remove "
                "`from __future__ import annotations` or the quotes"
            )
        options = (annotation, *get_args(annotation))
        if not any(option is jax.Array or hasattr(option, "dim_str") for option in options):
            continue
        field = cls.__dict__.get(name)
        metadata = field.metadata if isinstance(field, dataclasses.Field) else {}
        if _KEY not in metadata and not metadata.get("static"):
            raise TypeError(
                f"{cls.__name__}: declare the array field {name} with parameter(support) if it is trained, else with "
                f"data(), for example `{name}: Float[Array, \"*#batch\"] = parameter(real)`"
            )


def _last_ndims(spec: _Spec, module: Any) -> int:
    """For how many dimensions the last axis of the annotation stands."""
    return spec.role.last_ndims(module) if isinstance(spec.role, _Data) and spec.role.last_ndims else 1


def _shape_of(spec: _Spec, module: Any) -> Any:
    """What the check at construction looks at: the shape and dtype of a field, `None`, or `False` for what belongs
    there neither way."""
    value = getattr(module, spec.name)
    if value is None:
        return None if spec.is_optional else False
    if isinstance(spec.role, _Submodule):
        return (value._batch_shape(), np.dtype(bool)) if isinstance(value, Module) else False
    if not isinstance(value, spec.declared.array_type):
        return False
    split = value.ndim - _last_ndims(spec, module)
    shape = value.shape if split == value.ndim - 1 else (*value.shape[: max(split, 0)], math.prod(value.shape[split:]))
    return shape, value.dtype


@functools.lru_cache(maxsize=4096)
def _misfit(cls: type, shapes: tuple[Any, ...]) -> str | None:
    """The first field of a class whose shape does not fit its annotation and the fields before it.

    jaxtyping's own check at construction skips fields that have a converter, and takes 20 µs a field.
    """
    with jaxtyped("context"):
        for spec, known in zip((spec for spec in _specs(cls) if spec.annotation), shapes):
            if known is not None and not (known and isinstance(jax.ShapeDtypeStruct(*known), spec.annotation)):
                return spec.name
    return None


# Arrays of up to this many numbers are printed with their values.
_MAX_PRINTED = 8


def _shown(x: Any) -> Any:
    """What is printed of a leaf: the numbers of a small array, as nested lists, where they are known and at hand."""
    if not isinstance(x, jax.Array | np.ndarray) or isinstance(x, Tracer) or is_key(x):
        return x
    if not 0 < x.size <= _MAX_PRINTED:
        return x
    if isinstance(x, jax.Array) and (x.is_deleted() or not x.is_fully_addressable):
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x.tolist()
    # The shortest number of its dtype: 0.1 in single precision is not 0.1 in that of Python.
    x = np.asarray(x)
    return np.reshape([float(str(number)) for number in x.ravel()], x.shape).tolist()


class Module(CheckedModule):
    """Base of distributions, bijectors and kernels: a frozen Equinox module whose annotations are executed.

    Parameters are declared with `parameter`, other arrays with `data`, modules inside it with `submodule`. A subclass
    may write `__init__` (and assigns `self.a, self.b = promote(a, b)`) or leave it to the dataclass.

    **Raises:** `ValueError` at construction where the shapes of the fields do not fit their annotations or each other.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        _check_declarations(cls)

    def __repr__(self) -> str:
        return eqx.tree_pformat(jtu.tree_map(_shown, self))

    def __check_init__(self):
        shapes = tuple(_shape_of(spec, self) for spec in _specs(type(self)) if spec.annotation)
        if (failing := _misfit(type(self), shapes)) is not None:
            raise ValueError(_explain(self, failing))

    if not TYPE_CHECKING:

        def __getattribute__(self, name: str) -> Any:
            # Equinox makes each bound method a pytree, at 15 µs. Hooks are only ever called, so they need not be one.
            return object.__getattribute__(self, name) if name[0] == "_" else super().__getattribute__(name)

    def _trailing_ndims(self, spec: _Spec) -> int:
        """How many dimensions of a field stand behind the batch dimensions."""
        if isinstance(spec.role, _Submodule) and callable(spec.role.batch):
            return spec.role.batch(self)
        assert spec.trailing is not None
        return len(spec.trailing) - 1 + _last_ndims(spec, self)

    def _map_batch(self: M, fn: Callable[[Array, int], Array], extra: int = 0) -> M:
        """A copy with `fn(array, ndims)` in place of each array that has batch dimensions.

        `ndims` is the number of trailing dimensions that are not the batch's. `extra` counts the module's own trailing
        batch dimensions that its owner does not share.
        """
        changes = {}
        for spec in _specs(type(self)):
            value = getattr(self, spec.name)
            if spec.trailing is None or value is None:
                continue
            ndims = extra + self._trailing_ndims(spec)
            changes[spec.name] = value._map_batch(fn, ndims) if isinstance(spec.role, _Submodule) else fn(value, ndims)
        return copy_with(self, **changes)

    def _batch_leaves(self) -> list[tuple[Array, int]]:
        """The arrays that have batch dimensions, each with the number of dimensions behind them."""
        leaves: list[tuple[Array, int]] = []

        def note(x: Array, ndims: int) -> Array:
            leaves.append((x, ndims))
            return x

        self._map_batch(note)
        return leaves

    def _batch_shape(self) -> Shape:
        shapes = [x.shape[: max(x.ndim - ndims, 0)] for x, ndims in self._batch_leaves()]
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            message = f"{type(self).__name__}: batch shapes do not broadcast: {', '.join(map(str, shapes))}"
            raise ValueError(message) from None

    @property
    def batch_shape(self) -> Shape:
        """The shape of a batch of objects held in one, computed from the arrays."""
        return self._batch_shape()

    def broadcast_to(self: M, batch_shape: ShapeLike) -> M:
        """The same object with every parameter expanded to `batch_shape`, ready for `jax.vmap`.

        **Raises:** `ValueError` where the batch shape does not broadcast to it.
        """
        shape = as_shape(batch_shape, f"{type(self).__name__}.broadcast_to: batch_shape")
        if not broadcasts(self.batch_shape, shape):
            raise ValueError(f"{type(self).__name__}: batch shape {self.batch_shape} does not broadcast to {shape}")

        def expand(x: Array, ndims: int) -> Array:
            own = (1,) * (ndims - x.ndim) + x.shape[max(x.ndim - ndims, 0) :]
            return jnp.broadcast_to(x, shape + own)

        return self._map_batch(expand)

    def __getitem__(self: M, index: Any) -> M:
        """Part of a batch: `dist[0]`, `dist[..., 1:]`, `dist[:, None]` index the batch dimensions."""
        index = index if isinstance(index, tuple) else (index,)
        self._check_index(index)
        if not any(i is Ellipsis for i in index):
            index = (*index, Ellipsis)
        return self.broadcast_to(self.batch_shape)._map_batch(lambda x, ndims: x[(*index, *(slice(None),) * ndims)])

    def _check_index(self, index: tuple[Any, ...]) -> None:
        # JAX clamps an index that is out of range, and takes a string for a field. NumPy's rules hold of the rest.
        shape = self.batch_shape
        known = tuple(0 if isinstance(i, Tracer) else np.asarray(i) if isinstance(i, jax.Array) else i for i in index)
        if any(isinstance(i, Tracer) and i.ndim for i in index):
            return
        try:
            np.broadcast_to(np.False_, shape)[known]
        except IndexError as error:
            message = f"{type(self).__name__} of batch shape {shape}: {error}"
            raise IndexError(message) from None

    def __iter__(self) -> Iterator[Any]:
        # Without this, `__getitem__` would make modules iterable through the old sequence protocol.
        raise TypeError(f"{type(self).__name__} is not iterable; index its batch dimensions instead")


def copy_with(module: M, **changes: Any) -> M:
    """A copy of a module with some fields replaced and no conversion or check: for what is not a valid module, such as
    one of free parameters, booleans or tree-mapped placeholders. `dataclasses.replace` is the checked form."""
    new = object.__new__(type(module))
    for field in dataclasses.fields(module):
        object.__setattr__(new, field.name, changes.get(field.name, getattr(module, field.name)))
    return new


def resolve_support(spec: _Spec, module: Module) -> Support:
    """The support of a parameter of `module`, which may depend on the fields before it, or of its data."""
    assert isinstance(spec.role, _Parameter | _Data) and spec.role.support is not None
    support = spec.role.support
    return support if isinstance(support, Support) else support(module)


def _explain(module: Module, failing: str) -> str:
    """The message for a field that does not fit: which class, which fields, which shapes, which axis."""
    name = type(module).__name__
    sizes: dict[str, tuple[int, str]] = {}
    batches: list[tuple[str, Shape]] = []
    for spec in _specs(type(module)):
        value = getattr(module, spec.name)
        if spec.annotation is None or (value is None and spec.is_optional):
            continue
        if isinstance(spec.role, _Submodule) and not isinstance(value, Module):
            return f"{name}: {spec.name} must be a distribution, bijector or kernel, got {describe(value)}"
        shape = value._batch_shape() if isinstance(value, Module) else getattr(value, "shape", None)
        what = f"the batch shape of {spec.name}" if isinstance(spec.role, _Submodule) else spec.name
        if shape is None:
            return f"{name}: {spec.name} must be an array of shape '{spec.dims}', got {describe(value)}"
        axes = spec.dims.split()
        if axes[:1] == [_BATCH]:
            axes = axes[1:]
            if len(shape) < len(axes):
                return f"{name}: {what} needs the dimensions '{spec.dims}', got shape {shape}"
            batches.append((what, shape[: len(shape) - len(axes)]))
        elif len(shape) != len(axes):
            return f"{name}: {what} needs the dimensions '{spec.dims}', got shape {shape}"
        for axis, size in zip(axes, shape[len(shape) - len(axes) :]):
            known, where = sizes.setdefault(axis, (size, what))
            if known != size:
                return f"{name}: axis '{axis}' has size {known} in {where} but {size} in {what} (shape {shape})"
        try:
            jnp.broadcast_shapes(*(batch for _, batch in batches))
        except ValueError:
            listing = ", ".join(f"{batch} of {field}" for field, batch in batches)
            return f"{name}: batch shapes do not broadcast: {listing}"
        if spec.name == failing:
            wanted = spec.declared or spec.annotation
            return f"{name}: {what} must be {wanted}, got {getattr(value, 'dtype', value)}{list(shape)}"
    raise AssertionError("unreachable")
