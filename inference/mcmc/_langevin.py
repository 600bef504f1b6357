"""Langevin dynamics, with and without the Metropolis-Hastings correction."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import Seed, as_key

from ._hamiltonian import HamiltonianKernel, HamiltonianState, PhaseSpace, StepSize, hamiltonian_fields
from ._hmc import uncalibrated_step
from ._kernel import LogDensity, Position
from ._metric import Metric
from ._metropolis_hastings import Calibrated, UncalibratedInfo


class UncalibratedLangevin(HamiltonianKernel[HamiltonianState, UncalibratedInfo]):
    r"""One step of the Euler-Maruyama discretisation of Langevin dynamics, always taken.

    $$x' = x + \tfrac12 \epsilon\, \Sigma \nabla \log p(x) + \sqrt\epsilon\, \Sigma^{1/2} z, \qquad z \sim N(0, I),$$

    with $\Sigma$ the metric's S C S. By itself it leaves a density invariant that tends to the target as $\epsilon \to
    0$. Where the proposal, its density or its gradient is not finite, the chain stays.

    **Arguments:** those of `MetropolisAdjustedLangevinAlgorithm`.
    """

    step_size_is_adaptable: ClassVar[bool] = False

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric

    def __init__(self, target_log_prob_fn: LogDensity, step_size: StepSize, metric: Metric | None = None):
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )

    def init(self, position: Position, *, seed: Seed | None = None) -> HamiltonianState:
        return self.initial_state(position)

    def step(self, state: HamiltonianState, *, seed: Seed) -> tuple[HamiltonianState, UncalibratedInfo]:
        # One leapfrog of length sqrt(step_size) from a fresh momentum is this proposal, and the change of the kinetic
        # energy is the log of the ratio of the two proposal densities.
        return uncalibrated_step(self, state, 1, as_key(seed, "UncalibratedLangevin.step"))

    def phase_space(self, state: HamiltonianState) -> PhaseSpace:
        root = eqx.tree_at(lambda k: k.step_size, self, jtu.tree_map(jnp.sqrt, self.step_size))
        return HamiltonianKernel.phase_space(root, state)


class MetropolisAdjustedLangevinAlgorithm(Calibrated[HamiltonianState]):
    """Langevin dynamics with each step accepted or rejected (Roberts and Tweedie, 1996).

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: the variance of the noise (a Hamiltonian kernel's step size squared), a positive number, or a list,
      tuple or dict with one for each part of the state, each to broadcast against its part.
    - `metric`: the covariance of the noise at step size 1, by default the identity.
    """

    target_log_prob_fn: LogDensity
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric

    def __init__(self, target_log_prob_fn: LogDensity, step_size: StepSize, metric: Metric | None = None):
        self.target_log_prob_fn, self.step_size, self.metric = hamiltonian_fields(
            self, target_log_prob_fn, step_size, metric
        )

    def proposal_kernel(self) -> UncalibratedLangevin:
        return UncalibratedLangevin(self.target_log_prob_fn, self.step_size, self.metric)
