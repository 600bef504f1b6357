"""Elliptical slice sampling, for a Gaussian prior times a likelihood."""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox import Module
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.distributions import Distribution
from distrax_like.inference._target import as_position, log_density

from ._density import like
from ._kernel import LogDensity, Position, TransitionKernel
from ._slice import shrink

Prior: TypeAlias = Distribution | Callable[[Seed], Position]


class EllipticalSliceState(Module):
    """A chain's position, and the log likelihood there."""

    position: PyTree
    log_likelihood: Float[Array, "..."]


class EllipticalSliceInfo(Module):
    """What one transition did; under `sample_chain` each field has leading axes.

    - `log_likelihood`: that of the new position.
    - `angle`: θ, the angle of the new position on the ellipse, 0 at the old one.
    - `num_shrinkages`: how many candidates were refused.
    - `is_accepted`: whether a candidate was found; none is found only if the likelihood is nowhere finite.
    """

    log_likelihood: Float[Array, "..."]
    angle: Float[Array, "..."]
    num_shrinkages: Int[Array, "..."]
    is_accepted: Bool[Array, "..."]


class EllipticalSliceSampler(TransitionKernel[EllipticalSliceState, EllipticalSliceInfo]):
    r"""Slice sampling along an ellipse through the position and a draw from the prior.

    The target is $N(x; m, \Sigma) L(x)$. With $\nu$ from the prior the candidates are

    $$m + (x - m) \cos\theta + (\nu - m) \sin\theta,$$

    with $\theta$ from a bracket around 0 that shrinks from a full turn until the likelihood is above a random height
    (Murray, Adams and MacKay, 2010). Nothing needs tuning, and there are no gradients.

    **Arguments:**

    - `normal_sampler_fn`: the prior: a distribution of this library whose draws are Gaussian, which is not checked,
      with the position's shape as that of its batch and event; or a function of a seed that gives draws with mean 0.
    - `log_likelihood_fn`: the log likelihood up to a constant; `log_density()` returns it, without the prior.

    **Raises:** `ValueError`, in `step`, where a draw from the prior has another structure or shape than the position.
    """

    normal_sampler_fn: Prior
    log_likelihood_fn: LogDensity

    def __init__(self, normal_sampler_fn: Prior, log_likelihood_fn: LogDensity):
        if not isinstance(normal_sampler_fn, Distribution):
            normal_sampler_fn = as_callable(normal_sampler_fn, "EllipticalSliceSampler: normal_sampler_fn")
        self.normal_sampler_fn = normal_sampler_fn
        self.log_likelihood_fn = as_callable(log_likelihood_fn, "EllipticalSliceSampler: log_likelihood_fn")

    def log_density(self) -> LogDensity:
        return self.log_likelihood_fn

    def init(self, position: Position, *, seed: Seed | None = None) -> EllipticalSliceState:
        position = as_position(position, "EllipticalSliceSampler")
        return EllipticalSliceState(position, log_density(self.log_likelihood_fn, position, "EllipticalSliceSampler"))

    def step(self, state: EllipticalSliceState, *, seed: Seed) -> tuple[EllipticalSliceState, EllipticalSliceInfo]:
        who = "EllipticalSliceSampler"
        prior_key, height_key, angle_key, shrink_key = jax.random.split(as_key(seed, f"{who}.step"), 4)
        x0, unravel = ravel_pytree(state.position)
        mean, other = self._prior(state.position, prior_key)
        start, other = x0 - mean, other - mean
        height = state.log_likelihood - jax.random.exponential(height_key, (), x0.dtype)

        def at(angle: Array) -> Array:
            return mean + start * jnp.cos(angle) + other * jnp.sin(angle)

        def candidate(angle: Array) -> tuple[Array, Array]:
            x = at(angle)
            value = log_density(self.log_likelihood_fn, unravel(x), who)
            return jnp.isfinite(value) & jnp.all(jnp.isfinite(x)) & (value >= height), value

        turn = 2 * math.pi
        angle = turn * jax.random.uniform(angle_key, (), x0.dtype)
        angle, value, refused, found = shrink(candidate, angle - turn, angle, shrink_key, angle)
        position = unravel(jnp.where(found, at(angle), x0))
        value = jnp.where(found, value, state.log_likelihood)
        angle = jnp.where(found, angle, 0)
        return EllipticalSliceState(position, value), EllipticalSliceInfo(value, angle, refused, found)

    def _prior(self, position: Position, key: Seed) -> tuple[Array, Array]:
        """The prior's mean, and a draw, as vectors."""
        if isinstance(self.normal_sampler_fn, Distribution):
            mean, draw = self.normal_sampler_fn.mean(), self.normal_sampler_fn.sample(seed=key)
        else:
            draw = self.normal_sampler_fn(key)
            mean = jtu.tree_map(jnp.zeros_like, draw)
        draw = like(draw, position, "EllipticalSliceSampler: normal_sampler_fn must draw shapes {}")
        mean = jtu.tree_map(lambda a, x: jnp.broadcast_to(a, x.shape).astype(x.dtype), mean, position)
        return ravel_pytree(mean)[0], ravel_pytree(draw)[0]
