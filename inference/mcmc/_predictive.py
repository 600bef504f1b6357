"""A model beside its draws: pointwise likelihoods, predictive draws, and comparisons of models."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from distrax_like._arguments import checked
from distrax_like._misc import Checked, Seed, as_key, describe
from distrax_like.distributions import Distribution, Independent, JointDistribution, JointDistributionPinned, Sample
from distrax_like.distributions._deterministic import computed
from distrax_like.inference import stats

# So many draws are evaluated at once.
_AT_ONCE = 256


@checked
def log_likelihood(model: JointDistributionPinned, samples: PyTree) -> dict[str, np.ndarray]:
    """The log density of every observation at every draw.

    The batch dimensions of a site, and those of `Sample` and `Independent`, count as observations, each with a term of
    its own.

    **Arguments:** `model`: the pinned model; `samples`: what `sample` returned for it, or draws of the sites that are
    not pinned in their container, of shape `(draw, chain, ...)`.

    **Returns:** for each pinned site an array `(draw, chain, *observations)`.

    **Raises:** `ValueError` for draws that do not fit the model, naming the site.
    """
    return _of_draws("log_likelihood", _log_likelihoods, model, samples)


@checked
def predictive(model: JointDistributionPinned, samples: PyTree, *, seed: Seed | None = None) -> dict[str, np.ndarray]:
    """New data for every draw: draws of the pinned sites given those of the others.

    **Arguments:** see `log_likelihood`; `seed`: a key.

    **Returns:** for each pinned site, and each without randomness such as a `Deterministic`, an array
    `(draw, chain, ...)`.

    **Raises:** see `log_likelihood`; `TypeError` without a seed.
    """
    return _of_draws("predictive", _predicted, model, samples, as_key(seed, "predictive"))


@checked
def loo(model: JointDistributionPinned, samples: PyTree) -> stats.LOO:
    """Leave-one-out cross-validation of a model: `stats.loo` of its `log_likelihood`, over all observations.

    **Arguments, raises:** see `log_likelihood`; `ValueError` where nothing is pinned.
    """
    terms = list(_of_draws("loo", _log_likelihoods, model, samples).values())
    if not terms:
        raise ValueError("loo: the model has no pinned site, so there are no observations to leave out")
    # One site keeps the shape of its observations.
    return stats.loo(terms[0] if len(terms) == 1 else np.concatenate([_flat(x) for x in terms], axis=-1))


def _check_models(models: object, who: str) -> None:
    if not isinstance(models, Mapping) or not all(isinstance(x, tuple) and len(x) == 2 for x in models.values()):
        raise TypeError(f"{who} must be a dictionary of pairs (model, samples), got {describe(models)}")


@checked
def compare(
    models: Annotated[Mapping[str, tuple[JointDistributionPinned, PyTree]], Checked(_check_models)],
) -> stats.Comparison:
    """Models of the same observations side by side by `loo`, the best first; see `stats.compare`.

    **Arguments:** `models`: by name, each with its samples.

    **Raises:** see `log_likelihood`; `ValueError` where the observations differ or there are no models.
    """
    return stats.compare({name: loo(model, samples) for name, (model, samples) in models.items()})


def observations(model: JointDistributionPinned) -> dict[str, np.ndarray]:
    """The pinned values by site."""
    return {name: np.asarray(x) for name, x in model.pins.items()}


def prior_draws(model: JointDistributionPinned, num: int, seed: Seed) -> dict[str, dict[str, np.ndarray]]:
    """`num` draws of all sites of one chain, as the groups `prior` and `prior_predictive`."""
    sites, values = model.distribution._sites(), _prior(model.distribution, num, as_key(seed, "prior"))
    data = {"prior": lambda name: name not in model.pins, "prior_predictive": lambda name: name in model.pins}
    return {group: {n: np.asarray(values[n]) for n in sites if belongs(n)} for group, belongs in data.items()}


@eqx.filter_jit
def _prior(joint: JointDistribution, num: int, key: Seed) -> dict[str, Array]:
    return joint._draw((num, 1), key, None)[2]


def _flat(x: np.ndarray) -> np.ndarray:
    return np.reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))


def _of_draws(
    who: str, fn: Callable[..., Any], model: JointDistributionPinned, samples: PyTree, key: Array | None = None
) -> dict[str, np.ndarray]:
    """`fn` of the model and every draw, by site, as arrays `(draw, chain, ...)`."""
    sites = model.distribution._sites()
    free = model._free(sites)
    draws = getattr(samples, "draws", samples)
    values = {n: x for n, x in free.all_by_name(who, (draws,), {}).items() if n not in sites.computed}
    for name, x in values.items():
        if x.ndim != len(sites[name]) + 2 or x.shape[2:] != sites[name]:
            raise ValueError(f"{who}: draws of {name!r} must have shape (draw, chain, *{sites[name]}), got {x.shape}")
    leads = {x.shape[:2] for x in values.values()}
    if len(leads) != 1:
        listing = ", ".join(f"{x.shape[:2]} of {name!r}" for name, x in values.items()) or "none of a random site"
        raise ValueError(f"{who}: draws of all sites must have the same numbers of draws and chains, got {listing}")
    (lead,) = leads
    flat = {name: jnp.reshape(x, (math.prod(lead), *sites[name])) for name, x in values.items()}
    keys = None if key is None else jax.random.split(key, math.prod(lead))
    out = _mapped(fn, model, flat, keys)
    return {name: np.reshape(np.asarray(out[name]), (*lead, *out[name].shape[1:])) for name in sites if name in out}


@eqx.filter_jit
def _mapped(fn: Callable[..., Any], model: JointDistributionPinned, values: PyTree, keys: Any) -> dict[str, Array]:
    n, every = len(jtu.tree_leaves(values)[0]), jax.vmap(lambda args: fn(model, *args))
    if n <= _AT_ONCE:
        return every((values, keys))
    size, calls = _AT_ONCE, -(-n // _AT_ONCE)
    # Rows beyond the last are others again. `lax.map` with a batch size fails for arrays without numbers.
    rows = jnp.reshape(jnp.arange(calls * size) % n, (calls, size))
    out = jax.lax.map(lambda some: every(jtu.tree_map(lambda x: x[some], (values, keys))), rows)
    return jtu.tree_map(lambda x: jnp.reshape(x, (calls * size, *x.shape[2:]))[:n], out)


def _log_likelihoods(model: JointDistributionPinned, values: dict[str, Array], key: None) -> dict[str, Array]:
    terms: dict[str, Array] = {}

    def visit(name: str, distribution: Distribution) -> Array:
        if name in model.pins:
            terms[name] = _pointwise(distribution, model.pins[name])
            return model.pins[name]
        return _given(values, name, distribution)

    model.distribution._run(visit)
    return terms


def _pointwise(distribution: Distribution, value: Array) -> Array:
    """The log density of each observation that a site consists of."""
    if isinstance(distribution, Independent):
        return _pointwise(distribution.distribution, value)
    if isinstance(distribution, Sample):
        return _pointwise(distribution._expanded(), value)
    return distribution.log_prob(value)


def _given(values: Mapping[str, Array], name: str, distribution: Distribution) -> Array:
    known = computed(distribution)
    return values[name] if known is None else known[0]


def _predicted(model: JointDistributionPinned, values: dict[str, Array], key: Array) -> dict[str, Array]:
    sites, _, made, _ = model.distribution._draw((), key, values)
    return {name: made[name] for name in sites if name not in values}
