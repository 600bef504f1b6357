"""Convergence of chains: R-hat, effective sample sizes, Monte Carlo standard errors.

Draws have shape `(draw, chain, ...)`, the layout of `sample_chain`, or are a pytree of such arrays.

A. Vehtari, A. Gelman, D. Simpson, B. Carpenter and P.-C. Bürkner, Rank-normalization, folding, and localization: an
improved R-hat for assessing convergence of MCMC, Bayesian Analysis 16 (2021).
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from distrax_like._arguments import checked
from distrax_like._misc import check_range
from distrax_like.special import ndtri

from ._arrays import center, lagged_products, map_draws, namespace

# The formulas take arrays of NumPy or of JAX.
Draws = Float[Array | np.ndarray, "draw chain ..."]
Event = Float[Array | np.ndarray, "..."]

_MIN_DRAWS = 4
_KINDS = ("bulk", "tail", "mean", "sd", "quantile")


@overload
def rhat(draws: ArrayLike) -> Array: ...
@overload
def rhat(draws: PyTree) -> PyTree: ...
def rhat(draws: PyTree) -> PyTree:
    r"""The rank-normalised split $\hat R$: near 1 where the chains agree; usually it should be below 1.01.

    It is the larger of two: one of the normal scores of the draws' ranks, which detects chains that differ in location,
    and one of the scores of the draws' distances from the median, which detects chains that differ in spread. Each
    chain is split in halves, without the middle draw if their number is odd, so it detects a drift as well.

    **Arguments:** `draws`: shape `(draw, chain, ...)`, or a pytree of such arrays.

    **Returns:** the event shape of each leaf. NaN where a draw is NaN, where all draws are the same, and for fewer
    than 2 chains or 4 draws; infinite for constant chains that differ.
    """
    return map_draws(_rhat, draws, "rhat")


@overload
def rhat_nested(
    draws: ArrayLike,
    superchain_ids: Sequence[int] | None = None,
    *,
    num_superchains: int | None = None,
    split_chains: bool = True,
) -> Array: ...
@overload
def rhat_nested(
    draws: PyTree,
    superchain_ids: Sequence[int] | None = None,
    *,
    num_superchains: int | None = None,
    split_chains: bool = True,
) -> PyTree: ...
@checked
def rhat_nested(
    draws: PyTree, superchain_ids: Sequence[int] | None = None, *, num_superchains: int | None = None,
    split_chains: bool = True,
) -> PyTree:  # fmt: skip
    r"""$\hat R$ for many short chains, those of one superchain having started at one point.

    It compares the means of superchains, $\sqrt{1 + \hat B / \hat W}$, with $\hat W$ the variance between and within
    the chains of a superchain; of normal scores and of folded ones, as `rhat`.

    **Arguments:**

    - `draws`: shape `(draw, chain, ...)`, or a pytree of such arrays.
    - `superchain_ids`: the superchain of each chain, all of one size; or `num_superchains`: that many blocks of
        neighbouring chains.
    - `split_chains`: whether halves of chains count as chains. Without it a single draw of each chain will do.

    **Returns:** the event shape; NaN where `rhat` is, and for one superchain.

    **Raises:** `ValueError` where the superchains are not all of one size, or are given twice or not at all.

    C. Margossian and others, Nested R-hat: assessing the convergence of Markov chain Monte Carlo when running many
    short chains, Bayesian Analysis (2024).
    """
    if (superchain_ids is None) == (num_superchains is None):
        raise ValueError("rhat_nested takes either superchain_ids or num_superchains")

    def one(x: Draws) -> Event:
        chains = x.shape[1]
        if num_superchains is not None:
            if num_superchains < 1 or chains % num_superchains:
                raise ValueError(f"{chains} chains do not make {num_superchains} superchains of one size")
            return _rhat_nested(x, num_superchains, split_chains)
        ids = np.asarray(superchain_ids)
        if ids.shape != (chains,):
            raise ValueError(f"superchain_ids must have shape {(chains,)}, got {ids.shape}")
        _, counts = np.unique(ids, return_counts=True)
        if np.any(counts != counts[0]):
            raise ValueError(f"superchains must be of one size, got sizes {counts.tolist()}")
        return _rhat_nested(x[:, np.argsort(ids, kind="stable")], len(counts), split_chains)

    return map_draws(one, draws, "rhat_nested")


@overload
def ess(draws: ArrayLike, kind: str = "bulk", prob: float | tuple[float, float] | None = None) -> Array: ...
@overload
def ess(draws: PyTree, kind: str = "bulk", prob: float | tuple[float, float] | None = None) -> PyTree: ...
def ess(draws: PyTree, kind: str = "bulk", prob: float | tuple[float, float] | None = None) -> PyTree:
    r"""The effective sample size: the number of independent draws with the same information.

    $M N / \hat\tau$ for $M$ chains of $N$ draws, split in halves, with $\hat\tau$ the sum of the autocorrelations,
    which take the variance between chains into account. The sum is truncated where sums of pairs turn negative, and
    these are made to decrease (Geyer's initial monotone sequence). The result is at most $M N \log_{10}(M N)$.

    **Arguments:**

    - `draws`: shape `(draw, chain, ...)`, or a pytree of such arrays.
    - `kind`: the estimate that it is for: `"bulk"`, the mean of normal scores, which is the one to watch; `"tail"`, the
        worse of two quantiles; `"mean"`; `"sd"`; or `"quantile"`.
    - `prob`: the probability of the quantile; for the tail both probabilities (by default 0.05 and 0.95), or one, p,
        for p and 1 - p.

    **Returns:** the event shape of each leaf. NaN where a draw is NaN or there are fewer than 4 draws; the number of
    draws where the averaged values are constant. One chain is enough.

    **Raises:** `ValueError` for an unknown kind or a missing or needless `prob`.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    if (kind == "quantile" and prob is None) or (kind not in ("quantile", "tail") and prob is not None):
        raise ValueError(f"ess of kind {kind!r} takes {'a' if kind == 'quantile' else 'no'} prob")
    if kind == "tail":
        prob = (0.05, 0.95) if prob is None else prob if isinstance(prob, tuple) else (prob, 1 - prob)
    given = prob if isinstance(prob, tuple) else () if prob is None else (prob,)
    probs = tuple(_as_prob(p, "ess") for p in given)
    return map_draws(lambda x: _ess_of_kind(x, kind, probs), draws, "ess")


@overload
def ess_bulk(draws: ArrayLike) -> Array: ...
@overload
def ess_bulk(draws: PyTree) -> PyTree: ...
def ess_bulk(draws: PyTree) -> PyTree:
    """`ess(draws, "bulk")`."""
    return ess(draws, "bulk")


@overload
def ess_tail(draws: ArrayLike, prob: float | tuple[float, float] = (0.05, 0.95)) -> Array: ...
@overload
def ess_tail(draws: PyTree, prob: float | tuple[float, float] = (0.05, 0.95)) -> PyTree: ...
def ess_tail(draws: PyTree, prob: float | tuple[float, float] = (0.05, 0.95)) -> PyTree:
    """`ess(draws, "tail", prob)`."""
    return ess(draws, "tail", prob)


@overload
def ess_quantile(draws: ArrayLike, prob: float) -> Array: ...
@overload
@checked
def ess_quantile(draws: PyTree, prob: float) -> PyTree: ...
@checked
def ess_quantile(draws: PyTree, prob: float) -> PyTree:
    """`ess(draws, "quantile", prob)`."""
    return ess(draws, "quantile", prob)


@overload
def mcse_mean(draws: ArrayLike) -> Array: ...
@overload
def mcse_mean(draws: PyTree) -> PyTree: ...
def mcse_mean(draws: PyTree) -> PyTree:
    """The standard error of the mean of the draws, sd / √ess. **Arguments, returns:** as `ess`."""
    return map_draws(_mcse_mean, draws, "mcse_mean")


@overload
def mcse_sd(draws: ArrayLike) -> Array: ...
@overload
def mcse_sd(draws: PyTree) -> PyTree: ...
def mcse_sd(draws: PyTree) -> PyTree:
    """The standard error of the standard deviation of the draws. **Arguments, returns:** as `ess`.

    It follows by the delta method from the standard error of the mean of squared deviations.
    """
    return map_draws(_mcse_sd, draws, "mcse_sd")


@overload
def mcse_quantile(draws: ArrayLike, prob: float) -> Array: ...
@overload
@checked
def mcse_quantile(draws: PyTree, prob: float) -> PyTree: ...
@checked
def mcse_quantile(draws: PyTree, prob: float) -> PyTree:
    """The standard error of a quantile of the draws. **Arguments, returns:** as `ess`, `prob` from 0 to 1.

    It is half the distance between two draws, between which the quantile lies with the probability with which a normal
    variable is within one standard deviation of its mean.
    """
    prob = _as_prob(prob, "mcse_quantile")
    return map_draws(lambda x: _mcse_quantile(x, prob), draws, "mcse_quantile")


@overload
def e_bfmi(energy: ArrayLike) -> Array: ...
@overload
def e_bfmi(energy: PyTree) -> PyTree: ...
def e_bfmi(energy: PyTree) -> PyTree:
    """The Bayesian fraction of missing information of each chain, Σ (E_i - E_{i-1})² / Σ (E_i - mean)².

    Below 0.3, new momenta change the energy so little that the tails are hardly explored.

    **Arguments:** `energy`: of each draw, of shape `(draw, chain, ...)` or `(draw,)`.

    **Returns:** the shape without that axis.

    M. Betancourt, Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo (2016).
    """
    return map_draws(_e_bfmi, energy, "e_bfmi", ndim=1)


def _as_prob(prob: float, who: str) -> float:
    check_range(prob, f"{who}: prob", least=0, most=1)
    return float(prob)


def _compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of draws as one compiled program, but for NumPy's arrays. Its further arguments are static."""
    program = jax.jit(fn, static_argnums=tuple(range(1, len(inspect.signature(fn).parameters))))

    @functools.wraps(fn)
    def call(x: Event, *args: Any) -> Event:
        return fn(x, *args) if isinstance(x, np.ndarray) else program(x, *args)

    return call


def split_chains(x: Draws) -> Float[Array | np.ndarray, "half chains ..."]:
    """The halves of each chain as chains; of an odd number of draws the middle one is left out."""
    half = x.shape[0] // 2
    return namespace(x).concatenate([x[:half], x[x.shape[0] - half :]], axis=1)


def _pool(x: Draws) -> Float[Array | np.ndarray, "pool ..."]:
    return namespace(x).reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _blank(x: Draws, value: Event) -> Event:
    """The value, or NaN where a draw is."""
    xp = namespace(x)
    return xp.where(xp.any(xp.isnan(x), (0, 1)), xp.nan, value)


def _constant(x: Draws) -> Bool[Array | np.ndarray, "..."]:
    return namespace(x).all(x == x[:1, :1], (0, 1))


def sort_quantile(ordered: Float[Array | np.ndarray, "n ..."], prob: float) -> Event:
    """The quantile of sorted numbers, linear between neighbours (type 7 of Hyndman and Fan)."""
    position = prob * (ordered.shape[0] - 1)
    i = min(math.floor(position), ordered.shape[0] - 1)
    low, high = ordered[i], ordered[min(i + 1, ordered.shape[0] - 1)]
    # Where both are equal the quantile equals them exactly, at infinity too.
    return namespace(ordered).where(low == high, low, low + (position - i) * (high - low))


def rank_scores(x: Draws) -> Draws:
    """Normal scores Φ⁻¹((r - 3/8) / (S + 1/4)) of the ranks among all S draws, those of equal draws averaged."""
    xp, pool = namespace(x), _pool(x)
    s = pool.shape[0]
    if isinstance(x, np.ndarray):
        return _rank_scores_on_host(np.reshape(np.asarray(pool), (s, -1))).reshape(x.shape)
    index = xp.reshape(xp.arange(s), (s, *[1] * (pool.ndim - 1)))
    order = xp.argsort(pool, axis=0, stable=True)
    ordered = xp.take_along_axis(pool, order, 0)
    steps = ordered[1:] != ordered[:-1]
    end = xp.ones((1, *pool.shape[1:]), bool)
    first = _running_max(xp.where(xp.concatenate([end, steps]), index, 0))
    # The last of a group of equal draws, from the end.
    last = s - 1 - _running_max(xp.where(xp.concatenate([steps, end]), s - 1 - index, 0)[::-1])[::-1]
    twice = xp.take_along_axis(first + last + 1, xp.argsort(order, axis=0, stable=True), 0)
    # Twice the rank minus 1 is a whole number. Counted from the nearer end it is small, hence exact in the tails.
    near = xp.minimum(twice, 2 * s - twice).astype(x.dtype)
    scores = _normal_quantile((near / 2 + 0.125) / (s + 0.25))
    return xp.reshape(xp.where(twice <= s, scores, -scores), x.shape)


def _rank_scores_on_host(pool: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    # Sorted by rows, which lie together in memory; a table has the score of every rank, half ranks among them.
    s = pool.shape[0]
    rows = np.ascontiguousarray(pool.T)
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, 1)
    steps = ordered[:, 1:] != ordered[:, :-1]
    end = np.ones((len(rows), 1), bool)
    index = np.arange(s)
    if steps.all():
        twice = 2 * index + 1
    else:
        first = _running_max(np.where(np.concatenate([end, steps], 1), index, 0).T)
        last = s - 1 - _running_max(np.where(np.concatenate([steps, end], 1), s - 1 - index, 0)[:, ::-1].T)[::-1]
        twice = (first + last + 1).T
    near = np.minimum(np.arange(2 * s), 2 * s - np.arange(2 * s))
    table = _normal_quantile((near / 2 + 0.125) / (s + 0.25)) * np.where(np.arange(2 * s) <= s, 1, -1)
    scores = np.empty_like(rows)
    np.put_along_axis(scores, order, np.broadcast_to(table[twice], rows.shape), 1)
    return scores.T


def _running_max(x: Any) -> Any:
    return np.maximum.accumulate(x, axis=0) if isinstance(x, np.ndarray) else jax.lax.cummax(x, axis=0)


def _normal_quantile(p: Event) -> Event:
    if not isinstance(p, np.ndarray):
        return ndtri(p)
    from scipy.special import ndtri as on_host

    return on_host(p)


def _chain_moments(x: Draws) -> tuple[Any, Any]:
    """The mean of each chain minus a constant, and its variance with a divisor of n - 1."""
    # Relative to its first draw a constant chain has a variance of exactly 0.
    xp, first = namespace(x), x[:1]
    inside = x - first
    mean = xp.mean(inside, 0)
    squares = xp.sum(center(inside, 0) ** 2, 0)
    place = center(first[0], 0)
    return place + mean, xp.where(xp.all(inside == 0, 0), 0, squares / max(x.shape[0] - 1, 1))


def _variance(x: Event, axis: int) -> Event:
    """The variance over one axis with a divisor of n - 1, NaN for one number, exactly 0 for equal numbers."""
    xp = namespace(x)
    x = x - x[(*[slice(None)] * axis, slice(0, 1))]
    squares = xp.sum(center(x, axis) ** 2, axis)
    if x.shape[axis] < 2:
        return xp.full_like(squares, xp.nan)
    return xp.where(xp.all(x == 0, axis), 0, squares) / (x.shape[axis] - 1)


def _basic_rhat(x: Draws) -> Event:
    xp, n = namespace(x), x.shape[0]
    mean, variance = _chain_moments(x)
    return xp.sqrt(_variance(mean, 0) / xp.mean(variance, 0) + (n - 1) / n)


def _folded(x: Draws) -> Draws:
    xp = namespace(x)
    return xp.abs(x - sort_quantile(xp.sort(_pool(x), axis=0), 0.5))


@_compiled
def _rhat(x: Draws) -> Event:
    xp = namespace(x)
    if x.shape[0] < _MIN_DRAWS or x.shape[1] < 2:
        return xp.full(x.shape[2:], xp.nan, x.dtype)
    halves = split_chains(x)
    return _blank(x, _rank_rhat(halves, rank_scores(halves)))


def _rank_rhat(halves: Draws, scores: Draws) -> Event:
    xp = namespace(halves)
    # If the draws have only two values the folded draws may be constant, and then the other R-hat counts.
    both = xp.fmax(_basic_rhat(scores), _basic_rhat(rank_scores(_folded(halves))))
    return xp.where(_constant(halves), xp.nan, both)


def convergence(draws: PyTree) -> PyTree:
    """`rhat`, `ess_bulk` and `ess_tail` along a new first axis, which cost less together."""
    return map_draws(_convergence, draws, "convergence")


@_compiled
def _convergence(x: Draws) -> Float[Array | np.ndarray, "3 ..."]:
    xp, tail = namespace(x), _ess_of_kind(x, "tail", (0.05, 0.95))
    if x.shape[0] < _MIN_DRAWS or x.shape[1] < 2:
        return xp.stack([_rhat(x), _ess_of_kind(x, "bulk", ()), tail])
    halves = split_chains(x)
    scores = rank_scores(halves)
    return xp.stack([_blank(x, _rank_rhat(halves, scores)), _blank(x, _ess(scores)), tail])


@_compiled
def _rhat_nested(x: Draws, superchains: int, split: bool) -> Event:
    xp, chains = namespace(x), x.shape[1] // superchains
    few = x.shape[0] < _MIN_DRAWS if split else x.shape[0] * chains < 2
    if few or superchains < 2:
        return xp.full(x.shape[2:], xp.nan, x.dtype)

    def one(z: Draws) -> Event:
        # Halves of a chain stay in its superchain.
        mean, variance = (
            xp.moveaxis(xp.reshape(v, (v.shape[0] // x.shape[1], superchains, chains, *v.shape[1:])), 1, 0)
            for v in _chain_moments(z)
        )
        mean, variance = (xp.reshape(v, (superchains, v.shape[1] * chains, *v.shape[3:])) for v in (mean, variance))
        within = xp.mean(variance, (0, 1))
        if mean.shape[1] > 1:
            within = within + xp.mean(_variance(mean, 1), 0)
        return xp.sqrt(1 + _variance(xp.mean(mean, 1), 0) / within)

    draws = split_chains(x) if split else x
    both = xp.fmax(one(rank_scores(draws)), one(rank_scores(_folded(draws))))
    return _blank(x, xp.where(_constant(draws), xp.nan, both))


def _ess(x: Draws) -> Event:
    """Of draws as they are: split and transformed before. Constant draws give their number."""
    xp = namespace(x)
    n, chains = x.shape[:2]
    size = n * chains
    constant = _constant(x)
    middle = center(x, (0, 1))
    products = lagged_products(center(middle, 0), n, lambda power: xp.mean(power, 1)) / n
    within = products[0] * (n / (n - 1))
    total = products[0]
    if chains > 1:
        total = total + _variance(xp.mean(middle, 0), 0)
    correlation = 1 - (within - products) / xp.where(constant, 1, total)
    correlation = xp.concatenate([xp.ones_like(correlation[:1]), correlation[1:]])

    # Pairs of lags (0, 1), (2, 3), ...; of the last pair only the even lag is added, and only once.
    pairs = max((n - 1) // 2, 1)
    even, odd = correlation[0 : 2 * pairs : 2], correlation[1 : 2 * pairs : 2]
    sums = even + odd
    index = xp.reshape(xp.arange(pairs), (-1, *[1] * (sums.ndim - 1)))
    last = xp.min(xp.where(sums > 0, pairs - 1, index), 0, keepdims=True)
    falling = -_running_max(-sums)
    rest = xp.where((sums >= 0) | (even > 0), even, 0)
    tau = 2 * xp.sum(xp.where(index < last, falling, 0), 0) + xp.sum(xp.where(index == last, rest, 0), 0) - 1
    # Draws of negative correlation may be better than independent ones, up to a bound that limits the effect of noise.
    tau = xp.maximum(tau, 1 / math.log10(size))
    return xp.where(constant, size, size / tau)


@_compiled
def _ess_of_kind(x: Draws, kind: str, probs: tuple[float, ...]) -> Event:
    xp = namespace(x)
    if x.shape[0] < _MIN_DRAWS or x.shape[1] < 1:
        return xp.full(x.shape[2:], xp.nan, x.dtype)
    if kind == "bulk":
        out = _ess(rank_scores(split_chains(x)))
    elif kind == "mean":
        out = _ess(split_chains(x))
    elif kind == "sd":
        out = _ess(split_chains(_squares(x)))
    else:
        ordered = xp.sort(_pool(x), axis=0)
        # A draw is at most the quantile if it is at most the draw below the quantile, which is not rounded.
        below = [ordered[math.floor(p * (ordered.shape[0] - 1))] for p in probs]
        parts = [_ess(split_chains((x <= draw).astype(x.dtype))) for draw in below]
        out = functools.reduce(xp.minimum, parts)
    return _blank(x, out)


def _squares(x: Draws) -> Draws:
    return namespace(x).where(_constant(x), 0, center(x, (0, 1)) ** 2)


@_compiled
def _mcse_mean(x: Draws) -> Event:
    return namespace(x).sqrt(_variance(_pool(x), 0) / _ess_of_kind(x, "mean", ()))


@_compiled
def _mcse_sd(x: Draws) -> Event:
    xp, squares = namespace(x), _squares(x)
    mean = xp.mean(squares, (0, 1))
    spread = xp.mean(center(squares, (0, 1)) ** 2, (0, 1))
    # Constant draws have no error.
    variance = xp.where(mean == 0, 0, spread / xp.where(mean == 0, 1, 4 * mean))
    return xp.sqrt(variance / _ess_of_kind(x, "sd", ()))


@_compiled
def _mcse_quantile(x: Draws, prob: float) -> Event:
    xp, size = namespace(x), _ess_of_kind(x, "quantile", (prob,))
    ordered = xp.sort(_pool(x), axis=0)
    n = ordered.shape[0]
    if n == 0:
        return size
    a, b = size * prob + 1, size * (1 - prob) + 1
    one_sd = math.erfc(math.sqrt(0.5)) / 2
    low, high = _beta_quantiles(a, b, (one_sd, 1 - one_sd)) * n - 1

    def draw(position: Event) -> Event:
        i = xp.clip(xp.nan_to_num(position), 0, n - 1).astype(int)
        return xp.take_along_axis(ordered, i[None], 0)[0]

    return _blank(x, xp.where(xp.isnan(size), xp.nan, (draw(xp.ceil(high)) - draw(xp.floor(low))) / 2))


def _beta_quantiles(a: Event, b: Event, probs: tuple[float, ...]) -> Float[Array | np.ndarray, "k ..."]:
    xp = namespace(a)
    p = xp.reshape(xp.asarray(probs, a.dtype), (-1, *[1] * a.ndim))
    if isinstance(a, np.ndarray):
        from scipy.special import betaincinv

        return betaincinv(a, b, p)
    # By bisection, since `betaincinv` takes seconds to compile, and the index of a draw does not need all bits.
    low = jnp.zeros((len(probs), *a.shape), a.dtype)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = jsp.betainc(a, b, middle) < p
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, jnp.finfo(a.dtype).nmant, halve, (low, jnp.ones_like(low)))
    return (low + high) / 2


@_compiled
def _e_bfmi(energy: Float[Array | np.ndarray, "draw ..."]) -> Event:
    xp = namespace(energy)
    jumps = xp.sum((energy[1:] - energy[:-1]) ** 2, 0)
    return jumps / xp.sum(center(energy, 0) ** 2, 0)
