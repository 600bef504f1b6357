"""Positive semidefinite kernels: covariance functions of processes."""

if __name__ != "distrax_like.kernels":
    raise ImportError("this folder is imported as distrax_like.kernels")

from ._kernel import (
    Constant as Constant,
    FeatureScaled as FeatureScaled,
    Kernel as Kernel,
    Power as Power,
    Product as Product,
    Sum as Sum,
)
from ._stationary import (
    ExponentiatedQuadratic as ExponentiatedQuadratic,
    MaternFiveHalves as MaternFiveHalves,
    MaternOneHalf as MaternOneHalf,
    MaternThreeHalves as MaternThreeHalves,
    Stationary as Stationary,
)

PositiveSemidefiniteKernel = Kernel
