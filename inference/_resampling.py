"""Resampling, from weighted particles to indices of particles of equal weight, and the effective sample size."""

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Numeric, Seed, ShapeLike, as_key, as_shape, promote

_Rule = Callable[[Float[Array, " n"], Seed, int], Int[Array, " m"]]


def _batched(
    who: str, rule: _Rule, log_probs: Numeric, event_size: PositiveInt, sample_shape: ShapeLike, seed: Seed
) -> Int[Array, "..."]:
    """Indices for every batch and sample; `rule` maps the probabilities of one set of particles and a key to them."""
    log_probs = jax.lax.stop_gradient(promote(log_probs))
    size, shape = operator.index(event_size), as_shape(sample_shape, f"{who}: sample_shape")
    if log_probs.ndim < 1 or log_probs.shape[0] < 1:
        raise ValueError(f"{who}: log_probs must have particles along its first axis, got shape {log_probs.shape}")
    batch = log_probs.shape[1:]
    probs = jnp.reshape(_normalized(log_probs), (log_probs.shape[0], -1)).T
    keys = jax.random.split(seed, (math.prod(shape), math.prod(batch)))
    over_batch = jax.vmap(lambda p, key: rule(p, key, size))
    out = jax.vmap(over_batch, in_axes=(None, 0))(probs, keys)
    out = jnp.reshape(out, (*shape, *batch, size))
    return jnp.moveaxis(out, -1, len(shape))


