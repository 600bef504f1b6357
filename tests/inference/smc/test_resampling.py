"""Resampling: without bias, in the order of variances that theory gives, with zero and unnormalised weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from distrax_like.inference import _resampling, smc

RANDOM = {
    "systematic": smc.resample_systematic,
    "stratified": smc.resample_stratified,
    "independent": smc.resample_independent,
    "residual": smc.resample_residual,
}
# Unnormalised, with weights of zero at both ends and between, and one NaN.
WEIGHTS = np.array([0.0, 3.0, 0.5, 0.0, 0.2, 1.7, 0.05, np.nan, 2.55, 0.0])
PROBS = np.nan_to_num(WEIGHTS) / np.nansum(WEIGHTS)
LOG = jnp.log(WEIGHTS) + 700.0
SETS, SIZE = 20_000, 7


def counts(fn, size=SIZE, log_probs=LOG, sets=SETS):
    indices = np.asarray(jax.jit(lambda key: fn(log_probs, size, sets, seed=key))(jax.random.key(0)))
    assert indices.shape == (sets, size)
    return np.stack([np.sum(indices == i, axis=1) for i in range(len(log_probs))], axis=1)


def deviation(c):
    """The largest of the particles' deviations of the mean count from its expectation, in standard errors."""
    mean, error = c.mean(0), c.std(0) / np.sqrt(len(c))
    return np.max(np.abs(mean - SIZE * PROBS) / np.maximum(error, 1e-12 * SIZE))


COUNTS = {}


def counts_of(name):
    if name not in COUNTS:
        COUNTS[name] = counts(RANDOM[name])
    return COUNTS[name]


# 4 rules, 6 particles with a weight: 24 comparisons and a chi-square share a false-alarm rate of 1e-6.
BOUND = stats.norm.isf(1e-6 / 2 / 30)


@pytest.mark.parametrize("name", RANDOM)
def test_unbiased(name):
    c = counts_of(name)
    assert np.all(c.sum(1) == SIZE)
    assert np.all(c[:, PROBS == 0] == 0)
    assert deviation(c) < BOUND
    if name in ("systematic", "residual"):
        assert np.all(c >= np.floor(SIZE * PROBS))
    if name == "systematic":
        assert np.all(c <= np.ceil(SIZE * PROBS))


def test_independent_is_multinomial():
    c = counts_of("independent")[:, PROBS > 0]
    p = PROBS[PROBS > 0]
    covariance = SIZE * (np.diag(p) - np.outer(p, p))[:-1, :-1]
    centred = (c - SIZE * p)[:, :-1]
    # The sum over the sets of the squared lengths in the metric of the covariance has mean 5 for each set.
    squares = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    assert abs(squares.mean() - 5) < BOUND * squares.std() / np.sqrt(SETS)
    total = c.sum(0)
    assert stats.chisquare(total, total.sum() * p).pvalue > 1e-6
    # The joint law of two counts, not only moments.
    pairs = np.histogram2d(c[:, 0], c[:, 3], bins=[range(SIZE + 2)] * 2)[0].ravel()
    i, j = (x.ravel() for x in np.meshgrid(range(SIZE + 1), range(SIZE + 1), indexing="ij"))
    both = stats.multinomial(SIZE, [p[0], p[3], 1 - p[0] - p[3]]).pmf(np.stack([i, j, SIZE - i - j], -1))
    keep = (both * SETS > 5) & (i + j <= SIZE)
    observed, expected = np.append(pairs[keep], SETS - pairs[keep].sum()), np.append(both[keep], 1 - both[keep].sum())
    assert stats.chisquare(observed, SETS * expected).pvalue > 1e-6


def test_variances_are_in_order():
    f = np.arange(len(WEIGHTS)) ** 1.5
    variance = {name: np.var(counts_of(name) @ f) for name in RANDOM}
    assert variance["stratified"] < 0.7 * variance["independent"]
    assert variance["residual"] < 0.7 * variance["independent"]
    # For a function monotone in the particles' order systematic resampling is good as well.
    assert variance["systematic"] < variance["independent"]


@pytest.mark.parametrize(
    "mutant",
    [
        lambda key, shape, dtype: 0.9 * jax.random.uniform(key, shape, dtype),
        lambda key, shape, dtype: jax.random.uniform(key, shape, dtype) ** 1.1,
    ],
)
@pytest.mark.parametrize("name", ["systematic", "stratified"])
def test_a_broken_uniform_is_seen(name, mutant):
    def rule(probs, key, size):
        u = mutant(key, () if name == "systematic" else (size,), probs.dtype)
        return _resampling._invert(probs, (jnp.arange(size) + u) / size)

    def fn(log_probs, size, sets, seed):
        return _resampling._batched("mutant", rule, log_probs, size, sets, seed)

    assert deviation(counts(fn)) > BOUND


