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

from ._kl import register_kl
from ._logits import CategoricalLogits, as_single, log_softmax, logsumexp

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

    def _mode(self) -> Event:
        return jnp.argmax(self.logits, axis=-1).astype(self.dtype)

    def _entropy(self) -> Real:
        log_p = log_softmax(self.logits)
        return -jnp.sum(special.mul0(jnp.exp(log_p), log_p), axis=-1)


@register_kl(Categorical, Categorical)
def _kl_categorical(p: Categorical, q: Categorical) -> Array:
    log_p, log_q = log_softmax(p.logits), log_softmax(q.logits)
    zero = log_p == -jnp.inf
    log_p = jnp.where(zero, 0, log_p)
    return jnp.sum(jnp.where(zero, 0, jnp.exp(log_p) * (log_p - jnp.where(zero, 0, log_q))), axis=-1)
