"""Hamiltonian Monte Carlo with trajectories of a fixed length, and its proposal alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from equinox import field
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import as_callable, as_key
from distrax_like.inference.mcmc._kernel import (
    Flat,
    HamiltonianInfo,
    HamiltonianKernel,
    HamiltonianState,
    as_step_size,
    energy_drop,
    hamiltonian,
)
from distrax_like.inference.mcmc._metric import DiagonalMetric, Metric
from distrax_like.inference.mcmc._metropolis_hastings import UncalibratedInfo, propose

# An energy error that only an unstable integrator makes; the bound that Stan and NoUTurnSampler use.
_MAX_ENERGY_DIFF = 1000.0


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
        if num_leapfrog_steps < 1:
            raise ValueError(f"HamiltonianMonteCarlo: num_leapfrog_steps must be at least 1, got {num_leapfrog_steps}")
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "HamiltonianMonteCarlo: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.metric = DiagonalMetric() if metric is None else metric
        self.num_leapfrog_steps = num_leapfrog_steps

    def step(self, state: HamiltonianState, *, seed: Any) -> tuple[HamiltonianState, HamiltonianInfo]:
        momentum_key, accept_key = jax.random.split(as_key(seed, "HamiltonianMonteCarlo.step"))
        flat = self._flat(state)
        x0, value0, grad0 = flat.position, flat.target_log_prob, flat.grad
        p0, x, p, value, grad = _trajectory(flat, self.num_leapfrog_steps, momentum_key)
        start, end = hamiltonian(value0, p0), hamiltonian(value, p)
        log_ratio = energy_drop(start, end)
        accept = -jax.random.exponential(accept_key, (), x0.dtype) <= log_ratio
        x, value, grad, energy = (
            jnp.where(accept, a, b) for a, b in ((x, x0), (value, value0), (grad, grad0), (end, start))
        )
        info = HamiltonianInfo(
            target_log_prob=value,
            step_size=self._info_step_size(x0),
            log_accept_ratio=log_ratio,
            leapfrogs_taken=jnp.asarray(self.num_leapfrog_steps, jnp.int32),
            is_accepted=accept,
            reach_max_depth=jnp.asarray(False),
            has_divergence=log_ratio < -_MAX_ENERGY_DIFF,
            energy=energy,
        )
        return flat.state(x, value, grad), info


def uncalibrated_step(
    kernel: HamiltonianKernel, state: HamiltonianState, num_leapfrog_steps: int, key: Any
) -> tuple[HamiltonianState, UncalibratedInfo]:
    """The end of a trajectory from a fresh momentum, with the loss of kinetic energy as the log of the ratio of the
    densities of proposing back and forth."""
    flat = kernel._flat(state)
    p0, x, p, value, grad = _trajectory(flat, num_leapfrog_steps, key)
    zero = jnp.zeros_like(value)
    correction = hamiltonian(zero, p0) - hamiltonian(zero, p)
    return propose(state, flat.state(x, value, grad), correction, kernel._info_step_size(x))


def _trajectory(flat: Flat, num_leapfrog_steps: int, key: Any) -> tuple[Array, ...]:
    """The first momentum; the last position and momentum, and the target's value and gradient there."""
    p0 = flat.draw_momentum(key)

    def body(_: Any, carry: Any) -> Any:
        x, p, force, _, _ = carry
        return flat.leapfrog(1, x, p, force)

    carry = flat.position, p0, flat.force(flat.grad), flat.target_log_prob, flat.grad
    x, p, _, value, grad = jax.lax.fori_loop(0, num_leapfrog_steps, body, carry)
    return p0, x, p, value, grad
