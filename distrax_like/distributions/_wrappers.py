"""Distributions made of one other: batch dimensions as event dimensions, and independent repetition."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from distrax_like import supports
from distrax_like._misc import Event, Numeric, Real, Shape, ShapeLike, as_shape, sum_trailing
from distrax_like._module import submodule
from distrax_like.supports import Support

from ._distribution import Distribution
from ._kl import kl_divergence, no_closed_form, register_kl
from ._mvn import MultivariateNormalDiag, MultivariateNormalTriL
from ._normal import Normal


def _of_independent_numbers(d: "Independent | Sample") -> Real:
    """The covariance matrix of a vector of independent numbers."""
    if len(d.event_shape) != 1 or d.distribution.event_shape:
        d._lacks(f"covariance for events of shape {d.event_shape}")
    variance = d.variance()
    return variance[..., None] * jnp.eye(variance.shape[-1], dtype=variance.dtype)


class Independent(Distribution):
    """The joint distribution of the last batch dimensions of another, as one event.

    **Arguments:** `distribution`; `reinterpreted_batch_ndims`: how many batch dimensions become event dimensions (all
    but the first where not given).

    **Raises:** `ValueError` where the distribution has fewer.
    """

    reinterpreted_batch_ndims: int = eqx.field(static=True)
    distribution: Distribution = submodule(lambda self: self.reinterpreted_batch_ndims)

    def __init__(self, distribution: Distribution, reinterpreted_batch_ndims: int | None = None):
        ndims = len(distribution.batch_shape)
        if reinterpreted_batch_ndims is None:
            reinterpreted_batch_ndims = max(ndims - 1, 0)
        if not 0 <= reinterpreted_batch_ndims <= ndims:
            raise ValueError(
                f"Independent: reinterpreted_batch_ndims={reinterpreted_batch_ndims} does not fit "
                f"{type(distribution).__name__} of batch shape {distribution.batch_shape}"
            )
        self.distribution = distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def dtype(self):
        return self.distribution.dtype

    @property
    def support(self) -> Support:
        return supports.independent(self.distribution.support, self.reinterpreted_batch_ndims)

    def _event_shape(self) -> Shape:
        inner = self.distribution.batch_shape
        return inner[len(inner) - self.reinterpreted_batch_ndims :] + self.distribution.event_shape

    def _sum(self, x: Real) -> Real:
        # A parameter that does not vary over an event dimension still counts once for each element of it.
        shape = jnp.broadcast_shapes(x.shape, self.distribution.batch_shape)
        return sum_trailing(jnp.broadcast_to(x, shape), self.reinterpreted_batch_ndims)

    def _log_prob(self, value: Event, **kwargs) -> Real:
        return self._sum(self.distribution._log_prob(value, **kwargs))

    def _log_prob_at_free(self, x: Real) -> Real:
        return self._sum(self.distribution._log_prob_at_free(x))

    # P(X <= value), entry by entry, which has no complement of that kind.
    def _cdf(self, value: Event) -> Real:
        tails = self.distribution.cdf(value)
        return jnp.prod(tails, axis=tuple(range(-self.reinterpreted_batch_ndims, 0)))

    def _log_cdf(self, value: Event) -> Real:
        return self._sum(self.distribution.log_cdf(value))

    def _survival_function(self, value: Event) -> Real:
        return self._if_unchanged("survival_function")(value)

    def _log_survival_function(self, value: Event) -> Real:
        return self._if_unchanged("log_survival_function")(value)

    def _if_unchanged(self, method: str) -> Callable[[Event], Real]:
        if self.reinterpreted_batch_ndims:
            self._lacks(method)
        return getattr(self.distribution, method)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self.distribution._sample(key, self._inner_shape(shape))

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        value, log_prob = self.distribution._sample_and_log_prob(key, self._inner_shape(shape))
        return value, self._sum(log_prob)

    def _inner_shape(self, shape: Shape) -> Shape:
        inner = self.distribution.batch_shape
        return shape + inner[len(inner) - self.reinterpreted_batch_ndims :]

    def _mean(self) -> Real:
        return self.distribution.mean()

    def _mode(self) -> Event:
        return self.distribution.mode()

    def _variance(self) -> Real:
        return self.distribution.variance()

    def _stddev(self) -> Real:
        return self.distribution.stddev()

    def _covariance(self) -> Real:
        return _of_independent_numbers(self) if self.reinterpreted_batch_ndims else self.distribution.covariance()

    def _entropy(self) -> Real:
        return self._sum(self.distribution.entropy())


@register_kl(Independent, Independent)
def _kl_independent(p: Independent, q: Independent) -> Array:
    if p.event_shape != q.event_shape or p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise ValueError(f"KL of Independents of event shapes {p.event_shape} and {q.event_shape}")
    return sum_trailing(kl_divergence(p.distribution, q.distribution), p.reinterpreted_batch_ndims)


class Sample(Distribution):
    """Independent draws from one distribution, as one event of shape `sample_shape + event_shape`.

    **Arguments:** `distribution`; `sample_shape`: an int or a shape.
    """

    sample_shape: Shape = eqx.field(static=True)
    distribution: Distribution = submodule()

    def __init__(self, distribution: Distribution, sample_shape: ShapeLike = ()):
        self.distribution = distribution
        self.sample_shape = as_shape(sample_shape, "Sample: sample_shape")

    @property
    def dtype(self):
        return self.distribution.dtype

    @property
    def support(self) -> Support:
        return supports.independent(self._expanded().support, len(self.sample_shape))

    def _cast(self, value: Numeric, method: str) -> Event:
        # What broadcasts to the event stands for all of it.
        event, value = self.event_shape, jnp.asarray(value)
        lead = value.shape[: max(value.ndim - len(event), 0)]
        own = value.shape[len(lead) :]
        if all(n in (1, m) for n, m in zip(own[::-1], event[::-1])):
            value = jnp.broadcast_to(value, lead + event)
        return super()._cast(value, method)

    def _expanded(self) -> Distribution:
        """The distribution with a batch dimension of size one for each repeated one, behind the batch dimensions."""
        n = len(self.sample_shape)
        return self.distribution[(..., *(None,) * n)] if n and self.distribution.batch_shape else self.distribution

    def _event_shape(self) -> Shape:
        return self.sample_shape + self.distribution.event_shape

    def _sum(self, x: Real) -> Real:
        return sum_trailing(x, len(self.sample_shape))

    def _log_prob(self, value: Event, **kwargs) -> Real:
        return self._sum(self._expanded()._log_prob(value, **kwargs))

    def _log_prob_at_free(self, x: Real) -> Real:
        return self._sum(self._expanded()._log_prob_at_free(x))

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self._expanded()._sample(key, shape + self.sample_shape)

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        value, log_prob = self._expanded()._sample_and_log_prob(key, shape + self.sample_shape)
        return value, self._sum(log_prob)

    def _repeat(self, x: Real) -> Real:
        lead = len(self.batch_shape)
        x = x.reshape(x.shape[:lead] + (1,) * len(self.sample_shape) + x.shape[lead:])
        return jnp.broadcast_to(x, self.batch_shape + self.event_shape)

    def _mean(self) -> Real:
        return self._repeat(self.distribution.mean())

    def _mode(self) -> Event:
        return self._repeat(self.distribution.mode())

    def _variance(self) -> Real:
        return self._repeat(self.distribution.variance())

    def _stddev(self) -> Real:
        return self._repeat(self.distribution.stddev())

    def _covariance(self) -> Real:
        return _of_independent_numbers(self) if self.sample_shape else self.distribution.covariance()

    def _entropy(self) -> Real:
        return self._count() * self.distribution.entropy()

    def _count(self) -> int:
        count = 1
        for n in self.sample_shape:
            count *= n
        return count


@register_kl(Sample, Independent)
@register_kl(Independent, Sample)
def _kl_sample_independent(p: Independent | Sample, q: Independent | Sample) -> Array:
    return _kl_independent(_as_independent(p), _as_independent(q))


def _as_independent(d: Independent | Sample) -> Independent:
    """A distribution of repeated draws as one of a batch of the repeated distribution."""
    if isinstance(d, Independent):
        return d
    repeated = d._expanded().broadcast_to(d.batch_shape + d.sample_shape)
    return Independent(repeated, len(d.sample_shape))


@register_kl(MultivariateNormalDiag, Independent)
@register_kl(MultivariateNormalTriL, Independent)
@register_kl(MultivariateNormalDiag, Sample)
@register_kl(MultivariateNormalTriL, Sample)
@register_kl(Independent, MultivariateNormalDiag)
@register_kl(Independent, MultivariateNormalTriL)
@register_kl(Sample, MultivariateNormalDiag)
@register_kl(Sample, MultivariateNormalTriL)
def _kl_normal_vectors(p: Any, q: Any) -> Array:
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL of distributions of event shapes {p.event_shape} and {q.event_shape}")

    def as_vector(d: Any) -> Distribution:
        if not isinstance(d, Independent | Sample):
            return d
        inner = _as_independent(d)
        if not isinstance(inner.distribution, Normal) or inner.reinterpreted_batch_ndims != 1:
            raise no_closed_form(p, q, f" for one of {type(inner.distribution).__name__}")
        normal = inner.distribution.broadcast_to(inner.distribution.batch_shape)
        return MultivariateNormalDiag(normal.loc, normal.scale)

    return kl_divergence(as_vector(p), as_vector(q))


@register_kl(Sample, Sample)
def _kl_sample(p: Sample, q: Sample) -> Array:
    if p.sample_shape != q.sample_shape:
        raise ValueError(f"KL of Samples of sample shapes {p.sample_shape} and {q.sample_shape}")
    return p._count() * kl_divergence(p.distribution, q.distribution)
