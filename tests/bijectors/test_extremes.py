"""Bijectors at values whose squares, quotients or exponentials overflow or underflow, against mpmath."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import distrax_like.bijectors as bij

BOTH = pytest.mark.parametrize("dtype, rtol", [(np.float32, 2e-6), (np.float64, 1e-14)])


def precise(x):
    return [mp.mpf(float(v)) for v in np.ravel(x)]


@functools.partial(jax.jit)
def run(b, x):
    def both(x):
        y, log_det = b.forward_and_log_det(x)
        return (y, log_det), (y, log_det, b.inverse_and_log_det(y))

    (_, log_det_slope), rest = jax.jacrev(both, has_aux=True)(x)
    return *rest, log_det_slope


def sphere(x):
    square = mp.fsum(v * v for v in x)
    y = [*(2 * v / (square + 1) for v in x), (square - 1) / (square + 1)]
    return y, len(x) * (mp.log(2) - mp.log1p(square)), [-len(x) * 2 * v / (1 + square) for v in x]


def correlation(x):
    """For three by three, in the order of the strictly lower triangle."""
    filled = np.asarray(bij.FillTriangular().forward(jnp.array([0.0, 1, 2]))).astype(int)
    rows = [[], [x[filled[0, 0]]], [x[k] for k in filled[1]]]
    y, log_det = [], mp.mpf(0)
    for i, row in enumerate(rows):
        square = mp.fsum(v * v for v in row)
        y += [v / mp.sqrt(1 + square) for v in (*row, 1)] + [0] * (2 - i)
        log_det -= mp.mpf(i + 2) / 2 * mp.log1p(square)
    return y, log_det


@BOTH
def test_vectors_of_any_length(dtype, rtol):
    huge = 1e25 if dtype == np.float32 else 1e220
    tiny = 1 / huge
    points = [[1e-3, 2e3], [huge, 0], [huge, -huge / 3], [tiny, 0.5], [tiny, -tiny], [0.3, -0.9], [0, 1], [-7.0, 4e4]]
    for x in points:
        x = jnp.asarray(x, dtype)
        with mp.workdps(500):
            y, log_det, slope = sphere(precise(x))
        got, got_det, (back, back_det), got_slope = run(bij.UnitVector(), x)
        np.testing.assert_allclose(got, np.array(y, float), rtol=rtol, atol=np.finfo(dtype).eps * rtol)
        np.testing.assert_allclose(got_det, float(log_det), rtol=rtol)
        np.testing.assert_allclose(back, x, rtol=4 * rtol, atol=0)
        np.testing.assert_allclose(back_det, -float(log_det), rtol=4 * rtol)
        np.testing.assert_allclose(got_slope, np.array(slope, float), rtol=4 * rtol, atol=1e-37)
    for x in ([huge, huge, huge], [huge, tiny, 0.4], [tiny, tiny, -tiny], [0.3, -2, 1e3]):
        x = jnp.asarray(x, dtype)
        with mp.workdps(500):
            y, log_det = correlation(precise(x))
        got, got_det, (back, back_det), got_slope = run(bij.CorrelationCholesky(), x)
        np.testing.assert_allclose(np.ravel(got), np.array(y, float), rtol=rtol, atol=1e-37)
        np.testing.assert_allclose(got_det, float(log_det), rtol=rtol, atol=1e-37)
        np.testing.assert_allclose(back, x, rtol=4 * rtol, atol=2 * tiny)
        np.testing.assert_allclose(back_det, -float(log_det), rtol=4 * rtol, atol=1e-37)
        assert np.all(np.isfinite(got_slope))


def test_points_near_the_poles():
    u = bij.UnitVector()
    np.testing.assert_allclose(u.forward(jnp.array([1e20, 0], jnp.float32)), [2e-20, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(u.inverse(jnp.array([0, 0, -1.0])), [0, 0], atol=1e-300)
    x = jnp.array([1e-3, 2e3], jnp.float32)
    slopes = jax.jacobian(lambda x: u.inverse(u.forward(x)))(x)
    np.testing.assert_allclose(slopes, np.eye(2), atol=2e-3)


@BOTH
def test_simplexes_have_no_entry_of_zero(dtype, rtol):
    b, x = bij.SoftmaxCentered(), jnp.asarray([1e3, -2e3, 0], dtype)
    y, log_det, (back, _), slope = run(b, x)
    assert np.all(np.asarray(y) > 0) and np.all(np.isfinite(back)) and np.all(np.isfinite(slope))
    np.testing.assert_allclose(log_det, -5e3, rtol=rtol)


@BOTH
def test_scalars_of_any_size(dtype, rtol):
    huge = 1e30 if dtype == np.float32 else 1e300
    values = jnp.asarray([-huge, -30, -1e-3, 0, 1 / huge, 0.7, 30, huge], dtype)
    x = np.asarray(values, np.float64)

    @jax.jit
    def several(values, h):
        tanh, sharp = bij.Tanh(), bij.Softplus(hinge_softness=h)
        y = sharp.forward(values)
        return tanh.forward_and_log_det(values), tanh.forward_log_det_jacobian(-values), y, sharp.inverse(y)

    (y, log_det), mirrored, soft, back = several(values, 1 / dtype(huge))
    np.testing.assert_allclose(y, np.tanh(x), rtol=4 * np.finfo(dtype).eps)
    wanted = 2 * (np.log(2) - np.abs(x) - np.log1p(np.exp(-2 * np.abs(x))))
    np.testing.assert_allclose(log_det, wanted, rtol=rtol, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(log_det, mirrored)
    np.testing.assert_allclose(soft[4:], [np.log1p(np.e) / huge, *x[5:]], rtol=rtol)
    np.testing.assert_allclose(back[4:], x[4:], rtol=rtol)
    # The inverse of maps onto intervals near both ends, and onto half-lines.
    ends = bij.Sigmoid(low=dtype(-2), high=dtype(3))
    inside, log_det = ends.inverse_and_log_det(ends.forward(jnp.asarray([-80, 80], dtype)))
    assert np.all(np.isfinite(inside)) and np.all(np.isfinite(log_det))
