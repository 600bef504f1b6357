"""Percentiles, bins, histograms, and statistics of ranks."""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Checked, Numeric, check_range, promote

from ._arrays import Axis, as_axes, flatten_axes

Percentage = Annotated[Numeric, Checked(lambda x, who: check_range(x, who, least=0, most=100))]

_INTERPOLATIONS = ("nearest", "linear", "lower", "higher", "midpoint")


@checked
def percentile(
    x: Numeric, q: Percentage, axis: Axis = None, interpolation: str | None = None, keepdims: bool = False,
    preserve_gradients: bool = True,
) -> Array:  # fmt: skip
    """The q-th percentile of `x` over some axes, all by default.

    **Arguments:**

    - `q`: from 0 to 100, a number or several in one dimension.
    - `interpolation`: where it lies between two entries: `"nearest"` (by default), `"lower"`, `"higher"`,
        `"midpoint"` or `"linear"`.
    - `preserve_gradients`: whether `"linear"` has a slope in `q` also where it meets an entry.

    **Returns:** the dimensions of `q`, then `x` without the axes. NaN where a NaN is among the entries.

    **Raises:** `ValueError` for an unknown interpolation; `TypeError` for a mean of integers.
    """
    x = jnp.asarray(x)
    if not isinstance(q, Tracer):
        # If it is known, in double precision on the host, since an index must not be one off.
        q = np.asarray(q, dtype=float)
    if np.ndim(q) > 1:
        raise ValueError(f"percentile: q must have at most one dimension, got shape {np.shape(q)}")
    size = int(np.prod([x.shape[i] for i in as_axes(axis, x.ndim)]))
    return _at(x, (size - 1) * q / 100, axis, interpolation, keepdims, preserve_gradients)


@checked
def quantiles(
    x: Numeric, num_quantiles: PositiveInt, axis: Axis = None, interpolation: str | None = None, keepdims: bool = False
) -> Array:
    """The `num_quantiles + 1` points that cut `x` into parts with equal numbers, minimum and maximum included.

    **Arguments, raises:** see `percentile`. **Returns:** the points, then `x` without the axes.
    """
    x = jnp.asarray(x)
    size = int(np.prod([x.shape[i] for i in as_axes(axis, x.ndim)]))
    positions = np.arange(num_quantiles + 1) * (size - 1) / num_quantiles
    return _at(x, positions, axis, interpolation, keepdims, False)


def _at(x: Array, position: Any, axis: Axis, interpolation: str | None, keepdims: bool, separate: bool) -> Array:
    """The entry at a position among the sorted ones."""
    interpolation = interpolation or "nearest"
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}")
    integer = not jnp.issubdtype(x.dtype, jnp.floating)
    if integer and interpolation in ("linear", "midpoint"):
        raise TypeError(f"{interpolation!r} interpolation needs floats, got dtype {x.dtype}")
    axes = as_axes(axis, x.ndim)
    entries = flatten_axes(x, axes)
    if not len(entries):
        raise ValueError(f"quantiles need at least one entry along the axes, got shape {x.shape}")
    ordered, last = jnp.sort(entries, 0), entries.shape[0] - 1
    xnp: Any = np if isinstance(position, np.ndarray) else jnp

    def index(p: Any) -> Any:
        return xnp.clip(p, 0, last).astype(int)

    if interpolation == "nearest":
        out = ordered[index(xnp.round(position))]
    else:
        low, high = index(xnp.floor(position)), index(xnp.ceil(position))
        if separate and interpolation == "linear":
            low = xnp.maximum(high - 1, 0)
            high = xnp.minimum(low + 1, last)
        share = {"lower": 0.0, "higher": 1.0, "midpoint": 0.5, "linear": position - low}[interpolation]
        share = jnp.asarray(share, None if integer else x.dtype)
        share = jnp.reshape(share, share.shape + (1,) * (ordered.ndim - 1))
        a, b = ordered[low], ordered[high]
        if interpolation in ("lower", "higher"):
            out = a if interpolation == "lower" else b
        else:
            # Equal neighbours may be infinite.
            out = jnp.where(a == b, a, a * (1 - share) + b * share)
    if not integer:
        out = jnp.where(jnp.any(jnp.isnan(entries), 0), jnp.nan, out)
    ndim = np.ndim(position)
    return jnp.expand_dims(out, tuple(i + ndim for i in axes)) if keepdims else out


