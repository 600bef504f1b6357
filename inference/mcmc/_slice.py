"""Slice sampling along random directions."""

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import Module, field
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._arguments import NonnegativeInt
from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.inference._target import log_density

from ._density import DensityKernel, DensityState
from ._hamiltonian import StepSize, as_step_size, flat_step_size
from ._kernel import LogDensity

# A bracket shrinks by about a third each time. After so many it is empty to rounding: the density is then above the
# height nowhere, not even where the chain is.
MAX_SHRINKAGES = 200

#: The log density at a distance along a line, and whether one of its values is above the height of the slice.
Density: TypeAlias = Callable[[Array], Array]
Above: TypeAlias = Callable[[Array], Bool[Array, ""]]


class SliceInfo(Module):
    """What one transition of a slice sampler did; under `sample_chain` each field has leading axes.

    - `target_log_prob`: the target at the new position.
    - `step_size`: the one used, as the kernel holds it.
    - `num_doublings`: how often the bracket was doubled.
    - `num_shrinkages`: how many candidates were refused.
    - `reach_max_doublings`: whether an end of the bracket was still above the height at its maximal size.
    - `is_accepted`: whether a candidate was found; none is found only if the density is not finite or not
      deterministic.
    """

    target_log_prob: Float[Array, "..."]
    step_size: PyTree
    num_doublings: Int[Array, "..."]
    num_shrinkages: Int[Array, "..."]
    reach_max_doublings: Bool[Array, "..."]
    is_accepted: Bool[Array, "..."]


class SliceSampler(DensityKernel[SliceInfo]):
    """Draws uniformly from the points of a random line through the position whose density is above a random height.

    The line's points above the height are bracketed by doubling a randomly placed interval until both its ends are
    below. Candidates are drawn from the bracket, which shrinks to each one that is refused, until one is above the
    height and could itself have led to the same bracket (Neal, 2003, figures 4 to 6). The sampler needs no gradient and
    always moves; a step size that is wrong by a factor of 2^k costs about k more evaluations, so it is not adapted.

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: the width of the first interval, a positive number, or a list, tuple or dict with one for each part
      of the state, each to broadcast against its part; directions are uniform in coordinates divided by it.
    - `max_doublings`: how often the interval may be doubled.
    """

    step_size_is_adaptable: ClassVar[bool] = False

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    max_doublings: int = field(static=True)

    def __init__(self, target_log_prob_fn: LogDensity, step_size: StepSize, max_doublings: NonnegativeInt):
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "SliceSampler: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.max_doublings = max_doublings

    def step(self, state: DensityState, *, seed: Seed) -> tuple[DensityState, SliceInfo]:
        who = "SliceSampler"
        direction_key, height_key, place_key, double_key, shrink_key = jax.random.split(as_key(seed, f"{who}.step"), 5)
        x0, unravel = ravel_pytree(state.position)
        noise = jax.random.normal(direction_key, x0.shape, x0.dtype)
        direction = flat_step_size(self.step_size, state.position, who) * noise / jnp.sqrt(jnp.sum(noise * noise))
        height = state.target_log_prob - jax.random.exponential(height_key, (), x0.dtype)

        def density(t: Array) -> Array:
            """The target at a distance of t widths, -inf where it is not finite."""
            x = x0 + t * direction
            value = log_density(self.target_log_prob_fn, unravel(x), who)
            return jnp.where(jnp.isfinite(value) & jnp.all(jnp.isfinite(x)), value, -jnp.inf)

        def above(value: Array) -> Bool[Array, ""]:
            # Not strictly above: where the exponential is lost to rounding, the position itself is on the slice.
            return (value >= height) & (value > -jnp.inf)

        low = -jax.random.uniform(place_key, (), x0.dtype)
        lefts = jax.random.bernoulli(double_key, shape=(max(self.max_doublings, 1),))
        low, high, count, more = double(density, above, low, low + 1, lefts[: self.max_doublings])

        def candidate(t: Array) -> tuple[Array, Array]:
            value = density(t)
            return above(value) & acceptable(density, above, low, high, t, above(value)), value

        t, value, refused, found = shrink(candidate, low, high, shrink_key)
        position = unravel(jnp.where(found, x0 + t * direction, x0))
        value = jnp.where(found, value, state.target_log_prob)
        step_size = jtu.tree_map(lambda s: s.astype(x0.dtype), self.step_size)
        return DensityState(position, value), SliceInfo(value, step_size, count, refused, more, found)


