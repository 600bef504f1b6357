"""Far tails, edges and limits, where formulas that are right in the middle fail."""

import functools
import math

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import mpmath as mp
import numpy as np
import pytest
import scipy.stats as sps

import distrax_like.distributions as dist

mp.mp.dps = 40


def expected(fn, x):
    return np.array([float(fn(mp.mpf(float(v)))) for v in x])


@pytest.mark.parametrize("dtype, rtol", [(jnp.float64, 1e-13), (jnp.float32, 2e-6)])
def test_log_tails(dtype, rtol):
    one = jnp.ones((), dtype)
    small, large = jnp.asarray([1e-12, 1e-3, 0.5], dtype), jnp.asarray([2.0, 30.0, 1e4], dtype)

    def check(method, x, fn):
        np.testing.assert_allclose(jax.jit(lambda x: method(x))(x), expected(fn, x), rtol=rtol)

    half_normal, half_cauchy = dist.HalfNormal(one), dist.HalfCauchy(0 * one, one)
    exponential, log_normal, uniform = dist.Exponential(one), dist.LogNormal(0 * one, one), dist.Uniform(0 * one, one)
    check(half_normal.log_cdf, small, lambda x: mp.log(mp.erf(x / mp.sqrt(2))))
    check(half_normal.log_survival_function, small, lambda x: mp.log(mp.erfc(x / mp.sqrt(2))))
    check(half_normal.log_survival_function, large, lambda x: mp.log(mp.erfc(x / mp.sqrt(2))))
    check(half_cauchy.log_cdf, small, lambda x: mp.log(2 / mp.pi * mp.atan(x)))
    check(half_cauchy.log_cdf, large, lambda x: mp.log(2 / mp.pi * mp.atan(x)))
    check(half_cauchy.log_survival_function, large, lambda x: mp.log(2 / mp.pi * mp.atan(1 / x)))
    check(exponential.log_cdf, small, lambda x: mp.log(-mp.expm1(-x)))
    check(exponential.log_survival_function, large, lambda x: -x)
    check(log_normal.log_survival_function, large, lambda x: mp.log(mp.erfc(mp.log(x) / mp.sqrt(2)) / 2))
    check(log_normal.log_cdf, small, lambda x: mp.log(mp.erfc(-mp.log(x) / mp.sqrt(2)) / 2))
    check(uniform.log_cdf, small, mp.log)
    check(uniform.log_survival_function, small, lambda x: mp.log(1 - x))
    for d in (half_normal, half_cauchy, exponential, log_normal):
        slope = jax.jit(jax.vmap(jax.grad(lambda x: d.log_survival_function(x) + d.log_cdf(x))))
        assert np.all(np.isfinite(slope(jnp.concatenate([small, large]))))


def test_student_t_of_many_degrees_of_freedom():
    for dtype, rtol in ((jnp.float32, 1e-6), (jnp.float64, 1e-13)):
        for df in (20.0, 70.0, 1e3, 1e7):
            t = dist.StudentT(dtype(df), dtype(0), dtype(1))
            log_prob = mp.loggamma((df + 1) / mp.mpf(2)) - mp.loggamma(df / mp.mpf(2)) - mp.log(df * mp.pi) / 2
            log_prob -= (df + 1) / mp.mpf(2) * mp.log1p(mp.mpf(1) / df)
            np.testing.assert_allclose(t.log_prob(1.0), float(log_prob), rtol=rtol)
            d = mp.mpf(df)
            entropy = (d + 1) / 2 * (mp.digamma((d + 1) / 2) - mp.digamma(d / 2))
            entropy += mp.log(mp.sqrt(d) * mp.beta(0.5, d / 2))
            np.testing.assert_allclose(t.entropy(), float(entropy), rtol=rtol)
    t = dist.StudentT(3.0, 0.0, 1.0)
    assert np.isfinite(t.log_prob(1e200)) and np.isfinite(jax.grad(t.log_prob)(1e200))
    assert jax.grad(t.cdf)(0.0) == pytest.approx(float(t.prob(0.0)), rel=1e-14)
    # For three degrees of freedom, by differences of the density's integral.
    scale = lambda df: mp.sqrt(df) * mp.beta(mp.mpf(1) / 2, df / 2)
    cdf = lambda df: mp.quad(lambda z: (1 + z * z / df) ** (-(df + 1) / 2), [0, mp.mpf(0.3)]) / scale(df)
    slope = jax.grad(lambda df: dist.StudentT(df, 0.0, 1.0).cdf(0.3))(3.0)
    assert slope == pytest.approx(float(mp.diff(cdf, mp.mpf(3))), rel=1e-10)
    assert np.isnan(dist.StudentT(0.9, 0.0, 1.0).mean()) and np.isnan(dist.StudentT(0.9, 0.0, 1.0).variance())
    assert np.isinf(dist.StudentT(1.5, 0.0, 1.0).variance())


