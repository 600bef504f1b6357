"""Truth for Lambert's W on both real branches."""

import mpmath as mp
import numpy as np

from distrax_like.special import lambertw, lambertw_exp

from .truth import Entry, grid, precise


@precise
def true_w(x, branch):
    """Newton's method on w + log(w / x), or near -1 / e on (w exp(w) - x), from mpmath's own value."""
    return mp.lambertw(x, branch).real


def slope(x, branch):
    if x == 0:
        return mp.mpf(1)
    w = true_w(x, branch)
    return w / (x * (1 + w))


@precise
def true_exp(y):
    w = mp.exp(y) if y < 1 else y - mp.log(y) if y > 3 else mp.mpf(y) / 2 + 0.1
    for _ in range(200):
        step = (w + mp.log(w) - y) * w / (1 + w)
        w = w - step if step < w else w / 2
        if abs(step) < abs(w) * mp.mpf("1e-60"):
            return w
    raise ValueError("not converged")


BELOW = np.concatenate([np.linspace(-0.3678, -0.01, 200), -0.36787942 + np.logspace(-7, -2, 60)])
LARGE = np.logspace(-37, 38, 226)

ENTRIES = [
    Entry(
        "lambertw",
        lambertw,
        precise(lambda x: true_w(x, 0)),
        grid(np.concatenate([BELOW, -LARGE[LARGE < 0.3], [0], LARGE, np.linspace(0.01, 20, 100)])),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda x: slope(x, 0))},
        tfp=lambda m: m.lambertw,
    ),
    Entry(
        "lambertw_lower",
        lambda x: lambertw(x, -1),
        precise(lambda x: true_w(x, -1)),
        grid(np.concatenate([BELOW, -LARGE[LARGE < 0.3]])),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda x: slope(x, -1))},
    ),
    Entry(
        "lambertw_exp",
        lambertw_exp,
        true_exp,
        grid(np.concatenate([-np.logspace(-30, 2.8, 80), [0], np.logspace(-30, 38, 160), np.linspace(-8, 8, 150)])),
        derivatives=(0,),
        truth_derivatives={0: precise(lambda y: true_exp(y) / (1 + true_exp(y)))},
    ),
]
