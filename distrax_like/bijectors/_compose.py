"""Bijectors made of bijectors: composition and inversion."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from distrax_like._misc import Real, Shape
from distrax_like._module import copy_with, submodule

from ._bijector import Bijector


class Chain(Bijector):
    """The composition of bijectors, the last of which is applied first: `Chain([Exp(), Softplus()])` is
    y = exp(softplus(x)). Without bijectors it is the identity.

    **Arguments:** `bijectors`: a sequence of bijectors.
    """

    bijectors: tuple[Bijector, ...]

    def __init__(self, bijectors: Sequence[Bijector] = ()):
        self.bijectors = tuple(bijectors)
        self._batch_shape()  # raises where the parameters of two do not broadcast

    def _ranks(self) -> list[int]:
        """The number of dimensions of the smallest event the chain acts on: at its input, then after each map."""
        # A map that needs more event dimensions than it is given raises the rank of all maps before it.
        need, rank = 0, 0
        for b in reversed(self.bijectors):
            need = max(need, b.forward_min_event_ndims - rank)
            rank += b.inverse_min_event_ndims - b.forward_min_event_ndims
        ranks = [need]
        for b in reversed(self.bijectors):
            ranks.append(ranks[-1] + b.inverse_min_event_ndims - b.forward_min_event_ndims)
        return ranks

    def _min_event_ndims(self) -> tuple[int, int]:
        ranks = self._ranks()
        return ranks[0], ranks[-1]

    def _is_constant_jacobian(self) -> bool:
        return all(b.is_constant_jacobian for b in self.bijectors)

    def _is_increasing(self) -> Bool[Array, "..."] | bool | None:
        result: Any = True
        for b in self.bijectors:
            if (increasing := b.is_increasing) is None:
                return None
            result = result == increasing  # equal booleans: two decreasing maps make an increasing one
        return result

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        total = jnp.zeros(x.shape[: x.ndim - self.forward_min_event_ndims], x.dtype)
        for b, rank in zip(reversed(self.bijectors), self._ranks()):
            before, (x, log_det) = x, b._forward_and_log_det(x)
            total = total + b._reduce(log_det, before, b.forward_min_event_ndims, rank, "forward")
        return x, total

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        total = jnp.zeros(y.shape[: y.ndim - self.inverse_min_event_ndims], y.dtype)
        for b, rank in zip(self.bijectors, reversed(self._ranks())):
            before, (y, log_det) = y, b._inverse_and_log_det(y)
            total = total + b._reduce(log_det, before, b.inverse_min_event_ndims, rank, "inverse")
        return y, total

    def _forward_event_shape(self, shape: Shape) -> Shape:
        for b in reversed(self.bijectors):
            shape = b.forward_event_shape(shape)
        return shape

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        for b in self.bijectors:
            shape = b.inverse_event_shape(shape)
        return shape

    def _map_batch(self, fn: Callable[[Array, int], Array], extra: int = 0) -> "Chain":
        mapped = [
            b._map_batch(fn, extra + rank - b.forward_min_event_ndims)
            for b, rank in zip(reversed(self.bijectors), self._ranks())
        ]
        return copy_with(self, bijectors=tuple(reversed(mapped)))


class Invert(Bijector):
    """The inverse of a bijector, as a bijector."""

    bijector: Bijector = submodule()

    def __init__(self, bijector: Bijector):
        self.bijector = bijector

    def _min_event_ndims(self) -> tuple[int, int]:
        return self.bijector.inverse_min_event_ndims, self.bijector.forward_min_event_ndims

    def _is_constant_jacobian(self) -> bool:
        return self.bijector.is_constant_jacobian

    def _is_increasing(self) -> Bool[Array, "..."] | bool | None:
        return self.bijector.is_increasing

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return self.bijector._inverse_and_log_det(x)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return self.bijector._forward_and_log_det(y)

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return self.bijector.inverse_event_shape(shape)

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return self.bijector.forward_event_shape(shape)
