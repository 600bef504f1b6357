"""`sample`: warm-up and chains for a model, a log density or a kernel."""

import inspect
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeAlias, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import PyTree

from distrax_like._arguments import Fraction, NonnegativeInt, PositiveInt, checked
from distrax_like._misc import Checked, Seed, as_instance, as_key, check_callable, describe
from distrax_like.distributions import JointDistribution, JointDistributionPinned, UnconstrainedDensity
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
from ._diagnose import diagnose
from ._hamiltonian import HamiltonianKernel
from ._identity import hashes, identity
from ._kernel import LogDensity, TransitionKernel
from ._metric_adaptation import Adaptation, FisherAdaptation
from ._nuts import NoUTurnSampler
from ._reducers import make_reducers
from ._results import Results, without_metric_part
from ._run import choose_execution, progress
from ._samples import Samples
from ._warmup import begin_chains, first_stage, progress_of, warm_up, windows

Target: TypeAlias = JointDistributionPinned | TransitionKernel | Callable[..., Any]


class SamplingWarning(UserWarning):
    """The draws of a run may not be those of the posterior."""


# An optional argument that is None is not checked.
def _check_target(x: object, who: str) -> None:
    if isinstance(x, JointDistribution) or inspect.isgeneratorfunction(x):
        raise TypeError(f"{who} must be a pinned model: write JointDistributionCoroutine(model).pin(y=data)")
    if not callable(x) and not isinstance(x, JointDistributionPinned | TransitionKernel):
        raise TypeError(f"{who} must be a pinned model, a log density or a kernel, got {describe(x)}")


def _check_make(x: object, who: str) -> None:
    if isinstance(x, TransitionKernel):
        raise TypeError(f"{who} must be a function from the log density to a kernel, got {describe(x)}")
    check_callable(x, who, "log density")


def _check_trace(x: object, who: str) -> None:
    check_callable(x, who, "draw", "info")


def _check_mesh(x: object, who: str) -> None:
    as_instance(x, Mesh, who)


def _check_folder(x: object, who: str) -> None:
    if not isinstance(x, str | os.PathLike):
        raise TypeError(f"{who} must be the path of a folder, got {describe(x)}")


def _check_execution(x: object, who: str) -> None:
    if not isinstance(x, str):
        raise TypeError(f"{who} must be a text, got {describe(x)}")


