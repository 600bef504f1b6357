"""What `sample` returns."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from distrax_like.inference import stats

from ._kernel import TransitionKernel
from ._run import KernelResults

# ArviZ's names of what an info may hold.
_STATS = {
    "target_log_prob": "lp",
    "energy": "energy",
    "leapfrogs_taken": "n_steps",
    "has_divergence": "diverging",
    "reach_max_depth": "reached_max_treedepth",
    "is_accepted": "accepted",
    "step_size": "step_size",
}


def sample_stats(info: Any) -> dict[str, Any]:
    """The statistics of a transition under ArviZ's names."""
    out = {theirs: getattr(info, ours) for ours, theirs in _STATS.items() if hasattr(info, ours)}
    if hasattr(info, "log_accept_ratio"):
        out["acceptance_rate"] = jnp.exp(jnp.minimum(info.log_accept_ratio, 0))
    return out


def by_site(draws: Any) -> dict[str, Any]:
    """The parts of a draw by name: of a dictionary or named tuple its own, else `var0`, `var1`, …, or `x`."""
    if hasattr(draws, "_asdict"):
        return draws._asdict()
    if isinstance(draws, Mapping):
        return dict(draws)
    if isinstance(draws, tuple | list):
        return {f"var{i}": x for i, x in enumerate(draws)}
    if isinstance(draws, eqx.Module):
        return {jtu.keystr(path)[1:]: x for path, x in jtu.tree_leaves_with_path(draws)}
    return {"x": draws}


def names(draws: Any) -> tuple[str, ...]:
    """Of every number in a draw: its site, and its place in the event."""
    return tuple(
        site + (f"[{', '.join(map(str, index))}]" if index else "")
        for site, x in by_site(draws).items()
        for index in np.ndindex(x.shape[2:])
    )


class Samples(eqx.Module):
    """The draws of a run, on the host, and what is known of them.

    - `draws`: in the container of one draw of the model, or of the start; parts have shape `(draw, chain, ...)`.
    - `sample_stats`: by ArviZ's names `lp`, `acceptance_rate`, `step_size`, `n_steps`, `diverging`, `energy`,
      `reached_max_treedepth`, each of shape `(draw, chain)`, as far as the kernel's info has them.
    - `trace`: what `trace_fn` gave.
    - `reductions`: the reducers after all draws.
    - `kernel`: ready for use: with the step size and metric of the warm-up.
    - `final_results`: where the chains stopped.
    """

    draws: PyTree
    sample_stats: dict[str, np.ndarray]
    trace: Any
    reductions: Any
    kernel: TransitionKernel
    final_results: KernelResults

    def summary(self) -> "Summary":
        """Moments, quantiles and diagnostics of every number in a draw."""
        columns = [np.reshape(x, (*x.shape[:2], -1)) for x in by_site(self.draws).values()]
        # All in one array, for which the statistics are compiled once.
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
        return Summary(names(self.draws), {name: np.asarray(x, float) for name, x in table.items()}, diverging)

    def to_dict(self) -> dict[str, dict[str, np.ndarray]]:
        """The nested dictionary that ArviZ's `from_dict` takes: chains first, groups `posterior` and `sample_stats`."""
        posterior = {name: np.swapaxes(x, 0, 1) for name, x in by_site(self.draws).items()}
        return {"posterior": posterior, "sample_stats": {k: np.swapaxes(x, 0, 1) for k, x in self.sample_stats.items()}}

    def to_datatree(self) -> Any:
        """The draws as ArviZ's `DataTree`; needs the extra `arviz`."""
        import importlib

        return importlib.import_module("arviz_base").from_dict(self.to_dict())

    def plot_trace(self, names: str | Sequence[str] | None = None) -> Any:
        """The draws of each chain in order, divergent ones ticked below, and their histograms.

        All plots return a matplotlib `Figure` and need the extra `plots`. Long runs are drawn thinned.

        **Arguments:** `names`: of sites or of single numbers as `summary()` prints them, `"mu"` or `"theta[0, 1]"`; by
        default the first 12.

        **Raises:** `ValueError` for a name that is none; `ImportError` without matplotlib.
        """
        from . import _plots

        return _plots.trace(self, names)

    def plot_rank(self, names: str | Sequence[str] | None = None) -> Any:
        """Histograms of the ranks of each chain's draws among those of all: level where the chains agree.

        A chain's counts all stay in the band with probability about 95% where chains differ by chance only; correlation
        between draws is allowed for. Of one chain, the halves are compared.

        **Arguments, raises:** as `plot_trace`. (Vehtari et al., Bayesian Analysis 16, 2021.)
        """
        from . import _plots

        return _plots.rank(self, names)

    def plot_pairs(self, names: str | Sequence[str] | None = None) -> Any:
        """Scatter plots of each pair of numbers, divergent draws in red, and histograms.

        **Arguments, raises:** as `plot_trace`, but by default the first 6.
        """
        from . import _plots

        return _plots.pairs(self, names)

    def plot_energy(self) -> Any:
        """The energy of the draws beside its changes, which should be as wide, and each chain's E-BFMI.

        **Raises:** `ValueError` where the statistics have no energy.
        """
        from . import _plots

        return _plots.energy(self)

    def plot_autocorrelation(self, names: str | Sequence[str] | None = None, max_lag: int = 100) -> Any:
        """The autocorrelation of each chain up to a lag. **Arguments, raises:** as `plot_trace`."""
        from . import _plots

        return _plots.autocorrelation(self, names, max_lag)


class Summary(NamedTuple):
    """A table of statistics; it prints as one.

    - `names`: of the rows: sites, with the place in the event.
    - `table`: the columns: mean, standard deviation, quantiles, the Monte Carlo standard error of the mean, bulk and
      tail effective sample sizes and rank-normalised R-hat.
    - `divergences`: in all chains.
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
