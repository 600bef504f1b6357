"""The normal distribution function and its tails."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float


@jax.custom_jvp
def log_ndtr(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The log of the standard normal distribution function.

    For x < 0 it is log(erfcx(-x / sqrt 2) / 2) - x^2 / 2, which keeps its digits to the end of the range, and for
    x >= 0 log(1 - erfc(x / sqrt 2) / 2). The derivative is sqrt(2 / pi) / erfcx(-x / sqrt 2).
    """
    half = x * jnp.asarray(0.5**0.5, x.dtype)
    below = x < 0
    tail = jnp.log(jsp.erfcx(jnp.where(below, -half, 0)) / 2) - jnp.where(below, half, 0) ** 2
    return jnp.where(below, tail, jnp.log1p(-jsp.erfc(jnp.where(below, 0, half)) / 2))


@log_ndtr.defjvp
def _(primals, tangents):
    (x,), (tangent,) = primals, tangents
    slope = jnp.asarray((2 / jnp.pi) ** 0.5, x.dtype) / jsp.erfcx(-x * jnp.asarray(0.5**0.5, x.dtype))
    return log_ndtr(x), slope * tangent
