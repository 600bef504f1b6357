"""Edges, transformations and second derivatives of the normal family; its accuracy is in the tables."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from distrax_like.special import (
    erfcinv,
    erfcx,
    log_ndtr,
    log_ndtr_difference,
    logerfc,
    logerfcx,
    ndtr,
    ndtri,
    ndtri_exp,
    owens_t,
)

from .entries_normal import density, hazard, mass, true_ndtri, true_ndtri_exp, upper_quantile

BOTH = (np.float32, np.float64)
inf, nan = np.inf, np.nan
EDGES = [
    (erfcx, [-inf, 0, inf, nan], [inf, 1, 0, nan]),
    (logerfc, [-inf, 0, inf, nan], [np.log(2), 0, -inf, nan]),
    (logerfcx, [-inf, 0, inf, nan], [inf, 0, -inf, nan]),
    (ndtr, [-inf, 0, inf, nan], [0, 0.5, 1, nan]),
    (log_ndtr, [-inf, 0, inf, nan], [-inf, -np.log(2), 0, nan]),
    (ndtri, [0, 0.5, 1, nan, -0.1, 1.1], [-inf, 0, inf, nan, nan, nan]),
    (erfcinv, [0, 1, 2, nan, -0.1, 2.1], [inf, 0, -inf, nan, nan, nan]),
    (ndtri_exp, [-inf, 0, nan, 0.1], [-inf, inf, nan, nan]),
]
ONE = [fn for fn, *_ in EDGES]


@pytest.mark.parametrize("fn, x, want", EDGES, ids=lambda v: getattr(v, "__name__", ""))
def test_edges(fn, x, want):
    for dtype in BOTH:
        # Of the shape that the next test takes.
        out = np.ravel(jax.jit(fn)(np.resize(np.array(x, dtype), (2, 3))))[: len(want)]
        assert out.dtype == dtype
        np.testing.assert_allclose(out, np.array(want, dtype), rtol=4e-7)


@pytest.mark.parametrize("dtype", BOTH)
def test_mass_at_the_edges(dtype):
    a = np.array([-inf, -inf, 0, 1, inf, -inf, 2, nan, 0, 40, -inf], dtype)
    b = np.array([inf, 0, inf, 1, inf, -inf, 1, 0, nan, inf, -40], dtype)
    tail = float(jax.jit(log_ndtr)(dtype(-40.0)))
    want = [0, -np.log(2), -np.log(2), -inf, -inf, -inf, nan, nan, nan, tail, tail]
    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(log_ndtr_difference, (0, 1))))(a, b)
    np.testing.assert_allclose(value, np.array(want, dtype), rtol=4e-7)
    for slopes in slopes:
        assert not np.isnan(np.asarray(slopes)[[0, 1, 2, 9, 10]]).any()


@pytest.mark.parametrize("fn", ONE, ids=lambda fn: fn.__name__)
def test_shapes_and_widths(fn):
    x = jnp.linspace(-3, -0.1, 6, dtype=np.float32).reshape(2, 3) * (1 if fn is ndtri_exp else -0.3)
    out = jax.jit(fn)(x)
    assert out.shape == (2, 3) and out.dtype == np.float32
    assert jax.eval_shape(jax.vmap(fn), x).shape == (2, 3)
    assert jax.eval_shape(fn, 1).dtype == np.float64 and jax.eval_shape(fn, [1, 2]).shape == (2,)


def test_mass_broadcasts():
    out = jax.eval_shape(log_ndtr_difference, jnp.zeros((3, 1), np.float32), jnp.ones(2, np.float32))
    assert out.shape == (3, 2) and out.dtype == np.float32
    assert jax.eval_shape(log_ndtr_difference, 0, 1).dtype == np.float64


def slope_in_log(x):
    return (1 + x / hazard(-x)) / hazard(-x)


SECOND = {
    # True second derivatives at points in both tails and in between.
    erfcx: ([-3, -0.2, 0, 0.7, 5, 300.0], lambda y: mp.diff(lambda y: mp.exp(y * y) * mp.erfc(y), y, 2)),
    logerfc: ([-3, -0.2, 0.7, 5, 300.0], lambda x: mp.diff(lambda x: mp.log(mp.erfc(x)), x, 2)),
    logerfcx: ([-3, -0.2, 0.7, 5, 300.0], lambda y: mp.diff(lambda y: y * y + mp.log(mp.erfc(y)), y, 2)),
    ndtr: ([-9, -1, 0.5, 8.0], lambda x: mp.diff(mp.ncdf, x, 2)),
    log_ndtr: ([-1e15, -1e4, -100, -3, 0, 2, 9.0], lambda x: -hazard(-x) * (x + hazard(-x))),
    ndtri: ([1e-18, 0.01, 0.4, 0.7], lambda p: true_ndtri(p) / density(true_ndtri(p)) ** 2),
    ndtri_exp: ([-1e9, -300, -4, -0.6, -0.2, -1e-9], lambda log_p: slope_in_log(true_ndtri_exp(log_p))),
}


@pytest.mark.parametrize("fn", SECOND, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("dtype", BOTH)
def test_second_derivatives(fn, dtype):
    points, truth = SECOND[fn]
    x = np.array(points, dtype)
    got = jax.jit(jax.vmap(jax.grad(jax.grad(fn))))(x)
    with mp.workdps(80):
        want = np.array([float(truth(mp.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(got, want.astype(dtype), rtol=300 * np.finfo(dtype).eps)


def test_reverse_over_forward_and_third_order():
    def third(x):
        return -hazard(-x) * (x + hazard(-x))

    got = jax.jit(jax.jacrev(jax.jacfwd(jax.grad(log_ndtr))))(-2.5)
    with mp.workdps(40):
        np.testing.assert_allclose(got, float(mp.diff(third, mp.mpf("-2.5"))), rtol=1e-12)


@pytest.mark.parametrize("dtype", BOTH)
def test_second_derivatives_of_the_mass(dtype):
    points = np.array([(-3, -1), (-50, -30), (-50, -49.999), (9, 9.05), (20, 30), (-1, 2), (-0.1, 0.2), (-8, 6)], dtype)
    got = jax.jit(jax.vmap(jax.hessian(log_ndtr_difference, (0, 1))))(*points.T)
    got = np.array([[np.asarray(h) for h in row] for row in got])
    with mp.workdps(120):
        for i, (a, b) in enumerate((mp.mpf(float(a)), mp.mpf(float(b))) for a, b in points):
            in_a, in_b = density(a) / mass(a, b), density(b) / mass(a, b)
            want = [[in_a * (a - in_a), in_a * in_b], [in_a * in_b, -in_b * (b + in_b)]]
            np.testing.assert_allclose(
                got[:, :, i], np.array(want, float), rtol=600 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).tiny
            )


def test_tails_of_double_precision():
    """Beyond the range of the tables, whose arguments are single precision numbers."""
    q = np.array([1e-300, 1e-200, 1e-60])
    x = np.array([-37.1, -30.3, -20.7])  # whose squares are no floating point numbers
    log_p = np.array([-1e290, -1e3, -720, -1e-300])
    with mp.workdps(60):
        wanted = [-float(upper_quantile(mp.log(mp.mpf(v)))) for v in q]
        np.testing.assert_allclose(jax.jit(ndtri)(q), wanted, rtol=2e-15)
        np.testing.assert_allclose(-jax.jit(erfcinv)(2 * q) * np.sqrt(2), wanted, rtol=2e-15)
        np.testing.assert_allclose(jax.jit(ndtr)(x), [float(mp.ncdf(mp.mpf(v))) for v in x], rtol=2e-15)
        wanted = [float(true_ndtri_exp(mp.mpf(v))) for v in log_p[1:]]
    np.testing.assert_allclose(jax.jit(ndtri_exp)(log_p), [-np.sqrt(2e290), *wanted], rtol=2e-15)


def test_quantiles_have_finite_gradients_in_the_interior():
    p = jnp.array([1e-37, 0.5, 1 - 1e-7], np.float32)
    log_p = jnp.array([-1e30, -80, -88, -90, -0.7, -1e-37], np.float32)
    for fn, x in ((ndtri, p), (erfcinv, 2 * p), (ndtri_exp, log_p)):
        assert np.isfinite(jax.jit(jax.vmap(jax.grad(fn)))(x)).all()


@pytest.mark.parametrize("dtype", BOTH)
def test_owens_t_at_the_edges(dtype):
    h = np.array([0, 0, 0, inf, inf, 2, -2, 2, nan, 1, 0.0], dtype)
    a = np.array([0, inf, -inf, 1, inf, inf, -inf, 0, 1, nan, 1e38], dtype)
    half = float(jax.jit(ndtr)(dtype(-2.0))) / 2
    want = [0, 0.25, -0.25, 0, 0, half, -half, 0, nan, nan, 0.25]
    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(owens_t, (0, 1))))(h, a)
    np.testing.assert_allclose(value, np.array(want, dtype), rtol=1e-6)
    assert value.dtype == dtype and not np.isnan(slopes)[:, :8].any()


def test_second_derivatives_of_owens_t():
    points = np.array([(0, 0.5), (0.7, 0.3), (-1.2, 2), (3, -0.9), (8, 0.1), (0.3, 30)])
    got = jax.jit(jax.vmap(jax.hessian(owens_t, (0, 1))))(*points.T)
    for i, (h, a) in enumerate(points):
        e = np.exp(-h * h * (1 + a * a) / 2) / (2 * np.pi)
        in_h = -np.exp(-h * h / 2) / np.sqrt(8 * np.pi) * float(mp.erf(a * h / np.sqrt(2)))
        want = [[-h * in_h - a * e, -h * e], [-h * e, -a * (h * h + 2 / (1 + a * a)) / (1 + a * a) * e]]
        np.testing.assert_allclose([[x[i] for x in row] for row in got], want, rtol=1e-13)
