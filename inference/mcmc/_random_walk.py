"""Random walks, which need no gradient of the density."""

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from distrax_like._arguments import checked
from distrax_like._misc import Seed, as_callable, as_key
from distrax_like.inference._target import log_density

from ._density import DensityKernel, DensityState, like
from ._hamiltonian import StepSize, as_step_size, flat_step_size
from ._kernel import LogDensity, Position, TransitionKernel
from ._metropolis_hastings import Calibrated, UncalibratedInfo, propose

Proposal: TypeAlias = Callable[[Position, Seed], Position]


class _NormalWalk(eqx.Module):
    scale: PyTree[Float[Array, "..."]]

    def __call__(self, position: Position, seed: Seed) -> Position:
        x, unravel = ravel_pytree(position)
        noise = jax.random.normal(as_key(seed, "random_walk_normal_fn"), x.shape, x.dtype)
        return unravel(x + flat_step_size(self.scale, position, "random_walk_normal_fn") * noise)


class _UniformWalk(eqx.Module):
    scale: PyTree[Float[Array, "..."]]

    def __call__(self, position: Position, seed: Seed) -> Position:
        x, unravel = ravel_pytree(position)
        key = as_key(seed, "random_walk_uniform_fn")
        # An integer plus a half: a grid symmetric about 0, which that of uniform(-1, 1), with -1 but not 1, is not.
        bits = jnp.finfo(x.dtype).nmant
        count = jax.random.randint(key, x.shape, 0, 2 ** min(bits, 30))
        noise = (count.astype(x.dtype) + 0.5) * 2.0 ** (1 - min(bits, 30)) - 1
        return unravel(x + flat_step_size(self.scale, position, "random_walk_uniform_fn") * noise)


@checked
def random_walk_normal_fn(scale: StepSize = 1.0) -> Proposal:
    """A proposal that adds independent normal noise to every coordinate.

    **Arguments:** `scale`: the standard deviation, a number, or a list, tuple or dict with one for each part of the
    state, each to broadcast against its part.

    **Returns:** a module, whose `scale` is a leaf, to be called with a position and a seed.
    """
    return _NormalWalk(as_step_size(scale))


@checked
def random_walk_uniform_fn(scale: StepSize = 1.0) -> Proposal:
    """A proposal that adds independent uniform noise between `-scale` and `scale` to every coordinate.

    **Arguments:** `scale`: half the width, in the layouts of `random_walk_normal_fn`.

    **Returns:** a module, whose `scale` is a leaf, to be called with a position and a seed.
    """
    return _UniformWalk(as_step_size(scale))


def _fields(
    kernel: TransitionKernel, target_log_prob_fn: LogDensity, new_state_fn: Proposal | None
) -> tuple[LogDensity, Proposal]:
    who = type(kernel).__name__
    new_state_fn = random_walk_normal_fn() if new_state_fn is None else new_state_fn
    target = as_callable(target_log_prob_fn, f"{who}: target_log_prob_fn")
    return target, as_callable(new_state_fn, f"{who}: new_state_fn")


class UncalibratedRandomWalk(DensityKernel[UncalibratedInfo]):
    """The proposal of a random walk, always taken; `MetropolisHastings` of it leaves the target invariant.

    **Arguments:** those of `RandomWalkMetropolis`.
    """

    target_log_prob_fn: LogDensity
    new_state_fn: Proposal

    def __init__(self, target_log_prob_fn: LogDensity, new_state_fn: Proposal | None = None):
        self.target_log_prob_fn, self.new_state_fn = _fields(self, target_log_prob_fn, new_state_fn)

    def step(self, state: DensityState, *, seed: Seed) -> tuple[DensityState, UncalibratedInfo]:
        who = type(self).__name__
        position = self.new_state_fn(state.position, as_key(seed, f"{who}.step"))
        position = like(position, state.position, f"{who}: new_state_fn must return shapes {{}} like the state")
        value = log_density(self.target_log_prob_fn, position, who)
        return propose(state, DensityState(position, value), jnp.zeros_like(value))


class RandomWalkMetropolis(Calibrated[DensityState]):
    """A random walk whose steps are accepted with probability min(1, p(x') / p(x)) (Metropolis and others, 1953).

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant.
    - `new_state_fn`: called with a position and a seed, returns a position of the same structure and shapes; the
      density of x' from x must be that of x from x', which is not checked. By default `random_walk_normal_fn()`.

    **Raises:** `ValueError`, in `step`, where `new_state_fn` returns another structure or shape.
    """

    target_log_prob_fn: LogDensity
    new_state_fn: Proposal

    def __init__(self, target_log_prob_fn: LogDensity, new_state_fn: Proposal | None = None):
        self.target_log_prob_fn, self.new_state_fn = _fields(self, target_log_prob_fn, new_state_fn)

    def proposal_kernel(self) -> UncalibratedRandomWalk:
        return UncalibratedRandomWalk(self.target_log_prob_fn, self.new_state_fn)
