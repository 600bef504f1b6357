"""Edges, transformations and second derivatives of the Bessel functions; their accuracy is in the tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp

from distrax_like.special import iv_ratio, ive, kve, log_ive, log_kve

inf, nan = np.inf, np.nan
ALL = [ive, log_ive, kve, log_kve, iv_ratio]


@functools.cache
def compiled(fn, *argnums):
    return jax.jit(jax.vmap(jax.grad(fn, argnums)) if argnums else fn)


def test_edges(dtype=np.float64):
    v = np.array([0, 0.5, 3, -2, -0.5, -1.5, 2, inf, 2, nan, 2, 2.5, inf], dtype)
    x = np.array([0, 0, 0, 0, 0, 0, inf, 2, nan, 2, -1, -1, inf], dtype)
    first = [1, 0, 0, 0, inf, -inf, 0, 0, nan, nan, sp.ive(2, -1), nan, nan]
    np.testing.assert_allclose(compiled(ive)(v, x), np.array(first, dtype), rtol=1e-6)
    log = [0, -inf, -inf, -inf, inf, nan, -inf, -inf, nan, nan, nan, nan, nan]
    np.testing.assert_array_equal(compiled(log_ive)(v, x), log)
    second = [inf] * 6 + [0, inf, nan, nan, nan, nan, nan]
    np.testing.assert_array_equal(compiled(kve)(v, x), second)
    np.testing.assert_array_equal(compiled(log_kve)(v, x), [*second[:6], -inf, *second[7:]])
    ratio = [inf, 0, 0, nan, nan, nan, 1, 0, nan, nan, nan, nan, nan]
    np.testing.assert_array_equal(compiled(iv_ratio)(v, x), ratio)
    for fn in ALL:
        assert compiled(fn)(v, x).dtype == dtype


def test_slopes_at_zero():
    v, x = np.array([0, 1, 2, 0.5]), np.zeros(4)
    np.testing.assert_allclose(compiled(ive, 1)(v, x)[0][:3], [-1, 0.5, 0], atol=1e-100)
    assert compiled(ive, 1)(v, x)[0][3] > 1e100
    np.testing.assert_allclose(compiled(iv_ratio, 1)(v, x)[0][1:], [0.5, 0.25, 1])
    for fn in (log_ive, log_kve):
        assert not np.isnan(compiled(fn, 0, 1)(v, x)).any()


def test_negative_orders_and_arguments():
    v = np.array([-0.5, -1, -1.5, -2.3, -7, -30.4, 3, 4])
    x = np.array([0.1, 2, 3, 20, 0.7, 9, -2, -5])
    np.testing.assert_allclose(compiled(ive)(v, x), sp.ive(v, x), rtol=1e-12)
    np.testing.assert_allclose(compiled(kve)(v, np.abs(x)), sp.kve(v, np.abs(x)), rtol=1e-12)
    value, x = sp.ive(v, np.abs(x)), np.abs(x)
    want = np.log(np.where(value > 0, value, nan))
    np.testing.assert_allclose(compiled(log_ive)(v, x), want, rtol=1e-11)
    # Where exp(-2 x) K is out of range, its logarithm is not.
    v, x, near = np.full(8, -800.5), np.full(8, 0.01), np.log(2 / np.pi) - 0.02
    np.testing.assert_allclose(compiled(log_ive)(v, x), near + compiled(log_kve)(-v, x), rtol=1e-13)
    # In the order at whole numbers, where K counts but in the derivative.
    v, x, h = np.array([-1.0, -2.0, -3.0]), np.array([2.0, 1.0, 3.0]), 1e-5
    want = (compiled(log_ive)(v + h, x) - compiled(log_ive)(v - h, x)) / (2 * h)
    np.testing.assert_allclose(compiled(log_ive, 0, 1)(v, x)[0], want, rtol=1e-6)


@pytest.mark.parametrize("fn", ALL, ids=lambda fn: fn.__name__)
def test_shapes_and_dtypes(fn):
    v = jnp.array([0.7, 9.0], np.float32)[:, None]
    x = jnp.array([0.2, 3.0, 50.0], np.float32)
    out = compiled(fn)(v, x)
    assert out.shape == (2, 3) and out.dtype == np.float32
    mapped = jax.jit(jax.vmap(jax.vmap(fn, (None, 0)), (0, None)))(v[:, 0], x)
    np.testing.assert_allclose(mapped, out, rtol=1e-6)
    assert jax.eval_shape(fn, 2, 1).dtype == np.float64 and jax.eval_shape(fn, 2.0, x).dtype == np.float32


@pytest.mark.parametrize("fn, along", [(log_ive, 1), (log_kve, 0), (log_kve, 1), (iv_ratio, 0), (iv_ratio, 1)])
def test_second_derivatives(fn, along):
    """Of both first derivatives, which the tables check, against their differences, at points of all regions."""
    v = np.array([0.1, 0.1, 0.8, 0.8, 3.2, 3.2, 9, 9, 20, 60.0, 0.3])
    x = np.array([0.3, 3.0, 0.4, 5.0, 0.5, 8.0, 0.1, 30, 3, 5.0, 90.0])
    slopes = compiled(fn, 0, 1)
    direction = (np.ones_like(v) * (along == 0), np.ones_like(x) * (along == 1))
    second = jax.jit(lambda v, x: jax.jvp(jax.vmap(jax.grad(fn, (0, 1))), (v, x), direction)[1])(v, x)
    h = 1e-5 * np.minimum(v, x)
    up, down = (slopes(v + s * h * direction[0], x + s * h * direction[1]) for s in (1, -1))
    for got, high, low in zip(second, up, down):
        np.testing.assert_allclose(got, np.asarray(high - low) / (2 * h), rtol=2e-6, atol=1e-9)


def test_nothing_is_nan_over_the_range_of_single_precision():
    v, x = (a.ravel() for a in np.meshgrid(np.float32(np.logspace(-12, 5, 18)), np.float32(np.logspace(-37, 38, 26))))
    for fn in ALL:
        assert not np.isnan(compiled(fn)(v, x)).any(), fn.__name__
    for fn in (log_ive, log_kve, iv_ratio):
        for i, slope in enumerate(compiled(fn, 0, 1)(v, x)):
            assert not np.isnan(slope).any(), (fn.__name__, i)
