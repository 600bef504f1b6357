"""Truth for the gamma family: Stirling's error, deviance, incomplete gamma functions and their inverses."""

import functools
import math

import jax.scipy.special as jsp
import mpmath as mp
import numpy as np

from distrax_like.special import (
    bd0,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    log_binomial_mass,
    log_gamma_difference,
    log_gammainc,
    log_gammaincc,
    log_poisson_mass,
    multigammaln,
    stirlerr,
)

from .truth import DIGITS, Entry, difference_quotient, grid, precise


@precise
def true_stirlerr(x):
    return mp.loggamma(x + 1) - (x + 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2


@precise
def true_stirlerr_slope(x):
    return mp.digamma(x + 1) - mp.log(x) - 1 / (2 * x)


@precise
def true_bd0(x, m):
    return x * mp.log(x / m) + m - x


@functools.cache
def temme_coefficients(n):
    """d_0 … d_n-1 of η / (λ - 1) in powers of η, from μ μ' = η (1 + μ) for μ = λ - 1."""
    with mp.workdps(DIGITS):
        mu = [mp.mpf(0), mp.mpf(1)]
        for k in range(2, n + 2):
            mu.append((mu[k - 1] - sum(mu[i] * (k + 1 - i) * mu[k + 1 - i] for i in range(2, k))) / (k + 1))
        d = [mp.mpf(1)]
        for k in range(1, n):
            d.append(-sum(mu[i + 1] * d[k - i] for i in range(1, k + 1)))
        return d


@precise
def tails(a, x):
    """P(a, x) and Q(a, x), each to more than 50 digits of its own."""
    if a >= 1000 and 0.31 * a < x < 2.34 * a:
        deviance = true_bd0(a, x)
        eta = mp.sign(x - a) * mp.sqrt(2 * deviance / a)
        d = temme_coefficients(140)
        total = later = last = mp.mpf(0)
        for k in range(len(d) - 1, 0, -1):
            later, last = last, (k + 1) / a * later + d[k]
            total = total * eta + last
        rest = mp.exp(-deviance) / mp.sqrt(2 * mp.pi * a) * total / (1 + later / a)
        y = eta * mp.sqrt(a / 2)
        return mp.erfc(-y) / 2 - rest, mp.erfc(y) / 2 + rest
    weight = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1))
    tolerance = mp.mpf(10) ** (-DIGITS)
    if x <= a + 1 or x < 50:
        k, term, total = 0, mp.mpf(1), mp.mpf(1)
        while term > tolerance * total:
            k += 1
            term *= x / (a + k)
            total += term
        return weight * total, 1 - weight * total
    k, term, total, rho = 0, mp.mpf(1), mp.mpf(1), mp.mpf(0)
    while abs(term) > tolerance * abs(total):
        k += 1
        tau = k * (k - a) * (1 + rho)
        rho = tau / ((x + 2 * k - 1 - a) * (x + 2 * k + 1 - a) - tau)
        term *= rho
        total += term
    q = weight * a / (x + 1 - a) * total
    return 1 - q, q


@precise
def density(a, x):
    return mp.exp((a - 1) * mp.log(x) - x - mp.loggamma(a))


@precise
def in_a(a, x):
    return difference_quotient(lambda *args: tails(*args)[0 if x < a else 1], 0)(a, x) * (1 if x < a else -1)


def incomplete_points(log):
    points = []
    for a in [1e-10, 1e-6, 1e-3, 0.03, 0.1, 0.3, 0.5, 0.9, 1, 1.1, 1.5, 2, 2.7, 4, 7, 11, 11.99, 12, 12.01, 15, 20, 30]:
        points += grid([a], [1e-30, 1e-20, 1e-10, 1e-5, 1e-3, 0.01, 0.1, 0.3, 0.49, 0.5, 0.51, 0.7, 0.9, 0.99, 1, 1.01])
        points += grid([a], [1.2, 1.5, 1.74, 1.76, 2, 2.4, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80, 150, 500])
    for a in [3.5, 6, 9, 11.5, 13, 25, 50, 100, 300, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10, 1e13]:
        k = np.array([-36, -25, -12, -7, -4, -2, -1, -0.5, -0.1, 0, 0.1, 0.5, 1, 2, 4, 7, 12, 25, 36])
        x = a + k * np.sqrt(a)
        points += grid([a], x[x > 0])
        points += grid([a], np.array([0.01, 0.2, 0.3, 0.31, 0.5, 0.7, 0.9, 1.1, 1.5, 2, 2.33, 2.36, 5, 30]) * a)
    if log:
        points += grid([1e-10, 1e-3, 0.5, 3, 14, 300, 1e5, 1e10], [1e-30, 1e-15, 1e-6, 1e3, 1e5, 1e10, 1e20, 1e30])
    return points


