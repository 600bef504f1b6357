"""Student's t distribution."""

from typing import ClassVar

import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, keep_within, promote
from distrax_like._module import parameter
from distrax_like.special import log1psquare
from distrax_like.special._constants import LOG_2, LOG_PI
from distrax_like.supports import positive

from ._location_scale import LocationScale

# From here on the asymptotic series below are good to the last bit of a double.
_ASYMPTOTIC_FROM = 30


def log_gamma_half_step(x: Real) -> Real:
    """log Γ(x + 1/2) - log Γ(x) - log(x) / 2, which for large x is the small difference of large numbers: there it is
    the asymptotic series -1/(8x) + 1/(192x^3) - 1/(640x^5) + 17/(14336x^7) (DLMF 5.11.8)."""
    large = x > _ASYMPTOTIC_FROM
    u = 1 / jnp.where(large, x, _ASYMPTOTIC_FROM)
    series = u * (-1 / 8 + u**2 * (1 / 192 + u**2 * (-1 / 640 + u**2 * (17 / 14336))))
    x = jnp.where(large, 1, x)
    return jnp.where(large, series, jsp.gammaln(x + 0.5) - jsp.gammaln(x) - 0.5 * jnp.log(x))


def digamma_half_step(x: Real) -> Real:
    """x (ψ(x + 1/2) - ψ(x)), by the derivative of the series of `log_gamma_half_step` for large x."""
    large = x > _ASYMPTOTIC_FROM
    u = 1 / jnp.where(large, x, _ASYMPTOTIC_FROM)
    series = 0.5 + u * (1 / 8 + u**2 * (-1 / 64 + u**2 * (1 / 128 - u**2 * (17 / 2048))))
    x = jnp.where(large, 1, x)
    return jnp.where(large, series, x * (jsp.digamma(x + 0.5) - jsp.digamma(x)))


class StudentT(LocationScale):
    """Student's t distribution, with density (1 + z^2 / df)^(-(df + 1) / 2) / (scale sqrt(df) B(1 / 2, df / 2)) for
    z = (x - loc) / scale.

    The mean is NaN for df <= 1; the variance is infinite for 1 < df <= 2 and NaN below.

    **Arguments:** `df`: degrees of freedom, positive; `loc`: the centre; `scale`: positive.
    """

    is_symmetric: ClassVar[bool] = True

    df: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, df: Numeric, loc: Numeric, scale: Numeric):
        self.df, self.loc, self.scale = promote(df, loc, scale)

    def _standard_log_prob(self, z: Real) -> Real:
        # (df + 1) / 2 = df / 2 + 1 / 2 times a small logarithm needs no care for many degrees of freedom.
        df, normal = self._finite_df()
        exponent = jnp.where(normal, z**2 / 2, (df + 1) / 2 * log1psquare(z / jnp.sqrt(df)))
        return -exponent - self._log_normalizer()

    def _finite_df(self) -> tuple[Real, Bool[Array, "..."]]:
        """The degrees of freedom, with a finite stand-in for infinite ones; and where they are infinite."""
        normal = jnp.isinf(self.df)
        return jnp.where(normal, 1, self.df), normal

    def _log_normalizer(self) -> Real:
        """log(sqrt(df) B(1 / 2, df / 2))."""
        return (LOG_2 + LOG_PI) / 2 - log_gamma_half_step(self.df / 2)

    def _standard_sample(self, key: PRNGKeyArray, shape: Shape) -> Real:
        return random.t(key, self.df, shape)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        # For few degrees of freedom draws overflow: the largest are those at which the density does not.
        largest = jnp.finfo(self.loc.dtype).max / 4 * jnp.minimum(1, self.scale * jnp.sqrt(jnp.minimum(self.df, 1)))
        return keep_within(super()._sample(key, shape), -largest, largest)

    def _standard_cdf(self, z: Real) -> Real:
        return special.stdtr(self.df, z)

    def _standard_log_cdf(self, z: Real) -> Real:
        return special.log_stdtr(self.df, z)

    def _standard_quantile(self, p: Real) -> Real:
        return special.stdtrit(self.df, p)

    def _tail_index(self) -> Real:
        # A normal distribution has no power of z to fall with, and its log density has overflowed where z has.
        df, normal = self._finite_df()
        return jnp.where(normal, 0, df)

    def _standard_mean(self) -> Real:
        return jnp.where(self.df > 1, 0.0, jnp.nan)

    def _standard_variance(self) -> Real:
        finite = self.df > 2
        # Divided by df, which may be infinite.
        return jnp.where(finite, 1 / (1 - 2 / jnp.where(finite, self.df, 4)), jnp.where(self.df > 1, jnp.inf, jnp.nan))

    def _standard_entropy(self) -> Real:
        # (df + 1) / 2 (ψ((df + 1) / 2) - ψ(df / 2)) and the normalizer.
        return digamma_half_step(self.df / 2) * (1 + 1 / self.df) + self._log_normalizer()
