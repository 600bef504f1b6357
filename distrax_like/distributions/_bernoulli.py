"""The Bernoulli distribution."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from distrax_like import random, special
from distrax_like._arguments import DType
from distrax_like._misc import Event, Numeric, Real, Shape
from distrax_like.supports import Support, boolean

from ._discrete import is_within, reaches
from ._kl import register_kl
from ._logits import BinaryLogits, as_single, at_infinity, bernoulli_variance, log_sigmoid, sigmoid


class Bernoulli(BinaryLogits):
    """One with probability p, zero with probability 1 - p.

    **Arguments:** exactly one of `logits`: log(p / (1 - p)), which is what is stored, and `probs`: p; `dtype`: of a
    draw (default `int32`).

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    dtype: Any = eqx.field(static=True, default=jnp.int32)

    def __init__(self, logits: Numeric | None = None, probs: Numeric | None = None, dtype: DType = jnp.int32):
        self.logits = self._given(logits, probs)
        self.dtype = jnp.dtype(dtype)

    @property
    def support(self) -> Support:
        return boolean

    def _log_prob(self, value: Event) -> Real:
        return log_sigmoid(jnp.where(value == 1, self.logits, -self.logits))

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return random.bernoulli(key, as_single(self.logits), shape).astype(self.dtype)

    def _mean(self) -> Real:
        return self.probs_parameter()

    # A hook of the cdf family sees zero only, since all lies below one.
    def _cdf(self, value: Event) -> Real:
        return sigmoid(-self.logits)

    def _log_cdf(self, value: Event) -> Real:
        return log_sigmoid(-self.logits)

    def _survival_function(self, value: Event) -> Real:
        return sigmoid(self.logits)

    def _log_survival_function(self, value: Event) -> Real:
        return log_sigmoid(self.logits)

    def _quantile(self, p: Real) -> Event:
        return (~reaches(sigmoid(-self.logits), p)).astype(p.dtype)

    def _inverse_survival_function(self, q: Real) -> Event:
        return (~is_within(sigmoid(self.logits), q)).astype(q.dtype)

    def _mode(self) -> Event:
        return (self.logits > 0).astype(self.dtype)

    def _variance(self) -> Real:
        return bernoulli_variance(self.logits)

    def _entropy(self) -> Real:
        return _entropy(self.logits)


_entropy = at_infinity(special.bernoulli_entropy)


@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli(p: Bernoulli, q: Bernoulli) -> Array:
    return special.bernoulli_divergence(p.logits, q.logits)
