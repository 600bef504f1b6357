"""The exponential and gamma distributions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, exactly_one, keep_within, promote
from distrax_like._module import parameter
from distrax_like.special._incomplete_gamma import gamma_tail, log_quantile_near_zero
from distrax_like.supports import Support, nonnegative, positive

from ._distribution import Distribution
from ._kl import register_kl
from ._special_cases import PRODUCT, power_law, where_defined


class Exponential(Distribution):
    """The exponential distribution, with density rate exp(-rate x) for x >= 0.

    **Arguments:** `rate`: the inverse of the mean, positive.
    """

    rate: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, rate: Numeric):
        self.rate = promote(rate)

    @property
    def support(self) -> Support:
        return nonnegative

    def _log_prob(self, value: Event) -> Real:
        return jnp.log(self.rate) - self.rate * value

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return jax.random.exponential(key, shape, self.rate.dtype) / self.rate

    def _cdf(self, value: Event) -> Real:
        return -jnp.expm1(-self.rate * value)

    def _log_cdf(self, value: Event) -> Real:
        return power_law(special.log1mexp, PRODUCT, self.rate, value, at_zero=1.0)

    def _survival_function(self, value: Event) -> Real:
        return jnp.exp(-self.rate * value)

    def _log_survival_function(self, value: Event) -> Real:
        return -self.rate * value

    def _quantile(self, p: Real) -> Event:
        return -jnp.log1p(-p) / self.rate

    def _inverse_survival_function(self, q: Real) -> Event:
        return -jnp.log(q) / self.rate

    def _mean(self) -> Real:
        return 1 / self.rate

    def _mode(self) -> Event:
        return jnp.zeros_like(self.rate)

    def _variance(self) -> Real:
        return self.rate**-2

    def _stddev(self) -> Real:
        return 1 / self.rate

    def _entropy(self) -> Real:
        return 1 - jnp.log(self.rate)


@register_kl(Exponential, Exponential)
def _kl_exponential(p: Exponential, q: Exponential) -> Array:
    log_ratio = jnp.log(q.rate) - jnp.log(p.rate)
    return special.expm1mx(log_ratio)


class Gamma(Distribution):
    """The gamma distribution, with density rate^a x^(a - 1) exp(-rate x) / Γ(a) for x >= 0 and a = concentration.

    **Arguments:** `concentration`: a, positive; exactly one of `rate`, positive, which is what is stored, and
    `log_rate`.

    **Raises:** `ValueError` for both or neither of `rate` and `log_rate`.
    """

    concentration: Float[Array, "*#batch"] = parameter(positive)
    rate: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, concentration: Numeric, rate: Numeric | None = None, log_rate: Numeric | None = None):
        exactly_one("Gamma", rate=rate, log_rate=log_rate)
        self.concentration, given, log_given = promote(concentration, rate, log_rate)
        self.rate = jnp.exp(log_given) if given is None else given

    @classmethod
    def experimental_from_mean_variance(cls, mean: Numeric, variance: Numeric) -> "Gamma":
        """The gamma distribution of a positive mean and variance."""
        mean, variance = promote(mean, variance)
        return cls(mean**2 / variance, mean / variance)

    @property
    def log_rate(self) -> Float[Array, "*batch"]:
        """The log of the rate."""
        return jnp.log(self.rate)

    @property
    def support(self) -> Support:
        return nonnegative

    def _log_prob(self, value: Event) -> Real:
        return special.log_gamma_density(value, self.concentration, self.rate)

    def _log_prob_at_free(self, x: Real) -> Real:
        return special.log_gamma_density_of_log(x, self.concentration, self.rate)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # Of small concentrations most draws underflow; the smallest normal number keeps their density finite.
        log_draw = random.loggamma(key, self.concentration, shape)
        # Exponentials of logs lose digits for large concentrations, which never underflow.
        draw = self._scaled(random.gamma(key, self.concentration, shape), log_draw)
        return keep_within(draw, jnp.finfo(draw.dtype).tiny, jnp.inf)

    def _scaled(self, standard: Real, log_standard: Real) -> Real:
        """A member of the family from one of rate one, also where that underflows."""
        lost = standard < jnp.finfo(standard.dtype).tiny
        from_log = jnp.exp(jnp.where(lost, log_standard, 0) - jnp.log(self.rate))
        return jnp.where(lost, from_log, jnp.where(lost, 1, standard) / self.rate)

    def _log_product(self, value: Event) -> Real:
        return jnp.log(self.rate) + jnp.log(value)

    def _cdf(self, value: Event) -> Real:
        return gamma_tail("cdf", self.concentration, self.rate * value, self._log_product(value))

    def _log_cdf(self, value: Event) -> Real:
        return gamma_tail("log_cdf", self.concentration, self.rate * value, self._log_product(value))

    def _survival_function(self, value: Event) -> Real:
        return gamma_tail("survival_function", self.concentration, self.rate * value, self._log_product(value))

    def _log_survival_function(self, value: Event) -> Real:
        return gamma_tail("log_survival_function", self.concentration, self.rate * value, self._log_product(value))

    def _quantile(self, p: Real) -> Event:
        return self._quantile_of(special.gammaincinv(self.concentration, p), jnp.log(p))

    def _inverse_survival_function(self, q: Real) -> Event:
        return self._quantile_of(special.gammainccinv(self.concentration, q), jnp.log1p(-q))

    def _quantile_of(self, standard: Real, log_p: Real) -> Real:
        return self._scaled(standard, log_quantile_near_zero(self.concentration, log_p))

    def _mean(self) -> Real:
        return self.concentration / self.rate

    def _mode(self) -> Event:
        return where_defined(self.concentration >= 1, lambda a: (a - 1) / self.rate, self.concentration, safe=2.0)

    def _variance(self) -> Real:
        return self.concentration / self.rate**2

    def _stddev(self) -> Real:
        return jnp.sqrt(self.concentration) / self.rate

    def _entropy(self) -> Real:
        return special.gamma_entropy(self.concentration, self.rate)


@register_kl(Gamma, Gamma)
def _kl_gamma(p: Gamma, q: Gamma) -> Array:
    return special.gamma_divergence(p.concentration, p.rate, q.concentration, q.rate)
