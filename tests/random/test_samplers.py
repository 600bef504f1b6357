"""Samplers against distribution functions, their derivatives, and how they behave as functions.

One compiled function a sampler and width draws DRAWS for each of a row of parameters; every statistical test reads it.
"""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

from distrax_like import random
from distrax_like.random import _gamma

DRAWS = 100_000
# A false alarm of a whole run of about 300 comparisons is then one in 1e4.
ALARM = 1e-6 / 3

WIDTHS = [np.float32, np.float64]
widths = pytest.mark.parametrize("dtype", WIDTHS)

CONCENTRATIONS = [1e-3, 1e-2, 0.1, 0.5, 0.99, 1.0, 1.5, 3.0, 10.0, 100.0, 1e4, 1e6]
PAIRS = [(1e-3, 1e-3), (1e-2, 2.0), (0.5, 0.5), (1.0, 1.0), (3.0, 0.1), (7.0, 2.0), (1e3, 1e-2), (1e6, 1e6)]
FREEDOMS = [1e-3, 0.1, 0.5, 1.0, 2.5, 10.0, 1e3, 1e6, np.inf]
RATES = [0.0, 1e-6, 0.1, 1.0, 5.0, 9.99, 10.01, 30.0, 300.0, 1e4, 1e6, 1e7]
TRIALS = [
    (0, 0.3),
    (1, 0.5),
    (10, 0.02),
    (10, 0.999),
    (19, 0.5),
    (21, 0.5),
    (40, 0.3),
    (40, 0.7),
    (400, 0.01),
    (1000, 0.5),
    (1e5, 1e-4),
    (1e5, 0.3),
    (1e7, 2e-6),
    (1e7, 0.25),
]
NEGATIVES = [(0.5, 0.3), (3.0, 0.9), (20.0, 0.5), (200.0, 0.02), (1e4, 0.5)]
VON_MISES = [0.0, 1e-6, 0.01, 0.5, 2.0, 10.0, 100.0, 1e4, 1e6]
INTERVALS = [
    (-np.inf, np.inf),
    (-1.0, 2.0),
    (-3.0, 0.1),
    (0.0, np.inf),
    (-0.5, np.inf),
    (2.0, 2.5),
    (8.0, np.inf),
    (-np.inf, -8.0),
    (20.0, 21.0),
    (-21.0, -20.0),
    (100.0, np.inf),
    (1e4, 2e4),
    (-1e-3, 1e-3),
    (3.0, 3.0 + 2.0**-10),
]


def rows(table, dtype):
    return tuple(jnp.asarray(column, dtype) for column in zip(*table))


def row(values, dtype):
    return (jnp.asarray(values, dtype),)


SAMPLERS = {
    "loggamma": (random.loggamma, functools.partial(row, CONCENTRATIONS)),
    "log_beta": (random.log_beta, functools.partial(rows, PAIRS)),
    "t": (random.t, functools.partial(row, FREEDOMS)),
    "poisson": (random.poisson, functools.partial(row, RATES)),
    "binomial": (random.binomial, functools.partial(rows, TRIALS)),
    "negative_binomial": (random.negative_binomial, functools.partial(rows, NEGATIVES)),
    "von_mises": (random.von_mises, functools.partial(row, VON_MISES)),
    "truncated_normal": (random.truncated_normal, functools.partial(rows, INTERVALS)),
}


@functools.cache
def draws(name, dtype):
    """The draws, of shape (DRAWS, number of parameters), and the parameters as they are after rounding."""
    sampler, make = SAMPLERS[name]
    params = make(dtype)
    x = jax.jit(lambda key, *params: sampler(key, *params, shape=(DRAWS, *params[0].shape)))(
        jax.random.key(20), *params
    )
    x = x if isinstance(x, tuple) else (x,)
    assert all(part.dtype == dtype for part in x)
    return [np.asarray(part, np.float64) for part in x], [np.asarray(p, np.float64) for p in params]


def ks(x, cdf):
    # With scipy's distribution functions the largest draws are evaluated where they overflow to 0 or 1.
    with np.errstate(all="ignore"):
        return stats.kstest(np.sort(x), cdf).pvalue


