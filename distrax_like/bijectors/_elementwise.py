"""Elementwise bijectors: identity, affine, exponential, softplus, sigmoid, tanh."""


import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distrax_like._misc import Numeric, Real, exactly_one, keep_within, promote
from distrax_like._module import parameter
from distrax_like.special import softplus_inverse
from distrax_like.supports import Support, extended_real, greater_than, open_interval, positive, real

from ._bijector import Bijector


class _Increasing(Bijector):
    def _is_increasing(self) -> bool:
        return True


class Identity(_Increasing):
    """y = x."""

    def _is_constant_jacobian(self) -> bool:
        return True

    def _image(self) -> Support:
        return real

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return x, jnp.zeros_like(x)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return y, jnp.zeros_like(y)


class Exp(_Increasing):
    """y = exp(x), onto the positive numbers."""

    def _image(self) -> Support:
        return positive

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return jnp.exp(x), x

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        x = jnp.log(y)
        return x, -x


class Shift(_Increasing):
    """y = x + shift."""

    shift: Float[Array, "*#batch"] = parameter(real)

    def __init__(self, shift: Numeric):
        self.shift = promote(shift)

    def _is_constant_jacobian(self) -> bool:
        return True

    def _image(self) -> Support:
        return real

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return x + self.shift, jnp.zeros_like(x)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return y - self.shift, jnp.zeros_like(y)


class Scale(Bijector):
    """y = scale * x, for any scale but zero.

    **Arguments:** `scale`, or `log_scale`, the log of a positive one; exactly one of them.

    **Raises:** `ValueError` for both or neither.
    """

    scale: Float[Array, "*#batch"] = parameter(real)

    def __init__(self, scale: Numeric | None = None, log_scale: Numeric | None = None):
        exactly_one("Scale", scale=scale, log_scale=log_scale)
        self.scale = jnp.exp(promote(log_scale)) if scale is None else promote(scale)

    def _is_constant_jacobian(self) -> bool:
        return True

    def _is_increasing(self) -> Bool[Array, "..."]:
        return self.scale > 0

    def _image(self) -> Support:
        return real

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        return self.scale * x, jnp.log(jnp.abs(self.scale))

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return y / self.scale, -jnp.log(jnp.abs(self.scale))


class Softplus(_Increasing):
    """y = low + h log(1 + exp(x / h)), onto the numbers above `low`, with hinge softness h.

    **Arguments:** `hinge_softness`: h, positive (1 where not given); `low`: the lower end (0 where not given).
    """

    hinge_softness: Float[Array, "*#batch"] | None = parameter(positive)
    low: Float[Array, "*#batch"] | None = parameter(real)

    def __init__(self, hinge_softness: Numeric | None = None, low: Numeric | None = None):
        self.hinge_softness, self.low = promote(hinge_softness, low)

    def _image(self) -> Support:
        return greater_than(0 if self.low is None else self.low)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        z = x if self.hinge_softness is None else x / self.hinge_softness
        y = jax.nn.softplus(z)
        if self.hinge_softness is not None:
            # x itself where x / h overflows.
            y = jnp.where(z == jnp.inf, x, self.hinge_softness * y)
        return y if self.low is None else self.low + y, -jax.nn.softplus(-z)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        y = y if self.low is None else y - self.low
        if self.hinge_softness is None:
            x = softplus_inverse(y)
            return x, jax.nn.softplus(-x)
        z = softplus_inverse(y / self.hinge_softness)
        return jnp.where(z == jnp.inf, y, self.hinge_softness * z), jax.nn.softplus(-z)


