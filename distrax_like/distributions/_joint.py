"""Joint distributions: the interpreter of models, pinned sites, and densities in free coordinates."""

import difflib
import functools
import math
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, SupportsIndex, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Seed, Shape, as_key, as_shape, default_float
from distrax_like._module import Module, data
from distrax_like.bijectors import Bijector, bijector_for

from ._distribution import Distribution

Visit: TypeAlias = Callable[[str, Distribution], Array | None]
Walk: TypeAlias = Generator[tuple[str, Distribution], Any, None]

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

    def _pack(self, values: Mapping[str, Any]) -> Any:
        """Values by name, in the container that this kind of joint distribution returns."""
        raise NotImplementedError

    def _run(self, visit: Visit) -> None:
        """Runs the model once; `visit` gives the value of each site."""
        who, seen = type(self).__name__, set()
        walk = self._walk()
        try:
            name, distribution = next(walk)
            while True:
                if name in seen:
                    raise ValueError(f"{who}: the site {name!r} is named twice")
                if not isinstance(distribution, Distribution):
                    raise TypeError(f"{who}: the site {name!r} must be a distribution, got {distribution!r}")
                seen.add(name)
                name, distribution = walk.send(visit(name, distribution))
        except StopIteration:
            pass

    def _sites(self) -> dict[str, Shape]:
        """The one-draw shape of each site, batch and event together, in order, from one abstract run of the model."""
        sites: dict[str, Shape] = {}

        def visit(name: str, distribution: Distribution) -> Array:
            sites[name] = distribution.batch_shape + distribution.event_shape
            return _stand_in(distribution)

        jax.eval_shape(lambda: self._run(visit))
        return sites

    # Public.

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites, in order."""
        return tuple(self._sites())

    @property
    def batch_shape(self) -> Shape:
        """`()`: a model describes one joint draw."""
        return ()

    @property
    def event_shape(self) -> Any:
        """The one-draw shapes of the sites, batch dimensions included, in the container of a draw."""
        return self._pack(self._sites())

    def sample(
        self, sample_shape: SupportsIndex | Sequence[SupportsIndex] = (), *, seed: Seed | None = None, value: Any = None
    ) -> Draw:
        """Random draws of all sites.

        **Arguments:** `sample_shape`: how many; `seed`: a key; `value`: values of some sites, with None for (or
        without) those to draw given these. Where these have a sample shape, it is that of the draws.

        **Returns:** a container of arrays of shape `sample_shape + batch_shape + event_shape` of each site.
        """
        return self.sample_distributions(sample_shape, seed=seed, value=value)[1]

    def sample_distributions(
        self, sample_shape: SupportsIndex | Sequence[SupportsIndex] = (), *, seed: Seed | None = None, value: Any = None
    ) -> tuple[Any, Draw]:
        """Random draws, with the distribution of each site given the values of those before it.

        **Arguments:** see `sample`. Given values may have sample dimensions.

        **Returns:** the distributions and the values, each in the container of a draw. Where there is a sample shape,
        it leads the batch shape of the distributions.
        """
        key = as_key(seed, f"{type(self).__name__}.sample")
        sites = self._sites()
        given = {} if value is None else self._by_name(value, sites)
        given, lead = _fit(type(self).__name__, given, sites)

        def draw(key: PRNGKeyArray, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
            distributions, values = {}, {}

            def visit(name: str, distribution: Distribution) -> Any:
                distributions[name] = distribution
                fixed = given.get(name)
                values[name] = distribution.sample(seed=_site_key(key, name)) if fixed is None else fixed
                return values[name]

            self._run(visit)
            return distributions, values

        shape = as_shape(sample_shape) or lead
        if lead not in ((), shape):
            raise ValueError(
                f"{type(self).__name__}.sample: the given values have the sample shape {lead}, so sample_shape must be "
                f"that or (), got {shape}"
            )
        if shape:

            def one(key: PRNGKeyArray, given: dict[str, Any]) -> Any:
                distributions, values = draw(key, given)
                # Of full rank inside, so that the mapped axis leads every parameter.
                return {name: d.broadcast_to(d.batch_shape) for name, d in distributions.items()}, values

            axes, given = _flatten(given, shape, sites)
            keys = jax.random.split(key, math.prod(shape))
            distributions, values = jax.vmap(one, in_axes=(0, axes))(keys, given)
            distributions, values = jax.tree.map(lambda x: jnp.reshape(x, shape + x.shape[1:]), (distributions, values))
        else:
            distributions, values = draw(key, given)
        return self._pack({n: distributions[n] for n in sites}), self._pack({n: values[n] for n in sites})

    def log_prob(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """The log density of one draw or of many, a scalar for each.

        **Arguments:** the values of all sites, in one container, one by one, or by keyword.

        **Raises:** `ValueError` naming the site whose value is missing or of the wrong shape.
        """
        return _total(self._parts(*args, **kwargs))

    def log_prob_parts(self, *args: Any, **kwargs: Any) -> Draw:
        """The log density of each site given those before it, in the container of a draw; see `log_prob`."""
        return self._pack(self._parts(*args, **kwargs))

    def _parts(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        sites = self._sites()
        return self._map_parts(self._all(f"{type(self).__name__}.log_prob", args, kwargs, sites), sites)

    def _map_parts(self, values: dict[str, Any], sites: dict[str, Shape]) -> dict[str, Any]:
        values, lead = _fit(type(self).__name__, values, sites)

        def parts(values: dict[str, Any]) -> dict[str, Any]:
            terms: dict[str, Any] = {}

            def visit(name: str, distribution: Distribution) -> Any:
                terms[name] = jnp.sum(distribution.log_prob(values[name]))
                return values[name]

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
        for name, value in kwargs.items():
            if value is None:
                who = type(self).__name__
                raise ValueError(f"{who}.pin: {name}=None pins nothing; leave {name} out to leave it free")
        return JointDistributionPinned(self, self._by_name(_container(args, kwargs), self._sites()))

    def experimental_pin(self, *args: Any, **kwargs: Any) -> "JointDistributionPinned[Draw]":
        """TFP's name of `pin`."""
        return self.pin(*args, **kwargs)

    def _by_name(self, value: Any, sites: Mapping[str, Any]) -> dict[str, Any]:
        """Values by the names of their sites; those that are None are left out."""
        who = type(self).__name__
        if hasattr(value, "_asdict"):
            value = value._asdict()
        if isinstance(value, Mapping):
            for name in value:
                if name not in sites:
                    close = difflib.get_close_matches(str(name), sites, n=1)
                    hint = f", did you mean {close[0]!r}?" if close else ""
                    raise ValueError(f"{who} has no site {name!r}{hint} (sites: {', '.join(sites)})")
        else:
            if not isinstance(value, Sequence):
                value = (value,)
            if len(value) != len(sites):
                raise ValueError(f"{who} has {len(sites)} sites ({', '.join(sites)}), got {len(value)} values")
            value = dict(zip(sites, value))
        return {name: jnp.asarray(x) for name, x in value.items() if x is not None}

    def _all(self, who: str, args: tuple, kwargs: dict[str, Any], sites: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all of `sites` by name, from the arguments of a call of `who`."""
        values = self._by_name(_container(args, kwargs), sites)
        for name in sites:
            if name not in values:
                raise ValueError(f"{who}: the site {name!r} has no value")
        return values


def _container(args: tuple, kwargs: dict[str, Any]) -> Any:
    """Values given by keyword, in one container, or one by one, as one container."""
    return kwargs if kwargs else args[0] if len(args) == 1 else args


def _stand_in(distribution: Distribution) -> Array:
    """An array of the shape and dtype of a draw, which tells shapes where there is no sampler."""
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
        self.pins = distribution._by_name(pins, sites)
        for name, x in self.pins.items():
            if x.shape != sites[name]:
                raise ValueError(
                    f"{type(distribution).__name__}.pin: site {name!r} has shape {sites[name]}, got {x.shape}"
                )

    def _free(self, sites: dict[str, Shape]) -> dict[str, Shape]:
        return {name: shape for name, shape in sites.items() if name not in self.pins}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites that are not pinned, in order."""
        return tuple(self._free(self.distribution._sites()))

    @property
    def event_shape(self) -> Any:
        """The one-draw shapes of the sites that are not pinned."""
        return self.distribution._pack(self._free(self.distribution._sites()))

    def log_density(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """The joint log density at values of the free sites: the log posterior up to a constant.

        **Arguments:** the values in one container, one by one, or by keyword. Many draws give one number for each.
        """
        sites = self.distribution._sites()
        values = self.distribution._all("JointDistributionPinned.log_density", args, kwargs, self._free(sites))
        return _total(self.distribution._map_parts(values | self.pins, sites))

    def __call__(self, *args: Any, **kwargs: Any) -> Float[Array, "..."]:
        """`log_density`."""
        return self.log_density(*args, **kwargs)

    def sample_unpinned(
        self, sample_shape: SupportsIndex | Sequence[SupportsIndex] = (), *, seed: Seed | None = None
    ) -> Draw:
        """Draws of the free sites from the model run forward with the pinned values: no draws of the posterior."""
        draws = self.distribution.sample(sample_shape, seed=seed, value=self.pins)
        sites = self.distribution._sites()
        values = self.distribution._by_name(draws, sites)
        return self.distribution._pack({name: values[name] for name in self._free(sites)})

    def unconstrained(self) -> "UnconstrainedDensity[Draw]":
        """The log density as a function of one flat vector of free reals; see `UnconstrainedDensity`.

        **Raises:** `ValueError` where a free site is discrete, naming it.
        """
        layout, dtypes = [], []
        joint = self.distribution

        def visit(name: str, distribution: Distribution) -> Array:
            if name in self.pins:
                return self.pins[name]
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

        jax.eval_shape(lambda: joint._run(visit))
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

    def _run(self, free: Callable[[str, Distribution, Bijector], Array], seen: Visit = lambda name, _: None) -> None:
        """Runs the model once: `free` gives the values of the free sites, `seen` is told of the others."""
        pins = self.pinned.pins

        def visit(name: str, distribution: Distribution) -> Array:
            if name in pins:
                seen(name, distribution)
                return pins[name]
            return free(name, distribution, bijector_for(distribution.support))

        self.pinned.distribution._run(visit)

    def __call__(self, x: Float[Array, "*sample dim"]) -> Float[Array, "*sample"]:
        """The log density at one vector of free reals, or many."""
        if x.ndim > 1:
            return jnp.reshape(jax.vmap(self)(_as_rows(x)), x.shape[:-1])
        return _total(self.log_densities(x))

    def log_densities(self, x: Float[Array, " dim"]) -> dict[str, Float[Array, ""]]:
        """The terms of the log density by site: of a free one, the log determinant of its map is part of it."""
        pieces, terms = self.split(x), {}

        def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
            terms[name] = jnp.sum(distribution._free_density(pieces[name]))
            return bijector.forward(pieces[name])

        def pinned(name: str, distribution: Distribution) -> None:
            terms[name] = jnp.sum(distribution.log_prob(self.pinned.pins[name]))

        self._run(free, pinned)
        return terms

    def constrain(self, x: Float[Array, "*sample dim"]) -> Draw:
        """The values of the free sites at one vector or many, in the container of a draw."""
        if x.ndim > 1:
            draws = jax.vmap(self.constrain)(_as_rows(x))
            return jax.tree.map(lambda v: jnp.reshape(v, x.shape[:-1] + v.shape[1:]), draws)
        pieces = self.split(x)
        values: dict[str, Array] = {}

        def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
            values[name] = bijector.forward(pieces[name])
            return values[name]

        self._run(free)
        return self.pinned.distribution._pack(values)

    def unconstrain(self, *args: Any, **kwargs: Any) -> Float[Array, " dim"]:
        """The vector of free reals at one value of the free sites; the inverse of `constrain`."""
        shapes = dict(self.layout)
        values = self.pinned.distribution._all("UnconstrainedDensity.unconstrain", args, kwargs, shapes)
        pieces: dict[str, Array] = {}

        def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
            pieces[name] = jnp.broadcast_to(bijector.inverse(values[name]), shapes[name])
            return values[name]

        self._run(free)
        return jnp.concatenate([jnp.ravel(pieces[name]) for name, _ in self.layout])

    def init(self, seed: Seed | None = None) -> Float[Array, " dim"]:
        """A random starting point: uniform between -2 and 2 in every coordinate.

        **Raises:** `TypeError` without a seed.
        """
        key = as_key(seed, "UnconstrainedDensity.init")
        return jax.random.uniform(key, (self.dim,), self.dtype, -2.0, 2.0)
