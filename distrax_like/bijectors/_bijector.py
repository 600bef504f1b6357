"""The base class of bijectors."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool

from distrax_like._arguments import checked
from distrax_like._eager import compiled
from distrax_like._misc import Numeric, Real, Shape, ShapeLike, as_shape, check_numbers, promote, sum_trailing
from distrax_like._module import Module
from distrax_like.supports import Support

T = TypeVar("T", covariant=True)


@runtime_checkable
class Transformable(Protocol[T]):
    """What a bijector transforms by calling its `_transform`: a distribution."""

    def _transform(self, bijector: "Bijector") -> T: ...


class Bijector(Module):
    """A smooth invertible map with a known Jacobian determinant.

    A subclass writes `_forward_and_log_det(x)` and `_inverse_and_log_det(y)`, each of which gives the image and the
    log of the absolute Jacobian determinant of the map in that direction, one number for each event of the smallest
    rank the map acts on (or anything that broadcasts to that). Everything public follows from these two.

    The defaults of the other hooks are those of an elementwise map about which nothing more is known:

    - `_min_event_ndims`: the number of dimensions of the smallest event on either side: 0 for elementwise maps, 1 for
      maps of vectors, 2 for maps of matrices.
    - `_is_constant_jacobian`: whether the log determinant is the same at every point.
    - `_is_increasing`: whether a monotone elementwise map increases; with it a transformed distribution has a cdf.
    - `_image`: the image of the reals, from which a transformed distribution knows its support without the inverse.
    - `_forward_event_shape`, `_inverse_event_shape`: where the two sides have different shapes.
    """

    def _min_event_ndims(self) -> tuple[int, int]:
        return 0, 0

    def _is_constant_jacobian(self) -> bool:
        return False

    def _is_increasing(self) -> Bool[Array, "..."] | bool | None:
        return None

    def _image(self) -> Support | None:
        return None

    def _forward_event_shape(self, shape: Shape) -> Shape:
        return shape

    def _inverse_event_shape(self, shape: Shape) -> Shape:
        return shape

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        raise NotImplementedError(f"{type(self).__name__} has no inverse map")

    @property
    def forward_min_event_ndims(self) -> int:
        """The number of dimensions of the smallest event that `forward` takes."""
        return self._min_event_ndims()[0]

    @property
    def inverse_min_event_ndims(self) -> int:
        """The number of dimensions of the smallest event that `inverse` takes."""
        return self._min_event_ndims()[1]

    @property
    def is_constant_jacobian(self) -> bool:
        """Whether the log determinant is the same at every point."""
        return self._is_constant_jacobian()

    @property
    def is_increasing(self) -> Bool[Array, "..."] | bool | None:
        """Whether an elementwise map increases: True, False, an array of booleans by batch, or None where unknown."""
        return self._is_increasing()

    @property
    def image(self) -> Support | None:
        """The image of the reals, an open set, where it is known; a superset of it where the map acts on vectors."""
        return self._image()

    def forward_event_shape(self, shape: ShapeLike) -> Shape:
        """The event shape of `forward`, from that of its argument."""
        return self._event_shape_after("forward", shape)

    def inverse_event_shape(self, shape: ShapeLike) -> Shape:
        """The event shape of `inverse`, from that of its argument."""
        return self._event_shape_after("inverse", shape)

    def _event_shape_after(self, direction: str, shape: ShapeLike) -> Shape:
        who = f"{type(self).__name__}.{direction}_event_shape"
        sizes = as_shape(shape, f"{who}: shape")
        min_ndims = self._in_direction(direction)[1]
        if len(sizes) < min_ndims:
            raise ValueError(f"{who}: shape needs at least {min_ndims} dimensions, got {sizes}")
        return self._image_shape(direction, sizes, who)

    def _image_shape(self, direction: str, shape: Shape, who: str) -> Shape:
        try:
            return self._forward_event_shape(shape) if direction == "forward" else self._inverse_event_shape(shape)
        except ValueError as error:
            raise ValueError(f"{who}: {error}") from None

    def forward(self, x: Numeric) -> Real:
        """The image of `x`, of shape `batch + event`."""
        return self._map(x, direction="forward")

    def inverse(self, y: Numeric) -> Real:
        """The point whose image is `y`, of shape `batch + event`."""
        return self._map(y, direction="inverse")

    @checked
    def forward_and_log_det(self, x: Numeric, event_ndims: int | None = None) -> tuple[Real, Real]:
        """The image of `x` and the log of the absolute Jacobian determinant there, in one pass.

        **Arguments:** `x`: shape `batch + event`; `event_ndims`: how many dimensions of `x` make one event, at least
        `forward_min_event_ndims`, which is the default.

        **Returns:** the image, and the log determinants of shape `batch`.
        """
        return self._map_and_log_det(x, direction="forward", event_ndims=event_ndims)

    @checked
    def inverse_and_log_det(self, y: Numeric, event_ndims: int | None = None) -> tuple[Real, Real]:
        """The point whose image is `y` and the log determinant of the inverse map there; see `forward_and_log_det`."""
        return self._map_and_log_det(y, direction="inverse", event_ndims=event_ndims)

    @checked
    def forward_log_det_jacobian(self, x: Numeric, event_ndims: int | None = None) -> Real:
        """log |det dy/dx| at `x`; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, event_ndims)[1]

    @checked
    def inverse_log_det_jacobian(self, y: Numeric, event_ndims: int | None = None) -> Real:
        """log |det dx/dy| at `y`; see `forward_and_log_det`."""
        return self.inverse_and_log_det(y, event_ndims)[1]

    @compiled("direction")
    def _map(self, value: Numeric, *, direction: str) -> Real:
        hook, min_ndims = self._in_direction(direction)
        return hook(self._cast(value, direction, min_ndims))[0]

    @compiled("direction", "event_ndims")
    def _map_and_log_det(self, value: Numeric, *, direction: str, event_ndims: int | None) -> tuple[Real, Real]:
        hook, min_ndims = self._in_direction(direction)
        method = f"{direction}_and_log_det"
        value = self._cast(value, method, min_ndims)
        image, log_det = hook(value)
        return image, self._reduce(log_det, value, min_ndims, event_ndims, method)

    def _in_direction(self, direction: str) -> tuple[Callable[[Real], tuple[Real, Real]], int]:
        """The hook of a direction, and the number of dimensions of the smallest event it takes."""
        before, after = self._min_event_ndims()
        forward = direction == "forward"
        return (self._forward_and_log_det, before) if forward else (self._inverse_and_log_det, after)

    @overload
    def __call__(self, value: "Bijector") -> "Bijector": ...
    @overload
    def __call__(self, value: Transformable[T]) -> T: ...
    @overload
    def __call__(self, value: Numeric) -> Array: ...
    def __call__(self, value: Any) -> Any:
        """Composition: of a bijector, the bijector that applies it first; of a distribution, the distribution of the
        image of a draw; of an array, its image."""
        if isinstance(value, Bijector):
            from ._compose import Chain

            return Chain([self, value])
        if isinstance(value, Transformable):
            return value._transform(self)
        return self.forward(value)

    def _cast(self, value: Numeric, method: str, min_ndims: int) -> Real:
        who = f"{type(self).__name__}.{method}"
        check_numbers(value, f"{who}: the value")
        value = promote(value)
        if value.ndim < min_ndims:
            raise ValueError(
                f"{who} acts on events of at least {min_ndims} dimensions, got an array of shape {value.shape}"
            )
        try:
            jnp.broadcast_shapes(value.shape[: value.ndim - min_ndims], self.batch_shape)
        except ValueError:
            raise ValueError(
                f"{who}: a value of shape {value.shape} does not broadcast with the batch shape {self.batch_shape}"
            ) from None
        self._image_shape("forward" if method.startswith("forward") else "inverse", value.shape, who)
        return value

    def _reduce(self, log_det: Real, value: Real, min_ndims: int, event_ndims: int | None, method: str) -> Real:
        """The log determinant summed over event dimensions beyond the smallest ones the map acts on."""
        event_ndims = min_ndims if event_ndims is None else event_ndims
        if not min_ndims <= event_ndims <= value.ndim:
            raise ValueError(
                f"{type(self).__name__}.{method}: event_ndims must lie between {min_ndims} and the {value.ndim} "
                f"dimensions of the value, got {event_ndims}"
            )
        shape = jnp.broadcast_shapes(log_det.shape, value.shape[: value.ndim - min_ndims])
        return sum_trailing(jnp.broadcast_to(log_det, shape), event_ndims - min_ndims)
