"""`Samples` without a run: names of nested draws, what they are converted to, files, pickles, and what is wrong."""

import copy
import pickle
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like import distributions as tfd
from distrax_like.inference import mcmc, stats
from distrax_like.inference.mcmc import _diagnose, _reducers, _sites
from distrax_like.inference.mcmc._run import KernelResults

RNG = np.random.default_rng(0)


class Pair(NamedTuple):
    a: object
    b: object


class Layer(eqx.Module):
    weight: np.ndarray
    size: int = eqx.field(static=True, default=3)


def made(draws, stats=None, kernel=None, **more):
    final = KernelResults((), jnp.zeros((), jnp.int32))
    return mcmc.Samples(draws, stats or {}, (), None, kernel, final, **more)


def normal(*event, num=40, chains=4):
    return RNG.normal(size=(num, chains, *event))


NESTED = [
    ({"a": {"b": normal(2)}, "c": normal()}, ["a.b", "c"]),
    ({"a": [normal(), normal(1, 2)]}, ["a[0]", "a[1]"]),
    ((normal(), {"s": normal()}), ["var0", "var1.s"]),
    ([[normal()], normal()], ["var0[0]", "var1"]),
    (Pair({"x": normal()}, [normal()]), ["a.x", "b[0]"]),
    ({"a": None, "b": Pair(normal(), None)}, ["b.a"]),
    ({0: normal(), 1: {2: normal()}}, ["0", "1[2]"]),
    ({("a", 1): normal()}, ["('a', 1)"]),
    ({"net": Layer(normal(2)), "deep": {"er": {"x": normal()}}}, ["deep.er.x", "net.weight"]),
    (Layer(normal(2)), ["weight"]),
    (normal(3), ["x"]),
    ({}, []),
    (None, []),
]


@pytest.mark.parametrize("draws, names", NESTED, ids=[str(names) for _, names in NESTED])
def test_nested_draws_have_names_by_path(draws, names, tmp_path):
    samples = made(draws, {"lp": normal()})
    assert list(samples) == names and sorted(_sites.by_site(draws)) == sorted(names)
    leaves = jax.tree.leaves(draws)
    for name, x in zip(names, leaves, strict=True):
        assert samples[name] is x and name in samples
    summary = samples.summary()
    assert len(summary.names) == sum(x[0, 0].size for x in leaves)
    np.testing.assert_allclose(summary.table["mean"], [m for x in leaves for m in np.mean(x, (0, 1)).ravel()])
    assert np.all(np.isfinite(list(summary.table.values()))) and str(summary)
    posterior = samples.to_dict()["posterior"]
    assert sorted(posterior) == sorted(names)
    if names:
        assert sorted(samples.to_datatree().posterior.data_vars) == sorted(names)
        assert len(samples.plot_trace(names[0]).axes) >= 2
        moments = _reducers.make_reducers(
            "moments", 4, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), draws)
        )
        moments = _reducers.update_reducers(moments, draws)["moments"]
        np.testing.assert_allclose(moments[names[0]].mean, np.mean(leaves[0], (0, 1)))
    samples.save(tmp_path / "run")
    loaded = mcmc.Samples.load(tmp_path / "run")
    assert list(loaded) == names and loaded.kernel is loaded.final_results is loaded.reductions is None
    for x, y in zip(jax.tree.leaves(loaded.draws), leaves, strict=True):
        np.testing.assert_array_equal(x, y)
    if not isinstance(draws, Pair | Layer) and "net.weight" not in names and "b.a" not in names:
        assert jax.tree.structure(loaded.draws) == jax.tree.structure(draws)


def test_parts_by_name():
    inner = {"b": normal(), "c": [normal()]}
    samples = made({"a": inner, "d": normal()})
    assert samples["a"] is inner and samples["a.c"] is inner["c"]
    assert "a.c[0]" in samples and "b" not in samples and 3 not in samples
    with pytest.raises(KeyError, match="no site 'b'; the sites are a.b, a.c\\[0\\], d"):
        samples["b"]
    with pytest.raises(ValueError, match="called 'a.b'"):
        made({"a": {"b": normal()}, "a.b": normal()}).summary()


