"""Truncated standard normal variables."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Shape
from distrax_like.random._quadrature import integrate
from distrax_like.random._rejection import ShapeLike, flat, prepare, rejection, unit, word

Values = Float[Array, "..."]

_HALF_ROOT_PI = math.sqrt(math.pi / 2)


def truncated_normal(
    key: PRNGKeyArray,
    lower: Numeric,
    upper: Numeric,
    shape: ShapeLike | None = None,
    dtype: Any = None,
) -> Float[Array, "..."]:
    """Standard normal variables given that they lie in [lower, upper], however far in the tail.

    An interval around zero is one on either side with the right probability; one that begins at l >= 0 is drawn by
    rejection from an exponential distribution on it, of rate l + min(2 / (l + sqrt(l^2 + 4)), (upper - l) / 2),
    accepted at least 0.76 of the time. Source of the first of the two rates: Robert, "Simulation of truncated normal
    variables", Stat. Comput. 5 (1995).

    **Arguments:** `key`: a random key; `lower`, `upper`: the ends, possibly infinite; `shape`: of the result, to which
    they broadcast; `dtype`: by default theirs.

    **Returns:** draws of shape `shape`, within the ends; NaN where lower >= upper or an end is NaN, or the interval
    holds no finite number; differentiable in the ends at a fixed value of the distribution function.
    """
    key, shape, dtype, (lower, upper) = prepare("truncated_normal", key, shape, dtype, lower, upper)
    x = _robert(key, lower, upper, shape)
    return _implicit(jnp.broadcast_to(lower, shape), jnp.broadcast_to(upper, shape), x).astype(dtype)


@functools.partial(jax.jit, static_argnames="shape")
def _robert(key: PRNGKeyArray, lower: Values, upper: Values, shape: Shape) -> Values:
    low, high = flat(shape, lower, upper)
    valid = (low < high) & (low < jnp.inf) & (high > -jnp.inf)
    low, high = jnp.where(valid, low, 0), jnp.where(valid, high, 1)
    wide = low.dtype
    key, side_key = jax.random.split(key)

    # Which side of zero: the masses of both, without cancellation for narrow intervals.
    left, right = _half_mass(jnp.maximum(-low, 0)), _half_mass(jnp.maximum(high, 0))
    u = unit(jax.random.bits(side_key, low.shape, word(wide)), wide)
    negative = (high <= 0) | ((low < 0) & (u * (left + right) < left))
    start = jnp.where(negative, jnp.maximum(-high, 0), jnp.maximum(low, 0))
    width = jnp.where(negative, -low, high) - start

    def propose(bits, start, width):
        tilt = jnp.minimum(2 / (start + jnp.hypot(start, 2)), width / 2)
        rate = start + tilt
        u = unit(bits[0], wide)
        # -log(1 - u (1 - exp(-rate width))) / rate, from whichever end keeps the digits of u.
        missing = -jnp.expm1(-rate * width)
        step = -jnp.where(u < 0.5, jnp.log1p(-u * missing), jnp.log1p(-missing + missing * (1 - u))) / rate
        step = jnp.where(missing == 1, -jnp.log(u) / rate, jnp.minimum(step, width))
        best = jnp.minimum(tilt, width)
        return (step,), (tilt - (step + best) / 2) * (step - best) >= jnp.log(unit(bits[1], wide))

    (step,) = rejection(key, 2, word(wide), propose, start, width) if low.size else (low,)
    x = jnp.where(negative, -(start + step), start + step)
    return jnp.where(valid, jnp.clip(x, low, high), jnp.nan).reshape(shape)


@jax.custom_jvp
def _implicit(lower: Values, upper: Values, x: Values) -> Values:
    """x, with the derivatives in the ends that keep the distribution function of the truncated normal fixed."""
    return x


@_implicit.defjvp
def _(primals, tangents):
    lower, upper, x = primals
    out = _implicit(lower, upper, x)
    by_lower, by_upper = truncated_normal_slopes(lower, upper, out)
    return out, by_lower * tangents[0] + by_upper * tangents[1]


@jax.jit
def truncated_normal_slopes(lower: Values, upper: Values, x: Values) -> tuple[Values, Values]:
    """d x / d lower and d x / d upper at a fixed value of the distribution function.

    These are φ(l) / φ(x) times the probability above x and φ(u) / φ(x) times that below it. The interval is turned so
    that l is the end nearer to zero. Where l >= 0 the ratios of densities go into `_scaled_mass`, else only those of
    what lies on one side of zero, so that no exponential overflows and no masses are subtracted.
    """
    turned = jnp.abs(lower) > jnp.abs(upper)
    low, high = jnp.where(turned, -upper, lower), jnp.where(turned, -lower, upper)
    y = jnp.clip(jnp.where(turned, -x, x), low, high)
    tail, left = low >= 0, y < 0
    above = _scaled_mass(jnp.maximum(y, 0), high)
    below = _scaled_mass(jnp.where(tail, low, jnp.where(left, -y, 0)), jnp.where(tail, y, jnp.where(left, -low, 1)))
    # Below zero, and above it, in units of the density at zero.
    to_low, to_high, to_y = (_HALF_ROOT_PI * _half_mass(jnp.abs(z)) for z in (low, high, y))
    whole = jnp.where(tail, _scaled_mass(jnp.where(tail, low, 0), high), to_low + to_high)
    from_zero = jnp.exp(_half_difference(low, jnp.zeros_like(y)))
    z = jnp.where(left, y, 0)
    around_low = jnp.where(left, (to_y + to_high) * jnp.exp(_half_difference(low, z)), above * from_zero)
    around_high = jnp.where(left, below * jnp.exp(-(z**2) / 2), to_low + to_y)
    by_low = jnp.where(tail, above, around_low) / whole
    by_high = jnp.where(tail, below, around_high) / whole * jnp.exp(_half_difference(high, y))
    return jnp.where(turned, by_high, by_low), jnp.where(turned, by_low, by_high)


def _half_difference(b: Values, a: Values) -> Values:
    """(a^2 - b^2) / 2, and -inf where b is infinite."""
    finite = jnp.abs(b) < jnp.inf
    b = jnp.where(finite, b, 0)
    return jnp.where(finite, (a - b) * (a + b) / 2, -jnp.inf)


def _half_mass(b: Values) -> Values:
    return jax.lax.erf(b * math.sqrt(0.5))


def _mills(a: Values) -> Values:
    """The probability above a over the density at a, for a >= 0."""
    return _HALF_ROOT_PI * jsp.erfcx(a * math.sqrt(0.5))


def _scaled_mass(a: Values, b: Values) -> Values:
    """∫ exp((a^2 - t^2) / 2) dt from a to b for 0 <= a <= b: of narrow intervals, where the difference of the tails
    would cancel, by Gauss-Legendre quadrature."""
    finite = b < jnp.inf
    width = jnp.where(finite, b, a) - a
    narrow = finite & (width * jnp.maximum(a, width) < 1)
    near, w = jnp.where(narrow, a, 0), jnp.where(narrow, width, 0)
    inside = integrate(lambda t: jnp.exp(-t * (near + t / 2)), 6 if jnp.finfo(a.dtype).bits <= 32 else 12, w)
    far = jnp.where(finite, b, 1)
    rest = jnp.where(finite, _mills(far) * jnp.exp(_half_difference(far, jnp.where(finite, a, 0))), 0)
    return jnp.where(narrow, inside, _mills(a) - rest)
