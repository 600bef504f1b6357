import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like import supports
from distrax_like.bijectors import bijector_for
from distrax_like.math import fill_triangular, fill_triangular_inverse, triangular_size

NAN, INF = np.nan, np.inf
EYE = np.eye(2)

# support, members, others
MEMBERS = [
    (supports.real, [0.0, -1e30], [INF, -INF, NAN]),
    (supports.extended_real, [0.0, INF, -INF], [NAN]),
    (supports.positive, [1e-30, 5.0], [0.0, -1.0, INF, NAN]),
    (supports.nonnegative, [0.0, 5.0], [-1e-30, INF, NAN]),
    (supports.unit_interval, [0.0, 0.3, 1.0], [-1e-9, 1.0000001, NAN]),
    (supports.boolean, [0.0, 1.0], [0.5, 2.0, NAN]),
    (supports.nonnegative_integer, [0.0, 7.0], [-1.0, 0.5, INF, NAN]),
    (supports.greater_than(2.0), [2.1, 1e9], [2.0, -1.0, INF, NAN]),
    (supports.at_least(2.0), [2.0, 1e9], [1.9, -1.0, INF, NAN]),
    (supports.interval(-1.0, 2.0), [-1.0, 2.0], [-1.1, 2.1, NAN]),
    (supports.interval(-1.0, INF), [-1.0, 2e9], [-1.1, INF, NAN]),
    (supports.interval(-INF, 2.0), [-1e9, 2.0], [2.1, -INF, NAN]),
    (supports.interval(-INF, INF), [-1e9, 2.0], [INF, NAN]),
    (supports.open_interval(-1.0, 2.0), [-0.9, 1.9], [-1.0, 2.0, NAN]),
    (supports.integer_interval(1, 3), [1.0, 3.0], [0.0, 4.0, 1.5, NAN]),
    (supports.simplex, [[0.2, 0.8], [0.0, 1.0]], [[0.2, 0.7], [-0.1, 1.1], [NAN, 1.0]]),
    (supports.ordered, [[-1.0, 2.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, INF], [NAN, 1.0]]),
    (supports.positive_ordered, [[0.0, 2.0]], [[-1.0, 2.0], [2.0, 1.0], [NAN, 1.0]]),
    (supports.unit_vector, [[0.6, 0.8], [-1.0, 0.0]], [[0.6, 0.7], [NAN, 1.0]]),
    (supports.independent(supports.positive, 1), [[1.0, 2.0]], [[1.0, 0.0], [NAN, 1.0]]),
    (supports.lower_cholesky, [EYE, [[1.0, 0.0], [-5.0, 0.1]]], [-EYE, [[1.0, 2.0], [0.0, 1.0]], EYE * NAN]),
    (supports.correlation_cholesky, [EYE, [[1.0, 0.0], [-0.6, 0.8]]], [2 * EYE, [[1.0, 0.0], [0.5, 0.5]], EYE * NAN]),
    (supports.positive_definite, [EYE, [[2.0, 0.5], [0.5, 1.0]]], [-EYE, [[1.0, 0.2], [0.0, 1.0]], EYE * NAN]),
]


@pytest.mark.parametrize("support, members, others", MEMBERS, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_contains_and_interior(support, members, others, dtype):
    members, others = jnp.asarray(members, dtype), jnp.asarray(others, dtype)
    assert np.all(support.contains(members)) and not np.any(support.contains(others))
    for x in (members, others):
        assert support.contains(x).shape == x.shape[: x.ndim - support.event_ndims]
        inside = support.feasible_like(x)
        assert inside.shape == x.shape and inside.dtype == dtype and np.all(support.contains(inside))


@pytest.mark.parametrize(
    "support", [s for s, *_ in MEMBERS if not s.is_discrete and not np.any(np.isinf(jax.tree.leaves(s)))], ids=repr
)
def test_bijector_onto_support(support):
    # 3 numbers make a 2 x 2 triangle, and so on.
    bijector = bijector_for(support)
    shape = {0: (), 1: (3,), 2: (3,)}[support.event_ndims]
    x = jnp.linspace(-3, 3, 4 * int(np.prod(shape))).reshape(4, *shape)
    y = bijector.forward(x)
    assert np.all(support.contains(y))
    np.testing.assert_allclose(bijector.inverse(y), x, atol=1e-9)


@pytest.mark.parametrize("support", [s for s, *_ in MEMBERS if s.is_discrete], ids=repr)
def test_no_bijector_onto_integers(support):
    with pytest.raises(ValueError, match="no bijector maps the reals"):
        bijector_for(support)


def test_feasible_like_carries_no_gradient():
    inside = lambda low: (
        supports.interval(low, low + 1).feasible_like(jnp.zeros(())) + supports.at_least(low).feasible_like(low)
    )
    assert jax.grad(inside)(2.0) == 0


def test_fill_triangular():
    x = jnp.arange(1.0, 7)
    np.testing.assert_array_equal(fill_triangular(x), [[4, 0, 0], [6, 5, 0], [3, 2, 1]])
    np.testing.assert_array_equal(fill_triangular(x, upper=True), [[1, 2, 3], [0, 5, 6], [0, 0, 4]])
    for n in (1, 3, 4):
        x = jnp.arange(1.0, 2 * n * (n + 1) // 2 + 1).reshape(2, -1)
        for upper in (False, True):
            matrix = fill_triangular(x, upper)
            assert np.count_nonzero(matrix[0]) == n * (n + 1) // 2
            np.testing.assert_array_equal(fill_triangular_inverse(matrix, upper), x)
        assert triangular_size(n * (n + 1) // 2) == n
    with pytest.raises(ValueError, match="not 4"):
        triangular_size(4)
