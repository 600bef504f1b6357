"""Mixtures of distributions of one family."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape
from distrax_like._module import submodule
from distrax_like.supports import Support

from ._categorical import Categorical
from ._distribution import Distribution
from ._logits import exp, log_product, log_softmax, log_sum_of_products


def _repeat(x: Event, event_ndims: int) -> Event:
    """A value with an axis of length one for the components, before its event dimensions."""
    return jnp.expand_dims(x, x.ndim - event_ndims)


class _Union(Support):
    """The union of the supports along the last batch dimension of a batch of supports."""

    base: Support

    def _event_ndims(self) -> int:
        return self.base.event_ndims

    def _is_discrete(self) -> bool:
        return self.base.is_discrete

    def ends(self) -> tuple[Event, Event]:
        low, high = (jnp.atleast_1d(jnp.asarray(end)) for end in self.base.ends())
        return jnp.min(low, axis=-1), jnp.max(high, axis=-1)

    def floor(self, x: Event) -> Event:
        return self.base.floor(x)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return jnp.any(self.base.contains(_repeat(x, self.event_ndims)), axis=-1)

    def feasible_like(self, x: Event) -> Event:
        # One of the first component.
        wide = _repeat(x, self.event_ndims)
        axis = x.ndim - self.event_ndims
        count = self.base.contains(wide).shape[-1]
        return jnp.take(self.base.feasible_like(jnp.repeat(wide, count, axis)), 0, axis)


def union(support: Support) -> Support:
    """The union of the supports along the last batch dimension."""
    # Most supports are the same for every component, and then bijectors and joint models can use them.
    return _Union(support) if jtu.tree_leaves(support) else support


class MixtureSameFamily(Distribution):
    """The mixture Σ_k w_k p_k(x) of the components along the last batch dimension of one distribution.

    **Arguments:** `mixture_distribution`: a `Categorical` over the n components; its logits need not be normalised;
    `components_distribution`: a distribution of batch shape `batch + (n,)`.

    **Raises:** `ValueError` where the numbers of components differ.
    """

    mixture_distribution: Categorical = submodule("*#batch")
    components_distribution: Distribution = submodule("*#batch n")

    def __init__(self, mixture_distribution: Categorical, components_distribution: Distribution):
        shape = components_distribution.batch_shape
        if shape[-1:] != (mixture_distribution.num_categories,):
            raise ValueError(
                f"MixtureSameFamily: mixture_distribution has {mixture_distribution.num_categories} categories, so "
                f"components_distribution needs a batch shape that ends in it, got {shape}"
            )
        self.mixture_distribution = mixture_distribution
        self.components_distribution = components_distribution

    @property
    def dtype(self) -> Any:
        return self.components_distribution.dtype

    @property
    def support(self) -> Support:
        return union(self.components_distribution.support)

    def _event_shape(self) -> Shape:
        return self.components_distribution.event_shape

    def _event_ndims(self) -> int:
        return len(self.event_shape)

    def _log_weights(self) -> Real:
        return log_softmax(self.mixture_distribution.logits)

    def _log_components(self, value: Event) -> Real:
        # The public method, since a point of the mixture's support need not lie in that of every component.
        return self.components_distribution.log_prob(_repeat(value, self._event_ndims()))

    def _log_prob(self, value: Event) -> Real:
        return log_sum_of_products(self._log_weights(), self._log_components(value))

    def _log_prob_at_free(self, x: Real) -> Real:
        if isinstance(self.support, _Union):
            return super()._log_prob_at_free(x)
        # One free coordinate for all components.
        log_p = self.components_distribution._free_density(_repeat(x, self._free_ndims()))
        return log_sum_of_products(self._log_weights(), log_p)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        key_index, key_value = jax.random.split(key)
        n = self.mixture_distribution.num_categories
        index = self.mixture_distribution._sample(key_index, shape)
        index = jnp.expand_dims(index, tuple(range(len(shape), len(shape) + 1 + self._event_ndims())))
        values = self.components_distribution._sample(key_value, (*shape, n))
        return jnp.squeeze(jnp.take_along_axis(values, index, axis=len(shape)), axis=len(shape))

    def _cdf(self, value: Event) -> Real:
        return self._average(self.components_distribution.cdf(self._scalar("cdf", value)))

    def _survival_function(self, value: Event) -> Real:
        tails = self.components_distribution.survival_function(self._scalar("survival_function", value))
        return self._average(tails)

    def _log_cdf(self, value: Event) -> Real:
        tails = self.components_distribution.log_cdf(self._scalar("log_cdf", value))
        return log_sum_of_products(self._log_weights(), tails)

    def _log_survival_function(self, value: Event) -> Real:
        tails = self.components_distribution.log_survival_function(self._scalar("log_survival_function", value))
        return log_sum_of_products(self._log_weights(), tails)

    def _scalar(self, method: str, value: Event) -> Real:
        if self.event_shape:
            self._lacks(f"{method} for events of shape {self.event_shape}")
        return _repeat(value, 0)

    def _average(self, x: Real, ndims: int = 0) -> Real:
        """The weighted mean over the components, which stand before `ndims` dimensions; a weight of zero wins."""
        weights = exp(self._log_weights())
        weights = weights[(..., *(None,) * ndims)]
        return jnp.sum(jnp.where(weights == 0, 0, weights * jnp.where(weights == 0, 0, x)), axis=-1 - ndims)

    def _mean(self) -> Real:
        return self._average(self.components_distribution.mean(), self._event_ndims())

    def _deviations(self) -> Real:
        ndims = self._event_ndims()
        means = self.components_distribution.mean()
        return means - jnp.expand_dims(self._average(means, ndims), -1 - ndims)

    def _variance(self) -> Real:
        spread = self.components_distribution.variance() + self._deviations() ** 2
        return self._average(spread, self._event_ndims())

    def _covariance(self) -> Real:
        if self._event_ndims() != 1:
            self._lacks("covariance")
        deviations = self._deviations()
        outer = deviations[..., :, None] * deviations[..., None, :]
        return self._average(self.components_distribution.covariance() + outer, 2)

    def posterior_marginal(self, observations: Numeric) -> Categorical:
        """The distribution of the component that each observation came from.

        **Arguments:** `observations`: shape `sample + batch_shape + event_shape`.

        **Returns:** a `Categorical` of batch shape `sample + batch_shape`.
        """
        log_p = self._log_components(self._cast(observations, "posterior_marginal"))
        return Categorical(logits=log_product(self._log_weights(), log_p))

    def posterior_mode(self, observations: Numeric) -> Array:
        """The most probable component of each observation; see `posterior_marginal`."""
        return self.posterior_marginal(observations).mode()
