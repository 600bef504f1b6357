"""A logarithm that shares its series with t - 1 - log t, and exp(r) - 1 - r."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from distrax_like._misc import Numeric, Real, promote

from ._compensated import is_double, with_derivatives

# Polynomials, interpolated at 60 digits, in single and double precision: (s - log(1 + s)) / s^2 for 1 + s in
# [√(1/2), √2], and (exp(r) - 1 - r) / r^2 for |r| <= 1.
_LOG = (
    (
        0.4999999994349637, -0.333333227936071, 0.25000010940100675, -0.2000144672220023, 0.16667536772428632,
        -0.1423231785955222, 0.12420814467908906, -0.1181213614232965, 0.11557287882015821, -0.06769024113816001,
    ),
    (
        0.5, -0.3333333333333333, 0.25000000000000033, -0.2000000000000069, 0.16666666666656405, -0.142857142855555,
        0.1250000000127535, -0.11111111128188937, 0.09999999925676271, -0.09090908072780475, 0.08333335414238319,
        -0.07692344114682197, 0.07142840313174073, -0.066658625873359, 0.06249427488200316, -0.05893115831381278,
        0.0557386177273737, -0.05183796630011254, 0.04776306603284303, -0.04971904701913414, 0.05795808230769681,
        -0.05122094870706789, 0.021002100035321113,
    ),
)  # fmt: skip
_EXPM1MX = (
    (
        0.49999999781421683, 0.16666666646842135, 0.04166673659523746, 0.00833333967591706, 0.0013885396911807102,
        0.00019838101968683888, 2.535851224463976e-05, 2.8062802582276946e-06,
    ),
    (
        0.5, 0.16666666666666666, 0.041666666666666664, 0.008333333333333333, 0.001388888888888876,
        0.00019841269841269773, 2.4801587301690853e-05, 2.755731922404034e-06, 2.755731918331876e-07,
        2.505210836405804e-08, 2.0876765658642154e-09, 1.6059048396350562e-10, 1.1469721885352242e-11,
        7.646625361656657e-13, 4.842346201844238e-14, 2.8445264169895285e-15,
    ),
)  # fmt: skip


def horner(coefficients: tuple[float, ...], x: Real) -> Real:
    """The polynomial with these coefficients, the constant one first."""
    total = coefficients[-1] * x + coefficients[-2]
    for c in coefficients[-3::-1]:
        total = total * x + c
    return total


def log_and_deviance(u: Real, t: Real, exponent: int | Array = 0) -> tuple[Bool[Array, "..."], Real, Real]:
    """log t for t = 1 + u, t - 1 - log t for t near 1, and where it is near.

    Near means within a factor √2, where u counts; elsewhere t does, and the second result is to be had as u - log t.
    With t = 2^k (1 + s) and 1 + s in [√(1/2), √2] it is log t = k log 2 + s - s² p(s), and for k = 0 the deviance is
    s² p(s), with p a polynomial. No branch and no special cases: the logarithm of 0 is about that of the smallest
    number, infinity and NaN have finite ones. (No division either: XLA keeps quotients with several uses in memory.)

    **Arguments:** `u`, `t`: of one shape; `exponent`: t stands for t 2^exponent.
    """
    double = is_double(t)
    integer, bits = (np.int64, 52) if double else (np.int32, 23)
    pattern = jax.lax.bitcast_convert_type(t, integer)
    root_half = np.asarray(math.sqrt(0.5), np.float64 if double else np.float32).view(integer)
    k = jnp.right_shift(pattern - root_half, integer(bits))
    f = jax.lax.bitcast_convert_type(pattern - jnp.left_shift(k, integer(bits)), t.dtype)
    k = k + jnp.asarray(exponent, integer)
    near = k == 0
    s = jnp.where(near, u, f - 1)
    deviance = s * s * horner(_LOG[double], s)
    return near, k.astype(t.dtype) * math.log(2) + (s - deviance), deviance


def _log1pmx_formula(u: Real) -> Real:
    t = 1 + u
    near, log, deviance = log_and_deviance(u, t)
    inside = jnp.where(near, -deviance, log - u)
    edge = jnp.where((t == 0) | (t == jnp.inf), -jnp.inf, jnp.nan)
    return jnp.where((t > 0) & (t < jnp.inf), inside, edge)


_log1pmx = with_derivatives(_log1pmx_formula, lambda u: -u / (1 + u))


def log1pmx(x: Numeric) -> Real:
    """log(1 + x) - x, to full relative accuracy near its double zero at 0, for x >= -1.

    Error at most 8 ulp in both widths, of the derivative -x / (1 + x) 2. **Returns:** `-inf` at -1, NaN below.
    """
    return _log1pmx(promote(x))


def _expm1mx_formula(r: Real) -> Real:
    small = jnp.abs(r) < 1
    near = jnp.where(small, r, 0)
    # Infinity less itself is NaN.
    far = jnp.expm1(r) - jnp.where(r == jnp.inf, 0, r)
    return jnp.where(small, near * near * horner(_EXPM1MX[is_double(r)], near), far)


_expm1mx = with_derivatives(_expm1mx_formula, jnp.expm1)


def expm1mx(x: Numeric) -> Real:
    """exp(x) - 1 - x, to full relative accuracy near its double zero at 0.

    A polynomial for |x| < 1, else the difference. Error at most 4 ulp in both widths, of the derivative expm1(x) 2.

    It is t - 1 - log t with t = exp(x), the divergence between exponential variables whose means have the ratio t.
    """
    return _expm1mx(promote(x))
