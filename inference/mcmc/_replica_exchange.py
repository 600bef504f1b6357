"""Replica exchange: chains at several temperatures that swap their positions."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._arguments import NonnegativeNumeric, PositiveNumeric, checked
from distrax_like._misc import Real, Seed, as_callable, as_key, promote
from distrax_like.inference._target import as_position, log_density

from ._density import moved
from ._kernel import LogDensity, Position, TransitionKernel


class TemperedTarget(eqx.Module):
    """The log density of a replica: the untempered part, plus the inverse temperature times the tempered part."""

    tempered_log_prob_fn: LogDensity
    untempered_log_prob_fn: LogDensity | None
    inverse_temperature: Float[Array, ""]

    def __call__(self, *args: PyTree) -> Array:
        value = jnp.asarray(self.tempered_log_prob_fn(*args))
        # At infinite temperature 0 times -inf would be NaN; a point outside the support stays outside.
        value = jnp.where(value == -jnp.inf, value, self.inverse_temperature.astype(value.dtype) * value)
        return value if self.untempered_log_prob_fn is None else value + self.untempered_log_prob_fn(*args)


class ReplicaExchangeState(eqx.Module):
    """The states of the replicas' kernels, with a leading axis, and how many transitions were made.

    `position`, `target_log_prob` and `grads_target_log_prob` are those of the first replica.
    """

    replica_states: PyTree
    step_count: Int[Array, "..."]

    @property
    def position(self) -> Position:
        return self._first(self.replica_states.position)

    @property
    def target_log_prob(self) -> Real:
        return self._first(self.replica_states.target_log_prob)

    @property
    def grads_target_log_prob(self) -> PyTree:
        return self._first(self.replica_states.grads_target_log_prob)

    def _first(self, tree: PyTree) -> PyTree:
        # The axis of the replicas is behind those of the chains.
        at = (slice(None),) * self.step_count.ndim + (0,)
        return jtu.tree_map(lambda x: x[at], tree)


class ReplicaExchangeInfo(eqx.Module):
    """What one transition did; under `sample_chain` each field has leading axes.

    - `replica_results`: the infos of the replicas' kernels, with a leading axis.
    - `swaps`: for each replica the one with which a swap of positions was proposed; itself where none was.
    - `log_swap_ratio`: the log of the ratio of densities after and before, 0 where no swap was proposed.
    - `is_swap_accepted`: for each replica whether it swapped.
    - `is_swap_proposed_adjacent`, `is_swap_accepted_adjacent`: for each pair of neighbours, whether a swap of the two
      was proposed, and whether it was made. Their means over a run say which temperatures are too far apart.
    """

    replica_results: PyTree
    swaps: Int[Array, "... replicas"]
    log_swap_ratio: Float[Array, "... replicas"]
    is_swap_accepted: Bool[Array, "... replicas"]
    is_swap_proposed_adjacent: Bool[Array, "... pairs"]
    is_swap_accepted_adjacent: Bool[Array, "... pairs"]


@runtime_checkable
class SwapProposal(Protocol):
    """What proposes swaps: see `default_swap_proposal_fn`."""

    def __call__(
        self, num_replica: int, batch_shape: tuple[int, ...], seed: Seed, step_count: Int[Array, "..."]
    ) -> Int[Array, "replicas ..."]: ...


class _DefaultSwaps(eqx.Module):
    prob_swap: Float[Array, ""]

    def __call__(
        self,
        num_replica: int,
        batch_shape: tuple[int, ...] = (),
        seed: Seed | None = None,
        step_count: Int[Array, "..."] | int = 0,
    ) -> Int[Array, "replicas ..."]:
        swap_key, parity_key = jax.random.split(as_key(seed, "default_swap_proposal_fn"))
        swaps = _neighbours(num_replica, jax.random.bernoulli(parity_key, shape=batch_shape))
        swapping = jax.random.bernoulli(swap_key, self.prob_swap, batch_shape)
        return jnp.where(swapping, swaps, _identity(num_replica, batch_shape))


class _EvenOddSwaps(eqx.Module):
    swap_frequency: Float[Array, ""]

    def __call__(
        self,
        num_replica: int,
        batch_shape: tuple[int, ...] = (),
        seed: Seed | None = None,
        step_count: Int[Array, "..."] | int = 0,
    ) -> Int[Array, "replicas ..."]:
        period = jnp.round(1 / self.swap_frequency).astype(jnp.int32)
        odd = jnp.broadcast_to((step_count // period) % 2 == 1, batch_shape)
        swaps = _neighbours(num_replica, odd)
        return jnp.where(step_count % period == 0, swaps, _identity(num_replica, batch_shape))


@checked
def default_swap_proposal_fn(prob_swap: PositiveNumeric) -> SwapProposal:
    """Proposes, with probability `prob_swap`, to swap neighbours: either (0, 1), (2, 3), ... or (1, 2), (3, 4), ...,
    each as likely as the other.

    **Returns:** a module to be called with `num_replica`, `batch_shape`, `seed` and `step_count`, which returns the
    index of each replica's partner, of shape `(num_replica, *batch_shape)`.
    """
    return _DefaultSwaps(promote(prob_swap))


@checked
def even_odd_swap_proposal_fn(swap_frequency: PositiveNumeric) -> SwapProposal:
    """Proposes every 1 / `swap_frequency` transitions (rounded) to swap neighbours, alternating between (0, 1), (2, 3),
    ... and (1, 2), (3, 4), .... So positions travel along the temperatures rather than diffuse (Syed, Bouchard-Côté,
    Deligiannidis and Doucet, 2022).

    **Returns:** see `default_swap_proposal_fn`.
    """
    return _EvenOddSwaps(promote(swap_frequency))


class ReplicaExchangeMC(TransitionKernel[ReplicaExchangeState, ReplicaExchangeInfo]):
    r"""Steps a replica at each temperature, then swaps the positions of some.

    Replica k leaves $p_k(x) \propto u(x)\, t(x)^{\beta_k}$ invariant, with $u = 1$ unless given. A swap of j and k is
    accepted with probability

    $$\min\left(1, \left(\frac{t(x_k)}{t(x_j)}\right)^{\beta_j - \beta_k}\right).$$

    The state's `position` is the first replica's, so $\beta_0$ is usually 1.

    **Arguments:**

    - `target_log_prob_fn`: the log density to temper, $\log t$; or `None`, where the last two arguments are given.
    - `inverse_temperatures`: the $\beta_k$, of shape `(replicas,)`.
    - `make_kernel_fn`: called with a replica's log density, returns its kernel. The density has a field
      `inverse_temperature`, by which the kernel can be tuned, as in `lambda f: HamiltonianMonteCarlo(f, 0.1 /
      jnp.sqrt(f.inverse_temperature), 8)`.
    - `swap_proposal_fn`: `default_swap_proposal_fn(prob)`, `even_odd_swap_proposal_fn(frequency)`, or a function of
      their arguments that returns, with a probability that does not depend on the positions, a permutation that is its
      own inverse.
    - `untempered_log_prob_fn`, `tempered_log_prob_fn`: $\log u$, such as a prior, and $\log t$, then a likelihood.

    **Raises:** `ValueError` where `inverse_temperatures` is not a vector; `TypeError` unless either
    `target_log_prob_fn` or the two others are given, and where `make_kernel_fn` does not return a kernel.
    """

    tempered_log_prob_fn: LogDensity
    inverse_temperatures: Float[Array, " replicas"]
    make_kernel_fn: Callable[[TemperedTarget], TransitionKernel]
    swap_proposal_fn: SwapProposal
    untempered_log_prob_fn: LogDensity | None

    def __init__(
        self,
        target_log_prob_fn: LogDensity | None,
        inverse_temperatures: NonnegativeNumeric,
        make_kernel_fn: Callable[[TemperedTarget], TransitionKernel],
        swap_proposal_fn: SwapProposal | None = None,
        untempered_log_prob_fn: LogDensity | None = None,
        tempered_log_prob_fn: LogDensity | None = None,
    ):
        who = "ReplicaExchangeMC"
        given = [f is not None for f in (target_log_prob_fn, untempered_log_prob_fn, tempered_log_prob_fn)]
        if given not in ([True, False, False], [False, True, True]):
            raise TypeError(
                f"{who} takes either target_log_prob_fn or both untempered_log_prob_fn and tempered_log_prob_fn"
            )
        self.inverse_temperatures = promote(inverse_temperatures)
        if self.inverse_temperatures.ndim != 1:
            shape = self.inverse_temperatures.shape
            raise ValueError(f"{who}: inverse_temperatures must be a vector, got shape {shape}")
        tempered = tempered_log_prob_fn if target_log_prob_fn is None else target_log_prob_fn
        self.tempered_log_prob_fn = as_callable(tempered, f"{who}: the tempered log density")
        self.make_kernel_fn = as_callable(make_kernel_fn, f"{who}: make_kernel_fn")
        swaps = default_swap_proposal_fn(1.0) if swap_proposal_fn is None else swap_proposal_fn
        self.swap_proposal_fn = as_callable(swaps, f"{who}: swap_proposal_fn")
        self.untempered_log_prob_fn = None
        if untempered_log_prob_fn is not None:
            self.untempered_log_prob_fn = as_callable(untempered_log_prob_fn, f"{who}: untempered_log_prob_fn")

    def log_density(self) -> LogDensity:
        if self.untempered_log_prob_fn is None:
            return self.tempered_log_prob_fn
        one = jnp.ones_like(self.inverse_temperatures, shape=())
        return TemperedTarget(self.tempered_log_prob_fn, self.untempered_log_prob_fn, one)

    def init(self, position: Position, *, seed: Seed | None = None) -> ReplicaExchangeState:
        position = as_position(position, "ReplicaExchangeMC")
        states = jax.vmap(lambda beta: self._kernel(beta).init(position, seed=seed))(self.inverse_temperatures)
        return ReplicaExchangeState(states, jnp.zeros((), jnp.int32))

    def step(self, state: ReplicaExchangeState, *, seed: Seed) -> tuple[ReplicaExchangeState, ReplicaExchangeInfo]:
        step_key, proposal_key, accept_key = jax.random.split(as_key(seed, "ReplicaExchangeMC.step"), 3)
        num = self.inverse_temperatures.shape[0]
        betas = self.inverse_temperatures
        states, infos = jax.vmap(lambda beta, state, key: self._kernel(beta).step(state, seed=key))(
            betas, state.replica_states, jax.random.split(step_key, num)
        )
        identity = jnp.arange(num)
        swaps = self.swap_proposal_fn(num, batch_shape=(), seed=proposal_key, step_count=state.step_count)
        proposed = swaps != identity
        dtype = jnp.result_type(*jtu.tree_leaves(states.position))

        def swap(states: PyTree) -> tuple[PyTree, Array, Array]:
            values = jax.vmap(lambda x: log_density(self.tempered_log_prob_fn, x, "ReplicaExchangeMC"))(states.position)
            ratio = (betas - betas[swaps]).astype(dtype) * (values[swaps] - values)
            ratio = jnp.where(proposed, jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf), 0)
            # Both of a pair must take the same decision: from the draw of the first one, and from its ratio, since the
            # two ratios may differ by rounding.
            first = jnp.minimum(identity, swaps)
            ratio = ratio[first]
            accepted = proposed & (-jax.random.exponential(accept_key, (num,), dtype)[first] <= ratio)
            source = jnp.where(accepted, swaps, identity)
            position = jtu.tree_map(lambda x: x[source], states.position)
            # The target in a state is that of the old position; what the state has adapted belongs to its temperature.
            new = jax.vmap(lambda beta, state, x: moved(self._kernel(beta), state, x))(betas, states, position)
            return new, ratio, accepted

        def keep(states: PyTree) -> tuple[PyTree, Array, Array]:
            return states, jnp.zeros(num, dtype), jnp.zeros(num, bool)

        states, ratio, accepted = jax.lax.cond(jnp.any(proposed), swap, keep, states)
        upward = swaps[:-1] == identity[1:]
        info = ReplicaExchangeInfo(infos, swaps, ratio, accepted, upward, upward & accepted[:-1])
        return ReplicaExchangeState(states, state.step_count + 1), info

    def _kernel(self, beta: Float[Array, ""]) -> TransitionKernel:
        target = TemperedTarget(self.tempered_log_prob_fn, self.untempered_log_prob_fn, beta)
        kernel = self.make_kernel_fn(target)
        if not isinstance(kernel, TransitionKernel):
            raise TypeError(f"ReplicaExchangeMC: make_kernel_fn must return a TransitionKernel, got {kernel!r}")
        return kernel


def _identity(num_replica: int, batch_shape: tuple[int, ...]) -> Int[Array, "replicas ..."]:
    index = jnp.arange(num_replica)
    return jnp.broadcast_to(index.reshape(-1, *(1,) * len(batch_shape)), (num_replica, *batch_shape))


def _neighbours(num_replica: int, odd: Bool[Array, "..."]) -> Int[Array, "replicas ..."]:
    """Partners in (0, 1), (2, 3), ..., or in (1, 2), (3, 4), ...; a replica at the end without one is its own."""
    index = _identity(num_replica, odd.shape)
    partner = jnp.where((index + odd) % 2 == 0, index + 1, index - 1)
    return jnp.where((partner < 0) | (partner >= num_replica), index, partner)
