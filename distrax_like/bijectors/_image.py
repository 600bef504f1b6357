"""The support of a transformed distribution."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool

from distrax_like._misc import Event, promote
from distrax_like.supports import Independent, Real, Support

from ._bijector import Bijector
from ._compose import Chain
from ._unconstrain import bijector_for


class Image(Support):
    """The image of a support under a bijector."""

    base: Support
    bijector: Bijector

    def _event_ndims(self) -> int:
        change = self.bijector.inverse_min_event_ndims - self.bijector.forward_min_event_ndims
        return self.base.event_ndims + change

    def _is_discrete(self) -> bool:
        return self.base.is_discrete

    def preimage(self, y: Event, x: Event | None = None) -> Event:
        """The point whose image is `y`, where a member of the base has that image to rounding, that member.

        So the image of a draw is not outside by a unit in the last place, nor beside a point of a discrete set.

        **Arguments:** `x`: the inverse of `y`, where it is known.
        """
        x = self.bijector.inverse(y) if x is None else x
        if self.bijector.inverse_min_event_ndims:
            return x
        member = jax.lax.stop_gradient(self.base.nearest(x))
        if member is x:
            return x
        image = self.bijector.forward(member)
        close = jnp.abs(image - y) <= 4 * jnp.finfo(y.dtype).eps * jnp.maximum(jnp.abs(image), jnp.abs(y))
        return jnp.where(close & (member != x), member, x)

    def contains(self, x: Event) -> Bool[Array, "..."]:
        image, elementwise = self.bijector.image, self.bijector.inverse_min_event_ndims == 0
        is_real = isinstance(self.base.base if isinstance(self.base, Independent) else self.base, Real)
        if image is None:
            return self.base.contains(self.preimage(x))
        inside = image.contains(x)
        axes = tuple(range(-(self.event_ndims - image.event_ndims), 0))
        inside = jnp.all(inside, axis=axes) if axes else inside
        # `image` is that of the whole line: where the base's support is smaller, the preimage must lie in it.
        return inside if is_real and elementwise else inside & self.base.contains(self.preimage(x))

    def ends(self) -> tuple[ArrayLike, ArrayLike]:
        increasing = self.bijector.is_increasing
        if self.event_ndims or increasing is None:
            return super().ends()
        # An infinite end maps to an end of the image of the whole line.
        low, high = promote(*self.base.ends())
        lowest, highest = super().ends() if self.bijector.image is None else self.bijector.image.ends()
        at_low, at_high = (self.bijector.forward(jnp.where(jnp.isfinite(end), end, 0)) for end in (low, high))
        first = jnp.where(jnp.isfinite(low), at_low, jnp.where(increasing, lowest, highest))
        last = jnp.where(jnp.isfinite(high), at_high, jnp.where(increasing, highest, lowest))
        return jnp.where(increasing, first, last), jnp.where(increasing, last, first)

    def feasible_like(self, x: Event) -> Event:
        lead = x.ndim - self.event_ndims
        shape = x.shape[:lead] + self.bijector.inverse_event_shape(x.shape[lead:])
        point = self.bijector.forward(self.base.feasible_like(jnp.zeros(shape, x.dtype)))
        return jax.lax.stop_gradient(jnp.broadcast_to(point, x.shape))


bijector_for.register(Image, lambda s: Chain([s.bijector, bijector_for(s.base)]))
