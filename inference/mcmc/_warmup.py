"""The warm-up of `sample`: windows of transitions, after which step size and metric are set for all chains."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._misc import Seed
from distrax_like.inference._devices import as_numpy, on_mesh
from distrax_like.inference._start import is_finite, where_chains

from ._chains import (
    ChainSettings,
    ChainState,
    Collected,
    WarmupStage,
    run_window,
    share_step,
    with_metric,
)
from ._hamiltonian import HamiltonianKernel, HamiltonianState, energy_drop, hamiltonian
from ._kernel import TransitionKernel, check_state
from ._run import CHUNK, CompiledChains

# Transitions in a settling window.
SETTLING_WINDOW = 10
# Settling ends when this share of the chains has converged.
_CONVERGED_SHARE = 0.75
# So often the step size is found by a new search after a new metric. Later metrics differ so little from the one before
# that the step size of dual averaging is better than the result of that rough search.
_SEARCHES = 2
# So often in the settling windows, by their transitions, chains that are stuck are moved.
_TRANSITIONS_BEFORE_MOVE = 50
# The numbers of fresh starts begin here; the first starts have smaller ones.
_FIRST_RESTART = 1000
# The acceptance rate aimed at, unless the adaptation names another one, and the highest it is raised to.
_TARGET_ACCEPT, _MAX_TARGET_ACCEPT = 0.8, 0.98
# The mean of (1 - acceptance rate)^4 up to which the target is not raised. That of a normal target accepted at 0.8 is
# 0.011; where some transitions are all but rejected it is far larger, though the mean acceptance rate is the same.
_MAX_REJECTION = 0.018


def first_stage(settings: ChainSettings, num_warmup: int) -> WarmupStage:
    """The stage at which a warm-up begins."""
    adaptation = settings.adaptation
    share = adaptation.settling_share if adaptation is not None and settings.collect.learns_metric else 0.0
    settling = int(share * num_warmup) // SETTLING_WINDOW * SETTLING_WINDOW
    return WarmupStage(settling, num_warmup, 0, base_target(settings))


def base_target(settings: ChainSettings) -> float:
    """The acceptance rate that a warm-up begins with."""
    adaptation = settings.adaptation
    given = None if adaptation is None else adaptation.target_accept_prob
    return _TARGET_ACCEPT if given is None else given


def warm_up(
    settings: ChainSettings, chains: ChainState, on_progress: Callable[[int], None]
) -> Iterator[ChainState]:
    """Runs the windows that are left, and yields the chains after each."""
    while chains.stage.settling_left:
        chains = _settling_window(settings, chains, on_progress)
        yield chains
    for length, learns in windows(settings, chains.stage.left)[chains.stage.windows_done :]:
        chains = _metric_window(settings, chains, length, on_progress, learns)
        yield chains


def windows(settings: ChainSettings, num_warmup: int) -> list[tuple[int, bool]]:
    """The lengths of the windows after the settling ones, and whether a metric is learnt after each."""
    if settings.adaptation is None:
        return [(CHUNK, False)] * (num_warmup // CHUNK) + [(num_warmup % CHUNK, False)]
    return settings.adaptation.windows(num_warmup)


def _settling_window(
    settings: ChainSettings, chains: ChainState, on_progress: Callable[[int], None]
) -> ChainState:
    """The chains after a settling window.

    Once most of them have converged, a metric is learnt from the window, and no other settling window follows. A chain
    that has not arrived searches its step size anew; from time to time, and at the end, those that are stuck are moved.
    (Which start to choose is left to chance: the densest of several is often in the basin of a local mode.)
    """
    settling_left, left, _, _ = chains.stage
    chains, collected = run_window(settings, chains, SETTLING_WINDOW, on_progress)
    progress = _progress(settings, collected)
    chains = share_step(settings, chains, progress.has_arrived)
    has_converged = bool(np.mean(progress.has_arrived) >= _CONVERGED_SHARE)
    settling_left = 0 if has_converged else settling_left - SETTLING_WINDOW
    stage = chains.stage._replace(settling_left=settling_left, left=left - SETTLING_WINDOW)
    chains = chains._replace(stage=stage)
    if settling_left % _TRANSITIONS_BEFORE_MOVE == 0:
        chains = without_stuck_chains(settings, chains, progress)
    if has_converged:
        chains = _learn_metric(settings, chains, collected, progress.has_arrived)
    elif not progress.has_arrived.all():
        found = begin_chains(settings, chains.kernel, chains.state.position)[1]
        chains = chains._replace(log_factors=np.where(progress.has_arrived, chains.log_factors, found))
    return chains


def _metric_window(
    settings: ChainSettings, chains: ChainState, length: int, on_progress: Callable[[int], None], learns: bool
) -> ChainState:
    """The chains after a window, with a new metric if it `learns` one."""
    chains, collected = run_window(settings, chains, length, on_progress)
    if settings.adaptation is None or not collected:
        return _next_window(chains)
    progress = _progress(settings, collected)
    if learns:
        chains = share_step(settings, chains, progress.has_arrived)
        chains = without_stuck_chains(settings, chains, progress)
        chains = _with_target(settings, chains, collected, progress.has_arrived)
        if settings.collect.learns_metric:
            chains = _learn_metric(settings, chains, collected, progress.has_arrived)
    else:
        # The last window: from here on all chains have one step size.
        chains = share_step(settings, chains, progress.has_arrived)
        chains = chains._replace(log_factors=np.zeros_like(chains.log_factors))
    return _next_window(chains)


def _next_window(chains: ChainState) -> ChainState:
    return chains._replace(stage=chains.stage._replace(windows_done=chains.stage.windows_done + 1))


def _with_target(
    settings: ChainSettings, chains: ChainState, collected: list[Collected], which: Bool[np.ndarray, " chains"]
) -> ChainState:
    r"""The chains with the acceptance rate to aim at in the next window, unless the adaptation fixes it.

    In a heavy tail or a narrow valley a step that suits the bulk of the target is rejected nearly always, so the chains
    hardly get there, and the mean acceptance rate does not show it. The mean of $r = (1 - a)^4$ over the acceptance
    rates a does: it falls about with the square of 1 - target, so the target for the next window is the one at which it
    would be at its bound, but not below 0.8.
    """
    adaptation = settings.adaptation
    stats = [chunk["stats"] for chunk in collected]
    if adaptation is None or adaptation.target_accept_prob is not None or "acceptance_rate" not in stats[0]:
        return chains
    accepted = np.concatenate([x["acceptance_rate"] for x in stats])
    rejected = (1 - np.nan_to_num(accepted.astype(float))) ** 4
    if "diverging" in stats[0]:
        rejected = np.maximum(rejected, np.concatenate([x["diverging"] for x in stats]))
    # The first half of a window is also that of the step size's adaptation.
    mean = np.mean(rejected[len(rejected) // 2 :, which if which.any() else ...])
    room = (1 - chains.stage.target_accept) * np.sqrt(_MAX_REJECTION / max(mean, 1e-12))
    target = 1 - float(np.clip(room, 1 - _MAX_TARGET_ACCEPT, 1 - _TARGET_ACCEPT))
    return chains._replace(stage=chains.stage._replace(target_accept=target))


def without_stuck_chains(settings: ChainSettings, chains: ChainState, progress: "Progress") -> ChainState:
    """The chains, those that are stuck moved to a fresh start, or where starts are given to where others are."""
    stuck = progress.is_stuck
    if not stuck.any():
        return chains
    if settings.draw_start is not None:
        positions = settings.draw_start(_FIRST_RESTART + int(chains.num_transitions))
    else:
        others = np.flatnonzero(progress.has_arrived if progress.has_arrived.any() else ~stuck)
        others = others[np.arange(settings.num_chains) % len(others)]
        positions = jtu.tree_map(lambda x: as_numpy(x)[others], chains.state.position)
    state, found = begin_chains(settings, chains.kernel, positions)
    moves = stuck & is_finite(state)
    return chains._replace(
        state=where_chains(moves, state, chains.state),
        log_factors=np.where(moves, found, chains.log_factors),
        is_moved=chains.is_moved | moves,
    )


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
    chains = chains._replace(kernel=with_metric(chains.kernel, adaptation.metric(draws[good], grads[good])))
    if chains.stage.windows_done < _SEARCHES:
        found = begin_chains(settings, chains.kernel, chains.state.position)[1]
        chains = share_step(settings, chains._replace(log_factors=found), which)
    return chains


class Progress(NamedTuple):
    """Which chains have arrived at the mass of the target, and which are stuck elsewhere."""

    has_arrived: Bool[np.ndarray, " chains"]
    is_stuck: Bool[np.ndarray, " chains"]


def _progress(settings: ChainSettings, collected: list[Collected]) -> Progress:
    if "lp" not in collected[0]["stats"]:
        return Progress(np.ones(settings.num_chains, bool), np.zeros(settings.num_chains, bool))
    log_density = np.concatenate([chunk["stats"]["lp"] for chunk in collected])
    size = sum(x[0, 0].size for x in jtu.tree_leaves(collected[0]["draws"]))
    return progress_of(log_density, size)


def progress_of(log_density: Float[np.ndarray, "transitions chains"], size: int) -> Progress:
    """What the log densities of a window, in `size` coordinates, say about the chains.

    Those that have arrived neither rise any more, nor end far below the others. Those that are stuck end far below, and
    do not rise.
    """
    num = log_density.shape[1]
    if len(log_density) < 2:
        return Progress(np.ones(num, bool), np.zeros(num, bool))
    first, last = (half.mean(0) for half in np.array_split(log_density.astype(float), 2))
    rises = last - first >= size**0.5
    # Of many the second highest counts, so that one chain in a narrow peak does not make all others look lost.
    is_low = last < np.sort(last)[-1 if num < 4 else -2] - 10 * size**0.5
    return Progress(~rises & ~is_low, ~rises & is_low)


def begin_chains(
    settings: ChainSettings, kernel: TransitionKernel, positions: PyTree
) -> tuple[PyTree, Float[np.ndarray, " chains"]]:
    """The kernel's state of every chain at its position, and the logarithm of a factor for its step size."""
    target_accept = base_target(settings)
    run = on_mesh(settings.mesh, settings.compiled(kernel))
    positions = on_mesh(settings.mesh, positions, settings.num_chains)
    state, log_factors = _begin(run, positions, target_accept)
    return state, as_numpy(log_factors)


@eqx.filter_jit
def _begin(run: CompiledChains, positions: PyTree, target_accept: float) -> tuple[PyTree, Float[Array, " chains"]]:
    return run.each_chain(_begin_chain, positions, (target_accept,))


def _begin_chain(
    run: CompiledChains, position: PyTree, key: Seed, target_accept: float
) -> tuple[PyTree, Float[Array, ""]]:
    kernel = run.kernel
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
