"""The no-U-turn sampler."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import field
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt

from distrax_like._misc import as_callable, as_key, promote, tree_where

from ._hash import uniform
from ._kernel import (
    Flat,
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    InterleavedKernel,
    as_step_size,
    energy_drop,
    hamiltonian,
    momentum_dot,
)
from ._metric import DiagonalMetric, Metric

# The two streams of uniforms within a transition: one number for each leaf, one for each doubling.
_LEAF, _DOUBLING = 0, 1


class _Tree(eqx.Module):
    """A trajectory: its random words, its first energy, and what its halves have come to.

    The edges are the positions, momenta and forces at both ends.
    """

    words: UInt[Array, " 3"]
    energy: Float[Array, ""]
    depth: Int[Array, ""]
    edges: tuple[Array, Array, Array]
    p_sum: Float[Array, " d"]
    draw: tuple[Array, Array, Array, Array]
    log_weight: Float[Array, ""]
    accept_sum: Float[Array, ""]
    leapfrogs: Int[Array, ""]
    stopped: Bool[Array, ""]
    diverging: Bool[Array, ""]
    ended: Bool[Array, ""]


class _Half(eqx.Module):
    """The new half of a tree while it grows leaf by leaf; `weight` is a logarithm and a factor."""

    leaf: Int[Array, ""]
    edge: tuple[Array, Array, Array]
    p_sum: Float[Array, " d"]
    draw: tuple[Array, Array, Array, Array]
    u: Float[Array, ""]
    weight: tuple[Array, Array]
    accept_sum: Float[Array, ""]
    turning: Bool[Array, ""]
    diverging: Bool[Array, ""]
    ended: Bool[Array, ""]


class NoUTurnSampler(HamiltonianKernel, InterleavedKernel):
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
        flat = self._flat(state)

        def double(carry: tuple[_Tree, Any]) -> tuple[_Tree, Any]:
            tree, rows = carry

            def grow(carry: tuple[_Half, Any]) -> tuple[_Half, Any]:
                half, rows = self._grow(flat, tree, *carry)
                return self._check(tree, half, rows, self._turned), rows

            half, rows = lax.while_loop(lambda carry: ~carry[0].ended, grow, (self._open(tree), rows))
            return self._close(tree, half, rows), rows

        start = self._begin(flat, seed), self.scratch(state)
        tree, _ = lax.while_loop(lambda carry: ~carry[0].ended, double, start)
        return self._end(flat, tree)

    def scratch(self, state: HamiltonianState) -> tuple[Array, ...]:
        flat = self._flat(state)
        # One row for each level of the largest subtree, and one that is only written.
        sums = jnp.zeros((self.max_tree_depth, flat.position.size), flat.position.dtype)
        momenta = jnp.zeros((self.max_tree_depth, *flat.force(flat.grad).shape), sums.dtype)
        return (momenta, sums, momenta) if self.extra_turn_checks else (momenta, sums)

    def begin(self, state: HamiltonianState, *, seed: Any) -> tuple["_Tree", "_Half"]:
        tree = self._begin(self._flat(state), seed)
        return tree, self._open(tree)

    def tick(self, state: HamiltonianState, work: tuple["_Tree", "_Half"], scratch: Any) -> Any:
        tree, half = work
        half, scratch = self._grow(self._flat(state), tree, half, scratch)
        return (tree, half), scratch

    def waits(self, work: tuple["_Tree", "_Half"]) -> Array:
        tree, half = work
        # A leaf with an odd number, counted from 0, completes a pair: then there is something to check.
        return (half.leaf % 2 == 0) | (half.leaf == jnp.left_shift(1, tree.depth)) | half.diverging

    def turn(self, state: HamiltonianState, work: tuple["_Tree", "_Half"], scratch: Any) -> tuple["_Tree", "_Half"]:
        tree, half = work
        # Where chains are mapped over, their loops would wait for each other.
        one, many = (functools.partial(self._check, turned=f) for f in (self._turned, self._turned_at_once))
        half = lax.platform_dependent(tree, half, scratch, cpu=one, default=many)

        def close(tree: _Tree, half: _Half) -> tuple[_Tree, _Half]:
            tree = self._close(tree, half, scratch)
            return tree, self._open(tree)

        return lax.cond(half.ended, close, lambda tree, half: (tree, half), tree, half)

    def ended(self, work: tuple["_Tree", "_Half"]) -> Array:
        return work[0].ended

    def finish(
        self, state: HamiltonianState, work: tuple["_Tree", "_Half"]
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        return self._end(self._flat(state), work[0])

    def _begin(self, flat: Flat, seed: Any) -> "_Tree":
        """A tree of one point."""
        momentum_key, tree_key = jax.random.split(as_key(seed, "NoUTurnSampler.step"))
        x, grad = flat.position, flat.grad
        p, force = flat.draw_momentum(momentum_key), flat.force(grad)
        energy = hamiltonian(flat.target_log_prob, p)
        return _Tree(
            words=jax.random.bits(tree_key, (3,), jnp.uint32),
            energy=energy,
            depth=jnp.zeros((), jnp.int32),
            edges=(jnp.stack([x, x]), jnp.stack([p, p]), jnp.stack([force, force])),
            p_sum=p[0],
            draw=(x, flat.target_log_prob, grad, energy),
            log_weight=jnp.zeros_like(energy),
            accept_sum=jnp.zeros_like(energy),
            leapfrogs=jnp.zeros((), jnp.int32),
            stopped=jnp.asarray(False),
            diverging=jnp.asarray(False),
            ended=jnp.asarray(False),
        )

    def _open(self, tree: "_Tree") -> "_Half":
        """The next half of the tree, of `2**depth` leaves, before its first one."""
        side = self._side(tree)
        x, p, force = (lax.dynamic_index_in_dim(edge, side, keepdims=False) for edge in tree.edges)
        zero = jnp.zeros_like(tree.energy)
        return _Half(
            leaf=jnp.zeros_like(tree.depth),
            edge=(x, p, force),
            p_sum=jnp.zeros_like(x),
            draw=(x, zero, x, zero),
            u=uniform(tree.words[:2], jnp.left_shift(1, tree.depth), _LEAF, x.dtype),
            weight=(jnp.full_like(zero, jnp.finfo(x.dtype).min), zero),
            accept_sum=zero,
            turning=jnp.asarray(False),
            diverging=jnp.asarray(False),
            ended=jnp.asarray(False),
        )

    def _side(self, tree: "_Tree") -> Array:
        return (jnp.right_shift(tree.words[2], tree.depth.astype(jnp.uint32)) & 1).astype(jnp.int32)

    def _grow(self, flat: Flat, tree: "_Tree", half: "_Half", rows: Any) -> tuple["_Half", Any]:
        """One more leaf, and the rows of checkpoints with it."""
        size = jnp.left_shift(1, tree.depth)
        sign = (2 * self._side(tree) - 1).astype(tree.energy.dtype)
        x, p, force, value, grad = flat.leapfrog(sign, *half.edge)
        energy = hamiltonian(value, p)
        drop = energy_drop(tree.energy, energy)
        # Weights relative to the largest so far: no logarithm, and no overflow.
        top, weight = half.weight
        new_top = jnp.maximum(top, drop)
        new_weight = jnp.exp(drop - new_top)
        weight = weight * jnp.exp(top - new_top) + new_weight
        draw = tree_where(half.u * weight <= new_weight, (x, value, grad, energy), half.draw)
        p_sum = half.p_sum + p[0]
        rows = self._write(half.leaf, half.edge[1], p, p_sum, rows)
        diverging = drop < -self.max_energy_diff
        new = _Half(
            leaf=half.leaf + 1,
            edge=(x, p, force),
            p_sum=p_sum,
            draw=draw,
            # The next leaf's number, and not this one's: what the loop carries is computed once, where XLA would copy
            # the cipher into each of the fused selects that use it.
            u=uniform(tree.words[:2], size + half.leaf + 1, _LEAF, x.dtype),
            weight=(new_top, weight),
            accept_sum=half.accept_sum + jnp.exp(jnp.minimum(drop, 0.0)),
            turning=half.turning,
            diverging=diverging,
            ended=(half.leaf + 1 == size) | diverging,
        )
        return new, rows

    def _check(self, tree: "_Tree", half: "_Half", rows: Any, turned: Callable[..., Array]) -> "_Half":
        """The half after the turn checks that its last leaf makes possible."""
        turning = turned(half.leaf - 1, half.edge[1], half.p_sum, rows)
        return eqx.tree_at(lambda h: (h.turning, h.ended), half, (turning, half.ended | turning))

    def _close(self, tree: "_Tree", half: "_Half", rows: Any) -> "_Tree":
        """The tree with its new half, which has ended."""
        side = self._side(tree)
        p_near, p_far = (lax.dynamic_index_in_dim(tree.edges[1], i, keepdims=False) for i in (side, 1 - side))
        p, p_sum = half.edge[1], tree.p_sum + half.p_sum
        complete = ~half.turning & ~half.diverging
        top, weight = half.weight
        log_weight = top + jnp.log(weight)
        u = uniform(tree.words[:2], tree.depth, _DOUBLING, p.dtype)
        draw = tree_where(complete & (jnp.log(u) <= log_weight - tree.log_weight), half.draw, tree.draw)
        turned = _turns(p_far, p, p_sum)
        if self.extra_turn_checks:
            p_first = rows[0][0]  # of the new half, next to `p_near`
            turned |= _turns(p_far, p_first, tree.p_sum + p_first[0]) | _turns(p_near, p, p_near[0] + half.p_sum)
        stopped = turned | ~complete
        return _Tree(
            words=tree.words,
            energy=tree.energy,
            depth=tree.depth + 1,
            edges=jtu.tree_map(lambda ends, end: ends.at[side].set(end), tree.edges, half.edge),
            p_sum=p_sum,
            draw=draw,
            log_weight=jnp.logaddexp(tree.log_weight, log_weight),
            accept_sum=tree.accept_sum + half.accept_sum,
            leapfrogs=tree.leapfrogs + half.leaf,
            stopped=stopped,
            diverging=half.diverging,
            ended=stopped | (tree.depth + 1 == self.max_tree_depth),
        )

    def _end(self, flat: Flat, tree: "_Tree") -> tuple[HamiltonianState, HamiltonianInfo]:
        x, value, grad, energy = tree.draw
        info = HamiltonianInfo(
            target_log_prob=value,
            step_size=self._info_step_size(x),
            log_accept_ratio=jnp.log(tree.accept_sum / tree.leapfrogs.astype(x.dtype)),
            leapfrogs_taken=tree.leapfrogs,
            is_accepted=jnp.any(x != flat.position),
            reach_max_depth=~tree.stopped,
            has_divergence=tree.diverging,
            energy=energy,
        )
        return flat.state(x, value, grad), info

    def _write(self, leaf: Array, before: Array, p: Array, p_sum: Array, rows: Any) -> Any:
        """The checkpoints with this leaf's: its momentum, the sum up to it, and the momentum `before` it.

        Numbered from 0, an even leaf n opens a subtree at each level that it starts, and popcount(n) are open around
        it: that is its row. The rows above the open ones are free, so an odd leaf is written as well, to no effect: a
        write that always happens is in place, where a `select` would copy the array.
        """
        opened = lax.population_count(leaf)
        new = p, p_sum, before
        return tuple(lax.dynamic_update_index_in_dim(c, z, opened, 0) for c, z in zip(rows, new))

    def _turned(self, leaf: Array, p: Array, p_sum: Array, rows: Any) -> Array:
        """Whether one of the subtrees that `leaf`, which has been written, completes turns back.

        The next leaf is inside popcount(n + 1) subtrees, so those in the rows from there on are complete.
        """
        opened, still_open = lax.population_count(leaf), lax.population_count(leaf + 1)

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
        return lax.while_loop(unfinished, check, start)[1]

    def _turned_at_once(self, leaf: Array, p: Array, p_sum: Array, rows: Any) -> Array:
        """The same without a loop: all levels are tested, and those that count are looked at."""
        opened, still_open = lax.population_count(leaf), lax.population_count(leaf + 1)
        momenta, sums, *before = rows
        row = jnp.arange(self.max_tree_depth)

        def below(rows: Array, now: Array) -> Array:
            """The row of the level below each: the next one, and `now` at the lowest level."""
            lowest = (row == opened - 1).reshape(-1, *(1,) * now.ndim)
            return jnp.where(lowest, now, jnp.concatenate([rows[1:], rows[:1]]))

        def turns(a: Array, b: Array, total: Array) -> Array:
            return (jnp.sum(a[:, -1] * total, -1) <= 0) | (jnp.sum(b[:, -1] * total, -1) <= 0)

        here = jnp.broadcast_to(p, momenta.shape)
        turning = turns(momenta, here, p_sum - sums + momenta[:, 0])
        if self.extra_turn_checks:
            first, first_sum, last = below(momenta, p), below(sums, p_sum), below(before[0], p)
            turning |= turns(momenta, first, first_sum - sums + momenta[:, 0])
            turning |= turns(last, here, p_sum - first_sum + first[:, 0] + last[:, 0])
        return jnp.any(turning & (row >= still_open - 1) & (row < opened))


def _turns(p: Array, q: Array, p_sum: Array) -> Array:
    return (momentum_dot(p[-1], p_sum) <= 0) | (momentum_dot(q[-1], p_sum) <= 0)
