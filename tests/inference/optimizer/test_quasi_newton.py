import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from distrax_like.inference.optimizer import (
    bfgs_minimize,
    converged_any,
    lbfgs_minimize,
    scale_by_bfgs,
    scale_by_lbfgs,
)

METHODS = [bfgs_minimize, lbfgs_minimize]
# What only concerns the driver, which both share, is tested with one of them: compiling takes seconds.
METHOD = pytest.mark.parametrize("minimize", METHODS, ids=["bfgs", "lbfgs"])


def bowl(x):
    return jnp.sum(jnp.array([2.0, 3.0], x.dtype) * (x - 1) ** 2)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def ladder(x):
    return jnp.sum((jnp.arange(60.0) + 1) * (x - 1) ** 2)


def stiff(x):
    return jnp.sum(jnp.asarray(np.logspace(0, 4, 60)) * (x - 1) ** 2) / 2


_random = np.random.RandomState(0)
DESIGN = _random.randn(200, 20) * np.linspace(0.5, 2, 20)
LABELS = (_random.rand(200) < 1 / (1 + np.exp(-DESIGN @ _random.randn(20)))).astype(float)


def logistic(w):
    logits = DESIGN.astype(w.dtype) @ w
    return jnp.sum(jnp.logaddexp(0, logits) - LABELS.astype(w.dtype) * logits) + jnp.sum(w**2) / 2


class Case(NamedTuple):
    objective: Callable[..., Any]
    start: np.ndarray
    bfgs: int | None  # the most evaluations allowed: 1.2 times those of the best peer that converges
    lbfgs: int | None


CASES = {
    "rosenbrock 2": Case(rosenbrock, np.array([-1.2, 1.0]), 55, 55),
    "rosenbrock 10": Case(rosenbrock, np.tile([-1.2, 1.0], 5), 124, 115),
    "himmelblau": Case(himmelblau, np.zeros(2), 20, 20),
    "ladder 60": Case(ladder, np.arange(60, 0, -1.0), 98, 109),
    "stiff 60": Case(stiff, np.zeros(60), 405, None),
    "logistic": Case(logistic, np.zeros(20), 55, 55),
}


@functools.cache
def compiled(minimize, objective, **options):
    function = jax.value_and_grad(objective)
    return jax.jit(lambda x: minimize(function, x, max_iterations=1000, **options))


@functools.cache
def solve_cases(minimize, dim):
    """All cases of one dimension in one program: compiling is what takes time here."""
    cases = {name: case for name, case in CASES.items() if case.start.size == dim}
    objectives = [case.objective for case in cases.values()]

    def one(k, x):
        return minimize(jax.value_and_grad(lambda x: jax.lax.switch(k, objectives, x)), x, max_iterations=1000)

    out = jax.jit(jax.vmap(one))(jnp.arange(len(cases)), np.stack([case.start for case in cases.values()]))
    return {name: jax.tree.map(lambda x: x[k], out) for k, name in enumerate(cases)}


# Without a bound: no L-BFGS comes near in 1000 evaluations, that of the peers included.
BOUNDS = [(bfgs_minimize, name, case.bfgs) for name, case in CASES.items()]
BOUNDS += [(lbfgs_minimize, name, case.lbfgs) for name, case in CASES.items() if case.lbfgs is not None]