def chi_square(k, mass, quantile):
    """The p-value of counts in about forty cells of equal probability."""
    edges = np.unique(quantile(np.concatenate([[1e-4], np.arange(1, 40) / 40, [1 - 1e-4]])))
    cells = np.concatenate([[-np.inf], edges, [np.inf]])
    observed = np.histogram(k, cells + 0.5)[0]
    expected = np.diff(np.concatenate([[0], mass(edges), [1]])) * len(k)
    large = expected > 5
    assert observed[~large].sum() <= stats.poisson.isf(ALARM, expected[~large].sum() + 1e-3)
    if large.sum() < 2:
        return 1.0
    statistic = np.sum((observed[large] - expected[large]) ** 2 / expected[large])
    return stats.chi2.sf(statistic, large.sum() - 1)


def far_cdf_gamma(a, log_x):
    """The distribution function of the gamma distribution of the log, by its first term where exp(log_x) is tiny."""
    with np.errstate(all="ignore"):
        return np.where(
            log_x < -40, np.exp(a * log_x - special.gammaln(a + 1)), special.gammainc(a, np.exp(log_x))
        )


@widths
def test_loggamma(dtype):
    (x,), (a,) = draws("loggamma", dtype)
    assert np.isfinite(x).all()
    p = [ks(x[:, i], functools.partial(far_cdf_gamma, a[i])) for i in range(len(a))]
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM


@widths
def test_log_beta(dtype):
    (x, rest), (a, b) = draws("log_beta", dtype)
    assert np.isfinite(x).all() and np.isfinite(rest).all()
    assert np.all(x + rest < 0)

    # Of the logit, which is their difference, each half from its own tail, so that nothing rounds to 0 or 1.
    def tail(a, b, log_x):
        first = np.exp(a * log_x - np.log(a) - special.betaln(a, b))
        return np.where(log_x < -40, first, special.betainc(a, b, np.exp(log_x)))

    def cdf(a, b, logit):
        log_x, log_rest = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        return np.where(logit < 0, tail(a, b, log_x), 1 - tail(b, a, log_rest))

    p = [ks(x[:, i] - rest[:, i], functools.partial(cdf, a[i], b[i])) for i in range(len(a))]
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM
    # Small concentrations: a draw is next to either end about half the time, and the logs tell how near.
    assert 0.45 < np.mean(x[:, 0] < -20) < 0.55 and np.unique(x[x[:, 0] < -20, 0]).size > 0.4 * DRAWS


@widths
def test_t(dtype):
    (x,), (df,) = draws("t", dtype)
    p = []
    for i in range(len(df)):
        if df[i] < 0.05:
            # Only what does not overflow: the log of the absolute value against its power law tail.
            tail = np.log(np.abs(x[:, i]))
            c = special.gammaln((df[i] + 1) / 2) - special.gammaln(df[i] / 2) - 0.5 * np.log(df[i] * np.pi)
            c = 2 * np.exp(c + (df[i] + 1) / 2 * np.log(df[i])) / df[i]
            for level in (10.0, 40.0, 80.0):
                p.append(stats.binomtest(int(np.sum(tail > level)), DRAWS, c * np.exp(-df[i] * level)).pvalue)
        else:
            p.append(ks(x[:, i], stats.t(df[i]).cdf if np.isfinite(df[i]) else stats.norm.cdf))
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM


@widths
@pytest.mark.parametrize("name", ["poisson", "binomial", "negative_binomial"])
def test_counts(name, dtype):
    (x,), params = draws(name, dtype)
    assert np.all(x == np.floor(x)) and np.all(x >= 0)
    if name == "binomial":
        assert np.all(x <= params[0])
    p = []
    for i, args in enumerate(zip(*params)):
        if name == "negative_binomial":
            args = (args[0], 1 - args[1])
        truth = {"poisson": stats.poisson, "binomial": stats.binom, "negative_binomial": stats.nbinom}[name](*args)
        if truth.std() == 0:
            assert np.all(x[:, i] == truth.mean())
        else:
            p.append(chi_square(x[:, i], truth.cdf, truth.ppf))
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM


@widths
def test_von_mises(dtype):
    (x,), (k,) = draws("von_mises", dtype)
    assert np.all(np.abs(x) <= np.pi * (1 + np.finfo(dtype).eps))
    p = [
        # Beyond 1e4 the normal distribution is nearer than what the test sees.
        ks(x[:, i], stats.norm(scale=k[i] ** -0.5).cdf if k[i] > 1e5 else stats.vonmises(max(k[i], 1e-9)).cdf)
        for i in range(len(k))
    ]
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM


