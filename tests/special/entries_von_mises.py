"""Truth for the distribution function of the von Mises distribution and its inverse."""

import jax
import mpmath as mp
import numpy as np
from scipy.special import i0e

from distrax_like.special import von_mises_cdf, von_mises_cdf_inverse

from .truth import Entry, grid, precise


@precise
def bessel(kappa):
    """exp(-κ) I_0(κ) and 1 - I_1(κ) / I_0(κ)."""
    with mp.workdps(90):
        zero, one = (mp.exp(-kappa) * mp.besseli(i, kappa) for i in range(2))
        return zero, (zero - one) / zero


@precise
def moments(z, kappa):
    """The tail at z and the derivative of its negative in κ, with z >= 0."""
    zero, mean = bessel(kappa)
    with mp.workdps(60):
        # Up to where the integrand is smaller by a factor of e^-150.
        room = 75 / kappa if kappa > 0 else mp.inf
        end = mp.pi
        if room < mp.cos(z / 2) ** 2:
            end = z + 2 * mp.atan(2 * room / (mp.sin(z) + mp.sqrt(1 - (mp.cos(z) - 2 * room) ** 2)))
        points = [z, z + (end - z) / 20, z + (end - z) / 5, end]
        height = lambda t: mp.exp(-2 * kappa * mp.sin((t + z) / 2) * mp.sin((t - z) / 2))
        scale = mp.exp(-2 * kappa * mp.sin(z / 2) ** 2) / (2 * mp.pi * zero)
        tail = scale * mp.quad(height, points)
        return tail, scale * mp.quad(lambda t: (2 * mp.sin(t / 2) ** 2 - mean) * height(t), points)


def density(x, kappa):
    return mp.exp(-2 * kappa * mp.sin(x / 2) ** 2) / (2 * mp.pi * bessel(kappa)[0])


def true_cdf(x, kappa):
    tail = moments(abs(x), kappa)[0]
    return tail if x <= 0 else 1 - tail


def in_kappa(x, kappa):
    return mp.sign(x) * moments(abs(x), kappa)[1]


@precise
def quantile(p, kappa):
    """Newton's method from the solution in double precision, until it has 34 digits."""
    if p == 0.5:
        return mp.mpf(0)
    q = min(p, 1 - p)
    z = abs(mp.mpf(float(jax.jit(von_mises_cdf_inverse)(np.float64(p), np.float64(kappa)))))
    for _ in range(9):
        step = (moments(z, kappa)[0] - q) / density(z, kappa)
        z += step
        if abs(step) < mp.mpf("1e-34") * z:
            return z if p > 0.5 else -z
    raise ValueError("not converged")


KAPPAS = [0, 1e-30, 1e-6, 0.01, 0.2, 0.26, 0.5, 1, 1.6, 2.5, 4, 7, 10, 16, 18, 19.5, 30, 50, 100, 330, 1e3, 1e4, 1e6]
STEPS = np.array([1e-20, 1e-6, 0.01, 0.2, 0.6, 0.95, 1.05, 1.5, 2.3, 3.5, 5, 7, 9, 12])
ANGLES = [0.3, 0.9, 1.1, 1.5, 1.6, 2, 2.19, 2.21, 2.5, 2.8, 3, 3.1, 3.14, 3.1415]


def angles():
    points = [(x / np.sqrt(max(k, 1)), k) for k in [*KAPPAS, 1e20] for x in STEPS] + grid(ANGLES, KAPPAS)
    points = [(x, k) for x, k in points if x < 3.1415 and k * (1 - np.cos(x)) < 600]
    return [(-x, k) for x, k in points] + points[::3] + [(-3.1415925, 2), (3.1415925, 2), (-3.1415925, 20)]


INVERSE_KAPPAS = [0, 1e-6, 0.1, 0.6, 2, 7, 20, 100, 1e3, 1e6, 1e15]
LEVELS = [1e-30, 1e-15, 1e-6, 1e-3, 0.03, 0.15, 0.3, 0.33, 0.45, 0.4999, 0.5001, 0.7, 0.97, 0.9999]


def next_to_end(point):
    """Whether the solution is so close to -π or π that, rounded, it does not tell the derivative in κ."""
    p, kappa = point
    return min(p, 1 - p) < 0.05 * np.exp(-2 * kappa) / 2 / np.pi / i0e(kappa)


LEVELS_AND_KAPPAS = grid(LEVELS, INVERSE_KAPPAS)

ENTRIES = [
    Entry(
        "von_mises_cdf",
        von_mises_cdf,
        precise(true_cdf),
        angles(),
        derivatives=(0, 1),
        truth_derivatives={0: precise(density), 1: precise(in_kappa)},
        program="von_mises",
    ),
    Entry(
        "von_mises_cdf_inverse",
        von_mises_cdf_inverse,
        quantile,
        [point for point in LEVELS_AND_KAPPAS if not next_to_end(point)],
        derivatives=(0, 1),
        truth_derivatives={
            0: precise(lambda p, kappa: 1 / density(quantile(p, kappa), kappa)),
            1: precise(lambda p, kappa: -in_kappa(quantile(p, kappa), kappa) / density(quantile(p, kappa), kappa)),
        },
        program="von_mises",
    ),
    Entry(
        "von_mises_cdf_inverse_end",
        von_mises_cdf_inverse,
        quantile,
        [point for point in LEVELS_AND_KAPPAS if next_to_end(point)],
        derivatives=(0,),
        truth_derivatives={0: precise(lambda p, kappa: 1 / density(quantile(p, kappa), kappa))},
        program="von_mises",
    ),
]
