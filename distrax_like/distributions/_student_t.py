"""Student's t distribution."""

import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like import random, special
from distrax_like._misc import Event, Numeric, Real, Shape, promote
from distrax_like._module import parameter
from distrax_like.special import log1psquare
from distrax_like.supports import Support, positive, real

from ._distribution import Distribution

_HALF_LOG_PI = 0.5 * float(np.log(np.pi))

# From here on the asymptotic series below are good to the last bit of a double.
_LARGE = 30


def log_gamma_half_step(x: Real) -> Real:
    """log Γ(x + 1/2) - log Γ(x) - log(x) / 2, which for large x is the small difference of large numbers: there it is
    the asymptotic series -1/(8x) + 1/(192x^3) - 1/(640x^5) + 17/(14336x^7) (DLMF 5.11.8)."""
    large = x > _LARGE
    u = 1 / jnp.where(large, x, _LARGE)
    series = u * (-1 / 8 + u**2 * (1 / 192 + u**2 * (-1 / 640 + u**2 * (17 / 14336))))
    x = jnp.where(large, 1, x)
    return jnp.where(large, series, jsp.gammaln(x + 0.5) - jsp.gammaln(x) - 0.5 * jnp.log(x))


def digamma_half_step(x: Real) -> Real:
    """x (ψ(x + 1/2) - ψ(x)), by the derivative of the series of `log_gamma_half_step` for large x."""
    large = x > _LARGE
    u = 1 / jnp.where(large, x, _LARGE)
    series = 0.5 + u * (1 / 8 + u**2 * (-1 / 64 + u**2 * (1 / 128 - u**2 * (17 / 2048))))
    x = jnp.where(large, 1, x)
    return jnp.where(large, series, x * (jsp.digamma(x + 0.5) - jsp.digamma(x)))


def _log_density(z: Real, df: Real) -> Real:
    # With scale one. (df + 1) / 2 = df / 2 + 1 / 2 times a small logarithm needs no care for many degrees of freedom.
    normalizer = log_gamma_half_step(df / 2) - 0.5 * float(np.log(2)) - _HALF_LOG_PI
    return normalizer - (df + 1) / 2 * log1psquare(z / jnp.sqrt(df))


class StudentT(Distribution):
    """Student's t distribution, with density (1 + z^2 / df)^(-(df + 1) / 2) / (scale sqrt(df) B(1 / 2, df / 2)) for
    z = (x - loc) / scale.

    The mean is NaN for df <= 1; the variance is infinite for 1 < df <= 2 and NaN below.

    **Arguments:** `df`: degrees of freedom, positive; `loc`: the centre; `scale`: positive.
    """

    df: Float[Array, "*#batch"] = parameter(positive)
    loc: Float[Array, "*#batch"] = parameter(real)
    scale: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, df: Numeric, loc: Numeric, scale: Numeric):
        self.df, self.loc, self.scale = promote(df, loc, scale)

    @property
    def support(self) -> Support:
        return real

    def _z(self, value: Event) -> Real:
        return (value - self.loc) / self.scale

    def _log_prob(self, value: Event) -> Real:
        return _log_density(self._z(value), self.df) - jnp.log(self.scale)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self.loc + self.scale * random.t(key, self.df, shape)

    def _cdf(self, value: Event) -> Real:
        return special.stdtr(self.df, self._z(value))

    def _log_cdf(self, value: Event) -> Real:
        return special.log_stdtr(self.df, self._z(value))

    def _survival_function(self, value: Event) -> Real:
        return special.stdtr(self.df, -self._z(value))

    def _log_survival_function(self, value: Event) -> Real:
        return special.log_stdtr(self.df, -self._z(value))

    def _quantile(self, p: Real) -> Event:
        return self.loc + self.scale * special.stdtrit(self.df, p)

    def _mean(self) -> Real:
        return jnp.where(self.df > 1, self.loc, jnp.nan)

    def _median(self) -> Event:
        return self.loc

    def _mode(self) -> Event:
        return self.loc

    def _variance(self) -> Real:
        finite = self.df > 2
        df = jnp.where(finite, self.df, 4)
        variance = jnp.where(finite, df / (df - 2), jnp.where(self.df > 1, jnp.inf, jnp.nan))
        return self.scale**2 * variance

    def _entropy(self) -> Real:
        half = self.df / 2
        # (df + 1) / 2 (ψ((df + 1) / 2) - ψ(df / 2)) + log(sqrt(df) B(1/2, df/2)), with B in terms of the half step.
        digammas = digamma_half_step(half) * (1 + 1 / self.df)
        return digammas + 0.5 * float(np.log(2)) + _HALF_LOG_PI - log_gamma_half_step(half) + jnp.log(self.scale)
