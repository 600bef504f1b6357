"""Step size adaptation."""

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._arguments import Fraction, NonnegativeInt, NonnegativeNumeric, PositiveNumeric
from distrax_like._misc import Real, Seed, as_key, promote

from ._hamiltonian import StepSize, as_step_size
from ._kernel import InterleavedKernel, KernelInfo, LogDensity, Position, TransitionKernel, check_info, check_state

Info = TypeVar("Info", bound=KernelInfo)


class DualAveragingState(eqx.Module):
    """The inner kernel's state, the step size of the next transition, and the running sums of the adaptation."""

    inner_state: PyTree
    step_size: PyTree
    log_shrinkage_target: PyTree
    log_averaging_step: PyTree
    error_sum: Float[Array, "..."]
    num_steps: Int[Array, "..."]

    @property
    def position(self) -> Position:
        return self.inner_state.position

    @property
    def target_log_prob(self) -> Real:
        return self.inner_state.target_log_prob

    @property
    def grads_target_log_prob(self) -> PyTree:
        return self.inner_state.grads_target_log_prob


class DualAveragingStepSizeAdaptation(InterleavedKernel[DualAveragingState, Info]):
    r"""Steps the inner kernel and moves its step size until it accepts at the wanted rate.

    With $a_t$ the acceptance probability of transition $t$ of `num_adaptation_steps`,

    $$\log \epsilon_{t+1} = \mu - \frac{\sqrt t}{\gamma (t + t_0)} \sum_{s \le t} (\delta - a_s),$$

    and afterwards $\epsilon$ is the exponential of the average of $\log\epsilon_t$ with weights that decay as
    $t^{-\kappa}$ (Hoffman and Gelman, 2014, section 3.2). Each chain adapts its own step size. Transitions that adapt
    leave no density invariant, so with `sample_chain` `num_adaptation_steps` should not exceed `num_burnin_steps`.

    **Arguments:**

    - `inner_kernel`: any kernel with a `step_size` and a `log_accept_ratio` in its info; the info is passed on.
    - `num_adaptation_steps`: how many transitions adapt.
    - `target_accept_prob`: $\delta$.
    - `exploration_shrinkage`: $\gamma$.
    - `shrinkage_target`: $e^\mu$, in the inner step size's layout; 10 times the initial step size if `None`.
    - `step_count_smoothing`: $t_0$.
    - `decay_rate`: $\kappa$.
    """

    inner_kernel: TransitionKernel[PyTree, Info]
    num_adaptation_steps: int = eqx.field(static=True)
    target_accept_prob: Float[Array, ""]
    exploration_shrinkage: Float[Array, ""]
    shrinkage_target: PyTree
    step_count_smoothing: Float[Array, ""]
    decay_rate: Float[Array, ""]

    def __init__(
        self,
        inner_kernel: TransitionKernel[PyTree, Info],
        num_adaptation_steps: NonnegativeInt,
        target_accept_prob: Fraction = 0.75,
        exploration_shrinkage: PositiveNumeric = 0.05,
        shrinkage_target: StepSize | None = None,
        step_count_smoothing: NonnegativeNumeric = 10,
        decay_rate: PositiveNumeric = 0.75,
    ):
        who, inner = "DualAveragingStepSizeAdaptation", type(inner_kernel).__name__
        if not hasattr(inner_kernel, "step_size"):
            raise TypeError(f"{who}: inner_kernel must have a step_size, got {inner}")
        if not has_adaptable_step_size(inner_kernel):
            raise TypeError(f"{who}: the step_size of {inner} cannot be adapted, since it rejects nothing")
        self.inner_kernel = inner_kernel
        self.num_adaptation_steps = num_adaptation_steps
        self.target_accept_prob = promote(target_accept_prob)
        self.exploration_shrinkage = promote(exploration_shrinkage)
        self.shrinkage_target = None if shrinkage_target is None else as_step_size(shrinkage_target)
        self.step_count_smoothing = promote(step_count_smoothing)
        self.decay_rate = promote(decay_rate)

    def log_density(self) -> LogDensity:
        return self.inner_kernel.log_density()

    def init(self, position: Position, *, seed: Seed | None = None) -> DualAveragingState:
        inner_state = self.inner_kernel.init(position, seed=seed)
        check_state(self.inner_kernel, inner_state)
        dtype = jnp.result_type(*jtu.tree_leaves(inner_state.position))
        step_size = jtu.tree_map(lambda s: s.astype(dtype), _step_size(self.inner_kernel))
        if self.shrinkage_target is None:
            target = jtu.tree_map(lambda s: _log_step(jnp.log(s) + jnp.log(10.0).astype(dtype)), step_size)
        else:
            target = jtu.tree_map(lambda s, t: _log_step(jnp.log(t).astype(dtype)), step_size, self.shrinkage_target)
        log_average = jtu.tree_map(jnp.zeros_like, step_size)
        return DualAveragingState(
            inner_state, step_size, target, log_average, jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
        )

    def step(self, state: DualAveragingState, *, seed: Seed) -> tuple[DualAveragingState, Info]:
        seed = as_key(seed, "DualAveragingStepSizeAdaptation.step")
        inner_state, info = self.adapted_kernel(state).step(state.inner_state, seed=seed)
        return self._adapt(state, inner_state, info), info

    def checkpoints(self, state: DualAveragingState) -> PyTree:
        return self._interleaved(state).checkpoints(state.inner_state)

    def begin(self, state: DualAveragingState, *, seed: Seed) -> PyTree:
        return self._interleaved(state).begin(state.inner_state, seed=seed)

    def tick(self, state: DualAveragingState, work: PyTree, checkpoints: PyTree) -> tuple[PyTree, PyTree]:
        return self._interleaved(state).tick(state.inner_state, work, checkpoints)

    def needs_check(self, work: PyTree) -> Bool[Array, ""]:
        return _as_interleaved(self.inner_kernel).needs_check(work)

    def check(self, state: DualAveragingState, work: PyTree, checkpoints: PyTree) -> PyTree:
        return self._interleaved(state).check(state.inner_state, work, checkpoints)

    def is_done(self, work: PyTree) -> Bool[Array, ""]:
        return _as_interleaved(self.inner_kernel).is_done(work)

    def finish(self, state: DualAveragingState, work: PyTree) -> tuple[DualAveragingState, Info]:
        inner_state, info = self._interleaved(state).finish(state.inner_state, work)
        return self._adapt(state, inner_state, info), info

    @property
    def is_interleaved(self) -> bool:
        return self.inner_kernel.is_interleaved

    def adapted_kernel(self, state: DualAveragingState) -> TransitionKernel[PyTree, Info]:
        """The inner kernel with the step size that `state` has come to."""
        return eqx.tree_at(_step_size, self.inner_kernel, state.step_size)

    def _interleaved(self, state: DualAveragingState) -> InterleavedKernel[PyTree, Info]:
        return _as_interleaved(self.adapted_kernel(state))

    def _adapt(self, state: DualAveragingState, inner_state: PyTree, info: PyTree) -> DualAveragingState:
        """The state after a transition of the inner kernel."""
        check_info(self.inner_kernel, info)
        dtype = state.error_sum.dtype
        delta, gamma, t0, kappa = (
            x.astype(dtype)
            for x in (self.target_accept_prob, self.exploration_shrinkage, self.step_count_smoothing, self.decay_rate)
        )
        accept_prob = jnp.exp(jnp.minimum(info.log_accept_ratio, 0.0)).astype(dtype)
        accept_prob = jnp.where(jnp.isnan(accept_prob), 0.0, accept_prob)
        t = (state.num_steps + 1).astype(dtype)
        error_sum = state.error_sum + (delta - accept_prob)
        shift = error_sum * jnp.sqrt(t) / (gamma * (t + t0))
        weight = t**-kappa
        adapting = state.num_steps < self.num_adaptation_steps
        last = state.num_steps + 1 == self.num_adaptation_steps

        def next_step_size(step: Array, log_target: Array, log_average: Array) -> Array:
            new = jnp.where(last, log_average, _log_step(log_target - shift))
            return jnp.where(adapting, jnp.exp(new), step)

        def next_average(log_target: Array, log_average: Array) -> Array:
            new = weight * _log_step(log_target - shift) + (1 - weight) * log_average
            return jnp.where(adapting, new, log_average)

        log_average = jtu.tree_map(next_average, state.log_shrinkage_target, state.log_averaging_step)
        return DualAveragingState(
            inner_state=inner_state,
            step_size=jtu.tree_map(next_step_size, state.step_size, state.log_shrinkage_target, log_average),
            log_shrinkage_target=state.log_shrinkage_target,
            log_averaging_step=log_average,
            error_sum=jnp.where(adapting, error_sum, state.error_sum),
            num_steps=state.num_steps + 1,
        )


