"""Mistakes that a type checker must see. Each has an ignore for the rule that finds it; one too many is an error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from distrax_like import bijectors as tfb, distributions as tfd, inference as tfp, kernels as tfpk

key = jax.random.key(0)
normal = tfd.Normal(0.0, 1.0)

tfd.Normal("0", 1.0)  # pyright: ignore[reportArgumentType]
tfd.Normal(0.0)  # pyright: ignore[reportCallIssue]
tfd.Normal(mean=0.0, scale=1.0)  # pyright: ignore[reportCallIssue]
normal.sample(3, key, key)  # pyright: ignore[reportCallIssue]
normal.log_probability(0.0)  # pyright: ignore[reportAttributeAccessIssue]
normal.sample("3", seed=key)  # pyright: ignore[reportArgumentType]
normal.kl_divergence(tfb.Exp())  # pyright: ignore[reportArgumentType]
tfd.TransformedDistribution(tfb.Exp(), normal)  # pyright: ignore[reportArgumentType]
tfd.Independent(normal, reinterpreted_batch_ndims=0.5)  # pyright: ignore[reportArgumentType]
tfd.MixtureSameFamily(normal, normal)  # pyright: ignore[reportArgumentType]

tfb.Exp(3.0)  # pyright: ignore[reportCallIssue]
tfb.Chain(tfb.Exp())  # pyright: ignore[reportArgumentType]
tfb.Scale("2")  # pyright: ignore[reportArgumentType]
tfb.Exp().forward(jnp.ones(3), event_ndims=1)  # pyright: ignore[reportCallIssue]

kernel = tfpk.MaternOneHalf(length_scale=0.1)
kernel + "1"  # pyright: ignore[reportOperatorIssue]
kernel.matrix()  # pyright: ignore[reportCallIssue]
tfd.GaussianProcess(jnp.ones(3), jnp.ones((3, 1)))  # pyright: ignore[reportArgumentType]

tfp.mcmc.NoUTurnSampler(normal.log_prob)  # pyright: ignore[reportCallIssue]
tfp.mcmc.HamiltonianMonteCarlo(normal.log_prob, 0.1, 3).step(jnp.zeros(2), seed=key)  # pyright: ignore[reportArgumentType]
slices = tfp.mcmc.SliceSampler(normal.log_prob, 0.1, 3)
tfp.mcmc.DualAveragingStepSizeAdaptation(slices, 5)  # pyright: ignore[reportArgumentType]
tfp.mcmc.MetropolisHastings(slices)  # pyright: ignore[reportArgumentType]
tfp.mcmc.sample_chain("10", current_state=jnp.zeros(2))  # pyright: ignore[reportArgumentType]
tfp.sample(normal.log_prob, 0.0, num_draws=10, seed=key)  # pyright: ignore[reportCallIssue]
tfp.sample(normal.log_prob, 0.0, num_chains=2.5, seed=key)  # pyright: ignore[reportArgumentType]
tfp.sample(normal.log_prob, 0.0, adaptation="stan", seed=key)  # pyright: ignore[reportArgumentType]
tfp.stats.ess(jnp.zeros((8, 2)), kind=3)  # pyright: ignore[reportCallIssue, reportArgumentType]
tfp.sample(3, seed=key)  # pyright: ignore[reportArgumentType]
tfp.mcmc.sample_chain(1, 0.0, kernel=3, seed=key)  # pyright: ignore[reportArgumentType]
tfp.smc.resample_systematic(jnp.zeros(4))  # pyright: ignore[reportCallIssue]
tfp.vi.pathfinder(normal.log_prob, 0.0, num_draws="many", seed=key)  # pyright: ignore[reportArgumentType]


class Wrong(tfd.Distribution):
    def _log_prob(self, value: str) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        return jnp.zeros(())


class NoPosition(NamedTuple):
    place: Array


class Lost(tfp.mcmc.TransitionKernel[NoPosition, tuple]):  # pyright: ignore[reportInvalidTypeArguments]
    pass
