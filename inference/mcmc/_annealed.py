"""Annealed importance sampling."""

import math
import operator
from collections.abc import Callable
from typing import NamedTuple, SupportsIndex

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from distrax_like._arguments import checked
from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.inference._target import as_position, chains_shape, density_at

from ._kernel import LogDensity, Position, TransitionKernel


class AISResults(eqx.Module):
    """Both log densities at the final positions, and the kernel's info about the last transition."""

    proposal_log_prob: Float[Array, "..."]
    target_log_prob: Float[Array, "..."]
    inner_results: PyTree


class AnnealedImportanceChains(NamedTuple):
    """The final positions, the log weights, and `AISResults`."""

    next_state: Position
    ais_weights: Float[Array, "..."]
    kernel_results: AISResults


class AnnealedTarget(eqx.Module):
    """(1 - fraction) × proposal + fraction × target, in logarithms."""

    proposal_log_prob_fn: LogDensity
    target_log_prob_fn: LogDensity
    fraction: Float[Array, ""]

    def __call__(self, *position: PyTree) -> Array:
        proposal, target = self.proposal_log_prob_fn(*position), self.target_log_prob_fn(*position)
        return (1 - self.fraction) * proposal + self.fraction * target


@checked
def sample_annealed_importance_chain(
    num_steps: SupportsIndex,
    proposal_log_prob_fn: LogDensity,
    target_log_prob_fn: LogDensity,
    current_state: Position,
    make_kernel_fn: Callable[[LogDensity], TransitionKernel],
    parallel_iterations: int = 10,
    seed: Seed | None = None,
) -> AnnealedImportanceChains:
    """Estimates a normalising constant along chains that go from a proposal to a target.

    With p the proposal's and q the target's density, both up to a constant, step k of K adds log(q / p) / K at the
    position to the log weight, and makes a transition that leaves p^(1 - k/K) q^(k/K) invariant. From draws of the
    proposal E[exp(ais_weights)] = ∫q / ∫p.

    ```python
    kernel = lambda target: mcmc.HamiltonianMonteCarlo(target, 0.2, 2)
    chains = sample_annealed_importance_chain(1000, proposal.log_prob, log_density, draws, kernel, seed=key)
    log_ratio = jax.nn.logsumexp(chains.ais_weights) - jnp.log(len(draws))
    ```

    **Arguments:**

    - `num_steps`: K.
    - `proposal_log_prob_fn`, `target_log_prob_fn`: log densities. The shape B of the target at `current_state` is that
      of the chains; both must be scalars at one chain's state.
    - `current_state`: draws of the proposal, as for `sample_chain`.
    - `make_kernel_fn`: a function from a log density of one chain to a `TransitionKernel`.
    - `parallel_iterations`: ignored.
    - `seed`: a key; chain c draws from `fold_in(seed, c)`.

    **Returns:** `AnnealedImportanceChains`: the final positions, log weights of shape B, and `AISResults`. A chain that
    meets a density of the target that is zero or not finite has the weight minus infinity.

    **Raises:** `ValueError` where the state's parts and the target disagree on the chains, or a log density of one
    chain is not a scalar, or for fewer than one step; `TypeError` without a seed.

    R. Neal, Annealed importance sampling, Statistics and Computing 11 (2001).
    """
    who = "sample_annealed_importance_chain"
    num = operator.index(num_steps)
    if num < 1:
        raise ValueError(f"{who}: num_steps must be at least 1, got {num}")
    key = as_key(seed, who)
    position = as_position(current_state, who)
    proposal = as_callable(proposal_log_prob_fn, f"{who}: proposal_log_prob_fn")
    target = as_callable(target_log_prob_fn, f"{who}: target_log_prob_fn")
    make = as_callable(make_kernel_fn, f"{who}: make_kernel_fn")
    chains = chains_shape(target, position, who)
    return AnnealedImportanceChains(*_run((proposal, target, make), position, key, num, chains))


@eqx.filter_jit
def _run(
    functions: tuple[LogDensity, LogDensity, Callable[[LogDensity], TransitionKernel]],
    position: Position,
    key: Seed,
    num: int,
    chains: tuple[int, ...],
) -> tuple[Position, Float[Array, "..."], AISResults]:
    proposal, target, make = functions
    dtype = jnp.result_type(*jtu.tree_leaves(position))

    def scalar(fn: LogDensity, position: Position) -> Float[Array, ""]:
        value = density_at(fn, position, "sample_annealed_importance_chain")
        if value.shape:
            raise ValueError(
                "sample_annealed_importance_chain: the log densities of one chain must be scalars, got shape "
                f"{value.shape}"
            )
        return value.astype(dtype)

    def log_ratio(position: Position) -> Float[Array, ""]:
        p, q = scalar(proposal, position), scalar(target, position)
        return jnp.where(jnp.isfinite(q), q - p, -jnp.inf)

    def step(k: Array, position: Position, key: Seed) -> tuple[Position, PyTree]:
        init_key, step_key = jax.random.split(jax.random.fold_in(key, k))
        kernel = make(AnnealedTarget(proposal, target, (k + 1).astype(dtype) / num))
        state, info = kernel.step(kernel.init(position, seed=init_key), seed=step_key)
        return state.position, info

    def chain(position: Position, key: Seed) -> tuple[Position, Float[Array, ""], AISResults]:
        _, info = jax.eval_shape(lambda x: step(jnp.zeros((), jnp.int32), x, key), position)

        def body(k: Array, carry: tuple[Position, Array, PyTree]) -> tuple[Position, Array, PyTree]:
            position, weight, _ = carry
            weight = weight + log_ratio(position) / num
            position, info = step(k, position, key)
            return position, weight, info

        start = jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), info)
        end, weight, info = jax.lax.fori_loop(0, num, body, (position, jnp.zeros((), dtype), start))
        return end, weight, AISResults(scalar(proposal, end), scalar(target, end), info)

    flat = jtu.tree_map(lambda x: x.reshape(-1, *x.shape[len(chains) :]), position)
    keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(math.prod(chains), dtype=jnp.uint32))
    out = jax.vmap(chain)(flat, keys)
    return jtu.tree_map(lambda x: x.reshape(*chains, *x.shape[1:]), out)
