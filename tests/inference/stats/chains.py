"""Draws that the tests and their reference values share."""

import numpy as np


def autoregressive(seed, n, chains, correlation):
    """Chains of standard normal numbers with this correlation of neighbours."""
    noise = np.random.default_rng(seed).standard_normal((n, chains))
    out = noise.copy()
    for i in range(1, n):
        out[i] = correlation * out[i - 1] + np.sqrt(1 - correlation**2) * noise[i]
    return out


def few(n):
    return autoregressive(n, n, 3, 0.3)


CASES = {
    "half": autoregressive(0, 151, 4, 0.5),
    "slow": autoregressive(1, 151, 4, 0.95),
    "alternating": autoregressive(2, 151, 4, -0.7),
    "apart": autoregressive(3, 151, 4, 0.3) + 0.3 * np.arange(4),
    "spread": autoregressive(4, 151, 4, 0.3) * np.array([1, 1, 1, 3]),
    "whole": np.round(autoregressive(5, 151, 4, 0.6)),
    "binary": (autoregressive(6, 151, 4, 0.6) > 0) * 1.0,
    "heavy": np.random.default_rng(7).standard_cauchy((151, 4)),
    "constant": np.full((151, 4), 3.3),
    "stuck": np.ones((151, 1)) * np.arange(4.0),
}
CHAINS = np.stack(list(CASES.values()), -1)
