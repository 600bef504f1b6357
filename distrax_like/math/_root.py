"""Roots of functions of one variable, elementwise over a batch, with implicit derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from distrax_like._misc import Numeric, Real, default_float, promote

Objective = Callable[[Real], Real]


class RootSearchResults(NamedTuple):
    """The result of a root search: the roots, the objective at them, and the number of iterations for all of them."""

    estimated_root: Real
    objective_at_estimated_root: Real
    num_iterations: Real


def _implicit(
    objective_fn: Objective, start: Real, search: Callable[[Objective, Real], RootSearchResults]
) -> RootSearchResults:
    """The result of `search(objective, start)`, with the derivatives of the root by the implicit function theorem.

    They exist in whatever the objective closes over, to every order.
    """

    def tangent_solve(linear: Objective, y: Real) -> Real:
        # The linearised objective acts elementwise.
        return y / linear(jnp.ones_like(y))

    def solve(f: Objective, x: Real) -> tuple[Real, tuple[Real, Real]]:
        root, value, iterations = search(f, x)
        # `custom_root` cannot differentiate where an auxiliary result is an integer.
        return root, (value, iterations.astype(x.dtype))

    root, (value, iterations) = jax.lax.custom_root(objective_fn, start, solve, tangent_solve, has_aux=True)
    return RootSearchResults(root, value, iterations.astype(int))


def find_root_chandrupatla(
    objective_fn: Objective,
    low: Numeric | None = None,
    high: Numeric | None = None,
    position_tolerance: float = 0.0,
    value_tolerance: float = 0.0,
    max_iterations: int = 100,
) -> RootSearchResults:
    """A root in each bracket, by Chandrupatla's method: inverse quadratic interpolation where it is safe, else
    bisection, with one evaluation of the objective in each iteration.

    An element is done when the root is known to within 2 ulp and `position_tolerance`, or the objective is within
    `value_tolerance` of 0. The derivatives of the root are implicit: dx = -f_θ dθ / f_x for f(x, θ) = 0, for all θ
    that the objective closes over. `low` and `high` have no derivatives.

    **Arguments:** `objective_fn`: elementwise, from the broadcast shape of `low` and `high` to that shape; `low`,
    `high`: ends at which it has opposite signs, both or neither; without them `bracket_root` looks for them.

    **Returns:** `RootSearchResults`. Where the objective has the same sign at both ends the root is NaN.

    T. Chandrupatla, A new hybrid quadratic / bisection algorithm for finding the zero of a nonlinear function without
    using derivatives, Advances in Engineering Software 28 (1997).
    """
    if (low is None) != (high is None):
        raise ValueError("find_root_chandrupatla takes low and high, or neither")
    if low is None or high is None:
        low, high = bracket_root(objective_fn)
    low, high = jax.lax.stop_gradient(jnp.broadcast_arrays(*promote(low, high)))
    info = jnp.finfo(low.dtype)

    def search(f: Objective, low: Real) -> RootSearchResults:
        class State(NamedTuple):
            k: Any
            a: Real  # the newest point
            b: Real  # the other end of the bracket
            c: Real  # the point before
            fa: Real
            fb: Real
            fc: Real
            t: Real  # where in the bracket the next point lies

        high_end = jnp.broadcast_to(high, low.shape)
        f_low, f_high = f(low), f(high_end)
        bracketed = (f_low == 0) | (f_high == 0) | (jnp.sign(f_low) * jnp.sign(f_high) < 0)

        def best(s: State) -> tuple[Real, Real]:
            first = jnp.abs(s.fa) < jnp.abs(s.fb)
            return jnp.where(first, s.a, s.b), jnp.where(first, s.fa, s.fb)

        def tolerance(s: State) -> Real:
            """The smallest step, as a fraction of the bracket."""
            x = best(s)[0]
            width = jnp.abs(s.b - s.a)
            return (info.eps * jnp.abs(x) + 0.5 * position_tolerance + info.tiny) / jnp.where(width > 0, width, 1)

        def active(s: State) -> Any:
            return bracketed & (tolerance(s) < 0.5) & (jnp.abs(best(s)[1]) > value_tolerance)

        def step(s: State) -> State:
            x = s.a + s.t * (s.b - s.a)
            fx = f(x)
            same = jnp.sign(fx) == jnp.sign(s.fa)
            b, fb = jnp.where(same, s.b, s.a), jnp.where(same, s.fb, s.fa)
            new = State(s.k + 1, x, b, s.a, fx, fb, s.fa, s.t)
            # Interpolation is used where the quadratic through the three points is monotone in the bracket.
            xi = (x - b) / (s.a - b)
            phi = (fx - fb) / (s.fa - fb)
            trusted = (phi * phi < xi) & ((1 - phi) ** 2 < 1 - xi) & same
            # Written in ratios of values, since products of values may underflow.
            alpha = fx / (fb - fx) * (s.fa / (fb - s.fa))
            beta = (s.a - x) / (b - x) * (fx / (s.fa - fx)) * (fb / (s.fa - fb))
            t = jnp.where(trusted, alpha + beta, 0.5)
            least = jnp.minimum(tolerance(new), 0.5)
            t = jnp.clip(jnp.where(jnp.isfinite(t), t, 0.5), least, 1 - least)
            going = active(s)
            return State(s.k + 1, *(jnp.where(going, u, v) for u, v in zip((*new[1:7], t), s[1:])))

        begin = State(jnp.zeros((), int), low, high_end, high_end, f_low, f_high, f_high, jnp.full_like(low, 0.5))
        end = jax.lax.while_loop(lambda s: jnp.any(active(s)) & (s.k < max_iterations), step, begin)
        root, value = best(end)
        return RootSearchResults(jnp.where(bracketed, root, jnp.nan), value, end.k)

    return _implicit(objective_fn, low, search)


def find_root_secant(
    objective_fn: Objective,
    initial_position: Numeric,
    next_position: Numeric | None = None,
    position_tolerance: float = 0.0,
    value_tolerance: float = 0.0,
    max_iterations: int = 50,
) -> RootSearchResults:
    """A root near each initial position, by the secant method, which needs no bracket but may fail to converge.

    An element is done when its step is within 2 ulp and `position_tolerance`, or the objective within
    `value_tolerance` of 0. Derivatives are implicit, as for `find_root_chandrupatla`.

    **Arguments:** `objective_fn`: elementwise; `initial_position`: any shape; `next_position`: a second point, by
    default 1e-4 (1 + |x|) further on. **Returns:** `RootSearchResults`; where
    the search failed, the objective is not near 0.
    """
    x, y = promote(initial_position, next_position)
    y = x + 1e-4 * (1 + jnp.abs(x)) if y is None else y
    x, y = jax.lax.stop_gradient(jnp.broadcast_arrays(x, y))
    eps = jnp.finfo(x.dtype).eps

    def search(f: Objective, x: Real) -> RootSearchResults:
        def active(x: Real, y: Real, fy: Real) -> Any:
            return (jnp.abs(y - x) > 2 * eps * jnp.abs(y) + position_tolerance) & (jnp.abs(fy) > value_tolerance)

        def step(carry: Any) -> Any:
            k, x, y, fx, fy = carry
            going = active(x, y, fy) & (fy != fx)
            new = jnp.where(going, y - fy * ((y - x) / jnp.where(fy == fx, 1, fy - fx)), y)
            return k + 1, jnp.where(going, y, x), new, jnp.where(going, fy, fx), f(new)

        def more(carry: Any) -> Any:
            k, x, y, fx, fy = carry
            return jnp.any(active(x, y, fy) & (fy != fx)) & (k < max_iterations)

        end = jax.lax.while_loop(more, step, (jnp.zeros((), int), x, y, f(x), f(y)))
        return RootSearchResults(end[2], end[4], end[0])

    return _implicit(objective_fn, x, search)


#: TFP's other name of `find_root_secant`.
secant_root = find_root_secant


def bracket_root(objective_fn: Objective, dtype: Any = None, num_points: int = 512) -> tuple[Real, Real]:
    """Ends between which an objective on the real line changes its sign: (low, high), the pair nearest to 0.

    The objective is evaluated at 0 and at points ±1e-10 … ±1e10 (in single precision; the squares of these in double)
    in geometric progression.

    **Arguments:** `objective_fn`: from a scalar, or elementwise from shape `(num_points, 1, …)`, to a shape B that
    broadcasts with it. **Returns:** two arrays of shape B, NaN where no change of sign was seen.
    """
    dtype = default_float() if dtype is None else dtype
    reach = 10.0 if jnp.finfo(dtype).nmant < 30 else 20.0
    half = jnp.logspace(-reach, reach, max(num_points // 2, 2), dtype=dtype)
    points = jnp.concatenate([-half[::-1], jnp.zeros(1, dtype), half])
    shape = jax.eval_shape(objective_fn, points[0]).shape
    values = jax.lax.stop_gradient(objective_fn(jnp.reshape(points, (-1, *(1,) * len(shape)))))
    values = jnp.broadcast_to(values, (points.shape[0], *shape))
    change = (jnp.sign(values[:-1]) * jnp.sign(values[1:]) <= 0) & ~jnp.isnan(values[:-1] * values[1:])
    distance = jnp.reshape(jnp.maximum(jnp.abs(points[:-1]), jnp.abs(points[1:])), (-1, *(1,) * len(shape)))
    i = jnp.argmin(jnp.where(change, distance, jnp.inf), axis=0)
    found = jnp.any(change, axis=0)
    return jnp.where(found, points[i], jnp.nan), jnp.where(found, points[i + 1], jnp.nan)
