"""The modified Bessel function of the first kind, its ratio, logarithm and derivatives, for v >= 0 and x > 0."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Bool

from distrax_like.special._bessel_asymptotic import (
    expansion,
    exponent,
    is_large,
    modulus,
    multiple,
    saddle,
    slope_sum,
)
from distrax_like.special._bessel_k import by_logarithm, gamma_halves, integral
from distrax_like.special._compensated import (
    Pair,
    Values,
    differentiable,
    is_double,
    log1p,
    log_ratio_pair,
    log_ratio_parts,
    set_slopes,
    two_sum,
)
from distrax_like.special._stirling import _stirlerr, reciprocal_gamma1p


def _only(
    where: Bool[Array, "..."], v: Values, x: Values, v_else: int | float, x_else: int | float
) -> tuple[Values, Values]:
    return jnp.where(where, v, v_else), jnp.where(where, x, x_else)


def _until_small(step: Any, *begin: Values) -> tuple[Values, ...]:
    """Runs (term, total, …) = step(k, term, total, …) for k = 1, 2, … until the terms are small beside the totals."""
    small = jnp.finfo(begin[0].dtype).eps / 16

    def more(carry: Any) -> Any:
        k, (term, total, *_) = carry
        return jnp.any(jnp.abs(term) > small * total) & (k < 120)

    one = jnp.ones((), begin[0].dtype)
    return jax.lax.while_loop(more, lambda carry: (carry[0] + 1, step(carry[0], *carry[1])), (one, begin))[1]


def _series(v: Values, x: Values) -> Values:
    """Σ (x² / 4)^n Γ(v + 1) / (n! Γ(v + n + 1)) over n >= 1."""
    y = x * x / 4

    def step(n: Values, bound: Values, total: Values, term: Values) -> tuple[Values, ...]:
        term = term * (y / (n * (n + v)))
        return jax.lax.stop_gradient(term * n), total + term, term

    # Terms grow at first where x is large: the bound falls only when they do. It never begins with 0 for the total.
    one = jnp.ones_like(x)
    return _until_small(step, jnp.where(y > 0, one, 0), 0 * one, one)[1]


def i_parts(v: Values, x: Values) -> tuple[Pair, Values, Values]:
    """ive as the exponential of a pair times a factor times one plus a third number."""
    large = is_large(v, x)
    w, z = _only(large, v, x, 2, 50)
    hi, lo = exponent(w, z)
    factor = jnp.exp(expansion(w, z, 1)) / jnp.sqrt(2 * math.pi * modulus(w, z))

    w, z = jnp.where(large, 1, v), jnp.where(large, 1, x)
    tiny = w < 1
    big = jnp.where(tiny, 1, w)
    near, near_lo = multiple(w, log_ratio_pair(log_ratio_parts(z, 2 * big)))
    shift, shift_lo = two_sum(jnp.where(tiny, 0, w), -z)
    near, more_lo = two_sum(near, shift)
    scale = jnp.where(
        tiny,
        1,
        jnp.exp(-_stirlerr(big)) / jnp.sqrt(2 * math.pi * big),
    )
    series = _series(w, z)
    series = series + jnp.where(tiny, reciprocal_gamma1p(jnp.where(tiny, w, 0.5)) * (1 + series), 0)
    pair = two_sum(jnp.where(large, -hi, near), jnp.where(large, -lo, near_lo + shift_lo + more_lo))
    return pair, jnp.where(large, factor, scale), jnp.where(large, 0, series)


def _ratio_by_fraction(v: Values, x: Values) -> Values:
    """I_v / I_v-1 by its continued fraction, from a bound of D. Amos's type on."""
    steps = 36 if is_double(x) else 14
    first = x / (v + (steps - 0.5) + modulus(v + (steps + 0.5), x))
    return jax.lax.fori_loop(0, steps, lambda j, r: x / (2 * (v + (steps - 1 - j)) + x * r), first)


def _ratio_correction(v: Values, x: Values) -> Values:
    """x d/dx log I - p for large arguments."""
    return (x / modulus(v, x)) ** 2 * slope_sum(v, x, 1)


def _ratio_parts(v: Values, x: Values) -> tuple[Bool[Array, "..."], tuple[Values, Values], tuple[Values, Values]]:
    large = is_large(v, x)
    return large, _only(large, v, x, 2, 50), (jnp.where(large, 2, v), jnp.where(large, 4, x))


@differentiable
def ratio_in_x(v: Values, x: Values) -> Values:
    """The derivative of `ratio` in x."""
    large, (w, z), near = _ratio_parts(v, x)
    p = modulus(w, z)
    # r = x / D with D = v + p + correction, and the derivative is (D - x D') / D².
    correction, slope = jax.jvp(lambda z: _ratio_correction(w, z), (z,), (jnp.ones_like(z),))
    bottom = w + p + correction
    far = (w + w * (w / p) + (correction - z * slope)) / bottom / bottom
    fraction = jax.jvp(lambda x: _ratio_by_fraction(near[0], x), (near[1],), (jnp.ones_like(x),))[1]
    return jnp.where(large, far, fraction)


@differentiable
def ratio_in_v(v: Values, x: Values) -> Values:
    """The derivative of `ratio` in v."""
    large, (w, z), near = _ratio_parts(v, x)
    p = modulus(w, z)
    correction, slope = jax.jvp(lambda w: _ratio_correction(w, z), (w,), (jnp.ones_like(w),))
    bottom = w + p + correction
    far = -z / bottom * ((1 + w / p + slope) / bottom)
    fraction = jax.jvp(lambda v: _ratio_by_fraction(v, near[1]), (near[0],), (jnp.ones_like(v),))[1]
    return jnp.where(large, far, fraction)