@checked
def sample(
    target: Annotated[Target, Checked(_check_target)],
    init: PyTree = None,
    *,
    num_samples: NonnegativeInt = 1000,
    num_warmup: NonnegativeInt = 1000,
    num_chains: PositiveInt = 4,
    thin: PositiveInt = 1,
    target_accept_prob: Fraction | None = None,
    max_tree_depth: PositiveInt | None = None,
    kernel: Annotated[Callable[[Callable[..., Any]], TransitionKernel] | None, Checked(_check_make)] = None,
    adaptation: Adaptation | None = None,
    trace_fn: Annotated[Callable[[PyTree, PyTree], PyTree] | None, Checked(_check_trace)] = None,
    reducers: PyTree = None,
    keep_draws: bool = True,
    checkpoint: Annotated[str | os.PathLike[str] | None, Checked(_check_folder)] = None,
    execution: Annotated[str | None, Checked(_check_execution)] = None,
    mesh: Annotated[Mesh | None, Checked(_check_mesh)] = None,
    progress_bar: bool | None = None,
    seed: Seed | None = None,
) -> Samples:
    """Draws from a posterior: warm-up, then chains.

    ```python
    samples = inference.sample(model.pin(y=y), seed=jax.random.key(0))
    samples["mu"], print(samples.summary())
    ```

    After the warm-up all chains use the step size and metric that it has learnt. Transition i of chain c, counted from
    the start of the warm-up, draws from `fold_in(fold_in(seed, c), i)`, whatever the execution. Ctrl-C ends the run,
    and the draws made so far are returned.

    Where something is wrong with the run, one `SamplingWarning` says what, what it means and what to try; the sentences
    are `warnings` of the samples too. See `diagnose` for what is looked at; besides, chains that were stuck and have
    been started afresh, chains that do not move, and an interrupt are named.

    **Arguments:**

    - `target`: a pinned joint distribution or its unconstrained density; a log density as a function of `init`'s
      parts; or a kernel.
    - `init`: where the chains start. For a model, "uniform" (the default: between -2 and 2 in every free real) or
      "prior", where points without a finite density and gradient are drawn again, up to 100 times; or "pathfinder", for
      draws of `vi.pathfinder` with its defaults, which lie near the mass of the posterior; or values of the free sites
      in a dictionary or named tuple. Otherwise a position: where the target is a scalar there, all chains start from
      it; where it is not, the position has a leading axis of chains. Or a function from a key to a position. The
      positions of a model are vectors of free reals.
    - `num_samples`: the number of draws to keep of each chain.
    - `num_warmup`: the number of transitions before them.
    - `num_chains`: the number of chains.
    - `thin`: every `thin`-th draw is kept, so each chain makes `num_samples * thin` transitions after the warm-up.
    - `target_accept_prob`: the acceptance rate that the step size is adapted to, in place of the adaptation's. A higher
      one takes smaller steps, which follow the density into narrow places.
    - `max_tree_depth`: of the default kernel.
    - `kernel`: a function from the target to a kernel, by default to `NoUTurnSampler(target, 1.0)`.
    - `adaptation`: how to warm up, an `Adaptation`, by default `FisherAdaptation()`. Of a kernel that is not
      Hamiltonian only the step size is adapted, if it has one and its acceptance rate depends on it.
    - `trace_fn`: a function from a draw of one chain and the kernel's info to what is kept as `trace`.
    - `reducers`: one or more of the names "moments", "covariance", "rhat" and "quantiles", for every site; or a reducer
      of the draws; or a dictionary whose values are reducers of the site that the key names, or pairs of a function of
      the draws and a reducer of its value. A reducer is a module whose `update(x, axis=0)` returns it with the
      observations along the axis added, such as those of `stats`. Each draw of each chain is one observation; for a
      `RunningPotentialScaleReduction` the draws of all chains together are one.
    - `keep_draws`: whether to keep draws, statistics and trace; a run with reducers may not need them.
    - `checkpoint`: a folder in which the run is saved after every call of the compiled program, about every second
      (during the warm-up after every window). The same call with the same folder continues the run, with the same draws
      as if it had not stopped; if the run is complete, the call returns its draws. `num_samples` may be larger than it
      was. The folder belongs to the run: another start, model, kernel or other setting is refused.
    - `execution`: as for `sample_chain`.
    - `mesh`: a `jax.sharding.Mesh` of devices to split the chains over, along the mesh's axis "chains", whose length
      must divide their number. Data of the model may be split along other axes, by `jax.device_put` before the call.
      Draws are the same as without a mesh up to rounding. With several processes (`jax.distributed`) each makes the
      same call, and gets the draws of all chains.
    - `progress_bar`: whether to show progress on stderr, by default where it is a terminal.
    - `seed`: a key.

    **Returns:** `Samples`.

    **Raises:** `ValueError` where no start with a finite density and gradient is found, naming the site at fault and
    whether its density or its gradient is not finite, where there is nothing to sample, and for a folder of another run
    or one that is damaged; `RuntimeError` for a folder that is in use; `TypeError` for an invalid target, without a
    seed, and under `jit`, `vmap` or `grad`.
    """
    seed = as_key(seed, "sample")
    if any(isinstance(x, Tracer) for x in jtu.tree_leaves((jnp.zeros(()), target, init, seed))):
        raise TypeError("sample runs on the host: under jit, vmap or grad use sample_chain")
    if not keep_draws and reducers is None:
        raise ValueError("sample: keep_draws=False without reducers keeps nothing of the run")
    adaptation = FisherAdaptation() if adaptation is None else adaptation
    if target_accept_prob is not None:
        if np.ndim(target_accept_prob):
            raise TypeError(f"sample: target_accept_prob must be one number, got {describe(target_accept_prob)}")
        adaptation = replace(adaptation, target_accept_prob=float(np.asarray(target_accept_prob)))

    inner = _as_kernel(target, kernel, max_tree_depth)
    adapts = num_warmup > 0 and has_adaptable_step_size(inner)
    settings = ChainSettings(
        num_chains,
        seed,
        choose_execution("sample", inner, execution),
        adaptation if adapts else None,
        CollectDraws(trace_fn, adapts and isinstance(inner, HamiltonianKernel)),
        _checked_mesh(mesh, num_chains),
    )
    init = _as_init(inner, init)
    points = _Points(inner, init, num_chains, seed)
    settings = settings._replace(draw_start=points.draw)
    if checkpoint is None:
        chains = _start(settings, inner, points.found, num_warmup)
        results = Results(make_reducers(reducers, num_chains, _draw_like(chains)), keep_draws)
        return _run(settings, chains, results, num_samples, thin, progress_bar, None)

    chains = _like(settings, inner, points.like)
    results = Results(make_reducers(reducers, num_chains, _draw_like(chains)), keep_draws)
    known: dict[str, Any] = {"num_warmup": num_warmup, "num_chains": num_chains, "thin": thin, "keep_draws": keep_draws}
    known |= {"seed": hashes(jax.random.key_data(seed))["value"], "init": points.identity}
    run, piece = identity(settings, chains, results.saved[0], known)
    results.begin(piece)
    with Checkpoint(checkpoint, run) as folder:
        saved = folder.load((chains, results.saved), piece)
        if saved is None:
            chains = _start(settings, inner, points.found, num_warmup)
        else:
            (chains, results.saved), pieces = saved
            results.pieces += pieces
            if results.count > num_samples:
                raise ValueError(
                    f"sample: the checkpoint {os.fspath(checkpoint)!r} holds {results.count} draws of each chain, more "
                    f"than num_samples={num_samples}"
                )
        return _run(settings, chains, results, num_samples, thin, progress_bar, folder)


