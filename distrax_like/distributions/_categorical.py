"""Distributions over a finite number of categories: Bernoulli and Categorical."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, exactly_one, promote
from distrax_like._module import parameter
from distrax_like.supports import Support, boolean, extended_real, integer_interval

from ._distribution import Distribution
from ._kl import register_kl

# For so many categories comparisons with each are faster than a gather.
_MAX_COMPARISONS = 16


def log_probs(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """log p, with a gradient of zero in place of an infinite one at p = 0: what multiplies it there is zero."""
    return jnp.where(p == 0, -jnp.inf, jnp.log(jnp.where(p == 0, 1, p)))


def probs_to_logits(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(p / (1 - p)), with a gradient of zero at the ends; see `log_probs`."""
    end = (p == 0) | (p == 1)
    inner = jnp.where(end, 0.5, p)
    return jnp.where(end, jnp.where(p == 1, jnp.inf, -jnp.inf), jnp.log(inner) - jnp.log1p(-inner))


class Bernoulli(Distribution):
    """One with probability p, zero with probability 1 - p.

    **Arguments:** exactly one of `logits`: log(p / (1 - p)), which is what is stored, and `probs`: p; `dtype`: of a
    draw (default `int32`).

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    logits: Float[Array, "*#batch"] = parameter(extended_real)
    dtype: Any = eqx.field(static=True, default=jnp.int32)

    def __init__(self, logits: Numeric | None = None, probs: Numeric | None = None, dtype: Any = jnp.int32):
        exactly_one("Bernoulli", probs=probs, logits=logits)
        self.logits = probs_to_logits(promote(probs)) if logits is None else promote(logits)
        self.dtype = jnp.dtype(dtype)

    def probs_parameter(self) -> Float[Array, "*batch"]:
        """p, of the batch shape."""
        return jax.nn.sigmoid(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch"]:
        """log(p / (1 - p)), of the batch shape."""
        return self.logits

    @property
    def support(self) -> Support:
        return boolean

    def _log_prob(self, value: Event) -> Real:
        return jax.nn.log_sigmoid(jnp.where(value == 1, self.logits, -self.logits))

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # log(u) < log p, in the tail that keeps its digits: a uniform compared with p itself is coarse near zero.
        u = jax.random.uniform(key, shape, self.logits.dtype)
        return (jnp.log(u) - jnp.log1p(-u) < self.logits).astype(self.dtype)

    def _mean(self) -> Real:
        return self.probs_parameter()

    def _mode(self) -> Event:
        return (self.logits > 0).astype(self.dtype)

    def _variance(self) -> Real:
        return jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits)

    def _entropy(self) -> Real:
        # softplus(l) - l sigmoid(l), with infinite logits set aside: 0 * inf.
        size = jnp.abs(jnp.where(jnp.isinf(self.logits), 0, self.logits))
        entropy = jax.nn.softplus(-size) + size * jax.nn.sigmoid(-size)
        return jnp.where(jnp.isinf(self.logits), 0, entropy)


@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli(p: Bernoulli, q: Bernoulli) -> Array:
    def term(a: Array, b: Array) -> Array:
        zero = a == -jnp.inf
        a = jnp.where(zero, 0, a)
        return jnp.where(zero, 0, jax.nn.sigmoid(a) * (jax.nn.log_sigmoid(a) - jax.nn.log_sigmoid(b)))

    return term(p.logits, q.logits) + term(-p.logits, -q.logits)


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


class Categorical(Distribution):
    """A category k of 0, 1, …, n - 1 with probability p_k.

    **Arguments:** exactly one of `logits`: unnormalised log probabilities of shape `batch + (n,)`, which is what is
    stored, and `probs`: p, which need not be normalised; `dtype`: of a draw (default `int32`).

    **Raises:** `ValueError` for both or neither of `logits` and `probs`.
    """

    logits: Float[Array, "*#batch n"] = parameter(extended_real)
    dtype: Any = eqx.field(static=True, default=jnp.int32)

    def __init__(self, logits: Numeric | None = None, probs: Numeric | None = None, dtype: Any = jnp.int32):
        exactly_one("Categorical", probs=probs, logits=logits)
        self.logits = log_probs(promote(probs)) if logits is None else promote(logits)
        self.dtype = jnp.dtype(dtype)

    @property
    def num_categories(self) -> int:
        """n."""
        return self.logits.shape[-1]

    def probs_parameter(self) -> Float[Array, "*batch n"]:
        """The normalised probabilities, of shape `batch + (n,)`."""
        return jax.nn.softmax(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch n"]:
        """The logits as given, of shape `batch + (n,)`."""
        return self.logits

    @property
    def support(self) -> Support:
        return integer_interval(0, self.num_categories - 1)

    def _log_prob(self, value: Event) -> Real:
        return _chosen(self.logits, value.astype(jnp.int32)) - jax.nn.logsumexp(self.logits, axis=-1)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # One uniform a draw and the cumulative sum, where jax.random.categorical takes n Gumbel variables.
        cumulative = jnp.cumsum(jax.nn.softmax(self.logits), axis=-1)
        u = jax.random.uniform(key, shape, self.logits.dtype) * cumulative[..., -1]
        below = cumulative[..., :-1] <= u[..., None]
        return jnp.sum(below, axis=-1).astype(self.dtype)

    def _mode(self) -> Event:
        return jnp.argmax(self.logits, axis=-1).astype(self.dtype)

    def _entropy(self) -> Real:
        log_p = jax.nn.log_softmax(self.logits)
        zero = log_p == -jnp.inf
        return -jnp.sum(jnp.where(zero, 0, jnp.exp(log_p) * jnp.where(zero, 0, log_p)), axis=-1)


@register_kl(Categorical, Categorical)
def _kl_categorical(p: Categorical, q: Categorical) -> Array:
    log_p, log_q = jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
    zero = log_p == -jnp.inf
    log_p = jnp.where(zero, 0, log_p)
    return jnp.sum(jnp.where(zero, 0, jnp.exp(log_p) * (log_p - jnp.where(zero, 0, log_q))), axis=-1)
