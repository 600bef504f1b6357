"""Owen's T function, the bivariate normal mass of a wedge."""

import math

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp

from distrax_like._misc import Numeric, Real, promote

from ._compensated import Pair, is_double, set_derivatives, two_product, two_sum
from ._nodes import legendre
from ._normal import density, upper_mills_remainder

_FAR = 60.0  # beyond, exp(-x² / 2) is 0 in every width


def _square(x: Real) -> Pair:
    return two_product(x, x)


def _exponential(square: Pair) -> Real:
    """exp(-square / 2)."""
    return jnp.exp(-square[0] / 2) * (1 - square[1] / 2)


def _mills(x: Real) -> Real:
    """The upper tail of the normal distribution over exp(-x² / 2), for x >= 0."""
    return 1 / (math.sqrt(2 * math.pi) * (x + upper_mills_remainder(x, 0.5)))


def _squares(h: Real, a: Real) -> tuple[Real, Real, Pair, Pair]:
    """h and a h, which are nonnegative and clipped, and their squares."""
    h = jnp.minimum(h, _FAR)
    inside = jnp.isfinite(a) & (h * jnp.where(jnp.isfinite(a), a, 0) < _FAR)
    p, p_lo = two_product(h, jnp.where(inside, a, 0))
    hi, lo = _square(p)
    p = jnp.where(inside, p, jnp.where(h > 0, _FAR, 0))
    square = jnp.where(inside, hi, p * p), jnp.where(inside, lo + 2 * p * p_lo, 0)
    return h, p, _square(h), square


@jax.custom_jvp
@jax.jit
def _owens_t(h: Real, a: Real) -> Real:
    sign, h, a = jnp.sign(a), jnp.abs(h), jnp.abs(a)
    h, ah, square, ah_square = _squares(h, a)
    at_h, at_ah = _exponential(square), _exponential(ah_square)
    steep = a > 1

    # T(h, a) for a <= 1, or T(a h, 1 / a).
    ratio = jnp.where(steep, 1 / jnp.where(steep, a, 1), a)
    k = jnp.where(steep, h, ah)
    double = is_double(a)
    nodes = legendre(40 if double else 20)
    square_k, square_ratio = k * k / 2, ratio * ratio
    total = sum(
        weight * jnp.exp(-(node * node) * square_k) / (1 + (node * node) * square_ratio)
        for node, weight in nodes
        if node > 0
    )
    outer = jnp.where(steep, ah, h)
    exponential = jnp.where(steep, at_ah, at_h)
    inner = exponential * (total * ratio / (2 * math.pi))
    # From here on the rest of the integral is nothing beside it.
    inner = jnp.where(k < (8.3 if double else 5.5), inner, exponential * (_mills(outer) / 2))

    half = at_h * (_mills(h) / 2)
    other = at_ah * (_mills(ah) / 2)
    return sign * jnp.where(steep, half + (other * (1 - 4 * half) - inner), inner)


@jax.custom_jvp
@jax.jit
def _in_h(h: Real, a: Real) -> Real:
    bounded = jnp.clip(a, -jnp.finfo(a.dtype).max, jnp.finfo(a.dtype).max)
    return -density(h) * jsp.erf(jnp.clip(h, -_FAR, _FAR) * bounded * math.sqrt(0.5)) / 2


@jax.custom_jvp
@jax.jit
def _ends(h: Real, a: Real) -> Real:
    """exp(-h² (1 + a²) / 2) / (2 π)."""
    _, _, square, ah_square = _squares(jnp.abs(h), jnp.abs(a))
    hi, lo = two_sum(square[0], ah_square[0])
    return _exponential((hi, lo + (square[1] + ah_square[1]))) / (2 * math.pi)


def _clipped(h: Real) -> Real:
    return jnp.clip(h, -_FAR, _FAR)


def _in_a(h: Real, a: Real) -> Real:
    return _ends(h, a) / (1 + a * a)


set_derivatives(_owens_t, _in_h, _in_a)
set_derivatives(
    _in_h, lambda h, a: -_clipped(h) * _in_h(h, a) - a * _ends(h, a), lambda h, a: -_clipped(h) * _ends(h, a)
)
set_derivatives(
    _ends,
    lambda h, a: -_clipped(h) * (1 + a * a) * _ends(h, a),
    lambda h, a: -_clipped(h) ** 2 * a * _ends(h, a),
)


def owens_t(h: Numeric, a: Numeric) -> Real:
    """Owen's T(h, a) = ∫_0^a exp(-h² (1 + t²) / 2) / (1 + t²) dt / (2 π), to full relative accuracy for large h.

    For |a| <= 1 it is exp(-h² / 2), with h² in doubled precision, times a Gauss and Legendre sum of 40 points, of which
    20 are different (20 and 10 in single precision), or half the normal tail at h where a h is large. For |a| > 1
    T(h, a) = (tail(h) + tail(a h)) / 2 - tail(h) tail(a h) - T(a h, 1 / a), in which at most two bits cancel.

    Error at most 4 ulp (float32) and 5 ulp (float64), of the first derivatives 3.

    **Arguments:** `h`, `a`: any real numbers, shapes that broadcast. **Returns:** the broadcast shape; even in h, odd
    in a; 0 at h = ±inf, half the normal tail at a = `inf`.

    D. B. Owen, Annals of Mathematical Statistics 27 (1956), for the reflection.
    """
    h, a = jnp.broadcast_arrays(*promote(h, a))
    return _owens_t(h, a)
