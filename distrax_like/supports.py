"""Sets of values: what parameters may be, where a density lives, what a bijector maps from and to.

One vocabulary serves them all. `distrax_like.bijectors.bijector_for(support)` maps the reals onto a continuous one.
Supports of continuous distributions are closed, infinities excluded; where membership is an equality of floating
numbers (a simplex, a unit vector, a symmetric matrix) the tolerance is the square root of the machine epsilon.
"""

import functools
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool

from ._misc import Event, Shape, reduce_last, sum_last, sum_trailing


def _tolerance(x: Event) -> Any:
    return jnp.sqrt(jnp.finfo(x.dtype).eps)


def _least(x: Event) -> Event:
    return reduce_last(jnp.minimum, functools.partial(jnp.min, initial=jnp.inf), jax.lax.stop_gradient(x))


class Support(eqx.Module):
    """A set of values whose elements have `event_ndims` dimensions.

    A subclass writes `contains` and `feasible_like`; `ends` for numbers that are bounded; and the hooks `_event_ndims`
    and `_is_discrete` where they are not 0 and False.
    """

    def _event_ndims(self) -> int:
        return 0

    def _is_discrete(self) -> bool:
        return False

    @property
    def event_ndims(self) -> int:
        """The number of dimensions of an element."""
        return self._event_ndims()

    @property
    def is_discrete(self) -> bool:
        """Whether the set is countable."""
        return self._is_discrete()

    def contains(self, x: Event) -> Bool[Array, "..."]:
        """Whether each event of `x`, of shape `batch + event`, lies in the set; NaN does not. Shape: `batch`."""
        raise NotImplementedError

    def feasible_like(self, x: Event) -> Event:
        """A point well inside the set, with the shape and dtype of `x`. It carries no gradient."""
        raise NotImplementedError

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        """The infimum and the supremum of a set of numbers, by batch where they vary over one."""
        return -jnp.inf, jnp.inf

    def floor(self, x: Event) -> Event:
        """The largest member of a discrete set of integers that is not above `x`; elsewhere `x` itself."""
        return x

    def nearest(self, x: Event) -> Event:
        """The member of a closed set of numbers that is nearest to `x`; for all other sets `x` itself."""
        return x

    def has_measure(self, shape: Shape) -> Bool[np.ndarray, "..."] | None:
        """Which coordinates of an event of this shape the density of a thin set is with respect to; None for all.

        **Raises:** `NotImplementedError` for a set whose density is not with respect to coordinates.
        """
        return None

    def separate(self, x: Event) -> tuple[Event, Bool[Array, "..."], Event]:
        """What a formula may see of `x`, and what is known without it.

        **Returns:** `x` with feasible points in place of what lies outside the set, so that no formula and no
        gradient is evaluated there; whether each event lies inside; and the log density of those that do not: minus
        infinity, or NaN where there is one.
        """
        inside = self.contains(x)
        nan = jnp.any(jnp.isnan(x), axis=tuple(range(-self.event_ndims, 0)))
        outside = jnp.where(nan, jnp.nan, -jnp.inf).astype(x.dtype)
        return jnp.where(inside[(..., *(None,) * self.event_ndims)], x, self.feasible_like(x)), inside, outside


class Real(Support):
    """The finite real numbers."""

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return jnp.isfinite(x)

    def separate(self, x: Event) -> tuple[Event, Bool[Array, "..."], Event]:
        finite = jnp.isfinite(x)
        return jnp.where(finite, x, 0), finite, -jnp.abs(jax.lax.stop_gradient(x))

    def feasible_like(self, x: Event) -> Event:
        return jnp.zeros_like(x)


class ExtendedReal(Support):
    """The real numbers and both infinities: logits, where minus infinity is a probability of zero."""

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return ~jnp.isnan(x)

    def feasible_like(self, x: Event) -> Event:
        return jnp.zeros_like(x)


class CategoryLogits(Support):
    """Vectors of logits of the probabilities of categories, not all of which are minus infinity."""

    def _event_ndims(self) -> int:
        return 1

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return jnp.any(x > -jnp.inf, axis=-1) & ~jnp.any(jnp.isnan(x), axis=-1)

    def feasible_like(self, x: Event) -> Event:
        return jnp.zeros_like(x)


class Positive(Support):
    """x > 0."""

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0, jnp.inf

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x > 0) & (x < jnp.inf)

    def feasible_like(self, x: Event) -> Event:
        return jnp.ones_like(x)


class Nonnegative(Support):
    """x >= 0."""

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0, jnp.inf

    def nearest(self, x: Event) -> Event:
        return jnp.maximum(x, 0)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x >= 0) & (x < jnp.inf)

    def feasible_like(self, x: Event) -> Event:
        return jnp.ones_like(x)


class UnitInterval(Support):
    """[0, 1]."""

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0, 1

    def nearest(self, x: Event) -> Event:
        return jnp.clip(x, 0, 1)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x >= 0) & (x <= 1)

    def feasible_like(self, x: Event) -> Event:
        return jnp.full_like(x, 0.5)


