"""Gibbs sampling: kernels that update the parts of a state in turn."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, Bool, PyTree

from distrax_like._misc import Checked, Seed, as_callable, as_key, check_callable, describe, tree_where
from distrax_like.inference._target import as_position, evaluate

from ._density import all_finite, like, moved
from ._kernel import LogDensity, Position, TransitionKernel

#: The names of the parts in a block.
Names: TypeAlias = tuple[str, ...]


class ConditionalSampler(eqx.Module):
    """A block of `GibbsKernel` that is drawn from its distribution given all others.

    **Arguments:** `sample_fn`: called with the whole state (a dictionary or a namedtuple) and a seed, returns the
    block: a part, or for a block of several names a dictionary of them. A draw that is not finite is not taken.
    """

    sample_fn: Callable[[Position, Seed], PyTree]

    def __init__(self, sample_fn: Callable[[Position, Seed], PyTree]):
        self.sample_fn = as_callable(sample_fn, "ConditionalSampler: sample_fn")


Update: TypeAlias = ConditionalSampler | Callable[[LogDensity], TransitionKernel]


def _check_blocks(blocks: object, who: str) -> None:
    if not isinstance(blocks, Mapping):
        raise TypeError(f"{who} must be a dictionary, got {describe(blocks)}")
    for key, update in blocks.items():
        if not isinstance(update, ConditionalSampler):
            check_callable(update, f"GibbsKernel: block {key!r}")


Blocks: TypeAlias = Annotated[Mapping[Any, Update], Checked(_check_blocks)]


class ConditionalTarget(eqx.Module):
    """The target as a function of one block, the others fixed at `position`."""

    target_log_prob_fn: LogDensity
    position: Position
    names: Names = eqx.field(static=True)

    def __call__(self, *args: PyTree) -> ArrayLike:
        like = get_block(self.position, self.names)
        if isinstance(like, tuple) and hasattr(like, "_fields"):
            block: PyTree = type(like)(*args)
        else:
            block = type(like)(args) if isinstance(like, tuple | list) else args[0]
        return evaluate(self.target_log_prob_fn, set_block(self.position, self.names, block))


class GibbsState(eqx.Module):
    """A chain's position, and the states of the blocks' kernels, `None` for a `ConditionalSampler`.

    A block's state is the one after its last update, or from `init`. What it holds of the target belongs to the whole
    position at that time, and is computed again before the next update.
    """

    position: Position
    block_states: tuple[PyTree, ...]


class GibbsInfo(eqx.Module):
    """What one sweep did: `blocks` has the info of each block's kernel by the name of the block; several names are
    joined by commas. For a `ConditionalSampler` it is a `ConditionalInfo`."""

    blocks: dict[str, PyTree]


class ConditionalInfo(eqx.Module):
    """`is_accepted`: whether the draw was finite."""

    is_accepted: Bool[Array, "..."]


class GibbsKernel(TransitionKernel[GibbsState, GibbsInfo]):
    """Updates each block of the state in turn, the others fixed.

    Each update leaves the block's distribution given the others invariant, so the sweep leaves the target invariant.

    ```python
    GibbsKernel(
        log_joint,
        {
            "mean": ConditionalSampler(draw_mean),
            ("scale", "slope"): lambda target: HamiltonianMonteCarlo(target, 0.1, 8),
        },
    )
    ```

    **Arguments:**

    - `target_log_prob_fn`: the log density up to a constant, of a state that is a dictionary or a namedtuple.
    - `blocks`: what updates the blocks, in this order. A key is the name of a part, or a tuple of names; a
      value is a `ConditionalSampler`, or a function that is called with the target given the other blocks and returns
      a kernel. That target takes the part, or for several names a dictionary of them, and its field `position` holds
      the whole state.

    **Raises:** `TypeError` where the state is neither a dictionary nor a namedtuple, or a value of `blocks` is
    neither of the two; `ValueError` where a block has a part that the state has not, or a part is in no block.
    """

    target_log_prob_fn: LogDensity
    names: tuple[Names, ...] = eqx.field(static=True)
    updates: tuple[Update, ...]

    def __init__(self, target_log_prob_fn: LogDensity, blocks: Blocks):
        self.target_log_prob_fn = as_callable(target_log_prob_fn, "GibbsKernel: target_log_prob_fn")
        self.names = tuple((key,) if isinstance(key, str) else tuple(key) for key in blocks)
        self.updates = tuple(
            update if isinstance(update, ConditionalSampler) else as_callable(update, f"GibbsKernel: block {key!r}")
            for key, update in blocks.items()
        )

    def init(self, position: Position, *, seed: Seed | None = None) -> GibbsState:
        position = as_position(position, "GibbsKernel")
        if not (isinstance(position, dict) or hasattr(position, "_fields")):
            raise TypeError(
                f"GibbsKernel: the state must be a dictionary or a namedtuple, got {type(position).__name__}"
            )
        have = set(position if isinstance(position, dict) else position._fields)
        named = {name for names in self.names for name in names}
        if have != named:
            raise ValueError(
                f"GibbsKernel: the state has the parts {sorted(have)}, the blocks are of {sorted(named)}; each part "
                "must be in a block"
            )
        states = tuple(
            None
            if isinstance(update, ConditionalSampler)
            else self._kernel(names, update, position).init(get_block(position, names), seed=seed)
            for names, update in zip(self.names, self.updates)
        )
        return GibbsState(position, states)

    def step(self, state: GibbsState, *, seed: Seed) -> tuple[GibbsState, GibbsInfo]:
        seed = as_key(seed, "GibbsKernel.step")
        position, states, infos = state.position, list(state.block_states), {}
        for i, (names, update) in enumerate(zip(self.names, self.updates)):
            key = jax.random.fold_in(seed, i)
            old = get_block(position, names)
            if isinstance(update, ConditionalSampler):
                must = f"GibbsKernel: the sampler of block {','.join(names)} must return shapes {{}}"
                new = like(update.sample_fn(position, key), old, must)
                good = all_finite(new)
                new, info = tree_where(good, new, old), ConditionalInfo(good)
            else:
                kernel = self._kernel(names, update, position)
                states[i], info = kernel.step(moved(kernel, states[i], old), seed=key)
                new = states[i].position
            position = set_block(position, names, new)
            infos[",".join(names)] = info
        return GibbsState(position, tuple(states)), GibbsInfo(infos)

    def _kernel(
        self, names: Names, make: Callable[[LogDensity], TransitionKernel], position: Position
    ) -> TransitionKernel:
        kernel = make(ConditionalTarget(self.target_log_prob_fn, position, names))
        if not isinstance(kernel, TransitionKernel):
            raise TypeError(
                f"GibbsKernel: block {','.join(names)} must be a ConditionalSampler or a function that returns "
                f"a TransitionKernel, got {kernel!r}"
            )
        return kernel


def get_block(position: Position, names: Names) -> PyTree:
    """The part of that name, or a dictionary of several."""
    parts = position if isinstance(position, dict) else position._asdict()
    return parts[names[0]] if len(names) == 1 else {name: parts[name] for name in names}


def set_block(position: Position, names: Names, block: PyTree) -> Position:
    """`position` with the block in its place."""
    new = {names[0]: block} if len(names) == 1 else block
    return {**position, **new} if isinstance(position, dict) else position._replace(**new)
