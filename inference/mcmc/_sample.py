"""`sample`: warm-up and chains for a model, a log density or a kernel."""

import os
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from distrax_like._misc import Seed, as_key
from distrax_like.distributions import JointDistributionPinned, UnconstrainedDensity
from distrax_like.inference._devices import CHAINS
from distrax_like.inference._start import StartingPoints, check_init, check_start, find_start
from distrax_like.inference._target import as_draw
from distrax_like.inference.vi import pathfinder

from ._adaptation import has_adaptable_step_size
from ._chains import (
    ChainSettings,
    ChainState,
    CollectDraws,
    Collected,
    run_chains,
    share_step,
    trial_run,
    with_metric,
)
from ._checkpoint import Checkpoint
from ._hamiltonian import HamiltonianKernel
from ._kernel import LogDensity, TransitionKernel
from ._metric_adaptation import Adaptation, FisherAdaptation
from ._nuts import NoUTurnSampler
from ._reducers import make_reducers, update_reducers
from ._run import KernelResults, choose_execution, progress
from ._samples import Samples
from ._warmup import begin_chains, first_stage, warm_up

Target: TypeAlias = JointDistributionPinned | TransitionKernel | Callable[..., Any]


def sample(
    target: Target,
    init: PyTree = None,
    *,
    num_samples: int = 1000,
    num_warmup: int = 1000,
    num_chains: int = 4,
    thin: int = 1,
    kernel: Callable[[Callable[..., Any]], TransitionKernel] | None = None,
    adaptation: Adaptation | None = None,
    trace_fn: Callable[[PyTree, PyTree], PyTree] | None = None,
    reducers: PyTree = None,
    keep_draws: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    execution: str | None = None,
    mesh: Mesh | None = None,
    progress_bar: bool = False,
    seed: Seed | None = None,
) -> Samples:
    """Draws from a posterior: warm-up, then chains.

    ```python
    samples = inference.mcmc.sample(model.pin(y=y), seed=jax.random.key(0))
    samples.draws.mu, print(samples.summary())
    ```

    All chains use the step size and metric that the warm-up has learnt. Transition i of chain c, counted from the
    start of the warm-up, draws from `fold_in(fold_in(seed, c), i)`, whatever the execution. Ctrl-C ends the run, and
    the draws made so far are returned.

    **Arguments:**

    - `target`: a pinned joint distribution or its unconstrained density; a log density as a function of `init`'s
      parts; or a kernel.
    - `init`: where the chains start. For a model, "uniform" (the default: between -2 and 2 in every free real) or
      "prior", where points without a finite density and gradient are drawn again, up to 100 times; or "pathfinder", for
      draws of `vi.pathfinder` with its defaults, which lie near the mass of the posterior. Otherwise a position: where
      the target is a scalar there, all chains start from it; where it is not, the position has a leading axis of
      chains. Or a function from a key to a position. The positions of a model are vectors of free reals.
    - `num_samples`: the number of draws to keep of each chain.
    - `num_warmup`: the number of transitions before them.
    - `num_chains`: the number of chains.
    - `thin`: every `thin`-th draw is kept, so each chain makes `num_samples * thin` transitions after the warm-up.
    - `kernel`: a function from the target to a kernel, by default to `NoUTurnSampler(target, 1.0)`.
    - `adaptation`: how to warm up, by default `FisherAdaptation()`. Of a kernel that is not Hamiltonian only the step
      size is adapted, if it has one and its acceptance rate depends on it.
    - `trace_fn`: a function from a draw of one chain and the kernel's info to what is kept as `trace`.
    - `reducers`: one or more of the names "moments", "covariance", "rhat" and "quantiles", for every site; or a reducer
      of the draws; or a dictionary whose values are reducers of the site that the key names, or pairs of a function of
      the draws and a reducer of its value. A reducer is a module whose `update(x, axis=0)` returns it with the
      observations along the axis added, such as those of `stats`. Each draw of each chain is one observation; for a
      `RunningPotentialScaleReduction` the draws of all chains together are one.
    - `keep_draws`: whether to keep draws, statistics and trace; a run with reducers may not need them.
    - `checkpoint`: a folder in which the run is saved after every call of the compiled program, about every second
      (during the warm-up after every window). The same call with the same folder continues the run, with the same draws
      as if it had not stopped; if the run is complete, the call returns its draws.
    - `execution`: as for `sample_chain`.
    - `mesh`: devices to split the chains over, along the mesh's axis "chains", whose length must divide their number.
      Data of the model may be split along other axes, by `jax.device_put` before the call. Draws are the same as
      without a mesh up to rounding. With several processes (`jax.distributed`) each makes the same call, and gets the
      draws of all chains.
    - `progress_bar`: whether to show progress on stderr.
    - `seed`: a key.

    **Returns:** `Samples`.

    **Raises:** `ValueError` where no start with a finite density and gradient is found, naming the site at fault and
    whether its density or its gradient is not finite; `TypeError` for an invalid target, and without a seed.
    """
    seed = as_key(seed, "sample")
    at_least = {"num_samples": (num_samples, 0), "num_warmup": (num_warmup, 0), "num_chains": (num_chains, 1)}
    for name, (value, least) in (at_least | {"thin": (thin, 1)}).items():
        if value < least:
            raise ValueError(f"sample: {name} must be at least {least}, got {value}")
    adaptation = FisherAdaptation() if adaptation is None else adaptation

    inner = _as_kernel(target, kernel)
    execution = choose_execution("sample", inner, execution)
    points = find_start("sample", inner.log_density(), _resolved(inner, init, num_chains, seed), num_chains, seed)
    adapted = adaptation if num_warmup > 0 and has_adaptable_step_size(inner) else None
    settings = ChainSettings(
        num_chains,
        seed,
        execution,
        adapted,
        CollectDraws(trace_fn, adapted is not None and isinstance(inner, HamiltonianKernel)),
        _checked_mesh(mesh, num_chains),
        points.draw,
    )
    chains = _start(settings, inner, points, num_warmup)
    results = _Results(make_reducers(reducers, num_chains, _draw_like(chains)), keep_draws)
    folder = None
    if checkpoint is not None:
        run: dict[str, Any] = {name: value for name, (value, _) in at_least.items()}
        run |= {"thin": thin, "keep_draws": keep_draws}
        run |= {"seed": jax.random.key_data(seed).tolist(), "kernel": str(inner), "adaptation": str(adaptation)}
        folder = Checkpoint(checkpoint, run)
        chains, results.saved = folder.load((chains, results.saved))

    def save(chains: ChainState, piece: Collected | None = None) -> None:
        if folder is not None:
            folder.save((chains, results.saved), piece)

    with progress("sample", num_warmup + num_samples * thin, progress_bar) as on_progress:
        results.begin(trial_run(settings, chains), folder)
        try:
            for chains in warm_up(settings, chains, on_progress):
                save(chains)
            transitions_per_draw = [thin] * (num_samples - results.count)
            for new_chains, collected in run_chains(settings, chains, transitions_per_draw, on_progress):
                piece = results.add(collected)
                chains = new_chains
                save(chains, piece)
        except KeyboardInterrupt:
            if not results.count:
                raise
    return results.samples(chains)


