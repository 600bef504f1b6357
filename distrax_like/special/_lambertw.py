"""Lambert's W function on its two real branches."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from distrax_like._misc import Numeric, Real, promote

from ._compensated import chebyshev, is_double

# Chebyshev coefficients of (1 + W) / p in (p - 0.2) / 0.8, for p = √(2 (e x + 1)) up to 1 on the upper branch and minus
# that down to -0.6 on the lower one, interpolated at 70 digits.
_BRANCH = (
    0.9799698596551386, -0.2477699462584462, 0.04277448296281517, -0.008379099099113252, 0.0017583628805791247,
    -0.00038535150675417614, 8.70093791612986e-05, -2.0078816618651806e-05, 4.711105139564869e-06,
    -1.119919335332859e-06, 2.6905323889966523e-07, -6.520372966725684e-08, 1.591765489407157e-08,
    -3.9100686952765145e-09, 9.656354835575573e-10, -2.3958713294518555e-10, 5.968818596552185e-11,
    -1.4923944040491018e-11, 3.743503336972932e-12, -9.417328128472608e-13, 2.3752470840012355e-13,
    -6.005034856248546e-14, 1.521444649516741e-14, -3.862341574135664e-15, 9.822656395153859e-16,
    -2.5022409403205047e-16, 6.384051509072624e-17, -1.6311049871665044e-17, 4.172939415201938e-18,
)
_BRANCH_POINT = (-0.36787944117144233, 1.2428753672788363e-17)


def _distance(x: Real) -> Real:
    """e x + 1, to full relative accuracy near x = -1 / e."""
    first = float(jnp.finfo(x.dtype).dtype.type(_BRANCH_POINT[0]))
    # The barrier keeps XLA from adding the constants up.
    return math.e * (jax.lax.optimization_barrier(x - first) - ((_BRANCH_POINT[0] - first) + _BRANCH_POINT[1]))


def _step(w: Real, z: Real) -> Real:
    """Fritsch, Shafer and Crowley's step, of fourth order, for z = log(x / w) - w."""
    above = 1 + w
    ratio = z / above / (above + 2 * z / 3) / 2
    return w * (1 + z / above * ((1 - ratio) / (1 - 2 * ratio)))


def _domain(x: Real, branch: int) -> tuple[Bool[Array, "..."], Real, Bool[Array, "..."], Real]:
    """Where x is in the interior, x there, where it is near -1 / e, and the signed root p there."""
    # -1 / e itself is no floating point number: what it is rounded to counts as the branch point.
    least = float(jnp.finfo(x.dtype).dtype.type(-1 / math.e))
    inside = (x >= least) & jnp.isfinite(x) & (x != 0 if branch == 0 else x < 0)
    x = jnp.where(inside, x, -0.1)
    near = x < (-0.19 if branch == 0 else -0.31)
    p = jnp.sqrt(2 * jnp.maximum(_distance(jnp.where(near, x, -0.2)), 0))
    return inside, x, near, (p if branch == 0 else -p)


def _from_branch_point(p: Real) -> Real:
    return p * chebyshev(_BRANCH, (p - 0.2) / 0.8)


