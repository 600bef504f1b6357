"""Elementary functions whose plain formulas lose digits or gradients."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float


def softplus_inverse(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(exp(x) - 1), the inverse of softplus, for x >= 0.

    Written as x + log(1 - exp(-x)) with `log1mexp`, which neither overflows for large x nor cancels for small x.
    """
    return x + jax.nn.log1mexp(x)


def xlogy(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """x log y, with 0 log 0 = 0 and a gradient of zero there, where JAX's gradient is NaN."""
    return jsp.xlogy(x, jnp.where((x == 0) & (y == 0), 1, y))


def xlog1py(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """x log(1 + y), with 0 log 0 = 0 and a gradient of zero there, where JAX's gradient is NaN."""
    return jsp.xlog1py(x, jnp.where((x == 0) & (y == -1), 0, y))
