"""The chains of a run of `sample`: their state, what they collect, and transitions with or without adaptation."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from distrax_like._misc import Seed
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
    """

    settling_left: int
    left: int
    windows_done: int


class ChainState(NamedTuple):
    """All that changes in the chains of a run.

    - `kernel`: with the present step size and metric.
    - `state`: the kernel's state of every chain, with a leading axis of chains.
    - `num_transitions`: of each chain.
    - `stage`: of the warm-up.
    """

    kernel: TransitionKernel
    state: PyTree
    num_transitions: Int[Array, ""]
    stage: WarmupStage


class CollectDraws(eqx.Module):
    """What a transition contributes to a run: the draw, statistics, the trace, and what the metric is learnt from."""

    trace_fn: Callable[[PyTree, PyTree], PyTree] | None = eqx.field(static=True)
    learns_metric: bool = eqx.field(static=True)

    def __call__(self, kernel: TransitionKernel, state: PyTree, info: PyTree) -> Collected:
        position = state.position
        draw = as_draw(kernel.log_density(), position)
        out = {"draws": draw, "stats": sample_stats(info)}
        if self.trace_fn is not None:
            out["trace"] = self.trace_fn(draw, info)
        if self.learns_metric:
            out["for_metric"] = tuple(ravel_pytree(tree)[0] for tree in (position, state.grads_target_log_prob))
        return out


class ChainSettings(NamedTuple):
    """All that stays the same in the chains of a run.

    Without an `adaptation` nothing is adapted; with one the step size is, and the metric where `collect` learns it.
    """

    num_chains: int
    seed: Seed
    execution: str
    adaptation: Adaptation | None
    collect: CollectDraws
    mesh: Mesh | None

    def compiled(self, kernel: TransitionKernel) -> CompiledChains:
        """The compiled loop for these chains."""
        first = jnp.zeros((), jnp.int32)
        return CompiledChains(
            kernel, self.seed, first, (self.num_chains,), self.execution, self.collect, self.mesh
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

    **Returns:** the chains, with the median of their step sizes, and what they have collected.
    """
    results, out = None, []
    for results, collected in _calls(settings, chains, [1] * length, on_progress, settings.adaptation is not None):
        out.append(collected)
    if results is None:
        return chains, out
    chains = _after(settings, chains, results)
    if settings.adaptation is not None:
        averages = jtu.tree_map(lambda x: np.median(as_numpy(x), axis=0), results.state.log_averaging_step)
        old = _step_size(chains.kernel)
        step_size = jtu.tree_map(lambda s, a: jnp.exp(a).astype(s.dtype), old, averages)
        chains = chains._replace(kernel=with_step_size(chains.kernel, step_size))
    return chains, out


def scale_step(
    settings: ChainSettings, kernel: TransitionKernel, log_factors: Float[np.ndarray, " chains"]
) -> TransitionKernel:
    """The kernel with its step size multiplied by the median of the chains' factors, if it is adapted at all."""
    if settings.adaptation is None:
        return kernel
    factor = jnp.exp(np.median(log_factors))
    return with_step_size(kernel, jtu.tree_map(lambda s: s * factor.astype(s.dtype), _step_size(kernel)))


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
        adaptation.target_accept_prob,
        adaptation.exploration_shrinkage,
        shrinkage_target=step_size,
    )
    num = settings.num_chains
    dtype = jnp.result_type(*jtu.tree_leaves(chains.state.position))

    steps = jtu.tree_map(lambda x: jnp.broadcast_to(x.astype(dtype), (num, *x.shape)), step_size)
    logs = jtu.tree_map(jnp.log, steps)
    count = jnp.full(num, 0 if is_adapting else _NEVER, jnp.int32)
    return kernel, DualAveragingState(chains.state, steps, logs, logs, jnp.zeros(num, dtype), count)
