"""Step size adaptation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._misc import as_key, promote

from ._kernel import InterleavedKernel, TransitionKernel, as_step_size


class DualAveragingState(eqx.Module):
    """The inner kernel's state, the step size of the next transition, and the running sums of the adaptation."""

    inner_state: Any
    step_size: PyTree
    log_shrinkage_target: PyTree
    log_averaging_step: PyTree
    error_sum: Float[Array, "..."]
    num_steps: Int[Array, "..."]

    @property
    def position(self) -> PyTree:
        return self.inner_state.position

    @property
    def target_log_prob(self) -> Any:
        return self.inner_state.target_log_prob

    @property
    def grads_target_log_prob(self) -> Any:
        return self.inner_state.grads_target_log_prob


class DualAveragingStepSizeAdaptation(InterleavedKernel):
    r"""Steps the inner kernel and moves its step size until it accepts at the wanted rate.

    With $a_t$ the acceptance probability of transition $t$ of `num_adaptation_steps`,

    $$\log \epsilon_{t+1} = \mu - \frac{\sqrt t}{\gamma (t + t_0)} \sum_{s \le t} (\delta - a_s),$$

    and afterwards the average of $\log\epsilon_t$ with weights that decay as $t^{-\kappa}$ (Hoffman and Gelman, 2014,
    section 3.2). Each chain adapts its own. `sample_chain` counts its burn-in from 0, so `num_adaptation_steps` is
    usually somewhat less than `num_burnin_steps`: transitions that adapt leave no density invariant.

    **Arguments:**

    - `inner_kernel`: any kernel with a `step_size` and a `log_accept_ratio` in its info; the info is passed on.
    - `num_adaptation_steps`: how many transitions adapt.
    - `target_accept_prob`: $\delta$.
    - `exploration_shrinkage`: $\gamma$.
    - `shrinkage_target`: $e^\mu$, in the inner step size's layout; 10 times the initial step size if `None`.
    - `step_count_smoothing`: $t_0$.
    - `decay_rate`: $\kappa$.
    """

    inner_kernel: TransitionKernel
    num_adaptation_steps: int = eqx.field(static=True)
    target_accept_prob: Float[Array, ""]
    exploration_shrinkage: Float[Array, ""]
    shrinkage_target: PyTree
    step_count_smoothing: Float[Array, ""]
    decay_rate: Float[Array, ""]

    def __init__(
        self,
        inner_kernel: TransitionKernel,
        num_adaptation_steps: int,
        target_accept_prob: Any = 0.75,
        exploration_shrinkage: Any = 0.05,
        shrinkage_target: Any = None,
        step_count_smoothing: Any = 10,
        decay_rate: Any = 0.75,
    ):
        if not hasattr(inner_kernel, "step_size"):
            raise TypeError(
                "DualAveragingStepSizeAdaptation: inner_kernel must have a step_size, "
                f"got {type(inner_kernel).__name__}"
            )
        self.inner_kernel = inner_kernel
        self.num_adaptation_steps = num_adaptation_steps
        self.target_accept_prob = promote(target_accept_prob)
        self.exploration_shrinkage = promote(exploration_shrinkage)
        self.shrinkage_target = None if shrinkage_target is None else as_step_size(shrinkage_target)
        self.step_count_smoothing = promote(step_count_smoothing)
        self.decay_rate = promote(decay_rate)

    @property  # type: ignore[misc]
    def target_log_prob_fn(self) -> Callable[..., Any]:  # type: ignore[override] # pyright: ignore
        return self.inner_kernel.target_log_prob_fn

    def init(self, position: PyTree, *, seed: Any = None) -> DualAveragingState:
        inner_state = self.inner_kernel.init(position, seed=seed)
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

    def step(self, state: DualAveragingState, *, seed: Any) -> tuple[DualAveragingState, Any]:
        seed = as_key(seed, "DualAveragingStepSizeAdaptation.step")
        return self._adapt(state, *self.adapted_kernel(state).step(state.inner_state, seed=seed))

    def scratch(self, state: DualAveragingState) -> Any:
        return self.adapted_kernel(state).scratch(state.inner_state)

    def begin(self, state: DualAveragingState, *, seed: Any) -> Any:
        return self.adapted_kernel(state).begin(state.inner_state, seed=seed)

    def tick(self, state: DualAveragingState, work: Any, scratch: Any) -> Any:
        return self.adapted_kernel(state).tick(state.inner_state, work, scratch)

    def waits(self, work: Any) -> Bool[Array, ""]:
        inner: Any = self.inner_kernel
        return inner.waits(work)

    def turn(self, state: DualAveragingState, work: Any, scratch: Any) -> Any:
        return self.adapted_kernel(state).turn(state.inner_state, work, scratch)

    def ended(self, work: Any) -> Bool[Array, ""]:
        inner: Any = self.inner_kernel
        return inner.ended(work)

    def finish(self, state: DualAveragingState, work: Any) -> tuple[DualAveragingState, Any]:
        return self._adapt(state, *self.adapted_kernel(state).finish(state.inner_state, work))

    @property
    def is_interleaved(self) -> bool:
        return self.inner_kernel.is_interleaved

    def _adapt(self, state: DualAveragingState, inner_state: Any, info: Any) -> tuple[DualAveragingState, Any]:
        """The state after a transition of the inner kernel."""
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
        state = DualAveragingState(
            inner_state=inner_state,
            step_size=jtu.tree_map(next_step_size, state.step_size, state.log_shrinkage_target, log_average),
            log_shrinkage_target=state.log_shrinkage_target,
            log_averaging_step=log_average,
            error_sum=jnp.where(adapting, error_sum, state.error_sum),
            num_steps=state.num_steps + 1,
        )
        return state, info

    def adapted_kernel(self, state: DualAveragingState) -> Any:
        """The inner kernel with the step size that `state` has come to."""
        return eqx.tree_at(_step_size, self.inner_kernel, state.step_size)


def _step_size(kernel: Any) -> PyTree:
    return kernel.step_size


def _log_step(x: Float[Array, "..."]) -> Float[Array, "..."]:
    # A density that rejects everything drives the logarithm down without end, one that accepts everything up. Within
    # these bounds the step, its square and its reciprocal are finite and not 0.
    bound = 0.4 * jnp.log(jnp.finfo(x.dtype).max)
    return jnp.clip(x, -bound, bound)
