"""Schedules of warm-up windows, and the metrics that are learnt from draws and gradients at their ends."""

import abc
import math
from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distrax_like._arguments import CheckedModule, PositiveInt
from distrax_like._misc import Checked, check_range

from ._metric import DenseMetric, DiagonalMetric, LowRankMetric, Metric

# Up to this many coordinates the metric is a full matrix, with which a product costs less than with a useful number of
# directions.
_MAX_DENSE_SIZE = 128
# With more coordinates the eigenvectors are computed in the span of this many draws and gradients.
_SPAN_SIZE = 128


_Positive = Annotated[float, Checked(lambda x, who: check_range(x, who, above=0))]
_AboveOne = Annotated[float, Checked(lambda x, who: check_range(x, who, above=1))]


def _check_accept(x: object, who: str) -> None:
    if x is not None:
        check_range(x, who, above=0, below=1)


_Accept = Annotated[float | None, Checked(_check_accept)]


class Adaptation(CheckedModule):
    """How `sample` warms up a Hamiltonian kernel.

    In each window every chain adapts its step size by dual averaging. At the end of the window the median of the
    chains' averages becomes the step size of all chains, and a metric is estimated from the draws of all chains in the
    window. All chains share what is learnt, so many chains need few transitions. Chains whose density still rises, or
    is far below that of the others, are left out and keep a step size of their own. Those that do not even rise are
    moved to a fresh start.

    A subclass gives the lengths of the windows and estimates the metric, in plain NumPy and double precision.

    - `target_accept_prob`: the acceptance rate to reach. `None`: 0.8, raised up to 0.98 where so many transitions are
      all but rejected that the tails of the target would be missed.
    - `exploration_shrinkage`: how strongly dual averaging is drawn to the step size that a window starts with.
    - `settling_share`: the largest share of the transitions that goes into settling windows. These come first, have ten
      transitions each, and end once the log density of most chains no longer rises by more than the square root of the
      number of coordinates. No metric is estimated before, since one from chains that have not converged is worse than
      none.
    """

    target_accept_prob: eqx.AbstractVar[float | None]
    exploration_shrinkage: eqx.AbstractVar[float]
    settling_share: eqx.AbstractVar[float]

    @abc.abstractmethod
    def windows(self, num_warmup: int) -> list[tuple[int, bool]]:
        """The lengths of the windows, which sum to `num_warmup`, and whether a metric is estimated after each."""

    @abc.abstractmethod
    def metric(self, draws: Float[np.ndarray, "n d"], grads: Float[np.ndarray, "n d"]) -> Metric:
        """The metric from finite draws and finite gradients of the log density there."""

    @abc.abstractmethod
    def initial_metric(self, size: int) -> Metric:
        """The metric of the first window, of the same structure as the later ones."""


class StanAdaptation(Adaptation):
    """Stan's warm-up: windows that double in length, and the variances or the covariance of the draws as metric.

    The covariance S is shrunk to n / (n + 5) S + 1e-3 · 5 / (n + 5) I. In a warm-up of 1000 transitions the first 75
    find the typical set, the windows end at 100, 150, 250, 450 and 950, and the last 50 tune the step size. Warm-ups of
    fewer than 150 transitions are divided in proportion.

    **Arguments:** `dense`: whether to learn a full covariance; `target_accept_prob`: the acceptance rate to reach.
    """

    dense: bool = eqx.field(static=True, default=False)
    target_accept_prob: _Accept = eqx.field(static=True, default=0.8)
    exploration_shrinkage: _Positive = eqx.field(static=True, default=0.05)
    settling_share: float = eqx.field(static=True, default=0.0)

    def windows(self, num_warmup: int) -> list[tuple[int, bool]]:
        first, base, last = 75, 25, 50
        if num_warmup < 20:
            return [(num_warmup, False)] if num_warmup else []
        if first + base + last > num_warmup:
            first, last = int(0.15 * num_warmup), int(0.1 * num_warmup)
            base = num_warmup - first - last
        out, start, end = [(first, False)], first, num_warmup - last
        while start < end:
            length = base if start + 3 * base <= end else end - start
            out.append((length, True))
            start, base = start + length, 2 * base
        return [*out, (last, False)]

    def metric(self, draws: Float[np.ndarray, "n d"], grads: Float[np.ndarray, "n d"]) -> Metric:
        n, d = draws.shape
        share, floor = n / (n + 5), 1e-3 * 5 / (n + 5)
        if not self.dense:
            return _diagonal(np.sqrt(share * np.var(draws, axis=0, ddof=1) + floor))
        covariance = share * np.cov(draws, rowvar=False).reshape(d, d) + floor * np.eye(d)
        scale = np.sqrt(np.diagonal(covariance))
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        return _correlated(scale, vectors, values, dense=True)

    def initial_metric(self, size: int) -> Metric:
        none = np.zeros((size, 0)), np.ones(0)
        return _correlated(np.ones(size), *none, dense=True) if self.dense else _diagonal(np.ones(size))


