"""Edges, transformations and second derivatives of Lambert's W; its accuracy is in the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.special import lambertw, lambertw_exp

BOTH = (np.float32, np.float64)
inf, nan = np.inf, np.nan


def lower(x):
    return lambertw(x, -1)


@pytest.mark.parametrize("dtype", BOTH)
def test_edges(dtype):
    branch_point = dtype(-1 / np.e)
    x = np.array([branch_point, np.nextafter(branch_point, dtype(-1)), -1, -inf, nan, 0, inf, np.e], dtype)
    out = jax.jit(lambertw)(x)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, [-1, nan, nan, nan, nan, 0, inf, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lower)(x), [-1, nan, nan, nan, nan, -inf, nan, nan])
    y = np.array([-inf, 1, inf, nan, -1e30, 1e30], dtype)
    np.testing.assert_allclose(jax.jit(lambertw_exp)(y), [0, 1, inf, nan, 0, 1e30], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(lambertw_exp)))(y), [0, 0.5, 1, nan, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(lambertw)))(x[[0, 5, 6]]), [inf, 1, 0])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(lower)))(x[[0, 5]]), [-inf, -inf])


def test_only_the_real_branches():
    with pytest.raises(ValueError, match="branches 0 and -1, got 1"):
        lambertw(0.5, 1)


@pytest.mark.parametrize("fn", [lambertw, lower, lambertw_exp])
def test_shapes_and_widths(fn):
    x = -jnp.linspace(0.1, 0.3, 6, dtype=np.float32).reshape(2, 3)
    out = jax.eval_shape(jax.vmap(fn), x)
    assert out.shape == (2, 3) and out.dtype == np.float32
    assert jax.eval_shape(fn, 1).dtype == np.float64 and jax.eval_shape(fn, [1, 2]).shape == (2,)


def test_branch_point_in_double_precision():
    """1 + W is √(2 d) for d = e x + 1, which the tables, of single precision arguments, do not reach."""
    x = np.nextafter(-1 / np.e, 0) + np.arange(5) * 2.0**-54
    d = np.e * ((x + 0.36787944117144233) - 1.2428753672788363e-17)
    for fn, sign in ((lambertw, 1), (lower, -1)):
        slope = jax.jit(jax.vmap(jax.grad(fn)))(x)
        np.testing.assert_allclose(slope, sign * np.e / np.sqrt(2 * d), rtol=1e-7)


@pytest.mark.parametrize("fn", [lambertw, lower])
def test_higher_derivatives(fn):
    x = np.array([-0.367, -0.32, -0.2, -0.1, -1e-8] + ([0.5, 3, 1e10] if fn is lambertw else [-1e-40, -0.05, -0.01]))
    w = np.asarray(jax.jit(fn)(x))
    second = jax.jit(jax.vmap(jax.jacfwd(jax.grad(fn))))(x)
    np.testing.assert_allclose(second, -np.exp(-2 * w) * (w + 2) / (1 + w) ** 3, rtol=1e-11)
    third = jax.jit(jax.vmap(jax.grad(jax.grad(jax.grad(fn)))))(x[1:])
    want = (np.exp(-3 * w) * (2 * w * w + 8 * w + 9) / (1 + w) ** 5)[1:]
    np.testing.assert_allclose(third, want, rtol=1e-11)


def test_higher_derivatives_of_the_exponential_form():
    y = np.array([-30, -1, 0, 1, 5, 1e5])
    w = np.asarray(jax.jit(lambertw_exp)(y))
    second = jax.jit(jax.vmap(jax.grad(jax.grad(lambertw_exp))))(y)
    np.testing.assert_allclose(second, w / (1 + w) ** 3, rtol=1e-9)
