"""The protocol of transition kernels: what a sampler has to provide to run under `sample` and `sample_chain`."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from jaxtyping import Array, ArrayLike, Bool, PyTree

from distrax_like._arguments import CheckedModule, checked
from distrax_like._misc import Real, Seed

#: A log density up to a constant: of the parts of a position if that is a tuple, a list or a namedtuple, else of the
#: position. Of one chain it is a scalar.
LogDensity: TypeAlias = Callable[..., ArrayLike]

#: Where a chain is: any pytree of real numbers.
Position: TypeAlias = PyTree


@runtime_checkable
class KernelState(Protocol):
    """What the state of every kernel has: `position`, which the drivers keep as the draw.

    A state may also have `target_log_prob` and `grads_target_log_prob`, the target and its gradient at the position:
    then the drivers check that both are finite at the start.
    """

    @property
    def position(self) -> Position: ...


@runtime_checkable
class KernelInfo(Protocol):
    """What the info of a kernel has whose `step_size` is adapted: `log_accept_ratio`, the logarithm of the
    Metropolis-Hastings ratio of the transition, a scalar.

    `sample` also collects `target_log_prob`, `step_size`, `is_accepted`, `leapfrogs_taken`, `reach_max_depth`,
    `has_divergence` and `energy` into its statistics where the info has them.
    """

    @property
    def log_accept_ratio(self) -> Real: ...


State = TypeVar("State", bound=KernelState)
Info = TypeVar("Info", covariant=True)


class TransitionKernel(CheckedModule, Generic[State, Info]):
    """A Markov transition that leaves a target density invariant, for one chain.

    Both methods are pure and can be driven by hand inside `eqx.filter_jit`, `jax.lax.scan` and `jax.vmap`:

    ```python
    state = kernel.init(position)
    state, info = kernel.step(state, seed=key)
    ```

    A subclass stores its target in the field `target_log_prob_fn`, or overrides `log_density`. What may be tuned is in
    array fields, to be replaced with `eqx.tree_at`; the warm-up of `sample` adapts a field `step_size`. State and info
    are pytrees: see `KernelState` and `KernelInfo` for what they have to hold.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in ("init", "step"):
            if name in cls.__dict__:
                setattr(cls, name, checked(cls.__dict__[name]))

    #: Whether `step_size`, where there is one, can be adapted by the rate at which steps are accepted.
    step_size_is_adaptable: ClassVar[bool] = True

    @property
    def is_interleaved(self) -> bool:
        """Whether this is an `InterleavedKernel`, and so is the kernel that it wraps."""
        return False

    def log_density(self) -> LogDensity:
        """The target, as a function of a position: the field `target_log_prob_fn`, unless overridden."""
        target: LogDensity | None = getattr(self, "target_log_prob_fn", None)
        if target is None:
            raise TypeError(f"{type(self).__name__} needs a field target_log_prob_fn, or a method log_density")
        return target

    @abc.abstractmethod
    def init(self, position: Position, *, seed: Seed | None = None) -> State:
        """The state of a chain at `position`.

        **Arguments:** `position`: any pytree of real numbers; a tuple, list or namedtuple is splatted into the target,
        anything else is passed whole. `seed`: a key, for kernels that need one here.

        **Raises:** `ValueError` where the target at `position` is not a scalar.
        """

    @abc.abstractmethod
    def step(self, state: State, *, seed: Seed) -> tuple[State, Info]:
        """One transition.

        **Arguments:** `state`: from `init` or the last `step`; `seed`: a key.

        **Returns:** the next state, and information about the transition.
        """


class InterleavedKernel(TransitionKernel[State, Info]):
    """A kernel whose transition can be cut into ticks of one gradient each.

    Chains that step together then need not wait for the longest transition: in every tick each chain takes one step of
    its own transition. A transition is `begin`; then `tick`, followed by `check` where the work `needs_check`, until it
    `is_done`; then `finish`. With the same seed the result is that of `step`. All methods are for one chain; the driver
    maps them, and skips `check` and `finish` in ticks in which no chain needs them.
    """

    @property
    def is_interleaved(self) -> bool:
        return True

    @abc.abstractmethod
    def checkpoints(self, state: State) -> PyTree:
        """Buffers that only `tick` writes; their first values do not matter.

        They are kept out of the work so that they are updated in place.
        """

    @abc.abstractmethod
    def begin(self, state: State, *, seed: Seed) -> PyTree:
        """The work of a transition before its first tick."""

    @abc.abstractmethod
    def tick(self, state: State, work: PyTree, checkpoints: PyTree) -> tuple[PyTree, PyTree]:
        """Evaluates one gradient, and returns the new work and checkpoints."""

    @abc.abstractmethod
    def needs_check(self, work: PyTree) -> Bool[Array, ""]:
        """Whether `check` must come before the next tick."""

    @abc.abstractmethod
    def check(self, state: State, work: PyTree, checkpoints: PyTree) -> PyTree:
        """The work after the part of a transition that most ticks do not need."""

    @abc.abstractmethod
    def is_done(self, work: PyTree) -> Bool[Array, ""]:
        """Whether the transition is complete, asked after `check`."""

    @abc.abstractmethod
    def finish(self, state: State, work: PyTree) -> tuple[State, Info]:
        """What `step` returns."""


def check_state(kernel: TransitionKernel, state: object) -> None:
    """**Raises:** `TypeError` where the state of a kernel is not a `KernelState`, naming what is missing."""
    require_field(kernel, "state", "init", state, "position", "which the drivers keep as the draw")


def check_info(kernel: TransitionKernel, info: object) -> None:
    """**Raises:** `TypeError` where the info of a kernel is not a `KernelInfo`, naming what is missing."""
    purpose = "the logarithm of the Metropolis-Hastings ratio, by which its step_size is adapted"
    require_field(kernel, "info", "step", info, "log_accept_ratio", purpose)


def require_field(kernel: TransitionKernel, what: str, method: str, value: object, name: str, purpose: str) -> None:
    """**Raises:** `TypeError` where what a method of a kernel has returned lacks a field."""
    if not hasattr(value, name):
        raise TypeError(
            f"{type(kernel).__name__}: the {what} that `{method}` returns ({type(value).__name__}) needs a field "
            f"`{name}`, {purpose}"
        )
