"""The Poisson distribution."""


import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, exactly_one, promote
from distrax_like._module import parameter
from distrax_like.special._incomplete_gamma import gamma_tail
from distrax_like.supports import Support, extended_real, nonnegative_integer

from ._discrete import Counts, entropy_of_counts
from ._kl import register_kl
from ._logits import at_infinity, exp, log_probs
from ._special_cases import whole_part

_log_mass = at_infinity(lambda log_rate, count: special.log_poisson_mass_of_log(count, log_rate))


@at_infinity
def _entropy(log_rate: Real) -> Real:
    rate = jax.lax.stop_gradient(exp(log_rate))
    log_mass = lambda count: _log_mass(log_rate[..., None], count)
    return entropy_of_counts(log_mass, -exp(log_rate), rate, jnp.sqrt(rate), jnp.full_like(rate, jnp.inf))


class Poisson(Counts):
    """The Poisson distribution, with mass rate^k exp(-rate) / k! for k = 0, 1, 2, …

    Draws are floating numbers of the dtype of the rate.

    **Arguments:** exactly one of `rate`, not negative, and `log_rate`, its log, which is what is stored.

    **Raises:** `ValueError` for both or neither of `rate` and `log_rate`.
    """

    log_rate: Float[Array, "*#batch"] = parameter(extended_real)

    def __init__(self, rate: Numeric | None = None, log_rate: Numeric | None = None):
        exactly_one("Poisson", rate=rate, log_rate=log_rate)
        self.log_rate = promote(log_rate) if rate is None else log_probs(promote(rate))

    @property
    def rate(self) -> Float[Array, "*batch"]:
        """The rate; see `rate_parameter`."""
        return self.rate_parameter()

    def rate_parameter(self) -> Float[Array, "*batch"]:
        """The rate, of the batch shape."""
        return exp(self.log_rate)

    def log_rate_parameter(self) -> Float[Array, "*batch"]:
        """The log of the rate, of the batch shape."""
        return self.log_rate

    @property
    def support(self) -> Support:
        return nonnegative_integer

    def _log_prob(self, value: Event) -> Real:
        return _log_mass(self.log_rate, value)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return random.poisson(key, shape=shape, log_rate=self.log_rate)

    # More than k events is a gamma variable of concentration k + 1 below the rate.
    def _cdf(self, value: Event) -> Real:
        return gamma_tail("survival_function", value + 1, self.rate_parameter(), self.log_rate)

    def _log_cdf(self, value: Event) -> Real:
        return gamma_tail("log_survival_function", value + 1, self.rate_parameter(), self.log_rate)

    def _survival_function(self, value: Event) -> Real:
        return gamma_tail("cdf", value + 1, self.rate_parameter(), self.log_rate)

    def _log_survival_function(self, value: Event) -> Real:
        return gamma_tail("log_cdf", value + 1, self.rate_parameter(), self.log_rate)

    def _mean(self) -> Real:
        return self.rate_parameter()

    def _mode(self) -> Event:
        # The rate is known to what rounding of its logarithm leaves.
        return whole_part(self.rate_parameter(), 1 + jnp.abs(self.log_rate))

    def _skewness_times_stddev(self) -> float:
        return 1.0

    def _highest(self) -> Real:
        return jnp.asarray(jnp.inf, self.log_rate.dtype)

    def _entropy(self) -> Real:
        # To 8 ulp in both widths, up to a mean of 1e8.
        return _entropy(self.log_rate)

    def _variance(self) -> Real:
        return self.rate_parameter()


@register_kl(Poisson, Poisson)
def _kl_poisson(p: Poisson, q: Poisson) -> Array:
    # rate_p (log(rate_p / rate_q) + rate_q / rate_p - 1), in the log of the ratio; rate_q where rate_p is zero.
    zero = p.log_rate == -jnp.inf
    log_ratio = q.log_rate - jnp.where(zero, 0, p.log_rate)
    return jnp.where(zero, q.rate_parameter(), p.rate_parameter() * (special.expm1mx(log_ratio)))
