"""Truth for the modified Bessel functions: mpmath's, and far out the uniform expansion to 60 terms."""

import functools

import mpmath as mp

from distrax_like.special import iv_ratio, ive, kve, log_ive, log_kve

from .truth import DIGITS, Entry, difference_quotient, grid, precise


@functools.cache
def coefficients():
    """Of log(I √(2 π p)) in powers of 1 / p, polynomials in (v / p)², from the equation of Riccati for x I' / I."""
    with mp.workdps(DIGITS + 20):
        h, rows = [[mp.mpf(-0.5), mp.mpf(0.5)]], []
        for k in range(60):
            step = [(2 * j + k) * c for j, c in enumerate(h[k])] + [mp.mpf(0)]
            new = [a - b for a, b in zip(step, [mp.mpf(0), *step])]
            for i in range(k + 1):
                for a, first in enumerate(h[i]):
                    for b, second in enumerate(h[k - i]):
                        new[a + b] -= first * second
            h.append([c / 2 for c in new])
            rows.append([-sum(h[-1][: j + 1]) / (2 * j + k + 1) for j in range(k + 2)][::-1])
        return rows


def logarithm(v, x, sign):
    """log of ive for `sign` 1, of kve for -1."""
    p = mp.sqrt(v * v + x * x)
    if p < 300 or (v < 0 and x < 300):
        return mp.log(mp.besseli(v, x)) - x if sign > 0 else mp.log(mp.besselk(v, x)) + x
    # The rest is below 1e-90 of it.
    tau, total = (v / p) ** 2, mp.mpf(0)
    for row in reversed(coefficients()):
        total = (total + mp.polyval(row, tau)) * (sign / p)
    return total - sign * (v * mp.asinh(v / x) - v * v / (p + x)) + mp.log(mp.pi ** (-sign) / (2 * p)) / 2


@precise
def log_i(v, x):
    return logarithm(v, x, 1)


@precise
def log_k(v, x):
    return logarithm(abs(v), x, -1)


@precise
def log_i_in_v(v, x):
    return difference_quotient(log_i, 0)(v, x) if v else -mp.exp(log_k(v, x) - 2 * x - log_i(v, x))


@precise
def log_k_in_v(v, x):
    return difference_quotient(log_k, 0)(v, x) if v else mp.mpf(0)


@precise
def log_i_in_x(v, x):
    return mp.exp(log_i(v + 1, x) - log_i(v, x)) + v / x - 1


@precise
def log_k_in_x(v, x):
    return 1 + v / x - mp.exp(log_k(v + 1, x) - log_k(v, x))


@precise
def ratio(v, x):
    return mp.exp(log_i(v, x) - log_i(v - 1, x))


@precise
def ratio_in_v(v, x):
    return ratio(v, x) * (log_i_in_v(v, x) - log_i_in_v(v - 1, x))


@precise
def ratio_in_x(v, x):
    r = ratio(v, x)
    return 1 - r * r - (2 * v - 1) * r / x


def exponential(log, *slopes):
    return [precise(lambda v, x: mp.exp(log(v, x)))] + [
        precise(lambda v, x, slope=slope: mp.exp(log(v, x)) * slope(v, x)) for slope in slopes
    ]


@precise
def any_i(v, x):
    return mp.besseli(v, x) * mp.exp(-x)


ORDERS = [0, 1e-10, 1e-3, 0.1, 0.24, 0.26, 0.49, 0.5, 0.75, 1, 1.5, 2, 3.3, 5, 7.45, 7.55, 11.5, 13, 20, 38, 100]
ORDERS += [1e3, 1e4]
ARGUMENTS = [1e-30, 1e-12, 1e-3, 0.05, 0.3, 0.74, 0.76, 0.99, 1.01, 1.5, 2.5, 4, 6.5, 9.5, 11, 12.5, 18, 23.5, 25, 35]
POINTS = grid(ORDERS, [*ARGUMENTS, 39.5, 41, 100, 1e3, 1e4, 1e6, 1e12, 1e30])
INSIDE = [(v, x) for v, x in POINTS if not 0.4 < (v * v + 1e-20) / x < 3 and not (x < 1 and 0.3 < v / x < 3)]
NEAR = [(v, x) for v, x in POINTS if 0.4 < (v * v + 1e-20) / x < 3 and x > 0.5]
# For small x the zero of the derivative in x, a difference of 1 + x / 2 and v / x, is near x = v.
NEAR += [(v, v * f) for v in (1e-3, 0.03, 0.1, 0.3, 0.6) for f in (0.6, 0.9, 1.0, 1.1, 1.4)]
with mp.workdps(20):
    SIZE = [abs(mp.log(mp.besselk(v, x)) + x) if v < 50 and x < 50 else 9 for v, x in POINTS]
