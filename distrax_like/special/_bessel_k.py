"""The modified Bessel function of the second kind, its logarithm and their derivatives, for orders v >= 0 and x > 0."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool

from distrax_like._misc import Real

from ._bessel_asymptotic import (
    derivative_sum,
    expansions,
    exponent,
    is_large,
    modulus,
    saddle,
)
from ._compensated import (
    Pair,
    chebyshev,
    differentiable,
    is_double,
    set_derivatives,
)

# Chebyshev coefficients in 8 m - 1 of A and B in 1 / Γ(1 ± μ) = A(m) ∓ μ B(m), for m = μ² <= 1 / 4, interpolated at
# 60 digits.
_EVEN = (
    0.9218702936504527,
    -0.07685284084478668,
    0.0012719271366545622,
    -4.9717367041957395e-06,
    -3.3126119768180853e-08,
    2.42309579004827e-10,
    -1.702377664251273e-13,
    -1.4943667065169001e-15,
    2.3826220476859634e-18,
)
_ODD = (
    -0.571011340185584,
    0.006516511267073688,
    0.0003087090173085368,
    -3.470626964904318e-06,
    6.943766448667449e-09,
    3.67795398857441e-11,
    -1.3563951023664248e-13,
    -3.680298480635798e-17,
)
_STEPS = 7  # of the recurrence in the order


class _Start(NamedTuple):
    """What Temme's series begin with, for an order μ in [-1 / 2, 1 / 2] and σ = μ log(2 / x)."""

    growth: Real  # e^σ
    decay: Real  # e^-σ
    even: Real  # S = (e^σ / Γ(1 - μ) + e^-σ / Γ(1 + μ)) / 2
    odd: Real  # (e^σ / Γ(1 - μ) - e^-σ / Γ(1 + μ)) / (2 μ)
    gamma: Real  # Γ(1 + μ)
    product: Real  # Γ(1 + μ) Γ(1 - μ)


def _gamma_halves(m: Real) -> Pair:
    """A and B in 1 / Γ(1 ± μ) = A ∓ μ B, for m = μ² <= 1 / 4."""
    return chebyshev(_EVEN, 8 * m - 1), chebyshev(_ODD, 8 * m - 1)


def _start(mu: Real, x: Real) -> _Start:
    """The start of the series; all but the first two and `gamma` are even in μ, derivatives included."""
    log = math.log(2) - jnp.log(x)
    sigma = mu * log
    growth, decay = jnp.exp(sigma), jnp.exp(-sigma)
    small = jnp.abs(sigma) < 1
    y = jnp.where(small, sigma, 0) ** 2
    cosh, sinhc = jnp.zeros_like(y), jnp.zeros_like(y)
    for k in reversed(range(9 if is_double(y) else 5)):
        cosh, sinhc = cosh * y + 1 / math.factorial(2 * k), sinhc * y + 1 / math.factorial(2 * k + 1)
    cosh = jnp.where(small, cosh, (growth + decay) / 2)
    sinhc = jnp.where(small, sinhc, (growth - decay) / jnp.where(small, 1, 2 * sigma))
    m = mu * mu
    a, b = _gamma_halves(m)
    both = 1 / (a * a - m * b * b)
    long = log * sinhc
    return _Start(growth, decay, a * cosh + m * b * long, a * long + b * cosh, both * (a + mu * b), both)


def temme(v: Real, x: Real) -> tuple[Real, Real, Real]:
    """K_v(x) (x / 2)^n and K_v+1(x) (x / 2)^(n + 1), where n is next to v <= 7.5, for x <= 3 / 4; and (2 / x)^(v - n).

    The quotients of the first two by the third are accurate where x is tiny, though the third is not: for v > n it is a
    factor of the leading terms of both, and for v < n, where n > 0, of the terms that dominate the recurrence.
    """
    n = jax.lax.stop_gradient(jnp.round(v))
    mu = v - n
    first = _start(mu, x)
    y = x * x / 4
    p, f, s = first.gamma * first.growth / 2, first.odd * first.product, first.even * first.product

    def term(i: Any, carry: tuple[Real, ...]) -> tuple[Real, ...]:
        low, high, s, f, p = carry
        k = jnp.asarray(i + 1, x.dtype)
        scale, below = y / k, 1 / (k * k - mu * mu)
        s, f = scale * (k * s + mu * mu * f) * below, scale * (k * f + s) * below
        p = scale * p / (k - mu)
        return low + f, high + (p - k * f), s, f, p

    low, high, *_ = jax.lax.fori_loop(0, 9 if is_double(x) else 5, term, (f, p, s, f, p))

    def raised(j: Any, carry: tuple[Real, Real]) -> tuple[Real, Real]:
        low, high = carry
        return jnp.where(n > j, high, low), jnp.where(n > j, (mu + (j + 1)) * high + y * low, high)

    return *jax.lax.fori_loop(0, _STEPS, raised, (low, high)), first.growth


