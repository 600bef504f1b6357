"""Arguments of constructors and functions, checked by their annotations.

Constructors of subclasses of `CheckedModule`, and functions decorated with `checked`, check what they are
given before they run: arrays of real numbers (`Numeric`), integers, modules, functions, and whatever has an annotation
`Annotated[..., Checked(check)]`. What is annotated otherwise passes.
"""

import collections.abc
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, Union, cast, get_args, get_origin

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from ._misc import Checked, Numeric, as_count, as_instance, check_callable, check_numbers, check_range, describe

F = TypeVar("F", bound=Callable[..., Any])

_Check: TypeAlias = Callable[[Any, str], object]
# The checks of positional arguments in order, and all by name; each with the name of function and argument in messages.
_Labelled: TypeAlias = tuple[_Check, str]
_Table: TypeAlias = tuple[tuple[_Labelled | None, ...], Mapping[str, _Labelled]]

#: Integers from 0, and from 1.
NonnegativeInt = Annotated[int, Checked(as_count)]
PositiveInt = Annotated[int, Checked(lambda x, who: as_count(x, who, least=1))]
#: An integer from 0, which may be traced.
Count = Annotated[int | Int[Array, ""], Checked(lambda x, who: _check_count(x, who))]

# Numbers and arrays with values in a range, which are checked where they are known.
PositiveNumeric = Annotated[Numeric, Checked(lambda x, who: check_range(x, who, above=0))]
NonnegativeNumeric = Annotated[Numeric, Checked(lambda x, who: check_range(x, who, least=0))]
Fraction = Annotated[Numeric, Checked(lambda x, who: check_range(x, who, above=0, below=1))]

#: The dtype of draws.
DType = Annotated[Any, Checked(lambda x, who: _check_dtype(x, who))]


def checked(fn: F) -> F:
    """A decorator that checks the arguments of a function or method by its annotations."""
    is_method = next(iter(inspect.signature(fn).parameters), None) == "self"

    tables: dict[type | None, _Table] = {}

    # Read at the first call, since an annotation may name a class that is defined later.
    def table(owner: type | None) -> _Table:
        names, checks = _read(fn)
        return _labelled(names, checks, f"{owner.__name__}.{fn.__name__}" if owner else fn.__name__)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        owner = type(args[0]) if is_method and args else None
        if owner not in tables:
            tables[owner] = table(owner)
        _check(tables[owner], args, kwargs)
        return fn(*args, **kwargs)

    return cast(F, call)


if TYPE_CHECKING:
    # The metaclass is for the run time only: to type checkers it would hide the signatures of constructors.
    CheckedModule = eqx.Module
else:

    class _CheckedMeta(type(eqx.Module)):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            _check(_of_constructor(cls), args, kwargs)
            return super().__call__(*args, **kwargs)

    class CheckedModule(eqx.Module, metaclass=_CheckedMeta):
        """An Equinox module whose constructor checks its arguments by their annotations."""


@functools.cache
def _of_constructor(cls: type) -> _Table:
    names, checks = _read(cls.__init__)  # type: ignore[misc]
    optional = {f.name for f in dataclasses.fields(cls) if type(None) in get_args(f.type)}
    checks = {name: _or_none(check) if name in optional else check for name, check in checks.items()}
    # TFP's arguments that have another home here.
    refused = {name: functools.partial(_refuse, why=why) for name, why in _REFUSED.items() if name not in names}
    return _labelled(names[1:], {**checks, **refused}, cls.__name__)


_REFUSED = {
    "name": "modules take no name: the sites of a joint distribution are named there",
    "validate_args": "parameters are checked by `distrax_like.validate`",
    "allow_nan_stats": "a moment that does not exist is NaN",
}


def _refuse(value: object, who: str, why: str) -> None:
    raise TypeError(f"{who} is not an argument; {why}")


def _labelled(names: tuple[str, ...], checks: Mapping[str, _Check], who: str) -> _Table:
    by_name = {name: (check, f"{who}: {name}") for name, check in checks.items()}
    return tuple(map(by_name.get, names)), by_name


