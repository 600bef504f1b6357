"""Kernels of the Euclidean distance: exponentiated quadratic and Matérn."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._arguments import NonnegativeInt
from distrax_like._misc import Numeric, Real, promote
from distrax_like._module import parameter
from distrax_like.supports import positive

from ._kernel import Kernel

# Up to this many features a sum of squared differences is as fast as a matrix product, and it does not cancel.
_MAX_FEATURES_FOR_DIFFERENCES = 16


def squared_distances(x1: Float[Array, "n d"], x2: Float[Array, "m d"] | None) -> Float[Array, "n m"]:
    """|x - y|^2 for all pairs of two sets of vectors, or of one set with itself.

    They are sums of squared differences for few features. For many they are |x|^2 + |y|^2 - 2 x.y with the mean of the
    first set as the origin, so that the rounding error is relative to the spread of the points. The diagonal of a set
    with itself is exactly zero.
    """
    y = x1 if x2 is None else x2
    if x1.shape[-1] <= _MAX_FEATURES_FOR_DIFFERENCES:
        return jnp.sum((x1[:, None, :] - y[None, :, :]) ** 2, axis=-1)
    centre = jax.lax.stop_gradient(jnp.mean(x1, axis=0))
    x1, y = x1 - centre, y - centre
    squares = jnp.sum(x1**2, axis=-1)[:, None] + jnp.sum(y**2, axis=-1)[None, :] - 2 * (x1 @ y.T)
    if x2 is None:
        squares = jnp.where(jnp.eye(len(x1), dtype=bool), 0, squares)
    return jnp.maximum(squares, 0)


class Stationary(Kernel):
    """Base of kernels amplitude^2 f(|x - y|^2 / length_scale^2) with f(0) = 1; a subclass writes `_shape`, that is f.

    **Arguments:** `amplitude`: positive (1 where not given); `length_scale`: positive (1 where not given), or
    `inverse_length_scale`; `feature_ndims`: dimensions of a point. `FeatureScaled` has a length scale
    for each feature.

    **Raises:** `ValueError` where both length scales are given.
    """

    amplitude: Float[Array, "*#batch"] | None = parameter(positive)
    length_scale: Float[Array, "*#batch"] | None = parameter(positive)
    feature_ndims: int = eqx.field(static=True, default=1)

    def __init__(
        self,
        amplitude: Numeric | None = None,
        length_scale: Numeric | None = None,
        inverse_length_scale: Numeric | None = None,
        feature_ndims: NonnegativeInt = 1,
    ):
        if inverse_length_scale is not None:
            if length_scale is not None:
                raise ValueError(f"{type(self).__name__} takes one of length_scale and inverse_length_scale, got both")
            length_scale = 1 / promote(inverse_length_scale)
        self.amplitude, self.length_scale = promote(amplitude, length_scale)
        self.feature_ndims = feature_ndims

    def _shape(self, square: Real) -> Real:
        """The correlation as a function of the squared distance in length scales."""
        raise NotImplementedError

    def _flat(self, x: Real) -> Real:
        lead = x.ndim - self.feature_ndims
        return jnp.reshape(x, (*x.shape[:lead], math.prod(x.shape[lead:])))

    def _covariance(self, square: Real) -> Real:
        # Scaled after the differences are taken: dividing the points first would round them.
        correlation = self._shape(square if self.length_scale is None else square / self.length_scale**2)
        return correlation if self.amplitude is None else self.amplitude**2 * correlation

    def _apply(self, x1: Real, x2: Real) -> Real:
        return self._covariance(jnp.sum((self._flat(x1) - self._flat(x2)) ** 2))

    def _matrix(self, x1: Real, x2: Real | None) -> Real:
        return self._covariance(squared_distances(self._flat(x1), None if x2 is None else self._flat(x2)))

    def _diag(self, x: Real) -> Real:
        return self._covariance(jnp.zeros(x.shape[:1], x.dtype))


class ExponentiatedQuadratic(Stationary):
    """k(x, y) = amplitude^2 exp(-r^2 / 2) with r = |x - y| / length_scale."""

    __init__ = Stationary.__init__

    def _shape(self, square: Real) -> Real:
        return jnp.exp(-0.5 * square)


# The Matérn correlations as functions of q = s^2, with derivatives in q by hand: the chain rule through the square root
# divides zero by zero at equal points, though all but the first have a derivative there.


@jax.custom_jvp
def _matern_one_half(q: Real) -> Real:
    return jnp.exp(-jnp.sqrt(q))


@_matern_one_half.defjvp
def _(primals, tangents):
    (q,), (tangent,) = primals, tangents
    positive_q = jnp.where(q > 0, q, 1)
    # exp(-s) has no derivative at distance 0: zero is the mean of the one-sided ones.
    slope = jnp.where(q > 0, -_matern_one_half(q) / (2 * jnp.sqrt(positive_q)), 0)
    return _matern_one_half(q), slope * tangent


@jax.custom_jvp
def _matern_three_halves(q: Real) -> Real:
    s = jnp.sqrt(q)
    return (1 + s) * jnp.exp(-s)


@_matern_three_halves.defjvp
def _(primals, tangents):
    (q,), (tangent,) = primals, tangents
    return _matern_three_halves(q), -_matern_one_half(q) / 2 * tangent


@jax.custom_jvp
def _matern_five_halves(q: Real) -> Real:
    s = jnp.sqrt(q)
    return (1 + s + q / 3) * jnp.exp(-s)


@_matern_five_halves.defjvp
def _(primals, tangents):
    (q,), (tangent,) = primals, tangents
    return _matern_five_halves(q), -_matern_three_halves(q) / 6 * tangent


class MaternOneHalf(Stationary):
    """k(x, y) = amplitude^2 exp(-r) with r = |x - y| / length_scale: the Ornstein-Uhlenbeck process."""

    __init__ = Stationary.__init__

    def _shape(self, square: Real) -> Real:
        return _matern_one_half(square)


class MaternThreeHalves(Stationary):
    """k(x, y) = amplitude^2 (1 + s) exp(-s) with s = sqrt(3) |x - y| / length_scale."""

    __init__ = Stationary.__init__

    def _shape(self, square: Real) -> Real:
        return _matern_three_halves(3 * square)


class MaternFiveHalves(Stationary):
    """k(x, y) = amplitude^2 (1 + s + s^2 / 3) exp(-s) with s = sqrt(5) |x - y| / length_scale."""

    __init__ = Stationary.__init__

    def _shape(self, square: Real) -> Real:
        return _matern_five_halves(5 * square)
