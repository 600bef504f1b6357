"""Cholesky factors of nearly singular matrices, of low rank, and of matrices that have been updated."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distrax_like._misc import Numeric, promote


@jax.custom_jvp
def jittered_cholesky(matrix: Float[Array, "... n n"], jitter: Float[Array, "..."] | float) -> Float[Array, "... n n"]:
    """The lower Cholesky factor of a covariance matrix plus `jitter` on its diagonal.

    Where the factorisation fails, the jitter of that matrix is multiplied by ten, up to six times; where all fail, the
    factor is NaN. The derivative is that of the factor at the jitter found.

    **Arguments:** `matrix`: symmetric, its lower triangle is read; `jitter`: positive, added as it is; one
    number, or one for each matrix.
    """
    eye = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)

    def factor(shift: Array) -> tuple[Array, Array]:
        result = jnp.linalg.cholesky(matrix + shift[..., None, None] * eye, symmetrize_input=False)
        return result, ~jnp.isfinite(jnp.sum(jnp.diagonal(result, axis1=-2, axis2=-1), axis=-1))

    def grow(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        count, shift, _, failed = state
        shift = jnp.where(failed, 10 * shift, shift)
        return count + 1, shift, *factor(shift)

    shift = jnp.broadcast_to(jitter, matrix.shape[:-2]).astype(matrix.dtype)
    start = (jnp.zeros((), int), shift, *factor(shift))
    return jax.lax.while_loop(lambda state: (state[0] < 6) & jnp.any(state[3]), grow, start)[2]


@jittered_cholesky.defjvp
def _(primals, tangents):
    # dL = L tril(L^-1 dA L^-T) with half the diagonal, from the factor that was found: differentiating through the
    # search would meet the NaN of the factorisations that failed.
    factor = jittered_cholesky(*primals)
    change, shift = tangents
    eye = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    change = (change + jnp.swapaxes(change, -2, -1)) / 2 + jnp.asarray(shift, factor.dtype)[..., None, None] * eye
    change = jnp.broadcast_to(change, factor.shape)
    left = jax.lax.linalg.triangular_solve(factor, change, left_side=True, lower=True)
    inner = jax.lax.linalg.triangular_solve(factor, left, left_side=False, lower=True, transpose_a=True)
    return factor, factor @ (jnp.tril(inner) - inner * eye / 2)


class LowRankCholesky(NamedTuple):
    """A factor of low rank, its rank, and the diagonal of the residual, the matrix less L L^T."""

    factor: Float[Array, "... n k"]
    rank: Int[Array, "..."]
    residual_diag: Float[Array, "... n"]


def _partial(
    matrix: Float[Array, "... n n"], max_rank: int, enough: Any
) -> tuple[LowRankCholesky, Int[Array, "... n"]]:
    """Pivoted Cholesky up to `max_rank` columns or until `enough(residual diagonal)`, and the order of the pivots."""
    n = matrix.shape[-1]
    rows = jnp.arange(n)

    def step(i: Any, carry: Any) -> Any:
        factor, diag, order, rank, rest = carry
        going = ~enough(diag) & (jnp.max(diag, -1) > 0)
        pivot = jnp.argmax(diag, -1)[..., None]
        # The column of the residual of the columns so far.
        column = jnp.take_along_axis(matrix, pivot[..., None], -1)[..., 0]
        row = jnp.take_along_axis(factor, pivot[..., None], -2)[..., 0, :]
        column = column - jnp.sum(factor * row[..., None, :], -1)
        top = jnp.take_along_axis(diag, pivot, -1)
        here = rows == pivot
        scale = jnp.sqrt(jnp.where(going[..., None], top, 1))
        column = jnp.where(here, scale, jnp.where(rest, column / scale, 0))
        column = jnp.where(going[..., None], column, 0)
        # Rounding can leave a small negative residual. That of a pivot is exactly zero.
        diag = jnp.where(going[..., None], jnp.where(here, 0, jnp.maximum(diag - column**2, 0)), diag)
        factor = factor.at[..., i].set(column)
        order = order.at[..., i].set(jnp.where(going, pivot[..., 0], order[..., i]))
        return factor, diag, order, rank + going, rest & ~(here & going[..., None])

    lead = matrix.shape[:-2]
    order = jnp.full((*lead, n), -1)
    diag = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    factor = jnp.zeros((*lead, n, max_rank), matrix.dtype)
    begin = (factor, diag, order, jnp.zeros(lead, int), jnp.ones((*lead, n), bool))
    factor, diag, order, rank, rest = jax.lax.fori_loop(0, max_rank, step, begin)
    # The rows that were not pivots follow in their original order.
    place = jnp.where(rest, n + rows, _inverse_order(order))
    return LowRankCholesky(factor, rank, diag), jnp.argsort(place, -1)


def _inverse_order(order: Int[Array, "... n"]) -> Int[Array, "... n"]:
    """For each row, the step at which it was the pivot (0 where it never was)."""
    steps = jnp.arange(order.shape[-1])
    return jnp.sum(jnp.where(order[..., None] == steps, steps[:, None], 0), -2)


def pivoted_cholesky(
    matrix: Numeric, max_rank: int, diag_rtol: float = 1e-3, return_pivoting_order: bool = False
) -> Any:
    """A factor L of shape `(..., n, max_rank)` with L L^T close to a positive semidefinite matrix.

    Each step takes the row with the largest diagonal entry of the residual as the pivot, until all these entries are at
    most `diag_rtol` times those of the matrix; the remaining columns are zero. With `return_pivoting_order` the result
    also has the permutation of the rows, pivots first, that makes the factor lower triangular. The factor is
    differentiable where the order does not change.

    H. Harbrecht, M. Peters and R. Schneider, On the low-rank approximation by the pivoted Cholesky decomposition
    (2012).
    """
    matrix = promote(matrix)
    diag = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    max_rank = min(max_rank, matrix.shape[-1])
    result, order = _partial(matrix, max_rank, lambda rest: jnp.all(rest <= diag_rtol * diag, -1))
    return (result.factor, order) if return_pivoting_order else result.factor


def low_rank_cholesky(
    matrix: Numeric, max_rank: int, trace_atol: float = 0.0, trace_rtol: float = 0.0
) -> LowRankCholesky:
    """`pivoted_cholesky` until the trace of the residual is below `trace_atol`, or `trace_rtol` times the whole trace.

    **Returns:** `LowRankCholesky`: the factor of shape `(..., n, max_rank)`, whose columns from the rank on are 0, the
    rank, and the diagonal of the residual, the matrix less L L^T.
    """
    matrix = promote(matrix)
    trace = jnp.trace(matrix, axis1=-2, axis2=-1)

    def enough(rest: Float[Array, "... n"]) -> Any:
        left = jnp.sum(rest, -1)
        return (left < trace_atol) | (left < trace_rtol * trace)

    return _partial(matrix, min(max_rank, matrix.shape[-1]), enough)[0]


def cholesky_concat(chol: Numeric, cols: Numeric) -> Float[Array, "... z z"]:
    """The lower Cholesky factor of a matrix that has grown by m rows and columns, in O(z^2 m) work.

    **Arguments:** `chol`: the factor of the n x n matrix, shape `(..., n, n)`; `cols`: the new columns, shape
    `(..., z, m)` with z = n + m, of which the last m rows form a symmetric matrix.
    """
    chol, cols = promote(chol, cols)
    n = chol.shape[-1]
    lead = jnp.broadcast_shapes(chol.shape[:-2], cols.shape[:-2])
    chol, cols = jnp.broadcast_to(chol, (*lead, n, n)), jnp.broadcast_to(cols, (*lead, *cols.shape[-2:]))
    m = cols.shape[-1]
    cross = jax.lax.linalg.triangular_solve(chol, cols[..., :n, :], left_side=True, lower=True)
    below = jnp.swapaxes(cross, -2, -1)
    corner = jnp.linalg.cholesky(cols[..., n:, :] - below @ cross)
    above = jnp.concatenate([chol, jnp.zeros((*lead, n, m), chol.dtype)], -1)
    return jnp.concatenate([above, jnp.concatenate([below, corner], -1)], -2)


def cholesky_update(chol: Numeric, update_vector: Numeric, multiplier: Numeric = 1.0) -> Float[Array, "... n n"]:
    """The lower Cholesky factor of L L^T + multiplier u u^T, in O(n^2) work.

    For a negative multiplier (a downdate) the result is NaN where that matrix is not positive definite.

    **Arguments:** `chol`: L, shape `(..., n, n)`; `update_vector`: u, shape `(..., n)`; `multiplier`: shape `(...)`;
    leading dimensions broadcast.

    O. Krause and C. Igel, A more efficient rank-one covariance matrix update for evolution strategies (2015).
    """
    chol, u, multiplier = promote(chol, update_vector, multiplier)
    lead = jnp.broadcast_shapes(chol.shape[:-2], u.shape[:-1], multiplier.shape)
    n = chol.shape[-1]
    chol, u = jnp.broadcast_to(chol, (*lead, n, n)), jnp.broadcast_to(u, (*lead, n))
    begin = (u, jnp.ones(lead, chol.dtype))

    def step(carry: Any, given: Any) -> Any:
        u, b = carry
        i, column = given
        here = jnp.arange(n) == i
        old = jnp.sum(jnp.where(here, column, 0), -1)
        size = jnp.sum(jnp.where(here, u, 0), -1)
        square = old**2 + multiplier / b * size**2
        new = jnp.sqrt(square)
        gamma = old**2 * b + multiplier * size**2
        u = u - (size / old)[..., None] * column
        changed = (new / old)[..., None] * column + (new * multiplier * size / gamma)[..., None] * u
        # Entries above the diagonal are zero.
        return (u, b + multiplier * size**2 / old**2), jnp.where(jnp.arange(n) >= i, changed, 0)

    columns = jax.lax.scan(step, begin, (jnp.arange(n), jnp.moveaxis(chol, -1, 0)))[1]
    return jnp.moveaxis(columns, 0, -1)
