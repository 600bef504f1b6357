"""The chains of a run of `sample`: their state, what they collect, and transitions with or without adaptation."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._misc import Seed, describe
from distrax_like.inference._devices import as_numpy, on_host
from distrax_like.inference._target import as_draw

from ._adaptation import DualAveragingState, DualAveragingStepSizeAdaptation
from ._kernel import TransitionKernel
from ._metric import Metric
from ._metric_adaptation import Adaptation
from ._run import CHUNK, CompiledChains, HostLoop, KernelResults
from ._samples import sample_stats

# What the chains have collected in a call of the compiled program, by name; see `CollectDraws`.
Collected: TypeAlias = dict[str, PyTree]

# Positions, gradients and draws of one call take at most about this many bytes.
_BYTES_PER_CALL = 2**28
# A number of adaptation steps that no run reaches: a state that has made as many no longer adapts.
_NEVER = 2**30


class WarmupStage(NamedTuple):
    """How far the warm-up has come.

    - `settling_left`: transitions that may still be made in settling windows.
    - `left`: transitions in the windows after the settling ones.
    - `windows_done`: how many of the windows after the settling ones are complete.
    - `target_accept`: the acceptance rate that the next window aims at.
    """

    settling_left: int
    left: int
    windows_done: int
    target_accept: float


class ChainState(NamedTuple):
    """All that changes in the chains of a run.

    - `kernel`: with the present step size and metric.
    - `state`: the kernel's state of every chain, with a leading axis of chains.
    - `num_transitions`: of each chain.
    - `log_factors`: the logarithm of each chain's step size over the kernel's. It is zero but for chains that have not
      arrived at the mass of the target.
    - `is_moved`: which chains have been put elsewhere during the warm-up, because they were stuck.
    - `stage`: of the warm-up.
    """

    kernel: TransitionKernel
    state: PyTree
    num_transitions: Int[Array, ""]
    log_factors: Float[np.ndarray, " chains"]
    is_moved: Bool[np.ndarray, " chains"]
    stage: WarmupStage


class CollectDraws(eqx.Module):
    """What a transition contributes to a run: the draw, statistics, the trace, and what the metric is learnt from."""

    trace_fn: Callable[[PyTree, PyTree], PyTree] | None = eqx.field(static=True)
    learns_metric: bool = eqx.field(static=True)

    def __call__(self, kernel: TransitionKernel, state: PyTree, info: PyTree, counts: PyTree) -> Collected:
        position = state.position
        draw = as_draw(kernel.log_density(), position)
        out = {"draws": draw, "stats": sample_stats(info), "counts": counts}
        if self.trace_fn is not None:
            out["trace"] = self.trace_fn(draw, info)
            for leaf in jtu.tree_leaves(out["trace"]):
                if not eqx.is_array_like(leaf):
                    raise TypeError(f"sample: trace_fn must return arrays, got {describe(leaf)}")
        if self.learns_metric:
            out["for_metric"] = tuple(ravel_pytree(tree)[0] for tree in (position, state.grads_target_log_prob))
        return out


def count_events(info: PyTree) -> dict[str, Int[Array, ""]]:
    """What is counted over all transitions, those between kept draws too."""
    stats = sample_stats(info)
    names = {"diverging": "diverging", "reached_max_treedepth": "reached_max_depth"}
    return {name: stats[key].astype(jnp.int32) for key, name in names.items() if key in stats}


class ChainSettings(NamedTuple):
    """All that stays the same in the chains of a run.

    Without an `adaptation` nothing is adapted; with one the step size is, and the metric where `collect` learns it.
    `draw_start` gives fresh starting points, from the number of an attempt; it is `None` where the points are given.
    """

    num_chains: int
    seed: Seed
    execution: str
    adaptation: Adaptation | None
    collect: CollectDraws
    mesh: Mesh | None
    draw_start: Callable[[int], PyTree] | None = None

    def compiled(self, kernel: TransitionKernel) -> CompiledChains:
        """The compiled loop for these chains."""
        first = jnp.zeros((), jnp.int32)
        return CompiledChains(
            kernel, self.seed, first, (self.num_chains,), self.execution, self.collect, count_events, self.mesh
        )


def with_step_size(kernel: TransitionKernel, step_size: PyTree[Float[Array, "..."]]) -> TransitionKernel:
    """The kernel with another step size."""
    return eqx.tree_at(lambda k: k.step_size, kernel, step_size)


def with_metric(kernel: TransitionKernel, metric: Metric) -> TransitionKernel:
    """The kernel with another metric."""
    return eqx.tree_at(lambda k: k.metric, kernel, metric)


def trial_run(settings: ChainSettings, chains: ChainState) -> Collected:
    """Compiles the program of the run, and returns one row of what it collects, whose numbers mean nothing."""
    (out,) = (collected for _, collected in _calls(settings, chains, [0], lambda _: None, False, is_compiled=False))
    return out


def run_chains(
    settings: ChainSettings,
    chains: ChainState,
    transitions_per_draw: list[int],
    on_progress: Callable[[int], None],
) -> Iterator[tuple[ChainState, Collected]]:
    """Makes transitions, and after each call of the compiled program yields the chains and what they have collected."""
    for results, collected in _calls(settings, chains, transitions_per_draw, on_progress, False):
        yield _after(settings, chains, results), collected


def run_window(
    settings: ChainSettings, chains: ChainState, length: int, on_progress: Callable[[int], None]
) -> tuple[ChainState, list[Collected]]:
    """Makes the transitions of a window of the warm-up, in which every chain adapts its step size.

    **Returns:** the chains, each with its own step size, and what they have collected.
    """
    results, out = None, []
    for results, collected in _calls(settings, chains, [1] * length, on_progress, settings.adaptation is not None):
        out.append(collected)
    if results is None:
        return chains, out
    chains = _after(settings, chains, results)
    if settings.adaptation is not None:
        # All parts of a step size change by the same factor, which the first number of the first part shows.
        step, averages = (
            jtu.tree_leaves(tree)[0] for tree in (_step_size(chains.kernel), results.state.log_averaging_step)
        )
        averages = as_numpy(averages).reshape(settings.num_chains, -1)[:, 0].astype(float)
        chains = chains._replace(log_factors=averages - np.log(float(as_numpy(step).flat[0])))
    return chains, out


def share_step(settings: ChainSettings, chains: ChainState, which: Bool[np.ndarray, " chains"]) -> ChainState:
    """The chains with one step size for `which` of them, the median of theirs; the others keep their own."""
    if settings.adaptation is None:
        return chains
    log_factors = chains.log_factors
    median = float(np.median(log_factors[which if which.any() else ...]))
    scaled = jtu.tree_map(lambda s: s * jnp.exp(median).astype(s.dtype), _step_size(chains.kernel))
    kernel = with_step_size(chains.kernel, scaled)
    return chains._replace(kernel=kernel, log_factors=np.where(which, 0.0, log_factors - median))


def _step_size(kernel: PyTree) -> PyTree[Float[Array, "..."]]:
    return kernel.step_size


def _calls(
    settings: ChainSettings,
    chains: ChainState,
    transitions_per_draw: list[int],
    on_progress: Callable[[int], None],
    is_adapting: bool,
    is_compiled: bool = True,
) -> Iterator[tuple[KernelResults, Collected]]:
    """After each call of the compiled program, the results of the kernel that it runs, and what it has collected."""
    kernel, state = chains.kernel, chains.state
    if settings.adaptation is not None:
        kernel, state = _with_adaptation(settings, settings.adaptation, chains, is_adapting)
    size = sum(x.nbytes for x in jtu.tree_leaves(chains.state.position))
    rows = max(1, min(CHUNK, _BYTES_PER_CALL // (3 * size)))
    results = KernelResults(state, chains.num_transitions)
    loop = HostLoop(settings.compiled(kernel), results, rows, is_compiled=is_compiled)
    for collected in loop(transitions_per_draw, on_progress):
        yield loop.results, jtu.tree_map(on_host, collected)


def _after(settings: ChainSettings, chains: ChainState, results: KernelResults) -> ChainState:
    state = results.state if settings.adaptation is None else results.state.inner_state
    return chains._replace(state=state, num_transitions=results.num_transitions)


def _with_adaptation(
    settings: ChainSettings, adaptation: Adaptation, chains: ChainState, is_adapting: bool
) -> tuple[TransitionKernel, DualAveragingState]:
    """The kernel that adapts its step size, and its state.

    Where nothing is to be adapted the state says that adaptation is over, so that one program serves the whole run.
    """
    step_size = _step_size(chains.kernel)
    kernel = DualAveragingStepSizeAdaptation(
        chains.kernel,
        _NEVER,
        chains.stage.target_accept,
        adaptation.exploration_shrinkage,
        shrinkage_target=step_size,
    )
    num = settings.num_chains
    dtype = jnp.result_type(*jtu.tree_leaves(chains.state.position))

    factors = np.exp(chains.log_factors) if is_adapting else np.ones(num)
    steps = jtu.tree_map(
        lambda x: x.astype(dtype) * jnp.asarray(factors.reshape(-1, *(1,) * x.ndim), dtype), step_size
    )
    logs = jtu.tree_map(jnp.log, steps)
    count = jnp.full(num, 0 if is_adapting else _NEVER, jnp.int32)
    return kernel, DualAveragingState(chains.state, steps, logs, logs, jnp.zeros(num, dtype), count)
