"""Truth for the normal family: error functions, tails, quantiles, masses of intervals, Owen's T."""

import jax.scipy.special as jsp
import mpmath as mp
import numpy as np

from distrax_like.special import (
    erfcinv,
    erfcx,
    log_ndtr,
    log_ndtr_difference,
    logerfc,
    logerfcx,
    ndtr,
    ndtri,
    ndtri_exp,
    owens_t,
)

from .truth import Entry, grid, precise


def tail(x):
    """The upper tail of the normal distribution, to its own digits."""
    return mp.erfc(x / mp.sqrt(2)) / 2


def density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def log_erfc(x):
    return mp.log(mp.erfc(x)) if x > 0 else mp.log1p(-mp.erf(x))


def log_tail(x):
    return mp.log(tail(x)) if x > 0 else mp.log1p(-tail(-x))


def hazard(x):
    return density(x) / tail(x)


def erfc_hazard(x):
    return mp.exp(-x * x) * 2 / mp.sqrt(mp.pi) / mp.erfc(x)


def true_erfcx(y):
    return mp.exp(y * y) * mp.erfc(y)


@precise
def upper_quantile(log_q):
    """The x > 0 whose upper tail has this logarithm, by Newton's method on the logarithm."""
    x = mp.sqrt(-2 * log_q) if log_q < -5 else mp.mpf(1)
    for _ in range(100):
        step = (log_tail(x) - log_q) / hazard(x)
        x += step
        if abs(step) < mp.mpf("1e-60"):
            return x
    raise ValueError("not converged")


@precise
def true_ndtri(p):
    if p == 0.5:
        return mp.mpf(0)
    return upper_quantile(mp.log1p(-p)) if p > 0.5 else -upper_quantile(mp.log(p))


@precise
def true_ndtri_exp(log_p):
    if log_p < -mp.log(2):
        return -upper_quantile(log_p)
    return upper_quantile(mp.log(-mp.expm1(log_p)))


@precise
def mass(a, b):
    if a + b > 0:
        a, b = -b, -a
    return tail(-b) - tail(-a)


SIZES = np.logspace(-30, 30, 121)
NORMALS = grid(np.concatenate([-SIZES, [0], SIZES, np.linspace(-14, 14, 421), np.linspace(-39, -14, 120)]))
ERRORS = grid(np.concatenate([-SIZES, [0], SIZES, np.linspace(-9.5, 10, 421), np.linspace(-26.6, 27, 150)]))
SMALL = np.concatenate([np.logspace(-37.5, -0.31, 160), np.linspace(0.01, 0.5, 100)])
PROBABILITIES = np.concatenate([SMALL, 1 - np.logspace(-7, -0.31, 60), 0.5 - np.logspace(-7, -1, 40), [0.5]])
PROBABILITIES = np.concatenate([PROBABILITIES, 0.5 + np.logspace(-7, -1, 40)])
LOGS = np.concatenate([-np.logspace(-37, 30, 200), -np.linspace(0.02, 3, 180), -np.linspace(3, 120, 100)])
LOGS = np.concatenate([LOGS, -np.log(2) + np.logspace(-7, -1, 40), -np.log(2) - np.logspace(-7, -1, 40)])


def intervals():
    starts = [0, 1e-8, 0.1, 0.5, 1, 2, 3.3, 5, 7, 9.1, 12, 15, 25, 37, 60, 300, 1e4, 1e8]
    gaps = [1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.7, 0.99, 1.01, 1.5, 3, 8, 30, 1e3]
    tails = [(a, a + x) for a in starts for x in gaps] + [(a, a + x / a) for a in starts[3:] for x in gaps]
    across = [(-x, y) for x in [1e-30, 1e-6, 0.01, 0.3, 1, 2.5, 6, 12, 40] for y in [1e-20, 1e-3, 0.2, 0.9, 3, 9, 50]]
    points = [(np.float32(a), np.float32(b)) for a, b in tails + across]
    return [(a, b) for a, b in points if a < b] + [(-b, -a) for a, b in points if a < b]


@precise
def true_owens_t(h, a):
    if abs(a) > 1:
        p, q = tail(abs(h)), tail(abs(h * a))
        return mp.sign(a) * ((p + q) / 2 - p * q - true_owens_t(abs(h * a), 1 / abs(a)))
    if a < 0:
        return -true_owens_t(h, -a)
    if h == 0:
        return mp.atan(a) / (2 * mp.pi)
    z, end = h * h / 2, min(a, 25 / abs(h))
    with mp.workdps(50):
        total = mp.quad(lambda t: mp.exp(-z * t * t) / (1 + t * t), [0, end / 4, end])
    return mp.exp(-z) * total / (2 * mp.pi)


