"""The sites of a draw by name."""

from collections.abc import Mapping

import equinox as eqx
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree


def by_site(draws: PyTree) -> dict[str, PyTree]:
    """The parts of a draw by name.

    A dictionary or named tuple has its own names, a module those of its fields; the parts of a tuple or list are
    `var0`, `var1`, …; a single array is `x`.
    """
    if hasattr(draws, "_asdict"):
        return draws._asdict()
    if isinstance(draws, Mapping):
        return dict(draws)
    if isinstance(draws, tuple | list):
        return {f"var{i}": x for i, x in enumerate(draws)}
    if isinstance(draws, eqx.Module):
        return {jtu.keystr(path)[1:]: x for path, x in jtu.tree_leaves_with_path(draws)}
    return {"x": draws}


def number_names(draws: PyTree) -> tuple[str, ...]:
    """The name of every number in a draw: its site, with its index in the event, as in `theta[0, 1]`.

    **Arguments:** `draws`: parts of shape `(draw, chain, ...)`.
    """
    return tuple(
        site + (f"[{', '.join(map(str, index))}]" if index else "")
        for site, x in by_site(draws).items()
        for index in np.ndindex(x.shape[2:])
    )
