"""Bijectors and kernels as a user composes and extends them."""

from typing import assert_type

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like import Numeric, bijectors as tfb, distributions as tfd, kernels as tfpk, parameter, promote
from distrax_like.supports import positive


class Power(tfb.Bijector):
    exponent: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, exponent: Numeric):
        self.exponent = promote(exponent)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return x**self.exponent, jnp.log(self.exponent) + (self.exponent - 1) * jnp.log(x)

    def _inverse_and_log_det(self, y: Array) -> tuple[Array, Array]:
        x = y ** (1 / self.exponent)
        return x, -jnp.log(self.exponent) - (self.exponent - 1) * jnp.log(x)

    def _is_increasing(self) -> bool:
        return True


class Cosine(tfpk.Kernel):
    period: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, period: Numeric):
        self.period = promote(period)

    def _apply(self, x1: Array, x2: Array) -> Array:
        return jnp.cos(2 * jnp.pi * jnp.sum(x1 - x2) / self.period)


power = Power(2.0)
y: Array = power.forward(3.0)
x: Array = power.inverse(y)
log_det: Array = power.forward_log_det_jacobian([1.0, 2.0], event_ndims=1)
chain = tfb.Chain([tfb.Exp(), tfb.Softplus()])
assert_type(chain.forward_min_event_ndims, int)
tfb.Exp()(tfb.Softplus()).forward(jnp.ones(3))
tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None).forward(x=[0.0, 0.0, 0.0])
tfb.Invert(power)
assert_type(power(tfb.Exp()), tfb.Bijector)
assert_type(tfb.Exp()(tfd.Normal(0.0, 1.0)), tfd.Distribution)
assert_type(tfb.Exp()([0.0, 1.0]), Array)
tfd.TransformedDistribution(tfd.LogNormal(0.0, 1.0), power).sample(seed=jax.random.key(0))

points = jnp.linspace(0, 1, 5)[:, None]
kernel: tfpk.Kernel = 2.0 * tfpk.ExponentiatedQuadratic(length_scale=0.1) + tfpk.MaternFiveHalves() ** 2 + Cosine(0.5)
matrix: Array = kernel.matrix(points)
process = tfd.GaussianProcess(kernel, points, observation_noise_variance=0.1)
process.log_prob(jnp.zeros(5))
