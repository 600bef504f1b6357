"""Samplers and optimizers as a user drives them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from distrax_like import distributions as tfd, inference as tfp

target = tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)).log_prob
kernel = tfp.mcmc.NoUTurnSampler(target, step_size=0.5)
adapted = tfp.mcmc.DualAveragingStepSizeAdaptation(kernel, num_adaptation_steps=5)
states, trace = tfp.mcmc.sample_chain(
    5, current_state=jnp.zeros(2), kernel=adapted, trace_fn=lambda _, info: info.step_size, seed=jax.random.key(0)
)

state = kernel.init(jnp.zeros(2))
state, info = kernel.step(state, seed=jax.random.key(1))
accepted: Array = info.is_accepted


def quadratic(x: Array) -> Array:
    return jnp.sum((x - 1.0) ** 2)


results = tfp.optimizer.lbfgs_minimize(jax.value_and_grad(quadratic), initial_position=jnp.zeros(2))
position: Array = results.position
