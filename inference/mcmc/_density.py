"""What is shared by kernels that need only the value of their target, and by kernels that move the chains of others."""

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, PyTree

from distrax_like._misc import Seed
from distrax_like.inference._target import as_position, log_density

from ._kernel import Info, KernelState, Position, TransitionKernel

State = TypeVar("State", bound=KernelState)


class DensityState(eqx.Module):
    """A chain's position, and the target's value there."""

    position: PyTree
    target_log_prob: Float[Array, "..."]


class DensityKernel(TransitionKernel[DensityState, Info]):
    """A kernel whose state is the position and the target's value."""

    def init(self, position: Position, *, seed: Seed | None = None) -> DensityState:
        who = type(self).__name__
        position = as_position(position, who)
        return DensityState(position, log_density(self.log_density(), position, who))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every floating leaf is finite everywhere."""
    leaves = [x for x in jtu.tree_leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    good = jnp.asarray(True)
    for leaf in leaves:
        good &= jnp.all(jnp.isfinite(leaf))
    return good


def like(new: PyTree, old: PyTree, must: str) -> PyTree:
    """`new` with the dtypes of `old`.

    **Raises:** `ValueError` where structure or shapes differ; `must` is its text, with `{}` for the shapes wanted.
    """
    got, wanted = (jtu.tree_map(jnp.shape, tree) for tree in (new, old))
    structure: object = jtu.tree_structure(old)
    if jtu.tree_structure(new) != structure or got != wanted:
        raise ValueError(f"{must.replace('{}', str(wanted))}, got {got}")
    return jtu.tree_map(lambda x, y: jnp.asarray(x).astype(y.dtype), new, old)


def moved(kernel: TransitionKernel[State, Info], state: State, position: Position) -> State:
    """The state of `kernel` at a position that something else has chosen, or with a target that has changed.

    What depends on the target is computed again; what an adaptation has learned stays.
    """
    inner = getattr(kernel, "inner_kernel", None)
    inner_state = getattr(state, "inner_state", None)
    if inner is not None and inner_state is not None:
        return eqx.tree_at(lambda s: s.inner_state, state, moved(inner, inner_state, position))
    return kernel.init(position)