@jax.custom_jvp
@jax.jit
def ratio(v: Values, x: Values) -> Values:
    """I_v / I_v-1."""
    large, (w, z), near = _ratio_parts(v, x)
    far = z / (w + modulus(w, z) + _ratio_correction(w, z))
    return jnp.where(large, far, _ratio_by_fraction(*near))


set_slopes(ratio, ratio_in_v, ratio_in_x)


@differentiable
def log_i_in_x(v: Values, x: Values) -> Values:
    """The derivative of `log_i` in x."""
    large, (w, z), near = _ratio_parts(v, x)
    p = modulus(w, z)
    far = w / z * (w / (p + z)) + (z / p) * slope_sum(w, z, 1) / p
    return jnp.where(large, far, _ratio_by_fraction(near[0] + 1, near[1]) + near[0] / near[1] - 1)


def _in_v_by_series(v: Values, x: Values) -> Values:
    """The derivative in v of log I, for x < 1."""
    total, slope = jax.jvp(lambda v: _series(v, x), (v,), (jnp.ones_like(v),))
    return jnp.log(x / 2) - jsp.digamma(v + 1) + slope / (1 + total)


def _in_v_by_product(v: Values, x: Values, here: Bool[Array, "..."]) -> tuple[Values, ...]:
    """The same for x >= 1, from I K (x I' / I - x K' / K) = 1; it loses digits as v falls to 0. K, and log K's."""

    def parts(v: Values) -> tuple[Values, ...]:
        p, j = modulus(v, x), integral(v, x, here)
        return p * (1 + (x / p) ** 2 * j.bend), x * _ratio_by_fraction(v + 1, x), j.lag, j.total

    (kappa, rest, lag, total), (kappa_slope, rest_slope, _, _) = jax.jvp(parts, (v,), (jnp.ones_like(v),))
    log_k_slope = saddle(v, x) - lag
    product = -log_k_slope - (kappa_slope + (1 + rest_slope)) / (kappa + (v + rest))
    return product, total * jnp.exp(v * saddle(v, x) - v * (v / (modulus(v, x) + x)) - x), log_k_slope


def _in_v_by_parity(v: Values, x: Values, k: Values, log_k_slope: Values) -> Values:
    """The same for v < 1 / 4, from I = E - sin(π v) / π K, in which E is even in v."""
    y = x * x / 4

    # E = Σ t cosh δ with I_±v = Σ t e^±δ, where t is even in v and δ is odd.
    def even(v: Values) -> Values:
        m = v * v
        a, b = gamma_halves(m)
        first = jnp.sqrt(a * a - m * b * b)
        shift = v * jnp.log(x / 2) - jnp.arctanh(v * b / a)

        def step(n: Values, bound: Values, total: Values, t: Values, shift: Values) -> tuple[Values, ...]:
            t, shift = t * (y / (n * jnp.sqrt(n * n - m))), shift - jnp.arctanh(v / n)
            return jax.lax.stop_gradient(t * n), total + t * jnp.cosh(shift), t, shift

        return _until_small(step, jnp.ones_like(v), first * jnp.cosh(shift), first, shift)[1]

    value, slope = jax.jvp(even, (v,), (jnp.ones_like(v),))
    sine = v * jnp.sinc(v)
    return (slope - k * (jnp.cos(math.pi * v) + sine * log_k_slope)) / (value - sine * k)


@differentiable
def log_i_in_v(v: Values, x: Values) -> Values:
    """The derivative of `log_i` in v."""
    # The sum over powers loses digits as x grows, the expansion is good enough for a derivative earlier.
    large = is_large(v, x) | ((v < 0.25) & (x > (20 if is_double(x) else 10)))
    series = ~large & (x < 1)
    parity = ~large & ~series & (v < 0.25)
    middle = ~(large | series | parity)

    w, z = _only(large, v, x, 2, 50)
    p = modulus(w, z)
    slope = jax.jvp(lambda w: expansion(w, z, 1, 6), (w,), (jnp.ones_like(w),))[1]
    # The expansion is even in v, of the rest of I there is nothing left but the derivative for the smallest v.
    log_odd = expansion(w, z, -1) - expansion(w, z, 1) - 2 * (z - w * saddle(w, z))
    odd = jnp.where(w < 0.5, math.pi * jnp.exp(log_odd), 0)
    far = slope - saddle(w, z) - w / p / (2 * p) - odd

    w, z = _only(middle | parity, v, x, 2, 4)
    product, k, log_k_slope = _in_v_by_product(w, z, middle | parity)
    near = jnp.where(parity, _in_v_by_parity(*_only(parity, v, x, 0.1, 1), k, log_k_slope), product)
    near = jnp.where(series, _in_v_by_series(*_only(series, v, x, 1, 0.5)), near)
    return jnp.where(large, far, near)


@jax.custom_jvp
@jax.jit
def log_i(v: Values, x: Values) -> Values:
    """log of ive."""
    (hi, lo), factor, rest = i_parts(v, x)
    return hi + (lo + jnp.log(factor) + log1p(rest))


set_slopes(log_i, log_i_in_v, log_i_in_x)


def _weight_parts(v: Values, x: Values) -> tuple[Pair, Values]:
    pair, factor, rest = i_parts(v, x)
    return pair, factor * (1 + rest)


i = by_logarithm(_weight_parts, log_i_in_v, log_i_in_x)  # ive
