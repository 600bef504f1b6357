"""Posteriors that samplers get wrong without a word: heavy tails, valleys, funnels, local modes, impossible starts.

Each has an exact marginal. With its defaults `sample` is right, or says that it is not.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as ss

from distrax_like.inference import mcmc, stats

KEY = jax.random.key(0)
PROBABILITIES = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])


def half_cauchy(z):
    """Two observations of a normal with an unknown mean, and a scale with a half-Cauchy prior."""
    mu, log_scale = z
    y = jnp.array([-1.0, 1.5])
    scale = jnp.exp(log_scale)
    likelihood = -jnp.sum(((y - mu) / scale) ** 2) / 2 - 2 * log_scale
    return likelihood - (mu / 1000) ** 2 / 2 - jnp.log1p((scale / 5) ** 2) + log_scale


def half_cauchy_quantiles(p):
    """Of the logarithm of the scale: the mean integrates out in closed form."""
    log_scale = np.linspace(-8, 18, 200_001)
    variance, between = np.exp(2 * log_scale), 1000**2 + np.exp(2 * log_scale) / 2
    log = -log_scale - 3.125 / 2 / variance - 0.5 * np.log(between) - 0.25**2 / 2 / between
    log += -np.log1p(variance / 25) + log_scale
    mass = np.exp(log - log.max())
    cumulative = np.cumsum(mass) - mass / 2
    return np.interp(p, cumulative / np.sum(mass), log_scale)


def student_t(x):
    """Two degrees of freedom in five dimensions."""
    return -3.5 * jnp.log1p(jnp.sum(x**2) / 2)


def rosenbrock(z):
    """Its valley is a parabola: z[0] is normal, and z[1] is normal around the square of it."""
    return -((1 - z[0]) ** 2) - 100 * (z[1] - z[0] ** 2) ** 2


def rosenbrock_quantiles(p):
    nodes = np.linspace(-8, 8, 801)
    x = 1 + np.sqrt(0.5) * nodes
    y = np.linspace(-1, 60, 6101)
    weights = ss.norm.pdf(nodes) * (nodes[1] - nodes[0])
    cdf = np.zeros_like(y)
    for a, w in zip(x, weights):
        cdf += w * ss.norm.cdf(y, a**2, 0.1 / np.sqrt(2))
    return np.interp(p, cdf, y)


def funnel(z):
    """Neal's: z[0] has a standard deviation of 3, and is the log variance of nine others."""
    return -(z[0] ** 2) / 18 - jnp.sum(z[1:] ** 2) * jnp.exp(-z[0]) / 2 - 4.5 * z[0]


def two_modes(z):
    """A standard normal in four dimensions, and a mode of e⁻⁴⁰ times its mass at a distance of 30."""
    return jnp.logaddexp(-jnp.sum(z**2) / 2, -40 - jnp.sum((z - 15) ** 2) / 2)


def cliff(z):
    """A standard normal, but for a region of log densities of -1e50 and less, from which no step leads out."""
    return -jnp.sum(z**2) / 2 - jnp.where(z[0] > 8, 1e50 * (1 + (z[0] - 8) ** 2), 0.0)


def run(target, dim, num_samples, spread=2.0):
    def start(key):
        return jax.random.uniform(key, (dim,), minval=-spread, maxval=spread)

    return mcmc.sample(target, start, num_samples=num_samples, seed=KEY)


def acceptance(samples):
    return np.mean(samples.sample_stats["acceptance_rate"])


def scores(draws, quantiles):
    """By how many standard errors the share of draws below each quantile is off."""
    below = draws[..., None] < quantiles
    size = np.maximum(np.asarray(stats.ess(below.astype(float))), 1)
    p = PROBABILITIES
    return (np.mean(below, (0, 1)) - p) / np.sqrt(p * (1 - p) / size)