def _run(
    settings: ChainSettings,
    chains: ChainState,
    results: Results,
    num_samples: int,
    thin: int,
    progress_bar: bool | None,
    folder: Checkpoint | None,
) -> Samples:
    """Runs what is left of warm-up and draws."""

    def save(chains: ChainState, piece: Collected | None = None) -> None:
        if folder is not None:
            folder.save((chains, results.saved), piece)

    num_left = num_samples - results.count
    warmup_left = chains.stage.settling_left or _has_windows_left(settings, chains)
    was_interrupted = False
    if num_left or warmup_left or folder is None:
        with progress("sample", chains.stage.left + num_left * thin, progress_bar) as on_progress:
            like = trial_run(settings, chains)
            if not results.pieces:
                results.begin(jtu.tree_map(lambda x: x[:0], without_metric_part(like)))
            try:
                for chains in warm_up(settings, chains, on_progress):
                    save(chains)
                for new_chains, collected in run_chains(settings, chains, [thin] * num_left, on_progress):
                    piece = results.add(collected)
                    chains = new_chains
                    save(chains, piece)
            except KeyboardInterrupt:
                if not results.count:
                    raise
                was_interrupted = True
    samples = results.samples(chains, thin)
    found = (*_interruption(was_interrupted, results.count, num_samples), *_troubles(chains, samples))
    if found:
        warnings.warn(f"sample: {' '.join(found)}", SamplingWarning, stacklevel=4)
    return replace(samples, warnings=found)


def _interruption(was_interrupted: bool, made: int, asked: int) -> tuple[str, ...]:
    return (f"The run was interrupted after {made} of {asked} draws of each chain.",) if was_interrupted else ()


def _troubles(chains: ChainState, samples: Samples) -> tuple[str, ...]:
    """What is wrong with the chains, as sentences."""
    out = []
    if chains.is_moved.any():
        out.append(
            f"{_chain_names(chains.is_moved)} stuck during the warm-up, far below the others in log density, and "
            "started afresh: there may be a local mode, or a region that no step leads out of. Better starts, by init, "
            "avoid it."
        )
    log_density = samples.sample_stats.get("lp")
    if log_density is not None and len(log_density) >= 10:
        stands = np.ptp(log_density, axis=0) == 0
        size = sum(x[0, 0].size for x in jtu.tree_leaves(samples.draws))
        is_low = ~stands & progress_of(log_density, size).is_stuck
        if stands.any():
            out.append(
                f"{_chain_names(stands)} stuck: no transition was accepted, and all draws are one point. Try other "
                "starts by init, or a longer warm-up."
            )
        if is_low.any():
            out.append(
                f"{_chain_names(is_low)} far below the others in log density: in a local mode, or not yet arrived. Try "
                "other starts by init, or a longer warm-up."
            )
    return (*out, *diagnose(samples))


def _chain_names(which: np.ndarray) -> str:
    numbers = np.flatnonzero(which)
    return f"Chain {numbers[0]} was" if len(numbers) == 1 else f"Chains {', '.join(map(str, numbers))} were"


