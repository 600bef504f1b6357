"""The uniform distribution on an interval."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like._module import parameter
from distrax_like.supports import Support, greater_than, interval, real

from ._distribution import Distribution
from ._kl import register_kl
from ._special_cases import QUOTIENT, power_law


class Uniform(Distribution):
    """The uniform distribution, with density 1 / (high - low) for low <= x <= high.

    **Arguments:** `low` (default 0); `high`, above it (default 1). Draws are below `high`.
    """

    low: Float[Array, "*#batch"] = parameter(real)
    high: Float[Array, "*#batch"] = parameter(lambda self: greater_than(self.low))

    def __init__(self, low: Numeric = 0.0, high: Numeric = 1.0):
        self.low, self.high = promote(low, high)

    @property
    def support(self) -> Support:
        return interval(self.low, self.high)

    @classmethod
    def experimental_from_mean_variance(cls, mean: Numeric, variance: Numeric) -> "Uniform":
        """The uniform distribution of a mean and a positive variance."""
        mean, variance = promote(mean, variance)
        half = jnp.sqrt(3 * variance)
        return cls(mean - half, mean + half)

    def _width(self) -> Real:
        return self.high - self.low

    def _below(self, value: Event) -> Real:
        return (value - self.low) / self._width()

    def _above(self, value: Event) -> Real:
        return (self.high - value) / self._width()

    def _log_prob(self, value: Event) -> Real:
        return -jnp.log(self._width())

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        u = jax.random.uniform(key, shape, self.low.dtype)
        # Rounding may carry the sum to the upper end; the gradient passes.
        x = self.low + self._width() * u
        return x + jax.lax.stop_gradient(jnp.clip(x, self.low, jnp.nextafter(self.high, self.low)) - x)

    def _cdf(self, value: Event) -> Real:
        return self._below(value)

    def _survival_function(self, value: Event) -> Real:
        return self._above(value)

    def _log_cdf(self, value: Event) -> Real:
        above = self._above(value)
        return power_law(lambda u: _log_of(u, above), QUOTIENT, value - self.low, self._width(), at_zero=1.0)

    def _log_survival_function(self, value: Event) -> Real:
        below = self._below(value)
        return power_law(lambda u: _log_of(u, below), QUOTIENT, self.high - value, self._width(), at_zero=1.0)

    def _quantile(self, p: Real) -> Event:
        return jnp.where(p < 0.5, self.low + p * self._width(), self.high - (1 - p) * self._width())

    def _inverse_survival_function(self, q: Real) -> Event:
        return jnp.where(q < 0.5, self.high - q * self._width(), self.low + (1 - q) * self._width())

    def _mean(self) -> Real:
        return self.low / 2 + self.high / 2

    def _variance(self) -> Real:
        return self._width() ** 2 / 12

    def _entropy(self) -> Real:
        return jnp.log(self._width())


def _log_of(u: Real, rest: Real) -> Real:
    """log u for u + rest = 1, to full relative accuracy at both ends."""
    near_zero = u < 0.5
    return jnp.where(near_zero, jnp.log(jnp.where(near_zero, u, 0.5)), jnp.log1p(-jnp.where(near_zero, 0.5, rest)))


@register_kl(Uniform, Uniform)
def _kl_uniform(p: Uniform, q: Uniform) -> Array:
    covered = (q.low <= p.low) & (p.high <= q.high)
    return jnp.where(covered, jnp.log(q._width() / p._width()), jnp.inf)
