"""The results of a run of `sample`, while they grow."""

from typing import cast

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from distrax_like._misc import is_key
from distrax_like.inference._devices import AnyArray

from ._chains import ChainState, Collected
from ._reducers import update_reducers
from ._run import KernelResults
from ._samples import Samples


class Results:
    """The results of a run, to which each call of the compiled program adds.

    `count` is the number of draws of each chain so far, `pieces` are the draws, of which the first is empty.
    """

    def __init__(self, reducers: PyTree, keep_draws: bool):
        self.count = 0
        self.pieces: list[Collected] = []
        self._totals: dict[str, np.ndarray] = {}
        self._reducers, self._keep_draws = reducers, keep_draws

    @property
    def saved(self) -> tuple[PyTree, int, dict[str, np.ndarray]]:
        """All that changes in a run except the draws themselves."""
        return self._reducers, self.count, self._totals

    @saved.setter
    def saved(self, saved: tuple[PyTree, int, dict[str, np.ndarray]]) -> None:
        self._reducers, self.count, self._totals = saved

    def begin(self, empty: Collected) -> None:
        """Starts with a piece without draws."""
        self.pieces = [empty]
        self._totals = {name: np.zeros(x.shape[1:], np.int64) for name, x in empty["counts"].items()}

    def add(self, collected: Collected) -> Collected | None:
        """Adds what the chains have collected, and returns the part of it that is kept."""
        piece = without_metric_part(collected)
        self.count += len(jtu.tree_leaves(piece)[0])
        self._reducers = update_reducers(self._reducers, piece["draws"])
        self._totals = {name: x + np.sum(piece["counts"][name], axis=0) for name, x in self._totals.items()}
        if not self._keep_draws:
            return None
        self.pieces.append(piece)
        return piece

    def samples(self, chains: ChainState, thin: int) -> Samples:
        """What `sample` returns."""
        joined = jtu.tree_map(_join, *self.pieces)
        return Samples(
            draws=joined["draws"],
            sample_stats=joined["stats"],
            trace=joined.get("trace", ()),
            reductions=self._reducers,
            kernel=chains.kernel,
            final_results=KernelResults(chains.state, chains.num_transitions),
            totals={**self._totals, "transitions": np.asarray(self.count * thin)},
        )


def _join(*xs: AnyArray) -> AnyArray:
    return jnp.concatenate(xs) if is_key(xs[0]) else np.concatenate(cast(tuple[np.ndarray, ...], xs))


def without_metric_part(collected: Collected) -> Collected:
    """What is kept of a piece: all but what the metric is learnt from."""
    return {name: x for name, x in collected.items() if name != "for_metric"}