def _far(x: Real, branch: int) -> Real:
    """W away from -1 / e."""
    double = is_double(x)
    if branch == 0:
        log = jnp.log1p(x)
        # S. Winitzki's approximation.
        w = log * (1 - jnp.log1p(log) / (2 + log))
        for _ in range(2):
            w = _step(w, jnp.log(x / w) - w)
        return w
    # D. Barry's approximation. The logarithms apart, for x / w may underflow.
    log = jnp.log(-x)
    u = -1 - log
    root = jnp.sqrt(u / 2)
    w = log - 2 / 0.3361 * (1 - 1 / (1 + 0.3361 * root / (1 - 0.0042 * u * jnp.exp(-0.0201 * jnp.sqrt(u)))))
    for _ in range(2 if double else 1):
        w = _step(w, (log - jnp.log(-w)) - w)
    return w


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def _lambertw(x: Real, branch: int) -> Real:
    inside, z, near, p = _domain(x, branch)
    w = jnp.where(near, _from_branch_point(p) - 1, _far(jnp.where(near, -0.1, z), branch))
    if branch == 0:
        return jnp.where(inside, w, jnp.where((x == 0) | (x == jnp.inf), x, jnp.nan))
    return jnp.where(inside, w, jnp.where(x == 0, -jnp.inf, jnp.nan))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def _above(x: Real, branch: int) -> Real:
    """1 + W."""
    inside, _, near, p = _domain(x, branch)
    return jnp.where(near & inside, _from_branch_point(p), 1 + _lambertw(x, branch))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def _derivative(x: Real, branch: int) -> Real:
    w, above = _lambertw(x, branch), _above(x, branch)
    large = jnp.abs(w) > 1
    finite = jnp.isfinite(w)
    ratio = jnp.where(finite, w / jnp.where(finite, above, 1), jnp.sign(w)) / jnp.where(large, x, 1)
    return jnp.where(large, ratio, jnp.exp(jnp.where(large, 0, -w)) / above)


def _curvature(x: Real, branch: int) -> Real:
    derivative = _derivative(x, branch)
    return -derivative * (1 + 1 / _above(x, branch)) * derivative


def _rule(fn: Any, derivative: Any) -> None:
    @fn.defjvp
    def _(branch: int, primals: Any, tangents: Any) -> Any:
        return fn(*primals, branch), derivative(*primals, branch) * tangents[0]


_rule(_lambertw, _derivative)
_rule(_above, _derivative)
_rule(_derivative, _curvature)


@jax.custom_jvp
@jax.jit
def _lambertw_exp(y: Real) -> Real:
    size = jax.nn.softplus(y)
    w = size * (1 - jnp.log1p(size) / (2 + size))
    # Where the logarithm of W is large and negative, W / exp(y) is next to 1.
    low = y < 0
    x = jnp.exp(jnp.where(low, y, 0))
    w = jnp.where(low & (w == 0), x, w)
    for _ in range(2):
        safe = jnp.where(w > 0, w, 1)
        log = jnp.log(jnp.where(low, x / safe, safe))
        w = _step(safe, jnp.where(low, log, y - log) - safe)
    return jnp.where(low & (x == 0), 0, jnp.where(jnp.isinf(y), jnp.maximum(y, 0), w))


@_lambertw_exp.defjvp
def _(primals, tangents):
    w = _lambertw_exp(*primals)
    return w, tangents[0] * jnp.where(jnp.isinf(w), 1, w / (1 + w))


def lambertw(x: Numeric, branch: int = 0) -> Real:
    """Lambert's W, the w with w exp(w) = x.

    Near -1 / e a Chebyshev series in p = √(2 (e x + 1)), with an accurate e x + 1; elsewhere one or two steps of fourth
    order from an approximation to a few percent. Derivatives are implicit, with 1 + W from the same series.

    Error at most 4 ulp in both widths, of the derivative 5.

    **Arguments:** `x`: at least -1 / e, and on the lower branch negative; `branch`: 0, the principal branch W >= -1, or
    -1, the lower one, W <= -1.

    **Returns:** the same shape; -1 at the number next to -1 / e, NaN below; `-inf` at 0 on the lower branch.

    **Raises:** `ValueError` for another branch.

    R. Corless et al., Advances in Computational Mathematics 5 (1996); F. Fritsch, R. Shafer and W. Crowley, CACM 16
    (1973), for the step; S. Winitzki (2003) and D. Barry et al. (2000) for the first approximations.
    """
    if branch not in (0, -1):
        raise ValueError(f"lambertw has the real branches 0 and -1, got {branch!r}")
    return _lambertw(promote(x), int(branch))


def lambertw_exp(log_x: Numeric) -> Real:
    """W(exp(log_x)) on the principal branch, for exp(log_x) outside the range too: the w with w + log w = log_x.

    Error at most 4 ulp in both widths, of the derivative 4. It is Wright's ω of a real argument.

    **Arguments:** `log_x`: any real number. **Returns:** the same shape.
    """
    return _lambertw_exp(promote(log_x))
