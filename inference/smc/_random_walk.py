"""Kernels whose scales are estimated from particles."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Seed, as_callable, as_key, promote, tree_where
from distrax_like.inference._target import as_vectors, log_density
from distrax_like.inference.mcmc import (
    DensityState,
    DiagonalMetric,
    HamiltonianMonteCarlo,
    MetropolisHastingsInfo,
    TransitionKernel,
)
from distrax_like.inference.mcmc._density import DensityKernel
from distrax_like.inference.mcmc._hamiltonian import accepts


class CloudRandomWalk(DensityKernel[MetropolisHastingsInfo]):
    """Metropolis's random walk with normal steps of covariance `step_size`² L Lᵀ.

    **Arguments:** `target_log_prob_fn`: the log density up to a constant; `step_size`: a number; `factor`: L, a matrix
    for the position raveled into one vector.
    """

    target_log_prob_fn: Callable[..., Any]
    step_size: Float[Array, ""]
    factor: Float[Array, "d d"]

    def __init__(self, target_log_prob_fn: Callable[..., Any], step_size: Any, factor: Any):
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "CloudRandomWalk: target_log_prob_fn")
        self.step_size, self.factor = promote(step_size, factor)

    def step(self, state: DensityState, *, seed: Seed) -> tuple[DensityState, MetropolisHastingsInfo]:
        move_key, accept_key = jax.random.split(as_key(seed, "CloudRandomWalk.step"))
        x, unravel = ravel_pytree(state.position)
        noise = jax.random.normal(move_key, x.shape, x.dtype)
        move = self.step_size.astype(x.dtype) * jnp.sum(self.factor.astype(x.dtype) * noise, axis=1)
        proposed = unravel(x + move)
        value = log_density(self.target_log_prob_fn, proposed, "CloudRandomWalk")
        drop = value - state.target_log_prob
        # From a point of density zero every point with a density is an improvement.
        lost = ~jnp.isfinite(state.target_log_prob)
        ratio = jnp.where(jnp.isfinite(value), jnp.where(lost, jnp.inf, drop), -jnp.inf)
        accept = accepts(accept_key, ratio)
        state = tree_where(accept, DensityState(proposed, value), state)
        return state, MetropolisHastingsInfo(state.target_log_prob, self.step_size, ratio, accept, None)


def make_rwmh_kernel_fn(target_log_prob_fn: Callable[..., Any], init_state: PyTree, scalings: Any) -> TransitionKernel:
    """A random walk whose steps have the covariance of the particles times `scalings`².

    **Arguments:** `target_log_prob_fn`: of one particle; `init_state`: the particles, along a leading axis;
    `scalings`: a number.
    """
    x = as_vectors(init_state)
    n, d = x.shape
    centred = x - jnp.mean(x, axis=0)
    # Shrunk towards its diagonal with the weight of d + 1 particles, since fewer particles than dimensions, or copies
    # of one particle, have a singular covariance, and a random walk in a subspace would never leave it.
    weight = (d + 1) / (n + d + 1)
    covariance = jnp.einsum("ni,nj->ij", centred, centred) / n
    spread = jnp.diagonal(covariance)
    spread = jnp.where(spread > 0, spread, jnp.maximum(jnp.mean(spread), jnp.finfo(x.dtype).eps))
    covariance = (1 - weight) * covariance + weight * jnp.diag(spread)
    scale = jnp.sqrt(spread)
    factor = scale[:, None] * jnp.linalg.cholesky(covariance / (scale[:, None] * scale))
    factor = jnp.where(jnp.all(jnp.isfinite(factor)), factor, jnp.diag(scale))
    return CloudRandomWalk(target_log_prob_fn, scalings, factor)


@checked
def gen_make_hmc_kernel_fn(num_leapfrog_steps: PositiveInt = 10) -> Callable[[Callable[..., Any], PyTree, Any], Any]:
    """A function that makes Hamiltonian Monte Carlo kernels, like `make_rwmh_kernel_fn`: the metric is the diagonal of
    the particles' variances, `scalings` the step size."""

    def make(target_log_prob_fn: Callable[..., Any], init_state: PyTree, scalings: Any) -> TransitionKernel:
        scale = jnp.std(as_vectors(init_state), axis=0)
        scale = jnp.where(scale > 0, scale, jnp.finfo(scale.dtype).eps)
        return HamiltonianMonteCarlo(target_log_prob_fn, scalings, num_leapfrog_steps, DiagonalMetric(scale))

    return make
