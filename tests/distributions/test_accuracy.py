"""Log densities and their gradients at all counts, against mpmath at the very numbers that the distribution holds.

An error is counted in ulp of the true value, besides a few ulp of 1 near its zeros and what one ulp of a rate or
probability that is stored as a logarithm or logit moves. (A rate of 1e8 in single precision is not known better.)
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import distrax_like.distributions as dist

COUNTS = (1e-3, 0.05, 0.5, 1, 2.5, 30, 1e3, 1e5, 1e8)
DRAWS = 6
RNG = np.random.default_rng(5)


@dataclasses.dataclass(frozen=True)
class Family:
    """How to make a batch of distributions from vectors of parameters and draw values, and the truth.

    `slopes`: by parameter and coordinate, the derivative and the size of what may cancel in it: the logarithm of the
    ratio of the value to its mean and ψ, or the rate; `moved`: how much a relative change of the rate, or of the
    probability, moves the value.
    """

    make: Callable[..., dist.Distribution]
    params: list[tuple[Any, ...]]
    draw: Callable[..., Any]
    truth: Callable[..., Any]
    slopes: Callable[..., list[Any]]
    moved: Callable[..., Any] = lambda *args: 0


def log_gamma_ratio(*a):
    return mp.loggamma(mp.fsum(a)) - mp.fsum(mp.loggamma(b) for b in a)


def true_dirichlet(x, a):
    return log_gamma_ratio(*a) + mp.fsum((b - 1) * mp.log(y) for y, b in zip(x, a))


def dirichlet_slopes(x, a):
    n = mp.fsum(a)
    return [[(mp.log(y) - mp.digamma(b) + mp.digamma(n), abs(mp.log(y * n / b)) + 1 / b) for y, b in zip(x, a)]]


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def true_binomial(k, n, l):
    ways = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
    return ways - k * mp.log1p(mp.exp(-l)) - (n - k) * mp.log1p(mp.exp(l))


def logit(p):
    return np.log(p) - np.log1p(-p)


FAMILIES = {
    "Gamma": Family(
        dist.Gamma,
        [(a, r) for a in COUNTS for r in (0.02, 1, 700)],
        lambda a, r: RNG.gamma(a, 1 / r) + 1e-30,
        lambda x, a, r: a * mp.log(r) + (a - 1) * mp.log(x) - r * x - mp.loggamma(a),
        lambda x, a, r: [[(mp.log(r) + mp.log(x) - mp.digamma(a), mp.log(r * x / a))], [(a / r - x, 0)]],
    ),
    "Beta": Family(
        dist.Beta,
        [(a, b) for a in COUNTS for b in COUNTS[::2]],
        lambda a, b: np.clip(RNG.beta(a, b), 1e-30, 1 - 2.0**-24),
        lambda x, a, b: log_gamma_ratio(a, b) + (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x),
        lambda x, a, b: [[slope] for slope in dirichlet_slopes((x, 1 - x), (a, b))[0]],
    ),
    "Dirichlet": Family(
        dist.Dirichlet,
        [(np.array([a, b, 1.5 * a + b]),) for a in COUNTS[2:] for b in COUNTS[3::2]],
        RNG.dirichlet,
        true_dirichlet,
        dirichlet_slopes,
    ),
    "Poisson": Family(
        lambda log_rate: dist.Poisson(log_rate=log_rate),
        [(np.log(m),) for m in (1e-30, *COUNTS)],
        lambda log_rate: RNG.poisson(np.exp(log_rate)),
        lambda k, l: k * l - mp.exp(l) - mp.loggamma(k + 1),
        lambda k, l: [[(k - mp.exp(l), mp.exp(l))]],
        lambda k, l: abs(k - mp.exp(l)),
    ),
    "Binomial": Family(
        dist.Binomial,
        [(n, logit(p)) for n in (1, 7, 100, 1e4, 1e7) for p in (1e-20, 1e-4, 0.3, 0.5, 0.9)],
        lambda n, l: RNG.binomial(int(n), 1 / (1 + np.exp(-l))),
        true_binomial,
        lambda k, n, l: [
            [(mp.digamma(n + 1) - mp.digamma(n - k + 1) - mp.log1p(mp.exp(l)), 1)],
            [(k - n * sigmoid(l), n * sigmoid(-abs(l)))],
        ],
        lambda k, n, l: abs(k - n * sigmoid(l)),
    ),
}


def precise(x: Any) -> Any:
    return [precise(v) for v in x] if np.ndim(x) else mp.mpf(float(x))


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("name", FAMILIES)
def test_every_count(name, dtype):
    family, eps = FAMILIES[name], float(np.finfo(dtype).eps)
    rows = [(np.asarray(family.draw(*p)), *p) for p in family.params for _ in range(DRAWS)]
    x, *params = (np.asarray(np.stack(column), dtype) for column in zip(*rows))

    @eqx.filter_jit
    def run(x, params):
        d = family.make(*params)
        slopes = jax.grad(lambda d: jnp.sum(d.log_prob(x)))(d)
        # In the order of the constructor, not of the fields.
        held = {field.name for field in dataclasses.fields(d)}
        fields = [name for name in inspect.signature(type(d)).parameters if name in held]
        return d.log_prob(x), jax.grad(lambda x: jnp.sum(d.log_prob(x)))(x), [getattr(slopes, f) for f in fields]

    values, in_x, slopes = run(x, params)
    assert values.dtype == dtype and np.all(np.isfinite(in_x))
    for i, row in enumerate(zip(x, *params)):
        with mp.workdps(60):
            args = precise(row)
            truth, moved = family.truth(*args), family.moved(*args)
            error = abs(mp.mpf(float(values[i])) - truth) - 2 * eps * moved
            assert error <= 16 * eps * max(abs(truth), 2), (row, float(error / eps / abs(truth)))
            for slope, wanted in zip(slopes, family.slopes(*args), strict=True):
                for got, (want, scale) in zip(np.atleast_1d(slope[i]), wanted, strict=True):
                    error = abs(mp.mpf(float(got)) - want)
                    assert error <= 16 * eps * abs(want) + 4 * eps * abs(scale), (row, float(got), float(want))
