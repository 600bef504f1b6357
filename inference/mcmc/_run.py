"""Running a kernel's chains: the compiled loop over transitions, and the host that calls it."""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from distrax_like._misc import is_key, tree_where

from ._kernel import TransitionKernel, check_state

# Transitions between two looks at the host: enough that the look costs nothing, few enough that an interrupt is heard.
CHUNK = 128
# Where transitions are slow a call makes fewer of them, to take about so many seconds.
_PATIENCE = 1.0
# The key of a kernel's `init`, out of reach of the transitions' numbers.
_INIT = 2**32 - 1
_NO_ROW = 2**31 - 1

# The axis of a mesh along which chains are split.
CHAINS = "chains"

EXECUTIONS = ("sequential", "batched", "interleaved")


def choose_execution(who: str, kernel: TransitionKernel, execution: str | None) -> str:
    """The one that is asked for, or the platform's.

    **Raises:** `ValueError` for an unknown one, or one that the kernel does not have.
    """
    if execution is None:
        return "sequential" if jax.default_backend() == "cpu" else "interleaved" if kernel.is_interleaved else "batched"
    if execution not in EXECUTIONS:
        raise ValueError(f"{who}: execution must be one of {', '.join(EXECUTIONS)}, got {execution!r}")
    if execution == "interleaved" and not kernel.is_interleaved:
        raise ValueError(f"{who}: {type(kernel).__name__} cannot be interleaved")
    return execution


class KernelResults(eqx.Module):
    """Where a run stopped: the kernel's state of every chain, and how many transitions each has made."""

    state: Any
    num_transitions: Int[Array, ""]


def position_and_info(kernel: Any, state: Any, info: Any) -> tuple[PyTree, Any]:
    """What `sample_chain` keeps of a transition."""
    return state.position, info


class Run(eqx.Module):
    """The compiled part: `counts[j]` transitions of every chain lead to row j of the draws.

    Transition i of chain c draws from `fold_in(fold_in(seed, c), i)`, where chains are counted from `first`. Each axis
    in `chains` leads every part of the state; draws have one more axis, the rows, before them. On a mesh each device
    runs its share of the chains, by itself but for what the target has split along other axes.
    """

    kernel: TransitionKernel
    seed: Any
    first: Int[Array, ""]
    chains: tuple[int, ...] = eqx.field(static=True)
    execution: str = eqx.field(static=True)
    keep: Callable[[Any, Any, Any], Any] = eqx.field(static=True, default=position_and_info)
    mesh: Mesh | None = eqx.field(static=True, default=None)

    @eqx.filter_jit
    def __call__(self, results: KernelResults, counts: Int[Array, " n"]) -> tuple[KernelResults, Any]:
        rest = results.num_transitions, counts
        if self.execution == "interleaved":
            state, draws = self._all_chains(_interleaved, results.state, rest, axis=1)
        else:
            state, draws = self.each_chain(_transitions, results.state, rest, axis=1)
        return KernelResults(state, results.num_transitions + jnp.sum(counts, dtype=jnp.int32)), draws

    @eqx.filter_jit
    def init(self, position: PyTree) -> KernelResults:
        """The state of every chain at `position`, whose parts have the chains' axes."""
        return KernelResults(self.each_chain(_init, position)[0], jnp.zeros((), jnp.int32))

    def each_chain(self, fn: Callable[..., Any], tree: Any, rest: tuple[Any, ...] = (), axis: int = 0) -> Any:
        """`fn(kernel, keep, tree, key, *rest)` for every chain, of each its part of the tree and its key.

        The second output has the chains' axes at `axis`. All arrays that `fn` uses are to be arguments of it.
        """

        def some_chains(run: Run, tree: Any, keys: Any, rest: tuple[Any, ...]) -> Any:
            def one_chain(tree: Any, key: Any) -> Any:
                return fn(run.kernel, run.keep, tree, key, *rest)

            if run.execution != "sequential":
                return jax.vmap(one_chain, out_axes=(0, axis))(tree, keys)
            first, second = jax.lax.map(lambda args: one_chain(*args), (tree, keys))
            return first, jtu.tree_map(lambda x: jnp.moveaxis(x, 0, axis), second)

        if not self.chains:
            return fn(self.kernel, self.keep, tree, self._keys()[0], *rest)
        return self._all_chains(some_chains, tree, rest, axis)

    def _keys(self) -> Any:
        numbers = self.first.astype(jnp.uint32) + jnp.arange(math.prod(self.chains), dtype=jnp.uint32)
        return jax.vmap(lambda c: jax.random.fold_in(self.seed, c))(numbers)

    def _all_chains(self, fn: Callable[..., Any], tree: Any, rest: tuple[Any, ...], axis: int) -> Any:
        """`fn(run, tree, keys, rest)` with one axis of chains in front; its second output has it at `axis`."""
        chains, num = self.chains, math.prod(self.chains)
        tree = jtu.tree_map(lambda x: x.reshape(num, *x.shape[len(chains) :]), tree)
        args = self, tree, self._keys(), rest
        if self.mesh is None:
            first, second = fn(*args)
        else:
            arrays, static = eqx.partition(args, eqx.is_array)
            some, none = PartitionSpec(CHAINS), PartitionSpec()
            first, second = jax.shard_map(
                lambda *arrays: fn(*eqx.combine(arrays, static)),
                mesh=self.mesh,
                in_specs=(none, some, some, none),
                out_specs=(some, PartitionSpec(*(None,) * axis, CHAINS)),
                axis_names={CHAINS},
                check_vma=False,
            )(*arrays)
        first = jtu.tree_map(lambda x: x.reshape(chains + x.shape[1:]), first)
        second = jtu.tree_map(lambda x: x.reshape(x.shape[:axis] + chains + x.shape[axis + 1 :]), second)
        return first, second


