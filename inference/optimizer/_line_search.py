"""A search along a line for the Wolfe conditions, as a state machine fed one evaluation at a time.

All operations are elementwise, so a batch of searches is a search of arrays.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# The decrease that is required and the slope that is allowed, relative to the slope at the start (Moré and Thuente).
DECREASE = 1e-3
SLOPE = 0.9
# How far a trial may lie beyond the last one, relative to the step to that one.
SHORTEST, LONGEST = 2.0, 10.0
# The distance of an interpolated trial from the ends of the bracket, relative to its length.
MARGIN = 0.05


class Point(eqx.Module):
    """A step along the line, with the objective and its slope there."""

    step: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    slope: Float[Array, "*batch"]


class LineSearch(eqx.Module):
    """A search in progress.

    `low` decreases enough and still descends steeply; `high` (at infinity until one is met) lies too far. So the
    interval between them holds steps that satisfy the strong Wolfe conditions. `step` is the next trial.
    """

    start: Point
    low: Point
    high: Point
    step: Float[Array, "*batch"]
    noise: Float[Array, "*batch"]
    width: Float[Array, "*batch"]
    older_width: Float[Array, "*batch"]
    trials: Int[Array, "*batch"]


def begin(
    value: Float[Array, "*batch"],
    slope: Float[Array, "*batch"],
    step: Float[Array, "*batch"],
    noise: Float[Array, "*batch"],
) -> LineSearch:
    """A search from the point with this value and (negative) slope; differences of `noise` are not resolved."""
    infinity = jnp.full_like(value, jnp.inf)
    start = Point(jnp.zeros_like(value), value, slope)
    nowhere, trials = Point(infinity, infinity, infinity), jnp.zeros(value.shape, jnp.int32)
    return LineSearch(start, start, nowhere, step, noise, infinity, infinity, trials)


def advance(
    search: LineSearch, value: Float[Array, "*batch"], slope: Float[Array, "*batch"]
) -> tuple[LineSearch, Bool[Array, "*batch"], Bool[Array, "*batch"]]:
    """Updates the search with the evaluation at `search.step`, which is infinite where the step left the domain.

    **Returns:** the search with its next trial, whether the step just tried is accepted, and whether the bracket can
    shrink no further.
    """
    start, trial = search.start, Point(search.step, value, slope)
    decreased = value <= start.value + DECREASE * trial.step * start.slope + search.noise
    far = ~decreased | (slope > -SLOPE * start.slope)
    accepted = ~far & (slope >= SLOPE * start.slope)

    low, high = _where(far, search.low, trial), _where(far, trial, search.high)
    bracketed = jnp.isfinite(high.step)
    left, right = _where(bracketed, low, search.low), _where(bracketed, high, trial)
    distance = right.step - left.step
    minimum = _cubic_minimum(left, right, distance)
    width = high.step - low.step
    # Interpolation may converge slowly to one end: bisect where two trials did not shrink the bracket by a third.
    trusted = jnp.isfinite(minimum) & (width <= 0.66 * search.older_width)
    blind = jnp.where(jnp.isfinite(right.value), 0.5, 0.1)
    inside = jnp.where(trusted, jnp.clip(minimum, MARGIN, 1 - MARGIN), blind)
    outside = jnp.where(
        jnp.isfinite(minimum) & (right.slope > left.slope), jnp.clip(minimum, SHORTEST, LONGEST), LONGEST
    )
    step = left.step + distance * jnp.where(bracketed, inside, outside)
    collapsed = (step <= low.step) | (step >= high.step)
    new = LineSearch(start, low, high, step, search.noise, width, search.width, search.trials + 1)
    return new, accepted, collapsed


def _cubic_minimum(left: Point, right: Point, distance: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Where the cubic through two points and their slopes has its minimum: 0 at the left point, 1 at the right one.

    Nocedal and Wright, Numerical Optimization (2006), equation 3.59; exact for a parabola.
    """
    mean = 3 * (left.value - right.value) / distance + left.slope + right.slope
    root = jnp.sqrt(jnp.maximum(mean**2 - left.slope * right.slope, 0))
    cubic = (root - left.slope + mean) / (2 * root + right.slope - left.slope)
    # On a function that is nearly a parabola use the slopes alone, without the rounding of a difference of values.
    secant = -left.slope / (right.slope - left.slope)
    return jnp.where(jnp.abs(cubic - secant) < 0.01, secant, cubic)


def _where(condition: Bool[Array, "*batch"], yes: Point, no: Point) -> Point:
    return Point(
        jnp.where(condition, yes.step, no.step),
        jnp.where(condition, yes.value, no.value),
        jnp.where(condition, yes.slope, no.slope),
    )
