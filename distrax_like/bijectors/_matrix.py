"""Bijectors onto triangular, Cholesky, positive definite and correlation matrices."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, Real, Shape, promote
from distrax_like._module import parameter, submodule
from distrax_like.math import fill_triangular, fill_triangular_inverse, triangular_size
from distrax_like.supports import real

from ._bijector import Bijector
from ._compose import Chain
from ._elementwise import Identity, Shift, Softplus
from ._vector import scaled_with_one


def _triangle_to_matrix(shape: Shape) -> Shape:
    n = triangular_size(shape[-1])
    return (*shape[:-1], n, n)


def _square(shape: Shape) -> Shape:
    """`shape`. **Raises:** `ValueError` where it is not that of square matrices."""
    if shape[-1] != shape[-2]:
        raise ValueError(f"the value must be square matrices, got shape {shape}")
    return shape


def _matrix_to_triangle(shape: Shape) -> Shape:
    n = _square(shape)[-1]
    return (*shape[:-2], n * (n + 1) // 2)


def _diagonal(x: Real) -> Real:
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def _with_diagonal(x: Real, diagonal: Real) -> Real:
    return jnp.where(jnp.eye(x.shape[-1], dtype=bool), diagonal[..., None, :], x)


class FillTriangular(Bijector):
    """The map of vectors of length n (n + 1) / 2 to lower (or upper) triangular n x n matrices, in the order of
    `distrax_like.math.fill_triangular`."""

    upper: bool = eqx.field(static=True)

    def __init__(self, upper: bool = False):
        self.upper = upper

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 2

    def _is_constant_jacobian(self) -> bool:
        return True

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return fill_triangular(x, self.upper), jnp.zeros(x.shape[:-1], x.dtype)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return fill_triangular_inverse(y, self.upper), jnp.zeros(y.shape[:-2], y.dtype)

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return _triangle_to_matrix(shape)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return _matrix_to_triangle(shape)


class TransformDiagonal(Bijector):
    """The map of matrices that applies a bijector to the diagonal and leaves the other entries unchanged.

    **Arguments:** `diag_bijector`: a bijector of scalars or of vectors.
    """

    diag_bijector: Bijector = submodule(lambda self: 1 - self.diag_bijector.forward_min_event_ndims)

    def __init__(self, diag_bijector: Bijector):
        self.diag_bijector = diag_bijector

    def _min_event_ndims(self) -> tuple[int, int]:
        return 2, 2

    def _is_constant_jacobian(self) -> bool:
        return self.diag_bijector.is_constant_jacobian

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        diagonal, log_det = self.diag_bijector.forward_and_log_det(_diagonal(x), event_ndims=1)
        return _with_diagonal(x, diagonal), log_det

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        diagonal, log_det = self.diag_bijector.inverse_and_log_det(_diagonal(y), event_ndims=1)
        return _with_diagonal(y, diagonal), log_det

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return _square(shape)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return _square(shape)


class FillScaleTriL(Bijector):
    """The map of vectors of length n (n + 1) / 2 to Cholesky factors: triangular matrices with a transformed diagonal.

    **Arguments:** `diag_bijector`: applied to the diagonal (default `Softplus()`); `diag_shift`: added to the diagonal
    after that, to keep the matrix from being nearly singular (default 1e-5; None for no shift).
    """

    diag_bijector: Bijector = submodule(lambda self: 1 - self.diag_bijector.forward_min_event_ndims)
    diag_shift: Float[Array, "*#batch"] | None = parameter(real)

    def __init__(self, diag_bijector: Bijector | None = None, diag_shift: Numeric | None = 1e-5):
        self.diag_bijector = Softplus() if diag_bijector is None else diag_bijector
        self.diag_shift = promote(diag_shift)

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 2

    def _chain(self, dtype: Any) -> Bijector:
        # Cast to the dtype of the value: the default shift must not widen a float32 vector.
        shift = Identity() if self.diag_shift is None else Shift(self.diag_shift[..., None].astype(dtype))
        return Chain([TransformDiagonal(Chain([shift, self.diag_bijector])), FillTriangular()])

    def _is_constant_jacobian(self) -> bool:
        return self.diag_bijector.is_constant_jacobian

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return self._chain(x.dtype)._forward_and_log_det(x)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return self._chain(y.dtype)._inverse_and_log_det(y)

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return _triangle_to_matrix(shape)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return _matrix_to_triangle(shape)


class CholeskyOuterProduct(Bijector):
    """Y = L L^T for a lower triangular matrix L with a positive diagonal; the inverse is the Cholesky factorisation.

    As a map between lower triangles it has log |det| = n log 2 + sum_i (n - i) log L_ii, i = 0, …, n - 1 (Muirhead
    1982, theorem 2.1.9).
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 2, 2

    def _log_det(self, factor: Real) -> Real:
        n = factor.shape[-1]
        powers = jnp.arange(n, 0, -1, dtype=factor.dtype)
        return n * jnp.log(jnp.asarray(2, factor.dtype)) + jnp.sum(powers * jnp.log(_diagonal(factor)), axis=-1)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        x = jnp.tril(x)
        return x @ jnp.swapaxes(x, -2, -1), self._log_det(x)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        x = jnp.linalg.cholesky(y)
        return x, -self._log_det(x)

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return _square(shape)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return _square(shape)


class CorrelationCholesky(Bijector):
    """The map of vectors of length n (n - 1) / 2 to Cholesky factors of n x n correlation matrices.

    Row i of the factor is `(x_i, 1, 0, …) / sqrt(1 + |x_i|^2)` with i entries x_i, so every row has length one and a
    positive last entry. The Jacobian determinant is that of the map to the strictly lower triangle.
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 2

    def _log_det(self, log_lengths: Real) -> Real:
        # Row i: x / sqrt(1 + r^2) of i coordinates has determinant (1 + r^2)^(-(i + 2) / 2).
        i = jnp.arange(log_lengths.shape[-1], dtype=log_lengths.dtype)
        return -jnp.sum((i + 2) * log_lengths, axis=-1)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        strict = fill_triangular(x)
        pad = [(0, 0)] * (strict.ndim - 2)
        rows = jnp.pad(strict, [*pad, (1, 0), (0, 1)])
        scaled, one, square, log_lengths = scaled_with_one(rows)
        rows = scaled + one * jnp.eye(rows.shape[-1], dtype=rows.dtype)
        return rows / jnp.sqrt(square + one * one), self._log_det(log_lengths)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        rows = y / _diagonal(y)[..., None]
        strict = jnp.tril(rows, -1)[..., 1:, :-1]
        return fill_triangular_inverse(strict), -self._log_det(scaled_with_one(jnp.tril(rows, -1))[3])

    def _forward_event_shape(self, shape: Shape) -> Shape:
        n = triangular_size(shape[-1]) + 1
        return (*shape[:-1], n, n)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        n = _square(shape)[-1]
        return (*shape[:-2], n * (n - 1) // 2)
