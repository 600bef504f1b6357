# pyright: strict, reportUnknownMemberType=false
"""A model with annotations, as strict checkers take it but for the types that JAX leaves open."""

from typing import assert_type

import jax
import jax.numpy as jnp
from jaxtyping import Array

from distrax_like import distributions as tfd


def model() -> tfd.Model:
    mu = yield "mu", tfd.Normal(0.0, 5.0)
    assert_type(mu, Array)
    tau = yield "tau", tfd.HalfCauchy(0.0, 5.0)
    yield "y", tfd.Sample(tfd.Normal(mu, tau), 3)


joint = tfd.JointDistributionCoroutine(model)
draw = joint.sample(seed=jax.random.key(0))
assert_type(draw.mu, Array)
posterior = joint.pin(y=jnp.array([1.2, 0.4, 2.0]))
density = posterior.unconstrained()
value = density(jnp.zeros(density.dim))
assert_type(density.constrain(jnp.zeros(density.dim)).tau, Array)
