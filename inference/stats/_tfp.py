"""The two diagnostics of `tfp.mcmc`, with TFP's definitions. `ess` and `rhat` are better."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import promote

from ._arrays import as_axes, center, check_draws, lagged_products
from ._diagnostics import _chain_moments
from ._running import scale_reduction


@checked
def effective_sample_size(
    states: PyTree, filter_threshold: Any = 0.0, filter_beyond_lag: Any = None,
    filter_beyond_positive_pairs: Any = False, cross_chain_dims: Any = None,
) -> PyTree:  # fmt: skip
    """The effective sample size of each chain, n / (1 + 2 Σ_k (1 - k / n) R_k) with autocorrelations R.

    **Arguments:** every one but `states` may be a tree like `states`, with one for each of its arrays.

    - `states`: draws along the first axis, `(draw, ...)`, or a pytree of such arrays.
    - `filter_threshold`: the sum ends before the first R below it; `None` for no such end.
    - `filter_beyond_lag`: the largest k, or `None`.
    - `filter_beyond_positive_pairs`: whether it ends where R_k + R_{k+1}, for even k, is negative, instead of by
        the threshold.
    - `cross_chain_dims`: axes of chains whose draws count together, with the variance between them; or `None`.

    **Returns:** the shape of a draw, without the axes of chains. NaN for constant draws.

    **Raises:** `ValueError` for fewer than two chains where there are axes of chains.
    """
    check_draws(states, "effective_sample_size: states")
    leaves: list[Any] = jax.tree.leaves(states)
    structure: Any = jax.tree.structure(states)

    def spread(value: Any) -> list[Any]:
        if structure == jax.tree.structure(0):
            return [value]
        if value is None or isinstance(value, bool | int | float) or getattr(value, "ndim", 1) == 0:
            return [value] * len(leaves)
        return structure.flatten_up_to(value)

    parts = map(spread, (filter_threshold, filter_beyond_lag, filter_beyond_positive_pairs, cross_chain_dims))
    sizes = [_effective_sample_size(promote(x), *args) for x, *args in zip(leaves, *parts)]
    return jax.tree.unflatten(structure, sizes)


@eqx.filter_jit
def _effective_sample_size(x: Float[Array, "draw ..."], threshold: Any, lag: Any, pairs: Any, dims: Any) -> Array:
    n, chains = x.shape[0], 1
    lags = n if lag is None else min(int(lag) + 1, n)
    x = center(x, None)
    column = (-1, *[1] * (x.ndim - 1))
    k = jnp.reshape(jnp.arange(lags), column)
    products = lagged_products(center(x, 0), lags) / (n - k)
    if dims is None:
        correlation = products / products[:1]
    else:
        axes = as_axes(dims, x.ndim)
        for i in axes:
            chains *= x.shape[i]
        if chains < 2:
            raise ValueError("effective_sample_size needs more than one chain where cross_chain_dims is given")
        means = jnp.mean(x, 0, keepdims=True)
        between = jnp.sum(center(means, axes) ** 2, axes) / (chains - 1)
        products = jnp.mean(products, axes)
        correlation = 1 - (products[:1] - products) / (products[:1] + between)
        column = (-1, *[1] * (correlation.ndim - 1))
    terms = correlation * jnp.reshape((n - jnp.arange(lags)) / n, column).astype(x.dtype)
    if pairs:
        even = lags - lags % 2
        terms, correlation = (v[0:even:2] + v[1:even:2] for v in (terms, correlation))
        low: Any = 0.0
    else:
        low = -jnp.inf if threshold is None else threshold
    kept = jnp.cumsum(correlation < low, 0) == 0
    return chains * n / (2 * jnp.sum(jnp.where(kept, terms, 0), 0) - 1)


@checked
def potential_scale_reduction(
    chains_states: PyTree, independent_chain_ndims: PositiveInt = 1, split_chains: bool = False
) -> PyTree:
    """Gelman and Rubin's potential scale reduction, a ratio of variances: near 1 where the means of chains agree.

    **Arguments:** `chains_states`: shape `(draw, chains..., ...)`, or a pytree of such arrays;
    `independent_chain_ndims`: how many dimensions of chains; `split_chains`: whether halves of chains count as chains.

    **Returns:** the shape of the draws of one chain.

    **Raises:** `ValueError` for no dimension of chains, or fewer than 2 draws (4 to split).
    """
    check_draws(chains_states, "potential_scale_reduction: chains_states")
    least = 4 if split_chains else 2

    def one(x: Any) -> Array:
        x = promote(x)
        if x.shape[0] < least:
            raise ValueError(f"potential_scale_reduction needs at least {least} draws, got {x.shape[0]}")
        chains = x.shape[1 : 1 + independent_chain_ndims]
        x = jnp.reshape(x, (x.shape[0], math.prod(chains), *x.shape[1 + independent_chain_ndims :]))
        if split_chains:
            half = x.shape[0] // 2
            x = jnp.concatenate([x[:half], x[half : 2 * half]], 1)
        return scale_reduction(*_chain_moments(x), x.shape[0], (0,))

    return jax.tree.map(one, chains_states)
