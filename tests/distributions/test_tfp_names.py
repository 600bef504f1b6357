"""What users who come from TFP type: names, alternative constructors, broadcasting and pairs of divergences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import distrax_like.bijectors as bij
import distrax_like.distributions as dist

KEY = jax.random.key(0)


def test_vectors_of_one_stand_for_all_entries():
    factor = np.array([[1.0, 0, 0], [0.5, 2, 0], [0.1, -1, 1]])
    for loc in (1.0, [1.0], [[1.0], [2.0]]):
        full = np.broadcast_to(loc, (*np.shape(loc)[:-1], 3)) if np.ndim(loc) else np.full(3, loc)
        d = dist.MultivariateNormalTriL(loc, factor)
        np.testing.assert_array_equal(d.loc, full)
        np.testing.assert_array_equal(dist.MultivariateNormalDiag(loc, np.ones(3)).loc, full)
    np.testing.assert_array_equal(dist.MultivariateNormalDiag(np.zeros(3), 2.0).scale_diag, [2, 2, 2])
    with pytest.raises(ValueError, match="axis 'd' has size 2 in loc but 3 in scale_tril"):
        dist.MultivariateNormalTriL(np.zeros(2), factor)


def test_samples_broadcast_over_their_event():
    d = dist.Sample(dist.Normal(np.array([0.0, 1.0]), 2.0), (3, 4))
    full = np.random.default_rng(0).normal(size=(5, 2, 3, 1))
    expected = d.log_prob(np.broadcast_to(full, (5, 2, 3, 4)))
    np.testing.assert_allclose(d.log_prob(full), expected, rtol=1e-14)
    np.testing.assert_allclose(d.log_prob(0.3), 12 * d.distribution.log_prob(0.3), rtol=1e-14)
    row = np.arange(4.0)
    np.testing.assert_allclose(d.log_prob(row), d.log_prob(np.broadcast_to(row, (3, 4))), rtol=1e-14)
    with pytest.raises(ValueError, match="must end in the event shape"):
        d.log_prob(np.zeros((2, 4)))


@pytest.mark.parametrize("cls", [dist.Normal, dist.LogNormal, dist.Gamma, dist.Beta, dist.Uniform])
def test_constructors_from_moments(cls):
    mean, variance = np.array([0.4, 0.01]), np.array(0.003)
    d = cls.experimental_from_mean_variance(mean, variance)
    np.testing.assert_allclose(d.mean(), mean, rtol=1e-13)
    np.testing.assert_allclose(d.variance(), np.broadcast_to(variance, 2), rtol=1e-12)
    beta = dist.Beta.experimental_from_mean_concentration(0.3, 10.0)
    np.testing.assert_allclose([beta.concentration1, beta.concentration0], [3, 7], rtol=1e-14)


def test_names_and_copies():
    b = dist.Bernoulli(logits=[1.0, 2.0])
    assert b.name == "Bernoulli" and list(b.parameters) == ["logits", "probs", "dtype"]
    assert b.parameters["probs"] is None
    np.testing.assert_array_equal(b.batch_shape_tensor(), [2])
    assert b.event_shape_tensor().shape == (0,) and list(dist.Dirichlet(np.ones(3)).event_shape_tensor()) == [3]
    np.testing.assert_allclose(b.copy(probs=[0.3]).probs, [0.3], rtol=1e-14)
    np.testing.assert_allclose(b.copy().logits, b.logits)
    np.testing.assert_allclose(dist.Poisson(3.0).copy(rate=2.0).rate, 2, rtol=1e-14)
    np.testing.assert_allclose(dist.Gamma(1.0, 2.0).copy(log_rate=0.5).log_rate, 0.5, rtol=1e-14)
    assert dist.Normal(0.0, 1.0).copy(scale=3.0).scale == 3
    np.testing.assert_allclose(dist.Categorical([0.0, 1.0]).copy(probs=[0.2, 0.6]).probs, [0.25, 0.75], rtol=1e-14)
    np.testing.assert_allclose(dist.Binomial(5.0, probs=0.3).probs, 0.3, rtol=1e-14)
    with pytest.raises(TypeError, match="Normal.copy: rate is not one of its arguments loc, scale"):
        dist.Normal(0.0, 1.0).copy(rate=1.0)

    class Named(dist.Distribution):
        name: str
        parameters: int = 3

    assert Named("mine").name == "mine" and Named("mine").parameters == 3


def test_seeds_may_be_positional():
    d = dist.Normal(0.0, 1.0)
    np.testing.assert_array_equal(d.sample(3, KEY), d.sample(3, seed=KEY))
    x, log_prob = d.experimental_sample_and_log_prob(3, KEY)
    np.testing.assert_array_equal(x, d.sample(3, KEY))
    np.testing.assert_allclose(log_prob, st.norm.logpdf(x), rtol=1e-13)
    with pytest.raises(TypeError, match="Normal.sample takes no argument index_points"):
        d.sample(3, KEY, index_points=jnp.zeros(2))
    assert isinstance(dist.Gamma(1.0, 1.0).experimental_default_event_space_bijector(), bij.Exp)
    assert dist.Poisson(1.0).experimental_default_event_space_bijector() is None


def test_divergences_of_different_classes():
    scales, locs = np.array([2.0, 1.0, 0.5]), np.array([0.0, 1.0, -1.0])
    independent = dist.Independent(dist.Normal(locs, scales), 1)
    diagonal, lower = dist.MultivariateNormalDiag(locs, scales), dist.MultivariateNormalTriL(locs, np.diag(scales))
    sample, same = dist.Sample(dist.Normal(0.3, 2.0), 3), dist.MultivariateNormalDiag([0.3], 2 * np.ones(3))
    expected = diagonal.kl_divergence(same)
    by_hand = np.log(2 / scales) + (scales**2 + (locs - 0.3) ** 2) / 8 - 0.5
    np.testing.assert_allclose(expected, by_hand.sum(), rtol=1e-13)
    for p in (independent, diagonal, lower):
        for q in (sample, same, dist.MultivariateNormalTriL([0.3], 2 * np.eye(3))):
            np.testing.assert_allclose(p.kl_divergence(q), expected, rtol=1e-13)
            np.testing.assert_allclose(q.kl_divergence(p), same.kl_divergence(diagonal), rtol=1e-13)
    with pytest.raises(NotImplementedError, match=r"KL\(MultivariateNormalDiag \|\| Independent\) for one of Gamma"):
        diagonal.kl_divergence(dist.Independent(dist.Gamma(np.ones(3), 1.0), 1))
    gamma = dist.Gamma(np.array([1.0, 2.0]), 1.0)
    others = dist.Independent(dist.Gamma(2.0 * np.ones((2, 3)), 1.5), 2)
    divergence = dist.Sample(gamma, (2, 3)).kl_divergence(others)
    np.testing.assert_allclose(divergence, 6 * gamma.kl_divergence(dist.Gamma(2.0, 1.5)), rtol=1e-13)


def test_divergences_of_images_under_one_map():
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    expected = p.kl_divergence(q)
    for b in (bij.Exp(), bij.Chain([bij.Tanh(), bij.Scale(2.0)])):
        np.testing.assert_allclose(b(p).kl_divergence(b(q)), expected, rtol=1e-14)
        np.testing.assert_allclose(jax.jit(lambda p, q: p.kl_divergence(q))(b(p), b(q)), expected, rtol=1e-14)
    with pytest.raises(NotImplementedError, match="under Exp and Tanh"):
        bij.Exp()(p).kl_divergence(bij.Tanh()(q))
    with pytest.raises(ValueError, match="whose bijectors differ"):
        bij.Scale(2.0)(p).kl_divergence(bij.Scale(3.0)(q))