@pytest.mark.parametrize("minimize, name, bound", BOUNDS)
def test_solves_within_the_evaluations_of_the_best_peer(minimize, name, bound):
    case = CASES[name]
    out = solve_cases(minimize, case.start.size)[name]
    assert out.converged and not out.failed
    assert out.num_objective_evaluations <= bound
    assert jnp.max(jnp.abs(out.objective_gradient)) <= 1e-8
    function = jax.jit(jax.value_and_grad(case.objective))
    value, gradient = function(out.position)
    np.testing.assert_allclose(out.objective_value, value, rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(out.objective_gradient, gradient, atol=1e-11)
    reference = scipy.optimize.minimize(function, case.start, jac=True, method="BFGS", options={"gtol": 1e-8})
    assert out.objective_value <= reference.fun + 1e-12
    if abs(out.objective_value - reference.fun) < 1e-9 and name != "himmelblau":  # it has four minima
        np.testing.assert_allclose(out.position, reference.x, atol=1e-6)


def test_counts_every_evaluation():
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(None))
        return rosenbrock(x)

    for minimize in METHODS:
        calls.clear()
        out = jax.block_until_ready(minimize(jax.value_and_grad(counted), jnp.array([-1.2, 1.0])))
        jax.effects_barrier()
        assert len(calls) == out.num_objective_evaluations


@METHOD
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_page(minimize, dtype):
    start = jnp.array([0.6, 0.8], dtype)
    out = minimize(jax.value_and_grad(bowl), initial_position=start, tolerance=1e-8)
    assert out.converged and out.num_objective_evaluations == 5
    np.testing.assert_allclose(out.position, np.ones(2))
    assert all(x.dtype == dtype for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating))


@METHOD
def test_the_page_vmapped(minimize):
    starts = jax.random.normal(jax.random.PRNGKey(0), (10, 2), jnp.float32)
    one = lambda x: minimize(jax.value_and_grad(bowl), initial_position=x, tolerance=1e-8)
    many = jax.jit(jax.vmap(one))(starts)
    assert jnp.all(many.converged) and jnp.max(many.num_objective_evaluations) <= 10
    np.testing.assert_allclose(many.position, np.ones((10, 2)))


@METHOD
def test_a_thousand_starts(minimize):
    starts = 2 * jax.random.normal(jax.random.key(0), (1000, 2))
    out = minimize(jax.vmap(jax.value_and_grad(rosenbrock)), starts, max_iterations=200)
    assert jnp.all(out.converged) and not jnp.any(out.failed)
    np.testing.assert_allclose(out.position, np.ones((1000, 2)), atol=1e-6)
    assert jnp.median(out.num_objective_evaluations) <= 45 and jnp.max(out.num_objective_evaluations) <= 110


@METHOD
def test_a_batch_is_its_problems_one_by_one(minimize):
    starts = jnp.array([[[-1.2, 1.0], [0.0, 0.0]], [[2.0, 2.0], [1.0, 1.0]], [[-3.0, 0.5], [0.3, -0.7]]])
    batch = minimize(jax.vmap(jax.vmap(jax.value_and_grad(rosenbrock))), starts, max_iterations=1000)
    assert batch.converged.shape == (3, 2)
    for i in np.ndindex(3, 2):
        one = compiled(minimize, rosenbrock)(starts[i])
        mine = jax.tree.map(lambda x: x[i], batch)
        assert mine.num_objective_evaluations == one.num_objective_evaluations
        assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, one)
        np.testing.assert_allclose(mine.position, one.position, atol=1e-9)
    assert batch.num_objective_evaluations[1, 1] == 1 and batch.num_iterations[1, 1] == 0


def test_jit_is_eager(minimize=bfgs_minimize):
    start = jnp.array([-1.2, 1.0])
    eager = minimize(jax.value_and_grad(rosenbrock), start, max_iterations=1000)
    for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled(minimize, rosenbrock)(start))):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@METHOD
def test_float32_ends_at_its_precision(minimize):
    # The objective is about 60 and resolves 1e-5 there: no point meets the tolerance of 1e-8.
    out = compiled(minimize, logistic)(jnp.zeros(20, jnp.float32))
    assert out.converged and out.num_objective_evaluations <= 120
    np.testing.assert_allclose(out.position, solve_cases(minimize, 20)["logistic"].position, atol=2e-4)
    assert out.position.dtype == jnp.float32


