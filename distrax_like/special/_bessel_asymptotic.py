"""Bessel functions of large arguments or orders: the uniform expansions and their exponent."""

import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from distrax_like._misc import Real

from ._compensated import (
    Pair,
    is_double,
    log1p,
    log_ratio_pair,
    log_ratio_parts,
    product,
    set_derivatives,
    two_product,
    two_sum,
)

_Polynomials = tuple[tuple[float, ...], ...]
MORE = 10


def is_large(v: Real, x: Real) -> Bool[Array, "..."]:
    """Where the expansions below are used: 12 terms (in single precision 7) in 1 / √(v² + x²) are enough there."""
    return modulus(v, x) >= (40 if is_double(x) else 12)


def is_rather_large(v: Real, x: Real) -> Bool[Array, "..."]:
    """Where the expansions with `MORE` terms are used: for derivatives, of which the other formulas are less accurate
    as x grows."""
    return modulus(v, x) >= (24 if is_double(x) else 9)


@jax.custom_jvp
def modulus(v: Real, x: Real) -> Real:
    """p = √(v² + x²) without overflow."""
    big, small = jnp.maximum(v, x), jnp.minimum(v, x)
    return big * jnp.sqrt(1 + (small / jnp.where(big > 0, big, 1)) ** 2)


set_derivatives(modulus, lambda v, x: v / modulus(v, x), lambda v, x: x / modulus(v, x))


@functools.cache
def coefficients(terms: int) -> tuple[_Polynomials, _Polynomials]:
    """Coefficients d_kj of log I = p - v asinh(v / x) - log(2 π p) / 2 + Σ d_k(τ) / p^k, and g_kj of
    its derivative in x.

    They are polynomials in τ = (v / p)²: with θ = x d/dx the function y = θ log I solves θ y + y² = p², so that
    y = p + Σ h_k(τ) / p^k has 2 h_k+1 = (1 - τ) (2 τ h_k' + k h_k) - Σ h_i h_k-i. Then h_k = (1 - τ) g_k, and
    g_kj = -(2 j + k) d_kj. With -p for p it is all true of log K.
    """
    h = [[Fraction(-1, 2), Fraction(1, 2)]]
    for k in range(terms):
        step = [(2 * j + k) * c for j, c in enumerate(h[k])] + [Fraction(0)]
        new = [a - b for a, b in zip(step, [Fraction(0), *step])]
        for i in range(k + 1):
            for a, first in enumerate(h[i]):
                for b, second in enumerate(h[k - i]):
                    new[a + b] -= first * second
        h.append([c / 2 for c in new])
    d, g = [], []
    for k in range(1, terms + 1):
        quotient = [sum(h[k][: j + 1], Fraction(0)) for j in range(k + 1)]
        g.append(tuple(float(c) for c in quotient))
        d.append(tuple(float(-c / (2 * j + k)) for j, c in enumerate(quotient)))
    return tuple(d), tuple(g)


def _sums(polynomials: _Polynomials, p: Real, tau: Real) -> tuple[Real, Real]:
    """The sums of the polynomials in tau over powers of p, and over those of -p."""
    # A loop over the rows, of which all but the last end in zeros: unrolled it takes much longer to compile.
    n = len(polynomials)
    table = jnp.asarray([(*row, *(0.0,) * (n + 1 - len(row))) for row in reversed(polynomials)], p.dtype)
    q = 1 / p

    def add(k: Any, total: tuple[Real, Real]) -> tuple[Real, Real]:
        row = table[k]
        inner = row[n] * tau
        for j in reversed(range(1, n)):
            inner = (inner + row[j]) * tau
        inner = inner + row[0]
        return (total[0] + inner) * q, (total[1] + inner) * -q

    return jax.lax.fori_loop(0, n, add, (jnp.zeros_like(q), jnp.zeros_like(q)))


def expansions(v: Real, x: Real, more: int = 0) -> tuple[Real, Real]:
    """S and T, with ive = exp(S - exponent) / √(2 π p) and kve = exp(T + exponent) √(π / 2 p)."""
    p = modulus(v, x)
    d, _ = coefficients((12 if is_double(x) else 7) + more)
    return _sums(d, p, (v / p) ** 2)


def derivative_sum(v: Real, x: Real, sign: int, more: int = 0) -> Real:
    """H with x d/dx (S - log(p) / 2) = (x / p)² H for `sign` 1, and the same of T for -1."""
    p = modulus(v, x)
    _, g = coefficients((12 if is_double(x) else 7) + more)
    return _sums(g, p, (v / p) ** 2)[0 if sign > 0 else 1] - 0.5


def saddle(v: Real, x: Real) -> Real:
    """asinh(v / x), to full relative accuracy for small v."""
    p, near, far = modulus(v, x), v < x, x * 1e30 < v
    u = jnp.where(near, v, 0) / jnp.where(near, x, 1)
    ratio = (p + v) / jnp.where(far, 1, x)
    return jnp.where(near, log1p(u * (1 + v / (p + x))), jnp.log(ratio) - jnp.where(far, jnp.log(x), 0))


def multiple(v: Real, pair: Pair) -> Pair:
    """v times a pair, as a pair whose second number is below the first one's last place."""
    return two_sum(*product((v, jnp.zeros_like(v)), two_sum(*pair)))


def exponent(v: Real, x: Real, small: Bool[Array, "..."]) -> Pair:
    """v asinh(v / x) - v² / (p + x), the log of the leading factor of kve, for positive x, as a pair.

    Where `small`, it is v log(2 / x).
    """
    # Everything but the logarithm's denominator is scaled by a power of two, so that squares do not overflow.
    limit = jnp.finfo(x.dtype).maxexp
    down = limit * 9 // 16
    far = jnp.maximum(v, x) > 2.0 ** (limit * 5 // 16)
    scale = jnp.where(far, 2.0**-down, 1).astype(x.dtype)
    x_s, v_s = x * scale, v * scale
    p = modulus(v_s, x_s)
    (a, a_lo), (b, b_lo), (c, c_lo) = (two_product(z, z) for z in (x_s, v_s, p))
    total, total_lo = two_sum(a, b)
    p_lo = ((total - c) + (total_lo + (a_lo + b_lo - c_lo))) / (2 * p)

    top, top_lo = two_sum(p, v_s)
    k, near, rest = log_ratio_parts(jnp.where(small, 2, top), x)
    log, log_lo = log_ratio_pair((jnp.where(far, k + down, k), near, rest))

    bottom, bottom_lo = two_sum(p, x_s)
    w = v_s / bottom
    back, back_lo = two_product(w, bottom)
    w_lo = ((v_s - back) - back_lo - w * (bottom_lo + p_lo)) / bottom
    hi, lo = two_sum(log, jnp.where(small, 0, -w))
    lo = lo + (log_lo + jnp.where(small, 0, (top_lo + p_lo) / top - w_lo))
    return multiple(v, (hi, lo))
