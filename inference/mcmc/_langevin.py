"""Langevin dynamics, with and without the Metropolis-Hastings correction."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import as_callable, as_key

from ._hmc import uncalibrated_step
from ._kernel import Flat, HamiltonianKernel, HamiltonianState, as_step_size
from ._metric import DiagonalMetric, Metric
from ._metropolis_hastings import Calibrated, UncalibratedInfo


class UncalibratedLangevin(HamiltonianKernel):
    r"""One step of the Euler-Maruyama discretisation of Langevin dynamics, always taken.

    $$x' = x + \tfrac12 \epsilon\, \Sigma \nabla \log p(x) + \sqrt\epsilon\, \Sigma^{1/2} z, \qquad z \sim N(0, I),$$

    with $\Sigma$ the metric's S C S. By itself it leaves a density invariant that nears the target as $\epsilon \to 0$.
    Where the proposal, its density or its gradient is not finite, the chain stays.

    **Arguments:** those of `MetropolisAdjustedLangevinAlgorithm`.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric

    def __init__(self, target_log_prob_fn: Callable[..., Any], step_size: Any, metric: Metric | None = None):
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "UncalibratedLangevin: target_log_prob_fn")
        self.step_size = as_step_size(step_size)
        self.metric = DiagonalMetric() if metric is None else metric

    def step(self, state: HamiltonianState, *, seed: Any) -> tuple[HamiltonianState, UncalibratedInfo]:
        # One leapfrog of length sqrt(step_size) from a fresh momentum is this proposal, and the change of the kinetic
        # energy is the log of the ratio of the two proposal densities.
        return uncalibrated_step(self, state, 1, as_key(seed, "UncalibratedLangevin.step"))

    def _flat(self, state: HamiltonianState) -> Flat:
        root = eqx.tree_at(lambda k: k.step_size, self, jtu.tree_map(jnp.sqrt, self.step_size))
        return HamiltonianKernel._flat(root, state)


class MetropolisAdjustedLangevinAlgorithm(Calibrated):
    """Langevin dynamics with each step accepted or rejected (Roberts and Tweedie, 1996).

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `step_size`: the variance of the noise (a Hamiltonian kernel's step size squared), a positive number, or a list,
      tuple or dict with one for each part of the state, each to broadcast against its part.
    - `metric`: the covariance of the noise at step size 1, by default the identity.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: PyTree[Float[Array, "..."]]
    metric: Metric

    def __init__(self, target_log_prob_fn: Callable[..., Any], step_size: Any, metric: Metric | None = None):
        name = "MetropolisAdjustedLangevinAlgorithm: target_log_prob_fn"
        self.target_log_prob_fn = as_callable(target_log_prob_fn, name)
        self.step_size = as_step_size(step_size)
        self.metric = DiagonalMetric() if metric is None else metric

    @property  # type: ignore[misc]
    def inner_kernel(self) -> UncalibratedLangevin:  # type: ignore[override]
        return UncalibratedLangevin(self.target_log_prob_fn, self.step_size, self.metric)
