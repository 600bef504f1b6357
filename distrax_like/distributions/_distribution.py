"""The base class of distributions."""

from collections.abc import Sequence
from typing import Any, NoReturn, SupportsIndex

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Seed, Shape, as_key, as_shape, cast, default_float
from distrax_like._module import Module
from distrax_like.bijectors import Bijector
from distrax_like.supports import Support


class Distribution(Module):
    """A probability distribution, or a batch of them.

    A subclass declares its parameters and writes what it has: `support`, `_log_prob(value)` and `_sample(key, shape)`
    at least, `_event_shape` where an event is not a scalar, and any of the other hooks (`_mean`, `_cdf`, …). A hook
    sees clean input: a value of this dtype inside the support, of at least the batch and event shape; a typed key; a
    full shape. `_log_prob` gives one number for each event of the value.

    The public methods below are final. Shapes: a draw has shape `sample_shape + batch_shape + event_shape`, and a
    value of shape `sample + batch + event` has a log density of shape `sample + batch`; both broadcast.
    """

    # What a distribution is made of, for subclasses to write.

    @property
    def support(self) -> Support:
        """Where the density is positive."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its support is")

    def _event_shape(self) -> Shape:
        return ()

    def _log_prob(self, value: Event) -> Real:
        self._lacks("log_prob")

    def _clean(self, value: Event, **kwargs: Any) -> Event:
        """The value with what the keyword arguments of `log_prob` say to ignore replaced by points of the support."""
        return value

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        self._lacks("sample")

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        value = self._sample(key, shape)
        return value, self.log_prob(value)

    def _cdf(self, value: Event) -> Real:
        self._lacks("cdf")

    def _log_cdf(self, value: Event) -> Real:
        self._lacks("log_cdf")

    def _survival_function(self, value: Event) -> Real:
        self._lacks("survival_function")

    def _log_survival_function(self, value: Event) -> Real:
        self._lacks("log_survival_function")

    def _quantile(self, p: Real) -> Event:
        self._lacks("quantile")

    def _mean(self) -> Real:
        self._lacks("mean")

    def _median(self) -> Event:
        if type(self)._quantile is Distribution._quantile:
            self._lacks("median")
        return self._quantile(jnp.full(self.batch_shape, 0.5, self._float_dtype()))

    def _mode(self) -> Event:
        self._lacks("mode")

    def _variance(self) -> Real:
        self._lacks("variance")

    def _stddev(self) -> Real:
        if type(self)._variance is Distribution._variance:
            self._lacks("stddev")
        return jnp.sqrt(self._variance())

    def _covariance(self) -> Real:
        self._lacks("covariance")

    def _entropy(self) -> Real:
        self._lacks("entropy")

    def _lacks(self, method: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} has no {method}")

    # What follows from it.

    @property
    def event_shape(self) -> Shape:
        """The shape of one draw from one distribution of the batch."""
        return self._event_shape()

    @property
    def dtype(self) -> Any:
        """The dtype of a draw."""
        return self._float_dtype()

    def _float_dtype(self) -> Any:
        """The dtype of parameters and densities."""
        dtypes = [x.dtype for x, _ in self._batch_leaves() if jnp.issubdtype(x.dtype, jnp.floating)]
        return jnp.result_type(*dtypes) if dtypes else default_float()

    def sample(
        self, sample_shape: SupportsIndex | Sequence[SupportsIndex] = (), *, seed: Seed | None = None
    ) -> Event:
        """Random draws.

        **Arguments:** `sample_shape`: how many, an int or a shape; `seed`: a key from `jax.random.key`.

        **Returns:** shape `sample_shape + batch_shape + event_shape`.

        **Raises:** `TypeError` without a seed or where it is no key.
        """
        key = as_key(seed, f"{type(self).__name__}.sample")
        return self._sample(key, as_shape(sample_shape) + self.batch_shape)

    def sample_and_log_prob(
        self, sample_shape: SupportsIndex | Sequence[SupportsIndex] = (), *, seed: Seed | None = None
    ) -> tuple[Event, Real]:
        """Random draws and their log densities in one pass, which for transformed distributions needs no inverse."""
        key = as_key(seed, f"{type(self).__name__}.sample_and_log_prob")
        return self._sample_and_log_prob(key, as_shape(sample_shape) + self.batch_shape)

    def log_prob(self, value: Numeric, **kwargs: Any) -> Real:
        """The log density or log mass; minus infinity, with a gradient of zero, outside the support, NaN for NaN.

        **Arguments:** `value`: shape broadcastable to `sample + batch_shape + event_shape`.

        **Raises:** `ValueError` where the trailing dimensions are not the event shape.
        """
        value = self._clean(self._cast(value, "log_prob"), **kwargs)
        support = self.support
        # The formula only ever sees points of the support: else its gradient at a masked point could be NaN.
        inside = support.contains(value)
        expand = inside[(..., *(None,) * support.event_ndims)]
        result = self._log_prob(jnp.where(expand, value, support.feasible_like(value)), **kwargs)
        nan = jnp.any(jnp.isnan(value), axis=tuple(range(-support.event_ndims, 0)))
        outside = jnp.where(nan, jnp.nan, -jnp.inf)
        return jnp.where(inside, result, outside.astype(result.dtype))

    def prob(self, value: Numeric, **kwargs: Any) -> Real:
        """The density or mass; see `log_prob`."""
        return jnp.exp(self.log_prob(value, **kwargs))

    def cdf(self, value: Numeric) -> Real:
        """P(X <= value)."""
        return self._cdf(self._cast(value, "cdf"))

    def log_cdf(self, value: Numeric) -> Real:
        """log P(X <= value)."""
        return self._log_cdf(self._cast(value, "log_cdf"))

    def survival_function(self, value: Numeric) -> Real:
        """P(X > value)."""
        return self._survival_function(self._cast(value, "survival_function"))

    def log_survival_function(self, value: Numeric) -> Real:
        """log P(X > value)."""
        return self._log_survival_function(self._cast(value, "log_survival_function"))

    def quantile(self, value: Numeric) -> Event:
        """The smallest x with P(X <= x) >= value; NaN for a value outside [0, 1]."""
        p = cast(value, self._float_dtype())
        inside = (p >= 0) & (p <= 1)
        return jnp.where(inside, self._quantile(jnp.where(inside, p, 0.5)), jnp.nan)

    def mean(self) -> Real:
        """The mean, of shape `batch_shape + event_shape`."""
        return self._full(self._mean())

    def median(self) -> Event:
        """The median, of shape `batch_shape + event_shape`."""
        return self._full(self._median())

    def mode(self) -> Event:
        """The mode, of shape `batch_shape + event_shape`."""
        return self._full(self._mode())

    def variance(self) -> Real:
        """The variance of each element, of shape `batch_shape + event_shape`."""
        return self._full(self._variance())

    def stddev(self) -> Real:
        """The standard deviation of each element, of shape `batch_shape + event_shape`."""
        return self._full(self._stddev())

    def covariance(self) -> Real:
        """The covariance matrix of a vector event of length d, of shape `batch_shape + (d, d)`."""
        result = self._covariance()
        return jnp.broadcast_to(result, self.batch_shape + result.shape[result.ndim - 2 :])

    def entropy(self) -> Real:
        """The (differential) entropy in nats, of shape `batch_shape`."""
        return jnp.broadcast_to(self._entropy(), self.batch_shape)

    def kl_divergence(self, other: "Distribution") -> Real:
        """The Kullback-Leibler divergence KL(self || other) in nats.

        **Raises:** `NotImplementedError` for a pair without a closed form; see `monte_carlo_kl_divergence`.
        """
        from ._kl import kl_divergence

        return kl_divergence(self, other)

    def cross_entropy(self, other: "Distribution") -> Real:
        """-E log other(X) for X from self, in nats: the entropy plus the divergence."""
        return self.entropy() + self.kl_divergence(other)

    def _transform(self, bijector: Bijector) -> "Distribution":
        """The distribution of the image of a draw."""
        from ._transformed import TransformedDistribution

        return TransformedDistribution(self, bijector)

    def _full(self, x: Real) -> Real:
        return jnp.broadcast_to(x, self.batch_shape + self.event_shape)

    def _cast(self, value: Numeric, method: str) -> Event:
        """A value in the dtype of densities, checked against the event shape and expanded to the batch."""
        value = cast(value, self._float_dtype())
        event = self.event_shape
        trailing = value.shape[value.ndim - len(event) :] if value.ndim >= len(event) else None
        if trailing != event:
            raise ValueError(
                f"{type(self).__name__}.{method}: the value must end in the event shape {event}, "
                f"got shape {value.shape}"
            )
        lead = value.shape[: value.ndim - len(event)]
        try:
            lead = jnp.broadcast_shapes(lead, self.batch_shape)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}.{method}: a value of shape {value.shape} does not broadcast with the batch "
                f"shape {self.batch_shape} and event shape {event}"
            ) from None
        # Hooks and supports whose ends differ over the batch then see one value for each element of it.
        return jnp.broadcast_to(value, lead + event)