def test_estimates_the_inverse_hessian():
    root = np.random.RandomState(1).randn(6, 6)
    hessian = jnp.asarray(root @ root.T + np.eye(6))
    function = jax.value_and_grad(lambda x: x @ hessian @ x / 2 + jnp.sum(x))
    out = bfgs_minimize(function, jnp.ones(6), tolerance=1e-10)
    error = out.inverse_hessian_estimate - jnp.linalg.inv(hessian)
    assert jnp.linalg.norm(error) < 0.1 * jnp.linalg.norm(jnp.linalg.inv(hessian))
    again = bfgs_minimize(function, jnp.ones(6), initial_inverse_hessian_estimate=jnp.linalg.inv(hessian))
    assert again.converged and again.num_objective_evaluations <= 3


def test_without_scaling_a_stiff_quadratic_is_cheap():
    out = compiled(bfgs_minimize, stiff, scale_initial_inverse_hessian=False)(np.zeros(60))
    assert out.converged and out.num_objective_evaluations <= 95  # SciPy takes 79


def test_resumes():
    function, start = jax.value_and_grad(rosenbrock), jnp.array([-1.2, 1.0])
    short = lbfgs_minimize(function, start, max_iterations=12, num_correction_pairs=5)
    assert not short.converged and not short.failed and short.num_iterations == 12
    resumed = lbfgs_minimize(function, previous_optimizer_results=short, max_iterations=100)
    whole = lbfgs_minimize(function, start, max_iterations=100, num_correction_pairs=5)
    assert resumed.converged and abs(int(resumed.num_iterations - whole.num_iterations)) <= 2
    np.testing.assert_allclose(resumed.position, 1, atol=1e-8)
    same = lbfgs_minimize(function, previous_optimizer_results=resumed, max_iterations=100)
    np.testing.assert_array_equal(same.position, resumed.position)
    assert same.num_objective_evaluations == resumed.num_objective_evaluations
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), short)
    batch = lbfgs_minimize(jax.vmap(function), previous_optimizer_results=batch, max_iterations=100)
    np.testing.assert_array_equal(batch.num_iterations, 2 * [int(resumed.num_iterations)])


def test_stopping_condition():
    starts = jnp.array([[1.0, 1.01], [-1.2, 1.0]])
    out = bfgs_minimize(jax.vmap(jax.value_and_grad(rosenbrock)), starts, stopping_condition=converged_any)
    assert out.converged.tolist() == [True, False] and not jnp.any(out.failed)


def test_tolerances(minimize=bfgs_minimize):
    # Negative objectives too: the relative change is one of the size.
    function = jax.value_and_grad(lambda x: rosenbrock(x) - 5)

    @jax.jit
    @jax.vmap
    def solve(gradient, x, relative, absolute, iterations):
        return minimize(
            function, jnp.array([-1.2, 1.0]), tolerance=gradient, x_tolerance=x, f_relative_tolerance=relative,
            f_absolute_tolerance=absolute, max_iterations=iterations,
        )  # fmt: skip

    loose = 1e-3 * jnp.eye(5)[1:4]
    out = solve(jnp.array([1e-8, 0, 0, 0, 0]), *loose, jnp.array([500, 500, 500, 500, 3]))
    assert out.converged.tolist() == [True] * 4 + [False] and not jnp.any(out.failed)
    assert jnp.all(out.num_objective_evaluations[1:4] < out.num_objective_evaluations[0])
    assert out.num_iterations[4] == 3


def test_positions_may_be_trees_and_integers(minimize=lbfgs_minimize):
    loss = lambda p: jnp.sum((p["a"] - 1) ** 2) + 3 * (p["b"] + 2) ** 2
    out = minimize(jax.value_and_grad(loss), {"a": jnp.zeros((2, 3)), "b": jnp.array(0.0)})
    assert out.converged and out.position["a"].shape == (2, 3)
    np.testing.assert_allclose(out.position["b"], -2)

    class Loss(eqx.Module):
        centre: jax.Array

        def __call__(self, x):
            return jnp.sum((x - self.centre) ** 2), 2 * (x - self.centre)

    centres = jnp.arange(3.0)
    out = jax.vmap(lambda c: minimize(Loss(c), jnp.array([3, 4])))(centres)
    np.testing.assert_allclose(out.position, jnp.stack([centres, centres], -1), atol=1e-12)


