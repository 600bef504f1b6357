"""`sample`: warm-up and chains for a model, a log density or a kernel."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import as_key
from distrax_like.distributions import JointDistributionPinned

from ._adaptation import DualAveragingState, DualAveragingStepSizeAdaptation, has_adaptable_step_size
from ._checkpoint import Checkpoint
from ._hamiltonian import HamiltonianKernel
from ._kernel import TransitionKernel, check_state
from ._metric import Metric
from ._nuts import NoUTurnSampler
from ._reducers import made, reduced
from ._run import (
    CHAINS,
    CHUNK,
    HostRun,
    KernelResults,
    Run,
    choose_execution,
    on_host,
    on_mesh,
    progress,
)
from ._samples import Samples, sample_stats
from ._start import find_start
from ._target import as_draw
from ._warmup import Adaptation, FisherAdaptation, reasonable_log_step, settled

# More adaptation steps than any run makes: a state that has made so many adapts no more.
_FOREVER = 2**30
_CHUNK_BYTES = 2**28
# Transitions between two looks at whether the chains have arrived.
_SETTLING = 10


def sample(
    target: Any,
    init: Any = None,
    *,
    num_samples: int = 1000,
    num_warmup: int = 1000,
    num_chains: int = 4,
    thin: int = 1,
    kernel: Callable[[Callable[..., Any]], TransitionKernel] | None = None,
    adaptation: Adaptation | None = None,
    trace_fn: Callable[[Any, Any], Any] | None = None,
    reducers: Any = None,
    keep_draws: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    execution: str | None = None,
    mesh: Mesh | None = None,
    progress_bar: bool = False,
    seed: Any = None,
) -> Samples:
    """Draws from a posterior: warm-up, then chains.

    ```python
    samples = inference.mcmc.sample(model.pin(y=y), seed=jax.random.key(0))
    samples.draws.mu, print(samples.summary())
    ```

    All chains use the step size and metric that the warm-up has come to. Transition i of chain c draws from
    `fold_in(fold_in(seed, c), i)`, warm-up counted, whatever the execution. An interrupt ends the run, and what has
    been drawn by then is returned.

    **Arguments:**

    - `target`: a pinned joint distribution or its unconstrained density; a log density as a function of `init`'s
      parts; or a kernel.
    - `init`: where the chains start. For a model "uniform" (the default: between -2 and 2 in every free real) or
      "prior", where points without a finite density and gradient are drawn anew, 100 times; or "pathfinder", for draws
      of `vi.pathfinder` with its defaults, near where the posterior's mass is. Else a position, for all chains
      where the target is a scalar there, and one for each along the leading axis where it is not; or a function from a
      key to a position. A model's positions are vectors of free reals.
    - `num_samples`, `num_warmup`, `num_chains`: draws to keep of each chain, transitions before, chains.
    - `thin`: one draw is kept of so many transitions, of which `num_samples * thin` are made.
    - `kernel`: a function from the target to a kernel, by default to `NoUTurnSampler(target, 1.0)`.
    - `adaptation`: how to warm up, by default `FisherAdaptation()`. Of a kernel that is not Hamiltonian only the step
      size is adapted, if it has one and its acceptance rate depends on it.
    - `trace_fn`: gets a chain's position and the kernel's info, and gives what to keep as `trace`.
    - `reducers`: names out of "moments", "covariance", "rhat" and "quantiles", each for every site; or a reducer of the
      draws; or a dictionary of reducers by the name of the site, or of pairs of a function of the draws and a reducer.
      A reducer is a module whose `update(x, axis=0)` returns it with the observations along
      the axis added, such as those of `stats`; the draws of all chains are observations, but those of one draw are one
      for a `RunningPotentialScaleReduction`.
    - `keep_draws`: whether to keep draws, statistics and trace; a run with reducers may do without.
    - `checkpoint`: a folder in which the run is saved after every call of the compiled program, about every second (in
      warm-up after every window). The same call with the same folder goes on from there, with the same draws as if it
      had not stopped; once the run is complete it returns them.
    - `execution`: as for `sample_chain`.
    - `mesh`: devices to split the chains over, along the mesh's axis "chains", whose length must divide their number.
      Data of the model may be split along other axes, by `jax.device_put` before the call. Draws are the same as
      without a mesh up to rounding. With several processes (`jax.distributed`) each makes the same call, and gets the
      draws of all chains.
    - `progress_bar`: show progress on stderr.
    - `seed`: a key.

    **Returns:** `Samples`.

    **Raises:** `ValueError` where no start with a finite density and gradient is found, saying which site is at fault
    and whether it is the density or the gradient; `TypeError` for a target that is none, and without a seed.
    """
    seed = as_key(seed, "sample")
    at_least = {"num_samples": (num_samples, 0), "num_warmup": (num_warmup, 0), "num_chains": (num_chains, 1)}
    for name, (value, least) in (at_least | {"thin": (thin, 1)}).items():
        if value < least:
            raise ValueError(f"sample: {name} must be at least {least}, got {value}")
    adaptation = FisherAdaptation() if adaptation is None else adaptation

    inner = _kernel(target, kernel)
    execution = choose_execution("sample", inner, execution)
    adapts = num_warmup > 0 and has_adaptable_step_size(inner)
    chains = _Chains(
        inner, num_chains, seed, execution, adaptation if adapts else None, trace_fn, _checked_mesh(mesh, num_chains)
    )
    chains.start(init, num_warmup)
    kept = _Kept(made(reducers, num_chains, chains.draw_like()), keep_draws)
    folder = None
    if checkpoint is not None:
        run: dict[str, Any] = {name: value for name, (value, _) in at_least.items()}
        run |= {"thin": thin, "keep_draws": keep_draws}
        run |= {"seed": jax.random.key_data(seed).tolist(), "kernel": str(inner), "adaptation": str(adaptation)}
        folder = Checkpoint(checkpoint, run)
        chains.saved, kept.saved = folder.load((chains.saved, kept.saved))

    def save(piece: Any = None) -> None:
        if folder is not None:
            folder.save((chains.saved, kept.saved), piece)

    with progress("sample", num_warmup + num_samples * thin, progress_bar) as advance:
        try:
            while chains.warm_up(advance):
                save()
            # A run of no transitions shows what draws look like.
            (like,) = chains.advance([0], lambda _: None)
            kept.begin(like, folder)
            for draws in chains.advance([thin] * (num_samples - kept.count), advance):
                save(kept.add(draws))
        except KeyboardInterrupt:
            if not kept.count:
                raise
    return kept.samples(chains)


def _checked_mesh(mesh: Mesh | None, num_chains: int) -> Mesh | None:
    if mesh is None:
        return None
    if CHAINS not in mesh.axis_names:
        raise ValueError(f'sample: the mesh needs an axis "{CHAINS}", it has {mesh.axis_names}')
    if num_chains % (size := mesh.shape[CHAINS]):
        raise ValueError(f"sample: {num_chains} chains do not split over the {size} devices of the mesh's axis")
    # How arrays are spread is left to the compiler, whatever the kind of axes that the mesh was made with.
    return Mesh(mesh.devices, mesh.axis_names)


def _kernel(target: Any, make: Callable[[Callable[..., Any]], TransitionKernel] | None) -> TransitionKernel:
    if isinstance(target, TransitionKernel):
        if make is not None:
            raise TypeError("sample: give a kernel as target or a function that makes one, not both")
        return target
    if isinstance(target, JointDistributionPinned):
        target = target.unconstrained()
    log_density = target
    if not callable(log_density):
        raise TypeError(
            f"sample: target must be a pinned model, a log density or a kernel, got {type(target).__name__}"
        )
    return NoUTurnSampler(target, 1.0) if make is None else make(target)


class _Keep(eqx.Module):
    """What a transition leaves behind; part of the compiled program."""

    trace_fn: Callable[[Any, Any], Any] | None = eqx.field(static=True)
    learns: bool = eqx.field(static=True)

    def __call__(self, kernel: TransitionKernel, state: Any, info: Any) -> dict[str, Any]:
        position = state.position
        draw = as_draw(kernel.log_density(), position)
        out = {"draws": draw, "stats": sample_stats(info)}
        if self.trace_fn is not None:
            out["trace"] = self.trace_fn(draw, info)
        if self.learns:
            out["learnt"] = tuple(ravel_pytree(tree)[0] for tree in (position, state.grads_target_log_prob))
        return out


@eqx.filter_jit
def _begin(run: Run, positions: PyTree, target_accept: float) -> tuple[Any, Float[Array, " chains"]]:
    """The kernel's state of every chain, and the logarithm of a factor for its step size."""

    return run.each_chain(_begin_chain, positions, (target_accept,))


