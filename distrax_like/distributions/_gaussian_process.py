"""Gaussian processes at finite sets of points, and conditioned on observations."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, as_callable, promote, require
from distrax_like._module import data, parameter, submodule
from distrax_like.kernels import Kernel
from distrax_like.math import jittered_cholesky
from distrax_like.special._constants import HALF_LOG_2PI
from distrax_like.supports import Support, independent, nonnegative, real

from ._distribution import Distribution
from ._kl import kl_divergence, register_kl
from ._mvn import MultivariateNormalTriL


def _mean_at(mean_fn: Any, points: Array, kernel: Kernel) -> Array:
    shape = points.shape[: points.ndim - kernel.feature_ndims]
    return jnp.zeros(shape, points.dtype) if mean_fn is None else jnp.broadcast_to(mean_fn(points), shape)


def _number_of(points: Array, kernel: Kernel) -> Shape:
    return points.shape[points.ndim - kernel.feature_ndims - 1 : points.ndim - kernel.feature_ndims]


def _factor(matrix: Array, jitter: Any, cholesky_fn: Any = None, missing: Array | None = None) -> Array:
    """The Cholesky factor of a covariance matrix of n points, some of which may be missing.

    Without a jitter of the user's it is n units of rounding of the mean variance: smooth kernels at close points are
    singular at working precision, by about as much.
    """
    if jitter is None:
        size = jnp.mean(jnp.diagonal(matrix, axis1=-2, axis2=-1), axis=-1)
        jitter = matrix.shape[-1] * jnp.finfo(matrix.dtype).eps * size
    factorise = cholesky_fn or (lambda matrix: jittered_cholesky(matrix, jnp.broadcast_to(jitter, matrix.shape[:-2])))
    if missing is None:
        return factorise(matrix)
    # Rows and columns of the identity have no part in what is solved for.
    either, eye = missing[..., :, None] | missing[..., None, :], jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    return jnp.where(either, eye, factorise(jnp.where(either, eye, matrix)))


def _as_function(fn: Any, who: str) -> Any:
    return None if fn is None else as_callable(fn, who)


def _add_diagonal(matrix: Array, variance: Array) -> Array:
    return matrix + variance[..., None, None] * jnp.eye(matrix.shape[-1], dtype=matrix.dtype)


_OTHER_POINTS = "the KL divergence of Gaussian processes is between their values at the same index_points"


class _Process(Distribution):
    """A multivariate normal distribution of the values at n points; a subclass gives `_moments`."""

    mean_fn: Any
    cholesky_fn: Any
    marginal_fn: Any
    kernel: Kernel = submodule()
    index_points: Float[Array, "*#batch n d"] | None = data(lambda self: self.kernel.feature_ndims, support=real)
    observation_noise_variance: Float[Array, "*#batch"] = parameter(nonnegative)
    jitter: Float[Array, ""] | None = data()

    @property
    def support(self) -> Support:
        return independent(real, 1)

    def _event_shape(self) -> Shape:
        return _number_of(self._points(), self.kernel)

    def _points(self) -> Array:
        points: Array | None = self.index_points
        if points is None:
            raise ValueError(f"{type(self).__name__} was made without index_points, and needs them here")
        return points

    def _bind(self, kwargs: dict[str, Any]) -> tuple[Distribution, dict[str, Any]]:
        points, *rest = kwargs.pop("index_points", None), kwargs
        return (self if points is None else dataclasses.replace(self, index_points=points)), rest[0]

    def _moments(self) -> tuple[Array, Array]:
        """The mean and the covariance, noise included, without jitter."""
        raise NotImplementedError

    def get_marginal_distribution(self, index_points: Numeric | None = None) -> Any:
        """The same distribution as a multivariate normal, whose factor is computed once, or what `marginal_fn` makes of
        the mean and the covariance; at other points where they are given."""
        process, _ = self._bind({"index_points": index_points})
        assert isinstance(process, _Process)
        mean, covariance = process._moments()
        if self.marginal_fn is not None:
            return self.marginal_fn(mean, covariance)
        return MultivariateNormalTriL(mean, _factor(covariance, self.jitter, self.cholesky_fn))

    def _clean(self, value: Event, is_missing: Any = None, **kwargs: Any) -> Event:
        return value if is_missing is None else jnp.where(jnp.asarray(is_missing), 0, value)

    def _log_prob(self, value: Event, is_missing: Any = None) -> Real:
        if is_missing is None:
            return self.get_marginal_distribution()._log_prob(value)
        missing = jnp.asarray(is_missing)
        mean, covariance = self._moments()
        factor = _factor(covariance, self.jitter, self.cholesky_fn, missing)
        known = MultivariateNormalTriL(mean, factor)._log_prob(jnp.where(missing, mean, value))
        return known + HALF_LOG_2PI * jnp.sum(jnp.broadcast_to(missing, value.shape), axis=-1)

    def _comparable_to(self, other: Distribution) -> "_Process":
        if not isinstance(other, _Process) or self._points().shape != other._points().shape:
            return self
        return require(self, jnp.all(self._points() == other._points()), _OTHER_POINTS)

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
    - `index_points`: X, of shape `batch + (n,) + feature`. Without them `sample`, `log_prob` and
      `get_marginal_distribution` take points as an argument of that name, which otherwise replace these.
    - `mean_fn`: m, from points of shape `(…) + feature` to values of shape `(…)`; zero where not given.
    - `observation_noise_variance`: added to the diagonal.
    - `jitter`: added to the diagonal before factorising, absolute; where not given, n units of rounding of the mean
      variance. Where a factorisation fails it grows until it does not.
    - `cholesky_fn`: the factor of a covariance matrix, in place of that.
    - `marginal_fn`: the distribution with a mean and a covariance matrix, in place of `MultivariateNormalTriL`.

    `log_prob` takes `is_missing`: booleans of shape `(…, n)`, for values that are left out, whatever they are.

    **Raises:** `ValueError` where there are no index points and they are needed.
    """


    def __init__(
        self,
        kernel: Kernel,
        index_points: Numeric | None = None,
        mean_fn: Callable[..., Any] | None = None,
        observation_noise_variance: Numeric = 0.0,
        jitter: Numeric | None = None,
        cholesky_fn: Callable[..., Any] | None = None,
        marginal_fn: Callable[..., Any] | None = None,
    ):
        self.kernel = kernel
        self.index_points = promote(index_points)
        self.mean_fn = _as_function(mean_fn, "GaussianProcess: mean_fn")
        self.cholesky_fn = _as_function(cholesky_fn, "GaussianProcess: cholesky_fn")
        self.marginal_fn = _as_function(marginal_fn, "GaussianProcess: marginal_fn")
        noise = promote(observation_noise_variance)
        dtype = noise.dtype if self.index_points is None else self.index_points.dtype
        self.observation_noise_variance = noise.astype(dtype)
        self.jitter = None if jitter is None else promote(jitter).astype(dtype)

    def _moments(self) -> tuple[Array, Array]:
        points = self._points()
        covariance = _add_diagonal(self.kernel.matrix(points), self.observation_noise_variance)
        return _mean_at(self.mean_fn, points, self.kernel), covariance

    def _variance(self) -> Real:
        return self.kernel.diag(self._points()) + self.observation_noise_variance[..., None]

    def posterior_predictive(
        self, observations: Numeric, predictive_index_points: Numeric, predictive_noise_variance: Numeric | None = None
    ) -> "GaussianProcessRegressionModel":
        """The process at other points given observations at these; see `GaussianProcessRegressionModel`."""
        return GaussianProcessRegressionModel(
            kernel=self.kernel,
            index_points=predictive_index_points,
            observation_index_points=self._points(),
            observations=observations,
            observation_noise_variance=self.observation_noise_variance,
            predictive_noise_variance=predictive_noise_variance,
            mean_fn=self.mean_fn,
            jitter=self.jitter,
            cholesky_fn=self.cholesky_fn,
        )


