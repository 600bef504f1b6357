"""What `sample` returns."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from distrax_like.inference.mcmc._kernel import TransitionKernel
from distrax_like.inference.mcmc._run import KernelResults

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

    def to_dict(self) -> dict[str, dict[str, np.ndarray]]:
        """The nested dictionary that ArviZ's `from_dict` takes: chains first, groups `posterior` and `sample_stats`."""
        posterior = {name: np.swapaxes(x, 0, 1) for name, x in by_site(self.draws).items()}
        return {"posterior": posterior, "sample_stats": {k: np.swapaxes(x, 0, 1) for k, x in self.sample_stats.items()}}

    def to_datatree(self) -> Any:
        """The draws as ArviZ's `DataTree`; needs `arviz-base`."""
        from arviz_base import from_dict

        return from_dict(self.to_dict())
