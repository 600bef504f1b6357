"""The sequential Monte Carlo kernel, the particle filter, and trajectories."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PyTree

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.inference._resampling import ess_below_threshold, resample_systematic


class WeightedParticles(eqx.Module):
    """Particles with a leading axis of length n, log weights of shape `(n,)`, and any other data of the model."""

    particles: PyTree
    log_weights: Float[Array, "..."]
    extra: Any = ()


class SequentialMonteCarloResults(eqx.Module):
    """The results of the last steps.

    - `steps`: the number of steps so far.
    - `parent_indices`: the particle of the step before that each particle comes from.
    - `incremental_log_marginal_likelihood`: the log of the mean weight that the step gave.
    - `accumulated_log_marginal_likelihood`: the sum of these over all steps.
    """

    steps: Int[Array, "..."]
    parent_indices: Int[Array, "..."]
    incremental_log_marginal_likelihood: Float[Array, "..."]
    accumulated_log_marginal_likelihood: Float[Array, "..."]


class SequentialMonteCarloState(eqx.Module):
    """The weighted particles after a step, and what it did."""

    position: WeightedParticles
    results: SequentialMonteCarloResults


def _normalize(weighted: WeightedParticles) -> tuple[WeightedParticles, Float[Array, ""]]:
    log_weights = jnp.where(jnp.isnan(weighted.log_weights), -jnp.inf, weighted.log_weights)
    total = logsumexp(log_weights)
    # If no particle has a weight the evidence is zero, and the particles get equal weights.
    some = total > -jnp.inf
    normal = jnp.where(some, log_weights - jnp.where(some, total, 0), -math.log(log_weights.shape[0]))
    return WeightedParticles(weighted.particles, normal, weighted.extra), total


class SequentialMonteCarlo(eqx.Module):
    """Steps of weighted particles from one distribution to the next: resample, propose, weight.

    `init` and `step` are pure, for one set of particles; `jax.vmap` makes many.

    **Arguments:**

    - `propose_and_update_log_weights_fn`: `(step, weighted_particles, seed)` to new weighted particles, whose log
      weights are the old ones, normalised, plus those of the step.
    - `resample_fn`: such as `resample_systematic`.
    - `resample_criterion_fn`: from weighted particles to whether they are resampled; `None` is always.
    - `unbiased_gradients`: whether the weights after resampling carry the derivative of the log probability of having
      been drawn, without which gradients of the log marginal likelihood are biased.

    A. Ścibior and F. Wood, Differentiable particle filtering without modifying the forward pass, arXiv:2106.10314.
    """

    propose_and_update_log_weights_fn: Callable[..., WeightedParticles]
    resample_fn: Callable[..., Any]
    resample_criterion_fn: Callable[..., Any] | None
    unbiased_gradients: bool = eqx.field(static=True)

    def __init__(
        self,
        propose_and_update_log_weights_fn: Callable[..., Any],
        resample_fn: Callable[..., Any] = resample_systematic,
        resample_criterion_fn: Callable[..., Any] | None = ess_below_threshold,
        unbiased_gradients: bool = True,
    ):
        who = "SequentialMonteCarlo"
        self.propose_and_update_log_weights_fn = as_callable(propose_and_update_log_weights_fn, who)
        self.resample_fn = as_callable(resample_fn, f"{who}: resample_fn")
        criterion = resample_criterion_fn
        self.resample_criterion_fn = (
            None if criterion is None else as_callable(criterion, f"{who}: resample_criterion_fn")
        )
        self.unbiased_gradients = unbiased_gradients

    def init(self, weighted_particles: WeightedParticles, *, seed: Seed | None = None) -> SequentialMonteCarloState:
        """The state at weighted particles, which need not be normalised: the mean of their weights times n is the first
        marginal likelihood."""
        position, total = _normalize(weighted_particles)
        parents = jnp.arange(position.log_weights.shape[0])
        results = SequentialMonteCarloResults(jnp.zeros((), jnp.int32), parents, total, total)
        return SequentialMonteCarloState(position, results)

    def step(
        self, state: SequentialMonteCarloState, *, seed: Seed
    ) -> tuple[SequentialMonteCarloState, SequentialMonteCarloResults]:
        """The next state, and its results once more."""
        resample_key, propose_key = jax.random.split(as_key(seed, "SequentialMonteCarlo.step"))
        old, results = state.position, state.results
        n = old.log_weights.shape[0]
        criterion = self.resample_criterion_fn
        do = jnp.asarray(True) if criterion is None else jnp.asarray(criterion(old))
        drawn = jax.lax.stop_gradient(self.resample_fn(old.log_weights, n, (), seed=resample_key))
        parents = jnp.where(do, drawn, jnp.arange(n)).astype(results.parent_indices.dtype)
        particles, extra = jtu.tree_map(lambda x: x[parents], (old.particles, old.extra))
        equal = jnp.full_like(old.log_weights, -math.log(n))
        if self.unbiased_gradients:
            # Zero, with the derivative of the log probability, which would be NaN for a particle without weight.
            kept = jnp.where(jnp.isfinite(old.log_weights), old.log_weights, 0)[parents]
            equal = equal + (kept - jax.lax.stop_gradient(kept))
        log_weights = jnp.where(do, equal, old.log_weights)
        weighted = WeightedParticles(particles, log_weights, extra)
        new, total = _normalize(self.propose_and_update_log_weights_fn(results.steps, weighted, seed=propose_key))
        accumulated = results.accumulated_log_marginal_likelihood + total
        results = SequentialMonteCarloResults(results.steps + 1, parents, total, accumulated)
        return SequentialMonteCarloState(new, results), results


class FilteredParticles(NamedTuple):
    """What `particle_filter` returns by default, with a leading axis of steps."""

    particles: Any
    log_weights: Any
    parent_indices: Any
    incremental_log_marginal_likelihoods: Any


def _default_trace(weighted: WeightedParticles, results: SequentialMonteCarloResults) -> FilteredParticles:
    return FilteredParticles(
        weighted.particles,
        weighted.log_weights,
        results.parent_indices,
        results.incremental_log_marginal_likelihood,
    )


def _every_step(*_: Any) -> bool:
    return True


def _density(distribution: Any, value: Any, what: str) -> Array:
    log_prob = jnp.asarray(distribution.log_prob(value))
    if log_prob.shape:
        raise ValueError(
            f"particle_filter: the log density of {what} must be a scalar for one particle, got shape "
            f"{log_prob.shape}; functions get one particle at a time, and several coordinates need Independent or a "
            "joint distribution"
        )
    return log_prob


@checked
def particle_filter(
    observations: PyTree,
    initial_state_prior: Any,
    transition_fn: Callable[..., Any],
    observation_fn: Callable[..., Any],
    num_particles: PositiveInt,
    initial_state_proposal: Any = None,
    proposal_fn: Callable[..., Any] | None = None,
    resample_fn: Callable[..., Any] = resample_systematic,
    resample_criterion_fn: Callable[..., Any] | None = ess_below_threshold,
    unbiased_gradients: bool = True,
    rejuvenation_kernel_fn: Callable[..., Any] | None = None,
    num_transitions_per_observation: PositiveInt = 1,
    trace_fn: Callable[..., Any] = _default_trace,
    trace_criterion_fn: Callable[..., Any] | None = _every_step,
    static_trace_allocation_size: int | None = None,
    parallel_iterations: int = 1,
    seed: Seed | None = None,
) -> Any:
    """Particle filter of a state space model: weighted particles of each state given the observations so far.

    With k transitions between observations there are T = (number of observations - 1) k + 1 steps; those divisible by
    k are observed. The filter is one scan, which can be differentiated and transformed by `jit` and `vmap`.

    **Arguments:**

    - `observations`: a pytree with a leading axis of observations.
    - `initial_state_prior`: the distribution of the first state.
    - `transition_fn`: from a step t and the state at t, of one particle, to the distribution of the state at t + 1.
    - `observation_fn`: from t and the state at t, of one particle, to the distribution of the observation.
    - `num_particles`: n.
    - `initial_state_proposal`, `proposal_fn`: like the prior and `transition_fn`, to draw from in their place.
    - `resample_fn`, `resample_criterion_fn`, `unbiased_gradients`: as for `SequentialMonteCarlo`.
    - `rejuvenation_kernel_fn`: from a log density to a `TransitionKernel`, of which each particle makes one step at
      each t that leaves p(state at t | observation at t, state at t - 1) invariant.
    - `num_transitions_per_observation`: k.
    - `trace_fn`: from `WeightedParticles` and `SequentialMonteCarloResults` after a step to what is returned for it.
    - `trace_criterion_fn`: from the same to whether the step is traced. `None` returns the last step alone.
    - `static_trace_allocation_size`: with a criterion, the number of steps to allocate memory for, by default T;
      unused rows at the end are zero, and later steps are dropped.
    - `parallel_iterations`: ignored.
    - `seed`: a key.

    **Returns:** what `trace_fn` gives, with a leading axis of steps; by default a namedtuple of `particles`
    `(T, n, ...)`, normalised `log_weights` `(T, n)`, `parent_indices` `(T, n)` and
    `incremental_log_marginal_likelihoods` `(T,)`. exp of the sum of the last is an unbiased estimate of the density of
    the observations.

    **Raises:** `ValueError` where a log density of one particle is not a scalar; `TypeError` without a seed.
    """
    who = "particle_filter"
    key = as_key(seed, who)
    every = num_transitions_per_observation
    observations = jtu.tree_map(jnp.asarray, observations)
    lengths = {x.shape[:1] for x in jtu.tree_leaves(observations)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(f"{who}: every part of observations must have the same leading axis, got {lengths}")
    num_steps = (lengths.pop()[0] - 1) * every + 1

    def observed(t: Any, x: PyTree) -> Array:
        """The log density of the observation at t, zero where there is none."""
        y = jtu.tree_map(lambda y: y[t // every], observations)
        value = _density(observation_fn(t, x), y, "an observation")
        return value if every == 1 else jnp.where(t % every == 0, value, 0)

    def propose(t: Any, prior: Any, proposal: Any, key: Seed) -> tuple[PyTree, Array]:
        draw_key, init_key, move_key = jax.random.split(key, 3)
        x = (prior if proposal is None else proposal).sample(seed=draw_key)
        weight = observed(t, x)
        if proposal is not None:
            weight = weight + _density(prior, x, "a state") - _density(proposal, x, "a proposed state")
        if rejuvenation_kernel_fn is not None:
            structure = jtu.tree_structure(x)

            def target(*parts: Any) -> Array:
                # The kernel splats a state that is a tuple or list, and passes anything else whole.
                whole = jtu.tree_unflatten(structure, jtu.tree_leaves(parts))
                return _density(prior, whole, "a state") + observed(t, whole)

            kernel = rejuvenation_kernel_fn(target)
            x = kernel.step(kernel.init(x, seed=init_key), seed=move_key)[0].position
        return x, weight

    def first(key: Seed) -> tuple[PyTree, Array]:
        return propose(jnp.zeros((), jnp.int32), initial_state_prior, initial_state_proposal, key)

    def update(t: Any, weighted: WeightedParticles, seed: Seed) -> WeightedParticles:
        def one(x: PyTree, key: Seed) -> tuple[PyTree, Array]:
            return propose(t + 1, transition_fn(t, x), None if proposal_fn is None else proposal_fn(t, x), key)

        particles, weights = jax.vmap(one)(weighted.particles, jax.random.split(seed, num_particles))
        return WeightedParticles(particles, weighted.log_weights + weights.astype(weighted.log_weights.dtype))

    first_key, scan_key = jax.random.split(key)
    particles, weights = jax.vmap(first)(jax.random.split(first_key, num_particles))
    kernel = SequentialMonteCarlo(update, resample_fn, resample_criterion_fn, unbiased_gradients)
    state = kernel.init(WeightedParticles(particles, weights - math.log(num_particles)))

    def step(state: SequentialMonteCarloState, key: Seed) -> Any:
        state, _ = kernel.step(state, seed=key)
        return state, trace_fn(state.position, state.results)

    keys = jax.random.split(scan_key, num_steps - 1)
    if trace_criterion_fn is None:
        last, _ = jax.lax.scan(lambda s, k: (kernel.step(s, seed=k)[0], None), state, keys)
        return trace_fn(last.position, last.results)
    begin = trace_fn(state.position, state.results)
    if trace_criterion_fn is _every_step:
        _, rest = jax.lax.scan(step, state, keys)
        return jtu.tree_map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), begin, rest)

    size = num_steps if static_trace_allocation_size is None else static_trace_allocation_size
    criterion = trace_criterion_fn

    def record(kept: Any, state: SequentialMonteCarloState, traced: Any) -> Any:
        count, rows = kept
        wanted = jnp.asarray(criterion(state.position, state.results))
        place = jnp.where(wanted, count, size)  # out of bounds, and so dropped
        rows = jtu.tree_map(lambda row, x: row.at[place].set(x, mode="drop"), rows, traced)
        return count + wanted, rows

    def traced_step(carry: Any, key: Seed) -> Any:
        state, traced = step(carry[0], key)
        return (state, record(carry[1], state, traced)), None

    rows = jtu.tree_map(lambda x: jnp.zeros((size, *jnp.shape(x)), jnp.result_type(x)), begin)
    kept = record((jnp.zeros((), jnp.int32), rows), state, begin)
    (_, (_, rows)), _ = jax.lax.scan(traced_step, (state, kept), keys)
    return rows


def reconstruct_trajectories(particles: PyTree, parent_indices: Int[Array, "t n"]) -> PyTree:
    """The path of ancestors of each particle of the last step.

    **Arguments:** `particles`: a pytree with leading axes `(T, n)`; `parent_indices`: of shape `(T, n)`, the parents of
    the particles of each step in the step before.

    **Returns:** a pytree like `particles`, in which [:, i] is the path that ends in particle i of the last step.
    """

    def back(index: Array, parents: Array) -> tuple[Array, Array]:
        return parents[index], index

    last = jnp.arange(parent_indices.shape[1]).astype(parent_indices.dtype)
    _, indices = jax.lax.scan(back, last, parent_indices, reverse=True)
    return jtu.tree_map(lambda x: jax.vmap(lambda row, index: row[index])(x, indices), particles)


class Trajectories(NamedTuple):
    """Draws of whole paths, and the increments of the log marginal likelihood."""

    trajectories: Any
    incremental_log_marginal_likelihoods: Any


@checked
def infer_trajectories(
    observations: PyTree,
    initial_state_prior: Any,
    transition_fn: Callable[..., Any],
    observation_fn: Callable[..., Any],
    num_particles: PositiveInt,
    initial_state_proposal: Any = None,
    proposal_fn: Callable[..., Any] | None = None,
    resample_fn: Callable[..., Any] = resample_systematic,
    resample_criterion_fn: Callable[..., Any] | None = ess_below_threshold,
    unbiased_gradients: bool = True,
    rejuvenation_kernel_fn: Callable[..., Any] | None = None,
    num_transitions_per_observation: PositiveInt = 1,
    seed: Seed | None = None,
) -> Trajectories:
    """Paths of the states given all observations, from a particle filter.

    Early states of the paths have few different ancestors.

    **Arguments** as for `particle_filter`.

    **Returns:** `Trajectories`: a pytree with leading axes `(T, n)`, where [:, i] is one path, all of equal weight; and
    increments of shape `(T,)`.
    """
    filter_key, resample_key = jax.random.split(as_key(seed, "infer_trajectories"))
    filtered = particle_filter(
        observations,
        initial_state_prior,
        transition_fn,
        observation_fn,
        num_particles,
        initial_state_proposal,
        proposal_fn,
        resample_fn,
        resample_criterion_fn,
        unbiased_gradients,
        rejuvenation_kernel_fn,
        num_transitions_per_observation,
        seed=filter_key,
    )
    paths = reconstruct_trajectories(filtered.particles, filtered.parent_indices)
    indices = resample_fn(filtered.log_weights[-1], num_particles, (), seed=resample_key)
    paths = jtu.tree_map(lambda x: x[:, indices], paths)
    return Trajectories(paths, filtered.incremental_log_marginal_likelihoods)
