"""The categorical distribution."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape
from distrax_like.supports import Support, integer_interval

from ._kl import register_kl
from ._logits import CategoricalLogits, log_softmax, logsumexp, softmax

# Below this many categories a masked sum over all of them is faster than a gather, and its gradient than a scatter.
_MASKED_SUM_UP_TO = 16


class Categorical(CategoricalLogits):
    """A category k of 0, 1, …, n - 1 with probability p_k.

    **Arguments:** exactly one of `logits`: unnormalised log probabilities of shape `batch + (n,)`, which is what is
    stored, and `probs`: p, which need not be normalised; `dtype`: of a draw (default `int32`).

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    dtype: Any = eqx.field(static=True, default=jnp.int32)

    def __init__(self, logits: Numeric | None = None, probs: Numeric | None = None, dtype: Any = jnp.int32):
        self.logits = self._given(logits, probs)
        self.dtype = jnp.dtype(dtype)

    @property
    def support(self) -> Support:
        return integer_interval(0, self.num_categories - 1)

    def _log_prob(self, value: Event) -> Real:
        n = self.num_categories
        shape = jnp.broadcast_shapes(value.shape, self.batch_shape)
        index = jnp.broadcast_to(value, shape).astype(jnp.int32)[..., None]
        if n <= _MASKED_SUM_UP_TO:
            chosen = jnp.sum(jnp.where(index == jnp.arange(n), self.logits, 0), axis=-1)
        else:
            chosen = jnp.take_along_axis(jnp.broadcast_to(self.logits, (*shape, n)), index, axis=-1)[..., 0]
        return chosen - logsumexp(self.logits)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # One uniform a draw and the cumulative sum, where jax.random.categorical takes n Gumbel variables.
        cumulative = jnp.cumsum(softmax(self.logits), axis=-1)
        u = jax.random.uniform(key, shape, self.logits.dtype) * cumulative[..., -1]
        below = cumulative[..., :-1] <= u[..., None]
        return jnp.sum(below, axis=-1).astype(self.dtype)

    def _mode(self) -> Event:
        return jnp.argmax(self.logits, axis=-1).astype(self.dtype)

    def _entropy(self) -> Real:
        log_p = log_softmax(self.logits)
        zero = log_p == -jnp.inf
        return -jnp.sum(jnp.where(zero, 0, jnp.exp(log_p) * jnp.where(zero, 0, log_p)), axis=-1)


@register_kl(Categorical, Categorical)
def _kl_categorical(p: Categorical, q: Categorical) -> Array:
    log_p, log_q = log_softmax(p.logits), log_softmax(q.logits)
    zero = log_p == -jnp.inf
    log_p = jnp.where(zero, 0, log_p)
    return jnp.sum(jnp.where(zero, 0, jnp.exp(log_p) * (log_p - jnp.where(zero, 0, log_q))), axis=-1)
