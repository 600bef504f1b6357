"""Running statistics beside those of all the numbers at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.inference import stats

DATA = np.random.default_rng(0).standard_normal((600, 3, 2)) * [1, 3]
DATA += np.random.default_rng(1).exponential(size=(600, 1, 2))
# Exact in single precision also with an offset.
DATA = np.round(DATA * 256) / 256
OFFSET = 1e4
KINDS = {
    "mean": lambda dtype: stats.RunningMean.from_shape((3, 2), dtype),
    "variance": lambda dtype: stats.RunningVariance.from_shape((3, 2), dtype),
    "covariance": lambda dtype: stats.RunningCovariance.from_shape((3, 2), dtype, event_ndims=1),
    "moments": lambda dtype: stats.RunningCentralMoments.from_shape((3, 2), (3, 1, 2), dtype),
    "reduction": lambda dtype: stats.RunningPotentialScaleReduction.from_shape((3, 2), dtype=dtype),
}


def expected(kind):
    apart = DATA - DATA.mean(0)
    match kind:
        case "mean":
            return DATA.mean(0) + OFFSET
        case "variance":
            return DATA.var(0, ddof=1)
        case "covariance":
            return np.einsum("nca,ncb->cab", apart, apart) / (len(DATA) - 1)
        case "moments":
            return np.stack([np.mean(apart**p, 0) for p in (3, 1, 2)])
        case "reduction":
            return stats.potential_scale_reduction(DATA)


def value(kind, running):
    match kind:
        case "mean":
            return running.mean
        case "variance":
            return running.variance(1)
        case "covariance":
            return running.covariance(1)
        case "moments":
            return running.moments()
        case "reduction":
            return running.potential_scale_reduction()


@jax.jit
def one_by_one(running, data):
    def step(running, x):
        return jax.tree.map(lambda r: r.update(x), running, is_leaf=is_running), None

    return jax.lax.scan(step, running, data)[0]


def is_running(x):
    moments = stats.RunningMean | stats.RunningCentralMoments
    return isinstance(x, moments | stats.RunningPotentialScaleReduction | stats.RunningQuantiles)


@jax.jit
def in_parts(running, data):
    def one(empty):
        first = empty.update(data[:7], 0).update(data[7])
        second = empty.update(jnp.moveaxis(data[8:], 0, 1), 1)
        return empty.merge(second).merge(first)

    return jax.tree.map(one, running, is_leaf=is_running)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_updates_chunks_and_merges_give_what_all_numbers_give(dtype):
    empty, data = {kind: make(dtype) for kind, make in KINDS.items()}, (DATA + OFFSET).astype(dtype)
    rtol = 1e-11 if dtype == np.float64 else 2e-5
    for running in (one_by_one(empty, data), in_parts(empty, data)):
        for kind in KINDS:
            out = value(kind, running[kind])
            assert out.dtype == dtype
            np.testing.assert_allclose(out, expected(kind), rtol=rtol, atol=rtol, err_msg=kind)
            assert getattr(running[kind], "chain_variances", running[kind]).num_samples == len(DATA)


def test_a_mean_in_single_precision_takes_steps_below_its_rounding():
    # Each step is a 50th of an ulp of the mean: without what rounding lost it would stand still.
    data = jnp.where(jnp.arange(50_000) < 25_000, 1e4, 1e4 + 1).astype(jnp.float32)
    out = one_by_one(stats.RunningVariance.from_shape((), jnp.float32), data)
    assert abs(float(out.mean) - 10000.5) < 1e-3
    np.testing.assert_allclose(out.variance(), 0.25, rtol=1e-4)


def test_shapes_and_arguments():
    for event_ndims, shape in ((0, (5, 7)), (1, (5, 7, 7)), (2, (5, 7, 5, 7)), (None, (5, 7, 5, 7))):
        assert stats.RunningCovariance.from_shape((5, 7), event_ndims=event_ndims).covariance().shape == shape
    assert stats.RunningVariance.from_example(np.ones(3, np.float32)).mean.dtype == jnp.float32
    assert stats.RunningCentralMoments.from_example(np.ones(3), 3).moments().shape == (1, 3)
    known = stats.RunningVariance.from_stats(len(DATA), DATA.mean(0), DATA.var(0))
    np.testing.assert_allclose(known.update(DATA, 0).variance(), DATA.var(0), rtol=1e-12)
    with pytest.raises(ValueError, match="observations of shape"):
        known.update(DATA)
    with pytest.raises(ValueError, match="event_ndims"):
        stats.RunningCovariance.from_shape((3,), event_ndims=2)
    with pytest.raises(ValueError, match="moment"):
        stats.RunningCentralMoments.from_shape((3,), 0)
    with pytest.raises(ValueError, match="independent_chain_ndims"):
        stats.RunningPotentialScaleReduction.from_shape((), 1)


def test_nan_stays():
    running = stats.RunningVariance.from_shape(2).update(jnp.array([[1.0, 2], [jnp.nan, 3]]), 0).update(jnp.ones(2))
    assert np.isnan(running.variance()).tolist() == [True, False]


# Quantiles: ranks of everything that was put in, against the bound.

N = 20_000
STREAMS = {
    "normal": np.random.default_rng(3).standard_normal((N, 1)),
    "rising": np.arange(N)[:, None] * 1.0,
    "falling": -np.arange(N)[:, None] * 1.0,
    "saw": (np.arange(N) % 997)[:, None] * 1.0,
    "zigzag": np.where(np.arange(N) % 2, np.arange(N), -np.arange(N))[:, None] * 1.0,
}
STREAM = np.concatenate(list(STREAMS.values()), 1)
EMPTY = stats.RunningQuantiles.from_shape(5, block_size=64, max_samples=100_000)
update_all = jax.jit(lambda sketch, data: sketch.update(data, 0))
merge = jax.jit(lambda a, b: a.merge(b))


def rank_errors(sketch):
    """The largest error of the share of observations below, for each stream, over all of them."""
    at = np.quantile(STREAM, np.linspace(0, 1, 301), axis=0, method="lower")
    shares = jax.jit(jax.vmap(sketch.cdf))(at)
    true = np.stack([np.searchsorted(np.sort(c), a, side="right") / N for c, a in zip(STREAM.T, at.T)], 1)
    return np.abs(shares - true).max(0)


def test_quantiles_keep_their_bound_for_any_order_and_after_merging():
    whole = update_all(EMPTY, STREAM)
    thousands = [update_all(EMPTY, STREAM[i : i + 1000]) for i in range(0, N, 1000)]
    while len(thousands) > 1:
        thousands = [merge(*thousands[:2]), *thousands[2:]]
    for sketch in (whole, thousands[0]):
        assert sketch.num_samples == N
        bound = float(sketch.rank_error())
        assert 0.01 < bound < np.log2(N / 64) / 128
        errors = rank_errors(sketch)
        assert (errors <= bound).all() and (errors > 0).any()
        # The quantiles agree with the ranks, up to what one number stands for.
        middle = sketch.quantiles([0.1, 0.5, 0.9])
        for q, row in zip((0.1, 0.5, 0.9), middle):
            low = (STREAM < np.asarray(row)).mean(0)
            high = (STREAM <= np.asarray(row)).mean(0)
            assert ((low - bound - 0.01 <= q) & (q <= high + bound + 0.01)).all()
        np.testing.assert_array_equal(sketch.quantiles([0.0, 1.0]), [STREAM.min(0), STREAM.max(0)])


def test_quantiles_of_few_numbers_are_exact_and_single_updates_are_chunks():
    data = STREAM[:60]
    single = one_by_one(EMPTY, data)
    q = np.linspace(0, 1, 17)
    np.testing.assert_allclose(single.quantiles(q), np.quantile(data, q, axis=0), rtol=1e-12, atol=1e-12)
    assert single.rank_error() == 0
    more = one_by_one(single, STREAM[60:1000])
    for a, b in zip(jax.tree.leaves(more), jax.tree.leaves(update_all(EMPTY, STREAM[:1000]))):
        np.testing.assert_array_equal(a, b)


def test_quantiles_with_nan_infinities_and_too_many_numbers():
    small = stats.RunningQuantiles.from_shape((), jnp.float32, 4, 15)
    assert np.isnan(small.quantiles(0.5))
    some = small.update(jnp.array([1.0, jnp.inf, -jnp.inf, 2.0, 3.0]), 0)
    assert some.quantiles(jnp.array([0.0, 0.5, 1.0], jnp.float32)).tolist() == [-np.inf, 2.0, np.inf]
    assert some.quantiles(0.5).dtype == jnp.float32
    assert np.isnan(small.update(jnp.array([1.0, jnp.nan, 2.0, 3.0, 4.0]), 0).quantiles(0.5))
    some = small.update(jnp.arange(5.0), 0)
    for _ in range(3):
        assert np.isfinite(some.quantiles(0.25))
        some = some.update(jnp.arange(5.0), 0)
    assert np.isnan(some.quantiles(0.25))
    with pytest.raises(ValueError, match="one layout"):
        small.merge(stats.RunningQuantiles.from_shape((), jnp.float32, 4, 100))
