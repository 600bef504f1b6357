"""Truth for the beta family: log-beta, the incomplete beta functions and their inverses."""

import functools

import jax.scipy.special as jsp
import mpmath as mp
import numpy as np

from distrax_like.special import betainc, betaincc, betainccinv, betaincinv, lbeta, log_betainc, log_betaincc

from .truth import DIGITS, Entry, difference_quotient, grid, precise


@functools.lru_cache(4)
def temme_coefficients(kappa, n):
    """d_0 … d_n-1 of η / μ in powers of η, from μ μ' = η (1 + μ) (1 - κ μ)."""
    mu = [mp.mpf(0), mp.mpf(1)]
    square = [mp.mpf(0)] * 2
    for k in range(2, n + 2):
        cross = sum(mu[i] * mu[k + 1 - i] for i in range(2, k)) * (k + 1) / 2
        mu.append(((1 - kappa) * mu[k - 1] - kappa * square[k - 1] - cross) / (k + 1))
        square.append(sum(mu[i] * mu[k - i] for i in range(1, k)))
    d = [mp.mpf(1)]
    for k in range(1, n):
        d.append(-mp.fdot(mu[2 : k + 2], d[k - 1 :: -1]))
    return d


def log_scale(a, b):
    return mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)


def by_temme(a, b, x):
    """I_x(a, b) and its complement for large a <= b and x near the mean."""
    n, kappa = a + b, a / b
    d = temme_coefficients(kappa, 150)
    deviance = -a * mp.log(n * x / a) - b * mp.log(n * (1 - x) / b)
    size = a * (1 + kappa)
    eta = mp.sign(n * x - a) * mp.sqrt(2 * deviance / size)
    total = later = last = mp.mpf(0)
    for k in range(len(d) - 1, 0, -1):
        later, last = last, (k + 1) / size * later + d[k]
        total = total * eta + last
    rest = mp.exp(-deviance) / mp.sqrt(2 * mp.pi * size) * total / (1 + later / size)
    y = eta * mp.sqrt(size / 2)
    return mp.erfc(-y) / 2 - rest, mp.erfc(y) / 2 + rest


def by_series(a, b, x):
    term, total, k = mp.mpf(1), 1 / a, 0
    while term != 0 and abs(term) > mp.mpf(10) ** (-DIGITS - 20) * abs(total):
        k += 1
        term *= (k - b) * x / k
        total += term / (a + k)
    return mp.exp(a * mp.log(x) + log_scale(a, b)) * total


def by_fraction(a, b, x, y):
    """DLMF 8.17.22, by the recurrence of its even convergents."""
    beta = a / (a + 1) * (a * y - b * x + 1)
    top, bottom, last_top, last_bottom, k = mp.mpf(1), beta, mp.mpf(0), mp.mpf(1), 0
    while True:
        k += 1
        alpha = (a + k - 1) * (a + b + k - 1) * k * (b - k) * (x / (a + 2 * k - 1)) ** 2
        beta = k + k * (b - k) * x / (a + 2 * k - 1) + (a + k) / (a + 2 * k + 1) * (a * y - b * x + 1 + k * (1 + y))
        new_top, new_bottom = beta * top + alpha * last_top, beta * bottom + alpha * last_bottom
        last_top, last_bottom, before = top / new_bottom, bottom / new_bottom, top / bottom
        top, bottom = new_top / new_bottom, mp.mpf(1)
        if abs(before - top) < mp.mpf(10) ** (4 - DIGITS) * abs(top):
            return mp.exp(a * mp.log(x) + b * mp.log(y) + log_scale(a, b)) * top


@precise
def split_tails(a, b, x, y):
    """I_x(a, b) and its complement, for x + y = 1, each to more than 50 digits of its own."""
    if x > y:
        return split_tails(b, a, y, x)[::-1]
    n = a + b
    if min(a, b) >= 300 and abs(n * x - a) < 0.4 * min(a, b):
        return by_temme(a, b, x) if a <= b else by_temme(b, a, y)[::-1]
    if max(b, 1) * x < 25:
        tail = by_series(a, b, x)
        return tail, 1 - tail
    if n * x < a:
        tail = by_fraction(a, b, x, y)
        return tail, 1 - tail
    tail = by_fraction(b, a, y, x)
    return 1 - tail, tail


