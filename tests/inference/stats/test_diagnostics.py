"""Diagnostics of chains, beside ArviZ and, for those of its names, TFP."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.inference import stats
from distrax_like.inference.stats import _arrays, _diagnostics
from tests.inference.stats.chains import CASES, CHAINS, few

nan, inf = np.nan, np.inf

# By arviz-stats 1.3.3, of each of CHAINS.
ARVIZ = {
    "rhat": [
        1.01709164327,
        1.18437960437,
        1.02865545603,
        1.06551869643,
        1.09445575452,
        1.00635428166,
        1.0069055432,
        0.997618826379,
        nan,
        inf,
    ],
    "ess_bulk": [
        184.395954528,
        16.6191603147,
        1666.89075023,
        47.7348745145,
        283.822815938,
        146.236441484,
        275.946046236,
        534.095014405,
        600,
        4.16666666667,
    ],
    "ess_tail": [
        351.706568992,
        21.1464673127,
        366.622159392,
        448.726029611,
        67.2822780731,
        205.778100761,
        275.946046236,
        557.21885232,
        600,
        4.16666666667,
    ],
    "ess_mean": [
        183.673827719,
        16.9005698838,
        1666.89075023,
        44.3250851923,
        266.179186073,
        145.312531231,
        275.946046236,
        601.027863785,
        600,
        4.16666666667,
    ],
    "ess_sd": [
        369.170733096,
        25.8995377134,
        93.5963122037,
        469.383712808,
        24.9806158165,
        259.061268724,
        275.946046236,
        617.958498911,
        600,
        4.16666666667,
    ],
    "ess_quantile": [
        205.456762783,
        28.0750812079,
        1198.34954815,
        83.4972193365,
        374.502970022,
        180.358047928,
        275.946046236,
        515.335574156,
        600,
        4.16666666667,
    ],
    "mcse_mean": [
        0.0748939850435,
        0.229510272455,
        0.0246964459528,
        0.157696578219,
        0.10203373541,
        0.0877919269489,
        0.0301228667394,
        0.811981914534,
        1.81448929025e-17,
        0.548176534009,
    ],
    "mcse_sd": [
        0.0382631866158,
        0.10903081844,
        0.0654880158458,
        0.035453583261,
        0.370892808931,
        0.0446830048795,
        0.000299000715905,
        7.82509968299,
        0,
        0.219089023002,
    ],
    "mcse_quantile": [
        0.0810270964694,
        0.278148220082,
        0.0373954591632,
        0.147657264734,
        0.0694437736866,
        0,
        0,
        0.122964478008,
        0,
        1,
    ],
    "rhat_nested": [
        1.00815004829,
        1.10617458721,
        1.00489609632,
        1.05372870598,
        1.0372546738,
        1.00274725436,
        1.00578501211,
        1.00019893123,
        nan,
        2.38340527088,
    ],
}
FEW = {
    4: [1.03903373873, 12.9501749526, 12.9501749526, 0.605574999162],
    5: [0.888478041109, 12.9501749526, 12.9501749526, 0.276784901579],
    7: [1.06006762068, 22.5949050919, 22.5949050919, 0.416570799666],
}

FUNCTIONS = {
    "rhat": stats.rhat,
    "ess_bulk": stats.ess_bulk,
    "ess_tail": stats.ess_tail,
    "ess_mean": functools.partial(stats.ess, kind="mean"),
    "ess_sd": functools.partial(stats.ess, kind="sd"),
    "ess_quantile": functools.partial(stats.ess_quantile, prob=0.3),
    "mcse_mean": stats.mcse_mean,
    "mcse_sd": stats.mcse_sd,
    "mcse_quantile": functools.partial(stats.mcse_quantile, prob=0.3),
    "rhat_nested": functools.partial(stats.rhat_nested, num_superchains=2),
}
# What does not depend on where the draws lie, with one NaN among those of the last case.
BROKEN = np.where((np.arange(151)[:, None, None] == 7) & (np.arange(10) == 9), nan, CHAINS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_agrees_with_arviz_and_a_nan_gives_nan(name):
    fn = FUNCTIONS[name]
    np.testing.assert_allclose(fn(CHAINS), ARVIZ[name], rtol=1e-9, atol=1e-9)
    out = fn(BROKEN)
    np.testing.assert_allclose(out[:9], ARVIZ[name][:9], rtol=1e-9, atol=1e-9)
    assert np.isnan(out[9])


@pytest.mark.parametrize("name", ["rhat", "ess_bulk", "ess_mean", "ess_sd", "mcse_sd", "mcse_quantile"])
def test_in_single_precision_an_offset_of_ten_thousand_takes_nothing(name):
    # Multiples of 2^-8 are exact with and without the offset. Draws that stand still or are heavy are left out.
    draws = np.round(CHAINS * 256) / 256
    expected = FUNCTIONS[name](draws)
    out = FUNCTIONS[name]((draws + 1e4).astype(np.float32))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out[:7], expected[:7], rtol=2e-4, atol=2e-4)


def test_few_draws_as_in_arviz():
    np.testing.assert_allclose([stats.rhat(few(5)), stats.ess_bulk(few(5))], FEW[5][:2], rtol=1e-9)
    np.testing.assert_allclose(stats.ess(few(7), "sd"), FEW[7][2], rtol=1e-9)


def test_too_few_draws_or_chains_are_nan():
    assert np.isnan(stats.rhat(CHAINS[:, :1])).all() and np.isnan(stats.rhat(CHAINS[:3])).all()
    assert np.isnan(stats.ess_bulk(CHAINS[:3])).all() and not np.isnan(stats.ess(CHAINS[:, :1], "mean")).any()


def test_trees_jit_and_vmap():
    out = stats.rhat({"a": CHAINS, "b": (CHAINS + 1, np.round(CHAINS[..., 0]).astype(int))})
    np.testing.assert_allclose(out["a"], ARVIZ["rhat"], rtol=1e-9)
    np.testing.assert_allclose(out["b"][0], ARVIZ["rhat"], rtol=1e-9)
    assert out["b"][1].shape == () and out["b"][1].dtype == jnp.float64
    np.testing.assert_allclose(jax.jit(jax.vmap(stats.rhat, 2))(CHAINS), ARVIZ["rhat"], rtol=1e-9)
    with pytest.raises(ValueError, match=r"shape \(draw, chain, ...\).*draws\[:, None\]"):
        stats.rhat(CHAINS[:, 0, 0])


def test_kinds_of_ess_are_checked():
    with pytest.raises(ValueError, match="kind must be one of"):
        stats.ess(CHAINS, "best")
    with pytest.raises(ValueError, match="takes a prob"):
        stats.ess(CHAINS, "quantile")
    with pytest.raises(ValueError, match="takes no prob"):
        stats.ess(CHAINS, "bulk", 0.3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.mcse_quantile(CHAINS, 1.3)


def test_superchains():
    draws = CHAINS[..., :2]
    expected = ARVIZ["rhat_nested"][:2]
    # The chains of a superchain need not stand together.
    np.testing.assert_allclose(stats.rhat_nested(draws[:, [0, 2, 1, 3]], [5, 2, 5, 2]), expected, rtol=1e-9)
    one_draw = stats.rhat_nested(draws[:1], num_superchains=2, split_chains=False)
    assert np.isfinite(one_draw).all()
    with pytest.raises(ValueError, match="one size"):
        stats.rhat_nested(draws, num_superchains=3)
    with pytest.raises(ValueError, match="one size, got sizes"):
        stats.rhat_nested(draws, [0, 0, 0, 1])
    with pytest.raises(ValueError, match="either"):
        stats.rhat_nested(draws)


def test_ess_is_the_one_of_an_autoregressive_process():
    # n (1 - c) / (1 + c) for correlation c; its own error is of order 1 / √(n / 10) here.
    noise = np.random.default_rng(11).standard_normal((20000, 4))
    draws = noise.copy()
    for i in range(1, len(draws)):
        draws[i] = 0.5 * draws[i - 1] + noise[i]
    np.testing.assert_allclose(stats.ess(draws, "mean"), draws.size / 3, rtol=0.1)
    sizes = stats.effective_sample_size(draws, filter_beyond_positive_pairs=True)
    np.testing.assert_allclose(sizes, draws.shape[0] / 3, rtol=0.2)


def test_e_bfmi():
    energy = CASES["slow"]
    jumps, spread = np.sum(np.diff(energy, axis=0) ** 2, 0), np.sum((energy - energy.mean(0)) ** 2, 0)
    np.testing.assert_allclose(stats.e_bfmi(energy), jumps / spread, rtol=1e-12)
    np.testing.assert_allclose(stats.e_bfmi(energy[:, 0]), jumps[0] / spread[0], rtol=1e-12)


def autocovariance(x, unbiased):
    n = len(x)
    x = x - x.mean(0)
    return np.stack([np.sum(x[k:] * x[: n - k], 0) / (n - k if unbiased else n) for k in range(n)])


def test_effective_sample_size_by_its_definition():
    x = CHAINS[..., :3]
    n = len(x)
    share = ((n - np.arange(n)) / n)[:, None, None]
    cov = autocovariance(x, True)
    r = cov / cov[0]
    kept = np.cumprod(r >= 0.1, 0)
    np.testing.assert_allclose(
        stats.effective_sample_size(x, 0.1), n / (2 * np.sum(r * share * kept, 0) - 1), rtol=1e-9
    )
    r, share = r[:10], share[:10]
    one = 2 * np.sum(r * share, 0) - 1
    np.testing.assert_allclose(stats.effective_sample_size(x, None, 9), n / one, rtol=1e-9)

    mean = cov.mean(1)
    between = x.mean(0).var(0, ddof=1)
    r, share = 1 - (mean[0] - mean) / (mean[0] + between), ((n - np.arange(n)) / n)[:, None]
    pairs, weighted = (v[:150].reshape(75, 2, 3).sum(1) for v in (r, r * share))
    tau = 2 * np.sum(weighted * np.cumprod(pairs >= 0, 0), 0) - 1
    out = stats.effective_sample_size(x, filter_beyond_positive_pairs=True, cross_chain_dims=1)
    np.testing.assert_allclose(out, 4 * n / tau, rtol=1e-9)
    tree = stats.effective_sample_size(
        {"a": x, "b": x[..., 0]}, filter_beyond_positive_pairs=True, cross_chain_dims={"a": [1], "b": None}
    )
    np.testing.assert_allclose(tree["a"], out, rtol=1e-12)
    assert tree["b"].shape == (4,)
    with pytest.raises(ValueError, match="more than one chain"):
        stats.effective_sample_size(x[:, :1], cross_chain_dims=1)


def test_potential_scale_reduction_by_its_definition():
    x = CHAINS[..., :3]

    def expected(x):
        n, m = x.shape[:2]
        within, between = x.var(0, ddof=1).mean(0), x.mean(0).var(0, ddof=1)
        return (m + 1) / m * ((n - 1) / n * within + between) / within - (n - 1) / (m * n)

    np.testing.assert_allclose(stats.potential_scale_reduction(x), expected(x), rtol=1e-9)
    halves = np.concatenate([x[:75], x[75:150]], 1)
    np.testing.assert_allclose(stats.potential_scale_reduction(x, split_chains=True), expected(halves), rtol=1e-9)
    np.testing.assert_allclose(stats.potential_scale_reduction(x.reshape(151, 2, 2, 3), 2), expected(x), rtol=1e-9)
    with pytest.raises(ValueError, match="at least 4 draws"):
        stats.potential_scale_reduction(x[:3], split_chains=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_compiled_statistic_is_that_of_the_host(name):
    compiled = jax.jit(FUNCTIONS[name])
    for draws in (BROKEN, CHAINS[:7, :, :0], CHAINS[:3]):
        np.testing.assert_allclose(compiled(draws), FUNCTIONS[name](draws), rtol=1e-10, atol=1e-13)
    half = CHAINS[..., :1].astype(np.float16)
    for out in (FUNCTIONS[name](half), compiled(half)):
        assert out.dtype == jnp.float32 and np.isfinite(out).all()


def test_many_numbers_are_taken_some_at_a_time(monkeypatch):
    monkeypatch.setattr(_arrays, "_DRAWS_AT_ONCE", 2000)
    np.testing.assert_allclose(stats.rhat(CHAINS.reshape(151, 4, 2, 5)), np.reshape(ARVIZ["rhat"], (2, 5)), rtol=1e-9)


def test_concrete_draws_on_the_host_are_not_compiled(monkeypatch):
    monkeypatch.setattr(_diagnostics, "jax", None)
    monkeypatch.setattr(_diagnostics, "jnp", None)
    for fn in FUNCTIONS.values():
        np.testing.assert_array_equal(fn(jnp.asarray(CHAINS)), fn(CHAINS))


def test_draws_of_half_precision_and_events_of_length_zero():
    half, single = CHAINS.astype(np.float16), CHAINS.astype(np.float16).astype(np.float32)
    for statistic in (stats.rhat, stats.ess, stats.mcse_mean):
        np.testing.assert_allclose(statistic(half), statistic(single), rtol=1e-6)
        assert statistic({"a": np.zeros((10, 4, 0))})["a"].shape == (0,)
        assert statistic(np.zeros((10, 4, 3, 0))).shape == (3, 0)