def test_heavy_tails():
    # Seven quantiles each: 5.5 standard errors are passed by chance with a probability below 1e-6.
    samples = run(half_cauchy, 2, 10_000)
    assert np.all(np.abs(scores(samples.draws[..., 1], half_cauchy_quantiles(PROBABILITIES))) < 5.5)
    # The target acceptance is raised where the steps that suit the bulk are rejected in the tail.
    assert 0.87 < acceptance(samples) < 0.96
    samples = run(student_t, 5, 5_000)
    assert np.all(np.abs(scores(samples.draws[..., 0], ss.t(2).ppf(PROBABILITIES))) < 5.5)
    assert 0.85 < acceptance(samples) < 0.96


@pytest.mark.parametrize(
    "target, dim, index, quantiles",
    [(rosenbrock, 2, 1, rosenbrock_quantiles), (funnel, 10, 0, lambda p: ss.norm(0, 3).ppf(p))],
    ids=["rosenbrock", "funnel"],
)
def test_valleys_are_right_or_loud(target, dim, index, quantiles):
    with pytest.warns(mcmc.SamplingWarning, match="effective sample size is below .* diverged"):
        samples = run(target, dim, 2000)
    assert len(samples.warnings) >= 2 and str(samples.summary()).endswith(samples.warnings[-1])
    # The median is right all the same.
    assert np.abs(scores(samples.draws[..., index], quantiles(PROBABILITIES))[3]) < 5.5


def test_a_chain_in_a_local_mode_starts_afresh():
    with pytest.warns(mcmc.SamplingWarning, match="stuck during the warm-up, far below the others in log density"):
        samples = run(two_modes, 4, 1000, spread=15.0)
    assert np.all(np.abs(scores(samples.draws[..., 0], ss.norm.ppf(PROBABILITIES))) < 5.5)
    assert np.max(stats.rhat(samples.draws)) < 1.02


@pytest.mark.parametrize("bad", [1, 3])
def test_impossible_starts(bad):
    # Given starts, of which some are where no step is accepted that a step size for all chains would allow.
    start = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])
    start[:bad, 0] = [8.5, 9.0, 12.0][:bad]
    samples = mcmc.sample(cliff, jnp.asarray(start), num_samples=1000, num_warmup=500, seed=KEY)
    assert np.all(np.abs(scores(samples.draws[..., 0], ss.norm.ppf(PROBABILITIES))) < 5.5)
    assert np.max(stats.rhat(samples.draws)) < 1.02


def test_starts_of_vanishing_density():
    """A moving average whose errors explode where its coefficient is above one, as in half of the starts."""
    noise = 0.15 * np.random.default_rng(0).normal(size=200)
    y = np.zeros(200)
    for t in range(1, 200):
        y[t] = 0.3 + 0.7 * y[t - 1] + 0.2 * noise[t - 1] + noise[t]
    pairs = jnp.asarray(y[:-1]), jnp.asarray(y[1:])

    def arma(v):
        mu, phi, theta, log_scale = v

        def step(error, pair):
            error = pair[1] - mu - phi * pair[0] - theta * error
            return error, error

        first = y[0] - mu - phi * mu
        errors = jnp.append(jax.lax.scan(step, first, pairs)[1], first) * jnp.exp(-log_scale)
        prior = -((mu / 10) ** 2 + (phi / 2) ** 2 + (theta / 2) ** 2) / 2 - jnp.log1p((jnp.exp(log_scale) / 2.5) ** 2)
        return prior + log_scale - jnp.sum(errors**2) / 2 - 200 * log_scale

    samples = run(arma, 4, 300)
    assert np.min(samples.sample_stats["lp"].mean(0)) > 270 and np.max(stats.rhat(samples.draws)) < 1.05
    assert np.all(np.abs(samples.draws.mean((0, 1))[1:3] - [0.7, 0.2]) < 0.15)


def test_a_run_without_trouble_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = run(lambda x: -jnp.sum(x**2) / 2, 25, 1000)
    assert samples.warnings == () and 0.77 < acceptance(samples) < 0.87
