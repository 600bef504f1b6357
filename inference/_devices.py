"""Arrays on several devices and in several processes, and their copies on the host."""

import os
from typing import TypeAlias

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from distrax_like._misc import is_key

# Named, since an annotation of a function inside of another is evaluated in each call.
AnyArray: TypeAlias = Array | np.ndarray

# The axis of a mesh along which chains are split.
CHAINS = "chains"


def on_host(x: AnyArray) -> AnyArray:
    """An array in NumPy, see `as_numpy`; random keys stay as they are."""
    return x if is_key(x) else as_numpy(x)


def as_numpy(x: AnyArray) -> np.ndarray:
    """An array in NumPy, whole even where other processes hold parts of it."""
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def on_mesh(mesh: Mesh | None, tree: PyTree, num_chains: int | None = None) -> PyTree:
    """The arrays of a tree on all devices of the mesh; those of `num_chains` chains are split.

    Arrays that are spread over the mesh already, such as data, stay where they are.
    """
    if mesh is None:
        return tree

    def put(x: AnyArray) -> Array:
        if is_key(x):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        spec = PartitionSpec()
        if num_chains is not None and x.ndim and len(x) == num_chains:
            spec = PartitionSpec(CHAINS)
        elif isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding):
            spec = x.sharding.spec
        sharding = NamedSharding(mesh, spec)
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        # Every process has the whole array.
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jtu.tree_map(lambda x: put(x) if eqx.is_array(x) else x, tree)


def is_on_many_devices(tree: PyTree) -> bool:
    """Whether an array of the tree is spread over more than one device."""
    return any(isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 for x in jtu.tree_leaves(tree))


def num_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