def test_names_that_xarray_does_not_take_keep_their_draws():
    names = ["chain", "draw", "a/b", "a_b", "a", "a_dim_0", "", "chain_", "sample"]
    draws = {name: normal(2) if name == "a" else normal() for name in names}
    variables = made(draws).to_datatree().posterior.data_vars
    new = {"chain": "chain__", "draw": "draw_", "a/b": "a_b_", "a_dim_0": "a_dim_0_", "": "_", "sample": "sample_"}
    assert len(variables) == len(names)
    for name, x in draws.items():
        np.testing.assert_array_equal(variables[new.get(name, name)].values, np.swapaxes(x, 0, 1))


@pytest.mark.parametrize("num, chains", [(0, 2), (1, 1), (1, 4), (3, 2), (5, 1)])
def test_few_draws_are_summarised_without_warnings(num, chains):
    samples = made({"x": normal(2, num=num, chains=chains)}, {"diverging": np.zeros((num, chains), bool)})
    summary = samples.summary()
    assert len(summary.names) == 2 and all(x.shape == (2,) for x in summary.table.values())
    assert np.all(np.isnan(summary.table["mean"])) == (num == 0)
    assert np.all(np.isnan(summary.table["sd"])) == (num * chains <= 1)
    assert str(summary) and samples.to_datatree().posterior.sizes["draw"] == num
    found = _diagnose.diagnose(samples)
    assert ("too few to judge" in found[0] and len(found) == 1) if num < 4 else len(found) >= 1


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.int32, bool])
def test_draws_of_any_dtype(dtype, tmp_path):
    draws = (4 * normal(2)).astype(dtype)
    table = made(draws).summary().table
    np.testing.assert_allclose(table["mean"], np.mean(draws.astype(float), (0, 1)), rtol=1e-6)
    np.testing.assert_allclose(table["rhat"], stats.rhat(draws.astype(float)), rtol=1e-6)
    made(draws).save(tmp_path / "run.npz")
    loaded = mcmc.Samples.load(tmp_path / "run.npz").draws
    assert loaded.dtype == draws.dtype
    np.testing.assert_array_equal(loaded, draws)


def test_a_file_holds_all_but_the_kernel(tmp_path):
    path = tmp_path / "run"
    samples = mcmc.Samples(
        draws=(normal(), {"k": normal(2)}),
        sample_stats={"lp": normal(), "step_size": (normal(), normal())},
        trace={"key": jax.random.split(jax.random.key(3), (40, 4)), "n": normal(1)},
        reductions=None,
        kernel=None,
        final_results=None,
        warnings=("one", "two"),
        totals={"diverging": np.array([1, 2, 3, 4]), "transitions": np.array(40)},
    )
    samples.save(path)
    loaded = mcmc.Samples.load(path)
    assert jax.tree.structure(loaded) == jax.tree.structure(samples)
    for x, y in zip(jax.tree.leaves(loaded), jax.tree.leaves(samples), strict=True):
        assert x.dtype == y.dtype and bool(np.all(x == y))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="run' is not a complete file of saved samples"):
        mcmc.Samples.load(path)
    np.savez(path, np.zeros(3))
    with pytest.raises(ValueError, match="not a complete file of saved samples"):
        mcmc.Samples.load(f"{path}.npz")
    with pytest.raises(FileNotFoundError):
        mcmc.Samples.load(tmp_path / "none")
    with pytest.raises(ValueError, match="the key .* is no number, string or tuple"):
        made({frozenset("a"): normal()}).save(path)
    with pytest.raises(ValueError, match=r"trace\['a'\] cannot be saved"):
        eqx.tree_at(lambda s: s.trace, samples, {"a": np.array([{}, None])}).save(path)


def test_joint_draws_and_samples_are_pickled_and_copied():
    joint = tfd.JointDistributionCoroutine(model)
    draw = joint.sample(3, seed=jax.random.key(0))
    samples = made(jax.tree.map(lambda x: np.stack([x] * 4), draw), kernel=mcmc.NoUTurnSampler(density, 0.1))
    for copied in (pickle.loads(pickle.dumps(draw)), copy.deepcopy(draw), copy.copy(draw)):
        assert type(copied) is type(draw) and np.array_equal(copied.sigma, draw.sigma)
    for copied in (pickle.loads(pickle.dumps(samples)), copy.deepcopy(samples), copy.copy(samples)):
        assert type(copied.draws) is type(draw) and np.array_equal(copied.draws.mu, samples.draws.mu)
        assert copied.kernel.step_size == samples.kernel.step_size
    local = eqx.tree_at(lambda s: s.kernel, samples, mcmc.NoUTurnSampler(lambda x: -(x**2), 0.1))
    assert copy.deepcopy(local).kernel is not None
    with pytest.warns(UserWarning, match="the kernel of the samples cannot be pickled and is left out: .*lambda"):
        text = pickle.dumps(local)
    assert pickle.loads(text).kernel is None and "mu" in pickle.loads(text)


