"""Kernels: values against their formulas, lifting over batches, algebra, gradients at equal points."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import distrax_like as dl
from distrax_like import kernels as tfpk
from distrax_like.kernels._stationary import squared_distances

from .cases import CASES, Case

X = random.normal(random.key(0), (6, 2))
Y = random.normal(random.key(1), (4, 2))

every_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


@every_case
def test_values_match_the_formula_in_both_widths(case: Case):
    r = np.linalg.norm(np.asarray(X)[:, None] - np.asarray(Y)[None], axis=-1)
    expected = 1.7**2 * case.formula(r / 0.6)
    np.testing.assert_allclose(case.make(1.7, 0.6).matrix(X, Y), expected, rtol=1e-13)
    np.testing.assert_allclose(case.make(1.7, inverse_length_scale=1 / 0.6).matrix(X, Y), expected, rtol=1e-13)
    x, y = X.astype(jnp.float32), Y.astype(jnp.float32)
    narrow = case.make(jnp.float32(1.7), jnp.float32(0.6)).matrix(x, y)
    assert narrow.dtype == jnp.float32 and case.make().matrix(x).dtype == jnp.float32
    np.testing.assert_allclose(narrow, expected, rtol=3e-6)


@every_case
def test_forms_agree_and_lift_over_batches(case: Case):
    kernel = case.make(jnp.array([1.0, 2.0]), length_scale=jnp.array([[0.5], [1.0], [2.0]]))
    assert kernel.batch_shape == (3, 2)
    matrix = kernel.matrix(X, Y)
    assert matrix.shape == (3, 2, 6, 4)
    np.testing.assert_allclose(kernel[1, 0].matrix(X, Y), matrix[1, 0], rtol=1e-14)
    np.testing.assert_allclose(kernel.tensor(X.reshape(2, 3, 2), Y, 2, 1), matrix.reshape(3, 2, 2, 3, 4), rtol=1e-14)
    np.testing.assert_allclose(
        kernel.apply(X[:4], Y, example_ndims=1), jnp.diagonal(matrix, axis1=-2, axis2=-1), rtol=1e-14
    )
    np.testing.assert_allclose(kernel.apply(X[2], Y[1]), matrix[..., 2, 1], rtol=1e-14)
    np.testing.assert_allclose(kernel.diag(X), jnp.diagonal(kernel.matrix(X), axis1=-2, axis2=-1), rtol=1e-15)
    # A batch of points meets a batch of parameters.
    points = random.normal(random.key(2), (2, 5, 2))
    both = kernel.matrix(points)
    assert both.shape == (3, 2, 5, 5)
    np.testing.assert_allclose(both[2, 1], kernel[2, 1].matrix(points[1]), rtol=1e-14)
    one = case.make(2.0)
    np.testing.assert_allclose(
        one.matvec(X, Y, jnp.arange(4.0), block_size=4), one.matrix(X, Y) @ jnp.arange(4.0), rtol=1e-13
    )
    mapped = jax.vmap(lambda k: k.matrix(X))(kernel.broadcast_to((3, 2)))
    np.testing.assert_allclose(mapped, kernel.matrix(X), rtol=1e-14)


@every_case
def test_matrices_are_positive_semidefinite_with_exact_diagonal(case: Case):
    matrix = np.asarray(case.make(1.3, 0.7).matrix(random.normal(random.key(3), (40, 3))))
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    np.testing.assert_array_equal(np.diag(matrix), np.full(40, 1.3**2))


@every_case
def test_gradients_are_finite_and_right_at_equal_points(case: Case):
    kernel = case.make(1.5, 0.5)
    fn = lambda x: kernel.apply(x, X[0])
    np.testing.assert_array_equal(jax.grad(fn)(X[0]), 0)
    hessian = jax.hessian(fn)(X[0])
    # The second derivative of f(q), q = r^2 / l^2, at zero is 2 f'(0) / l^2 in each direction where f'(0) exists.
    np.testing.assert_allclose(hessian, 1.5**2 * 2 * case.slope / 0.25 * np.eye(2), atol=1e-12)
    step = 1e-5
    away = X[0] + 0.3
    numeric = [(fn(away.at[i].add(step)) - fn(away.at[i].add(-step))) / (2 * step) for i in range(2)]
    np.testing.assert_allclose(jax.grad(fn)(away), numeric, rtol=1e-7)
    grads = jax.grad(lambda k: k.matrix(jnp.zeros((3, 2))).sum())(kernel)
    assert jnp.all(jnp.isfinite(grads.length_scale)) and jnp.isfinite(grads.amplitude)


def test_distances_far_from_the_origin_keep_their_digits():
    x = np.float32(1000) + np.linspace(0, 1, 30, dtype=np.float32)[:, None]
    kernel = tfpk.MaternOneHalf(length_scale=jnp.float32(0.1))
    exact = np.exp(-np.abs(x.astype(float) - x.astype(float).T) / 0.1)
    np.testing.assert_allclose(kernel.matrix(jnp.asarray(x)), exact, atol=1e-6)
    many = np.float32(100) + np.asarray(random.normal(random.key(4), (20, 50)), np.float32)
    truth = ((many.astype(float)[:, None] - many.astype(float)[None]) ** 2).sum(-1)
    distances = squared_distances(jnp.asarray(many), None)
    np.testing.assert_allclose(distances, truth, rtol=1e-5)
    np.testing.assert_array_equal(jnp.diagonal(distances), 0)
    np.testing.assert_allclose(
        squared_distances(jnp.asarray(many), jnp.asarray(many[:3])), truth[:, :3], rtol=1e-5, atol=1e-3
    )


def test_algebra():
    a, b = tfpk.ExponentiatedQuadratic(2.0), tfpk.MaternFiveHalves(length_scale=3.0)
    ka, kb = a.matrix(X, Y), b.matrix(X, Y)
    for kernel, expected in [
        (a + b, ka + kb),
        (a * b, ka * kb),
        (2.0 * a + 1.0, 2 * ka + 1),
        (a * 0.5, ka / 2),
        (a**3, ka**3),
        (sum([a, b, a]), 2 * ka + kb),
        (a + b * b + 3, ka + kb**2 + 3),
    ]:
        np.testing.assert_allclose(kernel.matrix(X, Y), expected, rtol=1e-13)
        np.testing.assert_allclose(kernel.diag(X), jnp.diagonal(kernel.matrix(X)), rtol=1e-13)
        np.testing.assert_allclose(kernel.apply(X[0], Y[0]), expected[0, 0], rtol=1e-13)
        free = dl.unconstrain(kernel)
        np.testing.assert_allclose(dl.constrain(free).matrix(X, Y), expected, rtol=1e-13)
    assert isinstance(a + b + a, tfpk.Sum) and len((a + b + a).kernels) == 3
    batched = tfpk.ExponentiatedQuadratic(jnp.arange(1.0, 4.0)) + b
    assert batched.batch_shape == (3,) and batched.matrix(X).shape == (3, 6, 6) and batched[1].batch_shape == ()


def test_feature_scaled_has_a_length_scale_for_each_feature():
    kernel = tfpk.FeatureScaled(tfpk.MaternThreeHalves(), scale_diag=[0.5, 2.0])
    expected = tfpk.MaternThreeHalves().matrix(X / jnp.array([0.5, 2.0]), Y / jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(kernel.matrix(X, Y), expected, rtol=1e-14)
    np.testing.assert_allclose(
        tfpk.FeatureScaled(tfpk.MaternThreeHalves(), None, [2.0, 0.5]).matrix(X, Y), expected, rtol=1e-14
    )
    batched = tfpk.FeatureScaled(tfpk.MaternThreeHalves(), jnp.ones((3, 2)))
    assert batched.batch_shape == (3,) and batched.matrix(X).shape == (3, 6, 6)


def test_points_of_other_ranks():
    scalar = tfpk.ExponentiatedQuadratic(feature_ndims=0)
    np.testing.assert_allclose(scalar.matrix(X[:, 0]), tfpk.ExponentiatedQuadratic().matrix(X[:, :1]), rtol=1e-15)
    image = tfpk.ExponentiatedQuadratic(feature_ndims=2)
    np.testing.assert_allclose(
        image.matrix(X.reshape(3, 2, 2)), tfpk.ExponentiatedQuadratic().matrix(X.reshape(3, 4)), rtol=1e-15
    )


def test_a_kernel_of_the_users_own_needs_only_one_pair():
    class Cosine(tfpk.Kernel):
        period: jax.Array = dl.parameter(dl.supports.positive)
        net: eqx.nn.Linear

        def _apply(self, x1, x2):
            return jnp.cos(2 * jnp.pi * jnp.sum(self.net(x1) - self.net(x2)) / self.period)

    kernel = Cosine(2.0, eqx.nn.Linear(2, 1, key=random.key(0)))
    assert kernel.matrix(X, Y).shape == (6, 4)
    np.testing.assert_allclose(jnp.diagonal(kernel.matrix(X)), 1.0, rtol=1e-14)
    assert (kernel + 1.0).matrix(X).shape == (6, 6)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: tfpk.MaternOneHalf(1.0, 1.0, 1.0), ValueError, ["MaternOneHalf", "length_scale"]),
        (lambda: tfpk.MaternOneHalf(jnp.ones(2), jnp.ones(3)), ValueError, ["MaternOneHalf", "(2,)", "(3,)"]),
        (lambda: tfpk.MaternOneHalf().matrix(jnp.ones(3)), ValueError, ["MaternOneHalf", "2 dimensions", "(3,)"]),
        (lambda: tfpk.MaternOneHalf() ** -1, ValueError, ["Power", "exponent", "-1"]),
        (lambda: tfpk.Sum([tfpk.MaternOneHalf(), 3.0]), TypeError, ["Sum", "3.0"]),
        (lambda: tfpk.MaternOneHalf() + tfpk.MaternOneHalf(feature_ndims=2), ValueError, ["Sum", "[1, 2]"]),
        (lambda: tfpk.FeatureScaled(tfpk.MaternOneHalf()), ValueError, ["scale_diag"]),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)
