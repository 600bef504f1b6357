"""Running statistics: observations are added one by one or in chunks, and the memory does not grow.

Each is a frozen module: `update` and `merge` return a new one, so they fit the carry of a scan. Statistics of different
observations (of different chains, or on different machines) merge into the statistic of all of them.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Int

from distrax_like._misc import Numeric, as_shape, default_float
from distrax_like.special._compensated import two_sum

from ._arrays import center

R = TypeVar("R", bound="_Running")
Mean = TypeVar("Mean", bound="RunningMean")
C = TypeVar("C", bound="RunningCovariance")
V = TypeVar("V", bound="RunningVariance")
M = TypeVar("M", bound="RunningCentralMoments")
P = TypeVar("P", bound="RunningPotentialScaleReduction")


def _float_dtype(dtype: DTypeLike | None) -> np.dtype:
    known = default_float() if dtype is None else jnp.dtype(dtype)
    return known if jnp.issubdtype(known, jnp.floating) else default_float()


def _chunk(x: Numeric, axis: int | None, shape: tuple[int, ...], dtype: DTypeLike, who: str) -> Array:
    """The observations in front, each of `shape`."""
    x = jnp.asarray(x, dtype)
    x = x[None] if axis is None else jnp.moveaxis(x, axis, 0)
    if x.shape[1:] != shape:
        raise ValueError(f"{who}.update takes observations of shape {shape}, got {x.shape[1:]}")
    return x


class _Running(eqx.Module):
    """The mean of the observations so far, which is updated and merged; subclasses add what they need and constructors.

    The mean is kept with the part that its rounding lost, so that steps smaller than an ulp of a large mean add up.
    """

    num_samples: Int[Array, ""]
    mean: Float[Array, "..."]
    _lost: Float[Array, "..."]

    def update(self: R, x: Numeric, axis: int | None = None) -> R:
        """The statistic with one more observation, or with those along an axis of `x`."""
        return self.merge(self._of(_chunk(x, axis, self.mean.shape, self.mean.dtype, type(self).__name__)))

    def merge(self: R, other: R) -> R:
        """The statistic of both sets of observations together."""
        return self._merge(other)

    def _merge(self, other: Any) -> Any:
        return self._with(*self._merge_means(other))

    def _of(self: R, chunk: Array) -> R:
        return self._with(*_chunk_mean(chunk))

    def _with(self: R, num_samples: Array, mean: Array, lost: Array) -> R:
        return eqx.tree_at(lambda r: (r.num_samples, r.mean, r._lost), self, (num_samples, mean, lost))

    def _difference(self, other: Any) -> Array:
        """The other mean minus this one."""
        return (other.mean - self.mean) + (other._lost - self._lost)

    def _weights(self, other: Any) -> tuple[Array, Array]:
        """The shares of the two parts in all observations."""
        mine, its = (r.num_samples.astype(self.mean.dtype) for r in (self, other))
        total = jnp.maximum(mine + its, 1)
        return mine / total, its / total

    def _merge_means(self, other: Any) -> tuple[Array, Array, Array]:
        mine, _ = self._weights(other)
        # Start from the larger part: the step is shorter, and from an empty part it would be as large as the mean.
        flip = mine < 0.5
        start, lost = jnp.where(flip, other.mean, self.mean), jnp.where(flip, other._lost, self._lost)
        away = self._difference(other)
        step = jnp.where(flip, -mine * away, (1 - mine) * away)
        mean, rest = two_sum(start, step + lost)
        return self.num_samples + other.num_samples, mean, rest


def _chunk_mean(chunk: Array) -> tuple[Array, Array, Array]:
    # Relative to an observation, which is exact. If it were relative to a mean, compilers might fuse the division with
    # what follows in one place and not in another, the two results would differ by an ulp, and `two_sum` would be
    # wrong. They do not fuse across `where`.
    first = chunk[0]
    return jnp.asarray(chunk.shape[0], jnp.int32), first, jnp.where(first == first, jnp.mean(chunk - first, 0), first)


class RunningMean(_Running):
    """The mean of the observations so far.

    - `num_samples`: the number of observations.
    - `mean`: of the shape of an observation; 0 before the first.
    """

    @classmethod
    def from_shape(cls: type[Mean], shape: Sequence[int] | int = (), dtype: DTypeLike | None = None) -> Mean:
        """An empty one for observations of a shape and dtype, by default the default float."""
        zeros = jnp.zeros(as_shape(shape), _float_dtype(dtype))
        return cls(jnp.zeros((), jnp.int32), zeros, zeros)

    @classmethod
    def from_example(cls: type[Mean], example: Numeric) -> Mean:
        """An empty one for observations like `example`, which is not counted."""
        example = jnp.asarray(example)
        return cls.from_shape(example.shape, example.dtype)


class RunningCovariance(RunningMean):
    """The mean and covariance of the observations so far.

    - `sum_squared_residuals`: Σ (x - mean)(x - mean)ᵀ, of shape `batch + event + event`.
    - `event_ndims`: the number of trailing dimensions of an observation that are the event; the others are a batch.

    P. Pébay, Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
    moments, Sandia report SAND2008-6212 (2008).
    """

    sum_squared_residuals: Float[Array, "..."]
    event_ndims: int = eqx.field(static=True)

    @classmethod
    def from_shape(
        cls: type[C], shape: Sequence[int] | int = (), dtype: DTypeLike | None = None, event_ndims: int | None = None
    ) -> C:
        """An empty one for observations of a shape and dtype; by default all dimensions are the event."""
        shape = as_shape(shape)
        event_ndims = len(shape) if event_ndims is None else event_ndims
        if not 0 <= event_ndims <= len(shape):
            raise ValueError(f"event_ndims must be from 0 to {len(shape)} for the shape {shape}, got {event_ndims}")
        zeros = jnp.zeros(shape, _float_dtype(dtype))
        squares = jnp.zeros(shape + shape[len(shape) - event_ndims :], zeros.dtype)
        return cls(jnp.zeros((), jnp.int32), zeros, zeros, squares, event_ndims)

    @classmethod
    def from_example(cls: type[C], example: Numeric, event_ndims: int | None = None) -> C:
        """An empty one for observations like `example`, which is not counted."""
        example = jnp.asarray(example)
        return cls.from_shape(example.shape, example.dtype, event_ndims)

    def _of(self: C, chunk: Array) -> C:
        out = super()._of(chunk)
        squares = self._outer(center(chunk, 0), sum_first=True)
        return eqx.tree_at(lambda r: r.sum_squared_residuals, out, squares)

    def _merge(self, other: Any) -> Any:
        mine, _ = self._weights(other)
        cross = mine * other.num_samples.astype(mine.dtype)
        squares = self.sum_squared_residuals + other.sum_squared_residuals
        squares = squares + cross * self._outer(self._difference(other))
        # The mean of an empty part is 0, which may be so far from the other mean that the product overflows.
        squares = jnp.where(self.num_samples == 0, other.sum_squared_residuals, squares)
        squares = jnp.where(other.num_samples == 0, self.sum_squared_residuals, squares)
        return eqx.tree_at(lambda r: r.sum_squared_residuals, super()._merge(other), squares)

    def _outer(self, x: Array, sum_first: bool = False) -> Array:
        """The products of all pairs of entries of an event, possibly summed over the first axis."""
        if not self.event_ndims:
            return jnp.sum(x * x, 0) if sum_first else x * x
        shape = self.mean.shape[self.mean.ndim - self.event_ndims :]
        batch = x.shape[: x.ndim - self.event_ndims]
        flat = jnp.reshape(x, (*batch, math.prod(shape)))
        if sum_first:
            out, batch = jnp.einsum("n...a,n...b->...ab", flat, flat, precision="highest"), batch[1:]
        else:
            out = flat[..., :, None] * flat[..., None, :]
        return jnp.reshape(out, (*batch, *shape, *shape))

    def covariance(self, ddof: int = 0) -> Float[Array, "..."]:
        """The covariance, divided by the number of observations minus `ddof`."""
        return self.sum_squared_residuals / (self.num_samples - ddof).astype(self.mean.dtype)


class RunningVariance(RunningCovariance):
    """The mean and variance so far of each entry of an observation."""

    @classmethod
    def from_shape(
        cls: type[V], shape: Sequence[int] | int = (), dtype: DTypeLike | None = None, event_ndims: int | None = 0
    ) -> V:
        """An empty one for observations of a shape and dtype."""
        if event_ndims:
            raise ValueError(f"RunningVariance has no event dimensions, got event_ndims={event_ndims}")
        zeros = jnp.zeros(as_shape(shape), _float_dtype(dtype))
        return cls(jnp.zeros((), jnp.int32), zeros, zeros, zeros, 0)

    @classmethod
    def from_example(cls: type[V], example: Numeric, event_ndims: int | None = 0) -> V:
        """An empty one for observations like `example`, which is not counted."""
        example = jnp.asarray(example)
        return cls.from_shape(example.shape, example.dtype, event_ndims)

    @classmethod
    def from_stats(cls: type[V], num_samples: Numeric, mean: Numeric, variance: Numeric) -> V:
        """The statistic of observations that have this number, mean and variance (with `ddof` 0)."""
        mean = jnp.asarray(mean, _float_dtype(jnp.asarray(mean).dtype))
        number = jnp.asarray(num_samples).astype(jnp.int32)
        squares = jnp.broadcast_to(jnp.asarray(variance, mean.dtype) * number.astype(mean.dtype), mean.shape)
        return cls(number, mean, jnp.zeros_like(mean), squares, 0)

    def variance(self, ddof: int = 0) -> Float[Array, "..."]:
        """The variance, divided by the number of observations minus `ddof`."""
        return self.covariance(ddof)

    def stddev(self, ddof: int = 0) -> Float[Array, "..."]:
        """The square root of the variance."""
        return jnp.sqrt(self.variance(ddof))


class RunningCentralMoments(_Running):
    """The mean and central moments so far, up to the highest of `desired_moments`.

    Two parts merge by the binomial theorem about the common mean.
    """

    _moments: Float[Array, "k ..."]
    desired_moments: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def from_shape(
        cls: type[M], shape: Sequence[int] | int, moment: int | Sequence[int], dtype: DTypeLike | None = None
    ) -> M:
        """An empty one for observations of a shape and dtype; `moment`: which moments, one or several, from 1."""
        desired = as_shape(moment)
        if not desired or min(desired) < 1:
            raise ValueError(f"moment must be at least 1, got {moment!r}")
        zeros = jnp.zeros(as_shape(shape), _float_dtype(dtype))
        return cls(
            jnp.zeros((), jnp.int32), zeros, zeros, jnp.zeros((max(desired) - 1, *zeros.shape), zeros.dtype), desired
        )

    @classmethod
    def from_example(cls: type[M], example: Numeric, moment: int | Sequence[int]) -> M:
        """An empty one for observations like `example`, which is not counted."""
        example = jnp.asarray(example)
        return cls.from_shape(example.shape, moment, example.dtype)

    def _powers(self) -> list[Array]:
        """The moments of order 0, 1, 2, ..."""
        return [jnp.ones_like(self.mean), jnp.zeros_like(self.mean), *self._moments]

    def _of(self: M, chunk: Array) -> M:
        deviations = center(chunk, 0)
        powers = [jnp.mean(deviations**p, 0) for p in range(2, max(self.desired_moments) + 1)]
        return eqx.tree_at(lambda r: r._moments, super()._of(chunk), _stack(powers, self._moments))

    def _merge(self, other: Any) -> Any:
        mine, its = self._weights(other)
        away = self._difference(other)
        # The mean of an empty part is 0 and says nothing.
        away = jnp.where((self.num_samples == 0) | (other.num_samples == 0), 0, away)
        left, right = self._powers(), other._powers()
        powers = []
        for p in range(2, max(self.desired_moments) + 1):
            terms = (
                math.comb(p, k) * (mine * (-its * away) ** k * left[p - k] + its * (mine * away) ** k * right[p - k])
                for k in range(p + 1)
            )
            powers.append(sum(terms, start=jnp.zeros_like(self.mean)))
        return eqx.tree_at(lambda r: r._moments, super()._merge(other), _stack(powers, self._moments))

    def moments(self) -> Float[Array, "k ..."]:
        """The central moments in the order of `desired_moments`, along a new first axis; NaN without observations."""
        powers = self._powers()
        out = jnp.stack([powers[p] for p in self.desired_moments])
        return jnp.where(self.num_samples == 0, jnp.nan, out)


def _stack(powers: list[Array], like: Array) -> Array:
    return jnp.stack(powers) if powers else like


class RunningPotentialScaleReduction(eqx.Module):
    """The potential scale reduction so far, of draws of shape `chains + event`; see `potential_scale_reduction`."""

    chain_variances: RunningVariance
    independent_chain_ndims: int = eqx.field(static=True)

    @classmethod
    def from_shape(
        cls: type[P], shape: Sequence[int] | int = (), independent_chain_ndims: int = 1, dtype: DTypeLike | None = None
    ) -> P:
        """An empty one for draws of a shape, whose first `independent_chain_ndims` dimensions are chains."""
        shape = as_shape(shape)
        if not 1 <= independent_chain_ndims <= len(shape):
            raise ValueError(
                f"independent_chain_ndims must be from 1 to {len(shape)} for the shape {shape}, "
                f"got {independent_chain_ndims}"
            )
        return cls(RunningVariance.from_shape(shape, dtype), independent_chain_ndims)

    @classmethod
    def from_example(cls: type[P], example: Numeric, independent_chain_ndims: int = 1) -> P:
        """An empty one for draws like `example`, which is not counted."""
        example = jnp.asarray(example)
        return cls.from_shape(example.shape, independent_chain_ndims, example.dtype)

    def update(self: P, x: Numeric, axis: int | None = None) -> P:
        """The statistic with one more draw of every chain, or with those along an axis of `x`."""
        return type(self)(self.chain_variances.update(x, axis), self.independent_chain_ndims)

    def merge(self: P, other: P) -> P:
        """The statistic of both sets of draws of the same chains together."""
        return type(self)(self.chain_variances.merge(other.chain_variances), self.independent_chain_ndims)

    def potential_scale_reduction(self) -> Float[Array, "..."]:
        """The potential scale reduction, of the event shape."""
        chains = tuple(range(self.independent_chain_ndims))
        inner = self.chain_variances
        # Relative to their mean, so that the part that rounding lost is not negligible.
        means = center(center(inner.mean, chains) + inner._lost, chains)
        return scale_reduction(means, inner.variance(1), inner.num_samples.astype(means.dtype), chains)


def scale_reduction(means: Array, variances: Array, n: Any, chains: tuple[int, ...]) -> Array:
    """TFP's R-hat, of the means and variances (with a divisor of n - 1) of chains of n draws."""
    m = math.prod(means.shape[i] for i in chains)
    within = jnp.mean(variances, chains)
    between = jnp.sum(center(means, chains) ** 2, chains) / (m - 1) if m > 1 else jnp.full_like(within, jnp.nan)
    return (m + 1) / m * ((n - 1) / n * within + between) / within - (n - 1) / (m * n)
