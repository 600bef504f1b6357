"""Tempered sequential Monte Carlo: from the prior to the posterior by powers of the likelihood."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PyTree

from distrax_like._arguments import Fraction, PositiveInt, checked
from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.distributions import JointDistributionPinned, UnconstrainedDensity
from distrax_like.inference._resampling import resample_systematic
from distrax_like.inference._start import prior_draw
from distrax_like.inference._target import as_position, density_at
from distrax_like.inference.mcmc._replica_exchange import TemperedTarget
from distrax_like.math import find_root_chandrupatla

from ._random_walk import make_rwmh_kernel_fn


class TemperedSamples(eqx.Module):
    """What tempered sequential Monte Carlo found.

    - `particles`: with a leading axis of n particles; of a model, values of its free sites.
    - `log_weights`: normalised, of shape `(n,)`; all equal unless there was no resampling.
    - `log_normalizing_constant`: the log of the estimate of ∫ prior × likelihood, with the prior normalised.
    - `log_normalizing_constant_variance`: an estimate of the relative variance of that estimate, which is about the
      variance of its log, from this one run. It is the larger of two: the sum of the variances of the weights of each
      stage, which is right where the mutations mix well, and Lee and Whiteley's estimate from the genealogy, which is
      right for independent resampling. Where neither condition holds, it is too small.
    - `num_stages`: the number of stages.
    - `inverse_temperature`: the last one; below 1 where `max_stage` was too small, and then all of the above is for the
      likelihood to that power.
    - `inverse_temperatures`, `acceptance`, `num_steps`, `scalings`: of each stage, of shape `(max_stage,)`: the
      temperature, and the share of moves accepted, number of moves and scaling of the mutations. NaN, and 0 moves,
      after the last stage.
    """

    particles: PyTree
    log_weights: Float[Array, "..."]
    log_normalizing_constant: Float[Array, "..."]
    log_normalizing_constant_variance: Float[Array, "..."]
    num_stages: Int[Array, "..."]
    inverse_temperature: Float[Array, "..."]
    inverse_temperatures: Float[Array, "..."]
    acceptance: Float[Array, "..."]
    num_steps: Int[Array, "..."]
    scalings: Float[Array, "..."]


def default_make_tempered_target_log_prob_fn(
    prior_log_prob_fn: Callable[..., Any], likelihood_log_prob_fn: Callable[..., Any], inverse_temperatures: Any
) -> Callable[..., Any]:
    """The log density prior + inverse temperature × likelihood of one particle."""
    return TemperedTarget(likelihood_log_prob_fn, prior_log_prob_fn, jnp.asarray(inverse_temperatures))


def simple_heuristic_tuning(
    num_steps: Any, log_scalings: Any, log_accept_prob: Any, optimal_accept: Any = 0.234, target_accept_prob: Any = 0.99
) -> tuple[Any, Any]:
    """The number of moves after which a particle has moved with probability `target_accept_prob`, and a scaling whose
    log is changed by the difference between the acceptance and `optimal_accept`.

    **Arguments:** `num_steps`, `log_scalings`: those of the last mutation; `log_accept_prob`: the log of each
    particle's mean acceptance probability there.

    **Returns:** number of moves and log scaling of the next mutation.
    """
    accept = jnp.mean(jnp.exp(log_accept_prob))
    eps = jnp.finfo(accept.dtype).eps
    needed = jnp.log1p(-target_accept_prob) / jnp.log1p(-jnp.clip(accept, eps, 1 - eps))
    needed = jnp.clip(jnp.ceil(needed), 1, 1e6)
    return needed.astype(jnp.asarray(num_steps).dtype), log_scalings + (accept - optimal_accept)


class _Terms(eqx.Module):
    """The terms of a model's log density that the prior is drawn from, or the other ones."""

    density: UnconstrainedDensity
    pinned: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        terms = self.density.log_densities(x)
        drawn = dict(self.density.layout)
        return sum((v for k, v in terms.items() if (k not in drawn) == self.pinned), jnp.zeros(()))


