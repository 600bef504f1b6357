"""What the kernels share that need only the value of their target, and those that run others on a moved position."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, PyTree

from distrax_like.inference._target import as_position, log_density

from ._kernel import TransitionKernel


class DensityState(eqx.Module):
    """A chain's position, and the target's value there."""

    position: PyTree
    target_log_prob: Float[Array, "..."]


class DensityKernel(TransitionKernel):
    """A kernel whose state is the position and the target's value."""

    def init(self, position: PyTree, *, seed: Any = None) -> DensityState:
        who = type(self).__name__
        position = as_position(position, who)
        return DensityState(position, log_density(self.target_log_prob_fn, position, who))


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
    shapes = [jtu.tree_map(jnp.shape, tree) for tree in (new, old)]
    structures: list[Any] = [jtu.tree_structure(tree) for tree in (new, old)]
    if structures[0] != structures[1] or shapes[0] != shapes[1]:
        raise ValueError(f"{must.replace('{}', str(shapes[1]))}, got {shapes[0]}")
    return jtu.tree_map(lambda x, y: jnp.asarray(x).astype(y.dtype), new, old)


def moved(kernel: TransitionKernel, state: Any, position: PyTree) -> Any:
    """The state of `kernel` at a position that something else has chosen, or with a target that has changed: what is
    known of the target is computed afresh, what an adaptation has learned stays."""
    inner = getattr(kernel, "inner_kernel", None)
    if hasattr(state, "inner_state") and inner is not None:
        return eqx.tree_at(lambda s: s.inner_state, state, moved(inner, state.inner_state, position))
    return kernel.init(position)
