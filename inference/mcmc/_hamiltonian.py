"""What the Hamiltonian kernels share: state and info, the phase space in the kernel's metric, and the integrator."""

from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from distrax_like._misc import Checked, Numeric, Seed, as_callable, check_range, promote
from distrax_like.inference._target import as_position, part_name, value_and_grad

from ._kernel import Info, LogDensity, Position, TransitionKernel
from ._metric import DiagonalMetric, Metric

#: A step size as an argument: a number, an array, or a list, tuple or dict of them, one for each part of the state.
StepSize: TypeAlias = Annotated[Numeric | dict, Checked(lambda x, who: _check_step_size(x, who))]

#: A number of steps, which may be traced.
Count: TypeAlias = int | Int[Array, ""]


class HamiltonianState(eqx.Module):
    """A chain's position, and the target's value and gradient there."""

    position: PyTree
    target_log_prob: Float[Array, "..."]
    grads_target_log_prob: PyTree


class HamiltonianInfo(eqx.Module):
    """What one transition of a Hamiltonian kernel did; under `sample_chain` each field has leading axes.

    - `target_log_prob`: the target at the new position.
    - `step_size`: the one used, as the kernel holds it.
    - `log_accept_ratio`: the log of the Metropolis-Hastings ratio; for the no-U-turn sampler the log of the mean over
      the trajectory of min(1, ratio).
    - `leapfrogs_taken`: gradients evaluated.
    - `is_accepted`: whether the chain moved.
    - `reach_max_depth`: whether the tree reached its maximal depth without turning back; always `False` with a fixed
      length.
    - `has_divergence`: whether the energy error exceeded the bound, or was not finite.
    - `energy`: the Hamiltonian (kinetic energy minus `target_log_prob`) at the new position, with the momentum it was
      reached with.
    """

    target_log_prob: Float[Array, "..."]
    step_size: PyTree
    log_accept_ratio: Float[Array, "..."]
    leapfrogs_taken: Int[Array, "..."]
    is_accepted: Bool[Array, "..."]
    reach_max_depth: Bool[Array, "..."]
    has_divergence: Bool[Array, "..."]
    energy: Float[Array, "..."]


State = TypeVar("State", bound=HamiltonianState)

# An energy error that only an unstable integrator makes; the bound that Stan and NoUTurnSampler use.
MAX_ENERGY_DIFF = 1000.0


