"""Edges, transformations and second derivatives of the von Mises distribution function and its inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.special import von_mises_cdf, von_mises_cdf_inverse

from . import truth

# Of the tables' programs, which the tests of accuracy compile in any case.
pytestmark = pytest.mark.xdist_group("special-von_mises")
BOTH = (np.float32, np.float64)
inf, nan, pi = np.inf, np.nan, np.pi


def of_one_length(fn, length):
    """Compiled for arguments that are filled up to one length, once in each width."""
    fn = jax.jit(fn)

    def call(x, kappa):
        x, kappa = np.broadcast_arrays(x, kappa)
        return np.asarray(fn(np.resize(x, length), np.resize(kappa, length)))[: x.size].reshape(x.shape)

    return call


cdf = of_one_length(von_mises_cdf, 1100)
quantile = of_one_length(von_mises_cdf_inverse, 130)


def slopes(fn, x, kappa):
    return truth.compiled("von_mises")(x, kappa)[fn][1]


@pytest.mark.parametrize("dtype", BOTH)
def test_edges(dtype):
    x = np.array([0, 0, 0, 0, 1, -1, 1, -inf, inf, nan, 1, 2, 0.5], dtype)
    kappa = np.array([0, 1, 1e6, inf, inf, inf, 0, 1, 1, 1, nan, -1, 1e38], dtype)
    want = [0.5, 0.5, 0.5, 0.5, 1, 0, 0.5 + 0.5 / pi, -inf, inf, nan, nan, nan, 1]
    out = cdf(x, kappa)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, np.array(want, dtype), rtol=1e-6)
    p = np.array([0, 1, 0.5, 0.5, -0.1, 1.1, nan, 0.3, 0.3, 0.25, 0, 0.5, 0.5], dtype)
    kappa = np.array([1, 1, 1, 1e30, 1, 1, 1, nan, -1, 0, nan, inf, 0], dtype)
    want = [-pi, pi, 0, 0, nan, nan, nan, nan, nan, -pi / 2, nan, 0, 0]
    np.testing.assert_allclose(quantile(p, kappa), np.array(want, dtype), rtol=1e-6)


def test_counts_whole_turns():
    x = np.linspace(-3, 3, 13)
    for turns in (-3, 1, 40):
        np.testing.assert_allclose(cdf(x + 2 * pi * turns, 3.0), cdf(x, 3.0) + turns, rtol=1e-14, atol=1e-14)
    # Continuous at the ends, and there with the density's digits.
    end = float(np.float32(pi))  # above π
    np.testing.assert_allclose(cdf(-end, 2.0), -(end - pi) * np.exp(-2) / (2 * pi * np.i0(2.0)), atol=2e-16)


def test_reflection_and_round_trip():
    kappa = np.repeat([0, 0.1, 0.7, 2, 9, 60, 1e3, 1e8], 8)
    p = np.tile([1e-20, 1e-4, 0.1, 0.33, 0.49, 0.6, 0.9, 0.999], 8)
    x = quantile(p, kappa)
    inner = np.asarray(kappa) > 20  # else a rounded x next to -π does not tell p
    np.testing.assert_allclose(cdf(x, kappa)[inner | (p > 1e-5)], p[inner | (p > 1e-5)], rtol=1e-11)
    np.testing.assert_allclose(cdf(-x, kappa), 1 - np.asarray(cdf(x, kappa)), rtol=1e-14, atol=3e-16)


def test_shapes_and_widths():
    x, kappa = jnp.linspace(0.1, 0.9, 3, dtype=np.float32), jnp.ones((2, 1), np.float32)
    for fn in (von_mises_cdf, von_mises_cdf_inverse):
        out = jax.eval_shape(fn, x, kappa)
        assert out.shape == (2, 3) and out.dtype == np.float32
        assert jax.eval_shape(fn, 0, 1).dtype == np.float64
        mapped = jax.eval_shape(jax.vmap(jax.vmap(fn, (0, None)), (None, 0)), x, kappa[:, 0])
        assert mapped.shape == (2, 3)


POINTS = np.array([(-2.5, 0.4), (-1.1, 1.3), (0.3, 3), (-0.7, 12), (0.2, 40), (-0.03, 2000), (-2, 30)])
LEVELS = np.array([(0.001, 0.4), (0.2, 1.3), (0.6, 3), (1e-9, 12), (0.45, 40), (0.9, 2000), (0.01, 0.05)])


@pytest.mark.parametrize("fn, points", [(von_mises_cdf, POINTS), (von_mises_cdf_inverse, LEVELS)])
def test_second_derivatives(fn, points):
    """Forward over reverse mode, against differences of first derivatives, which the tables check."""
    a, b = points.T
    second = np.asarray(jax.jit(jax.vmap(jax.jacfwd(jax.grad(fn, (0, 1)), (0, 1))))(a, b))
    h = 1e-4 * np.array([np.minimum(np.abs(a), np.where(a > 0, 1 - a, 1)), b])
    for j in range(2):
        da, db = (h[0], 0) if j == 0 else (0, h[1])
        up, down = slopes(fn, a + da, b + db), slopes(fn, a - da, b - db)
        for i in range(2):
            want = (up[i] - down[i]) / (2 * h[j])
            np.testing.assert_allclose(second[i][j], want, rtol=2e-5, atol=1e-9)


def test_nothing_is_nan_over_the_range_of_single_precision():
    sizes = np.float32(np.logspace(-37, 38, 26))
    x, kappa = (v.ravel() for v in np.meshgrid(np.float32(np.linspace(-pi, pi, 41)), sizes))
    assert np.isfinite(cdf(x, kappa)).all()
    for part in np.array_split(np.stack([x, kappa]), 2, axis=1):
        in_x, in_kappa = slopes(von_mises_cdf, *part).values()
        assert np.isfinite(in_x).all() and np.isfinite(in_kappa).all()
    p, kappa = (v.ravel() for v in np.meshgrid(np.float32([1e-37, 1e-20, 0.01, 0.5, 0.9]), sizes))
    assert np.isfinite(quantile(p, kappa)).all()
