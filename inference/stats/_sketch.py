"""Running quantiles in memory that does not grow."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distrax_like._misc import Numeric, as_shape, promote

from ._running import _chunk, _float_dtype


class RunningQuantiles(eqx.Module):
    r"""Quantiles of each entry of the observations so far, from a sorted sample that is thinned as it grows.

    Observations fill a block of `block_size`. Two full blocks of one level are sorted together and every other number
    of them makes a block of the next level, which stands for twice as many, as digits carry in a binary number. A
    thinning at level l moves no rank by more than 2^l, so the rank of a quantile is wrong by at most a share of

    $$\frac{1}{N} \sum_{l} 2^l \lfloor N / (2^{l+1} k) \rfloor \le \frac{\log_2(N / k)}{2 k}$$

    of N observations for blocks of k, for any data in any order, also after `merge`; 1.8 % for a million numbers with
    k = 256. Odd and even numbers are dropped in turn, so that errors cancel: in practice the error is a quarter of the
    bound. Up to one block the quantiles are exact. Minimum and maximum are kept.

    After more than `block_size * 2**num_levels` observations, or a NaN, the quantiles are NaN. The memory is
    `block_size * (num_levels + 1)` numbers for each entry. In a loop, updates with chunks are faster than single ones.

    G. Manku, S. Rajagopalan and B. Lindsay, Approximate medians and other quantiles in one pass and with limited
    memory, SIGMOD (1998), with the merging of J. I. Munro and M. S. Paterson, Selection and sorting with limited
    storage (1980).
    """

    num_samples: Int[Array, ""]
    lowest: Float[Array, "..."]
    highest: Float[Array, "..."]
    _block: Float[Array, "k ..."]  # not full; the rest of it is infinite
    _levels: Float[Array, "levels k ..."]  # those for which the number of full blocks has a binary 1, sorted

    @classmethod
    def from_shape(
        cls, shape: Sequence[int] | int = (), dtype: Any = None, block_size: int = 256, max_samples: int = 10_000_000
    ) -> "RunningQuantiles":
        """An empty one for observations of a shape and dtype.

        **Arguments:** `block_size`: more of it is more exact; `max_samples`: how many observations it must hold.
        """
        if block_size < 1 or not 1 <= max_samples < 2**30:
            raise ValueError(
                "RunningQuantiles needs block_size from 1 and max_samples from 1 to 2**30 - 1, "
                f"got {block_size} and {max_samples}"
            )
        levels = (max_samples // block_size).bit_length()
        infinite = jnp.full((block_size, *as_shape(shape)), jnp.inf, _float_dtype(dtype))
        return cls(
            jnp.zeros((), jnp.int32), infinite[0], -infinite[0], infinite,
            jnp.broadcast_to(infinite, (levels, *infinite.shape)),
        )  # fmt: skip

    @classmethod
    def from_example(cls, example: Numeric, block_size: int = 256, max_samples: int = 10_000_000) -> "RunningQuantiles":
        """An empty one for observations like `example`, which is not counted."""
        example = jnp.asarray(example)
        return cls.from_shape(example.shape, example.dtype, block_size, max_samples)

    @property
    def block_size(self) -> int:
        """How many numbers a block holds."""
        return self._block.shape[0]

    @property
    def num_levels(self) -> int:
        """How many full blocks there may be."""
        return self._levels.shape[0]

    def update(self, x: Numeric, axis: int | None = None) -> "RunningQuantiles":
        """The statistic with one more observation, or with those along an axis of `x`."""
        x = _chunk(x, axis, self.lowest.shape, self.lowest.dtype, "RunningQuantiles")
        return _push_all(self, x)

    def _push(self, piece: Float[Array, "p ..."]) -> "RunningQuantiles":
        """The statistic with at most a block of observations more."""
        k, p = self.block_size, piece.shape[0]
        filled, full = self.num_samples % k, self.num_samples // k
        # A single number always fits in.
        room = self._block if p == 1 else jnp.concatenate([self._block, jnp.full_like(piece, jnp.inf)])
        room = jax.lax.dynamic_update_slice_in_dim(room, piece, filled, 0)

        def carry(room: Array, levels: Array) -> tuple[Array, Array]:
            rest = jnp.concatenate([room[k:], jnp.full_like(room[: 2 * k - room.shape[0]], jnp.inf)])
            return rest, _carry(jnp.sort(room[:k], 0), levels, full)

        def keep(room: Array, levels: Array) -> tuple[Array, Array]:
            return room[:k], levels

        block, levels = jax.lax.cond(filled + p >= k, carry, keep, room, self._levels)
        lowest, highest = jnp.minimum(self.lowest, jnp.min(piece, 0)), jnp.maximum(self.highest, jnp.max(piece, 0))
        return RunningQuantiles(self.num_samples + p, lowest, highest, block, levels)

    def merge(self, other: "RunningQuantiles") -> "RunningQuantiles":
        """The statistic of both sets of observations together, with the error bound of one that has seen all.

        **Raises:** `ValueError` where blocks and levels differ.
        """
        if self._levels.shape != other._levels.shape:
            raise ValueError(
                f"RunningQuantiles of one layout merge, got levels of {self._levels.shape} and {other._levels.shape}"
            )
        return _merge(self, other)

    def _add(self, other: "RunningQuantiles") -> "RunningQuantiles":
        k = self.block_size
        # Numbers that do not fill a block are followed by infinite ones.
        loose = jnp.sort(jnp.concatenate([self._block, other._block]), 0)
        overflow = self.num_samples % k + other.num_samples % k >= k
        mine, its = self.num_samples // k, other.num_samples // k

        def add(bit: Array, carried: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            levels, carry, has_carry = carried
            a, b = levels[bit], other._levels[bit]
            has_a, has_b = (mine >> bit) & 1 == 1, (its >> bit) & 1 == 1
            both = has_a & has_b
            thinned = _thin(jnp.where(has_a, a, b), jnp.where(both, b, carry), (mine + its) >> (bit + 1))
            stays = jnp.where(both, carry, jnp.where(has_a, a, jnp.where(has_b, b, carry)))
            number = has_a.astype(jnp.int32) + has_b + has_carry
            return levels.at[bit].set(stays), thinned, number >= 2

        first = jnp.where(overflow, loose[:k], jnp.inf)
        levels, _, _ = jax.lax.fori_loop(0, self.num_levels, add, (self._levels, first, overflow))
        return RunningQuantiles(
            self.num_samples + other.num_samples, jnp.minimum(self.lowest, other.lowest),
            jnp.maximum(self.highest, other.highest), jnp.where(overflow, loose[k:], loose[:k]), levels,
        )  # fmt: skip

    def rank_error(self) -> Float[Array, ""]:
        """The bound on the error of a rank, as a share of the observations; see above."""
        full, dtype = self.num_samples // self.block_size, self.lowest.dtype
        level = jnp.arange(self.num_levels)
        moved = jnp.sum((full >> (level + 1)).astype(dtype) * (2.0**level).astype(dtype))
        return moved / jnp.maximum(self.num_samples, 1).astype(dtype)

    def _sorted(self) -> tuple[Array, Array]:
        """The numbers kept, sorted, and how many observations each stands for: none of those that are absent."""
        k, shape = self.block_size, self.lowest.shape
        full = self.num_samples // k
        level = jnp.arange(self.num_levels)
        weights = jnp.concatenate(
            [
                jnp.repeat(((full >> level) & 1) << level, k),
                (jnp.arange(k) < self.num_samples % k).astype(level.dtype),
            ]
        ).astype(jnp.int32)
        values = jnp.concatenate([jnp.reshape(self._levels, (-1, *shape)), self._block])
        weights = jnp.broadcast_to(jnp.reshape(weights, (-1, *[1] * len(shape))), values.shape)
        values = jnp.where(weights == 0, jnp.inf, values)
        values, _, weights = jax.lax.sort((values, (weights == 0).astype(jnp.int32), weights), dimension=0, num_keys=2)
        return values, weights

    def _known(self) -> Array:
        good = (self.num_samples > 0) & (self.num_samples >> self.num_levels < self.block_size)
        return good & ~jnp.isnan(self.lowest) & ~jnp.isnan(self.highest)

    def quantiles(self, q: Numeric) -> Float[Array, "..."]:
        """The quantiles of probabilities `q`, of shape `q.shape` and the shape of an observation.

        They are linear between the middle ranks of the numbers kept, and equal `jnp.quantile` where all are kept.
        """
        return _quantiles(self, promote(q).astype(self.lowest.dtype))

    def _at(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        values, weights = self._sorted()
        last = (self.num_samples - 1).astype(values.dtype)
        upto = jnp.cumsum(weights, 0)
        # The observations that a number stands for have ranks from upto - weight to upto - 1.
        middle = upto.astype(values.dtype) - (weights + 1).astype(values.dtype) / 2
        middle, values = jnp.where(weights == 0, last, middle), jnp.where(weights == 0, self.highest, values)
        ranks = jnp.concatenate([jnp.zeros_like(middle[:1]), middle, jnp.full_like(middle[:1], last)])
        values = jnp.concatenate([self.lowest[None], values, self.highest[None]])
        flat = math.prod(self.lowest.shape)
        ranks, values = (jnp.reshape(v, (-1, flat)) for v in (ranks, values))
        out = jax.vmap(lambda r, v: _interpolate(jnp.ravel(q) * last, r, v), 1, 1)(ranks, values)
        out = jnp.reshape(out, q.shape + self.lowest.shape)
        column = jnp.reshape(q, q.shape + (1,) * self.lowest.ndim)
        # The smallest and largest numbers may have been dropped, and others have the first and last rank.
        out = jnp.where(column <= 0, self.lowest, jnp.where(column >= 1, self.highest, out))
        return jnp.where(self._known(), out, jnp.nan)

    def cdf(self, x: Numeric) -> Float[Array, "..."]:
        """The share of observations at most `x`, which broadcasts with an observation."""
        return _cdf(self, jnp.asarray(x))

    def _share(self, x: Array) -> Float[Array, "..."]:
        values, weights = self._sorted()
        below = jnp.sum(jnp.where(values <= x, weights, 0), 0)
        share = below.astype(values.dtype) / jnp.maximum(self.num_samples, 1).astype(values.dtype)
        return jnp.where(self._known(), share, jnp.nan)


@jax.jit
def _push_all(sketch: RunningQuantiles, x: Float[Array, "n ..."]) -> RunningQuantiles:
    k = sketch.block_size
    whole = x.shape[0] - x.shape[0] % k
    if whole:
        pieces = jnp.reshape(x[:whole], (-1, k, *x.shape[1:]))
        sketch, _ = jax.lax.scan(lambda s, piece: (s._push(piece), None), sketch, pieces)
    return sketch._push(x[whole:]) if whole < x.shape[0] else sketch


# Compiled as a whole, since otherwise the loops would be compiled again in each call.
_merge = jax.jit(RunningQuantiles._add)
_quantiles = jax.jit(RunningQuantiles._at)
_cdf = jax.jit(RunningQuantiles._share)


def _thin(a: Array, b: Array, before: Array) -> Array:
    """Every other number of two blocks, in turn the odd or the even ones by the number of thinnings `before`."""
    both = jnp.sort(jnp.concatenate([a, b]), 0)
    return jnp.where(before % 2 == 0, both[0::2], both[1::2])


def _carry(block: Array, levels: Array, full: Array) -> Array:
    """The levels with one sorted block more than `full`: a binary increment."""

    def occupied(state: tuple[Array, Array]) -> Array:
        level, _ = state
        return (full >> level) & 1 == 1

    def up(state: tuple[Array, Array]) -> tuple[Array, Array]:
        level, block = state
        return level + 1, _thin(levels[level], block, full >> (level + 1))

    level, block = jax.lax.while_loop(occupied, up, (jnp.zeros((), jnp.int32), block))
    return levels.at[level].set(block, mode="drop")


def _interpolate(rank: Array, ranks: Array, values: Array) -> Array:
    high = jnp.clip(jnp.searchsorted(ranks, rank, side="left"), 1, ranks.shape[0] - 1)
    low = high - 1
    gap = ranks[high] - ranks[low]
    share = jnp.where(gap > 0, (rank - ranks[low]) / jnp.where(gap > 0, gap, 1), 1)
    # Equal neighbours may be infinite.
    same = values[low] == values[high]
    return jnp.where(same, values[low], values[low] + share * (values[high] - values[low]))