def _check(table: _Table, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    positional, by_name = table
    for found, value in zip(positional, args):
        if found:
            found[0](value, found[1])
    for name, value in kwargs.items():
        if found := by_name.get(name):
            found[0](value, found[1])


def _read(fn: Callable[..., Any]) -> tuple[tuple[str, ...], Mapping[str, _Check]]:
    """The names of the positional arguments of a function, and the checks of its arguments."""
    try:
        annotations = typing.get_type_hints(fn, include_extras=True)
    except Exception:  # An annotation may name what is only imported for type checkers.
        annotations = dict(fn.__annotations__)
    parameters = inspect.signature(fn).parameters.values()
    names = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    found = {}
    for p in parameters:
        check = _check_of(annotations.get(p.name)) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) else None
        if check is not None:
            found[p.name] = _or_none(check) if p.default is None else check
    return names, found


def _check_of(annotation: Any) -> _Check | None:
    """The check of an annotation, or None where everything passes."""
    origin, options = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        # The last one is the outermost of nested annotations.
        checks = [x.check for x in annotation.__metadata__ if isinstance(x, Checked)]
        return checks[-1] if checks else _check_of(options[0])
    if origin in (Union, types.UnionType):
        others = [option for option in options if option is not type(None)]
        classes = [get_origin(option) or option for option in others]
        if len(others) == 1:
            check = _check_of(others[0])
        elif all(map(_is_module, classes)):
            check = functools.partial(_of_kind, kind=tuple(classes))
        elif all(_is_module(kind) or kind is collections.abc.Callable for kind in classes):
            check = functools.partial(_of_kind_or_callable, kind=tuple(filter(_is_module, classes)))
        else:
            check = None
        return _or_none(check) if check and len(others) < len(options) else check
    if origin is collections.abc.Callable:
        return check_callable
    if origin is collections.abc.Sequence and _is_module(options[0]):
        return functools.partial(_each_of_kind, kind=options[0])
    if origin is collections.abc.Mapping:
        return _check_mapping
    if annotation is int:
        return functools.partial(as_count, least=-(2**63))
    if annotation is bool:
        return _check_bool
    if annotation is float:
        return _check_float
    kind = origin or annotation
    return functools.partial(_of_kind, kind=kind) if _is_module(kind) else None


def _is_module(x: Any) -> bool:
    return isinstance(x, type) and issubclass(x, eqx.Module)


def _or_none(check: _Check) -> _Check:
    return lambda value, who: None if value is None else check(value, who)


def _of_kind(value: Any, who: str, kind: type | tuple[type, ...]) -> None:
    as_instance(value, kind, who)


def _of_kind_or_callable(value: Any, who: str, kind: tuple[type, ...]) -> None:
    if not callable(value):
        as_instance(value, kind, who, f"{' or '.join(k.__name__ for k in kind)} or a function")


def _each_of_kind(value: Any, who: str, kind: type) -> None:
    if not isinstance(value, Sequence):
        raise TypeError(f"{who} must be a sequence, each of it a {kind.__name__}, got {describe(value)}")
    for i, element in enumerate(value):
        as_instance(element, kind, f"{who}[{i}]")


def _check_mapping(value: Any, who: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{who} must be a dictionary, got {describe(value)}")


def _check_bool(value: Any, who: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{who} must be True or False, got {describe(value)}")


def _check_float(value: Any, who: str) -> None:
    check_numbers(value, who)
    if np.ndim(value):
        raise ValueError(f"{who} must be one number, got {describe(value)}")


def _check_count(value: Any, who: str) -> None:
    if not (isinstance(value, Tracer) and not value.ndim and jnp.issubdtype(value.dtype, jnp.integer)):
        as_count(value, who)


def _check_dtype(value: Any, who: str) -> None:
    try:
        jnp.dtype(value)
    except TypeError:
        raise TypeError(f"{who} must be a dtype, such as jnp.int32, got {describe(value)}") from None