@widths
def test_truncated_normal(dtype):
    (x,), (low, high) = draws("truncated_normal", dtype)
    assert np.all((x >= low) & (x <= high))

    def cdf(low, high, x):
        if low >= 0:
            tails = [special.log_ndtr(-z) for z in (low, x, high)]
            return np.expm1(tails[1] - tails[0]) / np.expm1(tails[2] - tails[0])
        if high <= 0:
            return 1 - cdf(-high, -low, -x)
        return (special.ndtr(x) - special.ndtr(low)) / (special.ndtr(high) - special.ndtr(low))

    p = []
    for i in range(len(low)):
        if low[i] > 1e3:
            # What is above the end is exponential there, and rounded to the grid of the width.
            if dtype == np.float64:
                p.append(ks((x[:, i] - low[i]) * low[i], stats.expon.cdf))
            else:
                assert 0 <= np.mean(x[:, i] - low[i]) < 2e-3
        else:
            grid = np.spacing(dtype(np.abs(x[:, i]).max()))
            spread = np.ptp(x[:, i])
            # Draws lie on the grid of the width: jitter them by it, where it shows.
            jitter = grid * np.random.default_rng(i).uniform(-0.5, 0.5, DRAWS) if grid > 1e-5 * spread else 0
            z = x[:, i] + jitter
            p.append(ks(np.clip(z, low[i], high[i]), functools.partial(cdf, low[i], high[i])))
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM


@widths
def test_dirichlet(dtype):
    """Marginals are beta variables, in logs down to the smallest concentrations."""
    alpha = jnp.asarray([1e-3, 0.3, 1.0, 5.0, 20.0], dtype)
    keys = jax.random.key(3)
    log_x = np.asarray(random.log_dirichlet(keys, alpha, (20_000,)), np.float64)
    assert log_x.shape == (20_000, 5) and np.isfinite(log_x).all()
    np.testing.assert_allclose(np.exp(log_x).sum(-1), 1, rtol=20 * np.finfo(dtype).eps)
    a = np.asarray(alpha, np.float64)
    p = [ks(np.exp(log_x[:, i]), stats.beta(a[i], a.sum() - a[i]).cdf) for i in range(1, 5)]
    assert min(p) > ALARM
    # The small one: P(log x < l) is nearly exp(a l) / (a B(a, b)).
    b = a.sum() - a[0]
    for level in (-3000.0, -300.0, -30.0):
        share = np.exp(a[0] * level - np.log(a[0]) - special.betaln(a[0], b))
        assert stats.binomtest(int(np.sum(log_x[:, 0] < level)), 20_000, share).pvalue > ALARM


@widths
def test_wishart_factor(dtype):
    df, n = jnp.asarray([2.5, 40.0], dtype), 3
    factor = np.asarray(random.wishart_factor(jax.random.key(4), df, n, (20_000, 2)), np.float64)
    assert factor.shape == (20_000, 2, 3, 3) and np.all(np.isfinite(factor))
    assert np.all(np.triu(factor, 1) == 0) and np.all(np.diagonal(factor, axis1=-2, axis2=-1) > 0)
    p = [stats.kstest(factor[:, j, 1, 0], stats.norm.cdf).pvalue for j in range(2)]
    p += [
        stats.kstest(factor[:, j, i, i] ** 2, stats.chi2(float(df[j]) - i).cdf).pvalue
        for j in range(2)
        for i in range(n)
    ]
    assert min(p) > ALARM


# Derivatives ---------------------------------------------------------------------------------------------------------


MANY = {
    "gamma": ([(0.3,), (4.0,)], stats.gamma),
    "von_mises": ([(0.5,), (5.0,)], stats.vonmises),
    "truncated_normal": ([(-0.5, 2.0), (3.0, np.inf)], stats.truncnorm),
    "t": ([(3.0,)], stats.t),
    "poisson": ([(12.0,), (100.0,)], stats.poisson),
    "binomial": ([(40.0, 0.25), (1000.0, 0.5)], stats.binom),
}


@pytest.mark.parametrize("name", MANY)
def test_many_draws(name):
    """Sixteen million draws in 64 cells: sees deviations of a quarter of a percent of the mass of a cell."""
    rows, family = MANY[name]
    size, p = 4_000_000, []

    @jax.jit
    def count(key, edges, *params):
        x = getattr(random, name)(key, *params, shape=(size,))
        return jnp.bincount(jnp.searchsorted(edges, x), length=64)

    for params in rows:
        truth = family(*params)
        edges = np.unique(truth.ppf(np.arange(1, 64) / 64))
        edges = np.float32(edges + 0.5 if name in ("poisson", "binomial") else edges)
        mass = np.diff(np.concatenate([[0], truth.cdf(np.float64(edges)), [1]]))
        filled = np.concatenate([edges, np.full(63 - len(edges), np.inf, np.float32)])
        args = [np.float32(x) for x in params]
        counts = sum(np.asarray(count(jax.random.key(i), filled, *args), float) for i in range(4))
        expected = 4 * size * mass
        assert counts[len(mass) :].sum() == 0
        p.append(stats.chi2.sf(np.sum((counts[: len(mass)] - expected) ** 2 / expected), len(mass) - 1))
    print(f"worst p {min(p):.2g}")
    assert min(p) > ALARM


