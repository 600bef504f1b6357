"""The exponential and gamma distributions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, exactly_one, promote
from distrax_like._module import parameter
from distrax_like.supports import Support, nonnegative, positive

from ._distribution import Distribution
from ._kl import register_kl
from ._special_cases import where_defined


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
        return special.log1mexp(self.rate * value)

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

    @property
    def support(self) -> Support:
        return nonnegative

    def _log_prob(self, value: Event) -> Real:
        return special.log_gamma_density(value, self.concentration, self.rate)

    def _log_prob_at_free(self, x: Real) -> Real:
        return special.log_gamma_density_of_log(x, self.concentration, self.rate)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # Of small concentrations most draws underflow; the smallest normal number keeps their density finite.
        draw = random.gamma(key, self.concentration, shape) / self.rate
        return jnp.maximum(draw, jnp.finfo(draw.dtype).tiny)

    def _cdf(self, value: Event) -> Real:
        return special.gammainc(self.concentration, self.rate * value)

    def _log_cdf(self, value: Event) -> Real:
        return special.log_gammainc(self.concentration, self.rate * value)

    def _survival_function(self, value: Event) -> Real:
        return special.gammaincc(self.concentration, self.rate * value)

    def _log_survival_function(self, value: Event) -> Real:
        return special.log_gammaincc(self.concentration, self.rate * value)

    def _quantile(self, p: Real) -> Event:
        return special.gammaincinv(self.concentration, p) / self.rate

    def _inverse_survival_function(self, q: Real) -> Event:
        return special.gammainccinv(self.concentration, q) / self.rate

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
