"""Hamiltonian Monte Carlo with trajectories of a fixed length, and its proposal alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from equinox import field
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import as_callable, as_key

from ._kernel import (
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    accepts,
    as_step_size,
    hamiltonian,
)
from ._metric import DiagonalMetric, Metric
from ._metropolis_hastings import UncalibratedInfo, propose


class UncalibratedHamiltonianMonteCarlo(HamiltonianKernel):
    """The proposal of `HamiltonianMonteCarlo`, always taken; `MetropolisHastings` of it makes the same transitions.

    Where the proposal, its density or its gradient is not finite, the chain stays.

    **Arguments:** those of `HamiltonianMonteCarlo`.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric
    num_leapfrog_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: Callable[..., Any],
        step_size: Any,
        num_leapfrog_steps: int,
        metric: Metric | None = None,
    ):
        who = "UncalibratedHamiltonianMonteCarlo"
        if num_leapfrog_steps < 1:
            raise ValueError(f"{who}: num_leapfrog_steps must be at least 1, got {num_leapfrog_steps}")
        self.target_log_prob_fn = as_callable(target_log_prob_fn, f"{who}: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.metric = DiagonalMetric() if metric is None else metric
        self.num_leapfrog_steps = num_leapfrog_steps

    def step(self, state: HamiltonianState, *, seed: Any) -> tuple[HamiltonianState, UncalibratedInfo]:
        seed = as_key(seed, "UncalibratedHamiltonianMonteCarlo.step")
        return uncalibrated_step(self, state, self.num_leapfrog_steps, seed)


class HamiltonianMonteCarlo(HamiltonianKernel):
    """Hamiltonian Monte Carlo: `num_leapfrog_steps` of velocity Verlet from a fresh momentum, then accept or reject.

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: a positive number, or a list, tuple or dict with one for each part of the state, each to broadcast
      against its part. A step size for each coordinate is the same as one step size in rescaled coordinates.
    - `num_leapfrog_steps`: how many gradients a transition takes.
    - `metric`: the inverse mass matrix, by default the identity.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric
    num_leapfrog_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: Callable[..., Any],
        step_size: Any,
        num_leapfrog_steps: int,
        metric: Metric | None = None,
    ):
        who = "HamiltonianMonteCarlo"
        if num_leapfrog_steps < 1:
            raise ValueError(f"{who}: num_leapfrog_steps must be at least 1, got {num_leapfrog_steps}")
        self.target_log_prob_fn = as_callable(target_log_prob_fn, f"{who}: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.metric = DiagonalMetric() if metric is None else metric
        self.num_leapfrog_steps = num_leapfrog_steps

    def step(self, state: HamiltonianState, *, seed: Any) -> tuple[HamiltonianState, HamiltonianInfo]:
        momentum_key, accept_key = jax.random.split(as_key(seed, "HamiltonianMonteCarlo.step"))
        flat = self._flat(state)
        end = flat.trajectory(flat.draw_momentum(momentum_key), self.num_leapfrog_steps)
        return self._settle(flat, end, accepts(accept_key, end.log_ratio), self.num_leapfrog_steps)


def uncalibrated_step(
    kernel: HamiltonianKernel, state: HamiltonianState, num_leapfrog_steps: int, key: Any
) -> tuple[HamiltonianState, UncalibratedInfo]:
    """The end of a trajectory from a fresh momentum, with the loss of kinetic energy as the log of the ratio of the
    densities of proposing back and forth."""
    flat = kernel._flat(state)
    p0 = flat.draw_momentum(key)
    end = flat.trajectory(p0, num_leapfrog_steps)
    zero = jnp.zeros_like(end.target_log_prob)
    correction = hamiltonian(zero, p0) - hamiltonian(zero, end.momentum)
    proposal = flat.state(end.position, end.target_log_prob, end.grad)
    return propose(state, proposal, correction, kernel._info_step_size(end.position))
