"""The regularised incomplete beta function, its complement, their logarithms and derivatives in all three arguments."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from distrax_like._misc import Numeric, Real, promote

from ._beta_formulas import (
    Point,
    pair_excess,
    pair_exponent,
    regions,
    scale,
    smaller_tail,
    temme_region,
    temme_series,
    temme_sum,
)
from ._compensated import (
    Pair,
    differentiable,
    log1p,
    one_minus,
    set_derivatives,
    weighted,
)
from ._incomplete_gamma import _erfcx
from ._joint_derivatives import Joint, weighting, with_factor

_Function = Callable[..., Real]


def _split(x: Real) -> tuple[Pair, Pair]:
    """x and 1 - x as pairs."""
    return (x, jnp.zeros_like(x)), one_minus(x)


@jax.custom_jvp
@jax.jit
def _excess(a: Real, b: Real, x: Real) -> Real:
    hi, lo = pair_excess(a, b, *_split(x))
    return hi + lo


set_derivatives(_excess, lambda a, b, x: 1 - x, lambda a, b, x: -x, lambda a, b, x: -(a + b))


def _point(a: Real, b: Real, x: Real) -> Point:
    y = 1 - x
    return Point(a, b, x, y, a * y, b * x, _excess(a, b, x))


@jax.jit
def _exponent(a: Real, b: Real, x: Real) -> Pair:
    scaled = x < 2.0**-60
    _, y = _split(x)
    return pair_exponent(a, b, (jnp.where(scaled, x * 2.0**60, x), jnp.zeros_like(x)), y, scaled)


def _log_mean(a: Real, b: Real, x: Real, excess: Real) -> Real:
    small, n = a < 1, a + b
    near = ~small & (jnp.abs(excess) < a / 2)
    far = jnp.log(x * jnp.where(small, jnp.maximum(n, 1), n / a))
    return jnp.where(near, log1p(jnp.where(near, -excess / a, 0)), far)


def _own(a: Real, b: Real) -> Real:
    return jnp.where(a < 1, _cross(a, b), -b / (a + b) / a)


def _cross(a: Real, b: Real) -> Real:
    return jnp.where(a + b < 1, 0, 1 / (a + b))


@jax.custom_jvp
def _log_a(a: Real, b: Real, x: Real) -> Real:
    """The derivative of the exponent in a."""
    return _log_mean(a, b, x, _excess(a, b, x))


@jax.custom_jvp
def _log_b(a: Real, b: Real, x: Real) -> Real:
    """The derivative of the exponent in b."""
    return _log_mean(b, a, 1 - x, -_excess(a, b, x))


set_derivatives(_log_a, lambda a, b, x: _own(a, b), lambda a, b, x: _cross(a, b), lambda a, b, x: 1 / x)
set_derivatives(_log_b, lambda a, b, x: _cross(a, b), lambda a, b, x: _own(b, a), lambda a, b, x: -1 / (1 - x))


# Temme's uniform expansion, in μ = n x / a - 1 for the smaller shape a.


def _temme_arguments(a: Real, b: Real, x: Real) -> tuple[Real, Real, Real]:
    """A = a (1 + κ), κ = a / b and μ for a <= b, of harmless values outside the region."""
    here = temme_region(_point(a, b, x))
    ordered = a <= b
    low, high = (jnp.where(here, jnp.where(ordered, *pair), 64) for pair in ((a, b), (b, a)))
    excess = jnp.where(here, _excess(a, b, x), 0)
    kappa = low / high
    return low * (1 + kappa), kappa, jnp.where(ordered, -excess, excess) / low


@jax.custom_jvp
def _eta(a: Real, b: Real, x: Real) -> Real:
    """η of the sign of μ, with A η² / 2 the negative exponent; 0 outside the region."""
    size, _, mu = _temme_arguments(a, b, x)
    return _eta_from(_exponent(a, b, x), temme_region(_point(a, b, x)), size, mu)


def _eta_from(exponent: Pair, here: Any, size: Real, mu: Real) -> Real:
    hi, lo = exponent
    return jnp.sign(mu) * jnp.sqrt(jnp.where(here, jnp.maximum(-2 * (hi + lo), 0), 0) / size)


def _eta_derivative(i: int) -> _Function:
    def derivative(*args: Real) -> Real:
        def along(z: Real) -> tuple[Real, Real]:
            there: Any = (*args[:i], z, *args[i + 1 :])
            return _temme_arguments(*there)[1:]

        (kappa, mu), (in_kappa, in_mu) = jax.jvp(along, (args[i],), (jnp.ones_like(args[i]),))
        # η = μ f(η, κ).
        series, (in_eta, also_in_kappa) = temme_series.along((0, 1))(_eta(*args), kappa)
        return (in_mu * series + mu * (also_in_kappa * in_kappa)) / (1 - mu * in_eta)

    return derivative


set_derivatives(_eta, *(_eta_derivative(i) for i in range(3)))


def _upper(a: Real, b: Real, x: Real) -> Any:
    return regions(_point(a, b, x))[0]


def _root(a: Real, b: Real, x: Real) -> Real:
    """The square root of the negative exponent, where erfc of it is the main part of the tail."""
    size, _, _ = _temme_arguments(a, b, x)
    sign = jnp.where(_upper(a, b, x) == (a <= b), 1, -1)
    return sign * _eta(a, b, x) * jnp.sqrt(size / 2)


@Joint
def _parts(a: Real, b: Real, x: Real) -> tuple[Real, Real]:
    """The smaller tail over exp(exponent), but for erfc(root) / 2 in Temme's region, and that root."""
    return _parts_from(_point(a, b, x), _temme_arguments(a, b, x), _eta(a, b, x), scale(a, b))


