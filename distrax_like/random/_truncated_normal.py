"""Truncated standard normal variables."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Real, Shape
from distrax_like.math import gauss_legendre
from distrax_like.special._normal import upper_excess

from ._rejection import ShapeLike, prepare, unit, word

_HALF_ROOT_PI = math.sqrt(math.pi / 2)


def truncated_normal(
    key: PRNGKeyArray,
    lower: Numeric,
    upper: Numeric,
    shape: ShapeLike | None = None,
    dtype: Any = None,
) -> Float[Array, "..."]:
    """Standard normal variables given that they lie in [lower, upper], however far in the tail.

    By inverting the distribution function. An interval around zero is one on either side with the right probability.
    On one that begins at l >= 0 the draw is l + s, where the log of the upper tail at l + s less that at l, known from
    the hazard x + excess(x) without cancellation, is found by Newton's method. The function is concave and the start is
    beyond the solution, so that it never oscillates, and three steps are enough in single precision, four in double.

    **Arguments:** `key`: a random key; `lower`, `upper`: the ends, possibly infinite; `shape`: of the result, to which
    they broadcast; `dtype`: by default theirs.

    **Returns:** draws of shape `shape`, within the ends; NaN where lower >= upper or an end is NaN, or the interval
    holds no finite number; differentiable in the ends at a fixed value of the distribution function.
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

    # Which side of zero: the masses of both, without cancellation for narrow intervals.
    left, right = _half_mass(jnp.maximum(-low, 0)), _half_mass(jnp.maximum(high, 0))
    negative = (high <= 0) | ((low < 0) & (u * (left + right) < left))
    start = jnp.where(negative, jnp.maximum(-high, 0), jnp.maximum(low, 0))
    width = jnp.where(negative, -low, high) - start

    # The log of the tail at the draw over that at the start, 1 - missing (1 - v).
    hazard = _hazard(start)
    bounded = width < jnp.inf
    missing = -jnp.expm1(_log_decay(start, hazard, jnp.where(bounded, width, 0), _hazard(start + width)))
    missing = jnp.where(bounded, missing, 1)
    gone = missing * (1 - v)
    goal = jnp.where(gone < 0.5, jnp.log1p(-gone), jnp.log((1 - missing) + missing * v))

    # Two bounds from above: of the tangent at the start, and of a tail that decays like the density.
    step = jnp.minimum(-goal / hazard, -2 * goal / (start + jnp.sqrt(start * start - 2 * goal)))
    for _ in range(3 if jnp.finfo(low.dtype).bits <= 32 else 4):
        here = _hazard(start + step)
        step = jnp.maximum(step + (_log_decay(start, hazard, step, here) - goal) / here, 0)
    x = jnp.where(negative, -(start + step), start + step)
    return jnp.where(valid, jnp.clip(x, low, high), jnp.nan)


def _hazard(x: Real) -> Real:
    """The density over the probability above x, for x >= 0."""
    return jnp.where(x < jnp.inf, x + upper_excess(jnp.where(x < jnp.inf, x, 0), 0.5), 1)


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
    by_lower, by_upper = truncated_normal_slopes(lower, upper, out)
    return out, by_lower * tangents[0] + by_upper * tangents[1]


@jax.jit
def truncated_normal_slopes(lower: Real, upper: Real, x: Real) -> tuple[Real, Real]:
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


def _half_difference(b: Real, a: Real) -> Real:
    """(a^2 - b^2) / 2, and -inf where b is infinite."""
    finite = jnp.abs(b) < jnp.inf
    b = jnp.where(finite, b, 0)
    return jnp.where(finite, (a - b) * (a + b) / 2, -jnp.inf)


def _half_mass(b: Real) -> Real:
    return jax.lax.erf(b * math.sqrt(0.5))


def _scaled_mass(a: Real, b: Real) -> Real:
    """∫ exp((a^2 - t^2) / 2) dt from a to b for 0 <= a <= b: of narrow intervals, where the difference of the tails
    would cancel, by Gauss-Legendre quadrature."""
    finite = b < jnp.inf
    width = jnp.where(finite, b, a) - a
    narrow = finite & (width * jnp.maximum(a, width) < 1)
    near, w = jnp.where(narrow, a, 0), jnp.where(narrow, width, 0)
    inside = gauss_legendre(lambda t: jnp.exp(-t * (near + t / 2)), 0, w, 6 if jnp.finfo(a.dtype).bits <= 32 else 12)
    far = jnp.where(finite, b, 1)
    rest = jnp.where(finite, jnp.exp(_half_difference(far, jnp.where(finite, a, 0))) / _hazard(far), 0)
    return jnp.where(narrow, inside, 1 / _hazard(a) - rest)