def test_beta_of_large_concentrations():
    """Where the powers and the beta function are of a millionfold the size of the log density."""
    for dtype in (np.float32, np.float64):
        for a, b, z in ((4, 4, 0.3), (1e3, 7, -2), (1e5, 2e6, 1.5), (3e6, 1e6, -1), (1e4, 1e9, 0.5)):
            x = dtype(a / (a + b) * (1 + z * math.sqrt(b / a / (a + b))))
            p, q, y = (mp.mpf(float(v)) for v in (a, b, x))
            expected = (p - 1) * mp.log(y) + (q - 1) * mp.log1p(-y) - mp.log(mp.beta(p, q))
            got = float(dist.Beta(dtype(a), dtype(b)).log_prob(x))
            assert float(abs(got - expected)) < 60 * np.finfo(dtype).eps * float(abs(expected))


def test_small_concentrations():
    """Draws of tiny concentrations stay inside the support, with a finite density and gradient."""
    key = jax.random.key(0)
    tiny = jnp.float32(1e-3)
    dirichlet = lambda a: dist.Dirichlet(jnp.stack([a, a, a]))
    for make in (lambda a: dist.Gamma(a, 1.0), lambda a: dist.Beta(a, a), dirichlet):

        @jax.jit
        def run(a):
            def draw(a):
                x, log_prob = make(a).sample_and_log_prob(2000, seed=key)
                return x.sum(), (x, log_prob)

            return jax.grad(draw, has_aux=True)(a)

        slope, (x, log_prob) = run(tiny)
        assert np.all(np.isfinite(x)) and np.all(np.isfinite(log_prob)) and np.isfinite(slope)
        if isinstance(make(tiny), dist.Beta):
            assert abs(np.mean(np.asarray(x) > 0.5) - 0.5) < 5.33 * 0.5 / 2000**0.5


def test_undefined_modes():
    assert np.isnan(dist.Gamma(0.5, 1.0).mode()) and dist.Gamma(1.0, 1.0).mode() == 0
    assert np.isnan(dist.Beta(0.5, 2.0).mode()) and np.all(np.isnan(dist.Dirichlet([0.5, 2.0]).mode()))
    dirichlet = lambda a: dist.Dirichlet(jnp.stack([a, a]))
    for make in (lambda a: dist.Gamma(a, 1.0), lambda a: dist.Beta(a, 1.0 + a), dirichlet):
        assert np.all(np.isfinite(jax.jacobian(lambda a: make(a).mode())(0.5)))


