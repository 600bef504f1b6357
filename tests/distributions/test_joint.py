"""Joint distributions: three ways of writing one model, its densities, pins and free coordinates."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jax import random

import distrax_like as dl
from distrax_like import distributions as tfd
from distrax_like.bijectors import bijector_for

KEY = random.key(0)


def chain():
    n = yield "n", tfd.Normal(0.0, 2.0)
    m = yield "m", tfd.Normal(n, 1.0)
    yield "x", tfd.Sample(tfd.Bernoulli(logits=m), 12)


COROUTINE = tfd.JointDistributionCoroutine(chain)
NAMED = tfd.JointDistributionNamed(
    dict(
        x=lambda m: tfd.Sample(tfd.Bernoulli(logits=m), 12),
        m=lambda n: tfd.Normal(n, 1.0),
        n=tfd.Normal(0.0, 2.0),
    )
)
SEQUENTIAL = tfd.JointDistributionSequential(
    [tfd.Normal(0.0, 2.0), lambda n: tfd.Normal(n, 1.0), lambda m, n: tfd.Sample(tfd.Bernoulli(logits=m), 12)]
)
X = jnp.array([1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1])


def scipy_log_prob(n, m, x):
    p = 1 / (1 + np.exp(-m))
    return st.norm.logpdf(n, 0, 2) + st.norm.logpdf(m, n, 1) + st.bernoulli.logpmf(np.asarray(x), p).sum()


def test_log_prob_is_the_sum_of_all_sites_in_every_form():
    expected = scipy_log_prob(0.3, -0.7, X)
    for value in [
        COROUTINE.log_prob(0.3, -0.7, X),
        COROUTINE.log_prob((0.3, -0.7, X)),
        COROUTINE.log_prob(dict(n=0.3, m=-0.7, x=X)),
        COROUTINE.log_prob(x=X, n=0.3, m=-0.7),
        NAMED.log_prob(dict(n=0.3, m=-0.7, x=X)),
        SEQUENTIAL.log_prob([0.3, -0.7, X]),
        jax.jit(COROUTINE.log_prob)(0.3, -0.7, X),
    ]:
        assert value.shape == ()
        np.testing.assert_allclose(value, expected, rtol=1e-13)


def test_containers_names_and_shapes_of_a_draw():
    draw = COROUTINE.sample(seed=KEY)
    assert type(draw).__name__ == "StructTuple" and draw._fields == ("n", "m", "x")
    assert COROUTINE.names == ("n", "m", "x") and set(NAMED.names) == {"n", "m", "x"}
    assert COROUTINE.event_shape == ((), (), (12,)) and COROUTINE.batch_shape == ()
    assert isinstance(NAMED.sample(seed=KEY), dict) and isinstance(SEQUENTIAL.sample(seed=KEY), list)
    assert isinstance(tfd.JointDistributionSequential((tfd.Normal(0.0, 1.0),)).sample(seed=KEY), tuple)
    assert draw.x.dtype == jnp.int32
    many = COROUTINE.sample((5, 3), seed=KEY)
    assert many.n.shape == (5, 3) and many.x.shape == (5, 3, 12)
    assert COROUTINE.log_prob(many).shape == (5, 3)
    one = jax.tree.map(lambda x: x[2, 1], many)
    np.testing.assert_allclose(COROUTINE.log_prob(many)[2, 1], COROUTINE.log_prob(one), rtol=1e-13)


def test_unnamed_sites_and_root():
    root = tfd.JointDistributionCoroutine.Root

    def model():
        a = yield root(tfd.Normal(0.0, 1.0))
        yield tfd.Normal(a, 1.0)

    draw = tfd.JointDistributionCoroutine(model).sample(seed=KEY)
    assert draw._fields == ("var0", "var1")


def test_draws_are_draws_of_the_model():
    draws = COROUTINE.sample(20_000, seed=KEY)
    # Bounds of five standard errors, a false alarm below 1e-6 for each.
    se = 1 / np.sqrt(20_000)
    assert abs(draws.n.mean()) < 5 * 2 * se
    assert abs(draws.m.var() - 5) < 5 * 5 * np.sqrt(2) * se
    assert abs(jnp.mean(draws.n * draws.m) - 4) < 5 * np.sqrt(4 * 5 + 16) * se
    assert len(np.unique(draws.n)) == 20_000


def test_a_further_named_site_does_not_change_the_draws_of_the_others():
    def longer():
        yield "z", tfd.Normal(0.0, 1.0)
        yield from chain()

    more = tfd.JointDistributionCoroutine(longer).sample(seed=KEY)
    less = COROUTINE.sample(seed=KEY)
    assert more.n == less.n and jnp.array_equal(more.x, less.x)
    assert NAMED.sample(seed=KEY)["n"] == less.n


def test_sample_shapes_broadcast_across_sites_and_data_are_shared():
    draws = COROUTINE.sample(7, seed=KEY)
    shared = COROUTINE.log_prob(draws.n, draws.m, X)
    assert shared.shape == (7,)
    np.testing.assert_allclose(shared[3], scipy_log_prob(draws.n[3], draws.m[3], X), rtol=1e-12)
    grid = COROUTINE.log_prob(draws.n[:, None], draws.m, X)
    assert grid.shape == (7, 7)
    np.testing.assert_allclose(grid[1, 4], scipy_log_prob(draws.n[1], draws.m[4], X), rtol=1e-12)


def test_sites_with_batch_dimensions_are_summed_not_broadcast():
    joint = tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), tfd.Normal(jnp.zeros(3), 1.0)])
    value = joint.log_prob([0.5, jnp.ones(3)])
    assert value.shape == ()
    np.testing.assert_allclose(value, st.norm.logpdf(0.5) + 3 * st.norm.logpdf(1.0), rtol=1e-14)
    parts = joint.log_prob_parts([0.5, jnp.ones(3)])
    np.testing.assert_allclose(parts[1], 3 * st.norm.logpdf(1.0), rtol=1e-14)


def test_sample_distributions_given_values():
    distributions, values = COROUTINE.sample_distributions(seed=KEY, value=(0.1, 1.5, None))
    assert values.n == 0.1 and distributions.x.distribution.logits == 1.5
    distributions, values = COROUTINE.sample_distributions(4, seed=KEY)
    assert distributions.m.batch_shape == (4,) and distributions.x.batch_shape == (4,)
    np.testing.assert_array_equal(distributions.m.loc, values.n)
    assert COROUTINE.sample(seed=KEY, value=dict(m=2.0)).m == 2.0
    given = COROUTINE.sample(seed=KEY, value=dict(n=jnp.arange(3.0)))
    assert given.m.shape == (3,) and jnp.array_equal(given.n, jnp.arange(3.0))


def test_a_network_inside_a_model_is_trained():
    class Model(eqx.Module):
        net: eqx.nn.Linear
        inputs: jax.Array

        def __call__(self):
            yield "y", tfd.Independent(tfd.Normal(jax.vmap(self.net)(self.inputs)[:, 0], 1.0), 1)

    inputs = random.normal(KEY, (9, 2))
    joint = tfd.JointDistributionCoroutine(Model(eqx.nn.Linear(2, 1, key=KEY), inputs))
    grads = eqx.filter_grad(lambda j: j.log_prob(jnp.ones(9)))(joint)
    assert jnp.any(grads.model.net.weight != 0)


def test_float32_models_stay_float32():
    def model():
        a = yield "a", tfd.Gamma(jnp.float32(2.0), jnp.float32(1.0))
        yield "b", tfd.Normal(a, jnp.float32(1.0))

    joint = tfd.JointDistributionCoroutine(model)
    draw = joint.sample(seed=KEY)
    assert draw.a.dtype == draw.b.dtype == jnp.float32
    assert joint.log_prob(draw).dtype == jnp.float32
    density = joint.pin(b=jnp.float32(0.5)).unconstrained()
    assert density.init(KEY).dtype == jnp.float32 and density(density.init(KEY)).dtype == jnp.float32


# Pins and free coordinates.


def schools():
    mu = yield "mu", tfd.Normal(0.0, 5.0)
    tau = yield "tau", tfd.HalfCauchy(0.0, 5.0)
    top = yield "top", tfd.Uniform(0.0, 1.0 + tau)
    weights = yield "weights", tfd.Dirichlet(jnp.ones(3))
    theta = yield "theta", tfd.Sample(tfd.Normal(mu, tau), 8)
    yield "y", tfd.Independent(tfd.Normal(theta * weights[0] + top, 2.0), 1)


Y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SCHOOLS = tfd.JointDistributionCoroutine(schools)


def test_pin_is_the_joint_density_with_values_filled_in():
    post = SCHOOLS.pin(y=Y)
    draw = SCHOOLS.sample(seed=KEY)
    assert post.names == ("mu", "tau", "top", "weights", "theta")
    np.testing.assert_allclose(post.log_density(draw[:-1]), SCHOOLS.log_prob(draw._replace(y=Y)), rtol=1e-13)
    np.testing.assert_allclose(post(*draw[:-1]), post.log_density(dict(zip(post.names, draw))), rtol=1e-13)
    many = SCHOOLS.sample(5, seed=KEY)
    assert post.log_density(many[:-1]).shape == (5,)
    assert SCHOOLS.pin((None,) * 5 + (Y,)).names == post.names
    assert SCHOOLS.experimental_pin(y=Y).names == post.names
    free = post.sample_unpinned(6, seed=KEY)
    assert free._fields == post.names and free.theta.shape == (6, 8)


def test_unconstrained_density_has_the_log_determinants_of_dependent_supports():
    density = SCHOOLS.pin(y=Y).unconstrained()
    assert density.dim == 1 + 1 + 1 + 2 + 8
    x = density.init(KEY)
    value = density.constrain(x)
    log_prob = SCHOOLS.log_prob(*value, Y)

    def constrained_coordinates(x):
        v = density.constrain(x)
        return jnp.concatenate([v.mu[None], v.tau[None], v.top[None], v.weights[:2], v.theta])

    log_det = jnp.linalg.slogdet(jax.jacfwd(constrained_coordinates)(x))[1]
    np.testing.assert_allclose(density(x), log_prob + log_det, rtol=1e-12)
    np.testing.assert_allclose(density.unconstrain(value), x, rtol=1e-12)
    np.testing.assert_allclose(density.unconstrain(**value._asdict()), x, rtol=1e-12)
    assert jnp.all(jnp.isfinite(jax.grad(density)(x)))
    draws = density.constrain(random.normal(KEY, (4, 3, density.dim)))
    assert draws.theta.shape == (4, 3, 8) and draws.tau.shape == (4, 3)


def test_new_pinned_data_need_no_new_trace():
    traces = []

    @eqx.filter_jit
    def run(density, x):
        traces.append(1)
        return density(x)

    x = SCHOOLS.pin(y=Y).unconstrained().init(KEY)
    first, second = (run(SCHOOLS.pin(y=y).unconstrained(), x) for y in (Y, Y + 1))
    assert len(traces) == 1 and first != second
    assert not any(jax.tree.leaves(dl.trainable(SCHOOLS.pin(y=Y)).pins))


# What bad input gets.


def named_twice():
    yield "a", tfd.Normal(0.0, 1.0)
    yield "a", tfd.Normal(0.0, 1.0)


def not_a_distribution():
    yield "a", 3.0


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: COROUTINE.sample(), TypeError, ["JointDistributionCoroutine", "seed"]),
        (lambda: COROUTINE.sample(seed=3), TypeError, ["JointDistributionCoroutine", "key"]),
        (lambda: tfd.JointDistributionCoroutine(named_twice).sample(seed=KEY), ValueError, ["'a'", "twice"]),
        (lambda: tfd.JointDistributionCoroutine(not_a_distribution).sample(seed=KEY), TypeError, ["'a'", "3.0"]),
        (lambda: tfd.JointDistributionCoroutine(lambda: 3).sample(seed=KEY), TypeError, ["generator"]),
        (lambda: tfd.JointDistributionCoroutine(3), TypeError, ["model"]),
        (lambda: COROUTINE.log_prob(0.0, 0.0, X[:3]), ValueError, ["'x'", "(12,)", "(3,)"]),
        (lambda: COROUTINE.log_prob(jnp.zeros(3), jnp.zeros(4), X), ValueError, ["(3,) of 'n'", "(4,) of 'm'"]),
        (lambda: COROUTINE.log_prob(0.0, 0.0), ValueError, ["3 sites", "2 values"]),
        (lambda: COROUTINE.log_prob(n=0.0, m=0.0), ValueError, ["'x'", "no value"]),
        (lambda: COROUTINE.pin(y=X), ValueError, ["'y'", "n, m, x"]),
        (lambda: SCHOOLS.pin(tua=1.0), ValueError, ["'tua'", "did you mean 'tau'"]),
        (lambda: COROUTINE.pin(x=X[:5]), ValueError, ["'x'", "(12,)", "(5,)"]),
        (lambda: COROUTINE.pin(n=0.0).unconstrained(), ValueError, ["'x'", "discrete"]),
        (lambda: SCHOOLS.pin(y=Y).unconstrained()(jnp.zeros(3)), ValueError, ["13", "(3,)"]),
        (lambda: SCHOOLS.pin(y=Y).unconstrained().init(), TypeError, ["seed"]),
        (lambda: SCHOOLS.pin(y=Y).log_density(mu=0.0), ValueError, ["'tau'", "no value"]),
        (lambda: tfd.JointDistributionNamed(dict(a=lambda b: tfd.Normal(b, 1.0))), ValueError, ["'a'", "'b'"]),
        (
            lambda: tfd.JointDistributionNamed(dict(a=lambda b: tfd.Normal(b, 1.0), b=lambda a: tfd.Normal(a, 1.0))),
            ValueError,
            ["'a', 'b'", "circle"],
        ),
        (lambda: NAMED.log_prob([1.0, 2.0, X]), TypeError, ["by name"]),
        (
            lambda: tfd.JointDistributionSequential([lambda x: tfd.Normal(x, 1.0)]).sample(seed=KEY),
            ValueError,
            ["'var0'", "1 values", "0 come before"],
        ),
        (
            lambda: tfd.JointDistributionNamed({"a": tfd.Normal(0.0, 1.0)}, batch_ndims=1),
            ValueError,
            ["batch_ndims", "vmap"],
        ),
    ],
)
def test_errors_name_the_site_and_what_was_expected(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_arguments_with_a_default_keep_it():
    half = tfd.HalfNormal(1.0)
    model = tfd.JointDistributionSequential([half, half, lambda a, s=100.0: tfd.Normal(a, s)])
    expected = 2 * st.halfnorm.logpdf(1) + st.norm(1, 100).logpdf(50)
    np.testing.assert_allclose(model.log_prob([1.0, 1.0, 50.0]), expected, rtol=1e-13)

    def normal(a, i):
        return tfd.Normal(a, 1.0 + i)

    for b in (lambda a, i=1: normal(a, i), lambda a, *, i=1: normal(a, i), functools.partial(normal, i=1)):
        named = tfd.JointDistributionNamed(dict(a=tfd.Normal(0.0, 1.0), b=b))
        expected = st.norm.logpdf(0.3) + st.norm(0.3, 2).logpdf(1)
        np.testing.assert_allclose(named.log_prob(a=0.3, b=1.0), expected, rtol=1e-13)
    # A keyword without default is a site, and so an order of values does not do.
    named = tfd.JointDistributionNamed(dict(a=tfd.Normal(0.0, 1.0), b=lambda *, a: tfd.Normal(a, 1.0)))
    np.testing.assert_allclose(named.log_prob(a=0.3, b=1.0), st.norm.logpdf(0.3) + st.norm.logpdf(0.7), rtol=1e-13)
    with pytest.raises(ValueError, match="var1' gets values in order, not by name"):
        tfd.JointDistributionSequential([half, lambda *, a: tfd.Normal(a, 1.0)]).log_prob([1.0, 1.0])


def test_given_values_and_the_sample_shape_are_one():
    named = tfd.JointDistributionNamed(dict(a=tfd.Normal(0.0, 1.0), b=lambda a: tfd.Normal(a, 0.01)))
    draws = named.sample(5, seed=random.key(0))
    for shape in ((), 5, (5,)):
        again = named.sample(shape, value={"a": draws["a"]}, seed=random.key(1))
        assert again["b"].shape == (5,) and np.all(np.abs(again["b"] - draws["a"]) < 0.1)
    assert named.sample(4, value={"a": 1.0}, seed=random.key(1))["b"].shape == (4,)
    with pytest.raises(ValueError, match=r"the given values have the sample shape \(5,\), so sample_shape must be"):
        named.sample(3, value={"a": draws["a"]}, seed=random.key(1))
    with pytest.raises(ValueError, match="b=None pins nothing"):
        named.pin(b=None)


def test_flat_priors_need_no_sampler():
    def model():
        mu = yield "mu", tfd.Flat()
        sigma = yield "sigma", tfd.HalfFlat()
        yield "y", tfd.Sample(tfd.Normal(mu, sigma), 3)

    y = np.array([1.0, 2.0, 4.0])
    density = tfd.JointDistributionCoroutine(model).pin(y=y).unconstrained()
    # The free coordinate of sigma is its logarithm.
    expected = st.norm(2, np.exp(0.5)).logpdf(y).sum() + 0.5
    np.testing.assert_allclose(density(jnp.array([2.0, 0.5])), expected, rtol=1e-13)
    with pytest.raises(NotImplementedError, match="Flat has no sample"):
        tfd.Flat().sample(seed=random.key(0))


def test_a_simplex_of_one_category():
    model = dict(w=tfd.Dirichlet(jnp.ones(1)), x=lambda w: tfd.Normal(w[0], 1.0))
    density = tfd.JointDistributionNamed(model).pin(x=0.0).unconstrained()
    assert density.dim == 0 and density.constrain(jnp.zeros(0))["w"] == 1
    np.testing.assert_allclose(density(jnp.zeros(0)), st.norm.logpdf(1), rtol=1e-14)


def test_a_uniform_made_outside_of_the_model():
    uniform = tfd.Uniform(2.0, 5.0)
    density = tfd.JointDistributionNamed(dict(u=uniform)).pin({}).unconstrained()
    for fn in (density, jax.jit(lambda x: density(x))):
        np.testing.assert_allclose(fn(jnp.zeros(1)), np.log(1 / 3) + np.log(3 / 4), rtol=1e-14)
    assert jax.jit(lambda x: bijector_for(uniform.support).forward(x))(0.0) == 3.5


# A joint distribution as a site of another.


def regression():
    slope = yield "slope", tfd.Normal(0.0, 1.0)
    yield "scale", tfd.HalfNormal(jnp.exp(slope))


def nested():
    z = yield "z", tfd.JointDistributionCoroutine(regression)
    n = yield (
        "n",
        tfd.JointDistributionNamed(dict(w=lambda u: tfd.Sample(tfd.Normal(u, z.scale), 2), u=tfd.Uniform(0, 1))),
    )
    pair = tfd.JointDistributionSequential((tfd.Normal(n["u"], 1.0), lambda x: tfd.Normal(x, z.scale)))
    v, _ = yield pair
    yield "y", tfd.Sample(tfd.Normal(v, 1.0), 3)


NESTED = tfd.JointDistributionCoroutine(nested)
NESTED_NAMES = ("z.slope", "z.scale", "n.u", "n.w", "var2.var0", "var2.var1", "y")


def test_nested_models_are_the_model_written_flat():
    draw = NESTED.sample(seed=KEY)
    assert NESTED.names == NESTED_NAMES and draw._fields == ("z", "n", "var2", "y")
    assert draw.z._fields == ("slope", "scale") and list(draw.n) == ["w", "u"] and isinstance(draw.var2, tuple)
    z, n, (v, w), y = draw
    expected = [
        st.norm.logpdf(z.slope),
        st.halfnorm(0, np.exp(z.slope)).logpdf(z.scale),
        0,
        np.sum(st.norm(n["u"], z.scale).logpdf(n["w"])),
        st.norm(n["u"]).logpdf(v),
        st.norm(v, z.scale).logpdf(w),
        np.sum(st.norm(v).logpdf(y)),
    ]
    np.testing.assert_allclose(NESTED.log_prob(draw), np.sum(expected), rtol=1e-12)
    parts = NESTED.log_prob_parts(draw)
    np.testing.assert_allclose(parts.n["w"], expected[3], rtol=1e-12)
    np.testing.assert_allclose(parts.var2[1], expected[5], rtol=1e-12)
    assert NESTED.event_shape.n == {"w": (2,), "u": ()} and NESTED.dtype.z.scale == jnp.float64
    many, log_probs = jax.jit(lambda: NESTED.sample_and_log_prob((2, 4), seed=KEY))()
    assert many.n["w"].shape == (2, 4, 2) and log_probs.shape == (2, 4)
    np.testing.assert_allclose(jax.jit(lambda x: NESTED.log_prob(x))(many), log_probs, rtol=1e-12)
    by_name = dict(zip(NESTED_NAMES, (z.slope, z.scale, n["u"], n["w"], v, w, y)))
    np.testing.assert_allclose(NESTED.log_prob(by_name), NESTED.log_prob(draw), rtol=1e-14)
    given = NESTED.sample(seed=KEY, value={"n": {"u": 0.5}})
    assert given.n["u"] == 0.5 and given.z == draw.z


def test_nested_sites_are_pinned_and_free():
    post = NESTED.pin(y=jnp.ones(3), n={"u": 0.25}, z=dict(slope=0.5, scale=None))
    assert post.names == ("z.scale", "n.w", "var2.var0", "var2.var1")
    assert set(post.pins) == {"y", "n.u", "z.slope"}
    density = post.unconstrained()
    x = density.init(KEY)
    value = density.constrain(x)
    assert value._fields == ("z", "n", "var2") and value.z._fields == ("scale",) and list(value.n) == ["w"]
    full = NESTED.log_prob(
        {"z": {"slope": 0.5, **value.z._asdict()}, "n": {"u": 0.25, **value.n}, "var2": value.var2, "y": jnp.ones(3)}
    )
    np.testing.assert_allclose(post.log_density(value), full, rtol=1e-13)
    np.testing.assert_allclose(density.unconstrain(value), x, rtol=1e-12)
    for name, shape in (("z.scale", ()), ("n.w", (2,))):
        assert density.split(x)[name].shape == shape


def small():
    mu = yield "mu", tfd.Normal(0.0, 5.0)
    tau = yield "tau", tfd.HalfNormal(jnp.exp(mu))
    yield "top", tfd.Uniform(0.0, 1.0 + tau)
    yield "weights", tfd.Dirichlet(jnp.ones(3))


SMALL = tfd.JointDistributionCoroutine(small).pin({})


def test_positions_of_values():
    density = SMALL.unconstrained()
    values = SMALL.sample_unpinned(seed=KEY)
    for given in (values, values._asdict(), tuple(values)):
        np.testing.assert_allclose(density.position_of(given), density.unconstrain(values), rtol=1e-12)
    many = SMALL.sample_unpinned(4, seed=KEY)
    out = density.position_of(many)
    assert out.shape == (4, density.dim)
    np.testing.assert_allclose(density.constrain(out).tau, many.tau, rtol=1e-12)
    # Inside of a compiled program too.
    np.testing.assert_allclose(jax.jit(lambda v: density.position_of(v))(many._asdict()), out, rtol=1e-12)
    assert tfd.JointDistributionNamed(dict(a=tfd.Normal(0.0, 1.0))).pin(a=0.0).unconstrained().position_of(
        {}
    ).shape == (0,)
    for changed, words in [
        ({"tau": None}, ["'tau'", "no value"]),
        ({"tau": -1.0}, ["'tau'", "support", "-1.0"]),
        ({"tau": 0.0}, ["'tau'", "support"]),
        ({"top": 1e9}, ["'top'", "support"]),
        ({"weights": jnp.ones(2)}, ["'weights'", "(3,)", "(2,)"]),
        ({"tau": jnp.ones(4)}, ["'mu'", "no axis of chains"]),
        ({"mu": jnp.ones((2, 4))}, ["one axis of chains", "(2, 4)"]),
        ({"tua": 1.0}, ["'tua'", "did you mean 'tau'"]),
        ({"top": "a"}, ["'top'", "numbers"]),
    ]:
        with pytest.raises((ValueError, TypeError)) as caught:
            density.position_of(values._asdict() | changed)
        for word in words:
            assert word in str(caught.value), str(caught.value)
    with pytest.raises(ValueError, match="chains differ"):
        density.position_of({n: x[:1] if n == "mu" else x for n, x in many._asdict().items()})


@pytest.mark.parametrize(
    "value",
    [
        np.ma.masked_array([1.0] * 8, [0, 1] * 4),
        [1.0, None, 2.0],
        "abc",
        "a",
        b"a",
        ["a", "b"],
        np.array([1.0] * 8, object),
        np.array(["a"] * 8),
        jnp.ones(8) * 1j,
        {"a": 1.0},
        lambda x: x,
        random.key(0),
        2**200,
    ],
)
def test_data_that_are_no_numbers_name_the_site(value):
    with pytest.raises(TypeError, match="JointDistributionCoroutine: the value of site 'y'"):
        SCHOOLS.pin(y=value)


def test_data_as_users_have_them():
    whole = np.ma.masked_array(np.asarray(Y), [False] * 8)
    for value in (whole, list(np.asarray(Y)), tuple(np.asarray(Y)), np.asarray(Y, np.float32), np.asarray(Y, int)):
        np.testing.assert_array_equal(SCHOOLS.pin(y=value).pins["y"], Y)
    with pytest.raises(ValueError, match=r"pin: which sites have which values.*pin\(\{\}\) leaves all free"):
        SCHOOLS.pin()
    assert SCHOOLS.pin({}).names == SCHOOLS.names


def test_entropy_and_divergence_of_independent_sites():
    def pair(loc, concentration, kind):
        inner = tfd.JointDistributionNamed(dict(g=lambda: tfd.Gamma(jnp.full(2, concentration), 1.0)))
        sites = dict(a=tfd.Normal(loc, 2.0), b=inner)
        return (
            tfd.JointDistributionNamed(sites)
            if kind == "named"
            else tfd.JointDistributionSequential(list(sites.values()))
        )

    for kind in ("named", "sequential"):
        p, q = pair(0.0, 2.0, kind), pair(1.0, 3.0, kind)
        np.testing.assert_allclose(p.entropy(), st.norm(0, 2).entropy() + 2 * st.gamma(2).entropy(), rtol=1e-12)
        kl = 1 / 8 + 2 * tfd.Gamma(2.0, 1.0).kl_divergence(tfd.Gamma(3.0, 1.0))
        np.testing.assert_allclose(p.kl_divergence(q), kl, rtol=1e-12)
        np.testing.assert_allclose(tfd.kl_divergence(p, q), kl, rtol=1e-12)
        np.testing.assert_allclose(p.cross_entropy(q), p.entropy() + kl, rtol=1e-12)
    with pytest.raises(ValueError, match="sites"):
        pair(0.0, 2.0, "named").kl_divergence(pair(0.0, 2.0, "sequential"))
    with pytest.raises(ValueError, match="'n' depends on others"):
        tfd.JointDistributionNamed(dict(m=tfd.Normal(0.0, 1.0), n=lambda m: tfd.Normal(m, 1.0))).entropy()
    with pytest.raises(ValueError, match="'var1' depends on others"):
        tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), lambda m: tfd.Normal(m, 1.0)]).entropy()
    with pytest.raises(NotImplementedError, match="JointDistributionCoroutine"):
        SCHOOLS.entropy()
    with pytest.raises(ValueError, match="'a/b' is to be a field"):
        tfd.JointDistributionCoroutine(slash).sample(seed=KEY)


def slash():
    yield "a/b", tfd.Normal(0.0, 1.0)
