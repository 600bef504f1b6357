"""What `sample` returns."""

import copy
import importlib
import math
import os
import pickle
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, Shaped

from distrax_like._misc import Seed, as_key
from distrax_like.distributions import JointDistributionPinned
from distrax_like.inference import stats
from distrax_like.inference.stats._diagnostics import convergence

from . import _plots
from ._kernel import TransitionKernel
from ._plots import Names
from ._predictive import log_likelihood, observations, predictive, prior_draws
from ._run import KernelResults
from ._samples_file import read_trees, write_trees
from ._sites import array_names, by_site, number_names, numbers, part_by_name

if TYPE_CHECKING:
    import matplotlib.figure

# ArviZ's names for the fields of a kernel's info.
_STATS = {
    "target_log_prob": "lp",
    "energy": "energy",
    "leapfrogs_taken": "n_steps",
    "has_divergence": "diverging",
    "reach_max_depth": "reached_max_treedepth",
    "is_accepted": "accepted",
    "step_size": "step_size",
}

_COLUMNS = "mean", "sd", "5%", "50%", "95%", "mcse_mean", "ess_bulk", "ess_tail", "rhat"
# The fields that a file holds.
_SAVED = "draws", "sample_stats", "trace", "totals"


def sample_stats(info: PyTree) -> dict[str, PyTree]:
    """The statistics that a kernel's info has, under ArviZ's names."""
    out = {theirs: getattr(info, ours) for ours, theirs in _STATS.items() if hasattr(info, ours)}
    if hasattr(info, "log_accept_ratio"):
        out["acceptance_rate"] = jnp.exp(jnp.minimum(info.log_accept_ratio, 0))
    return out


