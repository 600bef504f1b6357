"""The warm-up of `sample`: windows of transitions, after which step size and metric are set for all chains."""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._misc import Seed
from distrax_like.inference._devices import as_numpy, on_mesh

from ._chains import (
    ChainSettings,
    ChainState,
    Collected,
    WarmupStage,
    run_window,
    scale_step,
    with_metric,
)
from ._hamiltonian import HamiltonianKernel, HamiltonianState, energy_drop, hamiltonian
from ._kernel import TransitionKernel, check_state
from ._run import CHUNK, Collect, CompiledChains

# Transitions in a settling window.
SETTLING_WINDOW = 10
# Settling ends when this share of the chains has converged.
_CONVERGED_SHARE = 0.75
# So often the step size is found by a new search after a new metric. Later metrics differ so little from the one before
# that the step size of dual averaging is better than the result of that rough search.
_SEARCHES = 2


def first_stage(settings: ChainSettings, num_warmup: int) -> WarmupStage:
    """The stage at which a warm-up begins."""
    adaptation = settings.adaptation
    share = adaptation.settling_share if adaptation is not None and settings.collect.learns_metric else 0.0
    return WarmupStage(int(share * num_warmup) // SETTLING_WINDOW * SETTLING_WINDOW, num_warmup, 0)


def warm_up(
    settings: ChainSettings, chains: ChainState, on_progress: Callable[[int], None]
) -> Iterator[ChainState]:
    """Runs the windows that are left, and yields the chains after each."""
    while chains.stage.settling_left:
        chains = _settling_window(settings, chains, on_progress)
        yield chains
    for length, learns in _windows(settings, chains.stage.left)[chains.stage.windows_done :]:
        chains = _metric_window(settings, chains, length, on_progress, learns)
        yield chains


def _windows(settings: ChainSettings, num_warmup: int) -> list[tuple[int, bool]]:
    """The lengths of the windows after the settling ones, and whether a metric is learnt after each."""
    if settings.adaptation is None:
        return [(CHUNK, False)] * (num_warmup // CHUNK) + [(num_warmup % CHUNK, False)]
    return settings.adaptation.windows(num_warmup)


def _settling_window(
    settings: ChainSettings, chains: ChainState, on_progress: Callable[[int], None]
) -> ChainState:
    """The chains after a settling window.

    Once most of them have converged, a metric is learnt from the window, and no other settling window follows.
    """
    settling_left, left, _ = chains.stage
    chains, collected = run_window(settings, chains, SETTLING_WINDOW, on_progress)
    which = _converged_in(collected)
    has_converged = bool(np.mean(which) >= _CONVERGED_SHARE)
    if has_converged:
        chains = _learn_metric(settings, chains, collected, which)
    settling_left = 0 if has_converged else settling_left - SETTLING_WINDOW
    return chains._replace(stage=WarmupStage(settling_left, left - SETTLING_WINDOW, 0))


def _metric_window(
    settings: ChainSettings, chains: ChainState, length: int, on_progress: Callable[[int], None], learns: bool
) -> ChainState:
    """The chains after a window, with a new metric if it `learns` one."""
    chains, collected = run_window(settings, chains, length, on_progress)
    if learns and collected and settings.collect.learns_metric:
        chains = _learn_metric(settings, chains, collected, _converged_in(collected))
    return chains._replace(stage=chains.stage._replace(windows_done=chains.stage.windows_done + 1))


def _learn_metric(
    settings: ChainSettings, chains: ChainState, collected: list[Collected], which: Bool[np.ndarray, " chains"]
) -> ChainState:
    """The chains with the metric from `which` of them, or all if none, and a new step size in the first windows."""
    adaptation = settings.adaptation
    assert adaptation is not None
    parts = (np.concatenate(parts) for parts in zip(*(chunk["for_metric"] for chunk in collected)))
    chosen = which if which.any() else ...
    draws, grads = (x[:, chosen].reshape(-1, x.shape[-1]).astype(float) for x in parts)
    good = np.isfinite(draws).all(axis=1) & np.isfinite(grads).all(axis=1)
    if good.sum() < 2:
        return chains
    kernel = with_metric(chains.kernel, adaptation.metric(draws[good], grads[good]))
    if chains.stage.windows_done < _SEARCHES:
        kernel = scale_step(settings, kernel, begin_chains(settings, kernel, chains.state.position)[1])
    return chains._replace(kernel=kernel)


def _converged_in(collected: list[Collected]) -> Bool[np.ndarray, " chains"]:
    log_density = np.concatenate([chunk["stats"]["lp"] for chunk in collected])
    return converged(log_density, collected[0]["for_metric"][0].shape[-1])


def converged(log_density: Float[np.ndarray, "transitions chains"], size: int) -> Bool[np.ndarray, " chains"]:
    """Which chains have converged, by their log densities in `size` coordinates.

    These neither rise any more, nor end far below those of the other chains.
    """
    if len(log_density) < 2:
        return np.ones(log_density.shape[1], bool)
    first, last = (half.mean(0) for half in np.array_split(log_density.astype(float), 2))
    return (last - first < size**0.5) & (last > np.median(last) - 10 * size**0.5)


def begin_chains(
    settings: ChainSettings, kernel: TransitionKernel, positions: PyTree
) -> tuple[PyTree, Float[np.ndarray, " chains"]]:
    """The kernel's state of every chain at its position, and the logarithm of a factor for its step size."""
    target_accept = 0.8 if settings.adaptation is None else settings.adaptation.target_accept_prob
    run = on_mesh(settings.mesh, settings.compiled(kernel))
    positions = on_mesh(settings.mesh, positions, settings.num_chains)
    state, log_factors = _begin(run, positions, target_accept)
    return state, as_numpy(log_factors)


@eqx.filter_jit
def _begin(run: CompiledChains, positions: PyTree, target_accept: float) -> tuple[PyTree, Float[Array, " chains"]]:
    return run.each_chain(_begin_chain, positions, (target_accept,))


def _begin_chain(
    kernel: TransitionKernel, collect: Collect, position: PyTree, key: Seed, target_accept: float
) -> tuple[PyTree, Float[Array, ""]]:
    state = kernel.init(position, seed=key)
    check_state(kernel, state)
    if not isinstance(kernel, HamiltonianKernel):
        return state, jnp.zeros(())
    return state, reasonable_log_step(kernel, state, key, target_accept)


# The number of leapfrogs, the logarithm of the factor, its direction, and whether the search continues.
_Search: TypeAlias = tuple[Int[Array, ""], Float[Array, ""], Int[Array, ""], Bool[Array, ""]]


def reasonable_log_step(
    kernel: HamiltonianKernel, state: HamiltonianState, key: Seed, target: float
) -> Float[Array, ""]:
    """The logarithm of a factor for the kernel's step size with which one leapfrog is accepted at about `target`.

    It is doubled, or halved, until the acceptance crosses the target, as in Stan.
    """
    flat = kernel.phase_space(state)
    p, force = flat.draw_momentum(key), flat.force(flat.grad)
    start = hamiltonian(flat.target_log_prob, p)

    def accepted(log_step: Float[Array, ""]) -> Bool[Array, ""]:
        scaled = eqx.tree_at(lambda f: f.step_size, flat, flat.step_size * jnp.exp(log_step))
        _, q, _, value, _ = scaled.leapfrog(1, flat.position, p, force * jnp.exp(log_step))
        return energy_drop(start, hamiltonian(value, q)) > math.log(target)

    zero = jnp.zeros((), flat.position.dtype)

    # The first pass of the loop finds the direction, so that the program holds the leapfrog once.
    def body(carry: _Search) -> _Search:
        i, log_step, direction, _ = carry
        good = accepted(log_step)
        direction = jnp.where(i == 0, jnp.where(good, 1, -1), direction)
        goes_on = (good == (direction == 1)) & (jnp.abs(log_step) < 40)
        return i + 1, jnp.where(goes_on, log_step + direction * math.log(2.0), log_step), direction, goes_on

    carry = jnp.zeros((), jnp.int32), zero, jnp.ones((), jnp.int32), jnp.asarray(True)
    return jax.lax.while_loop(lambda carry: carry[3], body, carry)[1]
