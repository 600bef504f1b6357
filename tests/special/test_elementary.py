"""Edges, gradients and shapes of the elementary functions and the reductions; their accuracy is in the tables."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp

from distrax_like import math as dlmath, special

inf, nan = np.inf, np.nan
BOTH = (np.float32, np.float64)


@pytest.mark.parametrize("dtype", BOTH)
def test_edges(dtype):
    x = np.array([0, inf, -inf, nan], dtype)
    cases = {
        "log1mexp": ([-inf, 0, 0, nan], [inf, 0, 0, nan]),
        "log_cosh": ([0, inf, inf, nan], [0, 1, -1, nan]),
        "log1psquare": ([0, inf, inf, nan], [0, 0, 0, nan]),
        "sqrt1pm1": ([0, inf, nan, nan], [0.5, 0, nan, nan]),
        "softplus_inverse": ([-inf, inf, nan, nan], [inf, 1, 0, nan]),
        "smootherstep": ([0, 1, 0, nan], None),
        "round_exponential_bump_function": ([1, 0, 0, nan], None),
    }

    @jax.jit
    def run(x):
        fns = [getattr(special, name) for name in cases]
        return [(fn(x), jax.vmap(jax.grad(fn))(x)) for fn in fns]

    for (name, (values, slopes)), (value, slope) in zip(cases.items(), run(x)):
        np.testing.assert_array_equal(value, values, err_msg=name)
        assert value.dtype == dtype and jax.eval_shape(getattr(special, name), x[:, None]).shape == (4, 1)
        if slopes is not None:
            np.testing.assert_array_equal(slope, slopes, err_msg=name)


def test_second_derivatives():
    x = np.array([-3.0, -0.7, 0.3, 0.9, 5.0])
    for name in ("log1mexp", "log_cosh", "log1psquare", "sqrt1pm1", "softplus_inverse"):
        fn, at = getattr(special, name), np.abs(x) if name in ("sqrt1pm1", "softplus_inverse") else x
        slope, second = jax.vmap(jax.grad(fn)), jax.vmap(jax.grad(jax.grad(fn)))
        up, down, got = jax.jit(lambda up, down, at: (slope(up), slope(down), second(at)))(at + 1e-6, at - 1e-6, at)
        np.testing.assert_allclose(got, (up - down) / 2e-6, rtol=1e-7, atol=1e-9, err_msg=name)


def test_log_sub_exp():
    x, y = np.array([inf, inf, -inf, 1, 2, 1, -inf]), np.array([1, inf, -inf, 1, 3, -inf, 0.5])
    log_sub_exp = jax.jit(special.log_sub_exp, static_argnames="return_sign")
    np.testing.assert_allclose(
        log_sub_exp(x, y), [inf, nan, -inf, -inf, math.log(math.exp(3) - math.exp(2)), 1, 0.5], rtol=1e-15
    )
    value, sign = log_sub_exp(np.array([1.0, 2.0, 2.0]), np.array([2.0, 1.0, 2.0]), return_sign=True)
    np.testing.assert_array_equal(sign, [-1, 1, 0])
    np.testing.assert_array_equal(jax.jit(jax.grad(special.log_sub_exp, (0, 1)))(1.0, -inf), [1, 0])
    assert jax.eval_shape(special.log_sub_exp, np.zeros((3, 1)), np.ones(2)).shape == (3, 2)


def test_log_combinations():
    n, counts = np.array([5.0, 3.0, 0.0, 4.0]), np.array([[2, 3, 0], [1, 1, 1], [0, 0, 0], [0, 4, 0.0]])
    np.testing.assert_allclose(np.exp(jax.jit(special.log_combinations)(n, counts)), [10, 6, 1, 1], rtol=1e-14)
    assert jax.jit(special.log_combinations)(4.0, jnp.array([0.0, 4.0])) == 0
    slope = jax.jit(jax.grad(lambda k: special.log_combinations(7.0, jnp.stack([k, 7 - k]))))(2.5)
    np.testing.assert_allclose(slope, sp.digamma(5.5) - sp.digamma(3.5), rtol=1e-12)


def test_products_with_logarithms():
    for fn in (special.xlogy, special.xlog1py):
        y = 0.0 if fn is special.xlogy else -1.0
        assert fn(0.0, y) == 0
        np.testing.assert_array_equal(jax.jit(jax.grad(fn, (0, 1)))(0.0, y), [0, 0])
    np.testing.assert_allclose(special.xlogy([2, 0.5], 3), np.array([2, 0.5]) * np.log(3), rtol=1e-15)


def test_clipping_and_thresholds():
    x = jnp.array([-2.0, 0.3, 5.0])
    np.testing.assert_array_equal(special.clip_by_value_preserve_gradient(x, -1, 1), [-1, 0.3, 1])
    slope = jax.jit(jax.grad(lambda x: jnp.sum(special.clip_by_value_preserve_gradient(x, -1, 1))))(x)
    np.testing.assert_array_equal(slope, 1)
    np.testing.assert_allclose(special.soft_threshold(x, 0.5), [-1.5, 0, 4.5])
    np.testing.assert_allclose(special.smootherstep([0.25, 0.5]), [0.103515625, 0.5])
    np.testing.assert_allclose(special.round_exponential_bump_function(0.6), math.exp(-0.36 / 0.64), rtol=1e-14)
    assert jax.jit(jax.grad(special.round_exponential_bump_function))(1.0) == 0


def test_log_cumsum_exp():
    x = jnp.array([[-inf, -inf, 0.0, 1000.0, -3.0], [1.0, -inf, 2.0, inf, 0.0]])
    value, slopes = jax.jit(lambda x: (dlmath.log_cumsum_exp(x), jax.jacobian(dlmath.log_cumsum_exp)(x[0])))(x)
    np.testing.assert_array_equal(value[0, :2], -inf)
    np.testing.assert_array_equal(value[1, 3:], inf)
    assert not jnp.isnan(slopes).any()
    np.testing.assert_array_equal(slopes[3], [0, 0, 0, 1, 0])
    y = np.random.default_rng(0).normal(size=(3, 7)) * 20
    want = np.stack([sp.logsumexp(y[:, : i + 1], axis=1) for i in range(7)], 1)
    np.testing.assert_allclose(jax.jit(dlmath.log_cumsum_exp)(y), want, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda y: dlmath.log_cumsum_exp(y, axis=0))(y.T).T, want, rtol=1e-14)


def test_weighted_logsumexp():
    x = np.random.default_rng(1).normal(size=(4, 5))
    w = np.random.default_rng(2).normal(size=(4, 5))

    @jax.jit
    def run(x, w, empty):
        return (
            dlmath.reduce_weighted_logsumexp(x, w, axis=1, return_sign=True),
            dlmath.reduce_weighted_logsumexp(x, w, axis=1),
            dlmath.reduce_logmeanexp(x, axis=[0, 1]),
            dlmath.reduce_logmeanexp(x, axis=1, keepdims=True),
            dlmath.reduce_log_harmonic_mean_exp(x, axis=0),
            jax.value_and_grad(dlmath.reduce_logmeanexp)(empty),
        )

    (value, sign), unsigned, mean, kept, harmonic, (of_empty, slope) = run(x, w, jnp.array([-inf, -inf]))
    np.testing.assert_allclose(sign * np.exp(value), np.sum(w * np.exp(x), 1), rtol=1e-13)
    np.testing.assert_array_equal(np.isnan(unsigned), np.asarray(sign) < 0)
    np.testing.assert_allclose(mean, np.log(np.mean(np.exp(x))), rtol=1e-14)
    assert kept.shape == (4, 1)
    np.testing.assert_allclose(harmonic, -np.log(np.mean(np.exp(-x), 0)), rtol=1e-13)
    assert of_empty == -inf
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_kahan_sum(n):
    sizes = 10 ** np.linspace(0, 8, n, dtype=np.float32)[:, None]
    x = np.random.default_rng(n).normal(size=(3, n, 2)).astype(np.float32) * sizes
    x = np.concatenate([x, -x[:, : n // 2]], 1)
    slope = jax.grad(lambda x: dlmath.reduce_kahan_sum(x).total)
    (total, correction), slopes = jax.jit(lambda x: (dlmath.reduce_kahan_sum(x, axis=1), slope(x)))(x)
    want = np.array([[math.fsum(x[i, :, j]) for j in range(2)] for i in range(3)])
    np.testing.assert_allclose(np.float64(total) + correction, want, rtol=1e-7 * 4, atol=1e-5)
    assert jax.eval_shape(lambda x: dlmath.reduce_kahan_sum(x, keepdims=True), x).total.shape == (1, 1, 1)
    np.testing.assert_array_equal(slopes, 1)


def test_soft_sorting_matrix():
    x = jnp.array([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]])
    matrix = jax.jit(dlmath.soft_sorting_matrix)(x, 1e-3)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", matrix, x), -np.sort(-x, -1), rtol=1e-6)
    np.testing.assert_allclose(np.sum(jax.jit(dlmath.soft_sorting_matrix)(x, 3.0), -1), 1, rtol=1e-12)
