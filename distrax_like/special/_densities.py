"""Log densities, entropies and divergences of the gamma, beta, Dirichlet, Poisson and binomial families.

All are saddle-point forms. With D(t) = t - 1 - log t >= 0 and G(a) = log Γ(a + 1) - a log a + a, a power times an
exponential is exp(-G(a) - a D(z / a)), in which nothing cancels, however large a is. What depends on parameters alone
is computed at the shape of the parameters; each value costs one logarithm, that of its ratio to the mean, and D shares
its series. The distance from the mean is taken in doubled precision, so that large counts cost no digits.

The derivatives are closed forms with the same terms. After C. Loader, Fast and accurate computation of binomial
probabilities (2000).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from distrax_like._misc import Numeric, Real, promote

from ._compensated import Pair, differentiable, is_double, log1p, two_product, two_sum, with_slopes
from ._elementary import mul0
from ._log_series import expm1mx, horner, log1pmx, log_and_excess

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
MAX_TERMS = 8  # of a sum that is written out
_LOG_FLOOR = -40.0  # of a mean whose ratio to a count is taken; what is below comes in as its logarithm

# Rational functions of w in [0, 1], interpolated at 60 digits, in single and double precision: of a times the error of
# Stirling's formula, with w = 1 / a^2, and of log Γ(1 + w) / (w (1 - w)).
_STIRLING = (
    (
        (0.08333333333293852, 0.2127053582304676, 0.0981993018884619, 0.0050332477477374035),
        (1.0, 2.5857976014270525, 1.2550644137238254, 0.08467478612710375),
    ),
    (
        (
            0.08333333333333333, 1.858840472589229, 14.28487117510949, 48.25246886957957, 75.89658413572485,
            54.29788759491462, 15.95445560535831, 1.5047329856525282, 0.021520387139101302,
        ),
        (
            1.0, 22.33941900440408, 172.15357759193697, 584.5624655069788, 928.7543335398183, 677.9928948090231,
            208.08161242933107, 21.861739711695243, 0.46165110759516276,
        ),
    ),
)  # fmt: skip
_GAMMALN1P = (
    (
        (-0.5772156631552106, -0.6216809925566944, -0.14216996382200678, -0.0023539113417213094),
        (1.0, 1.5019207535965788, 0.6151719853963145, 0.06046238536696515),
    ),
    (
        (
            -0.5772156649015329, -1.6820338260351562, -1.8707344397470345, -0.9930539511620571, -0.25669829592642,
            -0.029220238177271075, -0.0010806808353176355, -2.9464583706502804e-06,
        ),
        (
            1.0, 3.3389343216915495, 4.390349291918918, 2.8861913529065033, 0.9950486887673503, 0.1724069213280993,
            0.01299531649521575, 0.0002909818225875854,
        ),
    ),
)  # fmt: skip


def _rational(tables: Any, w: Real) -> Real:
    top, bottom = tables[is_double(w)]
    return horner(top, w) / horner(bottom, w)


def _gammaln1p(a: Real) -> Real:
    """log Γ(1 + a) for a in [0, 1]."""
    return a * (1 - a) * _rational(_GAMMALN1P, a)


def _log_root(a: Real, log_a: Real) -> Real:
    """log Γ(a + 1) - a log a + a = G(a) for a >= 0, which is nearly log(2 π a) / 2 and 0 at 0, given log a."""
    small = a < 1
    low, inverse = jnp.where(small, a, 0.5), 1 / jnp.where(small, 1, a)
    near = low - low * log_a + _gammaln1p(low)
    far = (0.5 * log_a + _HALF_LOG_2PI) + inverse * _rational(_STIRLING, inverse * inverse)
    return jnp.where(small, near, far)


@differentiable
def _root(a: Real) -> Real:
    return _log_root(a, jnp.log(jnp.maximum(a, jnp.finfo(a.dtype).tiny)))


def _root_slope(a: Real) -> Real:
    """ψ(a + 1) - log a."""
    return jax.jvp(_root, (a,), (jnp.ones_like(a),))[1]


def log_minus_digamma(a: Numeric) -> Real:
    """log a - ψ(a), the mean of -log(x / a) for a gamma variable x of concentration a; nearly 1 / (2 a).

    Error at most 4 ulp in both widths, of the derivative 16.

    **Arguments:** `a`: positive, any shape. **Returns:** the same shape.
    """
    a = promote(a)
    return 1 / a - _root_slope(a)


def _ratio(x: Real, m: Pair) -> Pair:
    """x / m as a pair."""
    hi = x / m[0]
    product, lo = two_product(hi, m[0])
    return hi, ((x - product) - lo - hi * m[1]) / m[0]


def _kernel(a: Real, u: Real, t: Real, exponent: Any = 0) -> Real:
    """-a (t - 1 - log t) - log t, for t = 1 + u; see `log_and_excess`. Its limit at t = 0."""
    near, log, excess = log_and_excess(u, t, exponent)
    edge = jnp.where(a == 1, 0, jnp.where(a < 1, jnp.inf, -jnp.inf))
    return jnp.where(near, -log - a * excess, (a - 1) * log - a * u) + jnp.where(t == 0, edge, 0)


def _log_of(u: Real, t: Real, exponent: Any = 0) -> Real:
    _, log, _ = log_and_excess(u, t, exponent)
    return jnp.where(t == 0, -jnp.inf, log)


def _slope_at_zero(a: Real, inside: Real) -> Real:
    """The derivative of (a - 1) log x + … at x = 0, which is `inside` for a = 1."""
    return jnp.where(a == 1, inside, jnp.where(a < 1, -jnp.inf, jnp.inf))


# Gamma.


def _gamma_ratio(x: Real, a: Real, rate: Real) -> tuple[Real, Real, Real]:
    """t - 1 and t of x by the mean a / rate; for large means, by which t may underflow, t 2^64 and the exponent -64.

    Where that overflows instead, the logarithm of t does not matter.
    """
    m, lo = _ratio(a, (rate, jnp.zeros_like(rate)))
    large, scale = m > 1, 1 / m
    return ((x - m) - lo) * scale, x * jnp.where(large, 2.0**64 * scale, scale), jnp.where(large, -64, 0)


_gamma_excess = with_slopes(
    lambda x, a, rate: _gamma_ratio(x, a, rate)[0],
    lambda x, a, rate: rate / a,
    lambda x, a, rate: -(x / a) * (rate / a),
    lambda x, a, rate: x / a,
)
_gamma_shortfall = with_slopes(
    lambda x, a, rate: (lambda m, lo: lo - (x - m))(*_ratio(a, (rate, jnp.zeros_like(rate)))),
    lambda x, a, rate: -jnp.ones_like(x),
    lambda x, a, rate: 1 / rate,
    lambda x, a, rate: -a / rate / rate,
)
_gamma_log = with_slopes(
    lambda x, a, rate: _log_of(*_gamma_ratio(x, a, rate)),
    lambda x, a, rate: 1 / x,
    lambda x, a, rate: -1 / a,
    lambda x, a, rate: 1 / rate,
)


def _gamma_in_x(x: Real, a: Real, rate: Real) -> Real:
    u = _gamma_excess(x, a, rate)
    top = jnp.where(u < -0.5, (a - 1) - rate * x, -1 - a * u)
    return jnp.where(x == 0, _slope_at_zero(a, -rate), top / jnp.where(x == 0, 1, x))


_log_gamma_density = with_slopes(
    lambda x, a, rate: (jnp.log(rate) - _root(a)) + _kernel(a, *_gamma_ratio(x, a, rate)),
    _gamma_in_x,
    lambda x, a, rate: _gamma_log(x, a, rate) + log_minus_digamma(a),
    lambda x, a, rate: _gamma_shortfall(x, a, rate),
)


def log_gamma_density(x: Numeric, a: Numeric, rate: Numeric) -> Real:
    """a log(rate) + (a - 1) log x - rate x - log Γ(a), for x >= 0 and positive a and rate of any size.

    **Arguments:** `x`, `a`, `rate`: shapes that broadcast. **Returns:** the broadcast shape; its limit at x = 0.
    """
    return _log_gamma_density(*promote(x, a, rate))


def _log_mean_ratio(log_x: Real, a: Real, rate: Real) -> Real:
    return log_x - jnp.log(a / rate)


_log_gamma_density_of_log = with_slopes(
    lambda w, a, rate: (jnp.log(a) - _root(a)) - a * expm1mx(_log_mean_ratio(w, a, rate)),
    lambda w, a, rate: -a * jnp.expm1(_log_mean_ratio(w, a, rate)),
    lambda w, a, rate: _log_mean_ratio(w, a, rate) + log_minus_digamma(a),
    lambda w, a, rate: -jnp.expm1(_log_mean_ratio(w, a, rate)) * (a / rate),
)


def log_gamma_density_of_log(log_x: Numeric, a: Numeric, rate: Numeric) -> Real:
    """The log density of log x for a gamma variable x, `log_gamma_density` plus log x, from log x, however small x is.

    **Arguments:** `log_x`, `a`, `rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    return _log_gamma_density_of_log(*promote(log_x, a, rate))


def gamma_entropy(a: Numeric, rate: Numeric) -> Real:
    """The entropy a - log(rate) + log Γ(a) + (1 - a) ψ(a) of a gamma variable, without cancellation for large a."""
    a, rate = promote(a, rate)
    return (_root(a) - jnp.log(rate)) + (a - 1) * log_minus_digamma(a)


def gamma_divergence(a: Numeric, rate: Numeric, other_a: Numeric, other_rate: Numeric) -> Real:
    """The Kullback-Leibler divergence of two gamma distributions, without cancellation where they are close.

    It is that of the shapes, ∫ (c - z) (ψ'(z) - 1 / z) dz from a to c, and c D(ρ) with the ratio ρ of the means.
    """
    a, rate, c, other_rate = promote(a, rate, other_a, other_rate)
    return _shape_divergence(c, a) - c * log1pmx(_cross(a, other_rate, c, rate))


def _cross(a: Real, b: Real, c: Real, d: Real) -> Real:
    """a b / (c d) - 1."""
    (x, x_lo), (y, y_lo) = two_product(a, b), two_product(c, d)
    return ((x - y) + (x_lo - y_lo)) / y


def _curvature(a: Real) -> Real:
    """a² (ψ'(a) - 1 / a), between 1/2 and 1."""
    return 1 + a * a * jax.jvp(_root_slope, (a,), (jnp.ones_like(a),))[1]


def _shape_divergence(c: Real, a: Real) -> Real:
    """H(c) - H(a) - (c - a) H'(a) >= 0 for H(a) = log Γ(a) - a log a + a, which is convex.

    The integral of (e^y - 1) k(c e^-y) over y from 0 to log(c / a), with k the curvature, by Gauss's rule.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16 if is_double(a) else 8)
    nodes, weights = jnp.asarray((nodes + 1) / 2, a.dtype), jnp.asarray(weights / 2, a.dtype)
    log = log1p((c - a) / a)
    close = jnp.abs(log) < 4
    step = jnp.where(close, log, 0)[..., None] * nodes
    inner = jnp.where(close, c, 1)[..., None] * jnp.exp(-step)
    near = jnp.where(close, log, 0) * jnp.sum(weights * jnp.expm1(step) * _curvature(inner), -1)
    far = (_root(c) - _root(a)) - log + (c - a) * log_minus_digamma(a)
    return jnp.where(close, near, far)


# Beta and Dirichlet.


def _beta_ratios(x: Real, a: Real, b: Real) -> tuple[tuple[Real, Real], tuple[Real, Real]]:
    """t - 1 and t of x and 1 - x by their means."""
    n = two_sum(a, b)
    (m, m_lo), (q, _) = _ratio(a, n), _ratio(b, n)
    distance = (x - m) - m_lo
    return (distance * (1 / m), x * (1 / m)), (-distance * (1 / q), (1 - x) * (1 / q))


_beta_distance = with_slopes(
    lambda x, a, b: _beta_ratios(x, a, b)[0][0] * a,
    lambda x, a, b: a + b,
    lambda x, a, b: x - 1,
    lambda x, a, b: x,
)
_beta_log = with_slopes(
    lambda x, a, b: _log_of(*_beta_ratios(x, a, b)[0]),
    lambda x, a, b: 1 / x,
    lambda x, a, b: -b / (a * (a + b)),
    lambda x, a, b: 1 / (a + b),
)
_beta_log_rest = with_slopes(
    lambda x, a, b: _log_of(*_beta_ratios(x, a, b)[1]),
    lambda x, a, b: -1 / (1 - x),
    lambda x, a, b: 1 / (a + b),
    lambda x, a, b: -a / (b * (a + b)),
)


def _beta_in_x(x: Real, a: Real, b: Real) -> Real:
    y = 1 - x
    low, high = x == 0, y == 0
    inner = jnp.where(low | high, 0.5, x)
    rest = 1 - inner
    # Near the mean both terms are large; near an end the nearer one alone.
    far = (a - 1) / inner - (b - 1) / rest
    near = (2 * inner - 1 - _beta_distance(inner, a, b)) / (inner * rest)
    n = a + b
    close = jnp.abs(_beta_distance(inner, a, b)) < 0.5 * n * inner * rest
    slope = jnp.where(close, near, far)
    return jnp.where(low, _slope_at_zero(a, 1 - b), jnp.where(high, -_slope_at_zero(b, 1 - a), slope))


def _log_beta_value(x: Real, a: Real, b: Real) -> Real:
    first, second = _beta_ratios(x, a, b)
    n = a + b
    return (_root(n) - _root(a) - _root(b) + jnp.log(n)) + _kernel(a, *first) + _kernel(b, *second)


_log_beta_density = with_slopes(
    _log_beta_value,
    _beta_in_x,
    lambda x, a, b: _beta_log(x, a, b) + (log_minus_digamma(a) - log_minus_digamma(a + b)),
    lambda x, a, b: _beta_log_rest(x, a, b) + (log_minus_digamma(b) - log_minus_digamma(a + b)),
)


def log_beta_density(x: Numeric, a: Numeric, b: Numeric) -> Real:
    """(a - 1) log x + (b - 1) log(1 - x) - log B(a, b), for x in [0, 1] and positive a and b of any size.

    **Arguments:** `x`, `a`, `b`: shapes that broadcast. **Returns:** the broadcast shape; its limits at 0 and 1.
    """
    return _log_beta_density(*promote(x, a, b))


def _total(a: Real) -> Pair:
    """The sum over the last axis as a pair."""
    lo = jnp.zeros(a.shape[:-1], a.dtype)
    while a.shape[-1] > 1:
        half = a.shape[-1] // 2
        hi, rest = two_sum(a[..., :half], a[..., half : 2 * half])
        lo = lo + jnp.sum(rest, -1)
        a = jnp.concatenate([hi, a[..., 2 * half :]], -1)
    return two_sum(a[..., 0], lo)


def _spread(pair: Pair, like: Real) -> Pair:
    """Copies along a last axis. (Not by an axis of length one, after which XLA computes them for every value.)"""
    hi, lo = (jax.lax.broadcast_in_dim(x, like.shape, tuple(range(x.ndim))) for x in pair)
    return hi, lo


def _sum(x: Real) -> Real:
    """The sum over the last axis; a short one by terms, since compilers fuse two sums of one array only then."""
    return sum(x[..., i] for i in range(1, x.shape[-1])) + x[..., 0] if x.shape[-1] <= MAX_TERMS else jnp.sum(x, -1)


def _simplex_ratio(x: Real, a: Real) -> tuple[tuple[Real, Real], Real]:
    """t - 1 and t of each coordinate by its mean, and how much the sum of the coordinates is above 1."""
    m, lo = _ratio(a, _spread(_total(a), a))
    # The differences are exact near the means, and then so is their sum.
    distance = x - m
    above = _sum(distance) - jnp.sum(lo, -1)
    return ((distance - lo) * (1 / m), x * (1 / m)), above


_simplex_log = with_slopes(
    lambda x, m, lo: _log_of(((x - m) - lo) * (1 / m), x * (1 / m)),
    lambda x, m, lo: 1 / x,
    lambda x, m, lo: -1 / m,
    lambda x, m, lo: jnp.zeros_like(m),
)


@jax.custom_jvp
@jax.jit
def _log_dirichlet_density(x: Real, a: Real) -> Real:
    ratio, above = _simplex_ratio(x, a)
    n = jnp.sum(a, -1)
    constant = _root(n) - jnp.sum(_root(a), -1) + (a.shape[-1] - 1) * jnp.log(n)
    return (constant + n * above) + _sum(_kernel(a, *ratio))


def _dirichlet_in_x(x: Real, a: Real) -> Real:
    return jnp.where(x == 0, _slope_at_zero(a, jnp.zeros_like(a)), (a - 1) / jnp.where(x == 0, 1, x))


def _dirichlet_in_a(x: Real, a: Real) -> Real:
    m = _ratio(a, _spread(_total(a), a))
    return _simplex_log(x, *m) + (log_minus_digamma(a) - log_minus_digamma(jnp.sum(a, -1, keepdims=True)))


def _over_axis(fn: Any, in_x: Any, in_a: Any) -> None:
    """Gives a sum over the last axis its derivatives."""

    def rule(primals: tuple[Real, Real], tangents: tuple[Any, Any]) -> tuple[Real, Real]:
        out = fn(*primals)
        total = jnp.zeros_like(out)
        for slope, tangent in zip((in_x, in_a), tangents):
            if not isinstance(tangent, SymbolicZero):
                total = total + jnp.sum(slope(*primals) * tangent, -1)
        return out, total

    fn.defjvp(rule, symbolic_zeros=True)


_over_axis(_log_dirichlet_density, _dirichlet_in_x, _dirichlet_in_a)


def log_dirichlet_density(x: Numeric, a: Numeric) -> Real:
    """log Γ(Σ a_i) - Σ log Γ(a_i) + Σ (a_i - 1) log x_i, for x >= 0 that sum to 1 and positive a of any size.

    **Arguments:** `x`, `a`: shapes `(..., n)` that broadcast. **Returns:** the broadcast shape without the last axis;
    its limits where a coordinate is 0.
    """
    return _log_dirichlet_density(*promote(x, a))


def _log_simplex_ratio(log_x: Real, a: Real) -> Real:
    return log_x - jnp.log(a / jnp.sum(a, -1, keepdims=True))


@jax.custom_jvp
@jax.jit
def _log_dirichlet_density_of_logs(log_x: Real, a: Real) -> Real:
    n = jnp.sum(a, -1)
    constant = (_root(n) - jnp.log(n)) - jnp.sum(_root(a) - jnp.log(a), -1)
    return constant - jnp.sum(a * expm1mx(_log_simplex_ratio(log_x, a)), -1)


_over_axis(
    _log_dirichlet_density_of_logs,
    lambda log_x, a: -a * jnp.expm1(_log_simplex_ratio(log_x, a)),
    lambda log_x, a: (
        _log_simplex_ratio(log_x, a)
        + (log_minus_digamma(a) - log_minus_digamma(jnp.sum(a, -1, keepdims=True)))
    ),
)


def log_dirichlet_density_of_logs(log_x: Numeric, a: Numeric) -> Real:
    """`log_dirichlet_density` plus Σ log x_i, from the logarithms of a point of the simplex, however small it is.

    It is the log density of y for x = softmax([y, 0]). The derivatives are those along the simplex: that in log x_i is
    a_i - n x_i for n = Σ a_i, which differs from the partial derivative a_i by what the sum of all x does not change.

    **Arguments:** `log_x`, `a`: shapes `(..., n)` that broadcast. **Returns:** the broadcast shape without the last.
    """
    return _log_dirichlet_density_of_logs(*promote(log_x, a))


def log_beta_density_of_logs(log_x: Numeric, log_rest: Numeric, a: Numeric, b: Numeric) -> Real:
    """The log density of log(x / (1 - x)) for a beta variable x, from log x and log(1 - x), however close to an end.

    It is `log_beta_density` plus log x and log(1 - x); see `log_dirichlet_density_of_logs`.

    **Arguments:** `log_x`, `log_rest`, `a`, `b`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    log_x, log_rest, a, b = promote(log_x, log_rest, a, b)
    logs, counts = (jnp.stack(jnp.broadcast_arrays(*pair), -1) for pair in ((log_x, log_rest), (a, b)))
    return _log_dirichlet_density_of_logs(logs, counts)


def dirichlet_entropy(a: Numeric) -> Real:
    """The entropy of a Dirichlet variable, without cancellation for large a.

    With k coordinates and n = Σ a_i it is Σ (G(a_i) + (a_i - 1) e(a_i)) - G(n) - (n - k) e(n) - (k - 1) log n, where
    e(a) = log a - ψ(a).

    **Arguments:** `a`: shape `(..., k)`. **Returns:** the shape without the last axis.
    """
    a = promote(a)
    n, k = jnp.sum(a, -1), a.shape[-1]
    parts = jnp.sum(_root(a) + (a - 1) * log_minus_digamma(a), -1)
    return parts - (_root(n) + (n - k) * log_minus_digamma(n) + (k - 1) * jnp.log(n))


def dirichlet_divergence(a: Numeric, other_a: Numeric) -> Real:
    """The Kullback-Leibler divergence of two Dirichlet distributions, without cancellation where they are close.

    **Arguments:** `a`, `other_a`: shapes `(..., k)` that broadcast. **Returns:** the shape without the last axis.
    """
    a, c = promote(a, other_a)
    n, other = _total(a), _total(c)
    (x, x_lo), (y, y_lo) = two_product(a, other[0][..., None]), two_product(c, n[0][..., None])
    lo = (x_lo + a * other[1][..., None]) - (y_lo + c * n[1][..., None])
    means = -c * log1pmx(((x - y) + lo) / y)
    return jnp.sum(_shape_divergence(c, a) + means, -1) - _shape_divergence(other[0], n[0])


# Poisson and binomial.


def _poisson(k: Real, m: Real, log_m: Real) -> Real:
    """k log m - m - log Γ(k + 1)."""
    low, floor = m < math.exp(_LOG_FLOOR), math.exp(_LOG_FLOOR)
    log_c = jnp.where(low, _LOG_FLOOR, log_m)
    t = jnp.where(low, floor, m) / k
    near, log, excess = log_and_excess((m - k) / k, t)
    deviance = jnp.where(near, k * excess, (m - k) - k * log)
    return mul0(k, jnp.where(low, log_m - _LOG_FLOOR, 0)) - _log_root(k, log_c - log) - deviance


_count_log = with_slopes(
    lambda k, m: _log_of((m - k) / k, m / k), lambda k, m: -1 / k, lambda k, m: 1 / m
)


def _poisson_in_k(k: Real, m: Real, log_m: Real) -> Real:
    """log m - ψ(k + 1)."""
    small = k < 1
    low, high = jnp.where(small, k, 0.5), jnp.where(small, 1, k)
    digamma = jax.jvp(_gammaln1p, (low,), (jnp.ones_like(low),))[1]
    return jnp.where(small, log_m - digamma, _count_log(high, m) - _root_slope(high))


def _relative_distance(k: Real, m: Real) -> Real:
    """k / m - 1, and -1 at k = 0 whatever m is."""
    none = k == 0
    return jnp.where(none, -1, (k - m) / jnp.where(none, 1, m))


_log_poisson_mass = with_slopes(
    lambda k, rate: _poisson(k, rate, jnp.log(rate)),
    lambda k, rate: _poisson_in_k(k, rate, jnp.log(rate)),
    _relative_distance,
)


def log_poisson_mass(k: Numeric, rate: Numeric) -> Real:
    """k log(rate) - rate - log Γ(k + 1), for real k >= 0 and rate >= 0, without cancellation for large k.

    Error at most 4 ulp in both widths, besides 2 epsilon near zeros; of derivatives 16, besides 4 epsilon.

    **Arguments:** `k`, `rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    return _log_poisson_mass(*promote(k, rate))


