"""The correction of Metropolis and Hastings, which makes any proposal leave the target invariant."""

import abc
from typing import Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from distrax_like._misc import Real, Seed, as_key, tree_where

from ._density import all_finite
from ._hamiltonian import accepts, energy_drop
from ._kernel import KernelState, LogDensity, Position, TransitionKernel, require_field


@runtime_checkable
class EvaluatedState(KernelState, Protocol):
    """A state that holds the target's value at its position."""

    @property
    def target_log_prob(self) -> Real: ...


@runtime_checkable
class ProposalInfo(Protocol):
    """What the info of an uncalibrated kernel has: see `UncalibratedInfo`."""

    @property
    def log_acceptance_correction(self) -> Real: ...


State = TypeVar("State", bound=EvaluatedState)


class UncalibratedInfo(eqx.Module):
    """What one transition of an uncalibrated kernel did.

    - `target_log_prob`: the target at the new position.
    - `log_acceptance_correction`: log q(x | x') - log q(x' | x), for the density q of proposing the second argument
      from the first; -inf where the proposal was not finite and the chain stayed.
    - `step_size`: the one used, as the kernel holds it; `None` for a random walk.
    """

    target_log_prob: Float[Array, "..."]
    log_acceptance_correction: Float[Array, "..."]
    step_size: PyTree = None


class MetropolisHastingsInfo(eqx.Module):
    """What one transition did; under `sample_chain` each field has leading axes.

    - `target_log_prob`: the target at the new position.
    - `step_size`: that of the inner kernel, or `None`.
    - `log_accept_ratio`: the log of the Metropolis-Hastings ratio.
    - `is_accepted`: whether the proposal was accepted.
    - `proposed_results`: the info of the inner kernel about the proposal.
    """

    target_log_prob: Float[Array, "..."]
    step_size: PyTree
    log_accept_ratio: Float[Array, "..."]
    is_accepted: Bool[Array, "..."]
    proposed_results: PyTree


class Calibrated(TransitionKernel[State, MetropolisHastingsInfo]):
    """A kernel that accepts or rejects what an uncalibrated one proposes."""

    @abc.abstractmethod
    def proposal_kernel(self) -> TransitionKernel[State, ProposalInfo]:
        """The kernel that proposes."""

    def init(self, position: Position, *, seed: Seed | None = None) -> State:
        return self.proposal_kernel().init(position, seed=seed)

    def step(self, state: State, *, seed: Seed) -> tuple[State, MetropolisHastingsInfo]:
        who = type(self).__name__
        propose_key, accept_key = jax.random.split(as_key(seed, f"{who}.step"))
        kernel = self.proposal_kernel()
        proposal, info = kernel.step(state, seed=propose_key)
        if not hasattr(info, "log_acceptance_correction"):
            raise TypeError(
                f"{who}: inner_kernel must be uncalibrated, with a log_acceptance_correction in its info, got "
                f"{type(kernel).__name__}"
            )
        purpose = "from which the acceptance ratio is computed"
        require_field(kernel, "state", "init", state, "target_log_prob", purpose)
        log_ratio = log_accept_ratio(state, proposal, info)
        accept = accepts(accept_key, log_ratio)
        state = tree_where(accept, proposal, state)
        step_size = getattr(info, "step_size", None)
        return state, MetropolisHastingsInfo(state.target_log_prob, step_size, log_ratio, accept, info)


class MetropolisHastings(Calibrated[State]):
    r"""Accepts what the inner kernel proposes with the probability that makes the target invariant.

    From $x$ to $x'$, proposed with density $q(x' \mid x)$, that is

    $$\min\left(1, \frac{p(x')\, q(x \mid x')}{p(x)\, q(x' \mid x)}\right).$$

    A proposal whose ratio, position, density or gradient is not finite is rejected.

    **Arguments:** `inner_kernel`: an uncalibrated kernel, whose state has a `target_log_prob` and whose info has the
    `log_acceptance_correction` $\log q(x \mid x') - \log q(x' \mid x)$.

    **Raises:** `TypeError` where it is not an uncalibrated kernel.
    """

    inner_kernel: TransitionKernel[State, ProposalInfo]

    def __init__(self, inner_kernel: TransitionKernel[State, ProposalInfo]):
        self.inner_kernel = inner_kernel

    def log_density(self) -> LogDensity:
        return self.inner_kernel.log_density()

    def proposal_kernel(self) -> TransitionKernel[State, ProposalInfo]:
        return self.inner_kernel

    @property
    def step_size(self) -> PyTree:
        """That of the inner kernel, so that a step size adaptation finds it."""
        return getattr(self.inner_kernel, "step_size")


def log_accept_ratio(state: EvaluatedState, proposal: EvaluatedState, info: ProposalInfo) -> Float[Array, ""]:
    """The log of the Metropolis-Hastings ratio, -inf where anything about the proposal is not finite."""
    drop = energy_drop(-state.target_log_prob, -proposal.target_log_prob - info.log_acceptance_correction)
    return jnp.where(all_finite(proposal), drop, -jnp.inf)


def propose(
    state: State, proposal: State, correction: Float[Array, ""], step_size: PyTree[Float[Array, "..."]] = None
) -> tuple[State, UncalibratedInfo]:
    """What the step of an uncalibrated kernel returns: the chain stays where the proposal is not finite."""
    good = all_finite(proposal) & jnp.isfinite(correction)
    state = tree_where(good, proposal, state)
    return state, UncalibratedInfo(state.target_log_prob, jnp.where(good, correction, -jnp.inf), step_size)
