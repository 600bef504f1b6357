"""Methods of modules that, called on concrete arrays, run as one compiled program."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer

F = TypeVar("F", bound=Callable[..., Any])

_CONCRETE = (jax.Array, np.ndarray, np.generic, bool, int, float)
# By type, since asking whether something is a `jax.Array` takes a microsecond.
_IS_CONCRETE: dict[type, bool] = {}


def compiled(*static: str) -> Callable[[F], F]:
    """A decorator of a method of modules that runs it as one compiled program, where nothing is being traced.

    One operation after the other, each with a call of its own, costs ten to a hundred times as much. Programs are
    cached by `jax.jit`, by the class, the structure and the shapes of the arguments. Under a transformation, and where
    a leaf is no array, the method runs as it is. So it does where its program cannot be traced, for instance since a
    subclass asks for the value of an array; and where it raises, so that errors are those of the method itself.

    **Arguments:** the names of the method's arguments that are static; the others are numbers, arrays, or nested lists
    and tuples of numbers.
    """

    def decorate(method: F) -> F:
        program = jax.jit(method, static_argnames=static)
        names = list(inspect.signature(method).parameters)
        positions = {names.index(name) - 1 for name in static}
        untraceable: set[type] = set()

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if type(self) in untraceable:
                return method(self, *args, **kwargs)
            dynamic = [x for i, x in enumerate(args) if i not in positions]
            dynamic += [x for name, x in kwargs.items() if name not in static]
            if not _are_concrete((self, dynamic)):
                return method(self, *args, **kwargs)
            try:
                return program(self, *map(_as_argument, args), **kwargs)
            except Exception:
                result = method(self, *args, **kwargs)
                untraceable.add(type(self))
                return result

        return cast(F, call)

    return decorate


def _as_argument(x: Any) -> Any:
    """Lists of numbers as one array; a number stays one, and takes on the dtype of what it meets."""
    if isinstance(x, list | tuple):
        return jnp.asarray(x)
    return float(x) if isinstance(x, np.float64) else x


def _are_concrete(tree: Any) -> bool:
    for x in jtu.tree_leaves(tree):
        kind = type(x)
        if kind not in _IS_CONCRETE:
            _IS_CONCRETE[kind] = isinstance(x, _CONCRETE) and not isinstance(x, Tracer)
        if not _IS_CONCRETE[kind]:
            return False
    return True