class GaussianProcessRegressionModel(_Process):
    """A Gaussian process at a finite set of points given noisy observations at others.

    With K = k(X, X) + noise I for the observed points X and values y, the mean at Z is m(Z) + k(Z, X) K^-1 (y - m(X))
    and the covariance k(Z, Z) - k(Z, X) K^-1 k(X, Z) + predictive noise I (Rasmussen and Williams 2006, section 2.2).

    **Arguments:**

    - `kernel`: k.
    - `index_points`: Z, of shape `batch + (n,) + feature`; see `GaussianProcess` for none.
    - `observation_index_points`: X, of shape `batch + (m,) + feature`.
    - `observations`: y, of shape `batch + (m,)`. Without them and their points the process is that of the prior.
    - `observation_noise_variance`: of the observations.
    - `predictive_noise_variance`: of the values at Z: that of the observations where not given, as for new
      observations; zero for the noiseless function.
    - `mean_fn`, `jitter`, `cholesky_fn`, `marginal_fn`: see `GaussianProcess`.
    - `observations_is_missing`: booleans of shape `batch + (m,)`, for observations that are left out, whatever they
      are.
    - `observation_factor`: the Cholesky factor of K, where it has been computed before; see
      `precompute_regression_model`.

    **Raises:** `ValueError` for observations without their points, or points without observations.
    """

    observation_index_points: Float[Array, "*#batch m d"] = data(lambda self: self.kernel.feature_ndims, support=real)
    observations: Float[Array, "*#batch m"] = data()
    predictive_noise_variance: Float[Array, "*#batch"] | None = parameter(nonnegative)
    observations_is_missing: Bool[Array, "*#batch m"] | None = data()
    observation_factor: Float[Array, "*#batch m m"] | None = data()

    def __init__(
        self,
        kernel: Kernel,
        index_points: Numeric | None = None,
        observation_index_points: Numeric | None = None,
        observations: Numeric | None = None,
        observation_noise_variance: Numeric = 0.0,
        predictive_noise_variance: Numeric | None = None,
        mean_fn: Callable[..., Any] | None = None,
        jitter: Numeric | None = None,
        cholesky_fn: Callable[..., Any] | None = None,
        marginal_fn: Callable[..., Any] | None = None,
        observations_is_missing: Numeric | None = None,
        observation_factor: Numeric | None = None,
    ):
        who = type(self).__name__
        self.kernel = kernel
        points, observed, values = promote(index_points, observation_index_points, observations)
        if (observed is None) != (values is None):
            given, lacking = ("observations", "observation_index_points")[:: 1 if observed is None else -1]
            raise ValueError(f"{who}: {given} without {lacking}")
        if values is None:
            if points is None:
                raise ValueError(f"{who} takes index_points, or observations and observation_index_points")
            observed = jnp.zeros((0, *points.shape[points.ndim - kernel.feature_ndims :]), points.dtype)
            values = jnp.zeros(0, points.dtype)
        self.index_points, self.observation_index_points, self.observations = points, observed, values
        dtype = self.observations.dtype

        def like(x: Numeric | None) -> Any:
            return None if x is None else promote(x).astype(dtype)

        self.observation_noise_variance = like(observation_noise_variance)
        self.predictive_noise_variance = like(predictive_noise_variance)
        self.mean_fn = _as_function(mean_fn, f"{who}: mean_fn")
        self.cholesky_fn = _as_function(cholesky_fn, f"{who}: cholesky_fn")
        self.marginal_fn = _as_function(marginal_fn, f"{who}: marginal_fn")
        self.jitter, self.observation_factor = like(jitter), like(observation_factor)
        missing = observations_is_missing
        self.observations_is_missing = None if missing is None else jnp.asarray(missing, bool)

    @classmethod
    def precompute_regression_model(
        cls,
        kernel: Kernel,
        observation_index_points: Numeric,
        observations: Numeric,
        observations_is_missing: Numeric | None = None,
        index_points: Numeric | None = None,
        **kwargs: Any,
    ) -> "GaussianProcessRegressionModel":
        """The model with the factor of the observations' covariance computed once, for predictions at many sets of
        points: `log_prob(value, index_points=...)` and `get_marginal_distribution(...)`. The factor does not follow
        later changes of the kernel or the noise.

        **Arguments:** those of the class.
        """
        model = cls(
            kernel,
            index_points,
            observation_index_points,
            observations,
            observations_is_missing=observations_is_missing,
            **kwargs,
        )
        return dataclasses.replace(model, observation_factor=model._factor_of_observations())

    def _factor_of_observations(self) -> Array:
        if self.observation_factor is not None:
            return self.observation_factor
        own = _add_diagonal(self.kernel.matrix(self.observation_index_points), self.observation_noise_variance)
        return _factor(own, self.jitter, self.cholesky_fn, self.observations_is_missing)

    def _solved(self) -> tuple[Array, Array]:
        """The mean, and L^-1 k(X, Z) for the factor L of the covariance of the observations."""
        observed, points = self.observation_index_points, self._points()
        factor = self._factor_of_observations()
        cross = self.kernel.matrix(observed, points)
        residual = (self.observations - _mean_at(self.mean_fn, observed, self.kernel))[..., None]
        if self.observations_is_missing is not None:
            missing = self.observations_is_missing[..., None]
            cross, residual = jnp.where(missing, 0, cross), jnp.where(missing, 0, residual)
        lead = jnp.broadcast_shapes(factor.shape[:-2], cross.shape[:-2], residual.shape[:-2])
        factor, cross, residual = (jnp.broadcast_to(x, lead + x.shape[-2:]) for x in (factor, cross, residual))
        solved = jsl.solve_triangular(factor, jnp.concatenate([cross, residual], axis=-1), lower=True)
        cross, residual = solved[..., :-1], solved[..., -1:]
        return _mean_at(self.mean_fn, points, self.kernel) + jnp.sum(cross * residual, axis=-2), cross

    def _noise(self) -> Array:
        noise = self.predictive_noise_variance
        return self.observation_noise_variance if noise is None else noise

    def _moments(self) -> tuple[Array, Array]:
        mean, cross = self._solved()
        covariance = self.kernel.matrix(self._points()) - jnp.swapaxes(cross, -2, -1) @ cross
        return mean, _add_diagonal(covariance, self._noise())

    def _mean(self) -> Real:
        return self._solved()[0]

    def _variance(self) -> Real:
        _, cross = self._solved()
        # Rounding may leave less than nothing of the prior variance at an observed point.
        latent = jnp.maximum(self.kernel.diag(self._points()) - jnp.sum(cross**2, axis=-2), 0)
        return latent + self._noise()[..., None]


@register_kl(_Process, _Process)
def _kl_processes(p: _Process, q: _Process) -> Array:
    """Of the values at the same points."""
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL of Gaussian processes at {p.event_shape[0]} and {q.event_shape[0]} points")
    return kl_divergence(p.get_marginal_distribution(), q.get_marginal_distribution())
