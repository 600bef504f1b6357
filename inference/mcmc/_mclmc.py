"""Microcanonical Langevin Monte Carlo, unadjusted and Metropolis-adjusted."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox import field
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._arguments import PositiveInt, PositiveNumeric, checked
from distrax_like._misc import Numeric, Seed, as_key, promote
from distrax_like.inference.stats import ess

from ._adaptation import DualAveragingState, DualAveragingStepSizeAdaptation
from ._hamiltonian import (
    MAX_ENERGY_DIFF,
    HamiltonianKernel,
    HamiltonianState,
    PhaseSpace,
    State,
    accepts,
    hamiltonian_fields,
    momentum_dot,
)
from ._kernel import LogDensity, Position
from ._metric import DiagonalMetric, Metric

# Kicks and drifts of one step, each as a share of the step size, from the first kick to the last.
_INTEGRATORS = {
    "velocity_verlet": (0.5, 1.0, 0.5),
    # The palindrome of second order with two gradients whose leading error is smallest (McLachlan, 1995).
    "mclachlan": (0.1931833275037836, 0.5, 1 - 2 * 0.1931833275037836, 0.5, 0.1931833275037836),
}


class MicrocanonicalState(HamiltonianState):
    """A chain's position, the target's value and gradient there, and the direction in which the chain moves.

    `direction` is a pytree like `position`, of norm 1 in the kernel's metric: pᵀ C p = 1.
    """

    direction: PyTree


class MicrocanonicalInfo(eqx.Module):
    """What one transition of a microcanonical kernel did; the fields mean what they mean in `HamiltonianInfo`.

    `log_accept_ratio` is minus the energy error, also where nothing is rejected for it; `is_accepted` is then whether
    the error was finite.
    """

    target_log_prob: Float[Array, "..."]
    step_size: Float[Array, "..."]
    log_accept_ratio: Float[Array, "..."]
    leapfrogs_taken: Int[Array, "..."]
    is_accepted: Bool[Array, "..."]
    has_divergence: Bool[Array, "..."]


class _Microcanonical(HamiltonianKernel[State, MicrocanonicalInfo]):
    """What both kernels share: the isokinetic integrator."""

    step_size: eqx.AbstractVar[Float[Array, ""]]
    length: eqx.AbstractVar[Float[Array, ""]]
    integrator: eqx.AbstractVar[str]

    def _fields(
        self, target: LogDensity, step_size: Numeric, length: Numeric, metric: Metric | None, integrator: str
    ) -> tuple[LogDensity, Float[Array, ""], Float[Array, ""], Metric]:
        """What both kernels store of the arguments that both have. **Raises:** see `MicrocanonicalLangevin`."""
        who = type(self).__name__
        if integrator not in _INTEGRATORS:
            raise ValueError(f"{who}: integrator must be one of {', '.join(_INTEGRATORS)}, got {integrator!r}")
        numbers = {"step_size": promote(step_size), "length": promote(length)}
        for name, value in numbers.items():
            if value.ndim:
                raise ValueError(f"{who}: {name} must be one number, got shape {value.shape}; scales go in the metric")
        target, _, metric = hamiltonian_fields(self, target, step_size, metric)
        return target, numbers["step_size"], numbers["length"], metric

    @property
    def _gradients_per_step(self) -> int:
        return len(_INTEGRATORS[self.integrator]) // 2

    def phase_space(self, state: HamiltonianState) -> PhaseSpace:
        space = super().phase_space(state)
        if space.position.size < 2:
            raise ValueError(f"{type(self).__name__}: a direction needs a state of at least two coordinates")
        return space

    def _move(self, space: PhaseSpace, x: Array, u: Array, force: Array) -> tuple[Array, ...]:
        """One step: the new position, direction, force, value and gradient, and the kinetic energy gained."""
        first, *rest = _INTEGRATORS[self.integrator]
        u, gain = _kick(u, first * force)
        value, grad = space.target_log_prob, space.grad
        for drift, kick in zip(rest[::2], rest[1::2]):
            x = x + drift * space.step_size * u[-1]
            value, grad = space.value_and_grad(x)
            force = space.force(grad)
            u, more = _kick(u, kick * force)
            gain = gain + more
        return x, u, force, value, grad, gain


class MicrocanonicalLangevin(_Microcanonical[MicrocanonicalState]):
    r"""Unadjusted microcanonical Langevin Monte Carlo: a step of isokinetic motion, then a partly fresh direction.

    In the metric's coordinates, of which there are d, a chain moves at speed 1 in the direction u,

    $$\dot x = u, \qquad \dot u = \frac{(I - u u^\top) \nabla \log p(x)}{d - 1},$$

    which conserves the target; after each step of size $\epsilon$, u becomes $(u + \nu z) / |u + \nu z|$, z standard
    normal and $\nu^2 = (e^{2 \epsilon / L} - 1) / d$ (Robnik, De Luca, Silverstein and Seljak, 2023). Only points
    where the density or gradient is not finite are rejected: there the chain stays, with a fresh direction. So the
    draws have a bias, which falls with the square of the step size; `tune_microcanonical_langevin` bounds the energy
    error on which it depends.

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant, of at least two coordinates.
    - `step_size`: a positive number, $\epsilon$.
    - `length`: the length L over which the direction is forgotten, about $\sqrt d$ scales of the target.
    - `metric`: the target's covariance, by default the identity.
    - `integrator`: `"mclachlan"`, with two gradients a step, or `"velocity_verlet"`, with one.

    **Raises:** `ValueError` for an unknown integrator, or a step size or length that is not one number.
    """

    target_log_prob_fn: LogDensity
    step_size: Float[Array, ""]
    length: Float[Array, ""]
    metric: Metric
    integrator: str = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: PositiveNumeric,
        length: PositiveNumeric,
        metric: Metric | None = None,
        integrator: str = "mclachlan",
    ):
        self.target_log_prob_fn, self.step_size, self.length, self.metric = self._fields(
            target_log_prob_fn, step_size, length, metric, integrator
        )
        self.integrator = integrator

    def init(self, position: Position, *, seed: Seed | None = None) -> MicrocanonicalState:
        state = self.initial_state(position)
        space = self.phase_space(state)
        u = _unit(space.draw_momentum(as_key(seed, "MicrocanonicalLangevin.init")))
        return _with_direction(state, space, u)

    def step(self, state: MicrocanonicalState, *, seed: Seed) -> tuple[MicrocanonicalState, MicrocanonicalInfo]:
        key = as_key(seed, "MicrocanonicalLangevin.step")
        space = self.phase_space(state)
        x0, value0, grad0 = space.position, space.target_log_prob, space.grad
        u0 = space.rows(ravel_pytree(state.direction)[0])
        x, u, force, value, grad, gain = self._move(space, x0, u0, space.force(grad0))
        noise = space.draw_momentum(key)
        drop = value - value0 - gain
        # The last kick uses the gradient: where that is not finite, neither is the direction or the gain.
        ok = jnp.isfinite(drop) & jnp.all(jnp.isfinite(u)) & jnp.all(jnp.isfinite(force))
        u = jnp.where(ok, _refreshed(u, noise, self.step_size, self.length), _unit(noise))
        x, value, grad = (jnp.where(ok, a, b) for a, b in ((x, x0), (value, value0), (grad, grad0)))
        drop = jnp.where(ok, drop, -jnp.inf)
        info = MicrocanonicalInfo(
            target_log_prob=value,
            step_size=self.info_step_size(x0),
            log_accept_ratio=drop,
            leapfrogs_taken=jnp.asarray(self._gradients_per_step, jnp.int32),
            is_accepted=ok,
            has_divergence=jnp.abs(drop) > MAX_ENERGY_DIFF,
        )
        return _with_direction(space.state(x, value, grad), space, u), info


class AdjustedMicrocanonicalLangevin(_Microcanonical[HamiltonianState]):
    r"""Metropolis-adjusted microcanonical sampling: a trajectory of isokinetic motion in a fresh uniform direction,
    accepted with probability $\min(1, e^{-W})$, W its energy error (Robnik, Cohn-Gordon and Seljak, 2025).

    The motion is that of `MicrocanonicalLangevin`, and W the change of $-\log p$ plus, for each kick, the logarithm of
    the factor by which it contracts the sphere of directions: the transition leaves the target invariant. The number of
    steps is $\lceil 2 U L / \epsilon \rceil$ with U uniform on (0, 1), at most `max_num_steps`.

    **Arguments:**

    - `target_log_prob_fn`, `step_size`, `metric`, `integrator`: as for `MicrocanonicalLangevin`.
    - `length`: L, the mean length of a trajectory.
    - `decoherence_length`: if given, the direction is partly refreshed before and after every step, as
      `MicrocanonicalLangevin` with this L does it. Refreshing is symmetric, and adds nothing to W.
    - `max_num_steps`: at least 1.

    **Raises:** as `MicrocanonicalLangevin`.
    """

    target_log_prob_fn: LogDensity
    step_size: Float[Array, ""]
    length: Float[Array, ""]
    metric: Metric
    decoherence_length: Float[Array, ""] | None
    integrator: str = field(static=True)
    max_num_steps: int = field(static=True)

    def __init__(
        self,
        target_log_prob_fn: LogDensity,
        step_size: PositiveNumeric,
        length: PositiveNumeric,
        metric: Metric | None = None,
        decoherence_length: PositiveNumeric | None = None,
        integrator: str = "mclachlan",
        max_num_steps: PositiveInt = 1000,
    ):
        self.target_log_prob_fn, self.step_size, self.length, self.metric = self._fields(
            target_log_prob_fn, step_size, length, metric, integrator
        )
        self.decoherence_length = promote(decoherence_length)
        self.integrator = integrator
        self.max_num_steps = max_num_steps

    def init(self, position: Position, *, seed: Seed | None = None) -> HamiltonianState:
        return self.initial_state(position)

    def step(self, state: HamiltonianState, *, seed: Seed) -> tuple[HamiltonianState, MicrocanonicalInfo]:
        key = as_key(seed, "AdjustedMicrocanonicalLangevin.step")
        direction_key, length_key, accept_key, noise_key = jax.random.split(key, 4)
        space = self.phase_space(state)
        x0, value0, grad0 = space.position, space.target_log_prob, space.grad
        # Nothing here depends on the state, so the number of steps is as likely for the way back.
        share = jax.random.uniform(length_key, (), x0.dtype)
        wanted = jnp.ceil(2 * share * (self.length / self.step_size).astype(x0.dtype))
        num_steps = jnp.clip(wanted, 1, self.max_num_steps).astype(jnp.int32)

        def refreshed(u: Array, i: Array) -> Array:
            if self.decoherence_length is None:
                return u
            noise = space.draw_momentum(jax.random.fold_in(noise_key, i))
            return _refreshed(u, noise, 0.5 * self.step_size, self.decoherence_length)

        def body(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            x, u, force, _, _, gain = carry
            x, u, force, value, grad, more = self._move(space, x, refreshed(u, 2 * i), force)
            return x, refreshed(u, 2 * i + 1), force, value, grad, gain + more

        u0 = _unit(space.draw_momentum(direction_key))
        carry = x0, u0, space.force(grad0), value0, grad0, jnp.zeros_like(value0)
        x, u, force, value, grad, gain = jax.lax.fori_loop(0, num_steps, body, carry)
        drop = value - value0 - gain
        ok = jnp.isfinite(drop) & jnp.all(jnp.isfinite(u)) & jnp.all(jnp.isfinite(force))
        log_ratio = jnp.where(ok, drop, -jnp.inf)
        accept = accepts(accept_key, log_ratio)
        x, value, grad = (jnp.where(accept, a, b) for a, b in ((x, x0), (value, value0), (grad, grad0)))
        info = MicrocanonicalInfo(
            target_log_prob=value,
            step_size=self.info_step_size(x0),
            log_accept_ratio=log_ratio,
            leapfrogs_taken=num_steps * self._gradients_per_step,
            is_accepted=accept,
            has_divergence=log_ratio < -MAX_ENERGY_DIFF,
        )
        return space.state(x, value, grad), info


def _with_direction(state: HamiltonianState, space: PhaseSpace, u: Array) -> MicrocanonicalState:
    return MicrocanonicalState(state.position, state.target_log_prob, state.grads_target_log_prob, space.unravel(u[0]))


def _unit(u: Float[Array, "rows d"]) -> Float[Array, "rows d"]:
    return u * jax.lax.rsqrt(momentum_dot(u[0], u[-1]))


def _refreshed(u: Array, noise: Array, time: Array, length: Array) -> Array:
    """The direction u, partly replaced by noise, as over `time` with the decoherence length `length`."""
    share = jnp.sqrt(jnp.expm1(2 * time / length) / u.shape[-1]).astype(u.dtype)
    # The direction stays uniform, and a to b is as likely as b to a, since only the angle between them matters.
    return _unit(u + share * noise)


def _kick(u: Float[Array, "rows d"], force: Float[Array, "rows d"]) -> tuple[Float[Array, "rows d"], Float[Array, ""]]:
    """The exact motion of the direction u under a constant force for time 1, and the kinetic energy it gains: d - 1
    times the logarithm of cosh δ + (e·u) sinh δ, where e is the force's direction and δ its norm over d - 1."""
    power = u.shape[-1] - 1
    norm = jnp.sqrt(momentum_dot(force[0], force[-1]))
    e = force / jnp.where(norm > 0, norm, 1)
    delta = norm / power
    cosine = jnp.clip(momentum_dot(e[0], u[-1]), -1, 1)
    # In powers of exp(-δ), which cannot overflow. Without the last product u' would leave the sphere by rounding.
    shrink = -jnp.expm1(-delta)
    new = _unit(2 * (1 - shrink) * u + shrink * (2 - shrink + cosine * shrink) * e)
    return new, power * (delta + jnp.log1p(0.5 * (1 - cosine) * jnp.expm1(-2 * delta)))


