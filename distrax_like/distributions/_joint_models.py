"""Three ways to write a joint distribution: a generator function, a list, a dictionary."""

import collections
import functools
import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from jaxtyping import Array

from distrax_like._misc import Checked, as_callable, describe

from ._distribution import Distribution
from ._joint import Container, JointDistribution, Model, Walk

# What a site of a joint distribution may be.
_RANDOM = (Distribution, JointDistribution)

if TYPE_CHECKING:

    class StructTuple(tuple[Array, ...]):
        """A named tuple of the values of the sites."""

        def __getattr__(self, name: str) -> Array: ...
        def _asdict(self) -> dict[str, Array]: ...

else:
    StructTuple = tuple


@functools.cache
def struct_tuple(names: tuple[str, ...]) -> Any:
    """The class of named tuples of these names, one for one list of names: JAX compares the classes of containers."""
    namedtuple: Any = collections.namedtuple
    made = namedtuple("StructTuple", names)
    # A class made at run time is not found by its name, so pickles and copies hold the names of its fields.
    made.__reduce__ = lambda self: (_struct, (names, tuple(self)))
    return made


def _struct(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return struct_tuple(names)(*values)


def _as_struct(values: Mapping[str, Any]) -> Any:
    if wrong := [name for name in values if not name.isidentifier() or keyword.iskeyword(name) or name[0] == "_"]:
        raise ValueError(
            f"JointDistributionCoroutine: the site {wrong[0]!r} is to be a field of a named tuple, so its name must be "
            "a Python name without an underscore in front; a JointDistributionNamed takes any"
        )
    return struct_tuple(tuple(values))(*values.values())


def _accept_defaults(who: str, batch_ndims: int | None, sample_dtype: Any = None) -> None:
    """TFP's arguments that have one meaning here."""
    if batch_ndims not in (None, 0):
        raise ValueError(f"{who}: batch_ndims must be 0, got {batch_ndims}; a batch of models is a jax.vmap")
    if sample_dtype is not None:
        raise ValueError(f"{who}: sample_dtype must be None; a draw is a named tuple")


def _root(distribution: Distribution) -> Distribution:
    """Returns its argument. TFP's models mark sites without parents with it; here it changes nothing."""
    return distribution


class JointDistributionCoroutine(JointDistribution[StructTuple]):
    """A joint distribution written as a generator function, which yields a distribution and gets its value back:

    ```python
    def model():
        mu = yield "mu", Normal(0.0, 5.0)
        yield "y", Sample(Normal(mu, 1.0), 10)
    ```

    A site without a name is called after its place, `var0`, `var1`, … A draw is a named tuple. `yield from` nests
    models.

    **Arguments:** `model`: a generator function without arguments, or a callable module, whose arrays are then leaves
    (arrays a plain function closes over are constants); `batch_ndims`, `sample_dtype`, `use_vectorized_map`: TFP's,
    accepted at their defaults.
    """

    Root = staticmethod(_root)

    model: Callable[..., Any]

    def __init__(
        self,
        model: Callable[[], Model],
        sample_dtype: Any = None,
        batch_ndims: int | None = None,
        use_vectorized_map: bool = False,
    ):
        _accept_defaults(type(self).__name__, batch_ndims, sample_dtype)
        self.model = as_callable(model, f"{type(self).__name__}: model")

    def _walk(self) -> Walk:
        generator: Any = self.model()
        if not inspect.isgenerator(generator):
            raise TypeError(f"{type(self).__name__}: the model must be a generator function, with `yield` in it")
        position = 0
        value: Any = None
        while True:
            try:
                item: Any = generator.send(value)
            except StopIteration:
                return
            named = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
            pair: Any = item if named else (f"var{position}", item)
            value = yield pair
            position += 1

    def _container(self) -> Container:
        return Container(type(self).__name__, _as_struct)


def _parents(who: str, fn: Any) -> list[inspect.Parameter]:
    """The parameters of a conditional distribution that have no default."""
    fn = getattr(fn, "fn", fn)
    parameters = list(inspect.signature(fn).parameters.values())
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        raise ValueError(f"{who}: a conditional distribution takes named arguments, not **{parameters[-1].name}")
    # TFP's rule: what has a default keeps it, also where it has the name of a site.
    return [p for p in parameters if p.default is p.empty]


def _member(who: str, x: Any) -> Any:
    """A member of a model: a distribution, or a function of other sites that gives one."""
    return x if isinstance(x, _RANDOM) else as_callable(x, who)


def _check_members(model: object, who: str) -> None:
    if not isinstance(model, Sequence) or isinstance(model, str) or not model:
        raise TypeError(f"{who} must be a list of distributions, or functions that return one, got {describe(model)}")


class JointDistributionSequential(JointDistribution[Sequence[Array]]):
    """A joint distribution written as a list of distributions and of functions of the values before them.

    A function with n arguments without default gets the last n values, the most recent first. The sites are called
    `var0`, `var1`, …; a draw is a list or tuple like the model.

    **Arguments:** `model`: the list; `batch_ndims`, `use_vectorized_map`: TFP's, accepted at their defaults.
    """

    model: Sequence[Any]

    def __init__(
        self,
        model: Annotated[Sequence[Any], Checked(_check_members)],
        batch_ndims: int | None = None,
        use_vectorized_map: bool = False,
    ):
        who = type(self).__name__
        _accept_defaults(who, batch_ndims)
        members = [_member(f"{who}: site 'var{i}'", x) for i, x in enumerate(model)]
        self.model = tuple(members) if isinstance(model, tuple) else members

    def _walk(self) -> Walk:
        values: list[Any] = []
        for i, member in enumerate(self.model):
            if not isinstance(member, _RANDOM):
                parents = _parents(f"{type(self).__name__}: site 'var{i}'", member)
                wanted = i if any(p.kind == p.VAR_POSITIONAL for p in parents) else len(parents)
                who = f"{type(self).__name__}: site 'var{i}'"
                if named := [p.name for p in parents if p.kind == p.KEYWORD_ONLY]:
                    raise ValueError(f"{who} gets values in order, not by name, but has the keywords {named}")
                if wanted > i:
                    raise ValueError(f"{who} takes {wanted} values, {i} come before it")
                member = member(*values[::-1][:wanted])
            values.append((yield f"var{i}", member))

    def _container(self) -> Container:
        kind = tuple if isinstance(self.model, tuple) else list
        return Container(type(self).__name__, lambda values: kind(values.values()))

    def _independent(self) -> dict[str, Any]:
        who, out = type(self).__name__, {}
        for i, member in enumerate(self.model):
            if not isinstance(member, _RANDOM):
                if _parents(f"{who}: site 'var{i}'", member):
                    raise ValueError(f"{who}: the site 'var{i}' depends on others, so there is no closed form")
                member = member()
            out[f"var{i}"] = member
        return out


class JointDistributionNamed(JointDistribution[dict[str, Array]]):
    """A joint distribution written as a dictionary of distributions and of functions whose arguments are sites, but for
    arguments with a default:

    `JointDistributionNamed(dict(mu=Normal(0.0, 1.0), y=lambda mu: Normal(mu, 1.0)))`. The order of the keys does not
    matter; a draw is a dictionary.

    **Arguments:** `model`: the dictionary; `batch_ndims`, `use_vectorized_map`: TFP's, accepted at their defaults.

    **Raises:** `ValueError` where an argument names no site, or sites depend on each other in a circle.
    """

    model: dict[str, Any]

    def __init__(self, model: Mapping[str, Any], batch_ndims: int | None = None, use_vectorized_map: bool = False):
        who = type(self).__name__
        _accept_defaults(who, batch_ndims)
        if not model:
            raise ValueError(f"{who}: model must have at least one site")
        self.model = {name: _member(f"{who}: site {name!r}", x) for name, x in dict(model).items()}
        self._order()

    def _order(self) -> dict[str, tuple[str, ...]]:
        """The parents of each site, parents before children."""
        who = type(self).__name__
        parents = {}
        for name, x in self.model.items():
            members = [] if isinstance(x, _RANDOM) else _parents(f"{who}: site {name!r}", x)
            parents[name] = tuple(p.name for p in members)
            for parent in parents[name]:
                if parent not in self.model:
                    raise ValueError(f"{who}: site {name!r} depends on {parent!r}, which is no site")
        order: dict[str, tuple[str, ...]] = {}
        while len(order) < len(parents):
            ready = [n for n, ps in parents.items() if n not in order and all(p in order for p in ps)]
            if not ready:
                raise ValueError(
                    f"{who}: the sites {sorted(set(parents) - set(order))} depend on each other in a circle"
                )
            order |= {n: parents[n] for n in ready}
        return order

    def _walk(self) -> Walk:
        values: dict[str, Any] = {}
        for name, parents in self._order().items():
            member = self.model[name]
            if not isinstance(member, _RANDOM):
                member = member(**{p: values[p] for p in parents})
            values[name] = yield name, member

    def _container(self) -> Container:
        names = tuple(self.model)
        return Container(type(self).__name__, lambda values: {n: values[n] for n in names if n in values}, True)

    def _independent(self) -> dict[str, Any]:
        who = type(self).__name__
        for name, parents in self._order().items():
            if parents:
                raise ValueError(f"{who}: the site {name!r} depends on others, so there is no closed form")
        return {name: x if isinstance(x, _RANDOM) else x() for name, x in self.model.items()}


JointDistributionCoroutineAutoBatched = JointDistributionCoroutine
JointDistributionSequentialAutoBatched = JointDistributionSequential
JointDistributionNamedAutoBatched = JointDistributionNamed
