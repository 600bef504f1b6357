"""Warm-up: windows in which the chains move, and between which step size and metric are learnt from all of them."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._hamiltonian import energy_drop, hamiltonian
from ._metric import DenseMetric, DiagonalMetric, LowRankMetric, Metric

# Up to this many coordinates a product with a full matrix costs less than with a useful number of directions.
_DENSE_UP_TO = 128
# Above it the eigenvectors are sought in the span of this many draws and gradients.
_SPAN = 128


class Adaptation(eqx.Module):
    """How `sample` warms up a Hamiltonian kernel.

    Within a window every chain moves its step size by dual averaging. At its end the median of their averages becomes
    the step size of all, and a metric is made of the draws of all chains in the window: what is learnt is common to
    all, so many chains need few transitions. Chains that lie far below the others in density have no part in it.

    A subclass says when windows end and what metric to make; it is plain NumPy in double precision.

    - `target_accept_prob`: the acceptance rate to reach.
    - `exploration_shrinkage`: how firmly dual averaging holds on to the step size that a window starts with.
    - `settling_share`: up to this share of the transitions goes into windows of ten from which no metric is made, while
      the log density of most chains still rises by more than the square root of the number of coordinates. Metrics made
      of chains on their way are worse than none.
    """

    target_accept_prob: eqx.AbstractVar[float]
    exploration_shrinkage: eqx.AbstractVar[float]
    settling_share: eqx.AbstractVar[float]

    @abc.abstractmethod
    def windows(self, num_warmup: int) -> list[tuple[int, bool]]:
        """The lengths of the windows, which sum to `num_warmup`, and whether a metric is made after each."""

    @abc.abstractmethod
    def metric(self, draws: np.ndarray, grads: np.ndarray) -> Metric:
        """The metric from draws and the gradients of the log density there, both of shape `(n, d)`, all finite."""

    @abc.abstractmethod
    def initial_metric(self, size: int) -> Metric:
        """The metric of the first window, of the same structure as the later ones."""


class StanAdaptation(Adaptation):
    """Stan's warm-up: windows that double in length and the variances, or the covariance, of the draws.

    The variances are shrunk as n / (n + 5) S + 1e-3 · 5 / (n + 5) I. Of 1000 transitions 75 find the typical set, the
    windows end at 100, 150, 250, 450 and 950, and the last 50 tune the step size; shorter warm-ups in proportion.

    **Arguments:** `dense`: whether to learn a full covariance; `target_accept_prob`: the acceptance rate to reach.
    """

    dense: bool = eqx.field(static=True, default=False)
    target_accept_prob: float = eqx.field(static=True, default=0.8)
    exploration_shrinkage: float = eqx.field(static=True, default=0.05)
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

    def metric(self, draws: np.ndarray, grads: np.ndarray) -> Metric:
        n, d = draws.shape
        share, floor = n / (n + 5), 1e-3 * 5 / (n + 5)
        if not self.dense:
            return _diagonal(np.sqrt(share * np.var(draws, axis=0, ddof=1) + floor))
        covariance = share * np.cov(draws, rowvar=False).reshape(d, d) + floor * np.eye(d)
        scale = np.sqrt(np.diagonal(covariance))
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        return _coupled(scale, vectors, values, dense=True)

    def initial_metric(self, size: int) -> Metric:
        none = np.zeros((size, 0)), np.ones(0)
        return _coupled(np.ones(size), *none, dense=True) if self.dense else _diagonal(np.ones(size))


class FisherAdaptation(Adaptation):
    r"""Learns the metric from draws and gradients: the one in which they have the same covariance.

    It minimises the Fisher divergence between the target and a normal distribution; for a normal target it is exact as
    soon as the draws span the space. The scales are $(\mathrm{var}\,x_i / \mathrm{var}\,g_i)^{1/4}$; in those units
    C is the geometric mean of the covariance of the draws and the inverse of that of the gradients, both with a small
    multiple of the identity added, and the identity in all directions where it is within a factor of `cutoff` of it
    (Seyboldt, Carlson and Carpenter, 2026). Windows grow by a factor of 1.5 from 10 transitions on; the
    last 15 % tune the step size.

    **Arguments:**

    - `low_rank`: whether to go beyond the scales.
    - `max_rank`: how many directions a state of more than 128 coordinates may have; with fewer, there is no limit.
    - `cutoff`: as above.
    - `target_accept_prob`: the acceptance rate to reach.
    """

    low_rank: bool = eqx.field(static=True, default=True)
    max_rank: int = eqx.field(static=True, default=32)
    cutoff: float = eqx.field(static=True, default=1.25)
    target_accept_prob: float = eqx.field(static=True, default=0.8)
    exploration_shrinkage: float = eqx.field(static=True, default=0.2)
    settling_share: float = eqx.field(static=True, default=0.3)

    def windows(self, num_warmup: int) -> list[tuple[int, bool]]:
        last = math.ceil(0.15 * num_warmup)
        out, length, left = [], 10, num_warmup - last
        while left > 0:
            # The rest, where another window after this one would be shorter than this one.
            length = left if left < 2.5 * length else length
            out.append((length, True))
            left, length = left - length, int(1.5 * length)
        return [*out, (last, False)] if num_warmup else []

    def metric(self, draws: np.ndarray, grads: np.ndarray) -> Metric:
        x, g = draws - draws.mean(0), grads - grads.mean(0)
        spread = [np.mean(z**2, axis=0) for z in (x, g)]
        scale = (np.clip(spread[0], 1e-40, 1e40) / np.clip(spread[1], 1e-40, 1e40)) ** 0.25
        if not self.low_rank:
            return _diagonal(scale)
        x, g = x / scale, g * scale
        n, d = x.shape
        basis = np.eye(d)
        if d > _DENSE_UP_TO and d > 2 * _SPAN:
            rows = np.linspace(0, n - 1, min(n, _SPAN)).astype(int)
            basis = np.linalg.qr(np.concatenate([x[rows], g[rows]]).T)[0]
            x, g = x @ basis, g @ basis
        values, vectors = np.linalg.eigh(_geometric_mean(x, g))
        values = np.clip(values, 1e-8, 1e8)
        strength = np.abs(np.log(values))
        kept = np.argsort(-strength)[: d if d <= _DENSE_UP_TO else self.max_rank]
        kept = kept[strength[kept] > math.log(self.cutoff)]
        return _coupled(scale, basis @ vectors[:, kept], values[kept], d <= _DENSE_UP_TO, self.max_rank)

    def initial_metric(self, size: int) -> Metric:
        if not self.low_rank:
            return _diagonal(np.ones(size))
        none = np.zeros((size, 0)), np.ones(0)
        return _coupled(np.ones(size), *none, size <= _DENSE_UP_TO, self.max_rank)


def _geometric_mean(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The positive definite Σ with Σ cov(g) Σ = cov(x)."""
    ridge = 1e-5 * np.eye(x.shape[1])
    a, b = (z.T @ z / len(z) + ridge for z in (x, g))
    values, vectors = np.linalg.eigh(b)
    # For directions in which the gradients hardly vary rounding may make a value negative.
    root = np.sqrt(np.maximum(values, 1e-5))
    inner, turn = np.linalg.eigh((vectors.T @ a @ vectors) * root[:, None] * root)
    half = vectors / root @ turn * np.maximum(inner, 0) ** 0.25
    return half @ half.T


