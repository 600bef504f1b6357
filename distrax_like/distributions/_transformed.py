"""The distribution of the image of a draw under a bijector."""

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PRNGKeyArray

from distrax_like._misc import Event, Real, Shape
from distrax_like._module import submodule
from distrax_like.bijectors import (
    Bijector,
    Chain,
    Identity,
    Image,
    Invert,
    Scale,
    ScaleMatvecDiag,
    ScaleMatvecTriL,
    Shift,
    bijector_for,
)
from distrax_like.supports import Support

from ._distribution import Distribution

# Bijectors under which the mean of the image is the image of the mean, and so for the mode.
_AFFINE = (Identity, Shift, Scale, ScaleMatvecDiag, ScaleMatvecTriL)


def _is_affine(bijector: Bijector) -> bool:
    if isinstance(bijector, Chain):
        return all(_is_affine(b) for b in bijector.bijectors)
    return isinstance(bijector, _AFFINE)


def _after_free(bijector: Bijector, support: Support) -> Bijector | None:
    """What follows in `bijector` on the map from a support to its free coordinates, where it begins with that map."""
    if isinstance(bijector, Chain) and bijector.bijectors:
        *rest, first = bijector.bijectors
        inner = _after_free(first, support)
        return None if inner is None else Chain([*rest, inner])
    if not isinstance(bijector, Invert) or support.is_discrete:
        return None
    free = bijector_for(support)
    # Maps without parameters are the same where their classes are.
    same = type(bijector.bijector) is type(free) and not jtu.tree_leaves((bijector, free))
    return Identity() if same else None


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
        outer = _after_free(self.bijector, self.distribution.support)
        if outer is None or kwargs:
            x, log_det = self.bijector.inverse_and_log_det(value, len(self.event_shape))
            return self.distribution._log_prob(x, **kwargs) + log_det
        # The inner map takes the value of the distribution to its free coordinate: log for a gamma variable.
        x, log_det = outer.inverse_and_log_det(value, len(self.event_shape))
        return self.distribution._free_density(x) + log_det

    def _log_prob_at_free(self, x: Real) -> Real:
        # `bijector_for` of an image is the bijector after that of the distribution's support.
        return self.distribution._log_prob_at_free(x)

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

    def _monotone(self, method: str, mirrored: str, argument: Real) -> Real:
        """A method of the distribution where the map increases, that of the other tail where it decreases."""
        increasing = self._increasing(method)
        if increasing is True:
            return getattr(self.distribution, method)(argument)
        up, down = (getattr(self.distribution, name)(argument) for name in (method, mirrored))
        return jnp.where(increasing, up, down)

    def _cdf(self, value: Event) -> Real:
        return self._monotone("cdf", "survival_function", self.bijector.inverse(value))

    def _survival_function(self, value: Event) -> Real:
        return self._monotone("survival_function", "cdf", self.bijector.inverse(value))

    def _log_cdf(self, value: Event) -> Real:
        return self._monotone("log_cdf", "log_survival_function", self.bijector.inverse(value))

    def _log_survival_function(self, value: Event) -> Real:
        return self._monotone("log_survival_function", "log_cdf", self.bijector.inverse(value))

    def _quantile(self, p: Real) -> Event:
        return self.bijector.forward(self._monotone("quantile", "inverse_survival_function", p))

    def _inverse_survival_function(self, q: Real) -> Event:
        return self.bijector.forward(self._monotone("inverse_survival_function", "quantile", q))

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