K_INSIDE = [point for point, size in zip(POINTS, SIZE) if size > 0.25]
K_NEAR = [point for point, size in zip(POINTS, SIZE) if size <= 0.25]
NEGATIVE = grid([-1e-3, -0.3, -0.5, -1, -1.7, -2.5, -6.2, -7, -20.9], [1e-3, 0.2, 0.9, 1.3, 3, 5, 9, 14, 30, 45, 100])

true_ive, *ive_slopes = exponential(log_i, log_i_in_v, log_i_in_x)
true_kve, *kve_slopes = exponential(log_k, log_k_in_v, log_k_in_x)

ENTRIES = [
    Entry(
        "bessel_ive",
        ive,
        true_ive,
        INSIDE,
        derivatives=(0, 1),
        truth_derivatives=dict(enumerate(ive_slopes)),
        tfp=lambda m: m.bessel_ive,
        program="bessel",
    ),
    Entry(
        "bessel_ive_negative",
        ive,
        any_i,
        NEGATIVE,
        derivatives=(0, 1),
        truth_derivatives={
            0: difference_quotient(any_i, 0),
            1: precise(lambda v, x: any_i(v + 1, x) + (v / x - 1) * any_i(v, x)),
        },
        zero=4,  # zeros of the function, and of its derivatives
        tfp=lambda m: m.bessel_ive,
        program="bessel",
    ),
    Entry(
        "bessel_ive_stationary",
        ive,
        true_ive,
        NEAR,
        derivatives=(0, 1),
        truth_derivatives=dict(enumerate(ive_slopes)),
        zero=3,
        tfp=lambda m: m.bessel_ive,
        program="bessel",
    ),
    Entry(
        "bessel_log_ive",
        log_ive,
        log_i,
        INSIDE,
        derivatives=(0, 1),
        truth_derivatives={0: log_i_in_v, 1: log_i_in_x},
        tfp=lambda m: m.log_bessel_ive,
        program="bessel",
    ),
    Entry(
        "bessel_log_ive_stationary",
        log_ive,
        log_i,
        NEAR,
        derivatives=(1,),
        truth_derivatives={1: log_i_in_x},
        zero=3,  # the derivative is 0 near x = v²
        tfp=lambda m: m.log_bessel_ive,
        program="bessel",
    ),
    Entry(
        "bessel_kve",
        kve,
        true_kve,
        [(v, x) for v, x in POINTS if v * float(mp.log1p(v / x)) < 600],  # beyond it overflows
        derivatives=(0, 1),
        truth_derivatives=dict(enumerate(kve_slopes)),
        tfp=lambda m: m.bessel_kve,
        program="bessel",
    ),
    Entry(
        "bessel_log_kve",
        log_kve,
        log_k,
        K_INSIDE,
        derivatives=(0, 1),
        truth_derivatives={0: log_k_in_v, 1: log_k_in_x},
        tfp=lambda m: m.log_bessel_kve,
        program="bessel",
    ),
    Entry("bessel_log_kve_zero", log_kve, log_k, K_NEAR, zero=3, tfp=lambda m: m.log_bessel_kve, program="bessel"),
    Entry(
        "bessel_iv_ratio",
        iv_ratio,
        ratio,
        [(v, x) for v, x in POINTS if v > 0.6],
        derivatives=(0, 1),
        truth_derivatives={0: ratio_in_v, 1: ratio_in_x},
        tfp=lambda m: m.bessel_iv_ratio,
        program="bessel",
    ),
    Entry(
        "bessel_iv_ratio_small",
        iv_ratio,
        ratio,
        [(v, x) for v, x in POINTS if 1e-5 < v < 0.6 and x > 1e-5],
        derivatives=(0, 1),
        truth_derivatives={0: ratio_in_v, 1: ratio_in_x},
        zero=4,  # the derivative in x is 0 somewhere for v < 1 / 2, and nearly so for v = 1 / 2
        tfp=lambda m: m.bessel_iv_ratio,
        program="bessel",
    ),
]