SIZES = (1e-20, 0.3, 1, 7, 1e3, 1e7, 1e15)
P, Q = (lambda a, x: tails(a, x)[0]), (lambda a, x: tails(a, x)[1])


def log_of(p, rest):
    return mp.log(p) if p < 0.5 else mp.log1p(-rest)


def ratio(top, bottom):
    return precise(lambda *args: top(*args) / bottom(*args))


def negative(fn):
    return lambda *args: -fn(*args)


@precise
def solution(a, p, q):
    """x with P(a, x) = p and Q(a, x) = q, by Newton's method in log x on the log of a tail, which is concave."""
    side = 0 if p < 0.5 else 1
    target, u = mp.log((p, q)[side]), (mp.log(p) + mp.loggamma(a + 1)) / a
    if u > -1:
        u = max(u, mp.log(a) - 8 / mp.sqrt(a), mp.mpf(-2))
    for _ in range(300):
        x = mp.exp(u)
        tail = tails.__wrapped__(a, x)[side]
        step = (mp.log(tail) - target) * tail / (density.__wrapped__(a, x) * x) * (-1, 1)[side]
        u += max(min(step, 1), -1)
        if abs(step) < mp.mpf("1e-45"):
            return mp.exp(u)
    raise ValueError("not converged")


def solution_in_a(a, p, q):
    x = solution(a, p, q)
    return -in_a(a, x) / density(a, x)


def normal(points, lower):
    """Leaves out the points whose solution is subnormal in single precision, while the derivatives are not."""
    size = [(math.log(p if lower else 1 - p) + math.lgamma(a + 1)) / a for a, p in points]
    return [point for point, log in zip(points, size) if not -130 < log < -85]


INVERSE_POINTS = grid(
    [1e-5, 1e-3, 0.05, 0.3, 0.7, 1, 1.5, 3, 8, 14, 20, 100, 2e3, 1e5, 1e8],
    [1e-30, 1e-10, 1e-4, 0.01, 0.2, 0.45, 0.499, 0.5, 0.55, 0.7, 0.9, 0.99, 0.9999],
)


def true_log_gamma_difference(x, y):
    return mp.loggamma(y) - mp.loggamma(x + y)


def difference_points():
    x = [1e-20, 1e-8, 1e-3, 0.1, 0.5, 1, 2.5, 7, 8, 30, 1e3, 1e6, 1e15]
    y = [1e-10, 1e-3, 0.1, 0.7, 1, 1.3, 2, 4, 7.9, 8, 10, 30, 100, 1e4, 1e8, 1e20]
    return grid(x, y) + grid([-0.3, -1e-5], [0.4, 1.2, 5, 8.1, 12, 1e5])


@precise
def true_log_poisson_mass(k, m):
    return k * mp.log(m) - m - mp.loggamma(k + 1)


def mass_points():
    near = [(k + s * math.sqrt(k), k) for k in (10, 1e3, 1e6, 1e10) for s in (-3, -1, 0, 0.5, 2, 8)]
    return near + grid([1e-10, 1e-3, 0.3, 1, 2, 5, 100, 1e7], [1e-20, 1e-5, 0.1, 1, 3, 50, 1e4, 1e10])


