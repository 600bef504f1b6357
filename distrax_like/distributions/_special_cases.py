"""Values that are not defined for all parameters."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from distrax_like._misc import Real


def where_defined(condition: Array, formula: Callable[..., Real], *args: Real, safe: float) -> Real:
    """`formula(*args)` where the condition holds and NaN elsewhere, with a gradient of zero there.

    **Arguments:** `safe`: stands in for each of `args` where the condition does not hold.
    """
    return jnp.where(condition, formula(*(jnp.where(condition, x, safe) for x in args)), jnp.nan)