def _normalized(log_probs: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    # A weight of NaN counts as zero; if no particle has a weight, all have the same.
    log_probs = jnp.where(jnp.isnan(log_probs), -jnp.inf, log_probs)
    peak = jnp.max(log_probs, axis=0)
    weights = jnp.where(log_probs == peak, 1, jnp.exp(log_probs - jnp.where(jnp.isfinite(peak), peak, 0)))
    weights = jnp.where((peak == jnp.inf) & (log_probs < peak), 0, weights)
    return weights / jnp.sum(weights, axis=0)


def _invert(probs: Float[Array, " n"], points: Float[Array, " m"]) -> Int[Array, " m"]:
    """The particle whose interval of the cumulative distribution each point of [0, 1] lies in."""
    # A parallel cumulative sum may fall by an ulp, or rise at a particle without weight.
    cumulative = jax.lax.cummax(jnp.cumsum(probs))
    found = jnp.searchsorted(cumulative, points * cumulative[-1], side="right")
    return _with_weight(probs)[jnp.minimum(found, probs.size - 1)]


def _with_weight(probs: Float[Array, " n"]) -> Int[Array, " n"]:
    """For each particle the last one up to it that has a weight; before the first such particle, that one."""
    last = jax.lax.cummax(jnp.where(probs > 0, jnp.arange(probs.size), -1))
    return jnp.where(last < 0, jnp.argmax(probs > 0), last)


def _sorted_uniforms(key: Seed, size: int, count: Any, dtype: Any) -> Float[Array, " m"]:
    """The order statistics of `count` independent uniforms, in the first `count` places of `size`.

    Divided by their sum, the gaps of a Poisson process are the gaps between sorted uniforms: no sort is needed.
    """
    arrivals = jnp.cumsum(jax.random.exponential(key, (size + 1,), dtype))
    return jnp.minimum(arrivals[:-1] / arrivals[count], 1)


@checked
def resample_systematic(
    log_probs: Numeric, event_size: PositiveInt, sample_shape: ShapeLike = (), seed: Seed | None = None
) -> Int[Array, "..."]:
    """Systematic resampling: the points (k + u) / m with one uniform u, through the inverse of the cumulative
    distribution.

    Particle i is drawn either ⌊m pᵢ⌋ or ⌈m pᵢ⌉ times, m pᵢ in expectation. The draws are dependent: for some orders of
    the particles the variance is larger than that of `resample_stratified`.

    **Arguments:**

    - `log_probs`: log weights, normalised or not, of shape `(n, *batch)`. A particle of weight zero or NaN is never
      drawn, unless all are, which then have equal weights.
    - `event_size`: how many indices m to draw.
    - `sample_shape`: how many independent sets of indices.
    - `seed`: a key.

    **Returns:** indices between 0 and n - 1, in ascending order, of shape `sample_shape + (m, *batch)`.

    **Raises:** `TypeError` without a seed; `ValueError` for an empty axis of particles or an `event_size` below 1.
    """

    def rule(probs: Array, key: Seed, size: int) -> Array:
        offset = jax.random.uniform(key, (), probs.dtype)
        return _invert(probs, (jnp.arange(size) + offset) / size)

    key = as_key(seed, "resample_systematic")
    return _batched("resample_systematic", rule, log_probs, event_size, sample_shape, key)


@checked
def resample_stratified(
    log_probs: Numeric, event_size: PositiveInt, sample_shape: ShapeLike = (), seed: Seed | None = None
) -> Int[Array, "..."]:
    """Stratified resampling: the points (k + uₖ) / m with independent uniforms uₖ, through the inverse of the
    cumulative distribution.

    Unbiased, with a variance that is never larger than that of `resample_independent`.

    **Arguments**, **Returns** and **Raises** as for `resample_systematic`.
    """

    def rule(probs: Array, key: Seed, size: int) -> Array:
        offsets = jax.random.uniform(key, (size,), probs.dtype)
        return _invert(probs, (jnp.arange(size) + offsets) / size)

    key = as_key(seed, "resample_stratified")
    return _batched("resample_stratified", rule, log_probs, event_size, sample_shape, key)


@checked
def resample_independent(
    log_probs: Numeric, event_size: PositiveInt, sample_shape: ShapeLike = (), seed: Seed | None = None
) -> Int[Array, "..."]:
    """Multinomial resampling: independent categorical draws, in ascending order.

    **Arguments**, **Returns** and **Raises** as for `resample_systematic`.
    """

    def rule(probs: Array, key: Seed, size: int) -> Array:
        return _invert(probs, _sorted_uniforms(key, size, size, probs.dtype))

    key = as_key(seed, "resample_independent")
    return _batched("resample_independent", rule, log_probs, event_size, sample_shape, key)


def _whole_copies(probs: Float[Array, " n"], size: int) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """⌊m pᵢ⌋ and the remainder m pᵢ - ⌊m pᵢ⌋."""
    expected = probs * size
    # Rounding must not turn a whole number into a fraction next to 1; the slack adds up to less than one copy.
    slack = min(4 * float(jnp.finfo(probs.dtype).eps), 0.5 / size)
    copies = jnp.floor(expected * (1 + slack))
    return copies.astype(int), jnp.maximum(expected - copies, 0)


def _repeat(copies: Int[Array, " n"], size: int) -> Int[Array, " m"]:
    """Each index repeated as often as `copies` says, in ascending order, filled up with n."""
    return jnp.searchsorted(jnp.cumsum(copies), jnp.arange(size), side="right")


@checked
def resample_residual(
    log_probs: Numeric, event_size: PositiveInt, sample_shape: ShapeLike = (), seed: Seed | None = None
) -> Int[Array, "..."]:
    """Residual resampling: ⌊m pᵢ⌋ certain copies of particle i, and independent draws from the remainders.

    Unbiased, with a variance that is never larger than that of `resample_independent`. The certain copies come first.

    **Arguments** and **Raises** as for `resample_systematic`; **Returns:** indices, in two ascending runs.

    J. Liu and R. Chen, Sequential Monte Carlo methods for dynamic systems, JASA 93 (1998).
    """

    def rule(probs: Array, key: Seed, size: int) -> Array:
        copies, rest = _whole_copies(probs, size)
        sure = jnp.sum(copies)
        drawn = _invert(rest, _sorted_uniforms(key, size, size - sure, probs.dtype))
        place = jnp.arange(size)
        return jnp.where(place < sure, _repeat(copies, size), drawn[jnp.maximum(place - sure, 0)])

    key = as_key(seed, "resample_residual")
    return _batched("resample_residual", rule, log_probs, event_size, sample_shape, key)


@checked
def resample_deterministic_minimum_error(
    log_probs: Numeric, event_size: PositiveInt, sample_shape: ShapeLike = (), seed: Seed | None = None
) -> Int[Array, "..."]:
    """Deterministic resampling: the numbers of copies cᵢ that add up to m and are nearest to m pᵢ.

    ⌊m pᵢ⌋ copies, and one more for the largest remainders (of equal ones the first), which makes Σ |cᵢ - m pᵢ|ᵏ least
    for every k ≥ 1. It is biased: no estimate of a normalising constant that uses it is unbiased.

    **Arguments**, **Returns** and **Raises** as for `resample_systematic`, but there is no need for a `seed`, and the
    sets of indices of a `sample_shape` are all the same.
    """

    def rule(probs: Array, _: Any, size: int) -> Array:
        copies, rest = _whole_copies(probs, size)
        # Except for rounding, fewer copies are missing than there are particles: the largest remainders get them.
        rank = jnp.zeros(probs.size, int).at[jnp.argsort(-rest, stable=True)].set(jnp.arange(probs.size))
        copies = copies + (rank < size - jnp.sum(copies))
        return _with_weight(probs)[jnp.minimum(_repeat(copies, size), probs.size - 1)]

    who = "resample_deterministic_minimum_error"
    return _batched(who, rule, log_probs, event_size, sample_shape, jax.random.key(0))


@checked
def log_ess_from_log_weights(log_weights: Numeric, particles_dim: int = 0) -> Float[Array, "..."]:
    """The log of Kish's effective sample size, (Σ w)² / Σ w².

    **Arguments:** `log_weights`: normalised or not; `particles_dim`: the axis of the particles.

    **Returns:** the shape of the weights without that axis: between 0 and log n, and minus infinity without weights.
    """
    log_weights = promote(log_weights)
    total = logsumexp(log_weights, axis=particles_dim)
    some = total > -jnp.inf
    squares = logsumexp(2 * log_weights, axis=particles_dim)
    return jnp.where(some | jnp.isnan(total), 2 * jnp.where(some, total, 0) - jnp.where(some, squares, 0), -jnp.inf)


@checked
def ess_below_threshold(weighted_particles: Any, particles_dim: int = 0, threshold: Any = 0.5) -> Bool[Array, "..."]:
    """Whether the effective sample size is below `threshold` times the number of particles.

    **Arguments:** `weighted_particles`: with a field `log_weights`; `particles_dim`: the axis of the particles.
    """
    log_weights = weighted_particles.log_weights
    share = log_ess_from_log_weights(log_weights, particles_dim) - math.log(log_weights.shape[particles_dim])
    return share < jnp.log(threshold)
