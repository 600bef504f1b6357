"""The distribution of the image of a draw under a bijector."""

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from distrax_like._misc import Event, Real, Shape
from distrax_like._module import submodule
from distrax_like.bijectors import Bijector, Chain, Identity, Image, Scale, ScaleMatvecDiag, ScaleMatvecTriL, Shift
from distrax_like.supports import Support

from ._distribution import Distribution

# Bijectors under which the mean of the image is the image of the mean, and so for the mode.
_AFFINE = (Identity, Shift, Scale, ScaleMatvecDiag, ScaleMatvecTriL)


def _is_affine(bijector: Bijector) -> bool:
    if isinstance(bijector, Chain):
        return all(_is_affine(b) for b in bijector.bijectors)
    return isinstance(bijector, _AFFINE)


class TransformedDistribution(Distribution):
    """The distribution of y = f(x) for x from a distribution: log p(y) = log p(x) + log |det dx/dy|.

    A quantile, a median and distribution functions are there for monotone elementwise maps, a mean and a mode for
    affine ones.

    **Arguments:** `distribution`: of x; `bijector`: f. Where the bijector has more batch dimensions than the
    distribution, each element of its batch is an independent draw.

    **Raises:** `ValueError` where the bijector acts on events of more dimensions than the distribution has.
    """

    distribution: Distribution = submodule()
    bijector: Bijector = submodule(
        lambda self: len(self.distribution.event_shape) - self.bijector.forward_min_event_ndims
    )

    def __init__(self, distribution: Distribution, bijector: Bijector):
        missing = bijector.forward_min_event_ndims - len(distribution.event_shape)
        if missing > 0:
            raise ValueError(
                f"TransformedDistribution: {type(bijector).__name__} acts on events of at least "
                f"{bijector.forward_min_event_ndims} dimensions, {type(distribution).__name__} has event shape "
                f"{distribution.event_shape}; make an event of repeated draws with Sample(distribution, shape), or of "
                "batch dimensions with Independent(distribution, ndims)"
            )
        self.distribution, self.bijector = distribution, bijector

    @property
    def support(self) -> Support:
        return Image(self.distribution.support, self.bijector)

    def _event_shape(self) -> Shape:
        return self.bijector.forward_event_shape(self.distribution.event_shape)

    def _log_prob(self, value: Event, **kwargs) -> Real:
        x, log_det = self.bijector.inverse_and_log_det(value, len(self.event_shape))
        return self.distribution._log_prob(x, **kwargs) + log_det

    def _full_base(self) -> Distribution:
        """The distribution of x with a draw of its own for each element of the batch."""
        return self.distribution.broadcast_to(self.batch_shape)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self.bijector.forward(self._full_base()._sample(key, shape))

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        base = self._full_base()
        x, log_prob = base._sample_and_log_prob(key, shape)
        y, log_det = self.bijector.forward_and_log_det(x, len(base.event_shape))
        return y, log_prob - log_det

    def _increasing(self, method: str):
        increasing = self.bijector.is_increasing
        if increasing is None or self.event_shape:
            self._lacks(f"{method}: {type(self.bijector).__name__} is not known to be monotone")
        return increasing

    def _tail(self, method: str, value: Event, when_increasing: str, when_decreasing: str) -> Real:
        increasing = self._increasing(method)
        inside = self.support.contains(value)
        x = self.bijector.inverse(jnp.where(inside, value, self.support.feasible_like(value)))
        if increasing is True:
            result = getattr(self.distribution, when_increasing)(x)
        else:
            up, down = (getattr(self.distribution, name)(x) for name in (when_increasing, when_decreasing))
            result = jnp.where(increasing, up, down)
        # Outside the image all the mass lies on one side; the median says which.
        log, survival = method.startswith("log"), "survival" in method
        ones = (value > self.median()) != survival
        outside = jnp.where(ones, 0.0 if log else 1.0, -jnp.inf if log else 0.0)
        return jnp.where(inside, result, jnp.where(jnp.isnan(value), value, outside.astype(result.dtype)))

    def _cdf(self, value: Event) -> Real:
        return self._tail("cdf", value, "cdf", "survival_function")

    def _survival_function(self, value: Event) -> Real:
        return self._tail("survival_function", value, "survival_function", "cdf")

    def _log_cdf(self, value: Event) -> Real:
        return self._tail("log_cdf", value, "log_cdf", "log_survival_function")

    def _log_survival_function(self, value: Event) -> Real:
        return self._tail("log_survival_function", value, "log_survival_function", "log_cdf")

    def _quantile(self, p: Real) -> Event:
        increasing = self._increasing("quantile")
        return self.bijector.forward(self.distribution.quantile(jnp.where(increasing, p, 1 - p)))

    def _median(self) -> Event:
        self._increasing("median")
        return self.bijector.forward(self.distribution.median())

    def _mean(self) -> Real:
        if not _is_affine(self.bijector):
            self._lacks(f"mean in closed form: {type(self.bijector).__name__} is not affine")
        return self.bijector.forward(self.distribution.mean())

    def _mode(self) -> Event:
        if not _is_affine(self.bijector):
            self._lacks(f"mode in closed form: {type(self.bijector).__name__} is not affine")
        return self.bijector.forward(self.distribution.mode())

    def _entropy(self) -> Real:
        if not self.bijector.is_constant_jacobian:
            self._lacks(f"entropy in closed form: the Jacobian of {type(self.bijector).__name__} is not constant")
        origin = jnp.zeros(self.batch_shape + self.distribution.event_shape, self._float_dtype())
        log_det = self.bijector.forward_log_det_jacobian(origin, len(self.distribution.event_shape))
        return self.distribution.entropy() + log_det
