"""NUTS on Bayesian logistic regression for the Iris data, and on eight schools: time per leapfrog over the bare loop.

The Iris model is each library's own joint distribution; the bare loop evaluates the same density written by hand. Run
with the library installed or on the path: `python tests/benchmarks/nuts_iris.py [rounds]`. Where TensorFlow Probability
is installed it runs in the same process, alternating, so that ratios hold on a busy machine.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import datasets

from distrax_like import distributions as tfd
from distrax_like.inference import mcmc

iris = datasets.load_iris()
features, labels = jnp.asarray(iris["data"], jnp.float32), jnp.asarray(iris["target"])


def iris_log_prob(w, b):
    logits = jnp.dot(features, w) + b
    likelihood = jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))
    return likelihood - 0.5 * jnp.sum(w**2) - 0.5 * jnp.sum(b**2)


def iris_joint(distributions):
    """The target of the page, written with a library's joint distribution."""
    root = distributions.JointDistributionCoroutine.Root

    def model():
        w = yield root(distributions.Sample(distributions.Normal(0.0, 1.0), sample_shape=(4, 3)))
        b = yield root(distributions.Sample(distributions.Normal(0.0, 1.0), sample_shape=(3,)))
        yield distributions.Independent(distributions.Categorical(logits=jnp.dot(features, w) + b), 1)

    joint = distributions.JointDistributionCoroutine(model)
    return lambda *params: joint.log_prob(params + (labels,))


effects = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], jnp.float32)
errors = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], jnp.float32)


def schools_log_prob(mu, log_tau, z):
    theta = mu + jnp.exp(log_tau) * z
    prior = -0.5 * (mu / 5) ** 2 + log_tau - jnp.log1p((jnp.exp(log_tau) / 5) ** 2) - 0.5 * jnp.sum(z**2)
    return prior - 0.5 * jnp.sum(((effects - theta) / errors) ** 2)


def bare(log_prob, num_leapfrogs):
    """The floor: leapfrogs on the flat vector, with the target's value and gradient, and nothing else."""

    @jax.jit
    def run(state):
        x, unravel = jax.flatten_util.ravel_pytree(state)
        value_and_grad = jax.value_and_grad(lambda x: log_prob(*unravel(x)))

        def body(_, carry):
            x, p, g, _ = carry
            p = p + 0.5e-3 * g
            x = x + 1e-3 * p
            value, g = value_and_grad(x)
            return x, p + 0.5e-3 * g, g, value

        value, g = value_and_grad(x)
        p = jax.random.normal(jax.random.key(0), x.shape, x.dtype)
        return jax.lax.fori_loop(0, num_leapfrogs, body, (x, p, g, value))

    return run


def ours(log_prob, step_size, num_results, num_burnin):
    def run(key, state):
        kernel = mcmc.NoUTurnSampler(log_prob, step_size)
        return mcmc.sample_chain(
            num_results,
            state,
            kernel=kernel,
            num_burnin_steps=num_burnin,
            seed=key,
            trace_fn=lambda _, info: (info.target_log_prob, info.leapfrogs_taken),
        )

    return run


def theirs(log_prob, step_size, num_results, num_burnin):
    from tensorflow_probability.substrates import jax as tfp

    def run(key, state):
        kernel = tfp.mcmc.NoUTurnSampler(log_prob, step_size)
        return tfp.mcmc.sample_chain(
            num_results,
            state,
            kernel=kernel,
            num_burnin_steps=num_burnin,
            seed=key,
            trace_fn=lambda _, info: (info.target_log_prob, info.leapfrogs_taken),
        )

    return run


def timed(fn, *args):
    start = time.perf_counter()
    out = jax.block_until_ready(fn(*args))
    return out, time.perf_counter() - start


def compare(name, log_prob, state, step_size, num_results, num_burnin, rounds, contenders, targets=None):
    key = jax.random.PRNGKey(1)
    compiled, times = {}, {label: [] for label in contenders}
    for label, make in contenders.items():
        fn = jax.jit(make((targets or {}).get(label, log_prob), step_size, num_results, num_burnin))
        start = time.perf_counter()
        compiled[label] = fn.lower(key, state).compile()
        print(f"{name}: {label}: trace and compile {time.perf_counter() - start:.2f} s")
    # From a draw, because a gradient in the tails may take another time.
    typical = jax.tree_util.tree_map(lambda x: x[-1], compiled["ours"](key, state)[0])
    num_floor = 10_000
    floor_fn = bare(log_prob, num_floor).lower(typical).compile()
    floor = []
    for _ in range(rounds):
        for label, fn in compiled.items():
            # Often, since the shortest of many short runs is what a busy machine disturbs least.
            floor += [timed(floor_fn, typical)[1] / num_floor for _ in range(10)]
            times[label].append(timed(fn, key, state)[::-1])
    print(f"{name}: bare leapfrog loop {min(floor) * 1e6:.3f} us, median {np.median(floor) * 1e6:.3f} us")
    for label, runs in times.items():
        seconds, (states, (_, taken)) = min(runs, key=lambda r: r[0])
        # Burn-in is not traced; its trajectories are as long as the others'.
        leapfrogs = float(np.mean(taken)) * (num_results + num_burnin)
        each = seconds / leapfrogs
        print(
            f"{name}: {label}: {seconds:.3f} s, {leapfrogs:.0f} leapfrogs, {each * 1e6:.3f} us each, "
            f"{each / min(floor):.2f} x bare, {each / np.median(floor):.2f} x its median"
        )
        if name == "iris":
            w, b = states
            probs = jax.nn.softmax(jnp.einsum("nf,sfc->snc", features, w) + b[:, None])
            average = jnp.mean(probs.argmax(-1) == labels)
            model_average = jnp.mean(probs.mean(0).argmax(-1) == labels)
            print(f"{name}: {label}: average accuracy {average:.3f}, model average {model_average:.3f}")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    contenders, targets = {"ours": ours}, {"ours": iris_joint(tfd)}
    try:
        from tensorflow_probability.substrates import jax as tfp
    except ImportError:
        pass
    else:
        contenders["tfp"], targets["tfp"] = theirs, iris_joint(tfp.distributions)
    print(f"jax {jax.__version__}")
    w_key, b_key = jax.random.split(jax.random.PRNGKey(0))
    start = jax.random.normal(w_key, (4, 3), jnp.float32), jax.random.normal(b_key, (3,), jnp.float32)
    compare("iris", iris_log_prob, start, 1e-3, 500, 500, rounds, contenders, targets)
    start = jnp.float32(0.0), jnp.float32(0.0), jnp.zeros(8, jnp.float32)
    compare("eight schools", schools_log_prob, start, 0.2, 2000, 500, 3 * rounds, contenders)


if __name__ == "__main__":
    main()
