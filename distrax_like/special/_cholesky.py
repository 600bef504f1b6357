"""Cholesky factors of matrices that rounding has made singular."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def jittered_cholesky(matrix: Float[Array, "... n n"], jitter: Float[Array, ""] | float) -> Float[Array, "... n n"]:
    """The lower Cholesky factor of a covariance matrix plus `jitter` on its diagonal.

    Where that fails, the jitter of the failing matrices grows tenfold, up to six times; NaN where all fail. The gradient
    is that of the factor at the jitter found, which counts as a constant.

    **Arguments:** `matrix`: symmetric; `jitter`: positive, added as it is.
    """
    eye = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)

    def factor(shift: Array) -> Array:
        return jnp.linalg.cholesky(matrix + shift[..., None, None] * eye)

    def failed(factor: Array) -> Array:
        return ~jnp.isfinite(jnp.sum(jnp.diagonal(factor, axis1=-2, axis2=-1), axis=-1))

    shift = jnp.full(matrix.shape[:-2], jitter, matrix.dtype)
    first = factor(shift)

    def retry() -> Array:
        def body(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            count, shift, bad = state
            shift = jnp.where(bad, 10 * shift, shift)
            return count + 1, shift, failed(jax.lax.stop_gradient(factor(shift)))

        start = (jnp.zeros((), int), shift, failed(jax.lax.stop_gradient(first)))
        _, found, _ = jax.lax.while_loop(lambda state: (state[0] < 6) & jnp.any(state[2]), body, start)
        return factor(jax.lax.stop_gradient(found))

    return jax.lax.cond(jnp.any(failed(first)), retry, lambda: first)
