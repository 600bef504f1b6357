"""Cholesky factors of matrices that rounding has made singular."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def jittered_cholesky(matrix: Float[Array, "... n n"], jitter: Float[Array, ""] | float) -> Float[Array, "... n n"]:
    """The lower Cholesky factor of a covariance matrix plus `jitter` on its diagonal.

    Where that fails, the jitter of the failing matrices grows tenfold, up to six times; NaN where all fail. The
    derivative is that of the factor at the jitter found.

    **Arguments:** `matrix`: symmetric, its lower triangle is read; `jitter`: positive, added as it is.
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
