"""Values that are not defined for all parameters."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from distrax_like._misc import Real


def where_defined(condition: Array, formula: Callable[..., Real], *args: Real, safe: float) -> Real:
    """`formula(*args)` where the condition holds and NaN elsewhere, with a gradient of zero there.

    **Arguments:** `safe`: stands in for each of `args` where the condition does not hold.
    """
    return jnp.where(condition, formula(*(jnp.where(condition, x, safe) for x in args)), jnp.nan)


#: Functions of two positive numbers, each with its logarithm, for `power_law`.
PRODUCT = jnp.multiply, lambda x, y: jnp.log(x) + jnp.log(y)
QUOTIENT = jnp.divide, lambda x, y: jnp.log(jnp.abs(x)) - jnp.log(y)


def power_law(
    formula: Callable[[Real], Real],
    point: tuple[Callable[..., Real], Callable[..., Real]],
    *args: Real,
    at_zero: Real | float | None = None,
    at_infinity: Real | float | None = None,
) -> Real:
    """`formula(z)`, the logarithm of a function that is a power of |z| where z underflows or overflows.

    **Arguments:** `point`: z and log |z| as functions of `args`; `at_zero`, `at_infinity`: the exponents of the two
    powers; where not given, `formula` holds there.
    """
    z, log_z = point
    info = jnp.finfo(jnp.result_type(*args))
    low, high = 4 * float(info.tiny), float(info.max) / 4
    size = jax.lax.stop_gradient(jnp.abs(z(*args)))
    under = size < (-1 if at_zero is None else low)
    over = size > (jnp.inf if at_infinity is None else high)

    # Each formula sees ones in place of what the other one is for, at which its gradient would not be finite.
    inside = z(*(jnp.where(under | over, 1, x) for x in args))
    log_outside = log_z(*(jnp.where(under | over, x, 1) for x in args))
    edge = jnp.where(under, low, jnp.copysign(high, z(*map(jax.lax.stop_gradient, args))))
    excess = jnp.where(under, 0 if at_zero is None else at_zero, 0) * (log_outside - math.log(low))
    if at_infinity is not None:
        excess = jnp.where(over, at_infinity * (log_outside - math.log(high)), excess)
    return formula(jnp.where(under | over, edge, inside)) + jnp.where(under | over, excess, 0)


def whole_part(x: Real, ulps: Real | float) -> Real:
    """The largest integer that is not above `x`, which is known to so many units of rounding."""
    nearest = jnp.round(x)
    return jnp.where(jnp.abs(x - nearest) <= ulps * jnp.finfo(x.dtype).eps * nearest, nearest, jnp.floor(x))