def implicit(cdf, density, x, theta):
    """-(dF / dθ) / f in 40 digits."""
    with mp.workdps(40):
        theta = mp.mpf(float(theta))
        return float(-mp.diff(cdf, theta, h=mp.mpf(10) ** -12 * (1 + abs(theta))) / density(theta))


@functools.cache
def slopes(name, dtype, number):
    """Draws and derivatives in one parameter, at DRAWS_FEW draws for each, in one compiled function."""
    sampler = getattr(random, name)
    tables = {
        "loggamma": [1e-3, 0.05, 0.5, 1.0, 2.0, 10.0, 100.0],
        "von_mises": [1e-6, 0.5, 2.0, 10.0, 100.0, 1e4],
        "truncated_normal": [(-1.0, 2.0), (-np.inf, 0.5), (8.0, np.inf), (20.0, 21.0), (-21.0, -20.0), (0.5, 0.5625)],
    }
    table = tables[name]
    params = rows(table, dtype) if isinstance(table[0], tuple) else row(table, dtype)
    shape = (6, len(table))
    params = tuple(jnp.broadcast_to(p, shape) for p in params)
    tangents = tuple(jnp.ones_like(p) if i == number else jnp.zeros_like(p) for i, p in enumerate(params))
    f = jax.jit(lambda params, tangents: jax.jvp(lambda *p: sampler(jax.random.key(5), *p), params, tangents))
    x, slope = f(params, tangents)
    assert slope.dtype == dtype
    return [np.asarray(y, np.float64).ravel() for y in (*params, x, slope)]


def tolerance(dtype, units=64):
    return units * float(np.finfo(dtype).eps)


@widths
def test_derivative_of_loggamma(dtype):
    a, log_x, slope = slopes("loggamma", dtype, 0)
    truth = []
    for a_, l in zip(a, log_x):
        with mp.workdps(40):
            x = mp.exp(mp.mpf(l))
            # Of the smaller tail, at a fixed x; the density is that of log x.
            tail = lambda b: (
                mp.gammainc(b, 0, x, regularized=True) if x < a_ else -mp.gammainc(b, x, mp.inf, regularized=True)
            )
            truth.append(implicit(tail, lambda b: mp.exp(b * mp.log(x) - x - mp.loggamma(b)), x, a_))
    np.testing.assert_allclose(slope, truth, rtol=tolerance(dtype, 1024))


@widths
def test_derivative_of_von_mises(dtype):
    k, angle, slope = slopes("von_mises", dtype, 0)
    truth = []
    for k_, angle_ in zip(k, angle):
        with mp.workdps(30):
            k_, end = mp.mpf(k_), mp.mpf(abs(angle_))
            ratio = mp.besseli(1, k_) / mp.besseli(0, k_)
            f = lambda t: (ratio - mp.cos(t)) * mp.exp(k_ * (mp.cos(t) - mp.cos(end)))
            truth.append(np.sign(angle_) * float(mp.quad(f, mp.linspace(0, end, 5))))
    # Near π the derivative is zero: an absolute error in units of the largest.
    np.testing.assert_allclose(slope, truth, rtol=tolerance(dtype, 256), atol=tolerance(dtype, 16) / (1 + k.min()))


@widths
@pytest.mark.parametrize("number", [0, 1])
def test_derivative_of_truncated_normal(number, dtype):
    low, high, x, slope = slopes("truncated_normal", dtype, number)
    truth = []
    with mp.workdps(150):
        mass = lambda a, b: (mp.erfc(a / mp.sqrt(2)) - mp.erfc(b / mp.sqrt(2))) / 2
        for l, h, x_ in zip(low, high, x):
            l, h, x_ = (mp.mpf(z) for z in (l, h, x_))
            # d x / d end = φ(end) / φ(x) times the share of what is on the other side of x.
            end, share = (l, mass(x_, h)) if number == 0 else (h, mass(l, x_))
            truth.append(float(mp.npdf(end) / mp.npdf(x_) * share / mass(l, h)) if mp.isfinite(end) else 0.0)
    # The draw sits on the grid of its width, so its distance to an end has few digits; the derivative only sees it.
    np.testing.assert_allclose(slope, truth, rtol=tolerance(dtype, 512), atol=tolerance(dtype, 1))


