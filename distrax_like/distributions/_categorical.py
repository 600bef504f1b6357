"""The categorical distribution."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from distrax_like import random, special
from distrax_like._arguments import DType
from distrax_like._misc import Event, Numeric, Real, Shape
from distrax_like.supports import Support, integer_interval

from ._discrete import is_within, reaches
from ._kl import register_kl
from ._logits import CategoricalLogits, as_single, at_infinity, log_softmax, log_sum_of_products, logsumexp, softmax

# For so many categories comparisons with each are faster than a gather.
_MAX_COMPARISONS = 16


@jax.custom_jvp
def _chosen(logits: Float[Array, "... n"], index: Int[Array, "..."]) -> Float[Array, "..."]:
    """The logit of each category, for batch dimensions that broadcast."""
    n = logits.shape[-1]
    if logits.ndim > 1 or n > _MAX_COMPARISONS:
        return _gathered(logits, index)
    chosen = jnp.broadcast_to(logits[0], index.shape)
    for k in range(1, n):
        chosen = jnp.where(index == k, logits[k], chosen)
    return chosen


def _gathered(logits: Float[Array, "... n"], index: Int[Array, "..."]) -> Float[Array, "..."]:
    # From the flat array: nothing of the size of values times categories is made.
    *batch, n = logits.shape
    row = n * jnp.arange(math.prod(batch), dtype=index.dtype).reshape(batch)
    return jnp.ravel(logits).at[row + index].get(mode="promise_in_bounds")


@_chosen.defjvp
def _chosen_rule(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    # The transpose of a gather, a scatter, beats as many masked sums as there are categories.
    return _chosen(*primals), _gathered(tangents[0], primals[1])


class Categorical(CategoricalLogits):
    """A category k of 0, 1, …, n - 1 with probability p_k.

    **Arguments:** exactly one of `logits`: unnormalised log probabilities of shape `batch + (n,)`, which is what is
    stored, and `probs`: p, which need not be normalised; `dtype`: of a draw (default `int32`).

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    dtype: Any = eqx.field(static=True, default=jnp.int32)

    def __init__(self, logits: Numeric | None = None, probs: Numeric | None = None, dtype: DType = jnp.int32):
        self.logits = self._given(logits, probs)
        self.dtype = jnp.dtype(dtype)

    @property
    def support(self) -> Support:
        return integer_interval(0, self.num_categories - 1)

    def _log_prob(self, value: Event) -> Real:
        logits = as_single(self.logits)
        return (_chosen(logits, value.astype(jnp.int32)) - logsumexp(logits)).astype(self.logits.dtype)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return random.categorical(key, as_single(self.logits), shape).astype(self.dtype)

    def _tail_probs(self, upper: bool) -> Real:
        """P(X <= k) or P(X > k) for each category k; exactly one or zero from the last possible one on."""
        probs = softmax(as_single(self.logits))
        if not upper:
            sums = jnp.cumsum(probs, axis=-1)
            return sums / sums[..., -1:]
        sums = jnp.cumsum(probs[..., ::-1], axis=-1)[..., ::-1]
        return jnp.concatenate([sums[..., 1:], jnp.zeros_like(sums[..., :1])], axis=-1) / sums[..., :1]

    def _tail_at(self, value: Event, upper: bool) -> Real:
        return _gathered(self._tail_probs(upper), value.astype(jnp.int32)).astype(self.logits.dtype)

    def _log_tail_at(self, value: Event, upper: bool) -> Real:
        category = jnp.arange(self.num_categories)
        inside = (category > value[..., None]) if upper else (category <= value[..., None])
        none = jnp.where(inside, 0, -jnp.inf).astype(self.logits.dtype)
        direct = log_sum_of_products(log_softmax(self.logits), none)
        other = self._tail_at(value, not upper)
        return jnp.where(other < 0.5, jnp.log1p(-jnp.where(other < 0.5, other, 0)), direct)

    def _cdf(self, value: Event) -> Real:
        return self._tail_at(value, False)

    def _log_cdf(self, value: Event) -> Real:
        return self._log_tail_at(value, False)

    def _survival_function(self, value: Event) -> Real:
        return self._tail_at(value, True)

    def _log_survival_function(self, value: Event) -> Real:
        return self._log_tail_at(value, True)

    # The number of categories before the smallest k with P(X <= k) >= p, or with P(X > k) <= q.
    def _quantile(self, p: Real) -> Event:
        return jnp.sum(~reaches(self._tail_probs(False), p[..., None]), axis=-1).astype(p.dtype)

    def _inverse_survival_function(self, q: Real) -> Event:
        return jnp.sum(~is_within(self._tail_probs(True), q[..., None]), axis=-1).astype(q.dtype)

    def _mode(self) -> Event:
        return jnp.argmax(self.logits, axis=-1).astype(self.dtype)

    def _entropy(self) -> Real:
        return _entropy(self.logits)


_entropy = at_infinity(special.categorical_entropy)
_divergence = at_infinity(lambda logits: special.categorical_divergence(logits[0], logits[1]))


@register_kl(Categorical, Categorical)
def _kl_categorical(p: Categorical, q: Categorical) -> Array:
    if p.num_categories != q.num_categories:
        raise ValueError(f"KL of Categoricals of {p.num_categories} and {q.num_categories} categories")
    return _divergence(jnp.stack(jnp.broadcast_arrays(p.logits, q.logits)))
