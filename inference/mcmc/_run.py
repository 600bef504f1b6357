"""Running a kernel's chains: the compiled loop over transitions, and the loop on the host that calls it."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from distrax_like._misc import Seed, is_key, tree_where
from distrax_like.inference._devices import CHAINS, AnyArray, is_on_many_devices, num_cores, on_host, on_mesh

from ._kernel import TransitionKernel, check_state

State = TypeVar("State")
Info = TypeVar("Info")
Context = TypeVar("Context")
Tree = TypeVar("Tree")

# A row of the draws, from the kernel, its new state, the info, and the sums of counts since the row before.
Collect: TypeAlias = Callable[[Any, Any, Any, Any], PyTree]
# What is counted of a transition, from its info.
Count: TypeAlias = Callable[[Any], PyTree[Array]]

# Transitions per compiled call: many enough to hide its overhead, few enough to react to Ctrl-C.
CHUNK = 128
# Where transitions are slow a call makes fewer, to take about this long.
_SECONDS_PER_CALL = 1.0
# The number of the key of a kernel's `init`, which is larger than the number of any transition.
_INIT = 2**32 - 1
# A row outside of every array.
_NO_ROW = 2**31 - 1

EXECUTIONS = ("sequential", "batched", "interleaved")


def choose_execution(who: str, kernel: TransitionKernel, execution: str | None) -> str:
    """The execution that is asked for, or the default of the platform.

    **Raises:** `ValueError` for an unknown one, or one that the kernel does not support.
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

    state: PyTree
    num_transitions: Int[Array, ""]


def position_and_info(kernel: TransitionKernel, state: PyTree, info: Info, counts: PyTree) -> tuple[PyTree, Info]:
    """What `sample_chain` collects."""
    return state.position, info


def count_nothing(info: object) -> tuple[()]:
    """What `sample_chain` counts."""
    return ()


