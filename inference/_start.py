"""Where chains and paths start: at positions that are given, or at draws, which are repeated where they fail."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped, UInt

from distrax_like._misc import Seed, as_callable
from distrax_like.distributions import UnconstrainedDensity

from ._devices import as_numpy
from ._target import as_position, density_at, part_name

# So often a starting point is drawn before the search is given up.
_MAX_ATTEMPTS = 100
# The number that the keys of starting points are folded with.
_KEY_NUMBER = 2**32 - 2


class StartingPoints(NamedTuple):
    """A starting point for each chain, and how to draw others.

    - `positions`: with a leading axis of chains.
    - `draw`: a function from the number of an attempt to a point for each chain; `None` where the points are given.
    - `attempts`: how many have been made.
    """

    positions: PyTree
    draw: Callable[[int], PyTree] | None = None
    attempts: int = 1

    def retry(self, states: PyTree) -> "StartingPoints | None":
        """The points with new draws for the chains whose states are not finite.

        **Arguments:** `states`: of all chains, at `positions`.

        **Returns:** `None` where all states are finite, and where there is nothing more to try.
        """
        if self.draw is None or self.attempts == _MAX_ATTEMPTS:
            return None
        good = is_finite(states)
        if good.all():
            return None

        positions = where_chains(good, self.positions, self.draw(self.attempts))
        return self._replace(positions=positions, attempts=self.attempts + 1)


def where_chains(which: Bool[np.ndarray, " chains"], new: PyTree, old: PyTree) -> PyTree:
    """`new` in the chains that are named, `old` in the others."""
    index = jnp.asarray(which)
    return jtu.tree_map(lambda x, y: jnp.where(index.reshape(-1, *(1,) * (jnp.ndim(y) - 1)), x, y), new, old)


def find_start(who: str, target: Callable[..., Any], init: PyTree, num: int, seed: Seed) -> StartingPoints:
    """The first starting points of `num` chains.

    The caller evaluates the states there. While `retry(states)` gives other points, it does so again; then it calls
    `check_start`.

    **Arguments:** `init`: `None`, "uniform" or "prior" for a model's density; a position, for all chains or for each;
    or a function from a key to a position.

    **Raises:** see `check_init`; `ValueError` for a position at which the target is not a scalar.
    """
    model = target if isinstance(target, UnconstrainedDensity) else None
    check_init(who, model, init)
    if init is not None and not isinstance(init, str) and not callable(init):
        return StartingPoints(_for_each_chain(who, target, as_position(init, who), num))
    draw = point_draws(who, model, init, num, seed)
    return StartingPoints(draw(0), draw)


def check_init(who: str, model: UnconstrainedDensity | None, init: PyTree, more_names: tuple[str, ...] = ()) -> None:
    """**Raises:** `ValueError` for an unknown name, `TypeError` for a log density without `init`."""
    names = "uniform", "prior", *more_names
    if isinstance(init, str) and (model is None or init not in names):
        known = "" if model is None else "".join(f'"{name}", ' for name in names)
        raise ValueError(f"{who}: init must be {known}a position or a function from a key to one, got {init!r}")
    if init is None and model is None:
        raise TypeError(f"{who}: a log density needs init, a position or a function from a key to one")


def check_start(who: str, target: Callable[..., Any], states: PyTree) -> None:
    """**Raises:** `ValueError` where the states of the chains are not all finite, saying what is not."""
    good = is_finite(states)
    if good.all():
        return
    chain = int(np.argmin(good))
    if isinstance(target, UnconstrainedDensity):
        fault = _fault(target, jnp.asarray(as_numpy(states.position)[chain]))
        raise ValueError(f"{who}: no start found: in chain {chain} {fault}")
    value = float(as_numpy(states.target_log_prob)[chain])
    if not np.isfinite(value):
        raise ValueError(f"{who}: the log density is {value} at the start of chain {chain}")
    grads = jtu.tree_leaves_with_path(states.grads_target_log_prob)
    bad = [part_name(path) for path, grad in grads if not np.all(np.isfinite(as_numpy(grad)[chain]))]
    raise ValueError(
        f"{who}: the gradient of the log density with respect to {bad[0]} is not finite at the start of chain {chain}"
    )


def is_finite(states: PyTree) -> Bool[np.ndarray, " chains"]:
    """In which chains the log density is finite, and its gradient where the states have one."""
    value = getattr(states, "target_log_prob", None)
    leaves = [x for x in (value, *jtu.tree_leaves(getattr(states, "grads_target_log_prob", None))) if x is not None]
    if not leaves:
        return np.ones(len(jtu.tree_leaves(states.position)[0]), bool)
    finite = (np.isfinite(as_numpy(x)) for x in leaves)
    return np.logical_and.reduce([x.reshape(len(x), -1).all(axis=1) for x in finite])


def _fault(model: UnconstrainedDensity, position: Float[Array, " dim"]) -> str:
    """The sites that make the log density or its gradient not finite at a vector of free reals, as a clause."""
    terms = {name: float(x) for name, x in model.log_densities(position).items()}
    bad = [f"{name!r} ({value})" for name, value in terms.items() if not np.isfinite(value)]
    if bad:
        return "the log density is not finite at " + ", ".join(bad)
    parts = model.split(jax.grad(model)(position))
    names = [repr(name) for name, x in parts.items() if not np.all(np.isfinite(x))]
    return "the gradient of the log density is not finite with respect to " + ", ".join(names)


def _for_each_chain(who: str, target: Callable[..., Any], position: PyTree, num: int) -> PyTree:
    """A position for each chain: one for all is repeated, one for each is taken as it is."""

    def shape(position: PyTree) -> tuple[int, ...] | None:
        try:
            return eqx.filter_eval_shape(density_at, target, position, who).shape
        except Exception:  # The user's function may fail in any way at a position that it is not made for.
            return None

    whole = shape(position)
    if whole == ():
        return jtu.tree_map(lambda x: jnp.broadcast_to(x, (num, *x.shape)), position)
    leaves = jtu.tree_leaves(position)
    split = all(x.ndim and len(x) == num for x in leaves)
    if split and (whole == (num,) or shape(jtu.tree_map(lambda x: x[0], position)) == ()):
        return position
    if whole is None and not split:
        density_at(target, position, who)  # for its error
    raise ValueError(
        f"{who}: the target must be a scalar at init, or at each of {num} positions along its leading axis, but it "
        f"has shape {whole} at parts of shapes {[x.shape for x in leaves]}"
    )


def point_draws(
    who: str, model: UnconstrainedDensity | None, init: PyTree, num: int, seed: Seed
) -> Callable[[int], PyTree]:
    """A function from the number of an attempt to a starting point for each chain, which depends on no other chain.

    **Arguments:** `init`: `None`, "uniform", "prior", or a function from a key to a position.
    """
    key = jax.random.fold_in(seed, _KEY_NUMBER)
    if model is not None and init in (None, "uniform"):
        dim, dtype = model.dim, model.dtype
        # Each number of the array depends on its own index alone.
        return lambda i: jax.random.uniform(jax.random.fold_in(key, i), (num, dim), dtype, -2, 2)
    draw = as_callable(prior_draw(model) if init == "prior" and model is not None else init, f"{who}: init")
    return lambda i: _drawn(draw, jax.random.fold_in(key, i), jnp.arange(num, dtype=jnp.uint32))


@eqx.filter_jit
def _drawn(draw: Callable[[Seed], PyTree], key: Seed, chains: UInt[Array, " chains"]) -> PyTree:
    return jax.vmap(lambda c: as_position(draw(jax.random.fold_in(key, c)), "sample"))(chains)


def prior_draw(model: UnconstrainedDensity) -> Callable[[Seed], Shaped[Array, " dim"]]:
    """A function from a key to the free reals of a draw from the model's prior."""
    return jtu.Partial(lambda model, key: model.unconstrain(model.pinned.sample_unpinned(seed=key)), model)
