"""Sums, products and logarithms kept as pairs of numbers, and derivatives for functions that are computed in loops.

A pair (hi, lo) stands for hi + lo with |lo| at most an ulp or so of hi. The exponential of a pair, exp(hi) (1 + lo), is
accurate to the last bits where the exponential of a rounded exponent of size 700 has lost three digits.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from distrax_like._misc import Real

Pair = tuple[Real, Real]

_LOG2 = (0.6931471805599453, 2.3190468138462996e-17)
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def differentiable(fn: Callable[..., Real]) -> Any:
    """An elementwise `fn` of arrays of one shape with derivatives of every order, in forward and reverse mode.

    A partial derivative is the forward derivative of `fn` for a constant tangent of ones, a function like `fn`: nothing
    is transposed, so `fn` may hold loops of any length. What has no tangent costs nothing.
    """
    compiled = jax.custom_jvp(jax.jit(fn))

    @functools.cache
    def partial(i: int) -> Any:
        def derivative(*args: Real) -> Real:
            return jax.jvp(lambda z: fn(*args[:i], z, *args[i + 1 :]), (args[i],), (jnp.ones_like(args[i]),))[1]

        return differentiable(derivative)

    def rule(primals: tuple[Real, ...], tangents: tuple[Any, ...]) -> tuple[Real, Real]:
        return compiled(*primals), add_tangents(primals, tangents, *(partial(i) for i in range(len(primals))))

    compiled.defjvp(rule, symbolic_zeros=True)
    return compiled


def add_tangents(primals: tuple[Real, ...], tangents: tuple[Any, ...], *derivatives: Callable[..., Real]) -> Real:
    """The sum of each derivative, a function of the primals, times its tangent.

    Derivatives without a tangent are not computed.

    The primals may be of different shapes, those of parameters smaller; the sum is of the broadcast shape.
    """
    total = jnp.zeros(jnp.broadcast_shapes(*(x.shape for x in primals)), primals[0].dtype)
    for derivative, tangent in zip(derivatives, tangents):
        if not isinstance(tangent, SymbolicZero):
            total = total + derivative(*primals) * tangent
    return total


def set_derivatives(fn: Any, *derivatives: Callable[..., Real]) -> None:
    """Gives a `jax.custom_jvp` function its partial derivatives, functions of the same arguments."""
    fn.defjvp(
        lambda primals, tangents: (fn(*primals), add_tangents(primals, tangents, *derivatives)), symbolic_zeros=True
    )


def with_derivatives(fn: Callable[..., Real], *derivatives: Callable[..., Real]) -> Any:
    """`fn`, whose derivatives are these functions."""
    value = jax.custom_jvp(jax.jit(fn))
    set_derivatives(value, *derivatives)
    return value


def weighted(
    factor: Callable[..., Real], exponent: Callable[..., Pair], derivatives: tuple[Callable[..., Real], ...]
) -> Any:
    """`factor` times the exponential of `exponent`, whose derivatives are `derivatives`."""

    @jax.custom_jvp
    @jax.jit
    def value(*args: Real) -> Real:
        hi, lo = exponent(*args)
        # In two halves: the exponential may be below the normal range where the product is not.
        root = jnp.exp(hi / 2)
        # Where lo is not small, hi is so large that the exponential is 0.
        return root * (factor(*args) * (1 + jnp.clip(lo, -0.5, 0.5))) * root

    @functools.cache
    def partial(i: int) -> Any:
        def derivative(*args: Real) -> Real:
            here, there = jax.jvp(
                lambda z: factor(*args[:i], z, *args[i + 1 :]), (args[i],), (jnp.ones_like(args[i]),)
            )
            return here * derivatives[i](*args) + there

        return weighted(differentiable(derivative), exponent, derivatives)

    # Made when they are asked for, since each has derivatives of its own.
    set_derivatives(value, *(lambda *args, i=i: partial(i)(*args) for i in range(len(derivatives))))
    return value


def is_double(x: Real) -> bool:
    """Whether the dtype has more digits than single precision, for which fewer terms are enough."""
    return jnp.finfo(x.dtype).nmant > 30


def chebyshev(coefficients: tuple[float, ...], t: Real) -> Real:
    """The Chebyshev series at t in [-1, 1], as long as the dtype needs."""
    small = float(jnp.finfo(t.dtype).eps) / 32
    kept = [c for c in coefficients if abs(c) > small]
    last, before = jnp.zeros_like(t), jnp.zeros_like(t)
    for c in reversed(kept[1:]):
        last, before = 2 * t * last - before + c, last
    return t * last - before + kept[0]


def log1p(x: Real) -> Real:
    """log(1 + x); XLA's was wrong by 100 ulp in double precision for x in (-0.42, -0.3) until jaxlib 0.11."""
    far = x < -0.2
    return jnp.where(far, jnp.log(jnp.where(far, 1 + x, 1)), jnp.log1p(jnp.where(far, 0, x)))


def two_sum(x: Real, y: Real) -> Pair:
    """x + y exactly."""
    total = x + y
    other = total - x
    return total, (x - (total - other)) + (y - other)


def one_minus(x: Real) -> Pair:
    """1 - x exactly, for x < 2."""
    # XLA would simplify the sum with a constant 1, and lose what was rounded off.
    return two_sum(jax.lax.optimization_barrier(jnp.ones_like(x)), -x)