@checked
def find_bins(
    x: Numeric, edges: Numeric, extend_lower_interval: bool = False, extend_upper_interval: bool = False,
    dtype: Any = None,
) -> Array:  # fmt: skip
    """Which interval each entry of `x` lies in: k where `edges[k] <= x < edges[k + 1]`, the last one closed.

    **Arguments:**

    - `edges`: ascending along the first axis, at least two; of one dimension, or with the trailing ones of `x`.
    - `extend_lower_interval`, `extend_upper_interval`: whether the first and last interval have no outer end.
    - `dtype`: of the result, by default that of `x`.

    **Returns:** the shape of `x`. Outside of all intervals NaN, for an integer dtype -1 below and the number of
    intervals above; for a NaN, NaN or 0.
    """
    x, edges = promote(x, edges)
    if edges.shape[0] < 2:
        raise ValueError(f"edges must have at least two entries along the first axis, got shape {edges.shape}")
    if edges.ndim > 1 and edges.shape[1:] != x.shape[1:]:
        raise ValueError(f"edges of shape {edges.shape} do not fit x of shape {x.shape} behind the first axis")
    return _bins(x, edges, extend_lower_interval, extend_upper_interval, x.dtype if dtype is None else jnp.dtype(dtype))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _bins(x: Array, edges: Array, extend_lower_interval: bool, extend_upper_interval: bool, dtype: Any) -> Array:
    floating, intervals = jnp.issubdtype(dtype, jnp.floating), edges.shape[0] - 1
    if edges.ndim == 1:
        found = jnp.searchsorted(edges, x, side="right")
    else:
        columns = (jnp.reshape(v, (v.shape[0], -1)) for v in (edges, x))
        found = jax.vmap(lambda e, v: jnp.searchsorted(e, v, side="right"), 1, 1)(*columns)
        found = jnp.reshape(found, x.shape)
    bins = jnp.clip(found - 1, 0, intervals - 1).astype(dtype)
    if not extend_lower_interval:
        bins = jnp.where(x < edges[0], jnp.asarray(jnp.nan if floating else -1, dtype), bins)
    if not extend_upper_interval:
        bins = jnp.where(x > edges[-1], jnp.asarray(jnp.nan if floating else intervals, dtype), bins)
    return jnp.where(jnp.isnan(x), jnp.asarray(jnp.nan if floating else 0, dtype), bins)


@checked
def count_integers(
    arr: Numeric, weights: Numeric | None = None, minlength: int | None = None, maxlength: int | None = None,
    axis: Axis = None, dtype: Any = jnp.int32,
) -> Array:  # fmt: skip
    """How often each of 0, 1, 2, ... occurs in `arr`, along some axes, all by default.

    **Arguments:**

    - `arr`: integers; negative ones are not counted. `weights`: of its shape: what each counts for.
    - `minlength`, `maxlength`: bounds on how many numbers are counted, by default up to the largest. Where `arr` is
        traced, `maxlength` is needed and is how many.
    - `dtype`: of the counts, where there are no weights.

    **Returns:** the counts along the first axis, then `arr` without the axes.
    """
    arr = jnp.asarray(arr)
    if not isinstance(arr, Tracer):
        size = max(int(np.max(np.asarray(arr))) + 1 if arr.size else 0, minlength or 0)
        size = size if maxlength is None else min(size, maxlength)
    elif maxlength is None:
        raise ValueError("count_integers needs a maxlength where the integers are traced")
    else:
        size = maxlength
    axes = as_axes(axis, arr.ndim)
    numbers = flatten_axes(arr, axes)
    if weights is None:
        amounts: Any = jnp.ones((), dtype)
    else:
        weights = jnp.asarray(weights)
        if weights.shape != arr.shape:
            raise ValueError(f"weights must have the shape {arr.shape} of arr, got {weights.shape}")
        amounts = flatten_axes(weights, axes)
    return _count(numbers, amounts, size)