def test_zero_probabilities():
    def finite(fn, *args):
        slopes = jax.jit(jax.jacobian(fn, tuple(range(len(args)))))(*args)
        assert not any(np.any(np.isnan(slope)) for slope in slopes)

    p = jnp.array([0.0, 0.4, 0.6])
    finite(lambda p: dist.Categorical(probs=p).log_prob(jnp.arange(3)), p)
    finite(lambda p: dist.Categorical(probs=p).entropy(), p)
    finite(lambda p: dist.Binomial(4.0, probs=p).log_prob(jnp.array([0.0, 1.0, 4.0])), jnp.array([0.0, 1.0, 1.0]))
    finite(lambda p: dist.Bernoulli(probs=p).log_prob(jnp.array([0.0, 1.0, 1.0])), jnp.array([0.0, 1.0, 0.0]))
    finite(lambda p: dist.Bernoulli(probs=p).entropy(), jnp.array([0.0, 1.0, 0.3]))
    finite(lambda r: dist.Poisson(r).log_prob(jnp.array([0.0, 3.0])), jnp.zeros(2))
    assert list(dist.Poisson(jnp.zeros(2)).log_prob([0.0, 3.0])) == [0, -np.inf]
    log_prob = dist.Binomial(4.0, probs=[0.0, 1.0, 0.0]).log_prob([0.0, 4.0, 1.0])
    np.testing.assert_allclose(log_prob, [0, 0, -np.inf], atol=1e-15)

    def mixture(p, loc, value):
        return dist.MixtureSameFamily(dist.Categorical(probs=p), dist.Normal(loc, 1.0)).log_prob(value)

    loc = jnp.array([1.0, 2.0, 1e200])
    finite(mixture, p, jnp.arange(3.0), 0.3)
    finite(mixture, p[::-1], loc, 0.3)  # the density of a component of weight zero may be zero too
    np.testing.assert_allclose(mixture(p, jnp.arange(3.0), 0.3), mixture(p[1:], jnp.arange(1.0, 3), 0.3), rtol=1e-15)


def test_mixture_of_different_supports():
    m = dist.MixtureSameFamily(dist.Categorical(probs=[0.25, 0.75]), dist.Uniform([0.0, 2.0], [1.0, 4.0]))
    x = jnp.array([0.5, 1.5, 3.0, 5.0])
    np.testing.assert_allclose(m.prob(x), [0.25, 0, 0.375, 0])
    np.testing.assert_allclose(m.cdf(x), [0.125, 0.25, 0.625, 1])
    grads = jax.vmap(jax.grad(lambda m, x: m.log_prob(x), (0, 1)), (None, 0))(m, x)
    assert all(np.all(np.isfinite(g)) for g in jtu.tree_leaves(grads))
    assert list(m.posterior_mode(x[jnp.array([0, 2])])) == [0, 1]
    far = dist.MixtureSameFamily(dist.Categorical([0.0, 0.0]), dist.Normal([0.0, 1.0], 1.0))
    tail = dist.Normal(1.0, 1.0).log_survival_function(60.0) - np.log(2)
    np.testing.assert_allclose(far.log_survival_function(60.0), tail, rtol=1e-14)


def test_divergences_at_the_edges():
    kl = dist.kl_divergence
    assert kl(dist.Uniform(0.0, 2.0), dist.Uniform(0.5, 3.0)) == np.inf
    assert kl(dist.Binomial(5.0, 0.0), dist.Binomial(4.0, 0.0)) == np.inf
    assert np.isnan(kl(dist.Binomial(4.0, 0.0), dist.Binomial(5.0, 0.0)))
    assert kl(dist.Poisson(0.0), dist.Poisson(2.0)) == 2 and kl(dist.Poisson(1.0), dist.Poisson(0.0)) == np.inf
    # Without cancellation for near neighbours: half the Fisher information times the square of the step.
    step = 1e-9
    pairs = [
        (dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0 + step), 1.0),
        (dist.Exponential(1.0), dist.Exponential(1.0 + step), 0.5),
        (dist.HalfNormal(1.0), dist.HalfNormal(1.0 + step), 1.0),
        (dist.Poisson(log_rate=0.0), dist.Poisson(log_rate=step), 0.5),
    ]
    for p, q, information in pairs:
        np.testing.assert_allclose(kl(p, q), information * step**2, rtol=1e-5)
    p, q = dist.StudentT(5.0, 0.0, 1.0), dist.Normal(0.0, 2.0)
    estimate = dist.monte_carlo_kl_divergence(p, q, 4000, seed=jax.random.key(0))
    assert 0.1 < estimate < 0.6
    with pytest.raises(ValueError, match="is registered already"):
        dist.register_kl(dist.Normal, dist.Normal)(lambda p, q: p.loc)


