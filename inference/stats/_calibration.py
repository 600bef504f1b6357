"""How well predicted probabilities agree with outcomes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Numeric, promote

from ._quantiles import quantiles


class BrierDecomposition(NamedTuple):
    """The Brier score is `uncertainty - resolution + reliability`."""

    uncertainty: Float[Array, "..."]
    resolution: Float[Array, "..."]
    reliability: Float[Array, "..."]


@checked
def brier_score(labels: Numeric, logits: Numeric) -> Float[Array, "..."]:
    """Σ_i p_i² - 2 p_label of each prediction: smaller is better, and least on average for true probabilities.

    **Arguments:** `labels`: integers; `logits`: with the classes along one axis more. **Returns:** the shape of
    `labels`.
    """
    return _score(jnp.asarray(labels), promote(logits))


@jax.jit
def _score(labels: Array, logits: Array) -> Array:
    probs = jax.nn.softmax(logits, -1)
    chosen = jnp.sum(jnp.where(labels[..., None] == jnp.arange(probs.shape[-1]), probs, 0), -1)
    return jnp.sum(probs**2, -1) - 2 * chosen


@checked
def brier_decomposition(labels: Numeric, logits: Numeric) -> BrierDecomposition:
    """The parts of the mean Brier score, with predictions put together by their likeliest class.

    Uncertainty is that of the labels alone; resolution, how far the labels of the groups differ from those of all;
    reliability, how far predictions are from the labels of their group. Up to O(classes / n) they add up to the score.

    **Arguments:** `labels`: integers of shape `(..., n)`; `logits`: of shape `(..., n, classes)`.

    J. Bröcker, Reliability, sufficiency, and the decomposition of proper scores (2009).
    """
    return _decomposition(jnp.asarray(labels), promote(logits))


@jax.jit
def _decomposition(labels: Array, logits: Array) -> BrierDecomposition:
    classes = jnp.arange(logits.shape[-1])
    probs = jax.nn.softmax(logits, -1)
    group = (jnp.argmax(logits, -1)[..., None] == classes).astype(logits.dtype)
    label = (labels[..., None] == classes).astype(logits.dtype)
    table = jnp.einsum("...ng,...nc->...gc", group, label, precision="highest")
    sizes = jnp.sum(table, -1, keepdims=True)
    n = logits.shape[-2]
    overall = jnp.sum(table, -2) / n
    inside = table / jnp.maximum(sizes, 1)
    resolution = jnp.sum(sizes / n * (overall[..., None, :] - inside) ** 2, (-2, -1))
    observed = jnp.einsum("...ng,...gc->...nc", group, inside, precision="highest")
    return BrierDecomposition(-jnp.sum(overall**2, -1), resolution, jnp.mean(jnp.sum((probs - observed) ** 2, -1), -1))


@checked
def expected_calibration_error(
    num_bins: PositiveInt, logits: Numeric | None = None, labels_true: Numeric | None = None,
    labels_predicted: Numeric | None = None,
) -> Float[Array, ""]:  # fmt: skip
    """The mean distance between predicted probabilities and frequencies of correct predictions, by bins.

    **Arguments:** `num_bins`: of equal width from 0 to 1; `logits`: shape `(n, classes)`; `labels_true`,
    `labels_predicted`: shape `(n,)`; predicted is the likeliest class by default.

    C. Guo and others, On calibration of modern neural networks (2017).
    """
    if logits is None or labels_true is None:
        raise ValueError("expected_calibration_error needs logits and labels_true")
    predicted = None if labels_predicted is None else jnp.asarray(labels_predicted)
    return _calibration_error(num_bins, promote(logits), jnp.asarray(labels_true), predicted)


@functools.partial(jax.jit, static_argnums=0)
def _calibration_error(num_bins: int, logits: Array, truth: Array, predicted: Array | None) -> Array:
    decided = jnp.argmax(logits, -1) if predicted is None else predicted
    prob = jnp.take_along_axis(jax.nn.softmax(logits, -1), decided[:, None], -1)[:, 0]
    bins = jnp.clip(jnp.floor(prob * num_bins).astype(jnp.int32), 0, num_bins - 1)
    right = (decided == truth).astype(prob.dtype)
    # |Σ right - Σ prob| of each bin is its share times the distance of the means.
    gaps = jnp.zeros(num_bins, prob.dtype).at[bins].add(right - prob)
    return jnp.sum(jnp.abs(gaps)) / prob.shape[0]


class CalibrationQuantiles(NamedTuple):
    """The expected calibration error, and of each bucket accuracy, confidence, count and edges; the bucket of each."""

    ece: Float[Array, "..."]
    bucket_accuracy: Float[Array, "buckets ..."]
    bucket_confidence: Float[Array, "buckets ..."]
    bucket_count: Float[Array, "buckets ..."]
    bucket_pred_log_prob: Float[Array, "edges ..."]
    bucket: Int[Array, "..."]


@checked
def expected_calibration_error_quantiles(
    hit: Numeric, pred_log_prob: Numeric, num_buckets: PositiveInt = 20, axis: int = 0, log_space_buckets: bool = False
) -> CalibrationQuantiles:
    """The expected calibration error with buckets of equal numbers of predictions.

    **Arguments:**

    - `hit`: whether the prediction came true; `pred_log_prob`: the log of its probability. They broadcast.
    - `num_buckets`: how many; `axis`: of the predictions.
    - `log_space_buckets`: whether the edges are quantiles of logs rather than of probabilities.
    """
    return _calibration_quantiles(jnp.asarray(hit), promote(pred_log_prob), num_buckets, axis, log_space_buckets)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _calibration_quantiles(
    hit: Array, log_prob: Array, num_buckets: int, axis: int, log_space_buckets: bool
) -> CalibrationQuantiles:
    hits, log_prob = jnp.broadcast_arrays(hit.astype(log_prob.dtype), log_prob)
    hits, log_prob = jnp.moveaxis(hits, axis, 0), jnp.moveaxis(log_prob, axis, 0)
    if log_space_buckets:
        edges = quantiles(log_prob, num_buckets, axis=0)
    else:
        edges = jnp.log(quantiles(jnp.exp(log_prob), num_buckets, axis=0))
    # The last bucket contains its upper end. Rounding of logarithm and exponential may have moved the first edge up.
    bucket = jnp.sum(log_prob[:, None] >= edges[1:-1][None], 1)
    numbers = jnp.reshape(jnp.arange(num_buckets), (-1, *[1] * log_prob.ndim))
    inside = bucket[None] == numbers
    count = jnp.sum(inside.astype(log_prob.dtype), 1)
    each = jnp.maximum(count, 1)
    accuracy = jnp.sum(jnp.where(inside, hits, 0), 1) / each
    confidence = jnp.sum(jnp.where(inside, jnp.exp(log_prob), 0), 1) / each
    error = jnp.sum(count * jnp.abs(accuracy - confidence), 0) / log_prob.shape[0]
    return CalibrationQuantiles(error, accuracy, confidence, count, edges, jnp.moveaxis(bucket, 0, axis))
