"""Checkpoints of a run: a folder from which the run is continued, bit for bit, after its process has died."""

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from distrax_like._misc import is_key
from distrax_like.inference._devices import as_numpy

try:
    import fcntl
except ImportError:  # On Windows a folder is not locked.
    fcntl = None  # type: ignore[assignment]


class Checkpoint:
    """A folder with a description of the run, its two latest states, and its draws in pieces.

    A file gets its name when it is complete, and a state says how many pieces belong to it, so a file that was not
    complete when the process died does no harm. Where a state is damaged, the run goes on from the one before, and with
    a warning. Where there are several processes, the first one writes and all read. While the folder is open it is
    locked.

    **Arguments:** `run`: what the run is, by name; values are texts, numbers or dictionaries of them.

    **Raises:** `ValueError` where the folder holds another run, saying what differs, or is damaged, naming the file;
    `RuntimeError` where another process works with it; `OSError` where it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], run: dict[str, Any]):
        self._folder = Path(os.fsdecode(folder))
        self._who = f"sample: the checkpoint {os.fspath(self._folder)!r}"
        if self._folder.exists() and not self._folder.is_dir():
            raise ValueError(f"{self._who} is a file; give a folder")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise type(e)(e.errno, f"{self._who} cannot be made: {e.strerror}") from None
        self._num, self._generation = 0, 0
        self._lock: Any = None
        self._lock_folder()
        try:
            self._check(run)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Unlocks the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _lock_folder(self) -> None:
        if jax.process_index() or fcntl is None:
            return
        self._lock = open(self._folder / "lock", "wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RuntimeError(f"{self._who} is in use by another run") from None
        except OSError:
            pass  # A file system without locks.

    def _check(self, run: dict[str, Any]) -> None:
        """Compares the run with the one that the folder belongs to, or writes down what it is."""
        name, text = "run.json", json.dumps(run, indent=1, sort_keys=True)
        file, digest = self._folder / name, hashlib.sha256(text.encode()).hexdigest()
        if not file.exists():
            if self._states():
                raise ValueError(f"{self._who} has no {name}, which says what run it is of; {_ANEW}")
            self._write(name, lambda f: f.write(json.dumps({"run": run, "sha256": digest}, indent=1).encode()))
            return
        try:
            saved = json.loads(file.read_text())
            old = saved["run"]
            is_whole = hashlib.sha256(json.dumps(old, indent=1, sort_keys=True).encode()).hexdigest() == saved["sha256"]
        except (ValueError, KeyError, TypeError):
            is_whole, old = False, {}
        if not is_whole:
            raise ValueError(f"{self._who}: {name} is damaged; {_ANEW}")
        if old != json.loads(text):
            raise ValueError(f"{self._who} is of another run: {'; '.join(_differences(old, json.loads(text)))}")

    def _states(self) -> list[int]:
        """The generations of the states that are there, the latest first."""
        files = (file.stem.removeprefix("state-") for file in self._folder.glob("state-*.npz"))
        return sorted((int(number) for number in files if number.isdigit()), reverse=True)

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        if jax.process_index():
            return
        new = self._folder / f"{name}.new"
        try:
            with open(new, "wb") as f:
                write(f)
                f.flush()
                os.fsync(f.fileno())
            os.replace(new, self._folder / name)
            _sync(self._folder)
        except OSError as e:
            new.unlink(missing_ok=True)
            text = f"{self._who}: {name} cannot be written: {e.strerror or e}; what is there can be resumed"
            raise OSError(e.errno or errno.EIO, text) from None

    def save(self, state: PyTree, piece: PyTree = None) -> None:
        """Saves the state of the run, and the draws since the last one."""
        if piece is not None:
            leaves = [_as_numpy(x) for x in jtu.tree_leaves(piece)]
            self._write(_piece(self._num), lambda f: np.savez(f, *leaves))
            self._num += 1
        arrays = [_as_numpy(x) for x in jtu.tree_leaves(eqx.filter(state, _is_saved))]
        self._generation += 1
        self._write(_state(self._generation), lambda f: np.savez(f, num=self._num, *arrays))
        if not jax.process_index():
            for old in self._states()[2:]:
                (self._folder / _state(old)).unlink(missing_ok=True)

    def load(self, state: PyTree, piece: PyTree) -> tuple[PyTree, list[PyTree]] | None:
        """The latest state, and the draws in pieces; `None` where no state has been saved.

        **Arguments:** `state`, `piece`: of the same structures, dtypes and, but for the number of draws, shapes.
        """
        problems = []
        for generation in self._states():
            try:
                num, found = self._read_state(_state(generation), state)
                pieces = [jtu.tree_map(_as_leaf, self._read(_piece(i), piece), piece) for i in range(num)]
            except _Damaged as e:
                problems.append(str(e))
                continue
            self._num, self._generation = num, generation
            if problems:
                warnings.warn(
                    f"{self._who}: {' and '.join(problems)}; the run goes on from {_state(generation)}", stacklevel=3
                )
            return found, pieces
        if problems:
            raise ValueError(f"{self._who}: {' and '.join(dict.fromkeys(problems))}; {_ANEW}")
        return None

    def _read_state(self, name: str, like: PyTree) -> tuple[int, PyTree]:
        arrays, static = eqx.partition(like, _is_saved)
        loaded = self._read(name, arrays, ("num",))
        return int(loaded[0]), eqx.combine(jtu.tree_map(_as_leaf, loaded[1], arrays), static)

    def _read(self, name: str, like: PyTree, more: tuple[str, ...] = ()) -> Any:
        """The arrays of a file in the structure of `like`, after those named in `more`."""
        leaves, treedef = jtu.tree_flatten(like)
        try:
            with open(self._folder / name, "rb") as f, np.load(f, allow_pickle=False) as saved:
                extra = [saved[key] for key in more]
                found = [saved[f"arr_{i}"] for i in range(len(leaves))]
                if len(saved.files) != len(found) + len(extra):
                    raise ValueError
        except FileNotFoundError:
            raise _Damaged(f"{name} is missing") from None
        except Exception:  # A damaged file may fail to be read in many ways.
            raise _Damaged(f"{name} is damaged") from None
        tree = jtu.tree_unflatten(treedef, found)
        return (*extra, tree) if more else tree


_ANEW = "delete the folder to begin anew"


class _Damaged(Exception):
    """A file that cannot be read."""


def _piece(i: int) -> str:
    return f"draws-{i:06d}.npz"


def _state(generation: int) -> str:
    return f"state-{generation:06d}.npz"


def _sync(folder: Path) -> None:
    """Makes the new name of a file survive a power cut, where the system can."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError:
        pass
    finally:
        os.close(number)


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """What differs between two descriptions, as clauses."""
    if isinstance(old, dict) and isinstance(new, dict):
        out = []
        for key in dict.fromkeys((*new, *old)):
            out += _differences(old.get(key), new.get(key), f"{name} {key}".strip())
        return out
    if old == new:
        return []
    values = (old, new)
    if any(isinstance(x, str) and x.startswith(HASH) for x in values):
        how = "is new" if old is None else "is gone" if new is None else "differs"
        return [f"{name} {how}"]
    return [f"{name} is {new!r}, was {old!r}"]


# Texts that begin so are hashes, which mean nothing to a reader.
HASH = "sha256:"


def _is_saved(x: object) -> bool:
    """Whether a leaf is an array or a number, as counts of a stage or of a user's reducer may be."""
    return eqx.is_array(x) or isinstance(x, np.ndarray | bool | int | float | complex)


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
    saved = saved.view(like.dtype) if saved.dtype.kind == "V" else saved
    return saved if isinstance(like, np.ndarray) else jax.numpy.asarray(saved)
