"""Hamiltonian Monte Carlo with jittered trajectories whose length is learnt by many chains: ChEES and SNAPER."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import field
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from distrax_like._arguments import NonnegativeInt, PositiveInt, PositiveNumeric, checked
from distrax_like._misc import Seed, as_key, promote
from distrax_like.inference._target import as_position, as_vectors

from ._hamiltonian import (
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    StepSize,
    accepts,
    hamiltonian_fields,
)
from ._kernel import LogDensity, Position
from ._metric import DiagonalMetric, Metric


class DynamicState(HamiltonianState):
    """A chain's position, the target's value and gradient there, and how many transitions it has made."""

    index: Int[Array, "..."]


class Proposal(NamedTuple):
    """The end of a trajectory as vectors, whether accepted or not, and the velocity dx/dt there."""

    position: Float[Array, "..."]
    velocity: Float[Array, "..."]


class DynamicHamiltonianMonteCarlo(HamiltonianKernel[DynamicState, HamiltonianInfo]):
    r"""Hamiltonian Monte Carlo with trajectories of jittered length.

    Transition i takes $\lceil 2 h_i T / \epsilon \rceil$ leapfrog steps, at least 1, with $h_i$ the i-th number of
    van der Corput's sequence of base 2, which is more even on (0, 1) than random numbers. All chains take the same
    number of steps, so in a batch none waits for another. The number does not depend on the state.

    **Arguments:**

    - `target_log_prob_fn`, `step_size`, `metric`: as for `HamiltonianMonteCarlo`.
    - `trajectory_length`: T, the mean length in units of the step size; an array, so that it can be learnt.
    - `max_leapfrog_steps`: the largest number of leapfrog steps in a transition.

    **Raises:** `ValueError` where `max_leapfrog_steps` is less than 1.
    """

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    trajectory_length: Float[Array, ""]
    metric: Metric
    max_leapfrog_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: StepSize,
        trajectory_length: PositiveNumeric,
        max_leapfrog_steps: PositiveInt = 1000,
        metric: Metric | None = None,
    ):
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )
        self.trajectory_length = promote(trajectory_length)
        self.max_leapfrog_steps = max_leapfrog_steps

    def init(self, position: Position, *, seed: Seed | None = None) -> DynamicState:
        return _indexed(self.initial_state(position), jnp.zeros((), jnp.int32))

    def num_leapfrog_steps(self, index: Int[Array, ""]) -> Int[Array, ""]:
        """How many leapfrog steps transition `index` takes."""
        # With one step size for each coordinate their mean is the unit of the length.
        parts = [jnp.mean(s) for s in jtu.tree_leaves(self.step_size)]
        wanted = jnp.ceil(2 * halton(index) * self.trajectory_length / (sum(parts) / len(parts)))
        return jnp.clip(wanted, 1, self.max_leapfrog_steps).astype(jnp.int32)

    def step(self, state: DynamicState, *, seed: Seed) -> tuple[DynamicState, HamiltonianInfo]:
        state, info, _ = self.propose(state, self.num_leapfrog_steps(state.index), seed=seed)
        return state, info

    def propose(
        self, state: DynamicState, num_leapfrog_steps: Int[Array, ""], *, seed: Seed
    ) -> tuple[DynamicState, HamiltonianInfo, Proposal]:
        """`step` with a given number of leapfrog steps; also returns the end of the trajectory."""
        momentum_key, accept_key = jax.random.split(as_key(seed, "DynamicHamiltonianMonteCarlo.step"))
        space = self.phase_space(state)
        end = space.trajectory(space.draw_momentum(momentum_key), num_leapfrog_steps)
        concluded, info = self.conclude(space, end, accepts(accept_key, end.log_ratio), num_leapfrog_steps)
        # Velocities in units of the metric's scale: a step moves x by step_size times this.
        proposal = Proposal(end.position, space.metric.scale * end.momentum[-1])
        return _indexed(concluded, state.index + 1), info, proposal


def _indexed(state: HamiltonianState, index: Int[Array, ""]) -> DynamicState:
    return DynamicState(state.position, state.target_log_prob, state.grads_target_log_prob, index)


def halton(index: Int[Array, "..."]) -> Float[Array, "..."]:
    """Element `index` + 1 of van der Corput's sequence of base 2: 1/2, 1/4, 3/4, 1/8, ... in (0, 1)."""
    bits = jnp.uint32(index) + jnp.uint32(1)
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        bits = ((bits >> shift) & jnp.uint32(mask)) | ((bits & jnp.uint32(mask)) << shift)
    bits = (bits >> 16) | (bits << 16)
    return promote(bits >> 8) * 2.0**-24


