"""Likelihoods, predictive draws and comparisons of models beside made-up draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

from distrax_like import distributions as tfd, inference
from distrax_like.inference import mcmc, stats

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
COV = np.array([[1.0, 0.5], [0.5, 2.0]])
Y = {
    "a": RNG.normal(size=5),
    "b": RNG.normal(size=(4, 3)),
    "c": RNG.normal(size=(6, 2)),
    "d": RNG.poisson(2.0, size=(2, 3)),
    "e": np.array(0.3),
    "sub.x": RNG.normal(size=3),
}


def inner(m):
    yield "x", tfd.Sample(tfd.Normal(m, 2.0), 3)


def model():
    m = yield "m", tfd.Normal(jnp.zeros(3), 1.0)
    s = yield "s", tfd.HalfNormal(1.0)
    r = yield "r", tfd.Deterministic(m[0] * s)
    yield "f", tfd.IncrementLogProb(-(m[0] ** 2))
    a = yield "a", tfd.Sample(tfd.Normal(r, s), 5)
    yield "b", tfd.Sample(tfd.Independent(tfd.Normal(m, s), 1), 4)
    yield "c", tfd.Sample(tfd.MultivariateNormalTriL(m[:2], np.linalg.cholesky(COV)), 6)
    yield "d", tfd.Independent(tfd.Sample(tfd.Poisson(jnp.exp(m[:2])), 3), 1)
    yield "e", tfd.Normal(m[1], s)
    yield "sub", tfd.JointDistributionCoroutine(lambda: inner(m[2]))
    yield "t", tfd.Deterministic(jnp.mean(a))


JOINT = tfd.JointDistributionCoroutine(model)
PINNED = JOINT.pin(Y)
M, S = RNG.normal(size=(300, 2, 3)), np.abs(RNG.normal(size=(300, 2))) + 0.5
DRAWS = {"m": M, "s": S}


def samples(draws, **more):
    return mcmc.Samples(draws, {"lp": RNG.normal(size=(300, 2))}, (), None, None, None, **more)


def test_log_likelihood_has_a_term_for_each_observation():
    out = inference.log_likelihood(PINNED, samples(DRAWS))
    m, s = (np.moveaxis(M, -1, 0)[..., None], S[..., None])
    expected = {
        "a": st.norm(m[0] * s, s).logpdf(Y["a"]),
        "b": st.norm(M[:, :, None], S[..., None, None]).logpdf(Y["b"]),
        "c": np.array([[st.multivariate_normal(x[:2], COV).logpdf(Y["c"]) for x in row] for row in M]),
        "d": st.poisson(np.exp(M[..., :2, None])).logpmf(Y["d"]),
        "e": st.norm(M[..., 1], S).logpdf(Y["e"]),
        "sub.x": st.norm(m[2], 2).logpdf(Y["sub.x"]),
    }
    assert list(out) == list(expected)
    for name, x in expected.items():
        np.testing.assert_allclose(out[name], x, rtol=1e-10)
    # Together with the priors they are the log density.
    prior = st.norm.logpdf(M).sum(-1) + st.halfnorm.logpdf(S) - M[..., 0] ** 2
    total = prior + sum(x.reshape(300, 2, -1).sum(-1) for x in out.values())
    np.testing.assert_allclose(jax.jit(lambda d: PINNED.log_density(d))(DRAWS), total, rtol=1e-12)
    np.testing.assert_array_equal(inference.log_likelihood(PINNED, DRAWS)["a"], out["a"])


def test_predictive_draws_new_data_for_each_draw():
    out = inference.predictive(PINNED, samples(DRAWS), seed=KEY)
    assert list(out) == ["r", "f", "a", "b", "c", "d", "e", "sub.x", "t"]
    assert {name: out[name].shape[2:] for name in Y} == {name: x.shape for name, x in Y.items()}
    np.testing.assert_allclose(out["r"], M[..., 0] * S, rtol=1e-15)
    # What follows from data follows from the new ones.
    np.testing.assert_allclose(out["t"], out["a"].mean(-1), rtol=1e-12)
    for z in ((out["a"] - (M[..., 0] * S)[..., None]) / S[..., None], (out["sub.x"] - M[..., 2:]) / 2):
        assert st.kstest(z.ravel(), st.norm.cdf).pvalue > 1e-4
    again, other = (inference.predictive(PINNED, DRAWS, seed=jax.random.key(i))["e"] for i in (0, 1))
    np.testing.assert_array_equal(again, out["e"])
    assert not np.any(other == out["e"])


def test_draws_that_do_not_fit_are_named():
    def fails(draws, error, match, model=PINNED):
        with pytest.raises(error, match=match):
            inference.log_likelihood(model, draws)

    fails(DRAWS, TypeError, "JointDistributionPinned", JOINT)
    fails({"m": M}, ValueError, "log_likelihood: the site 's' has no value")
    fails(DRAWS | {"u": S}, ValueError, "no site 'u'")
    fails(DRAWS | {"m": M[..., :2]}, ValueError, "draws of 'm' must have shape")
    fails(DRAWS | {"s": S[:, 0]}, ValueError, "draws of 's' must have shape")
    fails(DRAWS | {"s": S[:-1]}, ValueError, r"\(300, 2\) of 'm', \(299, 2\) of 's'")
    with pytest.raises(TypeError, match="predictive needs a seed"):
        inference.predictive(PINNED, DRAWS)
    with pytest.raises(ValueError, match="no pinned site"):
        inference.loo(tfd.JointDistributionNamed(dict(m=tfd.Normal(0.0, 1.0))).pin({}), {"m": S})
    empty = inference.log_likelihood(PINNED, {name: x[:0] for name, x in DRAWS.items()})
    assert empty["b"].shape == (0, 2, 4, 3)


def small():
    m = yield "m", tfd.Normal(jnp.zeros(3), 1.0)
    yield "r", tfd.Deterministic(2 * m[0])
    yield "f", tfd.IncrementLogProb(-(m[0] ** 2))
    yield "draw", tfd.Normal(m[1], 1.0)
    yield "b", tfd.Sample(tfd.Normal(m, 1.0), 4)


def test_datatree_with_a_model():
    data = {"draw": np.array(0.3), "b": Y["b"].T}
    pinned = tfd.JointDistributionCoroutine(small).pin(data)
    post = samples({"m": M, "r": 2 * M[..., 0], "f": np.zeros((300, 2, 0))})
    tree = post.to_datatree(pinned, num_prior_draws=20)
    assert set(tree.children) == {
        "posterior", "sample_stats", "prior", "prior_predictive", "posterior_predictive", "log_likelihood",
        "observed_data",
    }  # fmt: skip
    assert set(tree.posterior.data_vars) == {"m", "r"} == set(tree.prior.data_vars)
    for group in ("prior_predictive", "posterior_predictive", "log_likelihood", "observed_data"):
        assert set(tree[group].data_vars) == {"draw_", "b"}
    np.testing.assert_array_equal(tree.observed_data["b"], data["b"])
    assert tree.observed_data["b"].dims == ("b_dim_0", "b_dim_1") and tree.prior["m"].shape == (1, 20, 3)
    np.testing.assert_allclose(tree.prior["r"], 2 * tree.prior["m"][..., 0], rtol=1e-14)
    expected = np.swapaxes(inference.log_likelihood(pinned, post)["b"], 0, 1)
    np.testing.assert_array_equal(tree.log_likelihood["b"], expected)
    again, other = post.to_dict(pinned), post.to_dict(pinned, seed=jax.random.key(5))
    np.testing.assert_array_equal(again["posterior_predictive"]["b"], tree.posterior_predictive["b"])
    assert not np.any(other["posterior_predictive"]["b"] == again["posterior_predictive"]["b"])
    flat = tfd.JointDistributionNamed(dict(m=tfd.Flat(), y=lambda m: tfd.Normal(m, 1.0))).pin(y=0.0)
    assert "prior" not in samples({"m": S}).to_dict(flat) and "log_likelihood" in samples({"m": S}).to_dict(flat)


def test_leave_one_out_of_a_model():
    def normal(scale):
        joint = tfd.JointDistributionNamed(
            dict(m=tfd.Normal(0.0, 10.0), y=lambda m: tfd.Sample(tfd.Normal(m, scale), 20))
        )
        return joint.pin(y=np.linspace(-2, 2, 20))

    # The posterior in closed form; leaving one out of n equal ones is nearly a prediction.
    good, bad = normal(1.0), normal(4.0)
    runs = {"good": (good, samples({"m": RNG.normal(0, 1 / np.sqrt(20), (300, 2))})),
            "bad": (bad, samples({"m": RNG.normal(0, 4 / np.sqrt(20), (300, 2))}))}  # fmt: skip
    loo = inference.loo(*runs["good"])
    assert loo.elpd_i.shape == (20,) and loo.num_samples == 600
    expected = stats.loo(inference.log_likelihood(*runs["good"])["y"])
    np.testing.assert_allclose(loo.elpd, expected.elpd, rtol=1e-12)
    lines = str(loo).splitlines()
    assert lines[0] == "Leave-one-out cross-validation: 20 observations, 600 draws"
    assert lines[2].split() == ["elpd_loo", f"{float(loo.elpd):.2f}", f"{float(loo.se):.2f}"]
    assert lines[3].split()[:2] == ["p_loo", f"{float(loo.p_loo):.2f}"]
    assert lines[5].split() == ["k", "<=", f"{loo.good_k:.2f},", "good", "20", "100.0%"]
    assert [line.split()[-2] for line in lines[6:]] == ["0", "0"]
    comparison = inference.compare(runs)
    assert comparison.names == ("good", "bad") and comparison.elpd_diff[1] > 0
    # The observations of several sites count together.
    halves = dict(m=tfd.Normal(0.0, 10.0), y=lambda m: tfd.Sample(tfd.Normal(m, 1.0), 8))
    halves["z"] = lambda m: tfd.Sample(tfd.Normal(m, 1.0), 12)
    y = np.linspace(-2, 2, 20)
    both = inference.loo(tfd.JointDistributionNamed(halves).pin(y=y[:8], z=y[8:]), runs["good"][1])
    np.testing.assert_allclose(both.elpd_i, loo.elpd_i, rtol=1e-12)
