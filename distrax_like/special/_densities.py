"""Log densities of the gamma, beta, Dirichlet, Poisson and binomial families.

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
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from distrax_like._misc import MAX_TERMS, Numeric, Real, promote, sum_last

from ._compensated import Pair, two_sum, with_derivatives
from ._elementary import mul0
from ._log_series import expm1mx, log_and_deviance
from ._root_term import (
    as_pair,
    divide,
    log_minus_digamma,
    root_term,
    root_term_derivative,
    root_term_given,
    small_gammaln1p,
    spread,
    total,
)

_LOG_FLOOR = -40.0  # of a mean whose ratio to a count is taken; what is below comes in as its logarithm


def _kernel(a: Real, u: Real, t: Real, exponent: int | Array = 0) -> Real:
    """-a (t - 1 - log t) - log t for t = 1 + u, and its limit at t = 0; for the arguments see `log_and_deviance`."""
    near, log, deviance = log_and_deviance(u, t, exponent)
    edge = jnp.where(a == 1, a, jnp.where(a < 1, jnp.inf, -jnp.inf))
    return jnp.where(t == 0, edge, jnp.where(near, -log - a * deviance, (a - 1) * log - a * u))


def _log_of(u: Real, t: Real, exponent: int | Array = 0) -> Real:
    """log t for derivatives, with the same arguments."""
    _, log, _ = log_and_deviance(u, t, exponent)
    return jnp.where(t == 0, -jnp.inf, log)


def _derivative_at_zero(a: Real, inside: Real) -> Real:
    """The derivative of (a - 1) log x + … at x = 0, which is `inside` for a = 1."""
    return jnp.where(a == 1, inside, jnp.where(a < 1, -jnp.inf, jnp.inf))


# Gamma.


def _gamma_ratio(x: Real, a: Real, rate: Real) -> tuple[Real, Real, Array]:
    """t - 1, t and an exponent, for t the ratio of x to the mean a / rate; see `log_and_deviance`.

    For large means, where t may underflow, the second is t 2^80; where that overflows, log t is of no weight.
    """
    m, lo = divide(a, as_pair(rate))
    large, scale = m > 1, 1 / m
    return ((x - m) - lo) * scale, x * jnp.where(large, 2.0**80 * scale, scale), jnp.where(large, -80, 0)


_gamma_distance = with_derivatives(
    lambda x, a, rate: _gamma_ratio(x, a, rate)[0],
    lambda x, a, rate: rate / a,
    lambda x, a, rate: -(x / a) * (rate / a),
    lambda x, a, rate: x / a,
)


def _gamma_shortfall_value(x: Real, a: Real, rate: Real) -> Real:
    m, lo = divide(a, as_pair(rate))
    # The selection only keeps XLA from writing each difference to memory before it sums them.
    return jnp.where(x == m, lo, lo - (x - m))


_gamma_shortfall = with_derivatives(
    _gamma_shortfall_value,
    lambda x, a, rate: -jnp.ones_like(x),
    lambda x, a, rate: 1 / rate,
    lambda x, a, rate: -a / rate / rate,
)
_gamma_log = with_derivatives(
    lambda x, a, rate: _log_of(*_gamma_ratio(x, a, rate)),
    lambda x, a, rate: 1 / x,
    lambda x, a, rate: -1 / a,
    lambda x, a, rate: 1 / rate,
)


def _gamma_in_x(x: Real, a: Real, rate: Real) -> Real:
    u = _gamma_distance(x, a, rate)
    inner = jnp.where(x == 0, 1, x)
    far = u < -0.5
    derivative = jnp.where(far, a - 1, -1 - a * u) / inner - jnp.where(far, rate, 0)
    return jnp.where(x == 0, _derivative_at_zero(a, -rate), derivative)


_log_gamma_density = with_derivatives(
    lambda x, a, rate: (jnp.log(rate) - root_term(a)) + _kernel(a, *_gamma_ratio(x, a, rate)),
    _gamma_in_x,
    lambda x, a, rate: _gamma_log(x, a, rate) + log_minus_digamma(a),
    lambda x, a, rate: _gamma_shortfall(x, a, rate),
)


def log_gamma_density(x: Numeric, a: Numeric, rate: Numeric) -> Real:
    """a log(rate) + (a - 1) log x - rate x - log Γ(a), for x >= 0 and positive a and rate of any size.

    Error at most 5 ulp in both widths, besides 32 epsilon near zeros; of derivatives 2.

    **Arguments:** `x`, `a`, `rate`: shapes that broadcast. **Returns:** the broadcast shape; its limit at x = 0.
    """
    return _log_gamma_density(*promote(x, a, rate))


def _log_mean_ratio(log_x: Real, a: Real, rate: Real) -> Real:
    return log_x - jnp.log(a / rate)


_log_gamma_density_of_log = with_derivatives(
    lambda w, a, rate: (jnp.log(a) - root_term(a)) - a * expm1mx(_log_mean_ratio(w, a, rate)),
    lambda w, a, rate: -a * jnp.expm1(_log_mean_ratio(w, a, rate)),
    lambda w, a, rate: _log_mean_ratio(w, a, rate) + log_minus_digamma(a),
    lambda w, a, rate: -jnp.expm1(_log_mean_ratio(w, a, rate)) * (a / rate),
)


def log_gamma_density_of_log(log_x: Numeric, a: Numeric, rate: Numeric) -> Real:
    """The log density of log x for a gamma variable x, `log_gamma_density` plus log x, from log x, however small x is.

    Error at most 7 ulp in both widths, besides 32 epsilon near zeros and what half an ulp of log x moves; of
    derivatives 7.

    **Arguments:** `log_x`, `a`, `rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    return _log_gamma_density_of_log(*promote(log_x, a, rate))


# Beta and Dirichlet.


def _beta_ratios(x: Real, a: Real, b: Real) -> tuple[tuple[Real, Real], tuple[Real, Real]]:
    """t - 1 and t of x and 1 - x by their means."""
    n = two_sum(a, b)
    (m, m_lo), (q, _) = divide(a, n), divide(b, n)
    distance = (x - m) - m_lo
    return (distance * (1 / m), x * (1 / m)), (-distance * (1 / q), (1 - x) * (1 / q))


_beta_distance = with_derivatives(
    lambda x, a, b: _beta_ratios(x, a, b)[0][0] * a,
    lambda x, a, b: a + b,
    lambda x, a, b: x - 1,
    lambda x, a, b: x,
)
_beta_log = with_derivatives(
    lambda x, a, b: _log_of(*_beta_ratios(x, a, b)[0]),
    lambda x, a, b: 1 / x,
    lambda x, a, b: -b / (a * (a + b)),
    lambda x, a, b: 1 / (a + b),
)
_beta_log_rest = with_derivatives(
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
    derivative = jnp.where(close, near, far)
    return jnp.where(low, _derivative_at_zero(a, 1 - b), jnp.where(high, -_derivative_at_zero(b, 1 - a), derivative))


def _log_beta_value(x: Real, a: Real, b: Real) -> Real:
    first, second = _beta_ratios(x, a, b)
    n = a + b
    return (root_term(n) - root_term(a) - root_term(b) + jnp.log(n)) + _kernel(a, *first) + _kernel(b, *second)


_log_beta_density = with_derivatives(
    _log_beta_value,
    _beta_in_x,
    lambda x, a, b: _beta_log(x, a, b) + (log_minus_digamma(a) - log_minus_digamma(a + b)),
    lambda x, a, b: _beta_log_rest(x, a, b) + (log_minus_digamma(b) - log_minus_digamma(a + b)),
)


def log_beta_density(x: Numeric, a: Numeric, b: Numeric) -> Real:
    """(a - 1) log x + (b - 1) log(1 - x) - log B(a, b), for x in [0, 1] and positive a and b of any size.

    Error at most 5 ulp in both widths, besides 32 epsilon near zeros; of derivatives 11 and 3.

    **Arguments:** `x`, `a`, `b`: shapes that broadcast. **Returns:** the broadcast shape; its limits at 0 and 1.
    """
    return _log_beta_density(*promote(x, a, b))


def _simplex_ratio(x: Real, a: Real) -> tuple[tuple[Real, Real], Real]:
    """t - 1 and t of each coordinate by its mean, and how much the sum of the coordinates is above 1."""
    m, lo = divide(a, spread(total(a), a))
    # The differences are exact near the means.
    distance = x - m
    above = sum(total(distance)) if x.shape[-1] <= MAX_TERMS else jnp.sum(distance, -1)
    return ((distance - lo) * (1 / m), x * (1 / m)), above - jnp.sum(lo, -1)


_simplex_log = with_derivatives(
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
    constant = root_term(n) - jnp.sum(root_term(a), -1) + (a.shape[-1] - 1) * jnp.log(n)
    return (constant + n * above) + sum_last(_kernel(a, *ratio))


def _dirichlet_in_x(x: Real, a: Real) -> Real:
    return jnp.where(x == 0, _derivative_at_zero(a, jnp.zeros_like(a)), (a - 1) / jnp.where(x == 0, 1, x))


def _dirichlet_in_a(x: Real, a: Real) -> Real:
    m = divide(a, spread(total(a), a))
    return _simplex_log(x, *m) + (log_minus_digamma(a) - log_minus_digamma(jnp.sum(a, -1, keepdims=True)))


def _over_axis(fn: Any, in_x: Any, in_a: Any) -> None:
    """Gives a sum over the last axis its derivatives."""

    def rule(primals: tuple[Real, Real], tangents: tuple[Any, Any]) -> tuple[Real, Real]:
        out = fn(*primals)
        total = jnp.zeros_like(out)
        for derivative, tangent in zip((in_x, in_a), tangents):
            if not isinstance(tangent, SymbolicZero):
                total = total + jnp.sum(derivative(*primals) * tangent, -1)
        return out, total

    fn.defjvp(rule, symbolic_zeros=True)


_over_axis(_log_dirichlet_density, _dirichlet_in_x, _dirichlet_in_a)


def log_dirichlet_density(x: Numeric, a: Numeric) -> Real:
    """log Γ(Σ a_i) - Σ log Γ(a_i) + Σ (a_i - 1) log x_i, for x >= 0 that sum to 1 and positive a of any size.

    Where the sum of x is off by its rounding, so is the value, as that of the formula. Error at most 7 ulp in both
    widths for up to 8 coordinates, besides 32 epsilon near zeros; of derivatives 1.

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
    constant = (root_term(n) - jnp.log(n)) - jnp.sum(root_term(a) - jnp.log(a), -1)
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
    a_i - n x_i with n = Σ a_i, where the partial derivative of the formula is a_i. Error at most 3 ulp in both widths,
    besides 32 epsilon and what half an ulp of the logarithms moves.

    **Arguments:** `log_x`, `a`: shapes `(..., n)` that broadcast. **Returns:** the broadcast shape without the last.
    """
    return _log_dirichlet_density_of_logs(*promote(log_x, a))


def _log_part(log_x: Real, a: Real, b: Real) -> Real:
    """log x less that of its mean a / (a + b)."""
    return log_x - jnp.log(a / (a + b))


def _log_beta_of_logs(log_x: Real, log_rest: Real, a: Real, b: Real) -> Real:
    n = a + b
    constant = (root_term(n) - jnp.log(n)) - (root_term(a) - jnp.log(a)) - (root_term(b) - jnp.log(b))
    return constant - (a * expm1mx(_log_part(log_x, a, b)) + b * expm1mx(_log_part(log_rest, b, a)))


_log_beta_density_of_logs = with_derivatives(
    _log_beta_of_logs,
    lambda log_x, log_rest, a, b: -a * jnp.expm1(_log_part(log_x, a, b)),
    lambda log_x, log_rest, a, b: -b * jnp.expm1(_log_part(log_rest, b, a)),
    lambda log_x, log_rest, a, b: _log_part(log_x, a, b) + (log_minus_digamma(a) - log_minus_digamma(a + b)),
    lambda log_x, log_rest, a, b: _log_part(log_rest, b, a) + (log_minus_digamma(b) - log_minus_digamma(a + b)),
)


def log_beta_density_of_logs(log_x: Numeric, log_rest: Numeric, a: Numeric, b: Numeric) -> Real:
    """The log density of log(x / (1 - x)) for a beta variable x, from log x and log(1 - x), however close to an end.

    It is `log_beta_density` plus log x and log(1 - x); see `log_dirichlet_density_of_logs`, also for the error.

    **Arguments:** `log_x`, `log_rest`, `a`, `b`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    return _log_beta_density_of_logs(*promote(log_x, log_rest, a, b))


# Poisson and binomial.


def _poisson(k: Real, m: Real, log_m: Real) -> Real:
    """k log m - m - log Γ(k + 1)."""
    low, floor = m < math.exp(_LOG_FLOOR), math.exp(_LOG_FLOOR)
    log_c = jnp.where(low, _LOG_FLOOR, log_m)
    t = jnp.where(low, floor, m) / k
    near, log, deviance = log_and_deviance((m - k) / k, t)
    deviance = jnp.where(near, k * deviance, (m - k) - k * log)
    return mul0(k, jnp.where(low, log_m - _LOG_FLOOR, 0)) - root_term_given(k, log_c - log) - deviance


_count_log = with_derivatives(lambda k, m: _log_of((m - k) / k, m / k), lambda k, m: -1 / k, lambda k, m: 1 / m)


def _poisson_in_k(k: Real, m: Real, log_m: Real) -> Real:
    """log m - ψ(k + 1)."""
    floor = math.exp(_LOG_FLOOR)
    low = m < floor
    small = k < 1
    inner, high = jnp.where(small, k, 0.5), jnp.where(small, 1, k)
    digamma = jax.jvp(small_gammaln1p, (inner,), (jnp.ones_like(inner),))[1]
    ratio = _count_log(high, jnp.where(low, floor, m)) + jnp.where(low, log_m - _LOG_FLOOR, 0)
    return jnp.where(small, log_m - digamma, ratio - root_term_derivative(high))


def _relative_distance(k: Real, m: Real) -> Real:
    """k / m - 1, and -1 at k = 0 whatever m is."""
    none = k == 0
    return jnp.where(none, -1, (k - m) / jnp.where(none, 1, m))


_log_poisson_mass = with_derivatives(
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


_log_poisson_mass_of_log = with_derivatives(
    lambda k, log_rate: _poisson(k, jnp.exp(log_rate), log_rate),
    lambda k, log_rate: _poisson_in_k(k, jnp.exp(log_rate), log_rate),
    lambda k, log_rate: k - jnp.exp(log_rate),
)


def log_poisson_mass_of_log(k: Numeric, log_rate: Numeric) -> Real:
    """`log_poisson_mass` for the logarithm of the rate, which may have underflowed or be minus infinity.

    Error at most 2 ulp in both widths, besides 32 epsilon near zeros and what an ulp of exp(log_rate) moves.

    **Arguments:** `k`, `log_rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    return _log_poisson_mass_of_log(*promote(k, log_rate))


