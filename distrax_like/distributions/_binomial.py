"""The binomial distribution."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like._module import data
from distrax_like.supports import Support, integer_interval, nonnegative_integer

from ._bernoulli import Bernoulli
from ._kl import kl_divergence, register_kl
from ._logits import BinaryLogits, at_infinity, sigmoid

_log_mass = at_infinity(lambda logits, count, total: special.log_binomial_mass_of_logits(count, total, logits))


class Binomial(BinaryLogits):
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

    # Up to k successes out of n have the probability I_(1 - p)(n - k, k + 1) = 1 - I_p(k + 1, n - k).
    def _cdf(self, value: Event) -> Real:
        return special.betainc(*self._beta_arguments(value))

    def _log_cdf(self, value: Event) -> Real:
        return special.log_betainc(*self._beta_arguments(value))

    def _survival_function(self, value: Event) -> Real:
        return special.betaincc(*self._beta_arguments(value))

    def _log_survival_function(self, value: Event) -> Real:
        return special.log_betaincc(*self._beta_arguments(value))

    def _beta_arguments(self, value: Event) -> tuple[Real, Real, Real]:
        # At least one failure is left, but for n = 0, where no point lies between the ends.
        failures = jnp.maximum(jax.lax.stop_gradient(self.total_count) - value, 1)
        return failures, value + 1, sigmoid(-self.logits)

    def _mean(self) -> Real:
        return self.total_count * self.probs_parameter()

    def _mode(self) -> Event:
        return jnp.minimum(jnp.floor((self.total_count + 1) * self.probs_parameter()), self.total_count)

    def _variance(self) -> Real:
        return self.total_count * sigmoid(self.logits) * sigmoid(-self.logits)


@register_kl(Binomial, Binomial)
def _kl_binomial(p: Binomial, q: Binomial) -> Array:
    """For equal counts; infinite where p has more, and NaN, for want of a closed form, where it has fewer."""
    divergence = p.total_count * kl_divergence(Bernoulli(p.logits), Bernoulli(q.logits))
    unequal = jnp.where(p.total_count > q.total_count, jnp.inf, jnp.nan)
    return jnp.where(p.total_count == q.total_count, divergence, unequal)