def _init(kernel: Any, keep: Any, position: PyTree, key: Any) -> Any:
    state = kernel.init(position, seed=jax.random.fold_in(key, _INIT))
    check_state(kernel, state)
    return state, ()


def _transitions(
    kernel: Any, keep: Any, state: Any, key: Any, num_transitions: Int[Array, ""], counts: Int[Array, " n"]
) -> tuple[Any, Any]:
    """One chain's state after the transitions, and its draws."""
    like = eqx.filter_eval_shape(lambda s: kernel.step(s, seed=key)[1], state)
    # Counts of 0 pad a chunk, and their rows are dropped: what this info holds is never seen.
    no_info = jtu.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    def to_next_result(carry: Any, count: Array) -> Any:
        state, num = carry

        def transition(i: Array, carry: Any) -> Any:
            return kernel.step(carry[0], seed=jax.random.fold_in(key, num + i))

        state, info = jax.lax.fori_loop(0, count, transition, (state, no_info))
        return (state, num + count), keep(kernel, state, info)

    (state, _), draws = jax.lax.scan(to_next_result, (state, num_transitions), counts)
    return state, draws


def _interleaved(run: Run, state: Any, keys: Any, rest: tuple[Any, ...]) -> tuple[Any, Any]:
    """All chains in one loop of ticks: in each, every chain takes one gradient of its own transition.

    A chain that has made all its transitions goes on in one that is thrown away. The loop's length is the largest
    number of gradients that a chain needs.
    """
    kernel: Any = run.kernel
    num_transitions, counts = rest
    ends = jnp.cumsum(counts)
    total = ends[-1]

    def begin(state: Any, key: Any, done: Array) -> Any:
        return kernel.begin(state, seed=jax.random.fold_in(key, num_transitions + done))

    def restart(carry: Any, key: Any) -> Any:
        """The chain after the end of a transition, and the draw with its row; out of range if it completes none."""
        state, work, done = carry
        counted = done < total
        new, info = kernel.finish(state, work)
        state, done = tree_where(counted, new, state), done + counted
        row = jnp.searchsorted(ends, done).astype(jnp.int32)
        row = jnp.where(counted & (ends[row] == done), row, len(counts))
        return (state, begin(state, key, done), done), (row, run.keep(kernel, new, info))

    def body(carry: Any) -> Any:
        state, work, scratch, done, rows = carry
        work, scratch = jax.vmap(kernel.tick)(state, work, scratch)
        waiting = jax.vmap(kernel.needs_check)(work)
        there = state, scratch
        work = _for_some(waiting, lambda work, there: kernel.check(there[0], work, there[1]), work, there)
        ended = jax.vmap(kernel.is_done)(work)
        (state, work, done), rows = _for_some_with_rows(ended, restart, (state, work, done), keys, rows)
        return state, work, scratch, done, rows

    done = jnp.zeros(len(keys), jnp.int32)
    work, scratch = jax.vmap(begin)(state, keys, done), jax.vmap(kernel.checkpoints)(state)
    like = eqx.filter_eval_shape(jax.vmap(restart), (state, work, done), keys)[1][1]
    rows = jtu.tree_map(lambda x: jnp.zeros((len(counts), *x.shape), x.dtype), like)
    carry = state, work, scratch, done, rows
    state, _, _, _, rows = jax.lax.while_loop(lambda carry: jnp.any(carry[3] < total), body, carry)
    return state, rows


