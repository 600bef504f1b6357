"""Checkpoints of a run: a folder from which it goes on, bit for bit, after the process has died."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from distrax_like._misc import is_key

from ._run import on_host


class Checkpoint:
    """A folder with a description of the run, its latest state, and its draws in pieces.

    A file appears under its name when it is complete, and a state says how many pieces belong to it, so what a process
    was writing when it died does no harm. Of several processes the first one writes, and all read.

    **Raises:** `ValueError` where the folder holds another run.
    """

    def __init__(self, folder: str | os.PathLike[str], run: dict[str, Any]):
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._num = 0
        file, text = self._folder / "run.json", json.dumps(run, indent=1)
        if not file.exists():
            self._write("run.json", lambda f: f.write(text.encode()))
        elif (there := json.loads(file.read_text())) != json.loads(text):
            other = ", ".join(f"{k} is {run.get(k)!r}, was {there.get(k)!r}" for k in run if there.get(k) != run.get(k))
            raise ValueError(f"sample: the checkpoint {os.fspath(folder)!r} is of another run: {other}")

    def _write(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        if jax.process_index():
            return
        new = self._folder / f"{name}.new"
        with open(new, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(new, self._folder / name)

    def save(self, state: PyTree, piece: PyTree = None) -> None:
        """The state of the run, with the draws since the last one."""
        if piece is not None:
            leaves = [np.asarray(x) for x in jtu.tree_leaves(piece)]
            self._write(f"draws-{self._num:06d}.npz", lambda f: np.savez(f, *leaves))
            self._num += 1
        arrays = [_as_numpy(x) for x in jtu.tree_leaves(eqx.filter(state, eqx.is_array))]
        self._write("state.npz", lambda f: np.savez(f, num=self._num, *arrays))

    def load(self, state: PyTree) -> PyTree:
        """The latest state, in the structure of `state`; or that itself where there is none."""
        file = self._folder / "state.npz"
        if not file.exists():
            return state
        arrays, static = eqx.partition(state, eqx.is_array)
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


def _as_numpy(x: Any) -> np.ndarray:
    return on_host(jax.random.key_data(x) if is_key(x) else x)


def _as_leaf(saved: np.ndarray, like: Any) -> Any:
    if is_key(like):
        return jax.random.wrap_key_data(jax.numpy.asarray(saved), impl=jax.random.key_impl(like))
    # A piece of a dtype that NumPy's files do not know comes back as bytes.
    saved = saved if saved.dtype == like.dtype else saved.view(like.dtype)
    return saved if isinstance(like, np.ndarray) else jax.numpy.asarray(saved)
