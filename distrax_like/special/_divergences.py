"""Entropies and divergences of the gamma, Dirichlet, Bernoulli and categorical distributions without cancellation.

With G(a) = log Γ(a + 1) - a log a + a, e(a) = log a - ψ(a) and D(t) = t - 1 - log t; see `_densities`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool
from numpy.polynomial.legendre import leggauss

from distrax_like._misc import Numeric, Real, promote

from ._compensated import Pair, is_double, log1p, two_sum, with_derivatives
from ._elementary import mul0
from ._log_series import expm1mx, log_and_deviance
from ._root_term import as_pair, log_minus_digamma, root_term, root_term_derivative, spread, times, total


def _quotients(x: Pair, y: Pair) -> Pair:
    """x / y - 1 and x / y."""
    return ((x[0] - y[0]) + (x[1] - y[1])) / y[0], x[0] / y[0]


def _log_quotient_value(x: Real, x_lo: Real, y: Real, y_lo: Real) -> Real:
    _, log, _ = log_and_deviance(*_quotients((x, x_lo), (y, y_lo)))
    return log


_log_quotient = with_derivatives(
    _log_quotient_value,
    lambda x, x_lo, y, y_lo: 1 / x,
    lambda x, x_lo, y, y_lo: jnp.zeros_like(x),
    lambda x, x_lo, y, y_lo: -1 / y,
    lambda x, x_lo, y, y_lo: jnp.zeros_like(y),
)


def _deviance_value(x: Real, x_lo: Real, y: Real, y_lo: Real) -> Real:
    u, t = _quotients((x, x_lo), (y, y_lo))
    near, log, deviance = log_and_deviance(u, t)
    return jnp.where(near, deviance, u - log)


_deviance_of = with_derivatives(
    _deviance_value,
    lambda x, x_lo, y, y_lo: ((x - y) + (x_lo - y_lo)) / (x * y),
    lambda x, x_lo, y, y_lo: jnp.zeros_like(x),
    lambda x, x_lo, y, y_lo: -((x - y) + (x_lo - y_lo)) / (y * y),
    lambda x, x_lo, y, y_lo: jnp.zeros_like(y),
)


def _deviance(x: Pair, y: Pair) -> Real:
    """t - 1 - log t for t = x / y."""
    return _deviance_of(*x, *y)


def _curvature(a: Real) -> Real:
    """a² (ψ'(a) - 1 / a), between 1/2 and 1."""
    return 1 + a * a * jax.jvp(root_term_derivative, (a,), (jnp.ones_like(a),))[1]


def _shape_divergence(c: Pair, a: Pair) -> Real:
    """H(c) - H(a) - (c - a) H'(a) >= 0 for H(a) = log Γ(a) - a log a + a, which is convex.

    The integral of (e^y - 1) k(c e^-y) over y from 0 to log(c / a), with k the curvature, by Gauss's rule.
    """
    log = _log_quotient(*c, *a)
    nodes, weights = (jnp.asarray(x, log.dtype) / 2 for x in leggauss(16 if is_double(log) else 8))
    close = jnp.abs(log) < 4
    step = jnp.where(close, log, 0)[..., None] * (0.5 + nodes)
    inner = jnp.where(close, c[0], 1)[..., None] * jnp.exp(-step)
    near = jnp.where(close, log, 0) * jnp.sum(weights * jnp.expm1(step) * _curvature(inner), -1)
    far = (root_term(c[0]) - root_term(a[0])) - log + (c[0] - a[0]) * log_minus_digamma(a[0])
    return jnp.where(close, near, far)


def gamma_entropy(a: Numeric, rate: Numeric) -> Real:
    """The entropy a - log(rate) + log Γ(a) + (1 - a) ψ(a) of a gamma variable, without cancellation for large a.

    Error at most 2 ulp in both widths, besides 32 epsilon near zeros.

    **Arguments:** `a`, `rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    a, rate = promote(a, rate)
    return (root_term(a) - jnp.log(rate)) + (a - 1) * log_minus_digamma(a)


def gamma_divergence(a: Numeric, rate: Numeric, other_a: Numeric, other_rate: Numeric) -> Real:
    """The Kullback-Leibler divergence of two gamma distributions, without cancellation where they are close.

    It is that of the shapes, ∫ (c - z) (ψ'(z) - 1 / z) dz from a to c = `other_a`, and c D(ρ) with the ratio ρ of the
    means. Error at most 9 ulp in both widths.

    **Arguments:** `a`, `rate`, `other_a`, `other_rate`: shapes that broadcast. **Returns:** the broadcast shape.
    """
    x: Any = promote(a, rate, other_a, other_rate)
    p, r, q, s = x
    return _shape_divergence(as_pair(q), as_pair(p)) + q * _deviance(times(p, as_pair(s)), times(q, as_pair(r)))


def dirichlet_entropy(a: Numeric) -> Real:
    """The entropy of a Dirichlet variable, without cancellation for large a.

    With k coordinates and n = Σ a_i it is Σ (G(a_i) + (a_i - 1) e(a_i)) - G(n) - (n - k) e(n) - (k - 1) log n, where
    e(a) = log a - ψ(a). Error at most 3 ulp in both widths, besides 32 epsilon near zeros.

    **Arguments:** `a`: shape `(..., k)`. **Returns:** the shape without the last axis.
    """
    a = promote(a)
    n, k = jnp.sum(a, -1), a.shape[-1]
    parts = jnp.sum(root_term(a) + (a - 1) * log_minus_digamma(a), -1)
    return parts - (root_term(n) + (n - k) * log_minus_digamma(n) + (k - 1) * jnp.log(n))


def dirichlet_divergence(a: Numeric, other_a: Numeric) -> Real:
    """The Kullback-Leibler divergence of two Dirichlet distributions, without cancellation where they are close.

    The sum of those of gamma variables, less that of their total. Error at most 64 ulp in both widths where no
    coordinate's a is above a hundred times another's; in proportion to that ratio beyond.

    **Arguments:** `a`, `other_a`: shapes `(..., k)` that broadcast. **Returns:** the shape without the last axis.
    """
    x: Any = promote(a, other_a)
    p, q = jnp.broadcast_arrays(*x)
    n, other = total(p), total(q)
    means = q * _deviance(times(p, spread(other, p)), times(q, spread(n, q)))
    return jnp.sum(_shape_divergence(as_pair(q), as_pair(p)) + means, -1) - _shape_divergence(other, n)


def bernoulli_divergence(logits: Numeric, other_logits: Numeric) -> Real:
    """The Kullback-Leibler divergence of two Bernoulli distributions, without cancellation where they are close.

    Error at most 12 ulp in both widths.

    **Arguments:** `logits`, `other_logits`: shapes that broadcast, infinite ones allowed. **Returns:** the broadcast
    shape.
    """
    l, r = jnp.broadcast_arrays(*promote(logits, other_logits))
    close = jnp.abs(r - l) < 2
    l_near, step = jnp.where(close, l, 0), jnp.where(close, r - l, 0)
    p, q = jax.nn.sigmoid(l_near), jax.nn.sigmoid(-l_near)
    near = p * expm1mx(-log1p(q * jnp.expm1(-step))) + q * expm1mx(-log1p(p * jnp.expm1(step)))

    def term(sign: int) -> Real:
        log_p, log_q = jax.nn.log_sigmoid(sign * l), jax.nn.log_sigmoid(sign * r)
        none = log_p == -jnp.inf
        return jnp.where(none, 0, jnp.exp(log_p) * (jnp.where(none, 0, log_p) - jnp.where(none, 0, log_q)))

    return jnp.where(close, near, term(1) + term(-1))


def _bernoulli_entropy_value(logits: Real) -> Real:
    infinite = jnp.isinf(logits)
    size = jnp.abs(jnp.where(infinite, 0, logits))
    return jnp.where(infinite, 0, jax.nn.softplus(-size) + size * jax.nn.sigmoid(-size))


def _bernoulli_entropy_derivative(logits: Real) -> Real:
    return -logits * jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)


_bernoulli_entropy = with_derivatives(_bernoulli_entropy_value, _bernoulli_entropy_derivative)


def bernoulli_entropy(logits: Numeric) -> Real:
    """The entropy of a Bernoulli variable, zero for infinite logits."""
    return _bernoulli_entropy(promote(logits))


def _from_the_largest(logits: Real) -> tuple[Real, Bool[Array, "... n"]]:
    """The logits less the largest of them, and which one that is."""
    top = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
    return logits - jnp.max(logits, axis=-1, keepdims=True), top


@jax.custom_jvp
def _categorical_entropy(logits: Real) -> Real:
    below, top = _from_the_largest(logits)
    weights = jnp.exp(below)
    rest = jnp.sum(jnp.where(top, 0, weights), axis=-1)
    return log1p(rest) + jnp.sum(mul0(weights, -below), axis=-1) / (1 + rest)


@_categorical_entropy.defjvp
def _(primals: Any, tangents: Any) -> Any:
    # -p_i (log p_i - Σ p_j log p_j), from differences of the logits.
    (logits,), (tangent,) = primals, tangents
    below, _ = _from_the_largest(logits)
    p = jax.nn.softmax(logits)
    mean = jnp.sum(mul0(p, below), axis=-1, keepdims=True)
    return _categorical_entropy(logits), -jnp.sum(mul0(p, below - mean) * tangent, axis=-1)


def categorical_entropy(logits: Numeric) -> Real:
    """The entropy of a categorical variable, to full relative accuracy where it is nearly certain.

    With s_i <= 0 the logits less the largest one, it is log Σ exp(s_i) - Σ p_i s_i, both of which are positive.

    **Arguments:** `logits`: shape `(..., n)`, minus infinity allowed. **Returns:** the shape without the last axis.
    """
    return _categorical_entropy(promote(logits))


def categorical_divergence(logits: Numeric, other_logits: Numeric) -> Real:
    """The Kullback-Leibler divergence of two categorical distributions, without cancellation where they are close.

    With d_i = log(q_i / p_i), from differences of the logits, it is Σ p_i (exp(d_i) - 1 - d_i), in which no term is
    negative.

    **Arguments:** `logits`, `other_logits`: shapes `(..., n)` that broadcast, minus infinity allowed. **Returns:** the
    shape without the last axis.
    """
    l, r = jnp.broadcast_arrays(*promote(logits, other_logits))
    none, lost = l == -jnp.inf, r == -jnp.inf
    p, q = jax.nn.softmax(l), jax.nn.softmax(r)
    # Less one of them, so that a constant added to all logits of one drops out, and exactly: it may be large.
    step, step_lo = two_sum(jnp.where(none | lost, 0, r), -jnp.where(none | lost, 0, l))
    top = jnp.argmax(jnp.where(lost, -jnp.inf, l), axis=-1, keepdims=True)
    at_top, at_top_lo = (jnp.take_along_axis(x, top, axis=-1) for x in (step, step_lo))
    step = (step - at_top) + (step_lo - at_top_lo)
    close = jnp.all((none == lost) & (none | (jnp.abs(step) < 1)), axis=-1, keepdims=True)
    near = jnp.where(close, step, 0)
    shift = log1p(jnp.sum(jnp.where(none, 0, p * jnp.expm1(near)), axis=-1, keepdims=True))
    far = jnp.where(none | lost, 0, jax.nn.log_softmax(r) - jax.nn.log_softmax(l))
    d = jnp.where(close, near - shift, far)
    small = jnp.abs(d) < 1
    terms = jnp.where(small, p * expm1mx(jnp.where(small, d, 0)), (q - p) - p * d)
    return jnp.sum(jnp.where(none, q, jnp.where(lost, jnp.inf, terms)), axis=-1)
