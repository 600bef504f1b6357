"""The distribution function of the von Mises distribution, its inverse, and their derivatives."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Bool

from distrax_like._misc import Numeric, Real, promote

from ._compensated import (
    Pair,
    _constant,
    add_tangents,
    chebyshev,
    is_double,
    product,
    set_derivatives,
    two_product,
    two_sum,
)
from ._nodes import legendre

# Chebyshev coefficients, at 60 digits, of (1 + κ)² exp(-κ) (I_0(κ) - I_1(κ)) in κ / 4 - 1 for κ <= 8, and of κ^(3/2)
# times the same difference in 16 / κ - 1 above.
_DIFFERENCE_SMALL = (
    0.8293772140958222, -0.16444889102381224, 0.10386712737115726, -0.0003765017469703159, -0.035847269221588776,
    0.03290973715886875, -0.019131919664760643, 0.00811076006368687, -0.0023929594627845716, 0.00027362257498727866,
    0.0002173427502008506, -0.00020044497900270882, 0.00010798554595905552, -4.609820567614283e-05,
    1.6907908254051046e-05, -5.5217864434386736e-06, 1.6380020585796565e-06, -4.4706516056233523e-07,
    1.1328942697008152e-07, -2.6837416911794728e-08, 5.975452934662311e-09, -1.256022332416684e-09,
    2.5016655003600134e-10, -4.736352055084109e-11, 8.547516652723166e-12, -1.473917682885264e-12,
    2.4337965796081193e-13, -3.855831247636016e-14, 5.871365978969027e-15, -8.606848167667598e-16,
    1.2163842025029635e-16, -1.6596093346558246e-17, 2.188727243266264e-18,
)
_DIFFERENCE_LARGE = (
    0.2046391449198604, 0.005348526093538557, 0.00019150500095126415, 1.2032615976256658e-05, 1.1956976470208373e-06,
    1.716841771873406e-07, 2.8338106568544693e-08, 3.051206849093951e-09, -7.434135453836242e-10,
    -5.767283909234434e-10, -1.5193610828268228e-10, 5.668790622840184e-12, 1.804470061607724e-11,
    4.253572073419977e-12, -1.1555903826473055e-12, -7.770703288312627e-13, 1.4368043830095462e-14,
    1.0913028331644427e-13, 1.1406069274284166e-14, -1.5049144790858717e-14, -2.855581070480806e-15,
    2.2314974017002202e-15, 5.27225879781459e-16, -3.6885258885159443e-16, -8.535599196679049e-17,
    6.754931522630683e-17, 1.1811455208497869e-17, -1.322521233011223e-17, -1.0505875289155333e-18,
    2.6372007052489706e-18,
)
_PI = (3.141592653589793, 1.2246467991473532e-16)

# With v(t) = 1 - cos t, the density at t is exp(-κ v(t)) / (2 π exp(-κ) I_0(κ)), and the tail at z, its integral from z
# to π, is the density at z times a Mills ratio. Substituting tan((t - z) / 2), of which cos t is a rational function,
# leaves an integrand without trigonometric functions.


def _versine(z: Real) -> Pair:
    """1 - cos z as a pair, for z in [0, π]: from the sine of z / 2, of π / 2 - z or of (π - z) / 2, all small."""
    low, high = z < 1, z > 2.2
    (pi, pi_lo), zero = _constant(_PI, z), jnp.zeros_like(z)
    angle = jnp.where(high, pi - z, jnp.where(low, z, pi / 2 - z))
    angle_lo = jnp.where(high, pi_lo, jnp.where(low, 0, pi_lo / 2))
    scale = jnp.where(low | high, 0.5, 1.0).astype(z.dtype)
    r = two_sum(angle * scale, angle_lo * scale)
    square = two_product(r[0], r[0])
    cube = product(product(square, r), _constant((-1 / 6, -9.25185853854297e-18), z))
    w = square[0]
    rest = zero
    for k in reversed(range(2, 9 if is_double(z) else 5)):
        rest = (rest * w + 1) * (-1 / ((2 * k) * (2 * k + 1)) if k > 2 else 1 / 120)
    hi, lo = two_sum(r[0], cube[0])
    sine = two_sum(hi, lo + (r[1] + (cube[1] + r[0] * w * w * rest)))
    double = product(sine, (2 * sine[0], 2 * sine[1]))
    # The barrier keeps XLA from simplifying the sum with a constant.
    whole = jax.lax.optimization_barrier(jnp.where(high, 2, 1).astype(z.dtype))
    part = jnp.where(high, double[0], sine[0]), jnp.where(high, double[1], sine[1])
    hi, lo = two_sum(whole, -part[0])
    return jnp.where(low, double[0], hi), jnp.where(low, double[1], lo - part[1])


def _difference(kappa: Real) -> Real:
    """exp(-κ) (I_0(κ) - I_1(κ)), which cancel."""
    large = kappa > 8
    small, big = jnp.where(large, 8, kappa), jnp.where(large, kappa, 8)
    near = chebyshev(_DIFFERENCE_SMALL, small / 4 - 1) / (1 + small) / (1 + small)
    return jnp.where(large, chebyshev(_DIFFERENCE_LARGE, 16 / big - 1) / big / jnp.sqrt(big), near)


def _mean_versine(kappa: Real) -> Real:
    """1 - I_1(κ) / I_0(κ)."""
    return _difference(kappa) / jsp.i0e(kappa)


@jax.custom_jvp
def _scale(kappa: Real) -> Real:
    """The density at 0."""
    return 1 / (2 * math.pi * jsp.i0e(kappa))


@_scale.defjvp
def _(primals, tangents):
    value = _scale(*primals)
    return value, value * _mean_versine(*primals) * tangents[0]


def _integral(z: Real, kappa: Real, central: Any, v: Real, weight: Real | None = None) -> Real:
    """∫ exp(-κ (v(t) - v(z))) dt over [z, π], or where `central` ∫ exp(-κ v(t)) dt over [0, z]; all for v = v(z).

    With a `weight` w the integrand is multiplied by v(t) - w.
    """
    double = is_double(z)
    sine = jnp.sin(z)
    # Where the exponent is this large, the rest of the integral is nothing beside it.
    eps = (38.0 if double else 18.0) / 2 / jax.lax.stop_gradient(kappa)
    cut = eps < 1 - v / 2
    eps = jnp.where(cut, eps, 0)
    discriminant = sine * sine + 4 * eps * (1 - v - eps)
    end = 2 * eps / jnp.where(cut, sine + jnp.sqrt(jnp.maximum(discriminant, 0)), 1)
    end = jnp.where(central, sine / (2 - v), jnp.where(cut, end, sine / jnp.where(v > 0, v, 1)))
    s, c = jnp.where(central, 0, sine), jnp.where(central, 1, 1 - v)
    start = jnp.where(central, 0, v)

    # tan((t - z) / 2) = a (1 + x) / (1 - b x): the points are denser near z, the more so the smaller the interval.
    middle = end / (1 + jnp.sqrt(1 + end * end))
    b = 0.3 + 0.7 * middle * middle
    a = end * (1 - b) / 2
    nodes = jnp.asarray(legendre(32 if double else 14), z.dtype).reshape(4 if double else 2, -1, 2)

    def add(i: Any, total: Real) -> Real:
        # Some points at a time: one after the other is slow to run, all at once slow to compile.
        for x, w in nodes[i]:
            top, bottom = a * (1 + x), 1 - b * x
            inverse = 1 / (top * top + bottom * bottom)
            rise = 2 * top * (bottom * s + top * c) * inverse
            value = jnp.exp(-kappa * rise) * (w * inverse)
            total = total + (value if weight is None else value * (rise + (start - weight)))
        return total

    total = jax.lax.fori_loop(0, nodes.shape[0], add, jnp.zeros_like(z))
    return 2 * a * (1 + b) * total


def _exponential(kappa: Real, v: Pair, factor: Real) -> Real:
    """exp(-κ v) times a factor."""
    hi, lo = product((kappa, jnp.zeros_like(kappa)), v)
    # In two halves: the exponential may be below the normal range where the product is not.
    root = jnp.exp(-hi / 2)
    return root * (factor * (1 - jnp.clip(lo, -0.5, 0.5))) * root


def _is_central(z: Real, kappa: Real, v: Real) -> Bool[Array, "..."]:
    return (kappa * v < 0.5) & (v < 1)


def _tail(z: Real, kappa: Real) -> Real:
    v = _versine(z)
    central = _is_central(z, kappa, v[0])
    integral = _scale(kappa) * _integral(z, kappa, central, v[0])
    return jnp.where(central, 0.5 - integral, _exponential(kappa, v, integral))


@jax.custom_jvp
@jax.jit
def _density(x: Real, kappa: Real) -> Real:
    return _exponential(kappa, _versine(jnp.abs(x)), _scale(kappa))


def _excess(x: Real, kappa: Real) -> Real:
    """The derivative in κ of the log of the density."""
    return _mean_versine(kappa) - _versine(jnp.abs(x))[0]


def _log_speed(x: Real, kappa: Real) -> Real:
    """The derivative in κ over the density."""
    z = jnp.abs(x)
    v, mean = _versine(z), _mean_versine(kappa)
    central = v[0] < jax.lax.stop_gradient(mean)
    integral = _integral(z, kappa, central, v[0], mean)
    # All weights are of one sign, so that nothing cancels.
    return jnp.sign(x) * jnp.where(central, -integral * jnp.exp(jnp.where(central, kappa * v[0], 0)), integral)


@jax.custom_jvp
@jax.jit
def _speed(x: Real, kappa: Real) -> Real:
    """The derivative in κ over the density, at x."""
    return _log_speed(x, kappa)


@jax.custom_jvp
@jax.jit
def _in_kappa(x: Real, kappa: Real) -> Real:
    return _density(x, kappa) * _speed(x, kappa)


@jax.custom_jvp
@jax.jit
def _cdf(x: Real, kappa: Real) -> Real:
    tail = _tail(jnp.abs(x), kappa)
    return jnp.where(x > 0, 1 - tail, tail)


def _curve(x: Real, kappa: Real) -> Real:
    """The derivative in κ of `_speed`."""
    return jax.jvp(lambda k: _log_speed(x, k), (kappa,), (jnp.ones_like(kappa),))[1]


set_derivatives(_cdf, _density, _in_kappa)
set_derivatives(
    _density,
    lambda x, kappa: -kappa * jnp.sin(x) * _density(x, kappa),
    lambda x, kappa: _excess(x, kappa) * _density(x, kappa),
)
set_derivatives(_speed, lambda x, kappa: _excess(x, kappa) + kappa * jnp.sin(x) * _speed(x, kappa), _curve)
set_derivatives(
    _in_kappa,
    lambda x, kappa: _excess(x, kappa) * _density(x, kappa),
    lambda x, kappa: _density(x, kappa) * (_excess(x, kappa) * _speed(x, kappa) + _curve(x, kappa)),
)


@jax.jit
def _solve(q: Real, kappa: Real) -> Real:
    """The z in [0, π] whose tail is q <= 1 / 2, by Halley's method on the tail's log, or on the integral from 0."""
    scale = _scale(kappa)
    high = _PI[0] * (1 - 2 * q)  # since the density falls
    z = 2 * jnp.arcsin(jnp.minimum(-jsp.ndtri(q) / (scale * math.sqrt(8 * math.pi)), 1))
    small, tiny = float(jnp.finfo(q.dtype).eps) ** 0.75, float(jnp.finfo(q.dtype).tiny)

    def step(carry: Any) -> Any:
        k, z, _ = carry
        v, sine = _versine(z), jnp.sin(z)
        central = _is_central(z, kappa, v[0])
        integral = _integral(z, kappa, central, v[0])
        inner = ((0.5 - q) / scale - integral) * jnp.exp(jnp.where(central, kappa * v[0], 0))
        inner = inner / jnp.maximum(1 - inner * kappa * sine / 2, 0.5)
        # The integral may be negative where π is rounded up.
        ratio = jnp.maximum(scale * integral / q, tiny)
        log = jnp.log(jnp.where(central, 1, ratio)) - kappa * v[0] - kappa * v[1]
        # The derivative of the integral. Next to π the tail is nearly straight, elsewhere its logarithm is.
        derivative = kappa * sine * integral - 1
        outer = log / jnp.maximum(1 - log * derivative / 2, 0.5)
        outer = integral * jnp.where(derivative < -0.5, -jnp.expm1(-log), outer)
        new = jnp.clip(z + jnp.where(central, inner, outer), z / 8, high)
        return k + 1, new, jnp.abs(new - z) > small * z

    def more(carry: Any) -> Any:
        return jnp.any(carry[2]) & (carry[0] < 40)

    return jax.lax.while_loop(more, step, (0, jnp.minimum(z, high), q > 0))[1]


def _smaller(p: Real) -> Real:
    return jnp.minimum(p, 1 - p)


@jax.custom_jvp
def _inverse(p: Real, kappa: Real) -> Real:
    z = _solve(_smaller(p), kappa)
    return jnp.where(p > 0.5, z, -z)


@jax.custom_jvp
@jax.jit
def _width(x: Real, kappa: Real, q: Real) -> Real:
    """1 / density at x, whose smaller tail is q."""
    # In the tails not the density at the rounded x, to which it is more sensitive there than the integral.
    z = jnp.abs(x)
    v = _versine(z)[0]
    central = _is_central(z, kappa, v)
    integral = _integral(z, kappa, central, v)
    steep = ~central & (2 * kappa * jnp.sin(z) * integral > 1)
    return jnp.where(steep, integral / q, 1 / jnp.where(steep, 1, _density(x, kappa)))


def _inverse_rule(primals: tuple[Real, Real], tangents: tuple[Any, Any]) -> tuple[Real, Real]:
    x = _inverse(*primals)
    in_p, in_kappa = lambda p, kappa: _width(x, kappa, _smaller(p)), lambda p, kappa: -_speed(x, kappa)
    return x, add_tangents(primals, tangents, in_p, in_kappa)


_inverse.defjvp(_inverse_rule, symbolic_zeros=True)


@_width.defjvp
def _(primals, tangents):
    (x, kappa, _), value = primals, _width(*primals)
    return value, value * (kappa * jnp.sin(x) * tangents[0] - _excess(x, kappa) * tangents[1])


def _limited(kappa: Real) -> Real:
    # So large that no two numbers are closer than the width.
    return jnp.minimum(kappa, jnp.finfo(kappa.dtype).max ** 0.7)


def von_mises_cdf(x: Numeric, concentration: Numeric) -> Real:
    """The distribution function of the von Mises distribution on [-π, π], ∫ exp(κ cos t) dt / (2 π I_0(κ)) up to x.

    Beyond, it counts whole turns, as TFP's does: F(x + 2 π) = F(x) + 1.

    The smaller tail is accurate: the density with κ (1 - cos x) in doubled precision times an integral by
    Gauss and Legendre's rule of 32 points (14 in single precision); where that exponent is below 1 / 2, the tail is
    1 / 2 less the integral from 0. The derivative in κ is the same integral, weighted with that of the log of the
    density, from the side where that has one sign.

    Error at most 7 ulp (float32) and 13 ulp (float64), of the first derivatives 9 and 15; over κ up to 1e6, and 1e20.

    **Arguments:** `x`: any real number; `concentration`: nonnegative; shapes that broadcast. **Returns:** the broadcast
    shape; NaN for a negative concentration.
    """
    x, kappa = jnp.broadcast_arrays(*promote(x, concentration))
    turns = jnp.round(x / (2 * math.pi))
    here = jnp.isfinite(turns)
    turns = jnp.where(here, turns, 0)
    (pi, pi_lo) = _constant(_PI, x)
    hi, lo = two_product(turns, 2 * pi)
    angle = (jnp.where(here, x, 0) - hi) - (lo + turns * (2 * pi_lo))
    proper = kappa >= 0
    value = turns + _cdf(angle, _limited(jnp.where(proper, kappa, 1)))
    return jnp.where(proper, jnp.where(here, value, x), jnp.nan)


def von_mises_cdf_inverse(p: Numeric, concentration: Numeric) -> Real:
    """The x in [-π, π] at which `von_mises_cdf` is p, for 0 <= p <= 1, by Halley's method, with implicit derivatives.

    Error at most 5 ulp in both widths, of the first derivatives 9 (float32) and 13 (float64), but for that in κ where x
    is next to -π or π and, rounded, does not tell it.

    **Arguments:** `p`, `concentration`: shapes that broadcast. **Returns:** the broadcast shape; NaN outside [0, 1]
    or for a negative concentration.
    """
    p, kappa = jnp.broadcast_arrays(*promote(p, concentration))
    proper = (kappa >= 0) & (p > 0) & (p < 1)
    x = _inverse(jnp.where(proper, p, 0.5), _limited(jnp.where(proper, kappa, 1)))
    edge = jnp.where(kappa >= 0, jnp.where(p == 0, -math.pi, jnp.where(p == 1, math.pi, jnp.nan)), jnp.nan)
    return jnp.where(proper, x, edge.astype(x.dtype))
