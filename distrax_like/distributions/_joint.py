"""Joint distributions: the interpreter of models, pinned sites, and densities in free coordinates."""

import difflib
import functools
import math
import zlib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Seed, Shape, ShapeLike, as_key, as_shape, check_numbers, default_float, promote
from distrax_like._module import Module, data
from distrax_like.bijectors import Bijector, bijector_for

from ._deterministic import computed
from ._distribution import Distribution
from ._kl import kl_divergence, register_kl

# The names that lead to a site, from the outermost joint distribution in.
Path: TypeAlias = tuple[str, ...]

# Gets the name of a site and its distribution, and gives its value.
Visit: TypeAlias = Callable[[str, Distribution], Array]
Walk: TypeAlias = Generator[tuple[str, "Distribution | JointDistribution[Any]"], Any, None]

#: What a generator function of a model returns: it yields distributions, with or without a name, and gets their values.
Model: TypeAlias = Generator[tuple[str, Distribution] | Distribution, Array, None]

#: The container of a draw: values by site.
Draw = TypeVar("Draw")


class JointDistribution(Module, Generic[Draw]):
    """Several random variables, each a distribution that may depend on the ones before it.

    The base of `JointDistributionCoroutine`, `JointDistributionSequential` and `JointDistributionNamed`. A model
    describes one draw. Its log density is the scalar sum over all sites and all their batch dimensions; many draws,
    in a sample shape before the one-draw shape of the sites, are mapped over. Each site draws with a key of its own
    made from its name, so a further named site does not change the draws of the others.
    """

    def _walk(self) -> Walk:
        """A generator of (name, distribution) pairs that is sent the value of each."""
        raise NotImplementedError

    def _container(self) -> "Container":
        """How this kind of joint distribution holds values."""
        raise NotImplementedError

    def _independent(self) -> "dict[str, Distribution | JointDistribution[Any]]":
        """The distributions of the sites. **Raises:** `ValueError` where one depends on another."""
        raise NotImplementedError(f"{type(self).__name__} does not tell which sites depend on each other")

    def _run(self, visit: Visit) -> "Sites":
        """Runs the model once; `visit` gives the value of each site."""
        sites = Sites()
        self._run_inside((), visit, sites)
        return sites

    def _run_inside(self, at: Path, visit: Visit, sites: "Sites") -> dict[str, Any]:
        """Runs the model as the site at a path, adds its sites to `sites`, and returns their values."""
        who, walk = type(self).__name__, self._walk()
        own: dict[str, Any] = {}
        sites.containers[at] = self._container()
        try:
            head, distribution = next(walk)
            while True:
                path = (*at, head)
                name = ".".join(path)
                if name in sites or path in sites.containers:
                    raise ValueError(f"{who}: the site {name!r} is named twice")
                if isinstance(distribution, JointDistribution):
                    inside = distribution._run_inside(path, visit, sites)
                    value = sites.containers[path].pack(inside)
                elif isinstance(distribution, Distribution):
                    sites.add(path, distribution)
                    value = visit(name, distribution)
                else:
                    raise TypeError(f"{who}: the site {name!r} must be a distribution, got {distribution!r}")
                own[head] = value
                head, distribution = walk.send(value)
        except StopIteration:
            pass
        return own

    def _run_abstractly(self, visit: Visit) -> "Sites":
        """Runs the model once for its shapes, without numbers."""
        found: list[Sites] = []
        jax.eval_shape(lambda: found.append(self._run(visit)))
        return found[0]

    def _sites(self) -> "Sites":
        """The sites, from one abstract run of the model."""
        return self._run_abstractly(lambda _, distribution: _stand_in(distribution))

    # Public.

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites, in order; those of a joint distribution `a` inside of this one are `a.b`, `a.c`, …"""
        return tuple(self._sites())

    @property
    def batch_shape(self) -> Shape:
        """`()`: a model describes one joint draw."""
        return ()

    @property
    def event_shape(self) -> Any:
        """The one-draw shapes of the sites, batch dimensions included, in the container of a draw."""
        sites = self._sites()
        return sites.pack(sites)

    @property
    def dtype(self) -> Any:
        """The dtypes of the sites, in the container of a draw."""
        sites = self._sites()
        return sites.pack(sites.dtypes)

    def sample(
        self, sample_shape: ShapeLike = (), *, seed: Seed | None = None, value: Any = None
    ) -> Draw:
        """Random draws of all sites.

        **Arguments:** `sample_shape`: how many; `seed`: a key; `value`: values of some sites, with None for (or
        without) those to draw given these. Where these have a sample shape, it is that of the draws.

        **Returns:** a container of arrays of shape `sample_shape + batch_shape + event_shape` of each site.
        """
        return self.sample_distributions(sample_shape, seed=seed, value=value)[1]

    def sample_distributions(
        self, sample_shape: ShapeLike = (), *, seed: Seed | None = None, value: Any = None
    ) -> tuple[Any, Draw]:
        """Random draws, with the distribution of each site given the values of those before it.

        **Arguments:** see `sample`. Given values may have sample dimensions.

        **Returns:** the distributions and the values, each in the container of a draw. Where there is a sample shape,
        it leads the batch shape of the distributions.
        """
        sites, distributions, values, _ = self._draw(sample_shape, seed, value)
        return sites.pack(distributions), sites.pack(values)

    def sample_and_log_prob(
        self, sample_shape: ShapeLike = (), *, seed: Seed | None = None, value: Any = None
    ) -> tuple[Draw, Float[Array, "..."]]:
        """Random draws and their log densities in one pass. **Arguments:** see `sample`."""
        sites, _, values, terms = self._draw(sample_shape, seed, value, scored=True)
        return sites.pack(values), _total(terms)

    def experimental_sample_and_log_prob(
        self, sample_shape: ShapeLike = (), *, seed: Seed | None = None, value: Any = None
    ) -> tuple[Draw, Float[Array, "..."]]:
        """TFP's name of `sample_and_log_prob`."""
        return self.sample_and_log_prob(sample_shape, seed=seed, value=value)

    def _draw(
        self, sample_shape: ShapeLike, seed: Seed | None, value: Any, scored: bool = False
    ) -> tuple["Sites", dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Distributions, values and, where they are `scored`, log densities by site."""
        who = f"{type(self).__name__}.sample"
        key = as_key(seed, who)
        sites = self._sites()
        given = {} if value is None else sites.by_name(value)
        given, lead = _fit(type(self).__name__, given, sites)

        def draw(key: PRNGKeyArray, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
            distributions: dict[str, Any] = {}
            values: dict[str, Any] = {}
            terms: dict[str, Any] = {}

            def visit(name: str, distribution: Distribution) -> Any:
                distributions[name] = distribution
                known = computed(distribution) if name not in given else None
                if known is not None:
                    values[name], terms[name] = known
                elif name in given:
                    values[name] = given[name]
                    terms[name] = distribution.log_prob(given[name]) if scored else ()
                elif scored:
                    values[name], terms[name] = distribution.sample_and_log_prob(seed=_site_key(key, name))
                else:
                    values[name], terms[name] = distribution.sample(seed=_site_key(key, name)), ()
                return values[name]

            self._run(visit)
            return distributions, values, jax.tree.map(jnp.sum, terms)

        shape = as_shape(sample_shape, f"{type(self).__name__}.sample: sample_shape") or lead
        if lead not in ((), shape):
            raise ValueError(
                f"{who}: the given values have the sample shape {lead}, so sample_shape must be that or (), got {shape}"
            )
        if not shape:
            return sites, *draw(key, given)

        def one(key: PRNGKeyArray, given: dict[str, Any]) -> Any:
            distributions, *rest = draw(key, given)
            # Of full rank inside, so that the mapped axis leads every parameter.
            return {name: d.broadcast_to(d.batch_shape) for name, d in distributions.items()}, *rest

        axes, given = _flatten(given, shape, sites)
        keys = jax.random.split(key, math.prod(shape))
        mapped = jax.vmap(one, in_axes=(0, axes))(keys, given)
        return sites, *jax.tree.map(lambda x: jnp.reshape(x, shape + x.shape[1:]), mapped)

    def log_prob(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """The log density of one draw or of many, a scalar for each.

        **Arguments:** the values of all sites, in one container, one by one, or by keyword. The value of a site without
        randomness, a `Deterministic` or `IncrementLogProb`, may be left out.

        **Raises:** `ValueError` naming the site whose value is missing or of the wrong shape.
        """
        return _total(self._parts("log_prob", args, kwargs)[1])

    def prob(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """The density of one draw or of many; see `log_prob`."""
        return jnp.exp(_total(self._parts("prob", args, kwargs)[1]))

    def unnormalized_log_prob(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """`log_prob`, under the name that TFP uses for it too."""
        return _total(self._parts("unnormalized_log_prob", args, kwargs)[1])

    def log_prob_parts(self, *args: Any, **kwargs: Any) -> Draw:
        """The log density of each site given those before it, in the container of a draw; see `log_prob`."""
        sites, terms = self._parts("log_prob_parts", args, kwargs)
        return sites.pack(terms)

    def prob_parts(self, *args: Any, **kwargs: Any) -> Draw:
        """The density of each site given those before it, in the container of a draw; see `log_prob`."""
        sites, terms = self._parts("prob_parts", args, kwargs)
        return sites.pack({name: jnp.exp(x) for name, x in terms.items()})

    def entropy(self) -> Float[Array, ""]:
        """The (differential) entropy in nats of a list or dictionary of sites that are independent of each other.

        **Raises:** `ValueError` where a site depends on another; `NotImplementedError` for a generator function.
        """
        return _total({name: jnp.sum(d.entropy()) for name, d in self._independent().items()})

    def kl_divergence(self, other: "JointDistribution[Any]") -> Float[Array, ""]:
        """The Kullback-Leibler divergence KL(self || other) in nats, for lists or dictionaries of independent sites.

        **Raises:** as `entropy`; `ValueError` where names or shapes of sites differ.
        """
        return kl_divergence(self, other)

    def cross_entropy(self, other: "JointDistribution[Any]") -> Float[Array, ""]:
        """-E log other(X) for X from self, in nats: the entropy plus the divergence."""
        return self.entropy() + self.kl_divergence(other)

    def _parts(self, method: str, args: tuple, kwargs: dict[str, Any]) -> tuple["Sites", dict[str, Any]]:
        sites = self._sites()
        return sites, self._map_parts(sites.all_by_name(f"{type(self).__name__}.{method}", args, kwargs), sites)

    def _map_parts(self, values: dict[str, Any], sites: "Sites") -> dict[str, Any]:
        values, lead = _fit(type(self).__name__, values, sites)

        def parts(values: dict[str, Any]) -> dict[str, Any]:
            terms: dict[str, Any] = {}

            def visit(name: str, distribution: Distribution) -> Any:
                known = computed(distribution) if name not in values else None
                x, term = (values[name], distribution.log_prob(values[name])) if known is None else known
                terms[name] = jnp.sum(term)
                return x

            self._run(visit)
            return terms

        if not lead:
            return parts(values)
        axes, values = _flatten(values, lead, sites)
        terms = jax.vmap(parts, in_axes=(axes,))(values)
        return {name: jnp.reshape(terms[name], lead) for name in sites}

    def pin(self, *args: Any, **kwargs: Any) -> "JointDistributionPinned[Draw]":
        """The same model with the values of some sites given: a posterior, up to its normalising constant.

        **Arguments:** the values by keyword, or a container in which None marks the sites left free.

        **Raises:** `ValueError` for an unknown site or a value of the wrong shape.
        """
        who = f"{type(self).__name__}.pin"
        if not args and not kwargs:
            raise ValueError(f"{who}: which sites have which values? For example pin(y=y); pin({{}}) leaves all free")
        for name, value in kwargs.items():
            if value is None:
                raise ValueError(f"{who}: {name}=None pins nothing; leave {name} out to leave it free")
        return JointDistributionPinned(self, self._sites().by_name(_one_container(args, kwargs)))

    def experimental_pin(self, *args: Any, **kwargs: Any) -> "JointDistributionPinned[Draw]":
        """TFP's name of `pin`."""
        return self.pin(*args, **kwargs)


class Container(NamedTuple):
    """How a joint distribution holds the values of its sites.

    - `who`: its class, for messages.
    - `pack`: makes the container from values by name.
    - `by_name_only`: whether values must be given by name.
    """

    who: str
    pack: Callable[[Mapping[str, Any]], Any]
    by_name_only: bool = False


class Sites(dict[str, Shape]):
    """The sites of a model in order: the one-draw shape of each, batch and event together, by its name.

    A joint distribution may be a site of another. The name of a site is its path with dots in between.

    - `paths`: of each site.
    - `containers`: of each joint distribution by its path, which is `()` for the outermost one.
    - `dtypes`: of each site.
    - `computed`: the sites without randomness.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paths: dict[str, Path] = {}
        self.containers: dict[Path, Container] = {}
        self.dtypes: dict[str, Any] = {}
        self.computed: set[str] = set()

    def add(self, path: Path, distribution: Distribution) -> None:
        """Adds a site."""
        name = ".".join(path)
        self[name], self.paths[name] = distribution.batch_shape + distribution.event_shape, path
        self.dtypes[name] = distribution.dtype
        if computed(distribution) is not None:
            self.computed.add(name)

    def only(self, names: Collection[str]) -> "Sites":
        """Some of the sites."""
        part = Sites()
        part.update({name: shape for name, shape in self.items() if name in names})
        part.paths, part.containers = self.paths, self.containers
        part.dtypes, part.computed = self.dtypes, self.computed
        return part

    def pack(self, values: Mapping[str, Any], at: Path = ()) -> Any:
        """Values by name, in any order, in the containers of a draw."""
        parts: dict[str, Any] = {}
        for name in self:
            path = self.paths[name]
            if name in values and path[: len(at)] == at and (head := path[len(at)]) not in parts:
                parts[head] = values[name] if len(path) == len(at) + 1 else self.pack(values, (*at, head))
        return self.containers[at].pack(parts)

    def by_name(self, value: Any) -> dict[str, Array]:
        """Values in containers, or by name, as arrays by name; those that are None are left out.

        **Raises:** `ValueError` for an unknown site or the wrong number of values, `TypeError` for what is no array of
        numbers, naming the site.
        """
        who = self.containers[()].who
        return {name: _as_value(who, name, x) for name, x in self._flat(value, ()).items()}

    def _flat(self, value: Any, at: Path) -> dict[str, Any]:
        """By the names of their sites, what a container of the joint distribution at a path holds."""
        who = self.containers[at].who
        heads = list(dict.fromkeys(path[len(at)] for name in self if (path := self.paths[name])[: len(at)] == at))
        if hasattr(value, "_asdict"):
            value = value._asdict()
        if isinstance(value, Mapping):
            # Of the outermost joint distribution, those inside may be given by their whole names.
            known = heads if at else [*heads, *(name for name in self if name not in heads)]
            for name in value:
                if name not in known:
                    close = difflib.get_close_matches(str(name), known, n=1)
                    hint = f", did you mean {close[0]!r}?" if close else ""
                    raise ValueError(f"{who} has no site {name!r}{hint} (sites: {', '.join(heads)})")
        elif self.containers[at].by_name_only:
            raise TypeError(f"{who} takes values by name, in a dictionary, got {type(value).__name__}")
        else:
            if not isinstance(value, Sequence):
                value = (value,)
            if len(value) != len(heads):
                raise ValueError(f"{who} has {len(heads)} sites ({', '.join(heads)}), got {len(value)} values")
            value = dict(zip(heads, value))
        out: dict[str, Any] = {}
        for head, x in value.items():
            path = (*at, head)
            if x is None:
                continue
            found = self._flat(x, path) if path in self.containers else {".".join(path): x}
            if twice := out.keys() & found.keys():
                raise ValueError(f"{who}: the site {min(twice)!r} has two values")
            out |= found
        return out

    def all_by_name(self, who: str, args: tuple, kwargs: dict[str, Any]) -> dict[str, Array]:
        """The values of all sites by name, from the arguments of a call of `who`; those without randomness may lack."""
        values = self.by_name(_one_container(args, kwargs))
        for name in self:
            if name not in values and name not in self.computed:
                raise ValueError(f"{who}: the site {name!r} has no value")
        return values


def _as_value(who: str, name: str, x: Any) -> Array:
    """A value of a site as an array. **Raises:** `TypeError` for what is no array of real numbers, naming the site."""
    if isinstance(x, np.ma.MaskedArray):
        if np.any(np.ma.getmaskarray(x)):
            raise TypeError(
                f"{who}: the value of site {name!r} is a masked array; leave out what is missing, or make it a site"
            )
        x = x.data
    try:
        # JAX takes some strings for names of types.
        if not any(isinstance(leaf, str | bytes) for leaf in jax.tree.leaves(x)):
            value = jnp.asarray(x)
            if any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)):
                return value
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"{who}: the value of site {name!r} must be an array of real numbers, got {x!r}")


def _one_container(args: tuple, kwargs: dict[str, Any]) -> Any:
    """Values given by keyword, in one container, or one by one, as one container."""
    return kwargs if kwargs else args[0] if len(args) == 1 else args


def _stand_in(distribution: Distribution) -> Array:
    """An array of the shape and dtype of a draw, which tells shapes where there is no sampler."""
    if (known := computed(distribution)) is not None:
        return known[0]
    return jnp.zeros(distribution.batch_shape + distribution.event_shape, distribution.dtype)


def _site_key(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _total(terms: Mapping[str, Array]) -> Array:
    # From the first term on: a zero of the default dtype would widen float32 densities.
    return functools.reduce(jnp.add, terms.values()) if terms else jnp.zeros(())


def _fit(who: str, values: dict[str, Array], sites: Mapping[str, Shape]) -> tuple[dict[str, Array], Shape]:
    """The values, checked to end in the one-draw shapes of their sites, and the shape to which the rest broadcasts."""
    leads = {}
    for name, x in values.items():
        shape = sites[name]
        if x.shape[max(x.ndim - len(shape), 0) :] != shape:
            raise ValueError(f"{who}: the value of site {name!r} must end in its shape {shape}, got shape {x.shape}")
        leads[name] = x.shape[: x.ndim - len(shape)]
    try:
        lead: Any = jnp.broadcast_shapes(*leads.values())
        return values, lead
    except ValueError:
        listing = ", ".join(f"{lead} of {name!r}" for name, lead in leads.items() if lead)
        raise ValueError(f"{who}: the sample shapes of the sites do not broadcast: {listing}") from None


def _flatten(
    values: dict[str, Array], lead: Shape, sites: Mapping[str, Shape]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Values with sample dimensions as a flat batch of shape `lead`, ready for `jax.vmap`, and their axes for it; those
    without are shared by all draws."""
    axes, flat = {}, {}
    for name, x in values.items():
        own = sites[name]
        many = x.ndim > len(own)
        axes[name] = 0 if many else None
        flat[name] = jnp.reshape(jnp.broadcast_to(x, lead + own), (math.prod(lead), *own)) if many else x
    return axes, flat


def _vectors(x: Numeric, who: str) -> Array:
    check_numbers(x, f"{who}: x")
    return promote(x)


def _as_rows(x: Float[Array, "*sample dim"]) -> Float[Array, "n dim"]:
    return jnp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


class JointDistributionPinned(Module, Generic[Draw]):
    """A joint distribution some of whose sites have given values: a density over the rest, not normalised.

    Made by `JointDistribution.pin`. It is callable, as a target for samplers and optimizers.

    **Arguments:** `distribution`; `pins`: values by site name.

    **Raises:** `ValueError` for an unknown site or a value that does not have the site's one-draw shape.
    """

    distribution: JointDistribution[Draw]
    pins: dict[str, Array] = data()

    def __init__(self, distribution: JointDistribution[Draw], pins: Mapping[str, Any]):
        sites = distribution._sites()
        self.distribution = distribution
        self.pins = sites.by_name(pins)
        for name, x in self.pins.items():
            if x.shape != sites[name]:
                raise ValueError(
                    f"{type(distribution).__name__}.pin: site {name!r} has shape {sites[name]}, got {x.shape}"
                )

    def _free(self, sites: Sites) -> Sites:
        return sites.only([name for name in sites if name not in self.pins])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites that are not pinned, in order."""
        return tuple(self._free(self.distribution._sites()))

    @property
    def event_shape(self) -> Any:
        """The one-draw shapes of the sites that are not pinned."""
        free = self._free(self.distribution._sites())
        return free.pack(free)

    def log_density(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """The joint log density at values of the free sites: the log posterior up to a constant.

        **Arguments:** the values in one container, one by one, or by keyword. Many draws give one number for each.
        Sites without randomness are computed, whatever is given for them.
        """
        sites = self.distribution._sites()
        values = self._free(sites).all_by_name("JointDistributionPinned.log_density", args, kwargs)
        values = {name: x for name, x in values.items() if name not in sites.computed}
        return _total(self.distribution._map_parts(values | self.pins, sites))

    def unnormalized_log_prob(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """TFP's name of `log_density`."""
        return self.log_density(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """`log_density`."""
        return self.log_density(*args, **kwargs)

    def sample_unpinned(
        self, sample_shape: ShapeLike = (), *, seed: Seed | None = None
    ) -> Draw:
        """Draws of the free sites from the model run forward with the pinned values: no draws of the posterior."""
        sites, _, values, _ = self.distribution._draw(sample_shape, seed, self.pins)
        return sites.pack({name: values[name] for name in self._free(sites)})

    def unconstrained(self) -> "UnconstrainedDensity[Draw]":
        """The log density as a function of one flat vector of free reals; see `UnconstrainedDensity`.

        **Raises:** `ValueError` where a free site is discrete, naming it.
        """
        layout, dtypes = [], []
        joint = self.distribution

        def visit(name: str, distribution: Distribution) -> Array:
            if name in self.pins:
                return self.pins[name]
            if computed(distribution) is not None:
                return _stand_in(distribution)
            if distribution.support.is_discrete:
                raise ValueError(
                    f"{type(joint).__name__}: the site {name!r} is discrete, so it cannot be a free real; pin it or "
                    "sum it out of the model"
                )
            bijector = bijector_for(distribution.support)
            shape = distribution.batch_shape + bijector.inverse_event_shape(distribution.event_shape)
            layout.append((name, shape))
            dtypes.append(distribution._float_dtype())
            return _stand_in(distribution)

        joint._run_abstractly(visit)
        return UnconstrainedDensity(self, tuple(layout), jnp.result_type(*dtypes) if dtypes else default_float())


class UnconstrainedDensity(Module, Generic[Draw]):
    """A pinned joint density in the coordinates of its free reals: a function from vectors of length `dim`.

    The log density includes the log determinants of the maps onto the supports of the sites, so it is the density of
    the vector. The model runs once: supports may depend on the sites before them. The pinned data are leaves, so new
    data of the same shapes need no new compilation.

    **Arguments:** `pinned`: the joint density; `layout`: name and unconstrained shape of each free site, in order;
    `dtype`: of a starting point. Made by `JointDistributionPinned.unconstrained`.
    """

    pinned: JointDistributionPinned[Draw]
    layout: tuple[tuple[str, Shape], ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """The length of the vector."""
        return sum(math.prod(shape) for _, shape in self.layout)

    def split(self, x: Float[Array, " dim"]) -> dict[str, Array]:
        """A vector of free reals as its sites' parts."""
        if x.shape != (self.dim,):
            raise ValueError(f"UnconstrainedDensity takes a vector of length {self.dim}, got shape {x.shape}")
        pieces, start = {}, 0
        for name, shape in self.layout:
            size = math.prod(shape)
            pieces[name] = jnp.reshape(x[start : start + size], shape)
            start += size
        return pieces

    def _run(
        self,
        free: Callable[[str, Distribution, Bijector], Array],
        seen: Callable[[str, Distribution, Array], None] = lambda name, distribution, value: None,
    ) -> Sites:
        """Runs the model once: `free` gives the values of the free sites, `seen` is told of the others."""
        pins = self.pinned.pins

        def visit(name: str, distribution: Distribution) -> Array:
            known = None if name in pins else computed(distribution)
            if name not in pins and known is None:
                return free(name, distribution, bijector_for(distribution.support))
            value = pins[name] if known is None else known[0]
            seen(name, distribution, value)
            return value

        return self.pinned.distribution._run(visit)

    def __call__(self, x: Numeric) -> Float[Array, "..."]:
        """The log density at one vector of free reals, or many."""
        x = _vectors(x, "UnconstrainedDensity")
        if x.ndim > 1:
            return jnp.reshape(jax.vmap(self)(_as_rows(x)), x.shape[:-1])
        return _total(self.log_densities(x))

    def log_densities(self, x: Float[Array, " dim"]) -> dict[str, Float[Array, ""]]:
        """The terms of the log density by site: of a free one, the log determinant of its map is part of it."""
        pieces, terms = self.split(x), {}

        def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
            terms[name] = jnp.sum(distribution._free_density(pieces[name]))
            return bijector.forward(pieces[name])

        def seen(name: str, distribution: Distribution, value: Array) -> None:
            known = None if name in self.pinned.pins else computed(distribution)
            terms[name] = jnp.sum(distribution.log_prob(value) if known is None else known[1])

        self._run(free, seen)
        return terms

    def constrain(self, x: Numeric) -> Draw:
        """The values of the sites that are not pinned at one vector or many, in the container of a draw."""
        x = _vectors(x, "UnconstrainedDensity.constrain")
        if x.ndim > 1:
            draws = jax.vmap(self.constrain)(_as_rows(x))
            return jax.tree.map(lambda v: jnp.reshape(v, x.shape[:-1] + v.shape[1:]), draws)
        pieces = self.split(x)
        values: dict[str, Array] = {}

        def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
            values[name] = bijector.forward(pieces[name])
            return values[name]

        def seen(name: str, distribution: Distribution, value: Array) -> None:
            if name not in self.pinned.pins:
                values[name] = value

        return self._run(free, seen).pack(values)

    def unconstrain(self, *args: Any, **kwargs: Any) -> Float[Array, " dim"]:
        """The vector of free reals at one value of the free sites; the inverse of `constrain`.

        **Arguments:** the values in one container, one by one, or by keyword. Those of sites without randomness may be
        left out and are not used.
        """
        free = self._free_sites()
        return self._vector(free.all_by_name("UnconstrainedDensity.unconstrain", args, kwargs))

    def position_of(self, values: Any) -> Float[Array, "*chains dim"]:
        """The vector of free reals at values of the free sites, or one for each chain.

        **Arguments:** `values`: a container of the values, in the model's own space: all of the shapes of the sites, or
        all with one more axis, of chains, in front.

        **Raises:** `ValueError` for a site that is missing or unknown, of another shape, or, naming it, whose value is
        not inside of its support.
        """
        who = "UnconstrainedDensity.position_of"
        free = self._free_sites()
        given = free.all_by_name(who, (values,), {})
        given, lead = _fit(who, {name: x for name, x in given.items() if name in dict(self.layout)}, free)
        if len(lead) > 1:
            raise ValueError(f"{who}: values may have one axis of chains before their shapes, got the axes {lead}")
        if not lead:
            x = self._vector(given)
        else:
            for name, value in given.items():
                if value.ndim == len(free[name]):
                    raise ValueError(f"{who}: the value of site {name!r} has no axis of chains, but those of others do")
            sizes = {name: value.shape[0] for name, value in given.items()}
            if len(set(sizes.values())) > 1:
                raise ValueError(f"{who}: the numbers of chains differ: {sizes}")
            x = jax.vmap(self._vector)(given)
        if not isinstance(x, Tracer) and not np.all(np.isfinite(x)):
            # A sum over the chains is finite where all are.
            for name, part in self.split(jnp.sum(jnp.reshape(x - x, (-1, self.dim)), axis=0)).items():
                if not np.all(np.isfinite(part)):
                    raise ValueError(f"{who}: the value of site {name!r} is not inside of its support: {given[name]}")
        return x

    def _free_sites(self) -> Sites:
        return self.pinned._free(self.pinned.distribution._sites())

    def _vector(self, values: Mapping[str, Array]) -> Float[Array, " dim"]:
        shapes = dict(self.layout)
        pieces: dict[str, Array] = {}

        def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
            pieces[name] = jnp.broadcast_to(bijector.inverse(values[name]), shapes[name])
            return values[name]

        self._run(free)
        parts = [jnp.ravel(pieces[name]) for name, _ in self.layout]
        return jnp.concatenate(parts).astype(self.dtype) if parts else jnp.zeros(0, self.dtype)

    def init(self, seed: Seed | None = None) -> Float[Array, " dim"]:
        """A random starting point: uniform between -2 and 2 in every coordinate.

        **Raises:** `TypeError` without a seed.
        """
        key = as_key(seed, "UnconstrainedDensity.init")
        return jax.random.uniform(key, (self.dim,), self.dtype, -2.0, 2.0)


@register_kl(JointDistribution, JointDistribution)
def _kl_joint(p: JointDistribution[Any], q: JointDistribution[Any]) -> Array:
    ours, theirs = p._independent(), q._independent()
    if ours.keys() != theirs.keys():
        raise ValueError(f"KL of joint distributions with the sites {', '.join(ours)} and {', '.join(theirs)}")
    p_shapes, q_shapes = dict(p._sites()), dict(q._sites())
    if p_shapes != q_shapes:
        raise ValueError(f"KL of joint distributions whose sites have the shapes {p_shapes} and {q_shapes}")
    return _total({name: jnp.sum(kl_divergence(d, theirs[name])) for name, d in ours.items()})
