"""The particle filter against exact filters, its normalising constant, and its gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.distributions import Categorical, HiddenMarkovModel, Normal
from distrax_like.inference import mcmc, smc
from distrax_like.inference.smc import _particle_filter

A, Q, R = 0.9, 0.7, 0.5
Y = np.array([0.3, 1.2, -0.4, 2.0, 1.1])


def kalman(y, every=1, a=A):
    """Log likelihood, filtered means, and smoothed means, of the AR(1) with noise, by the joint Gaussian."""
    steps = (len(y) - 1) * every + 1
    loading = np.tril(a ** np.maximum(np.subtract.outer(np.arange(steps), np.arange(steps)), 0))
    state = loading @ np.diag([1.0] + [Q**2] * (steps - 1)) @ loading.T
    mean, variance, log_z, filtered = 0.0, 1.0, 0.0, []
    for t in range(steps):
        if t:
            mean, variance = a * mean, a**2 * variance + Q**2
        if t % every == 0:
            total = variance + R**2
            log_z -= 0.5 * (math.log(2 * math.pi * total) + (y[t // every] - mean) ** 2 / total)
            gain = variance / total
            mean, variance = mean + gain * (y[t // every] - mean), (1 - gain) * variance
        filtered.append(mean)
    seen = np.arange(steps) % every == 0
    smoothed = state[:, seen] @ np.linalg.solve(state[np.ix_(seen, seen)] + R**2 * np.eye(seen.sum()), y)
    return log_z, np.array(filtered), smoothed


def transition(t, x, a=A):
    return Normal(a * x, Q)


def observation(t, x):
    return Normal(x, R)


def proposal(t, x):
    """The best one: the transition given the next observation."""
    gain = Q**2 / (Q**2 + R**2)
    return Normal(A * x + gain * (jnp.asarray(Y)[t + 1] - A * x), math.sqrt(1 - gain) * Q)


RUNS, NUM = 2000, 40
# About 60 comparisons, each at 6 standard errors: a false-alarm rate of 2e-7 in all.
BOUND = 6.0


def many(**options):
    """Over many runs: estimates of the marginal likelihood, and with their weights those of the filtered means."""

    def one(key):
        out = smc.particle_filter(Y, Normal(0.0, 1.0), transition, observation, NUM, seed=key, **options)
        log_z = jnp.cumsum(out.incremental_log_marginal_likelihoods)
        return log_z, jnp.sum(jnp.exp(out.log_weights) * out.particles, axis=1)

    return [np.asarray(x) for x in jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), RUNS))]


def errors(log_z, means, every=1):
    exact, filtered, _ = kalman(Y, every)
    z = np.exp(log_z[:, -1] - exact)
    # The mean times the estimate of the likelihood is unbiased at every step.
    terms = np.exp(log_z - log_z.mean(0)) * (means - filtered)
    out = np.append(terms.mean(0) / terms.std(0), (z.mean() - 1) / z.std()) * math.sqrt(RUNS)
    return np.abs(out)


CASES = {
    "bootstrap": {},
    "proposal": {"proposal_fn": proposal, "initial_state_proposal": Normal(0.5, 1.2)},
    "steps": {
        "num_transitions_per_observation": 2,
        "resample_criterion_fn": None,
        "resample_fn": smc.resample_residual,
    },
    "rejuvenation": {"rejuvenation_kernel_fn": lambda f: mcmc.HamiltonianMonteCarlo(f, 0.8, 2)},
}


@pytest.mark.parametrize("name", CASES)
def test_a_linear_gaussian_model(name):
    log_z, means = many(**CASES[name])
    assert np.max(errors(log_z, means, 2 if name == "steps" else 1)) < BOUND
    if name == "proposal":
        assert np.std(log_z[:, -1]) < 0.3


def test_weights_that_forget_the_proposal_are_seen(monkeypatch):
    monkeypatch.setattr(
        _particle_filter,
        "_density",
        lambda d, x, what: jnp.asarray(d.log_prob(x)) * (what != "a proposed state"),
    )
    assert np.max(errors(*many(**CASES["proposal"]))) > BOUND


def test_flattened_resampling_is_seen():
    def flattened(log_probs, size, shape, seed):
        return smc.resample_systematic(0.8 * log_probs, size, shape, seed)

    assert np.max(errors(*many(resample_criterion_fn=None, resample_fn=flattened))) > BOUND


def test_trajectories():
    def one(key):
        out = smc.infer_trajectories(Y, Normal(0.0, 1.0), transition, observation, 200, seed=key)
        return jnp.mean(out.trajectories, axis=1), jnp.sum(out.incremental_log_marginal_likelihoods)

    means, log_z = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), RUNS))
    exact, _, smoothed = kalman(Y)
    w = np.exp(np.asarray(log_z) - exact)[:, None]
    terms = w * (np.asarray(means) - smoothed)
    assert np.max(np.abs(terms.mean(0) / terms.std(0))) * math.sqrt(RUNS) < BOUND
    assert np.max(np.abs(smoothed - kalman(Y)[1])) > 0.1


def test_reconstruction_by_hand():
    particles = {"x": jnp.arange(9.0).reshape(3, 3)}
    parents = jnp.array([[0, 1, 2], [2, 0, 0], [1, 1, 0]])
    paths = smc.reconstruct_trajectories(particles, parents)["x"]
    np.testing.assert_array_equal(paths, [[0, 0, 2], [4, 4, 3], [6, 7, 8]])


def test_a_hidden_markov_model():
    rows, means = jnp.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.4, 0.6]]), jnp.array([-1.0, 0.5, 2.0])
    model = HiddenMarkovModel(Categorical(probs=[0.5, 0.3, 0.2]), Categorical(probs=rows), Normal(means, 0.8), 5)

    def one(key):
        return smc.particle_filter(
            Y,
            model.initial_distribution,
            lambda t, x: Categorical(probs=rows[x]),
            lambda t, x: Normal(means[x], 0.8),
            30,
            trace_fn=lambda s, r: r.accumulated_log_marginal_likelihood,
            trace_criterion_fn=None,
            seed=key,
        )

    log_z = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), RUNS))
    z = np.exp(np.asarray(log_z) - float(jax.jit(lambda y: model.log_prob(y))(Y)))
    assert log_z.shape == (RUNS,) and 0.05 < z.std() < 1
    assert abs(z.mean() - 1) < BOUND * z.std() / math.sqrt(RUNS)


@pytest.mark.parametrize("unbiased", [True, False])
def test_gradients(unbiased):
    """Unbiased ones average, with the weights of the estimates, to the derivative of the likelihood."""

    def log_z(a, key):
        out = smc.particle_filter(
            Y,
            Normal(0.0, 1.0),
            # Not reparametrised: only the weights depend on a.
            lambda t, x: Normal(a * x, Q),
            observation,
            20,
            proposal_fn=lambda t, x: Normal(0.5 * jax.lax.stop_gradient(x), 1.0),
            resample_criterion_fn=None,
            resample_fn=smc.resample_independent,
            unbiased_gradients=unbiased,
            seed=key,
        )
        return jnp.sum(out.incremental_log_marginal_likelihoods)

    run = jax.jit(jax.vmap(jax.value_and_grad(log_z), in_axes=(None, 0)))
    value, grad = run(A, jax.random.split(jax.random.key(2), 10 * RUNS))
    exact = (kalman(Y, a=A + 1e-5)[0] - kalman(Y, a=A - 1e-5)[0]) / 2e-5
    terms = np.exp(np.asarray(value) - kalman(Y)[0]) * np.asarray(grad) - exact
    error = abs(terms.mean() / terms.std()) * math.sqrt(terms.size)
    assert error < BOUND if unbiased else error > BOUND


def test_a_criterion_of_ones_own():
    def run(**options):
        return smc.particle_filter(
            {"y": Y}, Normal(0.0, 1.0), transition, lambda t, x: Joint(x), 8, seed=jax.random.key(0), **options
        )

    class Joint:
        def __init__(self, x):
            self.x = x

        def log_prob(self, value):
            return observation(0, self.x).log_prob(value["y"])

    def both():
        return run(), run(trace_criterion_fn=lambda s, r: r.steps % 2 == 0, static_trace_allocation_size=4)

    every, some = jax.jit(both)()
    np.testing.assert_array_equal(some.particles[:3], every.particles[::2])
    assert np.all(some.particles[3] == 0)


def test_no_particle_is_possible():
    y = jnp.array([0.0, 1e200, 0.0])
    prior = Normal(0.0, 1.0)
    out = jax.jit(lambda: smc.particle_filter(y, prior, transition, observation, 8, seed=jax.random.key(0)))()
    assert out.incremental_log_marginal_likelihoods[1] == -jnp.inf
    assert np.all(np.isfinite(out.particles)) and np.all(np.isfinite(out.log_weights))


def test_errors():
    with pytest.raises(ValueError, match="the log density of an observation must be a scalar"):
        smc.particle_filter(
            Y, Normal(0.0, 1.0), transition, lambda t, x: Normal(x + jnp.zeros(2), 1.0), 8, seed=jax.random.key(0)
        )
    with pytest.raises(TypeError, match="particle_filter needs a seed"):
        smc.particle_filter(Y, Normal(0.0, 1.0), transition, observation, 8)