def _split(x: Real) -> Pair:
    info = jnp.finfo(x.dtype)
    # Rounding, not the subtraction of a multiple: compilers that fuse products and sums would spoil that.
    hi = jax.lax.reduce_precision(x, exponent_bits=info.bits - info.nmant - 1, mantissa_bits=(info.nmant - 1) // 2)
    return hi, x - hi


def two_product(x: Real, y: Real) -> Pair:
    """x y exactly, but for an error far below the pair's last place."""
    (a, b), (c, d) = _split(x), _split(y)
    return two_sum(a * c, a * d + b * c + b * d)


def exact_product(x: Real, y: Real) -> Pair:
    """x y in twice the digits, where `two_product` has one and a half times as many."""
    (a, b), (c, d) = _split(x), _split(y)
    cross, cross_lo = two_sum(a * d, b * c)
    hi, lo = two_sum(a * c, cross)
    return hi, lo + (cross_lo + b * d)


def product(x: Pair, y: Pair) -> Pair:
    """The product of two pairs."""
    hi, lo = two_product(x[0], y[0])
    return hi, lo + (x[0] * y[1] + x[1] * y[0])


def _constant(pair: tuple[float, float], like: Real) -> Pair:
    hi = jnp.asarray(pair[0], like.dtype)
    # What the dtype does not hold of the first number belongs to the second.
    rest = pair[0] - float(jnp.finfo(like.dtype).dtype.type(pair[0]))
    return hi, jnp.asarray(rest + pair[1], like.dtype)


def log_ratio_parts(x: Real, m: Real) -> tuple[Real, Pair, Pair]:
    """log(x / m) as k log 2 + 2 v + c, for positive numbers: k is whole, v and c are pairs, and v of at most 0.172.

    With x / m scaled by 2^-k into [1 / √2, √2], v = (x - m) / (x + m), whose numerator is exact, and
    c = 2 atanh(v) - 2 v.
    """
    x, kx = jnp.frexp(x)
    m, km = jnp.frexp(m)
    up, down = x > m * 2**0.5, x * 2**0.5 < m
    k = (kx - km + up.astype(kx.dtype) - down.astype(kx.dtype)).astype(x.dtype)
    x, m = jnp.where(down, 2 * x, x), jnp.where(up, 2 * m, m)

    difference = x - m
    total, total_lo = two_sum(x, m)
    v = difference / total
    (a, b), (c, d) = _split(v), _split(total)
    rest = (((difference - a * c) - a * d) - b * c) - b * d
    pair = v, (rest - v * total_lo) / total

    square = product(pair, pair)
    cube = product(product(square, pair), _constant(_TWO_THIRDS, v))
    w = square[0]
    # 2 (v⁵ / 5 + v⁷ / 7 + …), to the end of the dtype at v = 0.172; relative to the whole it is below 2^-9.
    terms = 13 if is_double(x) else 5
    tail = jnp.zeros_like(v)
    for j in reversed(range(2, terms)):
        tail = tail * w + 2 / (2 * j + 1)
    return k, pair, (cube[0], cube[1] + v * w * w * tail)


def log_ratio_pair(parts: tuple[Real, Pair, Pair]) -> Pair:
    """log(x / m) as one pair, from `log_ratio_parts`."""
    k, (v, v_lo), (c, c_lo) = parts
    bits = jnp.finfo(v.dtype).nmant - 12
    first = round(_LOG2[0] * 2**bits) / 2**bits  # so short that its product with k is exact
    hi, lo = two_sum(2 * v, c)
    hi, lo_lo = two_sum(k * first, hi)
    return hi, lo_lo + (lo + (k * ((_LOG2[0] - first) + _LOG2[1]) + (2 * v_lo + c_lo)))


def power_exponent(a: Real, x: Real, small: Any) -> tuple[Pair, Real]:
    """a log(x / a) + a - x as a pair, or a log x - x where `small`; and log(x / a) or log x, its derivative in a.

    Both for positive finite a and x. Near x = a the first is (x - a) v - a c, in which nothing cancels.
    """
    reference = jnp.where(small, jnp.ones_like(a), a)
    parts = log_ratio_parts(x, reference)
    k, v, c = parts
    log, log_lo = log_ratio_pair(parts)

    near = product((x - a, jnp.zeros_like(a)), v)
    bulge = product((a, jnp.zeros_like(a)), c)
    near_hi, near_lo = two_sum(bulge[0], -near[0])
    near_lo = near_lo + (bulge[1] - near[1])

    far = product((a, jnp.zeros_like(a)), (log, log_lo))
    shift, shift_lo = two_sum(jnp.where(small, jnp.zeros_like(a), a), -x)
    far_hi, far_lo = two_sum(far[0], shift)
    far_lo = far_lo + (far[1] + shift_lo)

    is_near = (k == 0) & jnp.logical_not(small)
    hi, lo = two_sum(jnp.where(is_near, near_hi, far_hi), jnp.where(is_near, near_lo, far_lo))
    finite = jnp.isfinite(hi) & jnp.isfinite(lo)
    return (jnp.where(finite, hi, -jnp.inf), jnp.where(finite, lo, 0)), log