def tails(a, b, x):
    return split_tails(a, b, x, precise(lambda x: 1 - x)(x))


@precise
def density(a, b, x):
    return mp.exp((a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) + log_scale(a, b))


def lower_in(i):
    """The derivative of I in a or b, from differences of the smaller tail."""
    slopes = [difference_quotient(lambda *args, side=side: tails(*args)[side], i) for side in (0, 1)]

    @precise
    def slope(a, b, x):
        p, q = tails(a, b, x)
        return slopes[0](a, b, x) if p < q else -slopes[1](a, b, x)

    return slope


def lower(a, b, x):
    return tails(a, b, x)[0]


def upper(a, b, x):
    return tails(a, b, x)[1]


def log_of(p, q):
    return mp.log(p) if p < 0.5 else mp.log1p(-q)


def ratio(top, bottom, sign=1):
    return precise(lambda *args: sign * top(*args) / bottom(*args))


SLOPES = (lower_in(0), lower_in(1), density)

SHAPES = [1e-10, 1e-6, 1e-3, 0.03, 0.3, 0.5, 0.9, 1, 1.5, 2.7, 7, 20, 39, 45, 70, 120, 300]
LARGE = [1e3, 1e5, 1e8, 1e10, 1e13]


def incomplete_points(log):
    """All pairs of shapes with a few x each: fixed ones, standard deviations from the mean, and where formulas meet."""
    rng = np.random.default_rng(0)
    fixed = [1e-30, 1e-10, 1e-5, 1e-3, 0.03, 0.2, 0.4, 0.49, 0.5, 0.51, 0.6, 0.8, 0.97, 0.999, 1 - 1e-5, 1 - 6e-8]
    points = []
    for i, a in enumerate(SHAPES + LARGE):
        for j, b in enumerate(SHAPES + LARGE):
            n = a + b
            spread = np.sqrt(n / a / b / (n + 1) * n) if min(a, b) > 1 else 2.0
            x = list(rng.choice(fixed, 1))
            for k in rng.choice([-20, -8, -4, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 4, 8, 20], 2):
                x.append(1 / (1 + b / a * np.exp(-k * spread)))
            if (i + j) % 3 == 0:
                x.append(1 - rng.uniform(0.5, 3) / n if a > b else rng.uniform(0.5, 3) / max(n, 3))
            if log and (i + j) % 4 == 0:
                x.append(rng.choice([1e-35, 1e-20, 1e-7, 0.1, 0.9, 1 - 1e-6]))
            points += grid([a], [b], [v for v in np.float32(x) if 1e-36 < v < 1])
    return points


@precise
def solution(a, b, p, q):
    """x with tails p and q, and 1 - x, by Newton's method in the logit on the log of a tail, which is concave."""
    if p > q:
        y, x = solution.__wrapped__(b, a, q, p)
        return x, y
    u = (mp.log(p) + mp.log(a) - log_scale(a, b)) / a
    if min(a, b) > 1:
        u = max(u, mp.log(a / b) - 12 * mp.sqrt(1 / a + 1 / b))
    for _ in range(400):
        x, y = 1 / (1 + mp.exp(-u)), 1 / (1 + mp.exp(u))
        tail = split_tails.__wrapped__(a, b, x, y)[0]
        speed = mp.exp(a * mp.log(x) + b * mp.log(y) + log_scale(a, b)) / tail
        step = mp.log(tail / p) / speed
        u -= step
        if abs(step) < mp.mpf("1e-40"):
            return 1 / (1 + mp.exp(-u)), 1 / (1 + mp.exp(u))
    raise ValueError("not converged")


