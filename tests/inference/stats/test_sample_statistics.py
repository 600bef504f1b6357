"""The statistics of samples beside numpy and scipy; where TFP is not quoted, its definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from distrax_like.inference import stats

X = np.random.default_rng(0).standard_normal((41, 3, 5, 2))
Y = X + np.random.default_rng(1).standard_normal(X.shape)


@pytest.fixture
def random():
    # One for each test: what a test draws must not depend on which others ran before.
    return np.random.default_rng(2)


def test_auto_correlation():
    x = X[:, 0, 0, 0]
    apart = x - x.mean()
    lagged = np.array([np.mean(apart[k:] * apart[: len(x) - k]) for k in range(6)])
    np.testing.assert_allclose(stats.auto_correlation(x, max_lags=5), lagged / lagged[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(stats.auto_correlation(x, 0, 5, normalize=False), lagged, rtol=1e-12, atol=1e-14)
    raw = np.array([np.mean(x[k:] * x[: len(x) - k]) for k in range(41)])
    np.testing.assert_allclose(stats.auto_correlation(x, center=False, normalize=False), raw, rtol=1e-12, atol=1e-14)
    z = X[..., 0] + 1j * X[..., 1]
    out = stats.auto_correlation(z, axis=1, max_lags=99, normalize=False)
    apart = z - z.mean(1, keepdims=True)
    assert out.shape == z.shape
    np.testing.assert_allclose(out[:, 1], np.mean(apart[:, 1:] * apart[:, :-1].conj(), 1), rtol=1e-12, atol=1e-14)
    # Far from 0 in single precision, and constant.
    far = (np.round(X[:, 0, 0, 0] * 256) / 256 + 1e4).astype(np.float32)
    np.testing.assert_allclose(
        stats.auto_correlation(far), stats.auto_correlation(far.astype(float)), atol=1e-5, rtol=1e-5
    )
    assert np.isnan(stats.auto_correlation(np.ones(4))).all()


def test_covariance_correlation_variance():
    flat_x, flat_y = (np.moveaxis(v, (0, 2), (0, 1)).reshape(41 * 5, 3, 2) for v in (X, Y))
    out = stats.covariance(X, Y, sample_axis=[0, 2], event_axis=-1)
    cor = stats.correlation(X, Y, sample_axis=(-2, 0), event_axis=3)
    for i in range(3):
        both = np.concatenate([flat_x[:, i], flat_y[:, i]], 1)
        np.testing.assert_allclose(out[i], np.cov(both.T, ddof=0)[:2, 2:], rtol=1e-12)
        np.testing.assert_allclose(cor[i], np.corrcoef(both.T)[:2, 2:], rtol=1e-12)
    block = stats.covariance(X, sample_axis=(0, 3), event_axis=[1, 2], keepdims=True)
    assert block.shape == (1, 3, 5, 3, 5, 1)
    apart = X - X.mean((0, 3), keepdims=True)
    np.testing.assert_allclose(
        block[0, ..., 0], np.einsum("niax,njbx->iajb", apart, apart) / 82, rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(stats.covariance(X, Y, None, None), np.cov(X.ravel(), Y.ravel(), ddof=0)[0, 1])
    np.testing.assert_allclose(stats.variance(X, [0, 1], True), X.var((0, 1), keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(stats.stddev(X, None), X.std(), rtol=1e-12)
    factor = stats.cholesky_covariance(X[:, 0, 0])
    np.testing.assert_allclose(factor @ factor.T, np.cov(X[:, 0, 0].T, ddof=0), rtol=1e-12)
    z = X[..., 0] + 1j * X[..., 1]
    np.testing.assert_allclose(stats.variance(z), z.var(0), rtol=1e-12)
    with pytest.raises(ValueError, match="overlap"):
        stats.covariance(X, sample_axis=3)
    with pytest.raises(ValueError, match="neighbouring"):
        stats.covariance(X, event_axis=(1, 3))
    with pytest.raises(ValueError, match="one shape"):
        stats.covariance(X, X[:3])


def test_variances_far_from_0_in_single_precision():
    near = np.round(np.random.default_rng(1).standard_normal((20_000, 2)) * 256) / 256
    far = (near + 1e4).astype(np.float32)
    np.testing.assert_allclose(stats.variance(far), near.var(0), rtol=1e-5)
    np.testing.assert_allclose(stats.covariance(far), np.cov(near.T, ddof=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stats.cumulative_variance(far)[-1], near.var(0), rtol=1e-4)
    windows = stats.windowed_variance(far, [19_990], [20_000])
    np.testing.assert_allclose(windows[0], near[-10:].var(0), rtol=1e-5)


def test_cumulative_and_windowed():
    expected = np.stack([X[: i + 1].var(0) for i in range(41)])
    np.testing.assert_allclose(stats.cumulative_variance(X), expected, rtol=1e-12, atol=1e-14)
    out = stats.cumulative_variance(np.moveaxis(X, 0, 2), 2)
    np.testing.assert_allclose(np.moveaxis(out, 2, 0), expected, rtol=1e-12, atol=1e-14)
    low, high = np.array([0, 3, 5, 0, 40, 20, 17]), np.array([41, 3, 17, 1, 41, 33, 18])
    # What is not a number outside of a window leaves it alone.
    spoilt = X.copy()
    spoilt[19] = np.nan
    for f, g in ((stats.windowed_mean, np.mean), (stats.windowed_variance, np.var)):
        expected = np.stack([g(X[a:b], 0) if b > a else 0 * X[0] for a, b in zip(low, high)])
        np.testing.assert_allclose(f(X, low, high), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(f(X, high, low), f(X, low, high))
        out = f(np.moveaxis(spoilt, 0, 1), low, high, axis=1)
        assert np.isnan(out[:, 0]).all()
        np.testing.assert_allclose(np.moveaxis(out, 1, 0)[1:], expected[1:], rtol=1e-12, atol=1e-14)
        default = np.stack([g(X[(i + 1) // 2 : i + 1], 0) for i in range(41)])
        np.testing.assert_allclose(f(X), default, rtol=1e-12, atol=1e-14)


def test_log_average_probs():
    logits = X[:, 0]
    np.testing.assert_allclose(
        stats.log_average_probs(logits), np.log(np.mean(scipy.special.expit(logits), 0)), rtol=1e-12
    )
    expected = np.log(np.mean(scipy.special.softmax(logits, (1, 2)), 0))
    np.testing.assert_allclose(stats.log_average_probs(logits, None, (1, 2)), expected, rtol=1e-12)
    np.testing.assert_allclose(stats.log_average_probs(logits, 0, [1, 2], True)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(stats.log_average_probs(np.full(3, -1e3)), -1e3)
    with pytest.raises(ValueError, match="overlap"):
        stats.log_average_probs(logits, 0, 0)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "lower", "higher", "midpoint"])
def test_percentile(interpolation):
    q = [0, 7, 10, 25.0, 33.3, 50, 77, 100]
    for axis in (None, 0, (1, 2)):
        expected = np.percentile(X, q, axis=axis, method=interpolation, keepdims=True)
        out = stats.percentile(X, q, axis, interpolation, keepdims=True)
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)
    cuts = np.quantile(X, np.arange(8) / 7, axis=0, method=interpolation)
    np.testing.assert_allclose(stats.quantiles(X, 7, 0, interpolation), cuts, rtol=1e-12, atol=1e-14)
    assert stats.percentile(X.astype(np.float32), 30.0, 0, interpolation).dtype == jnp.float32


def test_percentile_of_integers_nan_and_gradients():
    numbers = np.arange(101)[::-1]
    # 7 / 100 of 100 is not 7 in binary: the index must be.
    assert [int(stats.percentile(numbers, 7, interpolation=i)) for i in ("lower", "higher", "nearest")] == [7, 7, 7]
    with pytest.raises(TypeError, match="needs floats"):
        stats.percentile(numbers, 7, interpolation="linear")
    with pytest.raises(ValueError, match="interpolation must be one of"):
        stats.percentile(X, 7, interpolation="best")
    spoilt = np.where(np.arange(5)[:, None] == 2, [np.nan, 1.0], np.arange(5.0)[:, None])
    assert np.isnan(stats.percentile(spoilt, 50, 0)).tolist() == [True, False]
    x = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])
    slope = jax.jit(jax.grad(lambda q, keep: stats.percentile(x, q, None, "linear", False, keep)), static_argnums=1)
    assert slope(50.0, True) == 2 / 25 and slope(50.0, False) == 0 and slope(60.0, True) == 4 / 25
    grad = jax.grad(lambda x: stats.percentile(x, 60.0, interpolation="linear"))(x)
    np.testing.assert_allclose(grad, [0, 0, 0.6, 0.4, 0], atol=1e-12)
    infinite = jnp.array([-jnp.inf, -jnp.inf, 1.0, jnp.inf, jnp.inf])
    assert stats.percentile(infinite, [10.0, 90.0], interpolation="linear").tolist() == [-np.inf, np.inf]


def test_bins_and_histograms(random):
    edges = np.linspace(-1, 1, 6)
    np.testing.assert_array_equal(stats.find_bins([0.0, 5.0, 6.0, 10.0, 20.0], [0.0, 5.0, 10.0]), [0, 1, 1, 1, np.nan])
    x = np.array([-3, -1, 0.1, 1, 3, np.nan])
    assert stats.find_bins(x, edges, dtype=jnp.int32).tolist() == [-1, 0, 2, 4, 5, 0]
    assert stats.find_bins(x, edges, True, True, jnp.int32).tolist() == [0, 0, 2, 4, 4, 0]
    assert np.isnan(stats.find_bins(x, edges)).tolist() == [True, False, False, False, True, True]
    several = np.sort(random.standard_normal((4, 3, 5, 2)), 0)
    expected = np.sum(X[:, None] >= several[None], 1) - 1
    np.testing.assert_array_equal(stats.find_bins(X, several, True, True, jnp.int32), np.clip(expected, 0, 2))
    np.testing.assert_array_equal(stats.histogram(X, edges), np.histogram(X, edges)[0])
    weights = random.random(X.shape)
    out = stats.histogram(X, edges, [0, 2], weights)
    assert out.shape == (5, 3, 2)
    np.testing.assert_allclose(out[:, 1, 1], np.histogram(X[:, 1, :, 1], edges, weights=weights[:, 1, :, 1])[0])
    assert stats.histogram(x, edges, dtype=jnp.int32).tolist() == [1, 0, 1, 0, 1]
    numbers = random.integers(0, 9, (20, 3))
    np.testing.assert_array_equal(stats.count_integers(numbers), np.bincount(numbers.ravel()))
    counts = stats.count_integers(numbers, minlength=12, axis=0)
    np.testing.assert_array_equal(counts[:, 2], np.bincount(numbers[:, 2], minlength=12))
    assert stats.count_integers(numbers, maxlength=4).shape == (4,)
    traced = jax.jit(lambda n: stats.count_integers(n, maxlength=12))(numbers)
    np.testing.assert_array_equal(traced, np.bincount(numbers.ravel(), minlength=12))
    with pytest.raises(ValueError, match="maxlength"):
        jax.jit(stats.count_integers)(numbers)
    with pytest.raises(ValueError, match="do not fit"):
        stats.find_bins(X, several[:, 0])


def test_kendalls_tau(random):
    tau = jax.jit(stats.kendalls_tau)
    for decimals in (0, 1, 5):
        a, b = np.round(random.standard_normal((2, 300)), decimals)
        c = np.round(a - 0.4 * b, decimals)
        for u, v in ((a, b), (a, c), (c, -c), (a, a)):
            np.testing.assert_allclose(tau(u, v), scipy.stats.kendalltau(u, v).statistic, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(tau(u.astype(np.float32), v.astype(np.float32)), tau(u, v), atol=1e-6)
    assert np.isnan(tau(a, 0 * a)) and np.isnan(tau(a, np.where(a == a[3], np.nan, a)))
    with pytest.raises(ValueError, match="two vectors"):
        stats.kendalls_tau(a, a[:3])


def test_quantile_auc(random):
    # As many quantiles as scores: the areas are those of the scores but for the spreading between neighbours.
    negative, positive = random.random(400) ** 1.5, random.random(300) ** 0.7
    q0, q1 = np.sort(negative), np.sort(positive)
    roc = stats.quantile_auc(q0, 400, q1, 300)
    np.testing.assert_allclose(roc, scipy.stats.mannwhitneyu(positive, negative).statistic / 120_000, atol=3e-3)
    apart = np.linspace(0, 0.4, 11), np.linspace(0.6, 1, 11)
    np.testing.assert_allclose(stats.quantile_auc(apart[0], 10, apart[1], 10, "PR"), 1, rtol=1e-12)
    np.testing.assert_allclose(stats.quantile_auc(apart[0], 10, apart[1], 10), 1, rtol=1e-12)
    np.testing.assert_allclose(stats.quantile_auc(apart[1], 10, apart[1], 10), 0.5, rtol=1e-12)
    # Random scores find a positive with the share that there is of them; atoms are ties.
    np.testing.assert_allclose(stats.quantile_auc(apart[1], 30, apart[1], 10, "PR"), 0.25, rtol=1e-12)
    same = np.array([0.2, 0.5, 0.5, 0.5, 0.9])
    np.testing.assert_allclose(stats.quantile_auc(same, 3, same, 1), 0.5, rtol=1e-12)
    # By integration of precision over recall, both straight in the threshold between neighbouring quantiles.
    knots = np.sort(np.concatenate([q0, q1]))
    nodes, weights = np.polynomial.legendre.leggauss(30)
    t = knots[:-1, None] + np.diff(knots)[:, None] * (nodes + 1) / 2
    p1, p0 = (1 - np.interp(t, q, np.linspace(0, 1, len(q))) for q in (q1, q0))
    recall = np.diff(np.interp(knots, q1, np.linspace(0, 1, len(q1))))
    area = np.sum(recall * (p1 / np.maximum(p1 + p0 * 4 / 3, 1e-300) @ weights / 2))
    batch = stats.quantile_auc(np.stack([q0, q0]), [400, 400], np.stack([q1, q1]), [300, 300], "PR")
    np.testing.assert_allclose(batch, [area, area], rtol=1e-9)


def test_brier(random):
    logits = random.standard_normal((200, 4)) * 2
    labels = random.integers(0, 4, 200)
    probs = scipy.special.softmax(logits, -1)
    score = np.sum(probs**2, -1) - 2 * probs[np.arange(200), labels]
    np.testing.assert_allclose(stats.brier_score(labels, logits), score, rtol=1e-12)
    out = stats.brier_score(labels.reshape(20, 10), logits.reshape(20, 10, 4))
    np.testing.assert_allclose(out, score.reshape(20, 10), rtol=1e-12)
    # Where the predictions of a group agree, the parts add up to the score.
    few = np.log([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])[random.integers(0, 3, (2, 400))]
    labels = random.integers(0, 3, (2, 400))
    uncertainty, resolution, reliability = stats.brier_decomposition(labels, few)
    total = uncertainty - resolution + reliability
    np.testing.assert_allclose(total, np.mean(stats.brier_score(labels, few), -1), rtol=1e-12)
    shares = np.stack([np.bincount(row, minlength=3) / 400 for row in labels])
    np.testing.assert_allclose(uncertainty, -np.sum(shares**2, -1), rtol=1e-12)


def test_expected_calibration_errors(random):
    logits = random.standard_normal((200, 4)) * 2
    labels, decided = random.integers(0, 4, (2, 200))
    probs = scipy.special.softmax(logits, -1)
    for predicted in (None, decided):
        choice = probs.argmax(-1) if predicted is None else predicted
        p = probs[np.arange(200), choice]
        bins = np.floor(p * 10).astype(int)
        expected = sum(
            np.mean(bins == k) * abs(np.mean(p[bins == k]) - np.mean((choice == labels)[bins == k]))
            for k in np.unique(bins)
        )
        np.testing.assert_allclose(stats.expected_calibration_error(10, logits, labels, predicted), expected)
    log_prob = np.log([[0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
    hit = np.array([[True, False], [False, True], [True, True]])
    out = stats.expected_calibration_error_quantiles(hit, log_prob, num_buckets=2)
    assert out.ece.shape == (2,) and out.bucket_accuracy.shape == (2, 2) and out.bucket.shape == (3, 2)
    assert out.bucket_count.sum(0).tolist() == [3, 3] and int(out.bucket.min()) == 0
    edges = np.quantile(np.exp(log_prob), [0, 0.5, 1], axis=0, method="nearest")
    np.testing.assert_allclose(np.exp(out.bucket_pred_log_prob), edges, rtol=1e-12)
    # Below the middle of the first column lies 0.1; the rest is in the upper bucket.
    np.testing.assert_allclose(out.bucket_confidence[:, 0], [0.1, 0.3], rtol=1e-12)
    np.testing.assert_allclose(out.bucket_accuracy[:, 0], [1, 0.5], rtol=1e-12)
    np.testing.assert_allclose(out.ece[0], (0.9 + 2 * 0.2) / 3, rtol=1e-12)
    turned = stats.expected_calibration_error_quantiles(hit.T, log_prob.T, 2, axis=1)
    np.testing.assert_allclose(turned.ece, out.ece)
    assert turned.bucket.tolist() == out.bucket.T.tolist()


def test_leave_one_out():
    x = X[:7, :, 0]

    def direct(values, swap, mean):
        out = np.empty(len(values))
        for i in range(len(values)):
            others = np.delete(values, i)
            terms = np.append(others, others.mean()) if swap else others
            out[i] = scipy.special.logsumexp(terms) - (np.log(len(terms)) if mean else 0)
        return out

    for name, swap, mean in (
        ("log_loosum_exp", False, False),
        ("log_loomean_exp", False, True),
        ("log_soosum_exp", True, False),
        ("log_soomean_exp", True, True),
    ):
        fn = getattr(stats, name)
        out, total = fn(x, [0])
        np.testing.assert_allclose(out[:, 1, 1], direct(x[:, 1, 1], swap, mean), rtol=1e-12)
        expected = scipy.special.logsumexp(x, 0) - (np.log(7) if mean else 0)
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        out, total = fn(x, (0, 2), keepdims=True)
        assert total.shape == (1, 3, 1)
        np.testing.assert_allclose(out[:, 1].ravel(), direct(x[:, 1].ravel(), swap, mean), rtol=1e-12)
    # What one large term would drown.
    out, _ = stats.log_loosum_exp(np.array([0.0, 800.0, -np.inf, 1.0]))
    np.testing.assert_allclose(out, [800, np.logaddexp(0, 1), 800, 800], rtol=1e-12)
    grads = jax.grad(lambda x: stats.log_loosum_exp(x)[0][1])(jnp.array([0.0, 800.0, 0.0]))
    np.testing.assert_allclose(grads, [0.5, 0, 0.5])


def test_moving_averages(random):
    data = random.standard_normal((30, 4, 2)) + 3
    mean, variance = np.zeros(2), np.zeros(2)
    state = stats.MovingMeanVariance(mean, variance)
    debiased = stats.MovingMeanVariance(mean, variance, jnp.zeros((), int))
    for x in data:
        square = np.mean((x - mean) ** 2, 0)
        mean, variance = 0.9 * mean + 0.1 * x.mean(0), 0.9 * (variance + 0.1 * square)
        state = stats.assign_moving_mean_variance(x, *state, decay=0.9, axis=0)
        debiased = stats.assign_moving_mean_variance(x, *debiased, decay=0.9, axis=0)
    np.testing.assert_allclose(state[0], mean, rtol=1e-12)
    np.testing.assert_allclose(state[1], variance, rtol=1e-12)
    assert state.zero_debias_count is None and int(debiased[2]) == 30
    out = stats.moving_mean_variance_zero_debiased(*debiased, decay=0.9)
    np.testing.assert_allclose(out[0], mean / (1 - 0.9**30), rtol=1e-12)
    assert (np.abs(out[1] - 1) < 0.6).all()
    # The first update tells all there is.
    first = stats.assign_moving_mean_variance(data[0], np.zeros(2), np.zeros(2), 0, 0.9, 0)
    np.testing.assert_allclose(stats.moving_mean_variance_zero_debiased(*first, decay=0.9)[0], data[0].mean(0))
    assert stats.assign_moving_mean_variance(1.0, 0.0).moving_variance is None
    with pytest.raises(ValueError, match="zero_debias_count"):
        stats.moving_mean_variance_zero_debiased(mean)
    out = stats.assign_log_moving_mean_exp(np.log([2.0, 3.0]), np.log([1.0, 0.0 + 1e-300]), decay=0.9)
    np.testing.assert_allclose(np.exp(out), [0.9 + 0.2, 0.3], rtol=1e-12)
    assert stats.assign_log_moving_mean_exp(1000.0, -jnp.inf) == 1000 + np.log1p(-0.99)
