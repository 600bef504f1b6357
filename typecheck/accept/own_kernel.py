"""A user's own transition kernel, typed, alone and inside the library's."""

from collections.abc import Callable
from typing import NamedTuple, assert_type

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like import inference as tfp

key = jax.random.key(0)


class State(NamedTuple):
    position: Float[Array, " d"]


class Info(NamedTuple):
    log_accept_ratio: Float[Array, ""]


class Walk(tfp.mcmc.TransitionKernel[State, Info]):
    target_log_prob_fn: Callable[[Array], Array]
    step_size: Float[Array, ""]

    def init(self, position: Float[Array, " d"], *, seed: tfp.mcmc.Seed | None = None) -> State:
        return State(position)

    def step(self, state: State, *, seed: tfp.mcmc.Seed) -> tuple[State, Info]:
        new = state.position + self.step_size * jax.random.normal(seed, state.position.shape)
        log_ratio = self.target_log_prob_fn(new) - self.target_log_prob_fn(state.position)
        return State(jnp.where(log_ratio > 0, new, state.position)), Info(log_ratio)


walk = Walk(lambda x: -jnp.sum(x**2), jnp.array(0.5))
assert_type(walk.step(walk.init(jnp.ones(2)), seed=key), tuple[State, Info])

adapted = tfp.mcmc.DualAveragingStepSizeAdaptation(walk, num_adaptation_steps=3)
state = adapted.init(jnp.ones(2))
assert_type(adapted.step(state, seed=key), tuple[tfp.mcmc.DualAveragingState, Info])

hmc = tfp.mcmc.HamiltonianMonteCarlo(walk.log_density(), 0.1, num_leapfrog_steps=2)
start = hmc.init(jnp.ones(2))
assert_type(hmc.step(start, seed=key), tuple[tfp.mcmc.HamiltonianState, tfp.mcmc.HamiltonianInfo])
