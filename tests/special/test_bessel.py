"""Edges, transformations and second derivatives of the Bessel functions; their accuracy is in the tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp

from distrax_like.special import iv_ratio, ive, kve, log_ive, log_kve

from . import truth

# Of the tables' program, which the tests of accuracy compile in any case.
pytestmark = pytest.mark.xdist_group("special-bessel")
inf, nan = np.inf, np.nan
ALL = [ive, log_ive, kve, log_kve, iv_ratio]
slopes_of = truth.compiled("bessel")


def evaluate(v, x):
    return [fn(v, x) for fn in ALL]


evaluate_filled = truth.filled(jax.jit(evaluate), 500)


def values(v, x):
    """Of all functions."""
    return dict(zip(ALL, evaluate_filled(v, x)))


def test_edges(dtype=np.float64):
    v = np.array([0, 0.5, 3, -2, -0.5, -1.5, 2, inf, 2, nan, 2, 2.5, inf], dtype)
    x = np.array([0, 0, 0, 0, 0, 0, inf, 2, nan, 2, -1, -1, inf], dtype)
    out = values(v, x)
    first = [1, 0, 0, 0, inf, -inf, 0, 0, nan, nan, sp.ive(2, -1), nan, nan]
    np.testing.assert_allclose(out[ive], np.array(first, dtype), rtol=1e-6)
    log = [0, -inf, -inf, -inf, inf, nan, -inf, -inf, nan, nan, nan, nan, nan]
    np.testing.assert_array_equal(out[log_ive], log)
    second = [inf] * 6 + [0, inf, nan, nan, nan, nan, nan]
    np.testing.assert_array_equal(out[kve], second)
    np.testing.assert_array_equal(out[log_kve], [*second[:6], -inf, *second[7:]])
    ratio = [inf, 0, 0, nan, nan, nan, 1, 0, nan, nan, nan, nan, nan]
    np.testing.assert_array_equal(out[iv_ratio], ratio)
    for fn in ALL:
        assert out[fn].dtype == dtype


def test_slopes_at_zero():
    v, x = np.array([0, 1, 2, 0.5]), np.zeros(4)
    out = {fn: slopes for fn, (_, slopes) in slopes_of(v, x).items()}
    np.testing.assert_allclose(out[ive][1][:3], [-1, 0.5, 0], atol=1e-100)
    assert out[ive][1][3] > 1e100
    np.testing.assert_allclose(out[iv_ratio][1][1:], [0.5, 0.25, 1])
    for fn in (log_ive, log_kve):
        assert not np.isnan([out[fn][0], out[fn][1]]).any()


def test_negative_orders_and_arguments():
    v = np.array([-0.5, -1, -1.5, -2.3, -7, -30.4, 3, 4])
    x = np.array([0.1, 2, 3, 20, 0.7, 9, -2, -5])
    np.testing.assert_allclose(values(v, x)[ive], sp.ive(v, x), rtol=1e-12)
    x = np.abs(x)
    out, value = values(v, x), sp.ive(v, x)
    np.testing.assert_allclose(out[kve], sp.kve(v, x), rtol=1e-12)
    want = np.log(np.where(value > 0, value, nan))
    np.testing.assert_allclose(out[log_ive], want, rtol=1e-11)
    # Where exp(-2 x) K is out of range, its logarithm is not.
    v, x, near = np.full(8, -800.5), np.full(8, 0.01), np.log(2 / np.pi) - 0.02
    np.testing.assert_allclose(values(v, x)[log_ive], near + values(-v, x)[log_kve], rtol=1e-13)
    # In the order at whole numbers, where K counts but in the derivative.
    v, x, h = np.array([-1.0, -2.0, -3.0]), np.array([2.0, 1.0, 3.0]), 1e-5
    want = (values(v + h, x)[log_ive] - values(v - h, x)[log_ive]) / (2 * h)
    np.testing.assert_allclose(slopes_of(v, x)[log_ive][1][0], want, rtol=1e-6)


def test_shapes_and_dtypes():
    v = jnp.array([0.7, 9.0], np.float32)[:, None]
    x = jnp.array([0.2, 3.0, 50.0], np.float32)
    maps = [jax.vmap(jax.vmap(fn, (None, 0)), (0, None)) for fn in ALL]
    for fn, out, mapped in zip(ALL, *jax.jit(lambda v, x: (evaluate(v, x), [fn(v[:, 0], x) for fn in maps]))(v, x)):
        assert out.shape == (2, 3) and out.dtype == np.float32
        np.testing.assert_allclose(mapped, out, rtol=1e-6)
        assert jax.eval_shape(fn, 2, 1).dtype == np.float64 and jax.eval_shape(fn, 2.0, x).dtype == np.float32


@functools.cache
def compiled_second(fn):
    return jax.jit(lambda v, x, along: jax.jvp(jax.vmap(jax.grad(fn, (0, 1))), (v, x), along)[1])


@pytest.mark.parametrize("fn, along", [(log_ive, 1), (log_kve, 0), (log_kve, 1), (iv_ratio, 0), (iv_ratio, 1)])
def test_second_derivatives(fn, along):
    """Of both first derivatives, which the tables check, against their differences, at points of all regions."""
    v = np.array([0.1, 0.1, 0.8, 0.8, 3.2, 3.2, 9, 9, 20, 60.0, 0.3])
    x = np.array([0.3, 3.0, 0.4, 5.0, 0.5, 8.0, 0.1, 30, 3, 5.0, 90.0])
    direction = (np.ones_like(v) * (along == 0), np.ones_like(x) * (along == 1))
    second = compiled_second(fn)(v, x, direction)
    h = 1e-5 * np.minimum(v, x)
    up, down = (slopes_of(v + s * h * direction[0], x + s * h * direction[1])[fn][1] for s in (1, -1))
    for i, got in enumerate(second):
        np.testing.assert_allclose(got, (up[i] - down[i]) / (2 * h), rtol=2e-6, atol=1e-9)


def test_nothing_is_nan_over_the_range_of_single_precision():
    v, x = (a.ravel() for a in np.meshgrid(np.float32(np.logspace(-12, 5, 18)), np.float32(np.logspace(-37, 38, 26))))
    for fn, value in values(v, x).items():
        assert not np.isnan(value).any(), fn.__name__
    out = slopes_of(v, x)
    for fn in (log_ive, log_kve, iv_ratio):
        for i, slope in out[fn][1].items():
            assert not np.isnan(slope).any(), (fn.__name__, i)