class CompiledChains(eqx.Module):
    """The compiled loop: `transitions_per_draw[j]` transitions of every chain lead to row j of the draws.

    Transition i of chain c draws from `fold_in(fold_in(seed, c), i)`, where chains are numbered from `first_chain`.
    Each axis in `chains` leads every part of the state; draws have one more axis, the rows, before them. On a mesh each
    device runs its share of the chains; devices communicate only where the target is split along other axes.
    """

    kernel: TransitionKernel
    seed: Seed
    first_chain: Int[Array, ""]
    chains: tuple[int, ...] = eqx.field(static=True)
    execution: str = eqx.field(static=True)
    collect: Collect = eqx.field(static=True, default=position_and_info)
    count: Count = eqx.field(static=True, default=count_nothing)
    mesh: Mesh | None = eqx.field(static=True, default=None)

    @eqx.filter_jit
    def __call__(
        self, results: KernelResults, transitions_per_draw: Int[Array, " n"]
    ) -> tuple[KernelResults, PyTree]:
        args = results.num_transitions, transitions_per_draw
        if self.execution == "interleaved":
            state, draws = self._all_chains(_interleaved, results.state, args, axis=1)
        else:
            state, draws = self.each_chain(_transitions, results.state, args, axis=1)
        num_transitions = results.num_transitions + jnp.sum(transitions_per_draw, dtype=jnp.int32)
        return KernelResults(state, num_transitions), draws

    @eqx.filter_jit
    def init(self, position: PyTree) -> KernelResults:
        """The state of every chain at `position`, whose parts have the chains' axes."""
        return KernelResults(self.each_chain(_init, position)[0], jnp.zeros((), jnp.int32))

    def each_chain(
        self, fn: Callable[..., tuple[PyTree, PyTree]], tree: PyTree, args: tuple[PyTree, ...] = (), axis: int = 0
    ) -> tuple[PyTree, PyTree]:
        """`fn(run, tree, key, *args)` for every chain, with its part of the tree and its key; `run` is this object.

        The second output has the chains' axes at `axis`. `fn` must close over no arrays.
        """

        def some_chains(
            run: CompiledChains, tree: PyTree, keys: Seed, args: tuple[PyTree, ...]
        ) -> tuple[PyTree, PyTree]:
            def one_chain(tree: PyTree, key: Seed) -> tuple[PyTree, PyTree]:
                return fn(run, tree, key, *args)

            if run.execution != "sequential":
                return jax.vmap(one_chain, out_axes=(0, axis))(tree, keys)
            state, draws = jax.lax.map(lambda args: one_chain(*args), (tree, keys))
            return state, jtu.tree_map(lambda x: jnp.moveaxis(x, 0, axis), draws)

        if not self.chains:
            return fn(self, tree, self._keys()[0], *args)
        return self._all_chains(some_chains, tree, args, axis)

    def _keys(self) -> Seed:
        numbers = self.first_chain.astype(jnp.uint32) + jnp.arange(math.prod(self.chains), dtype=jnp.uint32)
        return jax.vmap(lambda c: jax.random.fold_in(self.seed, c))(numbers)

    def _all_chains(
        self, fn: Callable[..., tuple[PyTree, PyTree]], tree: PyTree, args: tuple[PyTree, ...], axis: int
    ) -> tuple[PyTree, PyTree]:
        """`fn(self, tree, keys, args)` with one leading axis of chains; its second output has that axis at `axis`."""
        chains, num = self.chains, math.prod(self.chains)
        tree = jtu.tree_map(lambda x: x.reshape(num, *x.shape[len(chains) :]), tree)
        operands = self, tree, self._keys(), args
        if self.mesh is None:
            state, draws = fn(*operands)
        else:
            arrays, static = eqx.partition(operands, eqx.is_array)
            split, whole = PartitionSpec(CHAINS), PartitionSpec()
            state, draws = jax.shard_map(
                lambda *arrays: fn(*eqx.combine(arrays, static)),
                mesh=self.mesh,
                in_specs=(whole, split, split, whole),
                out_specs=(split, PartitionSpec(*(None,) * axis, CHAINS)),
                axis_names={CHAINS},
                check_vma=False,
            )(*arrays)
        state = jtu.tree_map(lambda x: x.reshape(chains + x.shape[1:]), state)
        draws = jtu.tree_map(lambda x: x.reshape(x.shape[:axis] + chains + x.shape[axis + 1 :]), draws)
        return state, draws


def _init(run: CompiledChains, position: PyTree, key: Seed) -> tuple[PyTree, tuple[()]]:
    kernel = run.kernel
    state = kernel.init(position, seed=jax.random.fold_in(key, _INIT))
    check_state(kernel, state)
    return state, ()


def _transitions(
    run: CompiledChains,
    state: State,
    key: Seed,
    num_transitions: Int[Array, ""],
    transitions_per_draw: Int[Array, " n"],
) -> tuple[State, PyTree]:
    """One chain's state after the transitions, and its draws."""
    kernel = run.kernel
    like = eqx.filter_eval_shape(lambda s: kernel.step(s, seed=key)[1], state)
    # Zeros pad `transitions_per_draw`, and the rows of the draws that belong to them are dropped, with this info.
    no_info = jtu.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    no_counts = jtu.tree_map(jnp.zeros_like, run.count(no_info))

    def to_next_draw(draws: tuple[State, Array], count: Int[Array, ""]) -> tuple[tuple[State, Array], PyTree]:
        state, num = draws

        def transition(i: Int[Array, ""], carry: tuple[State, PyTree, PyTree]) -> tuple[State, PyTree, PyTree]:
            state, info = kernel.step(carry[0], seed=jax.random.fold_in(key, num + i))
            return state, info, jtu.tree_map(jnp.add, carry[2], run.count(info))

        carry = state, no_info, no_counts
        state, info, counts = jax.lax.fori_loop(0, count, transition, carry)
        return (state, num + count), run.collect(kernel, state, info, counts)

    (state, _), draws = jax.lax.scan(to_next_draw, (state, num_transitions), transitions_per_draw)
    return state, draws