class Samples(eqx.Module):
    """The draws of a run, as NumPy arrays, with their statistics.

    - `draws`: in the container of one draw of the model, or of the start; parts have shape `(draw, chain, ...)`.
    - `sample_stats`: under ArviZ's names `lp`, `acceptance_rate`, `step_size`, `n_steps`, `diverging`, `energy`,
      `reached_max_treedepth`, each of shape `(draw, chain)`; those that the kernel's info has.
    - `trace`: what `trace_fn` returned.
    - `reductions`: the reducers after all draws.
    - `kernel`: with the step size and metric of the warm-up, ready for use.
    - `final_results`: where the chains stopped.
    - `warnings`: what is wrong with the run, in sentences.
    - `totals`: over all transitions after the warm-up, thinned-out ones too: `diverging` and `reached_max_depth`, the
      number in each chain, and `transitions`, how many each chain made.

    `samples["mu"]` is the site of that name, or a container of sites; iteration gives the names, as `summary` does.

    Samples can be pickled. Where a kernel, its results or reducers hold a function that cannot, such as a lambda, they
    are left out, `None` in their place, with a warning.
    """

    draws: PyTree[Shaped[np.ndarray, "draw chain ..."]]
    sample_stats: dict[str, PyTree[np.ndarray]]
    trace: PyTree
    reductions: PyTree
    kernel: TransitionKernel | None
    final_results: KernelResults | None
    warnings: tuple[str, ...] = eqx.field(static=True, default=())
    totals: dict[str, np.ndarray] = eqx.field(default_factory=dict)

    def __getitem__(self, name: str) -> PyTree[np.ndarray]:
        return part_by_name(self.draws, name)

    def __contains__(self, name: object) -> bool:
        try:
            part_by_name(self.draws, str(name))
        except KeyError:
            return False
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(by_site(self.draws))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("kernel", "final_results", "reductions"):
            try:
                pickle.dumps(state[name])
            except Exception as e:
                # The text of the error names the function.
                warnings.warn(f"the {name} of the samples cannot be pickled and is left out: {e}", stacklevel=2)
                state[name] = None
        return state

    def __deepcopy__(self, memo: dict[int, Any]) -> "Samples":
        # Unlike a pickle, a copy in memory can keep any function.
        new = object.__new__(type(self))
        for name, value in self.__dict__.items():
            object.__setattr__(new, name, copy.deepcopy(value, memo))
        return new

    def save(self, path: str | os.PathLike[str]) -> None:
        """Saves draws, statistics, trace, totals and warnings in one `.npz` file, which holds no pickled objects.

        **Raises:** `ValueError` for what is not made of arrays, or a key of a dictionary that is no number, string or
        tuple of these.
        """
        trees = {name: getattr(self, name) for name in _SAVED}
        write_trees(path, trees, {"warnings": list(self.warnings)})

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Samples":
        """The samples that `save` has written.

        `kernel`, `final_results` and `reductions` are not saved and are `None`. Dictionaries, lists and tuples come
        back as they were; named tuples, and modules, as named tuples with the same fields.

        **Raises:** `ValueError` for a file that `save` has not written or that is damaged.
        """
        trees, notes = read_trees(path, _SAVED)
        return Samples(**trees, reductions=None, kernel=None, final_results=None, warnings=tuple(notes["warnings"]))

    def summary(self) -> "Summary":
        """Moments, quantiles and diagnostics of every number in a draw: NaN where there are too few draws for them."""
        flat = numbers(self.draws)
        table = {name: np.full(flat.shape[2], np.nan) for name in _COLUMNS}
        if len(flat) and flat.shape[2]:
            quantiles = np.quantile(flat, [0.05, 0.5, 0.95], axis=(0, 1))
            several = flat.shape[0] * flat.shape[1] > 1
            rhat, bulk, tail = np.asarray(convergence(flat), float)
            table |= {
                "mean": np.mean(flat, (0, 1)),
                "sd": np.std(flat, (0, 1), ddof=1) if several else table["sd"],
                **dict(zip(("5%", "50%", "95%"), quantiles)),
                "mcse_mean": np.asarray(stats.mcse_mean(flat), float),
                "ess_bulk": bulk,
                "ess_tail": tail,
                "rhat": rhat,
            }
        diverging = self.totals if "diverging" in self.totals else self.sample_stats
        return Summary(number_names(self.draws), table, int(np.sum(diverging.get("diverging", 0))), self.warnings)

    def to_dict(
        self, model: JointDistributionPinned | None = None, *, seed: Seed | None = None, num_prior_draws: int = 500
    ) -> dict[str, dict[str, np.ndarray]]:
        """The nested dictionary that ArviZ's `from_dict` takes: by group and name, chains first.

        The groups are `posterior` and `sample_stats`; with a model also `log_likelihood`, `observed_data` and
        `posterior_predictive`, and, where all of its priors can be drawn from, `prior` and `prior_predictive`.

        Sites have the names of `summary`, but for those that are not possible there: `chain` and `draw`, which are
        names of dimensions, become `chain_` and `draw_`, and a slash becomes an underscore. Those without any numbers,
        such as terms of a density, are left out.

        **Arguments:** `model`: the pinned model that the draws are of; `seed`: a key for predictive and prior draws, by
        default `jax.random.key(0)`, so that the result is always the same; `num_prior_draws`: the number of the latter.

        **Raises:** `ValueError` for draws that do not fit the model.
        """
        groups = {"posterior": by_site(self.draws), "sample_stats": by_site(self.sample_stats)}
        if model is not None:
            keys = jax.random.split(jax.random.key(0) if seed is None else as_key(seed, "to_dict"))
            new = predictive(model, self, seed=keys[0])
            groups["posterior_predictive"] = {name: new[name] for name in new if name in model.pins}
            groups["log_likelihood"] = log_likelihood(model, self)
            try:
                groups |= prior_draws(model, num_prior_draws, keys[1])
            except NotImplementedError:
                pass  # A flat prior has no draws.
        groups = {group: {n: np.swapaxes(x, 0, 1) for n, x in sites.items()} for group, sites in groups.items()}
        if model is not None:
            groups["observed_data"] = observations(model)
        return {
            group: array_names({n: x for n, x in sites.items() if math.prod(x.shape[2:])})
            for group, sites in groups.items()
        }

    def to_datatree(
        self, model: JointDistributionPinned | None = None, *, seed: Seed | None = None, num_prior_draws: int = 500
    ) -> Any:
        """`to_dict` as ArviZ's `DataTree`; needs the extra `arviz`. **Arguments:** as `to_dict`."""
        arviz = importlib.import_module("arviz_base")
        groups = self.to_dict(model, seed=seed, num_prior_draws=num_prior_draws)
        # Its check takes more chains than draws for a mistake.
        return arviz.from_dict(groups, check_conventions=False)

    def plot_trace(self, names: Names = None) -> "matplotlib.figure.Figure":
        """The draws of each chain in order, with ticks at divergent ones, and their histograms.

        All plots return a matplotlib `Figure` and need the extra `plots`. Long runs are drawn thinned.

        **Arguments:** `names`: of sites or of single numbers as `summary()` prints them, `"mu"` or `"theta[0, 1]"`; by
        default the first 12.

        **Raises:** `ValueError` for an unknown name; `ImportError` without matplotlib.
        """
        return _plots.trace(self.draws, self.sample_stats, names)

    def plot_rank(self, names: Names = None) -> "matplotlib.figure.Figure":
        """Histograms of the ranks of each chain's draws among the draws of all chains: flat where the chains agree.

        If the chains differ only by chance, all counts of a chain stay in the band with probability about 95%; the band
        allows for correlation between draws. Where there is one chain, its halves are compared.

        **Arguments, raises:** as `plot_trace`. (Vehtari et al., Bayesian Analysis 16, 2021.)
        """
        return _plots.rank(self.draws, names)

    def plot_pairs(self, names: Names = None) -> "matplotlib.figure.Figure":
        """Scatter plots of each pair of numbers, divergent draws in red, and histograms.

        **Arguments, raises:** as `plot_trace`, but by default the first 6.
        """
        return _plots.pairs(self.draws, self.sample_stats, names)

    def plot_energy(self) -> "matplotlib.figure.Figure":
        """Histograms of the energy and of its changes, which should be equally wide, and each chain's E-BFMI.

        **Raises:** `ValueError` where the statistics have no energy.
        """
        return _plots.energy(self.sample_stats)

    def plot_autocorrelation(self, names: Names = None, max_lag: int = 100) -> "matplotlib.figure.Figure":
        """The autocorrelation of each chain up to a lag. **Arguments, raises:** as `plot_trace`."""
        return _plots.autocorrelation(self.draws, names, max_lag)


class Summary(NamedTuple):
    """A table of statistics, which prints as one.

    - `names`: of the rows: sites, with the index in the event.
    - `table`: the columns: mean, standard deviation, quantiles, the Monte Carlo standard error of the mean, bulk and
      tail effective sample sizes and rank-normalised R-hat.
    - `divergences`: the number of divergent transitions in all chains, among all after the warm-up where `Samples` has
      their totals, else among the draws.
    - `warnings`: what is wrong with the run, in sentences.
    """

    names: tuple[str, ...]
    table: dict[str, np.ndarray]
    divergences: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        formats = {"ess_bulk": ".0f", "ess_tail": ".0f", "rhat": ".3f", "mcse_mean": ".2g"}
        rows = [["", *self.table]]
        for i, name in enumerate(self.names):
            rows.append([name, *(f"{x[i]:{formats.get(column, '.4g')}}" for column, x in self.table.items())])
        widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:]))]) for row in rows
        ]
        return "\n".join([*lines, f"divergences: {self.divergences}", *self.warnings])
