"""BFGS and L-BFGS minimization of one problem or a batch, in one loop that evaluates every problem once per pass."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from distrax_like._arguments import Count, NonnegativeNumeric, PositiveInt, checked
from distrax_like._misc import (
    Numeric,
    as_callable,
    check_callable,
    check_numbers,
    describe,
    promote,
    require,
    tree_where,
)

from ._directions import Direction, bfgs, capped, dot, lbfgs, remember
from ._line_search import LineSearch, advance, begin

# The slope at which a line search on a quadratic objective ends, relative to the slope at its start. BFGS keeps all
# pairs and so needs less than L-BFGS, which becomes the method of conjugate gradients where the searches are exact.
_EXACTNESS_BFGS, _EXACTNESS_LBFGS = 0.33, 1e-3
# Smaller differences of the objective, in units of its rounding, are treated as noise.
_NOISE = 10.0


class _Results(eqx.Module):
    converged: Bool[Array, "*batch"]
    failed: Bool[Array, "*batch"]
    num_iterations: Int[Array, "*batch"]
    num_objective_evaluations: Int[Array, "*batch"]
    position: PyTree
    objective_value: Float[Array, "*batch"]
    objective_gradient: PyTree


class BFGSOptimizerResults(_Results):
    """What `bfgs_minimize` found, for each problem of the batch.

    - `converged`: a stopping rule was met; `failed`: the search could not continue. With neither, `max_iterations`
      was reached.
    - `num_iterations`, `num_objective_evaluations`: accepted steps, and evaluations of value and gradient.
    - `position`, `objective_value`, `objective_gradient`: the last point accepted.
    - `inverse_hessian_estimate`: over the flattened position.
    """

    inverse_hessian_estimate: Float[Array, "*batch d d"]


class LBFGSOptimizerResults(_Results):
    """What `lbfgs_minimize` found, for each problem of the batch.

    The fields are those of `BFGSOptimizerResults`, with `position_deltas` and `gradient_deltas` in place of the
    estimate: the last differences of the flattened position and gradient, oldest first, zero where there were fewer.
    The batch dimensions lead, as under `jax.vmap`.
    """

    position_deltas: Float[Array, "*batch m d"]
    gradient_deltas: Float[Array, "*batch m d"]


def converged_all(converged: Bool[Array, "*batch"], failed: Bool[Array, "*batch"]) -> Bool[Array, ""]:
    """Stops once every problem has converged or failed."""
    return jnp.all(converged | failed)


def converged_any(converged: Bool[Array, "*batch"], failed: Bool[Array, "*batch"]) -> Bool[Array, ""]:
    """Stops once one problem has converged, or all have failed."""
    return jnp.any(converged) | jnp.all(failed)


@checked
def bfgs_minimize(
    value_and_gradients_function: Callable[..., Any],
    initial_position: PyTree,
    tolerance: NonnegativeNumeric = 1e-8,
    x_tolerance: NonnegativeNumeric = 0,
    f_relative_tolerance: NonnegativeNumeric = 0,
    initial_inverse_hessian_estimate: Numeric | None = None,
    scale_initial_inverse_hessian: bool = True,
    max_iterations: Count = 50,
    stopping_condition: Callable[..., Any] | None = None,
    max_line_search_iterations: Count = 50,
    f_absolute_tolerance: NonnegativeNumeric = 0,
) -> BFGSOptimizerResults:
    """Minimizes a smooth function with BFGS and a line search for the strong Wolfe conditions.

    A function that returns a value of shape B for positions with leading dimensions B is a batch of problems, solved
    together; `jax.vmap` over a single problem does the same. Every pass of the loop evaluates each problem once.

    A problem has converged when the largest entry of its gradient is at most `tolerance` or another tolerance is met,
    and also at the limit of rounding: when two steps in a row lower neither the objective nor the gradient, or when no
    step along the direction does and the decrease to be had there is below the rounding of the objective and the
    position. A line search that cannot continue for another reason is repeated along the gradient; the problem has
    failed when that does not help (a wrong gradient, a kink), when the objective reaches -inf, which is unbounded
    rather than minimal, and, in a batch, when the objective or its gradient is not finite at the start: such a problem
    stays there while the others go on. Where either is NaN or infinite later, the step is shortened.

    Where the objective is quadratic along the lines, each search goes on to the minimum, so that BFGS and L-BFGS have
    the finite termination and the rate of conjugate gradients; elsewhere most searches end with their first evaluation.

    **Arguments:**

    - `value_and_gradients_function`: maps a position to its value and gradient, such as `jax.value_and_grad(f)`. It is
        compiled once per function object, so arrays it closes over are constants; for new ones pass an
        `equinox.Module` or a `jax.tree_util.Partial`.
    - `initial_position`: an array of shape B + (d,), or any pytree whose leaves have leading shape B. Its dtype is
        the dtype of the search; integers become floats.
    - `tolerance`: of the largest absolute entry of the gradient.
    - `x_tolerance`, `f_relative_tolerance`, `f_absolute_tolerance`: a step changing every entry of the position, or
        the objective (by a part of its size, or absolutely), by less than this has converged; 0 switches the rule off.
    - `initial_inverse_hessian_estimate`: symmetric positive definite, of shape (d, d) or B + (d, d), d the number of
        entries of one flattened position; the identity by default.
    - `scale_initial_inverse_hessian`: whether the first step rescales it.
    - `max_iterations`, `max_line_search_iterations`: bounds on accepted steps, and on evaluations in a line search.
    - `stopping_condition`: maps `converged` and `failed`, of shape B, to whether all stop; `converged_all` by default.

    **Returns:** a `BFGSOptimizerResults`.

    **Raises:** `ValueError` where shapes disagree, the objective or its gradient is not finite at the start (of a
    batch, at every start), or the initial estimate is not symmetric positive definite (under `jit` the last two raise
    at run time); `TypeError` where the function does not return a pair.
    """
    problem = _Problem(value_and_gradients_function, initial_position, "bfgs_minimize")
    estimate = initial_inverse_hessian_estimate
    if estimate is not None:
        estimate = _checked_estimate(jnp.asarray(estimate, problem.flat.dtype), problem)
    method = BFGS(estimate, bool(scale_initial_inverse_hessian))
    limits = Limits(
        tolerance, x_tolerance, f_relative_tolerance, f_absolute_tolerance, max_iterations, max_line_search_iterations,
        problem.flat.dtype,
    )  # fmt: skip
    search = Search(problem.evaluate, method, limits)
    final, finite = _run(search, problem.flat, _rule(stopping_condition, "bfgs_minimize"), None)
    estimate = _batch_first(final.memory.inverse_hessian)
    results = BFGSOptimizerResults(**_common(final, problem), inverse_hessian_estimate=estimate)
    return require(results, _any_of_batch(finite), _not_finite("bfgs_minimize"))


@checked
def lbfgs_minimize(
    value_and_gradients_function: Callable[..., Any],
    initial_position: PyTree = None,
    previous_optimizer_results: LBFGSOptimizerResults | None = None,
    num_correction_pairs: PositiveInt = 10,
    tolerance: NonnegativeNumeric = 1e-8,
    x_tolerance: NonnegativeNumeric = 0,
    f_relative_tolerance: NonnegativeNumeric = 0,
    initial_inverse_hessian_estimate: Numeric | None = None,
    max_iterations: Count = 50,
    stopping_condition: Callable[..., Any] | None = None,
    max_line_search_iterations: Count = 50,
    f_absolute_tolerance: NonnegativeNumeric = 0,
) -> LBFGSOptimizerResults:
    """Minimizes a smooth function of many variables with L-BFGS; stops, batches and fails as `bfgs_minimize` does.

    **Arguments:** those of `bfgs_minimize`, and

    - `previous_optimizer_results`: continue from there, in place of `initial_position`. Counts include the previous
        ones, so `max_iterations` bounds the total; whether a problem has converged or failed is decided again.
    - `num_correction_pairs`: how many differences of position and gradient are stored; a continued search keeps its
        number.
    - `initial_inverse_hessian_estimate`: not supported, as in TFP; each direction scales the identity by the last pair.

    **Returns:** an `LBFGSOptimizerResults`.

    **Raises:** as `bfgs_minimize`; `ValueError` unless just one of `initial_position` and
    `previous_optimizer_results` is given.
    """
    previous = previous_optimizer_results
    if initial_inverse_hessian_estimate is not None:
        raise NotImplementedError("lbfgs_minimize takes no initial_inverse_hessian_estimate: use bfgs_minimize")
    if (initial_position is None) == (previous is None):
        raise ValueError("lbfgs_minimize needs either initial_position or previous_optimizer_results")
    if num_correction_pairs < 1:
        raise ValueError(f"num_correction_pairs must be at least 1, got {num_correction_pairs}")
    start, pairs = initial_position, num_correction_pairs
    if previous is not None:
        start, pairs = previous.position, previous.position_deltas.shape[-2]
    problem = _Problem(value_and_gradients_function, start, "lbfgs_minimize")
    limits = Limits(
        tolerance, x_tolerance, f_relative_tolerance, f_absolute_tolerance, max_iterations, max_line_search_iterations,
        problem.flat.dtype,
    )  # fmt: skip
    earlier = None
    if previous is not None:
        earlier = (
            previous.objective_value, problem.flatten(previous.objective_gradient), previous.num_iterations,
            previous.num_objective_evaluations, previous.position_deltas, previous.gradient_deltas,
        )  # fmt: skip
    search = Search(problem.evaluate, LBFGS(pairs), limits)
    final, finite = _run(search, problem.flat, _rule(stopping_condition, "lbfgs_minimize"), earlier)
    scale = final.memory.scale[:, None]
    s, y = (_batch_first(x * scale) for x in (final.memory.position_deltas, final.memory.gradient_deltas))
    results = LBFGSOptimizerResults(**_common(final, problem), position_deltas=s, gradient_deltas=y)
    return require(results, _any_of_batch(finite), _not_finite("lbfgs_minimize"))


def _rule(stopping_condition: Callable[..., Any] | None, who: str) -> Callable[..., Any]:
    if stopping_condition is None:
        return converged_all
    check_callable(stopping_condition, f"{who}: stopping_condition", "converged", "failed")
    return stopping_condition


class _Evaluate(eqx.Module):
    """The user's function on flat positions of shape B + (d,), with what it returns checked."""

    fn: Any
    treedef: Any = eqx.field(static=True)
    shapes: list[tuple[int, ...]] = eqx.field(static=True)
    who: str = eqx.field(static=True)

    def unflatten(self, flat: Float[Array, "*batch d"], batch: tuple[int, ...]) -> PyTree:
        sizes = [int(np.prod(shape[len(batch) :])) for shape in self.shapes]
        parts = jnp.split(flat, np.cumsum(sizes)[:-1], axis=-1)
        return jax.tree.unflatten(self.treedef, [x.reshape(shape) for x, shape in zip(parts, self.shapes)])

    def flatten(self, tree: PyTree, batch: tuple[int, ...]) -> Float[Array, "*batch d"]:
        return jnp.concatenate([jnp.asarray(x).reshape(*batch, -1) for x in jax.tree.leaves(tree)], axis=-1)

    def __call__(self, flat: Float[Array, "*batch d"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch d"]]:
        batch = flat.shape[:-1]
        value, gradient = self.fn(self.unflatten(flat, batch))
        return jnp.asarray(value).astype(flat.dtype), self.flatten(gradient, batch).astype(flat.dtype)


class _Problem:
    """The start and the function, in flat form, after the checks of shapes."""

    flat: Float[Array, "*batch d"]
    batch: tuple[int, ...]
    evaluate: _Evaluate

    def __init__(self, fn: Callable[..., Any], position: PyTree, who: str):
        fn = as_callable(fn, f"{who}: value_and_gradients_function")
        leaves, treedef = jax.tree.flatten(position, is_leaf=lambda x: x is None)
        structure: Any = treedef
        if not leaves:
            raise ValueError(f"{who} needs an initial_position with at least one array, got {position!r}")
        for leaf in leaves:
            check_numbers(leaf, f"{who}: initial_position")
        arrays = promote(*leaves)
        arrays = [arrays] if len(leaves) == 1 else list(arrays)
        shapes = [x.shape for x in arrays]
        out = eqx.filter_eval_shape(fn, jax.tree.unflatten(treedef, arrays))
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise TypeError(
                f"{who}: value_and_gradients_function must return a pair (value, gradient), got {describe(out)}"
            )
        value, gradient = out
        batch = jnp.shape(value)
        for shape in shapes:
            if shape[: len(batch)] != batch:
                raise ValueError(
                    f"{who}: value_and_gradients_function returns values of shape {batch}, which is not how the "
                    f"shape {shape} of initial_position begins: it must return one value for each problem of the batch"
                )
        if jax.tree.structure(gradient) != structure or [jnp.shape(x) for x in jax.tree.leaves(gradient)] != shapes:
            raise ValueError(
                f"{who}: value_and_gradients_function must return a gradient like initial_position, "
                f"{jax.tree.unflatten(treedef, shapes)}, got {jax.tree.map(jnp.shape, gradient)}"
            )
        self.batch = batch
        self.evaluate = _Evaluate(fn, treedef, shapes, who)
        self.flat = self.flatten(arrays)

    def flatten(self, tree: PyTree) -> Float[Array, "*batch d"]:
        return self.evaluate.flatten(tree, self.batch)

    def unflatten(self, flat: Float[Array, "*batch d"]) -> PyTree:
        return self.evaluate.unflatten(flat, self.batch)


class BFGS(eqx.Module):
    """The method of `bfgs_minimize`, from an inverse Hessian with the batch last or the identity."""

    initial_inverse_hessian: Float[Array, "d d *batch"] | None
    scale: bool = eqx.field(static=True)
    exactness: ClassVar[float] = _EXACTNESS_BFGS

    @property
    def begins_with_gradient(self) -> bool:
        return self.initial_inverse_hessian is None

    @property
    def transformation(self) -> Direction:
        return bfgs(self.initial_inverse_hessian, self.scale)


class LBFGS(eqx.Module):
    """The method of `lbfgs_minimize`."""

    num_correction_pairs: int = eqx.field(static=True)
    exactness: ClassVar[float] = _EXACTNESS_LBFGS
    begins_with_gradient: ClassVar[bool] = True

    @property
    def transformation(self) -> Direction:
        return lbfgs(self.num_correction_pairs)


class Limits(eqx.Module):
    """The tolerances of gradient, position and value (relative, absolute), and the most iterations and trials on a
    line."""

    gradient: Float[Array, ""]
    position: Float[Array, ""]
    relative: Float[Array, ""]
    absolute: Float[Array, ""]
    iterations: Int[Array, ""]
    trials: Int[Array, ""]

    def __init__(
        self, gradient: Any, position: Any, relative: Any, absolute: Any, iterations: Any, trials: Any, dtype: Any
    ):
        # Arrays, since the program would be compiled for each Python number.
        self.gradient, self.position, self.relative, self.absolute = (
            jnp.asarray(x, dtype) for x in (gradient, position, relative, absolute)
        )
        self.iterations, self.trials = jnp.asarray(iterations, jnp.int32), jnp.asarray(trials, jnp.int32)


class SearchState(eqx.Module):
    """The problems between two evaluations, the batch last.

    `turning` says that a new direction is needed, `fresh` that it is the gradient, without pairs or an estimate, `gain`
    is the decrease of the objective in the last step, `idle` the number of steps in a row that improved nothing.
    """

    position: Float[Array, " d *batch"]
    value: Float[Array, "*batch"]
    gradient: Float[Array, " d *batch"]
    direction: Float[Array, " d *batch"]
    search: LineSearch
    memory: Any
    converged: Bool[Array, "*batch"]
    failed: Bool[Array, "*batch"]
    iterations: Int[Array, "*batch"]
    evaluations: Int[Array, "*batch"]
    turning: Bool[Array, "*batch"]
    fresh: Bool[Array, "*batch"]
    gain: Float[Array, "*batch"]
    idle: Int[Array, "*batch"]


class Search(eqx.Module):
    """A minimization as a state machine: `begin`, then `turn` while it is `active`; one evaluation a turn."""

    evaluate: Callable[..., Any]
    method: BFGS | LBFGS
    limits: Limits

    def _at(self, position: Float[Array, " d *batch"]) -> tuple[Float[Array, "*batch"], Float[Array, " d *batch"]]:
        value, gradient = self.evaluate(jnp.moveaxis(position, 0, -1))
        return value, jnp.moveaxis(gradient, -1, 0)

    def begin(self, flat: Float[Array, "*batch d"], previous: Any = None) -> SearchState:
        """At the start, or where an earlier search stopped; a problem that is not finite there has failed."""
        position = jnp.moveaxis(flat, -1, 0)
        memory = self.method.transformation.init(position)
        if previous is None:
            value, gradient = self._at(position)
            iterations, evaluations = jnp.zeros(value.shape, jnp.int32), jnp.ones(value.shape, jnp.int32)
        else:
            value, gradient, iterations, evaluations, *pairs = previous
            gradient, pairs = jnp.moveaxis(gradient, -1, 0), [jnp.moveaxis(x, (-2, -1), (0, 1)) for x in pairs]
            memory, _ = jax.lax.scan(lambda memory, pair: (remember(memory, *pair), None), memory, tuple(pairs))
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient), axis=0)
        converged = finite & (_largest(gradient) <= self.limits.gradient)
        no, none, infinity = jnp.zeros_like(finite), jnp.zeros(value.shape, jnp.int32), jnp.full_like(value, jnp.inf)
        fresh = jnp.full_like(no, previous is None and self.method.begins_with_gradient)
        return SearchState(
            position, value, gradient, gradient, begin(value, value, value, value, no), memory, converged, ~finite,
            iterations, evaluations, ~no, fresh, infinity, none,
        )  # fmt: skip

    def active(self, state: SearchState) -> Bool[Array, "*batch"]:
        """Which problems are not finished."""
        return ~(state.converged | state.failed) & (state.iterations < self.limits.iterations)

    def turn(self, state: SearchState) -> SearchState:
        """Evaluates every problem once, and accepts the point or continues along the line."""
        new = _aim(self.method.transformation, state)
        trial = new.position + new.search.step * new.direction
        new = _step(self.limits, self.method.exactness, new, trial, *self._at(trial))
        # Of a single problem the loop itself ends when it is done.
        return tree_where(self.active(state), new, state) if state.value.ndim else new


