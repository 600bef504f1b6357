"""The modified Bessel function of the first kind, its ratio, logarithm and derivatives, for x > 0."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from distrax_like._misc import Real

from ._bessel_asymptotic import (
    MORE,
    derivative_sum,
    expansions,
    exponent,
    is_rather_large,
    modulus,
    saddle,
)
from ._bessel_k import exponentials, integral, log_k_in_x, regions, temme, weighted
from ._compensated import (
    Pair,
    differentiable,
    is_double,
    log1p,
    set_derivatives,
    two_sum,
)
from ._nodes import legendre
from ._stirling import reciprocal_gamma1p


def _only(
    where: Bool[Array, "..."], v: Real, x: Real, v_else: int | float, x_else: int | float
) -> tuple[Real, Real]:
    return jnp.where(where, v, v_else), jnp.where(where, x, x_else)


def _ratio_by_fraction(v: Real, x: Real) -> Real:
    """I_v / I_v-1 by its continued fraction, from a bound of D. Amos's type on."""
    steps = 36 if is_double(x) else 14
    first = x / (v + (steps - 0.5) + modulus(v + (steps + 0.5), x))
    return jax.lax.fori_loop(0, steps, lambda j, r: x / (2 * (v + (steps - 1 - j)) + x * r), first)


def _ratio_correction(v: Real, x: Real) -> Real:
    """x d/dx log I - p for large arguments."""
    return (x / modulus(v, x)) ** 2 * derivative_sum(v, x, 1, MORE)


def _ratio_parts(v: Real, x: Real) -> tuple[Bool[Array, "..."], tuple[Real, Real], tuple[Real, Real]]:
    large = is_rather_large(v, x)
    return large, _only(large, v, x, 2, 50), (jnp.where(large, 2, v), jnp.where(large, 4, x))


@differentiable
def ratio_in_x(v: Real, x: Real) -> Real:
    """The derivative of `ratio` in x."""
    large, (w, z), near = _ratio_parts(v, x)
    p = modulus(w, z)
    # r = x / D with D = v + p + correction, and the derivative is (D - x D') / D².
    correction, derivative = jax.jvp(lambda z: _ratio_correction(w, z), (z,), (jnp.ones_like(z),))
    bottom = w + p + correction
    far = (w + w * (w / p) + (correction - z * derivative)) / bottom / bottom
    fraction = jax.jvp(lambda x: _ratio_by_fraction(near[0], x), (near[1],), (jnp.ones_like(x),))[1]
    return jnp.where(large, far, fraction)


@differentiable
def ratio_in_v(v: Real, x: Real) -> Real:
    """The derivative of `ratio` in v."""
    large, (w, z), near = _ratio_parts(v, x)
    p = modulus(w, z)
    correction, derivative = jax.jvp(lambda w: _ratio_correction(w, z), (w,), (jnp.ones_like(w),))
    bottom = w + p + correction
    far = -z / bottom * ((1 + w / p + derivative) / bottom)
    fraction = jax.jvp(lambda v: _ratio_by_fraction(v, near[1]), (near[0],), (jnp.ones_like(v),))[1]
    return jnp.where(large, far, fraction)


@jax.custom_jvp
@jax.jit
def ratio(v: Real, x: Real) -> Real:
    """I_v / I_v-1."""
    large, (w, z), near = _ratio_parts(v, x)
    far = z / (w + modulus(w, z) + _ratio_correction(w, z))
    return jnp.where(large, far, _ratio_by_fraction(*near))


set_derivatives(ratio, ratio_in_v, ratio_in_x)


class _Both(NamedTuple):
    """ive = first exp(-e) and kve = second exp(e), for the pair e."""

    exponent: Pair
    first: Real
    second: Real


def _both(v: Real, x: Real) -> _Both:
    # By I (x K_v+1 + r x K) = 1, in which r is the ratio I_v+1 / I and no term is negative.
    at = regions(v, x)
    r = x * _ratio_by_fraction(*_only(at.is_temme | at.is_integral, v + 1, x, 3, 4))
    low, high, growth = temme(*at.temme)
    scale = jnp.exp(at.temme[1]) / growth
    w, z = at.integral
    p, j = modulus(w, z), integral(w, z, at.is_integral)
    product = j.total * ((p * (1 + (z / p) ** 2 * j.bend) + w) + r)
    up, down = expansions(*at.large)
    root = jnp.sqrt(math.pi / 2 / modulus(*at.large))
    first = at.choose(1 / (scale * (2 * high + r * low)), 1 / product, root * jnp.exp(up) / math.pi)
    second = at.choose(low * scale, j.total, root * jnp.exp(down))
    return _Both(exponent(v, x, at.is_temme), first, second)