class HamiltonianKernel(TransitionKernel[State, Info]):
    """What the kernels that follow Hamilton's equations share: target, step size, metric, and the phase space."""

    target_log_prob_fn: eqx.AbstractVar[LogDensity]
    step_size: eqx.AbstractVar[PyTree[Float[Array, "..."]]]
    metric: eqx.AbstractVar[Metric]

    def initial_state(self, position: Position) -> HamiltonianState:
        """The position with the target and its gradient there. **Raises:** see `init`."""
        who = type(self).__name__
        position = as_position(position, who)
        value, grads = value_and_grad(self.log_density(), position, who)
        return HamiltonianState(position, value, grads)

    def phase_space(self, state: HamiltonianState) -> "PhaseSpace":
        """The state as vectors, in the kernel's metric."""
        # The loops work on one vector however many parts the state has: each operation of a loop body costs the same
        # few tens of nanoseconds on a CPU whether it acts on two numbers or on a hundred.
        x, unravel = ravel_pytree(state.position)
        grad, _ = ravel_pytree(state.grads_target_log_prob)
        who = type(self).__name__

        def gradient(x: Array) -> tuple[Array, Array]:
            value, grads = value_and_grad(self.log_density(), unravel(x), who)
            return value, ravel_pytree(grads)[0]

        metric = jtu.tree_map(lambda m: m.astype(x.dtype), self.metric)
        if metric.scale.size not in (1, x.size):
            raise ValueError(f"{who}: the metric is for {metric.scale.size} coordinates, the state has {x.size}")
        step_size = flat_step_size(self.step_size, state.position, who) * metric.scale
        return PhaseSpace(x, state.target_log_prob, grad, step_size, metric, gradient, unravel)

    def info_step_size(self, x: Array) -> PyTree[Float[Array, "..."]]:
        """The step size as the kernel holds it, in the dtype of the state."""
        return jtu.tree_map(lambda s: s.astype(x.dtype), self.step_size)

    def conclude(
        self, space: "PhaseSpace", end: "Trajectory", accept: Bool[Array, ""], num_leapfrog_steps: Count
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        """The state and info after a trajectory whose end is accepted, or not."""
        before = space.position, space.target_log_prob, space.grad, end.start_energy
        after = end.position, end.target_log_prob, end.grad, end.energy
        x, value, grad, energy = (jnp.where(accept, a, b) for a, b in zip(after, before))
        info = HamiltonianInfo(
            target_log_prob=value,
            step_size=self.info_step_size(x),
            log_accept_ratio=end.log_ratio,
            leapfrogs_taken=jnp.asarray(num_leapfrog_steps, jnp.int32),
            is_accepted=accept,
            reach_max_depth=jnp.asarray(False),
            has_divergence=end.log_ratio < -MAX_ENERGY_DIFF,
            energy=energy,
        )
        return space.state(x, value, grad), info


class Trajectory(NamedTuple):
    """The end of a trajectory as vectors, the energies at its start and end, and the log of the acceptance ratio, which
    is -inf where the end must not be accepted."""

    position: Float[Array, " d"]
    momentum: Float[Array, "rows d"]
    target_log_prob: Float[Array, ""]
    grad: Float[Array, " d"]
    start_energy: Float[Array, ""]
    energy: Float[Array, ""]
    log_ratio: Float[Array, ""]


class PhaseSpace(eqx.Module):
    """A state as vectors, in the kernel's metric.

    Momenta are those of the coordinates divided by `step_size`, in which the inverse mass matrix is the metric's C.
    A momentum is stored in rows: itself and, unless C is the identity, its velocity C p, which is linear in it. So one
    product with C in each leapfrog step serves the motion, the energy and the turn checks.
    """

    position: Float[Array, " d"]
    target_log_prob: Float[Array, ""]
    grad: Float[Array, " d"]
    step_size: Float[Array, "..."]
    metric: Metric
    value_and_grad: Callable[[Array], tuple[Array, Array]]
    unravel: Callable[[Array], PyTree]

    def state(self, x: Float[Array, " d"], value: Float[Array, ""], grad: Float[Array, " d"]) -> HamiltonianState:
        """The state at x, in the parts that the user gave."""
        return HamiltonianState(self.unravel(x), value, self.unravel(grad))

    def rows(self, p: Float[Array, " d"]) -> Float[Array, "rows d"]:
        """A momentum with its velocity."""
        identity = isinstance(self.metric, DiagonalMetric)
        return p[None] if identity else jnp.stack([p, self.metric.velocity(p)])

    def force(self, grad: Float[Array, " d"]) -> Float[Array, "rows d"]:
        """The change of momentum, and velocity, in one step."""
        return self.rows(self.step_size * grad)

    def draw_momentum(self, key: Seed) -> Float[Array, "rows d"]:
        """A fresh momentum, and its velocity."""
        noise = jax.random.normal(key, self.position.shape, self.position.dtype)
        return self.rows(self.metric.momentum(noise))

    def leapfrog(self, sign: ArrayLike, x: Array, p: Array, force: Array) -> tuple[Array, ...]:
        """One step of velocity Verlet, forward or backward: the new position, momentum, force, value and gradient."""
        half = p + 0.5 * sign * force
        x = x + sign * self.step_size * half[-1]
        value, grad = self.value_and_grad(x)
        force = self.force(grad)
        return x, half + 0.5 * sign * force, force, value, grad

    def trajectory(self, p: Float[Array, "rows d"], num_leapfrog_steps: Count) -> Trajectory:
        """`num_leapfrog_steps` forward from the position with the momentum `p`."""

        def body(_: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            x, p, force, _, _ = carry
            return self.leapfrog(1, x, p, force)

        carry = self.position, p, self.force(self.grad), self.target_log_prob, self.grad
        x, q, _, value, grad = jax.lax.fori_loop(0, num_leapfrog_steps, body, carry)
        start, end = hamiltonian(self.target_log_prob, p), hamiltonian(value, q)
        return Trajectory(x, q, value, grad, start, end, energy_drop(start, end))


def hamiltonian_fields(
    kernel: TransitionKernel, target_log_prob_fn: LogDensity, step_size: StepSize, metric: Metric | None
) -> tuple[LogDensity, PyTree[Float[Array, "..."]], Metric]:
    """What every Hamiltonian kernel stores of the arguments that all have."""
    target = as_callable(target_log_prob_fn, f"{type(kernel).__name__}: target_log_prob_fn")
    return target, as_step_size(step_size), DiagonalMetric() if metric is None else metric


def _check_step_size(step_size: object, who: str) -> None:
    """**Raises:** `TypeError` or `ValueError` unless all are positive numbers, as far as their values are known."""
    is_tree = isinstance(step_size, list | tuple | dict)
    for leaf in jtu.tree_leaves(step_size, is_leaf=lambda x: x is None) if is_tree else [step_size]:
        check_range(leaf, who, above=0)


def as_step_size(step_size: StepSize) -> PyTree[Float[Array, "..."]]:
    """A step size, or a list, tuple or dict of them, as strongly typed arrays."""
    if isinstance(step_size, list | tuple | dict):
        return jtu.tree_map(promote, step_size)
    return promote(step_size)


def flat_step_size(step_size: PyTree[Float[Array, "..."]], position: Position, who: str) -> Float[Array, "..."]:
    """The step size of each coordinate of the ravelled position; a scalar where there is one for all."""
    dtype = jnp.result_type(*jtu.tree_leaves(position))

    def spread(step: Array, part: PyTree, name: str) -> list[Array]:
        out = []
        for path, leaf in jtu.tree_leaves_with_path(part):
            try:
                out.append(jnp.ravel(jnp.broadcast_to(step, leaf.shape)).astype(dtype))
            except ValueError:
                where = f"{name}{jtu.keystr(path)}" if name else part_name(path)
                raise ValueError(
                    f"{who}: step_size of shape {step.shape} does not broadcast against {where} of shape {leaf.shape}"
                ) from None
        return out

    if not isinstance(step_size, list | tuple | dict):
        return step_size.astype(dtype) if step_size.ndim == 0 else jnp.concatenate(spread(step_size, position, ""))
    keys: Iterable
    if isinstance(step_size, dict):
        same = isinstance(position, dict) and step_size.keys() == position.keys()
        keys = sorted(step_size) if same else []  # the order in which JAX flattens a dict
    else:
        same = isinstance(position, list | tuple) and len(step_size) == len(position)
        keys = range(len(step_size))
    if not same:
        raise ValueError(
            f"{who}: a {type(step_size).__name__} of step sizes must have one for each state part, got "
            f"{len(step_size)} for {jtu.tree_structure(position)}"
        )
    return jnp.concatenate([s for k in keys for s in spread(step_size[k], position[k], f"state part [{k!r}]")])


def momentum_dot(p: Float[Array, " d"], q: Float[Array, " d"]) -> Float[Array, ""]:
    """The inner product of two vectors."""
    # Not `@`: in a loop body on a CPU a dot is a library call that nothing fuses with.
    return jnp.sum(p * q)


def hamiltonian(value: Float[Array, ""], p: Float[Array, "rows d"]) -> Float[Array, ""]:
    """The energy: minus the log density plus half the product of momentum and velocity."""
    return 0.5 * momentum_dot(p[0], p[-1]) - value


def energy_drop(start: Float[Array, ""], end: Float[Array, ""]) -> Float[Array, ""]:
    """`start - end`, and -inf where that is not finite.

    So a point is never accepted where the density is infinite or NaN, or the gradient is, and with it the momentum.
    """
    drop = start - end
    return jnp.where(jnp.isfinite(drop), drop, -jnp.inf)


def accepts(key: Seed, log_ratio: Float[Array, ""]) -> Bool[Array, ""]:
    """True with probability min(1, exp(log_ratio))."""
    return -jax.random.exponential(key, (), log_ratio.dtype) <= log_ratio
