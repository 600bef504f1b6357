"""Whole runs of NUTS, warm-up and draws, beside TensorFlow Probability, NumPyro, BlackJAX and, of one chain, nutpie.

Run from the checkout, in an environment with the peers: `python tests/benchmarks/sampling.py [chains] [names]`, where
names are of problems and libraries. In float32, 500 transitions of warm-up and 500 draws, target acceptance 0.8; each
library with its own adaptation and way to run many chains. Runs alternate; a first run compiles, and the median of the
others is shown: seconds, gradients a draw, microseconds for each gradient (of draws and as many transitions of
warm-up) and over the bare leapfrog loop of one chain, the smallest bulk effective sample size of all coordinates by one
estimator, and that over the seconds.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from distrax_like.inference import mcmc, stats

WARMUP = DRAWS = 500
ROUNDS = 3


def eight_schools() -> tuple[Callable[[Any], Any], int]:
    y = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])

    def target(x):
        mu, log_tau, z = x[0], x[1], x[2:]
        tau = jnp.exp(log_tau)
        prior = -0.5 * (mu / 5) ** 2 - jnp.log1p((tau / 5) ** 2) + log_tau - 0.5 * jnp.sum(z**2)
        return prior - 0.5 * jnp.sum(((y - mu - tau * z) / sigma) ** 2)

    return target, 10


def gaussian() -> tuple[Callable[[Any], Any], int]:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(100, 100)))
    precision = jnp.asarray((turn / np.logspace(0, 2, 100)) @ turn.T, jnp.float32)
    return lambda x: -0.5 * x @ (precision @ x), 100


def logistic() -> tuple[Callable[[Any], Any], int]:
    rng = np.random.default_rng(1)
    x, beta = rng.normal(size=(1000, 25)), rng.normal(size=25)
    y = jnp.asarray(rng.uniform(size=1000) < 1 / (1 + np.exp(-x @ beta)), jnp.float32)
    x = jnp.asarray(x, jnp.float32)

    def target(beta):
        logits = x @ beta
        return jnp.sum(y * logits - jax.nn.softplus(logits)) - 0.5 * jnp.sum(beta**2)

    return target, 25


def volatility() -> tuple[Callable[[Any], Any], int]:
    rng, size = np.random.default_rng(2), 200
    h = np.zeros(size)
    h[0] = -1 + 0.2 / np.sqrt(1 - 0.95**2) * rng.normal()
    for t in range(1, size):
        h[t] = -1 + 0.95 * (h[t - 1] + 1) + 0.2 * rng.normal()
    squares = jnp.asarray((np.exp(h / 2) * rng.normal(size=size)) ** 2, jnp.float32)

    def target(x):
        mu, phi, sigma, z = x[0], jnp.tanh(x[1]), jnp.exp(x[2]), x[3:]
        first = mu + sigma / jnp.sqrt(1 - phi**2) * z[0]

        def step(h, z):
            h = mu + phi * (h - mu) + sigma * z
            return h, h

        _, rest = jax.lax.scan(step, first, z[1:])
        h = jnp.concatenate([first[None], rest])
        prior = -0.5 * (mu / 5) ** 2 + 19 * jnp.log((1 + phi) / 2) + 0.5 * jnp.log((1 - phi) / 2)
        prior += jnp.log(1 - phi**2) - jnp.log1p((sigma / 0.5) ** 2) + x[2]
        return prior - 0.5 * jnp.sum(z**2) - 0.5 * jnp.sum(h + squares * jnp.exp(-h))

    return target, size + 3


def ours(target, starts, **options):
    def run(key):
        samples = mcmc.sample(
            target, starts, num_samples=DRAWS, num_warmup=WARMUP, num_chains=len(starts), seed=key, **options
        )
        return samples.draws, np.sum(samples.sample_stats["n_steps"])

    return run


def tfp(target, starts):
    from tensorflow_probability.substrates import jax as tfp

    @jax.jit
    def run(key):
        kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
            tfp.mcmc.NoUTurnSampler(jax.vmap(target), 0.1), int(0.8 * WARMUP), target_accept_prob=0.8
        )
        return tfp.mcmc.sample_chain(
            DRAWS,
            starts,
            kernel=kernel,
            num_burnin_steps=WARMUP,
            trace_fn=lambda _, results: results.inner_results.leapfrogs_taken,
            seed=key,
        )

    def numbers(key):
        draws, steps = run(key)
        return np.asarray(draws), np.sum(steps)

    return numbers


def numpyro(target, starts):
    import numpyro

    kernel = numpyro.infer.NUTS(potential_fn=lambda x: -target(x), target_accept_prob=0.8)
    method = "vectorized" if len(starts) > 1 else "sequential"
    sampler = numpyro.infer.MCMC(
        kernel, num_warmup=WARMUP, num_samples=DRAWS, num_chains=len(starts), chain_method=method, progress_bar=False
    )

    def run(key):
        sampler.run(key, init_params=starts if len(starts) > 1 else starts[0], extra_fields=("num_steps",))
        draws = np.asarray(sampler.get_samples(group_by_chain=True))
        return np.swapaxes(draws, 0, 1), np.sum(sampler.get_extra_fields()["num_steps"])

    return run


def blackjax(target, starts):
    import blackjax

    def chain(start, key):
        warm, rest = jax.random.split(key)
        adaptation = blackjax.window_adaptation(blackjax.nuts, target, target_acceptance_rate=0.8)
        (state, parameters), _ = adaptation.run(warm, start, num_steps=WARMUP)
        kernel = blackjax.nuts(target, **parameters)

        def step(state, key):
            state, info = kernel.step(key, state)
            return state, (state.position, info.num_integration_steps)

        return jax.lax.scan(step, state, jax.random.split(rest, DRAWS))[1]

    every = jax.jit(jax.vmap(chain, out_axes=1))

    def run(key):
        draws, steps = every(starts, jax.random.split(key, len(starts)))
        return np.asarray(draws), np.sum(steps)

    return run


def nutpie(target, starts):
    """Through a function of Python that calls a compiled gradient; nutpie's own models have no such detour."""
    import nutpie

    gradient = jax.jit(jax.value_and_grad(target))
    dim = starts.shape[1]

    def log_density(x):
        value, grad = gradient(x.astype(np.float32))
        return float(value), np.asarray(grad, float)

    model = nutpie.compiled_pyfunc.from_pyfunc(
        dim, lambda: log_density, lambda *_: lambda x: {"x": x}, [np.dtype(float)], [(dim,)], ["x"]
    )

    def run(key):
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        out = nutpie.sample(
            model, draws=DRAWS, tune=WARMUP, chains=len(starts), seed=seed, progress_bar=False, target_accept=0.8
        )
        return np.swapaxes(out.posterior["x"].values, 0, 1), int(out.sample_stats["n_steps"].sum())

    return run


