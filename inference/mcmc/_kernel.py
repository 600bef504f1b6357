"""The transition kernel: one chain, two pure methods; and what the Hamiltonian kernels share."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from distrax_like._misc import promote
from distrax_like.inference._target import as_position, part_name, value_and_grad

from ._metric import DiagonalMetric, Metric


class TransitionKernel(eqx.Module):
    """A Markov transition that leaves a target density invariant, for one chain.

    Both methods are pure and can be driven by hand inside `eqx.filter_jit`, `jax.lax.scan` and `jax.vmap`:

    ```python
    state = kernel.init(position)
    state, info = kernel.step(state, seed=key)
    ```

    A subclass stores its target as `target_log_prob_fn` (through `as_callable`; a kernel that wraps another returns the
    inner one's), and what may be tuned as array fields, to be replaced with `eqx.tree_at`. A state has the field
    `position`; where it also has `target_log_prob` and `grads_target_log_prob`, `sample_chain` checks that they start
    finite.
    """

    target_log_prob_fn: eqx.AbstractVar[Callable[..., Any]]

    @property
    def is_interleaved(self) -> bool:
        """Whether this is an `InterleavedKernel`, and so is what it wraps."""
        return False

    @abc.abstractmethod
    def init(self, position: PyTree, *, seed: Any = None) -> Any:
        """The state of a chain at `position`.

        **Arguments:** `position`: any pytree of real numbers; a tuple, list or namedtuple is splatted into the target,
        anything else is passed whole. `seed`: a key, for kernels that need one here.

        **Raises:** `ValueError` where the target at `position` is not a scalar.
        """

    @abc.abstractmethod
    def step(self, state: Any, *, seed: Any) -> tuple[Any, Any]:
        """One transition.

        **Arguments:** `state`: from `init` or the last `step`; `seed`: a key.

        **Returns:** the next state, and information about the transition, both modules.
        """


class InterleavedKernel(TransitionKernel):
    """A kernel whose transition can be cut into ticks of one gradient each.

    So chains that step together need not wait for the longest transition: in every tick each takes one step of its own.
    A transition is `begin`; then `tick`, followed by `turn` where the work `waits`, until it has `ended`; then
    `finish`. That gives what `step` gives, with the same seed. All are for one chain; the driver maps them, and skips
    `turn` and `finish` in ticks in which no chain needs them.
    """

    @property
    def is_interleaved(self) -> bool:
        return True

    @abc.abstractmethod
    def scratch(self, state: Any) -> Any:
        """Memory that only `tick` writes, whatever it holds at first; apart, since passing it on may mean a copy."""

    @abc.abstractmethod
    def begin(self, state: Any, *, seed: Any) -> Any:
        """The work of a transition before its first tick."""

    @abc.abstractmethod
    def tick(self, state: Any, work: Any, scratch: Any) -> tuple[Any, Any]:
        """Takes one gradient, and returns work and scratch."""

    @abc.abstractmethod
    def waits(self, work: Any) -> Bool[Array, ""]:
        """Whether `turn` must come before the next tick."""

    @abc.abstractmethod
    def turn(self, state: Any, work: Any, scratch: Any) -> Any:
        """What is to be done less often than every tick."""

    @abc.abstractmethod
    def ended(self, work: Any) -> Bool[Array, ""]:
        """Whether the transition is complete, asked after `turn`."""

    @abc.abstractmethod
    def finish(self, state: Any, work: Any) -> tuple[Any, Any]:
        """What `step` returns."""


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
    - `reach_max_depth`: whether the tree was still to grow at its maximal depth; always `False` with a fixed length.
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


# An energy error that only an unstable integrator makes; the bound that Stan and NoUTurnSampler use.
MAX_ENERGY_DIFF = 1000.0


class HamiltonianKernel(TransitionKernel):
    """What the kernels that follow Hamilton's equations share: a step size, a metric, the state, a flat view of it."""

    step_size: eqx.AbstractVar[PyTree[Float[Array, "..."]]]
    metric: eqx.AbstractVar[Metric]

    def init(self, position: PyTree, *, seed: Any = None) -> HamiltonianState:
        who = type(self).__name__
        position = as_position(position, who)
        value, grads = value_and_grad(self.target_log_prob_fn, position, who)
        return HamiltonianState(position, value, grads)

    def _flat(self, state: HamiltonianState) -> "Flat":
        # The loops work on one vector however many parts the state has: each operation of a loop body costs the same
        # few tens of nanoseconds on a CPU whether it acts on two numbers or on a hundred.
        x, unravel = ravel_pytree(state.position)
        grad, _ = ravel_pytree(state.grads_target_log_prob)
        who = type(self).__name__

        def gradient(x: Array) -> tuple[Array, Array]:
            value, grads = value_and_grad(self.target_log_prob_fn, unravel(x), who)
            return value, ravel_pytree(grads)[0]

        metric = jtu.tree_map(lambda m: m.astype(x.dtype), self.metric)
        if metric.scale.size not in (1, x.size):
            raise ValueError(f"{who}: the metric is for {metric.scale.size} coordinates, the state has {x.size}")
        step_size = flat_step_size(self.step_size, state.position, who) * metric.scale
        return Flat(x, state.target_log_prob, grad, step_size, metric, gradient, unravel)

    def _info_step_size(self, x: Array) -> PyTree:
        return jtu.tree_map(lambda s: s.astype(x.dtype), self.step_size)

    def _settle(
        self, flat: "Flat", end: "Trajectory", accept: Array, num_leapfrog_steps: Any
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        """The state and info after a trajectory from `flat` whose end is accepted, or not."""
        before = flat.position, flat.target_log_prob, flat.grad, end.start_energy
        after = end.position, end.target_log_prob, end.grad, end.energy
        x, value, grad, energy = (jnp.where(accept, a, b) for a, b in zip(after, before))
        info = HamiltonianInfo(
            target_log_prob=value,
            step_size=self._info_step_size(x),
            log_accept_ratio=end.log_ratio,
            leapfrogs_taken=jnp.asarray(num_leapfrog_steps, jnp.int32),
            is_accepted=accept,
            reach_max_depth=jnp.asarray(False),
            has_divergence=end.log_ratio < -MAX_ENERGY_DIFF,
            energy=energy,
        )
        return flat.state(x, value, grad), info


class Trajectory(NamedTuple):
    """The end of a trajectory as vectors, the energies at its start and end, and the log of their ratio of densities:
    -inf where the end must not be accepted."""

    position: Float[Array, " d"]
    momentum: Float[Array, "rows d"]
    target_log_prob: Float[Array, ""]
    grad: Float[Array, " d"]
    start_energy: Float[Array, ""]
    energy: Float[Array, ""]
    log_ratio: Float[Array, ""]


class Flat(eqx.Module):
    """A state as vectors, in the kernel's metric.

    Momenta are those of the coordinates divided by `step_size`, in which the inverse mass matrix is the metric's C.
    They go in rows: the momentum and, unless C is the identity, the velocity C p, which changes linearly with it. So
    one product with C a leapfrog serves the motion, the energy and the turn checks.
    """

    position: Float[Array, " d"]
    target_log_prob: Float[Array, ""]
    grad: Float[Array, " d"]
    step_size: Float[Array, "..."]
    metric: Metric
    value_and_grad: Callable[[Array], tuple[Array, Array]]
    unravel: Callable[[Array], PyTree]

    def state(self, x: Array, value: Array, grad: Array) -> HamiltonianState:
        return HamiltonianState(self.unravel(x), value, self.unravel(grad))

    def force(self, grad: Float[Array, " d"]) -> Float[Array, "rows d"]:
        """The change of momentum, and velocity, in one step."""
        return self._rows(self.step_size * grad)

    def draw_momentum(self, key: Any) -> Float[Array, "rows d"]:
        """A fresh momentum, and its velocity."""
        noise = jax.random.normal(key, self.position.shape, self.position.dtype)
        return self._rows(self.metric.momentum(noise))

    def leapfrog(self, sign: ArrayLike, x: Array, p: Array, force: Array) -> tuple[Array, ...]:
        """One step of velocity Verlet, forward or backward: the new position, momentum, force, value and gradient."""
        half = p + 0.5 * sign * force
        x = x + sign * self.step_size * half[-1]
        value, grad = self.value_and_grad(x)
        force = self.force(grad)
        return x, half + 0.5 * sign * force, force, value, grad

    def trajectory(self, p: Float[Array, "rows d"], num_leapfrog_steps: Any) -> Trajectory:
        """So many steps forward from here with the momentum `p`."""

        def body(_: Any, carry: Any) -> Any:
            x, p, force, _, _ = carry
            return self.leapfrog(1, x, p, force)

        carry = self.position, p, self.force(self.grad), self.target_log_prob, self.grad
        x, q, _, value, grad = jax.lax.fori_loop(0, num_leapfrog_steps, body, carry)
        start, end = hamiltonian(self.target_log_prob, p), hamiltonian(value, q)
        return Trajectory(x, q, value, grad, start, end, energy_drop(start, end))

    def _rows(self, p: Array) -> Array:
        plain = isinstance(self.metric, DiagonalMetric)
        return p[None] if plain else jnp.stack([p, self.metric.velocity(p)])


def as_step_size(step_size: Any) -> PyTree:
    """A step size, or a list, tuple or dict of them, as strongly typed arrays."""
    if isinstance(step_size, list | tuple | dict):
        return jtu.tree_map(promote, step_size)
    return promote(step_size)


def flat_step_size(step_size: PyTree, position: PyTree, who: str) -> Array:
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
    if isinstance(step_size, dict):
        same = isinstance(position, dict) and step_size.keys() == position.keys()
        keys: Any = sorted(step_size) if same else []  # the order in which JAX flattens a dict
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
    """`start - end`, and -inf where that is not finite: a point whose density is infinite or NaN, or whose gradient is
    (the momentum takes it up, hence the energy), is never accepted."""
    drop = start - end
    return jnp.where(jnp.isfinite(drop), drop, -jnp.inf)


def accepts(key: Any, log_ratio: Float[Array, ""]) -> Bool[Array, ""]:
    """True with probability min(1, exp(log_ratio))."""
    return -jax.random.exponential(key, (), log_ratio.dtype) <= log_ratio
