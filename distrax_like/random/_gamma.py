"""Gamma variables, and the beta, Dirichlet, Student's t and Wishart variables."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Real, Shape
from distrax_like.math import gauss_legendre

from ._rejection import ShapeLike, flat, normal, prepare, rejection, symmetric, unit, word


def gamma(key: PRNGKeyArray, a: Numeric, shape: ShapeLike | None = None, dtype: Any = None) -> Float[Array, "..."]:
    """Gamma variables, with density x^(a - 1) exp(-x) / Γ(a).

    The method is that of `loggamma`. Variables of a small concentration may be below the smallest floating number and
    then round to zero, in float32 four of ten at a concentration of 0.01; `loggamma` does not lose them.

    **Arguments:** `key`: a random key; `a`: the concentrations, positive; `shape`: of the result, to which that of `a`
    broadcasts, by default that of `a`; `dtype`: by default that of `a`.

    **Returns:** draws of shape `shape`, NaN where `a` is not positive and finite, differentiable in `a`.
    """
    key, shape, dtype, (a,) = prepare("gamma", key, shape, dtype, a)
    core, log_core, tail = _marsaglia_tsang(key, a, shape)
    log_x = _implicit(jnp.broadcast_to(a, shape), log_core - tail)
    # The derivative is that of exp(log_x); the value is not, since it loses digits for large concentrations.
    return (core * jnp.exp(-tail) * jnp.exp(log_x - jax.lax.stop_gradient(log_x))).astype(dtype)


def loggamma(key: PRNGKeyArray, a: Numeric, shape: ShapeLike | None = None, dtype: Any = None) -> Float[Array, "..."]:
    """Logs of gamma variables, finite for the smallest concentrations.

    Method: for a >= 1, d (1 + x / (3 sqrt d))^3 with d = a - 1/3 and normal x is accepted with probability exp(h), h =
    3 d (log(1 + t) - t + t^2 / 2 - t^3 / 3), t = x / (3 sqrt d), at least 0.95 of the time. The accepting uniform U
    leaves E = h - log U, which given acceptance is exponential and independent of x; for a < 1, a draw for a + 1 is
    multiplied by exp(-E / a), so the boost costs no further random number. Source: Marsaglia and Tsang, "A simple
    method for generating gamma variables", ACM TOMS 26 (2000), but for the form of h and the second use of U.

    The derivative in `a` is that at a fixed value of the distribution function (Figurnov, Mohamed and Mnih, "Implicit
    reparameterization gradients", 2018), to about 1e-6 in single and 1e-13 in double precision, and can be
    differentiated again.

    Arguments and result as for `gamma`.
    """
    key, shape, dtype, (a,) = prepare("loggamma", key, shape, dtype, a)
    return _loggamma(key, a, shape).astype(dtype)


def beta(
    key: PRNGKeyArray, a: Numeric, b: Numeric, shape: ShapeLike | None = None, dtype: Any = None
) -> Float[Array, "..."]:
    """Beta variables, with density x^(a - 1) (1 - x)^(b - 1) / B(a, b).

    They are X / (X + Y) for two gamma variables, computed from their logs. Where a concentration is small most of them
    round to 0 or 1; `log_beta` does not lose them.

    **Arguments:** `key`: a random key; `a`, `b`: the concentrations, positive; `shape`: of the result, to which they
    broadcast; `dtype`: by default theirs.

    **Returns:** draws of shape `shape`, differentiable in `a` and `b`.
    """
    key, shape, dtype, (a, b) = prepare("beta", key, shape, dtype, a, b)
    return jax.nn.sigmoid(_beta_logit(key, a, b, shape)).astype(dtype)


def log_beta(
    key: PRNGKeyArray, a: Numeric, b: Numeric, shape: ShapeLike | None = None, dtype: Any = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The pair log x, log(1 - x) for beta variables x, both finite for the smallest concentrations; see `beta`."""
    key, shape, dtype, (a, b) = prepare("log_beta", key, shape, dtype, a, b)
    logit = _beta_logit(key, a, b, shape)
    return -jax.nn.softplus(-logit).astype(dtype), -jax.nn.softplus(logit).astype(dtype)


def dirichlet(
    key: PRNGKeyArray, alpha: Numeric, shape: ShapeLike | None = None, dtype: Any = None
) -> Float[Array, "... n"]:
    """Dirichlet variables: gamma variables divided by their sum.

    **Arguments:** `key`: a random key; `alpha`: the concentrations, positive, of shape `batch + (n,)`; `shape`: of the
    batch of draws, without n; `dtype`: by default that of `alpha`.

    **Returns:** draws of shape `shape + (n,)`, differentiable in `alpha`.
    """
    return jnp.exp(log_dirichlet(key, alpha, shape, dtype))


def log_dirichlet(
    key: PRNGKeyArray, alpha: Numeric, shape: ShapeLike | None = None, dtype: Any = None
) -> Float[Array, "... n"]:
    """Logs of Dirichlet variables, finite for the smallest concentrations; see `dirichlet`."""
    key, shape, dtype, (alpha,) = prepare("log_dirichlet", key, shape, dtype, alpha, event=1)
    return jax.nn.log_softmax(_loggamma(key, alpha, shape + alpha.shape[-1:])).astype(dtype)


def t(key: PRNGKeyArray, df: Numeric, shape: ShapeLike | None = None, dtype: Any = None) -> Float[Array, "..."]:
    """Student's t variables.

    They are sqrt(df (U^(-2 / df) - 1)) cos(2 π V) with uniform U and V, which is exact, needs no rejection and is
    differentiable in `df`. Source: Bailey, "Polar generation of random variates with the t-distribution", Math.
    Comp. 62 (1994).

    **Arguments:** `key`: a random key; `df`: degrees of freedom, positive, or infinite for normal variables; `shape`:
    of the result, to which that of `df` broadcasts; `dtype`: by default that of `df`.

    **Returns:** draws of shape `shape`, NaN where `df` is not positive.
    """
    key, shape, dtype, (df,) = prepare("t", key, shape, dtype, df)
    return _bailey(key, df, shape).astype(dtype)


def wishart_factor(
    key: PRNGKeyArray, df: Numeric, n: int, shape: ShapeLike | None = None, dtype: Any = None
) -> Float[Array, "... n n"]:
    """Lower triangular factors A of standard Wishart variables A A^T (Bartlett's decomposition).

    The squares of the diagonal entries are chi-squared with df, df - 1, … degrees of freedom, the entries below the
    diagonal are standard normal. For a scale matrix L L^T the factor is L A.

    **Arguments:** `key`: a random key; `df`: degrees of freedom, greater than n - 1; `n`: rows; `shape`: of the batch
    of draws, to which that of `df` broadcasts; `dtype`: by default that of `df`.

    **Returns:** draws of shape `shape + (n, n)`, differentiable in `df`.
    """
    key, shape, dtype, (df,) = prepare("wishart_factor", key, shape, dtype, df)
    keys = jax.random.split(key)
    half = (df[..., None] - jnp.arange(n, dtype=df.dtype)) / 2
    diagonal = jnp.exp((_loggamma(keys[0], half, (*shape, n)) + math.log(2)) / 2)
    below = jnp.tril(jax.random.normal(keys[1], (*shape, n, n), df.dtype), -1)
    return (below + diagonal[..., None] * jnp.eye(n, dtype=df.dtype)).astype(dtype)


@functools.partial(jax.jit, static_argnames="shape")
def _bailey(key: PRNGKeyArray, df: Real, shape: Shape) -> Real:
    bits = jax.random.bits(key, (2, *shape), word(df.dtype))
    twice = -2 * jnp.log(unit(bits[0], df.dtype))
    y = twice / jnp.where(df > 0, df, jnp.nan)
    # df expm1(y) = twice * expm1(y) / y, whose derivative in y cancels near zero: there the Taylor series is used.
    small = y < 0.5
    z, big = jnp.where(small, y, 0), jnp.where(small, 1, y)
    series = jnp.ones_like(z)
    for k in range(15, 1, -1):
        series = 1 + z / k * series
    # The square root of expm1(y) / y. Taken in two factors, since expm1(y) overflows before its root does.
    direct = jnp.exp(big / 2) * jnp.sqrt(-jnp.expm1(-big) / big)
    radius = jnp.sqrt(twice) * jnp.where(small, jnp.sqrt(series), direct)
    return radius * jnp.cos(math.pi * symmetric(bits[1], df.dtype))


def _loggamma(key: PRNGKeyArray, a: Real, shape: Shape) -> Real:
    _, log_core, tail = _marsaglia_tsang(key, a, shape)
    return _implicit(jnp.broadcast_to(a, shape), log_core - tail)


def _beta_logit(key: PRNGKeyArray, a: Real, b: Real, shape: Shape) -> Real:
    both = jnp.stack([jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape)])
    log_x = _loggamma(key, both, both.shape)
    return log_x[0] - log_x[1]


