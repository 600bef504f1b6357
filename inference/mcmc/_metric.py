"""Metrics: inverse mass matrices of Hamiltonian kernels."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._arguments import CheckedModule, PositiveNumeric
from distrax_like._misc import Numeric, check_numbers, promote


class Metric(CheckedModule):
    """The inverse mass matrix of a Hamiltonian kernel, S C S with S = diag(`scale`).

    It should be near the target's covariance: then a step of one length suits all directions. It acts on the state's
    parts raveled into one vector of length d. `scale` multiplies the step sizes; a subclass defines C by two methods on
    vectors that are divided by the scale.
    """

    scale: eqx.AbstractVar[Float[Array, "..."]]

    @abc.abstractmethod
    def velocity(self, p: Float[Array, " d"]) -> Float[Array, " d"]:
        """C p."""

    @abc.abstractmethod
    def momentum(self, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        """A linear map of standard normal noise whose covariance is the inverse of C."""


class DiagonalMetric(Metric):
    """A diagonal inverse mass matrix.

    **Arguments:** `scale`: of shape `(d,)` or `()`, about the target's standard deviations.
    """

    scale: Float[Array, "..."]

    def __init__(self, scale: PositiveNumeric = 1.0):
        self.scale = promote(scale)

    def velocity(self, p: Float[Array, " d"]) -> Float[Array, " d"]:
        return p

    def momentum(self, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        return noise


class DenseMetric(Metric):
    """A full inverse mass matrix.

    Each leapfrog costs one more product of a matrix and a vector.

    **Arguments:**

    - `scale`: of shape `(d,)`.
    - `covariance`: C, of shape `(d, d)`.
    - `factor`: a matrix F of that shape with F Fᵀ C = I. Both are stored, since factoring at every transition would
      cost more than the transition. `DenseMetric.of(covariance)` computes all three.
    """

    scale: Float[Array, " d"]
    covariance: Float[Array, "d d"]
    factor: Float[Array, "d d"]

    def __init__(self, scale: PositiveNumeric, covariance: Numeric, factor: Numeric):
        self.scale, self.covariance, self.factor = promote(scale, covariance, factor)

    @classmethod
    def of(cls, covariance: Numeric) -> "DenseMetric":
        """The metric of a symmetric positive definite covariance of the target."""
        check_numbers(covariance, "DenseMetric.of: covariance")
        covariance = promote(covariance)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"DenseMetric.of: covariance must be a square matrix, got shape {covariance.shape}")
        scale = jnp.sqrt(jnp.diagonal(covariance))
        correlation = covariance / (scale[:, None] * scale)
        values, vectors = jnp.linalg.eigh(correlation)
        return cls(scale, correlation, vectors / jnp.sqrt(values))

    def velocity(self, p: Float[Array, " d"]) -> Float[Array, " d"]:
        # C is symmetric: summed over its rows, the sum runs along the vector registers.
        return jnp.sum(self.covariance * p[:, None], axis=0)

    def momentum(self, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.factor @ noise


class LowRankMetric(Metric):
    """A diagonal inverse mass matrix changed in r directions: C = I + U (diag(`values`) - I) Uᵀ.

    **Arguments:** `scale`: of shape `(d,)`; `vectors`: U, of shape `(d, r)`, with orthonormal columns; `values`: of
    shape `(r,)`, positive.
    """

    scale: Float[Array, " d"]
    vectors: Float[Array, "d r"]
    values: Float[Array, " r"]

    def __init__(self, scale: PositiveNumeric, vectors: Numeric, values: PositiveNumeric):
        self.scale, self.vectors, self.values = promote(scale, vectors, values)

    def _apply(self, p: Float[Array, " d"], excess: Float[Array, " r"]) -> Float[Array, " d"]:
        return p + self.vectors @ (excess * (p @ self.vectors))

    def velocity(self, p: Float[Array, " d"]) -> Float[Array, " d"]:
        return self._apply(p, self.values - 1)

    def momentum(self, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        return self._apply(noise, 1 / jnp.sqrt(self.values) - 1)
