"""Plots of a run to judge it by, as methods of `Samples`. They need the extra `plots`."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int, PyTree, Shaped

from distrax_like.inference import stats
from distrax_like.special import ndtri

from ._sites import by_site, number_names

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Names: TypeAlias = str | Sequence[str] | None

Draws: TypeAlias = PyTree[Shaped[np.ndarray, "draw chain ..."]]
Statistics: TypeAlias = Mapping[str, np.ndarray]
# Draws of one number by its name.
_Table: TypeAlias = dict[str, Float[np.ndarray, "draw chain"]]

# More chains are not listed one by one.
_MAX_LISTED = 8
# How many numbers are plotted unless they are named.
_DEFAULT_ROWS, _DEFAULT_PAIRS = 12, 6
# What one panel shows at most; longer runs are thinned.
_MAX_POINTS, _MAX_RANKS, _MAX_DOTS = 20_000, 100_000, 5_000
_MIN_DRAWS = 4
# Of the rank plot: the number of bins, and the probability with which all counts of a chain stay in the band.
_BINS, _BAND = 20, 0.95
_LOW_E_BFMI = 0.3
_BLUE, _RED, _GREY = "tab:blue", "tab:red", "0.85"


def trace(draws: Draws, sample_stats: Statistics, names: Names) -> "matplotlib.figure.Figure":
    """See `Samples.plot_trace`."""
    table, note = _chosen(draws, names, _DEFAULT_ROWS)
    num, chains = next(iter(table.values())).shape
    step = _stride(num * chains, _MAX_POINTS)
    diverging = np.asarray(sample_stats.get("diverging", np.zeros((num, chains), bool)))
    where = np.flatnonzero(diverging.any(1))
    figure = _figure(10.0, 1.4 * len(table) + 0.9)
    axes = figure.subplots(len(table), 2, squeeze=False, sharey="row", width_ratios=[5, 1])
    lines: list[Any] = []
    for (left, right), (name, x) in zip(axes, table.items()):
        left.set_prop_cycle(color=_colours(chains))
        lines = left.plot(np.arange(0, num, step), x[::step], lw=0.6, alpha=_alpha(chains), rasterized=True)
        edges = np.histogram_bin_edges(x[np.isfinite(x)], 40)
        for colour, column in zip(_colours(chains), x.T):
            counts = np.histogram(column, edges)[0]
            right.stairs(counts, edges, orientation="horizontal", color=colour, alpha=_alpha(chains))
        left.plot(where, np.zeros(len(where)), "|", color="black", ms=7, transform=left.get_xaxis_transform())
        left.set(ylabel=_short(name), xlim=(0, num - 1))
        left.tick_params(labelbottom=left is axes[-1, 0])
        right.set(xticks=[], xlim=(0, None))
    axes[-1, 0].set_xlabel("draw")
    ticks = [f"{diverging.sum()} divergent draws (ticks)"] if len(where) else []
    return _finish(figure, [*ticks, *note], lines)


def rank(draws: Draws, names: Names) -> "matplotlib.figure.Figure":
    """See `Samples.plot_rank`."""
    table, note = _chosen(draws, names, _DEFAULT_ROWS)
    figure, panels = _grid(len(table), "rank as a share", "draws")
    part, lines = "chain", []
    for axis, (name, x) in zip(panels, table.items()):
        x = x[:: _stride(x.size, _MAX_RANKS)]
        if x.shape[1] == 1:
            # A single chain is split, and its halves are compared.
            part, half = "half", len(x) // 2
            x = np.concatenate([x[:half], x[len(x) - half :]], 1)
        counts, low, high = rank_counts(x)
        chains, bins = counts.shape
        outside = np.any((counts < low) | (counts > high), axis=1)
        edges = np.linspace(0, 1, bins + 1)
        axis.stairs(high, edges, baseline=low, fill=True, color=_GREY, zorder=0)
        lines = [
            axis.stairs(row, edges, baseline=None, color=colour, lw=1.6 if out else 0.9,
                        alpha=1.0 if out else _alpha(chains), zorder=2 if out else 1)
            for row, colour, out in zip(counts, _colours(chains), outside.tolist())
        ]  # fmt: skip
        axis.set_title(f"{_short(name)}: {outside.sum()} of {chains} outside", fontsize="medium")
        axis.set(xlim=(0, 1), ylim=(0, None))
    band = f"band: all counts of a {part} stay inside with probability about {_BAND:.0%}"
    return _finish(figure, [band, *note], lines, part)


def rank_counts(
    x: Shaped[np.ndarray, "draw chain"],
) -> tuple[Int[np.ndarray, "chain bin"], Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """The counts of pooled ranks of each chain, and both ends of their band.

    The share of a chain's n draws in a bin less that of all m chains, p, has variance p (1 - p) (1 - 1 / m) / n, with
    the effective number of draws in the bin for n where draws are correlated; quantiles at one level for all bins are
    normal ones, corrected for skewness.
    """
    n, m = x.shape
    bins = max(min(_BINS, n // 10), 2)
    # Equal draws are ranked in the order of the run, which spreads them evenly over the chains.
    place = np.empty(n * m, int)
    place[np.argsort(x, axis=None, kind="stable")] = np.arange(n * m)
    inside = (place * bins // (n * m)).reshape(n, m, 1) == np.arange(bins)
    share = inside.mean((0, 1))
    effective = np.asarray(stats.ess(inside.astype(x.dtype)[:, None], "mean"))
    # The median: a chain that stands still, or never reaches a bin, must not set the band for the others.
    effective = np.clip(np.median(np.where(np.isnan(effective), n, effective), 0), 1, n)
    z = float(ndtri(1 - (1 - _BAND) / (2 * bins)))
    sd = np.sqrt(share * (1 - share) * (1 - 1 / m) / effective)
    shift = (z**2 - 1) / 6 * (1 - 2 * share) * (1 - 2 / m) / effective
    return inside.sum(0), n * np.maximum(share + shift - z * sd, 0), n * (share + shift + z * sd)


def pairs(draws: Draws, sample_stats: Statistics, names: Names) -> "matplotlib.figure.Figure":
    """See `Samples.plot_pairs`."""
    table, note = _chosen(draws, names, _DEFAULT_PAIRS)
    columns = [x.reshape(-1) for x in table.values()]
    size = len(table)
    diverging = np.asarray(sample_stats.get("diverging", np.zeros(columns[0].shape, bool))).reshape(-1)
    both = [np.flatnonzero(kind) for kind in (~diverging, diverging)]
    shown = [index[:: _stride(len(index), _MAX_DOTS)] for index in both]
    figure = _figure(1.9 * size + 1.2, 1.9 * size + 0.8)
    axes = figure.subplots(size, size, squeeze=False, sharex="col")
    style: dict[str, Any] = {"ls": "", "marker": ".", "mew": 0, "rasterized": True}
    for i, (name, y) in enumerate(zip(table, columns)):
        for j, x in enumerate(columns):
            axis = axes[i, j]
            if j > i:
                axis.remove()
            elif j == i:
                axis.hist(y[np.isfinite(y)], 40, color=_BLUE, alpha=0.6)
                axis.set_yticks([])
            else:
                axis.plot(x[shown[0]], y[shown[0]], color=_BLUE, ms=3, alpha=0.25, **style)
                axis.plot(x[shown[1]], y[shown[1]], color=_RED, ms=6, alpha=0.8, **style)
                axis.tick_params(labelleft=j == 0)
        axes[i, 0].set_ylabel(_short(name) if i else "draws")
        axes[-1, i].set_xlabel(_short(name))
    kinds = (f"{len(index)} {kind}" for kind, index in zip(("other draws", "divergent draws (red)"), both))
    part = [f" ({len(s)} shown)" if len(s) < len(index) else "" for s, index in zip(shown, both)]
    return _finish(figure, [*(kind + of for kind, of in zip(kinds, part)), *note], [])


def energy(sample_stats: Statistics) -> "matplotlib.figure.Figure":
    """See `Samples.plot_energy`."""
    if "energy" not in sample_stats:
        known = ", ".join(sample_stats) or "nothing"
        raise ValueError(f"plot_energy needs the energy, which a Hamiltonian kernel's info has; known is {known}")
    x = np.asarray(sample_stats["energy"], float)
    if len(x) < 2:
        raise ValueError(f"plot_energy needs 2 draws of each chain, got {len(x)}")
    fractions = np.asarray(stats.e_bfmi(x))
    finite = x[np.isfinite(x)]
    marginal, moves = finite - finite.mean(), np.diff(x, axis=0).reshape(-1)
    figure = _figure(7.0, 4.0)
    axis = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate([marginal, moves[np.isfinite(moves)]]), 60)
    parts = [("energy minus its mean", marginal, True), ("change of energy by a transition", moves, False)]
    for label, values, fill in parts:
        counts = np.histogram(values, edges)[0]
        axis.stairs(counts, edges, label=label, fill=fill, color=_BLUE if fill else _RED, alpha=0.4 if fill else 1)
    low = np.flatnonzero(fractions < _LOW_E_BFMI)
    if len(fractions) <= _MAX_LISTED:
        lines = [f"E-BFMI, chain {c}: {v:.2f}" + (" (low)" if c in low else "") for c, v in enumerate(fractions)]
    else:
        lines = [f"E-BFMI of {len(fractions)} chains: {fractions.min():.2f} to {fractions.max():.2f}"]
        lines += [f"low, chain {c}: {fractions[c]:.2f}" for c in low[np.argsort(fractions[low])][:_MAX_LISTED]]
        lines += [f"and {len(low) - _MAX_LISTED} more below {_LOW_E_BFMI}"] if len(low) > _MAX_LISTED else []
    for line in lines:
        axis.plot([], [], " ", label=line)
    axis.set(yticks=[], xlabel="energy")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize="small")
    return figure


def autocorrelation(draws: Draws, names: Names, max_lag: int) -> "matplotlib.figure.Figure":
    """See `Samples.plot_autocorrelation`."""
    table, note = _chosen(draws, names, _DEFAULT_ROWS)
    figure, panels = _grid(len(table), "lag", "autocorrelation", sharey=True)
    num, chains = next(iter(table.values())).shape
    lines: list[Any] = []
    for axis, (name, x) in zip(panels, table.items()):
        y = np.asarray(stats.auto_correlation(x, axis=0, max_lags=min(max_lag, num - 1)))
        axis.axhspan(-1.96 / math.sqrt(num), 1.96 / math.sqrt(num), color=_GREY, lw=0)
        axis.set_prop_cycle(color=_colours(chains))
        lines = axis.plot(y, lw=0.9, alpha=_alpha(chains))
        axis.set_title(_short(name), fontsize="medium")
        axis.margins(x=0)
    return _finish(figure, ["band: 95% for independent draws", *note], lines)


def _chosen(draws: Draws, names: Names, most: int) -> tuple[_Table, list[str]]:
    """The draws `(draw, chain)` by the name of the number, and a note where some are left out."""
    sites = by_site(draws)
    places = ((site, i) for site, x in sites.items() for i in range(math.prod(x.shape[2:])))
    known = dict(zip(number_names(draws), places))
    wanted: list[str] = []
    for name in list(known)[:most] if names is None else [names] if isinstance(names, str) else names:
        if name not in known and name not in sites:
            of_site = [[number for number, (site, _) in known.items() if site == each] for each in sites]
            listing = ", ".join(" … ".join(dict.fromkeys(of[:1] + of[-1:])) for of in of_site)
            raise ValueError(f"no site or number {name!r}; known are {listing}")
        wanted += [name] if name in known else [number for number, (site, _) in known.items() if site == name]
    if not wanted:
        raise ValueError("there is no number to plot")
    table = {}
    for name in wanted:
        site, i = known[name]
        x = sites[site]
        if len(x) < _MIN_DRAWS:
            raise ValueError(f"plots need {_MIN_DRAWS} draws of each chain, got {len(x)}")
        table[name] = np.reshape(x, (*x.shape[:2], -1))[:, :, i].astype(float)
    left_out = names is None and len(known) > most
    return table, [f"first {most} of {len(known)} numbers"] if left_out else []


def _stride(num: int, most: int) -> int:
    return max(1, -(-num // most))


def _colours(chains: int) -> list[Any]:
    import matplotlib

    few = chains <= _MAX_LISTED
    return list(
        matplotlib.colormaps["tab10" if few else "viridis"](range(chains) if few else np.linspace(0, 0.9, chains))
    )


def _alpha(chains: int) -> float:
    return max(0.2, min(0.8, 4 / chains))


def _short(name: str) -> str:
    # Matplotlib would read a formula after a dollar.
    name = name.replace("$", r"\$")
    return name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}"


def _figure(width: float, height: float) -> "matplotlib.figure.Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("plots need matplotlib: pip install 'distrax-like[plots]'") from e
    return Figure(figsize=(width, height), layout="constrained")


def _grid(
    num: int, xlabel: str, ylabel: str, sharey: bool = False
) -> "tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]":
    columns = min(num, 3)
    rows = -(-num // columns)
    figure = _figure(max(3.4 * columns, 6.0), 2.2 * rows + 1.0)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for i, axis in enumerate(panels):
        axis.set(xlabel=xlabel if i + columns >= num else "", ylabel="" if i % columns else ylabel)
        if i >= num:
            axis.remove()
    return figure, panels[:num]


def _finish(
    figure: "matplotlib.figure.Figure", title: list[str], lines: list[Any], part: str = "chain"
) -> "matplotlib.figure.Figure":
    """Adds a title, and a legend where there are few chains; where there are many, the title gives their number."""
    if len(lines) > _MAX_LISTED:
        title = [f"{len(lines)} chains", *title]
    elif len(lines) > 1:
        labels = [f"{part} {i}" for i in range(len(lines))]
        legend = figure.legend(lines, labels, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
        for handle in filter(None, legend.legend_handles):
            handle.set(alpha=1, linewidth=1.5)
    if title:
        figure.suptitle("; ".join(title), fontsize="medium")
    return figure
