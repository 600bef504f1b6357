"""Kernels that scale themselves to a cloud of particles."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from distrax_like._misc import as_callable, as_key, promote
from distrax_like.inference.mcmc import DiagonalMetric, HamiltonianMonteCarlo, TransitionKernel
from distrax_like.inference.mcmc._target import as_position, evaluate


class RandomWalkState(eqx.Module):
    """A chain's position and the target there."""

    position: PyTree
    target_log_prob: Float[Array, ""]


class RandomWalkInfo(eqx.Module):
    """What one transition of the random walk did."""

    target_log_prob: Float[Array, "..."]
    step_size: Float[Array, "..."]
    log_accept_ratio: Float[Array, "..."]
    is_accepted: Bool[Array, "..."]


class CloudRandomWalk(TransitionKernel):
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

    def init(self, position: PyTree, *, seed: Any = None) -> RandomWalkState:
        position = as_position(position, "CloudRandomWalk")
        return RandomWalkState(position, self._value(position))

    def _value(self, position: PyTree) -> Array:
        value = jnp.asarray(evaluate(self.target_log_prob_fn, position))
        if value.shape:
            raise ValueError(f"CloudRandomWalk: the target of one chain must be a scalar, got shape {value.shape}")
        return value.astype(jnp.result_type(*jtu.tree_leaves(position)))

    def step(self, state: RandomWalkState, *, seed: Any) -> tuple[RandomWalkState, RandomWalkInfo]:
        move_key, accept_key = jax.random.split(as_key(seed, "CloudRandomWalk.step"))
        x, unravel = ravel_pytree(state.position)
        noise = jax.random.normal(move_key, x.shape, x.dtype)
        move = self.step_size.astype(x.dtype) * jnp.sum(self.factor.astype(x.dtype) * noise, axis=1)
        proposed = unravel(x + move)
        value = self._value(proposed)
        drop = value - state.target_log_prob
        # From a point of density zero every point with a density is an improvement.
        lost = ~jnp.isfinite(state.target_log_prob)
        ratio = jnp.where(jnp.isfinite(value), jnp.where(lost, jnp.inf, drop), -jnp.inf)
        accept = -jax.random.exponential(accept_key, (), x.dtype) <= ratio
        new = RandomWalkState(proposed, value)
        state = jtu.tree_map(lambda a, b: jnp.where(accept, a, b), new, state)
        return state, RandomWalkInfo(state.target_log_prob, self.step_size, ratio, accept)


def _flat_particles(particles: PyTree) -> Float[Array, "n d"]:
    return jnp.concatenate([jnp.reshape(x, (x.shape[0], -1)) for x in jtu.tree_leaves(particles)], axis=1)


def make_rwmh_kernel_fn(target_log_prob_fn: Callable[..., Any], init_state: PyTree, scalings: Any) -> TransitionKernel:
    """A random walk whose steps have the covariance of the particles times `scalings`².

    **Arguments:** `target_log_prob_fn`: of one particle; `init_state`: the particles, along a leading axis;
    `scalings`: a number.
    """
    x = _flat_particles(init_state)
    n, d = x.shape
    centred = x - jnp.mean(x, axis=0)
    # Shrunk towards its diagonal by the weight of d + 1 particles: fewer particles than dimensions, or copies of one
    # particle, leave the covariance singular, and a walk in a subspace would never leave it.
    weight = (d + 1) / (n + d + 1)
    covariance = jnp.einsum("ni,nj->ij", centred, centred) / n
    spread = jnp.diagonal(covariance)
    spread = jnp.where(spread > 0, spread, jnp.maximum(jnp.mean(spread), jnp.finfo(x.dtype).eps))
    covariance = (1 - weight) * covariance + weight * jnp.diag(spread)
    scale = jnp.sqrt(spread)
    factor = scale[:, None] * jnp.linalg.cholesky(covariance / (scale[:, None] * scale))
    factor = jnp.where(jnp.all(jnp.isfinite(factor)), factor, jnp.diag(scale))
    return CloudRandomWalk(target_log_prob_fn, scalings, factor)


def gen_make_hmc_kernel_fn(num_leapfrog_steps: int = 10) -> Callable[[Callable[..., Any], PyTree, Any], Any]:
    """A function that makes Hamiltonian Monte Carlo kernels, like `make_rwmh_kernel_fn`: the metric is the diagonal of
    the particles' variances, `scalings` the step size."""

    def make(target_log_prob_fn: Callable[..., Any], init_state: PyTree, scalings: Any) -> TransitionKernel:
        scale = jnp.std(_flat_particles(init_state), axis=0)
        scale = jnp.where(scale > 0, scale, jnp.finfo(scale.dtype).eps)
        return HamiltonianMonteCarlo(target_log_prob_fn, scalings, num_leapfrog_steps, DiagonalMetric(scale))

    return make