def _diagonal(scale: np.ndarray) -> Metric:
    return DiagonalMetric(np.asarray(scale, jnp.result_type(float)))


def _coupled(scale: np.ndarray, vectors: np.ndarray, values: np.ndarray, dense: bool, max_rank: int = 0) -> Metric:
    """C = I + U (diag(values) - I) Uᵀ, as a matrix or in at most `max_rank` directions."""
    dtype, (d, r) = jnp.result_type(float), vectors.shape
    if dense:
        covariance, factor = (np.eye(d) + (vectors * (values**k - 1)) @ vectors.T for k in (1, -0.5))
        return DenseMetric(*(np.asarray(z, dtype) for z in (scale, covariance, factor)))
    max_rank = min(max_rank, d)
    padded = np.concatenate([vectors, np.zeros((d, max_rank - r))], axis=1)
    values = np.concatenate([values, np.ones(max_rank - r)])
    return LowRankMetric(*(np.asarray(z, dtype) for z in (scale, padded, values)))


def settled(log_density: np.ndarray, size: int) -> np.ndarray:
    """Which chains have arrived, by their log densities of shape `(transitions, chains)` in `size` coordinates."""
    if len(log_density) < 2:
        return np.ones(log_density.shape[1], bool)
    first, last = (half.mean(0) for half in np.array_split(log_density.astype(float), 2))
    return (last - first < size**0.5) & (last > np.median(last) - 10 * size**0.5)


def reasonable_log_step(kernel: Any, state: Any, key: Any, target: float) -> Float[Array, ""]:
    """The logarithm of a factor for the kernel's step size with which one leapfrog is accepted at about `target`.

    It is doubled, or halved, until the acceptance crosses the target, as in Stan.
    """
    flat = kernel.phase_space(state)
    p, force = flat.draw_momentum(key), flat.force(flat.grad)
    start = hamiltonian(flat.target_log_prob, p)

    def accepted(log_step: Array) -> Array:
        scaled = eqx.tree_at(lambda f: f.step_size, flat, flat.step_size * jnp.exp(log_step))
        _, q, _, value, _ = scaled.leapfrog(1, flat.position, p, force * jnp.exp(log_step))
        return energy_drop(start, hamiltonian(value, q)) > math.log(target)

    zero = jnp.zeros((), flat.position.dtype)

    # One evaluation in the program: the first turn of the loop finds the direction.
    def body(carry: Any) -> Any:
        i, log_step, direction, _ = carry
        good = accepted(log_step)
        direction = jnp.where(i == 0, jnp.where(good, 1, -1), direction)
        going = (good == (direction == 1)) & (jnp.abs(log_step) < 40)
        return i + 1, jnp.where(going, log_step + direction * math.log(2.0), log_step), direction, going

    carry = jnp.zeros((), jnp.int32), zero, jnp.ones((), jnp.int32), jnp.asarray(True)
    return jax.lax.while_loop(lambda carry: carry[3], body, carry)[1]
