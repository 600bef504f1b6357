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


def _repeat(x: Real, event_ndims: int) -> Real:
    """A value with an axis of length one for the components, before its event dimensions."""
    return jnp.expand_dims(x, x.ndim - event_ndims)


class _Union(Support):
    """The union of the supports along the last batch dimension of a batch of supports."""

    base: Support

    @property
    def event_ndims(self) -> int:  # type: ignore[override]
        return self.base.event_ndims

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.base.is_discrete

    def contains(self, x: Real) -> Bool[Array, "..."]:
        return jnp.any(self.base.contains(_repeat(x, self.event_ndims)), axis=-1)

    def feasible_like(self, x: Real) -> Real:
        # One of the first component.
        wide = _repeat(x, self.event_ndims)
        axis = x.ndim - self.event_ndims
        count = self.base.contains(wide).shape[-1]
        return jnp.take(self.base.feasible_like(jnp.repeat(wide, count, axis)), 0, axis)


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
        support = self.components_distribution.support
        # Most supports are the same for every component, and then bijectors and joint models can use them.
        return _Union(support) if jtu.tree_leaves(support) else support

    def _event_shape(self) -> Shape:
        return self.components_distribution.event_shape

    def _event_ndims(self) -> int:
        return len(self.event_shape)

    def _log_weights(self) -> Real:
        return jax.nn.log_softmax(self.mixture_distribution.logits)

    def _log_joint(self, value: Event) -> Real:
        # The public method, since a point of the mixture's support need not lie in that of every component.
        log_p = self.components_distribution.log_prob(_repeat(value, self._event_ndims()))
        return _weighted(self._log_weights(), log_p)

    def _log_prob(self, value: Event) -> Real:
        return _log_sum(self._log_joint(value))

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
        return _log_sum(_weighted(self._log_weights(), tails))

    def _log_survival_function(self, value: Event) -> Real:
        tails = self.components_distribution.log_survival_function(self._scalar("log_survival_function", value))
        return _log_sum(_weighted(self._log_weights(), tails))

    def _scalar(self, method: str, value: Event) -> Real:
        if self.event_shape:
            self._lacks(f"{method} for events of shape {self.event_shape}")
        return _repeat(value, 0)

    def _average(self, x: Real, ndims: int = 0) -> Real:
        """The weighted mean over the components, which stand before `ndims` dimensions; a weight of zero wins."""
        weights = jnp.exp(self._log_weights())
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
        return Categorical(logits=self._log_joint(self._cast(observations, "posterior_marginal")))

    def posterior_mode(self, observations: Numeric) -> Array:
        """The most probable component of each observation; see `posterior_marginal`."""
        return self.posterior_marginal(observations).mode()


def _weighted(log_weights: Real, log_p: Real) -> Real:
    """log(w p), minus infinity with no gradient of p where w = 0, whatever p is."""
    zero = log_weights == -jnp.inf
    return log_weights + jnp.where(zero, 0, log_p)


def _sum_exp(x: Real) -> tuple[Real, Real, Real]:
    """What the terms are divided by, its logarithm being the first; the terms; and their sum."""
    top = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))
    top = jnp.where(jnp.isinf(top), 0, top)
    terms = jnp.exp(x - top)
    return top, terms, jnp.sum(terms, axis=-1, keepdims=True)


@jax.custom_jvp
def _log_sum(x: Real) -> Real:
    """logsumexp over the last axis, with a gradient of zero instead of NaN where all terms are minus infinity."""
    top, _, total = _sum_exp(x)
    return jnp.squeeze(jnp.log(total) + top, -1)


@_log_sum.defjvp
def _log_sum_rule(primals: tuple[Real], tangents: tuple[Real]) -> tuple[Real, Real]:
    _, terms, total = _sum_exp(*primals)
    weights = terms / jnp.where(total == 0, 1, total)
    return _log_sum(*primals), jnp.sum(weights * tangents[0], axis=-1)
