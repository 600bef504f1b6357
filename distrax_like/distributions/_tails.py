"""What distribution functions of bounded and half-bounded variables share."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from distrax_like._misc import Real


def cumulative(
    z: Real, formula: Callable[[Real], Real], below: float, above: float, end: float = float("inf")
) -> Real:
    """A distribution function that is `formula(z)` for 0 < z < end, constant on either side and NaN for NaN.

    The formula only ever sees points inside, so that its gradient at the others cannot be NaN.
    """
    inside = (z > 0) & (z < end)
    outside = jnp.where(jnp.isnan(z), z, jnp.where(z <= 0, below, above))
    return jnp.where(inside, formula(jnp.where(inside, z, 0.5)), outside)


def where_defined(condition: Array, formula: Callable[..., Real], *args: Real) -> Real:
    """`formula(*args)` where the condition holds and NaN elsewhere, with a gradient of zero there."""
    safe = (jnp.where(condition, x, 2) for x in args)
    return jnp.where(condition, formula(*safe), jnp.nan)