def solution_slope(i, p, q):
    """The derivative in a, b or p."""

    @precise
    def slope(a, b, t):
        x, y = solution(a, b, p(t), q(t))
        speed = mp.exp((a - 1) * mp.log(x) + (b - 1) * mp.log(y) + log_scale(a, b))
        if i == 2:
            return 1 / speed
        side = 0 if p(t) < 0.5 else 1
        along = difference_quotient(lambda *args: split_tails(*args, x, y)[side], i)
        return along(a, b) / speed * (-1, 1)[side]

    return slope


def true_lbeta(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


LBETA = np.concatenate([np.logspace(-30, 30, 25), [0.3, 0.9, 1.3, 2, 2.5, 4, 7, 7.9, 8, 8.1, 9.5, 20, 300]])

INVERSE_SHAPES = [1e-2, 0.3, 1, 2.5, 12, 60, 1e3, 1e6]


def inverse_points(lower):
    """Without those whose solution, or one minus it, is subnormal in single precision."""
    points = grid(INVERSE_SHAPES, INVERSE_SHAPES, [1e-30, 1e-8, 0.01, 0.3, 0.5, 0.7, 0.98])
    kept = []
    for a, b, t in points:
        scale = float(-log_scale(mp.mpf(a), mp.mpf(b)))
        logs = (np.log(t), np.log1p(-t)) if lower else (np.log1p(-t), np.log(t))
        if all((log + np.log(shape) + scale) / shape > -80 for log, shape in zip(logs, (a, b))):
            kept.append((a, b, t))
    return kept


def same(t):
    return t


def rest(t):
    return 1 - t


# Complements share their derivatives with what they complement: each rule is tested once, for it takes long to compile.
ENTRIES = [
    Entry(
        "beta_lbeta",
        lbeta,
        precise(true_lbeta),
        grid(LBETA, LBETA),
        derivatives=(0, 1),
        truth_derivatives={
            0: precise(lambda a, b: mp.digamma(a) - mp.digamma(a + b)),
            1: precise(lambda a, b: mp.digamma(b) - mp.digamma(a + b)),
        },
        zero=16,
        jax=jsp.betaln,
        tfp=lambda m: m.lbeta,
    ),
    Entry(
        "betainc",
        betainc,
        lower,
        incomplete_points(False),
        derivatives=(0, 1, 2),
        truth_derivatives=dict(enumerate(SLOPES)),
        jax=jsp.betainc,
        tfp=lambda m: m.betainc,
        program="incomplete_beta",
    ),
    Entry(
        "betaincc",
        betaincc,
        upper,
        incomplete_points(False)[::2],
        derivatives=(),
        truth_derivatives={i: (lambda *args, s=s: -s(*args)) for i, s in enumerate(SLOPES)},
        program="incomplete_beta",
    ),
    Entry(
        "beta_log_betainc",
        log_betainc,
        precise(lambda *args: log_of(*tails(*args))),
        incomplete_points(True)[::2],
        derivatives=(0, 1, 2),
        truth_derivatives={i: ratio(s, lower) for i, s in enumerate(SLOPES)},
        program="incomplete_beta",
    ),
    Entry(
        "beta_log_betaincc",
        log_betaincc,
        precise(lambda *args: log_of(*tails(*args)[::-1])),
        incomplete_points(True)[1::2],
        derivatives=(0, 1, 2),
        truth_derivatives={i: ratio(s, upper, -1) for i, s in enumerate(SLOPES)},
        program="incomplete_beta",
    ),
    Entry(
        "betaincinv",
        betaincinv,
        lambda a, b, p: solution(a, b, p, rest(p))[0],
        inverse_points(True),
        derivatives=(0, 1, 2),
        truth_derivatives={i: solution_slope(i, same, rest) for i in range(3)},
        tfp=lambda m: m.betaincinv,
        program="beta_inverse",
    ),
    Entry(
        "betainccinv",
        betainccinv,
        lambda a, b, q: solution(a, b, rest(q), q)[0],
        inverse_points(False)[::2],
        derivatives=(),
        truth_derivatives={
            0: solution_slope(0, rest, same),
            1: solution_slope(1, rest, same),
            2: lambda *args: -solution_slope(2, rest, same)(*args),
        },
        program="beta_inverse",
    ),
]