def _interleaved(
    run: CompiledChains, state: State, keys: Seed, args: tuple[Int[Array, ""], Int[Array, " n"]]
) -> tuple[State, PyTree]:
    """All chains in one loop of ticks: in each tick every chain takes one gradient of its own transition.

    The loop is as long as the largest number of gradients that a chain needs. A chain that has made all its transitions
    continues with transitions whose results are dropped.
    """
    # A kernel that wraps another is interleaved if that one is, whatever its class.
    kernel: Any = run.kernel
    num_transitions, transitions_per_draw = args
    ends = jnp.cumsum(transitions_per_draw)
    total = ends[-1]

    def begin(state: State, key: Seed, done: Int[Array, ""]) -> PyTree:
        return kernel.begin(state, seed=jax.random.fold_in(key, num_transitions + done))

    def restart(
        carry: tuple[State, PyTree, Array, PyTree], key: Seed
    ) -> tuple[tuple[State, PyTree, Array, PyTree], tuple[Array, PyTree]]:
        """The chain in its next transition, and the draw with its row, which is out of range if there is no draw."""
        state, work, done, counts = carry
        counted = done < total
        new, info = kernel.finish(state, work)
        state, done = tree_where(counted, new, state), done + counted
        counts = jtu.tree_map(jnp.add, counts, run.count(info))
        row = jnp.searchsorted(ends, done).astype(jnp.int32)
        is_row = counted & (ends[row] == done)
        row = jnp.where(is_row, row, len(transitions_per_draw))
        out = run.collect(kernel, new, info, counts)
        counts = jtu.tree_map(lambda x: jnp.where(is_row, 0, x), counts)
        return (state, begin(state, key, done), done, counts), (row, out)

    def body(carry: PyTree) -> PyTree:
        state, work, scratch, done, counts, rows = carry
        work, scratch = jax.vmap(kernel.tick)(state, work, scratch)
        waiting = jax.vmap(kernel.needs_check)(work)
        context = state, scratch
        work = _for_some(waiting, lambda work, context: kernel.check(context[0], work, context[1]), work, context)
        ended = jax.vmap(kernel.is_done)(work)
        (state, work, done, counts), rows = _for_some_with_rows(
            ended, restart, (state, work, done, counts), keys, rows
        )
        return state, work, scratch, done, counts, rows

    done = jnp.zeros(len(keys), jnp.int32)
    work, scratch = jax.vmap(begin)(state, keys, done), jax.vmap(kernel.checkpoints)(state)
    info = eqx.filter_eval_shape(jax.vmap(kernel.finish), state, work)[1]
    counts = jtu.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), eqx.filter_eval_shape(jax.vmap(run.count), info))
    like = eqx.filter_eval_shape(jax.vmap(restart), (state, work, done, counts), keys)[1][1]
    rows = jtu.tree_map(lambda x: jnp.zeros((len(transitions_per_draw), *x.shape), x.dtype), like)
    carry = state, work, scratch, done, counts, rows
    state, _, _, _, _, rows = jax.lax.while_loop(lambda carry: jnp.any(carry[3] < total), body, carry)
    return state, rows


