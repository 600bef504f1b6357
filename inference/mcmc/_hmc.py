"""Hamiltonian Monte Carlo with trajectories of a fixed length, and its proposal alone."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from equinox import field
from jaxtyping import Array, Float, PyTree

from distrax_like._arguments import PositiveInt
from distrax_like._misc import Seed, as_key

from ._hamiltonian import (
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    StepSize,
    accepts,
    hamiltonian,
    hamiltonian_fields,
)
from ._kernel import LogDensity, Position
from ._metric import Metric
from ._metropolis_hastings import UncalibratedInfo, propose


class UncalibratedHamiltonianMonteCarlo(HamiltonianKernel[HamiltonianState, UncalibratedInfo]):
    """The proposal of `HamiltonianMonteCarlo`, always taken; `MetropolisHastings` of it makes the same transitions.

    Where the proposal, its density or its gradient is not finite, the chain stays.

    **Arguments:** those of `HamiltonianMonteCarlo`.
    """

    step_size_is_adaptable: ClassVar[bool] = False

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric
    num_leapfrog_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: StepSize,
        num_leapfrog_steps: PositiveInt,
        metric: Metric | None = None,
    ):
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )
        self.num_leapfrog_steps = num_leapfrog_steps

    def init(self, position: Position, *, seed: Seed | None = None) -> HamiltonianState:
        return self.initial_state(position)

    def step(self, state: HamiltonianState, *, seed: Seed) -> tuple[HamiltonianState, UncalibratedInfo]:
        seed = as_key(seed, "UncalibratedHamiltonianMonteCarlo.step")
        return uncalibrated_step(self, state, self.num_leapfrog_steps, seed)


class HamiltonianMonteCarlo(HamiltonianKernel[HamiltonianState, HamiltonianInfo]):
    """Hamiltonian Monte Carlo: `num_leapfrog_steps` of velocity Verlet from a fresh momentum, then accept or reject.

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: a positive number, or a list, tuple or dict with one for each part of the state, each to broadcast
      against its part. A step size for each coordinate is the same as one step size in rescaled coordinates.
    - `num_leapfrog_steps`: how many gradients a transition takes.
    - `metric`: the inverse mass matrix, by default the identity.
    """

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric
    num_leapfrog_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: StepSize,
        num_leapfrog_steps: PositiveInt,
        metric: Metric | None = None,
    ):
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )
        self.num_leapfrog_steps = num_leapfrog_steps

    def init(self, position: Position, *, seed: Seed | None = None) -> HamiltonianState:
        return self.initial_state(position)

    def step(self, state: HamiltonianState, *, seed: Seed) -> tuple[HamiltonianState, HamiltonianInfo]:
        momentum_key, accept_key = jax.random.split(as_key(seed, "HamiltonianMonteCarlo.step"))
        space = self.phase_space(state)
        end = space.trajectory(space.draw_momentum(momentum_key), self.num_leapfrog_steps)
        return self.conclude(space, end, accepts(accept_key, end.log_ratio), self.num_leapfrog_steps)


def uncalibrated_step(
    kernel: HamiltonianKernel, state: HamiltonianState, num_leapfrog_steps: int, key: Seed
) -> tuple[HamiltonianState, UncalibratedInfo]:
    """The end of a trajectory from a fresh momentum, with the loss of kinetic energy as the log of the ratio of the
    densities of proposing back and forth."""
    space = kernel.phase_space(state)
    p0 = space.draw_momentum(key)
    end = space.trajectory(p0, num_leapfrog_steps)
    zero = jnp.zeros_like(end.target_log_prob)
    correction = hamiltonian(zero, p0) - hamiltonian(zero, end.momentum)
    proposal = space.state(end.position, end.target_log_prob, end.grad)
    return propose(state, proposal, correction, kernel.info_step_size(end.position))
