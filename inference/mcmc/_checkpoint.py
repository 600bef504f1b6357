"""Checkpoints of a run: a folder from which the run is continued, bit for bit, after its process has died."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from distrax_like._misc import is_key
from distrax_like.inference._devices import as_numpy


class Checkpoint:
    """A folder with a description of the run, its latest state, and its draws in pieces.

    A file gets its name when it is complete, and a state says how many pieces belong to it, so a file that was not
    complete when the process died does no harm. Where there are several processes, the first one writes and all read.

    **Raises:** `ValueError` where the folder holds another run.
    """

    def __init__(self, folder: str | os.PathLike[str], run: dict[str, Any]):
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._num = 0
        file, text = self._folder / "run.json", json.dumps(run, indent=1)
        if not file.exists():
            self._write("run.json", lambda f: f.write(text.encode()))
        elif (old := json.loads(file.read_text())) != json.loads(text):
            other = ", ".join(f"{k} is {run.get(k)!r}, was {old.get(k)!r}" for k in run if old.get(k) != run.get(k))
            raise ValueError(f"sample: the checkpoint {os.fspath(folder)!r} is of another run: {other}")

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        if jax.process_index():
            return
        new = self._folder / f"{name}.new"
        with open(new, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(new, self._folder / name)

    def save(self, state: PyTree, piece: PyTree = None) -> None:
        """Saves the state of the run, and the draws since the last one."""
        if piece is not None:
            leaves = [np.asarray(x) for x in jtu.tree_leaves(piece)]
            self._write(f"draws-{self._num:06d}.npz", lambda f: np.savez(f, *leaves))
            self._num += 1
        arrays = [_as_numpy(x) for x in jtu.tree_leaves(eqx.filter(state, _is_saved))]
        self._write("state.npz", lambda f: np.savez(f, num=self._num, *arrays))

    def load(self, state: PyTree) -> PyTree:
        """The latest state, in the structure of `state`; where none has been saved, `state` itself."""
        file = self._folder / "state.npz"
        if not file.exists():
            return state
        arrays, static = eqx.partition(state, _is_saved)
        leaves, treedef = jtu.tree_flatten(arrays)
        with np.load(file) as saved:
            self._num = int(saved["num"])
            loaded = [_as_leaf(saved[f"arr_{i}"], leaf) for i, leaf in enumerate(leaves)]
        return eqx.combine(jtu.tree_unflatten(treedef, loaded), static)

    def pieces(self, like: PyTree) -> list[PyTree]:
        """The draws that belong to the state, in the structure of `like`."""
        treedef, out = jtu.tree_structure(like), []
        size = len(jtu.tree_leaves(like))
        for i in range(self._num):
            with np.load(self._folder / f"draws-{i:06d}.npz") as saved:
                out.append(jtu.tree_unflatten(treedef, [saved[f"arr_{j}"] for j in range(size)]))
        return out


def _is_saved(x: object) -> bool:
    """Whether a leaf is an array or a number, as counts of a stage or of a user's reducer may be."""
    return eqx.is_array(x) or isinstance(x, bool | int | float | complex)


def _as_numpy(x: ArrayLike) -> np.ndarray:
    if not isinstance(x, Array):
        return np.asarray(x)
    return as_numpy(jax.random.key_data(x) if is_key(x) else x)


def _as_leaf(saved: np.ndarray, like: ArrayLike) -> ArrayLike:
    if isinstance(like, bool | int | float | complex):
        return type(like)(saved)
    if is_key(like):
        return jax.random.wrap_key_data(jax.numpy.asarray(saved), impl=jax.random.key_impl(like))
    # NumPy's files return an array of a dtype that they do not know, such as bfloat16, as bytes.
    saved = saved if saved.dtype == like.dtype else saved.view(like.dtype)
    return saved if isinstance(like, np.ndarray) else jax.numpy.asarray(saved)