@widths
def test_derivatives_of_means(dtype):
    """Derivatives of expectations, for those made of several variables, where no distribution function helps."""
    n = 20_000

    key = jax.random.key(6)
    cases = [
        (lambda a: random.beta(key, a, 3.0, (n,)), 2.0, 3 / 25),
        (lambda b: random.beta(key, 2.0, b, (n,)), 3.0, -2 / 25),
        (lambda df: random.t(key, df, (n,)) ** 2, 9.0, -2 / 49),
        (lambda a: random.gamma(key, jnp.stack([a, 2 * a]), (n, 2))[:, 0], 0.5, 1),
        (lambda c: random.dirichlet(key, jnp.stack([c, c + 2]), (n,))[..., 0], 1.0, 1 / 4 - 2 / 16),
    ]

    # One program for all, in which the gamma variables share their shape, hence their trace.
    @jax.jit
    def slopes(thetas):
        return [jax.jvp(f, (v,), (jnp.ones_like(v),))[1] for (f, _, _), v in zip(cases, thetas)]

    for slope, (_, _, truth) in zip(slopes([jnp.asarray(v, dtype) for _, v, _ in cases]), cases):
        slope = np.asarray(slope, np.float64)
        assert np.isfinite(slope).all()
        assert abs(slope.mean() - truth) < 5.5 * slope.std() / np.sqrt(n)


def test_derivative_of_t_for_many_degrees_of_freedom():
    """The polynomial and the exponential agree, and the derivative does not cancel."""
    df = np.array([0.5, 3.0, 50.0, 1e4, 1e7])

    def both(dtype):
        f = lambda df: random.t(jax.random.key(7), df)
        # The same 32-bit words for both widths would need their own sampler, so each against differences in logs.
        return jax.jvp(f, (jnp.asarray(df, dtype),), (jnp.ones_like(df, dtype),))

    x, slope = both(np.float64)
    h = 1e-4 * df
    f = lambda df: random.t(jax.random.key(7), df)
    differences = (f(jnp.asarray(df + h)) - f(jnp.asarray(df - h))) / (2 * h)
    np.testing.assert_allclose(slope, differences, rtol=1e-5)
    x, slope = both(np.float32)
    # For many degrees of freedom d x / d df = -(x + x^3 ...) / df^2: relative to that, not to rounding of x.
    assert np.all(np.isfinite(slope)) and abs(slope[-1]) < 1e-12 * 10


def test_second_derivative_of_loggamma():
    """Against differences of the first along a curve of constant distribution function."""
    a, key, h = jnp.asarray([0.3, 4.0, 40.0]), jax.random.key(8), 1e-5

    @jax.jit
    def both(a):
        f = lambda a: random.loggamma(key, a)
        slope = lambda a: jax.jvp(f, (a,), (jnp.ones_like(a),))[1]
        second = jax.grad(lambda a: jnp.sum(slope(a)))(a)
        x, first = f(a), slope(a)
        up, down = (_gamma.log_gamma_derivative(a + s, x + s * first) for s in (h, -h))
        return second, up - down

    second, difference = both(a)
    np.testing.assert_allclose(second, difference / (2 * h), rtol=1e-6)


# Functions -----------------------------------------------------------------------------------------------------------

ARGS = {
    "gamma": (0.7,),
    "loggamma": (0.7,),
    "beta": (0.7, 2.0),
    "t": (3.0,),
    "poisson": (12.0,),
    "binomial": (40.0, 0.4),
    "negative_binomial": (4.0, 0.6),
    "von_mises": (2.0,),
    "truncated_normal": (1.0, 2.0),
}