class FisherAdaptation(Adaptation):
    r"""Learns the metric in which draws and gradients have the same covariance.

    It minimises the Fisher divergence between the target and a normal distribution; for a normal target it is exact as
    soon as the draws span the space. The scales are $(\mathrm{var}\,x_i / \mathrm{var}\,g_i)^{1/4}$. In those units
    C is the geometric mean of two matrices: the covariance of the draws, and the inverse of the covariance of the
    gradients, each covariance with a small multiple of the identity added. Eigenvalues of C within a factor of `cutoff`
    of 1 are set to 1 (Seyboldt, Carlson and Carpenter, 2026). The windows grow by a factor of 1.5 from 10 transitions
    on, and the last 15 % of the transitions tune the step size.

    **Arguments:**

    - `low_rank`: whether to learn correlations as well as scales.
    - `max_rank`: the largest number of eigenvectors of C for a state of more than 128 coordinates; for smaller states
      there is no limit.
    - `cutoff`: see above.
    - `target_accept_prob`: the acceptance rate to reach; `None`: see `Adaptation`.
    """

    low_rank: bool = eqx.field(static=True, default=True)
    max_rank: PositiveInt = eqx.field(static=True, default=32)
    cutoff: _AboveOne = eqx.field(static=True, default=1.25)
    target_accept_prob: _Accept = eqx.field(static=True, default=None)
    exploration_shrinkage: _Positive = eqx.field(static=True, default=0.2)
    settling_share: float = eqx.field(static=True, default=0.3)

    def windows(self, num_warmup: int) -> list[tuple[int, bool]]:
        last = math.ceil(0.15 * num_warmup)
        out, length, left = [], 10, num_warmup - last
        while left > 0:
            # All that is left, if the window after this one would be shorter than this one.
            length = left if left < 2.5 * length else length
            out.append((length, True))
            left, length = left - length, int(1.5 * length)
        return [*out, (last, False)] if num_warmup else []

    def metric(self, draws: Float[np.ndarray, "n d"], grads: Float[np.ndarray, "n d"]) -> Metric:
        x, g = draws - draws.mean(0), grads - grads.mean(0)
        spread = [np.mean(z**2, axis=0) for z in (x, g)]
        scale = (np.clip(spread[0], 1e-40, 1e40) / np.clip(spread[1], 1e-40, 1e40)) ** 0.25
        if not self.low_rank:
            return _diagonal(scale)
        x, g = x / scale, g * scale
        n, d = x.shape
        basis = np.eye(d)
        if d > _MAX_DENSE_SIZE and d > 2 * _SPAN_SIZE:
            rows = np.linspace(0, n - 1, min(n, _SPAN_SIZE)).astype(int)
            basis = np.linalg.qr(np.concatenate([x[rows], g[rows]]).T)[0]
            x, g = x @ basis, g @ basis
        values, vectors = np.linalg.eigh(_geometric_mean(x, g))
        values = np.clip(values, 1e-8, 1e8)
        strength = np.abs(np.log(values))
        kept = np.argsort(-strength)[: d if d <= _MAX_DENSE_SIZE else self.max_rank]
        kept = kept[strength[kept] > math.log(self.cutoff)]
        return _correlated(scale, basis @ vectors[:, kept], values[kept], d <= _MAX_DENSE_SIZE, self.max_rank)

    def initial_metric(self, size: int) -> Metric:
        if not self.low_rank:
            return _diagonal(np.ones(size))
        none = np.zeros((size, 0)), np.ones(0)
        return _correlated(np.ones(size), *none, size <= _MAX_DENSE_SIZE, self.max_rank)


def _geometric_mean(x: Float[np.ndarray, "n d"], g: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """The positive definite Σ with Σ cov(g) Σ = cov(x)."""
    ridge = 1e-5 * np.eye(x.shape[1])
    a, b = (z.T @ z / len(z) + ridge for z in (x, g))
    values, vectors = np.linalg.eigh(b)
    # Rounding may make an eigenvalue negative in a direction in which the gradients hardly vary.
    root = np.sqrt(np.maximum(values, 1e-5))
    inner, rotation = np.linalg.eigh((vectors.T @ a @ vectors) * root[:, None] * root)
    half = vectors / root @ rotation * np.maximum(inner, 0) ** 0.25
    return half @ half.T


def _diagonal(scale: Float[np.ndarray, " d"]) -> Metric:
    return DiagonalMetric(np.asarray(scale, jnp.result_type(float)))


def _correlated(
    scale: Float[np.ndarray, " d"],
    vectors: Float[np.ndarray, "d r"],
    values: Float[np.ndarray, " r"],
    dense: bool,
    max_rank: int = 0,
) -> Metric:
    """C = I + U (diag(values) - I) Uᵀ, as a full matrix or as at most `max_rank` eigenvectors."""
    dtype, (d, r) = jnp.result_type(float), vectors.shape
    if dense:
        covariance, factor = (np.eye(d) + (vectors * (values**k - 1)) @ vectors.T for k in (1, -0.5))
        return DenseMetric(*(np.asarray(z, dtype) for z in (scale, covariance, factor)))
    max_rank = min(max_rank, d)
    padded = np.concatenate([vectors, np.zeros((d, max_rank - r))], axis=1)
    values = np.concatenate([values, np.ones(max_rank - r)])
    return LowRankMetric(*(np.asarray(z, dtype) for z in (scale, padded, values)))
