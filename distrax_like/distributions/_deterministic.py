"""Distributions without randomness: point masses, and terms of a log density."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like._module import data, parameter
from distrax_like.supports import Support, independent, real

from ._distribution import Distribution
from ._kl import register_kl
from ._wrappers import Independent, Sample


class _PointMass(Distribution):
    """What both point masses share: a value is at the point where each |x - loc| <= atol + rtol |loc|."""

    _ndims: ClassVar[int] = 0

    def _point(self) -> tuple[Real, Real, Real]:
        """The point, and the absolute and relative slack in its shape."""
        raise NotImplementedError

    @property
    def support(self) -> Support:
        return independent(real, self._ndims)

    def _log_prob(self, value: Event) -> Real:
        return jnp.where(self._is_at(value), 0.0, -jnp.inf).astype(value.dtype)

    def _is_at(self, value: Event) -> Array:
        loc, atol, rtol = self._point()
        near = (value == loc) | (jnp.abs(value - loc) <= atol + rtol * jnp.abs(loc))
        return jnp.all(near, axis=tuple(range(-self._ndims, 0)))

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return jnp.broadcast_to(self._point()[0], shape + self.event_shape)

    def _mean(self) -> Real:
        return self._point()[0]

    def _median(self) -> Event:
        return self._point()[0]

    def _mode(self) -> Event:
        return self._point()[0]

    def _variance(self) -> Real:
        return jnp.zeros_like(self._point()[0])

    def _entropy(self) -> Real:
        return jnp.zeros(self.batch_shape, self._float_dtype())


class Deterministic(_PointMass):
    """All mass at one point: probability 1 where |x - loc| <= atol + rtol |loc|, else 0.

    In a joint distribution it records a value that follows from others, `yield "rate", Deterministic(a * b)`. Where
    the value is not given the site is computed: it is in every draw, scores nothing, and is no free real of a pinned
    model.

    **Arguments:** `loc`: the point; `atol`, `rtol`: nonnegative, 0 where they are `None`, not trained.
    """

    loc: Float[Array, "*#batch"] = parameter(real)
    atol: Float[Array, "*#batch"] = data()
    rtol: Float[Array, "*#batch"] = data()

    def __init__(self, loc: Numeric, atol: Numeric | None = None, rtol: Numeric | None = None):
        self.loc, self.atol, self.rtol = promote(loc, 0 if atol is None else atol, 0 if rtol is None else rtol)

    def _point(self) -> tuple[Real, Real, Real]:
        return self.loc, self.atol, self.rtol

    def _cdf(self, value: Event) -> Real:
        return (value >= self.loc - (self.atol + self.rtol * jnp.abs(self.loc))).astype(value.dtype)


class VectorDeterministic(_PointMass):
    """All mass at one vector: probability 1 where |x_i - loc_i| <= atol + rtol |loc_i| for every i, else 0.

    **Arguments:** `loc`: the point, of shape `(..., d)`; `atol`, `rtol`: nonnegative numbers for each vector, 0 where
    they are `None`, not trained.
    """

    _ndims: ClassVar[int] = 1

    loc: Float[Array, "*#batch d"] = parameter(real)
    atol: Float[Array, "*#batch"] = data()
    rtol: Float[Array, "*#batch"] = data()

    def __init__(self, loc: Numeric, atol: Numeric | None = None, rtol: Numeric | None = None):
        self.loc, self.atol, self.rtol = promote(loc, 0 if atol is None else atol, 0 if rtol is None else rtol)

    def _event_shape(self) -> Shape:
        return self.loc.shape[-1:]

    def _point(self) -> tuple[Real, Real, Real]:
        return self.loc, self.atol[..., None], self.rtol[..., None]


class IncrementLogProb(Distribution):
    """A term of a log density: an event is a vector of length 0, and its log density is the increment.

    In a joint distribution, `yield "penalty", IncrementLogProb(-jnp.sum(w**2))` adds the increment to the log density.

    **Arguments:** `log_prob_increment`: real, or minus infinity.
    """

    log_prob_increment: Float[Array, "*#batch"] = parameter(real)

    def __init__(self, log_prob_increment: Numeric):
        self.log_prob_increment = promote(log_prob_increment)

    @property
    def support(self) -> Support:
        return independent(real, 1)

    def _event_shape(self) -> Shape:
        return (0,)

    def _log_prob(self, value: Event) -> Real:
        return jnp.broadcast_to(self.log_prob_increment, value.shape[:-1])

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return jnp.zeros((*shape, 0), self._float_dtype())


def computed(distribution: Distribution) -> tuple[Event, Real] | None:
    """The one value, and its log weight for each batch element, of a distribution without randomness; else `None`."""
    if isinstance(distribution, _PointMass):
        shape = distribution.batch_shape
        loc = distribution._point()[0]
        return jnp.broadcast_to(loc, shape + distribution.event_shape), jnp.zeros(shape, loc.dtype)
    if isinstance(distribution, IncrementLogProb):
        increment = distribution.log_prob_increment
        return jnp.zeros((*increment.shape, 0), increment.dtype), increment
    if isinstance(distribution, Independent):
        inner = computed(distribution.distribution)
        return None if inner is None else (inner[0], distribution._sum(inner[1]))
    if isinstance(distribution, Sample):
        inner = computed(distribution.distribution)
        return None if inner is None else (distribution._repeat(inner[0]), distribution._count() * inner[1])
    return None


@register_kl(_PointMass, Distribution)
def _kl_point_mass(p: _PointMass, q: Distribution) -> Array:
    return -q.log_prob(p.mean())