def has_adaptable_step_size(kernel: TransitionKernel) -> bool:
    """Whether a kernel has a step size that its acceptance rate adapts.

    **Raises:** `TypeError` where the step size is not made of arrays.
    """
    if not kernel.step_size_is_adaptable or not hasattr(kernel, "step_size"):
        return False
    for leaf in jtu.tree_leaves(_step_size(kernel)):
        if not (eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)):
            raise TypeError(
                f"{type(kernel).__name__}: step_size must be a floating JAX array or a pytree of them to be adapted, "
                f"got {leaf!r}"
            )
    return True


def _step_size(kernel: TransitionKernel) -> PyTree:
    return getattr(kernel, "step_size")


def _as_interleaved(kernel: TransitionKernel[PyTree, Info]) -> InterleavedKernel[PyTree, Info]:
    if not isinstance(kernel, InterleavedKernel):
        raise TypeError(f"{type(kernel).__name__} cannot be interleaved")
    return kernel


def _log_step(x: Float[Array, "..."]) -> Float[Array, "..."]:
    # Where every step is rejected the logarithm falls without end, where every step is accepted it grows. Within these
    # bounds the step size, its square and its reciprocal are finite and not 0.
    bound = 0.4 * jnp.log(jnp.finfo(x.dtype).max)
    return jnp.clip(x, -bound, bound)