class HostLoop:
    """The loop on the host over calls of the compiled program; between them it shows progress and reacts to Ctrl-C.

    Chains that run one after the other are divided among one thread for each core, since a compiled program does not
    hold Python's lock. The groups of chains have one size, so that they share the program; the last group is filled up
    with copies of the last chain.

    **Arguments:** `rows`: draws per call; `is_compiled`: whether the program has been called before in this process.
    """

    def __init__(
        self,
        run: CompiledChains,
        results: KernelResults,
        rows: int = CHUNK,
        threads: int | None = None,
        is_compiled: bool = False,
    ):
        chains, num = run.chains, math.prod(run.chains)
        self._rows = rows
        self._chains = chains
        self._per_call, self._is_first_call, self._is_compiled = CHUNK, True, is_compiled
        run, results = on_mesh(run.mesh, run), on_mesh(run.mesh, results, num)
        if threads is None:
            one_device = run.mesh is None and not is_on_many_devices(run)
            threads = num_cores() if run.execution == "sequential" and one_device else 1
        size = -(-num // max(1, min(threads, num)))
        if size == num:
            self._runs, self._results = [run], [results]
            return
        # In NumPy, whose views and copies cost next to nothing compared with JAX's dispatch; random keys stay in JAX.
        state = jtu.tree_map(lambda x: on_host(x.reshape(num, *x.shape[len(chains) :])), results.state)
        self._runs, self._results = [], []
        for i in range(0, num, size):
            members = np.minimum(np.arange(i, i + size), num - 1)
            group = jtu.tree_map(lambda x, members=members: x[members], state)
            self._runs.append(dataclasses.replace(run, first_chain=run.first_chain + i, chains=(size,)))
            self._results.append(KernelResults(group, results.num_transitions))

    @property
    def results(self) -> KernelResults:
        """The present state of all chains."""
        if len(self._runs) == 1:
            return self._results[0]
        state = self._joined([r.state for r in self._results], 0)
        return KernelResults(jtu.tree_map(jnp.asarray, state), self._results[0].num_transitions)

    def _joined(self, groups: list[PyTree], axis: int) -> PyTree:
        num, chains = math.prod(self._chains), self._chains

        def join(*xs: AnyArray) -> AnyArray:
            x: AnyArray
            if is_key(xs[0]):
                x = jax.lax.slice_in_dim(jnp.concatenate(xs, axis), 0, num, axis=axis)
            else:
                x = np.concatenate(xs, axis)[(slice(None),) * axis + (slice(num),)]
            return x.reshape(x.shape[:axis] + chains + x.shape[axis + 1 :])

        return jtu.tree_map(join, *groups)

    def __call__(
        self, transitions_per_draw: list[int], on_progress: Callable[[int], None] = lambda n: None
    ) -> Iterator[PyTree]:
        """Makes the transitions, and yields the draws of each call of the compiled program.

        **Arguments:** `on_progress`: called with the number of transitions made since its last call.
        """
        rows, done = self._rows, 0
        while done < len(transitions_per_draw):
            # As many draws as fit into the rows of the program and the time of a call, and at least one.
            end = done + 1
            while (
                end < len(transitions_per_draw)
                and end - done < rows
                and sum(transitions_per_draw[done : end + 1]) <= self._per_call
            ):
                end += 1
            counts = transitions_per_draw[done:end]
            begin = time.perf_counter()
            draws = self._call(on_mesh(self._runs[0].mesh, jnp.asarray(counts + [0] * (rows - len(counts)), jnp.int32)))
            seconds = time.perf_counter() - begin
            # The first call may have compiled, so its time does not count.
            if not self._is_first_call:
                self._per_call = int(np.clip(sum(counts) * _SECONDS_PER_CALL / max(seconds, 1e-9), 1, CHUNK))
            self._is_first_call = False
            on_progress(sum(counts))
            done = end
            yield jtu.tree_map(lambda x, n=len(counts): x[:n], draws)

    def _call(self, counts: Int[Array, " n"]) -> PyTree:
        if len(self._runs) == 1:
            self._results[0], draws = self._runs[0](self._results[0], counts)
            # Waits, so that an interrupt stops the run here.
            jax.block_until_ready(self._results)
            return draws
        if not self._is_compiled:
            # Two threads that meet a new program would both compile it.
            self._runs[0](self._results[0], jnp.zeros_like(counts))
            self._is_compiled = True

        def call(i: int) -> tuple[KernelResults, PyTree]:
            return jax.block_until_ready(self._runs[i](self._results[i], counts))

        with ThreadPoolExecutor(len(self._runs)) as pool:
            outs = list(pool.map(call, range(len(self._runs))))
        self._results = [results for results, _ in outs]
        return self._joined([draws for _, draws in outs], 1)


def _for_some(
    flags: Bool[Array, " n"], fn: Callable[[Tree, Context], Tree], carry: Tree, context: Context
) -> Tree:
    """The carry in which that of each flagged item is replaced by `fn(carry, context)`, both of that item."""
    return _for_some_with_rows(
        flags, lambda carry, context: (fn(carry, context), (jnp.zeros((), jnp.int32), ())), carry, context, ()
    )[0]


def _for_some_with_rows(
    flags: Bool[Array, " n"],
    fn: Callable[[Tree, Context], tuple[Tree, tuple[Array, PyTree]]],
    carry: Tree,
    context: Context,
    rows: PyTree,
) -> tuple[Tree, PyTree]:
    """The same, where `fn` also returns a row, which may be out of range, and what to write there in the item's column.

    On a CPU the flagged items are treated one after the other, since they are few; elsewhere all at once, if any.
    """

    def one_by_one(flags: Array, carry: Tree, context: Context, rows: PyTree) -> tuple[Tree, PyTree]:
        def body(loop: tuple[Array, Tree, PyTree]) -> tuple[Array, Tree, PyTree]:
            flags, carry, rows = loop
            i = jnp.argmax(flags)
            new, (row, out) = fn(*jtu.tree_map(lambda x: x[i], (carry, context)))
            carry = jtu.tree_map(lambda xs, x: xs.at[i].set(x), carry, new)
            rows = jtu.tree_map(lambda xs, x: xs.at[row, i].set(x, mode="drop"), rows, out)
            return flags.at[i].set(False), carry, rows

        return jax.lax.while_loop(lambda loop: jnp.any(loop[0]), body, (flags, carry, rows))[1:]

    def at_once(flags: Array, carry: Tree, context: Context, rows: PyTree) -> tuple[Tree, PyTree]:
        def replace(carry: Tree, context: Context) -> tuple[Tree, tuple[Array, PyTree]]:
            new, (row, out) = jax.vmap(fn)(carry, context)
            return jax.vmap(tree_where)(flags, new, carry), (jnp.where(flags, row, _NO_ROW), out)

        like = eqx.filter_eval_shape(jax.vmap(fn), carry, context)[1]
        none = jtu.tree_map(lambda x: jnp.full(x.shape, _NO_ROW if x is like[0] else 0, x.dtype), like)
        carry, (row, out) = jax.lax.cond(
            jnp.any(flags), replace, lambda carry, context: (carry, none), carry, context
        )
        # Outside of the branches, so that the rows are not copied.
        column = jnp.arange(len(flags))
        return carry, jtu.tree_map(lambda xs, x: xs.at[row, column].set(x, mode="drop"), rows, out)

    return jax.lax.platform_dependent(flags, carry, context, rows, cpu=one_by_one, default=at_once)


@contextmanager
def progress(who: str, total: int, is_shown: bool | None) -> Iterator[Callable[[int], None]]:
    """A function to call with numbers of transitions made, which shows them on stderr, through tqdm if installed.

    With `None` they are shown where stderr is a terminal.
    """
    if not (sys.stderr.isatty() if is_shown is None else is_shown):
        yield lambda _: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        done = 0

        def on_progress(n: int) -> None:
            nonlocal done
            done += n
            print(f"\r{who}: {done}/{total} transitions", end="", file=sys.stderr, flush=True)

        try:
            yield on_progress
        finally:
            print(file=sys.stderr)
        return
    with tqdm(total=total, desc=who, unit="transition", file=sys.stderr) as bar:
        yield lambda n: (bar.update(n), None)[1]
