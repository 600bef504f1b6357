"""Times the optimizers beside TFP's and optax's, alternating, in one process.

Run with the peers installed: `python tests/benchmarks/optimizers.py [--repeats 15]`. One row for each library and
problem: the median time of a solve, its evaluations (median and maximum over the starts, as each library counts them;
TFP's is one count for a batch), the time as a multiple of evaluating the objective that often, and how many starts
have a gradient below the tolerance.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

TOLERANCE = 1e-3
LIMIT = 1000


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def logistic(num_rows=1000, num_columns=20):
    a, b, c = jax.random.split(jax.random.key(1), 3)
    design = jax.random.normal(a, (num_rows, num_columns))
    labels = jax.random.uniform(b, (num_rows,)) < jax.nn.sigmoid(design @ jax.random.normal(c, (num_columns,)))

    def loss(weights):
        logits = design @ weights
        return jnp.mean(jnp.logaddexp(0, logits) - labels * logits) + 0.005 * jnp.sum(weights**2)

    return loss


def ours(name):
    def make(loss):
        from distrax_like.inference import optimizer

        function = jax.value_and_grad(loss)
        solve = getattr(optimizer, name)

        def run(starts):
            out = solve(jax.vmap(function), starts, tolerance=TOLERANCE, max_iterations=LIMIT)
            return out.num_objective_evaluations, out.objective_gradient

        return run

    return make


def ours_vmapped(name):
    def make(loss):
        from distrax_like.inference import optimizer

        solve = getattr(optimizer, name)

        def one(start):
            out = solve(jax.value_and_grad(loss), start, tolerance=TOLERANCE, max_iterations=LIMIT)
            return out.num_objective_evaluations, out.objective_gradient

        return jax.vmap(one)

    return make


def tfp(name):
    def make(loss):
        import tensorflow_probability.substrates.jax as tfp

        function, solve = jax.vmap(jax.value_and_grad(loss)), getattr(tfp.optimizer, name)

        def run(starts):
            out = solve(function, initial_position=starts, tolerance=TOLERANCE, max_iterations=LIMIT)
            return out.num_objective_evaluations, out.objective_gradient

        return run

    return make


def optax_lbfgs(loss):
    import optax

    solver, function = optax.lbfgs(), optax.value_and_grad_from_state(loss)

    def one(start):
        def go_on(carry):
            _, state, iterations, _ = carry
            size = jnp.max(jnp.abs(optax.tree.get(state, "grad")))
            return (iterations == 0) | ((iterations < LIMIT) & (size > TOLERANCE))

        def step(carry):
            x, state, iterations, evaluations = carry
            value, gradient = function(x, state=state)
            updates, state = solver.update(gradient, state, x, value=value, grad=gradient, value_fn=loss)
            evaluations += optax.tree.get(state, "info").num_linesearch_steps
            return optax.apply_updates(x, updates), state, iterations + 1, evaluations

        _, state, _, evaluations = jax.lax.while_loop(go_on, step, (start, solver.init(start), 0, 1))
        return evaluations, optax.tree.get(state, "grad")

    return jax.vmap(one)


LIBRARIES = {
    "ours lbfgs": ours("lbfgs_minimize"),
    "ours lbfgs vmap": ours_vmapped("lbfgs_minimize"),
    "ours bfgs": ours("bfgs_minimize"),
    "tfp lbfgs": tfp("lbfgs_minimize"),
    "tfp bfgs": tfp("bfgs_minimize"),
    "optax lbfgs": optax_lbfgs,
}


def floor(loss, starts, count):
    """Seconds for one evaluation of value and gradient at all starts, in a compiled loop."""
    function = jax.vmap(jax.value_and_grad(loss))

    @jax.jit
    def loop(x):
        def once(_, x):
            value, gradient = function(x)
            return x - 1e-6 * gradient / (1 + value[:, None] ** 2)

        return jax.lax.fori_loop(0, count, once, x)

    jax.block_until_ready(loop(starts))
    begin = time.perf_counter()
    jax.block_until_ready(loop(starts))
    return (time.perf_counter() - begin) / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    normal = lambda *shape: jax.random.normal(jax.random.key(0), shape)
    problems = {
        "rosen2 x 1": (rosenbrock, jnp.array([[-1.2, 1.0]])),
        "rosen2 x 1000": (rosenbrock, 2 * normal(1000, 2)),
        "logistic x 100": (logistic(), normal(100, 20)),
    }
    for title, (loss, starts) in problems.items():
        runs, times = {}, {}
        for name, make in LIBRARIES.items():
            try:
                run = make(loss)
            except ImportError as error:
                print(f"{title}: {name} left out, {error}")
                continue
            begin = time.perf_counter()
            runs[name] = jax.jit(run).lower(starts).compile()
            times[name] = [time.perf_counter() - begin]
        for _ in range(repeats + 1):
            for name, run in runs.items():
                begin = time.perf_counter()
                jax.block_until_ready(run(starts))
                times[name].append(time.perf_counter() - begin)
        each = floor(loss, starts, 200)
        print(f"{title}: one evaluation of all starts takes {each * 1e6:.2f} us")
        for name, run in runs.items():
            evaluations, gradient = run(starts)
            most, median = int(jnp.max(evaluations)), float(jnp.median(evaluations))
            solved = int(jnp.sum(jnp.max(jnp.abs(gradient), -1) <= TOLERANCE))
            steady = statistics.median(times[name][2:])
            print(
                f"  {name:16s} compile {times[name][0]:6.2f} s   solve {steady * 1e3:9.3f} ms"
                f"   evaluations {median:5.0f} max {most:4d}   {steady / each / most:6.1f} x floor"
                f"   solved {solved} of {len(starts)}"
            )


if __name__ == "__main__":
    main()