ENTRIES = [
    Entry(
        "gamma_stirlerr",
        stirlerr,
        true_stirlerr,
        grid(np.concatenate([np.logspace(-30, 30, 241), np.linspace(0.02, 16, 400)])),
        derivatives=(0,),
        truth_derivatives={0: true_stirlerr_slope},
    ),
    Entry(
        "gamma_bd0",
        bd0,
        true_bd0,
        grid(np.logspace(-30, 30, 13), np.logspace(-30, 30, 13))
        + [(m * r, m) for m in SIZES for r in [0.1, 0.5, 0.7, 0.708, 0.9, 0.99, 0.9999, 1]]
        + [(m * r, m) for m in SIZES for r in [1 + 1e-6, 1.001, 1.1, 1.41, 1.42, 2, 2.9, 30]],
        derivatives=(0, 1),
        truth_derivatives={0: precise(lambda x, m: mp.log(x / m)), 1: precise(lambda x, m: 1 - x / m)},
    ),
    Entry(
        "gamma_log_gamma_difference",
        log_gamma_difference,
        precise(true_log_gamma_difference),
        difference_points(),
        derivatives=(0, 1),
        truth_derivatives={
            0: precise(lambda x, y: -mp.digamma(x + y)),
            1: precise(lambda x, y: mp.digamma(y) - mp.digamma(x + y)),
        },
        zero=8,
        tfp=lambda m: m.log_gamma_difference,
    ),
    Entry(
        "gamma_log_poisson_mass",
        log_poisson_mass,
        true_log_poisson_mass,
        mass_points(),
        derivatives=(0, 1),
        truth_derivatives={0: precise(lambda k, m: mp.log(m) - mp.digamma(k + 1)), 1: precise(lambda k, m: k / m - 1)},
        zero=4,
    ),
    Entry(
        "gamma_log_binomial_mass",
        lambda k, rest, p: log_binomial_mass(k, rest, p, 1 - p),
        precise(
            lambda k, rest, p: (
                mp.loggamma(k + rest + 1) - mp.loggamma(k + 1) - mp.loggamma(rest + 1)
                + k * mp.log(p) + rest * mp.log1p(-p)
            )
        ),  # fmt: skip
        grid([0, 1, 2, 7.5, 100, 1e4, 1e7], [0, 1, 3, 20.5, 300, 1e5, 3e8], [1e-9, 0.01, 0.3, 0.5, 0.75, 0.999]),
        derivatives=(2,),
        truth_derivatives={2: precise(lambda k, rest, p: k / p - rest / (1 - p))},
        zero=4,
    ),
    Entry(
        "gamma_multigammaln",
        lambda a: multigammaln(a, 3),
        precise(lambda a: 1.5 * mp.log(mp.pi) + sum(mp.loggamma(a - mp.mpf(i) / 2) for i in range(3))),
        grid(np.concatenate([1 + np.logspace(-6, 30, 73), np.linspace(1.01, 9, 100)])),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda a: sum(mp.digamma(a - mp.mpf(i) / 2) for i in range(3)))},
        zero=16,
        jax=lambda a: jsp.multigammaln(a, 3),
    ),
    Entry(
        "gammainc",
        gammainc,
        P,
        incomplete_points(False),
        derivatives=(0, 1),
        truth_derivatives={0: in_a, 1: density},
        jax=jsp.gammainc,
        program="incomplete_gamma",
    ),
    Entry(
        "gammaincc",
        gammaincc,
        Q,
        incomplete_points(False),
        derivatives=(0, 1),
        truth_derivatives={0: negative(in_a), 1: negative(density)},
        jax=jsp.gammaincc,
        program="incomplete_gamma",
    ),
    Entry(
        "gamma_log_gammainc",
        log_gammainc,
        precise(lambda a, x: log_of(P(a, x), Q(a, x))),
        incomplete_points(True),
        derivatives=(0, 1),
        truth_derivatives={0: ratio(in_a, P), 1: ratio(density, P)},
        program="incomplete_gamma",
    ),
    Entry(
        "gamma_log_gammaincc",
        log_gammaincc,
        precise(lambda a, x: log_of(Q(a, x), P(a, x))),
        incomplete_points(True),
        derivatives=(0, 1),
        truth_derivatives={0: negative(ratio(in_a, Q)), 1: negative(ratio(density, Q))},
        program="incomplete_gamma",
    ),
    Entry(
        "gammaincinv",
        gammaincinv,
        lambda a, p: solution(a, p, 1 - p),
        normal(INVERSE_POINTS, True),
        derivatives=(0, 1),
        truth_derivatives={
            0: lambda a, p: solution_in_a(a, p, 1 - p),
            1: lambda a, p: 1 / density(a, solution(a, p, 1 - p)),
        },
        tfp=lambda m: m.igammainv,
        program="inverse_gamma",
    ),
    Entry(
        "gammainccinv",
        gammainccinv,
        lambda a, q: solution(a, 1 - q, q),
        normal(INVERSE_POINTS, False),
        derivatives=(0, 1),
        truth_derivatives={
            0: lambda a, q: solution_in_a(a, 1 - q, q),
            1: lambda a, q: -1 / density(a, solution(a, 1 - q, q)),
        },
        tfp=lambda m: m.igammacinv,
        program="inverse_gamma",
    ),
]
