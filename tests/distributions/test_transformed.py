"""Images of discrete distributions, of distributions on thin sets, and draws next to the ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import distrax_like.bijectors as bij
import distrax_like.distributions as dist

KEY = jax.random.key(0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [0.5, 0.1, 3.0, -0.1])
def test_a_discrete_image_has_masses_and_no_jacobian(dtype, scale):
    d = bij.Scale(dtype(scale))(dist.Poisson(dtype(3)))
    k = jnp.arange(60, dtype=dtype)
    np.testing.assert_allclose(d.prob(dtype(scale) * k), st.poisson(3).pmf(np.arange(60)), rtol=2e-5, atol=1e-37)
    draws, log_prob = d.sample_and_log_prob(1000, seed=KEY)
    np.testing.assert_allclose(log_prob, d.log_prob(draws), rtol=1e-5)
    assert np.all(d.prob(dtype(scale) * (k + 0.5)) == 0)
    # Between the points, on them, and beyond.
    y = np.concatenate([np.arange(10.0), np.arange(10) + 0.5, [-1, -0.25]])
    reference = st.poisson(3)
    at_most = reference.cdf(np.floor(y)) if scale > 0 else reference.sf(np.ceil(y) - 1)
    np.testing.assert_allclose(d.cdf(jnp.asarray(scale * y, dtype)), at_most, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(d.survival_function(jnp.asarray(scale * y, dtype)), 1 - at_most, rtol=2e-5, atol=1e-6)


def test_the_entropy_of_a_discrete_image_is_that_of_what_is_mapped():
    d = bij.Scale(2.0)(dist.Categorical(probs=[0.5, 0.5]))
    np.testing.assert_allclose(d.entropy(), np.log(2), rtol=1e-14)


def test_the_density_of_a_thin_set_counts_its_free_coordinates():
    d = bij.Scale(2.0)(dist.Dirichlet([2.0, 3.0]))
    # x = y / 2, with one free coordinate.
    np.testing.assert_allclose(d.prob(jnp.array([0.2, 1.8])), 12 * 0.1 * 0.81 / 2, rtol=1e-13)
    draws, log_prob = d.sample_and_log_prob(50, seed=KEY)
    np.testing.assert_allclose(log_prob, d.log_prob(draws), rtol=1e-10)
    np.testing.assert_allclose(d.entropy(), dist.Dirichlet([2.0, 3.0]).entropy() + np.log(2), rtol=1e-13)
    many = bij.Scale(2.0)(dist.Independent(dist.Dirichlet([[2.0, 3.0], [1.0, 4.0]]), 1))
    x = jnp.array([[0.2, 1.8], [1.0, 1.0]])
    first, second = (st.dirichlet(a).pdf(v) for a, v in (([2, 3], [0.1, 0.9]), ([1, 4], [0.5, 0.5])))
    np.testing.assert_allclose(many.prob(x), first * second / 4, rtol=1e-12)
    with pytest.raises(NotImplementedError, match="ScaleMatvecDiag mixes the coordinates of a Simplex"):
        bij.ScaleMatvecDiag([1.0, 2.0])(dist.Dirichlet([2.0, 3.0])).log_prob(jnp.array([0.5, 1.0]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_no_draw_has_density_zero(dtype):
    wide = dist.Normal(dtype(0), dtype(300))
    for d in (
        bij.Softplus(low=dtype(5))(wide),
        bij.Softplus()(wide),
        bij.Sigmoid()(wide),
        bij.Tanh()(wide),
        bij.Exp()(wide),
        dist.LogNormal(dtype(0), dtype(300)),
        bij.Shift(dtype(0.1))(dist.Uniform(dtype(0), dtype(1))),
        bij.Shift(dtype(1e5))(bij.Scale(dtype(-1))(dist.Beta(dtype(0.1), dtype(0.1)))),
    ):
        draws = d.sample(20_000, seed=KEY)
        assert np.all(d.log_prob(draws) > -np.inf), d