def _parts_from(
    p: Point, arguments: tuple[Real, Real, Real], eta: Real, weight: Real
) -> tuple[Real, Real]:
    size, kappa, _ = arguments
    sign = jnp.where(regions(p)[0] == (p.a <= p.b), 1, -1)
    temme = sign * temme_sum(size, kappa, eta) / jnp.sqrt(2 * jnp.pi * size)
    # Of the square of the root the negative exponent is made; erfc of it is the main part of the tail.
    root = sign * eta * jnp.sqrt(size / 2)
    return jnp.where(temme_region(p), temme, smaller_tail(p, weight)), root


def _with_erfc(p: Point, regular: Real, root: Real) -> Real:
    return regular + jnp.where(temme_region(p), _erfcx(jnp.abs(root)) / 2, 0)


class Evaluation(NamedTuple):
    """All of a point but derivatives: the exponent, the smaller tail as that over which exponential, and its kind."""

    exponent: Pair
    factor: Real
    upper: Any
    taylor: Any
    excess: Real


def evaluation(a: Real, b: Real, x: Real, weight: Real) -> Evaluation:
    """Computes each part once, for use in a loop, where XLA does not merge what is computed twice."""
    p, arguments, exponent = _point(a, b, x), _temme_arguments(a, b, x), _exponent(a, b, x)
    eta = _eta_from(exponent, temme_region(p), arguments[0], arguments[2])
    return Evaluation(exponent, _with_erfc(p, *_parts_from(p, arguments, eta, weight)), *regions(p), p.excess)


def _factor_and_derivatives(args: tuple[Real, ...], active: tuple[int, ...] = ()) -> tuple[Real, list[Real]]:
    """The smaller tail over exp(exponent), and its derivatives in the `active` of a and b over the same."""
    if active:
        (regular, root), (derivatives, roots) = _parts.along(active)(*args)
    else:
        (regular, root), derivatives, roots = _parts(*args), jnp.zeros((0,)), jnp.zeros((0,))
    temme = temme_region(_point(*args))
    # Those of erfc, without that of erfcx, in which large terms cancel.
    found = [
        regular * _ON_TAIL[i](*args) + (derivative - jnp.where(temme, along / jnp.pi**0.5, 0))
        for i, derivative, along in zip(active, derivatives, roots)
    ]
    return _with_erfc(_point(*args), regular, root), found


def _is_taylor(a: Real, b: Real, x: Real) -> Any:
    return regions(_point(a, b, x))[1]


def _unless_taylor(fn: _Function) -> _Function:
    return lambda a, b, x: jnp.where(_is_taylor(a, b, x), 0, fn(a, b, x))


def _tail_exponent(a: Real, b: Real, x: Real) -> Pair:
    hi, lo = _exponent(a, b, x)
    taylor = _is_taylor(a, b, x)
    return jnp.where(taylor, 0, hi), jnp.where(taylor, 0, lo)


def _log_x(a: Real, b: Real, x: Real) -> Real:
    return _excess(a, b, x) / (x * (1 - x))


@differentiable
def _density_factor(a: Real, b: Real, x: Real) -> Real:
    return scale(a, b) / (x * (1 - x))


_EVERYWHERE: tuple[_Function, ...] = (_log_a, _log_b, _log_x)
_ON_TAIL = tuple(_unless_taylor(log) for log in _EVERYWHERE)

_density = weighted(_density_factor, _exponent, _EVERYWHERE)
_times_weight = weighting(_tail_exponent, _ON_TAIL)


def _part(lower: bool) -> Any:
    sign = 1 if lower else -1

    def value(args: Any, factor: Real) -> Real:
        tail = _times_weight(args, factor)
        return jnp.where(_upper(*args) == lower, 1 - tail, tail)

    def in_shape(args: Any, factor: Real, derivative: Real) -> Real:
        return jnp.where(_upper(*args), -sign, sign) * _times_weight(args, derivative)

    return with_factor(_factor_and_derivatives, value, in_shape, lambda args, factor: sign * _density(*args))


