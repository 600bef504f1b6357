"""The exponential and gamma distributions."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
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
    return jnp.expm1(log_ratio) - log_ratio


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
        a, log_rate = self.concentration, jnp.log(self.rate)
        z = self.rate * value
        # Where large terms cancel, the saddle-point form. Below, not the logarithm of z, which may underflow.
        small = z < 1
        big, near = jnp.where(small, 1, z), jnp.where(small, value, 0)
        saddle = jnp.log(a / big) + log_rate + special.log_poisson_mass(a, big)
        plain = special.xlogy(a - 1, jnp.where(small, value, 1)) - self.rate * near + a * log_rate - jsp.gammaln(a)
        return jnp.where(small, plain, saddle)

    def _log_prob_at_free(self, x: Real) -> Real:
        a = self.concentration
        return a * (x + jnp.log(self.rate)) - self.rate * jnp.exp(x) - jsp.gammaln(a)

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
        a = self.concentration
        return a - jnp.log(self.rate) + jsp.gammaln(a) + (1 - a) * jsp.digamma(a)


@register_kl(Gamma, Gamma)
def _kl_gamma(p: Gamma, q: Gamma) -> Array:
    a, b = p.concentration, q.concentration
    log_ratio = jnp.log(q.rate) - jnp.log(p.rate)
    shapes = (a - b) * (jsp.digamma(a) + log_ratio) - (jsp.gammaln(a) - jsp.gammaln(b))
    return shapes + a * (jnp.expm1(log_ratio) - log_ratio)
