"""Samplers and optimizers as a user drives them."""

from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from distrax_like import distributions as tfd, inference as tfp

target = tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)).log_prob
kernel = tfp.mcmc.NoUTurnSampler(target, step_size=0.5)
adapted = tfp.mcmc.DualAveragingStepSizeAdaptation(kernel, num_adaptation_steps=5)
states, trace = tfp.mcmc.sample_chain(
    5, current_state=jnp.zeros(2), kernel=adapted, trace_fn=lambda _, info: info.step_size, seed=jax.random.key(0)
)



def model():
    scale = yield "scale", tfd.HalfNormal(1.0)
    yield "y", tfd.Sample(tfd.Normal(0.0, scale), 3)


posterior = tfd.JointDistributionCoroutine(model).pin(y=jnp.ones(3))
samples = tfp.sample(
    posterior,
    "prior",
    num_samples=8,
    num_warmup=10,
    kernel=lambda target: tfp.mcmc.NoUTurnSampler(target, 1.0, max_tree_depth=5),
    adaptation=tfp.mcmc.StanAdaptation(),
    trace_fn=lambda draw, info: info.energy,
    reducers=("moments", "rhat"),
    seed=jax.random.key(2),
)
assert_type(samples, tfp.mcmc.Samples)
assert_type(tfp.stats.rhat(jnp.zeros((8, 2))), Array)
running = tfp.stats.RunningVariance.from_shape(2).update(jnp.zeros((5, 2)), axis=0)
assert_type(running, tfp.stats.RunningVariance)
indices: Array = tfp.smc.resample_systematic(jnp.zeros(4), 4, seed=jax.random.key(4))

state = kernel.init(jnp.zeros(2))
state, info = kernel.step(state, seed=jax.random.key(1))
accepted: Array = info.is_accepted


def quadratic(x: Array) -> Array:
    return jnp.sum((x - 1.0) ** 2)


results = tfp.optimizer.lbfgs_minimize(jax.value_and_grad(quadratic), initial_position=jnp.zeros(2))
position: Array = results.position


def not_run() -> tuple[dict[str, np.ndarray], bool, Array]:
    report = tfp.mcmc.debug(posterior, num_points=2, seed=jax.random.key(3))
    return samples.summary().table, report.ok, tfp.stats.rhat(samples.draws.scale)
