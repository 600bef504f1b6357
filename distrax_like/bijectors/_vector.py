"""Bijectors of vectors: affine maps, simplexes, ordered vectors, the sphere."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, Real, Shape, append_zero, keep_within, promote
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

    The Jacobian determinant of the first n - 1 coordinates of y is the product of all n. The image of a finite point
    has no entry of zero, though underflow would put one there.
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _image(self) -> Support:
        return simplex

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        log_y = jax.nn.log_softmax(append_zero(x))
        return keep_within(jnp.exp(log_y), jnp.finfo(x.dtype).tiny, 1), jnp.sum(log_y, axis=-1)

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


def scaled_with_one(x: Real) -> tuple[Real, Real, Real, Real]:
    """The vector (x, 1) divided by its largest entry, as the first part and the last entry; the square of the length
    of the first part; and the log of the length of (x, 1)."""
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=1))
    scaled, one = x / scale, 1 / scale
    square = jnp.sum(scaled * scaled, axis=-1, keepdims=True)
    total = square + one * one
    log_length = jnp.where(scale == 1, jnp.log1p(square), 2 * jnp.log(scale) + jnp.log(total)) / 2
    return scaled, one, square, log_length[..., 0]


class UnitVector(Bijector):
    """The map of vectors of n - 1 numbers to points of the unit sphere in n dimensions.

    It is the inverse stereographic projection y = (2 x, |x|^2 - 1) / (|x|^2 + 1), whose image lacks only the pole
    (0, …, 0, 1). The map is conformal, so its Jacobian determinant with respect to the surface measure is
    (2 / (1 + |x|^2))^(n-1).
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 1, 1

    def _log_det(self, x: Real, log_length: Real) -> Real:
        return x.shape[-1] * (math.log(2) - 2 * log_length)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        u, one, square, log_length = scaled_with_one(x)
        y = jnp.concatenate([2 * u * one, square - one * one], axis=-1) / (square + one * one)
        return y, self._log_det(x, log_length)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        # x = head / (1 - last) = head (1 + last) / |head|^2: the second near the pole, and in units of the largest
        # entry, whose square may underflow.
        head, last = y[..., :-1], y[..., -1:]
        near = last > 0
        size = jax.lax.stop_gradient(jnp.max(jnp.abs(head), axis=-1, keepdims=True, initial=0))
        u = jnp.where(near, head / jnp.where(near & (size > 0), size, 1), 1)
        from_pole = u * ((1 + last) / jnp.where(near, size * jnp.sum(u * u, axis=-1, keepdims=True), 1))
        x = jnp.where(near, from_pole, head / (1 - jnp.where(near, 0, last)))
        return x, -self._log_det(x, scaled_with_one(x)[3])

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return one_shorter(shape)
