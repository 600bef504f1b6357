"""The formulas behind the incomplete beta function, for x and 1 - x both given as exactly as wanted."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from distrax_like._misc import Real

from ._compensated import (
    _TWO_THIRDS,
    Pair,
    _constant,
    _split,
    chebyshev,
    is_double,
    log1p,
    log_ratio_pair,
    product,
    two_product,
    two_sum,
)
from ._joint_derivatives import Joint
from ._stirling import _STIRLING_LARGE, _STIRLING_SMALL, _correction_difference, gammaln1p

_Where = Bool[Array, "..."]

_UNROLLED = 2  # steps of a loop in one turn: what passes through memory is the time they take

_TEMME_FROM = 50  # the smaller shape from which the uniform expansion is used, and
_TEMME_WIDTH = 0.3  # how far from the mean, as |a y - b x| over the smaller shape


class Point(NamedTuple):
    """Where I_x(a, b) is wanted: x + y = 1, each rounded, a y, b x, and `excess` = a y - b x."""

    a: Real
    b: Real
    x: Real
    y: Real
    ay: Real
    bx: Real
    excess: Real


def _flip(where: _Where, p: Point) -> Point:
    """The point at which the complement is wanted, where `where`."""
    other = Point(p.b, p.a, p.y, p.x, p.bx, p.ay, -p.excess)
    return Point(*(jnp.where(where, after, before) for after, before in zip(other, p)))


class _Regions(NamedTuple):
    """Which formula is used at a point with x <= 1 / 2; `upper` tells that it gives the upper tail, the smaller one."""

    taylor: _Where
    temme: _Where
    upper: _Where


def _regions(p: Point) -> _Regions:
    """The regions of a point, from which nothing is to be differentiated."""
    temme = temme_region(p)
    edge = 1.5 if is_double(p.x) else 1.0
    z = jnp.maximum(p.x, p.bx)
    # The two tails are alike near a = log(1 / 2) / log(z) for small z, and near a = z + 1 / 4 above.
    half = jnp.where(z < 0.5, -0.6931 / jnp.log(jnp.minimum(z, 0.5)), z + 0.25)
    taylor = (z < edge) & (p.a < half) & (p.a < p.b)
    return _Regions(taylor, temme, taylor | ((p.excess < 0) & (temme | (z >= edge))))


def temme_region(p: Point) -> _Where:
    """Where `smaller_tail` is not meant to be used."""
    low = jnp.minimum(p.a, p.b)
    return (low >= _TEMME_FROM) & (jnp.abs(p.excess) < _TEMME_WIDTH * low)


def _start(p: Point, both: Any = True) -> tuple[_Where, Point, _Regions]:
    """Whether the point was flipped to have x <= 1 / 2, the point then, and its regions.

    Where not `both`, an I_x(a, b) with x <= 1 / 2 is computed itself, though it may be near 1.
    """
    flipped = p.x > 0.5
    p = _flip(flipped, p)
    at = _regions(p)
    return flipped, p, _Regions(at.taylor & (flipped | both), at.temme, at.upper & (flipped | both))


def regions(p: Point, both: Any = True) -> tuple[_Where, _Where]:
    """Whether the upper tail is the one that is computed, and whether the Taylor series gives it."""
    flipped, _, at = _start(p, both)
    return at.upper ^ flipped, at.taylor


# The exponent: a log(n x / a) + b log(n y / b) for n = a + b, in pairs.


def log_parts(x: Pair, m: Real, difference: Pair, shift: Real) -> tuple[Real, Pair, Pair]:
    """As `log_ratio_parts`, for a pair x, given times 2^shift, whose difference from m is known."""
    top, kx = jnp.frexp(x[0])
    bottom, km = jnp.frexp(m)
    up, down = top > bottom * 2**0.5, top * 2**0.5 < bottom
    k = (kx - km + up.astype(kx.dtype) - down.astype(kx.dtype)).astype(m.dtype) - shift
    near = k == 0
    top, bottom = jnp.where(down, 2 * top, top), jnp.where(up, 2 * bottom, bottom)
    top, bottom = jnp.where(near, x[0], top), jnp.where(near, m, bottom)
    top_lo = jnp.where(x[0] == 0, 0, x[1] / x[0] * top)
    d, d_lo = two_sum(top, -bottom)
    d, d_lo = two_sum(jnp.where(near, difference[0], d), jnp.where(near, difference[1], d_lo + top_lo))
    s, s_lo = two_sum(top, bottom)

    v = d / s
    back, back_lo = two_product(v, s)
    pair = v, ((d - back) - back_lo + (d_lo - v * (s_lo + top_lo))) / s
    cube = product(product(product(pair, pair), pair), _constant(_TWO_THIRDS, v))
    w = v * v
    tail = jnp.zeros_like(v)
    for j in reversed(range(2, 13 if is_double(v) else 5)):
        tail = tail * w + 2 / (2 * j + 1)
    return k, pair, (cube[0], cube[1] + v * w * w * tail)


def _add(x: Pair, y: Pair) -> Pair:
    hi, lo = two_sum(x[0], y[0])
    return hi, lo + (x[1] + y[1])


def _power(a: Real, m: Pair, excess: Pair, offset: Pair, shift: Real) -> Pair:
    """a log(m / a) + a - m where a >= 1, with a - m = `excess`, else a log m - `offset`, for m given times 2^shift."""
    small = a < 1
    reference, none = jnp.where(small, 1, a), jnp.zeros_like(a)
    d, d_lo = two_sum(m[0], -reference)
    difference = jnp.where(small, d, -excess[0]), jnp.where(small, d_lo + m[1], -excess[1])
    parts = log_parts(m, reference, difference, shift)
    k, v, c = parts
    near = _add(product(excess, v), product((a, none), c))
    rest = jnp.where(small, -offset[0], excess[0]), jnp.where(small, -offset[1], excess[1])
    far = _add(product((a, none), log_ratio_pair(parts)), rest)
    is_near = (k == 0) & ~small
    return jnp.where(is_near, near[0], far[0]), jnp.where(is_near, near[1], far[1])


def _exact_product(x: Real, y: Pair) -> Pair:
    """x y to twice the precision; `product` is short of that by a third, too much for what cancels in the excess."""
    (a, b), (c, d) = _split(x), _split(y[0])
    first, lost = two_sum(a * c, a * d)
    second, also_lost = two_sum(first, b * c)
    return two_sum(second, ((lost + also_lost) + b * d) + x * y[1])


def pair_excess(a: Real, b: Real, x: Pair, y: Pair) -> Pair:
    """a y - b x as a pair."""
    return two_sum(*_add(_exact_product(a, y), _exact_product(-b, x)))


def pair_exponent(a: Real, b: Real, x: Pair, y: Pair, scaled: _Where) -> Pair:
    """log(x^a y^b / B(a, b)) less the logarithm of `scale(a, b)`, for pairs x + y = 1.

    Where `scaled`, x is given times 2^60, since the parts of an x near the smallest number would be lost.
    """
    n = two_sum(a, b)
    tiny = n[0] < 1
    n = jnp.where(tiny, 1, n[0]), jnp.where(tiny, 0, n[1])
    down = jnp.where(scaled, 2.0**-60, 1).astype(a.dtype)
    excess = pair_excess(a, b, (x[0] * down, x[1] * down), y)

    one, none = jnp.ones_like(down), jnp.zeros_like(down)
    negative = -excess[0], -excess[1]

    # One power a turn, which halves what there is to compile; not stacked, since XLA does not vectorise what it joins.
    def add_power(i: Array, total: Pair) -> Pair:
        def own(p: Real, q: Real) -> Real:
            return jnp.where(i == 0, p, q)

        m = product(n, (own(x[0], y[0]), own(x[1], y[1])))
        lowered = jnp.where(tiny, 0, own(down, one))
        difference = own(excess[0], negative[0]), own(excess[1], negative[1])
        shift = own(jnp.where(scaled, 60, none), none)
        return _add(total, _power(own(a, b), m, difference, (m[0] * lowered, m[1] * lowered), shift))

    hi, lo = jax.lax.fori_loop(0, 2, add_power, (none, none))
    hi, lo = two_sum(hi, lo)
    finite = jnp.isfinite(hi) & jnp.isfinite(lo)
    return jnp.where(finite, hi, -jnp.inf), jnp.where(finite, lo, 0)


def _log_gamma_rest(z: Real) -> Real:
    """log Γ(1 + z), less Stirling's formula where z >= 1."""
    large, small = z >= 8, z < 1
    tail = chebyshev(_STIRLING_LARGE, 2 * (8 / jnp.where(large, z, 8)) ** 2 - 1)
    middle = jnp.where(large | small, 2, z)
    bulk = chebyshev(_STIRLING_SMALL, (middle - 2) / (middle + 2) / 0.6)
    low = gammaln1p(jnp.where(small, z, 1))
    # Divided twice, since the derivative would else hold the square of 12 z, which overflows early.
    return jnp.where(small, low, jnp.where(large, tail, bulk) / 12 / jnp.where(small, 1, z))


