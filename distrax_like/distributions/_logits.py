"""Logits in place of probabilities: the conversion, functions of logits that may be infinite, and the base classes.

A probability of exactly zero is a logit of minus infinity, whose derivative in the probability is infinite, while that
of everything finite made of it is 0 times infinity, with a finite product. So derivatives are those at a logit of
`_STAND_IN` in place of an infinite one: the derivative of `log_probs` is exp(-_STAND_IN) there, that of the functions
below has the factor exp(_STAND_IN), and the product is right to the last bits.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, Real, at_least_single, exactly_one, promote, require_entries
from distrax_like._module import parameter
from distrax_like.supports import category_logits, extended_real

from ._distribution import Distribution

# An integer, so that exp of it is right to the last bit; 1 + exp of it is 1.
_STAND_IN = -40
# An exponent whose exponential no dtype of 32 bits or more overflows at.
_LARGEST = 80


def _finite(logits: Real) -> Real:
    """The logits, with a stand-in for infinite ones and a derivative of one."""
    infinite = jnp.isinf(logits)
    stand_in = jnp.where(logits < 0, _STAND_IN, -_STAND_IN).astype(logits.dtype)
    return jnp.where(infinite, stand_in, 0) + _pass(jnp.where(infinite, 0, logits), logits)


@jax.custom_jvp
def _pass(value: Real, logits: Real) -> Real:
    """`value`, with the derivative of `logits`."""
    return value


@_pass.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return primals[0], tangents[1]


def at_infinity(fn: Callable[..., Real]) -> Callable[..., Real]:
    """A function whose first argument is logits, with its derivatives at the stand-in where a logit is infinite."""

    @jax.custom_jvp
    def function(logits: Real, *args: Any) -> Real:
        return fn(logits, *args)

    @function.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        logits, *args = primals
        return function(*primals), jax.jvp(fn, (_finite(logits), *args), tuple(tangents))[1]

    return function


@jax.custom_jvp
def _sigmoid(logits: Real) -> Real:
    return jax.nn.sigmoid(logits)


@_sigmoid.defjvp
def _(primals: Any, tangents: Any) -> Any:
    # Not p (1 - p), which is zero where p rounds to one.
    (logits,), (tangent,) = primals, tangents
    p = _sigmoid(logits)
    return p, p * _sigmoid(-logits) * tangent


@jax.custom_jvp
def _bernoulli_variance(logits: Real) -> Real:
    return jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)


@_bernoulli_variance.defjvp
def _(primals: Any, tangents: Any) -> Any:
    # p (1 - p) (1 - 2 p), in which 1 - 2 p does not cancel.
    (logits,), (tangent,) = primals, tangents
    variance = _bernoulli_variance(logits)
    return variance, -variance * jnp.tanh(logits / 2) * tangent


exp = at_infinity(jnp.exp)
bernoulli_variance = at_infinity(_bernoulli_variance)
sigmoid = at_infinity(_sigmoid)
log_sigmoid = at_infinity(jax.nn.log_sigmoid)
softmax = at_infinity(jax.nn.softmax)
log_softmax = at_infinity(jax.nn.log_softmax)
logsumexp = at_infinity(lambda x: jax.nn.logsumexp(x, axis=-1))


def log_sum_of_products(*logs: Real) -> Real:
    """log Σ_i exp(a_i + b_i + …) over the last axis; a factor of zero makes its product zero, whatever the others are.

    Where exactly one factor is zero, its derivative is that of a product coming in, by the stand-in; those of the other
    factors are zero. The shapes broadcast.
    """
    return _log_sum_of_products(*jnp.broadcast_arrays(*logs))


@jax.custom_jvp
def _log_sum_of_products(*logs: Real) -> Real:
    top, _, total = _sum_exp(log_product(*logs))
    return jnp.squeeze(jnp.log(total) + top, -1)


@_log_sum_of_products.defjvp
def _(primals: Any, tangents: Any) -> Any:
    top, terms, total = _sum_exp(log_product(*primals))
    total = jnp.where(total == 0, jnp.exp(jnp.asarray(_STAND_IN, total.dtype)), total)
    zeros = [x == -jnp.inf for x in primals]
    size = functools.reduce(jnp.add, (jnp.where(zero, _STAND_IN, x) for zero, x in zip(zeros, primals))) - top
    single = (functools.reduce(jnp.add, (zero.astype(jnp.int32) for zero in zeros)) == 1) & jnp.isfinite(size)
    entering = jnp.where(single, jnp.exp(jnp.where(single, jnp.minimum(size, _LARGEST), 0)), 0)
    changes = ((terms + jnp.where(zero, entering, 0)) * tangent for zero, tangent in zip(zeros, tangents))
    return _log_sum_of_products(*primals), jnp.sum(functools.reduce(jnp.add, changes) / total, axis=-1)


def log_product(*logs: Real) -> Real:
    """log(exp(a) exp(b) …), minus infinity where a factor is zero, whatever the others are."""
    none = functools.reduce(jnp.logical_or, (x == -jnp.inf for x in logs))
    return jnp.where(none, -jnp.inf, functools.reduce(jnp.add, (jnp.where(none, 0, x) for x in logs)))


def _sum_exp(x: Real) -> tuple[Real, Real, Real]:
    """The logarithm of what the terms are divided by, these terms, and their sum."""
    top = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))
    top = jnp.where(jnp.isinf(top), 0, top)
    terms = jnp.exp(x - top)
    return top, terms, jnp.sum(terms, axis=-1, keepdims=True)


@jax.custom_jvp
def log_probs(p: Real) -> Real:
    """log p, whose derivative at p = 0 is that of a logit's stand-in."""
    return jnp.log(p)


