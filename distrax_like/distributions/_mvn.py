"""Multivariate normal distributions by the form of their scale."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Event, Numeric, Real, Shape, promote, sum_last
from distrax_like._module import parameter
from distrax_like.math import solve_lower
from distrax_like.special import expm1mx
from distrax_like.special._constants import HALF_LOG_2PI
from distrax_like.supports import Support, lower_cholesky, positive, real, real_vector

from ._distribution import Distribution
from ._kl import register_kl


class MultivariateNormalDiag(Distribution):
    """The normal distribution of a vector with independent entries.

    **Arguments:** `loc`: the mean, of shape `batch + (d,)` (zeros where not given); `scale_diag`: the standard
    deviations, positive, of the same shape (ones where not given). A number, or a vector of one, stands for d equal
    entries.

    **Raises:** `ValueError` where neither is given.
    """

    loc: Float[Array, "*#batch d"] = parameter(real)
    scale_diag: Float[Array, "*#batch d"] = parameter(positive)

    def __init__(self, loc: Numeric | None = None, scale_diag: Numeric | None = None):
        filled = _filled("MultivariateNormalDiag", loc, scale_diag)
        self.loc, self.scale_diag = _widened(filled[0], filled[1], 1), _widened(filled[1], filled[0], 1)

    @property
    def support(self) -> Support:
        return real_vector

    def _event_shape(self) -> Shape:
        return self.loc.shape[-1:]

    def _log_prob(self, value: Event) -> Real:
        z = (value - self.loc) / self.scale_diag
        return -0.5 * sum_last(z**2) - jnp.sum(jnp.log(self.scale_diag) + HALF_LOG_2PI, axis=-1)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self.loc + self.scale_diag * jax.random.normal(key, shape + self.event_shape, self.loc.dtype)

    def _mean(self) -> Real:
        return self.loc

    def _mode(self) -> Event:
        return self.loc

    def _variance(self) -> Real:
        return self.scale_diag**2

    def _stddev(self) -> Real:
        return self.scale_diag

    def _covariance(self) -> Real:
        return self.scale_diag[..., None] ** 2 * jnp.eye(self.event_shape[0], dtype=self.loc.dtype)

    def _entropy(self) -> Real:
        return jnp.sum(0.5 + HALF_LOG_2PI + jnp.log(self.scale_diag), axis=-1)


class MultivariateNormalTriL(Distribution):
    """The normal distribution of a vector with mean loc and covariance L L^T.

    **Arguments:** `loc`: of shape `batch + (d,)` (zeros where not given; a number, or a vector of one, stands for d
    equal entries); `scale_tril`: L, lower triangular with a
    positive diagonal, of shape `batch + (d, d)` (the identity where not given). Entries above the diagonal are not
    read.

    **Raises:** `ValueError` where neither is given.
    """

    loc: Float[Array, "*#batch d"] = parameter(real)
    scale_tril: Float[Array, "*#batch d d"] = parameter(lower_cholesky)

    def __init__(self, loc: Numeric | None = None, scale_tril: Numeric | None = None):
        if scale_tril is None and loc is not None:
            loc = promote(loc)
            scale_tril = jnp.eye(loc.shape[-1], dtype=loc.dtype)
        elif loc is None and scale_tril is not None:
            scale_tril = promote(scale_tril)
            loc = jnp.zeros(scale_tril.shape[-1:], scale_tril.dtype)
        elif loc is None:
            raise ValueError("MultivariateNormalTriL takes at least one of loc and scale_tril")
        promoted: Any = promote(loc, scale_tril)
        self.loc, self.scale_tril = _widened(promoted[0], promoted[1], 2), promoted[1]

    @property
    def support(self) -> Support:
        return real_vector

    def _event_shape(self) -> Shape:
        return self.loc.shape[-1:]

    def _log_diagonal(self) -> Real:
        return jnp.log(jnp.diagonal(self.scale_tril, axis1=-2, axis2=-1))

    def _log_prob(self, value: Event) -> Real:
        z = solve_lower(self.scale_tril, value - self.loc)
        return -0.5 * jnp.sum(z**2, axis=-1) - jnp.sum(self._log_diagonal() + HALF_LOG_2PI, axis=-1)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        z = jax.random.normal(key, shape + self.event_shape, self.loc.dtype)
        return self.loc + jnp.einsum("...ij,...j->...i", jnp.tril(self.scale_tril), z)

    def _mean(self) -> Real:
        return self.loc

    def _mode(self) -> Event:
        return self.loc

    def _variance(self) -> Real:
        return jnp.sum(jnp.tril(self.scale_tril) ** 2, axis=-1)

    def _covariance(self) -> Real:
        factor = jnp.tril(self.scale_tril)
        return factor @ jnp.swapaxes(factor, -2, -1)

    def _entropy(self) -> Real:
        return jnp.sum(0.5 + HALF_LOG_2PI + self._log_diagonal(), axis=-1)


def _widened(x: Array, other: Array, ndims: int) -> Array:
    """A number, or a vector of one, as one of the length of the other parameter, which has `ndims` event dimensions."""
    if other.ndim < ndims or (x.ndim and x.shape[-1] != 1):
        return x
    return jnp.broadcast_to(x, (*x.shape[:-1], other.shape[-1]))


def _filled(who: str, loc: Numeric | None, scale: Numeric | None) -> tuple[Array, ...]:
    """loc and a scale of the same kind, zeros and ones where one of them is not given."""
    if loc is None and scale is None:
        raise ValueError(f"{who} takes at least one of loc and scale_diag")
    arrays: Any = promote(loc, scale)
    return tuple(jnp.full_like(arrays[1 - i], i) if arrays[i] is None else arrays[i] for i in (0, 1))


def _factor(p: MultivariateNormalDiag | MultivariateNormalTriL) -> Array:
    if isinstance(p, MultivariateNormalTriL):
        return jnp.tril(p.scale_tril)
    return p.scale_diag[..., None] * jnp.eye(p.event_shape[0], dtype=p.loc.dtype)


@register_kl(MultivariateNormalDiag, MultivariateNormalDiag)
def _kl_diag_diag(p: MultivariateNormalDiag, q: MultivariateNormalDiag) -> Array:
    log_ratio = 2 * (jnp.log(p.scale_diag) - jnp.log(q.scale_diag))
    z = (p.loc - q.loc) / q.scale_diag
    return 0.5 * jnp.sum(z**2 + expm1mx(log_ratio), axis=-1)


@register_kl(MultivariateNormalTriL, MultivariateNormalTriL)
@register_kl(MultivariateNormalTriL, MultivariateNormalDiag)
@register_kl(MultivariateNormalDiag, MultivariateNormalTriL)
def _kl_tril(
    p: MultivariateNormalDiag | MultivariateNormalTriL, q: MultivariateNormalDiag | MultivariateNormalTriL
) -> Array:
    a, b = _factor(p), _factor(q)
    lead = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    ratio = jsl.solve_triangular(b, a, lower=True)
    log_diagonal = jnp.log(jnp.diagonal(ratio, axis1=-2, axis2=-1))
    z = solve_lower(b, jnp.broadcast_to(p.loc - q.loc, (*lead, a.shape[-1])))
    off_diagonal = jnp.sum(jnp.tril(ratio, -1) ** 2, axis=(-2, -1))
    diagonal = jnp.sum(expm1mx(2 * log_diagonal), axis=-1)
    return 0.5 * (jnp.sum(z**2, axis=-1) + off_diagonal + diagonal)
