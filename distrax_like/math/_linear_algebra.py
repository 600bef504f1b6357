"""Solving with positive definite matrices and LU factors, orthonormal vectors, and the diagonal of a Jacobian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from distrax_like._misc import Numeric, exactly_one, promote

from ._triangular import solve_lower

Matrix = Float[Array, "... n n"]


def _factor(matrix: Numeric | None, cholesky_matrix: Numeric | None) -> Matrix:
    """The lower Cholesky factor, computed where it is not given."""
    exactly_one("a positive definite matrix", matrix=matrix, cholesky_matrix=cholesky_matrix)
    return jnp.linalg.cholesky(promote(matrix)) if cholesky_matrix is None else promote(cholesky_matrix)


def _batched(factor: Numeric, rhs: Numeric) -> tuple[Matrix, Float[Array, "... n k"]]:
    factor, rhs = promote(factor, rhs)
    lead = jnp.broadcast_shapes(factor.shape[:-2], rhs.shape[:-2])
    return jnp.broadcast_to(factor, (*lead, *factor.shape[-2:])), jnp.broadcast_to(rhs, (*lead, *rhs.shape[-2:]))


def hpsd_logdet(matrix: Numeric | None, cholesky_matrix: Numeric | None = None) -> Float[Array, "..."]:
    """log det A of a symmetric positive definite matrix A, given as such or by its lower Cholesky factor."""
    diag = jnp.diagonal(_factor(matrix, cholesky_matrix), axis1=-2, axis2=-1)
    return 2 * jnp.sum(jnp.log(diag), -1)


def hpsd_solve(
    matrix: Numeric | None, rhs: Numeric, cholesky_matrix: Numeric | None = None
) -> Float[Array, "... n k"]:
    """A^-1 B for a symmetric positive definite matrix A, given as such or by its lower Cholesky factor."""
    factor, rhs = _batched(_factor(matrix, cholesky_matrix), rhs)
    return jsl.cho_solve((factor, True), rhs)


def hpsd_solvevec(
    matrix: Numeric | None, rhs: Numeric, cholesky_matrix: Numeric | None = None
) -> Float[Array, "... n"]:
    """A^-1 b for one vector; see `hpsd_solve`."""
    return hpsd_solve(matrix, promote(rhs)[..., None], cholesky_matrix)[..., 0]


def hpsd_quadratic_form_solve(
    matrix: Numeric | None, rhs: Numeric, cholesky_matrix: Numeric | None = None
) -> Float[Array, "... k k"]:
    """B^T A^-1 B, exactly symmetric, for a positive definite matrix A, given as such or by its Cholesky factor."""
    factor, rhs = _batched(_factor(matrix, cholesky_matrix), rhs)
    half = jsl.solve_triangular(factor, rhs, lower=True)
    return jnp.swapaxes(half, -2, -1) @ half


def hpsd_quadratic_form_solvevec(
    matrix: Numeric | None, rhs: Numeric, cholesky_matrix: Numeric | None = None
) -> Float[Array, "..."]:
    """b^T A^-1 b for one vector; see `hpsd_quadratic_form_solve`."""
    return jnp.sum(solve_lower(_factor(matrix, cholesky_matrix), promote(rhs)) ** 2, -1)


def lu_reconstruct(lower_upper: Numeric, perm: Numeric) -> Matrix:
    """The matrix whose packed LU factors and row permutation are those of `jax.lax.linalg.lu`: P L U."""
    lower_upper = promote(lower_upper)
    lower = jnp.tril(lower_upper, -1) + jnp.eye(lower_upper.shape[-1], dtype=lower_upper.dtype)
    return jnp.take_along_axis(lower @ jnp.triu(lower_upper), jnp.argsort(jnp.asarray(perm), -1)[..., None], -2)


def lu_solve(lower_upper: Numeric, perm: Numeric, rhs: Numeric) -> Float[Array, "... n k"]:
    """X with A X = B, for the A of `lu_reconstruct`."""
    factors, rhs = _batched(lower_upper, rhs)
    rhs = jnp.take_along_axis(rhs, jnp.broadcast_to(jnp.asarray(perm), factors.shape[:-1])[..., None], -2)
    half = jsl.solve_triangular(factors, rhs, lower=True, unit_diagonal=True)
    return jsl.solve_triangular(factors, half)


def lu_matrix_inverse(lower_upper: Numeric, perm: Numeric) -> Matrix:
    """The inverse of the matrix of `lu_reconstruct`."""
    lower_upper = promote(lower_upper)
    return lu_solve(lower_upper, perm, jnp.eye(lower_upper.shape[-1], dtype=lower_upper.dtype))


def gram_schmidt(vectors: Numeric, num_vectors: int | None = None) -> Float[Array, "... d n"]:
    """Columns made orthonormal one after the other, by the modified Gram-Schmidt method; zero columns stay zero.

    **Arguments:** `vectors`: columns, shape `(..., d, n)`; `num_vectors`: the number of leading columns that are
    normalised and to which the later ones are made orthogonal (all by default).
    """
    vectors = promote(vectors)
    n = vectors.shape[-1]

    def step(i: Any, v: Float[Array, "... d n"]) -> Float[Array, "... d n"]:
        column = jax.lax.dynamic_slice_in_dim(v, i, 1, axis=-1)
        square = jnp.sum(column**2, -2, keepdims=True)
        unit = column / jnp.sqrt(jnp.where(square > 0, square, 1))
        later = jnp.arange(n) > i
        v = v - jnp.where(later, unit * jnp.sum(unit * v, -2, keepdims=True), 0)
        return jnp.where(jnp.arange(n) == i, unit, v)

    return jax.lax.fori_loop(0, n if num_vectors is None else min(num_vectors, n), step, vectors)


def diag_jacobian(fn: Callable[[Float[Array, " n"]], Float[Array, " n"]], x: Numeric) -> Float[Array, " n"]:
    """The diagonal of the Jacobian of `fn` at x, by n forward derivatives; `jax.vmap` it over batches."""
    x = promote(x)

    def entry(i: Any) -> Float[Array, ""]:
        return jax.jvp(fn, (x,), (jnp.zeros_like(x).at[i].set(1),))[1][i]

    return jax.vmap(entry)(jnp.arange(x.shape[0]))
