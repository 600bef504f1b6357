"""Slice sampling along random directions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import Module, field
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._misc import as_callable, as_key
from distrax_like.inference._target import log_density

from ._density import DensityKernel, DensityState
from ._kernel import as_step_size, flat_step_size

# A bracket shrinks by about a third a time, so that this many leave nothing of it but by a density that is on its
# slice nowhere, not even where the chain is.
MAX_SHRINKAGES = 200


class SliceInfo(Module):
    """What one transition of a slice sampler did; under `sample_chain` each field has leading axes.

    - `target_log_prob`: the target at the new position.
    - `step_size`: the one used, as the kernel holds it.
    - `num_doublings`: how often the bracket was doubled.
    - `num_shrinkages`: how many candidates were refused.
    - `reach_max_doublings`: whether the bracket was still to grow at its maximal size.
    - `is_accepted`: whether a candidate was found; only a density that is not finite, or not deterministic, has none.
    """

    target_log_prob: Float[Array, "..."]
    step_size: PyTree
    num_doublings: Int[Array, "..."]
    num_shrinkages: Int[Array, "..."]
    reach_max_doublings: Bool[Array, "..."]
    is_accepted: Bool[Array, "..."]


class SliceSampler(DensityKernel):
    """Draws uniformly from the points of a random line through the position whose density is above a random height.

    The line's points above the height are bracketed by doubling a randomly placed interval until both its ends are
    below; candidates are drawn from the bracket, which shrinks to those refused, until one is above the height from
    which the same bracket could have been found (Neal, 2003, figures 4 to 6). It needs no gradient, is never stuck, and
    a step size that is wrong by a factor costs as many evaluations as the factor has bits.

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: the width of the first interval, a positive number, or a list, tuple or dict with one for each part
      of the state, each to broadcast against its part; directions are uniform in coordinates divided by it.
    - `max_doublings`: how often the interval may be doubled.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: PyTree[Float[Array, "..."]]
    max_doublings: int = field(static=True)

    def __init__(self, target_log_prob_fn: Callable[..., Any], step_size: Any, max_doublings: int):
        if max_doublings < 0:
            raise ValueError(f"SliceSampler: max_doublings must not be negative, got {max_doublings}")
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "SliceSampler: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.max_doublings = max_doublings

    def step(self, state: DensityState, *, seed: Any) -> tuple[DensityState, SliceInfo]:
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

        def above(value: Array) -> Array:
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
    density: Callable[[Array], Array],
    above: Callable[[Array], Array],
    low: Array,
    high: Array,
    lefts: Bool[Array, " n"],
) -> tuple[Array, ...]:
    """Doubles an interval to the left or right, as `lefts` says, until both ends are below the height: its ends, how
    often it was doubled, and whether more was to do."""
    num = lefts.shape[0]

    def grows(carry: Any) -> Array:
        _, _, at_low, at_high, count = carry
        return (above(at_low) | above(at_high)) & (count < num)

    def grow(carry: Any) -> Any:
        low, high, at_low, at_high, count = carry
        left = lefts[count]
        new = jnp.where(left, low - (high - low), high + (high - low))
        value = density(new)
        low, at_low = jnp.where(left, new, low), jnp.where(left, value, at_low)
        high, at_high = jnp.where(left, high, new), jnp.where(left, at_high, value)
        return low, high, at_low, at_high, count + 1

    carry = low, high, density(low), density(high), jnp.zeros((), jnp.int32)
    if num:
        carry = jax.lax.while_loop(grows, grow, carry)
    low, high, at_low, at_high, count = carry
    return low, high, count, above(at_low) | above(at_high)


def acceptable(
    density: Callable[[Array], Array],
    above: Callable[[Array], Array],
    low: Array,
    high: Array,
    t: Array,
    worth: Bool[Array, ""],
) -> Bool[Array, ""]:
    """Whether doubling from an interval around t, rather than around 0, could have come to the same bracket: none of
    the halves on the way down to t from where it parts with 0 has both ends below. Not looked at unless `worth`."""

    def goes_on(carry: Any) -> Array:
        low, high, _, good = carry
        return good & (high - low > 1.1)

    def halve(carry: Any) -> Any:
        low, high, apart, _ = carry
        middle = 0.5 * (low + high)
        apart |= (middle > 0) == (t >= middle)  # 0 and t in different halves
        low, high = jnp.where(t < middle, low, middle), jnp.where(t < middle, middle, high)
        return low, high, apart, ~apart | above(density(low)) | above(density(high))

    return jax.lax.while_loop(goes_on, halve, (low, high, jnp.asarray(False), worth))[3]


def shrink(
    candidate: Callable[[Array], tuple[Array, Array]], low: Array, high: Array, key: Any, first: Array | None = None
) -> tuple[Array, ...]:
    """Draws from a bracket of 0, which shrinks to the points refused, until one is not: the point, its value, how many
    were refused, and whether one was found. The first may be given."""

    def draw(low: Array, high: Array, count: Array) -> Array:
        return low + (high - low) * jax.random.uniform(jax.random.fold_in(key, count), (), low.dtype)

    def searches(carry: Any) -> Array:
        *_, count, found = carry
        return ~found & (count < MAX_SHRINKAGES)

    def refuse(carry: Any) -> Any:
        low, high, t, _, count, _ = carry
        low, high = jnp.where(t < 0, t, low), jnp.where(t < 0, high, t)
        t = draw(low, high, count + 1)
        found, value = candidate(t)
        return low, high, t, value, count + 1, found

    count = jnp.zeros((), jnp.int32)
    t = draw(low, high, count) if first is None else first
    found, value = candidate(t)
    _, _, t, value, count, found = jax.lax.while_loop(searches, refuse, (low, high, t, value, count, found))
    return t, value, count, found
