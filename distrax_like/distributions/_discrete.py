"""Quantiles and entropies of counts, which have no closed form: by a search, and by a sum."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from distrax_like import special
from distrax_like._misc import Event, Real

from ._distribution import Distribution

# Terms of the sum for an entropy, and the mean up to which they are the counts from zero on.
_TERMS = 256
_EACH_COUNT_BELOW = 100


class Counts(Distribution):
    """Counts from 0 to `_highest()`: quantiles by a search from the guess that mean, variance and skewness give."""

    @abc.abstractmethod
    def _skewness_times_stddev(self) -> Real | float:
        """The skewness times the standard deviation, for the guess only."""

    @abc.abstractmethod
    def _highest(self) -> Real:
        """The largest count, infinite where there is none."""

    # The smallest k with P(X <= k) >= p and with P(X > k) <= q.
    def _quantile(self, p: Real) -> Event:
        return self._search(special.ndtri(p), lambda d, k: reaches(d._cdf(k), p))

    def _inverse_survival_function(self, q: Real) -> Event:
        return self._search(-special.ndtri(q), lambda d, k: is_within(d._survival_function(k), q))

    def _search(self, z: Real, reached: Callable[["Counts", Real], Bool[Array, "..."]]) -> Real:
        d = jax.lax.stop_gradient(self)
        guess = normal_guess(z, d._mean(), jnp.sqrt(d._variance()), d._skewness_times_stddev())
        return smallest_count(lambda k: reached(d, k), guess, d._highest())


def reaches(cdf: Real, p: Real) -> Bool[Array, "..."]:
    """P(X <= k) >= p, to the rounding of the distribution function, so that the quantile of P(X <= k) is k."""
    return cdf >= p * (1 - 8 * jnp.finfo(p.dtype).eps)


def is_within(survival: Real, q: Real) -> Bool[Array, "..."]:
    """P(X > k) <= q, to the rounding of the distribution function."""
    return survival <= q * (1 + 8 * jnp.finfo(q.dtype).eps)


def normal_guess(z: Real, mean: Real, stddev: Real, skewness_times_stddev: Real | float) -> Real:
    """A quantile from that of the normal distribution, by the first terms of the Cornish-Fisher expansion."""
    return jnp.floor(mean + stddev * z + skewness_times_stddev * (z * z - 1) / 6)


def smallest_count(reached: Callable[[Real], Bool[Array, "..."]], guess: Real, highest: Real) -> Real:
    """The smallest whole number from 0 to `highest` at which `reached` holds, as it does from there on to `highest`.

    The steps from the guess are 1, 2, 4, … until the number is known from both sides, then the interval is halved.
    """

    class _State(NamedTuple):
        low: Real  # the largest point where it is known not to hold
        high: Real  # the smallest point where it holds
        found: tuple[Any, Any]  # whether either of them has been looked at
        step: Real
        point: Real

    def is_open(s: _State) -> Bool[Array, "..."]:
        return (s.point > s.low) & (s.point < s.high)

    def narrow(s: _State) -> _State:
        active = is_open(s)
        holds = reached(jnp.where(active, s.point, 0))
        low = jnp.where(active & ~holds, s.point, s.low)
        high = jnp.where(active & holds, s.point, s.high)
        found = s.found[0] | ~holds, s.found[1] | holds
        stepped = jnp.clip(jnp.where(holds, s.point - s.step, s.point + s.step), low + 1, high - 1)
        point = jnp.where(found[0] & found[1], low + jnp.floor((high - low) / 2), stepped)
        return _State(low, high, found, 2 * s.step, jnp.where(active, point, s.point))

    highest = jnp.broadcast_to(highest, guess.shape).astype(guess.dtype)
    start = jnp.clip(guess, 0, jnp.maximum(highest - 1, 0))
    step = jnp.maximum(1, 2 * jnp.finfo(guess.dtype).eps * start)
    none = jnp.zeros(guess.shape, bool)
    first = _State(jnp.full_like(guess, -1), highest, (none, none), step, start)
    return jax.lax.while_loop(lambda s: jnp.any(is_open(s)), narrow, first).high


def entropy_of_counts(
    log_mass: Callable[[Real], Real], log_mass_at_zero: Real, mean: Real, stddev: Real, highest: Real
) -> Real:
    """-Σ p log p over the counts from 0 to `highest`, to a few units of rounding.

    Of a mean below a hundred the terms are those of the first 256 counts. Of a larger one they are those of 256 evenly
    spaced counts from 10 standard deviations below the mean: the sum of a smooth function is its integral, to an error
    of exp(-2 π² variance), and so is a sum of any spacing of less than a fifth of a standard deviation.

    **Arguments:** `mean`: at most half of `highest`.
    """
    each = mean < _EACH_COUNT_BELOW
    # Powers of two and their multiples are not rounded.
    step = jnp.exp2(jnp.ceil(jnp.log2(jnp.where(each, 1, 22 / _TERMS * stddev))))[..., None]
    start = jnp.where(each[..., None], 0, step * jnp.floor((mean - 10 * stddev)[..., None] / step))
    count = start + step * jnp.arange(_TERMS, dtype=mean.dtype)
    inside = count <= highest[..., None]
    # Where zero is all but certain, its mass must be known to relative accuracy.
    log_p = jnp.where(count == 0, log_mass_at_zero[..., None], log_mass(jnp.where(inside, count, 0)))
    return -jnp.sum(jnp.where(inside, step * special.mul0(jnp.exp(log_p), log_p), 0), axis=-1)
