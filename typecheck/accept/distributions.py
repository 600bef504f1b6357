"""Distributions as a user builds, extends and trains them."""

from typing import assert_type

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import Numeric, bijectors as tfb, constrain, distributions as tfd, parameter, promote, unconstrain
from distrax_like.supports import Support, nonnegative, positive


class Rayleigh(tfd.Distribution):
    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, scale: Numeric):
        self.scale = promote(scale)

    @property
    def support(self) -> Support:
        return nonnegative

    def _log_prob(self, value: Array) -> Array:
        return jnp.log(value) - 2 * jnp.log(self.scale) - 0.5 * (value / self.scale) ** 2

    def _sample(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        return self.scale * jnp.sqrt(2 * jax.random.exponential(key, shape, self.scale.dtype))


# Numbers, arrays and nested lists of numbers are all parameters.
normal = tfd.Normal(0.0, 1.0)
assert_type(normal, tfd.Normal)
tfd.Normal(0, [1.0, 2.0])
tfd.Normal(np.zeros(3), jnp.ones(3))
tfd.Categorical(probs=[[0.7, 0.3], [0.2, 0.8]])
assert_type(normal.loc, Array)
assert_type(normal.batch_shape, tuple[int, ...])
assert_type(normal.event_shape, tuple[int, ...])
assert_type(normal[None], tfd.Normal)
assert_type(normal.broadcast_to((3,)), tfd.Normal)

key = jax.random.key(0)
draws = normal.sample((2, 3), seed=key)
normal.log_prob(draws) + normal.log_prob(0.5)
normal.sample(5, seed=key)
rayleigh = Rayleigh(2.0)
rayleigh.log_prob(1.0)
rayleigh.sample(seed=key)
kl: Array = normal.kl_divergence(tfd.Normal(1.0, 1.0))

mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=jnp.zeros(2)), tfd.Normal([0.0, 3.0], 1.0))
independent = tfd.Independent(tfd.Normal(jnp.zeros(3), 1.0), reinterpreted_batch_ndims=1)
repeated = tfd.Sample(normal, sample_shape=(4, 3))
squashed = tfd.TransformedDistribution(normal, tfb.Sigmoid())


def model():
    scale = yield "scale", Rayleigh(1.0)
    yield "y", tfd.Sample(tfd.Normal(0.0, scale), 5)


posterior = tfd.JointDistributionCoroutine(model).pin(y=jnp.ones(5))
density = posterior.unconstrained()
assert_type(density.dim, int)
assert_type(tfd.JointDistributionNamed({"x": normal}).sample(seed=key), dict[str, Array])
assert_type(tfd.JointDistributionCoroutine(model).sample(seed=key).scale, Array)
assert_type(constrain(unconstrain(normal)), tfd.Normal)
value: Array = density(density.init(key))


# Training a tree of distributions and networks.
class Regression(eqx.Module):
    net: eqx.nn.MLP
    noise: tfd.Gamma

    def __call__(self, x: Array) -> tfd.Normal:
        return tfd.Normal(self.net(x)[0], self.noise.mean())


free = unconstrain(Regression(eqx.nn.MLP(2, 1, 8, 1, key=key), tfd.Gamma(1.0, 1.0)))
optimizer = optax.adam(1e-2)
state = optimizer.init(eqx.filter(free, eqx.is_inexact_array))


def loss(free: Regression, x: Array, y: Array) -> Array:
    return -constrain(free)(x).log_prob(y)


gradient = eqx.filter_grad(loss)(free, jnp.ones(2), jnp.array(0.5))