def chees_criterion(
    previous_state: Float[Array, "chains d"],
    proposed_state: Float[Array, "chains d"],
    accept_prob: Float[Array, " chains"],
    trajectory_length: ArrayLike,
) -> Float[Array, " chains"]:
    r"""The change of the estimator of the expected square (Hoffman, Radul and Sountsov, 2021).

    $\frac14 (|x' - \mu'|^2 - |x - \mu|^2)^2$ for each chain, with the means over the chains, that of the
    proposals weighted by the acceptance probabilities. The trajectory length is to maximise the mean over the chains
    with those weights.

    **Arguments:** positions before a transition and proposed by it; `trajectory_length`: not used.
    """
    del trajectory_length
    before = previous_state - jnp.mean(previous_state, axis=0)
    after = proposed_state - _weighted_mean(proposed_state, accept_prob)
    change = jnp.sum(after**2, axis=-1) - jnp.sum(before**2, axis=-1)
    return 0.25 * change**2


def snaper_criterion(
    previous_state: Float[Array, "chains d"],
    proposed_state: Float[Array, "chains d"],
    accept_prob: Float[Array, " chains"],
    trajectory_length: ArrayLike,
    direction: Float[Array, " d"],
    state_mean: Float[Array, " d"] | None = None,
    state_mean_weight: float | Float[Array, ""] = 0.0,
) -> Float[Array, " chains"]:
    r"""The change of the squared projection onto `direction` per unit of length.

    $\frac{1}{T} ((v \cdot (x' - \mu'))^2 - (v \cdot (x - \mu))^2)^2$ with v of norm 1, the direction in which the
    chains forget most slowly (Sountsov and Hoffman, 2021).

    **Arguments:** as for `chees_criterion`; `trajectory_length`: T, the mean; `direction`: v, of any norm;
    `state_mean`: a mean from earlier states, which counts with `state_mean_weight` beside that of the chains.
    """
    v = direction / jnp.maximum(jnp.sqrt(jnp.sum(direction**2)), jnp.finfo(direction.dtype).tiny)
    means = [jnp.mean(previous_state, axis=0), _weighted_mean(proposed_state, accept_prob)]
    if state_mean is not None:
        means = list(state_mean_weight * state_mean + (1 - state_mean_weight) * m for m in means)
    before, after = (jnp.sum((x - m) * v, -1) for x, m in zip((previous_state, proposed_state), means))
    return (after**2 - before**2) ** 2 / trajectory_length


def _weighted_mean(x: Array, weight: Array) -> Array:
    total = jnp.sum(weight)
    return jnp.sum(weight[:, None] * x, axis=0) / jnp.where(total > 0, total, 1)


class _Learnt(eqx.Module):
    """What has been learnt, and the running sums for it; vectors are of the raveled position."""

    log_step: Array
    log_step_average: Array
    error_sum: Array
    log_length: Array
    log_length_average: Array
    adam: tuple[Array, Array]
    mean: Array
    variance: Array
    principal: Array