@pytest.mark.parametrize("name", ARGS)
def test_keys_shapes_and_vmap(name):
    """Different keys and elements are uncorrelated, vmap draws from the same distribution, shapes broadcast."""
    sampler, n = getattr(random, name), 4000
    args = tuple(np.float32(a) for a in ARGS[name])
    batch = jax.jit(lambda key: sampler(key, *args, shape=(n, 2)))
    x, y = (np.asarray(batch(jax.random.key(s)), np.float64) for s in (1, 2))
    np.testing.assert_array_equal(x, batch(jax.random.key(1)))
    z = np.asarray(jax.jit(jax.vmap(lambda key: sampler(key, *args)))(jax.random.split(jax.random.key(3), n)), float)
    ranks = [stats.rankdata(v) for v in (x[:, 0], x[:, 1], y[:, 0], z, np.roll(x[:, 0], 1))]
    correlation = np.corrcoef(ranks)[np.triu_indices(5, 1)]
    assert np.all(np.abs(correlation) < 5.5 / np.sqrt(n))
    assert stats.ks_2samp(x[:, 0], z).pvalue > ALARM
    assert x.dtype == np.float64 and z.shape == (n,)


def test_shapes_and_dtypes():
    key = jax.random.key(0)

    def out(sampler, *args, **kwargs):
        return jax.eval_shape(lambda: sampler(key, *args, **kwargs))

    assert out(random.gamma, [1.0, 2.0]).shape == (2,)
    assert out(random.gamma, jnp.ones(3, jnp.bfloat16), (2, 3)).dtype == jnp.bfloat16
    assert out(random.gamma, 2, 4).shape == (4,)
    assert out(random.beta, jnp.ones((2, 1), np.float32), jnp.ones(3, np.float32)).shape == (2, 3)
    assert out(random.t, jnp.float32(3), dtype=np.float64).dtype == np.float64
    assert out(random.poisson, log_rate=jnp.zeros(3)).shape == (3,)
    assert out(random.binomial, 3, logits=jnp.zeros((2, 3), np.float32)).dtype == np.float32
    assert out(random.wishart_factor, jnp.full((2,), 5.0), 3, (4, 2)).shape == (4, 2, 3, 3)
    assert random.gamma(key, jnp.zeros((0, 3))).shape == (0, 3)
    assert random.truncated_normal(key, jnp.zeros((0,)), 1.0).shape == (0,)
    with pytest.raises(ValueError, match="gamma: parameters of shape"):
        random.gamma(key, jnp.ones(3), (2,))
    with pytest.raises(ValueError, match="exactly one"):
        random.poisson(key)
    with pytest.raises(TypeError, match="floating"):
        random.gamma(key, 1.0, dtype=int)


def test_without_double_precision():
    with jax.enable_x64(False):
        for name, args in ARGS.items():
            x = jax.eval_shape(lambda: getattr(random, name)(jax.random.key(0), *args, shape=(2000,)))
            assert x.dtype == np.float32


def test_invalid_parameters_give_nan_and_end():
    key, bad = jax.random.key(0), jnp.asarray([-1.0, np.nan, np.inf])
    for sampler in (random.loggamma, random.poisson, random.von_mises):
        assert np.isnan(sampler(key, bad)).all()
    assert np.isnan(random.beta(key, bad, 1.0)).all()
    assert np.isnan(random.t(key, bad[:2])).all()
    assert np.isnan(random.binomial(key, 10.0, bad)).all()
    assert np.isnan(random.truncated_normal(key, bad, 0.5)).tolist() == [False, True, True]
    assert np.isnan(random.truncated_normal(key, 1.0, 1.0))


@pytest.mark.parametrize("name", ["poisson", "binomial", "negative_binomial"])
def test_counts_have_zero_derivatives(name):
    sampler = getattr(random, name)
    args = tuple(jnp.float32(a) for a in ARGS[name])
    total = lambda *args: jnp.sum(sampler(jax.random.key(0), *args, shape=(5,)))
    grads = jax.grad(total, tuple(range(len(args))))(*args)
    assert all(g == 0 for g in grads)


def test_smallest_numbers():
    """Nothing is NaN at the ends of the range of the width."""
    key, shape = jax.random.key(0), (2, 50)
    tiny = jnp.full(shape, np.finfo(np.float32).tiny)
    small = jnp.full(shape, 1e-3, np.float32)
    assert np.isfinite(random.loggamma(key, tiny)).all()
    assert all(np.isfinite(x).all() for x in random.log_beta(key, tiny[0], tiny[0]))
    assert np.isfinite(random.log_dirichlet(key, tiny)).all()
    grad = jax.grad(lambda a: jnp.sum(random.loggamma(key, a)))(small)
    assert np.isfinite(grad).all() and np.all(grad > 0)
    assert np.isfinite(jax.grad(lambda a: jnp.sum(random.gamma(key, a)))(small)).all()
