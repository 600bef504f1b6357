"""Truth for Student's t distribution function, its logarithm and its inverse."""

import mpmath as mp
import numpy as np

from distrax_like.special import log_stdtr, stdtr, stdtrit

from .entries_beta import solution, split_tails
from .truth import Entry, difference_quotient, grid, precise


@precise
def tail(df, t):
    """The probability beyond t >= 0."""
    if t == 0:
        return mp.mpf(1) / 2
    square = t * t
    return split_tails.__wrapped__(df / 2, mp.mpf(1) / 2, df / (df + square), square / (df + square))[0] / 2


def probability(df, t):
    return tail(df, -t) if t < 0 else 1 - tail(df, t)


@precise
def density(df, t):
    constant = mp.exp(mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2)) / mp.sqrt(df * mp.pi)
    return constant * mp.exp(-(df + 1) / 2 * mp.log1p(t * t / df))


tail_slope = difference_quotient(tail, 0)


def in_df(df, t):
    return tail_slope(df, abs(t)) * (1 if t < 0 else -1)


def ratio(top):
    return precise(lambda df, t: top(df, t) / precise(probability)(df, t))


SIZES = [1e-12, 1e-4, 0.02, 0.3, 0.8, 0.99, 1, 1.2, 1.4, 1.7, 1.74, 2, 2.5, 3.3, 5, 8, 13, 30, 300, 1e5]
SIZES += [1e10, 1e20, 1e30]
DF = [0.01, 0.1, 0.5, 0.99, 1, 1.5, 2, 2.3, 4, 7, 15.9, 16.1, 30, 99, 101, 1e3, 1e5, 1e8, 1e13]
POINTS = grid(DF, np.concatenate([-np.array(SIZES), SIZES[:14:2]]))


@precise
def quantile(df, p):
    if p == 0.5:
        return mp.mpf(0)
    tail = 2 * min(p, 1 - p)
    x, y = solution(df / 2, mp.mpf(1) / 2, tail, 1 - tail)
    return mp.sqrt(df * y / x) * (-1 if p < 0.5 else 1)


@precise
def quantile_in_df(df, p):
    t = quantile(df, p)
    return -in_df(df, t) / density(df, t) if t else mp.mpf(0)


P = [1e-30, 1e-8, 0.01, 0.2, 0.4, 0.49, 0.5, 0.6, 0.9, 0.999]

ENTRIES = [
    Entry(
        "student_t_stdtr",
        stdtr,
        precise(probability),
        POINTS,
        derivatives=(0, 1),
        truth_derivatives={0: in_df, 1: density},
        program="student_t",
    ),
    Entry(
        "student_t_log_stdtr",
        log_stdtr,
        precise(lambda df, t: mp.log(tail(df, -t)) if t < 0 else mp.log1p(-tail(df, t))),
        POINTS,
        derivatives=(0, 1),
        truth_derivatives={0: ratio(in_df), 1: ratio(density)},
        program="student_t",
    ),
    Entry(
        "student_t_stdtrit",
        stdtrit,
        quantile,
        [(df, p) for df, p in grid([0.5, 1, 1.5, 3, 10, 100, 1e4, 1e7], P) if p > 1e-3 or df >= 3],
        derivatives=(0, 1),
        truth_derivatives={
            0: quantile_in_df,
            1: precise(lambda df, p: 1 / density(df, quantile(df, p))),
        },
    ),
]
