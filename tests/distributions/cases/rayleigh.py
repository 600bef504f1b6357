"""A distribution as a user writes one; the generic tests run on it unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats as st
from jaxtyping import Array, Float

from distrax_like import parameter, promote
from distrax_like.distributions import Distribution
from distrax_like.supports import nonnegative, positive

from .case import HALF_LINE, MOMENTS, SCALE, Case


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

    def _cdf(self, value):
        return -jnp.expm1(self._log_survival_function(value))

    def _log_survival_function(self, value):
        return -((value / self.scale) ** 2) / 2


CASES = {
    "Rayleigh": Case(
        make=lambda a: Rayleigh(a(SCALE)),
        values=HALF_LINE,
        reference=lambda i: st.rayleigh(scale=SCALE[i]),
        outside=[-1.0, -1e-20, np.inf],
        lacks=f"survival_function log_cdf quantile median mode entropy {MOMENTS}",
    ),
}
