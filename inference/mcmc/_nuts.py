"""The no-U-turn sampler."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from equinox import field
from jax import lax
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import as_callable, as_key, promote
from distrax_like.inference.mcmc._hash import uniform
from distrax_like.inference.mcmc._kernel import (
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    as_step_size,
    energy_drop,
    hamiltonian,
    momentum_dot,
)
from distrax_like.inference.mcmc._metric import DiagonalMetric, Metric

# The two streams of uniforms within a transition: one number for each leaf, one for each doubling.
_LEAF, _DOUBLING = 0, 1


class NoUTurnSampler(HamiltonianKernel):
    """The no-U-turn sampler: Hamiltonian Monte Carlo whose trajectory doubles until it turns back.

    The draw is multinomial within each new half and biased towards the new half at the top; a trajectory turns when its
    summed momentum points against the velocity at one of its ends (Hoffman and Gelman, 2014; Betancourt, 2017). The
    binary tree is walked leaf by leaf with one checkpoint for each level (Phan et al., 2019; Lao et al., 2020).

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: a positive number, or a list, tuple or dict with one for each part of the state, each to broadcast
      against its part. A step size for each coordinate is the same as one step size in rescaled coordinates.
    - `max_tree_depth`: at most `2**max_tree_depth - 1` gradients a transition; 1 to 30.
    - `max_energy_diff`: an energy error beyond this is a divergence and ends the trajectory.
    - `extra_turn_checks`: whether two halves are also tested each with the first point of the other, as Stan does.
      Without, a trajectory may close upon itself between the two tests and go on (independent normal targets show it).
    - `metric`: the inverse mass matrix, by default the identity.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric
    max_energy_diff: Float[Array, ""]
    max_tree_depth: int = field(static=True)
    extra_turn_checks: bool = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: Callable[..., Any],
        step_size: Any,
        max_tree_depth: int = 10,
        max_energy_diff: Any = 1000.0,
        extra_turn_checks: bool = True,
        metric: Metric | None = None,
    ):
        if not 1 <= max_tree_depth <= 30:
            raise ValueError(f"NoUTurnSampler: max_tree_depth must be between 1 and 30, got {max_tree_depth}")
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "NoUTurnSampler: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.metric = DiagonalMetric() if metric is None else metric
        self.max_energy_diff = promote(max_energy_diff)
        self.max_tree_depth = max_tree_depth
        self.extra_turn_checks = extra_turn_checks

    def step(self, state: HamiltonianState, *, seed: Any) -> tuple[HamiltonianState, HamiltonianInfo]:
        momentum_key, tree_key = jax.random.split(as_key(seed, "NoUTurnSampler.step"))
        flat = self._flat(state)
        x0, grad0 = flat.position, flat.grad
        dtype = x0.dtype
        zero = jnp.zeros((), dtype)
        p0, force0 = flat.draw_momentum(momentum_key), flat.force(grad0)
        energy0 = hamiltonian(flat.target_log_prob, p0)
        words = jax.random.bits(tree_key, (3,), jnp.uint32)
        directions, words = words[2], words[:2]
        # One row for each level of the largest subtree, and one that is only written.
        momenta, sums = (jnp.zeros((self.max_tree_depth, *shape), dtype) for shape in (p0.shape, x0.shape))
        checkpoints = (momenta, sums, momenta) if self.extra_turn_checks else (momenta, sums)

        def subtree(depth: Array, sign: Array, x: Array, p: Array, force: Array, checkpoints: Any) -> Any:
            """`2**depth` leaves from the edge (x, p, force) on, fewer where they turn or diverge."""
            size = jnp.left_shift(1, depth)

            def unfinished(carry: Any) -> Array:
                leaf, *_, turning, diverging = carry
                return (leaf < size) & ~turning & ~diverging

            def grow(carry: Any) -> Any:
                leaf, x, p, force, p_sum, draw, u, (top, weight), accept_sum, checkpoints, _, _ = carry
                x, p, force, value, grad = flat.leapfrog(sign, x, p, force)
                energy = hamiltonian(value, p)
                drop = energy_drop(energy0, energy)
                # Weights relative to the largest so far: no logarithm, and no overflow.
                new_top = jnp.maximum(top, drop)
                new_weight = jnp.exp(drop - new_top)
                weight = weight * jnp.exp(top - new_top) + new_weight
                draw = _where(u * weight <= new_weight, (x, value, grad, energy), draw)
                p_sum = p_sum + p[0]
                turning, checkpoints = self._turned(leaf, p, p_sum, checkpoints)
                accept_sum = accept_sum + jnp.exp(jnp.minimum(drop, 0.0))
                diverging = drop < -self.max_energy_diff
                # The next leaf's number, and not this one's: what the loop carries is computed once, where XLA would
                # copy the cipher into each of the fused selects that use it.
                u = uniform(words, size + leaf + 1, _LEAF, dtype)
                weights = new_top, weight
                return leaf + 1, x, p, force, p_sum, draw, u, weights, accept_sum, checkpoints, turning, diverging

            no_weight = jnp.full_like(zero, jnp.finfo(dtype).min), zero
            false = jnp.asarray(False)
            leaf = jnp.zeros_like(depth)
            draw, u = (x, zero, x, zero), uniform(words, size, _LEAF, dtype)
            carry = leaf, x, p, force, jnp.zeros_like(x), draw, u, no_weight, zero, checkpoints, false, false
            return lax.while_loop(unfinished, grow, carry)

        def growing(carry: Any) -> Array:
            depth, *_, stop, _ = carry
            return (depth < self.max_tree_depth) & ~stop

        def double(carry: Any) -> Any:
            depth, edges, p_sum, draw, log_weight, accept_sum, leapfrogs, checkpoints, _, _ = carry
            forward = jnp.right_shift(directions, depth.astype(jnp.uint32)) & 1
            side = forward.astype(jnp.int32)
            x, p_near, force = (lax.dynamic_index_in_dim(edge, side, keepdims=False) for edge in edges)
            p_far = lax.dynamic_index_in_dim(edges[1], 1 - side, keepdims=False)
            sign = jnp.where(forward, 1, -1).astype(dtype)
            leaves, x, p, force, new_p_sum, new_draw, _, (top, weight), new_accept, checkpoints, turning, diverging = (
                subtree(depth, sign, x, p_near, force, checkpoints)
            )
            complete = ~turning & ~diverging
            new_log_weight = top + jnp.log(weight)
            take = jnp.log(uniform(words, depth, _DOUBLING, dtype)) <= new_log_weight - log_weight
            draw = _where(complete & take, new_draw, draw)
            turned = _turns(p_far, p, p_sum + new_p_sum)
            if self.extra_turn_checks:
                p_first = checkpoints[0][0]  # of the new half, next to `p_near`
                turned |= _turns(p_far, p_first, p_sum + p_first[0]) | _turns(p_near, p, p_near[0] + new_p_sum)
            new = x, p, force
            edges = tuple(lax.dynamic_update_index_in_dim(edge, end, side, 0) for edge, end in zip(edges, new))
            return (
                depth + 1,
                edges,
                p_sum + new_p_sum,
                draw,
                jnp.logaddexp(log_weight, new_log_weight),
                accept_sum + new_accept,
                leapfrogs + leaves,
                checkpoints,
                turned | ~complete,
                diverging,
            )

        edges = tuple(jnp.stack([z, z]) for z in (x0, p0, force0))
        count, false = jnp.zeros((), jnp.int32), jnp.asarray(False)
        draw = x0, flat.target_log_prob, grad0, energy0
        carry = count, edges, p0[0], draw, zero, zero, count, checkpoints, false, false
        carry = lax.while_loop(growing, double, carry)
        _, _, _, (x, value, grad, energy), _, accept_sum, leapfrogs, _, stop, diverging = carry
        info = HamiltonianInfo(
            target_log_prob=value,
            step_size=self._info_step_size(x0),
            log_accept_ratio=jnp.log(accept_sum / leapfrogs.astype(dtype)),
            leapfrogs_taken=leapfrogs,
            is_accepted=jnp.any(x != x0),
            reach_max_depth=~stop,
            has_divergence=diverging,
            energy=energy,
        )
        return flat.state(x, value, grad), info

    def _turned(self, leaf: Array, p: Array, p_sum: Array, checkpoints: Any) -> Any:
        """Whether one of the subtrees that `leaf` completes turns back; and the checkpoints with this leaf's.

        Numbered from 0, an even leaf n opens a subtree at each level that it starts, and popcount(n) are open around
        it: that is the row of its momentum and of the sum up to it. The next leaf is inside popcount(n + 1), so those
        in the rows from there on are complete. The rows above the open ones are free, so an odd leaf is written as
        well, to no effect: a write that always happens is in place, where a `select` would copy the array.
        """
        opened, still_open = lax.population_count(leaf), lax.population_count(leaf + 1)
        momenta, sums, *rest = checkpoints
        momenta = lax.dynamic_update_index_in_dim(momenta, p, opened, 0)
        sums = lax.dynamic_update_index_in_dim(sums, p_sum, opened, 0)
        rows = momenta, sums, *rest

        def unfinished(carry: Any) -> Array:
            row, turning, *_ = carry
            return (row >= still_open - 1) & ~turning

        def check(carry: Any) -> Any:
            # `right`: the first leaf of the right half, which is the left end of the level below.
            row, _, *right = carry
            left = [lax.dynamic_index_in_dim(c, row, keepdims=False) for c in rows]
            turning = _turns(left[0], p, p_sum - left[1] + left[0][0])
            if self.extra_turn_checks:
                turning |= _turns(left[0], right[0], right[1] - left[1] + left[0][0])
                turning |= _turns(right[2], p, p_sum - right[1] + right[0][0] + right[2][0])
            return row - 1, turning, *left

        # At the lowest level the halves are single leaves and the extra tests the same as the plain one; with `p` in
        # place of the left leaf the second one is never true.
        start = opened - 1, jnp.asarray(False), *(p, p_sum, p)[: len(rows)]
        turning = lax.while_loop(unfinished, check, start)[1]
        # The momentum before the next leaf, for when that one starts a right half.
        rest = [lax.dynamic_update_index_in_dim(c, p, still_open, 0) for c in rest]
        return turning, (momenta, sums, *rest)


def _turns(p: Array, q: Array, p_sum: Array) -> Array:
    return (momentum_dot(p[-1], p_sum) <= 0) | (momentum_dot(q[-1], p_sum) <= 0)


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree_util.tree_map(lambda a, b: jnp.where(condition, a, b), new, old)