def test_parametrisations():
    np.testing.assert_allclose(dist.Gamma(2.0, log_rate=0.5).rate, np.exp(0.5))
    np.testing.assert_allclose(dist.Poisson(2.0).log_rate_parameter(), np.log(2))
    np.testing.assert_allclose(dist.Binomial(3.0, probs=0.3).probs_parameter(), 0.3)
    gammas = (lambda: dist.Gamma(1.0), lambda: dist.Gamma(1.0, 1.0, 1.0))
    for wrong in (*gammas, dist.Poisson, lambda: dist.Poisson(1.0, 1.0)):
        with pytest.raises(ValueError, match="takes exactly one of"):
            wrong()
    for cls in (dist.Bernoulli, dist.Categorical, lambda *a: dist.Binomial(3.0, *a)):
        for arguments in ((), ([0.5, 0.5], [0.5, 0.5])):
            with pytest.raises(ValueError, match="takes exactly one of probs and logits"):
                cls(*arguments)
    assert dist.Uniform(jnp.float32(0)).low.dtype == jnp.float32
    assert dist.Uniform(high=jnp.float32(2)).low.dtype == jnp.float32


@pytest.mark.parametrize("dtype, rtol", [(jnp.float64, 1e-12), (jnp.float32, 2e-5)])
def test_derivatives_at_probabilities_of_exactly_zero_and_one(dtype, rtol):
    zero, one = dtype(0), dtype(1)
    for fn, at, expected in (
        (lambda p: dist.Bernoulli(probs=p).log_prob(0), zero, -1),
        (lambda p: dist.Bernoulli(probs=p).log_prob(1), one, 1),
        (lambda p: dist.Bernoulli(probs=p).mean(), zero, 1),
        (lambda p: dist.Bernoulli(probs=p).mean(), one, 1),
        (lambda p: dist.Binomial(dtype(10), probs=p).log_prob(0), zero, -10),
        (lambda p: dist.Binomial(dtype(10), probs=p).log_prob(10), one, 10),
        (lambda p: dist.Binomial(dtype(10), probs=p).mean(), zero, 10),
        (lambda r: dist.Poisson(r).log_prob(0), zero, -1),
        (lambda r: dist.Poisson(r).mean(), zero, 1),
        (lambda r: dist.Poisson(r).variance(), zero, 1),
    ):
        np.testing.assert_allclose(jax.jit(jax.grad(fn))(at), expected, rtol=rtol)
    weights = jnp.asarray([0, 0.5, 0.5], dtype)
    got = jax.grad(lambda p: dist.Categorical(probs=p).log_prob(1))(weights)
    np.testing.assert_allclose(got, [-1, 1, -1], rtol=rtol)

    def mixture(weights):
        return dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Normal(jnp.arange(3, dtype=dtype), one))

    density = np.array([np.exp(-((0.3 - k) ** 2) / 2) for k in range(3)])
    got = jax.jit(jax.grad(lambda p: mixture(p).log_prob(dtype(0.3))))(weights)
    np.testing.assert_allclose(got, density / (weights @ density) - 1, rtol=rtol)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda p: mixture(p).mean()))(weights), [-1.5, -0.5, 0.5], rtol=rtol)
    # Nothing is NaN where no component explains the value.
    apart = dist.Uniform(jnp.asarray([0, 2], dtype), jnp.asarray([1, 3], dtype))
    slope = jax.grad(lambda p: dist.MixtureSameFamily(dist.Categorical(probs=p), apart).log_prob(dtype(1.5)))
    assert np.all(np.isfinite(slope(jnp.asarray([0.5, 0.5], dtype))))


def test_counts_of_millions_in_single_precision():
    """Log densities, entropies and divergences whose terms cancel, at the single-precision arguments."""
    a = jnp.asarray([1e6, 2e6, 3e6], jnp.float32)
    x = jnp.asarray([0.166, 0.334, 0.5], jnp.float32)
    np.testing.assert_allclose(dist.Dirichlet(a).log_prob(x), 3.4576, atol=2e-3)
    np.testing.assert_allclose(dist.Dirichlet(a).entropy(), -14.5612, atol=1e-4)
    np.testing.assert_allclose(dist.Gamma(a[0], jnp.float32(1)).entropy(), 8.3267, atol=1e-4)
    np.testing.assert_allclose(dist.Beta(a[0], a[1]).entropy(), -6.7902, atol=1e-4)
    p = dist.Gamma(jnp.float32(1e4), jnp.float32(1))
    np.testing.assert_allclose(p.kl_divergence(dist.Gamma(jnp.float32(10100), jnp.float32(1.01))), 2.4835e-5, rtol=1e-3)
    bernoulli = dist.Bernoulli(probs=jnp.float32(0.3))
    kl = bernoulli.kl_divergence(dist.Bernoulli(probs=jnp.float32(0.30001)))
    np.testing.assert_allclose(kl, 2.37e-10, rtol=2e-2)