@eqx.filter_jit
def _run(
    search: Search, flat: Float[Array, "*batch d"], stopping_condition: Callable[..., Any], previous: Any
) -> tuple[SearchState, Bool[Array, ""]]:
    """The final state, and whether some start was finite (a problem whose start was not has not been moved)."""
    state = search.begin(flat, previous)

    def go_on(state: SearchState) -> Bool[Array, ""]:
        return jnp.any(search.active(state)) & ~jnp.asarray(stopping_condition(state.converged, state.failed))

    final = jax.lax.while_loop(go_on, lambda state: search.turn(state), state)
    # The last pair has not been needed for a direction, but the results hold it.
    _, memory = search.method.transformation.update(final.gradient, final.memory, final.position)
    return eqx.tree_at(lambda t: t.memory, final, memory), jnp.any(~state.failed) | (state.failed.size == 0)


@jax.custom_batching.custom_vmap
def _any_of_batch(condition: Bool[Array, ""]) -> Bool[Array, ""]:
    """The condition; under `jax.vmap` whether it holds anywhere, so that one bad start does not stop the others."""
    return condition


@_any_of_batch.def_vmap
def _(_: int, batched: list[bool], condition: Bool[Array, " batch"]) -> tuple[Bool[Array, ""], bool]:
    return _any_of_batch(jnp.any(condition)), False


