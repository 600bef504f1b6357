"""Bijectors of vectors: affine maps, simplexes, ordered vectors, the sphere."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, Real, Shape, append_zero, promote
from distrax_like._module import parameter
from distrax_like.math import solve_lower
from distrax_like.special import softplus_inverse
from distrax_like.supports import Support, lower_cholesky, real, simplex

from ._bijector import Bijector


def same_length(shape: Shape, scale: Array) -> Shape:
    """`shape`. **Raises:** `ValueError` where vectors of this shape have not the length of the scale."""
    if shape[-1] != scale.shape[-1]:
        raise ValueError(f"the value must be vectors of length {scale.shape[-1]}, got shape {shape}")
    return shape


def one_shorter(shape: Shape) -> Shape:
    """The shape of vectors with one entry less. **Raises:** `ValueError` where they have none."""
    if not shape[-1]:
        raise ValueError(f"the value must be vectors of at least one entry, got shape {shape}")
    return (*shape[:-1], shape[-1] - 1)


class ScaleMatvecDiag(Bijector):
    """y = scale_diag * x, as a map of vectors."""

    scale_diag: Float[Array, "*#batch d"] = parameter(real)

    def __init__(self, scale_diag: Numeric):
        self.scale_diag = promote(scale_diag)

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _is_constant_jacobian(self) -> bool:
        return True

    def _log_det(self) -> Real:
        return jnp.sum(jnp.log(jnp.abs(self.scale_diag)), axis=-1)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return self.scale_diag * x, self._log_det()

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return y / self.scale_diag, -self._log_det()

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return same_length(shape, self.scale_diag)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return same_length(shape, self.scale_diag)


class ScaleMatvecTriL(Bijector):
    """y = L x for a lower triangular matrix L with a positive diagonal."""

    scale_tril: Float[Array, "*#batch d d"] = parameter(lower_cholesky)

    def __init__(self, scale_tril: Numeric):
        self.scale_tril = promote(scale_tril)

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _is_constant_jacobian(self) -> bool:
        return True

    def _log_det(self) -> Real:
        return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.scale_tril, axis1=-2, axis2=-1))), axis=-1)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return jnp.einsum("...ij,...j->...i", jnp.tril(self.scale_tril), x), self._log_det()

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return solve_lower(self.scale_tril, y), -self._log_det()

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return same_length(shape, self.scale_tril)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return same_length(shape, self.scale_tril)


class SoftmaxCentered(Bijector):
    """The map of vectors of n - 1 numbers to interior points of the simplex of n numbers: y = softmax((x, 0)).

    The Jacobian determinant of the first n - 1 coordinates of y is the product of all n.
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _image(self) -> Support:
        return simplex

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        log_y = jax.nn.log_softmax(append_zero(x))
        return jnp.exp(log_y), jnp.sum(log_y, axis=-1)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        log_y = jnp.log(y)
        return log_y[..., :-1] - log_y[..., -1:], -jnp.sum(log_y, axis=-1)

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return one_shorter(shape)


class Ascending(Bijector):
    """The map of vectors to increasing vectors: y_0 = x_0 and y_i = y_{i-1} + log(1 + exp(x_i))."""

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        steps = jnp.concatenate([x[..., :1], jax.nn.softplus(x[..., 1:])], axis=-1)
        return jnp.cumsum(steps, axis=-1), -jnp.sum(jax.nn.softplus(-x[..., 1:]), axis=-1)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        x = jnp.concatenate([y[..., :1], softplus_inverse(jnp.diff(y, axis=-1))], axis=-1)
        return x, jnp.sum(jax.nn.softplus(-x[..., 1:]), axis=-1)


class UnitVector(Bijector):
    """The map of vectors of n - 1 numbers to points of the unit sphere in n dimensions.

    It is the inverse stereographic projection y = (2 x, |x|^2 - 1) / (|x|^2 + 1), whose image lacks only the pole
    (0, …, 0, 1). The map is conformal, so its Jacobian determinant with respect to the surface measure is
    (2 / (1 + |x|^2))^(n-1).
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _log_det(self, x: Real) -> Real:
        return x.shape[-1] * (jnp.log(jnp.asarray(2, x.dtype)) - jnp.log1p(jnp.sum(x * x, axis=-1)))

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        square = jnp.sum(x * x, axis=-1, keepdims=True)
        return jnp.concatenate([2 * x, square - 1], axis=-1) / (square + 1), self._log_det(x)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        x = y[..., :-1] / (1 - y[..., -1:])
        return x, -self._log_det(x)

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return one_shorter(shape)
