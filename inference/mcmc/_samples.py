"""What `sample` returns."""

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, Shaped

from distrax_like.inference import stats

from . import _plots
from ._kernel import TransitionKernel
from ._plots import Names
from ._run import KernelResults
from ._sites import by_site, number_names

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
    """

    draws: PyTree[Shaped[np.ndarray, "draw chain ..."]]
    sample_stats: dict[str, PyTree[np.ndarray]]
    trace: PyTree
    reductions: PyTree
    kernel: TransitionKernel
    final_results: KernelResults

    def summary(self) -> "Summary":
        """Moments, quantiles and diagnostics of every number in a draw."""
        columns = [np.reshape(x, (*x.shape[:2], -1)) for x in by_site(self.draws).values()]
        # One array for all sites, so that each statistic is compiled once.
        flat = jnp.asarray(np.concatenate(columns, axis=-1))
        quantiles = np.quantile(np.asarray(flat), [0.05, 0.5, 0.95], axis=(0, 1))
        table = {
            "mean": np.mean(np.asarray(flat, float), (0, 1)),
            "sd": np.std(np.asarray(flat, float), (0, 1), ddof=1),
            **dict(zip(("5%", "50%", "95%"), quantiles)),
            "mcse_mean": stats.mcse_mean(flat),
            "ess_bulk": stats.ess_bulk(flat),
            "ess_tail": stats.ess_tail(flat),
            "rhat": stats.rhat(flat),
        }
        diverging = int(np.sum(self.sample_stats.get("diverging", 0)))
        return Summary(number_names(self.draws), {name: np.asarray(x, float) for name, x in table.items()}, diverging)

    def to_dict(self) -> dict[str, dict[str, np.ndarray]]:
        """The nested dictionary that ArviZ's `from_dict` takes: chains first, groups `posterior` and `sample_stats`."""
        posterior = {name: np.swapaxes(x, 0, 1) for name, x in by_site(self.draws).items()}
        return {"posterior": posterior, "sample_stats": {k: np.swapaxes(x, 0, 1) for k, x in self.sample_stats.items()}}

    def to_datatree(self) -> Any:
        """The draws as ArviZ's `DataTree`; needs the extra `arviz`."""
        return importlib.import_module("arviz_base").from_dict(self.to_dict())

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
    - `divergences`: the number of divergent transitions in all chains.
    """

    names: tuple[str, ...]
    table: dict[str, np.ndarray]
    divergences: int

    def __str__(self) -> str:
        formats = {"ess_bulk": ".0f", "ess_tail": ".0f", "rhat": ".3f", "mcse_mean": ".2g"}
        rows = [["", *self.table]]
        for i, name in enumerate(self.names):
            rows.append([name, *(f"{x[i]:{formats.get(column, '.4g')}}" for column, x in self.table.items())])
        widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:]))]) for row in rows
        ]
        return "\n".join([*lines, f"divergences: {self.divergences}"])