@functools.partial(jax.jit, static_argnames="shape")
def _marsaglia_tsang(key: PRNGKeyArray, a: Real, shape: Shape) -> tuple[Real, Real, Real]:
    """Three arrays (core, log core, tail) such that core * exp(-tail) is a gamma variable."""
    (a,) = flat(shape, a)
    dtype = a.dtype
    # Proposals for an invalid parameter would never be accepted, and the loop would not end.
    valid = (a > 0) & (a < jnp.inf)
    a = jnp.where(valid, a, 1)
    d = jnp.where(a < 1, a + 1, a) - 1 / 3

    def propose(bits, d):
        t = normal(bits[0], dtype) / (3 * jnp.sqrt(d))
        inside = t > -1
        t = jnp.where(inside, t, 0)
        exponential = 3 * d * _log1p_remainder(t) - jnp.log(unit(bits[1], dtype))
        return (t, exponential), inside & (exponential > 0)

    if a.size:
        t, exponential = rejection(key, 2, word(dtype), propose, d)
    else:
        t, exponential = a, a
    core = jnp.where(valid, d * (1 + t) ** 3, jnp.nan)
    log_core = jnp.where(valid, jnp.log(d) + 3 * jnp.log1p(t), jnp.nan)
    # Bounded, since the difference of two infinite logs is NaN.
    limit = float(jnp.finfo(dtype).max) / 4
    tail = jnp.where(a < 1, jnp.minimum(exponential / a, limit), 0)
    return core.reshape(shape), log_core.reshape(shape), tail.reshape(shape)


