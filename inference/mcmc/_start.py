"""Where chains start."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree, UInt

from distrax_like._misc import as_callable
from distrax_like.distributions import UnconstrainedDensity

from ._run import on_host
from ._target import as_position, evaluate, part_name

_ATTEMPTS = 100
_START = 2**32 - 2  # the number that the keys of starting points are folded with


def _for_all_chains(who: str, target: Any, position: PyTree, num: int) -> PyTree:
    """A position for each chain: the one for all, or those that are given."""

    def shape(position: PyTree) -> Any:
        try:
            return eqx.filter_eval_shape(evaluate, target, position).shape
        except Exception:  # The user's function may fail in any way on a state that is not as it expects.
            return None

    whole = shape(position)
    if whole == ():
        return jtu.tree_map(lambda x: jnp.broadcast_to(x, (num, *x.shape)), position)
    leaves = jtu.tree_leaves(position)
    split = all(x.ndim and len(x) == num for x in leaves)
    if split and (whole == (num,) or shape(jtu.tree_map(lambda x: x[0], position)) == ()):
        return position
    if whole is None and not split:
        evaluate(target, position)  # for its error
    raise ValueError(
        f"{who}: the target is to be a scalar at init, or at each of {num} positions along its leading axis, but it "
        f"has shape {whole} at parts of shapes {[x.shape for x in leaves]}"
    )


def check_init(who: str, model: UnconstrainedDensity | None, init: Any) -> None:
    """**Raises:** `ValueError` for an unknown name, `TypeError` for a log density without `init`."""
    if isinstance(init, str) and (model is None or init not in ("uniform", "prior", "pathfinder")):
        known = "" if model is None else '"uniform", "prior", "pathfinder", '
        raise ValueError(f"{who}: init must be {known}a position or a function from a key to one, got {init!r}")
    if init is None and model is None:
        raise TypeError(f"{who}: a log density needs init, a position or a function from a key to one")


def find_start(who: str, target: Any, init: Any, num: int, seed: Any, attempt: Callable[[PyTree], Any]) -> Any:
    """`attempt(positions)` for starting points at which `attempt`'s first output, the states, is finite.

    **Raises:** `ValueError` where there are none, saying what is not finite.
    """
    model = target if isinstance(target, UnconstrainedDensity) else None
    check_init(who, model, init)
    if isinstance(init, str) and init == "pathfinder":
        from distrax_like.inference.vi import pathfinder  # which itself needs starts

        init = pathfinder(target, num_draws=num, replacement=False, seed=seed).positions
    if init is not None and not isinstance(init, str) and not callable(init):
        return _checked(who, model, attempt(_for_all_chains(who, target, as_position(init, who), num)))

    points = _points(who, model, init, num, seed)
    positions = points(0)
    for i in range(1, _ATTEMPTS):
        out = attempt(positions)
        good = _finite(jtu.tree_map(on_host, out[0]))
        if good.all():
            return out
        positions = jtu.tree_map(lambda old, new: np.where(_like(good, old), old, new), positions, points(i))
    return _checked(who, model, attempt(positions))


def _like(good: np.ndarray, x: Any) -> np.ndarray:
    return good.reshape(-1, *(1,) * (x.ndim - 1))


def _points(who: str, model: UnconstrainedDensity | None, init: Any, num: int, seed: Any) -> Callable[[int], PyTree]:
    """A function from the number of a trial to a starting point for each chain, which depends on no other chain."""
    key = jax.random.fold_in(seed, _START)
    if model is not None and init in (None, "uniform"):
        dim, dtype = model.dim, model.dtype
        # Uniform numbers depend on their place in the array alone.
        return lambda i: jax.random.uniform(jax.random.fold_in(key, i), (num, dim), dtype, -2, 2)
    draw: Any = as_callable(prior_draw(model) if init == "prior" and model is not None else init, f"{who}: init")
    return lambda i: _drawn(draw, jax.random.fold_in(key, i), jnp.arange(num, dtype=jnp.uint32))


@eqx.filter_jit
def _drawn(draw: Callable[[Any], PyTree], key: Any, chains: UInt[Array, " chains"]) -> PyTree:
    return jax.vmap(lambda c: as_position(draw(jax.random.fold_in(key, c)), "sample"))(chains)


def prior_draw(model: UnconstrainedDensity) -> Callable[[Any], Array]:
    """A function from a key to the free reals of a draw from the model's prior."""
    return jtu.Partial(lambda model, key: model.unconstrain(model.pinned.sample_unpinned(seed=key)), model)


def _finite(states: Any) -> np.ndarray:
    """Which chains' states are, of arrays on the host."""
    value = getattr(states, "target_log_prob", None)
    leaves = [x for x in (value, *jtu.tree_leaves(getattr(states, "grads_target_log_prob", None))) if x is not None]
    good = [np.isfinite(np.asarray(x)).reshape(len(x), -1).all(axis=1) for x in leaves]
    positions = jtu.tree_leaves(states.position)
    return np.logical_and.reduce(good) if good else np.ones(len(positions[0]), bool)


def _checked(who: str, model: UnconstrainedDensity | None, out: Any) -> Any:
    states = jtu.tree_map(on_host, out[0])
    good = _finite(states)
    if good.all():
        return out
    chain = int(np.argmin(good))
    value = float(states.target_log_prob[chain])
    if model is not None:
        raise ValueError(
            f"{who}: no start found: in chain {chain} {_blame(model, jnp.asarray(states.position[chain]))}"
        )
    if not np.isfinite(value):
        raise ValueError(f"{who}: the log density is {value} at the start of chain {chain}")
    for path, grad in jtu.tree_leaves_with_path(states.grads_target_log_prob):
        if not np.all(np.isfinite(grad[chain])):
            raise ValueError(
                f"{who}: the gradient of the log density with respect to {part_name(path)} is not finite at the start "
                f"of chain {chain}"
            )
    raise AssertionError("a state is not finite in no part")


def _blame(model: UnconstrainedDensity, position: Array) -> str:
    """Which sites are at fault at a vector of free reals, and whether it is their density or its gradient."""
    terms = {name: float(x) for name, x in model.log_densities(position).items()}
    bad = [f"{name!r} ({value})" for name, value in terms.items() if not np.isfinite(value)]
    if bad:
        return "the log density is not finite at " + ", ".join(bad)
    parts = model.split(jax.grad(model)(position))
    names = [repr(name) for name, x in parts.items() if not np.all(np.isfinite(x))]
    return "the gradient of the log density is not finite with respect to " + ", ".join(names)
