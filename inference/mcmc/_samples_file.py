"""Trees of arrays in one file, with their structure and without pickled objects."""

import ast
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from distrax_like._misc import is_key
from distrax_like.distributions._joint_models import struct_tuple

_FORMAT = "distrax_like trees 1"


def write_trees(path: str | os.PathLike[str], trees: Mapping[str, PyTree], notes: dict[str, Any]) -> None:
    """Writes trees by name, and notes that JSON can hold.

    **Raises:** `ValueError` for a leaf that is no array, or a key that cannot be written as a literal.
    """
    arrays: list[np.ndarray] = []
    structure = {name: _described(tree, name, arrays) for name, tree in trees.items()}
    header = json.dumps({"format": _FORMAT, "trees": structure, "notes": notes})
    with open(path, "wb") as f:
        np.savez(f, np.array(header), *arrays)


def read_trees(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """The trees of these names, and the notes.

    **Raises:** `ValueError` for a file that `write_trees` has not written or that is damaged.
    """
    try:
        with open(path, "rb") as f, np.load(f, allow_pickle=False) as file:
            header = json.loads(str(file["arr_0"]))
            if header["format"] != _FORMAT:
                raise ValueError(f"the format is {header['format']!r}")
            arrays = [file[f"arr_{i}"] for i in range(1, len(file.files))]
        return {name: _rebuilt(header["trees"][name], arrays) for name in names}, header["notes"]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, AttributeError, IndexError) as e:
        raise ValueError(f"{os.fspath(path)!r} is not a complete file of saved samples: {e}") from e


def _described(tree: PyTree, where: str, arrays: list[np.ndarray]) -> Any:
    """The structure of a tree in terms of JSON; its arrays are appended to `arrays`."""

    def inside(part: PyTree, name: Any) -> Any:
        return _described(part, f"{where}[{name!r}]", arrays)

    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {"dict": [[_literal(key, where), inside(x, key)] for key, x in tree.items()]}
    if isinstance(tree, list):
        return {"list": [inside(x, i) for i, x in enumerate(tree)]}
    if isinstance(tree, tuple) and not hasattr(tree, "_fields"):
        return {"tuple": [inside(x, i) for i, x in enumerate(tree)]}
    parts = jtu.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)[0]
    if all(len(path) == 1 and isinstance(path[0], jtu.GetAttrKey) for path, _ in parts) and not _is_leaf(tree):
        fields = [path[0].name for path, _ in parts]
        return {"named": fields, "of": [inside(x, name) for name, (_, x) in zip(fields, parts)]}
    if not _is_leaf(tree):
        raise ValueError(f"{where} cannot be saved: a {type(tree).__name__} has no fields or keys")
    leaf: Any = tree
    node: dict[str, Any] = {"array": len(arrays)}
    if isinstance(leaf, jax.Array) and is_key(leaf):
        node["key"], leaf = str(jax.random.key_impl(leaf)), jax.random.key_data(leaf)
    x = np.asarray(leaf)
    if x.dtype.hasobject:
        raise ValueError(f"{where} cannot be saved: it must be an array, got {tree!r}")
    arrays.append(x)
    return node | {"dtype": x.dtype.name}


def _is_leaf(tree: PyTree) -> bool:
    return jtu.treedef_is_leaf(jtu.tree_structure(tree))


def _literal(key: Any, where: str) -> str:
    try:
        if ast.literal_eval(repr(key)) == key:
            return repr(key)
    except (ValueError, SyntaxError):
        pass
    raise ValueError(f"{where} cannot be saved: the key {key!r} is no number, string or tuple of these")


def _rebuilt(node: Any, arrays: list[np.ndarray]) -> PyTree:
    if node is None:
        return None
    if "dict" in node:
        return {ast.literal_eval(key): _rebuilt(x, arrays) for key, x in node["dict"]}
    if "named" in node:
        return struct_tuple(tuple(node["named"]))(*(_rebuilt(x, arrays) for x in node["of"]))
    for kind in (list, tuple):
        if kind.__name__ in node:
            return kind(_rebuilt(x, arrays) for x in node[kind.__name__])
    x = arrays[node["array"]]
    # NumPy's files do not know the types that JAX adds.
    x = x.view(jnp.dtype(node["dtype"])) if x.dtype.kind == "V" else x
    return jax.random.wrap_key_data(jnp.asarray(x), impl=node["key"]) if "key" in node else x
