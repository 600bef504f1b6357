"""The base class of kernels, and their algebra."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._arguments import NonnegativeInt, PositiveInt, checked
from distrax_like._eager import compiled
from distrax_like._misc import Numeric, Real, Shape, check_numbers, exactly_one, promote
from distrax_like._module import Module, copy_with, parameter, submodule
from distrax_like.supports import nonnegative, positive

_BATCHED: Any = object()

#: What can be added to a kernel or multiplied with it.
Operand: TypeAlias = "Kernel | float | Array"


class Kernel(Module):
    """A positive semidefinite function of two points: the covariance of a process at these points.

    A subclass writes `_apply(x1, x2)`, the covariance of one pair of points with unbatched parameters, a scalar; the
    base lifts it over batches of parameters and of points. It may write `_matrix` and `_diag` too, for speed.

    Points have `feature_ndims` trailing dimensions, one by default. Kernels add and multiply with each other and with
    nonnegative numbers, and have integer powers.
    """

    #: The number of trailing dimensions of a point.
    feature_ndims: int = eqx.field(static=True, init=False, default=1)

    # Hooks, for parameters without batch dimensions and one pair or set of points.

    def _apply(self, x1: Real, x2: Real) -> Real:
        raise NotImplementedError(f"{type(self).__name__} does not define its covariance, `_apply`")

    def _matrix(self, x1: Real, x2: Real | None) -> Real:
        """The covariances of n points and m others, or of n points with themselves."""
        row = jax.vmap(self._apply, in_axes=(None, 0))
        return jax.vmap(row, in_axes=(0, None))(x1, x1 if x2 is None else x2)

    def _diag(self, x: Real) -> Real:
        return jax.vmap(self._apply)(x, x)

    def _num_features(self) -> int | None:
        """How many features a point has, where that follows from the parameters."""
        return None

    # Public methods, which follow from the hooks.

    @checked
    @compiled("example_ndims")
    def apply(self, x1: Numeric, x2: Numeric, example_ndims: NonnegativeInt = 0) -> Real:
        """The covariance of pairs of points.

        **Arguments:** `x1`, `x2`: shape `batch + example + feature`; `example_ndims`: the number of example dimensions,
        over which parameters do not vary.

        **Returns:** shape `batch + example`, with batches broadcast with the kernel's.
        """
        x1, x2 = self._points("apply", x1=x1, x2=x2)
        fn: Callable[..., Real] = type(self)._apply
        for _ in range(example_ndims):
            fn = jax.vmap(fn, in_axes=(None, 0, 0))
        core = example_ndims + self.feature_ndims
        if example_ndims:
            ends = [x.shape[max(x.ndim - core, 0) : x.ndim - self.feature_ndims] for x in (x1, x2)]
            example = jnp.broadcast_shapes(*ends)
            x1, x2 = (_widen(x, example, self.feature_ndims) for x in (x1, x2))
        return self._lift(fn, (x1, core), (x2, core))

    @checked
    @compiled()
    def matrix(self, x1: Numeric, x2: Numeric | None = None) -> Real:
        """The covariances of all pairs of two sets of points.

        **Arguments:** `x1`: shape `batch + (n,) + feature`; `x2`: shape `batch + (m,) + feature`; the default is
        the first set, with an exact diagonal.

        **Returns:** shape `batch + (n, m)`.
        """
        core = 1 + self.feature_ndims
        if x2 is None:
            (x1,) = self._points("matrix", x1=x1)
            return self._lift(lambda kernel, x: kernel._matrix(x, None), (x1, core))
        x1, x2 = self._points("matrix", x1=x1, x2=x2)
        return self._lift(type(self)._matrix, (x1, core), (x2, core))

    @checked
    @compiled("x1_example_ndims", "x2_example_ndims")
    def tensor(
        self, x1: Numeric, x2: Numeric, x1_example_ndims: NonnegativeInt, x2_example_ndims: NonnegativeInt
    ) -> Real:
        """The covariances of all pairs of two arrays of points.

        **Arguments:** `x1`: shape `batch + example1 + feature`; `x2`: shape `batch + example2 + feature`; and the
        number of example dimensions of each.

        **Returns:** shape `batch + example1 + example2`.
        """
        x1, x2 = self._points("tensor", x1=x1, x2=x2)
        feature = self.feature_ndims
        for name, x, n in (("x1", x1, x1_example_ndims), ("x2", x2, x2_example_ndims)):
            if x.ndim < n + feature:
                raise ValueError(f"{type(self).__name__}.tensor: {name} has not {n} example dimensions, got {x.shape}")
        (lead1, example1), (lead2, example2) = (
            (x.shape[: x.ndim - n - feature], x.shape[x.ndim - n - feature : x.ndim - feature])
            for x, n in ((x1, x1_example_ndims), (x2, x2_example_ndims))
        )
        flat1 = jnp.reshape(x1, (*lead1, math.prod(example1), *x1.shape[x1.ndim - feature :]))
        flat2 = jnp.reshape(x2, (*lead2, math.prod(example2), *x2.shape[x2.ndim - feature :]))
        matrix = self.matrix(flat1, flat2)
        return jnp.reshape(matrix, matrix.shape[:-2] + example1 + example2)

    @compiled()
    def diag(self, x: Numeric) -> Real:
        """The variances at points of shape `batch + (n,) + feature`: shape `batch + (n,)`."""
        (x,) = self._points("diag", x=x)
        return self._lift(type(self)._diag, (x, 1 + self.feature_ndims))

    @checked
    @compiled("block_size")
    def matvec(self, x1: Numeric, x2: Numeric, v: Numeric, block_size: PositiveInt = 1024) -> Real:
        """The matrix of covariances times a vector, by blocks of rows, so that no more than a block is ever stored.

        **Arguments:** `x1`: shape `(n,) + feature`; `x2`: shape `(m,) + feature`; `v`: shape `(m,)`; `block_size`:
        rows.

        **Returns:** shape `(n,)`. Use `jax.vmap` for kernels with batch dimensions.
        """
        check_numbers(v, f"{type(self).__name__}.matvec: v")
        x1, x2 = self._points("matvec", x1=x1, x2=x2)
        x1, x2, v = promote(x1, x2, v)
        if v.shape != x2.shape[:1] or x1.ndim != 1 + self.feature_ndims or x2.ndim != x1.ndim:
            raise ValueError(
                f"{type(self).__name__}.matvec takes one set of points each and a vector with one number for each of "
                f"x2, got shapes {x1.shape}, {x2.shape} and {v.shape}"
            )
        return jax.lax.map(lambda x: self._matrix(x[None], x2)[0] @ v, x1, batch_size=block_size)

    def _points(self, method: str, **points: Numeric) -> tuple[Real, ...]:
        """Points as arrays of one dtype, which have features of one shape that fits the kernel.

        **Raises:** `TypeError` where they are no numbers; `ValueError` where their features do not fit.
        """
        who = f"{type(self).__name__}.{method}"
        for name, x in points.items():
            check_numbers(x, f"{who}: {name}")
        arrays = [promote(x) for x in points.values()]
        for name, x in zip(points, arrays):
            if x.ndim < self.feature_ndims:
                raise ValueError(
                    f"{who}: {name} must have the {self.feature_ndims} feature dimensions of a point, got {x.shape}"
                )
            features, first = (y.shape[y.ndim - self.feature_ndims :] for y in (x, arrays[0]))
            if features != first:
                raise ValueError(f"{who}: the points have features of shapes {first} and {features}")
            if self._num_features() not in (None, *features[-1:]):
                raise ValueError(
                    f"{who}: {name} has {features[-1]} features, the parameters are for {self._num_features()}"
                )
        promoted = promote(*arrays)
        return promoted if len(arrays) > 1 else (promoted,)

    def _lift(self, fn: Callable[..., Real], *points: tuple[Real, int]) -> Real:
        """`fn(kernel, *points)`, written for unbatched parameters, mapped over batches of parameters and points.

        Each of `points` comes with the number of dimensions that `fn` takes.
        """
        for x, core in points:
            if x.ndim < core:
                raise ValueError(
                    f"{type(self).__name__}: points need at least {core} dimensions here ({self.feature_ndims} of them "
                    f"features), got shape {x.shape}"
                )
        shape = jnp.broadcast_shapes(self.batch_shape, *(x.shape[: x.ndim - core] for x, core in points))
        if not shape:
            return fn(self, *(x for x, _ in points))
        size = math.prod(shape)
        kernel, axes = self, jax.tree.map(lambda _: None, self)
        if self.batch_shape:
            kernel = self.broadcast_to(shape)._map_batch(lambda x, n: jnp.reshape(x, (size, *x.shape[x.ndim - n :])))
            # The axes to map over: 0 for batched leaves, which the placeholder marks, None for the others.
            marked = kernel._map_batch(lambda x, n: _BATCHED)
            axes = jax.tree.map(lambda x: 0 if x is _BATCHED else None, marked)
        flat = [
            jnp.reshape(jnp.broadcast_to(x, shape + x.shape[x.ndim - core :]), (size, *x.shape[x.ndim - core :]))
            if x.ndim > core
            else x
            for x, core in points
        ]
        in_axes = (axes, *(0 if x.ndim > core else None for x, core in points))
        result = jax.vmap(fn, in_axes=in_axes)(kernel, *flat)
        return jnp.reshape(result, shape + result.shape[1:])

    # Algebra.

    def __add__(self, other: Operand) -> "Kernel":
        return Sum([self, _as_kernel(other, self)])

    def __radd__(self, other: Operand) -> "Kernel":
        # `sum` of a list of kernels starts from the number zero.
        return self if isinstance(other, int) and other == 0 else Sum([_as_kernel(other, self), self])

    def __mul__(self, other: Operand) -> "Kernel":
        return Product([self, _as_kernel(other, self)])

    def __rmul__(self, other: Operand) -> "Kernel":
        return Product([_as_kernel(other, self), self])

    @checked
    def __pow__(self, exponent: int) -> "Kernel":
        return Power(self, exponent)


def _widen(x: Real, example: Shape, feature_ndims: int) -> Real:
    """Points with their example dimensions broadcast to `example`."""
    feature = x.shape[x.ndim - feature_ndims :]
    batch = x.shape[: max(x.ndim - feature_ndims - len(example), 0)]
    return jnp.broadcast_to(x, batch + example + feature)


def _as_kernel(x: Any, like: Kernel) -> Kernel:
    return x if isinstance(x, Kernel) else Constant(x, like.feature_ndims)


class Constant(Kernel):
    """k(x, y) = constant.

    **Arguments:** `constant`: nonnegative; `feature_ndims`: dimensions of a point.
    """

    constant: Float[Array, "*#batch"] = parameter(nonnegative)
    feature_ndims: int = eqx.field(static=True, default=1)

    def __init__(self, constant: Numeric, feature_ndims: NonnegativeInt = 1):
        self.constant = promote(constant)
        self.feature_ndims = feature_ndims

    def _apply(self, x1: Real, x2: Real) -> Real:
        return self.constant.astype(x1.dtype)

    def _matrix(self, x1: Real, x2: Real | None) -> Real:
        return jnp.full((x1.shape[0], (x1 if x2 is None else x2).shape[0]), self.constant, x1.dtype)


class _Combination(Kernel):
    """Several kernels of the same points, combined value by value."""

    kernels: tuple[Kernel, ...]

    def __init__(self, kernels: Sequence[Kernel]):
        if not kernels:
            raise ValueError(f"{type(self).__name__} needs at least one kernel")
        flat: list[Kernel] = []
        for kernel in kernels:
            flat.extend(kernel.kernels if isinstance(kernel, type(self)) else [kernel])
        if len({k.feature_ndims for k in flat}) != 1:
            raise ValueError(
                f"{type(self).__name__}: the kernels act on points of {[k.feature_ndims for k in flat]} dimensions"
            )
        self.kernels = tuple(flat)
        self.feature_ndims = flat[0].feature_ndims

    def _combine(self, values: list[Real]) -> Real:
        raise NotImplementedError

    def _apply(self, x1: Real, x2: Real) -> Real:
        return self._combine([k._apply(x1, x2) for k in self.kernels])

    def _matrix(self, x1: Real, x2: Real | None) -> Real:
        return self._combine([k._matrix(x1, x2) for k in self.kernels])

    def _diag(self, x: Real) -> Real:
        return self._combine([k._diag(x) for k in self.kernels])

    def _num_features(self) -> int | None:
        return next((n for k in self.kernels if (n := k._num_features()) is not None), None)

    def _map_batch(self, fn: Callable[[Array, int], Array], extra: int = 0) -> Any:
        return copy_with(self, kernels=tuple(k._map_batch(fn, extra) for k in self.kernels))


class Sum(_Combination):
    """The sum of kernels, `k1 + k2`."""

    __init__ = _Combination.__init__

    def _combine(self, values: list[Real]) -> Real:
        return sum(values[1:], start=values[0])


class Product(_Combination):
    """The product of kernels, `k1 * k2`."""

    __init__ = _Combination.__init__

    def _combine(self, values: list[Real]) -> Real:
        return math.prod(values[1:], start=values[0])


class Power(Kernel):
    """A positive integer power of a kernel, `k ** n`."""

    exponent: int = eqx.field(static=True)
    kernel: Kernel = submodule()

    def __init__(self, kernel: Kernel, exponent: PositiveInt):
        self.kernel, self.exponent, self.feature_ndims = kernel, exponent, kernel.feature_ndims

    def _num_features(self) -> int | None:
        return self.kernel._num_features()

    def _apply(self, x1: Real, x2: Real) -> Real:
        return self.kernel._apply(x1, x2) ** self.exponent

    def _matrix(self, x1: Real, x2: Real | None) -> Real:
        return self.kernel._matrix(x1, x2) ** self.exponent

    def _diag(self, x: Real) -> Real:
        return self.kernel._diag(x) ** self.exponent


class FeatureScaled(Kernel):
    """k(x / s, y / s) with a positive length scale s for each feature (automatic relevance determination).

    **Arguments:** `kernel`: of vectors; `scale_diag`: s, of shape `batch + (d,)`, or `inverse_scale_diag`, 1 / s.

    **Raises:** `ValueError` for both or neither of the scales.
    """

    kernel: Kernel = submodule()
    scale_diag: Float[Array, "*#batch d"] = parameter(positive)

    def __init__(self, kernel: Kernel, scale_diag: Numeric | None = None, inverse_scale_diag: Numeric | None = None):
        exactly_one("FeatureScaled", scale_diag=scale_diag, inverse_scale_diag=inverse_scale_diag)
        self.kernel = kernel
        self.scale_diag = 1 / promote(inverse_scale_diag) if scale_diag is None else promote(scale_diag)

    def _num_features(self) -> int:
        return self.scale_diag.shape[-1]

    def _apply(self, x1: Real, x2: Real) -> Real:
        return self.kernel._apply(x1 / self.scale_diag, x2 / self.scale_diag)

    def _matrix(self, x1: Real, x2: Real | None) -> Real:
        return self.kernel._matrix(x1 / self.scale_diag, None if x2 is None else x2 / self.scale_diag)

    def _diag(self, x: Real) -> Real:
        return self.kernel._diag(x / self.scale_diag)
