"""Smoothed importance weights and cross-validation, beside ArviZ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from distrax_like.inference import stats

# Log likelihoods of 8 observations, from light tails to such as have no mean.
LOGP = np.random.default_rng(0).standard_normal((250, 2, 8)) * np.linspace(0.1, 3, 8) - 1

# By arviz-stats 1.3.3: k and the largest log weight for r_eff 0.8, and of each observation elpd, p and k for r_eff 1.
ARVIZ = {
    "k": [
        -0.00126688921616,
        0.275195983867,
        0.229135350014,
        0.366418017079,
        0.61353559588,
        0.722545133767,
        1.00859382805,
        0.993051861108,
    ],
    "largest": [
        -5.93997390097,
        -4.82932992221,
        -3.80078378002,
        -3.13681733494,
        -2.70248080857,
        -1.86158001653,
        -1.0908020336,
        -1.11063284387,
    ],
    "elpd": [
        -1.00158473866,
        -1.15454672292,
        -1.43339892322,
        -1.80968380958,
        -2.64928299109,
        -3.09034705845,
        -4.78007413968,
        -4.89571240254,
    ],
    "p": [
        0.00873580627733,
        0.239416198658,
        0.814636226606,
        1.89966348924,
        3.04861590428,
        4.24381838801,
        6.91105296092,
        7.80418965264,
    ],
    "pareto_k": [
        0.186133095972,
        0.304184878686,
        0.274351153086,
        0.378212539596,
        0.613335951822,
        0.706231791208,
        1.07109891659,
        1.03573139209,
    ],
}


def test_psis_agrees_with_arviz():
    weights, k = stats.psis(-LOGP, 0.8)
    np.testing.assert_allclose(k, ARVIZ["k"], rtol=1e-9)
    np.testing.assert_allclose(weights.max((0, 1)), ARVIZ["largest"], rtol=1e-9)
    np.testing.assert_allclose(scipy.special.logsumexp(weights, (0, 1)), 0, atol=1e-12)
    # Below the tail the ratios keep their differences, and the order is kept everywhere.
    order = np.argsort(-LOGP[..., 3].ravel())
    smooth = np.asarray(weights[..., 3]).ravel()[order]
    assert (np.diff(smooth) >= 0).all()
    np.testing.assert_allclose(np.diff(smooth[:400]), np.diff(-LOGP[..., 3].ravel()[order][:400]), rtol=1e-9)
    # Other axes, a traced efficiency and single precision with an offset.
    moved, k_moved = jax.jit(lambda x, r: stats.psis(x, r, axis=(2, 1)))(np.moveaxis(-LOGP, 2, 0), jnp.full(8, 0.8))
    np.testing.assert_allclose(k_moved, k, rtol=1e-9)
    far = (np.round(-LOGP * 256) / 256 + 1e3).astype(np.float32)
    _, k_single = stats.psis(far, np.float32(0.8))
    assert k_single.dtype == jnp.float32
    np.testing.assert_allclose(k_single, stats.psis(far.astype(float), 0.8)[1], atol=2e-4)


def test_psis_without_a_tail():
    index = np.arange(250)[:, None]
    # Ratios that are equal, not a number, and impossible.
    x = np.stack([0.0 * index, np.where(index == 3, np.nan, 0.0), np.where(index < 100, -np.inf, LOGP[:, :1, 2])], -1)
    weights, k = stats.psis(x)
    np.testing.assert_array_equal(k[:2], [np.inf, np.nan])
    np.testing.assert_allclose(weights[..., 0], -np.log(250), rtol=1e-12)
    assert np.isnan(weights[..., 1]).all() and np.isfinite(k[2])
    assert (np.isneginf(weights[..., 2]) == (index < 100)).all()
    few = LOGP[:10, :1, :1]
    weights, k = stats.psis(few)
    assert k[0] == np.inf
    np.testing.assert_allclose(weights, few - scipy.special.logsumexp(few), rtol=1e-12)


def test_k_of_pareto_ratios_is_found():
    # The standard error of k is (1 + k) / √M for a tail of M, 268 here; false alarms at 1e-6 lie 5 of it away.
    for k in (0.2, 0.7):
        ratios = scipy.stats.genpareto.isf(np.random.default_rng(5).random((4000, 2, 1)), k)
        found = stats.psis(np.log(ratios))[1]
        # The prior draws k to 1/2 with the weight of 10.
        assert abs(float(found[0]) - (268 * k + 5) / 278) < 5 * (1 + k) / np.sqrt(268)
    assert stats.pareto_k_threshold(100) == 0.5 and stats.pareto_k_threshold(10**6) == 0.7


def test_loo_agrees_with_arviz():
    out = stats.loo(LOGP, 1.0)
    np.testing.assert_allclose(out.elpd_i, ARVIZ["elpd"], rtol=1e-9)
    np.testing.assert_allclose(out.p_i, ARVIZ["p"], rtol=1e-7)
    np.testing.assert_allclose(out.pareto_k, ARVIZ["pareto_k"], rtol=1e-9)
    np.testing.assert_allclose(out.elpd, np.sum(ARVIZ["elpd"]), rtol=1e-9)
    np.testing.assert_allclose(out.se, np.sqrt(8 * np.var(ARVIZ["elpd"], ddof=1)), rtol=1e-9)
    assert out.num_observations == 8 and out.num_samples == 500 and 0.6 < out.good_k < 0.7
    # By default the efficiency is that of the likelihoods.
    r_eff = stats.ess(np.exp(LOGP), "mean") / 500
    np.testing.assert_allclose(stats.loo(LOGP).elpd_i, stats.loo(LOGP, r_eff).elpd_i, rtol=1e-9)


def test_loo_and_waic_are_close_to_leaving_one_out():
    # Normal data with a known variance: what is left predicts y_i by a normal distribution about its mean.
    n = 20
    y = np.random.default_rng(2).standard_normal(n)
    mu = y.mean() + np.random.default_rng(3).standard_normal((2000, 2, 1)) / np.sqrt(n)
    logp = scipy.stats.norm.logpdf(y, mu)
    rest = (y.sum() - y) / (n - 1)
    exact = scipy.stats.norm.logpdf(y, rest, np.sqrt(1 + 1 / (n - 1)))
    np.testing.assert_allclose(stats.loo(logp, 1.0).elpd_i, exact, atol=0.02)
    waic = stats.waic(logp)
    np.testing.assert_allclose(waic.elpd_i, exact, atol=0.05)
    np.testing.assert_allclose(waic.p_waic, np.sum(np.var(logp, (0, 1), ddof=1)), rtol=1e-9)


def test_compare():
    one, two = stats.loo(LOGP, 1.0), stats.loo(LOGP + np.arange(8) / 10, 1.0)
    out = stats.compare({"one": one, "two": two})
    assert out.names == ("two", "one")
    np.testing.assert_allclose(out.elpd_diff, [0, 2.8], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(out.se_diff, [0, np.sqrt(8 * np.var(np.arange(8) / 10, ddof=1))], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(out.elpd, [two.elpd, one.elpd])
    assert "two" in str(out).splitlines()[1]
    assert stats.compare([one, two]).names == ("1", "0")
    with pytest.raises(ValueError, match="one kind"):
        stats.compare([one, stats.waic(LOGP)])
    with pytest.raises(ValueError, match="at least one"):
        stats.compare([])