@functools.partial(jax.jit, static_argnums=2)
def _count(numbers: Array, amounts: Array, size: int) -> Array:
    # Out of range is dropped, and negative indices would count from the end.
    where = jnp.where(numbers < 0, size, numbers)
    rest = jnp.meshgrid(*(jnp.arange(n) for n in numbers.shape[1:]), indexing="ij")
    return jnp.zeros((size, *numbers.shape[1:]), amounts.dtype).at[(where, *rest)].add(amounts, mode="drop")


@checked
def histogram(
    x: Numeric, edges: Numeric, axis: Axis = None, weights: Numeric | None = None,
    extend_lower_interval: bool = False, extend_upper_interval: bool = False, dtype: Any = None,
) -> Array:  # fmt: skip
    """How many entries of `x` lie in each interval between `edges`, along some axes, all by default.

    **Arguments:** see `find_bins`; `edges` of more dimensions have those of `x` without the axes. `weights`: of the
    shape of `x`: what each entry counts for. `dtype`: of the counts, by default that of `x`.

    **Returns:** the intervals along the first axis, then `x` without the axes. Entries in no interval, and NaN, are not
    counted.
    """
    given: Any = promote(x, edges, weights)
    numbers, limits, amounts = given
    axes = as_axes(axis, numbers.ndim)
    if amounts is not None:
        if amounts.shape != numbers.shape:
            raise ValueError(f"weights must have the shape {numbers.shape} of x, got {amounts.shape}")
        amounts = flatten_axes(amounts, axes)
    entries, intervals = flatten_axes(numbers, axes), limits.shape[0] - 1
    bins = find_bins(entries, limits, extend_lower_interval, extend_upper_interval, jnp.int32)
    bins = jnp.where(jnp.isnan(entries), -1, bins)
    # Counted as integers: floats stop at 2^24.
    counts = count_integers(bins, amounts, intervals, intervals, 0)
    return counts.astype(numbers.dtype if dtype is None else dtype)


@checked
def kendalls_tau(y_true: Numeric, y_pred: Numeric) -> Float[Array, ""]:
    """Kendall's rank correlation of two vectors, tau-b: ties count for neither side.

    In O(n log² n): pairs in the wrong order are counted bit by bit of the ranks. NaN where all of one are equal.

    M. Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945).
    """
    x, y = promote(y_true, y_pred)
    if x.ndim != 1 or x.shape != y.shape or x.size < 2:
        raise ValueError(f"kendalls_tau takes two vectors of one length of at least 2, got {x.shape} and {y.shape}")
    return _tau(x, y)


@jax.jit
def _tau(x: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, ""]:
    n = x.size
    xs, ys = jax.lax.sort((x, y), num_keys=2)
    ordered, origin = jax.lax.sort((ys, jnp.arange(n)), num_keys=1)
    dense = jnp.cumsum(jnp.concatenate([jnp.zeros(1, int), (ordered[1:] != ordered[:-1]).astype(int)]))
    _, ranks = jax.lax.sort((origin, dense), num_keys=1)
    pairs = n * (n - 1) / 2

    def ties(differs: Array) -> Array:
        start = jnp.concatenate([jnp.zeros(1, int), jnp.where(differs, jnp.arange(1, n), 0)])
        earlier = jnp.arange(n) - jax.lax.cummax(start)
        return jnp.sum(earlier.astype(x.dtype)) / pairs

    dx, dy = xs[1:] != xs[:-1], ordered[1:] != ordered[:-1]
    in_x, in_y, in_both = ties(dx), ties(dy), ties(dx | (ys[1:] != ys[:-1]))
    concordance = 1 - in_x - in_y + in_both - 2 * _inversions(ranks, n).astype(x.dtype) / pairs
    tau = concordance / jnp.sqrt((1 - in_x) * (1 - in_y))
    known = jnp.any(dx) & jnp.any(dy) & ~jnp.any(jnp.isnan(x) | jnp.isnan(y))
    return jnp.where(known, jnp.clip(tau, -1, 1), jnp.nan)