@differentiable
def _in_x(v: Real, x: Real) -> Real:
    """The derivatives in x of log ive and log kve, one after the other."""
    large, (w, z), near = _ratio_parts(v, x)
    p = modulus(w, z)
    far = w / z * (w / (p + z)) + (z / p) * derivative_sum(w, z, 1, MORE) / p
    first = _ratio_by_fraction(near[0] + 1, near[1]) + near[0] / near[1] - 1
    # Finite where it is multiplied by 0, which for v >= 0 happens to it.
    second = jnp.maximum(log_k_in_x(v, x), float(jnp.finfo(x.dtype).min))
    return jnp.stack([jnp.where(large, far, first), second])


def _nodes(double: bool) -> np.ndarray:
    """Of the integrals of `_in_v_by_angles`: 1 - cos θ, θ and its weight, cosh t - 1, t and its weight."""
    n = 40 if double else 20
    u, weight = np.asarray(legendre(n)).T
    u, weight = (u + 1) / 2, weight / 2
    theta, t = math.pi * u, 4.8 * u
    return np.stack([2 * np.sin(theta / 2) ** 2, theta, theta * weight, 2 * np.sinh(t / 2) ** 2, t, 4.8 * weight], 1)


def _in_v_by_angles(v: Real, x: Real) -> Real:
    """The derivative of ive in v for v < 1 and 3 / 4 <= x <= 24, by quadrature.

    I_v = (∫ exp(x cos θ) cos v θ dθ - sin(π v) ∫ exp(-x cosh t - v t) dt) / π; its derivative has terms of one sign,
    so that it is right to the last bits as v and the first integral fall to 0.
    """
    table = jnp.asarray(_nodes(is_double(x)), x.dtype)
    sine, cosine = v * jnp.sinc(v), jnp.cos(math.pi * v)

    def add(k: Any, total: tuple[Real, Real]) -> tuple[Real, Real]:
        c, theta, weight, d, t, weight_t = table[k]
        first = weight * jnp.exp(-x * c) * jnp.sin(v * theta)
        return total[0] + first, total[1] + weight_t * jnp.exp(-x * d - v * t) * (cosine - sine * t)

    first, second = jax.lax.fori_loop(0, len(table), add, (jnp.zeros_like(x), jnp.zeros_like(x)))
    return -first - jnp.exp(-2 * x) * second


@differentiable
def _in_v(v: Real, x: Real) -> Real:
    """The derivatives in v of log ive and log kve, one after the other."""
    at = regions(v, x)
    large = is_rather_large(v, x)
    angles = ~large & (v < 1) & (x >= 0.75)
    near = at.is_temme | at.is_integral

    def parts(v: Real) -> tuple[Real, ...]:
        r = x_n * _ratio_by_fraction(v + 1, x_n)
        low, high, _ = temme(jnp.where(at.is_temme, v, 0), at.temme[1])
        w, z = jnp.where(at.is_integral, v, 2), at.integral[1]
        p, j = modulus(w, z), integral(w, z, at.is_integral)
        bottom = jnp.where(at.is_temme, 2 * high + r * low, p * (1 + (z / p) ** 2 * j.bend) + (w + r))
        return bottom, low, j.lag, j.total

    v_n, x_n = _only(near, v, x, 2, 4)
    (bottom, low, lag, total), (bottom_derivative, low_derivative, _, _) = jax.jvp(parts, (v_n,), (jnp.ones_like(v),))
    w, z = at.integral
    angle = saddle(w, z)
    second = jnp.where(at.is_temme, low_derivative / low, angle - lag)
    first = -bottom_derivative / bottom - jnp.where(at.is_temme, 0, second)
    by_angles = _in_v_by_angles(*_only(angles, v, x, 0.5, 1)) * (bottom * total)
    # Divided by ive, which is exp(-e) / (bottom * total).
    first = jnp.where(angles, by_angles * jnp.exp(w * (angle - w / (modulus(w, z) + z))), first)

    w, z = _only(large, v, x, 2, 50)
    p = modulus(w, z)
    (up, down), (up_derivative, down_derivative) = jax.jvp(lambda w: expansions(w, z, MORE), (w,), (jnp.ones_like(w),))
    angle, common = saddle(w, z), w / p / (2 * p)
    # The expansion is even in v, of the rest of I there is nothing left but the derivative for the smallest v.
    # Only exp(-2 x) is so small that its exponent has to be exact; the `where` keeps the two exponentials apart.
    odd = jnp.where(w < 0.5, math.pi * jnp.exp(down - up + 2 * w * angle), 0) * jnp.exp(-2 * z)
    first = jnp.where(large, up_derivative - angle - common - odd, first)
    return jnp.stack([first, jnp.where(near, second, angle + down_derivative - common)])