def _aim(transformation: Direction, state: SearchState) -> SearchState:
    """Finds a new direction where one is needed, and begins a search along it."""
    position, value, gradient = state.position, state.value, state.gradient
    memory = tree_where(state.fresh, transformation.restart(position), state.memory)
    direction, memory = transformation.update(gradient, memory, position)
    direction = jnp.where(state.fresh, capped(gradient), direction)
    slope = dot(gradient, direction)
    # If the last step gained little and the direction is long, a full step would be rejected: take the step for which
    # the model predicts the same gain again (Nocedal and Wright, equation 3.60).
    step = jnp.minimum(1, 2.02 * state.gain / slope)
    # Rounding the position moves the objective by a product of gradient and position, however small its value is.
    noise = _NOISE * jnp.finfo(position.dtype).eps * (jnp.abs(value) + dot(jnp.abs(gradient), jnp.abs(position)))
    new = -direction, begin(value, -slope, step, noise, state.search.quadratic), memory
    where = lambda s: (s.direction, s.search, s.memory)
    return eqx.tree_at(where, state, tree_where(state.turning, new, where(state)))


def _step(
    limits: Limits, exactness: float, state: SearchState, trial: Float[Array, " d *batch"],
    value: Float[Array, "*batch"], gradient: Float[Array, " d *batch"],
) -> SearchState:  # fmt: skip
    """Uses the evaluation at `trial`: accepts the point, continues along the line, or ends the search on it."""
    unbounded = value == -jnp.inf
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient), axis=0)
    value = jnp.where(finite | unbounded, value, jnp.inf)
    search, wolfe, collapsed = advance(state.search, value, dot(gradient, state.direction), exactness)
    accepted = wolfe & finite
    # While no step is known to be too long, one that rounding swallows is too short.
    swallowed = jnp.isfinite(search.high.step) & jnp.all(trial == state.position, axis=0)
    standstill = collapsed | swallowed | (search.trials >= limits.trials)
    stuck = ~accepted & ~unbounded & standstill

    size, change = _largest(gradient), jnp.abs(value - state.value)
    lower = value < state.value
    idle = jnp.where(accepted, jnp.where(lower | (size < _largest(state.gradient)), 0, state.idle + 1), state.idle)
    within = (
        (size <= limits.gradient)
        | (_largest(trial - state.position) < limits.position)
        | (change < limits.relative * jnp.abs(value))
        | (change < limits.absolute)
        | (idle >= 2)
    )
    # The slope alone does not bound the decrease: it is small along any short direction.
    converged = (accepted & within) | (stuck & (-search.start.slope * search.reach <= search.noise))
    retry = stuck & ~converged & ~state.fresh
    new = (trial, value, gradient)
    position, value, gradient = tree_where(accepted | unbounded, new, (state.position, state.value, state.gradient))
    failed, turning = unbounded | (stuck & ~converged & state.fresh), accepted | retry
    fresh, gain = (state.fresh & ~accepted) | retry, jnp.where(accepted & lower, change, jnp.inf)
    return SearchState(
        position, value, gradient, state.direction, search, state.memory, converged, failed,
        state.iterations + accepted, state.evaluations + 1, turning, fresh, gain, idle,
    )  # fmt: skip