class HostRun:
    """A run driven from the host, which hears interrupts and shows progress between the calls.

    Chains that run one after the other are dealt to one thread for each core: a compiled program leaves Python free
    while it runs. The groups are of one size, so that they share the program; the last chain fills up the last group.

    `compiled` says that the program has been run before.
    """

    def __init__(
        self,
        run: Run,
        results: KernelResults,
        rows: int = CHUNK,
        threads: int | None = None,
        compiled: bool = False,
    ):
        chains, num = run.chains, math.prod(run.chains)
        self._rows = rows
        self._chains = chains
        self._per_call, self._first, self._compiled = CHUNK, True, compiled
        run, results = on_mesh(run.mesh, run), on_mesh(run.mesh, results, num)
        if threads is None:
            one_device = run.mesh is None and not _on_many_devices(run)
            threads = _num_cores() if run.execution == "sequential" and one_device else 1
        size = -(-num // max(1, min(threads, num)))
        self._size = size
        if size == num:
            self._runs, self._results = [run], [results]
            return
        # In NumPy, whose views and copies are for nothing beside JAX's dispatch; keys of a state stay what they are.
        state = jtu.tree_map(lambda x: on_host(x.reshape(num, *x.shape[len(chains) :])), results.state)
        self._runs, self._results = [], []
        for i in range(0, num, size):
            members = np.minimum(np.arange(i, i + size), num - 1)
            part = jtu.tree_map(lambda x, members=members: x[members], state)
            self._runs.append(dataclasses.replace(run, first=run.first + i, chains=(size,)))
            self._results.append(KernelResults(part, results.num_transitions))

    @property
    def results(self) -> KernelResults:
        """The present state of all chains."""
        if len(self._runs) == 1:
            return self._results[0]
        state = self._joined([r.state for r in self._results], 0)
        return KernelResults(jtu.tree_map(jnp.asarray, state), self._results[0].num_transitions)

    def _joined(self, parts: list[Any], axis: int) -> Any:
        num, chains = math.prod(self._chains), self._chains

        def join(*xs: Array) -> Any:
            x: Any
            if is_key(xs[0]):
                x = jax.lax.slice_in_dim(jnp.concatenate(xs, axis), 0, num, axis=axis)
            else:
                x = np.concatenate(xs, axis)[(slice(None),) * axis + (slice(num),)]
            return x.reshape(x.shape[:axis] + chains + x.shape[axis + 1 :])

        return jtu.tree_map(join, *parts)

    def __call__(self, counts: list[int], advance: Callable[[int], None] = lambda n: None) -> Iterator[Any]:
        """Makes the transitions, and yields the draws of some of the `counts` after the other."""
        rows, done = self._rows, 0
        while done < len(counts):
            # No more rows than the program has, nor transitions than the host waits for.
            end = done + 1
            while end < len(counts) and end - done < rows and sum(counts[done : end + 1]) <= self._per_call:
                end += 1
            part = counts[done:end]
            begin = time.perf_counter()
            draws = self._step(on_mesh(self._runs[0].mesh, jnp.asarray(part + [0] * (rows - len(part)), jnp.int32)))
            seconds = time.perf_counter() - begin
            # The first call may have compiled.
            if not self._first:
                self._per_call = int(np.clip(sum(part) * _PATIENCE / max(seconds, 1e-9), 1, CHUNK))
            self._first = False
            advance(sum(part))
            done = end
            yield jtu.tree_map(lambda x, n=len(part): x[:n], draws)

    def _step(self, counts: Int[Array, " n"]) -> Any:
        if len(self._runs) == 1:
            self._results[0], draws = self._runs[0](self._results[0], counts)
            # Waits, so that an interrupt stops the run here.
            jax.block_until_ready(self._results)
            return draws
        if not self._compiled:
            # Two threads that meet a new program would both compile it.
            self._runs[0](self._results[0], jnp.zeros_like(counts))
            self._compiled = True

        def call(i: int) -> Any:
            return jax.block_until_ready(self._runs[i](self._results[i], counts))

        with ThreadPoolExecutor(len(self._runs)) as pool:
            outs = list(pool.map(call, range(len(self._runs))))
        self._results = [results for results, _ in outs]
        return self._joined([draws for _, draws in outs], 1)


def _for_some(flags: Bool[Array, " n"], fn: Callable[[Any, Any], Any], carry: Any, rest: Any) -> Any:
    """The carry of each item that is flagged replaced by `fn(carry, rest)`, both of that item."""
    return _for_some_with_rows(
        flags, lambda carry, rest: (fn(carry, rest), (jnp.zeros((), jnp.int32), ())), carry, rest, ()
    )[0]


def _for_some_with_rows(
    flags: Bool[Array, " n"], fn: Callable[[Any, Any], Any], carry: Any, rest: Any, rows: Any
) -> Any:
    """The same where `fn` also returns a row, out of range for none, and what to write into the item's column there.

    On a CPU one flagged item after the other, since there are few; else all at once, if there are any.
    """

    def one_by_one(flags: Array, carry: Any, rest: Any, rows: Any) -> Any:
        def body(loop: Any) -> Any:
            flags, carry, rows = loop
            i = jnp.argmax(flags)
            new, (row, out) = fn(*jtu.tree_map(lambda x: x[i], (carry, rest)))
            carry = jtu.tree_map(lambda xs, x: xs.at[i].set(x), carry, new)
            rows = jtu.tree_map(lambda xs, x: xs.at[row, i].set(x, mode="drop"), rows, out)
            return flags.at[i].set(False), carry, rows

        return jax.lax.while_loop(lambda loop: jnp.any(loop[0]), body, (flags, carry, rows))[1:]

    def at_once(flags: Array, carry: Any, rest: Any, rows: Any) -> Any:
        def some(carry: Any, rest: Any) -> Any:
            new, (row, out) = jax.vmap(fn)(carry, rest)
            return jax.vmap(tree_where)(flags, new, carry), (jnp.where(flags, row, _NO_ROW), out)

        like = eqx.filter_eval_shape(jax.vmap(fn), carry, rest)[1]
        none = jtu.tree_map(lambda x: jnp.full(x.shape, _NO_ROW if x is like[0] else 0, x.dtype), like)
        carry, (row, out) = jax.lax.cond(jnp.any(flags), some, lambda carry, rest: (carry, none), carry, rest)
        # Outside of the branches, so that the rows are not copied.
        where = jnp.arange(len(flags))
        return carry, jtu.tree_map(lambda xs, x: xs.at[row, where].set(x, mode="drop"), rows, out)

    return jax.lax.platform_dependent(flags, carry, rest, rows, cpu=one_by_one, default=at_once)


def on_host(x: Any) -> Any:
    """An array in NumPy, whole though other processes hold parts of it; keys stay what they are."""
    if is_key(x):
        return x
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def on_mesh(mesh: Mesh | None, tree: PyTree, num_chains: int | None = None) -> PyTree:
    """The arrays of a tree on all devices of the mesh; those of `num_chains` chains are split.

    What is spread over the mesh already, such as data, stays where it is.
    """
    if mesh is None:
        return tree

    def put(x: Any) -> Any:
        if is_key(x):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        spec = PartitionSpec()
        if num_chains is not None and x.ndim and len(x) == num_chains:
            spec = PartitionSpec(CHAINS)
        elif isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding):
            spec = x.sharding.spec
        sharding = NamedSharding(mesh, spec)
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        # Every process has the whole.
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jtu.tree_map(lambda x: put(x) if eqx.is_array(x) else x, tree)


def _on_many_devices(tree: PyTree) -> bool:
    return any(isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 for x in jtu.tree_leaves(tree))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def progress(who: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """A function to be told of transitions made, and shows them on stderr, through tqdm where that is installed."""
    if not shown:
        yield lambda _: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        done = 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            print(f"\r{who}: {done}/{total} transitions", end="", file=sys.stderr, flush=True)

        try:
            yield advance
        finally:
            print(file=sys.stderr)
        return
    with tqdm(total=total, desc=who, unit="transition", file=sys.stderr) as bar:
        yield lambda n: (bar.update(n), None)[1]