def double(
    density: Density,
    above: Above,
    low: Array,
    high: Array,
    lefts: Bool[Array, " n"],
) -> tuple[Array, ...]:
    """Doubles an interval to the left or right, as `lefts` says, until both ends are below the height.

    **Returns:** its ends, how often it was doubled, and whether an end is still above the height.
    """
    num = lefts.shape[0]

    def grows(carry: tuple[Array, ...]) -> Bool[Array, ""]:
        _, _, at_low, at_high, count = carry
        return (above(at_low) | above(at_high)) & (count < num)

    def grow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, at_low, at_high, count = carry
        left = lefts[count]
        new = jnp.where(left, low - (high - low), high + (high - low))
        value = density(new)
        low, at_low = jnp.where(left, new, low), jnp.where(left, value, at_low)
        high, at_high = jnp.where(left, high, new), jnp.where(left, at_high, value)
        return low, high, at_low, at_high, count + 1

    carry: tuple[Array, ...] = low, high, density(low), density(high), jnp.zeros((), jnp.int32)
    if num:
        carry = jax.lax.while_loop(grows, grow, carry)
    low, high, at_low, at_high, count = carry
    return low, high, count, above(at_low) | above(at_high)


def acceptable(
    density: Density,
    above: Above,
    low: Array,
    high: Array,
    t: Array,
    worth: Bool[Array, ""],
) -> Bool[Array, ""]:
    """Whether doubling from an interval around t, rather than around 0, could have led to the same bracket.

    That is so unless one of the nested halves around t that no longer contain 0 has both ends below the height. The
    result is false without a test where `worth` is false.
    """

    def goes_on(carry: tuple[Array, ...]) -> Bool[Array, ""]:
        low, high, _, good = carry
        return good & (high - low > 1.1)

    def halve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, separate, _ = carry
        middle = 0.5 * (low + high)
        separate |= (middle > 0) == (t >= middle)  # 0 and t in different halves
        low, high = jnp.where(t < middle, low, middle), jnp.where(t < middle, middle, high)
        return low, high, separate, ~separate | above(density(low)) | above(density(high))

    carry: tuple[Array, ...] = low, high, jnp.asarray(False), worth
    return jax.lax.while_loop(goes_on, halve, carry)[3]


def shrink(
    candidate: Callable[[Array], tuple[Array, Array]], low: Array, high: Array, key: Seed, first: Array | None = None
) -> tuple[Array, ...]:
    """Draws candidates from a bracket around 0, which shrinks to each one that is refused, until one is accepted.

    **Arguments:** `candidate`: whether a point is accepted, and its value; `first`: the first candidate, if given.

    **Returns:** the last candidate, its value, how many were refused, and whether this one was accepted.
    """

    def draw(low: Array, high: Array, count: Array) -> Array:
        return low + (high - low) * jax.random.uniform(jax.random.fold_in(key, count), (), low.dtype)

    def searches(carry: tuple[Array, ...]) -> Bool[Array, ""]:
        *_, count, found = carry
        return ~found & (count < MAX_SHRINKAGES)

    def refuse(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, t, _, count, _ = carry
        low, high = jnp.where(t < 0, t, low), jnp.where(t < 0, high, t)
        t = draw(low, high, count + 1)
        found, value = candidate(t)
        return low, high, t, value, count + 1, found

    count = jnp.zeros((), jnp.int32)
    t = draw(low, high, count) if first is None else first
    found, value = candidate(t)
    carry: tuple[Array, ...] = low, high, t, value, count, found
    _, _, t, value, count, found = jax.lax.while_loop(searches, refuse, carry)
    return t, value, count, found
