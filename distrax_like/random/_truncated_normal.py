"""Truncated standard normal variables."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Real, Shape
from distrax_like.math import gauss_legendre
from distrax_like.special._normal import upper_mills_remainder

from ._rejection import ShapeLike, prepare, unit, word

_ROOT_HALF_PI = math.sqrt(math.pi / 2)


def truncated_normal(
    key: PRNGKeyArray,
    lower: Numeric,
    upper: Numeric,
    shape: ShapeLike | None = None,
    dtype: Any = None,
) -> Float[Array, "..."]:
    """Standard normal variables given that they lie in [lower, upper], however far in the tail.

    The distribution function is inverted. In an interval that contains zero, first the side of zero is drawn; a
    negative side is mirrored. For an interval [l, h] with l >= 0 the draw is l + s, where s solves log(Q(l + s) / Q(l))
    = log u by Newton's method. Here Q is the upper tail, u is uniform between Q(h) / Q(l) and 1, and the log ratio is
    computed from the hazard function φ / Q without cancellation. It is concave in s and the start is beyond the
    solution, so that the iteration is monotone, and three steps are enough in single precision, four in double.

    **Arguments:** `key`: a random key; `lower`, `upper`: the ends, possibly infinite; `shape`: of the result, to which
    they broadcast; `dtype`: by default theirs.

    **Returns:** draws of shape `shape`, within the ends; NaN where lower >= upper or an end is NaN, or the interval
    contains no finite number; differentiable in the ends at a fixed value of the distribution function.
    """
    key, shape, dtype, (lower, upper) = prepare("truncated_normal", key, shape, dtype, lower, upper)
    x = _invert(key, lower, upper, shape)
    return _implicit(jnp.broadcast_to(lower, shape), jnp.broadcast_to(upper, shape), x).astype(dtype)


@functools.partial(jax.jit, static_argnames="shape")
def _invert(key: PRNGKeyArray, lower: Real, upper: Real, shape: Shape) -> Real:
    low, high = (jnp.broadcast_to(x, shape) for x in (lower, upper))
    valid = (low < high) & (low < jnp.inf) & (high > -jnp.inf)
    low, high = jnp.where(valid, low, 0), jnp.where(valid, high, 1)
    bits = jax.random.bits(key, (2, *shape), word(low.dtype))
    u, v = unit(bits[0], low.dtype), unit(bits[1], low.dtype)

    # The side of zero, drawn with the masses of both. Neither cancels for narrow intervals.
    left, right = _half_mass(jnp.maximum(-low, 0)), _half_mass(jnp.maximum(high, 0))
    negative = (high <= 0) | ((low < 0) & (u * (left + right) < left))
    start = jnp.where(negative, jnp.maximum(-high, 0), jnp.maximum(low, 0))
    width = jnp.where(negative, -low, high) - start

    # Q(draw) / Q(start) = 1 - mass (1 - v), where mass = 1 - Q(start + width) / Q(start).
    hazard = _hazard(start)
    bounded = width < jnp.inf
    mass = -jnp.expm1(_log_decay(start, hazard, jnp.where(bounded, width, 0), _hazard(start + width)))
    mass = jnp.where(bounded, mass, 1)
    above_start = mass * (1 - v)
    goal = jnp.where(above_start < 0.5, jnp.log1p(-above_start), jnp.log((1 - mass) + mass * v))

    # Two upper bounds of s: from the tangent at the start, and from a tail that decays like the density.
    step = jnp.minimum(-goal / hazard, -2 * goal / (start + jnp.sqrt(start * start - 2 * goal)))
    for _ in range(3 if jnp.finfo(low.dtype).bits <= 32 else 4):
        here = _hazard(start + step)
        step = jnp.maximum(step + (_log_decay(start, hazard, step, here) - goal) / here, 0)
    x = jnp.where(negative, -(start + step), start + step)
    return jnp.where(valid, jnp.clip(x, low, high), jnp.nan)


def _hazard(x: Real) -> Real:
    """The density over the probability above x, for x >= 0."""
    return jnp.where(x < jnp.inf, x + upper_mills_remainder(jnp.where(x < jnp.inf, x, 0), 0.5), 1)


def _log_decay(start: Real, hazard: Real, step: Real, hazard_there: Real) -> Real:
    """The log of the probability above start + step over that above start."""
    return -step * (start + step / 2) - jnp.log(hazard_there / hazard)


@jax.custom_jvp
def _implicit(lower: Real, upper: Real, x: Real) -> Real:
    """x, with the derivatives in the ends that keep the distribution function of the truncated normal fixed."""
    return x


@_implicit.defjvp
def _(primals, tangents):
    lower, upper, x = primals
    out = _implicit(lower, upper, x)
    by_lower, by_upper = truncated_normal_derivatives(lower, upper, out)
    return out, by_lower * tangents[0] + by_upper * tangents[1]


@jax.jit
def truncated_normal_derivatives(lower: Real, upper: Real, x: Real) -> tuple[Real, Real]:
    """d x / d lower and d x / d upper at a fixed value of the distribution function.

    These are φ(l) / φ(x) times the probability above x and φ(u) / φ(x) times that below it. The interval is mirrored so
    that l is the end closer to zero. Where l >= 0 the ratios of densities are part of `_scaled_mass`; else only
    those for masses on one side of zero are. So no exponential overflows and no masses are subtracted.
    """
    mirrored = jnp.abs(lower) > jnp.abs(upper)
    low, high = jnp.where(mirrored, -upper, lower), jnp.where(mirrored, -lower, upper)
    y = jnp.clip(jnp.where(mirrored, -x, x), low, high)
    tail, left = low >= 0, y < 0
    above = _scaled_mass(jnp.maximum(y, 0), high)
    below = _scaled_mass(jnp.where(tail, low, jnp.where(left, -y, 0)), jnp.where(tail, y, jnp.where(left, -low, 1)))
    # The masses between zero and either end or y, in units of the density at zero.
    to_low, to_high, to_y = (_ROOT_HALF_PI * _half_mass(jnp.abs(z)) for z in (low, high, y))
    total = jnp.where(tail, _scaled_mass(jnp.where(tail, low, 0), high), to_low + to_high)
    from_zero = jnp.exp(_half_difference(low, jnp.zeros_like(y)))
    z = jnp.where(left, y, 0)
    around_low = jnp.where(left, (to_y + to_high) * jnp.exp(_half_difference(low, z)), above * from_zero)
    around_high = jnp.where(left, below * jnp.exp(-(z**2) / 2), to_low + to_y)
    by_low = jnp.where(tail, above, around_low) / total
    by_high = jnp.where(tail, below, around_high) / total * jnp.exp(_half_difference(high, y))
    return jnp.where(mirrored, by_high, by_low), jnp.where(mirrored, by_low, by_high)


def _half_difference(b: Real, a: Real) -> Real:
    """(a^2 - b^2) / 2, and -inf where b is infinite."""
    finite = jnp.abs(b) < jnp.inf
    b = jnp.where(finite, b, 0)
    return jnp.where(finite, (a - b) * (a + b) / 2, -jnp.inf)


def _half_mass(b: Real) -> Real:
    return jax.lax.erf(b * math.sqrt(0.5))


def _scaled_mass(a: Real, b: Real) -> Real:
    """∫ exp((a^2 - t^2) / 2) dt from a to b for 0 <= a <= b, by Gauss-Legendre quadrature for narrow intervals, where
    the difference of the tails would cancel."""
    finite = b < jnp.inf
    width = jnp.where(finite, b, a) - a
    narrow = finite & (width * jnp.maximum(a, width) < 1)
    start, w = jnp.where(narrow, a, 0), jnp.where(narrow, width, 0)
    inside = gauss_legendre(lambda t: jnp.exp(-t * (start + t / 2)), 0, w, 6 if jnp.finfo(a.dtype).bits <= 32 else 12)
    end = jnp.where(finite, b, 1)
    rest = jnp.where(finite, jnp.exp(_half_difference(end, jnp.where(finite, a, 0))) / _hazard(end), 0)
    return jnp.where(narrow, inside, 1 / _hazard(a) - rest)
