"""What plots of a run draw is the run."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _plots
from distrax_like.inference.mcmc._run import KernelResults

pytestmark = pytest.mark.xdist_group("plots")

PLOTS = ["plot_trace", "plot_rank", "plot_pairs", "plot_energy", "plot_autocorrelation"]
NAMED = [plot for plot in PLOTS if plot != "plot_energy"]


def run(num=40, chains=4, event=(2, 2), energy=True, seed=0):
    rng = np.random.default_rng(seed)
    stats = {"lp": rng.normal(size=(num, chains)), "diverging": rng.random((num, chains)) < 0.1}
    if energy:
        stats["energy"] = rng.normal(size=(num, chains))
    draws = {"mu": rng.normal(size=(num, chains)), "theta": rng.normal(size=(num, chains, *event))}
    kernel = mcmc.RandomWalkMetropolis(lambda x: -(x**2))
    return mcmc.Samples(draws, stats, (), None, kernel, KernelResults((), jnp.zeros((), jnp.int32)))


@pytest.fixture(scope="module")
def few():
    return run()


def marked(samples):
    return samples.sample_stats["diverging"]


def test_trace_draws_each_chain_and_ticks_divergent_draws(few):
    axes = np.reshape(few.plot_trace(["theta[0, 1]", "mu"]).axes, (2, 2))
    for (left, right), x in zip(axes, (few.draws["theta"][:, :, 0, 1], few.draws["mu"])):
        *chains, ticks = left.lines
        assert len(chains) == 4
        for line, column in zip(chains, x.T):
            np.testing.assert_array_equal(line.get_xydata(), np.stack([np.arange(40), column], 1))
        np.testing.assert_array_equal(ticks.get_xdata(), np.flatnonzero(marked(few).any(1)))
        assert [patch.get_data().values.sum() for patch in right.patches] == [40] * 4
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["theta[0, 1]", "mu"]


def test_rank_counts_the_ranks_of_each_chain(few):
    (axis,) = few.plot_rank("mu").axes
    band, *chains = axis.patches
    pool = np.sort(few.draws["mu"].ravel())
    for patch, x in zip(chains, few.draws["mu"].T, strict=True):
        want = np.histogram(np.searchsorted(pool, x), 4, (0, 160))[0]
        np.testing.assert_array_equal(patch.get_data().values, want)
    assert np.all(band.get_data().values > 10) and np.all(band.get_data().baseline < 10)


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_rank_band_holds_the_counts_of_chains_that_agree(memory):
    rng, outside = np.random.default_rng(1), []
    for _ in range(50):
        x = rng.normal(size=(200, 4))
        for i in range(1, 200):
            x[i] = memory * x[i - 1] + np.sqrt(1 - memory**2) * x[i]
        counts, low, high = _plots.rank_counts(x)
        outside += list(((counts < low) | (counts > high)).any(1))
    assert 0 < np.mean(outside) < 0.1


def test_rank_shows_a_chain_that_is_elsewhere_and_not_ties():
    x = np.random.default_rng(0).normal(size=(40, 4))
    counts, low, high = _plots.rank_counts(x + [0, 0, 0, 40])
    assert counts[3, -1] == 40 > high[-1]
    counts, low, high = _plots.rank_counts(np.zeros((40, 4)))
    assert np.all((low <= counts) & (counts <= high))


def test_one_chain_is_ranked_by_halves():
    figure = run(chains=1).plot_rank("mu")
    assert [patch.get_data().values.sum() for patch in figure.axes[0].patches[1:]] == [20, 20]
    assert [text.get_text() for text in figure.legends[0].texts] == ["half 0", "half 1"]


def test_pairs_mark_divergent_draws(few):
    figure = few.plot_pairs(["mu", "theta[1, 0]"])
    one, scatter, two = figure.axes
    x, y, d = few.draws["mu"], few.draws["theta"][:, :, 1, 0], marked(few)
    for line, which in zip(scatter.lines, (~d, d), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([x[which], y[which]], 1))
    assert sum(patch.get_height() for patch in one.patches) == x.size
    assert sum(patch.get_height() for patch in two.patches) == x.size
    assert f"{d.sum()} divergent" in figure.get_suptitle()


def test_energy_says_the_e_bfmi_of_each_chain(few):
    figure = few.plot_energy()
    x = few.sample_stats["energy"]
    want = np.sum(np.diff(x, axis=0) ** 2, 0) / np.sum((x - x.mean(0)) ** 2, 0)
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts[2:] == [f"E-BFMI, chain {c}: {v:.2f}" for c, v in enumerate(want)]
    assert [patch.get_data().values.sum() for patch in figure.axes[0].patches] == [x.size, x.size - 4]


def test_autocorrelation_is_that_of_each_chain(few):
    (axis,) = few.plot_autocorrelation("mu", max_lag=5).axes
    for line, x in zip(axis.lines, few.draws["mu"].T, strict=True):
        x = x - x.mean()
        want = [np.mean(x[k:] * x[: 40 - k]) / np.mean(x**2) for k in range(6)]
        np.testing.assert_allclose(line.get_ydata(), want, atol=1e-12)


def test_a_dozen_numbers_unless_named():
    samples = run(event=(20,))
    figure = samples.plot_trace()
    assert len(figure.axes) == 2 * 12 and "first 12 of 21 numbers" in figure.get_suptitle()
    assert len(samples.plot_autocorrelation("theta").axes) == 20
    assert len(samples.plot_pairs().axes) == 6 * 7 // 2


def test_many_chains_and_long_runs_are_thinned_and_have_no_long_legend(tmp_path):
    samples = run(num=500, chains=64, event=(), seed=3)
    samples.sample_stats["energy"][:, 5] = np.linspace(0, 1, 500)
    figures = {plot: getattr(samples, plot)() for plot in PLOTS}
    for plot, figure in figures.items():
        assert sum(len(legend.texts) for legend in figure.legends) < 8, plot
        figure.savefig(tmp_path / f"{plot}.png", dpi=20)
    line = figures["plot_trace"].axes[0].lines[7]
    np.testing.assert_array_equal(line.get_ydata(), samples.draws["mu"][::2, 7])
    assert len(figures["plot_rank"].axes[0].patches) == 65
    others, red = figures["plot_pairs"].axes[1].lines
    assert len(red.get_xdata()) == marked(samples).sum() and len(others.get_xdata()) <= 5000
    assert "low, chain 5: 0.00" in [text.get_text() for text in figures["plot_energy"].legends[0].texts]


def test_draws_that_are_not_finite_or_stand_still_are_drawn(few, tmp_path):
    few = run(event=())
    few.draws["mu"][3, 1], few.draws["mu"][4, 2] = np.nan, np.inf
    few.draws["theta"][:] = 1
    few.sample_stats["energy"][3, 1] = np.nan
    for plot in PLOTS:
        getattr(few, plot)().savefig(tmp_path / f"{plot}.png", dpi=20)


@pytest.mark.parametrize("plot", NAMED)
def test_unknown_names_raise_and_the_known_are_listed(few, plot):
    for names in ("nu", "theta[2, 0]", ["mu", "nu"]):
        with pytest.raises(ValueError, match=r"known are mu, theta\[0, 0\] … theta\[1, 1\]"):
            getattr(few, plot)(names)
    with pytest.raises(ValueError, match="no number to plot"):
        getattr(few, plot)([])
    with pytest.raises(ValueError, match="plots need 4 draws of each chain, got 0"):
        getattr(run(num=0), plot)()


def test_without_an_energy_or_divergences():
    samples = run(energy=False)
    with pytest.raises(ValueError, match="plot_energy needs the energy.*known is lp, diverging"):
        samples.plot_energy()
    del samples.sample_stats["diverging"]
    assert "0 divergent" in samples.plot_pairs("mu").get_suptitle()
    assert len(samples.plot_trace("mu").axes[0].lines[-1].get_xdata()) == 0


def test_without_matplotlib_the_extra_is_named(few, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"distrax-like\[plots\]"):
        few.plot_trace()


def test_matplotlib_is_imported_by_plots_only_and_never_pyplot():
    code = """
import sys, numpy as np, distrax_like.inference
assert "matplotlib" not in sys.modules
from distrax_like.inference.mcmc import Samples
x = np.arange(12.0).reshape(6, 2)
Samples({"x": x}, {"energy": x}, (), None, None, None).plot_trace()
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