def _resolved(kernel: TransitionKernel, init: PyTree, num: int, seed: Seed) -> PyTree:
    """`init`, with draws of Pathfinder in place of its name."""
    target = kernel.log_density()
    check_init("sample", target if isinstance(target, UnconstrainedDensity) else None, init, ("pathfinder",))
    if isinstance(init, str) and init == "pathfinder":
        return pathfinder(target, num_draws=num, replacement=False, seed=seed).positions
    return init


def _start(settings: ChainSettings, kernel: TransitionKernel, points: StartingPoints, num_warmup: int) -> ChainState:
    """The chains at starting points whose log density and gradient are finite."""
    if settings.adaptation is not None and settings.collect.learns_metric:
        size = sum(x[0].size for x in jtu.tree_leaves(points.positions))
        kernel = with_metric(kernel, settings.adaptation.initial_metric(size))
    state, log_factors = begin_chains(settings, kernel, points.positions)
    while (others := points.retry(state)) is not None:
        points = others
        state, log_factors = begin_chains(settings, kernel, points.positions)
    check_start("sample", kernel.log_density(), state)
    num = settings.num_chains
    count, stage = jnp.zeros((), jnp.int32), first_stage(settings, num_warmup)
    chains = ChainState(kernel, state, count, log_factors, np.zeros(num, bool), stage)
    return share_step(settings, chains, np.ones(num, bool))


