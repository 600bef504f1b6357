"""Quantiles and entropies of counts, and distribution functions of few categories."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st

import distrax_like.bijectors as bij
import distrax_like.distributions as dist

RATES = np.array([0.01, 0.7, 3, 50, 1234.5, 1e6])
COUNTS, PROBS = np.array([1, 10, 10, 1000, 10**6, 0]), np.array([0.3, 0.01, 0.99, 0.3, 0.5, 0.5])


@pytest.mark.parametrize(
    "d, reference",
    [(dist.Poisson(RATES), st.poisson(RATES)), (dist.Binomial(COUNTS, probs=PROBS), st.binom(COUNTS, PROBS))],
    ids=["Poisson", "Binomial"],
)
def test_the_smallest_counts(d, reference):
    p = np.broadcast_to(np.array([1e-300, 1e-30, 0.01, 0.5, 0.9, 1 - 1e-9])[:, None], (6, 6))
    k = np.broadcast_to(np.array([0, 1, 5, 40, 300, 1200])[:, None], (6, 6))
    cdf = d.cdf(k)
    lower, upper, again = d.quantile(p), d.inverse_survival_function(p), d.quantile(cdf)
    np.testing.assert_array_equal(lower, reference.ppf(p))
    # Scipy's inverse of the upper tail is that of one minus it.
    assert np.all(reference.sf(upper) <= p * (1 + 1e-12)) and np.all((reference.sf(upper - 1) > p) | (upper == 0))
    between = (cdf > 0) & (cdf < 1)
    np.testing.assert_array_equal(again[between], k[between])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entropies_of_counts(dtype):
    rates = [1e-10, 1e-3, 0.5, 3, 99, 101]
    pairs = [(1, 0.3), (7, 0.5), (100, 1e-6), (200, 0.5), (255, 0.45), (256, 0.61), (1000, 0.9)]
    log_rates = np.log(rates).astype(dtype)
    n, p = np.array(pairs).T
    logits = (np.log(p) - np.log1p(-p)).astype(dtype)
    with mp.workdps(30):

        def entropy(log_mass, counts):
            return float(-mp.fsum(mp.exp(l) * l for l in map(log_mass, counts)))

        def poisson(l):
            low = int(max(0, mp.exp(l) - 20 * mp.exp(l / 2) - 40))
            high = low + int(40 * mp.exp(l / 2)) + 80
            return entropy(lambda k: k * l - mp.exp(l) - mp.loggamma(k + 1), range(low, high))

        def binomial(n, l):
            rest = mp.log1p(mp.exp(-l))
            return entropy(lambda k: mp.log(mp.binomial(n, k)) - n * rest - (n - k) * l, range(n + 1))

        wanted = [poisson(mp.mpf(float(l))) for l in log_rates]
        wanted_too = [binomial(int(m), mp.mpf(float(l))) for m, l in zip(n, logits)]
    rtol = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(dist.Poisson(log_rate=log_rates).entropy(), wanted, rtol=rtol)
    np.testing.assert_allclose(dist.Binomial(n.astype(dtype), logits).entropy(), wanted_too, rtol=rtol)
    # The first terms of the asymptotic series.
    wanted = 0.5 * np.log(2 * np.pi * np.e * 1e8) - 1 / 12e8
    np.testing.assert_allclose(dist.Poisson(dtype(1e8)).entropy(), wanted, rtol=rtol)
    certain = dist.Binomial(dtype(5), probs=np.array([0, 1], dtype)), dist.Poisson(dtype(0))
    assert all(np.all(d.entropy() == 0) for d in certain)
    slope = jax.grad(lambda l: dist.Binomial(5.0, l).entropy())
    step = 1e-5
    difference = (dist.Binomial(5.0, 0.7 + step).entropy() - dist.Binomial(5.0, 0.7 - step).entropy()) / (2 * step)
    np.testing.assert_allclose(slope(0.7), difference, rtol=1e-7)


def test_impossible_categories():
    d, k = dist.Categorical(probs=[0.0, 0.2, 0.8, 0.0]), jnp.arange(-1.0, 5)
    np.testing.assert_allclose(d.quantile([1e-300, 0.2, 0.21, 1 - 1e-16]), [1, 1, 2, 2])
    np.testing.assert_allclose(d.inverse_survival_function([1e-300, 0.8, 0.7]), [2, 1, 2])
    np.testing.assert_allclose(d.cdf(k), [0, 0, 0.2, 1, 1, 1], rtol=1e-15)
    np.testing.assert_allclose(d.log_survival_function(k), [0, 0, np.log(0.8), -np.inf, -np.inf, -np.inf], rtol=1e-15)
    rare = dist.Categorical([-100.0, 0.0, 1.0])
    np.testing.assert_allclose(rare.log_cdf(0), -100 - np.log1p(np.e), rtol=1e-15)
    np.testing.assert_allclose(rare.log_survival_function(0), 0, atol=1e-40)
    slope = jax.grad(lambda l: dist.Categorical(l).log_cdf(0))(jnp.array([-100.0, 0.0, 1.0]))
    np.testing.assert_allclose(slope, [1, -1 / (1 + np.e), -np.e / (1 + np.e)], rtol=1e-14)


def test_moments_under_affine_maps():
    factor = np.array([[1.0, 0], [0.5, 0.5]])
    lower, diagonal = np.array([[[2.0, 0], [1, 3]], [[1, 0], [-1, 2]]]), np.array([1.0, -2])
    maps = [bij.Shift(3.0), bij.ScaleMatvecTriL(lower), bij.Chain([bij.Scale(2.0), bij.ScaleMatvecDiag(diagonal)])]
    d = bij.Chain(maps)(dist.MultivariateNormalTriL(np.ones(2), factor))
    for i in (0, 1):
        matrix = lower[i] @ np.diag(2 * diagonal)
        covariance = matrix @ factor @ factor.T @ matrix.T
        np.testing.assert_allclose(d.covariance()[i], covariance, rtol=1e-14)
        np.testing.assert_allclose(d.variance()[i], np.diag(covariance), rtol=1e-14)
        np.testing.assert_allclose(d.stddev()[i], np.sqrt(np.diag(covariance)), rtol=1e-14)
        np.testing.assert_allclose(d.mean()[i], 3 + matrix @ np.ones(2), rtol=1e-14)
    with pytest.raises(NotImplementedError, match="variance in closed form: Exp is not affine"):
        bij.Exp()(dist.Normal(0.0, 1.0)).variance()
    np.testing.assert_allclose(bij.Exp()(dist.Poisson(3.5)).mode(), np.exp(3), rtol=1e-14)
