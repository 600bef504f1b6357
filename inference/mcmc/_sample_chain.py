"""`sample_chain`: runs a transition kernel, without warm-up."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from distrax_like._arguments import NonnegativeInt, checked
from distrax_like._misc import Seed, as_key, check_callable, require
from distrax_like.inference._target import ChainsTarget, as_position, chains_shape, density_at, part_name

from ._kernel import TransitionKernel
from ._run import CHUNK, CompiledChains, HostLoop, KernelResults, choose_execution, progress


class StatesAndTrace(NamedTuple):
    """The draws, and what `trace_fn` returned for each."""

    all_states: PyTree
    trace: PyTree


class CheckpointableStatesAndTrace(NamedTuple):
    """The draws, what `trace_fn` returned for each, and what is needed to continue the run."""

    all_states: PyTree
    trace: PyTree
    final_kernel_results: KernelResults


def _trace_info(_: PyTree, info: PyTree) -> PyTree:
    return info


@checked
def sample_chain(
    num_results: NonnegativeInt,
    current_state: PyTree,
    previous_kernel_results: KernelResults | None = None,
    kernel: TransitionKernel | None = None,
    num_burnin_steps: NonnegativeInt = 0,
    num_steps_between_results: NonnegativeInt = 0,
    trace_fn: Callable[[PyTree, PyTree], PyTree] | None = _trace_info,
    return_final_kernel_results: bool = False,
    seed: Seed | None = None,
    progress_bar: bool = False,
    execution: str | None = None,
) -> PyTree:
    """Runs one Markov chain, or many.

    The shape B of the target at `current_state` is that of the chains: `()` is one chain; otherwise B must lead the
    shape of every part of the state. Transition i of chain c draws from `fold_in(fold_in(seed, c), i)`, where i counts
    burn-in and thinned transitions and a single chain is chain 0. So a chain does not depend on its neighbours, on how
    the run is divided into calls, or on `execution`.

    Where nothing is traced, the host calls one compiled function repeatedly; between the calls it shows progress and
    reacts to Ctrl-C. A target or kernel of the same structure is not compiled again. Under a transformation the run is
    a single scan.

    **Arguments:**

    - `num_results`: how many draws to keep.
    - `current_state`: the start. A tuple, list or namedtuple is splatted into the target, anything else passed whole.
    - `previous_kernel_results`: the `final_kernel_results` of an earlier call, to continue it (with the same `seed`)
      as if it had not stopped; `current_state` is then its last state.
    - `kernel`: a `TransitionKernel`.
    - `num_burnin_steps`: the number of transitions before those from which draws are kept.
    - `num_steps_between_results`: the number of transitions between two draws whose results are dropped.
    - `trace_fn`: called with a draw (of all chains) and the kernel's info about the transition to it; by default it
      returns the info. With `None` there is no trace.
    - `return_final_kernel_results`: whether to return what is needed to continue the run.
    - `seed`: a key.
    - `progress_bar`: whether to show progress on stderr, through tqdm where it is installed. Ignored where the call is
      traced.
    - `execution`: "sequential" runs the chains one after the other inside the compiled program (where nothing is
      traced, in one thread for each core); "batched" runs all at once, and each transition takes as long as that of the
      slowest chain; "interleaved" runs all at once without waiting for one another (for an `InterleavedKernel`). `None`
      is "sequential" on a CPU, where it is several times faster; elsewhere it is "interleaved" if the kernel supports
      it, and else "batched". A target with parameters of its own for each chain cannot be sequential.

    **Returns:** `StatesAndTrace`, whose leaves have shape `(num_results, *B, ...)`; `CheckpointableStatesAndTrace`
    if the final results are asked for; the draws alone if `trace_fn` is `None` and they are not.

    **Raises:** `ValueError` where the state's parts and the target disagree on the chains, or the target or its
    gradient is not finite at the start (under a transformation this is an `equinox.error_if`); `TypeError` without a
    kernel or seed.
    """
    if not isinstance(kernel, TransitionKernel):
        raise TypeError(f"sample_chain needs a kernel, a TransitionKernel such as NoUTurnSampler, got {kernel!r}")
    num_results, burnin, between = map(operator.index, (num_results, num_burnin_steps, num_steps_between_results))
    if trace_fn is not None:
        check_callable(trace_fn, "sample_chain: trace_fn", "draw", "info")
    seed = as_key(seed, "sample_chain")
    position = as_position(current_state, "sample_chain")
    chains = chains_shape(kernel.log_density(), position, "sample_chain")
    kernel, execution = _choose_execution(kernel, position, chains, execution)

    run = CompiledChains(kernel, seed, jnp.zeros((), jnp.int32), chains, execution)
    if previous_kernel_results is None:
        results = _check_start(run.init(position), chains)
        to_first_draw = burnin + 1
    else:
        results = _check_resumed(previous_kernel_results, position)
        to_first_draw = burnin + between + 1

    if _is_traced((results, kernel, seed)):
        counts = [to_first_draw] + [between + 1] * (num_results - 1) if num_results else [burnin]
        results, draws = run(results, jnp.asarray(counts, jnp.int32))
        draws = jtu.tree_map(lambda x: x[:num_results], draws)
    else:
        results, draws = _run_from_host(run, results, num_results, burnin, to_first_draw, between, progress_bar)

    states, infos = draws
    trace = () if trace_fn is None else jax.vmap(trace_fn)(states, infos)
    if return_final_kernel_results:
        return CheckpointableStatesAndTrace(states, trace, results)
    return states if trace_fn is None else StatesAndTrace(states, trace)


def _run_from_host(
    run: CompiledChains,
    results: KernelResults,
    num_results: int,
    burnin: int,
    to_first_draw: int,
    between: int,
    progress_bar: bool,
) -> tuple[KernelResults, PyTree]:
    counts = ([to_first_draw - burnin] + [between + 1] * (num_results - 1))[:num_results]
    # The draws of these calls are dropped. Where there is nothing to do, a call of no transitions shows their shapes.
    dropped = [min(CHUNK, burnin - i) for i in range(0, burnin, CHUNK)] or ([] if num_results else [0])
    loop = HostLoop(run, results, min(CHUNK, max(num_results, 1)))
    with progress("sample_chain", burnin + sum(counts), progress_bar) as on_progress:
        chunks = [jtu.tree_map(lambda x: x[:0], draws) for count in dropped for draws in loop([count], on_progress)]
        chunks += loop(counts, on_progress)
    draws = jtu.tree_map(lambda *xs: jnp.concatenate(xs), *chunks)
    return loop.results, draws


def _is_traced(tree: PyTree) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jtu.tree_leaves(tree))


def _choose_execution(
    kernel: TransitionKernel, position: PyTree, chains: tuple[int, ...], execution: str | None
) -> tuple[TransitionKernel, str]:
    chosen = choose_execution("sample_chain", kernel, execution)
    if not chains:
        return kernel, "sequential"
    one = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[len(chains) :], x.dtype), position)
    try:
        separable = eqx.filter_eval_shape(density_at, kernel.log_density(), one, "sample_chain").shape == ()
    except Exception:  # The user's function may fail in any way at a state without its leading axes.
        separable = False
    if separable:
        return kernel, chosen
    if execution == "sequential":
        raise ValueError(
            'sample_chain: execution="sequential" needs a target that is a scalar at one chain\'s state; this one '
            f"seems to have parameters of its own for each of the chains {chains}"
        )
    target = kernel.log_density()
    # A rule of custom_vmap must not close over traced arrays, but a user's function may. Its conversion makes these
    # arrays arguments. A function without them is not converted, since a new function would be compiled in each call.
    parts = position if isinstance(position, tuple | list) else (position,)
    converted = eqx.filter_closure_convert(target, *parts)
    target = ChainsTarget(converted if _is_traced(converted) else target, chains)
    return eqx.tree_at(lambda k: k.log_density(), kernel, target), execution or "batched"


def _check_start(results: KernelResults, chains: tuple[int, ...]) -> KernelResults:
    """Raises where the chains cannot start, naming what is not finite, and in which chain where that is known."""
    value = getattr(results.state, "target_log_prob", None)
    if value is None:
        return results
    where = "at current_state"
    checks = [
        (jnp.isnan(value), f"the target is NaN {where}"),
        (value == -jnp.inf, f"the target is -inf {where}, a point outside its support"),
        (value == jnp.inf, f"the target is +inf {where}"),
    ]
    grads = getattr(results.state, "grads_target_log_prob", None)
    for path, grad in jtu.tree_leaves_with_path(grads):
        bad = ~jnp.isfinite(grad)
        bad = jnp.any(bad.reshape(*chains, -1), axis=-1)
        checks.append((bad, f"the gradient of the target with respect to {part_name(path)} is not finite {where}"))
    for bad, message in checks:
        if isinstance(bad, Tracer):
            results = eqx.error_if(results, bad, f"sample_chain: {message}")
        elif np.any(bad):
            chain = f" of chain {', '.join(map(str, np.argwhere(bad)[0]))}" if chains else ""
            raise ValueError(f"sample_chain: {message}{chain}")
    return results


def _check_resumed(results: KernelResults, position: PyTree) -> KernelResults:
    old, new = jtu.tree_leaves(results.state.position), jtu.tree_leaves(position)
    if [x.shape for x in old] != [x.shape for x in new]:
        raise ValueError(
            f"sample_chain: current_state has parts of shapes {[x.shape for x in new]}, previous_kernel_results of "
            f"{[x.shape for x in old]}"
        )
    moved = jnp.any(jnp.stack([jnp.any(x != y) for x, y in zip(old, new)]))
    message = "sample_chain: current_state is not the last state of the run that previous_kernel_results come from"
    return require(results, ~moved, message)
