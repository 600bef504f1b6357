"""Simulation-based calibration, tests of uniform ranks, and posterior predictive checks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from distrax_like import distributions as tfd
from distrax_like.inference import mcmc, stats


def model():
    mean = yield "mean", tfd.Normal(0.0, 1.0)
    yield "flag", tfd.Bernoulli(probs=0.3)
    yield "y", tfd.Sample(tfd.Normal(mean, 1.0), 4)


JOINT = tfd.JointDistributionCoroutine(model)


def draw(scale, observed, key):
    a, b = jax.random.split(key)
    mean = jnp.sum(observed["y"]) / 5 + scale * jnp.sqrt(0.2) * jax.random.normal(a, (40, 2))
    return {"mean": mean, "flag": jax.random.bernoulli(b, 0.3, (40, 2)).astype(jnp.int32)}


def sampler(scale):
    """Exact draws of the posterior where `scale` is 1; 40 draws of 2 chains."""
    return jax.tree_util.Partial(draw, jnp.asarray(scale))


def test_ranks_of_exact_draws_are_uniform_and_those_of_narrow_ones_are_not():
    run = lambda scale: stats.simulation_based_calibration(
        JOINT, "y", sampler(scale), 300, seed=jax.random.key(1), thin=2, batch_size=100
    )
    good, bad = run(1.0), run(0.6)
    assert good.num_draws == 40 and set(good.ranks) == {"mean", "flag"}
    ranks = np.asarray(good.ranks["mean"])
    assert ranks.shape == (300,) and ranks.min() >= 0 and ranks.max() <= 40
    for p in good.p_values().values():
        assert p > 1e-6
    assert bad.p_values()["mean"] < 1e-6 < bad.p_values()["flag"]
    assert good.ecdf_bands(1 - 1e-6)["mean"].inside and not bad.ecdf_bands(1 - 1e-6)["mean"].inside


def test_the_whole_of_sample_is_calibrated_and_sees_a_wrong_posterior():
    def model():
        loc = yield "loc", tfd.Normal(0.0, 1.0)
        scale = yield "scale", tfd.LogNormal(0.0, 0.5)
        yield "y", tfd.Sample(tfd.Normal(loc, scale), 6)

    joint = tfd.JointDistributionCoroutine(model)

    def run(factor, num):
        def draw(observed, key):
            pinned = joint.pin(y=factor * observed["y"])
            return mcmc.sample(pinned, num_samples=10, thin=4, num_warmup=100, num_chains=4, seed=key).draws

        return stats.simulation_based_calibration(joint, "y", draw, num, seed=jax.random.key(2), traced=False)

    good = run(1.0, 80)
    assert good.num_draws == 40 and good.ranks["loc"].shape == (80,)
    assert all(p > 1e-6 for p in good.p_values().values())
    assert run(2.0, 40).p_values()["scale"] < 1e-6


def test_calibration_checks_its_arguments():
    with pytest.raises(ValueError, match="no site 'z'"):
        stats.simulation_based_calibration(JOINT, "z", sampler(1.0), 10, seed=jax.random.key(0))
    with pytest.raises(ValueError, match="must have the shape"):
        stats.simulation_based_calibration(JOINT, "y", lambda o, k: {"mean": 1.0}, 10, seed=jax.random.key(0))
    with pytest.raises(ValueError, match="thin"):
        stats.simulation_based_calibration(JOINT, "y", sampler(1.0), 10, seed=jax.random.key(0), thin=0)


def test_p_values_and_bands_by_counting_all_samples():
    # All 4^5 samples of 5 ranks out of 4.
    samples = np.array(list(itertools.product(range(4), repeat=5))).T
    p = np.asarray(stats.uniformity_p_value(samples, 4))
    tails = []
    for r in range(3):
        k = np.sum(samples <= r, 0)
        dist = scipy.stats.binom(5, (r + 1) / 4)
        tails.append(2 * np.minimum(dist.cdf(k), dist.sf(k - 1)))
    smallest = np.min(tails, 0)
    expected = np.array([np.mean(smallest <= s * (1 + 1e-9)) for s in smallest])
    np.testing.assert_allclose(p, expected, rtol=1e-9, atol=1e-12)
    for prob in (0.5, 0.8, 0.95):
        bands = stats.ecdf_bands(samples, 4, prob)
        inside = np.asarray(bands.inside)
        assert inside.mean() >= prob - 1e-9
        # The next level that there is would leave too many outside.
        level = smallest[inside].min()
        assert np.mean(smallest > level * (1 + 1e-9)) < prob
        np.testing.assert_allclose(bands.ecdf, [np.mean(samples <= r, 0) for r in range(3)])
    assert bands.points.tolist() == [0.25, 0.5, 0.75]


def test_bands_cover_as_often_as_they_say():
    ranks = np.random.default_rng(0).integers(0, 51, (200, 20_000))
    bands = stats.ecdf_bands(ranks, 51, 0.9)
    share = float(np.mean(bands.inside))
    # 4.9 standard deviations of a share of 20000; at most 2 % above, since counts are whole.
    assert 0.9 - 4.9 * np.sqrt(0.09 / 20_000) < share < 0.92 + 4.9 * np.sqrt(0.09 / 20_000)
    with pytest.raises(ValueError, match="from 0 to 9"):
        stats.ecdf_bands(ranks, 10)


def test_posterior_predictive_check():
    y = jnp.array([1.0, 2.0, 0.0, 9.0])
    pinned = JOINT.pin(y=y)
    noise = np.random.default_rng(0).standard_normal((1000, 2))
    draws = {"mean": 2.4 + np.sqrt(0.2) * noise, "flag": np.zeros((1000, 2), int)}
    out = stats.posterior_predictive_check(
        pinned, draws, lambda data: {"mean": jnp.mean(data["y"]), "y": data["y"]}, seed=jax.random.key(0)
    )
    assert out.replicated["y"].shape == (1000, 2, 4) and out.observed["mean"] == 3
    # New means are normal about 2.4 with variance 0.2 + 1 / 4, new data with variance 1.2.
    at_y, at_mean = scipy.stats.norm.sf(y, 2.4, np.sqrt(1.2)), scipy.stats.norm.sf(3, 2.4, np.sqrt(0.45))
    tails = out.tail_probabilities
    slack = lambda p: 4.9 * np.sqrt(p * (1 - p) / 2000) + 1e-3
    assert abs(tails["mean"] - at_mean) < slack(at_mean) and (np.abs(tails["y"] - at_y) < slack(at_y)).all()
    with pytest.raises(ValueError, match="not pinned"):
        stats.posterior_predictive_check(pinned, draws, jnp.sum, seed=jax.random.key(0), observed=["mean"])
