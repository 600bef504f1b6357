"""Means, variances, covariances and autocorrelations of samples."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distrax_like._arguments import checked
from distrax_like._misc import Numeric, cast, promote
from distrax_like.math import reduce_logmeanexp

from ._arrays import Axis, Numbers, as_axes, as_numbers, center, lagged_products, rounded_mean


@checked
def auto_correlation(
    x: Numbers, axis: int = -1, max_lags: int | None = None, center: bool = True, normalize: bool = True
) -> Array:
    """The autocorrelation along an axis, (1 / (n - k)) Σ_i w[i + k] conj(w[i]) for lags k = 0, 1, ....

    Here w is `x` minus its mean if `center`, divided by its standard deviation if `normalize`. The sums are computed by
    a Fourier transform.

    **Arguments:** `x`: real or complex; `max_lags`: the largest k, at most (and by default) n - 1.

    **Returns:** the shape of `x`, with length `max_lags + 1` along the axis. NaN for constant `x` if normalized.
    """
    x = jnp.moveaxis(as_numbers(x), axis, 0)
    n = x.shape[0]
    lags = n if max_lags is None else min(n, max_lags + 1)
    return jnp.moveaxis(_lagged_means(x, lags, center, normalize), 0, axis)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _lagged_means(x: Array, lags: int, center: bool, normalize: bool) -> Array:
    n = x.shape[0]
    # A large mean would make the rounding errors of the transform large: it is subtracted, and added to the result.
    shift = rounded_mean(x, 0)
    inside = x - shift
    rest = jnp.mean(inside, 0, keepdims=True)
    inside, shift = inside - rest, shift + rest
    k = jnp.reshape(jnp.arange(lags), (-1, *[1] * (x.ndim - 1)))
    out = lagged_products(inside, lags)
    if not center:
        upto = jnp.concatenate([jnp.zeros_like(inside[:1]), jnp.cumsum(inside, 0)])
        ends, starts = upto[n] - upto[:lags], upto[n - lags + 1 :][::-1]
        out = out + ends * jnp.conj(shift) + shift * jnp.conj(starts) + (n - k) * jnp.abs(shift) ** 2
    out = out / (n - k)
    return out / out[:1] if normalize else out


@checked
def covariance(
    x: Numbers, y: Numbers | None = None, sample_axis: Axis = 0, event_axis: Axis = -1, keepdims: bool = False
) -> Array:
    """The covariance of samples, Σ (x - mean x) conj(y - mean y) / N.

    **Arguments:**

    - `x`, `y`: samples of one shape; `y` is `x` by default.
    - `sample_axis`: the axes of samples, all of them for `None`.
    - `event_axis`: neighbouring axes whose entries covary with each other; `None` for scalars.
    - `keepdims`: whether the axes of samples stay, of length 1.

    **Returns:** the shape of `x` without the samples and with the event axes twice, side by side.

    **Raises:** `ValueError` where the axes overlap, are not neighbours, or the shapes differ.
    """
    x = as_numbers(x)
    y = x if y is None else as_numbers(y)
    dtype = jnp.result_type(x, y)
    x, y = x.astype(dtype), y.astype(dtype)
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, got {x.shape} and {y.shape}")
    samples = as_axes(sample_axis, x.ndim)
    if event_axis is None:
        return _covariance(x, y, samples, (), keepdims)
    events = as_axes(event_axis, x.ndim)
    if set(events) & set(samples):
        raise ValueError(f"sample_axis {sample_axis} and event_axis {event_axis} overlap")
    if events != tuple(range(events[0], events[0] + len(events))):
        raise ValueError(f"event_axis must be neighbouring axes, got {event_axis}")
    return _covariance(x, y, samples, events, keepdims)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _covariance(x: Array, y: Array, samples: tuple[int, ...], events: tuple[int, ...], keepdims: bool) -> Array:
    x, y = center(x, samples), center(y, samples)
    if not events:
        return jnp.mean(x * jnp.conj(y), samples, keepdims=keepdims)
    batch = tuple(i for i in range(x.ndim) if i not in events and i not in samples)
    order = batch + events + samples
    shape = tuple(x.shape[i] for i in batch)
    event = tuple(x.shape[i] for i in events)
    x, y = (jnp.reshape(jnp.transpose(z, order), (*shape, math.prod(event), -1)) for z in (x, y))
    out = jnp.matmul(x, jnp.conj(jnp.swapaxes(y, -1, -2)), precision="highest") / x.shape[-1]
    out = jnp.reshape(out, (*shape, *event, *event))
    before, count = sum(i < events[0] for i in batch), 2 * len(events)
    out = jnp.moveaxis(out, range(len(batch), len(batch) + count), range(before, before + count))
    if keepdims:
        out = jnp.expand_dims(out, tuple(i if i < events[0] else i + len(events) for i in samples))
    return out


@checked
def variance(x: Numbers, sample_axis: Axis = 0, keepdims: bool = False) -> Array:
    """The variance of samples, with a divisor of N. **Arguments:** see `covariance`."""
    return jnp.real(covariance(x, None, sample_axis, None, keepdims))


@checked
def stddev(x: Numbers, sample_axis: Axis = 0, keepdims: bool = False) -> Array:
    """The standard deviation of samples, with a divisor of N. **Arguments:** see `covariance`."""
    return jnp.sqrt(variance(x, sample_axis, keepdims))


@checked
def correlation(
    x: Numbers, y: Numbers | None = None, sample_axis: Axis = 0, event_axis: Axis = -1, keepdims: bool = False
) -> Array:
    """Pearson's correlation of samples. **Arguments, returns, raises:** see `covariance`. NaN for constant samples."""

    def unit(z: Numeric) -> Array:
        z = as_numbers(z)
        centred = center(z, as_axes(sample_axis, z.ndim))
        return centred / stddev(centred, sample_axis, keepdims=True)

    return covariance(unit(x), None if y is None else unit(y), sample_axis, event_axis, keepdims)


