"""Edges, transformations and second derivatives of the beta family; its accuracy is in the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.special import betainc, betaincc, betainccinv, betaincinv, lbeta, log_betainc, log_betaincc

from . import truth

# Of the tables' program, which the tests of accuracy compile in any case.
pytestmark = pytest.mark.xdist_group("special-incomplete_beta")
BOTH = (np.float32, np.float64)
inf, nan = np.inf, np.nan


@pytest.mark.parametrize("dtype", BOTH)
def test_incomplete_beta_at_the_edges(dtype):
    a = np.array([1, 1, 0, 1, 0, 2, inf, inf, 1, nan, 1, 1, -1, 1, 0, inf], dtype)
    b = np.array([1, 1, 1, 0, 0, inf, 2, inf, 1, 1, nan, 1, 1, 1, 2, 3], dtype)
    x = np.array([0, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, nan, 0.5, 0.5, 1.5, 0.5, -1, 1, 1], dtype)
    lower = np.array([0, 1, 1, 0, nan, 1, 0, nan, nan, nan, nan, nan, nan, nan, 1, 1])
    fns = [betainc] if dtype == np.float32 else [betainc, betaincc, log_betainc, log_betaincc]
    out = jax.jit(lambda *args: [fn(*args) for fn in fns])(a, b, x)
    with np.errstate(divide="ignore"):
        for got, want in zip(out, (lower, 1 - lower, np.log(lower), np.log(1 - lower))):
            np.testing.assert_array_equal(got, want)


def test_lbeta_and_inverse_at_the_edges():
    a, b = np.array([0, 0, 1, inf, -1, nan]), np.array([1, inf, inf, inf, 1, 1])
    np.testing.assert_array_equal(jax.jit(lbeta)(a, b), [inf, nan, -inf, -inf, nan, nan])
    p = np.array([0, 1, -0.1, 1.1, nan, 0.5])
    shape = np.array([2, 2, 2, 2, 2, nan])
    lower, upper = jax.jit(lambda *args: (betaincinv(*args), betainccinv(*args)))(shape, 3.0, p)
    np.testing.assert_array_equal(lower, [0, 1, nan, nan, nan, nan])
    np.testing.assert_array_equal(upper, [1, 0, nan, nan, nan, nan])


@pytest.mark.parametrize("fn", [betainc, betaincinv], ids=lambda fn: fn.__name__)
def test_shapes_and_dtypes(fn):
    x = jnp.linspace(0.1, 0.9, 3, dtype=np.float32)
    y = jnp.linspace(0.5, 3, 2, dtype=np.float32)[:, None]
    by_axes = jax.vmap(jax.vmap(fn, (None, None, 0)), (0, None, None))
    out, mapped = jax.jit(lambda y, x: (fn(y, 2, x), by_axes(y[:, 0], 2, x)))(y, x)
    assert out.shape == (2, 3) and out.dtype == np.float32
    np.testing.assert_allclose(mapped, out, rtol=1e-6)
    assert jax.eval_shape(fn, 2, 3, 0.5).dtype == np.float64


@pytest.mark.parametrize("i, j", [(0, 1), (2, 2)])
def test_second_derivatives(i, j):
    """Against differences of first derivatives, which the tables check."""
    points = np.array([(0.05, 0.4, 0.3), (2, 5, 0.3), (7, 3, 0.8), (60, 60, 0.5), (60, 90, 0.43), (0.3, 1e3, 5e-4)])
    slopes_of = truth.compiled("incomplete_beta")
    second = jax.jit(jax.vmap(jax.grad(jax.grad(betainc, i), j)))(*points.T)
    h = 1e-5 * points[:, j]
    up, down = (slopes_of(*(points + s * np.eye(3)[j] * h[:, None]).T)[betainc][1][i] for s in (1, -1))
    np.testing.assert_allclose(second, (up - down) / (2 * h), rtol=2e-5, atol=1e-9)
