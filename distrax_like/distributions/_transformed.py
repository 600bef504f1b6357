"""The distribution of the image of a draw under a bijector."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PRNGKeyArray

from distrax_like._misc import Event, Real, Shape, keep_within, require, sum_trailing
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
from ._kl import kl_divergence, no_closed_form, register_kl

_UNEQUAL = "no closed form of KL of transformed distributions whose bijectors differ"

# Bijectors under which the mean of the image is the image of the mean, and so for the mode.
_AFFINE = (Identity, Shift, Scale, ScaleMatvecDiag, ScaleMatvecTriL)


def _is_affine(bijector: Bijector) -> bool:
    return all(isinstance(b, _AFFINE) for b in _flat(bijector))


def _flat(bijector: Bijector) -> list[Bijector]:
    """The bijectors that a nested chain is made of."""
    if isinstance(bijector, Chain):
        return [inner for b in bijector.bijectors for inner in _flat(b)]
    return [bijector]


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

    A quantile, a median and distribution functions are there for monotone elementwise maps, a mean, a variance, a
    covariance and a mode for affine ones (`Shift`, `Scale`, `ScaleMatvecDiag`, `ScaleMatvecTriL` and chains of them).

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
    def support(self) -> Image:
        return Image(self.distribution.support, self.bijector)

    def _event_shape(self) -> Shape:
        return self.bijector.forward_event_shape(self.distribution.event_shape)

    def _log_prob(self, value: Event, **kwargs) -> Real:
        outer = _after_free(self.bijector, self.distribution.support)
        if outer is None or kwargs:
            x, log_det = self._inverse_and_log_det(value)
            return self.distribution._log_prob(x, **kwargs) + log_det
        # The inner map takes the value of the distribution to its free coordinate: log for a gamma variable.
        x, log_det = outer.inverse_and_log_det(value, len(self.event_shape))
        return self.distribution._free_density(x) + log_det

    def _inverse_and_log_det(self, value: Event) -> tuple[Event, Real]:
        x, log_det = self._with_log_det(self.bijector.inverse_and_log_det, value, len(self.event_shape))
        return self.support.preimage(value, x), log_det

    def _with_log_det(
        self, map: Callable[[Real, int], tuple[Real, Real]], point: Event, ndims: int
    ) -> tuple[Real, Real]:
        """The image under the bijector or its inverse, and the log determinant over the coordinates that the density is
        with respect to: none of a discrete set, all but the last of a simplex."""
        bijector, support = self.bijector, self.distribution.support
        elementwise = bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 0
        if support.is_discrete:
            image, log_det = map(point, ndims)
            return image, jnp.zeros_like(log_det)
        if not elementwise and not _is_affine(bijector):
            return map(point, ndims)
        mask = support.has_measure(self.distribution.event_shape)
        if mask is None:
            return map(point, ndims)
        if not elementwise:
            self._lacks(f"density: {type(bijector).__name__} mixes the coordinates of a {type(support).__name__}")
        image, log_det = map(point, 0)
        return image, sum_trailing(jnp.where(mask, log_det, 0), ndims)

    def _comparable_to(self, other: Distribution) -> "TransformedDistribution":
        if not isinstance(other, TransformedDistribution):
            return self
        leaves = zip(jtu.tree_leaves(self.bijector), jtu.tree_leaves(other.bijector))
        equal = jnp.asarray([jnp.all(a == b) for a, b in leaves if jnp.shape(a) == jnp.shape(b)])
        return require(self, jnp.all(equal), _UNEQUAL)

    def _log_prob_at_free(self, x: Real) -> Real:
        # `bijector_for` of an image is the bijector after that of the distribution's support.
        return self.distribution._log_prob_at_free(x)

    def _full_base(self) -> Distribution:
        """The distribution of x with a draw of its own for each element of the batch."""
        return self.distribution.broadcast_to(self.batch_shape)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self._keep_inside(self.bijector.forward(self._full_base()._sample(key, shape)))

    def _sample_and_log_prob(self, key: PRNGKeyArray, shape: Shape) -> tuple[Event, Real]:
        base = self._full_base()
        x, log_prob = base._sample_and_log_prob(key, shape)
        y, log_det = self._with_log_det(self.bijector.forward_and_log_det, x, len(base.event_shape))
        return self._keep_inside(y), log_prob - log_det

    def _keep_inside(self, y: Event) -> Event:
        """Draws moved off the ends of the open image, where rounding or underflow put them; the gradient passes."""
        image = self.bijector.image
        if image is None or image.event_ndims or self.distribution.support.is_discrete:
            return y
        low, high = (jnp.asarray(end, y.dtype) for end in image.ends())
        info = jnp.finfo(y.dtype)
        # The numbers next to zero are subnormal, and are taken for zero.
        above = jnp.where(low == 0, info.tiny, jnp.maximum(jnp.nextafter(low, high), info.min))
        below = jnp.where(high == 0, -info.tiny, jnp.minimum(jnp.nextafter(high, low), info.max))
        return keep_within(y, above, below)

    def _increasing(self, method: str):
        increasing = self.bijector.is_increasing
        if increasing is None or self.event_shape:
            self._lacks(f"{method}: {type(self.bijector).__name__} is not known to be monotone")
        return increasing

    def _monotone(self, method: str, mirrored: str, x: Real, mirrored_x: Real) -> Real:
        """A method of the distribution where the map increases, that of the other tail where it decreases."""
        increasing = self._increasing(method)
        if self.distribution.support.is_discrete and isinstance(self.distribution, TransformedDistribution):
            self._lacks(f"{method}: apply the composition of the two maps to the discrete distribution")
        up = getattr(self.distribution, method)(x)
        if increasing is True:
            return up
        return jnp.where(increasing, up, getattr(self.distribution, mirrored)(mirrored_x))

    def _tail_of(self, method: str, mirrored: str, value: Event) -> Real:
        x = self.support.preimage(value)
        # Of a discrete set P(X >= x) is P(X > x') for the member x' before x.
        before = jnp.ceil(x) - 1 if self.distribution.support.is_discrete else x
        return self._monotone(method, mirrored, x, before)

    def _cdf(self, value: Event) -> Real:
        return self._tail_of("cdf", "survival_function", value)

    def _survival_function(self, value: Event) -> Real:
        return self._tail_of("survival_function", "cdf", value)

    def _log_cdf(self, value: Event) -> Real:
        return self._tail_of("log_cdf", "log_survival_function", value)

    def _log_survival_function(self, value: Event) -> Real:
        return self._tail_of("log_survival_function", "log_cdf", value)

    def _quantile(self, p: Real) -> Event:
        return self.bijector.forward(self._monotone("quantile", "inverse_survival_function", p, p))

    def _inverse_survival_function(self, q: Real) -> Event:
        return self.bijector.forward(self._monotone("inverse_survival_function", "quantile", q, q))

    def _median(self) -> Event:
        self._increasing("median")
        return self.bijector.forward(self.distribution.median())

    def _mean(self) -> Real:
        if not _is_affine(self.bijector):
            self._lacks(f"mean in closed form: {type(self.bijector).__name__} is not affine")
        return self.bijector.forward(self.distribution.mean())

    def _variance(self) -> Real:
        linear, has_matrix = self._linear_part("variance")
        if has_matrix:
            return jnp.diagonal(self._covariance(), axis1=-2, axis2=-1)
        return linear.forward(linear.forward(self.distribution.variance()))

    def _stddev(self) -> Real:
        linear, has_matrix = self._linear_part("stddev")
        return jnp.sqrt(self._variance()) if has_matrix else jnp.abs(linear.forward(self.distribution.stddev()))

    def _covariance(self) -> Real:
        linear, _ = self._linear_part("covariance")
        if len(self.event_shape) != 1:
            self._lacks(f"covariance for events of shape {self.event_shape}")
        inner = self.distribution.covariance()
        n = inner.shape[-1]
        # The columns of the matrix are the images of the unit vectors.
        eye = jnp.eye(n, dtype=inner.dtype).reshape(n, *(1,) * len(self.batch_shape), n)
        matrix = jnp.moveaxis(linear.forward(jnp.broadcast_to(eye, (n, *self.batch_shape, n))), 0, -1)
        return matrix @ inner @ jnp.swapaxes(matrix, -2, -1)

    def _linear_part(self, method: str) -> tuple[Bijector, bool]:
        """An affine map without its shifts, and whether it mixes the entries of a vector."""
        if not _is_affine(self.bijector):
            self._lacks(f"{method} in closed form: {type(self.bijector).__name__} is not affine")
        parts = [b for b in _flat(self.bijector) if not isinstance(b, Shift)]
        return Chain(parts), any(isinstance(b, ScaleMatvecTriL) for b in parts)

    def _mode(self) -> Event:
        if not _is_affine(self.bijector) and not self.distribution.support.is_discrete:
            self._lacks(f"mode in closed form: {type(self.bijector).__name__} is not affine")
        return self.bijector.forward(self.distribution.mode())

    def _entropy(self) -> Real:
        if not self.bijector.is_constant_jacobian and not self.distribution.support.is_discrete:
            self._lacks(f"entropy in closed form: the Jacobian of {type(self.bijector).__name__} is not constant")
        ndims = len(self.distribution.event_shape)
        origin = jnp.zeros(self.batch_shape + self.distribution.event_shape, self._float_dtype())
        return self.distribution.entropy() + self._with_log_det(self.bijector.forward_and_log_det, origin, ndims)[1]


@register_kl(TransformedDistribution, TransformedDistribution)
def _kl_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Array:
    """Of images under the same map: that of what is mapped."""
    ours, theirs = jtu.tree_leaves(p.bijector), jtu.tree_leaves(q.bijector)
    forms: list[Any] = [jtu.tree_structure(d.bijector) for d in (p, q)]
    if forms[0] != forms[1]:
        raise no_closed_form(p, q, f" under {type(p.bijector).__name__} and {type(q.bijector).__name__}")
    if any(a.shape != b.shape for a, b in zip(ours, theirs)):
        raise no_closed_form(p, q, f" under {type(p.bijector).__name__} with parameters of different shapes")
    return kl_divergence(p.distribution, q.distribution)
