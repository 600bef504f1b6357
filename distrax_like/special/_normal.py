"""The normal distribution function and its tails."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float

# From here on the asymptotic series of erfcx is good to the last bit of a double.
_FAR = 8.0


def _erfcx(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(y^2) erfc(y). JAX's, but for large y, where that is wrong in float32: zero at about 9.2.

    There it is 1 / (y sqrt(pi)) times the series of (-1)^k (2k - 1)!! / (2 y^2)^k (DLMF 7.12.1).
    """
    far = y > _FAR
    safe = jnp.where(far, y, _FAR)
    ratio = 0.5 / safe / safe
    series = jnp.ones_like(safe)
    for k in range(20, 0, -1):
        series = 1 - (2 * k - 1) * ratio * series
    return jnp.where(far, series / (safe * jnp.asarray(jnp.pi**0.5, y.dtype)), jsp.erfcx(jnp.where(far, 0, y)))


@jax.custom_jvp
def log_ndtr(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The log of the standard normal distribution function.

    For x < 0 it is log(erfcx(-x / sqrt 2) / 2) - x^2 / 2, which keeps its digits to the end of the range, and for
    x >= 0 log(1 - erfc(x / sqrt 2) / 2). The derivative is sqrt(2 / pi) / erfcx(-x / sqrt 2).
    """
    half = x * jnp.asarray(0.5**0.5, x.dtype)
    below = x < 0
    tail = jnp.log(_erfcx(jnp.where(below, -half, 0)) / 2) - jnp.where(below, half, 0) ** 2
    return jnp.where(below, tail, jnp.log1p(-jsp.erfc(jnp.where(below, 0, half)) / 2))


@log_ndtr.defjvp
def _(primals, tangents):
    (x,), (tangent,) = primals, tangents
    slope = jnp.asarray((2 / jnp.pi) ** 0.5, x.dtype) / _erfcx(-x * jnp.asarray(0.5**0.5, x.dtype))
    return log_ndtr(x), slope * tangent