def scale(a: Real, b: Real) -> Real:
    """x^a y^b / B(a, b) over the exponential of the exponent."""
    # Not `minimum`, whose second derivatives at a = b are not those of a symmetric function.
    low, high = jnp.where(a <= b, a, b), jnp.where(a <= b, b, a)
    ratio = 1 + low / high
    both, one, n = low >= 1, high >= 1, low + high

    def add_rest(i: Array, total: Real) -> Real:
        rest = _log_gamma_rest(jnp.where(i == 0, low, jnp.where(i == 1, n, high)))
        return total + jnp.where(i == 1, -rest, rest)

    correction = jax.lax.fori_loop(0, 3, add_rest, jnp.zeros_like(low))
    mean = low / ratio
    root = jnp.where(
        both,
        jnp.sqrt(jnp.where(both, mean, 1) / (2 * jnp.pi)),
        jnp.where(one, low / jnp.sqrt(ratio), mean * jnp.sqrt(jnp.where(n >= 1, 2 * jnp.pi * n, 1))),
    )
    return root * jnp.exp(-correction)


# The smaller tail over the exponential, in three formulas.


def _turns(steps: Real) -> Array:
    """How often a loop of `_UNROLLED` steps is gone through for the slowest element."""
    return jnp.ceil(jnp.max(steps) / _UNROLLED).astype(jnp.int32) if steps.size else jnp.int32(1)


