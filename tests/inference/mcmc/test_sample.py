"""`sample`: models, starts, warm-up, what is kept, checkpoints, interrupts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like import distributions as dl
from distrax_like.inference import mcmc, stats
from distrax_like.inference.mcmc import _chains, _results, _sites, _warmup

KEY = jax.random.key(0)


def identical(a, b):
    jax.tree_util.tree_map(np.testing.assert_array_equal, a, b)


def model():
    loc = yield "loc", dl.Normal(0.0, 2.0)
    scale = yield "scale", dl.HalfNormal(1.0)
    yield "y", dl.Sample(dl.Normal(loc, scale), 20)


Y = jnp.asarray(np.random.default_rng(0).normal(1.0, 0.5, 20))
PINNED = dl.JointDistributionCoroutine(model).pin(y=Y)


def truth():
    """Means and variances of loc and scale on a grid."""
    loc, scale = (x.ravel() for x in np.meshgrid(np.linspace(0, 2, 400), np.linspace(0.2, 1.5, 400)))
    log = (
        -(loc**2) / 8 - scale**2 / 2 - 20 * np.log(scale) - ((np.asarray(Y)[:, None] - loc) ** 2).sum(0) / 2 / scale**2
    )
    w = np.exp(log - log.max())
    means = [np.sum(w * x) / np.sum(w) for x in (loc, scale)]
    return means, [np.sum(w * (x - m) ** 2) / np.sum(w) for x, m in zip((loc, scale), means)]


@pytest.fixture(scope="module")
def samples():
    return mcmc.sample(PINNED, num_samples=500, num_warmup=300, num_chains=5, seed=KEY)


def test_a_model(samples):
    draws = samples.draws
    assert draws._fields == ("loc", "scale") and draws.loc.shape == draws.scale.shape == (500, 5)
    means, variances = truth()
    # At least a third as good as independent draws: five standard errors.
    n = 2500 / 3
    for x, mean, variance in zip(draws, means, variances):
        assert abs(np.mean(x) - mean) < 5 * np.sqrt(variance / n)
        assert abs(np.var(x) / variance - 1) < 5 * np.sqrt(3 / n)
    stats = samples.sample_stats
    assert set(stats) >= {
        "lp",
        "acceptance_rate",
        "step_size",
        "n_steps",
        "diverging",
        "energy",
        "reached_max_treedepth",
    }
    assert all(x.shape == (500, 5) for x in stats.values())
    # Long steps are all but rejected where the scale is small, so the acceptance rate to aim at is raised above 0.8.
    assert 0.85 < np.mean(stats["acceptance_rate"]) < 0.97 and not np.any(stats["diverging"])
    # Every chain uses the one step size.
    assert len(np.unique(stats["step_size"])) == 1 and stats["step_size"][0, 0] == samples.kernel.step_size
    u = PINNED.unconstrained()
    np.testing.assert_allclose(
        stats["lp"][3, 2], u(u.unconstrain(loc=draws.loc[3, 2], scale=draws.scale[3, 2])), rtol=1e-8
    )


def test_the_kernel_is_ready(samples):
    assert isinstance(samples.kernel, mcmc.NoUTurnSampler) and isinstance(samples.kernel.metric, mcmc.DenseMetric)
    more = mcmc.sample_chain(5, samples.final_results.state.position, kernel=samples.kernel, seed=KEY)
    assert more.all_states.shape == (5, 5, 2) and np.mean(more.trace.is_accepted) > 0.5
    # Going on from the final results is what a longer run would have done.
    longer = mcmc.sample(PINNED, num_samples=503, num_warmup=300, num_chains=5, seed=KEY)
    identical(jax.tree_util.tree_map(lambda x: x[:500], longer.draws), samples.draws)
    rest = mcmc.sample_chain(
        3, samples.final_results.state.position, samples.final_results, samples.kernel, seed=KEY, trace_fn=None
    )
    constrained = PINNED.unconstrained().constrain(rest)
    np.testing.assert_allclose(constrained.scale, longer.draws.scale[500:], rtol=1e-9)


def test_summary(samples):
    summary = samples.summary()
    assert summary.names == ("loc", "scale") and summary.divergences == 0
    table = summary.table
    np.testing.assert_allclose(table["mean"], [np.mean(x) for x in samples.draws], rtol=1e-12)
    np.testing.assert_allclose(table["95%"][1], np.quantile(samples.draws.scale, 0.95))
    assert np.all(table["rhat"] < 1.02) and np.all(table["ess_bulk"] > 800)
    lines = str(summary).splitlines()
    assert lines[0].split() == list(table) and lines[2].split()[0] == "scale" and lines[-1] == "divergences: 0"
    assert _sites.number_names([np.zeros((3, 2)), np.zeros((3, 2, 1, 2))]) == ("var0", "var1[0, 0]", "var1[0, 1]")


def test_to_datatree(samples):
    tree = samples.to_datatree()
    assert tree["posterior"]["loc"].shape == (5, 500)


def test_to_dict(samples):
    groups = samples.to_dict()
    assert groups["posterior"]["loc"].shape == groups["sample_stats"]["diverging"].shape == (5, 500)
    np.testing.assert_array_equal(groups["posterior"]["scale"].T, samples.draws.scale)


class Gaussian(eqx.Module):
    """With a state in two parts."""

    precision: jax.Array

    def __call__(self, a, b):
        x = jnp.concatenate([a, b])
        return -0.5 * x @ self.precision @ x


FACTOR = np.tril(np.random.default_rng(1).normal(size=(5, 5))) + 2 * np.diag(np.logspace(-1, 1, 5))
GAUSSIAN = Gaussian(jnp.asarray(np.linalg.inv(FACTOR @ FACTOR.T)))
START = [jnp.ones(2), jnp.zeros(3)]


@pytest.mark.parametrize(
    "adaptation",
    [mcmc.FisherAdaptation(), mcmc.FisherAdaptation(low_rank=False), mcmc.StanAdaptation(), mcmc.StanAdaptation(True)],
    ids=["fisher", "fisher diagonal", "stan", "stan dense"],
)
def test_metrics_are_learnt(adaptation):
    out = mcmc.sample(GAUSSIAN, START, num_samples=200, num_warmup=300, num_chains=3, adaptation=adaptation, seed=KEY)
    assert isinstance(out.draws, list) and [x.shape for x in out.draws] == [(200, 3, 2), (200, 3, 3)]
    metric, covariance = out.kernel.metric, FACTOR @ FACTOR.T
    inner = np.asarray(jax.vmap(metric.velocity)(jnp.eye(5)))
    learnt = np.asarray(metric.scale)[:, None] * inner * np.asarray(metric.scale)
    ratio = np.linalg.eigvals(np.linalg.solve(covariance, learnt)).real
    if isinstance(metric, mcmc.DenseMetric):
        assert ratio.max() / ratio.min() < (2.3 if isinstance(adaptation, mcmc.FisherAdaptation) else 3)
    else:
        variances = np.diagonal(covariance)
        if isinstance(adaptation, mcmc.FisherAdaptation):
            variances = np.sqrt(variances / np.diagonal(np.linalg.inv(covariance)))
        scale = np.sqrt(variances)
        np.testing.assert_allclose(metric.scale, scale, rtol=0.3)
    assert 0.7 < np.mean(out.sample_stats["acceptance_rate"]) < 0.97


def test_the_fisher_metric_of_a_normal_is_its_covariance():
    # Of exact draws and gradients, as soon as they span the space; in many dimensions in the directions that matter.
    rng = np.random.default_rng(3)
    for d, spread in ((30, 20), (300, 12)):
        turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
        values = np.ones(d)
        values[:spread] = np.logspace(-2, 2, spread)
        covariance = (turn * values) @ turn.T
        x = rng.normal(size=(40 if d == 30 else 500, d)) * np.sqrt(values) @ turn.T
        metric = mcmc.FisherAdaptation(cutoff=1.0001).metric(x, -x @ np.linalg.inv(covariance))
        assert isinstance(metric, mcmc.DenseMetric if d == 30 else mcmc.LowRankMetric)
        inner = np.asarray(jax.vmap(metric.velocity)(jnp.eye(d)))
        learnt = np.asarray(metric.scale)[:, None] * inner * np.asarray(metric.scale)
        ratio = np.linalg.eigvals(np.linalg.solve(covariance, learnt)).real
        assert ratio.max() / ratio.min() < (1.1 if d == 30 else 3) < values.max() / values.min() / 100


def test_windows():
    assert [n for n, _ in mcmc.StanAdaptation().windows(1000)] == [75, 25, 50, 100, 200, 500, 50]
    assert [n for n, _ in mcmc.StanAdaptation().windows(100)] == [15, 75, 10]
    assert mcmc.StanAdaptation().windows(10) == [(10, False)]
    for adaptation in (mcmc.StanAdaptation(), mcmc.FisherAdaptation()):
        for n in (0, 1, 5, 20, 149, 150, 333, 1000):
            assert sum(n for n, _ in adaptation.windows(n)) == n
            assert all(n >= 0 for n, _ in adaptation.windows(n))


def test_progress():
    def progress(*chains):
        columns = [np.broadcast_to(np.asarray(x, float), 10) for x in chains]
        arrived, stuck = _warmup.progress_of(np.stack(columns, 1), 4)
        return "".join("+" if a else "x" if s else "-" for a, s in zip(arrived, stuck))

    rising = np.linspace(-1000, 0, 10)
    assert progress(0, 0, 0) == "+++" and progress(0, 0, rising) == "++-" and progress(0, 0, -100) == "++x"
    assert progress(0, -1e50) == "+x" and progress(-1e50, -1e50, 0) == "xx+"
    # One chain in a narrow peak is not the measure of all others.
    assert progress(0, 0, 0, 100) == "++++" and progress(0, 0, -50, -1e50) == "++xx"


@pytest.mark.parametrize("arrived", [[True, False, False], [False, False, False]])
def test_a_stuck_chain_with_a_given_start_goes_where_others_are(arrived):
    settings = _chains.ChainSettings(
        3, KEY, "sequential", mcmc.FisherAdaptation(), _chains.CollectDraws(None, False), None
    )
    kernel = mcmc.NoUTurnSampler(lambda x: -jnp.sum(x**2) / 2, 0.5)
    state, factors = _warmup.begin_chains(settings, kernel, jnp.arange(3.0)[:, None])
    stage = _warmup.first_stage(settings, 100)
    chains = _chains.ChainState(kernel, state, jnp.zeros((), jnp.int32), 0 * factors, np.zeros(3, bool), stage)
    progress = _warmup.Progress(np.array(arrived), np.array([False, True, False]))
    moved = _warmup.without_stuck_chains(settings, chains, progress)
    place = 0 if any(arrived) else 2
    np.testing.assert_array_equal(moved.state.position[:, 0], [0, place, 2])
    np.testing.assert_allclose(moved.state.target_log_prob, [0, -(place**2) / 2, -2])
    assert list(moved.is_moved) == [False, True, False] and list(moved.log_factors != 0) == [False, True, False]


def test_a_far_start_in_single_precision():
    """The chains need their time to arrive; metrics made meanwhile would be of no use."""

    def target(x):
        return -0.5 * jnp.sum(x**2) - jnp.sum(jnp.exp(-x[:20]))

    out = mcmc.sample(target, jnp.full(40, -20, jnp.float32), num_samples=200, num_warmup=200, num_chains=2, seed=KEY)
    assert out.draws.dtype == np.float32
    assert np.mean(out.sample_stats["acceptance_rate"]) > 0.7 and np.mean(out.sample_stats["n_steps"]) < 30
    assert abs(np.mean(out.draws[..., 20:])) < 0.1 and abs(np.var(out.draws[..., 20:]) - 1) < 0.1


def test_chains_do_not_depend_on_their_number_or_execution():
    kernel = mcmc.NoUTurnSampler(GAUSSIAN, 0.2)

    def start(key):
        return [jax.random.normal(key, (2,)), jnp.zeros(3)]

    def run(num, samples=20, **more):
        return mcmc.sample(kernel, start, num_samples=samples, num_warmup=0, num_chains=num, seed=KEY, **more)

    three, five, batched = run(3), run(5), run(3, execution="batched")
    same = {"rtol": 0, "atol": 1e-10}
    jax.tree_util.tree_map(lambda x, y: np.testing.assert_allclose(x, y[:, :3], **same), three.draws, five.draws)
    jax.tree_util.tree_map(lambda x, y: np.testing.assert_allclose(x, y, **same), three.draws, batched.draws)
    thinned = run(3, 10, thin=2)
    identical(thinned.draws, jax.tree_util.tree_map(lambda x: x[1::2], three.draws))
    assert three.kernel.step_size == 0.2


def test_a_kernel_without_acceptance_keeps_its_step_size():
    out = mcmc.sample(
        PINNED, kernel=lambda f: mcmc.SliceSampler(f, 1.5, 5), num_samples=300, num_warmup=20, num_chains=2, seed=KEY
    )
    assert out.kernel.step_size == 1.5 and out.draws.loc.shape == (300, 2)
    assert np.all(out.summary().table["rhat"] < 1.1)


def test_what_is_kept():
    def run(**more):
        return mcmc.sample(PINNED, num_samples=150, num_warmup=50, num_chains=2, seed=KEY, **more)

    traced = run(trace_fn=lambda draw, info: {"double": 2 * draw.loc, "energy": info.energy})
    np.testing.assert_array_equal(traced.trace["double"], 2 * traced.draws.loc)
    np.testing.assert_array_equal(traced.trace["energy"], traced.sample_stats["energy"])

    chains = stats.RunningPotentialScaleReduction.from_shape((2,))
    moments = stats.RunningVariance.from_shape(())
    reducers = {"loc": moments, "square": (lambda draws: draws.loc**2, moments), "scale": chains}
    reduced = run(reducers=reducers, keep_draws=False)
    assert reduced.draws.loc.shape == (0, 2)
    loc, (_, square), scale = (reduced.reductions[name] for name in ("loc", "square", "scale"))
    np.testing.assert_allclose(loc.mean, np.mean(traced.draws.loc), rtol=1e-12)
    np.testing.assert_allclose(loc.variance(), np.var(traced.draws.loc), rtol=1e-12)
    np.testing.assert_allclose(square.mean, np.mean(traced.draws.loc**2), rtol=1e-12)
    expected = stats.potential_scale_reduction(jnp.asarray(traced.draws.scale))
    np.testing.assert_allclose(scale.potential_scale_reduction(), expected, rtol=1e-10)
    named = run(reducers=("moments", "covariance", "rhat", "quantiles"), keep_draws=False).reductions
    np.testing.assert_allclose(named["moments"]["loc"].variance(), np.var(traced.draws.loc), rtol=1e-12)
    np.testing.assert_allclose(named["covariance"]["scale"].covariance(), np.var(traced.draws.scale), rtol=1e-12)
    np.testing.assert_array_equal(named["rhat"]["scale"].potential_scale_reduction(), scale.potential_scale_reduction())
    median = np.quantile(traced.draws.loc, 0.5, method="inverted_cdf")
    np.testing.assert_allclose(named["quantiles"]["loc"].quantiles(0.5), median, rtol=0.05)
    with pytest.raises(ValueError, match="reducers by name are moments, covariance, rhat, quantiles, got 'mean'"):
        run(reducers="mean")
    empty = mcmc.sample(PINNED, num_samples=0, num_warmup=50, num_chains=2, seed=KEY)
    assert empty.draws.loc.shape == (0, 2) and empty.kernel.step_size > 0


def test_events_between_draws_count(tmp_path):
    def density(x):
        return jnp.where(x < 0.5, -0.5 * x**2, -jnp.inf)

    def run(**more):
        return mcmc.sample(density, 0.0, num_warmup=100, num_chains=2, seed=jax.random.key(1), **more)

    every = run(num_samples=400).sample_stats
    reduced = {"reducers": "moments", "keep_draws": False, "checkpoint": tmp_path}
    for more in ({}, {"execution": "interleaved"}, reduced):
        thinned = run(num_samples=100, thin=4, **more)
        assert np.sum(every["diverging"]) > 100 and thinned.totals["transitions"] == 400
        np.testing.assert_array_equal(thinned.totals["diverging"], np.sum(every["diverging"], axis=0))
        np.testing.assert_array_equal(thinned.totals["reached_max_depth"], [0, 0])
        assert thinned.summary().divergences == np.sum(every["diverging"])
    assert any(f"{np.sum(every['diverging'])} of 800 transitions diverged" in text for text in thinned.warnings)


def test_an_interrupt_keeps_what_is_done(monkeypatch):
    monkeypatch.setattr(_chains, "_BYTES_PER_CALL", 3 * 2 * 2 * 8 * 10)  # ten rows a call

    def run():
        return mcmc.sample(PINNED, num_samples=60, num_warmup=20, num_chains=2, seed=KEY)

    whole, calls = run(), []
    save = _results.Results.add

    def add(self, draws):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return save(self, draws)

    monkeypatch.setattr(_results.Results, "add", add)
    with pytest.warns(mcmc.SamplingWarning, match="sample: The run was interrupted after 30 of 60 draws of each chain"):
        part = run()
    assert part.draws.loc.shape == (30, 2) and "interrupted" in part.warnings[0]
    identical(part.draws, jax.tree_util.tree_map(lambda x: x[:30], whole.draws))


def test_starts():
    u = PINNED.unconstrained()
    values = mcmc.sample(PINNED, {"loc": 0.5, "scale": 2.0}, num_samples=1, num_warmup=0, num_chains=2, seed=KEY)
    vector = mcmc.sample(PINNED, u.unconstrain(loc=0.5, scale=2.0), num_samples=1, num_warmup=0, num_chains=2, seed=KEY)
    identical(values.draws, vector.draws)
    for init in ("uniform", "prior", jnp.zeros(2), jnp.zeros((2, 2)), lambda key: jax.random.normal(key, (2,))):
        out = mcmc.sample(u if init == "prior" else PINNED, init, num_samples=2, num_warmup=5, num_chains=2, seed=KEY)
        assert out.draws.loc.shape == (2, 2)

    each = mcmc.sample(lambda x: -(x[0] ** 2), jnp.ones((2, 3)), num_samples=1, num_chains=2, seed=KEY)
    assert each.draws.shape == (1, 2, 3)

    def holed(key):
        x = jax.random.normal(key, ())
        return jnp.where(x < 0, x, jnp.nan)

    # Half of the points are no good, and drawn anew.
    mcmc.sample(lambda x: -(x**2), holed, num_samples=1, num_warmup=0, num_chains=10, seed=KEY)


def test_errors():
    def run(target, init=None, **more):
        return mcmc.sample(target, init, **({"num_samples": 1, "num_warmup": 1, "num_chains": 2, "seed": KEY} | more))

    def impossible():
        x = yield "x", dl.Normal(0.0, 1.0)
        yield "y", dl.Exponential(jnp.exp(x))

    pinned = dl.JointDistributionCoroutine(impossible).pin(y=-1.0)
    with pytest.raises(ValueError, match=r"no start found: in chain 0 the log density is not finite at 'y' \(-inf\)"):
        run(pinned)

    def steep():
        x = yield "x", dl.Normal(0.0, 1.0)
        yield "y", dl.Normal(jnp.sqrt(x * 0.0), 1.0)

    pinned = dl.JointDistributionCoroutine(steep).pin(y=0.0)
    with pytest.raises(ValueError, match="the gradient of the log density is not finite with respect to 'x'"):
        run(pinned)
    with pytest.raises(ValueError, match="the log density is -inf at the start of chain 0"):
        run(lambda x: -jnp.inf * x, jnp.ones(()))
    with pytest.raises(ValueError, match=r"gradient .* with respect to state part \[1\] is not finite at the start"):
        run(lambda a, b: -jnp.sqrt(b) - a**2, [1.0, 0.0])
    with pytest.raises(TypeError, match="a log density needs init"):
        run(lambda x: -(x**2))
    with pytest.raises(ValueError, match="init must be a position or a function"):
        run(lambda x: -(x**2), "uniform")
    with pytest.raises(ValueError, match=r'init must be "uniform", "prior", "pathfinder", a position'):
        run(PINNED, "zeros")
    with pytest.raises(ValueError, match=r"scalar at init, or at each of 2 positions .* has shape \(3,\) at parts of"):
        run(lambda x: -(x**2), jnp.zeros(3))
    with pytest.raises(ZeroDivisionError):
        run(lambda x: 1 / 0, jnp.zeros(3))
    with pytest.raises(TypeError, match="sample: target must be a pinned model, a log density or a kernel, got 3"):
        run(3)
    with pytest.raises(TypeError, match="give a kernel as target or what makes one"):
        run(mcmc.NoUTurnSampler(lambda x: -(x**2), 0.1), jnp.zeros(()), kernel=lambda f: f)
    with pytest.raises(ValueError, match="sample: num_chains must be at least 1, got 0"):
        run(PINNED, num_chains=0)
    with pytest.raises(ValueError, match="execution must be one of sequential, batched"):
        run(PINNED, execution="all")
    with pytest.raises(TypeError, match="sample needs a seed"):
        run(PINNED, seed=None)
