"""Truth for log densities, entropies and divergences, and for the differences they are made of."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np

from distrax_like.special import (
    bernoulli_divergence,
    dirichlet_divergence,
    dirichlet_entropy,
    expm1mx,
    gamma_divergence,
    gamma_entropy,
    log1pmx,
    log_beta_density,
    log_beta_density_of_logs,
    log_binomial_mass_of_logits,
    log_dirichlet_density,
    log_dirichlet_density_of_logs,
    log_gamma_density,
    log_gamma_density_of_log,
    log_minus_digamma,
    log_poisson_mass_of_log,
)

from .truth import Entry, grid, precise

COUNTS = (1e-3, 0.03, 0.4, 1, 1.7, 5, 40, 1e3, 1e6, 1e8, 1e15)
SMALL = np.concatenate([np.logspace(-30, 0.3, 62), [0.29, 0.3, 0.41, 0.42, 0.7, 0.99, 1, 1.01, 1.4]])
STEPS = (-30, -6, -2, -0.5, 0.1, 1, 4, 20)


def around(mean, sd):
    """Values within some standard deviations and far off."""
    return [x for x in (*(mean + s * sd for s in STEPS), *(mean * r for r in (1e-6, 0.3, 0.72, 1.4, 30))) if x > 0]


def gamma_points():
    return [
        (x, a, rate)
        for a in COUNTS
        for rate in (1e-6, 0.7, 1e4)
        for x in (*around(a / rate, math.sqrt(a) / rate), 1e-37)
    ]


def beta_points(least=0.0):
    points = []
    for a in COUNTS:
        for b in COUNTS:
            mean, sd = a / (a + b), math.sqrt(a * b / (a + b + 1)) / (a + b)
            points += [(x, a, b) for x in around(mean, sd) if x < 1] + [(1e-30, a, b), (1 - 2.0**-24, a, b)]
    return points[::3]


@precise
def true_gamma(x, a, rate):
    return a * mp.log(rate) + (a - 1) * mp.log(x) - rate * x - mp.loggamma(a)


def true_lbeta(*a):
    return mp.fsum(mp.loggamma(v) for v in a) - mp.loggamma(mp.fsum(a))


@precise
def true_beta(x, a, b):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - true_lbeta(a, b)


def simplex_points():
    rng, points = np.random.default_rng(0), []
    for a in ((1, 1, 1), (0.3, 2, 7), (1e-3, 1e-2, 5), (40, 1e3, 3), (1e6, 2e6, 3e6), (1e8, 1e3, 1), (1e8, 1e8, 3e7)):
        for _ in range(12):
            x = rng.dirichlet(a) if len(points) % 2 else rng.dirichlet((1, 1, 1))
            if np.min(x) > 1e-37:
                points.append((*x, *a))
    return points


@precise
def true_dirichlet(*args):
    x, a = args[:3], args[3:]
    return mp.fsum((b - 1) * mp.log(y) for y, b in zip(x, a)) - true_lbeta(*a)


@precise
def true_entropy(*a):
    n = mp.fsum(a)
    return true_lbeta(*a) + (n - len(a)) * mp.digamma(n) - mp.fsum((b - 1) * mp.digamma(b) for b in a)


@precise
def true_divergence(*args):
    a, c = args[: len(args) // 2], args[len(args) // 2 :]
    psi = mp.digamma(mp.fsum(a))
    return true_lbeta(*c) - true_lbeta(*a) + mp.fsum((x - y) * (mp.digamma(x) - psi) for x, y in zip(a, c))


@precise
def true_gamma_divergence(a, rate, c, other):
    shapes = (a - c) * mp.digamma(a) - mp.loggamma(a) + mp.loggamma(c)
    return shapes + c * mp.log(rate / other) + a * (other / rate - 1)


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


@precise
def true_bernoulli(l, r):
    p, q, u, v = (sigmoid(s) for s in (l, -l, r, -r))
    return p * mp.log(p / u) + q * mp.log(q / v)


@precise
def true_poisson(k, log_rate):
    return k * log_rate - mp.exp(log_rate) - mp.loggamma(k + 1)


@precise
def true_binomial(k, n, logits):
    ways = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
    return ways - k * mp.log1p(mp.exp(-logits)) - (n - k) * mp.log1p(mp.exp(logits))


def binomial_points():
    # Logits of few bits, whose probabilities are exact to an ulp or so: see the test of conditioning for others.
    counts = [(0, 1), (1, 1), (0, 40), (3, 40), (40, 40), (0, 1e6), (1, 1e6), (5e5, 1e6), (4.9e7, 1e8), (99, 1e8)]
    return [(k, n, l) for k, n in counts for l in (-90, -20, -3, -0.5, 0, 2, 30)]


PAIRS = [(a, a * r) for a in COUNTS for r in (0.01, 0.4, 0.9, 0.999, 1.00001, 1.3, 3, 200)]


def entry(name, fn, truth, points, slopes, **options):
    return Entry(
        f"density_{name}",
        fn,
        truth,
        points,
        derivatives=tuple(slopes),
        truth_derivatives={i: precise(slope) for i, slope in slopes.items()},
        **({"value_ulp": (16, 16), "derivative_ulp": (32, 32), "zero": 32} | options),
    )


ENTRIES = [
    entry("expm1mx", expm1mx, precise(lambda x: mp.exp(x) - 1 - x), grid([*SMALL, *-SMALL, 3, 9, 80, -7, -90, -1e9]),
          {0: lambda x: mp.exp(x) - 1}, zero=0),
    entry("log1pmx", log1pmx, precise(lambda x: mp.log(1 + x) - x),
          grid([*SMALL, *(-x for x in SMALL if x < 1), 3, 9, 1e9, -1 + 1e-7]), {0: lambda x: -x / (1 + x)}, zero=0),
    entry("log_minus_digamma", log_minus_digamma, precise(lambda a: mp.log(a) - mp.digamma(a)),
          grid([*np.logspace(-15, 15, 181), *np.linspace(0.05, 4, 80)]), {0: lambda a: 1 / a - mp.psi(1, a)}, zero=0),
    entry("gamma", log_gamma_density, true_gamma, gamma_points(), {
        0: lambda x, a, r: (a - 1) / x - r,
        1: lambda x, a, r: mp.log(r) + mp.log(x) - mp.digamma(a),
        2: lambda x, a, r: a / r - x,
    }),
    entry("gamma_of_log", log_gamma_density_of_log, precise(lambda w, a, r: true_gamma(mp.exp(w), a, r) + w),
          grid([-300, -90, -3, 0, 2], [1e-3, 0.5, 1, 7, 40], [1e-3, 1, 16]), {
        0: lambda w, a, r: a - r * mp.exp(w),
        1: lambda w, a, r: mp.log(r) + w - mp.digamma(a),
        2: lambda w, a, r: a / r - mp.exp(w),
    }),
    entry("beta", log_beta_density, true_beta, beta_points(), {
        0: lambda x, a, b: (a - 1) / x - (b - 1) / (1 - x),
        1: lambda x, a, b: mp.log(x) - mp.digamma(a) + mp.digamma(a + b),
        2: lambda x, a, b: mp.log(1 - x) - mp.digamma(b) + mp.digamma(a + b),
    }),
    entry("beta_of_logits",
          lambda w, a, b: log_beta_density_of_logs(jax.nn.log_sigmoid(w), jax.nn.log_sigmoid(-w), a, b),
          precise(lambda w, a, b: -a * mp.log1p(mp.exp(-w)) - b * mp.log1p(mp.exp(w)) - true_lbeta(a, b)),
          grid([-200, -30, -1, 0, 3, 50], [1e-3, 0.5, 2, 40], [1e-2, 1, 10]), {
        0: lambda w, a, b: a * sigmoid(-w) - b * sigmoid(w),
        1: lambda w, a, b: -mp.log1p(mp.exp(-w)) - mp.digamma(a) + mp.digamma(a + b),
    }),
    entry("dirichlet", lambda *v: log_dirichlet_density(jnp.stack(v[:3], -1), jnp.stack(v[3:], -1)),
          true_dirichlet, simplex_points(), {
        0: lambda *v: (v[3] - 1) / v[0],
        4: lambda *v: mp.log(v[1]) - mp.digamma(v[4]) + mp.digamma(mp.fsum(v[3:])),
    }),
    entry("dirichlet_of_logits",
          lambda x, y, a, b, c: log_dirichlet_density_of_logs(
              jax.nn.log_softmax(jnp.stack([x, y, jnp.zeros_like(x)], -1)), jnp.stack([a, b, c], -1)),
          precise(lambda x, y, a, b, c: a * x + b * y - (a + b + c) * mp.log(1 + mp.exp(x) + mp.exp(y))
                  - true_lbeta(a, b, c)),
          grid([-200, -1, 0.5], [-90, 0, 2], [1e-2, 2, 10], [0.5, 3], [1, 20]), {
        0: lambda x, y, a, b, c: a - (a + b + c) * mp.exp(x) / (1 + mp.exp(x) + mp.exp(y)),
    }),
    entry("poisson_of_log", log_poisson_mass_of_log, true_poisson,
          [(k, l) for k in (0, 1, 2, 7, 100) for l in (-1e4, -200, -40, -3, 0, 1, 4, 8)], {
        0: lambda k, l: l - mp.digamma(k + 1), 1: lambda k, l: k - mp.exp(l)}),
    entry("binomial_of_logits", log_binomial_mass_of_logits, true_binomial, binomial_points(), {
        2: lambda k, n, l: k - n * sigmoid(l) if l < 0 else n * sigmoid(-l) - (n - k)}),
    entry("gamma_entropy", gamma_entropy,
          precise(lambda a, r: a - mp.log(r) + mp.loggamma(a) + (1 - a) * mp.digamma(a)), grid(COUNTS, [0.01, 1, 30]), {
        0: lambda a, r: 1 + (1 - a) * mp.psi(1, a)}),
    entry("dirichlet_entropy", lambda *a: dirichlet_entropy(jnp.stack(a, -1)), true_entropy,
          grid(COUNTS, COUNTS[::2], COUNTS[::3]), {}),
    entry("gamma_divergence", gamma_divergence, true_gamma_divergence,
          [(a, r, c, o) for a, c in PAIRS for r, o in ((1, 1), (3, 3.001), (0.1, 0.5))], {}, zero=0),
    entry("dirichlet_divergence",
          lambda *v: dirichlet_divergence(jnp.stack(v[:2], -1), jnp.stack(v[2:], -1)), true_divergence,
          [(a, b, c, b * r) for a, c in PAIRS for b in (0.3, 50, 1e6) for r in (1, 1.01, 2) if a > b / 100], {},
          zero=0, value_ulp=(64, 64)),
    entry("bernoulli_divergence", bernoulli_divergence, true_bernoulli,
          [(l, l + d) for l in (-40, -3, -1, 0, 0.7, 10) for d in (-30, -0.9, -1e-3, 1e-4, 0.3, 1.1, 20)], {}, zero=0),
]  # fmt: skip