def _fraction(p: Point) -> Real:
    """The continued fraction K of DLMF 8.17.22, whose even part is x^a y^b / (B(a, b) I), from its end to its start.

    Written in 1 / (a + 2 j - 1), b x and a y - b x, so that derivatives are accurate for large shapes.
    """
    wide = is_double(p.x)
    least, derivative, gamma, root = (12, 0.4, 95, 10) if wide else (7, 0.25, 27, 5)
    # It ends like the one of the incomplete gamma function for n y, or geometrically; before, it must get past
    # the smaller shape.
    a, b, y = (jax.lax.stop_gradient(v) for v in (p.a, p.bx / p.x, p.y))
    steps = jnp.minimum(gamma / ((a + b) * y), root / jnp.arctanh(jnp.minimum(jnp.sqrt(y), 0.999)))
    steps = least + derivative * jnp.minimum(jnp.minimum(a, b), _TEMME_FROM) + steps
    turns = _turns(steps)
    count = 1 + turns * _UNROLLED

    def inner(j: Real, rest: Real) -> tuple[Real, Real]:
        u = 1 / (p.a + (2 * j - 1))
        w = p.bx - j * p.x
        tail = (p.x + w * u) * (j * w / (j * (1 + w * u) + rest))
        return (p.excess + 1) + (j - 1) * (1 + p.y) + tail, u

    def turn(i: Array, rest: Real) -> Real:
        for k in range(_UNROLLED):
            j = (count - i * _UNROLLED - k).astype(p.x.dtype)
            total, u = inner(j, rest)
            rest = (1 - j * u) * total
        return rest

    j = (count + 1).astype(p.x.dtype)
    end = (1 - j / (p.a + (2 * j - 1))) * ((p.excess + 1) + (j - 1) * (1 + p.y))
    total, _ = inner(jnp.ones((), p.x.dtype), jax.lax.fori_loop(0, turns, turn, end))
    small = p.a < 1
    return total * jnp.where(small, p.a / (1 + p.a), 1 / (1 + 1 / jnp.where(small, 1, p.a)))


def gamma_ratio(a: Real, b: Real) -> Real:
    """log Γ(a + b) - log Γ(b) - a log b for b >= 8 and 0 < a < 2, accurate with its derivatives."""
    v = a / (2 * b + a)
    w, tail = v * v, jnp.zeros_like(v)
    for j in reversed(range(1, 9 if is_double(v) else 4)):
        tail = tail * w + 2 / (2 * j + 1)
    # log(1 + a / b) = 2 v + rest
    rest = v * w * tail
    return (a * v + (a + b) * rest) - (v + rest / 2) - _correction_difference(a, b)


def raise_by(steps: range, a: Real, b: Real) -> Real:
    """The sum of log(1 + a / (b + i)) over i in `steps`, to full relative accuracy for small a."""
    product = jnp.zeros_like(a)
    for i in steps:
        ratio = a / (b + i)
        product = product + ratio * (1 + product)
    return log1p(product)