_Module = TypeVar("_Module", bound=eqx.Module)
_Kernel = TypeVar("_Kernel", MicrocanonicalLangevin, AdjustedMicrocanonicalLangevin)


@checked
def tune_microcanonical_langevin(
    kernel: _Kernel,
    position: Position,
    num_steps: int = 5000,
    *,
    seed: Seed,
    energy_variance: float = 5e-4,
    target_accept_prob: float = 0.9,
) -> tuple[_Kernel, HamiltonianState]:
    r"""Runs one chain from `position`, and tunes step size, length and a diagonal metric on the way.

    There are five windows of unadjusted steps. In all of them the step size is adapted so that the variance of the
    energy error of one step is `energy_variance` for each coordinate. After the second, third and fourth window the
    metric is set to the standard deviations of the draws in it. The last window gives L: $0.4\,\epsilon\,\tau$ with
    $\tau$ the draws' autocorrelation time, the mean over the coordinates (Robnik et al., 2023). For the adjusted kernel
    L is the mean length at which Hamiltonian motion leaves the widest direction, $\frac{\pi}{2} \sqrt{d \lambda}$ with
    $\lambda$ the largest eigenvalue of the covariance of the draws in units of their standard deviations; then at least
    100 of its transitions move its step size until they are accepted at `target_accept_prob`.

    Runs on the host: it cannot be part of a compiled function.

    **Arguments:** `kernel`: gives the target, the integrator and a first guess of the step size; `num_steps`: of the
    windows together, at least 50; the adjusted kernel takes about as many gradients again.

    **Returns:** the tuned kernel, and the last state of the chain.

    **Raises:** `ValueError` for fewer than 50 steps.
    """
    if num_steps < 50:
        raise ValueError(f"tune_microcanonical_langevin: num_steps must be at least 50, got {num_steps}")
    keys = jax.random.split(as_key(seed, "tune_microcanonical_langevin"), 7)
    flat, _ = ravel_pytree(kernel.init(position, seed=keys[6]).position)
    dim = flat.size
    mover = MicrocanonicalLangevin(
        kernel.target_log_prob_fn,
        kernel.step_size.astype(flat.dtype),
        jnp.asarray(np.sqrt(dim), flat.dtype),
        DiagonalMetric(jnp.ones_like(flat)),
        kernel.integrator,
    )
    state = mover.init(position, seed=keys[6])
    draws, sizes = flat[None], jnp.ones(1, flat.dtype)
    wanted = jnp.asarray(energy_variance * dim, flat.dtype)
    for i in range(5):
        state, draws, sizes = _follow_energy(mover, state, wanted, jax.random.split(keys[i], num_steps // 5))
        mover = _replace(mover, step_size=jnp.asarray(sizes[-1], flat.dtype))
        if 1 <= i <= 3:
            # The direction was of norm 1 in the old metric.
            mover = _replace(mover, metric=DiagonalMetric(_scale(draws)))
            state = eqx.tree_at(lambda s: s.direction, state, mover.init(state.position, seed=keys[i]).direction)
    half = np.asarray(sizes)[len(sizes) // 2 :]
    step_size = jnp.asarray(np.exp(np.mean(np.log(half))), flat.dtype)
    if isinstance(kernel, MicrocanonicalLangevin):
        rate = np.asarray(ess(draws[:, None], "mean")) / len(draws)
        length = 0.4 * step_size * np.mean(1 / np.clip(rate, 1 / len(draws), 1))
        # Fewer steps than the autocorrelation time cannot estimate it; and L must be at least one step.
        length = jnp.clip(jnp.asarray(length, flat.dtype), step_size)
        return _replace(kernel, step_size=step_size, length=length, metric=mover.metric), state
    length = 0.5 * np.pi * np.sqrt(dim * _widest(np.asarray(draws / mover.metric.scale)))
    kernel = _replace(kernel, length=jnp.asarray(length, flat.dtype), metric=mover.metric)
    transitions = max(100, int(num_steps * step_size / length))
    adapting = DualAveragingStepSizeAdaptation(
        _replace(kernel, step_size=step_size), transitions, target_accept_prob, shrinkage_target=2 * step_size
    )
    adapted = _transitions(adapting, adapting.init(state.position), jax.random.split(keys[5], transitions))
    return _replace(kernel, step_size=adapted.step_size), adapted.inner_state


@eqx.filter_jit
def _follow_energy(
    kernel: MicrocanonicalLangevin, state: MicrocanonicalState, wanted: Array, keys: Array
) -> tuple[MicrocanonicalState, Array, Array]:
    """Makes steps, each of which sets the step size of the next: the last state, and all positions and step sizes."""
    # The step size is a mean over about 75 errors. An error that is off by more factors of e than `trust` counts less.
    memory, trust = 1 - 2 / 151, 9.0

    def body(
        carry: tuple[MicrocanonicalState, Array, Array], key: Array
    ) -> tuple[tuple[MicrocanonicalState, Array, Array], tuple[Array, Array]]:
        state, step_size, weight = carry
        state, info = _replace(kernel, step_size=step_size).step(state, seed=key)
        # The error of one step grows with the third power of the step size, its square with the sixth. Earlier errors
        # are rescaled to the present step size, at which they are 1 in these units: so only their weight is kept.
        error = info.log_accept_ratio**2 / wanted + 1e-8
        ok = info.is_accepted & jnp.isfinite(error)
        error = jnp.where(ok, error, 1.0)
        new = jnp.exp(-0.5 * (jnp.log(error) / trust) ** 2)
        mean = (memory * weight + new * error) / (memory * weight + new)
        factor = jnp.where(ok, jnp.clip(mean ** (-1 / 6), 0.3, 3.0), 0.8)
        weight = jnp.where(ok, memory * weight + new, 1.0)
        return (state, factor * step_size, weight), (ravel_pytree(state.position)[0], factor * step_size)

    carry = state, kernel.step_size, jnp.zeros_like(kernel.step_size)
    (state, _, _), (draws, sizes) = jax.lax.scan(body, carry, keys)
    return state, draws, sizes


@eqx.filter_jit
def _transitions(kernel: DualAveragingStepSizeAdaptation, state: DualAveragingState, keys: Array) -> DualAveragingState:
    """The state after one transition for each key."""
    return jax.lax.scan(lambda state, key: (kernel.step(state, seed=key)[0], None), state, keys)[0]


def _replace(kernel: _Module, **fields: PyTree) -> _Module:
    names = tuple(fields)
    return eqx.tree_at(lambda k: [getattr(k, n) for n in names], kernel, [fields[n] for n in names])


def _scale(draws: Float[Array, "n d"]) -> Float[Array, " d"]:
    scale = jnp.std(draws, axis=0)
    # A coordinate that has not moved, since everything was rejected, does not show its scale.
    return jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1)


def _widest(draws: np.ndarray) -> float:
    """The largest eigenvalue of the covariance."""
    x = draws - draws.mean(0)
    v = np.ones(x.shape[1])
    for _ in range(50):
        v = x.T @ (x @ v)
        v = v / max(float(np.linalg.norm(v)), 1e-300)
    return max(1.0, float(np.sum((x @ v) ** 2)) / len(x))
