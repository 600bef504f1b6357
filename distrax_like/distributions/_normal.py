"""The normal distribution on the line, on its logarithm, and folded at zero."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, keep_within, promote
from distrax_like._module import parameter
from distrax_like.special import erfcinv, expm1mx, log_ndtr, ndtr, ndtri
from distrax_like.special._constants import HALF_LOG_2PI, HALF_LOG_HALF_PI, LOG_2, SQRT_HALF
from distrax_like.supports import Support, nonnegative, positive, real

from ._distribution import Distribution
from ._kl import register_kl
from ._location_scale import LocationScale
from ._special_cases import QUOTIENT, power_law


class Normal(LocationScale):
    """The normal distribution, with density exp(-z^2 / 2) / (scale sqrt(2 pi)) for z = (x - loc) / scale.

    **Arguments:** `loc`: the mean; `scale`: the standard deviation, positive.
    """

    is_symmetric: ClassVar[bool] = True

    def __init__(self, loc: Numeric, scale: Numeric):
        self.loc, self.scale = promote(loc, scale)

    @classmethod
    def experimental_from_mean_variance(cls, mean: Numeric, variance: Numeric) -> "Normal":
        """The normal distribution of a mean and a positive variance."""
        mean, variance = promote(mean, variance)
        return cls(mean, jnp.sqrt(variance))

    def _standard_log_prob(self, z: Real) -> Real:
        return -0.5 * z**2 - HALF_LOG_2PI

    def _standard_sample(self, key: PRNGKeyArray, shape: Shape) -> Real:
        return jax.random.normal(key, shape, self.loc.dtype)

    def _standard_cdf(self, z: Real) -> Real:
        return ndtr(z)

    def _standard_log_cdf(self, z: Real) -> Real:
        return log_ndtr(z)

    def _standard_quantile(self, p: Real) -> Real:
        return ndtri(p)

    def _standard_variance(self) -> float:
        return 1.0

    def _standard_entropy(self) -> float:
        return 0.5 + HALF_LOG_2PI


@register_kl(Normal, Normal)
def _kl_normal_normal(p: Normal, q: Normal) -> Array:
    log_ratio = 2 * (jnp.log(p.scale) - jnp.log(q.scale))
    return 0.5 * ((p.loc - q.loc) / q.scale) ** 2 + 0.5 * expm1mx(log_ratio)


class LogNormal(Distribution):
    """The distribution of exp(X) for X from Normal(loc, scale), with density exp(-z^2 / 2) / (x scale sqrt(2 pi)) for
    x >= 0 and z = (log x - loc) / scale.

    **Arguments:** `loc`: the mean of the log; `scale`: its standard deviation, positive.
    """

    loc: Float[Array, "*#batch"] = parameter(real)
    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, loc: Numeric, scale: Numeric):
        self.loc, self.scale = promote(loc, scale)

    @classmethod
    def experimental_from_mean_variance(cls, mean: Numeric, variance: Numeric) -> "LogNormal":
        """The log-normal distribution of a positive mean and variance."""
        mean, variance = promote(mean, variance)
        square = jnp.log1p((jnp.sqrt(variance) / mean) ** 2)
        return cls(jnp.log(mean) - square / 2, jnp.sqrt(square))

    @property
    def support(self) -> Support:
        return nonnegative

    def _log(self) -> Normal:
        return Normal(self.loc, self.scale)

    def _log_prob(self, value: Event) -> Real:
        # At zero the density is zero, and both of its factors are infinite in logs.
        log_value = jnp.log(jnp.where(value > 0, value, 1))
        return jnp.where(value > 0, self._log()._log_prob(log_value) - log_value, -jnp.inf)

    def _log_prob_at_free(self, x: Real) -> Real:
        return self._log()._log_prob(x)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self._exp(self._log()._sample(key, shape))

    def _exp(self, x: Real) -> Real:
        # A draw that underflows or overflows would have density zero.
        info = jnp.finfo(x.dtype)
        return keep_within(jnp.exp(x), info.tiny, info.max)

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        log_value = self._log()._sample(key, shape)
        return self._exp(log_value), self._log()._log_prob(log_value) - log_value

    def _cdf(self, value: Event) -> Real:
        return self._log()._cdf(jnp.log(value))

    def _log_cdf(self, value: Event) -> Real:
        return self._log()._log_cdf(jnp.log(value))

    def _survival_function(self, value: Event) -> Real:
        return self._log()._survival_function(jnp.log(value))

    def _log_survival_function(self, value: Event) -> Real:
        return self._log()._log_survival_function(jnp.log(value))

    def _quantile(self, p: Real) -> Event:
        return jnp.exp(self._log()._quantile(p))

    def _inverse_survival_function(self, q: Real) -> Event:
        return jnp.exp(self._log()._inverse_survival_function(q))

    def _mean(self) -> Real:
        return jnp.exp(self.loc + self.scale**2 / 2)

    def _median(self) -> Event:
        return jnp.exp(self.loc)

    def _mode(self) -> Event:
        return jnp.exp(self.loc - self.scale**2)

    def _variance(self) -> Real:
        return jnp.expm1(self.scale**2) * jnp.exp(2 * self.loc + self.scale**2)

    def _stddev(self) -> Real:
        return jnp.sqrt(jnp.expm1(self.scale**2)) * self._mean()

    def _entropy(self) -> Real:
        return self.loc + self._log()._entropy()


@register_kl(LogNormal, LogNormal)
def _kl_log_normal(p: LogNormal, q: LogNormal) -> Array:
    return _kl_normal_normal(p._log(), q._log())


class HalfNormal(Distribution):
    """The distribution of |X| for X from Normal(0, scale), with density sqrt(2 / pi) exp(-z^2 / 2) / scale for x >= 0
    and z = x / scale.

    **Arguments:** `scale`: positive.
    """

    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, scale: Numeric):
        self.scale = promote(scale)

    @property
    def support(self) -> Support:
        return nonnegative

    def _log_prob(self, value: Event) -> Real:
        return -0.5 * (value / self.scale) ** 2 - jnp.log(self.scale) - HALF_LOG_HALF_PI

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self.scale * jnp.abs(jax.random.normal(key, shape, self.scale.dtype))

    def _cdf(self, value: Event) -> Real:
        return jsp.erf(value / self.scale * SQRT_HALF)

    def _log_cdf(self, value: Event) -> Real:
        return power_law(_half_normal_log_cdf, QUOTIENT, value, self.scale, at_zero=1.0)

    def _survival_function(self, value: Event) -> Real:
        return jsp.erfc(value / self.scale * SQRT_HALF)

    def _log_survival_function(self, value: Event) -> Real:
        z = value / self.scale
        near = z < 1
        upper = LOG_2 + log_ndtr(-jnp.where(near, 1, z))
        return jnp.where(near, jnp.log1p(-jsp.erf(jnp.where(near, z, 1) * SQRT_HALF)), upper)

    def _quantile(self, p: Real) -> Event:
        return self.scale * jsp.erfinv(p) / SQRT_HALF

    def _inverse_survival_function(self, q: Real) -> Event:
        return self.scale * erfcinv(q) / SQRT_HALF

    def _mean(self) -> Real:
        return self.scale * math.sqrt(2 / math.pi)

    def _mode(self) -> Event:
        return jnp.zeros_like(self.scale)

    def _variance(self) -> Real:
        return self.scale**2 * (1 - 2 / math.pi)

    def _stddev(self) -> Real:
        return self.scale * (1 - 2 / math.pi) ** 0.5

    def _entropy(self) -> Real:
        return 0.5 + HALF_LOG_HALF_PI + jnp.log(self.scale)


def _half_normal_log_cdf(z: Real) -> Real:
    near = z < 1
    upper = jnp.log1p(-jsp.erfc(jnp.where(near, 1, z) * SQRT_HALF))
    return jnp.where(near, jnp.log(jsp.erf(jnp.where(near, z, 1) * SQRT_HALF)), upper)


@register_kl(HalfNormal, HalfNormal)
def _kl_half_normal(p: HalfNormal, q: HalfNormal) -> Array:
    log_ratio = 2 * (jnp.log(p.scale) - jnp.log(q.scale))
    return 0.5 * expm1mx(log_ratio)