def _node_table(double: bool) -> tuple[float, np.ndarray]:
    """The step and cosh s - 1, e^-s - 1 + s, sinh s - s, s at the nodes."""
    step, last = (0.104, 6.5) if double else (0.25, 5.3)
    rows = []
    for j in range(1, int(last / step) + 1):
        s = j * step
        d = sum(s ** (2 * i + 1) / math.factorial(2 * i + 1) for i in range(1, 25))
        rows.append((2 * math.sinh(s / 2) ** 2, math.expm1(-s) + s, d, s))
    return step, np.asarray(rows)


class Integral(NamedTuple):
    """J = ∫ exp(-p (cosh s - 1) - v (sinh s - s)) ds / 2, and the means of cosh s - 1 and of -s under this weight."""

    total: Real
    bend: Real
    lag: Real


def integral(v: Real, x: Real, here: Bool[Array, "..."]) -> Integral:
    """By the trapezoidal rule: its error falls exponentially in 1 / step, and all terms are positive."""
    step, table = _node_table(is_double(x))
    nodes = jnp.asarray(table, x.dtype)
    floor = -39.0 if is_double(x) else -19.0
    excess = x * (x / (modulus(v, x) + v))  # p - v

    def body(carry: Any) -> Any:
        j, _, total, bend, lag = carry
        c, e, d, s = nodes[j]
        log = -excess * c - v * e
        left = jnp.exp(log)
        right = left * jnp.exp(-2 * v * d)
        going = jnp.any(here & (log > floor))
        return j + 1, going, total + (left + right), bend + c * (left + right), lag - s * left * jnp.expm1(-2 * v * d)

    zero = jnp.zeros_like(x)
    begin = (0, jnp.any(here), zero + 1, zero, zero)
    _, _, total, bend, lag = jax.lax.while_loop(lambda carry: carry[1] & (carry[0] < len(table)), body, begin)
    return Integral(total * (step / 2), bend / total, lag / total)


class Regions(NamedTuple):
    """v and x where each formula is used, a harmless pair elsewhere."""

    is_temme: Bool[Array, "..."]
    is_integral: Bool[Array, "..."]
    temme: tuple[Real, Real]
    integral: tuple[Real, Real]
    large: tuple[Real, Real]

    def choose(self, temme: Real, integral: Real, large: Real) -> Real:
        return jnp.where(self.is_temme, temme, jnp.where(self.is_integral, integral, large))


def regions(v: Real, x: Real) -> Regions:
    """The formulas' regions."""
    large = is_large(v, x)
    temme = ~large & (x < 0.75) & (v < _STEPS + 0.5)
    between = ~(large | temme)

    def only(where: Any, v_else: int | float, x_else: int | float) -> tuple[Real, Real]:
        return jnp.where(where, v, v_else), jnp.where(where, x, x_else)

    return Regions(temme, between, only(temme, 0, 0.5), only(between, 2, 4), only(large, 2, 50))


def k_parts(v: Real, x: Real) -> tuple[Pair, Real]:
    """kve as the exponential of a pair times a factor."""
    at = regions(v, x)
    low, _, growth = temme(*at.temme)
    large = jnp.sqrt(math.pi / 2 / modulus(*at.large)) * jnp.exp(expansions(*at.large)[1])
    middle = integral(*at.integral, at.is_integral).total
    return exponent(v, x, at.is_temme), at.choose(low / growth * jnp.exp(at.temme[1]), middle, large)