HOSTILE = [
    # objective, start, whether it converges
    (lambda x: jnp.sum(x - jnp.log(x)), [9.0, 0.01], True),  # NaN left of 0
    (lambda x: jnp.log(x[0]), [1.0, 0.0], False),  # -inf at 0
    (lambda x: -jnp.sum(x), [1.0, 0.0], False),
    (lambda x: -jnp.exp(x[0]), [1.0, 0.0], False),
    (lambda x: 1e-12 * rosenbrock(x), [-1.2, 1.0], True),
    (lambda x: 1e12 * rosenbrock(x), [-1.2, 1.0], True),
    (lambda x: jnp.sum(x**2) - 2 * jax.lax.stop_gradient(jnp.sum(x**2)), [1.0, 2.0], False),  # a wrong gradient
    (bowl, [0.6, 0.8], True),  # is not disturbed by its neighbours
]


@METHOD
def test_hostile_objectives(minimize):
    objectives, starts, solvable = zip(*HOSTILE)

    def one(k, x):
        function = jax.value_and_grad(lambda x: jax.lax.switch(k, objectives, x))
        tolerance = 1e-8 * jnp.array([1.0, 1, 1, 1, 1e-12, 1e12, 1, 1])[k]
        return minimize(function, x, tolerance=tolerance, max_iterations=500)

    out = jax.jit(jax.vmap(one))(jnp.arange(len(objectives)), jnp.array(starts))
    np.testing.assert_array_equal(out.converged, solvable)
    np.testing.assert_array_equal(out.failed, ~np.array(solvable))
    np.testing.assert_allclose(out.position[np.array(solvable)], 1, atol=1e-4)
    np.testing.assert_array_equal(out.position[6], starts[6])
    assert out.num_objective_evaluations[7] == 5


def test_bad_starts_and_shapes(minimize=bfgs_minimize):
    function = jax.value_and_grad(lambda x: jnp.sum(jnp.log(x)))
    traced = jax.jit(lambda x: minimize(function, x))
    for bad in (-1.0, jnp.nan):
        with pytest.raises(ValueError, match="finite at every initial_position"):
            minimize(function, jnp.array([1.0, bad]))
        with pytest.raises(Exception, match="finite at every initial_position"):
            jax.block_until_ready(traced(jnp.array([1.0, bad])))
    with pytest.raises(TypeError, match="pair"):
        minimize(bowl, jnp.zeros(2))
    with pytest.raises(TypeError, match="value_and_gradients_function"):
        minimize(3, jnp.zeros(2))
    with pytest.raises(ValueError, match="gradient like initial_position"):
        minimize(lambda x: (jnp.sum(x**2), jnp.sum(x)), jnp.zeros(2))
    with pytest.raises(ValueError, match="values of shape"):
        minimize(lambda x: (jnp.zeros(2), x), jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="initial_position"):
        minimize(function, ())


def test_bad_estimates_and_arguments():
    solve = lambda h: bfgs_minimize(jax.value_and_grad(bowl), jnp.zeros(2), initial_inverse_hessian_estimate=h)
    with pytest.raises(ValueError, match="initial_inverse_hessian_estimate must have shape"):
        solve(jnp.eye(3))
    traced = jax.jit(solve)
    for bad in ([[1.0, 0.0], [0.0, -1.0]], [[1.0, 0.5], [0.0, 1.0]]):
        with pytest.raises(ValueError, match="symmetric and positive definite"):
            solve(jnp.array(bad))
        with pytest.raises(Exception, match="symmetric and positive definite"):
            jax.block_until_ready(traced(jnp.array(bad)))
    function = jax.value_and_grad(bowl)
    with pytest.raises(NotImplementedError, match="bfgs_minimize"):
        lbfgs_minimize(function, jnp.zeros(2), initial_inverse_hessian_estimate=jnp.eye(2))
    with pytest.raises(ValueError, match="either"):
        lbfgs_minimize(function)
    with pytest.raises(ValueError, match="num_correction_pairs"):
        lbfgs_minimize(function, jnp.zeros(2), num_correction_pairs=0)


