"""Edges, limits and second derivatives of Student's t distribution function; its accuracy is in the tables."""

import jax
import numpy as np
import pytest
import scipy.special as sp

from distrax_like.special import log_stdtr, stdtr, stdtrit

from . import truth

# Of the tables' program, which the tests of accuracy compile in any case.
pytestmark = pytest.mark.xdist_group("special-student_t")
inf, nan = np.inf, np.nan


@jax.jit
def evaluate(df, t, p):
    return stdtr(df, t), log_stdtr(df, t), stdtrit(df, p)


def values(df, t, p, length=33):
    """The arguments are filled up to one length, for one compilation in each width."""
    args = np.broadcast_arrays(df, t, p)
    return [np.asarray(y)[: args[0].size] for y in evaluate(*(np.resize(x, length) for x in args))]


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_edges(dtype):
    df = np.array([2, 2, inf, inf, 0, nan, 2, 3], dtype)
    t = np.array([-inf, inf, -inf, inf, 1, 1, nan, 0], dtype)
    p = np.array([0, 1, 0, 1, 0.5, 0.5, nan, 0.5], dtype)
    want = np.array([0, 1, 0, 1, nan, nan, nan, 0.5])
    value, log, quantile = values(df, t, p)
    np.testing.assert_array_equal(value, want)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(log, np.log(want), rtol=1e-6)
    np.testing.assert_array_equal(quantile, [-inf, inf, -inf, inf, nan, nan, nan, 0])


def test_normal_limit():
    t = np.linspace(-8, 8, 33)
    value, _, quantile = values(inf, t, sp.ndtr(t))
    np.testing.assert_allclose(value, sp.ndtr(t), rtol=1e-13)
    np.testing.assert_allclose(values(1e30, t, 0.5)[0], sp.ndtr(t), rtol=1e-13)
    np.testing.assert_allclose(quantile[:17], t[:17], rtol=1e-8, atol=1e-15)


def test_second_derivatives():
    points = np.array([(0.7, -0.5), (3, -2.0), (3, 1.1), (40, -1.6), (1e4, -3.0), (5, 0.2)])
    slopes_of = truth.compiled("student_t")
    second = jax.jit(jax.vmap(jax.grad(jax.grad(stdtr))))(*points.T)
    h = 1e-5 * points[:, 0]
    up, down = (slopes_of(points[:, 0] + s * h, points[:, 1])[stdtr][1][0] for s in (1, -1))
    np.testing.assert_allclose(second, (up - down) / (2 * h), rtol=2e-5, atol=1e-12)
