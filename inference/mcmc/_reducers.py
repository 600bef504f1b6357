"""Reducers of draws: statistics that are updated with new draws, which need not be kept."""

from collections.abc import Callable, Mapping

import equinox as eqx
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, DTypeLike, PyTree, Shaped

from distrax_like._misc import describe
from distrax_like.inference import stats

from ._sites import by_site

# Functions from the number of chains, the shape and the dtype of a site's draw to a reducer.
_NAMED: dict[str, Callable[[int, tuple[int, ...], DTypeLike], PyTree]] = {
    "moments": lambda _, shape, dtype: stats.RunningVariance.from_shape(shape, dtype),
    "covariance": lambda _, shape, dtype: stats.RunningCovariance.from_shape(shape, dtype),
    "rhat": lambda chains, shape, dtype: stats.RunningPotentialScaleReduction.from_shape((chains, *shape), 1, dtype),
    "quantiles": lambda _, shape, dtype: stats.RunningQuantiles.from_shape(shape, dtype),
}


def make_reducers(reducers: PyTree, num_chains: int, like: PyTree) -> PyTree:
    """`reducers`, where names are replaced by a reducer for every site of a draw like `like`.

    **Raises:** `ValueError` for an unknown name or site; `TypeError` for what is no reducer.
    """
    if isinstance(reducers, str):
        reducers = (reducers,)
    if not isinstance(reducers, tuple | list):
        _check(reducers, by_site(like))
        return reducers
    if unknown := [name for name in reducers if name not in _NAMED]:
        raise ValueError(f"sample: reducers by name are {', '.join(_NAMED)}, got {', '.join(map(repr, unknown))}")
    sites = by_site(like)
    return {name: {site: _NAMED[name](num_chains, x.shape, x.dtype) for site, x in sites.items()} for name in reducers}


def _check(reducers: object, sites: Mapping[str, object]) -> None:
    if reducers is None or callable(getattr(reducers, "update", None)) and not isinstance(reducers, Mapping):
        return
    if not isinstance(reducers, Mapping):
        raise TypeError(
            f"sample: reducers must be names, a reducer with a method update, or a dictionary of reducers, got "
            f"{describe(reducers)}"
        )
    for name, reducer in reducers.items():
        if isinstance(reducer, tuple) and len(reducer) == 2 and callable(reducer[0]):
            reducer = reducer[1]
        elif not isinstance(reducer, Mapping) and name not in sites:
            raise ValueError(f"sample: reducers[{name!r}] is of no site; the sites are {', '.join(sites)}")
        if isinstance(reducer, Mapping):
            _check(reducer, sites)
        elif not callable(getattr(reducer, "update", None)):
            raise TypeError(f"sample: reducers[{name!r}] must have a method update, got {describe(reducer)}")


def update_reducers(reducers: PyTree, draws: PyTree[np.ndarray]) -> PyTree:
    """The reducers after more draws, of shape `(draw, chain, ...)`."""
    if reducers is None:
        return None
    if not isinstance(reducers, Mapping):
        return _update(reducers, draws)
    sites = by_site(draws)
    out = {}
    for name, reducer in reducers.items():
        if isinstance(reducer, tuple):
            out[name] = reducer[0], _update(reducer[1], reducer[0](draws))
        elif isinstance(reducer, Mapping):
            out[name] = update_reducers(reducer, draws)
        else:
            out[name] = _update(reducer, sites[name])
    return out


@eqx.filter_jit
def _update(reducer: PyTree, x: PyTree[Shaped[Array | np.ndarray, "draw chain ..."]]) -> PyTree:
    if not hasattr(reducer, "independent_chain_ndims"):
        x = jtu.tree_map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), x)
    return reducer.update(x, axis=0)
