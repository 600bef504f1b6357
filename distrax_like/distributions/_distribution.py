"""The base class of distributions."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from distrax_like._arguments import checked
from distrax_like._eager import compiled
from distrax_like._misc import (
    Event,
    Numeric,
    Real,
    Seed,
    Shape,
    ShapeLike,
    as_key,
    as_shape,
    at_least_single,
    broadcasts,
    cast,
    default_float,
)
from distrax_like._module import Module
from distrax_like.bijectors import Bijector, bijector_for
from distrax_like.supports import Support, independent, real

# Arguments of constructors and those they are alternatives to.
_ALTERNATIVES = {"probs": "logits", "rate": "log_rate", "log_rate": "rate"}

D = TypeVar("D", bound="Distribution")
Derived = TypeVar("Derived")


class _derived(Generic[Derived]):  # noqa: N801
    """A property that a subclass may replace by a field of the same name."""

    def __init__(self, fn: Callable[[Any], Derived]):
        self.fn, self.__doc__ = fn, fn.__doc__

    def __get__(self, instance: Any, owner: type) -> Derived:
        if instance is None:
            # Else a field would take it for its default.
            raise AttributeError
        return self.fn(instance)


class Distribution(Module):
    """A probability distribution, or a batch of them.

    A subclass declares its parameters and writes what it has: `support`, `_log_prob(value)` and `_sample(key, shape)`
    at least, `_event_shape` where an event is not a scalar, and any of the other hooks (`_mean`, `_cdf`, …).

    A hook sees clean input: a value of this dtype inside the support, of at least the batch and event shape; a typed
    key; a full shape. `_log_prob` gives one number for each event of the value. The hooks of the cdf family
    (`_cdf`, `_survival_function` and their logarithms) see points strictly between the ends of the support; where it
    is discrete, members of it from the lowest up to, but without, the highest. `_quantile` and
    `_inverse_survival_function` see probabilities strictly between 0 and 1. What lies beyond is known.

    The public methods below are final. Shapes: a draw has shape `sample_shape + batch_shape + event_shape`, and a
    value of shape `sample + batch + event` has a log density of shape `sample + batch`; both broadcast.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in cls.__dict__:
            if not name.startswith("_") and callable(getattr(Distribution, name, None)):
                raise TypeError(f"{cls.__name__}: {name} is final; write the hook _{name} instead")

    # What a distribution is made of, for subclasses to write.

    @property
    def support(self) -> Support:
        """Where the density is positive."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its support is")

    def _event_shape(self) -> Shape:
        return ()

    def _log_prob(self, value: Event) -> Real:
        self._lacks("log_prob")

    def _log_prob_at_free(self, x: Real) -> Real:
        """The log density of the free coordinates x of a value, which `bijector_for(self.support)` maps onto it.

        It is the log density at the image of x plus the log determinant of the map. A family whose density can be
        written in x itself does so: at x = -200 the value exp(x) has underflowed, and with it what the density says.
        """
        value, log_det = bijector_for(self.support).forward_and_log_det(x, self._free_ndims())
        return self._density(value) + log_det

    def _clean(self, value: Event, **kwargs: Any) -> Event:
        """The value with what the keyword arguments of `log_prob` say to ignore replaced by points of the support."""
        return value

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        self._lacks("sample")

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        value = self._sample(key, shape)
        return value, self._density(value)

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

    def _inverse_survival_function(self, q: Real) -> Event:
        # Right to the rounding of 1 - q. A family with an upper tail writes it as a tail.
        return self._quantile(1 - q)

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

    def sample(self, sample_shape: ShapeLike = (), seed: Seed | None = None, **kwargs: Any) -> Event:
        """Random draws.

        **Arguments:** `sample_shape`: how many, an int or a shape; `seed`: a key from `jax.random.key`.

        **Returns:** shape `sample_shape + batch_shape + event_shape`.

        **Raises:** `TypeError` without a seed or where it is no key, and for a shape that is no integers; `ValueError`
        for negative ones.
        """
        key, shape = self._key_and_shape(seed, sample_shape, "sample")
        bound, rest = self._bind(kwargs)
        if rest:
            raise TypeError(f"{type(self).__name__}.sample takes no argument {next(iter(rest))}")
        return bound._draw(key, sample_shape=shape)

    def _key_and_shape(self, seed: Seed | None, sample_shape: ShapeLike, method: str) -> tuple[PRNGKeyArray, Shape]:
        who = f"{type(self).__name__}.{method}"
        return as_key(seed, who), as_shape(sample_shape, f"{who}: sample_shape")

    def _bind(self, kwargs: dict[str, Any]) -> tuple["Distribution", dict[str, Any]]:
        """The distribution that keyword arguments of a method choose, such as one at other points, and the others."""
        return self, kwargs

    @compiled("sample_shape")
    def _draw(self, key: PRNGKeyArray, *, sample_shape: Shape) -> Event:
        shape = sample_shape + self.batch_shape
        value = self._sample(key, shape)
        self._check_shape("_sample", value.shape, shape + self.event_shape)
        return value

    def sample_and_log_prob(
        self, sample_shape: ShapeLike = (), seed: Seed | None = None
    ) -> tuple[Event, Real]:
        """Random draws and their log densities in one pass, which for transformed distributions needs no inverse."""
        key, shape = self._key_and_shape(seed, sample_shape, "sample_and_log_prob")
        return self._draw_with_log_prob(key, sample_shape=shape)

    @compiled("sample_shape")
    def _draw_with_log_prob(self, key: PRNGKeyArray, *, sample_shape: Shape) -> tuple[Event, Real]:
        shape = sample_shape + self.batch_shape
        value, log_prob = self._sample_and_log_prob(key, shape)
        self._check_shape("_sample_and_log_prob", value.shape, shape + self.event_shape)
        return value, jnp.broadcast_to(log_prob, shape)

    def experimental_sample_and_log_prob(
        self, sample_shape: ShapeLike = (), seed: Seed | None = None
    ) -> tuple[Event, Real]:
        """TFP's name for `sample_and_log_prob`."""
        return self.sample_and_log_prob(sample_shape, seed=seed)

    def experimental_default_event_space_bijector(self) -> Bijector | None:
        """The bijector that maps the reals onto the support, that of `bijector_for`; None for a discrete one."""
        return None if self.support.is_discrete else bijector_for(self.support)

    @_derived
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @_derived
    def parameters(self) -> dict[str, Any]:
        """The arguments of the constructor, with None for those of a parametrisation that is not the one stored."""
        fields = {field.name for field in dataclasses.fields(self)}
        names = list(inspect.signature(type(self)).parameters)
        return {name: getattr(self, name) if name in fields else None for name in names}

    def copy(self: D, **overrides: Any) -> D:
        """A distribution of the same class with some of the arguments of its constructor replaced.

        **Raises:** `TypeError` for what is no argument of it.
        """
        arguments = self.parameters
        for name in overrides:
            if name not in arguments:
                raise TypeError(f"{self.name}.copy: {name} is not one of its arguments {', '.join(arguments)}")
            # One that is not stored replaces the one it is an alternative to.
            if arguments[name] is None and _ALTERNATIVES.get(name) in arguments:
                arguments[_ALTERNATIVES[name]] = None
        return type(self)(**{**arguments, **overrides})

    def batch_shape_tensor(self) -> Int[Array, " ndims"]:
        """The batch shape as an array."""
        return jnp.asarray(self.batch_shape, jnp.int32)

    def event_shape_tensor(self) -> Int[Array, " ndims"]:
        """The event shape as an array."""
        return jnp.asarray(self.event_shape, jnp.int32)

    def log_prob(self, value: Numeric, **kwargs: Any) -> Real:
        """The log density or log mass; minus infinity, with a gradient of zero, outside the support, NaN for NaN.

        **Arguments:** `value`: shape broadcastable to `sample + batch_shape + event_shape`.

        **Raises:** `ValueError` where the trailing dimensions are not the event shape.
        """
        bound, rest = self._bind(kwargs)
        return bound._density(value, **rest)

    @compiled()
    def _density(self, value: Numeric, **kwargs: Any) -> Real:
        value = self._clean(self._cast(value, "log_prob"), **kwargs)
        # The formula only ever sees points of the support: else its gradient at a masked point could be NaN.
        value, inside, outside = self.support.separate(value)
        return self._unless(inside, outside, self._log_prob(value, **kwargs), "_log_prob")

    def _free_ndims(self) -> int:
        """The number of dimensions of the free coordinates of one event."""
        bijector = bijector_for(self.support)
        return len(self.event_shape) + bijector.forward_min_event_ndims - bijector.inverse_min_event_ndims

    def _free_density(self, x: Real) -> Real:
        """The log density of the free coordinates of a value, of which infinite ones have density zero."""
        ndims = self._free_ndims()
        lead = jnp.broadcast_shapes(x.shape[: x.ndim - ndims], self.batch_shape)
        x = jnp.broadcast_to(x, lead + x.shape[x.ndim - ndims :])
        x, inside, outside = independent(real, ndims).separate(x)
        return self._unless(inside, outside, self._log_prob_at_free(x), "_log_prob_at_free")

    def _unless(self, inside: Bool[Array, "..."], outside: Real, result: Real, hook: str) -> Real:
        """The `result` of a formula for the events inside the support, and what is known of the others."""
        own = jnp.shape(result)
        # One number for all events of a shape is enough.
        if any(n not in (1, m) for n, m in zip(own[::-1], inside.shape[::-1])) or len(own) > inside.ndim:
            self._check_shape(hook, own, inside.shape)
        return jnp.where(inside, result, outside.astype(result.dtype))

    def _check_shape(self, hook: str, shape: Shape, expected: Shape) -> None:
        if shape != expected:
            raise ValueError(f"{type(self).__name__}.{hook} must give shape {expected} here, got {shape}")

    def prob(self, value: Numeric, **kwargs: Any) -> Real:
        """The density or mass; see `log_prob`."""
        return jnp.exp(self.log_prob(value, **kwargs))

    def cdf(self, value: Numeric) -> Real:
        """P(X <= value)."""
        return self._tail(value, method="cdf", below=0.0, above=1.0)

    def log_cdf(self, value: Numeric) -> Real:
        """log P(X <= value)."""
        return self._tail(value, method="log_cdf", below=-jnp.inf, above=0.0)

    def survival_function(self, value: Numeric) -> Real:
        """P(X > value)."""
        return self._tail(value, method="survival_function", below=1.0, above=0.0)

    def log_survival_function(self, value: Numeric) -> Real:
        """log P(X > value)."""
        return self._tail(value, method="log_survival_function", below=0.0, above=-jnp.inf)

    @compiled("method", "below", "above")
    def _tail(self, value: Numeric, *, method: str, below: float, above: float) -> Real:
        """A distribution function: its hook between the ends of the support, `below` and `above` beyond them."""
        value, hook, support = self._cast(value, method), getattr(self, f"_{method}"), self.support
        if support.event_ndims:
            return hook(value)
        value = support.floor(value)
        low, high = support.ends()
        inside = ((value >= low) if support.is_discrete else (value > low)) & (value < high)
        outside = jnp.where(value >= high, above, jnp.where(jnp.isnan(value), jnp.nan, below))
        result = hook(jnp.where(inside, value, support.feasible_like(value)))
        return jnp.where(inside, result, outside.astype(result.dtype))

    def quantile(self, value: Numeric) -> Event:
        """The smallest x with P(X <= x) >= value; NaN for a value outside [0, 1]."""
        return self._inverse(value, method="quantile")

    def inverse_survival_function(self, value: Numeric) -> Event:
        """The smallest x with P(X > x) <= value, that is `quantile(1 - value)`, accurate for small values; NaN for a
        value outside [0, 1]."""
        return self._inverse(value, method="inverse_survival_function")

    @compiled("method")
    def _inverse(self, value: Numeric, *, method: str) -> Event:
        p = cast(value, self._float_dtype(), self._value_of(method))
        self._broadcast(p, p.shape, (), method)
        inside = (p > 0) & (p < 1)
        result = getattr(self, f"_{method}")(jnp.where(inside, p, 0.5))
        low, high = self.support.ends()
        at_zero, at_one = (low, high) if method == "quantile" else (high, low)
        outside = jnp.where(p == 0, at_zero, jnp.where(p == 1, at_one, jnp.nan))
        return jnp.where(inside, result, outside.astype(result.dtype))

    def mean(self) -> Real:
        """The mean, of shape `batch_shape + event_shape`."""
        return self._full(hook="_mean")

    def median(self) -> Event:
        """The median, of shape `batch_shape + event_shape`."""
        return self._full(hook="_median")

    def mode(self) -> Event:
        """The mode, of shape `batch_shape + event_shape`."""
        return self._full(hook="_mode")

    def variance(self) -> Real:
        """The variance of each element, of shape `batch_shape + event_shape`."""
        return self._full(hook="_variance")

    def stddev(self) -> Real:
        """The standard deviation of each element, of shape `batch_shape + event_shape`."""
        return self._full(hook="_stddev")

    @compiled("hook")
    def _full(self, *, hook: str) -> Event:
        return jnp.broadcast_to(getattr(self, hook)(), self.batch_shape + self.event_shape)

    @compiled()
    def covariance(self) -> Real:
        """The covariance matrix of a vector event of length d, of shape `batch_shape + (d, d)`."""
        result = self._covariance()
        return jnp.broadcast_to(result, self.batch_shape + result.shape[result.ndim - 2 :])

    @compiled()
    def entropy(self) -> Real:
        """The (differential) entropy in nats, of shape `batch_shape`."""
        return jnp.broadcast_to(self._entropy(), self.batch_shape)

    @checked
    def kl_divergence(self, other: "Distribution") -> Real:
        """The Kullback-Leibler divergence KL(self || other) in nats.

        **Raises:** `NotImplementedError` for a pair without a closed form; see `monte_carlo_kl_divergence`.
        """
        return self._comparable_to(other)._kl_divergence(other)

    def _comparable_to(self: D, other: "Distribution") -> D:
        """The distribution itself. **Raises:** `ValueError` where `other` must share values with it and does not."""
        return self

    @compiled()
    def _kl_divergence(self, other: "Distribution") -> Real:
        from ._kl import kl_divergence

        if not (broadcasts(self.batch_shape, other.batch_shape) or broadcasts(other.batch_shape, self.batch_shape)):
            raise ValueError(
                f"{type(self).__name__}.kl_divergence: other has batch shape {other.batch_shape}, which does not "
                f"broadcast with {self.batch_shape}"
            )
        return kl_divergence(self, other)

    @checked
    def cross_entropy(self, other: "Distribution") -> Real:
        """-E log other(X) for X from self, in nats: the entropy plus the divergence."""
        return self.entropy() + self.kl_divergence(other)

    def _transform(self, bijector: Bijector) -> "Distribution":
        """The distribution of the image of a draw."""
        from ._transformed import TransformedDistribution

        return TransformedDistribution(self, bijector)

    def _cast(self, value: Numeric, method: str) -> Event:
        """A value in the dtype of densities, checked against the event shape and expanded to the batch."""
        dtype = self._float_dtype()
        value = cast(value, at_least_single(dtype) if self.support.is_discrete else dtype, self._value_of(method))
        event = self.event_shape
        trailing = value.shape[value.ndim - len(event) :] if value.ndim >= len(event) else None
        if trailing != event:
            raise ValueError(
                f"{type(self).__name__}.{method}: the value must end in the event shape {event}, "
                f"got shape {value.shape}"
            )
        lead = self._broadcast(value, value.shape[: value.ndim - len(event)], event, method)
        # Hooks and supports whose ends differ over the batch then see one value for each element of it.
        return jnp.broadcast_to(value, lead + event)

    def _value_of(self, method: str) -> str:
        return f"{type(self).__name__}.{method}: the value"

    def _broadcast(self, value: Event, lead: Shape, event: Shape, method: str) -> Shape:
        """The leading shape of a value broadcast with the batch."""
        try:
            return jnp.broadcast_shapes(lead, self.batch_shape)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}.{method}: a value of shape {value.shape} does not broadcast with the batch "
                f"shape {self.batch_shape} and event shape {event}"
            ) from None
