"""The sites of a draw by name."""

import math
from typing import Any

import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree


def by_site(draws: PyTree) -> dict[str, PyTree]:
    """The arrays of a draw by name, which is the path to it.

    A dictionary has its keys for names, a named tuple or module its fields; the parts of a tuple or list are `var0`,
    `var1`, …; a single array is `x`. Inside of these, what has a name follows after a dot and what has a number in
    brackets: `net.layers[0].weight`, `var0.scale`. A part that is `None` is no site.

    **Raises:** `ValueError` where two arrays get one name.
    """
    sites: dict[str, PyTree] = {}
    for path, x in jtu.tree_leaves_with_path(draws):
        name = path_name(path)
        if name in sites:
            raise ValueError(f"two parts of a draw are called {name!r}; rename one of them")
        sites[name] = x
    return sites


def part_by_name(draws: PyTree, name: str) -> PyTree:
    """The site of this name, or the container whose parts are sites, as `by_site` names them.

    **Raises:** `KeyError` for an unknown name.
    """
    for path, _ in jtu.tree_leaves_with_path(draws):
        for end in range(len(path), -1, -1):
            if path_name(path[:end]) == name and (end or not path):
                part = draws
                for key in path[:end]:
                    part = _child(part, key)
                return part
    raise KeyError(f"no site {name!r}; the sites are {', '.join(by_site(draws)) or 'none'}")


def path_name(path: tuple[Any, ...]) -> str:
    """The name of what lies at a path, as `jax.tree_util` gives it."""
    if not path:
        return "x"
    first, *rest = path
    if isinstance(first, jtu.SequenceKey):
        name = f"var{first.idx}"
    else:
        name = str(_key(first))
    for key in rest:
        inner = _key(key)
        name += f".{inner}" if isinstance(inner, str) else f"[{inner!r}]"
    return name


def _key(key: Any) -> Any:
    """The name, number or key of one step of a path."""
    return next(getattr(key, field) for field in ("name", "idx", "key") if hasattr(key, field))


def _child(part: PyTree, key: Any) -> PyTree:
    if isinstance(key, jtu.GetAttrKey):
        return getattr(part, key.name)
    if isinstance(key, jtu.FlattenedIndexKey):
        return jtu.tree_leaves(part, is_leaf=lambda x: x is not part)[key.key]
    return part[_key(key)]


def number_names(draws: PyTree) -> tuple[str, ...]:
    """The name of every number in a draw: its site, with its index in the event, as in `theta[0, 1]`.

    **Arguments:** `draws`: parts of shape `(draw, chain, ...)`.
    """
    return tuple(
        site + (f"[{', '.join(map(str, index))}]" if index else "")
        for site, x in by_site(draws).items()
        for index in np.ndindex(x.shape[2:])
    )


def numbers(draws: PyTree) -> np.ndarray:
    """The draws of all numbers, as `number_names` names them, as one array `(draw, chain, number)` of floats."""
    columns = [np.reshape(x, (*x.shape[:2], math.prod(x.shape[2:]))).astype(float) for x in by_site(draws).values()]
    return np.concatenate(columns, axis=-1) if columns else np.zeros((0, 0, 0))


def array_names(sites: dict[str, PyTree]) -> dict[str, PyTree]:
    """Sites under names that xarray takes for variables with the dimensions `chain`, `draw` and `<site>_dim_<i>`.

    `chain` and `draw` get an underscore at the end, and so does a name that is empty or that of a dimension; a slash
    becomes an underscore. Where another site has the new name already, more underscores follow.
    """
    dims = {f"{name.replace('/', '_')}_dim_{i}" for name, x in sites.items() for i in range(np.ndim(x))}
    taken = {"chain", "draw", "sample", "", *dims}
    fixed = {name for name in sites if name not in taken and "/" not in name}
    out: dict[str, PyTree] = {}
    for name, x in sites.items():
        new = name.replace("/", "_")
        if name not in fixed:
            while new in taken | fixed | set(out):
                new += "_"
        out[new] = x
    return out