class _Integers(Support):
    def _is_discrete(self) -> bool:
        return True

    def nearest(self, x: Event) -> Event:
        return jnp.clip(jnp.round(x), *self.ends())

    def floor(self, x: Event) -> Event:
        return jnp.floor(x)


class Boolean(_Integers):
    """Zero and one."""

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0, 1

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x == 0) | (x == 1)

    def feasible_like(self, x: Event) -> Event:
        return jnp.zeros_like(x)


class NonnegativeInteger(_Integers):
    """0, 1, 2, …"""

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return 0, jnp.inf

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x >= 0) & (x == jnp.floor(x)) & jnp.isfinite(x)

    def feasible_like(self, x: Event) -> Event:
        return jnp.zeros_like(x)


class GreaterThan(Support):
    """x > low."""

    low: Array

    def __init__(self, low: ArrayLike):
        self.low = jnp.asarray(low)

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.low, jnp.inf

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x > self.low) & (x < jnp.inf)

    def feasible_like(self, x: Event) -> Event:
        return jax.lax.stop_gradient(jnp.broadcast_to(self.low + jnp.maximum(jnp.abs(self.low), 1), x.shape)).astype(
            x.dtype
        )


class AtLeast(GreaterThan):
    """x >= low."""

    def nearest(self, x: Event) -> Event:
        return jnp.maximum(x, self.low)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x >= self.low) & (x < jnp.inf)


class Interval(Support):
    """low <= x <= high; an end may be infinite."""

    low: Array
    high: Array

    def __init__(self, low: ArrayLike, high: ArrayLike):
        self.low, self.high = jnp.asarray(low), jnp.asarray(high)

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.low, self.high

    def nearest(self, x: Event) -> Event:
        return jnp.clip(x, self.low, self.high)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x >= self.low) & (x <= self.high) & jnp.isfinite(x)

    def feasible_like(self, x: Event) -> Event:
        low, high = (
            jnp.broadcast_to(jax.lax.stop_gradient(end), x.shape).astype(x.dtype) for end in (self.low, self.high)
        )
        # Halves first, so that the middle of two large ends does not overflow.
        one_sided = jnp.where(jnp.isfinite(high), high - jnp.maximum(jnp.abs(high), 1), 0)
        one_sided = jnp.where(jnp.isfinite(low), low + jnp.maximum(jnp.abs(low), 1), one_sided)
        return jnp.where(jnp.isfinite(low) & jnp.isfinite(high), low / 2 + high / 2, one_sided)


class OpenInterval(Interval):
    """low < x < high; an end may be infinite."""

    __init__ = Interval.__init__

    def nearest(self, x: Event) -> Event:
        return x

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x > self.low) & (x < self.high)


class IntegerInterval(_Integers):
    """The integers from low to high, both included; an end may be infinite."""

    low: Array
    high: Array

    def __init__(self, low: ArrayLike, high: ArrayLike):
        self.low, self.high = jnp.asarray(low), jnp.asarray(high)

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        return self.low, self.high

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (x >= self.low) & (x <= self.high) & (x == jnp.floor(x)) & jnp.isfinite(x)

    def feasible_like(self, x: Event) -> Event:
        low = jnp.where(jnp.isfinite(self.low), self.low, jnp.where(jnp.isfinite(self.high), self.high, 0))
        return jax.lax.stop_gradient(jnp.broadcast_to(low, x.shape)).astype(x.dtype)


class Independent(Support):
    """Arrays whose last `ndims` dimensions make one event, each element of it in `base`."""

    base: Support
    ndims: int = eqx.field(static=True)

    def _event_ndims(self) -> int:
        return self.base.event_ndims + self.ndims

    def _is_discrete(self) -> bool:
        return self.base.is_discrete

    def nearest(self, x: Event) -> Event:
        return self.base.nearest(x)

    def has_measure(self, shape: Shape) -> Bool[np.ndarray, "..."] | None:
        return self.base.has_measure(shape[len(shape) - self.base.event_ndims :])

    def separate(self, x: Event) -> tuple[Event, Bool[Array, "..."], Event]:
        x, inside, outside = self.base.separate(x)
        if not self.ndims:
            return x, inside, outside
        # One sum of what is known of each element: zero where all lie inside, NaN where there is one.
        known = sum_trailing(jnp.where(inside, 0, outside), self.ndims)
        return x, known == 0, known

    def contains(self, x: Event) -> Bool[Array, "..."]:
        inside = self.base.contains(x)
        return jnp.all(inside, axis=tuple(range(inside.ndim - self.ndims, inside.ndim)))

    def feasible_like(self, x: Event) -> Event:
        return self.base.feasible_like(x)


