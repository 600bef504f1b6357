"""The Cauchy distribution folded at its centre."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like.special import log1psquare
from distrax_like.special._constants import LOG_2, LOG_PI
from distrax_like.supports import Support, at_least

from ._location_scale import LocationScale
from ._special_cases import QUOTIENT, power_law

_HALF_PI = math.pi / 2
_LOG_HALF_PI = math.log(_HALF_PI)


class HalfCauchy(LocationScale):
    """The half-Cauchy distribution, with density 2 / (pi scale (1 + z^2)) for x >= loc and z = (x - loc) / scale.

    The mean is infinite and the variance undefined (NaN).

    **Arguments:** `loc`: the lower end; `scale`: the distance from there to the median, positive.
    """

    def __init__(self, loc: Numeric, scale: Numeric):
        self.loc, self.scale = promote(loc, scale)

    @property
    def support(self) -> Support:
        return at_least(self.loc)

    def _standard_log_prob(self, z: Real) -> Real:
        return -_LOG_HALF_PI - log1psquare(z)

    def _standard_sample(self, key: PRNGKeyArray, shape: Shape) -> Real:
        # The ratio of two normal variables reaches far into the tail, which the tangent of a uniform does not.
        normal = jnp.abs(jax.random.normal(key, (2, *shape), self.loc.dtype))
        return normal[0] / jnp.maximum(normal[1], jnp.finfo(normal.dtype).eps ** 2)

    def _standard_cdf(self, z: Real) -> Real:
        return jnp.arctan(z) / _HALF_PI

    def _standard_log_cdf(self, z: Real) -> Real:
        near = z < 1
        low = jnp.log(jnp.arctan(jnp.where(near, z, 1))) - _LOG_HALF_PI
        return jnp.where(near, low, jnp.log1p(-self._standard_cdf(1 / jnp.where(near, 1, z))))

    def _log_cdf(self, value: Event) -> Real:
        return power_law(self._standard_log_cdf, QUOTIENT, value - self.loc, self.scale, at_zero=1.0)

    def _tail_index(self) -> float:
        return 1.0

    def _standard_survival_function(self, z: Real) -> Real:
        return self._standard_cdf(1 / z)

    def _standard_log_survival_function(self, z: Real) -> Real:
        return self._standard_log_cdf(1 / z)

    def _standard_quantile(self, p: Real) -> Real:
        low = p < 0.5
        high = 1 / jnp.tan(_HALF_PI * jnp.where(low, 0.5, 1 - p))
        return jnp.where(low, jnp.tan(_HALF_PI * jnp.where(low, p, 0.5)), high)

    def _standard_inverse_survival_function(self, q: Real) -> Real:
        return 1 / self._standard_quantile(q)

    def _standard_mean(self) -> float:
        return math.inf

    def _standard_median(self) -> float:
        return 1.0

    def _standard_mode(self) -> float:
        return 0.0

    def _standard_variance(self) -> float:
        return math.nan

    def _standard_entropy(self) -> float:
        return LOG_2 + LOG_PI
