"""The normal distribution on the line, on its logarithm, and folded at zero."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Shape, promote
from distrax_like._module import parameter
from distrax_like.distributions._distribution import Distribution, Values
from distrax_like.distributions._kl import register_kl
from distrax_like.special import log_ndtr
from distrax_like.supports import Support, nonnegative, positive, real

_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


class Normal(Distribution):
    """The normal distribution, with density exp(-z^2 / 2) / (scale sqrt(2 pi)) for z = (x - loc) / scale.

    **Arguments:** `loc`: the mean; `scale`: the standard deviation, positive.
    """

    loc: Float[Array, "*#batch"] = parameter(real)
    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, loc: Numeric, scale: Numeric):
        self.loc, self.scale = promote(loc, scale)

    @property
    def support(self) -> Support:
        return real

    def _z(self, value: Values) -> Values:
        return (value - self.loc) / self.scale

    def _log_prob(self, value: Values) -> Values:
        return -0.5 * self._z(value) ** 2 - jnp.log(self.scale) - _HALF_LOG_2PI

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Values:
        return self.loc + self.scale * jax.random.normal(key, shape, self.loc.dtype)

    def _cdf(self, value: Values) -> Values:
        return jsp.ndtr(self._z(value))

    def _log_cdf(self, value: Values) -> Values:
        return log_ndtr(self._z(value))

    def _survival_function(self, value: Values) -> Values:
        return jsp.ndtr(-self._z(value))

    def _log_survival_function(self, value: Values) -> Values:
        return log_ndtr(-self._z(value))

    def _quantile(self, p: Values) -> Values:
        return self.loc + self.scale * jsp.ndtri(p)

    def _mean(self) -> Values:
        return self.loc

    def _median(self) -> Values:
        return self.loc

    def _mode(self) -> Values:
        return self.loc

    def _variance(self) -> Values:
        return self.scale**2

    def _stddev(self) -> Values:
        return self.scale

    def _entropy(self) -> Values:
        return 0.5 + _HALF_LOG_2PI + jnp.log(self.scale)


@register_kl(Normal, Normal)
def _kl_normal_normal(p: Normal, q: Normal) -> Array:
    # r - 1 - log r with r the ratio of variances, without cancellation near one.
    log_ratio = 2 * (jnp.log(p.scale) - jnp.log(q.scale))
    return 0.5 * ((p.loc - q.loc) / q.scale) ** 2 + 0.5 * (jnp.expm1(log_ratio) - log_ratio)