_log_poisson_mass_of_log = with_slopes(
    lambda k, log_rate: _poisson(k, jnp.exp(log_rate), log_rate),
    lambda k, log_rate: _poisson_in_k(k, jnp.exp(log_rate), log_rate),
    lambda k, log_rate: k - jnp.exp(log_rate),
)


def log_poisson_mass_of_log(k: Numeric, log_rate: Numeric) -> Real:
    """`log_poisson_mass` for the logarithm of the rate, which may have underflowed or be minus infinity.

    **Arguments:** `k`, `log_rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    return _log_poisson_mass_of_log(*promote(k, log_rate))


def _log_binomial_value(k: Real, rest: Real, n: Real, logs: Pair, p: Real, q: Real) -> Real:
    log_n = jnp.log(n)
    return _root(n) + (_poisson(k, n * p, log_n + logs[0]) + _poisson(rest, n * q, log_n + logs[1]))


# The derivatives in p and q are less n each, which cancels where p + q = 1.
_log_binomial_mass = with_slopes(
    lambda k, rest, p, q: _log_binomial_value(k, rest, k + rest, (jnp.log(p), jnp.log(q)), p, q),
    lambda k, rest, p, q: _poisson_in_k(k, (k + rest) * p, jnp.log((k + rest) * p)) + _root_slope(k + rest),
    lambda k, rest, p, q: _poisson_in_k(rest, (k + rest) * q, jnp.log((k + rest) * q)) + _root_slope(k + rest),
    lambda k, rest, p, q: (k + rest) * _relative_distance(k, (k + rest) * p),
    lambda k, rest, p, q: (k + rest) * _relative_distance(rest, (k + rest) * q),
)


def log_binomial_mass(k: Numeric, rest: Numeric, p: Numeric, q: Numeric) -> Real:
    """log(Γ(k + rest + 1) / (Γ(k + 1) Γ(rest + 1)) p^k q^rest), for real k, rest >= 0, without cancellation.

    With n = k + rest it is `log_poisson_mass` of k at n p and of rest at n q, and G(n).

    Error at most 8 ulp in both widths, besides 4 epsilon near zeros.

    **Arguments:** `k`, `rest`: how often of each kind; `p`, `q` = 1 - p: the probabilities of the two kinds; shapes
    that broadcast. **Returns:** the broadcast shape.
    """
    return _log_binomial_mass(*promote(k, rest, p, q))


def _of_logits(k: Real, n: Real, logits: Real) -> tuple[Real, Pair, Pair]:
    sides = logits, -logits
    return n - k, tuple(jax.nn.log_sigmoid(l) for l in sides), tuple(jax.nn.sigmoid(l) for l in sides)


def _in_counts(k: Real, n: Real, logits: Real) -> Pair:
    """log(n p) - ψ(k + 1), and the same of the rest."""
    rest, logs, (p, q) = _of_logits(k, n, logits)
    log_n = jnp.log(n)
    return _poisson_in_k(k, n * p, log_n + logs[0]), _poisson_in_k(rest, n * q, log_n + logs[1])


def _in_logits(k: Real, n: Real, logits: Real) -> Real:
    rest, _, (p, q) = _of_logits(k, n, logits)
    return jnp.where(logits < 0, k - n * p, n * q - rest)


def _of_logits_value(k: Real, n: Real, logits: Real) -> Real:
    rest, logs, (p, q) = _of_logits(k, n, logits)
    return _log_binomial_value(k, rest, n, logs, p, q)


_log_binomial_mass_of_logits = with_slopes(
    _of_logits_value,
    lambda k, n, logits: (lambda first, second: first - second)(*_in_counts(k, n, logits)),
    lambda k, n, logits: _in_counts(k, n, logits)[1] + _root_slope(n),
    _in_logits,
)


def log_binomial_mass_of_logits(k: Numeric, n: Numeric, logits: Numeric) -> Real:
    """The log mass of k of n for probabilities of these logits, which may be so far out that one has underflowed.

    **Arguments:** `k`: in [0, n]; `n`; `logits`: log(p / (1 - p)); shapes that broadcast. **Returns:** the broadcast
    shape.
    """
    return _log_binomial_mass_of_logits(*promote(k, n, logits))


def bernoulli_divergence(logits: Numeric, other_logits: Numeric) -> Real:
    """The Kullback-Leibler divergence of two Bernoulli distributions, without cancellation where they are close.

    **Arguments:** `logits`, `other_logits`: shapes that broadcast, infinite ones allowed. **Returns:** the broadcast
    shape.
    """
    l, r = jnp.broadcast_arrays(*promote(logits, other_logits))
    close = jnp.abs(r - l) < 1
    l_near, step = jnp.where(close, l, 0), jnp.where(close, r - l, 0)
    p, q = jax.nn.sigmoid(l_near), jax.nn.sigmoid(-l_near)
    near = p * expm1mx(-log1p(q * jnp.expm1(-step))) + q * expm1mx(-log1p(p * jnp.expm1(step)))

    def term(sign: int) -> Real:
        log_p, log_q = jax.nn.log_sigmoid(sign * l), jax.nn.log_sigmoid(sign * r)
        none = log_p == -jnp.inf
        return jnp.where(none, 0, jnp.exp(log_p) * (jnp.where(none, 0, log_p) - jnp.where(none, 0, log_q)))

    return jnp.where(close, near, term(1) + term(-1))