def density(x):
    return -(x**2)


def model():
    mu = yield "mu", tfd.Normal(0.0, 1.0)
    yield "sigma", tfd.HalfNormal(jnp.exp(mu))


# What is wrong with a run.


def good(**more):
    info = {
        "energy": normal(num=1000),
        "diverging": np.zeros((1000, 4), bool),
        "reached_max_treedepth": np.zeros((1000, 4), bool),
    }
    return made({"mu": normal(num=1000), "theta": normal(3, num=1000)}, info | more.pop("stats", {}), **more)


def test_a_good_run_has_nothing_wrong():
    assert _diagnose.diagnose(good()) == () and _diagnose.diagnose(made({})) == ()


def test_each_trouble_is_named_with_where_it_is():
    def found(samples):
        (sentence,) = _diagnose.diagnose(samples)
        return sentence

    apart = good()
    apart.draws["theta"][:, 2, 1] += 3
    sentences = _diagnose.diagnose(apart)
    assert sentences[0].startswith("R-hat is above 1.01 of theta[1] (1.") and "bulk" in sentences[1]
    assert "theta[1]" in sentences[1] and "400 (100 a chain)" in sentences[1]

    slow = good()
    slow.draws["mu"][:] = np.cumsum(slow.draws["mu"], 0)
    assert [s.split(" of mu (")[0] for s in _diagnose.diagnose(slow)] == [
        "R-hat is above 1.01",
        "The bulk effective sample size is below 400 (100 a chain)",
        "The tail effective sample size is below 400 (100 a chain)",
    ]
    energy = good()
    energy.sample_stats["energy"][:, 1] = np.cumsum(energy.sample_stats["energy"][:, 1])
    assert found(energy).startswith("E-BFMI is below 0.3 of chain 1 (0.0")
    diverging = np.zeros((1000, 4), bool)
    diverging[:3, 3] = diverging[:1, 0] = True
    in_draws = good(stats={"diverging": diverging})
    assert found(in_draws).startswith("4 of 4000 transitions diverged, in chain 3 (3), chain 0 (1): ")
    assert in_draws.summary().divergences == 4
    totals = {"diverging": np.array([0, 9, 0, 0]), "reached_max_depth": np.zeros(4, int), "transitions": np.array(2000)}
    of_all = good(stats={"diverging": diverging}, totals=totals)
    assert found(of_all).startswith("9 of 8000 transitions diverged, in chain 1 (9): ")
    assert of_all.summary().divergences == 9
    for share, trouble in ((10, False), (11, True)):
        deep = np.zeros((1000, 4), bool)
        deep[:share] = True
        sentences = _diagnose.diagnose(good(stats={"reached_max_treedepth": deep}))
        assert bool(sentences) == trouble
    assert sentences[0].startswith("44 of 4000 transitions reached the maximum tree depth, in chain 0 (11), chain 1")
    broken = good()
    broken.draws["mu"][5, 2] = np.nan
    assert found(broken).startswith("Draws are not finite of mu (1 draws)")
    stuck = good()
    stuck.draws["mu"][:] = [0, 1, 2, 3]
    assert "mu (inf)" in _diagnose.diagnose(stuck)[0]


def test_the_worst_are_named_first_and_five_at_most():
    samples = good()
    samples.draws["theta"] = normal(9, num=1000)
    samples.draws["theta"][:, 0] += [0, 0, 0.7, 1, 1.3, 1.6, 1.9, 2.2, 2.5]
    sentence = _diagnose.diagnose(samples)[0]
    listed = [f"theta[{i}]" for i in (8, 7, 6, 5, 4)]
    assert [sentence.index(name) for name in listed] == sorted(sentence.index(name) for name in listed)
    assert "and 2 more (7 of 10): " in sentence and "theta[3]" not in sentence


def test_a_run_without_draws_is_judged_by_its_totals():
    totals = {"diverging": np.array([2, 0]), "reached_max_depth": np.array([0, 0]), "transitions": np.array(50)}
    samples = made({"x": normal(num=0, chains=2)}, totals=totals, warnings=("a sentence.",))
    (sentence,) = _diagnose.diagnose(samples)
    assert sentence.startswith("2 of 100 transitions diverged")
    assert str(samples.summary()).splitlines()[-2:] == ["divergences: 2", "a sentence."]
