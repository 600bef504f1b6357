"""The base class of location-scale families."""

from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from distrax_like._misc import Event, Real, Shape
from distrax_like._module import parameter
from distrax_like.supports import Support, positive, real

from ._distribution import Distribution
from ._special_cases import QUOTIENT, power_law


class LocationScale(Distribution):
    """The distribution of x = loc + scale z for z from a standard member of the family.

    A subclass writes `__init__` and, of the standard member, `_standard_log_prob(z)`, `_standard_sample(key, shape)`
    and any of `_standard_cdf`, `_standard_log_cdf`, `_standard_quantile`, `_standard_variance`, `_standard_entropy`, ….
    Where it is symmetric about zero, the upper tail and the centre follow from that; where its support is not the
    real line, it also writes `support`.
    """

    is_symmetric: ClassVar[bool] = False

    loc: Float[Array, "*#batch"] = parameter(real)
    scale: Float[Array, "*#batch"] = parameter(positive)

    @property
    def support(self) -> Support:
        return real

    # Of the standard member.

    def _standard_log_prob(self, z: Real) -> Real:
        self._lacks("log_prob")

    def _standard_sample(self, key: PRNGKeyArray, shape: Shape) -> Real:
        self._lacks("sample")

    def _standard_cdf(self, z: Real) -> Real:
        self._lacks("cdf")

    def _standard_log_cdf(self, z: Real) -> Real:
        self._lacks("log_cdf")

    def _standard_survival_function(self, z: Real) -> Real:
        return self._standard_cdf(-z) if self.is_symmetric else self._lacks("survival_function")

    def _standard_log_survival_function(self, z: Real) -> Real:
        return self._standard_log_cdf(-z) if self.is_symmetric else self._lacks("log_survival_function")

    def _standard_quantile(self, p: Real) -> Real:
        self._lacks("quantile")

    def _standard_inverse_survival_function(self, q: Real) -> Real:
        return -self._standard_quantile(q) if self.is_symmetric else self._standard_quantile(1 - q)

    def _standard_mean(self) -> Real | float:
        return 0.0 if self.is_symmetric else self._lacks("mean")

    def _standard_median(self) -> Real | float:
        return 0.0 if self.is_symmetric else self._standard_quantile(jnp.asarray(0.5, self.loc.dtype))

    def _standard_mode(self) -> Real | float:
        return 0.0 if self.is_symmetric else self._lacks("mode")

    def _standard_variance(self) -> Real | float:
        self._lacks("variance")

    def _standard_entropy(self) -> Real | float:
        self._lacks("entropy")

    def _tail_index(self) -> Real | float | None:
        """The a of a density that falls like |z|^-(a + 1); None where it falls faster than any power."""
        return None

    # What follows from it.

    def _log_of(
        self, formula: Callable[[Real], Real], value: Event, extra: int, where: Bool[Array, "..."] | bool = True
    ) -> Real:
        """`formula(z)`: the log density or a log tail, which falls like |z|^-(index + extra) on the sides `where`."""
        index = self._tail_index()
        if index is None:
            return formula(self._z(value))
        exponent = jnp.where(where, -(index + extra), 0)
        return power_law(formula, QUOTIENT, value - self.loc, self.scale, at_infinity=exponent)

    def _z(self, value: Event) -> Real:
        return (value - self.loc) / self.scale

    def _at(self, z: Real | float) -> Event:
        return self.loc if isinstance(z, float) and not z else self.loc + self.scale * z

    def _log_prob(self, value: Event) -> Real:
        return self._log_of(self._standard_log_prob, value, 1) - jnp.log(self.scale)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        return self._at(self._standard_sample(key, shape))

    def _cdf(self, value: Event) -> Real:
        return self._standard_cdf(self._z(value))

    def _log_cdf(self, value: Event) -> Real:
        return self._log_of(self._standard_log_cdf, value, 0, value < self.loc)

    def _survival_function(self, value: Event) -> Real:
        return self._standard_survival_function(self._z(value))

    def _log_survival_function(self, value: Event) -> Real:
        return self._log_of(self._standard_log_survival_function, value, 0, value > self.loc)

    def _quantile(self, p: Real) -> Event:
        return self._at(self._standard_quantile(p))

    def _inverse_survival_function(self, q: Real) -> Event:
        return self._at(self._standard_inverse_survival_function(q))

    def _mean(self) -> Real:
        return self._at(self._standard_mean())

    def _median(self) -> Event:
        return self._at(self._standard_median())

    def _mode(self) -> Event:
        return self._at(self._standard_mode())

    def _variance(self) -> Real:
        return self.scale**2 * self._standard_variance()

    def _stddev(self) -> Real:
        return self.scale * jnp.sqrt(self._standard_variance())

    def _entropy(self) -> Real:
        return jnp.log(self.scale) + self._standard_entropy()
