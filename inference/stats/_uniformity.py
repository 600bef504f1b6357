"""Whether ranks are uniform: simultaneous bands for their distribution function, and an exact p-value.

T. Säilynoja, P.-C. Bürkner and A. Vehtari, Graphical test for discrete uniformity and its applications in goodness-of-
fit evaluation and multiple sample comparison, Statistics and Computing 32 (2022).
"""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Numeric

# The bands are computed at no more points, since between so many a distribution function hardly leaves them.
_MAX_POINTS = 200


class ECDFBands(eqx.Module):
    """Bands inside which the empirical distribution functions of uniform ranks stay everywhere with probability `prob`.

    - `points`: where; `lower`, `upper`: the bands; `ecdf`: the functions, of shape `(point, ...)`, and `inside`:
        whether each stays between them.
    """

    points: Float[Array, " point"]
    lower: Float[Array, " point"]
    upper: Float[Array, " point"]
    ecdf: Float[Array, "point ..."]
    prob: float = eqx.field(static=True)

    @property
    def inside(self) -> Array:
        """Whether each function stays within the bands."""
        column = (-1, *[1] * (self.ecdf.ndim - 1))
        low, high = jnp.reshape(self.lower, column), jnp.reshape(self.upper, column)
        # Bands and functions are counts over a number: compared with room for its rounding.
        room = 8 * jnp.finfo(self.ecdf.dtype).eps
        return jnp.all((self.ecdf >= low - room) & (self.ecdf <= high + room), 0)


@checked
def ecdf_bands(ranks: Numeric, num_ranks: PositiveInt, prob: float = 0.95) -> ECDFBands:
    """The distribution functions of ranks 0 to `num_ranks - 1`, with simultaneous bands for uniform ones.

    At each point the number of ranks below is binomial; the bands are quantiles of one level at all points, the level
    such that a function leaves them anywhere with probability `1 - prob` at most: computed exactly.

    **Arguments:** `ranks`: of shape `(simulation, ...)`, each column by itself. Not under `jit`.
    """
    counts, points, shares = _counts(ranks, num_ranks)
    n = int(np.shape(ranks)[0])
    tails = _two_sided(n, shares)
    low_level, high_level = -80.0, math.log(2.0)
    # The level is found on a scale of logarithms: the more points, the smaller it is.
    for _ in range(50):
        level = (low_level + high_level) / 2
        stays = _probability(n, shares, tails > math.exp(level))
        low_level, high_level = (level, high_level) if stays >= prob else (low_level, level)
    good = tails > math.exp(low_level)
    lower = np.argmax(good, 1) / n
    upper = (n - np.argmax(good[:, ::-1], 1)) / n
    return ECDFBands(jnp.asarray(shares), jnp.asarray(lower), jnp.asarray(upper), jnp.asarray(counts / n), prob)


@checked
def uniformity_p_value(ranks: Numeric, num_ranks: PositiveInt) -> Float[Array, "..."]:
    """The exact p-value of ranks 0 to `num_ranks - 1`, for uniform ones, of the test whose bands `ecdf_bands` gives.

    The probability that a uniform sample has a binomial tail as small as the smallest one that was seen anywhere.

    **Arguments:** `ranks`: of shape `(simulation, ...)`. Not under `jit`. **Returns:** the shape of a simulation.
    """
    counts, _, shares = _counts(ranks, num_ranks)
    n = int(np.shape(ranks)[0])
    tails = _two_sided(n, shares)
    flat = np.reshape(counts, (counts.shape[0], -1)).astype(int)
    out = []
    for column in flat.T:
        smallest = np.min(tails[np.arange(len(shares)), column]) * (1 + 1e-9)
        out.append(1 - _probability(n, shares, tails > smallest))
    return jnp.asarray(np.clip(np.reshape(out, counts.shape[1:]), 0, 1))


def _counts(given: Numeric, num_ranks: int) -> tuple[Any, Any, Any]:
    """How many ranks are at most each of some points, those points, and which share of all ranks is."""
    ranks: Any = np.asarray(given)
    if ranks.ndim < 1 or ranks.shape[0] < 1 or num_ranks < 2:
        raise ValueError(f"ranks need a simulation and 2 values, got shape {ranks.shape} and num_ranks={num_ranks}")
    if ranks.size and (ranks.min() < 0 or ranks.max() >= num_ranks):
        raise ValueError(f"ranks must be from 0 to {num_ranks - 1}, got {ranks.min()} to {ranks.max()}")
    points = np.unique(np.round(np.linspace(0, num_ranks - 2, min(num_ranks - 1, _MAX_POINTS))).astype(int))
    ordered = np.sort(ranks, 0)
    flat = np.reshape(ordered, (ordered.shape[0], -1))
    counts = np.stack([np.searchsorted(column, points, side="right") for column in flat.T], -1)
    return np.reshape(counts, (len(points), *ranks.shape[1:])), points, (points + 1) / num_ranks


def _log_factorials(n: int) -> Any:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _two_sided(n: int, shares: Any) -> Any:
    """Twice the smaller tail of a binomial of n trials at 0, 1, ..., n, for each share."""
    log_factorial, k = _log_factorials(n), np.arange(n + 1)
    log_mass = log_factorial[n] - log_factorial - log_factorial[::-1]
    log_mass = log_mass + k * np.log(shares)[:, None] + (n - k) * np.log1p(-shares)[:, None]
    mass = np.exp(log_mass)
    lower, upper = np.cumsum(mass, 1), np.cumsum(mass[:, ::-1], 1)[:, ::-1]
    return 2 * np.minimum(lower, upper)


def _probability(n: int, shares: Any, allowed: Any) -> float:
    """The probability that the counts of n uniform numbers below each share are among the allowed ones at all of them.

    The numbers between neighbouring points are multinomial: independent Poisson numbers, given that their sum is n.
    """
    log_factorial = _log_factorials(n)
    rates = n * np.diff(np.concatenate([[0.0], shares, [1.0]]))

    def poisson(rate: float, k: Any) -> Any:
        return np.exp(k * math.log(rate) - rate - log_factorial[k])

    start, path = 0, np.ones(1)
    for i, rate in enumerate(rates[:-1]):
        inside = np.flatnonzero(allowed[i])
        if not len(inside):
            return 0.0
        low, high = int(inside[0]), int(inside[-1])
        whole = np.convolve(path, poisson(rate, np.arange(max(high - start + 1, 1))))
        path = whole[max(low - start, 0) : high - start + 1]
        start = max(low, start)
        if not len(path):
            return 0.0
    ends = n - start - np.arange(len(path))
    total = float(np.sum(path * np.where(ends >= 0, poisson(rates[-1], np.maximum(ends, 0)), 0)))
    return total / math.exp(n * math.log(n) - n - log_factorial[n])
