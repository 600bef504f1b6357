"""Checks of inference by simulation: ranks of true parameters among draws, and posterior predictive data."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from distrax_like._arguments import checked
from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.distributions._joint import JointDistribution, JointDistributionPinned

from ._uniformity import ECDFBands, ecdf_bands, uniformity_p_value


class SimulationBasedCalibration(eqx.Module):
    """What `simulation_based_calibration` found.

    - `ranks`: by site, of shape `(simulation, ...)`: how many of the draws, from 0 to `num_draws`, lie below the
        parameter that the data were drawn with.
    """

    ranks: dict[str, Int[Array, "simulation ..."]]
    num_draws: int = eqx.field(static=True)

    def ecdf_bands(self, prob: float = 0.95) -> dict[str, ECDFBands]:
        """The distribution function of each parameter's ranks, with bands that hold for all points at once."""
        return {name: ecdf_bands(x, self.num_draws + 1, prob) for name, x in self.ranks.items()}

    def p_values(self) -> dict[str, Float[Array, "..."]]:
        """The p-value of each parameter's ranks for uniform ones; see `uniformity_p_value`."""
        return {name: uniformity_p_value(x, self.num_draws + 1) for name, x in self.ranks.items()}


@checked
def simulation_based_calibration(
    joint: JointDistribution, observed: str | Sequence[str], sample_posterior: Callable[[Any, Any], Any],
    num_simulations: int, *, seed: Seed, thin: int = 1, batch_size: int | None = None, traced: bool = True,
) -> SimulationBasedCalibration:  # fmt: skip
    """Checks by the ranks of true parameters among its draws whether an inference algorithm draws from the posterior.

    Parameters and data are drawn from the model repeatedly, and the algorithm is run on the data. If it is correct and
    its draws are independent, the ranks of the parameters among the draws are uniform, so correlated draws must be
    thinned. Ties, of discrete parameters, are broken at random.

    **Arguments:**

    - `joint`: the model; `observed`: the sites that are data.
    - `sample_posterior`: maps a dict of the observed sites' values and a key to draws of some of the other sites, in
        a dict by name or the container of the free sites, of shape `(draw, ...)` or `(draw, chain, ...)`.
    - `num_simulations`: the number of simulations; `thin`: every `thin`-th draw of a chain is kept.
    - `batch_size`: how many simulations run at once; one after the other by default.
    - `traced`: whether `sample_posterior` is traced once; if not it is called for each simulation, with arrays, as
        `mcmc.sample` needs, which drives its chains from the host.

    **Returns:** a `SimulationBasedCalibration`.

    **Raises:** `ValueError` for unknown sites, draws of a wrong shape, or none.

    S. Talts, M. Betancourt, D. Simpson, A. Vehtari and A. Gelman, Validating Bayesian inference algorithms with
    simulation-based calibration (2018).
    """
    key = as_key(seed, "simulation_based_calibration")
    sites = joint._sites()
    names = (observed,) if isinstance(observed, str) else tuple(observed)
    for name in names:
        if name not in sites:
            raise ValueError(f"{type(joint).__name__} has no site {name!r} (sites: {', '.join(sites)})")
    if thin < 1 or num_simulations < 1:
        raise ValueError(f"num_simulations and thin must be at least 1, got {num_simulations} and {thin}")
    free = {name: shape for name, shape in sites.items() if name not in names}
    fn = as_callable(sample_posterior, "sample_posterior")
    if traced:
        return SimulationBasedCalibration(*_simulate(joint, names, free, fn, key, num_simulations, thin, batch_size))
    ranks, num_draws = [], 0
    for i in range(num_simulations):
        values, draw_key, tie_key = _truth(joint, key, jnp.asarray(i))
        draws = _draws_by_name(joint, fn({name: values[name] for name in names}, draw_key), free)
        out, num_draws = _ranks(values, draws, free, thin, tie_key)
        ranks.append(out)
    return SimulationBasedCalibration(jax.tree.map(lambda *xs: jnp.stack(xs), *ranks), num_draws)


@eqx.filter_jit
def _simulate(
    joint: JointDistribution, names: tuple[str, ...], free: dict[str, Any], fn: Callable[..., Any], key: Seed,
    num_simulations: int, thin: int, batch_size: int | None,
) -> tuple[dict[str, Array], int]:  # fmt: skip
    num_draws = 0

    def one(i: Array) -> dict[str, Array]:
        nonlocal num_draws
        values, draw_key, tie_key = _truth(joint, key, i)
        draws = _draws_by_name(joint, fn({name: values[name] for name in names}, draw_key), free)
        out, num_draws = _ranks(values, draws, free, thin, tie_key)
        return out

    ranks = jax.lax.map(one, jnp.arange(num_simulations), batch_size=batch_size)
    return ranks, num_draws


@eqx.filter_jit
def _truth(joint: JointDistribution, key: Seed, i: Array) -> tuple[dict[str, Array], Any, Any]:
    """Parameters and data of a simulation, and keys for its draws and its ties."""
    data_key, draw_key, tie_key = jax.random.split(jax.random.fold_in(key, i), 3)
    return joint._draw((), data_key, None)[2], draw_key, tie_key


