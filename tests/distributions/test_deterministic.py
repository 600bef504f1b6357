"""Point masses and terms of a log density, alone and as sites of joint distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jax import random

import distrax_like as dl
from distrax_like import distributions as tfd

KEY = random.key(0)
INF = np.inf


def test_a_point_mass():
    d = tfd.Deterministic([1.0, -2.0, 0.0], atol=0.25, rtol=[0.0, 0.5, 0.0])
    assert d.batch_shape == (3,) and d.event_shape == ()
    np.testing.assert_array_equal(
        d.log_prob([[1.25, -3.25, 0.25], [0.74, -3.26, np.nan]]), [[0] * 3, [-INF, -INF, np.nan]]
    )
    np.testing.assert_array_equal(d.prob([1.0, -1.0, 1.0]), [1, 1, 0])
    np.testing.assert_array_equal(d.cdf([0.74, -3.25, 5.0]), [0, 1, 1])
    for method in ("mean", "median", "mode"):
        np.testing.assert_array_equal(getattr(d, method)(), [1, -2, 0])
    for method in ("variance", "stddev", "entropy"):
        np.testing.assert_array_equal(getattr(d, method)(), [0, 0, 0])
    np.testing.assert_array_equal(jax.jit(lambda d: d.sample(2, seed=KEY))(d), [[1, -2, 0]] * 2)
    np.testing.assert_allclose(d.kl_divergence(tfd.Normal(0.0, 2.0)), -st.norm(0, 2).logpdf([1, -2, 0]), rtol=1e-14)
    assert tfd.Deterministic(jnp.float32(1)).sample(seed=KEY).dtype == jnp.float32
    assert tfd.Deterministic(3).dtype == jnp.float64 and tfd.Deterministic(INF).mode() == INF
    np.testing.assert_array_equal(
        jax.vmap(lambda d: d.log_prob(1.0))(tfd.Deterministic([1.0, 2.0]).broadcast_to((2,))), [0, -INF]
    )
    assert jax.grad(lambda x: tfd.Deterministic(x).log_prob(1.0))(1.0) == 0
    assert dl.trainable(d).loc and not dl.trainable(d).atol


def test_a_vector():
    d = tfd.VectorDeterministic([[1.0, 2.0], [3.0, 4.0]], atol=[0.0, 0.5])
    assert d.batch_shape == (2,) and d.event_shape == (2,)
    np.testing.assert_array_equal(d.log_prob([[1.0, 2.0], [3.5, 3.5]]), [0, 0])
    np.testing.assert_array_equal(d.log_prob([[1.0, 2.1], [3.5, 3.4]]), [-INF, -INF])
    assert d.sample(3, seed=KEY).shape == (3, 2, 2) and d.entropy().shape == (2,) and d[0].event_shape == (2,)
    np.testing.assert_array_equal(d.variance(), np.zeros((2, 2)))


def test_an_increment():
    d = tfd.IncrementLogProb([1.5, -INF])
    assert d.batch_shape == (2,) and d.event_shape == (0,)
    x, log_prob = d.sample_and_log_prob(3, seed=KEY)
    assert x.shape == (3, 2, 0)
    np.testing.assert_array_equal(log_prob, [[1.5, -INF]] * 3)
    assert jax.grad(lambda w: tfd.IncrementLogProb(-(w**2)).log_prob(jnp.zeros(0)))(3.0) == -6


# As sites.


def coroutine():
    a = yield "a", tfd.Normal(0.0, 1.0)
    b = yield "b", tfd.HalfNormal(jnp.ones(2))
    r = yield "r", tfd.Independent(tfd.Deterministic(a * b), 1)
    yield "f", tfd.IncrementLogProb(-(r**2))
    yield "y", tfd.Sample(tfd.Normal(r[0], 1.0), 3)


NAMED = {
    "a": tfd.Normal(0.0, 1.0),
    "b": tfd.HalfNormal(jnp.ones(2)),
    "r": lambda a, b: tfd.VectorDeterministic(a * b),
    "f": lambda r: tfd.IncrementLogProb(-(r**2)),
    "y": lambda r: tfd.Sample(tfd.Normal(r[0], 1.0), 3),
}
LIST = [
    NAMED["a"],
    NAMED["b"],
    lambda b, a: NAMED["r"](a, b),
    NAMED["f"],
    lambda f, r: NAMED["y"](r),
]
Y = np.array([0.3, -0.2, 1.0])


@pytest.mark.parametrize(
    "joint",
    [
        tfd.JointDistributionCoroutine(coroutine),
        tfd.JointDistributionNamed(NAMED),
        tfd.JointDistributionSequential(LIST),
    ],
    ids=["coroutine", "named", "sequential"],
)
def test_recorded_sites_and_terms(joint):
    a, b, r, f, y = joint.names
    draw = joint.sample(seed=KEY)
    values = dict(zip(joint.names, draw.values() if isinstance(draw, dict) else draw))
    np.testing.assert_array_equal(values[r], values[a] * values[b])
    assert values[f].shape == (2, 0)

    def log_density(a, b, y):
        r = a * b
        out = st.norm.logpdf(a) + np.sum(st.halfnorm.logpdf(b)) + np.sum(st.norm(r[0], 1).logpdf(y))
        return out - np.sum(r**2)

    expected = log_density(values[a], values[b], values[y])
    np.testing.assert_allclose(joint.log_prob(draw), expected, rtol=1e-13)
    # What has no randomness may be left out. Where it is given and differs, the density is zero.
    np.testing.assert_allclose(joint.log_prob({n: values[n] for n in (a, b, y)}), expected, rtol=1e-13)
    assert joint.log_prob(values | {r: values[r] + 1}) == -INF
    np.testing.assert_allclose(joint.prob(draw), np.exp(expected), rtol=1e-12)
    assert joint.unnormalized_log_prob(draw) == joint.log_prob(draw)

    @jax.jit
    def of_many(joint):
        many, log_probs = joint.sample_and_log_prob(4, seed=KEY)
        return log_probs, joint.log_prob(many), joint.log_prob_parts(many), joint.prob_parts(many)

    log_probs, again, parts, probs = of_many(joint)
    np.testing.assert_allclose(log_probs, again, rtol=1e-13)
    jax.tree.map(lambda x, p: np.testing.assert_allclose(np.exp(x), p, rtol=1e-14), parts, probs)

    density = joint.pin({y: Y}).unconstrained()
    assert [name for name, _ in density.layout] == [a, b] and density.dim == 3
    x = density.init(KEY)
    inside = density.constrain(x)
    inside = inside if isinstance(inside, dict) else dict(zip((a, b, r, f), inside))
    np.testing.assert_array_equal(inside[r], inside[a] * inside[b])
    log_det = np.sum(np.log(inside[b]))
    np.testing.assert_allclose(density(x), log_density(inside[a], inside[b], Y) + log_det, rtol=1e-12)
    np.testing.assert_allclose(sum(density.log_densities(x).values()), density(x), rtol=1e-13)
    assert np.all(np.isfinite(jax.grad(density)(x)))
    pinned = density.pinned
    for given in (inside, {a: inside[a], b: inside[b]}, inside | {r: inside[r] + 1}):
        np.testing.assert_allclose(density.unconstrain(given), x, rtol=1e-12)
        np.testing.assert_allclose(pinned.log_density(given), log_density(inside[a], inside[b], Y), rtol=1e-13)
    # Pinned, a recorded site is data.
    assert joint.pin({y: Y, r: inside[r] + 1}).log_density({a: inside[a], b: inside[b]}) == -INF
    assert joint.pin({y: Y}).sample_unpinned(5, seed=KEY) is not None


def test_a_recorded_value_that_overflows_scores_nothing():
    model = dict(a=tfd.Normal(0.0, 1.0), r=lambda a: tfd.Deterministic(jnp.exp(1000 + a)))
    joint = tfd.JointDistributionNamed(model)
    density = joint.pin({}).unconstrained()
    np.testing.assert_allclose(density(jnp.zeros(1)), st.norm.logpdf(0), rtol=1e-14)
    assert density.constrain(jnp.zeros(1))["r"] == INF
    repeated = tfd.Sample(tfd.Deterministic(jnp.array([1.0, 2.0])), 3)
    joint = tfd.JointDistributionNamed(dict(r=repeated, f=tfd.Sample(tfd.IncrementLogProb(0.5), 3)))
    np.testing.assert_array_equal(joint.pin({}).unconstrained().constrain(jnp.zeros(0))["r"], [[1] * 3, [2] * 3])
    assert joint.log_prob({}) == joint.log_prob(joint.sample(seed=KEY)) == 1.5