@pytest.mark.parametrize("name", ["independent", "residual"])
def test_a_broken_order_statistic_is_seen(monkeypatch, name):
    def mutant(key, size, count, dtype):
        arrivals = jnp.cumsum(jax.random.exponential(key, (size + 1,), dtype))
        return arrivals[:-1] / arrivals[jnp.maximum(count - 1, 0)]  # forgets the last gap

    monkeypatch.setattr(_resampling, "_sorted_uniforms", mutant)
    assert deviation(counts(RANDOM[name])) > BOUND


def test_minimum_error():
    fn = JITTED["minimum_error"]
    indices = np.asarray(fn(LOG, 9, (2,), None))
    assert indices.shape == (2, 9) and np.all(indices[0] == indices[1])
    got = np.bincount(indices[0], minlength=10)
    best = np.sum((got - 9 * PROBS) ** 2)
    for i in range(10):
        for j in range(10):
            other = got + np.eye(10, dtype=int)[i] - np.eye(10, dtype=int)[j]
            assert np.sum((other - 9 * PROBS) ** 2) >= best - 1e-12
    np.testing.assert_array_equal(fn(jnp.zeros(6), 6, (), None), np.arange(6))
    np.testing.assert_array_equal(fn(jnp.zeros(4), 6, (), None), [0, 0, 1, 1, 2, 3])


ALL = {**RANDOM, "minimum_error": smc.resample_deterministic_minimum_error}
JITTED = {name: jax.jit(fn, static_argnums=(1, 2)) for name, fn in ALL.items()}


@pytest.mark.parametrize("name", ["systematic", "residual", "minimum_error"])
def test_equal_weights_are_kept(name):
    # In single precision 49 times 1/49 is not 1.
    got = JITTED[name](jnp.full(49, 1 / 3, jnp.float32), 49, (), jax.random.key(1))
    np.testing.assert_array_equal(got, np.arange(49))


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_edges(name):
    fn = JITTED[name]

    log_weights = jnp.stack(
        [
            jnp.full(4, -jnp.inf),
            jnp.array([-jnp.inf, 0.0, -jnp.inf, -jnp.inf]),
            jnp.array([-1e300, -1e30, -1e30, -1e300]),
            jnp.array([1.0, 1e5, -jnp.inf, 1e5]),
            jnp.array([0.0, jnp.inf, jnp.inf, -jnp.inf]),
            jnp.array([-2000.0, -2000.0, jnp.nan, -jnp.inf]),
        ],
        axis=1,
    ).astype(jnp.float32)
    out = np.asarray(fn(log_weights, 5, (2, 3), jax.random.key(0)))
    assert out.shape == (2, 3, 5, 6) and np.issubdtype(out.dtype, np.integer)
    for column, allowed in enumerate([range(4), [1], [1, 2], [1, 3], [1, 2], [0, 1]]):
        assert set(out[..., column].ravel()) <= set(allowed)
        if name != "minimum_error":
            assert len(set(out[..., column].ravel())) == len(allowed)


def test_ten_thousand_particles_in_single_precision():
    log_weights = 3 * jax.random.normal(jax.random.key(0), (10_000,), jnp.float32)
    log_weights = jnp.where(jnp.arange(10_000) % 3 == 0, -jnp.inf, log_weights)
    p = np.exp(np.asarray(log_weights, np.float64))
    for name in ("systematic", "residual", "minimum_error"):
        got = np.bincount(JITTED[name](log_weights, 10_000, (), jax.random.key(2)), minlength=10_000)
        assert np.all(got[::3] == 0)
        if name != "residual":
            assert np.max(np.abs(got - 10_000 * p / p.sum())) < 1.01


def test_effective_sample_size():
    w = np.array([[0.1, 2.0], [0.4, 0.0], [1.5, 0.0]])
    expected = w.sum(0) ** 2 / (w**2).sum(0)
    log_ess = jax.jit(smc.log_ess_from_log_weights, static_argnums=1)
    np.testing.assert_allclose(np.exp(log_ess(np.log(np.maximum(w, 1e-300)), 0)), expected, rtol=1e-12)
    empty = np.log(np.maximum(w.T, 1e-300)) + 900
    empty[empty < 0] = -np.inf
    np.testing.assert_allclose(np.exp(log_ess(empty, 1)), expected, rtol=1e-9)
    assert np.all(log_ess(np.full((3, 2), -np.inf), 0) == -np.inf)


def test_errors():
    with pytest.raises(TypeError, match="resample_residual needs a seed"):
        smc.resample_residual(jnp.zeros(3), 3)
    with pytest.raises(ValueError, match="event_size must be at least 1, got 0"):
        smc.resample_systematic(jnp.zeros(3), 0, seed=jax.random.key(0))
    with pytest.raises(ValueError, match="particles along its first axis"):
        smc.resample_systematic(jnp.zeros(()), 3, seed=jax.random.key(0))
