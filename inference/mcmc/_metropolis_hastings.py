"""The correction of Metropolis and Hastings: any proposal made to leave the target invariant."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from distrax_like._misc import as_key, tree_where

from ._density import all_finite
from ._kernel import TransitionKernel, accepts, energy_drop


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
    proposed_results: Any


class Calibrated(TransitionKernel):
    """A kernel that accepts or rejects what an uncalibrated one proposes."""

    inner_kernel: eqx.AbstractVar[TransitionKernel]

    def init(self, position: PyTree, *, seed: Any = None) -> Any:
        return self.inner_kernel.init(position, seed=seed)

    def step(self, state: Any, *, seed: Any) -> tuple[Any, MetropolisHastingsInfo]:
        who = type(self).__name__
        propose_key, accept_key = jax.random.split(as_key(seed, f"{who}.step"))
        proposal, info = self.inner_kernel.step(state, seed=propose_key)
        if not hasattr(info, "log_acceptance_correction"):
            raise TypeError(
                f"{who}: inner_kernel must be uncalibrated, with a log_acceptance_correction in its info, got "
                f"{type(self.inner_kernel).__name__}"
            )
        log_ratio = log_accept_ratio(state, proposal, info)
        accept = accepts(accept_key, log_ratio)
        state = tree_where(accept, proposal, state)
        step_size = getattr(info, "step_size", None)
        return state, MetropolisHastingsInfo(state.target_log_prob, step_size, log_ratio, accept, info)


class MetropolisHastings(Calibrated):
    r"""Accepts what the inner kernel proposes with the probability that makes the target invariant.

    From $x$ to $x'$, proposed with density $q(x' \mid x)$, that is

    $$\min\left(1, \frac{p(x')\, q(x \mid x')}{p(x)\, q(x' \mid x)}\right).$$

    A proposal whose ratio, position, density or gradient is not finite is rejected.

    **Arguments:** `inner_kernel`: an uncalibrated kernel, whose state has a `target_log_prob` and whose info has the
    `log_acceptance_correction` $\log q(x \mid x') - \log q(x' \mid x)$.

    **Raises:** `TypeError` where it is none.
    """

    inner_kernel: TransitionKernel

    def __init__(self, inner_kernel: TransitionKernel):
        if not isinstance(inner_kernel, TransitionKernel):
            raise TypeError(f"MetropolisHastings: inner_kernel must be a TransitionKernel, got {inner_kernel!r}")
        self.inner_kernel = inner_kernel

    @property  # type: ignore[misc]
    def target_log_prob_fn(self) -> Callable[..., Any]:  # type: ignore[override] # pyright: ignore
        return self.inner_kernel.target_log_prob_fn

    @property
    def step_size(self) -> PyTree:
        """That of the inner kernel, so that a step size adaptation finds it."""
        inner: Any = self.inner_kernel
        return inner.step_size


def log_accept_ratio(state: Any, proposal: Any, info: Any) -> Float[Array, ""]:
    """The log of the Metropolis-Hastings ratio, -inf where anything about the proposal is not finite."""
    drop = energy_drop(-state.target_log_prob, -proposal.target_log_prob - info.log_acceptance_correction)
    return jnp.where(all_finite(proposal), drop, -jnp.inf)


def propose(state: Any, proposal: Any, correction: Float[Array, ""], step_size: PyTree = None) -> tuple[Any, Any]:
    """What the step of an uncalibrated kernel returns: the chain stays where the proposal is not finite."""
    good = all_finite(proposal) & jnp.isfinite(correction)
    state = tree_where(good, proposal, state)
    return state, UncalibratedInfo(state.target_log_prob, jnp.where(good, correction, -jnp.inf), step_size)