def _log_binomial_value(k: Real, rest: Real, n: Real, logs: Pair, p: Real, q: Real) -> Real:
    log_n = jnp.log(n)
    return root_term(n) + (_poisson(k, n * p, log_n + logs[0]) + _poisson(rest, n * q, log_n + logs[1]))


# The derivatives in p and q are less n each, which cancels where p + q = 1.
_log_binomial_mass = with_derivatives(
    lambda k, rest, p, q: _log_binomial_value(k, rest, k + rest, (jnp.log(p), jnp.log(q)), p, q),
    lambda k, rest, p, q: _poisson_in_k(k, (k + rest) * p, jnp.log((k + rest) * p)) + root_term_derivative(k + rest),
    lambda k, rest, p, q: _poisson_in_k(rest, (k + rest) * q, jnp.log((k + rest) * q)) + root_term_derivative(k + rest),
    lambda k, rest, p, q: (k + rest) * _relative_distance(k, (k + rest) * p),
    lambda k, rest, p, q: (k + rest) * _relative_distance(rest, (k + rest) * q),
)


def log_binomial_mass(k: Numeric, rest: Numeric, p: Numeric, q: Numeric) -> Real:
    """log(Γ(k + rest + 1) / (Γ(k + 1) Γ(rest + 1)) p^k q^rest), for real k, rest >= 0, without cancellation.

    With n = k + rest it is `log_poisson_mass` of k at n p and of rest at n q, and G(n).

    Error at most 10 ulp in both widths, besides 4 epsilon near zeros.

    **Arguments:** `k`, `rest`: how often of each kind; `p`, `q` = 1 - p: the probabilities of the two kinds; shapes
    that broadcast. **Returns:** the broadcast shape.
    """
    return _log_binomial_mass(*promote(k, rest, p, q))


def _of_logits(k: Real, n: Real, logits: Real) -> tuple[Real, Pair, Pair]:
    logs = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return n - k, logs, (jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits))


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


_log_binomial_mass_of_logits = with_derivatives(
    _of_logits_value,
    lambda k, n, logits: _in_counts(k, n, logits)[0] - _in_counts(k, n, logits)[1],
    lambda k, n, logits: _in_counts(k, n, logits)[1] + root_term_derivative(n),
    _in_logits,
)


def log_binomial_mass_of_logits(k: Numeric, n: Numeric, logits: Numeric) -> Real:
    """The log mass of k of n for probabilities of these logits, which may be so far out that one has underflowed.

    Error at most 4 ulp in both widths, besides 32 epsilon near zeros and what an ulp of a probability moves.

    **Arguments:** `k`: in [0, n]; `n`; `logits`: log(p / (1 - p)); shapes that broadcast. **Returns:** the broadcast
    shape.
    """
    return _log_binomial_mass_of_logits(*promote(k, n, logits))