@eqx.filter_jit
def _ranks(
    values: dict[str, Array], draws: dict[str, Array], free: dict[str, Any], thin: int, key: Seed
) -> tuple[dict[str, Array], int]:
    """The rank of each value among its draws, and their number."""
    out, numbers = {}, []
    for number, (name, x) in enumerate(draws.items()):
        x = _flat_draws(name, jnp.asarray(x), free[name], thin)
        numbers.append(x.shape[0])
        below, same = jnp.sum(x < values[name], 0), jnp.sum(x == values[name], 0)
        ties = jax.random.randint(jax.random.fold_in(key, number), below.shape, 0, same + 1)
        out[name] = below + ties.astype(below.dtype)
    if len(set(numbers)) != 1:
        raise ValueError(f"sample_posterior must return as many draws of every site, got {sorted(set(numbers))}")
    return out, numbers[0]


def _draws_by_name(joint: JointDistribution, draws: Any, free: Mapping[str, Any]) -> dict[str, Array]:
    named = joint._sites().only(free).by_name(draws)
    if not named:
        raise ValueError("draws of at least one site are needed")
    return named


def _flat_draws(name: str, x: Array, shape: tuple[int, ...], thin: int) -> Array:
    lead = x.ndim - len(shape)
    if lead not in (1, 2) or x.shape[lead:] != shape:
        raise ValueError(
            f"draws of {name!r} must have the shape (draw,) or (draw, chain) and then {shape}, got {x.shape}"
        )
    kept = x[::thin]
    return jnp.reshape(kept, (math.prod(kept.shape[:lead]), *shape))


class PosteriorPredictiveCheck(eqx.Module):
    """What `posterior_predictive_check` found.

    - `observed`: the statistics of the data; `replicated`: those of data that are drawn for each draw, of shape
        `(draw, chain, ...)`.
    """

    observed: PyTree
    replicated: PyTree
    _sample_ndims: int = eqx.field(static=True)

    @property
    def tail_probabilities(self) -> PyTree:
        """The share of replicated statistics above the observed one, plus half the share of equal ones.

        Near 0 or 1: the model does not make data like these.
        """
        axes = tuple(range(self._sample_ndims))

        def share(new: Array, old: Array) -> Array:
            new = jnp.asarray(new)
            above = (new > old) + (new == old) / 2
            return jnp.where(jnp.any(jnp.isnan(new), axes) | jnp.isnan(old), jnp.nan, jnp.mean(above, axes))

        return jax.tree.map(share, self.replicated, self.observed)


@checked
def posterior_predictive_check(
    pinned: JointDistributionPinned, draws: PyTree, statistics: Callable[[dict[str, Array]], PyTree], *, seed: Seed,
    observed: Sequence[str] | None = None,
) -> PosteriorPredictiveCheck:  # fmt: skip
    """Compares statistics of the data with those of data drawn from the model with the parameters of each draw.

    **Arguments:**

    - `pinned`: the model with its data, `joint.pin(...)`.
    - `draws`: of the free sites, in their container or a dict, of shape `(draw, chain, ...)` (or any sample shape).
    - `statistics`: maps a dict of data by site to a number or a pytree of arrays.
    - `observed`: the pinned sites to draw again, all by default; the others keep their values.

    **Returns:** a `PosteriorPredictiveCheck`.
    """
    key = as_key(seed, "posterior_predictive_check")
    names = tuple(pinned.pins) if observed is None else tuple(observed)
    for name in names:
        if name not in pinned.pins:
            raise ValueError(f"the site {name!r} is not pinned (pinned: {', '.join(pinned.pins)})")
    return _check(pinned, draws, as_callable(statistics, "statistics"), key, names)


@eqx.filter_jit
def _check(
    pinned: JointDistributionPinned, draws: PyTree, statistics: Callable[..., Any], key: Seed, names: tuple[str, ...]
) -> PosteriorPredictiveCheck:
    joint = pinned.distribution
    sites = joint._sites()
    free = pinned._free(sites)
    values = free.all_by_name("posterior_predictive_check", (draws,), {})
    values = {name: x for name, x in values.items() if name not in sites.computed}
    lead: Any = jnp.broadcast_shapes(*(x.shape[: x.ndim - len(free[name])] for name, x in values.items()))
    given = values | {name: x for name, x in pinned.pins.items() if name not in names}
    made = joint._draw((), key, given)[2]

    def of(data: dict[str, Array]) -> PyTree:
        return jax.tree.map(jnp.asarray, statistics(data))

    whole = {name: jnp.broadcast_to(made[name], lead + sites[name]) for name in names}
    flat = {name: jnp.reshape(x, (math.prod(lead), *sites[name])) for name, x in whole.items()}
    new = jax.tree.map(lambda x: jnp.reshape(x, lead + x.shape[1:]), jax.vmap(of)(flat))
    return PosteriorPredictiveCheck(of({name: pinned.pins[name] for name in names}), new, len(lead))
