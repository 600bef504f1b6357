"""Edges, limits and second derivatives of Student's t distribution function; its accuracy is in the tables."""

import jax
import numpy as np
import pytest
import scipy.special as sp

from distrax_like.special import log_stdtr, stdtr, stdtrit

inf, nan = np.inf, np.nan


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_edges(dtype):
    df = np.array([2, 2, inf, inf, 0, nan, 2, 3], dtype)
    t = np.array([-inf, inf, -inf, inf, 1, 1, nan, 0], dtype)
    want = np.array([0, 1, 0, 1, nan, nan, nan, 0.5])
    np.testing.assert_array_equal(stdtr(df, t), want)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(log_stdtr(df, t), np.log(want), rtol=1e-6)
    p = np.array([0, 1, 0, 1, 0.5, 0.5, nan, 0.5], dtype)
    np.testing.assert_array_equal(stdtrit(df, p), [-inf, inf, -inf, inf, nan, nan, nan, 0])


def test_normal_limit():
    t = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(stdtr(inf, t), sp.ndtr(t), rtol=1e-13)
    np.testing.assert_allclose(stdtr(1e30, t), sp.ndtr(t), rtol=1e-13)
    np.testing.assert_allclose(stdtrit(inf, sp.ndtr(t[:17])), t[:17], rtol=1e-8, atol=1e-15)


def test_second_derivatives():
    points = np.array([(0.7, -0.5), (3, -2.0), (3, 1.1), (40, -1.6), (1e4, -3.0), (5, 0.2)])
    slope = jax.jit(jax.vmap(jax.grad(stdtr)))
    second = jax.jit(jax.vmap(jax.grad(jax.grad(stdtr))))(*points.T)
    h = 1e-5 * points[:, 0]
    up, down = (slope(points[:, 0] + s * h, points[:, 1]) for s in (1, -1))
    np.testing.assert_allclose(second, np.asarray(up - down) / (2 * h), rtol=2e-5, atol=1e-12)
