"""How a target density is evaluated: how a position is passed to it, gradients, and targets that need all chains."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from distrax_like._misc import check_numbers, describe, promote
from distrax_like.distributions import UnconstrainedDensity

# The path to a leaf of a tree, as `jax.tree_util` gives it.
KeyPath: TypeAlias = tuple[Any, ...]


def evaluate(target: Callable[..., Any], position: PyTree) -> PyTree:
    """The target at `position`: a tuple, list or namedtuple is splatted into it, anything else passed whole."""
    return target(*position) if isinstance(position, tuple | list) else target(position)


def density_at(target: Callable[..., Any], position: PyTree, who: str) -> Array:
    """The log density at `position`, where a Python number is a constant one.

    **Raises:** `TypeError` where the target returns something else than real floating numbers.
    """
    value = evaluate(target, position)
    if type(value) in (int, float):
        return jnp.asarray(float(value))
    if not (isinstance(value, jax.Array | np.ndarray | np.generic) and jnp.issubdtype(value.dtype, jnp.floating)):
        raise TypeError(f"{who}: the log density must return a real floating number, got {describe(value)}")
    return jnp.asarray(value)


def as_draw(target: Callable[..., Any], position: PyTree) -> PyTree:
    """The draw that a user gets for a position: for a model's density the constrained values, else the position."""
    return target.constrain(position) if isinstance(target, UnconstrainedDensity) else position


def as_position(position: PyTree, who: str) -> PyTree:
    """`position` with every leaf a strongly typed real floating array; integers become the default float.

    **Raises:** `TypeError` naming the part that holds no real numbers.
    """

    def convert(path: KeyPath, leaf: PyTree) -> Array:
        check_numbers(leaf, f"{who}: {part_name(path)}")
        return promote(leaf)  # without a weak type, which would break the loop's carry

    return jtu.tree_map_with_path(convert, position, is_leaf=lambda x: x is None)


def chains_shape(target: Callable[..., Any], position: PyTree, who: str) -> tuple[int, ...]:
    """The shape of the target at `position`, which is that of the chains.

    **Raises:** `ValueError` where it does not lead the shape of every part, naming the part.
    """
    if not jtu.tree_leaves(position):
        raise ValueError(f"{who}: the state {position!r} has no arrays")
    chains = eqx.filter_eval_shape(density_at, target, position, who).shape
    for path, leaf in jtu.tree_leaves_with_path(position):
        if leaf.shape[: len(chains)] != chains:
            raise ValueError(
                f"{who}: the target has shape {chains} at current_state, that is {math.prod(chains)} chains, "
                f"so every state part must start with that shape, but {part_name(path)} has shape {leaf.shape}"
            )
    return chains


def part_name(path: KeyPath) -> str:
    """The name of the part of the state at `path` in messages."""
    return f"state part {jtu.keystr(path)}" if path else "the state"


def value_and_grad(target: Callable[..., Any], position: PyTree, who: str) -> tuple[Float[Array, ""], PyTree]:
    """One chain's target and its gradient.

    **Returns:** the value, in the promoted dtype of the position, and a pytree like `position`.

    **Raises:** `ValueError` where the target is not a scalar.
    """
    dtype = jnp.result_type(*jtu.tree_leaves(position))
    if isinstance(target, ChainsTarget):
        value, grads = target.value_and_grad(position)
    else:
        value, grads = jax.value_and_grad(lambda position: _scalar(target, position, who))(position)
    # Data of a wider dtype in the target must not widen the chain's dtype.
    return value.astype(dtype), grads


def log_density(target: Callable[..., Any], position: PyTree, who: str) -> Float[Array, ""]:
    """One chain's target, in the promoted dtype of the position. **Raises:** `ValueError` where it is not a scalar."""
    dtype = jnp.result_type(*jtu.tree_leaves(position))
    if isinstance(target, ChainsTarget):
        return target.value_and_grad(position)[0].astype(dtype)
    return _scalar(target, position, who).astype(dtype)


def _scalar(target: Callable[..., Any], position: PyTree, who: str) -> Array:
    value = density_at(target, position, who)
    if value.shape:
        raise ValueError(
            f"{who}: the target of one chain must be a scalar, got shape {value.shape}; for many chains use "
            "sample_chain, or jax.vmap over init and step"
        )
    return value


class ChainsTarget(eqx.Module):
    """A target that can only be evaluated for all chains at once, since its parameters differ between them.

    A kernel makes the transition of one chain, and `sample_chain` maps it over the chains. Under this map the gradient
    becomes a single call of the user's batched function: the chains' values are independent, so the gradient of their
    sum contains the gradient of each.
    """

    target: Callable[..., Any]
    batch_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, *args: PyTree) -> Array:
        raise NotImplementedError("a target with a parameter for each chain is only evaluated with its gradient")

    def value_and_grad(self, position: PyTree) -> tuple[Array, PyTree]:
        chains = math.prod(self.batch_shape)
        # The arrays of the target are an argument, because a rule of custom_vmap must not close over traced arrays.
        dynamic, static = eqx.partition(self.target, eqx.is_array)

        def of_all_chains(dynamic: PyTree, positions: PyTree) -> tuple[Array, PyTree]:
            target = eqx.combine(dynamic, static)
            split = jtu.tree_map(lambda x: x.reshape(self.batch_shape + x.shape[1:]), positions)

            def total(positions: PyTree) -> tuple[Array, Array]:
                values = evaluate(target, positions)
                return jnp.sum(values), values

            grads, values = jax.grad(total, has_aux=True)(split)
            return values.reshape(chains), jtu.tree_map(lambda g, x: g.reshape(x.shape), grads, positions)

        def repeat(x: Array) -> Array:
            return jnp.broadcast_to(x, (chains, *x.shape))

        @jax.custom_batching.custom_vmap
        def of_one_chain(dynamic: PyTree, position: PyTree) -> tuple[Array, PyTree]:
            # Traced for its shapes only, since the map over chains always replaces it.
            values, grads = of_all_chains(dynamic, jtu.tree_map(repeat, position))
            return values[0], jtu.tree_map(lambda g: g[0], grads)

        @of_one_chain.def_vmap
        def rule(axis_size: int, in_batched: PyTree[bool], dynamic: PyTree, position: PyTree) -> PyTree:
            if axis_size != chains or any(jtu.tree_leaves(in_batched[0])):
                raise NotImplementedError("a target with a parameter for each chain can only be mapped over the chains")
            position = jtu.tree_map(lambda x, batched: x if batched else repeat(x), position, in_batched[1])
            out = of_all_chains(dynamic, position)
            return out, jtu.tree_map(lambda _: True, out)

        return of_one_chain(dynamic, position)


def as_vectors(tree: PyTree) -> Float[Array, "n d"]:
    """Each of the n entries along the leading axis of every part raveled into one vector."""
    return jax.vmap(lambda x: ravel_pytree(x)[0])(tree)
