"""Gaussian processes at finite sets of points, and conditioned on observations."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, as_callable, promote
from distrax_like._module import data, parameter, submodule
from distrax_like.kernels import Kernel
from distrax_like.math import jittered_cholesky
from distrax_like.supports import Support, independent, nonnegative, real

from ._distribution import Distribution
from ._mvn import MultivariateNormalTriL


def _mean_at(mean_fn: Any, points: Array, kernel: Kernel) -> Array:
    shape = points.shape[: points.ndim - kernel.feature_ndims]
    return jnp.zeros(shape, points.dtype) if mean_fn is None else jnp.broadcast_to(mean_fn(points), shape)


def _number_of(points: Array, kernel: Kernel) -> Shape:
    return points.shape[points.ndim - kernel.feature_ndims - 1 : points.ndim - kernel.feature_ndims]


def _factor(matrix: Array, jitter: Array | None) -> Array:
    """The Cholesky factor of a covariance matrix of n points.

    Without a jitter of the user's it is n units of rounding of the mean variance: smooth kernels at close points are
    singular at working precision, by about as much.
    """
    if jitter is None:
        size = jnp.mean(jnp.diagonal(matrix, axis1=-2, axis2=-1), axis=-1)
        jitter = matrix.shape[-1] * jnp.finfo(matrix.dtype).eps * size
    return jittered_cholesky(matrix, jitter)


def _add_diagonal(matrix: Array, variance: Array) -> Array:
    return matrix + variance[..., None, None] * jnp.eye(matrix.shape[-1], dtype=matrix.dtype)


class _Process(Distribution):
    """A multivariate normal distribution of the values at n points; a subclass gives `_moments`."""

    @property
    def support(self) -> Support:
        return independent(real, 1)

    def _moments(self) -> tuple[Array, Array]:
        """The mean and the covariance, noise included, without jitter."""
        raise NotImplementedError

    def get_marginal_distribution(self) -> MultivariateNormalTriL:
        """The same distribution as a multivariate normal, whose factor is computed once."""
        mean, covariance = self._moments()
        return MultivariateNormalTriL(mean, _factor(covariance, getattr(self, "jitter", None)))

    def _log_prob(self, value: Event) -> Real:
        return self.get_marginal_distribution()._log_prob(value)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self.get_marginal_distribution()._sample(key, shape)

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        return self.get_marginal_distribution()._sample_and_log_prob(key, shape)

    def _mean(self) -> Real:
        return self._moments()[0]

    def _mode(self) -> Event:
        return self._mean()

    def _covariance(self) -> Real:
        return self._moments()[1]

    def _entropy(self) -> Real:
        return self.get_marginal_distribution()._entropy()


class GaussianProcess(_Process):
    """A Gaussian process at a finite set of points: normal with mean m(X) and covariance k(X, X) + noise I.

    **Arguments:**

    - `kernel`: k.
    - `index_points`: X, of shape `batch + (n,) + feature`.
    - `mean_fn`: m, from points of shape `(…) + feature` to values of shape `(…)`; zero where not given.
    - `observation_noise_variance`: added to the diagonal.
    - `jitter`: added to the diagonal before factorising, absolute; where not given, n units of rounding of the mean
      variance. Where a factorisation fails it grows until it does not.
    """

    mean_fn: Any
    kernel: Kernel = submodule()
    index_points: Float[Array, "*#batch n d"] = data(lambda self: self.kernel.feature_ndims, support=real)
    observation_noise_variance: Float[Array, "*#batch"] = parameter(nonnegative)
    jitter: Float[Array, ""] | None = data()

    def __init__(
        self,
        kernel: Kernel,
        index_points: Numeric,
        mean_fn: Callable[..., Any] | None = None,
        observation_noise_variance: Numeric = 0.0,
        jitter: Numeric | None = None,
    ):
        self.kernel = kernel
        self.index_points = promote(index_points)
        self.mean_fn = None if mean_fn is None else as_callable(mean_fn, "GaussianProcess: mean_fn")
        dtype = self.index_points.dtype
        self.observation_noise_variance = promote(observation_noise_variance).astype(dtype)
        self.jitter = None if jitter is None else promote(jitter).astype(dtype)

    def _event_shape(self) -> Shape:
        return _number_of(self.index_points, self.kernel)

    def _moments(self) -> tuple[Array, Array]:
        covariance = _add_diagonal(self.kernel.matrix(self.index_points), self.observation_noise_variance)
        return _mean_at(self.mean_fn, self.index_points, self.kernel), covariance

    def _variance(self) -> Real:
        return self.kernel.diag(self.index_points) + self.observation_noise_variance[..., None]

    def posterior_predictive(
        self, observations: Numeric, predictive_index_points: Numeric, predictive_noise_variance: Numeric | None = None
    ) -> "GaussianProcessRegressionModel":
        """The process at other points given observations at these; see `GaussianProcessRegressionModel`."""
        return GaussianProcessRegressionModel(
            kernel=self.kernel,
            index_points=predictive_index_points,
            observation_index_points=self.index_points,
            observations=observations,
            observation_noise_variance=self.observation_noise_variance,
            predictive_noise_variance=predictive_noise_variance,
            mean_fn=self.mean_fn,
            jitter=self.jitter,
        )


class GaussianProcessRegressionModel(_Process):
    """A Gaussian process at a finite set of points given noisy observations at others.

    With K = k(X, X) + noise I for the observed points X and values y, the mean at Z is m(Z) + k(Z, X) K^-1 (y - m(X))
    and the covariance k(Z, Z) - k(Z, X) K^-1 k(X, Z) + predictive noise I (Rasmussen and Williams 2006, section 2.2).

    **Arguments:**

    - `kernel`: k.
    - `index_points`: Z, of shape `batch + (n,) + feature`.
    - `observation_index_points`: X, of shape `batch + (m,) + feature`.
    - `observations`: y, of shape `batch + (m,)`.
    - `observation_noise_variance`: of the observations.
    - `predictive_noise_variance`: of the values at Z: that of the observations where not given, as for new
      observations; zero for the noiseless function.
    - `mean_fn`, `jitter`: see `GaussianProcess`.
    """

    mean_fn: Any
    kernel: Kernel = submodule()
    index_points: Float[Array, "*#batch n d"] = data(lambda self: self.kernel.feature_ndims, support=real)
    observation_index_points: Float[Array, "*#batch m d"] = data(lambda self: self.kernel.feature_ndims, support=real)
    observations: Float[Array, "*#batch m"] = data(support=real)
    observation_noise_variance: Float[Array, "*#batch"] = parameter(nonnegative)
    predictive_noise_variance: Float[Array, "*#batch"] | None = parameter(nonnegative)
    jitter: Float[Array, ""] | None = data()

    def __init__(
        self,
        kernel: Kernel,
        index_points: Numeric,
        observation_index_points: Numeric,
        observations: Numeric,
        observation_noise_variance: Numeric = 0.0,
        predictive_noise_variance: Numeric | None = None,
        mean_fn: Callable[..., Any] | None = None,
        jitter: Numeric | None = None,
    ):
        self.kernel = kernel
        arrays = promote(index_points, observation_index_points, observations)
        self.index_points, self.observation_index_points, self.observations = arrays
        dtype = self.observations.dtype

        def like(x: Numeric | None) -> Any:
            return None if x is None else promote(x).astype(dtype)

        self.observation_noise_variance = like(observation_noise_variance)
        self.predictive_noise_variance = like(predictive_noise_variance)
        self.mean_fn = None if mean_fn is None else as_callable(mean_fn, f"{type(self).__name__}: mean_fn")
        self.jitter = like(jitter)

    def _event_shape(self) -> Shape:
        return _number_of(self.index_points, self.kernel)

    def _solved(self) -> tuple[Array, Array]:
        """The mean, and L^-1 k(X, Z) for the factor L of the covariance of the observations."""
        observed = self.observation_index_points
        own = _add_diagonal(self.kernel.matrix(observed), self.observation_noise_variance)
        factor = _factor(own, self.jitter)
        cross = self.kernel.matrix(observed, self.index_points)
        residual = (self.observations - _mean_at(self.mean_fn, observed, self.kernel))[..., None]
        lead = jnp.broadcast_shapes(factor.shape[:-2], cross.shape[:-2], residual.shape[:-2])
        factor, cross, residual = (jnp.broadcast_to(x, lead + x.shape[-2:]) for x in (factor, cross, residual))
        solved = jsl.solve_triangular(factor, jnp.concatenate([cross, residual], axis=-1), lower=True)
        cross, residual = solved[..., :-1], solved[..., -1:]
        return _mean_at(self.mean_fn, self.index_points, self.kernel) + jnp.sum(cross * residual, axis=-2), cross

    def _noise(self) -> Array:
        noise = self.predictive_noise_variance
        return self.observation_noise_variance if noise is None else noise

    def _moments(self) -> tuple[Array, Array]:
        mean, cross = self._solved()
        covariance = self.kernel.matrix(self.index_points) - jnp.swapaxes(cross, -2, -1) @ cross
        return mean, _add_diagonal(covariance, self._noise())

    def _mean(self) -> Real:
        return self._solved()[0]

    def _variance(self) -> Real:
        _, cross = self._solved()
        # Rounding may leave less than nothing of the prior variance at an observed point.
        latent = jnp.maximum(self.kernel.diag(self.index_points) - jnp.sum(cross**2, axis=-2), 0)
        return latent + self._noise()[..., None]