def _log_part(lower: bool) -> Any:
    sign = 1 if lower else -1

    def value(args: Any, factor: Real) -> Real:
        hi, lo = _tail_exponent(*args)
        own = _upper(*args) != lower
        return jnp.where(own, hi + (lo + jnp.log(factor)), log1p(-_times_weight(args, factor)))

    # On its own side the exponential cancels in derivative / value; on the other the value is no less than 1 / 3.
    def in_shape(args: Any, factor: Real, derivative: Real) -> Real:
        own = _upper(*args) != lower
        rest = 1 - _times_weight(args, factor)
        return jnp.where(own, derivative / factor, -_times_weight(args, derivative) / jnp.where(own, 1, rest))

    def in_x(args: Any, factor: Real) -> Real:
        own = _upper(*args) != lower
        density, rest = _density(*args), 1 - _times_weight(args, factor)
        speed = jnp.where(_is_taylor(*args), density, _density_factor(*args)) / factor
        return sign * jnp.where(own, speed, density / jnp.where(own, 1, rest))

    return with_factor(_factor_and_derivatives, value, in_shape, in_x)


_betainc, _betaincc = _part(True), _part(False)
_log_betainc, _log_betaincc = _log_part(True), _log_part(False)


def _evaluate(fn: _Function, a: Numeric, b: Numeric, x: Numeric, at_zero: float, at_one: float) -> Real:
    """`fn` where a and b are positive and finite and 0 < x < 1, else its limits."""
    a, b, x = jnp.broadcast_arrays(*promote(a, b, x))
    inside = (a > 0) & (b > 0) & jnp.isfinite(a) & jnp.isfinite(b) & (x > 0) & (x < 1)
    value = fn(*(jnp.where(inside, v, s) for v, s in ((a, 1), (b, 1), (x, 0.5))))
    return jnp.where(inside, value, edge(a, b, x, at_zero, at_one))


def edge(a: Real, b: Real, x: Real, at_zero: float, at_one: float) -> Real:
    """The limits of a tail: all is at 0 where a is 0 or b infinite, and at 1 where b is 0 or a infinite."""
    wrong = ~((a >= 0) & (b >= 0) & (x >= 0) & (x <= 1)) | ((a == 0) & (b == 0)) | (jnp.isinf(a) & jnp.isinf(b))
    low = (x == 0) | (((b == 0) | jnp.isinf(a)) & (x < 1))
    return jnp.where(wrong, jnp.nan, jnp.where(low, at_zero, at_one)).astype(x.dtype)


def betainc(a: Numeric, b: Numeric, x: Numeric) -> Real:
    """The regularised incomplete beta function I_x(a, b) = ∫_0^x t^(a - 1) (1 - t)^(b - 1) dt / B(a, b), for a, b >= 0.

    The smaller of the tails is computed, to full relative accuracy, as exp(exponent) times a factor. The exponent,
    a log(n x / a) + b log(n (1 - x) / b) for n = a + b, is in doubled precision. The factor is, by region,

    - Temme's uniform expansion near the mean where both shapes are at least 50;
    - for small x, b x and a, 1 - x^a / (a B(a, b)) (1 + …) with `expm1` and gamma functions exact at their zeros;
    - elsewhere the even part of the continued fraction DLMF 8.17.22, in at most about 80 steps.

    Derivatives in a, b and x of every order, in both modes. Error at most 9 ulp (float32) and 10 ulp (float64), of the
    first derivatives 7 and 20; over shapes in [1e-10, 1e13] and x in [1e-30, 1).

    **Arguments:** `a`, `b`, `x`: shapes that broadcast. **Returns:** the broadcast shape; all is at x = 0 where a is 0
    or b infinite, at 1 where b is 0 or a infinite; NaN outside the domain and where both are 0 or infinite.

    A. DiDonato and A. Morris, Algorithm 708, ACM TOMS 18 (1992); N. Temme, Special Functions (1996), 11.3.3.
    """
    return _evaluate(_betainc, a, b, x, 0.0, 1.0)


def betaincc(a: Numeric, b: Numeric, x: Numeric) -> Real:
    """The complement 1 - I_x(a, b) of the incomplete beta function, accurate in the tail; see `betainc`.

    Error at most 5 ulp (float32) and 31 ulp (float64), the latter where b x is near 1.5 and a small; of the first
    derivatives 5 and 14.
    """
    return _evaluate(_betaincc, a, b, x, 1.0, 0.0)


def log_betainc(a: Numeric, b: Numeric, x: Numeric) -> Real:
    """log I_x(a, b), for arguments so far in the tail that I underflows too; see `betainc`.

    Error at most 7 ulp (float32) and 19 ulp (float64), of the first derivatives 9 and 40.
    """
    return _evaluate(_log_betainc, a, b, x, -jnp.inf, 0.0)


def log_betaincc(a: Numeric, b: Numeric, x: Numeric) -> Real:
    """log(1 - I_x(a, b)), for arguments so far in the tail that it underflows too; see `betainc`.

    Error at most 15 ulp (float32) and 14 ulp (float64), of the first derivatives 10 and 18.
    """
    return _evaluate(_log_betaincc, a, b, x, 0.0, -jnp.inf)