@checked
def sample_snaper_hmc(
    target_log_prob_fn: LogDensity,
    positions: Position,
    num_adaptation_steps: NonnegativeInt = 1000,
    *,
    seed: Seed,
    criterion: str = "snaper",
    init_step_size: PositiveNumeric = 0.1,
    num_mala_steps: NonnegativeInt = 100,
    max_leapfrog_steps: PositiveInt = 1000,
    trajectory_length_adaptation_rate: float = 0.05,
    target_accept_prob: float = 0.8,
    ema_factor: float = 8.0,
) -> tuple[DynamicHamiltonianMonteCarlo, DynamicState]:
    r"""Runs many chains of Hamiltonian Monte Carlo that learn step size, trajectory length and scales together.

    The step size follows, by dual averaging, the harmonic mean over the chains of the acceptance probabilities; the
    scales are running standard deviations over chains and time. The logarithm of the mean trajectory length climbs the
    criterion by Adam: the derivative of a chain's proposal by the mean length is 2 h times its velocity, h the jitter.
    The principal component of `snaper_criterion` follows Oja's rule in units of the scales. Unlike TFP's function of
    this name, this one only adapts; `jax.vmap(kernel.step)` then draws.

    **Arguments:**

    - `target_log_prob_fn`: of one chain, up to a constant.
    - `positions`: a pytree like one chain's position, with a leading axis of at least two chains.
    - `num_adaptation_steps`: how many transitions adapt. The first `num_mala_steps` of them, at most a tenth of all,
      take one leapfrog step each, and the length stays one step size.
    - `criterion`: `"snaper"` or `"chees"`.
    - `init_step_size`: the first step size, in units of the scales, which start at 1.
    - `max_leapfrog_steps`: the largest number of leapfrog steps in a transition.
    - `trajectory_length_adaptation_rate`: Adam's rate.
    - `target_accept_prob`: the harmonic mean to reach.
    - `ema_factor`: running means are over about the last 1 / `ema_factor` of the transitions.

    **Returns:** the kernel, with the learnt step size and length averaged, and the chains' states.

    **Raises:** `ValueError` for an unknown criterion or fewer than two chains.
    """
    if criterion not in ("snaper", "chees"):
        raise ValueError(f"sample_snaper_hmc: criterion must be snaper or chees, got {criterion!r}")
    positions = as_position(positions, "sample_snaper_hmc")
    chains = len(jtu.tree_leaves(positions)[0])
    if chains < 2:
        raise ValueError(f"sample_snaper_hmc: it takes at least 2 chains, got {chains}")
    x = as_vectors(positions)
    kernel = DynamicHamiltonianMonteCarlo(
        target_log_prob_fn,
        jnp.asarray(init_step_size, x.dtype),
        jnp.asarray(init_step_size, x.dtype),
        max_leapfrog_steps,
        DiagonalMetric(jnp.ones_like(x[0])),
    )
    mala = min(num_mala_steps, num_adaptation_steps // 10)
    rates = trajectory_length_adaptation_rate, target_accept_prob, ema_factor
    return _learn(kernel, positions, as_key(seed, "sample_snaper_hmc"), num_adaptation_steps, mala, criterion, rates)


@eqx.filter_jit
def _learn(
    kernel: DynamicHamiltonianMonteCarlo,
    positions: Position,
    seed: Seed,
    num_steps: int,
    num_mala_steps: NonnegativeInt,
    criterion: str,
    rates: tuple[float, float, float],
) -> tuple[DynamicHamiltonianMonteCarlo, DynamicState]:
    rate, target_accept_prob, ema_factor = rates
    states = jax.vmap(lambda x: kernel.init(x))(positions)
    x = as_vectors(states.position)
    chains, dim = x.shape
    zero, tiny = jnp.zeros((), x.dtype), jnp.finfo(x.dtype).tiny
    start = jnp.log(kernel.step_size)
    principal = jax.random.normal(jax.random.fold_in(seed, num_steps), (dim,), x.dtype)
    # The scales start at 1, and keep that value until the chains have moved.
    learnt = _Learnt(
        start, start, zero, start, start, (zero, zero), jnp.mean(x, 0), jnp.ones_like(x[0]), principal / jnp.sqrt(dim)
    )

    def configured(log_step: Array, log_length: Array, variance: Array) -> DynamicHamiltonianMonteCarlo:
        new = jnp.exp(log_step), jnp.exp(log_length), DiagonalMetric(jnp.sqrt(variance))
        return eqx.tree_at(lambda k: (k.step_size, k.trajectory_length, k.metric), kernel, new)

    def value(
        proposed: Array, previous: Array, weight: Array, length: Array, scale: Array, v: Array, m: Array, share: Array
    ) -> Array:
        if criterion == "chees":
            each = chees_criterion(previous / scale, proposed / scale, weight, length)
        else:
            each = snaper_criterion(previous / scale, proposed / scale, weight, length, v, m / scale, share)
        return jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), tiny)

    def body(carry: tuple[DynamicState, _Learnt], t: Array) -> tuple[tuple[DynamicState, _Learnt], None]:
        states, old = carry
        now = (t + 1).astype(x.dtype)
        mala = t < num_mala_steps
        current = configured(old.log_step, old.log_length, old.variance)
        # The same number for all chains, so that their batch runs one loop without masks.
        num_leapfrog = jnp.where(mala, 1, current.num_leapfrog_steps(t))
        keys = jax.random.split(jax.random.fold_in(seed, t), chains)
        new, info, proposal = jax.vmap(lambda s, key: current.propose(s, num_leapfrog, seed=key))(states, keys)
        previous = as_vectors(states.position)
        accept = jnp.exp(jnp.minimum(info.log_accept_ratio, 0))
        # A trajectory that diverged has no weight, and must not make the sum over the others NaN.
        ok = jnp.isfinite(proposal.position).all(-1) & jnp.isfinite(proposal.velocity).all(-1) & (accept > 0)
        accept = jnp.where(ok, accept, 0)
        proposed = jnp.where(ok[:, None], proposal.position, previous)
        velocity = jnp.where(ok[:, None], proposal.velocity, 0)

        # Step size: as DualAveragingStepSizeAdaptation, shrunk towards ten times the first one.
        harmonic = 1 / jnp.mean(1 / jnp.maximum(accept, 1e-3))
        error_sum = old.error_sum + target_accept_prob - harmonic
        log_step = start + jnp.log(10.0) - error_sum * jnp.sqrt(now) / (0.05 * (now + 10))
        log_step = jnp.clip(log_step, start - 30, jnp.log(2.0)).astype(x.dtype)
        weight = now**-0.75
        log_step_average = weight * log_step + (1 - weight) * old.log_step_average

        # Length: the criterion depends on it explicitly, and through the proposals. Those move with their velocity, and
        # with the jitter the length of each trajectory is a multiple of the mean.
        length = jnp.exp(old.log_length)
        scale = jnp.sqrt(old.variance)
        share = 1 - jnp.minimum(1, ema_factor / (now + ema_factor))
        args = previous, accept, length, scale, old.principal, old.mean, share
        slopes, explicit = jax.grad(value, argnums=(0, 3))(proposed, *args)
        length_taken = num_leapfrog * jnp.exp(old.log_step)
        slope = length_taken * jnp.sum(slopes * velocity) + length * explicit
        slope = jnp.where(jnp.isfinite(slope) & ~mala, slope, 0)
        steps = jnp.maximum(now - num_mala_steps, 1)
        first = 0.9 * old.adam[0] + 0.1 * slope
        second = 0.95 * old.adam[1] + 0.05 * slope**2
        move = (first / (1 - 0.9**steps)) / (jnp.sqrt(second / (1 - 0.95**steps)) + 1e-8)
        longest = jnp.log(jnp.asarray(0.5 * kernel.max_leapfrog_steps, x.dtype)) + log_step
        log_length = jnp.where(mala, log_step, jnp.clip(old.log_length + rate * move, log_step, longest))
        weight = jnp.where(mala, 1, steps**-0.5)
        log_length_average = weight * log_length + (1 - weight) * old.log_length_average

        # Scales and the widest direction, over the last part of the run.
        z = as_vectors(new.position)
        fade = jnp.minimum(1, ema_factor / (now + ema_factor))
        mean = (1 - fade) * old.mean + fade * jnp.mean(z, 0)
        variance = (1 - fade) * old.variance + fade * jnp.mean((z - jnp.mean(z, 0)) * (z - mean), 0)
        variance = jnp.where(jnp.isfinite(variance) & (variance > tiny), variance, old.variance)
        unit = (z - mean) / jnp.sqrt(variance)
        ahead = jnp.sum(unit * jnp.sum(unit * old.principal, -1, keepdims=True), 0)
        ahead = ahead / jnp.maximum(jnp.sqrt(jnp.sum(ahead**2)), tiny)
        principal = (1 - fade) * old.principal + fade * ahead
        principal = principal / jnp.maximum(jnp.sqrt(jnp.sum(principal**2)), tiny)
        adam = first, second
        return (
            new,
            _Learnt(
                log_step, log_step_average, error_sum, log_length, log_length_average, adam, mean, variance, principal
            ),
        ), None

    (states, learnt), _ = jax.lax.scan(body, (states, learnt), jnp.arange(num_steps))
    return configured(learnt.log_step_average, learnt.log_length_average, learnt.variance), states