def wedges():
    h = [0, 1e-30, 1e-8, 0.01, 0.2, 0.5, 0.9, 1.3, 2, 3.1, 4.5, 5.4, 5.6, 7, 8.2, 8.4, 9.3, 11, 12.8]
    a = [1e-30, 1e-10, 1e-3, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999, 1, 1.001, 1.1, 1.5, 2.2, 4, 9, 40, 1e3, 1e10, 1e30]
    far = grid([14, 20, 27, 37], [1e-20, 1e-3, 0.1, 0.3, 0.7, 1, 1.01, 2, 1e5])
    return grid(h, a) + far + [(-1, 0.7), (1, -0.7), (-2, -3), (2, -3), (1e10, 1), (0, -2)]


ENTRIES = [
    Entry(
        "normal_erfcx",
        erfcx,
        precise(true_erfcx),
        [point for point in ERRORS if point[0] > -26.6],  # it overflows below
        derivatives=(0,),
        truth_derivatives={0: precise(lambda y: 2 * y * true_erfcx(y) - 2 / mp.sqrt(mp.pi))},
        jax=jsp.erfcx,
        tfp=lambda m: m.erfcx,
    ),
    Entry(
        "normal_logerfc",
        logerfc,
        precise(log_erfc),
        ERRORS,
        derivatives=(0,),
        truth_derivatives={0: precise(lambda x: -erfc_hazard(x))},
        tfp=lambda m: m.logerfc,
    ),
    Entry(
        "normal_logerfcx",
        logerfcx,
        precise(lambda y: y * y + log_erfc(y)),
        ERRORS,
        derivatives=(0,),
        truth_derivatives={0: precise(lambda y: 2 * y - erfc_hazard(y))},
        tfp=lambda m: m.logerfcx,
    ),
    Entry(
        "normal_ndtr",
        ndtr,
        precise(lambda x: tail(-x)),
        NORMALS,
        derivatives=(0,),
        truth_derivatives={0: precise(density)},
        jax=jsp.ndtr,
    ),
    Entry(
        "normal_log_ndtr",
        log_ndtr,
        precise(lambda x: log_tail(-x)),
        NORMALS,
        derivatives=(0,),
        truth_derivatives={0: precise(lambda x: hazard(-x))},
        jax=jsp.log_ndtr,
    ),
    Entry(
        "normal_ndtri",
        ndtri,
        true_ndtri,
        grid(PROBABILITIES),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda p: 1 / density(true_ndtri(p)))},
        jax=jsp.ndtri,
    ),
    Entry(
        "normal_erfcinv",
        erfcinv,
        precise(lambda q: -true_ndtri(q / 2) / mp.sqrt(2)),
        grid(2 * PROBABILITIES),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda q: -1 / density(true_ndtri(q / 2)) / mp.sqrt(8))},
        tfp=lambda m: m.erfcinv,
    ),
    Entry(
        "normal_ndtri_exp",
        ndtri_exp,
        true_ndtri_exp,
        grid(LOGS),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda log_p: 1 / hazard(-true_ndtri_exp(log_p)))},
    ),
    Entry(
        "normal_log_ndtr_difference",
        log_ndtr_difference,
        precise(lambda a, b: mp.log(mass(a, b)) if mass(a, b) < 0.5 else mp.log1p(-tail(b) - tail(-a))),
        intervals(),
        derivatives=(0, 1),
        truth_derivatives={
            0: precise(lambda a, b: -density(a) / mass(a, b)),
            1: precise(lambda a, b: density(b) / mass(a, b)),
        },
    ),
    Entry(
        "normal_owens_t",
        owens_t,
        true_owens_t,
        wedges(),
        derivatives=(0, 1),
        truth_derivatives={
            0: precise(lambda h, a: -density(h) * mp.erf(a * h / mp.sqrt(2)) / 2),
            1: precise(lambda h, a: mp.exp(-h * h * (1 + a * a) / 2) / (2 * mp.pi * (1 + a * a))),
        },
        jax=jsp.owens_t,
        tfp=lambda m: m.owens_t,
    ),
]