class Sigmoid(_Increasing):
    """y = low + (high - low) / (1 + exp(-x)), onto the open interval from `low` (default 0) to `high` (default 1).

    The image of a finite point is never an end of the interval, though rounding would put it there.
    """

    low: Float[Array, "*#batch"] | None = parameter(real)
    high: Float[Array, "*#batch"] | None = parameter(lambda self: greater_than(self.low))

    def __init__(self, low: Numeric | None = None, high: Numeric | None = None):
        if (low is None) != (high is None):
            raise ValueError("Sigmoid takes both of low and high, or neither")
        self.low, self.high = promote(low, high)

    def _image(self) -> Support:
        return open_interval(0, 1) if self.low is None or self.high is None else open_interval(self.low, self.high)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        log_det = -jax.nn.softplus(x) - jax.nn.softplus(-x)
        if self.low is None or self.high is None:
            info = jnp.finfo(x.dtype)
            return keep_within(jax.nn.sigmoid(x), info.tiny, 1 - info.epsneg), log_det
        width = self.high - self.low
        # From the nearer end, so that the distance to it does not cancel.
        y = jnp.where(x < 0, self.low + width * jax.nn.sigmoid(x), self.high - width * jax.nn.sigmoid(-x))
        low, high = jax.lax.stop_gradient((self.low, self.high))
        return keep_within(y, jnp.nextafter(low, high), jnp.nextafter(high, low)), log_det + jnp.log(width)

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        if self.low is None or self.high is None:
            below, above = jnp.log(y), jnp.log1p(-y)
            return below - above, -below - above
        below, above = jnp.log(y - self.low), jnp.log(self.high - y)
        return below - above, jnp.log(self.high - self.low) - below - above


class OntoInterval(_Increasing):
    """The elementwise map of the reals onto intervals whose ends may be infinite.

    It is `Sigmoid` between two finite ends, y = low + exp(x) or y = high - exp(-x) with one, and y = x with none.
    """

    low: Float[Array, "*#batch"] = parameter(extended_real)
    high: Float[Array, "*#batch"] = parameter(extended_real)

    def __init__(self, low: Numeric, high: Numeric):
        self.low, self.high = promote(low, high)

    def _image(self) -> Support:
        return open_interval(self.low, self.high)

    def _pieces(self) -> tuple[Array, Array, Sigmoid]:
        # Each formula gets finite ends even where it is not selected, so that its gradient is finite there.
        bounded = jnp.isfinite(self.low) & jnp.isfinite(self.high)
        low = jnp.where(jnp.isfinite(self.low), self.low, 0)
        high = jnp.where(jnp.isfinite(self.high), self.high, 0)
        return low, high, Sigmoid(jnp.where(bounded, low, 0), jnp.where(bounded, high, 1))

    def _select(self, both: Real, from_low: Real, from_high: Real, free: Real) -> Real:
        below, above = jnp.isfinite(self.low), jnp.isfinite(self.high)
        return jnp.where(below, jnp.where(above, both, from_low), jnp.where(above, from_high, free))

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        low, high, sigmoid = self._pieces()
        y, log_det = sigmoid._forward_and_log_det(x)
        y = self._select(y, low + jnp.exp(x), high - jnp.exp(-x), x)
        return y, self._select(log_det, x, -x, jnp.zeros_like(x))

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        low, high, sigmoid = self._pieces()
        below, above = jnp.isfinite(self.low), jnp.isfinite(self.high)
        x, log_det = sigmoid._inverse_and_log_det(jnp.where(below & above, y, 0.5))
        up, down = jnp.log(jnp.where(below, y - low, 1)), jnp.log(jnp.where(above, high - y, 1))
        return self._select(x, up, -down, y), self._select(log_det, -up, -down, jnp.zeros_like(y))


class Tanh(_Increasing):
    """y = tanh(x), onto the open interval (-1, 1); the image of a finite point is never an end of it."""

    def _image(self) -> Support:
        return open_interval(-1, 1)

    def _forward_and_log_det(self, x: Real) -> tuple[Real, Real]:
        end = 1 - jnp.finfo(x.dtype).epsneg
        # log(1 - tanh(x)^2), free of cancellation.
        size = jnp.abs(x)
        log_det = 2 * (jnp.log(jnp.asarray(2, x.dtype)) - size - jax.nn.softplus(-2 * size))
        return keep_within(jnp.tanh(x), -end, end), log_det

    def _inverse_and_log_det(self, y: Real) -> tuple[Real, Real]:
        return jnp.arctanh(y), -jnp.log1p(-y) - jnp.log1p(y)
