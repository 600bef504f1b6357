"""The Cauchy distribution folded at its centre."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like._module import parameter
from distrax_like.special import log1psquare
from distrax_like.supports import Support, at_least, positive, real

from ._distribution import Distribution
from ._tails import cumulative

_LOG_HALF_PI = float(np.log(np.pi / 2))
_HALF_PI = float(np.pi / 2)


def _half_line_cdf(z: Real) -> Real:
    return jnp.arctan(z) / _HALF_PI


def _log_half_line_cdf(z: Real) -> Real:
    near = z < 1
    low = jnp.log(jnp.arctan(jnp.where(near, z, 1))) - _LOG_HALF_PI
    return jnp.where(near, low, jnp.log1p(-_half_line_cdf(1 / jnp.where(near, 1, z))))


class HalfCauchy(Distribution):
    """The half-Cauchy distribution, with density 2 / (pi scale (1 + z^2)) for x >= loc and z = (x - loc) / scale.

    The mean is infinite and the variance undefined (NaN).

    **Arguments:** `loc`: the lower end; `scale`: the distance from there to the median, positive.
    """

    loc: Float[Array, "*#batch"] = parameter(real)
    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, loc: Numeric, scale: Numeric):
        self.loc, self.scale = promote(loc, scale)

    @property
    def support(self) -> Support:
        return at_least(self.loc)

    def _z(self, value: Event) -> Real:
        return (value - self.loc) / self.scale

    def _log_prob(self, value: Event) -> Real:
        return -_LOG_HALF_PI - jnp.log(self.scale) - log1psquare(self._z(value))

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # The ratio of two normal variables reaches far into the tail, which the tangent of a uniform does not.
        normal = jnp.abs(jax.random.normal(key, (2, *shape), self.loc.dtype))
        return self.loc + self.scale * (normal[0] / jnp.maximum(normal[1], jnp.finfo(normal.dtype).eps ** 2))

    def _cdf(self, value: Event) -> Real:
        return cumulative(self._z(value), _half_line_cdf, 0.0, 1.0)

    def _log_cdf(self, value: Event) -> Real:
        return cumulative(self._z(value), _log_half_line_cdf, -jnp.inf, 0.0)

    def _survival_function(self, value: Event) -> Real:
        return cumulative(self._z(value), lambda z: _half_line_cdf(1 / z), 1.0, 0.0)

    def _log_survival_function(self, value: Event) -> Real:
        return cumulative(self._z(value), lambda z: _log_half_line_cdf(1 / z), 0.0, -jnp.inf)

    def _quantile(self, p: Real) -> Event:
        low = p < 0.5
        far = 1 / jnp.tan(_HALF_PI * jnp.where(low, 0.5, 1 - p))
        return self.loc + self.scale * jnp.where(low, jnp.tan(_HALF_PI * jnp.where(low, p, 0.5)), far)

    def _mean(self) -> Real:
        return jnp.full_like(self.loc, jnp.inf)

    def _median(self) -> Event:
        return self.loc + self.scale

    def _mode(self) -> Event:
        return self.loc

    def _variance(self) -> Real:
        return jnp.full_like(self.loc, jnp.nan)

    def _entropy(self) -> Real:
        return np.log(2 * np.pi).item() + jnp.log(self.scale)