def bare_loop(target, dim: int) -> float:
    """Microseconds a step of one chain's leapfrog loop with nothing else in it."""

    @jax.jit
    def run(x, p):
        def body(_, carry):
            x, p, grad = carry
            p = p + 0.5e-3 * grad
            x = x + 1e-3 * p
            grad = jax.grad(target)(x)
            return x, p + 0.5e-3 * grad, grad

        return jax.lax.fori_loop(0, 20_000, body, (x, p, jax.grad(target)(x)))

    args = jnp.full(dim, 0.1, jnp.float32), jnp.full(dim, 0.01, jnp.float32)
    jax.block_until_ready(run(*args))
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready(run(*args))
        times.append(time.perf_counter() - begin)
    return min(times) / 20_000 * 1e6


def main(names: list[str], chains: int) -> None:
    problems = {problem.__name__: problem for problem in (eight_schools, gaussian, logistic, volatility)}
    libraries = set(names) - set(problems)
    for name in [name for name in problems if name in names] or problems:
        problem = problems[name]
        target, dim = problem()
        starts = jax.random.uniform(jax.random.key(0), (chains, dim), jnp.float32, -2, 2)
        floor = bare_loop(target, dim)
        print(f"{problem.__name__}, {chains} chains: bare leapfrog loop of one {floor:.3f} us", flush=True)
        runs, first, rows = {}, {}, {}
        diagonal = {"adaptation": mcmc.FisherAdaptation(low_rank=False)}
        for name, make in {
            "ours": ours,
            "ours diagonal": lambda *args: ours(*args, **diagonal),
            "tfp": tfp,
            "numpyro": numpyro,
            "blackjax": blackjax,
            "nutpie": nutpie,
        }.items():
            if libraries and name.split()[0] not in libraries or name == "nutpie" and chains > 1:
                continue
            try:
                runs[name] = make(target, starts)
                begin = time.perf_counter()
                runs[name](jax.random.key(1))
                first[name] = time.perf_counter() - begin
            except ImportError:
                runs.pop(name, None)
        for i in range(ROUNDS):
            for name, run in runs.items():
                begin = time.perf_counter()
                draws, steps = run(jax.random.key(2 + i))
                seconds = time.perf_counter() - begin
                ess = float(np.min(stats.ess_bulk(jnp.asarray(draws, jnp.float32))))
                rows.setdefault(name, []).append((seconds, steps, ess))
        for name, values in rows.items():
            seconds, steps, ess = np.median(np.asarray(values, float), axis=0)
            each = seconds / (2 * steps) * 1e6
            cost = f"{steps / chains / DRAWS:6.1f} gradients a draw, {each:7.3f} us each = {each / floor:5.2f} x bare"
            size = f"ESS {ess:8.0f}, {ess / seconds:8.0f} /s"
            print(f"  {name:14} {seconds:8.2f} s, compile {first[name] - seconds:5.1f} s, {cost}, {size}", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    main([w for w in words if not w.isdigit()], int(next((w for w in words if w.isdigit()), 64)))
