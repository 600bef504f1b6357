"""Pathfinder beside dense formulas and targets whose mass is known."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest
import scipy.stats

from distrax_like import distributions as dl
from distrax_like.inference import mcmc, vi
from distrax_like.inference.optimizer._directions import scale_by_lbfgs
from distrax_like.inference.vi import _pathfinder

pytestmark = pytest.mark.xdist_group("pathfinder")

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
A = RANDOM.standard_normal((5, 5))
PRECISION = A @ A.T + np.eye(5)
MEAN = np.arange(5.0)


def quadratic(mean, precision, x):
    return -0.5 * (x - mean) @ precision @ (x - mean)


NORMAL = jtu.Partial(quadratic, jnp.asarray(MEAN), jnp.asarray(PRECISION))


@pytest.mark.parametrize("num", [0, 1, 3])
def test_the_product_form_is_the_bfgs_formula(num):
    """Pairs that are not there yet are zero."""
    s = RANDOM.standard_normal((num, 5))
    y = s @ PRECISION
    s, y = (x / np.sqrt(np.sum(s * y, 1))[:, None] for x in (s, y))
    diagonal, x, g = RANDOM.random(5) + 0.5, RANDOM.standard_normal(5), RANDOM.standard_normal(5)
    state = scale_by_lbfgs(4).init(jnp.zeros(5))
    pad = np.zeros((4 - num, 5))
    for name, value in (("position_deltas", np.vstack([pad, s])), ("gradient_deltas", np.vstack([pad, y]))):
        object.__setattr__(state, name, jnp.asarray(value))
    normal = jax.jit(_pathfinder._approximate)(*map(jnp.asarray, (x, g, diagonal)), state)
    h = np.diag(diagonal)
    for a, b in zip(s, y):
        left = np.eye(5) - np.outer(a, b)
        h = left @ h @ left.T + np.outer(a, a)
    np.testing.assert_allclose(normal.mean, x + h @ g, rtol=1e-11)
    draws, log_prob = normal.sample_and_log_prob(KEY, 8)
    np.testing.assert_allclose(log_prob, normal.log_prob(draws), rtol=1e-6)
    expected = scipy.stats.multivariate_normal(x + h @ g, h).logpdf(draws)
    np.testing.assert_allclose(normal.log_prob(draws), expected, rtol=1e-10)
    u = np.linalg.solve(np.linalg.cholesky(h), (draws - normal.mean).T)
    noise = jax.random.normal(KEY, (8, 5), draws.dtype)
    np.testing.assert_allclose(np.sum(u**2, 0), np.sum(noise**2, 1), rtol=1e-10)


def test_the_diagonal_follows_the_secant_condition():
    """Of an axis-aligned quadratic the scaled formula leaves a positive diagonal that has the curvature along y."""
    s = RANDOM.standard_normal(5)
    y = s * [1.0, 4.0, 9.0, 16.0, 25.0]
    s, y = s / np.sqrt(s @ y), y / np.sqrt(s @ y)
    old = RANDOM.random(5) + 0.5
    new = np.asarray(_pathfinder._next_diagonal(*map(jnp.asarray, (old, s, y))))
    d = old / (y @ (old * y))
    inverse = np.diag(1 / d)
    update = inverse - inverse @ np.outer(s, s) @ inverse / (s @ inverse @ s) + np.outer(y, y)
    np.testing.assert_allclose(new, 1 / np.diag(update), rtol=1e-12)
    bad = _pathfinder._next_diagonal(jnp.asarray(old), jnp.zeros(5), jnp.zeros(5))
    np.testing.assert_array_equal(bad, old)


@pytest.fixture(scope="module")
def of_normal():
    return vi.pathfinder(NORMAL, lambda key: 3 * jax.random.normal(key, (5,)), num_correction_pairs=12, seed=KEY)


def test_a_normal_target(of_normal):
    out = of_normal
    log_z = 2.5 * np.log(2 * np.pi) - np.linalg.slogdet(PRECISION)[1] / 2
    # The bound is an average of 10 draws.
    assert np.all(np.abs(out.elbo - log_z) < 1) and out.pareto_k < 0.7
    covariance = np.linalg.inv(PRECISION)
    whitened = (np.asarray(out.draws) - MEAN) @ np.linalg.cholesky(PRECISION)
    # 1000 draws with nearly equal weights: 5 standard errors of the mean, of variances and of correlations.
    np.testing.assert_allclose(whitened.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(5), atol=0.3)
    np.testing.assert_allclose(np.cov(np.asarray(out.draws).T), covariance, atol=0.3 * covariance.max())
    assert np.all(out.num_iterations < 60) and np.all(out.num_evaluations >= out.num_iterations)
    np.testing.assert_array_equal(out.draws, out.positions)


def test_draws_without_replacement(of_normal):
    out = vi.pathfinder(
        NORMAL, lambda key: 3 * jax.random.normal(key, (5,)), num_correction_pairs=12, replacement=False, seed=KEY
    )
    assert len(np.unique(out.draws, axis=0)) == 1000
    np.testing.assert_array_equal(out.elbo, of_normal.elbo)


def two_modes(x):
    near = dl.MultivariateNormalDiag(jnp.array([-5.0, 0.0]), jnp.array([1.0, 0.5])).log_prob(x)
    far = dl.MultivariateNormalDiag(jnp.array([5.0, 3.0]), jnp.array([0.3, 1.0])).log_prob(x)
    return jnp.logaddexp(jnp.log(0.2) + near, jnp.log(0.8) + far)


def test_modes_count_as_they_weigh():
    starts = 3 * jnp.sign(jnp.arange(8) - 1.5)[:, None] * jnp.ones(2) + jnp.arange(16.0).reshape(8, 2) / 10
    out = vi.pathfinder(two_modes, starts, seed=KEY)
    share = np.mean(np.asarray(out.draws)[:, 0] > 0)
    # The estimates of both masses from 2000 and 6000 weighted draws of nearly the right densities.
    np.testing.assert_allclose(share, 0.8, atol=0.03)


def test_a_model_and_starts_of_chains():
    def model():
        scale = yield "scale", dl.HalfNormal(2.0)
        yield "y", dl.Sample(dl.Normal(0.0, scale), 50)

    y = 3 * np.random.default_rng(1).standard_normal(50)
    pinned = dl.JointDistributionCoroutine(model).pin(y=y)
    out = vi.pathfinder(pinned, seed=KEY)
    scale = np.linspace(1, 6, 4001)
    density = np.exp(-(scale**2) / 8 - 50 * np.log(scale) - np.sum(y**2) / scale**2 / 2 + 80)
    mean = np.sum(scale * density) / np.sum(density)
    np.testing.assert_allclose(np.mean(out.draws.scale), mean, rtol=0.02)
    np.testing.assert_allclose(out.draws.scale, np.exp(np.asarray(out.positions)[:, 0]), rtol=1e-12)
    samples = mcmc.sample(pinned, "pathfinder", num_samples=2, num_warmup=0, num_chains=3, seed=KEY)
    assert samples.draws.scale.shape == (2, 3)
    again = vi.pathfinder(pinned, num_draws=3, replacement=False, seed=KEY).draws.scale
    assert np.all(np.abs(again - mean) < 2) and len(np.unique(again)) == 3


def test_single_precision_and_paths_that_fail():
    out = vi.pathfinder(lambda x: -jnp.sum(x**2), jnp.ones((8, 3), jnp.float32), num_draws=100, seed=KEY)
    assert out.draws.dtype == jnp.float32 and np.all(np.isfinite(out.elbo))
    # A density that no approximation has draws of: what comes back is where the paths went.
    out = vi.pathfinder(
        lambda x: jnp.where(jnp.all(x == 1), 0.0, -jnp.inf) + 0 * jnp.sum(x), jnp.ones(3), num_draws=4, seed=KEY
    )
    assert np.all(out.elbo == -np.inf)
    np.testing.assert_array_equal(out.draws, np.ones((4, 3)))


def test_errors():
    with pytest.raises(TypeError, match="pathfinder needs a seed"):
        vi.pathfinder(NORMAL, jnp.zeros(5))
    with pytest.raises(ValueError, match="pathfinder: num_paths must be at least 1, got 0"):
        vi.pathfinder(NORMAL, jnp.zeros(5), num_paths=0, seed=KEY)
    with pytest.raises(TypeError, match="pathfinder: a log density needs init"):
        vi.pathfinder(NORMAL, seed=KEY)
    with pytest.raises(ValueError, match="pathfinder: the log density is -inf at the start of chain 0"):
        vi.pathfinder(lambda x: -jnp.inf * x, jnp.ones(()), seed=KEY)
    with pytest.raises(TypeError, match="target"):
        vi.pathfinder(3, jnp.ones(()), seed=KEY)


def test_goes_on_after_a_steep_first_step():
    # In float32 an approximation narrower than the spacing of its draws must not win by their rounding.
    log_density = lambda x: -jnp.exp(40 * x[1]) - (x[0] - 3) ** 2 - x[1] ** 2 / 2
    for dtype in (jnp.float32, jnp.float64):
        found = vi.pathfinder(log_density, jnp.array([0.0, 1.0], dtype), num_paths=2, seed=KEY)
        assert jnp.all(found.num_iterations > 3) and jnp.all((found.elbo > -1) & (found.elbo < 2))
        np.testing.assert_allclose(jnp.mean(found.draws[:, 0]), 3, atol=0.3)
        assert 0.3 < jnp.std(found.draws[:, 1]) < 1


def test_nothing_to_sample():
    pinned = dl.JointDistributionNamed({"a": dl.Normal(0.0, 1.0)}).pin(a=0.0)
    for target, init in ((pinned, None), (lambda x: jnp.sum(x), jnp.zeros(0))):
        with pytest.raises(ValueError, match="pathfinder: there is nothing to sample"):
            vi.pathfinder(target, init, seed=KEY)
