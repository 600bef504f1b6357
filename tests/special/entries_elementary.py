"""Truth for the elementary functions."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np

from distrax_like.special import (
    atan_difference,
    log1mexp,
    log1psquare,
    log_combinations,
    log_cosh,
    log_sub_exp,
    softplus_inverse,
    sqrt1pm1,
)

from .truth import Entry, grid, precise

SIZES = np.concatenate([np.logspace(-37, 37, 149), np.linspace(0.01, 3, 150), [0.5, 1, 2, 10, 50, 88, 700]])
SIGNED = grid(np.concatenate([SIZES, -SIZES]))
POSITIVE = grid(SIZES)


@functools.cache
def expm1(x):
    # mpmath's loses digits between its two branches at high precision.
    with mp.workdps(400 if abs(x) < 1e-20 else 200):
        return mp.exp(x) - 1


def unary(name, fn, truth, slope, points, **options):
    return Entry(name, fn, truth, points, derivatives=(0,), truth_derivatives={0: slope}, **options)


def close_pairs():
    x = [-1e4, -30, -1, -1e-3, 0, 0.7, 5, 88, 1e4]
    gaps = [1e-6, 1e-3, 0.1, 0.5, 0.69, 0.7, 1, 5, 30, 100]
    return [(a, a + s * g) for a in x for g in gaps for s in (1, -1) if np.float32(a) != np.float32(a + s * g)]


def exp_difference(x, y):
    with mp.workdps(200):
        return mp.log(abs(mp.exp(x) - mp.exp(y)))


def combinations(k, m):
    return mp.loggamma(k + m + 1) - mp.loggamma(k + 1) - mp.loggamma(m + 1)


ENTRIES = [
    unary(
        "log1mexp",
        log1mexp,
        precise(lambda x: mp.log1p(-mp.exp(-abs(x))) if abs(x) > 1 else mp.log(-expm1(-abs(x)))),
        lambda x: mp.sign(x) / expm1(abs(x)),
        SIGNED,
        jax=lambda x: jax.nn.log1mexp(jnp.abs(x)),
        tfp=lambda m: m.log1mexp,
    ),
    Entry(
        "log_sub_exp",
        log_sub_exp,
        exp_difference,
        close_pairs(),
        derivatives=(0, 1),
        truth_derivatives={0: lambda x, y: -1 / expm1(y - x), 1: lambda x, y: -1 / expm1(x - y)},
        zero=8,
        tfp=lambda m: m.log_sub_exp,
    ),
    unary(
        "log_cosh",
        log_cosh,
        precise(lambda x: abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2)),
        precise(mp.tanh),
        SIGNED,
        tfp=lambda m: m.log_cosh,
    ),
    unary(
        "log1psquare",
        log1psquare,
        precise(lambda x: mp.log1p(x * x)),
        precise(lambda x: 2 * x / (1 + x * x)),
        SIGNED,
        tfp=lambda m: m.log1psquare,
    ),
    unary(
        "sqrt1pm1",
        sqrt1pm1,
        precise(lambda x: x / (1 + mp.sqrt(1 + x))),
        precise(lambda x: 0.5 / mp.sqrt(1 + x)),
        POSITIVE + [(-x,) for x in SIZES if x < 1] + [(-0.9999,), (-0.999999,)],
        tfp=lambda m: m.sqrt1pm1,
    ),
    unary(
        "softplus_inverse",
        softplus_inverse,
        lambda x: mp.log(expm1(x)) if x < 100 else x + mp.log1p(-mp.exp(-x)),
        lambda x: -1 / expm1(-x),
        POSITIVE,
        zero=2,
        tfp=lambda m: m.softplus_inverse,
    ),
    Entry(
        "atan_difference",
        atan_difference,
        precise(lambda x, y: mp.atan(x) - mp.atan(y)),
        grid([-1e30, -30, -1, -1e-3, 1e-20, 0.7, 1, 5, 1e4], [-1e20, -3, -1.001, -1e-3, 1e-10, 0.7001, 1, 5.01, 1e35]),
        derivatives=(0, 1),
        truth_derivatives={0: lambda x, y: 1 / (1 + x * x), 1: lambda x, y: -1 / (1 + y * y)},
        tfp=lambda m: m.atan_difference,
    ),
    Entry(
        "log_combinations",
        lambda k, m: log_combinations(k + m, jnp.stack([k, m], -1)),
        precise(combinations),
        grid([0, 1, 2, 5, 17, 100, 2**14, 2**20], [0, 1, 3, 8, 40, 1000, 2**18]),
        zero=16,
        tfp=lambda t: lambda k, m: t.log_combinations(k + m, jnp.stack([k, m], -1)),
    ),
]