def _checked_estimate(estimate: Float[Array, "..."], problem: _Problem) -> Float[Array, "d d *batch"]:
    d, name = problem.flat.shape[-1], "initial_inverse_hessian_estimate"
    allowed = (d, d), (*problem.batch, d, d)
    if estimate.shape not in allowed:
        shapes = " or ".join(map(str, dict.fromkeys(allowed)))
        raise ValueError(f"{name} must have shape {shapes}, got {estimate.shape}")
    transposed = jnp.swapaxes(estimate, -1, -2)
    close = jnp.abs(estimate - transposed) <= 1e3 * jnp.finfo(estimate.dtype).eps * jnp.abs(estimate)
    definite = jnp.all(close) & jnp.all(jnp.isfinite(jnp.linalg.cholesky(estimate)))
    estimate = require(estimate, definite, f"{name} must be symmetric and positive definite")
    estimate = jnp.broadcast_to((estimate + jnp.swapaxes(estimate, -1, -2)) / 2, allowed[1])
    return jnp.moveaxis(estimate, (-2, -1), (0, 1))


def _not_finite(who: str) -> str:
    return f"{who} needs an objective and a gradient that are finite at every initial_position"


def _common(final: SearchState, problem: _Problem) -> dict[str, Any]:
    """The fields that both kinds of results have."""
    position, gradient = (problem.unflatten(jnp.moveaxis(x, 0, -1)) for x in (final.position, final.gradient))
    return dict(
        converged=final.converged,
        failed=final.failed,
        num_iterations=final.iterations,
        num_objective_evaluations=final.evaluations,
        position=position,
        objective_value=final.value,
        objective_gradient=gradient,
    )


def _batch_first(matrix: Float[Array, "m d *batch"]) -> Float[Array, "*batch m d"]:
    return jnp.moveaxis(matrix, (0, 1), (-2, -1))


def _largest(vector: Float[Array, " d *batch"]) -> Float[Array, "*batch"]:
    return jnp.max(jnp.abs(vector), axis=0)
