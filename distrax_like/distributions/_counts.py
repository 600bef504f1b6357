"""Counts: the Poisson and binomial distributions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, exactly_one, promote
from distrax_like._module import data, parameter
from distrax_like.supports import Support, extended_real, integer_interval, nonnegative_integer

from ._categorical import Bernoulli, log_probs, probs_to_logits
from ._distribution import Distribution
from ._kl import kl_divergence, register_kl
from ._tails import cumulative


class Poisson(Distribution):
    """The Poisson distribution, with mass rate^k exp(-rate) / k! for k = 0, 1, 2, …

    Draws are floating numbers of the dtype of the rate.

    **Arguments:** exactly one of `rate`, not negative, and `log_rate`, its log, which is what is stored.

    **Raises:** `ValueError` for both or neither of `rate` and `log_rate`.
    """

    log_rate: Float[Array, "*#batch"] = parameter(extended_real)

    def __init__(self, rate: Numeric | None = None, log_rate: Numeric | None = None):
        exactly_one("Poisson", rate=rate, log_rate=log_rate)
        self.log_rate = promote(log_rate) if rate is None else log_probs(promote(rate))

    def rate_parameter(self) -> Float[Array, "*batch"]:
        """The rate, of the batch shape."""
        return jnp.exp(self.log_rate)

    def log_rate_parameter(self) -> Float[Array, "*batch"]:
        """The log of the rate, of the batch shape."""
        return self.log_rate

    @property
    def support(self) -> Support:
        return nonnegative_integer

    def _log_prob(self, value: Event) -> Real:
        return special.log_poisson_mass_of_log(value, self.log_rate)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return random.poisson(key, shape=shape, log_rate=self.log_rate)

    def _cdf(self, value: Event) -> Real:
        return self._sum_to(value, special.gammaincc, 0.0, 1.0)

    def _log_cdf(self, value: Event) -> Real:
        return self._sum_to(value, special.log_gammaincc, -jnp.inf, 0.0)

    def _survival_function(self, value: Event) -> Real:
        return self._sum_to(value, special.gammainc, 1.0, 0.0)

    def _log_survival_function(self, value: Event) -> Real:
        return self._sum_to(value, special.log_gammainc, 0.0, -jnp.inf)

    def _sum_to(self, value: Event, incomplete, below: float, above: float) -> Real:
        return cumulative(jnp.floor(value) + 1, lambda n: incomplete(n, self.rate_parameter()), below, above)

    def _mean(self) -> Real:
        return self.rate_parameter()

    def _mode(self) -> Event:
        return jnp.floor(self.rate_parameter())

    def _variance(self) -> Real:
        return self.rate_parameter()


@register_kl(Poisson, Poisson)
def _kl_poisson(p: Poisson, q: Poisson) -> Array:
    # rate_p (log(rate_p / rate_q) + rate_q / rate_p - 1), in the log of the ratio; rate_q where rate_p is zero.
    zero = p.log_rate == -jnp.inf
    log_ratio = q.log_rate - jnp.where(zero, 0, p.log_rate)
    return jnp.where(zero, q.rate_parameter(), p.rate_parameter() * (jnp.expm1(log_ratio) - log_ratio))


class Binomial(Distribution):
    """The binomial distribution, with mass n! / (k! (n - k)!) p^k (1 - p)^(n - k) for k = 0, 1, …, n.

    Draws are floating numbers of the dtype of the logits.

    **Arguments:** `total_count`: n, not trained; exactly one of `logits`: log(p / (1 - p)), which is what is stored,
    and `probs`: p.

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    total_count: Float[Array, "*#batch"] = data()
    logits: Float[Array, "*#batch"] = parameter(extended_real)

    def __init__(self, total_count: Numeric, logits: Numeric | None = None, probs: Numeric | None = None):
        exactly_one("Binomial", probs=probs, logits=logits)
        self.total_count, given, given_probs = promote(total_count, logits, probs)
        self.logits = probs_to_logits(given_probs) if given is None else given

    def probs_parameter(self) -> Float[Array, "*batch"]:
        """p, of the batch shape."""
        return jax.nn.sigmoid(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch"]:
        """log(p / (1 - p)), of the batch shape."""
        return self.logits

    @property
    def support(self) -> Support:
        return integer_interval(0, self.total_count)

    def _log_prob(self, value: Event) -> Real:
        return special.log_binomial_mass_of_logits(value, self.total_count, self.logits)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return random.binomial(key, self.total_count, shape=shape, logits=self.logits)

    # Up to k successes out of n have the probability I_(1 - p)(n - k, k + 1) = 1 - I_p(k + 1, n - k).
    def _cdf(self, value: Event) -> Real:
        return self._sum_to(value, special.betainc, 0.0, 1.0)

    def _log_cdf(self, value: Event) -> Real:
        return self._sum_to(value, special.log_betainc, -jnp.inf, 0.0)

    def _survival_function(self, value: Event) -> Real:
        return self._sum_to(value, special.betaincc, 1.0, 0.0)

    def _log_survival_function(self, value: Event) -> Real:
        return self._sum_to(value, special.log_betaincc, 0.0, -jnp.inf)

    def _sum_to(self, value: Event, incomplete, below: float, above: float) -> Real:
        n, k = jax.lax.stop_gradient(self.total_count), jnp.floor(value) + 1
        q = jax.nn.sigmoid(-self.logits)

        def inside(k: Real) -> Real:
            k = jnp.clip(k, 0.5, n)
            return incomplete(n - k + 1, k, q)

        return jnp.where(k > n, above, cumulative(k, inside, below, above))

    def _mean(self) -> Real:
        return self.total_count * self.probs_parameter()

    def _mode(self) -> Event:
        return jnp.minimum(jnp.floor((self.total_count + 1) * self.probs_parameter()), self.total_count)

    def _variance(self) -> Real:
        return self.total_count * jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits)


@register_kl(Binomial, Binomial)
def _kl_binomial(p: Binomial, q: Binomial) -> Array:
    """For equal counts; infinite where p has more, and NaN, for want of a closed form, where it has fewer."""
    divergence = p.total_count * kl_divergence(Bernoulli(p.logits), Bernoulli(q.logits))
    unequal = jnp.where(p.total_count > q.total_count, jnp.inf, jnp.nan)
    return jnp.where(p.total_count == q.total_count, divergence, unequal)
