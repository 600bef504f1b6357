"""The no-U-turn sampler."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import field
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt

from distrax_like._arguments import PositiveNumeric
from distrax_like._misc import Seed, as_key, promote, tree_where

from ._hamiltonian import (
    MAX_ENERGY_DIFF,
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    PhaseSpace,
    StepSize,
    energy_drop,
    hamiltonian,
    hamiltonian_fields,
    momentum_dot,
)
from ._hash import uniform
from ._kernel import InterleavedKernel, LogDensity, Position
from ._metric import Metric

# The two streams of uniforms within a transition: one number for each leaf, one for each doubling.
_LEAF, _DOUBLING = 0, 1


class Endpoint(NamedTuple):
    """One end of a trajectory, or both ends of a tree, stacked, the earlier one first."""

    position: Float[Array, "... d"]
    momentum: Float[Array, "... rows d"]
    force: Float[Array, "... rows d"]


class Proposal(NamedTuple):
    """The point that is the draw so far; its energy is that with the momentum it was reached with."""

    position: Float[Array, " d"]
    log_prob: Float[Array, ""]
    grad: Float[Array, " d"]
    energy: Float[Array, ""]


class Weight(NamedTuple):
    """A sum of exponentials, `factor * exp(log_scale)`, which cannot overflow."""

    log_scale: Float[Array, ""]
    factor: Float[Array, ""]


class Checkpoints(NamedTuple):
    """What the turn checks need of the leaf that opens a subtree: a row for each level, or one of these rows.

    - `momenta`: the leaf's momentum.
    - `sums`: the summed momentum of the growing subtree up to and with the leaf.
    - `previous`: the momentum of the leaf before it; `None` without the extra turn checks.
    """

    momenta: Float[Array, "... rows d"]
    sums: Float[Array, "... d"]
    previous: Float[Array, "... rows d"] | None


class _Tree(eqx.Module):
    """A trajectory: its random words, the energy at its start, its ends, the draw so far and sums over its leaves."""

    words: UInt[Array, " 3"]
    energy: Float[Array, ""]
    depth: Int[Array, ""]
    ends: Endpoint
    momentum_sum: Float[Array, " d"]
    proposal: Proposal
    log_weight: Float[Array, ""]
    accept_sum: Float[Array, ""]
    leapfrogs: Int[Array, ""]
    stopped: Bool[Array, ""]
    diverging: Bool[Array, ""]
    is_done: Bool[Array, ""]


class _Subtree(eqx.Module):
    """The half by which a tree doubles, while it grows leaf by leaf; `u` is the uniform number for the next leaf."""

    leaves: Int[Array, ""]
    endpoint: Endpoint
    momentum_sum: Float[Array, " d"]
    proposal: Proposal
    u: Float[Array, ""]
    weight: Weight
    accept_sum: Float[Array, ""]
    turning: Bool[Array, ""]
    diverging: Bool[Array, ""]
    is_done: Bool[Array, ""]


_Work: TypeAlias = tuple[_Tree, _Subtree]


class NoUTurnSampler(
    HamiltonianKernel[HamiltonianState, HamiltonianInfo], InterleavedKernel[HamiltonianState, HamiltonianInfo]
):
    """The no-U-turn sampler: Hamiltonian Monte Carlo whose trajectory doubles until it turns back.

    The draw is multinomial within each new subtree, and biased towards it when it joins the tree; a trajectory turns
    back when its summed momentum points against the velocity at one of its ends (Hoffman and Gelman, 2014; Betancourt,
    2017). The binary tree is walked leaf by leaf with one checkpoint for each level (Phan et al., 2019; Lao et al.,
    2020).

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: a positive number, or a list, tuple or dict with one for each part of the state, each to broadcast
      against its part. A step size for each coordinate is the same as one step size in rescaled coordinates.
    - `max_tree_depth`: at most `2**max_tree_depth - 1` gradients a transition; 1 to 30.
    - `max_energy_diff`: an energy error beyond this is a divergence and ends the trajectory.
    - `extra_turn_checks`: whether each half of a subtree is also tested together with the nearest point of the other
      half, as Stan does. Without these tests a trajectory may turn by a full period between two tests and go on; this
      happens for independent normal targets.
    - `metric`: the inverse mass matrix, by default the identity.
    """

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric
    max_energy_diff: Float[Array, ""]
    max_tree_depth: int = field(static=True)
    extra_turn_checks: bool = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: StepSize,
        max_tree_depth: int = 10,
        max_energy_diff: PositiveNumeric = MAX_ENERGY_DIFF,
        extra_turn_checks: bool = True,
        metric: Metric | None = None,
    ):
        if not 1 <= max_tree_depth <= 30:
            raise ValueError(f"NoUTurnSampler: max_tree_depth must be between 1 and 30, got {max_tree_depth}")
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )
        self.max_energy_diff = promote(max_energy_diff)
        self.max_tree_depth = max_tree_depth
        self.extra_turn_checks = extra_turn_checks

    def init(self, position: Position, *, seed: Seed | None = None) -> HamiltonianState:
        return self.initial_state(position)

    def step(self, state: HamiltonianState, *, seed: Seed) -> tuple[HamiltonianState, HamiltonianInfo]:
        space = self.phase_space(state)

        def double(carry: tuple[_Tree, Checkpoints]) -> tuple[_Tree, Checkpoints]:
            tree, checkpoints = carry

            def grow(carry: tuple[_Subtree, Checkpoints]) -> tuple[_Subtree, Checkpoints]:
                subtree, checkpoints = self._grow(space, tree, *carry)
                return self._check(subtree, checkpoints, self._turned), checkpoints

            start = self._new_subtree(tree), checkpoints
            subtree, checkpoints = lax.while_loop(lambda carry: ~carry[0].is_done, grow, start)
            return self._join(tree, subtree, checkpoints), checkpoints

        start = self._new_tree(space, seed), self.checkpoints(state)
        tree, _ = lax.while_loop(lambda carry: ~carry[0].is_done, double, start)
        return self._result(space, tree)

    def checkpoints(self, state: HamiltonianState) -> Checkpoints:
        space = self.phase_space(state)
        # One row for each level of the largest subtree, and one that is never read.
        sums = jnp.zeros((self.max_tree_depth, space.position.size), space.position.dtype)
        momenta = jnp.zeros((self.max_tree_depth, *space.force(space.grad).shape), sums.dtype)
        return Checkpoints(momenta, sums, momenta if self.extra_turn_checks else None)

    def begin(self, state: HamiltonianState, *, seed: Seed) -> _Work:
        tree = self._new_tree(self.phase_space(state), seed)
        return tree, self._new_subtree(tree)

    def tick(self, state: HamiltonianState, work: _Work, checkpoints: Checkpoints) -> tuple[_Work, Checkpoints]:
        tree, subtree = work
        subtree, checkpoints = self._grow(self.phase_space(state), tree, subtree, checkpoints)
        return (tree, subtree), checkpoints

    def needs_check(self, work: _Work) -> Bool[Array, ""]:
        tree, subtree = work
        # A leaf with an odd number, counted from 0, completes a pair: then there is something to check.
        return (subtree.leaves % 2 == 0) | (subtree.leaves == jnp.left_shift(1, tree.depth)) | subtree.diverging

    def check(self, state: HamiltonianState, work: _Work, checkpoints: Checkpoints) -> _Work:
        tree, subtree = work
        # Where chains are mapped over, their loops would wait for each other.
        loop, at_once = (functools.partial(self._check, turned=f) for f in (self._turned, self._turned_at_once))
        subtree = lax.platform_dependent(subtree, checkpoints, cpu=loop, default=at_once)

        def join(tree: _Tree, subtree: _Subtree) -> _Work:
            tree = self._join(tree, subtree, checkpoints)
            return tree, self._new_subtree(tree)

        return lax.cond(subtree.is_done, join, lambda tree, subtree: (tree, subtree), tree, subtree)

    def is_done(self, work: _Work) -> Bool[Array, ""]:
        return work[0].is_done

    def finish(self, state: HamiltonianState, work: _Work) -> tuple[HamiltonianState, HamiltonianInfo]:
        return self._result(self.phase_space(state), work[0])

    def _new_tree(self, space: PhaseSpace, seed: Seed) -> _Tree:
        """A tree of one point."""
        momentum_key, tree_key = jax.random.split(as_key(seed, "NoUTurnSampler.step"))
        x, grad = space.position, space.grad
        p, force = space.draw_momentum(momentum_key), space.force(grad)
        energy = hamiltonian(space.target_log_prob, p)
        return _Tree(
            words=jax.random.bits(tree_key, (3,), jnp.uint32),
            energy=energy,
            depth=jnp.zeros((), jnp.int32),
            ends=Endpoint(jnp.stack([x, x]), jnp.stack([p, p]), jnp.stack([force, force])),
            momentum_sum=p[0],
            proposal=Proposal(x, space.target_log_prob, grad, energy),
            log_weight=jnp.zeros_like(energy),
            accept_sum=jnp.zeros_like(energy),
            leapfrogs=jnp.zeros((), jnp.int32),
            stopped=jnp.asarray(False),
            diverging=jnp.asarray(False),
            is_done=jnp.asarray(False),
        )

    def _new_subtree(self, tree: _Tree) -> _Subtree:
        """The next half of the tree, of `2**depth` leaves, before its first one."""
        side = self._side(tree)
        endpoint = Endpoint(*(lax.dynamic_index_in_dim(end, side, keepdims=False) for end in tree.ends))
        x = endpoint.position
        zero = jnp.zeros_like(tree.energy)
        return _Subtree(
            leaves=jnp.zeros_like(tree.depth),
            endpoint=endpoint,
            momentum_sum=jnp.zeros_like(x),
            proposal=Proposal(x, zero, x, zero),
            u=uniform(tree.words[:2], jnp.left_shift(1, tree.depth), _LEAF, x.dtype),
            weight=Weight(jnp.full_like(zero, jnp.finfo(x.dtype).min), zero),
            accept_sum=zero,
            turning=jnp.asarray(False),
            diverging=jnp.asarray(False),
            is_done=jnp.asarray(False),
        )

    def _side(self, tree: _Tree) -> Int[Array, ""]:
        """At which end the tree grows next: 0 for backward in time, 1 for forward."""
        return (jnp.right_shift(tree.words[2], tree.depth.astype(jnp.uint32)) & 1).astype(jnp.int32)

    def _grow(
        self, space: PhaseSpace, tree: _Tree, subtree: _Subtree, checkpoints: Checkpoints
    ) -> tuple[_Subtree, Checkpoints]:
        """The subtree with one more leaf, and the checkpoints with it."""
        size = jnp.left_shift(1, tree.depth)
        sign = (2 * self._side(tree) - 1).astype(tree.energy.dtype)
        x, p, force, value, grad = space.leapfrog(sign, *subtree.endpoint)
        energy = hamiltonian(value, p)
        drop = energy_drop(tree.energy, energy)
        # Weights relative to the largest so far: no logarithm, and no overflow.
        old = subtree.weight
        log_scale = jnp.maximum(old.log_scale, drop)
        leaf_weight = jnp.exp(drop - log_scale)
        weight = Weight(log_scale, old.factor * jnp.exp(old.log_scale - log_scale) + leaf_weight)
        leaf = Proposal(x, value, grad, energy)
        proposal = tree_where(subtree.u * weight.factor <= leaf_weight, leaf, subtree.proposal)
        momentum_sum = subtree.momentum_sum + p[0]
        checkpoints = self._write(subtree.leaves, subtree.endpoint.momentum, p, momentum_sum, checkpoints)
        diverging = drop < -self.max_energy_diff
        new = _Subtree(
            leaves=subtree.leaves + 1,
            endpoint=Endpoint(x, p, force),
            momentum_sum=momentum_sum,
            proposal=proposal,
            # The number of the next leaf rather than of this one: what the loop carries is computed once, where XLA
            # would copy the cipher into each of the fused selects that use it.
            u=uniform(tree.words[:2], size + subtree.leaves + 1, _LEAF, x.dtype),
            weight=weight,
            accept_sum=subtree.accept_sum + jnp.exp(jnp.minimum(drop, 0.0)),
            turning=subtree.turning,
            diverging=diverging,
            is_done=(subtree.leaves + 1 == size) | diverging,
        )
        return new, checkpoints

    def _check(self, subtree: _Subtree, checkpoints: Checkpoints, turned: Callable[..., Bool[Array, ""]]) -> _Subtree:
        """The subtree after the turn checks that its last leaf makes possible."""
        turning = turned(subtree.leaves - 1, subtree.endpoint.momentum, subtree.momentum_sum, checkpoints)
        return eqx.tree_at(lambda s: (s.turning, s.is_done), subtree, (turning, subtree.is_done | turning))

    def _join(self, tree: _Tree, subtree: _Subtree, checkpoints: Checkpoints) -> _Tree:
        """The tree with a subtree that is done."""
        side = self._side(tree)
        p_near, p_far = (lax.dynamic_index_in_dim(tree.ends.momentum, i, keepdims=False) for i in (side, 1 - side))
        p, momentum_sum = subtree.endpoint.momentum, tree.momentum_sum + subtree.momentum_sum
        complete = ~subtree.turning & ~subtree.diverging
        log_weight = subtree.weight.log_scale + jnp.log(subtree.weight.factor)
        u = uniform(tree.words[:2], tree.depth, _DOUBLING, p.dtype)
        taken = complete & (jnp.log(u) <= log_weight - tree.log_weight)
        proposal = tree_where(taken, subtree.proposal, tree.proposal)
        turned = _turns(p_far, p, momentum_sum)
        if self.extra_turn_checks:
            p_first = checkpoints.momenta[0]  # of the subtree, next to `p_near`
            across = _turns(p_far, p_first, tree.momentum_sum + p_first[0])
            turned |= across | _turns(p_near, p, p_near[0] + subtree.momentum_sum)
        stopped = turned | ~complete
        return _Tree(
            words=tree.words,
            energy=tree.energy,
            depth=tree.depth + 1,
            ends=jtu.tree_map(lambda ends, end: ends.at[side].set(end), tree.ends, subtree.endpoint),
            momentum_sum=momentum_sum,
            proposal=proposal,
            log_weight=jnp.logaddexp(tree.log_weight, log_weight),
            accept_sum=tree.accept_sum + subtree.accept_sum,
            leapfrogs=tree.leapfrogs + subtree.leaves,
            stopped=stopped,
            diverging=subtree.diverging,
            is_done=stopped | (tree.depth + 1 == self.max_tree_depth),
        )

    def _result(self, space: PhaseSpace, tree: _Tree) -> tuple[HamiltonianState, HamiltonianInfo]:
        """What `step` returns."""
        x, value, grad, energy = tree.proposal
        info = HamiltonianInfo(
            target_log_prob=value,
            step_size=self.info_step_size(x),
            log_accept_ratio=jnp.log(tree.accept_sum / tree.leapfrogs.astype(x.dtype)),
            leapfrogs_taken=tree.leapfrogs,
            is_accepted=jnp.any(x != space.position),
            reach_max_depth=~tree.stopped,
            has_divergence=tree.diverging,
            energy=energy,
        )
        return space.state(x, value, grad), info

    def _write(
        self, leaf: Int[Array, ""], previous: Array, p: Array, momentum_sum: Array, checkpoints: Checkpoints
    ) -> Checkpoints:
        """The checkpoints with this leaf: its momentum, the sum up to it, and the momentum `previous` to it.

        Numbered from 0, an even leaf n opens a subtree at each level that starts with it, and popcount(n) subtrees are
        open around it: that is its row. The rows above the open ones are free, so an odd leaf is written as well,
        without effect: a write that always happens is in place, where a `select` would copy the array.
        """
        row = lax.population_count(leaf)
        leaf_values = Checkpoints(p, momentum_sum, previous if self.extra_turn_checks else None)
        return jtu.tree_map(lambda c, z: lax.dynamic_update_index_in_dim(c, z, row, 0), checkpoints, leaf_values)

    def _turned(self, leaf: Int[Array, ""], p: Array, momentum_sum: Array, checkpoints: Checkpoints) -> Bool[Array, ""]:
        """Whether one of the subtrees that `leaf`, which has been written, completes turns back.

        The next leaf is inside popcount(n + 1) subtrees, so those in the rows from there on are complete.
        """
        opened, still_open = lax.population_count(leaf), lax.population_count(leaf + 1)

        def unfinished(carry: tuple[Array, Array, Checkpoints]) -> Bool[Array, ""]:
            row, turning, _ = carry
            return (row >= still_open - 1) & ~turning

        def check(carry: tuple[Array, Array, Checkpoints]) -> tuple[Array, Array, Checkpoints]:
            # `right`: the first leaf of the right half, which is the left end of the level below.
            row, _, right = carry
            left = jtu.tree_map(lambda c: lax.dynamic_index_in_dim(c, row, keepdims=False), checkpoints)
            turning = _turns(left.momenta, p, momentum_sum - left.sums + left.momenta[0])
            if right.previous is not None:
                turning |= _turns(left.momenta, right.momenta, right.sums - left.sums + left.momenta[0])
                total = momentum_sum - right.sums + right.momenta[0] + right.previous[0]
                turning |= _turns(right.previous, p, total)
            return row - 1, turning, left

        # At the lowest level the halves are single leaves and the extra tests the same as the plain one; with `p` in
        # place of the left leaf the second one is never true.
        lowest = Checkpoints(p, momentum_sum, p if self.extra_turn_checks else None)
        return lax.while_loop(unfinished, check, (opened - 1, jnp.asarray(False), lowest))[1]

    def _turned_at_once(
        self, leaf: Int[Array, ""], p: Array, momentum_sum: Array, checkpoints: Checkpoints
    ) -> Bool[Array, ""]:
        """The same without a loop: all levels are tested, and the tests of the complete ones count."""
        opened, still_open = lax.population_count(leaf), lax.population_count(leaf + 1)
        momenta, sums, previous = checkpoints
        row = jnp.arange(self.max_tree_depth)

        def below(rows: Array, now: Array) -> Array:
            """The row of the level below each: the next one, and `now` at the lowest level."""
            lowest = (row == opened - 1).reshape(-1, *(1,) * now.ndim)
            return jnp.where(lowest, now, jnp.concatenate([rows[1:], rows[:1]]))

        def turns(a: Array, b: Array, total: Array) -> Array:
            return (jnp.sum(a[:, -1] * total, -1) <= 0) | (jnp.sum(b[:, -1] * total, -1) <= 0)

        here = jnp.broadcast_to(p, momenta.shape)
        turning = turns(momenta, here, momentum_sum - sums + momenta[:, 0])
        if previous is not None:
            first, first_sum, last = below(momenta, p), below(sums, momentum_sum), below(previous, p)
            turning |= turns(momenta, first, first_sum - sums + momenta[:, 0])
            turning |= turns(last, here, momentum_sum - first_sum + first[:, 0] + last[:, 0])
        return jnp.any(turning & (row >= still_open - 1) & (row < opened))


def _turns(p: Array, q: Array, momentum_sum: Array) -> Bool[Array, ""]:
    """Whether a trajectory with the momenta p and q at its ends has turned back."""
    return (momentum_dot(p[-1], momentum_sum) <= 0) | (momentum_dot(q[-1], momentum_sum) <= 0)
