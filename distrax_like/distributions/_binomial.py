"""The binomial distribution."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like._module import data
from distrax_like.supports import Support, integer_interval, nonnegative_integer

from ._bernoulli import Bernoulli
from ._discrete import Counts, entropy_of_counts
from ._kl import kl_divergence, register_kl
from ._logits import BinaryLogits, at_infinity, bernoulli_variance, log_sigmoid, sigmoid
from ._special_cases import power_law, whole_part

_RARE = sigmoid, log_sigmoid
_log_mass = at_infinity(lambda logits, count, total: special.log_binomial_mass_of_logits(count, total, logits))


@at_infinity
def _entropy(logits: Real, total: Real) -> Real:
    # That of the rarer outcome.
    logits = -jnp.abs(logits)
    mean, variance = total * sigmoid(logits), total * bernoulli_variance(logits)
    log_mass = lambda count: _log_mass(logits[..., None], count, total[..., None])
    log_mass_at_zero = total * log_sigmoid(-logits)
    return entropy_of_counts(log_mass, log_mass_at_zero, *jax.lax.stop_gradient((mean, jnp.sqrt(variance))), total)


class Binomial(Counts, BinaryLogits):
    """The binomial distribution, with mass n! / (k! (n - k)!) p^k (1 - p)^(n - k) for k = 0, 1, …, n.

    Draws are floating numbers of the dtype of the logits.

    **Arguments:** `total_count`: n, not trained; exactly one of `logits`: log(p / (1 - p)), which is what is stored,
    and `probs`: p.

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    total_count: Float[Array, "*#batch"] = data(support=nonnegative_integer)

    def __init__(self, total_count: Numeric, logits: Numeric | None = None, probs: Numeric | None = None):
        self.total_count, logits, probs = promote(total_count, logits, probs)
        self.logits = self._given(logits, probs)

    @property
    def support(self) -> Support:
        return integer_interval(0, self.total_count)

    def _log_prob(self, value: Event) -> Real:
        return _log_mass(self.logits, value, self.total_count)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return random.binomial(key, self.total_count, shape=shape, logits=self.logits)

    def _cdf(self, value: Event) -> Real:
        return self._tail_of(special.betainc, special.betaincc, value)

    def _log_cdf(self, value: Event) -> Real:
        return self._tail_of(self._log_betainc, special.log_betaincc, value)

    def _survival_function(self, value: Event) -> Real:
        return self._tail_of(special.betaincc, special.betainc, value)

    def _log_survival_function(self, value: Event) -> Real:
        return self._tail_of(special.log_betaincc, self._log_betainc, value)

    def _log_betainc(self, a: Real, b: Real, _: Real) -> Real:
        return power_law(lambda x: special.log_betainc(a, b, x), _RARE, -jnp.abs(self.logits), at_zero=a)

    def _tail_of(self, of_failures: Callable[..., Real], of_successes: Callable[..., Real], value: Event) -> Real:
        """Up to k successes out of n have the probability I_q(n - k, k + 1) = 1 - I_p(k + 1, n - k) for q = 1 - p: by
        the smaller of p and q, since the other one rounds to one."""
        # At least one failure is left, but for n = 0, where no point lies between the ends.
        failures, successes = jnp.maximum(jax.lax.stop_gradient(self.total_count) - value, 1), value + 1
        rare = self.logits < 0
        a, b = jnp.where(rare, successes, failures), jnp.where(rare, failures, successes)
        x = sigmoid(-jnp.abs(self.logits))
        return jnp.where(rare, of_successes(a, b, x), of_failures(a, b, x))

    def _mean(self) -> Real:
        return self.total_count * self.probs_parameter()

    def _mode(self) -> Event:
        # The probability is known to what rounding of its logit leaves.
        ulps = 3 + jnp.abs(jnp.where(jnp.isinf(self.logits), 0, self.logits))
        return jnp.minimum(whole_part((self.total_count + 1) * self.probs_parameter(), ulps), self.total_count)

    def _skewness_times_stddev(self) -> Real:
        return sigmoid(-self.logits) - sigmoid(self.logits)

    def _highest(self) -> Real:
        return self.total_count

    def _entropy(self) -> Real:
        # To 8 ulp in both widths, up to a mean of 1e8.
        return _entropy(*jnp.broadcast_arrays(self.logits, jax.lax.stop_gradient(self.total_count)))

    def _variance(self) -> Real:
        return self.total_count * bernoulli_variance(self.logits)


@register_kl(Binomial, Binomial)
def _kl_binomial(p: Binomial, q: Binomial) -> Array:
    """For equal counts; infinite where p has more, and NaN, for want of a closed form, where it has fewer."""
    divergence = p.total_count * kl_divergence(Bernoulli(p.logits), Bernoulli(q.logits))
    unequal = jnp.where(p.total_count > q.total_count, jnp.inf, jnp.nan)
    return jnp.where(p.total_count == q.total_count, divergence, unequal)
