"""Generalised Hamiltonian Monte Carlo, whose momentum persists, and MEADS, its tuning by many chains."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import field
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from distrax_like._arguments import NonnegativeNumeric, PositiveInt, checked
from distrax_like._misc import Numeric, Seed, as_callable, as_key, promote
from distrax_like.inference._target import as_vectors

from ._hamiltonian import (
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    StepSize,
    hamiltonian_fields,
)
from ._kernel import LogDensity, Position
from ._metric import DiagonalMetric, Metric


class PersistentState(HamiltonianState):
    """A chain's position, the target's value and gradient there, its momentum and its slice variable.

    `momentum` is a pytree like `position`, normal with the inverse of the metric's C as covariance; `slice` is uniform
    on (-1, 1). All three are independent under the joint target.
    """

    momentum: PyTree
    slice: Float[Array, "..."]


class GeneralizedHamiltonianMonteCarlo(HamiltonianKernel[PersistentState, HamiltonianInfo]):
    r"""Generalised Hamiltonian Monte Carlo: the momentum is renewed in part, then a short trajectory.

    A transition of position x, momentum p and slice variable u, with energy H:

    1. $p \leftarrow \sqrt{1 - \alpha}\, p + \sqrt\alpha\, z$, z a fresh momentum (Horowitz, 1991);
    2. $u \leftarrow u + \delta$, modulo 2 in (-1, 1);
    3. leapfrog steps lead to x', p'. Where $|u| < e^{H(x, p) - H(x', p')}$ they become the state, and
       $u \leftarrow u\, e^{H(x', p') - H(x, p)}$; else x and u stay, and p changes its sign.

    Since u persists, acceptances come in runs, and so do the rejections, each of which turns a chain back (Neal, 2020).

    **Arguments:**

    - `target_log_prob_fn`, `step_size`, `metric`: as for `HamiltonianMonteCarlo`.
    - `damping`: $\alpha$, the share of the momentum's variance that a transition renews, above 0 and at most 1.
    - `slice_shift`: $\delta$; half of `damping` if `None`.
    - `num_leapfrog_steps`: how many gradients a transition takes.

    **Raises:** `ValueError` for no leapfrog steps.
    """

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    damping: Float[Array, ""]
    slice_shift: Float[Array, ""]
    metric: Metric
    num_leapfrog_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: StepSize,
        damping: NonnegativeNumeric,
        slice_shift: Numeric | None = None,
        num_leapfrog_steps: PositiveInt = 1,
        metric: Metric | None = None,
    ):
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )
        self.damping = promote(damping)
        self.slice_shift = 0.5 * self.damping if slice_shift is None else promote(slice_shift)
        self.num_leapfrog_steps = num_leapfrog_steps

    def init(self, position: Position, *, seed: Seed | None = None) -> PersistentState:
        momentum_key, slice_key = jax.random.split(as_key(seed, "GeneralizedHamiltonianMonteCarlo.init"))
        state = self.initial_state(position)
        space = self.phase_space(state)
        u = jax.random.uniform(slice_key, (), space.position.dtype, minval=-1)
        return _persistent(state, space.unravel(space.draw_momentum(momentum_key)[0]), u)

    def step(self, state: PersistentState, *, seed: Seed) -> tuple[PersistentState, HamiltonianInfo]:
        key = as_key(seed, "GeneralizedHamiltonianMonteCarlo.step")
        space = self.phase_space(state)
        dtype = space.position.dtype
        alpha = self.damping.astype(dtype)
        old = space.rows(ravel_pytree(state.momentum)[0])
        p0 = jnp.sqrt(1 - alpha) * old + jnp.sqrt(alpha) * space.draw_momentum(key)
        u0 = _wrapped(state.slice + self.slice_shift.astype(dtype))

        end = space.trajectory(p0, self.num_leapfrog_steps)
        # Strictly, so that a slice of 0 does not let in a point whose energy is not finite.
        accept = jnp.log(jnp.abs(u0)) < end.log_ratio
        u = jnp.where(accept, u0 * jnp.exp(-jnp.where(accept, end.log_ratio, 0)), u0)
        concluded, info = self.conclude(space, end, accept, self.num_leapfrog_steps)
        p = jnp.where(accept, end.momentum[0], -p0[0])
        return _persistent(concluded, space.unravel(p), u), info


def _persistent(state: HamiltonianState, momentum: PyTree, u: Float[Array, ""]) -> PersistentState:
    return PersistentState(state.position, state.target_log_prob, state.grads_target_log_prob, momentum, u)


def _wrapped(u: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.mod(u + 1, 2) - 1


@checked
def meads(
    target_log_prob_fn: LogDensity,
    positions: PyTree,
    num_steps: PositiveInt = 1000,
    *,
    seed: Seed,
    num_folds: PositiveInt = 4,
    step_size_multiplier: float = 0.5,
    damping_slowdown: float = 1.0,
) -> tuple[GeneralizedHamiltonianMonteCarlo, PersistentState]:
    r"""Runs many chains of generalised Hamiltonian Monte Carlo that tune each other (Hoffman and Sountsov, 2022).

    The chains are split into folds, at random and from time to time again. The settings of a fold come from the present
    states of the next one: the scale of each coordinate is its standard deviation there; in those units, with
    $\lambda_g$ the largest eigenvalue of the mean of $\nabla \log p\, \nabla \log p^\top$ and $\lambda_x$ that of the
    covariance,

    $$\epsilon = \min(1, c / \sqrt{\lambda_g}), \qquad
      \gamma = \max(1 / \sqrt{\lambda_x},\, 1 / (s t \epsilon)), \qquad \alpha = 1 - e^{-2 \epsilon \gamma}$$

    at step t, and $\delta = \alpha / 2$. Each eigenvalue is estimated by the ratio of the traces of the squared matrix
    and the matrix. At every step another fold rests. So folds never tune each other in a circle, and each step leaves
    the joint target of all chains invariant, whatever t is.

    **Arguments:**

    - `target_log_prob_fn`: of one chain, up to a constant.
    - `positions`: a pytree like one chain's position, with a leading axis of chains, a multiple of `num_folds` and at
      least twice as many. They should be spread about as widely as the target: as the damping falls in time, chains
      that start far from it may not reach it.
    - `num_steps`: how many steps; in each, all folds but one make a transition.
    - `num_folds`: at least 2. `step_size_multiplier`: c. `damping_slowdown`: s.

    **Returns:** a kernel with settings from the last states of all chains, and those states, with a leading axis of
    chains, for `jax.vmap(kernel.step)` to go on from.

    **Raises:** `ValueError` where the chains cannot be split into such folds, or num_folds is less than 2.
    """
    target = as_callable(target_log_prob_fn, "meads: target_log_prob_fn")
    chains = len(jtu.tree_leaves(positions)[0])
    if num_folds < 2 or chains % num_folds or chains < 2 * num_folds:
        raise ValueError(f"meads: {chains} chains cannot be dealt into {num_folds} folds of two or more")
    return _meads(
        target, positions, as_key(seed, "meads"), num_steps, num_folds, step_size_multiplier, damping_slowdown
    )


@eqx.filter_jit
def _meads(
    target: LogDensity,
    positions: PyTree,
    seed: Seed,
    num_steps: int,
    num_folds: PositiveInt,
    multiplier: float,
    slowdown: float,
) -> tuple[GeneralizedHamiltonianMonteCarlo, PersistentState]:
    init_key, fold_key, step_key = jax.random.split(seed, 3)
    chains = len(jtu.tree_leaves(positions)[0])
    size = chains // num_folds
    x = as_vectors(positions)
    one = jnp.ones((), x.dtype)
    plain = GeneralizedHamiltonianMonteCarlo(target, one, one, metric=DiagonalMetric(jnp.ones_like(x[0])))
    keys = jax.random.split(init_key, chains)
    states = jax.vmap(lambda x, key: plain.init(x, seed=key))(positions, keys)

    def tuned(states: PersistentState, t: Array) -> GeneralizedHamiltonianMonteCarlo:
        x, grad = as_vectors(states.position), as_vectors(states.grads_target_log_prob)
        # A chain at a point without a gradient must not stop the others.
        grad = jnp.where(jnp.isfinite(grad), grad, 0)
        scale = jnp.std(x, axis=0)
        scale = jnp.where(scale > 0, scale, 1)
        step_size = multiplier / jnp.sqrt(_largest_eigenvalue(grad * scale))
        step_size = jnp.where(jnp.isfinite(step_size), jnp.minimum(step_size, 1), 1)
        slowest = jnp.sqrt(_largest_eigenvalue((x - jnp.mean(x, axis=0)) / scale))
        gamma = jnp.maximum(1 / slowest, 1 / (slowdown * t * step_size))
        damping = -jnp.expm1(-2 * step_size * gamma)
        new = step_size, damping, 0.5 * damping, DiagonalMetric(scale)
        return eqx.tree_at(lambda k: (k.step_size, k.damping, k.slice_shift, k.metric), plain, new)

    def body(states: PersistentState, t: Array) -> tuple[PersistentState, None]:
        # The folds are drawn again each time all of them have rested once.
        order = jax.random.permutation(jax.random.fold_in(fold_key, t // num_folds), chains)
        # The fold that rests is dropped; the others take the settings of the next one.
        folds = jnp.roll(order.reshape(num_folds, size), -(t % num_folds), axis=0)
        sources = jtu.tree_map(lambda x: x[jnp.roll(folds, -1, axis=0)[1:]], states)
        movers = jtu.tree_map(lambda x: x[folds[1:]], states)
        kernels = jax.vmap(lambda s: tuned(s, (t + 1).astype(x.dtype)))(sources)
        keys = jax.random.split(jax.random.fold_in(step_key, t), (num_folds - 1, size))

        def step_fold(kernel: GeneralizedHamiltonianMonteCarlo, states: PersistentState, keys: Seed) -> PersistentState:
            return jax.vmap(lambda s, key: kernel.step(s, seed=key)[0])(states, keys)

        moved = jax.vmap(step_fold)(kernels, movers, keys)
        return jtu.tree_map(lambda x, y: x.at[folds[1:]].set(y), states, moved), None

    states, _ = jax.lax.scan(body, states, jnp.arange(num_steps))
    return tuned(states, jnp.asarray(max(num_steps, 1), x.dtype)), states


def _largest_eigenvalue(x: Float[Array, "n d"]) -> Float[Array, ""]:
    """About the largest eigenvalue of the mean of x xᵀ: the trace of its square over its trace."""
    n = len(x)
    gram = x @ x.T
    own = jnp.diagonal(gram)
    # Two different rows are independent, so their products give the trace of the square without bias.
    square = (jnp.sum(gram**2) - jnp.sum(own**2)) / (n * (n - 1))
    total = jnp.mean(own)
    # The trace over d bounds it from below, however few the rows are.
    return jnp.maximum(square / total, total / x.shape[1])
