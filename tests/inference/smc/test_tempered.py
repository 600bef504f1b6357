"""Tempered sequential Monte Carlo against posteriors and constants in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.distributions import Gamma, JointDistributionCoroutine, JointDistributionNamed, Normal
from distrax_like.inference import smc
from distrax_like.inference.smc import _random_walk, _tempered


def prior(x):
    return -0.5 * jnp.sum(x**2) / 25 - math.log(2 * math.pi * 25)


def likelihood(x):
    """Two modes that the prior weights alike, with 3 times as much in one."""
    low, high = (-0.5 * jnp.sum((x - m) ** 2) / 0.25 for m in (-3.0, 3.0))
    return jnp.logaddexp(math.log(0.25) + low, math.log(0.75) + high)


LOG_Z = math.log(2 * math.pi * 0.25) - 9 / 25.25 - math.log(2 * math.pi * 25.25)
RUNS, NUM = 300, 400


def runs(resample_fn=smc.resample_independent):
    # A function of its own for each call, for which nothing is compiled yet: the mutants must be seen.
    def log_likelihood(x):
        return likelihood(x)

    def one(key):
        a, b = jax.random.split(key)
        x = 5 * jax.random.normal(a, (NUM, 2))
        return smc.sample_sequential_monte_carlo(
            prior, log_likelihood, x, max_num_steps=8, max_stage=12, resample_fn=resample_fn, seed=b
        )

    return jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), RUNS))


@pytest.fixture(scope="module")
def result():
    return runs()


def error(log_z):
    z = np.exp(np.asarray(log_z) - LOG_Z)
    return abs(z.mean() - 1) / z.std() * math.sqrt(z.size)


# Five comparisons at 6 standard errors, 1e-8 in all; that leaves room for the bias of the adaptation, of order 1 / NUM.
def test_the_normalizing_constant(result):
    z = np.exp(np.asarray(result.log_normalizing_constant) - LOG_Z)
    assert error(result.log_normalizing_constant) < 6
    estimated = np.mean(result.log_normalizing_constant_variance)
    assert 0.6 < estimated / z.var() < 1.6
    assert 0.03 < z.std() < 0.3


def test_the_modes_have_their_weights(result):
    x = np.asarray(result.particles)
    share = np.mean(x[..., 0] > 0, axis=1)
    assert abs(share.mean() - 0.75) < 6 * share.std() / math.sqrt(RUNS)
    centre, variance = 3 * 25 / 25.25, 0.25 * 25 / 25.25
    right = x[..., 0] > 0
    means = np.sum(x * right[..., None], axis=1) / right.sum(1, keepdims=True)
    assert np.all(np.abs(means.mean(0) - centre) < 6 * means.std(0) / math.sqrt(RUNS))
    squares = np.sum((x - centre) ** 2 * right[..., None], axis=1) / right.sum(1, keepdims=True)
    assert np.all(np.abs(squares.mean(0) - variance) < 6 * squares.std(0) / math.sqrt(RUNS))
    np.testing.assert_allclose(result.log_weights, -math.log(NUM))


def test_the_stages(result):
    betas, stages = np.asarray(result.inverse_temperatures), np.asarray(result.num_stages)
    assert np.all(result.inverse_temperature == 1)
    for beta, n, moves, accept in zip(betas, stages, np.asarray(result.num_steps), np.asarray(result.acceptance)):
        assert beta[n - 1] == 1 and np.all(np.diff(beta[:n]) > 0) and np.all(np.isnan(beta[n:]))
        assert moves[0] == 8 and np.all((moves[:n] >= 2) & (moves[:n] <= 8)) and np.all(moves[n:] == 0)
        assert np.all((accept[:n] > 0.02) & (accept[:n] < 0.9))


def _too_far(log_likelihoods, rise):
    return 0.97 * rise * log_likelihoods


def _no_correction(kernel, state, *, seed):
    x = state.position + kernel.step_size * kernel.factor @ jax.random.normal(seed, state.position.shape)
    _, info = STEP(kernel, state, seed=seed)
    return kernel.init(x), info


STEP = _random_walk.CloudRandomWalk.step


@pytest.mark.parametrize("mutant", ["weights", "kernel"])
def test_broken_ones_are_seen(monkeypatch, mutant):
    if mutant == "weights":
        monkeypatch.setattr(_tempered, "increments", _too_far)
    else:
        monkeypatch.setattr(_random_walk.CloudRandomWalk, "step", _no_correction)
    assert error(runs(smc.resample_systematic).log_normalizing_constant) > 6


def test_next_temperature():
    x = jnp.linspace(-3.0, 0.0, 50) ** 3
    w = jax.nn.log_softmax(jnp.sin(jnp.arange(50.0)))
    x, w = x.at[::5].set(-jnp.inf), w.at[3].set(-jnp.inf)
    temperature = jax.jit(_tempered.next_inverse_temperature)
    beta = float(temperature(x, w, jnp.array(0.01), 0.5))
    assert 0.01 < beta < 1
    inc, p = np.exp((beta - 0.01) * np.asarray(x)), np.exp(np.asarray(w))
    possible = np.isfinite(x)
    assert (p @ inc) ** 2 / (p @ inc**2) == pytest.approx(0.5 * p[possible].sum(), rel=1e-3)
    assert temperature(1e-3 * x, w, jnp.array(0.5), 0.5) == 1
    assert temperature(jnp.full(50, -jnp.inf), w, jnp.array(0.5), 0.5) == 1
    tiny = temperature(1e30 * x, w, jnp.array(0.5), 0.5)
    assert 0.5 < tiny < 0.5 + 1e-9


Y = np.array([0.5, -1.0, 2.0, 0.3])


def model():
    rate = yield "rate", Gamma(2.0, 3.0)
    yield "y", Normal(jnp.zeros(4), 1 / jnp.sqrt(rate))


def test_a_model():
    """A conjugate one: the posterior of the precision is a gamma distribution."""
    pinned = JointDistributionCoroutine(model).pin(y=Y)
    shape, rate = 2 + 2, 3 + np.sum(Y**2) / 2
    exact = math.lgamma(shape) + 2 * math.log(3) - shape * math.log(rate) - 2 * math.log(2 * math.pi)
    for make in (smc.make_rwmh_kernel_fn, smc.gen_make_hmc_kernel_fn(3)):
        result = smc.sample_sequential_monte_carlo(
            pinned,
            make_kernel_fn=make,
            num_particles=5_000,
            max_stage=5,
            ess_threshold_ratio=0.9,
            seed=jax.random.key(0),
        )
        x = np.asarray(result.particles.rate)
        assert x.shape == (5_000,) and np.all(x > 0)
        deviation = math.sqrt(result.log_normalizing_constant_variance)
        assert 0.002 < deviation < 0.06
        assert abs(result.log_normalizing_constant - exact) < 6 * deviation
        # The particles' means deviate by about as much as those of independent draws do; twice that is left for more.
        assert abs(x.mean() - shape / rate) < 12 * math.sqrt(shape) / rate / math.sqrt(5_000)
        assert abs(x.var() * rate**2 / shape - 1) < 12 * math.sqrt((2 + 6 / shape) / 5_000)


def test_without_resampling_it_is_importance_sampling():
    x = jax.random.normal(jax.random.key(0), (500, 1))
    result = smc.sample_sequential_monte_carlo(
        lambda x: -0.5 * jnp.sum(x**2), lambda x: 0.1 * jnp.sum(x), x, resample_fn=None, seed=jax.random.key(1)
    )
    w = np.exp(0.1 * np.asarray(x)[:, 0])
    assert result.num_stages == 1
    np.testing.assert_allclose(result.log_normalizing_constant, np.log(w.mean()), rtol=1e-9)
    np.testing.assert_allclose(jnp.exp(result.log_weights), w / w.sum(), rtol=1e-9)
    # The variance of a mean weight, relative to its square.
    expected = np.var(w, ddof=1) / 500 / w.mean() ** 2
    np.testing.assert_allclose(result.log_normalizing_constant_variance, expected, rtol=0.01)


def test_parts_impossible_particles_and_the_last_stage():
    def outside(a, b):
        return jnp.where(a > 0, -1e4 * (a - jnp.sum(b)) ** 2, jnp.nan)

    x = (jax.random.normal(jax.random.key(0), (300,)), jax.random.normal(jax.random.key(1), (300, 2)))
    result = smc.sample_sequential_monte_carlo(
        lambda a, b: -0.5 * (a**2 + jnp.sum(b**2)), outside, x, max_stage=2, max_num_steps=3, seed=jax.random.key(2)
    )
    assert isinstance(result.particles, tuple) and result.particles[1].shape == (300, 2)
    assert np.all(np.asarray(result.particles[0]) > 0) and np.all(np.isfinite(result.particles[1]))
    assert result.num_stages == 2 and 0 < result.inverse_temperature < 1


def test_tuning():
    steps, scaling = smc.simple_heuristic_tuning(jnp.array(5), jnp.array(0.3), jnp.log(jnp.array([0.1, 0.3])))
    assert steps == math.ceil(math.log(0.01) / math.log(0.8))
    assert scaling == pytest.approx(0.3 + 0.2 - 0.234)


def test_errors():
    run, x, key = smc.sample_sequential_monte_carlo, jnp.zeros((5, 2)), jax.random.key(0)
    with pytest.raises(TypeError, match="needs a seed"):
        run(prior, likelihood, x)
    with pytest.raises(TypeError, match="unless it gets a pinned model"):
        run(prior, likelihood, seed=key)
    with pytest.raises(ValueError, match=r"one particle must be a scalar, got shape \(2,\)"):
        run(prior, lambda x: x, x, seed=key)
    with pytest.raises(ValueError, match="min_num_steps <= max_num_steps, got 3 and 2"):
        run(prior, likelihood, x, 3, 2, seed=key)
    with pytest.raises(ValueError, match="ess_threshold_ratio must be greater than 0 and less than 1, got 1.5"):
        run(prior, likelihood, x, ess_threshold_ratio=1.5, seed=key)
    with pytest.raises(ValueError, match="the same leading axis of particles"):
        run(prior, likelihood, (x, jnp.zeros(4)), seed=key)


def test_nothing_to_sample():
    pinned = JointDistributionNamed({"a": Normal(0.0, 1.0)}).pin(a=0.0)
    total = lambda x: jnp.sum(x)
    cases = [(pinned,), (total, total, jnp.zeros((5, 0))), (total, total, jnp.zeros((0, 2)))]
    for args in cases:
        with pytest.raises(ValueError, match="sample_sequential_monte_carlo: there is nothing to sample"):
            smc.sample_sequential_monte_carlo(*args, seed=jax.random.key(0))
