"""The exponential and gamma distributions."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Shape, exactly_one, promote
from distrax_like._module import parameter
from distrax_like.distributions._distribution import Distribution, Values
from distrax_like.distributions._kl import register_kl
from distrax_like.distributions._tails import cumulative, where_defined
from distrax_like.special import xlogy
from distrax_like.supports import Support, nonnegative, positive


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

    def _log_prob(self, value: Values) -> Values:
        return jnp.log(self.rate) - self.rate * value

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Values:
        return jax.random.exponential(key, shape, self.rate.dtype) / self.rate

    def _cdf(self, value: Values) -> Values:
        return cumulative(self.rate * value, lambda z: -jnp.expm1(-z), 0.0, 1.0)

    def _log_cdf(self, value: Values) -> Values:
        return cumulative(self.rate * value, jax.nn.log1mexp, -jnp.inf, 0.0)

    def _survival_function(self, value: Values) -> Values:
        return cumulative(self.rate * value, lambda z: jnp.exp(-z), 1.0, 0.0)

    def _log_survival_function(self, value: Values) -> Values:
        return cumulative(self.rate * value, jnp.negative, 0.0, -jnp.inf)

    def _quantile(self, p: Values) -> Values:
        return -jnp.log1p(-p) / self.rate

    def _mean(self) -> Values:
        return 1 / self.rate

    def _mode(self) -> Values:
        return jnp.zeros_like(self.rate)

    def _variance(self) -> Values:
        return self.rate**-2

    def _stddev(self) -> Values:
        return 1 / self.rate

    def _entropy(self) -> Values:
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

    def _log_prob(self, value: Values) -> Values:
        # Not the logarithm of rate * value, whose gradient in the rate would be 0 * inf at zero.
        a, log_rate = self.concentration, jnp.log(self.rate)
        return xlogy(a - 1, value) - self.rate * value + a * log_rate - jsp.gammaln(a)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Values:
        # Of small concentrations most draws underflow; the smallest normal number keeps their density finite.
        draw = jnp.exp(jax.random.loggamma(key, self.concentration, shape, self.rate.dtype)) / self.rate
        return jnp.maximum(draw, jnp.finfo(draw.dtype).tiny)

    def _cdf(self, value: Values) -> Values:
        return cumulative(self.rate * value, lambda z: jsp.gammainc(self.concentration, z), 0.0, 1.0)

    def _survival_function(self, value: Values) -> Values:
        return cumulative(self.rate * value, lambda z: jsp.gammaincc(self.concentration, z), 1.0, 0.0)

    def _mean(self) -> Values:
        return self.concentration / self.rate

    def _mode(self) -> Values:
        return where_defined(self.concentration >= 1, lambda a: (a - 1) / self.rate, self.concentration)

    def _variance(self) -> Values:
        return self.concentration / self.rate**2

    def _stddev(self) -> Values:
        return jnp.sqrt(self.concentration) / self.rate

    def _entropy(self) -> Values:
        a = self.concentration
        return a - jnp.log(self.rate) + jsp.gammaln(a) + (1 - a) * jsp.digamma(a)


@register_kl(Gamma, Gamma)
def _kl_gamma(p: Gamma, q: Gamma) -> Array:
    a, b = p.concentration, q.concentration
    log_ratio = jnp.log(q.rate) - jnp.log(p.rate)
    shapes = (a - b) * (jsp.digamma(a) + log_ratio) - (jsp.gammaln(a) - jsp.gammaln(b))
    return shapes + a * (jnp.expm1(log_ratio) - log_ratio)