def _begin_chain(kernel: Any, keep: Any, position: PyTree, key: Any, target_accept: float) -> Any:
    state = kernel.init(position, seed=key)
    check_state(kernel, state)
    if not isinstance(kernel, HamiltonianKernel):
        return state, jnp.zeros(())
    return state, reasonable_log_step(kernel, state, key, target_accept)


class _Chains:
    """The chains of a run, and the kernel that they have come to."""

    def __init__(
        self,
        kernel: TransitionKernel,
        num: int,
        seed: Any,
        execution: str,
        adaptation: Adaptation | None,
        trace_fn: Callable[[Any, Any], Any] | None,
        mesh: Mesh | None,
    ):
        self.kernel: Any = kernel
        self.num, self._seed, self._execution, self._mesh = num, seed, execution, mesh
        # None where nothing is adapted; asked for before each use.
        self._adaptation: Any = adaptation
        self._keep = _Keep(trace_fn, adaptation is not None and isinstance(kernel, HamiltonianKernel))
        self.state: Any = None
        self._adapting = self._compiled = False
        self._num_transitions: Any = jnp.zeros((), jnp.int32)
        # Of the warm-up: transitions that may go into settling, all that are left after that, and the windows made.
        self._stage = np.zeros(3, np.int32)

    @property
    def saved(self) -> Any:
        """All that changes in a run."""
        return self.kernel, self.state, self._num_transitions, self._stage

    @saved.setter
    def saved(self, saved: Any) -> None:
        self.kernel, self.state, self._num_transitions, self._stage = saved

    @property
    def results(self) -> KernelResults:
        """Where the chains are."""
        return KernelResults(self.state, self._num_transitions)

    def _run(self, kernel: TransitionKernel) -> Run:
        first = jnp.zeros((), jnp.int32)
        return Run(kernel, self._seed, first, (self.num,), self._execution, self._keep, self._mesh)

    def _begun(self, positions: PyTree) -> tuple[Any, np.ndarray]:
        """The state of every chain at its position, and the logarithm of a factor for its step size."""
        target_accept = 0.8 if self._adaptation is None else self._adaptation.target_accept_prob
        run, positions = on_mesh(self._mesh, self._run(self.kernel)), on_mesh(self._mesh, positions, self.num)
        state, log_factors = _begin(run, positions, target_accept)
        return state, on_host(log_factors)

    def start(self, init: Any, num_warmup: int) -> None:
        """Finds the starting points."""

        def attempt(positions: PyTree) -> Any:
            if self._keep.learns:
                size = sum(x[0].size for x in jtu.tree_leaves(positions))
                self._set_metric(self._adaptation.initial_metric(size))
            return self._begun(positions)

        found = find_start("sample", self.kernel.log_density(), init, self.num, self._seed, attempt)
        self.state = found[0]
        self._scale_step(found[1])
        share: float = getattr(self._adaptation, "settling_share", 0.0) if self._keep.learns else 0.0
        self._stage = np.array([int(share * num_warmup) // _SETTLING * _SETTLING, num_warmup, 0], np.int32)

    def draw_like(self) -> PyTree:
        """The shapes and dtypes of one chain's draw."""
        one = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.state.position)
        return eqx.filter_eval_shape(as_draw, self.kernel.log_density(), one)

    def warm_up(self, advance: Callable[[int], None]) -> bool:
        """Makes the next window, and says whether there was one."""
        settling, left, windows = (int(n) for n in self._stage)
        if settling:
            arrived = self._window(_SETTLING, advance, None)
            self._stage = np.array([0 if arrived else settling - _SETTLING, left - _SETTLING, 0], np.int32)
            return True
        if self._adaptation is None:
            plan = [(CHUNK, False)] * (left // CHUNK) + [(left % CHUNK, False)]
        else:
            plan = self._adaptation.windows(left)
        if windows < len(plan):
            self._window(plan[windows][0], advance, plan[windows][1])
            self._stage = np.array([0, left, windows + 1], np.int32)
        return windows < len(plan)

    def _window(self, length: int, advance: Callable[[int], None], learns: bool | None) -> bool:
        """Makes some transitions, then sets step size and metric, and says whether the chains have arrived.

        Where it `learns` there will be a metric; with `None` if they have.
        """
        self._adapting = self._adaptation is not None
        chunks = list(self.advance([1] * length, advance))
        self._adapting = False
        if not self._keep.learns or not chunks:
            return True
        learnt = (np.concatenate(parts) for parts in zip(*(chunk["learnt"] for chunk in chunks)))
        log_density = np.concatenate([chunk["stats"]["lp"] for chunk in chunks])
        draws, grads = learnt
        there = settled(log_density, draws.shape[-1])
        arrived = bool(np.mean(there) >= 0.75)
        if arrived if learns is None else learns:
            draws, grads = (
                x[:, there if there.any() else ...].reshape(-1, x.shape[-1]).astype(float) for x in (draws, grads)
            )
            good = np.isfinite(draws).all(axis=1) & np.isfinite(grads).all(axis=1)
            if good.sum() > 1:
                self._set_metric(self._adaptation.metric(draws[good], grads[good]))
                # Later metrics are so much like the ones before that the step size is right, and a search is too rough.
                if self._stage[2] < 2:
                    self._scale_step(self._begun(self.state.position)[1])
        return arrived

    def advance(self, counts: list[int], advance: Callable[[int], None]) -> Iterator[dict[str, Any]]:
        """Makes the transitions, and yields what they leave behind."""
        kernel, state = self.kernel, self.state
        if self._adaptation is not None:
            kernel, state = self._with_step_sizes()
        # Draws, positions and gradients of a chunk take at most about a quarter of a gigabyte.
        size = sum(x.nbytes for x in jtu.tree_leaves(self.state.position))
        rows = max(1, min(CHUNK, _CHUNK_BYTES // (3 * size)))
        host = HostRun(self._run(kernel), KernelResults(state, self._num_transitions), rows, compiled=self._compiled)
        for draws in host(counts, advance):
            self._compiled = True
            results = host.results
            state, self._num_transitions = results.state, results.num_transitions
            self.state = state if self._adaptation is None else state.inner_state
            yield jtu.tree_map(on_host, draws)
        if self._adapting and counts:
            averages = jtu.tree_map(lambda x: np.median(on_host(x), axis=0), state.log_averaging_step)
            self._set_step(jtu.tree_map(lambda s, a: jnp.exp(a).astype(s.dtype), self.kernel.step_size, averages))

    def _with_step_sizes(self) -> tuple[TransitionKernel, DualAveragingState]:
        """The kernel that adapts, and its state; the same program serves when there is no more to adapt."""
        step_size: Any = self.kernel.step_size
        kernel = DualAveragingStepSizeAdaptation(
            self.kernel,
            _FOREVER,
            self._adaptation.target_accept_prob,
            self._adaptation.exploration_shrinkage,
            shrinkage_target=step_size,
        )
        dtype = jnp.result_type(*jtu.tree_leaves(self.state.position))

        def for_all(x: Array) -> Array:
            return jnp.broadcast_to(x.astype(dtype), (self.num, *x.shape))

        steps = jtu.tree_map(for_all, step_size)
        logs = jtu.tree_map(jnp.log, steps)
        count = jnp.full(self.num, 0 if self._adapting else _FOREVER, jnp.int32)
        return kernel, DualAveragingState(self.state, steps, logs, logs, jnp.zeros(self.num, dtype), count)

    def _scale_step(self, log_factors: np.ndarray) -> None:
        if self._adaptation is not None:
            factor = jnp.exp(np.median(log_factors))
            self._set_step(jtu.tree_map(lambda s: s * factor.astype(s.dtype), self.kernel.step_size))

    def _set_step(self, step_size: PyTree) -> None:
        self.kernel = eqx.tree_at(lambda k: k.step_size, self.kernel, step_size)

    def _set_metric(self, metric: Metric) -> None:
        self.kernel = eqx.tree_at(lambda k: k.metric, self.kernel, metric)


class _Kept:
    """What a run returns, as it comes."""

    def __init__(self, reducers: Any, keep_draws: bool):
        self._reducers, self._keep_draws = reducers, keep_draws
        self._count = np.zeros((), np.int64)
        self._pieces: list[Any] = []

    @property
    def count(self) -> int:
        """Draws of each chain so far."""
        return int(self._count)

    @property
    def saved(self) -> Any:
        """All that changes in a run but the draws themselves."""
        return self._reducers, self._count

    @saved.setter
    def saved(self, saved: Any) -> None:
        self._reducers, self._count = saved

    def begin(self, like: dict[str, Any], folder: Checkpoint | None) -> None:
        """Takes what a checkpoint holds; a draw that is none tells the containers and shapes."""
        none = jtu.tree_map(lambda x: x[:0], _without_learnt(like))
        self._pieces = [none, *([] if folder is None else folder.pieces(none))]

    def add(self, draws: dict[str, Any]) -> Any:
        """Takes draws, and returns what of them is kept."""
        piece = _without_learnt(draws)
        self._count = self._count + len(jtu.tree_leaves(piece)[0])
        self._reducers = reduced(self._reducers, piece["draws"])
        if not self._keep_draws:
            return None
        self._pieces.append(piece)
        return piece

    def samples(self, chains: _Chains) -> Samples:
        joined = jtu.tree_map(lambda *xs: np.concatenate(xs), *self._pieces)
        return Samples(
            draws=joined["draws"],
            sample_stats=joined["stats"],
            trace=joined.get("trace", ()),
            reductions=self._reducers,
            kernel=chains.kernel,
            final_results=chains.results,
        )


def _without_learnt(draws: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in draws.items() if name != "learnt"}
