"""Poisson, binomial and negative binomial variables."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from distrax_like._misc import Numeric, Real, Shape, exactly_one

from ._gamma import loggamma
from ._rejection import ShapeLike, flat, prepare, rejection, unit

# Counts with a smaller mean are drawn by inversion: Hörmann's algorithms need at least this mean.
_MIN_MEAN_FOR_REJECTION = 10


def poisson(
    key: PRNGKeyArray,
    rate: Numeric | None = None,
    shape: ShapeLike | None = None,
    dtype: Any = None,
    *,
    log_rate: Numeric | None = None,
) -> Float[Array, "..."]:
    """Poisson variables, with mass rate^k exp(-rate) / k!, as floating numbers.

    They are drawn by inversion for rates below 10 (values whose probability is below the machine epsilon do not occur)
    and by transformed rejection above, with the mass in saddle-point form, which is accurate for any rate. From 2^24 on
    (2^53 in double precision) floating numbers do not represent every integer, and draws are rounded.
    Sources: Hörmann, "The transformed rejection method for generating Poisson random variables", Insurance: Math. and
    Econ. 12 (1993), algorithm PTRS; Loader, "Fast and accurate computation of binomial probabilities" (2000).

    **Arguments:** `key`: a random key; exactly one of `rate`, not negative, and its log, `log_rate`; `shape`: of the
    result, to which that of the parameter broadcasts; `dtype`: a floating one, by default that of the parameter.

    **Returns:** draws of shape `shape`, with zero derivatives; NaN where the rate is negative, infinite or NaN.

    **Raises:** `ValueError` for both or neither of `rate` and `log_rate`.
    """
    exactly_one("poisson", rate=rate, log_rate=log_rate)
    given = log_rate if rate is None else rate
    assert given is not None
    key, shape, dtype, (x,) = prepare("poisson", key, shape, dtype, given)
    return _poisson(key, jnp.exp(x) if rate is None else x, shape).astype(dtype)


def binomial(
    key: PRNGKeyArray,
    n: Numeric,
    p: Numeric | None = None,
    shape: ShapeLike | None = None,
    dtype: Any = None,
    *,
    logits: Numeric | None = None,
) -> Float[Array, "..."]:
    """Binomial variables, with mass n! / (k! (n - k)!) p^k (1 - p)^(n - k), as floating numbers.

    The rarer outcome is counted, by inversion for means below 10 (values whose probability is below the machine epsilon
    do not occur) and by transformed rejection above, with the mass in saddle-point form. Floating numbers represent
    every integer up to 2^24 (2^53 in double precision). Sources: Hörmann, "The generation of binomial random variates",
    J. Stat. Comput. Simul. 46 (1993), algorithm BTRS; Loader as for `poisson`.

    **Arguments:** `key`: a random key; `n`: total counts, nonnegative integers; exactly one of `p` and `logits` =
    log(p / (1 - p)); `shape`: of the result, to which they broadcast; `dtype`: a floating one, by default theirs.

    **Returns:** draws of shape `shape`, with zero derivatives; NaN for parameters out of range.

    **Raises:** `ValueError` for both or neither of `p` and `logits`.
    """
    exactly_one("binomial", p=p, logits=logits)
    given = logits if p is None else p
    assert given is not None
    key, shape, dtype, (n, x) = prepare("binomial", key, shape, dtype, n, given)
    return _binomial(key, n, x, p is None, shape).astype(dtype)


def negative_binomial(
    key: PRNGKeyArray,
    n: Numeric,
    p: Numeric | None = None,
    shape: ShapeLike | None = None,
    dtype: Any = None,
    *,
    logits: Numeric | None = None,
) -> Float[Array, "..."]:
    """Negative binomial variables, with mass Γ(n + k) / (k! Γ(n)) p^k (1 - p)^n, as floating numbers.

    They are Poisson variables whose rate is p / (1 - p) times a gamma variable of concentration n.

    **Arguments:** `key`: a random key; `n`: the number of failures that end the count, positive, not necessarily an
    integer; exactly one of `p`, the probability of the outcome that is counted, and `logits` = log(p / (1 - p));
    `shape` and `dtype` as for `poisson`.

    **Returns:** draws of shape `shape`, with zero derivatives; NaN for parameters out of range.

    **Raises:** `ValueError` for both or neither of `p` and `logits`.
    """
    exactly_one("negative_binomial", p=p, logits=logits)
    given = logits if p is None else p
    assert given is not None
    key, shape, dtype, (n, x) = prepare("negative_binomial", key, shape, dtype, n, given)
    logits = x if p is None else jnp.log(x) - jnp.log1p(-x)
    keys = jax.random.split(key)
    log_gamma = loggamma(keys[0], jax.lax.stop_gradient(n), shape)
    return poisson(keys[1], shape=shape, log_rate=log_gamma + logits).astype(dtype)


@functools.partial(jax.jit, static_argnames="shape")
def _poisson(key: PRNGKeyArray, mean: Real, shape: Shape) -> Real:
    (mean,) = flat(shape, mean)
    valid = (mean >= 0) & (mean < jnp.inf)
    mean = jnp.where(valid, mean, 0)

    def shifted(mean):
        # The hat of algorithm PTRS, relative to floor(mean), so that differences from it are exact.
        b = 0.931 + 2.53 * jnp.sqrt(mean)
        centre = jnp.floor(mean)
        return -0.059 + 0.02483 * b, b, 0.9277 - 3.6224 / (b - 2), centre, mean - centre, 0.43

    def log_ratio(step, mean):
        b = 0.931 + 2.53 * jnp.sqrt(mean)
        centre = jnp.floor(mean)
        k = jnp.maximum(centre + step, 1)
        offset = step - (mean - centre)
        log_mass = -_stirling_error(k) - mean * _deviance(offset / mean)
        zero = centre + step <= 0
        factor = (1.1239 + 1.1328 / (b - 3.4)) * jnp.where(zero, 1, jnp.sqrt(2 * jnp.pi * k))
        return factor, jnp.where(zero, -mean, log_mass), centre + step >= 0

    k = _counts(key, lambda mean: jnp.exp(-mean), lambda k, mean: mean / k, shifted, log_ratio, mean, mean)
    return jnp.where(valid, k, jnp.nan).reshape(shape)


@functools.partial(jax.jit, static_argnames=("logits", "shape"))
def _binomial(key: PRNGKeyArray, n: Real, x: Real, logits: bool, shape: Shape) -> Real:
    """`x` holds the logits where `logits`, else the probabilities."""
    n, x = flat(shape, n, x)
    if logits:
        valid, flip, odds = ~jnp.isnan(x), x > 0, jnp.exp(-jnp.abs(x))
    else:
        valid, flip = (x >= 0) & (x <= 1), x > 0.5
        rarer = jnp.where(flip, 1 - x, x)
        odds = rarer / (1 - rarer)
    valid = valid & (n >= 0) & (n < jnp.inf)
    n, odds = jnp.where(valid, n, 0), jnp.where(valid, odds, 0)
    mean = n * odds / (1 + odds)

    def hat(n, odds):
        rare = odds / (1 + odds)
        mean = n * rare
        deviation = jnp.sqrt(mean / (1 + odds))
        b = 1.15 + 2.53 * deviation
        return mean, jnp.floor(mean), rare, deviation, b

    def shifted(n, odds):
        mean, centre, rare, _, b = hat(n, odds)
        return -0.0873 + 0.0248 * b + 0.01 * rare, b, 0.92 - 4.2 / b, centre, mean - centre, 0.5

    def log_ratio(step, n, odds):
        mean, centre, rare, deviation, b = hat(n, odds)
        rest = n / (1 + odds)

        def log_mass(inner, deviance):
            # Without the terms that do not depend on the step, and the factor (inner (n - inner))^(-1/2).
            offset = inner - centre - (mean - centre)
            deviances = mean * deviance(offset / mean) + rest * deviance(-offset / rest)
            return -deviances - _stirling_error(inner) - _stirling_error(n - inner)

        # The mass at 0 and at n is that of its neighbour times the ratio of the two.
        k = centre + step
        inner, mode = jnp.clip(k, 1, n - 1), jnp.floor(mean + rare)
        edge = jnp.where(k <= 0, n * odds, 1) * jnp.where(k >= n, n / odds, 1)
        factor = (2.83 + 5.1 / b) * deviation * edge * jnp.sqrt(inner / mode * ((n - inner) / (n - mode)))
        # The mode is close enough to the mean for the series.
        return factor, log_mass(inner, _deviance) - log_mass(mode, _deviance_series), (k >= 0) & (k <= n)

    k = _counts(
        key,
        lambda n, odds: jnp.exp(-n * jnp.log1p(odds)),
        lambda k, n, odds: jnp.maximum(n - k + 1, 0) / k * odds,
        shifted,
        log_ratio,
        mean,
        n,
        odds,
    )
    return jnp.where(valid, jnp.where(flip, n - k, k), jnp.nan).reshape(shape)


def _counts(
    key: PRNGKeyArray,
    mass_at_zero: Callable[..., Real],
    mass_ratio: Callable[..., Real],
    hat: Callable[..., Any],
    log_ratio: Callable[..., tuple[Real, Real, Bool[Array, "..."]]],
    mean: Float[Array, " n"],
    *params: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Counts by inversion for small means and by transformed rejection with squeeze for large ones.

    - `mass_ratio(k, *params)`: the mass at k over that at k - 1.
    - `hat(*params)`: Hörmann's a, b and v_r, the centre rounded down to an integer, and the difference of the exact
      centre from it, in two parts.
    - `log_ratio(step, *params)`, for the count `step` above the rounded centre: c / f, log g, and whether the count is
      in the support, where the mass is proportional to f g and Hörmann's test accepts v c / (a / us^2 + b) <= f g.
    """
    if not mean.size:
        return mean
    dtype = mean.dtype
    small = mean < _MIN_MEAN_FOR_REJECTION

    def proposals(bits, params):
        a, b, limit, centre, fraction, shift = hat(*params)
        # Draw us, the distance of u to the nearer end of (-1/2, 1/2), with full relative precision.
        end = unit(bits[0] << 1, dtype) / 2
        right = bits[0] >> 31 == 1
        u = jnp.where(right, 0.5 - end, end - 0.5)
        step = jnp.floor((2 * a / end + b) * u + (fraction + shift))
        return a, b, limit, centre, step, end, unit(bits[1], dtype)

    def invert(u, params):
        mass = jnp.where(small, mass_at_zero(*params), 1)

        def active(k, rest, mass):
            return (rest > 0) & ((k < mean) | (mass > jnp.finfo(dtype).eps))

        def body(state):
            k, rest, mass = state
            for _ in range(4):
                on = active(k, rest, mass)
                k = jnp.where(on, k + 1, k)
                mass = jnp.where(on, mass * mass_ratio(jnp.maximum(k, 1), *params), mass)
                rest = jnp.where(on, rest - mass, rest)
            return k, rest, mass

        start = (jnp.zeros_like(u), jnp.where(small, u - mass, -1), mass)
        return jax.lax.while_loop(lambda state: jnp.any(active(*state)), body, start)[0]

    def squeeze(bits, mean, *params):
        _, _, limit, centre, step, end, v = proposals(bits, params)
        k = jnp.where(small, invert(v, params), centre + step)
        return (k,), small | ((end >= 0.07) & (v <= limit))

    def propose(bits, mean, *params):
        a, b, limit, centre, step, end, v = proposals(bits, params)
        factor, log_mass, inside = log_ratio(step, *params)
        good = jnp.log(v * factor / (a / end**2 + b)) <= log_mass
        return (centre + step,), inside & (good | ((end >= 0.07) & (v <= limit)))

    # 32 bits are enough for any dtype: counts are integers, and the grid of 2^32 uniform numbers is finer.
    return rejection(key, 2, jnp.dtype("uint32"), propose, mean, *params, squeeze=squeeze)[0]


def _stirling_error(k: Real) -> Real:
    """log k! - log(sqrt(2 π k) (k / e)^k) for k >= 1, with an error of 2e-5 at 1 and below 1e-9 from 5 on.

    The first four terms of its continued fraction (DLMF 5.10.1), the rest replaced by 1, are accurate enough for an
    acceptance test; `special.stirlerr` is accurate to the last bits and costs ten times as much.
    """
    return 1 / 12 / (k + 1 / 30 / (k + 53 / 210 / (k + 195 / 371 / (k + 1))))


def _deviance(e: Real) -> Real:
    """(1 + e) log(1 + e) - e, by its Taylor series where it would cancel."""
    safe = jnp.maximum(e, -1 + float(jnp.finfo(e.dtype).eps))
    return jnp.where(jnp.abs(e) < 0.1, _deviance_series(e), (1 + safe) * jnp.log1p(safe) - safe)


def _deviance_series(e: Real) -> Real:
    # Term k of the Taylor series is (-e)^k / (k (k - 1)), from k = 2 on.
    return e**2 * (1 / 2 - e * (1 / 6 - e * (1 / 12 - e * (1 / 20 - e * (1 / 30 - e * (1 / 42 - e / 56))))))
