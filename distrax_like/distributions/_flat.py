"""Improper priors: densities of one everywhere on a set."""

import jax.numpy as jnp

from distrax_like._misc import Event, Real
from distrax_like.supports import Support, nonnegative, real

from ._distribution import Distribution


class Flat(Distribution):
    """The density of one everywhere on the real line: a prior that says nothing of a location. It has no draws."""

    @property
    def support(self) -> Support:
        return real

    def _log_prob(self, value: Event) -> Real:
        return jnp.zeros_like(value)


class HalfFlat(Distribution):
    """The density of one everywhere on x >= 0: a prior that says nothing of a scale. It has no draws."""

    @property
    def support(self) -> Support:
        return nonnegative

    def _log_prob(self, value: Event) -> Real:
        return jnp.zeros_like(value)