def test_infinitely_many_degrees_of_freedom_are_a_normal_distribution():
    t, normal = dist.StudentT(jnp.inf, 1.0, 2.0), dist.Normal(1.0, 2.0)
    for method in ("log_prob", "cdf", "log_cdf", "survival_function"):
        np.testing.assert_allclose(getattr(t, method)(0.3), getattr(normal, method)(0.3), rtol=1e-13)
    for method in ("mean", "variance", "stddev", "entropy"):
        np.testing.assert_allclose(getattr(t, method)(), getattr(normal, method)(), rtol=1e-13)
    slopes = jax.grad(lambda df, x: dist.StudentT(df, 1.0, 2.0).log_prob(x), (0, 1))(jnp.inf, 0.3)
    np.testing.assert_allclose(slopes, [0, 0.7 / 4], rtol=1e-13)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_heavy_tails_have_finite_draws_and_densities(dtype):
    for d in (
        dist.StudentT(dtype(0.01), dtype(0), dtype(1)),
        dist.StudentT(dtype(0.01), dtype(3), dtype(1e10)),
        dist.StudentT(dtype(0.01), dtype(0), dtype(1e-10)),
        dist.HalfCauchy(dtype(0), dtype(1)),
    ):
        draws = d.sample(20_000, seed=jax.random.key(0))
        assert np.all(np.isfinite(draws)) and np.all(np.isfinite(d.log_prob(draws)))


def test_events_of_length_zero():
    empty, square = jnp.zeros(0), jnp.zeros((0, 0))
    for d in (dist.MultivariateNormalTriL(empty, square), dist.MultivariateNormalDiag(empty, empty)):
        assert d.log_prob(empty) == 0 and d.entropy() == 0 and d.kl_divergence(d) == 0
        assert d.sample(3, seed=jax.random.key(0)).shape == (3, 0)
    assert dist.Sample(dist.Normal(0.0, 1.0), 0).log_prob(empty) == 0
    assert dist.Normal(jnp.zeros((0, 3)), 1.0).log_prob(0.0).shape == (0, 3)


def test_rare_outcomes_are_as_frequent_as_their_probabilities():
    """Counts of a hundred million draws in single precision; Poisson bounds at 1e-7 on either side."""
    keys = jax.random.split(jax.random.key(7), 25)
    cases = {
        1e-10: lambda p: dist.Bernoulli(probs=p),
        2e-7: lambda p: dist.Bernoulli(probs=p),
        3e-7: lambda p: dist.Categorical(probs=jnp.stack([1 - 2 * p, p, p])),
    }
    for p, make in cases.items():
        count = jax.jit(lambda key, p, make=make: jnp.sum(make(p).sample(4_000_000, seed=key) == 1))
        found = sum(int(count(key, jnp.float32(p))) for key in keys)
        low, high = sps.poisson(1e8 * p).ppf([1e-7, 1 - 1e-7])
        assert low <= found <= high, (p, found)


def test_sixteen_bits():
    logits = jnp.zeros(1000, jnp.bfloat16).at[257].set(5)
    d = dist.Categorical(logits)
    np.testing.assert_allclose(d.log_prob(257), 5 - np.log(999 + np.exp(5)), rtol=2**-8)
    np.testing.assert_allclose(d.log_prob(256), -np.log(999 + np.exp(5)), rtol=2**-8)
    assert d.log_prob(3).dtype == jnp.bfloat16
    flat = dist.Categorical(jnp.zeros(1000, jnp.bfloat16)).sample(20_000, seed=jax.random.key(0))
    assert np.unique(flat).size == 1000
    rare = dist.Bernoulli(jnp.bfloat16(-7)).sample(200_000, seed=jax.random.key(0))
    assert 111 <= np.sum(rare) <= 259  # 182 expected, at 1e-7


