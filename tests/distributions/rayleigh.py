"""A distribution as a user writes one; the registry's generic tests run on it unchanged."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like import parameter, promote
from distrax_like.distributions import Distribution
from distrax_like.supports import nonnegative, positive


class Rayleigh(Distribution):
    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, scale):
        self.scale = promote(scale)

    @property
    def support(self):
        return nonnegative

    def _log_prob(self, value):
        return jnp.log(value) - 2 * jnp.log(self.scale) - (value / self.scale) ** 2 / 2

    def _sample(self, key, shape):
        return self.scale * jnp.sqrt(2 * jax.random.exponential(key, shape, self.scale.dtype))