def log_weighted(pair: Pair, factor: Real) -> Real:
    """The logarithm of exp(pair) times the factor."""
    return pair[0] + (pair[1] + jnp.log(factor))


@differentiable
def log_k_in_x(v: Real, x: Real) -> Real:
    """The derivative of `log_k` in x."""
    at = regions(v, x)
    v_t, x_t = at.temme
    low, high, _ = temme(v_t, x_t)
    near = 1 - (2 * high / low - v_t) / x_t
    w, z = jnp.where(at.is_temme, 2, v), jnp.where(at.is_temme, 50, x)
    p = modulus(w, z)
    bend = -modulus(*at.integral) * integral(*at.integral, at.is_integral).bend
    derivative = jnp.where(at.is_integral, bend, derivative_sum(*at.large, -1))
    return jnp.where(at.is_temme, near, (z / p) * derivative / p - w / z * (w / (p + z)))


@differentiable
def log_k_in_v(v: Real, x: Real) -> Real:
    """The derivative of `log_k` in v."""
    at = regions(v, x)
    one = jnp.ones_like(v)
    low, low_derivative = jax.jvp(lambda v: temme(v, at.temme[1])[0], (at.temme[0],), (one,))
    large = jax.jvp(lambda v: expansions(v, at.large[1])[1], (at.large[0],), (one,))[1]
    v_l, x_l = at.large
    p = modulus(v_l, x_l)
    w, z = jnp.where(at.is_temme, 2, v), jnp.where(at.is_temme, 50, x)
    rest = jnp.where(at.is_integral, -integral(*at.integral, at.is_integral).lag, large - v_l / p / (2 * p))
    return jnp.where(at.is_temme, low_derivative / low, saddle(w, z) + rest)


@jax.custom_jvp
@jax.jit
def log_k(v: Real, x: Real) -> Real:
    """log of kve."""
    return log_weighted(*k_parts(v, x))


set_derivatives(log_k, log_k_in_v, log_k_in_x)


def weighted(pair: Pair, factor: Real) -> Real:
    """exp(pair) times the factor, also where the exponential alone is out of range."""
    root = jnp.exp(pair[0] / 2)
    scale = factor * (1 + jnp.clip(pair[1], -0.5, 0.5))
    return jnp.where((root == 0) | (scale == 0), 0, root * scale * root)


def exponentials(
    parts: Callable[..., Any], total: Callable[..., Real], derivatives: tuple[Callable[..., Any], ...]
) -> Any:
    """The function `total(v, x, parts(v, x), weights)` of v, x and weights: a sum of exponentials times the weights.

    Its derivatives in v and x are such sums again, of weights `derivatives[0](v, x, *w)` and
    `derivatives[1](v, x, *w)`: the weights are within the exponential's range, since x^v may be out of range where
    v x^(v - 1) is not. The parts are
    computed once for value and derivatives of every order.
    """
    value = jax.custom_jvp(total)

    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Real, Real]:
        v, x, known, weights = primals
        result = jnp.zeros_like(v)
        for tangent, derivative in zip(tangents[:2], derivatives):
            if not isinstance(tangent, SymbolicZero):
                result = result + value(v, x, known, derivative(v, x, *weights)) * tangent
        moved = tangents[3]
        if not all(isinstance(w, SymbolicZero) for w in moved):
            moved = tuple(jnp.zeros_like(v) if isinstance(w, SymbolicZero) else w for w in moved)
            result = result + value(v, x, known, moved)
        return value(*primals), result

    value.defjvp(rule, symbolic_zeros=True)

    def fn(v: Real, x: Real, *weights: Real) -> Real:
        known = jax.jit(parts)(jax.lax.stop_gradient(v), jax.lax.stop_gradient(x))
        return value(v, x, known, weights)

    return fn


_k = exponentials(
    k_parts,
    lambda v, x, known, weights: weighted(known[0], known[1] * weights[0]),
    (lambda v, x, w: (w * log_k_in_v(v, x),), lambda v, x, w: (w * log_k_in_x(v, x),)),
)


def k(v: Real, x: Real) -> Real:
    """kve."""
    return _k(v, x, jnp.ones_like(v))
