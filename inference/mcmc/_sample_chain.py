"""The driver of transition kernels."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from distrax_like._misc import as_key, require

from ._kernel import TransitionKernel
from ._run import CHUNK, HostRun, KernelResults, Run, choose_execution, progress
from ._target import ChainsTarget, as_position, chains_shape, evaluate, part_name


class StatesAndTrace(NamedTuple):
    """The draws, and what `trace_fn` returned for each."""

    all_states: Any
    trace: Any


class CheckpointableStatesAndTrace(NamedTuple):
    """The draws, what `trace_fn` returned for each, and where to go on from."""

    all_states: Any
    trace: Any
    final_kernel_results: Any


def _trace_info(_: PyTree, info: Any) -> Any:
    return info


def sample_chain(
    num_results: SupportsIndex,
    current_state: PyTree,
    previous_kernel_results: Any = None,
    kernel: Any = None,
    num_burnin_steps: SupportsIndex = 0,
    num_steps_between_results: SupportsIndex = 0,
    trace_fn: Callable[[Any, Any], Any] | None = _trace_info,
    return_final_kernel_results: bool = False,
    seed: Any = None,
    progress_bar: bool = False,
    execution: str | None = None,
) -> Any:
    """Runs one Markov chain, or many.

    The shape B of the target at `current_state` tells how many: `()` is one chain; otherwise B must lead the shape of
    every part of the state. Transition i of chain c draws from `fold_in(fold_in(seed, c), i)`, burn-in and thinned
    transitions counted and one chain being chain 0, so that a chain does not depend on its neighbours, on how the run
    is cut, or on `execution`.

    Where nothing is traced the host runs one compiled function again and again: it shows progress and hears an
    interrupt; a target or kernel of the same structure is not compiled anew. Under a transformation it is a single
    scan.

    **Arguments:**

    - `num_results`: how many draws to keep.
    - `current_state`: the start. A tuple, list or namedtuple is splatted into the target, anything else passed whole.
    - `previous_kernel_results`: the `final_kernel_results` of an earlier call, to continue it (with the same `seed`)
      as if it had not stopped; `current_state` is then its last state.
    - `kernel`: a `TransitionKernel`.
    - `num_burnin_steps`: transitions before the first one that is kept.
    - `num_steps_between_results`: transitions left out between two that are kept.
    - `trace_fn`: called with a draw (all chains) and the kernel's info about the transition to it; by default it
      returns the info. With `None` there is no trace.
    - `return_final_kernel_results`: whether to return what is needed to go on.
    - `seed`: a key.
    - `progress_bar`: show progress on stderr, through tqdm where it is installed. Ignored where the call is traced.
    - `execution`: "sequential" runs the chains one after the other inside the compiled program (where nothing is
      traced, in one thread for each core); "batched" all at once, each transition as long as the longest of them;
      "interleaved" all at once, none waiting for another's transition (for an `InterleavedKernel`). `None` takes the
      first on a CPU, where it is several times faster, and the last that the kernel has elsewhere. A target with
      parameters of its own for each chain cannot be sequential.

    **Returns:** `StatesAndTrace`, whose leaves have shape `(num_results, *B, ...)`; `CheckpointableStatesAndTrace`
    if the final results are asked for; the draws alone if `trace_fn` is `None` and they are not.

    **Raises:** `ValueError` where the state's parts and the target disagree on the chains, or the target or its
    gradient is not finite at the start (under a transformation this is an `equinox.error_if`); `TypeError` without a
    kernel or seed.
    """
    if not isinstance(kernel, TransitionKernel):
        raise TypeError(f"sample_chain needs a kernel, a TransitionKernel such as NoUTurnSampler, got {kernel!r}")
    num_results = _count("num_results", num_results)
    burnin = _count("num_burnin_steps", num_burnin_steps)
    between = _count("num_steps_between_results", num_steps_between_results)
    seed = as_key(seed, "sample_chain")
    position = as_position(current_state, "sample_chain")
    chains = chains_shape(kernel.log_density(), position, "sample_chain")
    kernel, execution = _choose_execution(kernel, position, chains, execution)

    run = Run(kernel, seed, jnp.zeros((), jnp.int32), chains, execution)
    if previous_kernel_results is None:
        results = _check_start(run.init(position), chains)
        first = burnin + 1
    else:
        if not isinstance(previous_kernel_results, KernelResults):
            raise TypeError(
                "sample_chain: previous_kernel_results must be the final_kernel_results of an earlier call, got "
                f"{type(previous_kernel_results).__name__}"
            )
        results = _check_resumed(previous_kernel_results, position)
        first = burnin + between + 1

    if _is_traced((results, kernel, seed)):
        counts = jnp.asarray([first] + [between + 1] * (num_results - 1) if num_results else [burnin], jnp.int32)
        results, draws = run(results, counts)
        draws = jtu.tree_map(lambda x: x[:num_results], draws)
    else:
        results, draws = _run_from_host(run, results, num_results, burnin, first, between, progress_bar)

    states, infos = draws
    trace: Any = () if trace_fn is None else jax.vmap(trace_fn)(states, infos)
    if return_final_kernel_results:
        return CheckpointableStatesAndTrace(states, trace, results)
    return states if trace_fn is None else StatesAndTrace(states, trace)


def _run_from_host(
    run: Run, results: KernelResults, num_results: int, burnin: int, first: int, between: int, progress_bar: bool
) -> Any:
    counts = [first - burnin] + [between + 1] * (num_results - 1)
    # Rows of a chunk that are no results, but for one where there are none: it tells the shapes.
    warmup = [min(CHUNK, burnin - i) for i in range(0, burnin, CHUNK)] or ([] if num_results else [0])
    host = HostRun(run, results, min(CHUNK, max(num_results, 1)))
    with progress("sample_chain", burnin + sum(counts[:num_results]), progress_bar) as advance:
        chunks = [jtu.tree_map(lambda x: x[:0], draws) for count in warmup for draws in host([count], advance)]
        chunks += host(counts[:num_results], advance)
    draws = jtu.tree_map(lambda *xs: jnp.concatenate(xs), *chunks)
    return host.results, draws


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jtu.tree_leaves(tree))


def _count(name: str, value: Any) -> int:
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"sample_chain: {name} must be an integer, got {value!r}") from None
    if n < 0:
        raise ValueError(f"sample_chain: {name} must not be negative, got {n}")
    return n


def _choose_execution(
    kernel: TransitionKernel, position: PyTree, chains: tuple[int, ...], execution: str | None
) -> tuple[TransitionKernel, str]:
    chosen = choose_execution("sample_chain", kernel, execution)
    if not chains:
        return kernel, "sequential"
    one = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[len(chains) :], x.dtype), position)
    try:
        separable = eqx.filter_eval_shape(evaluate, kernel.log_density(), one).shape == ()
    except Exception:  # The user's function may fail in any way on a state without its leading axes.
        separable = False
    if separable:
        return kernel, chosen
    if execution == "sequential":
        raise ValueError(
            'sample_chain: execution="sequential" needs a target that is a scalar at one chain\'s state; this one '
            f"seems to have parameters of its own for each of the chains {chains}"
        )
    target = kernel.log_density()
    # A rule of custom_vmap must not close over traced arrays, and a user's function may: those become arguments of
    # it. Only then, because a converted function is a new one each time and would be compiled each time.
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