def taylor_parts(p: Point) -> tuple[Real, Real, Real]:
    """r, c and s with which I = (r x)^a exp(c) (1 + s), where s is a Σ (1 - b)_k x^k / (k! (a + k)).

    For small x and b x. For large b, r is b; else c is short of log((a + b) / b). It is small with a.
    """
    wide = is_double(p.x)
    least, bits = (20, 38) if wide else (12, 18)
    turns = _turns(jnp.maximum(least, 2 - bits / jnp.log(jax.lax.stop_gradient(p.x))))

    def turn(i: Array, total: Real) -> Real:
        for k in range(_UNROLLED):
            j = ((turns - i) * _UNROLLED - k).astype(p.x.dtype)
            total = (p.x - p.bx * (1 / j)) * (1 / (p.a + j) + total)
        return total

    total = jax.lax.fori_loop(0, turns, turn, jnp.zeros_like(p.x))
    # b is raised by 8 where it is small.
    large = p.b >= 8
    raised = jnp.where(large, p.b, p.b + 8)
    steps = raise_by(range(1, 8), p.a, jnp.where(large, 1, p.b))
    constant = gamma_ratio(p.a, raised) - gammaln1p(p.a) - jnp.where(large, 0, steps)
    return raised, constant, p.a * total


def _taylor(p: Point) -> Real:
    """The upper tail for small x, b x and a."""
    raised, constant, rest = taylor_parts(p)
    large = p.b >= 8
    first = log1p(jnp.where(large, 0, p.a / jnp.where(large, 1, p.b)))
    u = p.a * jnp.log(jnp.where(large, p.bx, p.x * raised)) + (constant - first)
    return -jnp.expm1(u) - jnp.exp(u) * rest


@functools.cache
def _temme_polynomials(dtype: Any) -> tuple[tuple[float, ...], ...]:
    """Coefficients in κ of d_0, d_1, … in η / μ = Σ d_n η^n, where μ μ' = η (1 + μ) (1 - κ μ)."""
    poly = np.polynomial.polynomial
    terms = 19 if np.finfo(dtype).nmant > 30 else 10
    mu: list[Any] = [np.zeros(1), np.ones(1)]
    square: list[Any] = [np.zeros(1)] * 2
    for k in range(2, terms + 1):
        cross = sum((np.convolve(mu[i], mu[k + 1 - i]) for i in range(2, k)), np.zeros(1))
        linear: Any = poly.polysub(poly.polymul([1, -1], mu[k - 1]), poly.polymul([0, 1], square[k - 1]))
        mu.append(poly.polysub(linear, cross * (k + 1) / 2) / (k + 1))
        square.append(functools.reduce(poly.polyadd, (np.convolve(mu[i], mu[k - i]) for i in range(1, k))))
    d: list[Any] = [np.ones(1)]
    for k in range(1, terms):
        d.append(-functools.reduce(poly.polyadd, (np.convolve(mu[i + 1], d[k - i]) for i in range(1, k + 1))))
    return tuple(tuple(float(c) for c in p) for p in d)


def _sum_rows(eta: Real, kappa: Real, add: Any, start: Any) -> Any:
    """Goes through the d_n(κ) from the last to d_1 with `add(n, d_n, total)`."""
    rows = _temme_polynomials(eta.dtype)
    table = jnp.asarray([row + (0.0,) * (len(rows) - len(row)) for row in rows], eta.dtype)

    def turn(i: Array, total: Any) -> Any:
        n = len(rows) - 1 - i
        d = jnp.zeros_like(kappa)
        for c in reversed(table[n]):
            d = d * kappa + c
        return add(n.astype(eta.dtype), d, total)

    return jax.lax.fori_loop(0, len(rows) - 1, turn, start)


@Joint
def temme_series(eta: Real, kappa: Real) -> Real:
    """η / μ."""
    return 1 + eta * _sum_rows(eta, kappa, lambda n, d, total: total * eta + d, jnp.zeros_like(eta))


def temme_sum(size: Real, kappa: Real, eta: Real) -> Real:
    """S = √(2 π A) e^(A η² / 2) (upper tail - erfc(η √(A / 2)) / 2) for A = a (1 + κ): integration by parts."""

    def add(n: Array, d: Real, totals: Any) -> Any:
        total, later, last = totals
        new = later * ((n + 1) / size) + d
        return total * eta + new, last, new

    total, later, _ = _sum_rows(eta, kappa, add, (jnp.zeros_like(eta),) * 3)
    return total / (1 + later / size)


def smaller_tail(p: Point, weight: Real, both: Any = True) -> Real:
    """The smaller tail over x^a y^b / B(a, b) / `weight`, or itself by the Taylor series; not for Temme's region."""
    _, p, at = _start(p, both)

    def only(where: _Where, p: Point, *safe: Any) -> Point:
        return Point(*(jnp.where(where, value, other) for value, other in zip(p, safe)))

    fraction = _fraction(only(~(at.taylor | at.temme), _flip(at.upper, p), 1, 1, 0.25, 0.75, 0.75, 0.25, 0.5))
    taylor = _taylor(only(at.taylor, p, 1, 2, 0.25, 0.75, 0.75, 0.5, 0.25))
    return jnp.where(at.taylor, taylor, weight / fraction)
