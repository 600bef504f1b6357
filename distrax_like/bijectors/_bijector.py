"""The base class of bijectors."""

from typing import Any, ClassVar

import jax.numpy as jnp

from distrax_like._misc import Numeric, Real, Shape, promote, sum_trailing
from distrax_like._module import Module
from distrax_like.supports import Support


class Bijector(Module):
    """A smooth invertible map with a known Jacobian determinant.

    A subclass writes `_forward_and_log_det(x)` and `_inverse_and_log_det(y)`, each of which gives the image and the
    log of the absolute Jacobian determinant of the map in that direction, one number for each event of the smallest
    rank the map acts on (or anything that broadcasts to that). Everything public follows from these two.

    - `forward_min_event_ndims`, `inverse_min_event_ndims`: the number of dimensions of the smallest event on either
      side: 0 for elementwise maps, 1 for maps of vectors, 2 for maps of matrices.
    - `is_constant_jacobian`: the log determinant does not depend on the point.
    - `is_increasing`: whether a monotone elementwise map increases; with it a transformed distribution has a cdf.
    - `image`: the image of the reals, with which a transformed distribution knows its support without an inverse.
    """

    forward_min_event_ndims: ClassVar[int] = 0
    inverse_min_event_ndims: ClassVar[int] = 0
    is_constant_jacobian: ClassVar[bool] = False

    @property
    def is_increasing(self) -> Any:
        """Whether an elementwise map increases: True, False, an array of truths by batch, or None where unknown."""
        return None

    @property
    def image(self) -> Support | None:
        """The image of the reals, an open set, where it is known; a superset of it where the map acts on vectors."""
        return None

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        raise NotImplementedError(f"{type(self).__name__} has no inverse map")

    def forward_event_shape(self, shape: Shape) -> Shape:
        """The event shape on the far side of `forward`, from the one before it."""
        return tuple(shape)

    def inverse_event_shape(self, shape: Shape) -> Shape:
        """The event shape on the far side of `inverse`, from the one before it."""
        return tuple(shape)

    def forward(self, x: Numeric) -> Real:
        """The image of `x`, of shape `batch + event`."""
        return self._forward_and_log_det(self._cast(x, "forward", self.forward_min_event_ndims))[0]

    def inverse(self, y: Numeric) -> Real:
        """The point whose image is `y`, of shape `batch + event`."""
        return self._inverse_and_log_det(self._cast(y, "inverse", self.inverse_min_event_ndims))[0]

    def forward_and_log_det(self, x: Numeric, event_ndims: int | None = None) -> tuple[Real, Real]:
        """The image of `x` and the log of the absolute Jacobian determinant there, in one pass.

        **Arguments:** `x`: shape `batch + event`; `event_ndims`: how many dimensions of `x` make one event, at least
        `forward_min_event_ndims`, which is the default.

        **Returns:** the image, and the log determinants of shape `batch`.
        """
        least = self.forward_min_event_ndims
        x = self._cast(x, "forward_and_log_det", least)
        y, log_det = self._forward_and_log_det(x)
        return y, self._reduce(log_det, x, least, event_ndims, "forward_and_log_det")

    def inverse_and_log_det(self, y: Numeric, event_ndims: int | None = None) -> tuple[Real, Real]:
        """The point whose image is `y` and the log determinant of the inverse map there; see `forward_and_log_det`."""
        least = self.inverse_min_event_ndims
        y = self._cast(y, "inverse_and_log_det", least)
        x, log_det = self._inverse_and_log_det(y)
        return x, self._reduce(log_det, y, least, event_ndims, "inverse_and_log_det")

    def forward_log_det_jacobian(self, x: Numeric, event_ndims: int | None = None) -> Real:
        """log |det dy/dx| at `x`; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, event_ndims)[1]

    def inverse_log_det_jacobian(self, y: Numeric, event_ndims: int | None = None) -> Real:
        """log |det dx/dy| at `y`; see `forward_and_log_det`."""
        return self.inverse_and_log_det(y, event_ndims)[1]

    def __call__(self, value: Any) -> Any:
        """Composition: of a bijector, the bijector that applies it first; of a distribution, the distribution of the
        image of a draw; of an array, its image."""
        if isinstance(value, Bijector):
            from ._compose import Chain

            return Chain([self, value])
        if hasattr(value, "_transform"):
            return value._transform(self)
        return self.forward(value)

    def _cast(self, value: Numeric, method: str, least: int) -> Real:
        value = promote(value)
        if value.ndim < least:
            raise ValueError(
                f"{type(self).__name__}.{method} acts on events of at least {least} dimensions, "
                f"got an array of shape {value.shape}"
            )
        return value

    def _reduce(self, log_det: Real, value: Real, least: int, event_ndims: int | None, method: str) -> Real:
        """The log determinant summed over event dimensions beyond the smallest ones the map acts on."""
        event_ndims = least if event_ndims is None else event_ndims
        if not least <= event_ndims <= value.ndim:
            raise ValueError(
                f"{type(self).__name__}.{method}: event_ndims must lie between {least} and the {value.ndim} dimensions "
                f"of the value, got {event_ndims}"
            )
        shape = jnp.broadcast_shapes(log_det.shape, value.shape[: value.ndim - least])
        return sum_trailing(jnp.broadcast_to(log_det, shape), event_ndims - least)