TAILS = ("cdf", "log_cdf", "survival_function", "log_survival_function")


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 3e-6), (np.float64, 1e-12)])
def test_standardised_values_that_underflow_or_overflow(dtype, rtol):
    """Values times rates, or over scales, that no floating number holds, where the distribution functions are."""
    tiny, x = (dtype(1e-30), dtype(1e-20)) if dtype == np.float32 else (dtype(1e-300), dtype(1e-100))
    a, huge = dtype(0.01), 1 / tiny
    with mp.workdps(40):
        b, c, v, h = (mp.mpf(float(number)) for number in (a, tiny, x, huge))
        lower = (c * v) ** b / mp.gamma(1 + b)
        t, large = mp.mpf("1.5"), 1 / (v * c)  # the standardised value
        t_log = mp.loggamma((t + 1) / 2) - mp.loggamma(t / 2) - mp.log(t * mp.pi) / 2
        t_tail = t_log - t * mp.log(large) + (t - 1) / 2 * mp.log(t)
        logs = ("log_cdf", "log_survival_function")
        cases = [
            (lambda s, m: dist.Gamma(a, s), x, TAILS, (lower, mp.log(lower), 1 - lower, mp.log(1 - lower))),
            (lambda s, m: dist.Exponential(s), x, logs, (mp.log(c * v), 0)),
            (lambda s, m: dist.HalfNormal(m), x, logs, (mp.log(v / h * mp.sqrt(2 / mp.pi)), 0)),
            (lambda s, m: dist.HalfCauchy(0 * m, m), x, logs, (mp.log(v / h * 2 / mp.pi), 0)),
            (lambda s, m: dist.HalfCauchy(0 * s, s), 1 / x, logs, (0, mp.log(2 / mp.pi / large))),
            (lambda s, m: dist.Uniform(0 * m, m), x, logs, (mp.log(v / h), 0)),
            (lambda s, m: dist.StudentT(dtype(1.5), 0 * s, s), 1 / x, logs, (0, t_tail)),
            (lambda s, m: dist.Poisson(log_rate=dtype(-800) + 0 * s), dtype(0), logs[1:], (-800,)),
            (lambda s, m: dist.Binomial(dtype(10), dtype(-800) + 0 * s), dtype(0), logs[1:], (mp.log(10) - 800,)),
            (lambda s, m: dist.Binomial(dtype(10), dtype(-40) + 0 * s), dtype(0), TAILS[2:3], (10 * mp.exp(-40),)),
            (lambda s, m: dist.Binomial(dtype(10), dtype(40) + 0 * s), dtype(9), TAILS[:1], (10 * mp.exp(-40),)),
        ]  # fmt: skip

        @jax.jit
        def run(s, m, values):
            found = [[getattr(make(s, m), name)(y) for name in names] for (make, _, names, _), y in zip(cases, values)]
            heavy = [dist.StudentT(dtype(1.5), 0 * s, s).log_prob(1 / x), dist.HalfCauchy(0 * s, s).log_prob(1 / x)]
            return found, heavy, dist.Gamma(a, s).quantile(found[0][0])

        @jax.jit
        @functools.partial(jax.grad, argnums=(0, 1))
        def slopes(s, m):
            heavy = dist.StudentT(dtype(1), 0 * s, s).log_prob(1 / x)
            return dist.Gamma(a, s).log_cdf(x) + dist.Exponential(s).log_cdf(x) + (
                heavy + dist.HalfNormal(m).log_cdf(x) + dist.HalfCauchy(0 * m, m).log_cdf(x)
            )

        found, heavy, quantile = run(tiny, huge, [y for _, y, *_ in cases])
        for got, (*_, wanted) in zip(found, cases):
            for value, want in zip(got, wanted):
                np.testing.assert_allclose(value, float(want), rtol=rtol, atol=1e-300)
        density = t_log - mp.mpf("1.25") * mp.log1p(large**2 / t) - mp.log(c)
        np.testing.assert_allclose(heavy[0], float(density), rtol=rtol)
        np.testing.assert_allclose(heavy[1], float(mp.log(2 / mp.pi) - mp.log1p(large**2) - mp.log(c)), rtol=rtol)
        # Powers of s of 0.01, 1 and 1, and twice one over m.
        np.testing.assert_allclose(slopes(tiny, huge), [2.01 / tiny, -2 / huge], rtol=rtol)
        np.testing.assert_allclose(quantile, x, rtol=100 * rtol)
    draws = dist.Gamma(a, tiny).sample(100_000, seed=jax.random.key(0))
    assert abs(np.mean(np.asarray(draws) < x) - float(lower)) < 5.33 * 0.5 / 100_000**0.5


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 2e-6), (np.float64, 1e-14)])
def test_entropies_and_divergences_that_nearly_vanish(dtype, rtol):
    eps = float(np.finfo(dtype).eps)
    p = np.asarray([0.2, 0.3, 0.5], dtype)
    logits, step = np.log(p), np.asarray([16 * eps, 0, 0], dtype)
    shifted = (logits + step + np.asarray(8, dtype)).astype(dtype)
    with mp.workdps(50):
        # Of the logits as rounding left them.
        exact = [[mp.mpf(float(v)) for v in row] for row in (logits, logits + step, shifted)]
        logs = [[v - mp.log(mp.fsum(map(mp.exp, row))) for v in row] for row in exact]
        kl = lambda a, b: float(mp.fsum(mp.exp(x) * (x - y) for x, y in zip(a, b)))
        got = jax.jit(jax.vmap(lambda q: dist.Categorical(logits).kl_divergence(dist.Categorical(q))))
        found = got(jnp.stack([logits + step, shifted, logits]))
        np.testing.assert_allclose(found[0], kl(logs[0], logs[1]), rtol=100 * rtol)
        np.testing.assert_allclose(found[1], kl(logs[0], logs[2]), rtol=100 * rtol)
        assert found[2] == 0
        sure = np.asarray([-30, 0, -25, -np.inf], dtype)
        weights = [mp.exp(v) for v in (-30, 0, -25)]
        total = mp.fsum(weights)
        entropy = -mp.fsum(w / total * mp.log(w / total) for w in weights)
        np.testing.assert_allclose(dist.Categorical(sure).entropy(), float(entropy), rtol=rtol)
    # Far apart, and with probabilities of zero.
    zero = dist.Categorical(probs=np.asarray([0, 0.5, 0.5], dtype))
    full = dist.Categorical(probs=np.asarray([0.1, 0.4, 0.5], dtype))
    np.testing.assert_allclose(zero.kl_divergence(full), 0.5 * np.log(0.5 / 0.4), rtol=rtol)
    assert full.kl_divergence(zero) == np.inf and zero.kl_divergence(zero) == 0
    far = dist.Categorical(np.asarray([0, -60], dtype)).kl_divergence(dist.Categorical(np.asarray([-60, 0], dtype)))
    np.testing.assert_allclose(far, 60, rtol=rtol)
    with pytest.raises(ValueError, match="KL of Categoricals of 3 and 2 categories"):
        full.kl_divergence(dist.Categorical(probs=np.asarray([0.5, 0.5], dtype)))
    # d entropy = -l p (1 - p) and d variance = p (1 - p) (1 - 2 p), which vanish at l = 0.
    for l in (1e-6, -1e-3, 20.0):
        methods = (lambda l: dist.Bernoulli(l).entropy(), lambda l: dist.Bernoulli(l).variance())
        slopes = [jax.grad(method)(jnp.asarray(l, dtype)) for method in methods]
        variance = 1 / (2 + 2 * np.cosh(np.float64(dtype(l))))
        np.testing.assert_allclose(slopes, [-l * variance, -variance * np.tanh(l / 2)], rtol=10 * rtol)
    slope = jax.grad(lambda l: dist.Categorical(l).entropy())(jnp.asarray([1e-6, 0, 0], dtype))
    np.testing.assert_allclose(slope, [-2e-6 / 9, 1e-6 / 9, 1e-6 / 9], rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_modes_at_whole_numbers(dtype):
    n = np.arange(1, 200, dtype=dtype)
    assert np.all(dist.Poisson(n).mode() == n) and np.all(dist.Poisson(1000 * n).mode() == 1000 * n)
    assert np.all(dist.Poisson(n + dtype(0.5)).mode() == n)
    assert np.all(dist.Binomial(n, probs=dtype(0.3)).mode() == (n + 1) * 3 // 10)