class RealVector(Independent):
    """Vectors of finite real numbers, which are one event, as `Independent(real, 1)` may be of many data."""

    def __init__(self):
        self.base, self.ndims = Real(), 1

    def separate(self, x: Event) -> tuple[Event, Bool[Array, "..."], Event]:
        x, inside, outside = self.base.separate(x)
        known = sum_last(jnp.where(inside, 0, outside))
        return x, known == 0, known


class Simplex(Support):
    """Vectors of nonnegative numbers that sum to one."""

    def _event_ndims(self) -> int:
        return 1

    def has_measure(self, shape: Shape) -> Bool[np.ndarray, "..."]:
        return np.arange(shape[-1]) < shape[-1] - 1

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return (_least(x) >= 0) & (jnp.abs(sum_last(x) - 1) <= _tolerance(x))

    def separate(self, x: Event) -> tuple[Event, Bool[Array, "..."], Event]:
        inside = self.contains(x)
        outside = jnp.where(jnp.isnan(_least(x)), jnp.nan, -jnp.inf).astype(x.dtype)
        return jnp.where(inside[..., None], x, self.feasible_like(x)), inside, outside

    def feasible_like(self, x: Event) -> Event:
        return jnp.full_like(x, 1 / x.shape[-1])


class Ordered(Support):
    """Vectors whose entries increase."""

    def _event_ndims(self) -> int:
        return 1

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return jnp.all(x[..., 1:] >= x[..., :-1], axis=-1) & jnp.all(jnp.isfinite(x), axis=-1)

    def feasible_like(self, x: Event) -> Event:
        return jnp.broadcast_to(jnp.arange(x.shape[-1], dtype=x.dtype), x.shape)


class PositiveOrdered(Support):
    """Vectors of nonnegative entries that increase."""

    def _event_ndims(self) -> int:
        return 1

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return ordered.contains(x) & jnp.all(x >= 0, axis=-1)

    def feasible_like(self, x: Event) -> Event:
        return ordered.feasible_like(x) + 1


class UnitVector(Support):
    """Vectors of Euclidean length one."""

    def _event_ndims(self) -> int:
        return 1

    def has_measure(self, shape: Shape) -> NoReturn:
        raise NotImplementedError("the surface of a sphere has no density in terms of coordinates")

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return jnp.abs(jnp.sum(x * x, axis=-1) - 1) <= _tolerance(x)

    def feasible_like(self, x: Event) -> Event:
        return jnp.full_like(x, x.shape[-1] ** -0.5)


def _eye_like(x: Event) -> Event:
    return jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)


class LowerCholesky(Support):
    """Lower triangular matrices with a positive diagonal."""

    def _event_ndims(self) -> int:
        return 2

    def has_measure(self, shape: Shape) -> Bool[np.ndarray, "..."]:
        return np.tri(shape[-1], dtype=bool)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        lower = jnp.all(jnp.triu(x, 1) == 0, axis=(-2, -1))
        positive_diagonal = jnp.all(jnp.diagonal(x, axis1=-2, axis2=-1) > 0, axis=-1)
        return lower & positive_diagonal & jnp.all(jnp.isfinite(x), axis=(-2, -1))

    def feasible_like(self, x: Event) -> Event:
        return _eye_like(x)


class CorrelationCholesky(Support):
    """Lower triangular matrices with a positive diagonal and rows of length one: factors of correlation matrices."""

    def _event_ndims(self) -> int:
        return 2

    def has_measure(self, shape: Shape) -> Bool[np.ndarray, "..."]:
        return np.tri(shape[-1], k=-1, dtype=bool)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        return lower_cholesky.contains(x) & jnp.all(unit_vector.contains(x), axis=-1)

    def feasible_like(self, x: Event) -> Event:
        return _eye_like(x)


class PositiveDefinite(Support):
    """Symmetric positive definite matrices. Membership checks symmetry and the diagonal; it does not factorise."""

    def _event_ndims(self) -> int:
        return 2

    def has_measure(self, shape: Shape) -> Bool[np.ndarray, "..."]:
        return np.tri(shape[-1], dtype=bool)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        size = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True)
        symmetric = jnp.all(jnp.abs(x - jnp.swapaxes(x, -2, -1)) <= _tolerance(x) * size, axis=(-2, -1))
        return symmetric & jnp.all(jnp.diagonal(x, axis1=-2, axis2=-1) > 0, axis=-1)

    def feasible_like(self, x: Event) -> Event:
        return _eye_like(x)


real = Real()
real_vector = RealVector()
extended_real = ExtendedReal()
category_logits = CategoryLogits()
positive = Positive()
nonnegative = Nonnegative()
greater_than = GreaterThan
at_least = AtLeast
interval = Interval
open_interval = OpenInterval
independent = Independent
integer_interval = IntegerInterval
simplex = Simplex()
ordered = Ordered()
positive_ordered = PositiveOrdered()
unit_vector = UnitVector()
positive_definite = PositiveDefinite()
lower_cholesky = LowerCholesky()
correlation_cholesky = CorrelationCholesky()
unit_interval = UnitInterval()
boolean = Boolean()
nonnegative_integer = NonnegativeInteger()