@jax.custom_jvp
@jax.jit
def logs(v: Real, x: Real) -> Real:
    """log ive and log kve for v >= 0, one after the other."""
    both = _both(v, x)
    (hi, lo), log_first, log_second = both.exponent, jnp.log(both.first), jnp.log(both.second)
    # Where it is near 0, it is a sum of small numbers.
    tiny = (v < 1) & (x < 0.75)
    w, z = _only(tiny, v, x, 0.5, 0.5)
    y, terms = z * z / 4, 9 if is_double(x) else 5

    def add(k: Any, total: Real) -> Real:
        n = (terms - k).astype(x.dtype)
        return (1 + total) * (y / (n * (n + w)))

    series = jax.lax.fori_loop(0, terms, add, jnp.zeros_like(x))
    # The exponent there is v log(2 / x).
    near, near_lo = two_sum(-jnp.where(tiny, hi, 0), -z)
    near = near + ((near_lo - jnp.where(tiny, lo, 0)) + log1p(reciprocal_gamma1p(w) * (1 + series) + series))
    return jnp.stack([jnp.where(tiny, near, (log_first - lo) - hi), hi + (lo + log_second)])


set_derivatives(logs, _in_v, _in_x)


def sine(v: Real) -> Real:
    """2 sin(π v) / π, to full relative accuracy near whole numbers."""
    n = jax.lax.stop_gradient(jnp.round(v))
    f = v - n
    return jnp.where(n % 2 == 0, 2, -2) * f * jnp.sinc(f)


def _signed_total(v: Real, x: Real, both: _Both, weights: tuple[Real, ...]) -> Real:
    """By I_-v = I_v + 2 / π sin(π v) K_v; the third weight is that of the cosine, for the derivatives in v."""

    def one(v: Real, x: Real, both: _Both, weights: tuple[Real, ...]) -> Real:
        return weighted((-both.exponent[0], -both.exponent[1]), both.first * weights[0])

    def two(v: Real, x: Real, both: _Both, weights: tuple[Real, ...]) -> Real:
        _, b, c = weights
        hi, lo = two_sum(both.exponent[0], -2 * x)
        factor = jnp.where(v < 0, -(sine(v) * b + sine(v + 0.5) * c), 0) * both.second
        return one(v, x, both, weights) + weighted((hi, lo + both.exponent[1]), factor)

    # It also keeps the compiler from merging all that comes before into one kernel, which takes it many times longer.
    return jax.lax.cond(jnp.any(v < 0), two, one, v, x, both, weights)


def _signed_in_v(v: Real, x: Real, *weights: Real) -> tuple[Real, ...]:
    a, b, c = weights
    minus = v < 0
    first, second = jnp.where(minus, -1, 1) * _in_v(jnp.where(minus, -v, v), x)
    return a * first, b * second - math.pi * c, c * second + math.pi * b


def _signed_in_x(v: Real, x: Real, *weights: Real) -> tuple[Real, ...]:
    a, b, c = weights
    first, second = _in_x(jnp.where(v < 0, -v, v), x)
    return a * first, b * (second - 2), c * (second - 2)


_signed_i = exponentials(lambda v, x: _both(jnp.where(v < 0, -v, v), x), _signed_total, (_signed_in_v, _signed_in_x))


def i(v: Real, x: Real) -> Real:
    """ive, for any order."""
    zero = jnp.zeros_like(v)
    return _signed_i(v, x, zero + 1, zero + 1, zero)


def log_i(v: Real, x: Real) -> Real:
    """log of ive, for any order."""
    minus = v < 0
    own, other = logs(jnp.where(minus, -v, v), x)
    factor, log = jnp.where(minus, -sine(v), 0), jnp.where(minus, other - 2 * x - own, 0)
    size = jnp.log(jnp.abs(jnp.where(factor == 0, 1, factor)))
    far = (factor != 0) & (log + size > 0)
    near = log1p(factor * jnp.exp(jnp.where(far, 0, log)))
    total = jnp.where(far, log + size, 0)
    return own + jnp.where(far, total + log1p(jnp.sign(factor) * jnp.exp(-total)), near)
