"""Truth for special functions: mpmath at 50 digits on grids, kept as tables beside this file, and errors against it.

A family describes its functions in `entries_<family>.py`, as a list `ENTRIES` of `Entry`s. `python -m
tests.special.truth [name …]` makes the tables anew. Arguments are float32 numbers, so that both widths see exactly the
same ones; a value is stored as the sum of two doubles, to be the truth in float64 as well.
"""

import dataclasses
import functools
import importlib
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent
TABLES = HERE / "tables"
DIGITS = 130  # for truths in which arguments over 30 decades cancel, and for the differences that make derivatives


@dataclasses.dataclass(frozen=True)
class Entry:
    """One function and where it is tested.

    - `name`: of the table; `fn`: the function of arrays under test; `truth`: the mpmath function of mpf arguments.
    - `points`: a sequence of argument tuples (rounded to float32 before use), the grid.
    - `derivatives`: numbers of arguments in which first derivatives are tested; `truth_derivatives`: an mpmath function
      for each (else central differences of the truth at 50 digits, which mpmath's `diff` does).
    - `value_ulp`, `derivative_ulp`: bounds for (float32, float64), in units in the last place of the truth.
    - `zero`: an absolute error allowed besides, in units of the machine epsilon, for values near a zero of the
      function.
    - `program`: entries of one such name are compiled together, which is cheaper where their functions share loops or
      are the same one; else each is compiled alone.
    - `jax`: what JAX has for the same, to be compared; None where it has nothing. `tfp`: what TFP has, as a function of
      its module `math`.
    """

    name: str
    fn: Callable[..., Any]
    truth: Callable[..., Any]
    points: Sequence[tuple[float, ...]]
    derivatives: tuple[int, ...] = ()
    truth_derivatives: dict[int, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    value_ulp: tuple[float, float] = (16, 64)
    derivative_ulp: tuple[float, float] = (64, 512)
    zero: float = 0.0
    program: str = ""
    jax: Callable[..., Any] | None = None
    tfp: Callable[[Any], Callable[..., Any]] | None = None


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries of all families, by name."""
    found = {}
    for path in sorted(HERE.glob("entries_*.py")):
        for entry in importlib.import_module(f"{__package__}.{path.stem}").ENTRIES:
            assert entry.name not in found, f"two entries are called {entry.name}"
            found[entry.name] = entry
    return found


def precise(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Computes with `DIGITS` digits and remembers the results."""
    import mpmath as mp

    @functools.cache
    def wrapper(*args: Any) -> Any:
        with mp.workdps(DIGITS):
            return fn(*args)

    return wrapper


def difference_quotient(fn: Callable[..., Any], i: int) -> Callable[..., Any]:
    """The derivative of a precise function in its argument i; the error is of relative size 1e-60."""

    @precise
    def slope(*args: Any) -> Any:
        h = (args[i] or 1) / 10**33
        up, down = ((*args[:i], args[i] + s * h, *args[i + 1 :]) for s in (1, -1))
        return (fn(*up) - fn(*down)) / (2 * h)

    return slope


def grid(*axes: Sequence[float]) -> list[tuple[float, ...]]:
    """All combinations of the values on the axes."""
    return [
        tuple(float(x) for x in point)
        for point in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    ]


def make_table(entry: Entry) -> None:
    """Computes the truth at every point and writes the table."""
    import mpmath as mp

    mp.mp.dps = 50
    points = np.unique(np.asarray(entry.points, np.float32), axis=0)
    columns: dict[str, np.ndarray] = {"points": points}

    def column(fn: Callable[..., Any]) -> np.ndarray:
        pairs = []
        for point in points:
            try:
                value = mp.mpf(fn(*(mp.mpf(float(x)) for x in point)))
            except (ValueError, ZeroDivisionError, OverflowError):
                value = mp.nan
            hi = float(value)
            lo = float(value - mp.mpf(hi)) if np.isfinite(hi) else 0.0
            pairs.append((hi, lo))
        return np.asarray(pairs)

    columns["value"] = column(entry.truth)
    for i in entry.derivatives:

        def slope(*args: Any, i: int = i) -> Any:
            return mp.diff(
                lambda x: entry.truth(*args[:i], x, *args[i + 1 :]), args[i], h=abs(args[i]) * mp.mpf("1e-20") or 1e-20
            )

        columns[f"d{i}"] = column(entry.truth_derivatives.get(i, slope))
    TABLES.mkdir(exist_ok=True)
    np.savez_compressed(TABLES / f"{entry.name}.npz", **columns)


def ulp_errors(got: np.ndarray, truth: np.ndarray, dtype: Any, zero: float = 0.0) -> np.ndarray:
    """The error of each number in units in the last place of the truth, `inf` for a wrong infinity or NaN.

    Truth that is no normal number of the dtype is left out (an error of 0): CPUs flush subnormals, and overflow is
    right where the truth overflows.
    """
    info = np.finfo(dtype)
    hi, lo = truth[:, 0], truth[:, 1]
    size = np.abs(hi)
    known = np.isfinite(hi) & (size <= info.max) & (size >= info.tiny)
    got = np.asarray(got, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs((got - hi) - lo)
    unit = np.spacing(np.clip(size, info.tiny, info.max / 2).astype(dtype)).astype(np.float64)
    allowed = zero * info.eps
    errors = np.where(difference <= allowed, 0.0, difference / unit)
    errors = np.where(np.isfinite(got), errors, np.inf)
    tiny_or_zero = np.isfinite(hi) & (size < info.tiny)
    errors = np.where(
        tiny_or_zero, np.where(np.abs(got) <= max(2 * info.tiny, allowed), 0.0, np.inf), np.where(known, errors, 0.0)
    )
    infinite = np.isinf(hi) | (np.isfinite(hi) & (size > info.max))
    return np.where(infinite, np.where(np.isinf(got) | (np.abs(got) >= 0.99 * info.max), 0.0, np.inf), errors)


@functools.cache
def load(name: str) -> dict[str, np.ndarray]:
    with np.load(TABLES / f"{name}.npz") as table:
        return dict(table)


def members(program: str) -> list[Entry]:
    return [entry for entry in entries().values() if (entry.program or entry.name) == program]


def filled(fn: Callable[..., Any], length: int) -> Callable[..., Any]:
    """`fn` of vectors that are filled up to one length, so that it is compiled once in each width."""
    import jax

    def call(*args: Any) -> Any:
        args = np.broadcast_arrays(*args)
        (num,) = args[0].shape
        assert num <= length
        return jax.tree.map(lambda x: np.asarray(x)[:num], fn(*(np.resize(x, length) for x in args)))

    return call


@functools.cache
def compiled(program: str) -> Callable[..., dict[Callable[..., Any], tuple[np.ndarray, dict[int, np.ndarray]]]]:
    """The functions of a program: of vectors of arguments, values and first derivatives by the number of the argument.

    The vectors are filled up to the number of points in the tables.
    """
    import jax

    length = sum(len(load(entry.name)["points"]) for entry in members(program))
    derivatives: dict[Callable[..., Any], set[int]] = {}
    for entry in members(program):
        derivatives.setdefault(entry.fn, set()).update(entry.derivatives)

    @jax.jit
    def evaluate(*args: Any) -> list[Any]:
        return [
            jax.vmap(jax.value_and_grad(fn, sorted(along)))(*args) if along else (fn(*args), ())
            for fn, along in derivatives.items()
        ]

    at = filled(evaluate, length)

    def call(*args: Any) -> dict[Callable[..., Any], tuple[np.ndarray, dict[int, np.ndarray]]]:
        return {
            fn: (value, dict(zip(sorted(along), slopes)))
            for (fn, along), (value, slopes) in zip(derivatives.items(), at(*args))
        }

    return call


@functools.cache
def run(program: str, dtype: Any) -> dict[str, dict[str, np.ndarray]]:
    """Values and derivatives of all entries of a program at their points, by entry and column."""
    # Every function at the points of all entries: loops over the same numbers are compiled once.
    points = [load(entry.name)["points"] for entry in members(program)]
    out = compiled(program)(*np.concatenate(points).astype(dtype).T)
    found, start = {}, 0
    for entry, own in zip(members(program), points):
        value, slopes = out[entry.fn]
        assert value.dtype == dtype, f"{entry.name} gave {value.dtype} for {dtype}"
        columns = {"value": value} | {f"d{i}": slopes[i] for i in entry.derivatives}
        found[entry.name] = {column: x[start : start + len(own)] for column, x in columns.items()}
        start += len(own)
    return found


def worst(entry: Entry, dtype: Any, fn: Callable[..., Any] | None = None) -> dict[str, tuple[float, tuple]]:
    """The largest errors of value and derivatives over the table, by column, each with the arguments where it is met.

    Of `entry.fn`, or of another function, of which the derivatives it lacks are left out.
    """
    import jax
    import jax.numpy as jnp

    table = load(entry.name)
    if fn is None:
        got = run(entry.program or entry.name, dtype)[entry.name]
    else:
        args = [jnp.asarray(x, dtype) for x in table["points"].T]
        got = {"value": jax.jit(fn)(*args)}
        for i in entry.derivatives:
            try:
                got[f"d{i}"] = jax.jit(jax.vmap(jax.grad(fn, i)))(*args)
            except (NotImplementedError, TypeError, ValueError):
                pass
    found = {}
    for column, values in got.items():
        errors = ulp_errors(np.asarray(values), table[column], dtype, entry.zero)
        i = int(np.argmax(errors))
        found[column] = float(errors[i]), tuple(float(x) for x in table["points"][i])
    return found


def report(names: Sequence[str]) -> None:
    """Prints the worst errors of value and derivatives in both widths, and those of JAX's and TFP's functions."""
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        from tensorflow_probability.substrates.jax import math as tfp
    except ImportError:
        tfp = None
    print("worst errors in ulp, each with its arguments: float32 and float64, of ours, JAX's and TFP's")
    for name, entry in entries().items():
        if names and name not in names:
            continue
        others = [entry.jax, entry.tfp(tfp) if entry.tfp and tfp else None]
        found = [worst(entry, dtype) for dtype in (np.float32, np.float64)]
        found += [worst(entry, dtype, fn) if fn else {} for fn in others for dtype in (np.float32, np.float64)]
        for column in ["value", *(f"d{i}" for i in entry.derivatives)]:
            cells = [
                f"{cell[column][0]:.3g} {tuple(float(f'{x:.3g}') for x in cell[column][1])}" if column in cell else "-"
                for cell in found
            ]
            print(f"{name:28s} {column:6s}" + " | ".join(f"{c:26s}" for c in cells))


if __name__ == "__main__":
    if sys.argv[1:2] == ["report"]:
        report(sys.argv[2:])
    else:
        chosen = sys.argv[1:]
        for name, entry in entries().items():
            if not chosen or name in chosen:
                make_table(entry)
                print("made", name)
