"""Importance sampling with smoothed weights, and how well a model predicts new data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Numeric, promote
from distrax_like.math import reduce_logmeanexp

from ._arrays import Axis, as_axes, center, flatten_axes, namespace
from ._diagnostics import ess

# A tail of fewer numbers is not fitted.
_MIN_TAIL = 5


@checked
def psis(
    log_ratios: Numeric, r_eff: Numeric = 1.0, axis: Axis = (0, 1)
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Pareto smoothed importance sampling: smoothed log weights, and how heavy their tail is.

    The largest $M = \min(S / 5, 3 \sqrt{S / r})$ of S ratios are replaced by the quantiles of a generalized Pareto
    distribution fitted to them, and none is larger than the largest was. Its shape k is a diagnostic: the
    weights have about 1 / k finite moments, and with k below `pareto_k_threshold(S)` estimates are reliable.

    **Arguments:**

    - `log_ratios`: logs of target over proposal, up to a constant, of draws of shape `(draw, chain, ...)`.
    - `r_eff`: the relative efficiency of the draws, `ess` over their number; it broadcasts with the event.
    - `axis`: the axes of draws, if others.

    **Returns:** the log weights, summing to 1 over the draws, in the shape of `log_ratios`, and k of the event shape.
    Where no tail can be fitted, of too few or equal ratios, the ratios stay as they are and k is infinite.

    A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry, Pareto smoothed importance sampling, JMLR 25 (2024); J.
    Zhang and M. Stephens, A new and efficient estimation method for the generalized Pareto distribution (2009).
    """
    log_ratios, r_eff = promote(log_ratios, r_eff)
    axes = as_axes(axis, log_ratios.ndim)
    flat = flatten_axes(log_ratios, axes)
    s, event = flat.shape[0], flat.shape[1:]
    r_eff = jnp.broadcast_to(r_eff, event)
    # The tail is as long as the efficiency says; where that is known the arrays are no longer.
    longest = max(s // 5, 1)
    if not isinstance(r_eff, Tracer) and r_eff.size:
        # In steps, so that other data need no new compilation.
        longest = min(longest, 1 << int(np.max(_tail_length(s, np.asarray(r_eff)))).bit_length())
    weights, k = _psis(flat, r_eff, longest)
    moved = jnp.reshape(weights, (*(log_ratios.shape[i] for i in axes), *event))
    return jnp.moveaxis(moved, range(len(axes)), axes), k


@checked
def pareto_k_threshold(num_samples: PositiveInt) -> float:
    """min(1 - 1 / log10(S), 0.7): with a larger k the smoothed weights of S draws are unreliable."""
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 1 else -math.inf


def _tail_length(s: int, r_eff: Any) -> Any:
    xp = namespace(r_eff)
    good = r_eff > 0
    length = xp.floor(xp.minimum(s / 5, 3 * xp.sqrt(s / xp.where(good, r_eff, 1))))
    return xp.where(good, length, s // 5).astype(int)


@eqx.filter_jit
def _psis(
    x: Float[Array, "s ..."], r_eff: Float[Array, "..."], longest: int
) -> tuple[Float[Array, "s ..."], Float[Array, "..."]]:
    s = x.shape[0]
    x = x - jnp.max(x, 0)
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)
    ordered, origin = jax.lax.sort((-x, index), dimension=0, num_keys=1)
    ordered = -ordered
    # The largest first; the tail is the first `length` of these rows, and the next one is the cut.
    length = jnp.minimum(_tail_length(s, r_eff), s - 1)
    top = ordered[:longest]
    row = jax.lax.broadcasted_iota(jnp.int32, top.shape, 0)
    inside = row < length
    cut = jnp.exp(jnp.take_along_axis(ordered, length[None], 0)[0])
    excess = jnp.where(inside, jnp.exp(top) - cut, 0)
    k, scale = _fit_pareto(excess, inside, length)
    probs = (length - row - 0.5) / jnp.maximum(length, 1)
    log_tail = jnp.log1p(-jnp.where(inside, probs, 0))
    safe = jnp.where(k == 0, 1, k)
    quantile = jnp.where(k == 0, -log_tail, jnp.expm1(-safe * log_tail) / safe)
    smooth = jnp.minimum(jnp.log(cut + scale * quantile), 0)
    smallest = jnp.take_along_axis(ordered, jnp.maximum(length - 1, 0)[None], 0)[0]
    fitted = (length >= _MIN_TAIL) & (smallest < 0) & jnp.isfinite(k) & jnp.isfinite(scale) & (scale > 0)
    top = jnp.where(inside & fitted, smooth, top)
    _, weights = jax.lax.sort((origin, jnp.concatenate([top, ordered[longest:]])), dimension=0, num_keys=1)
    bad = jnp.any(jnp.isnan(x), 0)
    weights = jnp.where(bad, jnp.nan, weights - jax.nn.logsumexp(weights, 0))
    return weights, jnp.where(bad, jnp.nan, jnp.where(fitted, k, jnp.inf))


def _fit_pareto(
    excess: Float[Array, "m ..."], inside: Bool[Array, "m ..."], n: Array
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Shape and scale of a generalized Pareto distribution, from the first n rows, which decrease.

    The profile likelihood of b = -k / scale is averaged over a grid of it, and k drawn to 1/2 with the weight of 10
    observations.
    """
    size = jnp.maximum(n, 1).astype(excess.dtype)
    quarter = jnp.clip(n - (n / 4 + 0.5).astype(int), 0, excess.shape[0] - 1)
    quartile = jnp.take_along_axis(excess, quarter[None], 0)[0]
    points = 30 + jnp.floor(jnp.sqrt(size))
    most = 30 + math.isqrt(excess.shape[0])

    def grid(j: Array) -> Array:
        return (1 - jnp.sqrt(points / (j + 0.5))) / (3 * quartile) + 1 / excess[0]

    def mean_log(b: Array) -> Array:
        return jnp.sum(jnp.where(inside, jnp.log1p(-b * excess), 0), 0) / size

    def profile(j: Array) -> Array:
        b = grid(j)
        k = mean_log(b)
        return jnp.where(j < points, size * (jnp.log(-b / k) - k - 1), -jnp.inf)

    # One point of the grid after the other, since all at once would need 40 times the memory.
    j = jnp.arange(most, dtype=excess.dtype)
    weights = jax.nn.softmax(jax.lax.map(profile, j), 0)
    column = jnp.reshape(j, (-1, *[1] * n.ndim))
    b = jnp.sum(jnp.where(column < points, weights * grid(column), 0), 0)
    k = mean_log(b)
    return (size * k + 5) / (size + 10), -k / b


class _Predictive(eqx.Module):
    """An expected log predictive density, observation by observation."""

    elpd_i: Float[Array, "..."]
    p_i: Float[Array, "..."]

    @property
    def elpd(self) -> Float[Array, ""]:
        """The expected log pointwise predictive density of new data."""
        return jnp.sum(self.elpd_i)

    @property
    def se(self) -> Float[Array, ""]:
        """The standard error of `elpd`; NaN for one observation."""
        return _standard_error(self.elpd_i)

    @property
    def num_observations(self) -> int:
        """How many observations."""
        return self.elpd_i.size


class LOO(_Predictive):
    """What `loo` found.

    - `elpd_i`, `p_i`, `pareto_k`: of each observation; `elpd`, `se`, `p_loo`: of all.
    - `num_samples`: how many draws; `good_k`: up to which k the estimate of an observation is reliable.

    It prints as a table of the estimates and one of the `pareto_k`.
    """

    pareto_k: Float[Array, "..."]
    num_samples: int = eqx.field(static=True)

    def __str__(self) -> str:
        k, n = np.ravel(np.asarray(self.pareto_k)), self.num_observations
        rows = [("elpd_loo", self.elpd, self.se), ("p_loo", self.p_loo, _standard_error(self.p_i))]
        good = min(self.good_k, 1.0)
        kinds = [
            (f"k <= {good:.2f}, good", np.sum(k <= good)),
            (f"{good:.2f} < k <= 1, bad", np.sum((k > good) & (k <= 1))),
            ("k > 1, very bad", np.sum(k > 1)),
            *([("not finite draws", np.sum(np.isnan(k)))] if np.any(np.isnan(k)) else []),
        ]
        return "\n".join(
            [
                f"Leave-one-out cross-validation: {n} observations, {self.num_samples} draws",
                f"{'':20} {'estimate':>10} {'se':>8}",
                *(f"{name:20} {float(x):10.2f} {float(se):8.2f}" for name, x, se in rows),
                f"{'Pareto k':20} {'count':>10} {'share':>8}",
                *(f"{name:20} {count:10d} {count / max(n, 1):8.1%}" for name, count in kinds),
            ]
        )

    @property
    def p_loo(self) -> Float[Array, ""]:
        """The effective number of parameters."""
        return jnp.sum(self.p_i)

    @property
    def good_k(self) -> float:
        """`pareto_k_threshold` of the number of draws."""
        return pareto_k_threshold(self.num_samples)


class WAIC(_Predictive):
    """What `waic` found: `elpd_i`, `p_i` of each observation, `elpd`, `se`, `p_waic` of all."""

    @property
    def p_waic(self) -> Float[Array, ""]:
        """The effective number of parameters."""
        return jnp.sum(self.p_i)


def _standard_error(x: Array) -> Array:
    x, n = jnp.ravel(x), x.size
    return jnp.sqrt(n * jnp.sum(center(x, 0) ** 2) / (n - 1)) if n > 1 else jnp.full((), jnp.nan, x.dtype)


@checked
def loo(log_likelihood: Numeric, r_eff: Numeric | None = None) -> LOO:
    """Leave-one-out cross-validation without fitting again, by `psis` with weights 1 / likelihood.

    **Arguments:**

    - `log_likelihood`: of each observation, at draws of the posterior, of shape `(draw, chain, ...)`.
    - `r_eff`: the relative efficiency of the draws' likelihoods, by default `ess(..., "mean")` of them over their
        number, observation by observation; 1 for independent draws.

    **Returns:** a `LOO`. Where its `pareto_k` is above its `good_k`, an observation is so influential that its
    estimate is not reliable.

    A. Vehtari, A. Gelman and J. Gabry, Practical Bayesian model evaluation using leave-one-out cross-validation and
    WAIC, Statistics and Computing 27 (2017).
    """
    logp = _log_likelihood(log_likelihood, "loo")
    samples = logp.shape[0] * logp.shape[1]
    if r_eff is None:
        efficiency = ess(jnp.exp(logp - jnp.max(logp, (0, 1))), "mean") / samples
        r_eff = jnp.where(jnp.isnan(efficiency), 1, efficiency)
    weights, k = psis(-logp, r_eff)
    elpd = jax.nn.logsumexp(weights + logp, (0, 1))
    return LOO(elpd, reduce_logmeanexp(logp, (0, 1)) - elpd, k, samples)


@checked
def waic(log_likelihood: Numeric) -> WAIC:
    """The widely applicable information criterion: the log predictive density minus its variance over the posterior.

    `loo` is as cheap and says where it fails. **Arguments:** `log_likelihood`: see `loo`.

    S. Watanabe, Asymptotic equivalence of Bayes cross validation and widely applicable information criterion, JMLR 11
    (2010).
    """
    logp = _log_likelihood(log_likelihood, "waic")
    samples = logp.shape[0] * logp.shape[1]
    spread = jnp.sum(center(logp, (0, 1)) ** 2, (0, 1)) / max(samples - 1, 1)
    return WAIC(reduce_logmeanexp(logp, (0, 1)) - spread, spread)


def _log_likelihood(x: Numeric, who: str) -> Float[Array, "draw chain ..."]:
    x = promote(x)
    if x.ndim < 2:
        raise ValueError(f"{who} takes a log likelihood of shape (draw, chain, ...), got shape {x.shape}")
    return x


class Comparison(eqx.Module):
    """Models, the best first: `elpd_diff` is how much worse each is than the first, `se_diff` its standard error."""

    names: tuple[str, ...] = eqx.field(static=True)
    elpd: Float[Array, " models"]
    se: Float[Array, " models"]
    elpd_diff: Float[Array, " models"]
    se_diff: Float[Array, " models"]
    p: Float[Array, " models"]

    def __str__(self) -> str:
        width = max(map(len, self.names), default=0)
        lines = [f"{'':{width}} {'elpd':>10} {'se':>8} {'diff':>9} {'se diff':>8} {'p':>7}"]
        columns = self.elpd, self.se, self.elpd_diff, self.se_diff, self.p
        rows = zip(self.names, *(np.asarray(x).tolist() for x in columns))
        lines += [f"{n:{width}} {e:10.2f} {s:8.2f} {d:9.2f} {sd:8.2f} {p:7.2f}" for n, e, s, d, sd, p in rows]
        return "\n".join(lines)


@checked
def compare(results: Mapping[str, LOO | WAIC] | Sequence[LOO | WAIC]) -> Comparison:
    """Models side by side, by what `loo` or `waic` found for the same observations.

    The standard error of a difference is that of the differences at each observation, which is smaller than those of
    the models suggest, since they find the same observations hard.

    **Arguments:** `results`: by name, or a sequence (then the names are "0", "1", ...). Not under `jit`: the order
    depends on the numbers.

    **Raises:** `ValueError` where kinds or observations differ or there are none.
    """
    named = dict(results) if isinstance(results, Mapping) else {str(i): r for i, r in enumerate(results)}
    if not named:
        raise ValueError("compare needs at least one result")
    first = next(iter(named.values()))
    for name, result in named.items():
        if type(result) is not type(first) or result.elpd_i.shape != first.elpd_i.shape:
            raise ValueError(
                f"compare takes results of one kind for the same observations: {name!r} is a {type(result).__name__} "
                f"of shape {result.elpd_i.shape}, not a {type(first).__name__} of shape {first.elpd_i.shape}"
            )
    order = sorted(named, key=lambda name: -float(named[name].elpd))
    best, models = named[order[0]], [named[name] for name in order]
    gaps = [best.elpd_i - model.elpd_i for model in models]
    return Comparison(
        tuple(order),
        jnp.stack([model.elpd for model in models]),
        jnp.stack([model.se for model in models]),
        jnp.stack([jnp.sum(gap) for gap in gaps]),
        jnp.stack([_standard_error(gap) for gap in gaps]),
        jnp.stack([jnp.sum(model.p_i) for model in models]),
    )
