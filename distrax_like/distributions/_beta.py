"""The beta distribution and its extension to the simplex, the Dirichlet distribution."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, append_zero, promote, require_entries
from distrax_like._module import parameter
from distrax_like.bijectors import Sigmoid
from distrax_like.supports import Support, independent, positive, simplex, unit_interval

from ._distribution import Distribution
from ._kl import register_kl
from ._special_cases import where_defined


class Beta(Distribution):
    """The beta distribution, with density x^(a - 1) (1 - x)^(b - 1) / B(a, b) for 0 <= x <= 1.

    **Arguments:** `concentration1`: a, positive; `concentration0`: b, positive.
    """

    concentration1: Float[Array, "*#batch"] = parameter(positive)
    concentration0: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, concentration1: Numeric, concentration0: Numeric):
        self.concentration1, self.concentration0 = promote(concentration1, concentration0)

    @classmethod
    def experimental_from_mean_variance(cls, mean: Numeric, variance: Numeric) -> "Beta":
        """The beta distribution of a mean between 0 and 1 and a variance below mean (1 - mean)."""
        mean, variance = promote(mean, variance)
        return cls.experimental_from_mean_concentration(mean, mean * (1 - mean) / variance - 1)

    @classmethod
    def experimental_from_mean_concentration(cls, mean: Numeric, total_concentration: Numeric) -> "Beta":
        """The beta distribution of a mean between 0 and 1 and the sum a + b of its concentrations."""
        mean, total = promote(mean, total_concentration)
        return cls(mean * total, (1 - mean) * total)

    @property
    def support(self) -> Support:
        return unit_interval

    def _total(self) -> Real:
        return self.concentration1 + self.concentration0

    def _log_prob(self, value: Event) -> Real:
        return special.log_beta_density(value, self.concentration1, self.concentration0)

    def _log_prob_at_free(self, x: Real) -> Real:
        log_x, log_rest = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
        return special.log_beta_density_of_logs(log_x, log_rest, self.concentration1, self.concentration0)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # In logs, since most draws of small concentrations round to an end; Sigmoid keeps off the ends.
        log_x, log_rest = random.log_beta(key, self.concentration1, self.concentration0, shape)
        return Sigmoid().forward(log_x - log_rest)

    def _cdf(self, value: Event) -> Real:
        return special.betainc(self.concentration1, self.concentration0, value)

    def _log_cdf(self, value: Event) -> Real:
        return special.log_betainc(self.concentration1, self.concentration0, value)

    def _survival_function(self, value: Event) -> Real:
        return special.betaincc(self.concentration1, self.concentration0, value)

    def _log_survival_function(self, value: Event) -> Real:
        return special.log_betaincc(self.concentration1, self.concentration0, value)

    def _quantile(self, p: Real) -> Event:
        return special.betaincinv(self.concentration1, self.concentration0, p)

    def _inverse_survival_function(self, q: Real) -> Event:
        return special.betainccinv(self.concentration1, self.concentration0, q)

    def _mean(self) -> Real:
        return self.concentration1 / self._total()

    def _mode(self) -> Event:
        a, b = self.concentration1, self.concentration0
        return where_defined((a > 1) & (b > 1), lambda a, b: (a - 1) / (a + b - 2), a, b, safe=2.0)

    def _variance(self) -> Real:
        total = self._total()
        return (self.concentration1 / total) * (self.concentration0 / total) / (total + 1)

    def _entropy(self) -> Real:
        return special.dirichlet_entropy(_pair(self))


@register_kl(Beta, Beta)
def _kl_beta(p: Beta, q: Beta) -> Array:
    return special.dirichlet_divergence(_pair(p), _pair(q))


def _pair(d: Beta) -> Array:
    """The concentrations along a last axis, as of a Dirichlet distribution."""
    return jnp.stack(jnp.broadcast_arrays(d.concentration1, d.concentration0), axis=-1)


class Dirichlet(Distribution):
    """The Dirichlet distribution, with density Γ(Σ a_i) Π x_i^(a_i - 1) / Γ(a_i) on the simplex, with respect to the
    Lebesgue measure of all coordinates but the last.

    **Arguments:** `concentration`: a, positive, of shape `batch + (n,)`.
    """

    concentration: Float[Array, "*#batch n"] = parameter(independent(positive, 1))

    def __init__(self, concentration: Numeric):
        require_entries("Dirichlet: concentration", concentration)
        self.concentration = promote(concentration)

    @property
    def support(self) -> Support:
        return simplex

    def _event_shape(self) -> Shape:
        return self.concentration.shape[-1:]

    def _total(self) -> Real:
        return jnp.sum(self.concentration, axis=-1)

    def _log_prob(self, value: Event) -> Real:
        return special.log_dirichlet_density(value, self.concentration)

    def _log_prob_at_free(self, x: Real) -> Real:
        log_value = jax.nn.log_softmax(append_zero(x))
        return special.log_dirichlet_density_of_logs(log_value, self.concentration)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # Kept off the faces of the simplex.
        return jnp.maximum(random.dirichlet(key, self.concentration, shape), jnp.finfo(self.concentration.dtype).tiny)

    def _mean(self) -> Real:
        return self.concentration / self._total()[..., None]

    def _mode(self) -> Event:
        a = self.concentration
        inside = jnp.broadcast_to(jnp.all(a > 1, axis=-1, keepdims=True), a.shape)
        return where_defined(inside, lambda a: (a - 1) / jnp.sum(a - 1, axis=-1, keepdims=True), a, safe=2.0)

    def _variance(self) -> Real:
        mean = self._mean()
        return mean * (1 - mean) / (1 + self._total()[..., None])

    def _covariance(self) -> Real:
        mean = self._mean()
        eye = jnp.eye(mean.shape[-1], dtype=mean.dtype)
        spread = mean[..., None] * eye - mean[..., None] * mean[..., None, :]
        return spread / (1 + self._total()[..., None, None])

    def _entropy(self) -> Real:
        return special.dirichlet_entropy(self.concentration)


@register_kl(Dirichlet, Dirichlet)
def _kl_dirichlet(p: Dirichlet, q: Dirichlet) -> Array:
    return special.dirichlet_divergence(p.concentration, q.concentration)
