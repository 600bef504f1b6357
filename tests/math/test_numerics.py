"""Root finding, quadrature, factorisations and interpolation."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate
import scipy.special as sp

from distrax_like import math as dlmath
from distrax_like.math import _quadrature

inf = np.inf


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_chandrupatla_to_the_last_bits(dtype):
    c = np.array([1, 2, 8, 27, 1e-9], dtype)
    found = jax.jit(lambda c: dlmath.find_root_chandrupatla(lambda x: x**3 - c, jnp.zeros_like(c), 10))(c)
    assert found.estimated_root.dtype == dtype
    np.testing.assert_allclose(found.estimated_root, np.cbrt(np.float64(c)), rtol=2 * np.finfo(dtype).eps)
    assert found.num_iterations < 40


@pytest.mark.parametrize(
    "fn, low, high, root",
    [
        (lambda x: jnp.where(x < 0.3, -1.0, 1.0), 0.0, 1.0, 0.3),
        (lambda x: jnp.exp(x) - 1e300, 0.0, 700.0, math.log(1e300)),
        (lambda x: 1 / (x - 0.3) - 1e9, 0.3000000001, 9.0, 0.300000001),
        (lambda x: jnp.sin(x), 3.0, 4.0, math.pi),
        (lambda x: x, -1.0, 1.0, 0.0),
        (lambda x: x - 2, 2.0, 5.0, 2.0),
        (lambda x: x - 5, 2.0, 5.0, 5.0),
        (lambda x: -jnp.log(x), 5.0, 1e-3, 1.0),
    ],
)
def test_chandrupatla_on_hard_functions(fn, low, high, root):
    found = jax.jit(lambda low, high: dlmath.find_root_chandrupatla(fn, low, high))(low, high)
    np.testing.assert_allclose(found.estimated_root, root, rtol=4e-16, atol=1e-300)
    assert found.num_iterations <= 60


def test_chandrupatla_without_a_root():
    found = dlmath.find_root_chandrupatla(lambda x: x * x + np.array([1.0, -1.0]), np.zeros(2), 2.0)
    np.testing.assert_array_equal(found.estimated_root, [np.nan, 1])
    with pytest.raises(ValueError, match="low and high"):
        dlmath.find_root_chandrupatla(lambda x: x, low=1.0)


def test_tolerances_stop_early():
    fn = lambda x: x**3 - 2
    options = ({}, {"position_tolerance": 1e-2}, {"value_tolerance": 1e-2}, {"max_iterations": 3})
    run = jax.jit(lambda low, high: [dlmath.find_root_chandrupatla(fn, low, high, **o) for o in options])
    exact, rough, near, short = run(0.0, 5.0)
    assert rough.num_iterations < exact.num_iterations and abs(rough.estimated_root - 2 ** (1 / 3)) < 1e-2
    assert near.num_iterations < exact.num_iterations and abs(near.objective_at_estimated_root) < 1e-2
    assert short.num_iterations == 3


@pytest.mark.parametrize(
    "search",
    [
        lambda f, c: dlmath.find_root_chandrupatla(f, jnp.zeros_like(c), 10),
        lambda f, c: dlmath.find_root_secant(f, jnp.ones_like(c)),
        lambda f, c: dlmath.find_root_chandrupatla(f, *dlmath.bracket_root(f)),
    ],
    ids=["chandrupatla", "secant", "bracketed"],
)
def test_derivatives_of_roots_are_implicit(search):
    c = np.array([0.5, 2.0, 7.0])
    root = lambda c: search(lambda x: x**3 - c, c).estimated_root
    derivatives = jax.vmap(jax.grad(root)), jax.vmap(jax.grad(jax.grad(root))), jax.jacfwd(root)
    value, first, second, matrix = jax.jit(lambda c: [fn(c) for fn in (root, *derivatives)])(c)
    np.testing.assert_allclose(value, np.cbrt(c), rtol=1e-15)
    np.testing.assert_allclose(first, c ** (-2 / 3) / 3, rtol=1e-14)
    np.testing.assert_allclose(second, -2 / 9 * c ** (-5 / 3), rtol=1e-13)
    np.testing.assert_allclose(matrix, np.diag(c ** (-2 / 3) / 3), rtol=1e-14)


def test_bracket_root():
    c = np.array([1.0, 1e-8, 1e8])
    found = jax.jit(lambda c: dlmath.find_root_chandrupatla(lambda x: jnp.exp(x) - c))(c)
    np.testing.assert_allclose(found.estimated_root, np.log(c), rtol=1e-15, atol=1e-300)
    bracket = jax.jit(dlmath.bracket_root, static_argnums=0)
    low, high = bracket(lambda x: x + 123.0)
    assert low <= -123 <= high
    assert jnp.isnan(bracket(lambda x: x * x + 1)[0])


def density(x):
    return jnp.exp(-x * x / 2) / math.sqrt(2 * math.pi)


INTEGRALS = {
    "normal": (density, -inf, inf, 1),
    "second moment": (lambda x: x * x * density(x), -inf, inf, 1),
    "Cauchy": (lambda x: 1 / (math.pi * (1 + x * x)), -inf, inf, 1),
    "exponential": (lambda x: jnp.exp(-x), 0, inf, 1),
    "from below": (lambda x: jnp.exp(x), -inf, 2, math.exp(2)),
    "singular": (lambda x: x**-0.7, 0, 1, 1 / 0.3),
    "logarithm": (lambda x: jnp.log(x), 0, 1, -1),
    "kink": (lambda x: jnp.abs(x - 1 / 3), 0, 1, 5 / 18),
    "step": (lambda x: jnp.where(x < 1 / 3, 1.0, 0.0), 0, 1, 1 / 3),
    "waves": (lambda x: jnp.cos(50 * x), 0, 1.3, math.sin(65) / 50),
    "backwards": (lambda x: x, 1, 0, -0.5),
    "nothing": (lambda x: x, 1, 1, 0),
}


@jax.jit
def integrate_one(which, low, high):
    """Which integrand is an argument, for one compilation in each width."""
    branches = [lambda x, fn=fn: jnp.asarray(fn(x), x.dtype) for fn, *_ in INTEGRALS.values()]
    return dlmath.integrate(lambda x: jax.lax.switch(which, branches, x), low, high)


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("name", INTEGRALS)
def test_integrate(name, dtype):
    fn, low, high, want = INTEGRALS[name]
    limits = dtype(low), dtype(high)
    found = integrate_one(list(INTEGRALS).index(name), *limits)
    eps = np.finfo(dtype).eps
    assert found.integral.dtype == dtype
    assert jax.eval_shape(lambda low, high: dlmath.integrate(fn, low, high), *limits).integral.dtype == dtype
    assert abs(found.integral - want) < 200 * eps * max(abs(want), 1e-2)
    assert found.num_intervals < 64 and found.error < 1e3 * eps * max(abs(want), 1)


def test_an_integral_that_is_not_reached_says_so():
    found = jax.jit(lambda a: dlmath.integrate(lambda x: jnp.sin(1 / x) / x, a, 1.0, max_intervals=16))(1e-4)
    assert found.error > 1e-6 and found.num_intervals == 16


def test_derivatives_of_integrals():
    a = np.array([0.5, 2.0, 3.0])
    gamma = lambda a: dlmath.integrate(lambda x: x ** (a - 1) * jnp.exp(-x), jnp.zeros_like(a), inf).integral
    derivatives = jax.vmap(jax.grad(gamma)), jax.jacfwd(gamma), jax.vmap(jax.grad(jax.grad(gamma)))
    value, first, matrix, second = jax.jit(lambda a: [fn(a) for fn in (gamma, *derivatives)])(a)
    np.testing.assert_allclose(value, sp.gamma(a), rtol=1e-14)
    np.testing.assert_allclose(first, sp.gamma(a) * sp.digamma(a), rtol=1e-13)
    np.testing.assert_allclose(matrix, np.diag(sp.gamma(a) * sp.digamma(a)), rtol=1e-13)
    np.testing.assert_allclose(second, sp.gamma(a) * (sp.digamma(a) ** 2 + sp.polygamma(1, a)), rtol=1e-12)
    ends = lambda a, b: dlmath.integrate(lambda x: jnp.exp(-x * x), a, b).integral
    np.testing.assert_allclose(
        jax.jit(jax.grad(ends, (0, 1)))(0.2, 1.3), [-math.exp(-0.04), math.exp(-1.69)], rtol=1e-13
    )


def test_gauss_legendre_is_exact_for_polynomials():
    low, high = np.array([-1.0, 0.5]), np.array([[2.0], [3.0]])
    got = jax.jit(lambda low, high: dlmath.gauss_legendre(lambda x: x**7, low, high, 4))(low, high)
    np.testing.assert_allclose(got, (high**8 - low**8) / 8, rtol=1e-13)
    slope = jax.jit(jax.grad(lambda b: dlmath.gauss_legendre(jnp.exp, 0.0, b, 12)))
    np.testing.assert_allclose(slope(1.5), math.exp(1.5))


def test_kronrod_rule():
    """The nodes and weights of both rules are determined by their degrees of exactness, 31 and 19."""
    power = np.arange(0, 32, 2)
    moments = _quadrature._NODES[:, None] ** power * (power + 1) / 2
    np.testing.assert_allclose(_quadrature._WEIGHTS @ moments, 1, rtol=2e-15)
    np.testing.assert_allclose(_quadrature._GAUSS_WEIGHTS @ moments[:, power < 20], 1, rtol=2e-15)
    np.testing.assert_allclose(_quadrature._NODES, -_quadrature._NODES[::-1], rtol=0)


def positive_definite(*shape, seed=0):
    a = np.random.default_rng(seed).normal(size=(*shape, shape[-1]))
    return a @ np.swapaxes(a, -1, -2) + 0.1 * np.eye(shape[-1])


def test_pivoted_cholesky():
    x = np.linspace(0, 1, 12)
    matrix = np.exp(-((x[:, None] - x) ** 2) / np.array([0.02, 0.5])[:, None, None])
    for rank in (3, 12):
        run = jax.jit(lambda m: dlmath.pivoted_cholesky(m, rank, diag_rtol=1e-6, return_pivoting_order=True))
        factor, order = run(matrix)
        assert factor.shape == (2, 12, rank)
        for f, o, m in zip(np.asarray(factor), np.asarray(order), matrix):
            assert sorted(o) == list(range(12))
            lead = f[o][:, : np.count_nonzero(np.abs(f).sum(0))]
            np.testing.assert_allclose(np.triu(lead, 1), 0, atol=1e-15)
            # On the pivots it is the factor of that part of the matrix.
            k = lead.shape[1]
            np.testing.assert_allclose(lead[:k] @ lead[:k].T, m[np.ix_(o[:k], o[:k])], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(factor @ np.swapaxes(factor, -1, -2), matrix, atol=2e-6)
    found = jax.jit(lambda m: dlmath.low_rank_cholesky(m, 12, trace_rtol=1e-3))(matrix)
    assert found.rank[1] < found.rank[0] <= 12 and (np.abs(np.asarray(found.factor[1][:, found.rank[1] :])) == 0).all()
    left = np.trace(matrix - found.factor @ np.swapaxes(found.factor, -1, -2), axis1=-1, axis2=-2)
    np.testing.assert_allclose(found.residual_diag.sum(-1), left, rtol=1e-9, atol=1e-12)
    assert (left < 1e-3 * 12).all()


def test_pivoted_cholesky_has_gradients():
    matrix = positive_definite(5)
    value = lambda m: jnp.sum(dlmath.pivoted_cholesky(m, 5, 0.0) @ dlmath.pivoted_cholesky(m, 5, 0.0).T * jnp.cos(m))
    slope = jax.jit(jax.grad(lambda m: value((m + m.T) / 2)))(matrix)
    np.testing.assert_allclose(slope, np.cos(matrix) - matrix * np.sin(matrix), rtol=1e-9, atol=1e-9)


def test_cholesky_of_a_changed_matrix():
    matrix = positive_definite(3, 6)
    chol = np.linalg.cholesky(matrix)
    grown = jax.jit(dlmath.cholesky_concat)(chol[:, :4, :4], matrix[:, :, 4:])
    np.testing.assert_allclose(grown, chol, rtol=1e-10, atol=1e-12)
    u = np.random.default_rng(3).normal(size=(2, 1, 6))
    multiplier = np.array([2.0, -1e-3])[:, None]
    got = jax.jit(dlmath.cholesky_update)(chol, u, multiplier)
    want = np.linalg.cholesky(matrix + multiplier[..., None, None] * u[..., :, None] * u[..., None, :])
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    assert jnp.isnan(jax.jit(dlmath.cholesky_update)(np.eye(2), np.ones(2), -1.0)).any()


def test_solving_with_positive_definite_matrices():
    matrix, rhs = positive_definite(2, 4), np.random.default_rng(4).normal(size=(3, 1, 4, 2))
    chol = np.linalg.cholesky(matrix)
    solved = np.linalg.solve(matrix, np.broadcast_to(rhs, (3, 2, 4, 2)))

    @functools.partial(jax.jit, static_argnames="by_factor")
    def run(matrix, rhs, by_factor):
        args, options = ((None,), {"cholesky_matrix": matrix}) if by_factor else ((matrix,), {})
        return (
            dlmath.hpsd_logdet(*args, **options),
            dlmath.hpsd_solve(*args, rhs, **options),
            dlmath.hpsd_solvevec(*args, rhs[..., 0], **options),
            dlmath.hpsd_quadratic_form_solve(*args, rhs, **options),
            dlmath.hpsd_quadratic_form_solvevec(*args, rhs[..., 0], **options),
        )

    for by_factor in (False, True):
        logdet, several, vector, form, number = run(chol if by_factor else matrix, rhs, by_factor)
        np.testing.assert_allclose(logdet, np.linalg.slogdet(matrix)[1], rtol=1e-10)
        np.testing.assert_allclose(several, solved, rtol=1e-8)
        np.testing.assert_allclose(vector, solved[..., 0], rtol=1e-8)
        np.testing.assert_allclose(form, np.swapaxes(rhs, -1, -2) @ solved, rtol=1e-8)
        np.testing.assert_allclose(number, form[..., 0, 0], rtol=1e-10)
    with pytest.raises(ValueError, match="exactly one of matrix and cholesky_matrix"):
        dlmath.hpsd_logdet(None)


def test_lu():
    matrix = np.random.default_rng(5).normal(size=(3, 4, 4))
    rhs = np.random.default_rng(6).normal(size=(4, 2))

    @jax.jit
    def run(matrix, rhs):
        lu, _, perm = jax.lax.linalg.lu(matrix)
        made = dlmath.lu_reconstruct(lu, perm)
        return made, dlmath.lu_matrix_inverse(lu, perm), dlmath.lu_solve(lu, perm, rhs)

    made, inverse, solved = run(matrix, rhs)
    np.testing.assert_allclose(made, matrix, rtol=1e-12)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), rtol=1e-9)
    want = np.linalg.solve(matrix, np.broadcast_to(rhs, (3, 4, 2)))
    np.testing.assert_allclose(solved, want, rtol=1e-9)


def test_gram_schmidt():
    vectors = np.random.default_rng(7).normal(size=(2, 5, 4))
    got, one = jax.jit(lambda v: (dlmath.gram_schmidt(v), dlmath.gram_schmidt(v, 1)))(vectors)
    np.testing.assert_allclose(np.swapaxes(got, -1, -2) @ got, np.broadcast_to(np.eye(4), (2, 4, 4)), atol=1e-14)
    q, r = np.linalg.qr(vectors)
    np.testing.assert_allclose(got, q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[:, None], rtol=1e-11)
    np.testing.assert_allclose(np.einsum("bd,bdn->bn", one[..., 0], one[..., 1:]), 0, atol=1e-14)
    assert not jnp.isnan(jax.jit(dlmath.gram_schmidt)(np.zeros((3, 2)))).any()


def test_diag_jacobian():
    x = np.array([0.3, 1.2, -0.7])
    fn = lambda x: jnp.sin(x) * jnp.sum(x**2)
    got, want = jax.jit(lambda x: (dlmath.diag_jacobian(fn, x), jax.jacobian(fn)(x)))(x)
    np.testing.assert_allclose(got, np.diag(want), rtol=1e-14)


def test_one_dimensional_interpolation():
    x = np.array([-1.0, 0.0, 0.3, 1.1, 2.0, 5.0, np.nan])
    y = np.array([1.0, 3.0, 2.0, 7.0, 4.0])  # at 0, 0.5, 1, 1.5, 2
    table = np.stack([y, 2 * y], -1)

    @jax.jit
    def run(x, y, table):
        fn = dlmath.interp_regular_1d_grid
        return (
            fn(x, 0.0, 2.0, y),
            fn(x, 0.0, 2.0, y, fill_value="extrapolate"),
            fn(x, 0.0, 2.0, y, fill_value_below=-9.0, fill_value_above="extrapolate"),
            fn(0.25, 0.0, 2.0, y),
            fn(np.zeros((3, 2)), 0.0, 2.0, table, axis=0),
            fn(np.zeros((3, 4)), 0.0, 2.0, table.T),
            fn(jnp.array([2.0, 50]), 1.0, 100.0, jnp.array([0.0, 1, 2]), grid_regularizing_transform=jnp.log),
        )

    inside, beyond, mixed, middle, first, last, log = run(x, y, table)
    np.testing.assert_allclose(inside, np.interp(x, np.linspace(0, 2, 5), y), rtol=1e-14)
    np.testing.assert_allclose(beyond[np.array([0, 5])], [-3, -14], rtol=1e-14)
    np.testing.assert_allclose(mixed[np.array([0, 5])], [-9, -14], rtol=1e-14)
    assert middle == 2 and first.shape == (3, 2, 2) and last.shape == (2, 3, 4)
    np.testing.assert_allclose(log, np.log10([2, 50]), rtol=1e-14)
    with pytest.raises(ValueError, match="fill_value"):
        dlmath.interp_regular_1d_grid(x, 0.0, 2.0, y, fill_value="nearest")
    slope = jax.jit(jax.grad(lambda x: dlmath.interp_regular_1d_grid(x, 0.0, 2.0, y)))
    np.testing.assert_allclose([slope(0.3), slope(-1.0), slope(1.2)], [4, 0, 10], rtol=1e-14)


def test_batches_of_one_dimensional_tables():
    rng = np.random.default_rng(8)
    x, low, high = rng.uniform(-1, 3, size=(2, 1, 6)), np.array([0.0, -0.5, 1.0]), np.array([2.0, 1.0, 2.5])
    y = rng.normal(size=(3, 5, 2))
    got = jax.jit(lambda x, *grid: dlmath.batch_interp_regular_1d_grid(x, *grid, axis=1))(x, low, high, y)
    assert got.shape == (2, 3, 6, 2)
    for i in range(2):
        for j in range(3):
            for k in range(2):
                want = np.interp(x[i, 0], np.linspace(low[j], high[j], 5), y[j, :, k])
                np.testing.assert_allclose(got[i, j, :, k], want, rtol=1e-12)


@pytest.mark.parametrize("fill", ["constant_extension", "extrapolate", -7.0])
def test_interpolation_in_several_dimensions(fill):
    rng = np.random.default_rng(9)
    y = rng.normal(size=(4, 3, 5, 2))
    grids = [np.array([0.0, 1, 2, 3]), np.array([-1.0, 0, 1]), np.linspace(0, 1, 5)]
    uneven = [np.array([0.0, 0.1, 2, 3]), np.array([-1.0, 0.7, 1]), np.array([0, 0.2, 0.3, 0.9, 1])]
    low, high = np.array([0.0, -1, 0]), np.array([3.0, 1, 1])
    x = rng.uniform(low - 0.3, high + 0.3, size=(20, 3))
    where = np.clip(x, low, high) if fill == "constant_extension" else x
    other = None if isinstance(fill, str) else fill

    @jax.jit
    def run(x, y):
        even = dlmath.batch_interp_regular_nd_grid(x, low, high, y, 0, fill)
        return even, dlmath.batch_interp_rectilinear_nd_grid(x, uneven, y, 0, fill)

    for got, axes in zip(run(x, y), (grids, uneven)):
        want = scipy.interpolate.RegularGridInterpolator(axes, y, bounds_error=False, fill_value=other)(where)
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_batches_in_several_dimensions():
    rng = np.random.default_rng(10)
    x, y = rng.uniform(0, 1, size=(2, 1, 7, 2)), rng.normal(size=(3, 4, 5))
    low, high = np.zeros((3, 2)), np.array([[1.0, 1], [2, 1], [1, 3]])
    regular = jax.jit(dlmath.batch_interp_regular_nd_grid, static_argnames="axis")
    got = regular(x, low, high, y, axis=1)
    points = [np.linspace(0, high[:, 0], 4).T, np.linspace(0, high[:, 1], 5).T]
    rectilinear = jax.jit(dlmath.batch_interp_rectilinear_nd_grid, static_argnames="axis")
    np.testing.assert_allclose(rectilinear(x, points, y, axis=1), got, rtol=1e-12)
    for i in range(2):
        for j in range(3):
            one = regular(x[i, 0], low[j], high[j], y[j], axis=0)
            np.testing.assert_allclose(got[i, j], one, rtol=1e-13)