@pytest.mark.parametrize("make", [scale_by_bfgs, scale_by_lbfgs])
def test_directions_chain_with_optax(make):
    loss = lambda p: rosenbrock(jnp.concatenate([p["a"], p["b"]]))
    solver = optax.chain(make(), optax.scale(-1.0), optax.scale_by_zoom_linesearch(20, initial_guess_strategy="one"))
    function = optax.value_and_grad_from_state(loss)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, grad = function(params, state=state)
            updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=loss)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, solver.init(params)), length=40)

    (params, _), _ = run({"a": jnp.array([-1.2]), "b": jnp.array([1.0])})
    np.testing.assert_allclose(params["b"], 1, atol=1e-6)
    with pytest.raises(ValueError, match="needs params"):
        make().update(params, make().init(params))


def test_lbfgs_direction_is_that_of_optax():
    ours: Any = scale_by_lbfgs(4)
    theirs: Any = optax.scale_by_lbfgs(4)
    x = jnp.arange(1.0, 6.0)
    a, b = ours.init(x), theirs.init(x)
    for _ in range(7):
        gradient = x**3 + jnp.arange(1.0, 6.0) * x
        left, a = ours.update(gradient, a, x)
        right, b = theirs.update(gradient, b, x)
        np.testing.assert_allclose(left, right, rtol=1e-9)
        x = x - 1e-2 * gradient


STEEP = [
    # The first step is down a cliff, and leaves an inverse Hessian that is far too small for the other directions.
    (lambda x: jnp.exp(20 * x[1]) + (x[0] - 3) ** 2, [0.0, 1.0], 0.0),
    (lambda x: jnp.exp(40 * x[1]) + (x[0] - 3) ** 2, [0.0, 1.0], 0.0),
    (lambda x: x[0] ** 2 + 1e8 * x[1] ** 2, [1.0, 1.0], 0.0),
    (lambda x: 5 + x[0] ** 2 + 1e12 * x[1] ** 2, [1.0, 1.0], 5.0),
    (lambda x: (x[0] - 3) ** 2 + 1e10 * x[1] ** 4, [0.0, 1.0], 0.0),
    # The gradient is so small that a step of one does not move the position.
    (lambda x: 1 + 1e-12 * jnp.sum(x**2), [1e8, 1e8], 1.0),
]


@METHOD
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_converges_at_minima_only(minimize, dtype):
    objectives, starts, minima = zip(*STEEP)

    def one(k, x):
        return minimize(jax.value_and_grad(lambda x: jax.lax.switch(k, objectives, x)), x, tolerance=1e-7)

    out = jax.jit(jax.vmap(one))(jnp.arange(len(STEEP)), jnp.array(starts, dtype))
    assert jnp.all(out.converged) and not jnp.any(out.failed)
    np.testing.assert_allclose(out.objective_value, minima, atol=1e-8)
    assert jnp.max(jnp.abs(out.objective_gradient)) <= 1e-7 and jnp.max(out.num_objective_evaluations) <= 60


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_estimates_that_are_too_small(dtype):
    function = jax.value_and_grad(lambda x: jnp.sum(jnp.array([1.0, 3.0], x.dtype) * x**2))
    for scale in (False, True):
        one = lambda size, start, trials: bfgs_minimize(
            function, start, initial_inverse_hessian_estimate=size * jnp.eye(2, dtype=dtype),
            scale_initial_inverse_hessian=scale, max_line_search_iterations=trials,
        )  # fmt: skip
        # The search lengthens its steps; where that takes too many trials it begins again along the gradient.
        out = jax.jit(jax.vmap(one, (0, None, 0)))(
            jnp.array([1e-10, 1e-20, 1e-20, 1e-35], dtype), jnp.ones(2, dtype), jnp.array([50, 50, 5, 20])
        )
        assert jnp.all(out.converged) and not jnp.any(out.failed)
        np.testing.assert_allclose(out.position, 0, atol=1e-8)


