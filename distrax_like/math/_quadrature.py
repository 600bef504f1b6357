"""Integrals over an interval, elementwise over a batch: a fixed rule, and an adaptive one with derivatives."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from distrax_like._misc import Numeric, Real, promote
from distrax_like.special._nodes import legendre

# The nodes in [0, 1) of Kronrod's rule of 21 points, and their weights. Every second node, from the second on, is one
# of Gauss's rule of 10 points, a root of Legendre's polynomial; the others are the roots of Stieltjes's polynomial.
# Solved for at 60 digits, correctly rounded to double precision; `test_kronrod_rule` in tests/math checks them.
_KRONROD_NODES = (
    0.0, 0.148874338981631211, 0.294392862701460198, 0.433395394129247191, 0.562757134668604683, 0.679409568299024406,
    0.780817726586416897, 0.865063366688984511, 0.930157491355708226, 0.97390652851717172, 0.995657163025808081,
)
_KRONROD_WEIGHTS = (
    0.149445554002916906, 0.147739104901338491, 0.142775938577060081, 0.134709217311473326, 0.123491976262065851,
    0.109387158802297642, 0.0931254545836976055, 0.0750396748109199528, 0.054755896574351996, 0.0325581623079647275,
    0.0116946388673718743,
)
_NODES = np.concatenate([-np.asarray(_KRONROD_NODES[:0:-1]), _KRONROD_NODES])
_WEIGHTS = np.concatenate([_KRONROD_WEIGHTS[:0:-1], _KRONROD_WEIGHTS])
_GAUSS_WEIGHTS = np.zeros(21)
_GAUSS_WEIGHTS[1::2] = [weight for _, weight in legendre(10)]

_STARTING_INTERVALS = 8


class QuadratureResults(NamedTuple):
    """An integral, an estimate of its absolute error, and how many intervals were used."""

    integral: Real
    error: Real
    num_intervals: Real


def gauss_legendre(f: Callable[[Real], Real], low: Numeric, high: Numeric, num_points: int) -> Real:
    """∫ f(x) dx from low to high by Gauss-Legendre quadrature, elementwise.

    **Arguments:** `f`: from arrays of the broadcast shape of `low` and `high` to that shape; `low`, `high`: finite;
    `num_points`: the rule is exact for polynomials up to degree 2 num_points - 1.
    """
    low, high = jnp.broadcast_arrays(*promote(low, high))
    length = high - low
    nodes, weights = jnp.asarray(legendre(num_points), low.dtype).T

    # In a loop, since forty copies of the integrand take seconds to compile.
    def add(total: Real, node: tuple[Real, Real]) -> tuple[Real, None]:
        at, weight = node
        return total + weight * f(low + length * at), None

    return length * jax.lax.scan(add, jnp.zeros_like(length), ((nodes + 1) / 2, weights / 2))[0]


def integrate(
    f: Callable[[Real], Real],
    low: Numeric,
    high: Numeric,
    rtol: float | None = None,
    atol: float = 0.0,
    max_intervals: int = 64,
) -> QuadratureResults:
    """∫ f(x) dx from low to high, either of which may be infinite, by adaptive quadrature, elementwise.

    The variable is changed to t with x = low + (high - low) / (1 + exp(-2 u)), x = low + exp(u), or x = sinh(u), where
    u = π / 2 sinh(t), which removes integrable singularities at the ends and shortens tails of any kind. In t the
    interval with the largest error is halved until the sum of errors is small enough; the rule is the Gauss-Kronrod
    pair of 10 and 21 points. As with every adaptive rule, a peak much narrower than its distance from 0 or a finite end
    can be missed: split the integral there. The resolution at a singularity is the spacing of floating numbers next to
    it, which is finest at 0. An infinite range is cut where x is about the square root of the largest number.

    Derivatives of the integral, of every order, in both modes, in the ends and in whatever `f` closes over, are those
    of the rule on the intervals found.

    **Arguments:** `f`: elementwise, from arrays of shape `(21, *batch)`; `low`, `high`: shapes that broadcast to the
    batch; `rtol`, `atol`: the relative error aimed at (by default 100 epsilon) and the absolute one; `max_intervals`:
    8 or more.

    **Returns:** `QuadratureResults`; where `error` is above the tolerances the integral may be wrong.

    H. Takahasi and M. Mori, Double exponential formulas for numerical integration (1974); R. Piessens et al., QUADPACK
    (1983), for the error estimate.
    """
    low, high = jnp.broadcast_arrays(*promote(low, high))
    eps = float(jnp.finfo(low.dtype).eps)
    rtol = 100 * eps if rtol is None else rtol
    points = jax.ShapeDtypeStruct((21, *low.shape), low.dtype)
    # Arrays that the integrand closes over become arguments, so that they have derivatives.
    fn, consts = jax.closure_convert(lambda x: jnp.broadcast_to(f(x), points.shape), jnp.zeros(points.shape, low.dtype))

    @jax.custom_jvp
    def adaptive(low: Real, high: Real, *consts: Any) -> tuple[QuadratureResults, tuple[Real, Real]]:
        def rule(left: Real, right: Real) -> tuple[Real, Real, Real]:
            return _kronrod(lambda x: fn(x, *consts), low, high, left, right)

        start, end = _range(low, high)
        edges = jnp.stack([start + (end - start) * (i / _STARTING_INTERVALS) for i in range(_STARTING_INTERVALS + 1)])
        first = jax.lax.map(lambda interval: (*interval, *rule(*interval)), (edges[:-1], edges[1:]))
        rest = jnp.zeros((max_intervals - _STARTING_INTERVALS, *low.shape), low.dtype)
        table = tuple(jnp.concatenate([column, rest]) for column in first)

        def wanted(table: Any) -> Any:
            total, error, size = (jnp.sum(x, 0) for x in table[2:])
            # Where f changes sign, the rounding error is relative to the integral of |f|.
            return error > jnp.maximum(jnp.maximum(rtol * jnp.abs(total), atol), 60 * eps * size)

        def step(carry: Any) -> Any:
            k, count, table = carry
            worst = jnp.argmax(table[3], 0)[None]
            left, right = (jnp.take_along_axis(x, worst, 0)[0] for x in table[:2])
            middle = (left + right) / 2
            going = wanted(table)
            halves = (left, middle, *rule(left, middle)), (middle, right, *rule(middle, right))
            rows = jnp.reshape(jnp.arange(max_intervals), (-1, *(1,) * low.ndim))
            new = tuple(
                jnp.where(going & (rows == worst), a, jnp.where(going & (rows == k), b, x))
                for x, a, b in zip(table, *halves)
            )
            return k + 1, count + going, new

        def more(carry: Any) -> Any:
            k, _, table = carry
            return (k < max_intervals) & jnp.any(wanted(table))

        begin = (_STARTING_INTERVALS, jnp.full(low.shape, _STARTING_INTERVALS), table)
        _, count, table = jax.lax.while_loop(more, step, begin)
        results = QuadratureResults(jnp.sum(table[2], 0), jnp.sum(table[3], 0), count)
        return results, (table[0], table[1])

    def derivative(primals: Any, tangents: Any) -> Any:
        results, mesh = adaptive(*primals)
        # Constant ends are not differentiated: at a singularity that would be infinity times 0.
        varying = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]

        def again(*given: Any) -> Real:
            args = list(primals)
            for i, value in zip(varying, given):
                args[i] = value
            low, high, *consts = args

            def add(total: Real, interval: tuple[Real, Real]) -> tuple[Real, None]:
                return total + _kronrod(lambda x: fn(x, *consts), low, high, *interval)[0], None

            return jax.lax.scan(add, jnp.zeros_like(low), jax.lax.stop_gradient(mesh))[0]

        derivative = jax.jvp(again, [primals[i] for i in varying], [tangents[i] for i in varying])[1]
        none: Any = np.zeros(low.shape, jax.dtypes.float0)
        still = jax.tree.map(jnp.zeros_like, (results.error, mesh))
        return (results, mesh), (QuadratureResults(derivative, still[0], none), still[1])

    adaptive.defjvp(derivative, symbolic_zeros=True)
    return adaptive(low, high, *consts)[0]


def _range(low: Real, high: Real) -> tuple[Real, Real]:
    """The range of t, the variable of integration after the change from x."""
    info = jnp.finfo(low.dtype)
    small = -math.log(float(info.tiny))
    large = 0.45 * math.log(float(info.max))

    def t(u: float) -> float:
        return math.asinh(2 / math.pi * u)

    ends = {
        "finite": (t(small / 2), t(small / 2)),
        "above": (t(small), t(large)),
        "below": (t(large), t(small)),
        "both": (t(large), t(large)),
    }
    kinds = _kinds(low, high)

    def chosen(i: int) -> Real:
        infinite = [jnp.full_like(low, ends[kind][i]) for kind in ("both", "above", "below")]
        return jnp.select(kinds, infinite, ends["finite"][i])

    return -chosen(0), chosen(1)


def _kinds(low: Real, high: Real) -> list[Any]:
    return [jnp.isinf(low) & jnp.isinf(high), jnp.isinf(high), jnp.isinf(low)]


def _kronrod(
    fn: Callable[[Real], Real], low: Real, high: Real, left: Real, right: Real
) -> tuple[Real, Real, Real]:
    """The integral for t from left to right, its error, and the integral of |f|."""
    dtype, eps = low.dtype, float(jnp.finfo(low.dtype).eps)
    shape = (21, *(1,) * low.ndim)
    nodes, kronrod, gauss = (jnp.reshape(jnp.asarray(x, dtype), shape) for x in (_NODES, _WEIGHTS, _GAUSS_WEIGHTS))
    half = (right - left) / 2
    t = (left + right) / 2 + half * nodes
    u, du_dt = jnp.pi / 2 * jnp.sinh(t), jnp.pi / 2 * jnp.cosh(t)

    both, above, below = _kinds(low, high)
    finite = ~(both | above | below)
    start, stop = jnp.where(jnp.isinf(low), 0, low), jnp.where(jnp.isinf(high), 0, high)
    length = jnp.where(finite, stop - start, 1)
    e = jnp.exp(-2 * jnp.abs(u))
    distance = length * (e / (1 + e))  # from the nearer end
    inside = jnp.where(u < 0, start + distance, stop - distance)
    half_line = jnp.exp(jnp.where(below, -u, u))
    unbounded = jnp.where(both, jnp.sinh(u), jnp.where(above, start + half_line, stop - half_line))
    x = jnp.where(finite, inside, unbounded)
    dx_dt = jnp.where(finite, 2 * distance / (1 + e), jnp.where(both, jnp.cosh(u), half_line)) * du_dt

    # Where x has been rounded to an end, f may be infinite; the integral over this part is negligible.
    at_end = (x == low) | (x == high)
    middle = jnp.where(finite, start + length / 2, jnp.where(above, start + 1, stop - 1))
    values = jnp.where(at_end, 0, fn(jnp.where(at_end, middle, x))) * dx_dt * half

    total = jnp.sum(kronrod * values, 0)
    size = jnp.sum(kronrod * jnp.abs(values), 0)
    spread = jnp.sum(kronrod * jnp.abs(values - total / 2), 0)
    gap = jnp.abs(total - jnp.sum(gauss * values, 0))
    safe = jnp.where(spread > 0, spread, 1)
    error = spread * jnp.minimum(1, (200 * gap / safe) ** 1.5)
    return total, jax.lax.stop_gradient(jnp.maximum(error, 50 * eps * size)), jax.lax.stop_gradient(size)