def _inversions(ranks: Array, n: int) -> Array:
    """How many pairs of whole numbers below n stand in the wrong order, as a float."""
    bits = max(n - 1, 1).bit_length()
    index = jnp.arange(n)

    def step(i: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        numbers, total = state
        bit = bits - 1 - i
        # Numbers that agree above this bit are neighbours, in their original order.
        one, group = (numbers >> bit) & 1, numbers >> (bit + 1)
        begins = jnp.concatenate([jnp.ones(1, bool), group[1:] != group[:-1]])
        start = jax.lax.cummax(jnp.where(begins, index, 0))
        ones = jnp.cumsum(one) - one
        earlier = ones - ones[start]
        total = total + jnp.sum(jnp.where(one == 0, earlier, 0).astype(total.dtype))
        return jax.lax.sort((numbers >> bit, numbers), num_keys=1, is_stable=True)[1], total

    return jax.lax.fori_loop(0, bits, step, (ranks, jnp.zeros(())))[1]


@checked
def quantile_auc(q0: Numeric, n0: Numeric, q1: Numeric, n1: Numeric, curve: str = "ROC") -> Float[Array, "..."]:
    """The area under the ROC or the precision-recall curve, from quantiles of the scores of either class.

    Between neighbouring quantiles the scores are taken for uniform, equal quantiles for an atom; ties count half.

    **Arguments:** `q0`, `q1`: quantiles of the scores of negatives and positives along the last axis, minimum and
    maximum included, their batch dimensions the same; `n0`, `n1`: how many of each; `curve`: `"ROC"` or `"PR"`.
    """
    if curve not in ("ROC", "PR"):
        raise ValueError(f"curve must be 'ROC' or 'PR', got {curve!r}")
    return _batched_auc(curve, *promote(q0, n0, q1, n1))


@functools.partial(jax.jit, static_argnums=0)
def _batched_auc(curve: str, *args: Array) -> Array:
    return jnp.vectorize(functools.partial(_auc, curve), signature="(a),(),(b),()->()")(*args)


def _auc(curve: str, q0: Array, n0: Array, q1: Array, n1: Array) -> Array:
    knots = jnp.sort(jnp.concatenate([q0, q1]))[::-1]
    new = jnp.concatenate([jnp.ones(1, bool), knots[1:] != knots[:-1]])

    def masses(q: Array) -> Array:
        """What lies at each knot, and from there down to the next, one after the other."""
        below, upto = _cdf(q, knots, "left"), _cdf(q, knots, "right")
        atoms, gaps = upto - below, jnp.append(below[:-1] - upto[1:], 0)
        return jnp.ravel(jnp.stack([jnp.where(new, atoms, 0), jnp.maximum(gaps, 0)], 1))

    d0, d1 = masses(q0), masses(q1)
    p0, p1 = jnp.cumsum(d0) - d0, jnp.cumsum(d1) - d1
    if curve == "ROC":
        return jnp.sum(d0 * (p1 + d1 / 2))
    above, more = n0 * p0 + n1 * p1, n0 * d0 + n1 * d1
    some = more > 0
    more, begun = jnp.where(some, more, 1), above > 0
    above = jnp.where(begun, above, 1)
    # The integral of n1 (p1 + s d1) / (above + s more) over s from 0 to 1.
    later = d1 / more + (p1 * more - d1 * above) / more**2 * jnp.log1p(more / above)
    return jnp.sum(jnp.where(some, n1 * d1 * jnp.where(begun, later, d1 / more), 0))


def _cdf(q: Array, t: Array, side: str) -> Array:
    """The piecewise linear distribution function with quantiles q, from the left or right."""
    last = q.shape[0] - 1
    i = jnp.searchsorted(q, t, side=side)
    high = jnp.clip(i, 1, last)
    width = q[high] - q[high - 1]
    inside = (high - 1 + jnp.where(width > 0, (t - q[high - 1]) / jnp.where(width > 0, width, 1), 1)) / last
    return jnp.where(i == 0, 0, jnp.where(i > last, 1, inside))
