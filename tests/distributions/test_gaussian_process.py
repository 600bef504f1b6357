"""Gaussian processes against the formulas in numpy, and where rounding makes the matrices singular."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jax import random

import distrax_like as dl
from distrax_like import distributions as tfd, kernels as tfpk
from distrax_like.math import jittered_cholesky

KEY = random.key(0)
X = random.uniform(KEY, (12, 1), minval=-1.0, maxval=1.0)
Z = jnp.linspace(-1.2, 1.2, 7)[:, None]
Y = jnp.sin(4 * X[:, 0])
KERNEL = tfpk.MaternFiveHalves(1.3, 0.4)
SQUARE = lambda x: x[..., 0] ** 2


def posterior(mean_fn=None, predictive_noise_variance=None):
    return tfd.GaussianProcessRegressionModel(
        KERNEL, Z, X, Y, 0.05, predictive_noise_variance=predictive_noise_variance, mean_fn=mean_fn, jitter=1e-12
    )


def exact(noise=0.05, mean=lambda x: 0 * x[:, 0]):
    kxx = np.asarray(KERNEL.matrix(X)) + 0.05 * np.eye(12)
    kzx, kzz = np.asarray(KERNEL.matrix(Z, X)), np.asarray(KERNEL.matrix(Z))
    residual = np.asarray(Y) - np.asarray(mean(X))
    solved = np.linalg.solve(kxx, np.c_[residual, kzx.T])
    return np.asarray(mean(Z)) + kzx @ solved[:, 0], kzz - kzx @ solved[:, 1:] + noise * np.eye(7)


@pytest.mark.parametrize("noise", [None, 0.0, 0.2])
def test_posterior_moments_match_the_formula(noise):
    gp = posterior(SQUARE, noise)
    mean, covariance = exact(0.05 if noise is None else noise, SQUARE)
    np.testing.assert_allclose(gp.mean(), mean, rtol=1e-9)
    np.testing.assert_allclose(gp.covariance(), covariance, atol=1e-9)
    np.testing.assert_allclose(gp.variance(), np.diag(covariance), atol=1e-9)
    np.testing.assert_allclose(gp.stddev(), np.sqrt(np.diag(covariance)), rtol=1e-7)


def test_densities_are_those_of_the_multivariate_normal():
    value = jnp.linspace(-1, 1, 7)
    mean, covariance = exact()
    np.testing.assert_allclose(
        posterior().log_prob(value), st.multivariate_normal.logpdf(value, mean, covariance), rtol=1e-8
    )
    gp = tfd.GaussianProcess(KERNEL, X, SQUARE, 0.1, jitter=1e-12)
    covariance = np.asarray(KERNEL.matrix(X)) + 0.1 * np.eye(12)
    truth = st.multivariate_normal(np.asarray(SQUARE(X)), covariance)
    np.testing.assert_allclose(gp.log_prob(Y), truth.logpdf(Y), rtol=1e-9)
    np.testing.assert_allclose(gp.entropy(), truth.entropy(), rtol=1e-9)
    np.testing.assert_allclose(gp.variance(), np.diag(covariance), rtol=1e-12)
    assert gp.event_shape == (12,) and gp.batch_shape == ()


def test_posterior_predictive_conditions_the_process():
    gp = tfd.GaussianProcess(KERNEL, X, None, 0.05, jitter=1e-12)
    np.testing.assert_allclose(gp.posterior_predictive(Y, Z).mean(), posterior().mean(), rtol=1e-12)
    # p(y, z) = p(y) p(z | y)
    both = tfd.GaussianProcess(KERNEL, jnp.concatenate([X, Z]), None, 0.05, jitter=1e-12)
    value = jnp.linspace(-1, 1, 7)
    chain_rule = gp.log_prob(Y) + gp.posterior_predictive(Y, Z).log_prob(value)
    np.testing.assert_allclose(both.log_prob(jnp.concatenate([Y, value])), chain_rule, rtol=1e-8)


def test_draws_have_the_moments():
    gp = posterior()
    draws = gp.sample(20_000, seed=KEY)
    assert draws.shape == (20_000, 7)
    z = (draws.mean(0) - gp.mean()) / gp.stddev() * np.sqrt(20_000)
    assert jnp.max(jnp.abs(z)) < 5.5  # seven normal variables: a false alarm below 1e-6
    covariance = jnp.cov(draws.T)
    scale = gp.stddev()[:, None] * gp.stddev()
    assert jnp.max(jnp.abs(covariance - gp.covariance()) / scale) < 7.5 / np.sqrt(20_000)


def test_batches_of_kernels_and_of_data():
    kernel = tfpk.ExponentiatedQuadratic(length_scale=jnp.array([0.3, 0.5, 1.0]))
    gp = tfd.GaussianProcessRegressionModel(kernel, Z, X, jnp.stack([Y, Y + 1, 2 * Y]), 0.05)
    assert gp.batch_shape == (3,) and gp.sample(4, seed=KEY).shape == (4, 3, 7)
    assert gp.mean().shape == gp.variance().shape == (3, 7) and gp.covariance().shape == (3, 7, 7)
    one = tfd.GaussianProcessRegressionModel(kernel[1], Z, X, Y + 1, 0.05)
    np.testing.assert_allclose(gp.mean()[1], one.mean(), rtol=1e-9)
    np.testing.assert_allclose(gp[1].variance(), one.variance(), rtol=1e-9)
    assert gp.log_prob(jnp.zeros(7)).shape == (3,)


def test_smooth_kernels_at_close_points_in_float32():
    points = jnp.linspace(0, 1, 200, dtype=jnp.float32)[:, None]
    gp = tfd.GaussianProcess(tfpk.ExponentiatedQuadratic(jnp.float32(1.0)), points)
    draw = gp.sample(3, seed=KEY)
    assert draw.dtype == jnp.float32 and bool(jnp.all(jnp.isfinite(gp.log_prob(draw))))
    fixed = lambda length: tfd.GaussianProcess(tfpk.ExponentiatedQuadratic(length_scale=length), points, jitter=1e-9)
    value, grad = jax.value_and_grad(lambda length: fixed(length).log_prob(draw[0]))(jnp.float32(1.0))
    assert jnp.isfinite(value) and jnp.isfinite(grad)


def test_jitter_grows_only_for_the_matrices_that_need_it():
    singular = jnp.ones((3, 3))
    regular = jnp.eye(3) * 2
    factor = jittered_cholesky(jnp.stack([singular, regular]), 1e-17)
    assert jnp.all(jnp.isfinite(factor))
    np.testing.assert_allclose(factor[1], jnp.eye(3) * np.sqrt(2), rtol=1e-15)
    assert jnp.all(jnp.isnan(jittered_cholesky(-regular, 1e-6)[-1, -1]))


def test_hyperparameters_train_and_data_do_not():
    gp = tfd.GaussianProcess(KERNEL, X, None, 0.05)
    loss = lambda free: -dl.constrain(free).log_prob(Y)
    grads = jax.grad(loss)(dl.unconstrain(gp))._module
    assert jnp.all(grads.index_points == 0)
    assert grads.kernel.length_scale != 0 and grads.observation_noise_variance != 0
    step = 1e-6
    at = lambda s: loss(dl.unconstrain(tfd.GaussianProcess(tfpk.MaternFiveHalves(1.3, 0.4 * np.exp(s)), X, None, 0.05)))
    np.testing.assert_allclose(grads.kernel.length_scale, (at(step) - at(-step)) / (2 * step), rtol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="'m' has size 12 in observation_index_points but 5 in observations"):
        tfd.GaussianProcessRegressionModel(KERNEL, Z, X, Y[:5], 0.05)
    with pytest.raises(ValueError, match="'d' has size 1 in index_points but 2"):
        tfd.GaussianProcessRegressionModel(KERNEL, Z, jnp.ones((12, 2)), Y, 0.05)
    with pytest.raises(ValueError, match="index_points needs the dimensions"):
        tfd.GaussianProcess(KERNEL, X[:, 0])


def test_the_jitter_of_one_element_does_not_come_from_its_neighbours():
    x = jnp.linspace(0.0, 3, 6, dtype=jnp.float32)[:, None]
    y = jnp.array([0.01, -0.005, 0.003, 0.004, -0.002, 0.006], jnp.float32)
    amplitudes = jnp.array([0.01, 100.0], jnp.float32)
    alone = tfd.GaussianProcess(tfpk.ExponentiatedQuadratic(amplitudes[0], jnp.float32(1)), x)
    both = tfd.GaussianProcess(tfpk.ExponentiatedQuadratic(amplitudes, jnp.float32(1)), x)
    np.testing.assert_allclose(both.log_prob(y)[0], alone.log_prob(y), rtol=1e-5)


def test_points_of_more_than_one_feature_dimension():
    kernel = tfpk.ExponentiatedQuadratic(jnp.array([1.0, 2.0]), 1.0, feature_ndims=2)
    points = jax.random.normal(jax.random.key(0), (3, 2, 4))
    process = tfd.GaussianProcess(kernel, points, observation_noise_variance=0.1)
    assert process.event_shape == (3,) and process.batch_shape == (2,) and process[0].batch_shape == ()
    flat = tfpk.ExponentiatedQuadratic(jnp.array([1.0, 2.0]), 1.0)
    same = tfd.GaussianProcess(flat, points.reshape(3, 8), observation_noise_variance=0.1)
    np.testing.assert_allclose(process.log_prob(jnp.ones(3)), same.log_prob(jnp.ones(3)), rtol=1e-12)
    args = (points[:2], points, jnp.arange(3.0), 0.1)
    model = tfd.GaussianProcessRegressionModel(kernel, *args)
    flat_args = (points[:2].reshape(2, 8), points.reshape(3, 8), jnp.arange(3.0), 0.1)
    np.testing.assert_allclose(model.mean(), tfd.GaussianProcessRegressionModel(flat, *flat_args).mean(), rtol=1e-10)


def test_without_observations_the_posterior_is_the_prior():
    x = jnp.linspace(0, 1, 4)[:, None]
    kernel = tfpk.MaternFiveHalves(2.0, 0.5)
    posterior = tfd.GaussianProcessRegressionModel(kernel, x, jnp.zeros((0, 1)), jnp.zeros(0))
    np.testing.assert_array_equal(posterior.mean(), 0)
    np.testing.assert_allclose(posterior.covariance(), kernel.matrix(x), rtol=1e-14)


def test_points_that_come_late():
    late = tfd.GaussianProcess(KERNEL, mean_fn=SQUARE, observation_noise_variance=0.1, jitter=1e-12)
    gp = tfd.GaussianProcess(KERNEL, X, SQUARE, 0.1, jitter=1e-12)
    np.testing.assert_array_equal(late.log_prob(Y, index_points=X), gp.log_prob(Y))
    np.testing.assert_array_equal(late.sample(3, KEY, index_points=X), gp.sample(3, KEY))
    np.testing.assert_array_equal(late.get_marginal_distribution(X).mean(), gp.mean())
    # Those of an argument replace those of the constructor.
    value = jnp.zeros(7)
    np.testing.assert_array_equal(gp.log_prob(value, index_points=Z), late.log_prob(value, index_points=Z))
    np.testing.assert_array_equal(late.copy(index_points=X).mean(), gp.mean())
    for fail in (lambda: late.log_prob(Y), lambda: late.sample(seed=KEY), lambda: late.mean()):
        with pytest.raises(ValueError, match="GaussianProcess was made without index_points"):
            fail()


def test_missing_values():
    missing = np.arange(12) % 3 == 1
    spoilt = jnp.where(missing, jnp.nan, Y)
    gp = lambda x: tfd.GaussianProcess(KERNEL, x, SQUARE, 0.1, jitter=1e-12)
    expected = gp(X[~missing]).log_prob(Y[~missing])
    np.testing.assert_allclose(gp(X).log_prob(spoilt, is_missing=missing), expected, rtol=1e-10)
    # Masks of several draws, of which one has everything and one has nothing.
    masks = np.stack([missing, np.zeros(12, bool), np.ones(12, bool)])
    found = gp(X).log_prob(jnp.broadcast_to(Y, (3, 12)), is_missing=masks)
    np.testing.assert_allclose(found, [expected, gp(X).log_prob(Y), 0], rtol=1e-10, atol=1e-12)
    noisy = lambda noise: tfd.GaussianProcess(KERNEL, X, None, noise)
    assert np.isfinite(jax.grad(lambda noise: noisy(noise).log_prob(spoilt, is_missing=missing))(0.1))

    regress = lambda x, y, **kwargs: tfd.GaussianProcessRegressionModel(KERNEL, Z, x, y, 0.05, jitter=1e-12, **kwargs)
    known, masked = regress(X[~missing], Y[~missing]), regress(X, spoilt, observations_is_missing=missing)
    np.testing.assert_allclose(masked.mean(), known.mean(), rtol=1e-9)
    np.testing.assert_allclose(masked.covariance(), known.covariance(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(masked.variance(), known.variance(), rtol=1e-9)


def test_a_factor_computed_once():
    calls = []

    def cholesky(matrix):
        calls.append(matrix.shape)
        return jnp.linalg.cholesky(matrix)

    precompute = tfd.GaussianProcessRegressionModel.precompute_regression_model
    model = precompute(KERNEL, X, Y, observation_noise_variance=0.05, cholesky_fn=cholesky)
    assert calls == [(12, 12)]
    mean, covariance = exact()
    np.testing.assert_allclose(model.copy(index_points=Z).mean(), mean, rtol=1e-9)
    marginal = model.get_marginal_distribution(Z)
    np.testing.assert_allclose(marginal.covariance(), covariance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.log_prob(mean, index_points=Z), marginal.log_prob(mean), rtol=1e-9)
    assert set(calls[1:]) == {(7, 7)}
    diagonal = lambda mean, covariance: tfd.MultivariateNormalDiag(mean, jnp.sqrt(jnp.diagonal(covariance)))
    gp = tfd.GaussianProcess(KERNEL, X, None, 0.1, marginal_fn=diagonal)
    np.testing.assert_allclose(gp.log_prob(Y), st.norm(0, np.sqrt(1.3**2 + 0.1)).logpdf(Y).sum(), rtol=1e-12)


def test_half_given_observations():
    model = tfd.GaussianProcessRegressionModel
    with pytest.raises(ValueError, match="RegressionModel: observations without observation_index_points"):
        model(KERNEL, Z, None, Y)
    with pytest.raises(ValueError, match="RegressionModel: observation_index_points without observations"):
        model(KERNEL, Z, X)
    prior = model(KERNEL, Z, observation_noise_variance=0.1)
    np.testing.assert_allclose(prior.covariance(), tfd.GaussianProcess(KERNEL, Z, None, 0.1).covariance(), rtol=1e-13)


def test_divergence_of_processes():
    p, q = (tfd.GaussianProcess(KERNEL, X, mean, noise, jitter=1e-12) for mean, noise in ((None, 0.1), (SQUARE, 0.3)))
    a, b = np.asarray(p.covariance()), np.asarray(q.covariance())
    gap = np.asarray(q.mean())
    solved = np.linalg.solve(b, np.c_[a, gap])
    logs = np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1]
    expected = (np.trace(solved[:, :-1]) + gap @ solved[:, -1] - 12 + logs) / 2
    np.testing.assert_allclose(p.kl_divergence(q), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="at the same index_points"):
        p.kl_divergence(tfd.GaussianProcess(KERNEL, X + 1))
    with pytest.raises(ValueError, match="KL of Gaussian processes at 12 and 7 points"):
        p.kl_divergence(tfd.GaussianProcess(KERNEL, Z))
