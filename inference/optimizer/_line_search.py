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
# The change of the slope, relative to its size, below which nothing is extrapolated from it.
SLIGHT = 1e-3
# The distance of an interpolated trial from the ends of the bracket, relative to its length.
MARGIN = 0.05
# On a parabola an interpolated trial is the minimum, so the limits above are wider, and so many trials may be spent.
QUADRATIC_SHORTEST, QUADRATIC_LONGEST, QUADRATIC_MARGIN, QUADRATIC_TRIALS = 1.001, 1e3, 1e-3, 3


class Point(eqx.Module):
    """A step along the line, with the objective and its slope there."""

    step: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    slope: Float[Array, "*batch"]


class LineSearch(eqx.Module):
    """A search in progress.

    `low` decreases enough and still descends steeply; `high` (at infinity until one is met) lies too far. So the
    interval between them holds steps that satisfy the strong Wolfe conditions. `step` is the next trial. `reach` is the
    longest step before the first `high` was met, or that one's if it was the first trial; infinite until then.
    `quadratic` says that the objective was a parabola along the line when that could last be told.
    """

    start: Point
    low: Point
    high: Point
    step: Float[Array, "*batch"]
    noise: Float[Array, "*batch"]
    width: Float[Array, "*batch"]
    older_width: Float[Array, "*batch"]
    trials: Int[Array, "*batch"]
    reach: Float[Array, "*batch"]
    quadratic: Bool[Array, "*batch"]


def begin(
    value: Float[Array, "*batch"],
    slope: Float[Array, "*batch"],
    step: Float[Array, "*batch"],
    noise: Float[Array, "*batch"],
    quadratic: Bool[Array, "*batch"],
) -> LineSearch:
    """A search from the point with this value and (negative) slope.

    **Arguments:** `noise`: smaller differences of the value are rounding; `quadratic`: whether the objective was a
    parabola along the last line.
    """
    infinity = jnp.full_like(value, jnp.inf)
    start = Point(jnp.zeros_like(value), value, slope)
    nowhere, trials = Point(infinity, infinity, infinity), jnp.zeros(value.shape, jnp.int32)
    return LineSearch(start, start, nowhere, step, noise, infinity, infinity, trials, infinity, quadratic)


def advance(
    search: LineSearch, value: Float[Array, "*batch"], slope: Float[Array, "*batch"], exactness: float
) -> tuple[LineSearch, Bool[Array, "*batch"], Bool[Array, "*batch"]]:
    """Updates the search with the evaluation at `search.step`, which is infinite where the step left the domain.

    A loose search takes the fewest evaluations on most objectives, but on a quadratic one the steps lose conjugacy, so
    the number of steps grows. There the minimum along the line costs one evaluation more.

    **Arguments:** `exactness`: the slope that is allowed on a quadratic objective, relative to that at the start.

    **Returns:** the search with its next trial, whether the step just tried is accepted, and whether the bracket can
    shrink no further.
    """
    start, trial = search.start, Point(search.step, value, slope)
    decreased = value <= start.value + DECREASE * trial.step * start.slope + search.noise
    change = value - start.value
    resolution = jnp.sqrt(jnp.finfo(value.dtype).eps) * jnp.abs(change)
    # The trapezoidal rule is exact for the linear slope of a parabola.
    parabola = jnp.abs(change - trial.step * (start.slope + slope) / 2) <= resolution
    quadratic = jnp.where(search.noise <= resolution, parabola, search.quadratic)
    refine = quadratic & (search.trials < QUADRATIC_TRIALS)
    allowed = jnp.where(refine, exactness, SLOPE)
    far = ~decreased | (slope > -allowed * start.slope)
    accepted = ~far & (slope >= allowed * start.slope)

    low, high = _where(far, search.low, trial), _where(far, trial, search.high)
    bracketed = jnp.isfinite(high.step)
    left, right = _where(bracketed, low, search.low), _where(bracketed, high, trial)
    distance = right.step - left.step
    minimum = _cubic_minimum(left, right, distance, search.noise)
    width = high.step - low.step
    # Interpolation may converge slowly to one end: bisect where two trials did not shrink the bracket by a third.
    trusted = jnp.isfinite(minimum) & (width <= 0.66 * search.older_width)
    blind = jnp.where(jnp.isfinite(right.value), 0.5, 0.1)
    margin = jnp.where(refine, QUADRATIC_MARGIN, MARGIN)
    inside = jnp.where(trusted, jnp.clip(minimum, margin, 1 - margin), blind)
    shortest, longest = jnp.where(refine, QUADRATIC_SHORTEST, SHORTEST), jnp.where(refine, QUADRATIC_LONGEST, LONGEST)
    # A smaller change of the slope puts the minimum further away, or is rounding.
    bends = right.slope - left.slope > -SLIGHT * left.slope
    outside = jnp.where(jnp.isfinite(minimum) & bends, jnp.clip(minimum, shortest, longest), LONGEST)
    step = left.step + distance * jnp.where(bracketed, inside, outside)
    collapsed = (step <= low.step) | (step >= high.step)
    # The first end of the bracket tells the scale of the line; later ones only how far the bracket has shrunk.
    met = bracketed & jnp.isinf(search.reach)
    reach = jnp.where(met, jnp.where(low.step > 0, low.step, trial.step), search.reach)
    trials = search.trials + 1
    new = LineSearch(start, low, high, step, search.noise, width, search.width, trials, reach, quadratic)
    return new, accepted, collapsed


def _cubic_minimum(
    left: Point, right: Point, distance: Float[Array, "*batch"], noise: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Where the cubic through two points and their slopes has its minimum: 0 at the left point, 1 at the right one.

    Nocedal and Wright, Numerical Optimization (2006), equation 3.59; exact for a parabola.
    """
    mean = 3 * (left.value - right.value) / distance + left.slope + right.slope
    root = jnp.sqrt(jnp.maximum(mean**2 - left.slope * right.slope, 0))
    cubic = (root - left.slope + mean) / (2 * root + right.slope - left.slope)
    # Where the function is nearly a parabola or its values do not differ, the slopes alone have less rounding.
    secant = -left.slope / (right.slope - left.slope)
    flat = jnp.abs(right.value - left.value) <= noise
    return jnp.where(flat | (jnp.abs(cubic - secant) < 0.01), secant, cubic)


def _where(condition: Bool[Array, "*batch"], yes: Point, no: Point) -> Point:
    return Point(
        jnp.where(condition, yes.step, no.step),
        jnp.where(condition, yes.value, no.value),
        jnp.where(condition, yes.slope, no.slope),
    )
