"""Edges, transformations and second derivatives of the gamma family; its accuracy is in the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp

from distrax_like.special._gamma_inverse import gammainccinv, gammaincinv
from distrax_like.special._incomplete_gamma import gammainc, gammaincc, log_gammainc, log_gammaincc
from distrax_like.special._stirling import (
    bd0,
    log_gamma_correction,
    log_gamma_difference,
    multidigamma,
    multigammaln,
    stirlerr,
)

from . import truth

# Of the tables' programs, which the tests of accuracy compile in any case.
with_incomplete, with_inverse = (pytest.mark.xdist_group(f"special-{name}_gamma") for name in ("incomplete", "inverse"))
BOTH = (np.float32, np.float64)
TWO = [gammainc, gammaincc, log_gammainc, log_gammaincc, gammaincinv, gammainccinv, bd0, log_gamma_difference]
INCOMPLETE = TWO[:4]
inf, nan = np.inf, np.nan


def evaluate(a, x):
    return [fn(a, x) for fn in INCOMPLETE]


evaluate_filled = truth.filled(jax.jit(evaluate), 700)


def values(a, x):
    """Of the incomplete functions."""
    return dict(zip(INCOMPLETE, evaluate_filled(a, x)))


@with_incomplete
@pytest.mark.parametrize("dtype", BOTH)
def test_incomplete_gamma_at_the_edges(dtype):
    a = np.array([1, 1, 0, 0, inf, 2, inf, nan, 2, -1, 1, 0.5, 1e-10], dtype)
    x = np.array([0, inf, 1, 0, 1, inf, inf, 1, nan, 1, -1, 0, 0], dtype)
    lower = np.array([0, 1, 1, nan, 0, 1, nan, nan, nan, nan, nan, 0, 0])
    out = values(a, x)
    with np.errstate(divide="ignore"):
        for fn, want in zip(INCOMPLETE, (lower, 1 - lower, np.log(lower), np.log(1 - lower))):
            np.testing.assert_array_equal(out[fn], want)
    known = [0, 1, 2, 4, 5, 7, 8, 11]
    np.testing.assert_array_equal(out[gammainc][known], sp.gammainc(a, x)[known])


@with_inverse
@pytest.mark.parametrize("dtype", BOTH)
def test_inverse_at_the_edges(dtype):
    a = np.array([2, 2, 2, 2, nan, 2, 1e5], dtype)
    p = np.array([0, 1, -0.1, 1.1, 0.5, nan, 0], dtype)
    lower, upper = jax.jit(lambda a, p: (gammaincinv(a, p), gammainccinv(a, p)))(a, p)
    np.testing.assert_array_equal(lower, [0, inf, nan, nan, nan, nan, 0])
    np.testing.assert_array_equal(upper, [inf, 0, nan, nan, nan, nan, inf])


@with_incomplete
def test_stirling_at_the_edges():
    np.testing.assert_array_equal(jax.jit(stirlerr)(jnp.array([0.0, inf, nan, -1.0])), [inf, 0, nan, nan])
    x, m = np.array([0, 0, 2, 2, inf, inf, -1, nan, 3.0]), np.array([0, 3, 0, inf, 2, inf, 1, 1, 3.0])
    np.testing.assert_array_equal(jax.jit(bd0)(x, m), [0, 3, inf, inf, inf, nan, nan, nan, 0])
    np.testing.assert_array_equal(log_gamma_correction(9.0), stirlerr(9.0))
    a = np.array([2.3, 7.0])
    np.testing.assert_allclose(multigammaln(a, 4), sp.multigammaln(a, 4), rtol=1e-14)
    np.testing.assert_allclose(jax.grad(lambda a: multigammaln(a, 4))(2.3), multidigamma(2.3, 4), rtol=1e-13)
    assert jnp.isnan(multigammaln(1.4, 4))


@with_incomplete
def test_density_at_zero():
    _, slopes = truth.compiled("incomplete_gamma")(np.array([0.5, 1, 2, 2]), np.array([0, 0, 0, inf]))[gammainc]
    np.testing.assert_allclose(slopes[1][1:3], [1, 0], atol=1e-300)
    assert slopes[1][0] > 1e100
    np.testing.assert_allclose(slopes[0][:2], 0, atol=1e-150)
    assert slopes[1][3] == 0


@with_incomplete
def test_shapes_and_dtypes():
    x = jnp.linspace(0.1, 0.9, 3, dtype=np.float32)
    y = jnp.linspace(0.5, 3, 2, dtype=np.float32)[:, None]
    maps = [jax.vmap(jax.vmap(fn, (None, 0)), (0, None)) for fn in TWO]
    both = jax.jit(lambda y, x: ([fn(y, x) for fn in TWO], [fn(y[:, 0], x) for fn in maps]))
    for fn, out, mapped in zip(TWO, *both(y, x)):
        assert out.shape == (2, 3) and out.dtype == np.float32, fn.__name__
        np.testing.assert_allclose(mapped, out, rtol=1e-6, err_msg=fn.__name__)
        assert jax.eval_shape(fn, 2, 0.5).dtype == np.float64 and jax.eval_shape(fn, 2.0, x).dtype == np.float32


POINTS = np.array([(0.05, 0.3), (0.7, 1.2), (1, 1), (2, 5), (7, 3), (30, 31), (30, 4), (100, 500.0)])


@with_incomplete
@pytest.mark.parametrize("fn", [gammainc, log_gammaincc], ids=lambda fn: fn.__name__)
def test_second_derivatives_in_a(fn):
    """Of each first derivative, which the tables check, against its differences."""
    a, x = POINTS.T
    slopes_of = truth.compiled("incomplete_gamma")
    second = jax.jit(lambda a: jax.jvp(lambda a: jax.vmap(jax.grad(fn, (0, 1)))(a, x), (a,), (jnp.ones_like(a),))[1])
    h = 1e-5 * np.minimum(a, x)
    up, down = (slopes_of(a + s * h, x)[fn][1] for s in (1, -1))
    for i, got in enumerate(second(a)):
        np.testing.assert_allclose(got, (up[i] - down[i]) / (2 * h), rtol=1e-5, atol=1e-7)


@with_incomplete
def test_third_derivative():
    third = jax.jit(jax.grad(jax.grad(jax.grad(gammainc, 1), 1), 1))(2.0, 1.5)
    np.testing.assert_allclose(third, -0.5 * np.exp(-1.5), rtol=1e-12)


@with_inverse
def test_inverse_has_second_derivatives():
    second = jax.jit(jax.jvp, static_argnums=0)(jax.grad(gammaincinv), (2.5, 0.3), (1.0, 0.0))[1]
    h = 1e-5
    _, slopes = truth.compiled("inverse_gamma")(np.array([2.5 + h, 2.5 - h]), 0.3)[gammaincinv]
    np.testing.assert_allclose(second, -np.diff(slopes[0])[0] / (2 * h), rtol=1e-6)


@with_incomplete
def test_nothing_is_nan_over_the_range_of_single_precision():
    sizes = np.float32(np.logspace(-37, 38, 26))
    a, x = (v.ravel() for v in np.meshgrid(sizes, sizes))
    for fn, value in values(a, x).items():
        assert not np.isnan(value).any(), fn.__name__
    for fn in TWO[6:]:
        assert not np.isnan(jax.jit(fn)(a, x)).any(), fn.__name__
    out = truth.compiled("incomplete_gamma")(a, x)
    for fn in INCOMPLETE[:2]:
        for i, slope in out[fn][1].items():
            assert not np.isnan(slope).any(), (fn.__name__, i)
