"""Logits in place of probabilities: the conversion, functions of logits that may be infinite, and the base classes.

A probability of exactly zero is a logit of minus infinity, whose derivative in the probability is infinite, while that
of everything finite made of it is 0 times infinity, with a finite product. So derivatives are those at a logit of
`_STAND_IN` in place of an infinite one: the derivative of `log_probs` is exp(-_STAND_IN) there, that of the functions
below has the factor exp(_STAND_IN), and the product is right to the last bits.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, Real, exactly_one, promote
from distrax_like._module import parameter
from distrax_like.supports import extended_real

from ._distribution import Distribution

# An integer, so that exp of it is right to the last bit; 1 + exp of it is 1.
_STAND_IN = -40


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


def _at_infinity(fn: Callable[[Real], Real]) -> Callable[[Real], Real]:
    """A function of logits whose derivative at an infinite one is that at the stand-in."""

    @jax.custom_jvp
    def function(logits: Real) -> Real:
        return fn(logits)

    @function.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        logits, (tangent,) = _finite(primals[0]), tangents
        return function(primals[0]), jax.jvp(fn, (logits,), (tangent,))[1]

    return function


exp = _at_infinity(jnp.exp)
sigmoid = _at_infinity(jax.nn.sigmoid)
log_sigmoid = _at_infinity(jax.nn.log_sigmoid)
softmax = _at_infinity(jax.nn.softmax)
log_softmax = _at_infinity(jax.nn.log_softmax)
logsumexp = _at_infinity(lambda x: jax.nn.logsumexp(x, axis=-1))


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


class BinaryLogits(Distribution):
    """Base of distributions of one probability p, which is stored as the logit log(p / (1 - p))."""

    logits: Float[Array, "*#batch"] = parameter(extended_real)

    def _given(self, logits: Numeric | None, probs: Numeric | None) -> Array:
        """The logits, from one of the two parametrisations. **Raises:** `ValueError` for both or neither."""
        exactly_one(type(self).__name__, probs=probs, logits=logits)
        return promote(logits) if probs is None else probs_to_logits(promote(probs))

    def probs_parameter(self) -> Float[Array, "*batch"]:
        """p, of the batch shape."""
        return sigmoid(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch"]:
        """log(p / (1 - p)), of the batch shape."""
        return self.logits


class CategoricalLogits(Distribution):
    """Base of distributions of the probabilities of n categories, stored as logarithms that need not be normalised."""

    logits: Float[Array, "*#batch n"] = parameter(extended_real)

    def _given(self, logits: Numeric | None, probs: Numeric | None) -> Array:
        """The logits, from one of the two parametrisations. **Raises:** `ValueError` for both or neither."""
        exactly_one(type(self).__name__, probs=probs, logits=logits)
        return promote(logits) if probs is None else log_probs(promote(probs))

    @property
    def num_categories(self) -> int:
        """n."""
        return self.logits.shape[-1]

    def probs_parameter(self) -> Float[Array, "*batch n"]:
        """The normalised probabilities, of shape `batch + (n,)`."""
        return softmax(self.logits)

    def logits_parameter(self) -> Float[Array, "*batch n"]:
        """The logits as given, of shape `batch + (n,)`."""
        return self.logits
