"""Annealed importance sampling against constants in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _annealed
from distrax_like.inference.mcmc._annealed import sample_annealed_importance_chain

SCALES = jnp.array([0.5, 2.0, 0.3])
LOG_Z = float(jnp.sum(jnp.log(SCALES)) + 1.5 * math.log(2 * math.pi))
NUM = 20_000


def proposal(a, b):
    return -0.5 * (a**2 + jnp.sum(b**2, -1)) - 1.5 * math.log(2 * math.pi)


def target(a, b):
    return -0.5 * (((a - 1) / SCALES[0]) ** 2 + jnp.sum((b / SCALES[1:]) ** 2, -1))


def make(log_prob):
    return mcmc.HamiltonianMonteCarlo(log_prob, 0.4, 2)


def run(shape=(NUM,)):
    keys = jax.random.split(jax.random.key(0))
    start = [jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (*shape, 2))]
    return sample_annealed_importance_chain(15, proposal, target, start, make, seed=jax.random.key(2))


def error(weights):
    """Of the mean weight, in standard errors."""
    w = np.exp(np.asarray(weights) - LOG_Z)
    return (w.mean() - 1) / (w.std() / math.sqrt(w.size))


# Five comparisons in all, each at 5.5 standard errors: a false-alarm rate of 2e-7.
def test_a_gaussian():
    state, weights, results = run()
    assert isinstance(state, list) and state[1].shape == (NUM, 2) and weights.shape == (NUM,)
    w = np.exp(np.asarray(weights) - LOG_Z)
    assert 0.2 < w.std() < 3
    assert abs(error(weights)) < 5.5
    # Weighted, the final positions are draws of the target.
    for value, expected in ((state[0], 1.0), (state[0] ** 2, 1.25), (state[1][:, 0] ** 2, 4.0)):
        terms = w * (np.asarray(value) - expected)
        assert abs(terms.mean()) < 5.5 * terms.std() / math.sqrt(NUM)
    np.testing.assert_allclose(results.target_log_prob, target(*state), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(results.proposal_log_prob, proposal(*state), rtol=1e-10)
    assert results.inner_results.is_accepted.shape == (NUM,) and np.mean(results.inner_results.is_accepted) > 0.5


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_shifted_schedule_does_not(monkeypatch, shift):
    class Mutant(_annealed.AnnealedTarget):
        def __call__(self, *position):
            fraction = self.fraction + shift / 15
            return (1 - fraction) * self.proposal_log_prob_fn(*position) + fraction * self.target_log_prob_fn(*position)

    monkeypatch.setattr(_annealed, "AnnealedTarget", Mutant)
    jax.clear_caches()
    assert abs(error(run()[1])) > 5.5
    jax.clear_caches()


def test_shapes_of_chains():
    state, weights, _ = run((2, 3))
    assert state[0].shape == (2, 3) and weights.shape == (2, 3)
    one = run(())
    assert one.ais_weights.shape == ()
    assert np.isfinite(one.ais_weights)


def test_outside_the_support():
    def positive(x):
        return jnp.where(x > 0, -x, -jnp.inf)

    def normal(x):
        return -0.5 * x**2

    x = jnp.array([-1.0, 0.5, 2.0])
    state, weights, _ = sample_annealed_importance_chain(5, normal, positive, x, make, seed=jax.random.key(2))
    assert weights[0] == -jnp.inf and np.all(np.isfinite(weights[1:])) and np.all(np.isfinite(state))
    assert np.all(np.asarray(state[1:]) > 0)


def test_errors():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        sample_annealed_importance_chain(0, proposal, target, [0.0, jnp.zeros(2)], make, seed=jax.random.key(0))
    with pytest.raises(TypeError, match="needs a seed"):
        sample_annealed_importance_chain(1, proposal, target, [0.0, jnp.zeros(2)], make)
    with pytest.raises(ValueError, match=r"state part \[0\] has shape \(\)"):
        start = [0.0, jnp.zeros((3, 2))]
        sample_annealed_importance_chain(1, proposal, target, start, make, seed=jax.random.key(0))
    with pytest.raises(ValueError, match=r"must be a?\s?scalars?, got shape \(3,\)"):
        means = jnp.arange(3.0)
        fns = lambda x: -0.5 * x**2, lambda x: -0.5 * (x - means) ** 2
        sample_annealed_importance_chain(1, *fns, jnp.zeros(3), make, seed=jax.random.key(0))