def rotated(dim, seed):
    random = np.random.RandomState(seed)
    scales, root = np.exp(random.randn(dim)), np.linalg.qr(random.randn(dim, dim))[0]
    return root.T * scales @ root, random.randn(dim)


def conjugate_gradients(hessian, centre):
    """How many iterations the method of conjugate gradients takes on (x - centre)ᵀ hessian (x - centre) from 0."""
    x, count = np.zeros_like(centre), 0
    gradient = 2 * hessian @ (x - centre)
    direction = -gradient
    while np.max(np.abs(gradient)) > 1e-8:
        x = x - (gradient @ direction) / (2 * direction @ hessian @ direction) * direction
        old, gradient, count = gradient, 2 * hessian @ (x - centre), count + 1
        direction = -gradient + (gradient @ gradient) / (old @ old) * direction
    return count


def test_quadratics_take_the_iterations_of_conjugate_gradients():
    function = jax.value_and_grad(lambda x, hessian, centre, offset: (x - centre) @ hessian @ (x - centre) + offset)

    def solve(minimize, hessian, centre, offset):
        return minimize(lambda x: function(x, hessian, centre, offset), jnp.zeros_like(centre), max_iterations=100)

    run = jax.jit(jax.vmap(solve, (None, 0, 0, None)), static_argnums=0)
    for dim in (50,):
        hessians, centres = map(np.stack, zip(*(rotated(dim, seed) for seed in range(5))))
        least = np.array([conjugate_gradients(*case) for case in zip(hessians, centres)])
        cases = (lbfgs_minimize, 0.0, 1.05), (lbfgs_minimize, 3.0, 1.2), (bfgs_minimize, 0.0, 1.2)
        for minimize, offset, factor in cases:
            out = run(minimize, hessians, centres, offset)
            assert jnp.all(out.converged) and np.all(out.num_iterations <= np.ceil(factor * least))
            assert np.all(out.num_objective_evaluations <= 2 * np.ceil(factor * least) + 1)


@METHOD
def test_one_bad_start_fails_alone(minimize):
    function = jax.value_and_grad(lambda x: jnp.sum(x - jnp.log(x)))
    starts = jnp.array([[9.0, 0.01], [-1.0, 2.0], [jnp.nan, 1.0], [0.0, 1.0], [2.0, 3.0]])
    batch, mapped = minimize(jax.vmap(function), starts), jax.vmap(lambda x: minimize(function, x))(starts)
    nested = jax.jit(jax.vmap(jax.vmap(lambda x: minimize(function, x))))(starts[:, None])
    for out in (batch, mapped, jax.tree.map(lambda x: x[:, 0], nested)):
        good = np.array([True, False, False, False, True])
        np.testing.assert_array_equal(out.converged, good)
        np.testing.assert_array_equal(out.failed, ~good)
        np.testing.assert_allclose(out.position[good], 1, atol=1e-7)
        np.testing.assert_array_equal(out.position[~good], starts[~good])
        np.testing.assert_array_equal(out.num_objective_evaluations[~good], 1)
    with pytest.raises(ValueError, match="finite at every"):
        minimize(jax.vmap(function), starts[1:3])


def test_the_last_pair_is_in_the_results():
    function = jax.value_and_grad(lambda x: 2 * jnp.sum(x**2))
    out = lbfgs_minimize(function, jnp.array([3.0, 4.0]), max_iterations=1)
    np.testing.assert_allclose(out.position_deltas[-1], out.position - jnp.array([3.0, 4.0]), rtol=1e-12)
    np.testing.assert_allclose(out.gradient_deltas[-1], 4 * out.position_deltas[-1], rtol=1e-12)
