"""What is wrong with a run, in sentences."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num

from distrax_like.inference import stats
from distrax_like.inference.stats._diagnostics import convergence

from ._samples import Samples
from ._sites import number_names, numbers

_MIN_DRAWS = 4
_HIGH_RHAT = 1.01
# Per chain.
_LOW_ESS = 100
_LOW_E_BFMI = 0.3
# The share of transitions that may reach the maximum tree depth.
_FEW_DEEP = 0.01
_MAX_NAMED = 5


def diagnose(samples: Samples) -> tuple[str, ...]:
    """What is wrong with a run: sentences that say what it means and what to try; none where nothing is found.

    They are about draws that are not finite; R-hat above 1.01; a bulk or tail effective sample size below 100 a chain;
    E-BFMI below 0.3; divergent transitions; more than 1% of transitions at the maximum tree depth. Of fewer than 4
    draws of each chain only that is said; of a run that kept no draws, what its totals tell.
    """
    flat = numbers(samples.draws)
    num, chains = flat.shape[:2]
    made = int(np.max(samples.totals["transitions"])) if "transitions" in samples.totals else num
    if max(num, made) < _MIN_DRAWS or 0 < num < _MIN_DRAWS:
        few = f"{num} {'draw' if num == 1 else 'draws'} of each chain are too few to judge the run by."
        return (few,) if flat.shape[2] else ()
    return (*(_of_draws(samples, flat) if num else ()), *_of_transitions(samples, made))


def _of_draws(samples: Samples, flat: Float[np.ndarray, "draw chain number"]) -> list[str]:
    names, chains = number_names(samples.draws), flat.shape[1]
    out = []
    broken = np.sum(~np.isfinite(flat), (0, 1))
    if np.any(broken):
        which = _listed(names, broken > 0, -broken, [f"{n} draws" for n in broken])
        out.append(f"Draws are not finite of {which}: look for overflow in the model.")
    rhat, bulk, tail = np.asarray(convergence(flat))
    if np.any(rhat > _HIGH_RHAT):
        which = _listed(names, rhat > _HIGH_RHAT, -rhat, [f"{x:.3g}" for x in rhat])
        out.append(
            f"R-hat is above {_HIGH_RHAT} of {which}: the chains disagree, so they have not reached the posterior or "
            "draw too few from it. Run longer, warm-up included; if R-hat stays, look with plot_trace() for chains in "
            "different modes, and reparametrise."
        )
    kinds = [("bulk", bulk, "means"), ("tail", tail, "quantiles and intervals")]
    for kind, ess, estimates in kinds:
        low = ess < _LOW_ESS * chains
        if np.any(low):
            which = _listed(names, low, ess, [f"{x:.0f}" if np.isfinite(x) else "" for x in ess])
            out.append(
                f"The {kind} effective sample size is below {_LOW_ESS * chains} ({_LOW_ESS} a chain) of {which}: "
                f"{estimates} are not reliable. Draw more, or reparametrise what is strongly correlated."
            )
    if "energy" in samples.sample_stats:
        fractions = np.asarray(stats.e_bfmi(np.asarray(samples.sample_stats["energy"])))
        if np.any(fractions < _LOW_E_BFMI):
            which = _listed(_chains(chains), fractions < _LOW_E_BFMI, fractions, [f"{x:.2f}" for x in fractions])
            out.append(
                f"E-BFMI is below {_LOW_E_BFMI} of {which}: new momenta change the energy so little that the tails are "
                "hardly explored. Reparametrise heavy tails and hierarchies (a non-centred form), or draw more."
            )
    return out


def _of_transitions(samples: Samples, made: int) -> list[str]:
    out = []
    diverging = _counts(samples, "diverging", "diverging")
    if np.any(diverging):
        total, which = _total(diverging, made)
        out.append(
            f"{total} diverged, {which}: the sampler cannot follow the density where it curves strongly, "
            "and estimates may be biased. Raise target_accept_prob, for example to 0.95, or reparametrise, for example "
            "a hierarchy in its non-centred form."
        )
    deep = _counts(samples, "reached_max_depth", "reached_max_treedepth")
    if np.sum(deep) > _FEW_DEEP * made * max(len(deep), 1):
        total, which = _total(deep, made)
        out.append(
            f"{total} reached the maximum tree depth, {which}: they were stopped before they turned back, "
            "so the run is slower than it could be. Raise the maximum tree depth, or rescale and reparametrise."
        )
    return out


def _counts(samples: Samples, total: str, statistic: str) -> Num[np.ndarray, " chains"]:
    """Of each chain, over all transitions where the samples have the total, else over the draws."""
    if total in samples.totals:
        return np.atleast_1d(samples.totals[total])
    return np.sum(np.asarray(samples.sample_stats.get(statistic, np.zeros((0, 0)))), axis=0)


def _total(counts: Num[np.ndarray, " chains"], made: int) -> tuple[str, str]:
    which = _listed(_chains(len(counts)), counts > 0, -counts, [str(n) for n in counts], of_all=False)
    return f"{np.sum(counts)} of {made * len(counts)} transitions", f"in {which}"


def _chains(num: int) -> list[str]:
    return [f"chain {c}" for c in range(num)]


def _listed(
    names: Sequence[str],
    wrong: Bool[np.ndarray, " n"],
    order: Num[np.ndarray, " n"],
    values: Sequence[str],
    of_all: bool = True,
) -> str:
    """The names of what is wrong with their values, those of lowest `order` first, and how many there are."""
    worst = [i for i in np.argsort(order, kind="stable") if wrong[i]]
    listing = ", ".join(f"{names[i]} ({values[i]})" for i in worst[:_MAX_NAMED])
    more = f" and {len(worst) - _MAX_NAMED} more" if len(worst) > _MAX_NAMED else ""
    return listing + more + (f" ({len(worst)} of {len(names)})" if of_all and more else "")
