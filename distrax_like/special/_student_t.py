"""Student's t distribution: its distribution function, the logarithm and the inverse, smooth up to the normal limit."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from distrax_like._misc import Numeric, Real, promote

from ._beta_formulas import (
    Point,
    gamma_ratio,
    log_parts,
    raise_by,
    regions,
    smaller_tail,
)
from ._beta_inverse import signed_betaincinv
from ._compensated import (
    Pair,
    differentiable,
    is_double,
    log1p,
    log_ratio_pair,
    product,
    two_product,
    two_sum,
    weighted,
)
from ._joint_derivatives import Joint, weighting, with_factor
from ._normal import log_ndtr, ndtr, ndtri

# Throughout df > 0 and t >= 0 are finite: the tail beyond t is half of I_x(df / 2, 1 / 2) for x = df / (df + t²).


def _far(df: Real) -> Real:
    """The t from which x only counts in the exponent."""
    return jnp.sqrt(df) * (2.0**30 if is_double(df) else 2.0**15)


def _point(df: Real, t: Real) -> Point:
    """The point, in forms whose derivatives in df are accurate for large df, where those are of order 1 / df²."""
    t = jnp.clip(t, 2.0**-40, jax.lax.stop_gradient(_far(df)))
    square = t * t
    x = 1 / (1 + square / df)
    half = jnp.full_like(df, 0.5)
    return Point(df / 2, half, x, square / (df + square), square * x / 2, x / 2, (t - 1) * (t + 1) * x / 2)


@jax.jit
def _exponent(df: Real, t: Real) -> Pair:
    """-df / 2 log(1 + t² / df) as a pair."""
    shift = jnp.where(t > 2.0**40, jnp.frexp(t)[1], 0)
    t = jnp.ldexp(t, -shift)
    square = two_product(t, t)
    scaled = jnp.ldexp(df, -2 * shift)
    total, total_lo = two_sum(scaled, square[0])
    log = log_ratio_pair(log_parts((total, total_lo + square[1]), df, square, -2 * shift.astype(df.dtype)))
    hi, lo = two_sum(*product((df / 2, jnp.zeros_like(df)), two_sum(*log)))
    finite = jnp.isfinite(hi) & jnp.isfinite(lo)
    return jnp.where(finite, -hi, -jnp.inf), jnp.where(finite, -lo, 0)


def _log1p_rest(y: Real, x: Real) -> Real:
    """log(x) + y for x + y = 1, to full relative accuracy for small y."""
    near = jnp.abs(y) < 0.3
    z = jnp.where(near, y, 0)
    v = -z / (2 - z)
    w, tail = v * v, jnp.zeros_like(v)
    for j in reversed(range(1, 12 if is_double(v) else 5)):
        tail = tail * w + 2 / (2 * j + 1)
    return jnp.where(near, z * v + v * w * tail, jnp.log(jnp.where(near, 1, x)) + y)


def _log_df(df: Real, t: Real) -> Real:
    """The derivative of the exponent in df."""
    p = _point(df, t)
    far = t > _far(df)
    beyond = 2 * jnp.log(jnp.where(far, t / _far(df), 1))
    return (_log1p_rest(p.y, p.x) - beyond) / 2


def _log_t(df: Real, t: Real) -> Real:
    """The derivative of the exponent in t."""
    return -t / (1 + (t / df) * t)


@differentiable
def _constant(df: Real, t: Real) -> Real:
    """The density at 0: Γ((df + 1) / 2) / (√(π df) Γ(df / 2))."""
    a = df / 2
    large = a >= 8
    raised = jnp.where(large, a, a + 8)
    low = jnp.where(large, 1, a)
    half = jnp.full_like(a, 0.5)
    rest = jnp.log(1 + 8 / low) / 2 - raise_by(range(8), half, low)
    log = gamma_ratio(half, raised) + jnp.where(large, 0, rest)
    return jnp.exp(log) / math.sqrt(2 * math.pi)


@differentiable
def _density_factor(df: Real, t: Real) -> Real:
    far = t > _far(df)
    root = jnp.where(far, jnp.sqrt(df) / jnp.where(far, t, 1), jnp.sqrt(_point(df, t).x))
    return _constant(df, t) * root


@Joint
def _factor(df: Real, t: Real) -> Real:
    """The smaller part of the tail over exp(exponent): half of I_x(df / 2, 1 / 2) or of its complement."""
    p = _point(df, t)
    far = p.x < 0.5
    distance = jnp.where(far, jnp.sqrt(df * p.y), t * jnp.sqrt(p.x))
    return smaller_tail(p, _constant(df, t) * distance, t < _far(df)) / 2


def _regions(df: Real, t: Real) -> Any:
    return regions(_point(df, t), t < _far(df))


def _upper(df: Real, t: Real) -> Any:
    return _regions(df, t)[0]


def _is_taylor(df: Real, t: Real) -> Any:
    return _regions(df, t)[1]


def _unless_taylor(fn: Any) -> Any:
    return lambda df, t: jnp.where(_is_taylor(df, t), 0, fn(df, t))


def _tail_exponent(df: Real, t: Real) -> Pair:
    hi, lo = _exponent(df, t)
    taylor = _is_taylor(df, t)
    return jnp.where(taylor, 0, hi), jnp.where(taylor, 0, lo)


_EVERYWHERE = (_log_df, _log_t)
_ON_TAIL = (_unless_taylor(_log_df), _unless_taylor(_log_t))
_density = weighted(_density_factor, _exponent, _EVERYWHERE)
_times_weight = weighting(_tail_exponent, _ON_TAIL)


def _factor_and_derivative(args: tuple[Real, ...], active: tuple[int, ...] = ()) -> tuple[Real, list[Real]]:
    """The part of the tail beyond |t| over exp(exponent), and its derivative in df over the same."""
    df, r = args[0], jnp.abs(args[1])
    if not active:
        return _factor(df, r), []
    factor, derivatives = _factor.along((0,))(df, r)
    return factor, [factor * _ON_TAIL[0](df, r) + derivatives[0]]


def _value(args: Any, factor: Real) -> Real:
    df, t = args
    tail, upper = _times_weight((df, jnp.abs(t)), factor), _upper(df, jnp.abs(t))
    return jnp.where(upper, 0.5 + jnp.sign(t) * tail, jnp.where(t < 0, tail, 1 - tail))


def _in_df(args: Any, factor: Real, derivative: Real) -> Real:
    df, t = args
    r = jnp.abs(t)
    return jnp.where(_upper(df, r) == (t < 0), -1, 1) * _times_weight((df, r), derivative)


def _in_t(args: Any, factor: Real) -> Real:
    return _density(args[0], jnp.abs(args[1]))


_stdtr = with_factor(_factor_and_derivative, _value, _in_df, _in_t)


def _own(df: Real, t: Real) -> Any:
    return (t < 0) & ~_upper(df, jnp.abs(t))


def _log_value(args: Any, factor: Real) -> Real:
    df, t = args
    hi, lo = _tail_exponent(df, jnp.abs(t))
    below = _value((df, -jnp.abs(t)), factor)
    far = jnp.where(t > 0, log1p(-below), jnp.log(below))
    return jnp.where(_own(df, t), hi + (lo + jnp.log(factor)), far)


def _log_in_df(args: Any, factor: Real, derivative: Real) -> Real:
    own = _own(*args)
    value = jnp.where(own, 1, _value(args, factor))
    return jnp.where(own, derivative / factor, _in_df(args, factor, derivative) / value)


def _log_in_t(args: Any, factor: Real) -> Real:
    own, r = _own(*args), jnp.abs(args[1])
    density = _density(args[0], r)
    speed = jnp.where(_is_taylor(args[0], r), density, _density_factor(args[0], r)) / factor
    return jnp.where(own, speed, density / jnp.where(own, 1, _value(args, factor)))


_log_stdtr = with_factor(_factor_and_derivative, _log_value, _log_in_df, _log_in_t)


def _evaluate(fn: Any, normal: Any, df: Numeric, t: Numeric, limits: tuple[float, float]) -> Real:
    df, t = jnp.broadcast_arrays(*promote(df, t))
    inside = (df > 0) & jnp.isfinite(df) & jnp.isfinite(t)
    value = fn(jnp.where(inside, df, 1), jnp.where(inside, t, 0))
    is_normal = jnp.isposinf(df) & ~jnp.isnan(t)
    edge = jnp.where((df > 0) & jnp.isinf(t), jnp.where(t < 0, *limits), jnp.nan).astype(t.dtype)
    return jnp.where(inside, value, jnp.where(is_normal, normal(jnp.where(is_normal, t, 0)), edge))


def stdtr(df: Numeric, t: Numeric) -> Real:
    """Student's t distribution function, P(T <= t) with df degrees of freedom, for 0 < df <= inf.

    The tail beyond |t| is half of I_x(df / 2, 1 / 2) for x = df / (df + t²), by the formulas of `betainc` written in
    t and df so that for large df the value is smooth to the normal limit and the derivative in df, of order 1 / df²,
    is accurate; the exponent -df / 2 log(1 + t² / df) is in doubled precision.

    Error at most 7 ulp (float32) and 14 ulp (float64), of derivatives 47 and 33; for df in [0.01, 1e13].

    **Arguments:** `df`, `t`: shapes that broadcast. **Returns:** the broadcast shape; NaN for df <= 0.
    """
    return _evaluate(_stdtr, ndtr, df, t, (0.0, 1.0))


def log_stdtr(df: Numeric, t: Numeric) -> Real:
    """log P(T <= t), for arguments so far in the tail that it underflows too; see `stdtr`.

    Error at most 7 ulp (float32) and 10 ulp (float64), of derivatives 46 and 43.
    """
    return _evaluate(_log_stdtr, log_ndtr, df, t, (-jnp.inf, 0.0))


@jax.custom_jvp
def _stdtrit(df: Real, p: Real) -> Real:
    # Twice the smaller tail, exactly.
    tail = 2 * jnp.minimum(p, 1 - p)
    middle = tail >= 1
    signed = signed_betaincinv(df / 2, jnp.full_like(df, 0.5), jnp.where(middle, 0.5, tail))
    # The smaller one of x and 1 - x is accurate.
    v = jnp.abs(signed)
    odds = jnp.where(signed >= 0, jnp.sqrt(1 - v) / jnp.sqrt(v), jnp.sqrt(v) / jnp.sqrt(1 - v))
    t = jnp.sqrt(df) * odds
    return jnp.where(middle, 0, jnp.where(p < 0.5, -t, t))


def _inverse_rule(primals: tuple[Real, ...], tangents: tuple[Any, ...]) -> tuple[Real, Real]:
    df, t = primals[0], _stdtrit(*primals)
    r = jnp.minimum(jnp.abs(t), jnp.finfo(t.dtype).max)
    density, total = _density(df, r), jnp.zeros_like(t)
    along_df = not isinstance(tangents[0], SymbolicZero)
    factor, derivatives = _factor_and_derivative((df, r), (0,) if along_df else ())
    if along_df:
        ratio = derivatives[0] / jnp.where(_is_taylor(df, r), density, _density_factor(df, r))
        ratio = jnp.where(_upper(df, r) == (t < 0), ratio, -ratio)
        total = total + jnp.where(jnp.isinf(t), 0, ratio) * tangents[0]
    if not isinstance(tangents[1], SymbolicZero):
        # The density at the solution before it was rounded, to which it is sensitive in the tail.
        p = primals[1]
        error = (_value((df, -r), factor) - jnp.minimum(p, 1 - p)) / density
        change = -(df + 1) * (r / (df + r * r)) * error
        total = total + tangents[1] / (density * jnp.exp(jnp.where(jnp.abs(change) < 0.5, change, 0)))
    return t, total


_stdtrit.defjvp(_inverse_rule, symbolic_zeros=True)


def stdtrit(df: Numeric, p: Numeric) -> Real:
    """The t at which P(T <= t) = p for Student's t distribution: the inverse of `stdtr` in t.

    From `betaincinv` at twice the smaller tail; derivatives are implicit. Error at most 3 ulp (float32) and 4 ulp
    (float64), of derivatives 32.

    **Arguments:** `df`, `p`: shapes that broadcast. **Returns:** the broadcast shape; infinite at 0 and 1, and where
    df / t² underflows; NaN outside the domain.
    """
    df, p = jnp.broadcast_arrays(*promote(df, p))
    inside = (df > 0) & jnp.isfinite(df) & (p > 0) & (p < 1)
    value = _stdtrit(jnp.where(inside, df, 1), jnp.where(inside, p, 0.5))
    is_normal = jnp.isposinf(df) & (p > 0) & (p < 1)
    normal = ndtri(jnp.where(is_normal, p, 0.5))
    edge = jnp.where(p == 0, -jnp.inf, jnp.where(p == 1, jnp.inf, jnp.nan))
    edge = jnp.where(df > 0, edge, jnp.nan).astype(p.dtype)
    return jnp.where(inside, value, jnp.where(is_normal, normal, edge))