@checked
def sample_sequential_monte_carlo(
    prior_log_prob_fn: Any,
    likelihood_log_prob_fn: Any = None,
    current_state: Any = None,
    min_num_steps: PositiveInt = 2,
    max_num_steps: PositiveInt = 25,
    max_stage: PositiveInt = 100,
    make_kernel_fn: Callable[..., Any] = make_rwmh_kernel_fn,
    tuning_fn: Callable[..., Any] = simple_heuristic_tuning,
    make_tempered_target_log_prob_fn: Callable[..., Any] = default_make_tempered_target_log_prob_fn,
    resample_fn: Callable[..., Any] | None = resample_systematic,
    ess_threshold_ratio: Fraction = 0.5,
    parallel_iterations: int = 10,
    seed: Seed | None = None,
    *,
    num_particles: PositiveInt = 1000,
) -> TemperedSamples:
    """Moves particles from the prior to the posterior through prior × likelihoodᵝ, and estimates its integral.

    A stage raises the inverse temperature β as far as the conditional effective sample size of the new weights w,
    n (Σ W w)² / Σ W w² with W the old ones, stays at a given share of n; resamples; and moves every particle by a
    kernel. It ends at β = 1. exp of the log normalising constant is unbiased except for the effect of adaptation.

    ```python
    result = smc.sample_sequential_monte_carlo(model.pin(y=y), num_particles=2000, seed=jax.random.key(0))
    ```

    **Arguments:**

    - `prior_log_prob_fn`: the log density of the prior at one particle; or a pinned joint distribution (or its
      unconstrained density), whose free sites are the prior and whose pinned ones are the likelihood.
    - `likelihood_log_prob_fn`: the log likelihood of one particle. Where it is NaN or +inf it counts as zero.
    - `current_state`: draws of the prior, a pytree with a leading axis of n particles; a tuple, list or namedtuple is
      splatted into the functions. For a model by default drawn from it (`num_particles` of them), else vectors of free
      reals.
    - `min_num_steps`, `max_num_steps`: bounds of the number of moves of a mutation, which starts at the upper one.
    - `max_stage`: the most stages.
    - `make_kernel_fn`: a function from the tempered log density of one particle, the particles and a scaling to a
      `TransitionKernel`. The scaling begins at 2.38 / √d.
    - `tuning_fn`: like `simple_heuristic_tuning`.
    - `make_tempered_target_log_prob_fn`: from prior, likelihood and inverse temperature to the log density.
    - `resample_fn`: such as `resample_systematic`; without one the particles keep weights, and this is annealed
      importance sampling with adaptive temperatures.
    - `ess_threshold_ratio`: the share of n.
    - `parallel_iterations`: ignored.
    - `seed`: a key.

    **Returns:** `TemperedSamples`.

    **Raises:** `ValueError` where a function's value for one particle is not a scalar, where there is nothing to
    sample, and for settings out of range; `TypeError` without likelihood, particles or seed.

    P. Del Moral, A. Doucet and A. Jasra, An adaptive sequential Monte Carlo method for approximate Bayesian
    computation, Statistics and Computing 22 (2012); Y. Zhou, A. Johansen and J. Aston, Toward automatic model
    comparison, JCGS 25 (2016), for the conditional effective sample size; A. Lee and N. Whiteley, Variance estimation
    in the particle filter, Biometrika 105 (2018).
    """
    who = "sample_sequential_monte_carlo"
    seed = as_key(seed, who)
    if min_num_steps > max_num_steps:
        raise ValueError(f"{who}: needs min_num_steps <= max_num_steps, got {min_num_steps} and {max_num_steps}")
    start_key, run_key = jax.random.split(seed)
    density = prior_log_prob_fn
    if isinstance(density, JointDistributionPinned):
        density = density.unconstrained()
    if isinstance(density, UnconstrainedDensity):
        if likelihood_log_prob_fn is not None:
            raise TypeError(f"{who}: a model has its likelihood in it, so likelihood_log_prob_fn must not be given")
        prior_log_prob_fn, likelihood_log_prob_fn = _Terms(density, False), _Terms(density, True)
        if current_state is None:
            current_state = _from_prior(density, start_key, num_particles)
    elif likelihood_log_prob_fn is None or current_state is None:
        raise TypeError(f"{who} needs likelihood_log_prob_fn and current_state, unless it gets a pinned model")
    particles = as_position(current_state, who)
    counts = {x.shape[:1] for x in jtu.tree_leaves(particles)}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(f"{who}: every part of current_state must have the same leading axis of particles")
    if not any(x.size for x in jtu.tree_leaves(particles)):
        raise ValueError(f"{who}: there is nothing to sample: there are no particles, or they have no entries")
    functions = (
        as_callable(prior_log_prob_fn, f"{who}: prior_log_prob_fn"),
        as_callable(likelihood_log_prob_fn, f"{who}: likelihood_log_prob_fn"),
        as_callable(make_kernel_fn, f"{who}: make_kernel_fn"),
        as_callable(tuning_fn, f"{who}: tuning_fn"),
        as_callable(make_tempered_target_log_prob_fn, f"{who}: make_tempered_target_log_prob_fn"),
        None if resample_fn is None else as_callable(resample_fn, f"{who}: resample_fn"),
    )
    result = _run(functions, particles, (min_num_steps, max_num_steps, max_stage), ess_threshold_ratio, run_key)
    if isinstance(density, UnconstrainedDensity):
        result = eqx.tree_at(lambda r: r.particles, result, _constrain(density, result.particles))
    return result