@log_probs.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (p,), (tangent,) = primals, tangents
    return log_probs(p), tangent / jnp.where(p == 0, jnp.exp(jnp.asarray(_STAND_IN, p.dtype)), p)


def probs_to_logits(p: Real) -> Real:
    """log(p / (1 - p)); for the derivatives at both ends see `log_probs`."""
    return log_probs(p) - _log1m(p)


@jax.custom_jvp
def _log1m(p: Real) -> Real:
    return jnp.log1p(-p)


@_log1m.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (p,), (tangent,) = primals, tangents
    return _log1m(p), -tangent / jnp.where(p == 1, jnp.exp(jnp.asarray(_STAND_IN, p.dtype)), 1 - p)


def as_single(logits: Real) -> Real:
    """The logits in at least single precision."""
    return logits.astype(at_least_single(logits.dtype))


class BinaryLogits(Distribution):
    """Base of distributions of one probability p, which is stored as the logit log(p / (1 - p))."""

    logits: Float[Array, "*#batch"] = parameter(extended_real)

    def _given(self, logits: Numeric | None, probs: Numeric | None) -> Array:
        """The logits, from one of the two parametrisations. **Raises:** `ValueError` for both or neither."""
        exactly_one(type(self).__name__, probs=probs, logits=logits)
        return promote(logits) if probs is None else probs_to_logits(promote(probs))

    @property
    def probs(self) -> Float[Array, "*batch"]:
        """p; see `probs_parameter`."""
        return self.probs_parameter()

    def probs_parameter(self) -> Float[Array, "*batch"]:
        """p, of the batch shape."""
        return sigmoid(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch"]:
        """log(p / (1 - p)), of the batch shape."""
        return self.logits


class CategoricalLogits(Distribution):
    """Base of distributions of the probabilities of n categories, stored as logarithms that need not be normalised."""

    logits: Float[Array, "*#batch n"] = parameter(category_logits)

    def _given(self, logits: Numeric | None, probs: Numeric | None) -> Array:
        """The logits, from one of the two parametrisations. **Raises:** `ValueError` for both or neither."""
        exactly_one(type(self).__name__, probs=probs, logits=logits)
        require_entries(f"{type(self).__name__}: {'logits' if probs is None else 'probs'}", logits, probs)
        return promote(logits) if probs is None else log_probs(promote(probs))

    @property
    def num_categories(self) -> int:
        """n."""
        return self.logits.shape[-1]

    @property
    def probs(self) -> Float[Array, "*batch n"]:
        """The normalised probabilities; see `probs_parameter`."""
        return self.probs_parameter()

    def probs_parameter(self) -> Float[Array, "*batch n"]:
        """The normalised probabilities, of shape `batch + (n,)`."""
        return softmax(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch n"]:
        """The logits as given, of shape `batch + (n,)`."""
        return self.logits
