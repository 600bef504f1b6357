"""Kernels of the Euclidean distance."""

import numpy as np

import distrax_like.kernels as tfpk

from .case import Case

CASES = {
    "ExponentiatedQuadratic": Case(tfpk.ExponentiatedQuadratic, lambda r: np.exp(-(r**2) / 2), slope=-1 / 2),
    "MaternOneHalf": Case(tfpk.MaternOneHalf, lambda r: np.exp(-r), slope=0.0),
    "MaternThreeHalves": Case(
        tfpk.MaternThreeHalves, lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r), slope=-3 / 2
    ),
    "MaternFiveHalves": Case(
        tfpk.MaternFiveHalves,
        lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
        slope=-5 / 6,
    ),
}