def _log1p_remainder(t: Real) -> Real:
    """log(1 + t) - t + t^2 / 2 - t^3 / 3, by its Taylor series where it would cancel."""
    small = jnp.abs(t) < 0.1
    s = jnp.where(small, t, 0)
    series = -(s**4) * (1 / 4 - s * (1 / 5 - s * (1 / 6 - s * (1 / 7 - s * (1 / 8 - s * (1 / 9))))))
    return jnp.where(small, series, jnp.log1p(t) - t * (1 - t * (1 / 2 - t / 3)))


@jax.custom_jvp
def _implicit(a: Real, log_x: Real) -> Real:
    """log_x, with the derivative in `a` that keeps the distribution function of the gamma distribution fixed."""
    return log_x


@_implicit.defjvp
def _(primals, tangents):
    a, log_x = primals
    # The derivative at the result and not at the argument, so that second derivatives are right too.
    out = _implicit(a, log_x)
    return out, log_gamma_derivative(a, out) * tangents[0]


@jax.jit
def log_gamma_derivative(a: Real, log_x: Real) -> Real:
    """d log x / d a at a fixed value of the distribution function of the gamma distribution.

    With S = Σ x^k / (a + 1)_k and H_k = Σ_{j <= k} 1 / (a + j), it is
    (S (ψ(a + 1) - log x) + Σ H_k x^k / (a + 1)_k) / a, used for x <= 1. With c = log x - ψ(a), it is also
    ∫ (v - c) exp(-a v + x (1 - exp(-v))) dv over v > 0, used for x < a, and
    ∫ (v + c) exp(a v - x (exp(v) - 1)) dv, used for x >= a. These integrands have one sign except for c near 0, and are
    integrated by Gauss-Legendre quadrature up to where the exponential is negligible.
    """
    dtype = a.dtype
    single = jnp.finfo(dtype).bits <= 32
    low = log_x <= 0
    valid = a > 0

    # The series.
    b, y = jnp.where(low & valid, a, 1), jnp.where(low, log_x, 0)
    x = jnp.exp(y)
    term, total, harmonic, weighted = jnp.ones_like(x), jnp.ones_like(x), jnp.zeros_like(x), jnp.zeros_like(x)
    for k in range(1, 12 if single else 20):
        term = term * x / (b + k)
        harmonic = harmonic + 1 / (b + k)
        total, weighted = total + term, weighted + term * harmonic
    series = (total * (jsp.digamma(b + 1) - y) + weighted) / b

    # The integrals.
    b = jnp.where(low | ~valid, 1, a)
    x = jnp.exp(jnp.where(low, 1, log_x))
    gap = jnp.abs(x - b)
    sign = jnp.where(x < b, -1, 1).astype(dtype)
    limit = 20.0 if single else 42.0
    r = limit / jax.lax.stop_gradient(x)
    # Where x (exp(w) - 1 - w) exceeds the limit for w = end and for w = -end.
    end = jnp.where(sign > 0, jnp.log1p(r + jnp.sqrt(2 * r)), (r + jnp.sqrt(r * (r + 8))) / 2)
    end = jnp.minimum(end, limit / jnp.maximum(jax.lax.stop_gradient(gap), jnp.finfo(dtype).tiny * limit))
    # log a - ψ(a), by its asymptotic series where the two would cancel (DLMF 5.11.2).
    u = 1 / jnp.maximum(b, 8)
    minus_digamma = jnp.where(
        b > 8,
        u * (1 / 2 + u * (1 / 12 - u**2 * (1 / 120 - u**2 * (1 / 252 - u**2 * (1 / 240 - u**2 / 132))))),
        jnp.log(jnp.minimum(b, 8)) - jsp.digamma(jnp.minimum(b, 8)),
    )
    c = sign * (_log_ratio(x, b) + minus_digamma)
    integral = gauss_legendre(
        lambda v: (v + c) * jnp.exp(-gap * v - x * _expm1_remainder(sign * v)), 0, end, 20 if single else 40
    )
    derivative = jnp.where(low, series, integral)
    return jnp.where(valid, derivative, jnp.nan)


def _log_ratio(x: Real, a: Real) -> Real:
    """log(x / a), accurate where x and a are close."""
    e = (x - a) / a
    close = jnp.abs(e) < 0.5
    return jnp.where(close, jnp.log1p(jnp.where(close, e, 0)), jnp.log(x / a))


def _expm1_remainder(w: Real) -> Real:
    """exp(w) - 1 - w, by its Taylor series where it would cancel."""
    small = jnp.abs(w) < 0.25
    s = jnp.where(small, w, 0)
    series = jnp.ones_like(s)
    for k in range(11, 2, -1):
        series = 1 + s / k * series
    return jnp.where(small, s**2 / 2 * series, jnp.expm1(w) - w)