@checked
def cholesky_covariance(x: Numbers, sample_axis: Axis = 0, keepdims: bool = False) -> Array:
    """The lower Cholesky factor of the covariance of vectors, those along the last axis."""
    return jnp.linalg.cholesky(covariance(x, None, sample_axis, -1, keepdims))


@checked
def cumulative_variance(x: Numeric, sample_axis: int = 0) -> Float[Array, "..."]:
    """The variances of the first sample, the first two, the first three, ..., each with its number as divisor."""
    x = jnp.moveaxis(promote(x), sample_axis, 0)
    return jnp.moveaxis(_cumulative_variance(x), 0, sample_axis)


@jax.jit
def _cumulative_variance(x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    x = x - x[:1]
    before = jnp.reshape(jnp.arange(x.shape[0], dtype=x.dtype), (-1, *[1] * (x.ndim - 1)))
    mean = (jnp.cumsum(x, 0) - x) / jnp.maximum(before, 1)
    squares = jnp.cumsum(before / (before + 1) * (x - mean) ** 2, 0)
    return squares / (before + 1)


@checked
def log_average_probs(
    logits: Numeric, sample_axis: Axis = 0, event_axis: Axis = None, keepdims: bool = False
) -> Float[Array, "..."]:
    """The log of the mean of the probabilities that `logits` stand for.

    **Arguments:** `event_axis`: of the categories; `None` for log-odds of yes against no. `sample_axis`: of the mean;
    `None` for all but the events.

    **Raises:** `ValueError` where the axes overlap.
    """
    logits = promote(logits)
    events = () if event_axis is None else as_axes(event_axis, logits.ndim)
    samples = as_axes(sample_axis, logits.ndim)
    samples = tuple(i for i in samples if i not in events) if sample_axis is None else samples
    if set(events) & set(samples):
        raise ValueError(f"sample_axis {sample_axis} and event_axis {event_axis} overlap")
    log_probs = jax.nn.log_sigmoid(logits) if event_axis is None else jax.nn.log_softmax(logits, events)
    return reduce_logmeanexp(log_probs, samples, keepdims)


@checked
def windowed_mean(
    x: Numeric, low_indices: Numeric | None = None, high_indices: Numeric | None = None, axis: int = 0
) -> Float[Array, "..."]:
    """The means of windows of samples along an axis, `x[low]` to `x[high - 1]`.

    Windows are put together from blocks of 1, 2, 4, ... samples: numbers outside of a window have no effect on it.

    **Arguments:** `high_indices`: 1, 2, ..., n by default; `low_indices`: half of them by default. They broadcast to
    one dimension; where `low` is above `high` the two are swapped.

    **Returns:** the shape of `x` with the windows along the axis; 0 for empty ones.
    """
    return _windows(x, low_indices, high_indices, axis)[0]


@checked
def windowed_variance(
    x: Numeric, low_indices: Numeric | None = None, high_indices: Numeric | None = None, axis: int = 0
) -> Float[Array, "..."]:
    """The variances of windows of samples, with their lengths as divisors. **Arguments:** see `windowed_mean`."""
    return _windows(x, low_indices, high_indices, axis)[1]


class _Part(NamedTuple):
    """The number of samples in some part, their mean and the sum of squares about it."""

    size: Array
    mean: Array
    squares: Array

    def merge(self, other: "_Part") -> "_Part":
        size = self.size + other.size
        share = other.size / jnp.maximum(size, 1)
        away = other.mean - self.mean
        return _Part(size, self.mean + share * away, self.squares + other.squares + self.size * share * away**2)


def _windows(x: Numeric, low: Any, high: Any, axis: int) -> tuple[Array, Array]:
    x = jnp.moveaxis(promote(x), axis, 0)
    n = x.shape[0]
    high = jnp.arange(1, n + 1) if high is None else jnp.asarray(high)
    low, high = jnp.broadcast_arrays(high // 2 if low is None else jnp.asarray(low), high)
    if low.ndim > 1:
        raise ValueError(f"the indices of windows must have one dimension, got shape {low.shape}")
    low, high = jnp.ravel(low), jnp.ravel(high)
    mean, variance = _window_moments(x, jnp.minimum(low, high), jnp.maximum(low, high))
    return jnp.moveaxis(mean, 0, axis), jnp.moveaxis(variance, 0, axis)


@jax.jit
def _window_moments(x: Array, low: Array, high: Array) -> tuple[Array, Array]:
    n = x.shape[0]
    shift = jnp.where(jnp.isfinite(x[:1]), x[:1], 0)
    x = x - shift
    leaves = 1 << max(n - 1, 0).bit_length()
    column = (-1, *[1] * (x.ndim - 1))
    pad = [(0, leaves - n)] + [(0, 0)] * (x.ndim - 1)
    count = jnp.reshape((jnp.arange(leaves) < n).astype(x.dtype), column)
    # A binary tree as a list: the children of node i are nodes 2 i and 2 i + 1, the root is node 1, and the samples are
    # the leaves at the end.
    layers = [_Part(count, jnp.pad(x, pad), jnp.zeros((leaves, *x.shape[1:]), x.dtype))]
    while layers[0].size.shape[0] > 1:
        left, right = (_Part(*(v[i::2] for v in layers[0])) for i in (0, 1))
        layers.insert(0, left.merge(right))
    tree = _Part(*(jnp.concatenate([v[:1], *vs]) for v, vs in zip(layers[0], zip(*layers))))

    def take(part: _Part, node: Int[Array, " k"], wanted: Array) -> _Part:
        wanted = jnp.reshape(wanted, column)
        new = part.merge(_Part(*(v[node] for v in tree)))
        return _Part(*(jnp.where(wanted, a, b) for a, b in zip(new, part)))

    def climb(_: Any, state: tuple[Array, Array, _Part]) -> tuple[Array, Array, _Part]:
        low, high, part = state
        part = take(part, low, (low < high) & (low % 2 == 1))
        low = low + low % 2
        part = take(part, high - 1, (low < high) & (high % 2 == 1))
        return low // 2, high // 2, part

    zeros = jnp.zeros((low.size, *x.shape[1:]), x.dtype)
    none = _Part(jnp.zeros((low.size, *column[1:]), x.dtype), zeros, zeros)
    start = low + leaves, high + leaves, none
    _, _, part = jax.lax.fori_loop(0, len(layers), climb, start)
    return jnp.where(part.size > 0, part.mean + shift, 0), part.squares / jnp.maximum(part.size, 1)


class MovingMeanVariance(NamedTuple):
    """An exponentially weighted mean and variance that started at 0, and after how many updates."""

    moving_mean: Array
    moving_variance: Array | None = None
    zero_debias_count: Array | None = None


@checked
def assign_moving_mean_variance(
    value: Numeric, moving_mean: Numeric, moving_variance: Numeric | None = None,
    zero_debias_count: Numeric | None = None, decay: Numeric = 0.99, axis: Axis = (),
) -> MovingMeanVariance:  # fmt: skip
    """One update of an exponentially weighted mean and variance.

        new_mean = decay * mean + (1 - decay) * value
        new_variance = decay * (variance + (1 - decay) * (value - mean)**2)

    Nothing is assigned: the function returns the new state. Where TFP returns debiased numbers, pass the result to
    `moving_mean_variance_zero_debiased`.

    **Arguments:** `value`: averaged over `axis`, by default none, `None` for all; `moving_mean`, `moving_variance`,
    `zero_debias_count`: the state so far, zeros at the start; with a count the variance is about the debiased mean.

    **Returns:** the state after it, with None for what was None.
    """
    mean = promote(moving_mean)
    value, decay = cast(value, mean.dtype), cast(decay, mean.dtype)
    axes = as_axes(axis, value.ndim)
    new_mean = mean + (1 - decay) * (jnp.mean(value, axes) - mean)
    count = None if zero_debias_count is None else jnp.asarray(zero_debias_count) + 1
    if moving_variance is None:
        return MovingMeanVariance(new_mean, None, count)
    if zero_debias_count is not None:
        mean = mean / _bias(zero_debias_count, decay)
    squares = jnp.mean((value - jnp.expand_dims(mean, axes)) ** 2, axes)
    old = cast(moving_variance, mean.dtype)
    return MovingMeanVariance(new_mean, old + (1 - decay) * (decay * squares - old), count)


@checked
def moving_mean_variance_zero_debiased(
    moving_mean: Numeric, moving_variance: Numeric | None = None, zero_debias_count: Numeric | None = None,
    decay: Numeric = 0.99,
) -> Any:  # fmt: skip
    """The mean, or the mean and variance, without the weight of the zeros at the start.

    **Raises:** `ValueError` without a `zero_debias_count`, the number of updates.
    """
    if zero_debias_count is None:
        raise ValueError("moving_mean_variance_zero_debiased needs the zero_debias_count")
    mean = promote(moving_mean)
    bias = _bias(zero_debias_count, cast(decay, mean.dtype))
    return mean / bias if moving_variance is None else (mean / bias, cast(moving_variance, mean.dtype) / bias)


def _bias(count: Numeric, decay: Array) -> Array:
    """What the weights of `count` updates add up to, 1 before the first."""
    t = jnp.asarray(count).astype(decay.dtype)
    return jnp.where(t > 0, -jnp.expm1(jnp.where(t > 0, t, 1) * jnp.log(decay)), 1)


@checked
def assign_log_moving_mean_exp(
    log_value: Numeric, moving_log_mean_exp: Numeric, zero_debias_count: None = None, decay: Numeric = 0.99
) -> Float[Array, "..."]:
    """One update of the log of an exponentially weighted mean: log(decay exp(mean) + (1 - decay) exp(value)).

    **Returns:** the new log mean; nothing is assigned. **Raises:** `NotImplementedError` for a `zero_debias_count`,
    as in TFP.
    """
    if zero_debias_count is not None:
        raise NotImplementedError("assign_log_moving_mean_exp takes no zero_debias_count")
    mean = promote(moving_log_mean_exp)
    value, decay = cast(log_value, mean.dtype), cast(decay, mean.dtype)
    return jnp.logaddexp(mean + jnp.log(decay), value + jnp.log1p(-decay))