@eqx.filter_jit
def _from_prior(density: UnconstrainedDensity, key: Seed, num: int) -> Array:
    return jax.vmap(prior_draw(density))(jax.random.split(key, num))


@eqx.filter_jit
def _constrain(density: UnconstrainedDensity, x: Array) -> Any:
    return density.constrain(x)


class _Stage(eqx.Module):
    """The loop's carry; the last four have an entry for each stage."""

    stage: Array
    particles: PyTree
    log_likelihoods: Array
    log_weights: Array
    ancestors: Array
    log_z: Array
    accumulated: Array
    variance: Array
    beta: Array
    log_scaling: Array
    steps: Array
    betas: Array
    acceptance: Array
    num_steps: Array
    scalings: Array


@eqx.filter_jit
def _run(functions: Any, particles: PyTree, counts: tuple[int, int, int], ratio: Any, key: Seed) -> TemperedSamples:
    prior, likelihood, make_kernel, tune, temper, resample = functions
    least, most, max_stage = counts
    leaves = jtu.tree_leaves(particles)
    dtype, n = jnp.result_type(*leaves), leaves[0].shape[0]
    dim = sum(x.size // n for x in leaves)

    def log_likelihoods(particles: PyTree) -> Array:
        def one(particle: PyTree) -> Array:
            value = density_at(likelihood, particle, "sample_sequential_monte_carlo")
            if value.shape:
                raise ValueError(
                    "sample_sequential_monte_carlo: the log likelihood of one particle must be a scalar, got shape "
                    f"{value.shape}"
                )
            return value.astype(dtype)

        values = jax.vmap(one)(particles)
        return jnp.where(values < jnp.inf, values, -jnp.inf)

    def body(s: _Stage) -> _Stage:
        resample_key, init_key, move_key = jax.random.split(jax.random.fold_in(key, s.stage), 3)
        beta = next_inverse_temperature(s.log_likelihoods, s.log_weights, s.beta, ratio)
        weights = increments(s.log_likelihoods, beta - s.beta)
        log_weights = s.log_weights + weights
        step = logsumexp(log_weights)
        log_z = s.log_z + step
        log_weights = jnp.where(step > -jnp.inf, log_weights - step, -math.log(n))
        share = 2 * logsumexp(s.log_weights + weights) - logsumexp(s.log_weights + 2 * weights)
        accumulated = s.accumulated + jnp.expm1(-share) / n
        variance = jnp.maximum(accumulated, genealogical_variance(log_weights, s.ancestors, s.stage))
        particles, ancestors = s.particles, s.ancestors
        if resample is not None:
            indices = resample(log_weights, n, (), resample_key)
            particles, ancestors = jtu.tree_map(lambda x: x[indices], (particles, ancestors))
            log_weights = jnp.full_like(log_weights, -math.log(n))

        kernel = make_kernel(temper(prior, likelihood, beta), particles, jnp.exp(s.log_scaling))
        states = jax.vmap(lambda x, k: kernel.init(x, seed=k))(particles, jax.random.split(init_key, n))

        def move(i: Array, carry: Any) -> Any:
            states, accepted, moved = carry
            keys = jax.random.split(jax.random.fold_in(move_key, i), n)
            states, info = jax.vmap(lambda state, k: kernel.step(state, seed=k))(states, keys)
            ratios = jnp.minimum(info.log_accept_ratio, 0).astype(dtype)
            return states, accepted + jnp.exp(ratios), moved + jnp.mean(info.is_accepted.astype(dtype))

        steps = jnp.clip(s.steps, least, most)
        begin = states, jnp.zeros(n, dtype), jnp.zeros((), dtype)
        states, accepted, moved = jax.lax.fori_loop(0, steps, move, begin)
        new_steps, log_scaling = tune(steps, s.log_scaling, jnp.log(accepted / steps))
        return _Stage(
            s.stage + 1,
            states.position,
            log_likelihoods(states.position),
            log_weights,
            ancestors,
            log_z,
            accumulated,
            variance,
            beta,
            jnp.asarray(log_scaling, dtype),
            jnp.asarray(new_steps, s.steps.dtype),
            s.betas.at[s.stage].set(beta),
            s.acceptance.at[s.stage].set(moved / steps),
            s.num_steps.at[s.stage].set(steps),
            s.scalings.at[s.stage].set(jnp.exp(s.log_scaling)),
        )

    zero, nan = jnp.zeros((), dtype), jnp.full(max_stage, jnp.nan, dtype)
    begin = _Stage(
        stage=jnp.zeros((), jnp.int32),
        particles=particles,
        log_likelihoods=log_likelihoods(particles),
        log_weights=jnp.full(n, -math.log(n), dtype),
        ancestors=jnp.arange(n),
        log_z=zero,
        accumulated=zero,
        variance=zero,
        beta=zero,
        log_scaling=jnp.asarray(math.log(2.38 / math.sqrt(dim)), dtype),
        steps=jnp.asarray(most, jnp.int32),
        betas=nan,
        acceptance=nan,
        num_steps=jnp.zeros(max_stage, jnp.int32),
        scalings=nan,
    )
    end = jax.lax.while_loop(lambda s: (s.beta < 1) & (s.stage < max_stage), body, begin)
    return TemperedSamples(
        particles=end.particles,
        log_weights=end.log_weights,
        log_normalizing_constant=end.log_z,
        log_normalizing_constant_variance=end.variance,
        num_stages=end.stage,
        inverse_temperature=end.beta,
        inverse_temperatures=end.betas,
        acceptance=end.acceptance,
        num_steps=end.num_steps,
        scalings=end.scalings,
    )


def increments(log_likelihoods: Float[Array, " n"], rise: Float[Array, ""]) -> Float[Array, " n"]:
    """The change of the log weights when the inverse temperature rises: impossible particles get weight zero."""
    possible = log_likelihoods > -jnp.inf
    return jnp.where(possible, rise * jnp.where(possible, log_likelihoods, 0), -jnp.inf)


def next_inverse_temperature(
    log_likelihoods: Float[Array, " n"], log_weights: Float[Array, " n"], beta: Float[Array, ""], ratio: Any
) -> Float[Array, ""]:
    """The inverse temperature, at most 1, at which the conditional effective sample size is `ratio` times the one
    after an infinitely small rise."""

    def log_size(rise: Array) -> Array:
        weights = increments(log_likelihoods, rise)
        return 2 * logsumexp(log_weights + weights) - logsumexp(log_weights + 2 * weights)

    wanted = jnp.log(ratio) + log_size(jnp.zeros_like(beta))
    room = 1 - beta
    root = find_root_chandrupatla(
        lambda rise: log_size(rise) - wanted, jnp.zeros_like(beta), room, value_tolerance=1e-4
    )
    # The root is NaN where even the whole rise leaves more, or where no particle is possible: then rise to 1 at once.
    rise = jnp.where(log_size(room) < wanted, root.estimated_root, room)
    new = jnp.where(jnp.isfinite(rise) & (rise < room), beta + rise, 1)
    return jnp.maximum(new, jnp.minimum(jnp.nextafter(beta, jnp.ones_like(beta)), 1))


def genealogical_variance(
    log_weights: Float[Array, " n"], ancestors: Int[Array, " n"], resamplings: Int[Array, ""]
) -> Float[Array, ""]:
    """Lee and Whiteley's estimate of the relative variance of a normalising constant.

    1 - (n / (n - 1))ᵏ⁺¹ Σ Wᵢ Wⱼ over pairs with different ancestors in the first of k + 1 generations.
    """
    n = log_weights.shape[0]
    families = jnp.zeros_like(log_weights).at[ancestors].add(jnp.exp(log_weights))
    growth = (resamplings + 1) * -math.log1p(-1 / n) if n > 1 else jnp.inf
    different = 1 - jnp.sum(families**2)
    # 1 - eᵍ d, in a form that does not cancel.
    return -jnp.expm1(growth) * different + (1 - different)