def _draw_like(chains: ChainState) -> PyTree:
    """The shapes and dtypes of one chain's draw."""
    one = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), chains.state.position)
    return eqx.filter_eval_shape(as_draw, chains.kernel.log_density(), one)


def _checked_mesh(mesh: Mesh | None, num_chains: int) -> Mesh | None:
    if mesh is None:
        return None
    if CHAINS not in mesh.axis_names:
        raise ValueError(f'sample: the mesh needs an axis "{CHAINS}", it has {mesh.axis_names}')
    if num_chains % (size := mesh.shape[CHAINS]):
        raise ValueError(f"sample: {num_chains} chains do not split over the {size} devices of the mesh's axis")
    # A new mesh, whose axes are automatic: the compiler decides how arrays are spread, whatever the user's axes are.
    return Mesh(mesh.devices, mesh.axis_names)


def _as_kernel(target: object, make: Callable[[LogDensity], TransitionKernel] | None) -> TransitionKernel:
    if isinstance(target, TransitionKernel):
        if make is not None:
            raise TypeError("sample: give a kernel as target or a function that makes one, not both")
        return target
    if isinstance(target, JointDistributionPinned):
        target = target.unconstrained()
    if not callable(target):
        raise TypeError(
            f"sample: target must be a pinned model, a log density or a kernel, got {type(target).__name__}"
        )
    log_density = cast(LogDensity, target)
    return NoUTurnSampler(log_density, 1.0) if make is None else make(log_density)


class _Results:
    """The results of a run, to which each call of the compiled program adds.

    `count` is the number of draws of each chain so far.
    """

    def __init__(self, reducers: PyTree, keep_draws: bool):
        self.count = 0
        self._reducers, self._keep_draws = reducers, keep_draws
        self._pieces: list[Collected] = []

    @property
    def saved(self) -> tuple[PyTree, int]:
        """All that changes in a run except the draws themselves."""
        return self._reducers, self.count

    @saved.setter
    def saved(self, saved: tuple[PyTree, int]) -> None:
        self._reducers, self.count = saved

    def begin(self, like: Collected, folder: Checkpoint | None) -> None:
        """Takes over the draws of a checkpoint; draws look `like` this, whose numbers are not used."""
        empty = jtu.tree_map(lambda x: x[:0], _without_metric_part(like))
        self._pieces = [empty, *([] if folder is None else folder.pieces(empty))]

    def add(self, collected: Collected) -> Collected | None:
        """Adds what the chains have collected, and returns the part of it that is kept."""
        piece = _without_metric_part(collected)
        self.count += len(jtu.tree_leaves(piece)[0])
        self._reducers = update_reducers(self._reducers, piece["draws"])
        if not self._keep_draws:
            return None
        self._pieces.append(piece)
        return piece

    def samples(self, chains: ChainState) -> Samples:
        """What `sample` returns."""
        joined = jtu.tree_map(lambda *xs: np.concatenate(xs), *self._pieces)
        return Samples(
            draws=joined["draws"],
            sample_stats=joined["stats"],
            trace=joined.get("trace", ()),
            reductions=self._reducers,
            kernel=chains.kernel,
            final_results=KernelResults(chains.state, chains.num_transitions),
        )


def _without_metric_part(collected: Collected) -> Collected:
    return {name: x for name, x in collected.items() if name != "for_metric"}