def _has_windows_left(settings: ChainSettings, chains: ChainState) -> bool:
    return chains.stage.windows_done < len(windows(settings, chains.stage.left))


def _as_init(kernel: TransitionKernel, init: PyTree) -> PyTree:
    """`init`, with values of a model's sites as a vector of free reals."""
    target = kernel.log_density()
    model = target if isinstance(target, UnconstrainedDensity) else None
    if model is not None and (isinstance(init, Mapping) or hasattr(init, "_fields")):
        init = model.position_of(init)
    check_init("sample", model, init, ("pathfinder",))
    if model is not None and not model.dim:
        raise ValueError("sample: there is nothing to sample, all sites of the model are pinned or have one value only")
    if callable(init):
        check_callable(init, "sample: init", "key")
    elif init is not None and not isinstance(init, str):
        if not sum(map(np.size, jtu.tree_leaves(init))):
            raise ValueError("sample: there is nothing to sample, init has no numbers")
        if model is not None and np.shape(init)[-1:] != (model.dim,):
            raise ValueError(
                f"sample: init must be a vector of the model's {model.dim} free reals, one for each chain, or values "
                f"by site, got {describe(init)}"
            )
    return init


class _Points:
    """Where the chains of a run start. Draws of Pathfinder are made when they are needed."""

    def __init__(self, kernel: TransitionKernel, init: PyTree, num: int, seed: Seed):
        self._make = lambda init: find_start("sample", kernel.log_density(), init, num, seed)
        self._paths = None
        if isinstance(init, str) and init == "pathfinder":
            target = cast(UnconstrainedDensity, kernel.log_density())
            self._paths = lambda: pathfinder(target, num_draws=num, replacement=False, seed=seed).positions
            self._found = None
            self.like: PyTree = jax.ShapeDtypeStruct((num, target.dim), target.dtype)
            return
        self._found = self._make(init)
        self.like = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self._found.positions)

    @property
    def identity(self) -> Any:
        """What tells these starts from others."""
        return "pathfinder" if self._paths is not None else hashes(self.found.positions)

    @property
    def draw(self) -> Callable[[int], PyTree] | None:
        return None if self._found is None else self._found.draw

    @property
    def found(self) -> StartingPoints:
        if self._found is None:
            assert self._paths is not None
            self._found = self._make(self._paths())
        return self._found


def _with_first_metric(settings: ChainSettings, kernel: TransitionKernel, positions: PyTree) -> TransitionKernel:
    if settings.adaptation is None or not settings.collect.learns_metric:
        return kernel
    size = sum(math.prod(x.shape[1:]) for x in jtu.tree_leaves(positions))
    return with_metric(kernel, settings.adaptation.initial_metric(size))


def _like(settings: ChainSettings, kernel: TransitionKernel, positions: PyTree) -> ChainState:
    """Chains of the structure, shapes and dtypes of the run's; their numbers mean nothing."""
    kernel = _with_first_metric(settings, kernel, positions)
    state = eqx.filter_eval_shape(jax.vmap(lambda x: kernel.init(x, seed=settings.seed)), positions)
    state = jtu.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), state)
    num = settings.num_chains
    return ChainState(
        kernel, state, jnp.zeros((), jnp.int32), np.zeros(num), np.zeros(num, bool), first_stage(settings, 0)
    )


def _start(settings: ChainSettings, kernel: TransitionKernel, points: StartingPoints, num_warmup: int) -> ChainState:
    """The chains at starting points whose log density and gradient are finite."""
    kernel = _with_first_metric(settings, kernel, points.positions)
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


def _as_kernel(
    target: Target, make: Callable[[Callable[..., Any]], TransitionKernel] | None, max_tree_depth: int | None
) -> TransitionKernel:
    if isinstance(target, TransitionKernel):
        if make is not None or max_tree_depth is not None:
            raise TypeError("sample: give a kernel as target or what makes one (kernel, max_tree_depth), not both")
        return target
    log_density = cast(LogDensity, target.unconstrained() if isinstance(target, JointDistributionPinned) else target)
    if make is None:
        return NoUTurnSampler(log_density, 1.0, max_tree_depth=10 if max_tree_depth is None else max_tree_depth)
    if max_tree_depth is not None:
        raise TypeError("sample: max_tree_depth is of the default kernel; set it in the one that kernel makes")
    return as_instance(make(log_density), TransitionKernel, "sample: what kernel returns")
