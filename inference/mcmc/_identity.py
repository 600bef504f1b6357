"""What identifies a run: hashes of arrays, and of traced programs with all that they compute and close over."""

import enum
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import PyTree

from distrax_like._misc import Seed, is_key
from distrax_like.inference._devices import AnyArray, as_numpy
from distrax_like.inference._target import evaluate

from ._chains import ChainSettings, ChainState, Collected, count_events
from ._checkpoint import HASH
from ._kernel import TransitionKernel
from ._results import without_metric_part

_ADDRESS = re.compile(r"0x[0-9a-f]+")
# Parameters of an equation that say where it comes from, or hold functions whose effect the trace contains.
_IGNORED = {"name", "debug_info", "source_info", "jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "fwd"}


def identity(
    settings: ChainSettings, chains: ChainState, reducers: PyTree, known: dict[str, Any]
) -> tuple[dict[str, Any], Collected]:
    """What a run is, as `Checkpoint` takes it, and an empty piece of its draws."""
    kernel, collect, adaptation = chains.kernel, settings.collect, settings.adaptation
    target = kernel.log_density()
    one = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), chains.state)

    def transition(kernel: TransitionKernel, state: PyTree, key: Seed) -> Collected:
        state, info = kernel.step(state, seed=key)
        return collect(kernel, state, info, count_events(info))

    density, _ = program_hash(lambda target, x: evaluate(target, x), target, one.position)
    step, like = program_hash(transition, kernel, one, settings.seed)
    trace = None
    if collect.trace_fn is not None:
        # With the trace in the program of the kernel a change of either would change both.
        trace, collect = step, replace(collect, trace_fn=None)
        step, _ = program_hash(transition, kernel, one, settings.seed)
    run = {
        **known,
        "model": {"data": hashes(target), "density": density},
        "kernel": {"class": type(kernel).__name__, "values": hashes(kernel, known=target), "program": step},
        "adaptation": None if adaptation is None else {"class": str(adaptation), "values": hashes(adaptation)},
        "trace_fn": trace,
        "reducers": hashes(reducers),
    }

    def none_of(x: jax.ShapeDtypeStruct) -> AnyArray:
        # Only JAX has keys.
        return (jnp if is_key(x) else np).empty((0, settings.num_chains, *x.shape), x.dtype)

    return run, jtu.tree_map(none_of, without_metric_part(like))


def hashes(tree: PyTree, known: object = None) -> dict[str, str]:
    """The hash of every array in a tree, by its path, and of the rest of the tree; of a part that is `known`, none."""
    is_known = (lambda x: x is known) if known is not None else None
    arrays, rest = eqx.partition(tree, lambda x: eqx.is_array(x) or isinstance(x, np.ndarray), is_leaf=is_known)
    out = {jtu.keystr(path) or "value": _digest(x) for path, x in jtu.tree_leaves_with_path(arrays)}
    # Functions are known by what they compute, and elsewhere.
    others = [type(x).__name__ if callable(x) else x for x in jtu.tree_leaves(rest, is_leaf=is_known)]
    return {**out, "structure": _digest([_text(jtu.tree_structure(tree, is_leaf=is_known)), others])}


def program_hash(fn: Callable[..., Any], *args: PyTree) -> tuple[str, PyTree]:
    """The hash of what `fn` computes for arguments of these shapes, and the shapes of its results.

    The arrays that it closes over count, the values of its arguments do not, and neither do names.
    """
    arrays, static = eqx.partition(args, _has_shape)
    # Without their placement on devices, on which the numbers do not depend but for rounding.
    arrays = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)

    def dynamic(arrays: PyTree) -> PyTree:
        return eqx.filter(fn(*eqx.combine(arrays, static)), eqx.is_array)

    jaxpr, shape = jax.make_jaxpr(dynamic, return_shape=True)(arrays)
    return _digest(jaxpr), shape


def _has_shape(x: object) -> bool:
    return eqx.is_array(x) or isinstance(x, np.ndarray | jax.ShapeDtypeStruct)


def _digest(x: Any) -> str:
    sha = hashlib.sha256()
    _feed(sha.update, x, {})
    return HASH + sha.hexdigest()


def _text(x: object) -> str:
    return _ADDRESS.sub("", repr(x))


def _feed(update: Callable[[bytes], object], x: Any, numbers: dict[Any, int]) -> None:
    """Updates a hash with a value as it may occur in a traced program; `numbers` are those of its variables."""

    def feed(x: Any) -> None:
        _feed(update, x, numbers)

    def text(x: object) -> None:
        update(f"{x};".encode())

    if isinstance(x, ClosedJaxpr):
        feed(x.jaxpr)
        feed(list(x.consts))
    elif isinstance(x, Jaxpr):
        _feed_program(update, x)
    elif isinstance(x, jax.Array) and is_key(x):
        text(x.dtype)
        feed(jax.random.key_data(x))
    elif isinstance(x, jax.Array | np.ndarray | np.generic):
        array = as_numpy(jnp.asarray(x)) if isinstance(x, jax.Array) else np.asarray(x)
        text((array.dtype, array.shape))
        update(np.ascontiguousarray(array).tobytes() if array.dtype != object else _text(array).encode())
    elif isinstance(x, Mapping):
        for key in sorted(x, key=str):
            text(key)
            feed(x[key])
    elif isinstance(x, tuple | list):
        text((type(x).__name__, len(x)))
        for part in x:
            feed(part)
    elif x is None or isinstance(x, bool | int | float | complex | str | bytes | enum.Enum | np.dtype):
        text(repr(x))
    elif callable(x):
        text(type(x).__name__)
    else:
        text(_text(x))


def _feed_program(update: Callable[[bytes], object], program: Jaxpr) -> None:
    # Variables are numbered in the order in which they occur, since their names differ between traces.
    numbers: dict[Any, int] = {}

    def atom(x: Any) -> None:
        if isinstance(x, Literal):
            _feed(update, (x.val, str(x.aval)), numbers)
        else:
            update(f"v{numbers.setdefault(x, len(numbers))}:{x.aval};".encode())

    for variable in (*program.constvars, *program.invars):
        atom(variable)
    for equation in program.eqns:
        update(equation.primitive.name.encode())
        for operand in equation.invars:
            atom(operand)
        parameters = {k: v for k, v in equation.params.items() if k not in _IGNORED}
        _feed(update, parameters, numbers)
        for variable in equation.outvars:
            atom(variable)
    for result in program.outvars:
        atom(result)
