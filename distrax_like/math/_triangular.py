"""Triangular matrices: filling them from vectors and back, and solving systems of equations."""

import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Float, Shaped


def triangular_size(length: int) -> int:
    """The n of an n x n triangle with `length` entries. **Raises:** `ValueError` where there is none."""
    n = int(np.sqrt(2 * length + 0.25) - 0.5 + 1e-6)
    if n * (n + 1) // 2 != length:
        raise ValueError(f"a triangular matrix has 1, 3, 6, 10, ... entries, not {length}")
    return n


def fill_triangular(x: Shaped[Array, "... m"], upper: bool = False) -> Shaped[Array, "... n n"]:
    """The triangular matrix with the entries of a vector of length n (n + 1) / 2, filled in a clockwise spiral.

    The order is TFP's: `[1, 2, 3, 4, 5, 6]` gives `[[4, 0, 0], [6, 5, 0], [3, 2, 1]]`, or `[[1, 2, 3], [0, 5, 6],
    [0, 0, 4]]` for `upper`. Both take one concatenation and one mask, no scatter.

    **Raises:** `ValueError` where the length is not triangular.
    """
    n = triangular_size(x.shape[-1])
    pieces = [x, x[..., n:][..., ::-1]] if upper else [x[..., n:], x[..., ::-1]]
    square = jnp.reshape(jnp.concatenate(pieces, axis=-1), (*x.shape[:-1], n, n))
    return jnp.triu(square) if upper else jnp.tril(square)


def fill_triangular_inverse(x: Shaped[Array, "... n n"], upper: bool = False) -> Shaped[Array, "... m"]:
    """The vector of entries of a triangular matrix; the inverse of `fill_triangular`."""
    n = x.shape[-1]
    # At each place of the triangle the number of the vector's entry there, from 1 on; 0 outside the triangle.
    if upper:
        order = np.concatenate([np.arange(1, n * (n + 1) // 2 + 1), np.arange(n + 1, n * (n + 1) // 2 + 1)[::-1]])
        square = np.triu(order.reshape(n, n))
    else:
        order = np.concatenate([np.arange(n + 1, n * (n + 1) // 2 + 1), np.arange(1, n * (n + 1) // 2 + 1)[::-1]])
        square = np.tril(order.reshape(n, n))
    position = np.argsort(square.ravel())[n * n - n * (n + 1) // 2 :]
    return jnp.reshape(x, (*x.shape[:-2], n * n))[..., position]


def solve_lower(factor: Float[Array, "... d d"], x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """L^{-1} x for a batch of lower triangular factors and vectors whose leading dimensions broadcast."""
    lead = jnp.broadcast_shapes(factor.shape[:-2], x.shape[:-1])
    if not x.shape[-1]:
        return jnp.broadcast_to(x, (*lead, 0))
    if factor.ndim == 2:
        # One factor for all vectors: one solve with many right-hand sides.
        flat = jnp.reshape(x, (-1, x.shape[-1])).T
        return jnp.reshape(jsl.solve_triangular(factor, flat, lower=True).T, x.shape)
    factor = jnp.broadcast_to(factor, (*lead, *factor.shape[-2:]))
    x = jnp.broadcast_to(x, (*lead, x.shape[-1]))
    return jsl.solve_triangular(factor, x[..., None], lower=True)[..., 0]
