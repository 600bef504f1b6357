"""Samplers: time of many draws with a parameter each, and of tracing and compiling, over jax.random and TFP.

Run from the checkout: `python tests/benchmarks/samplers.py [rounds]`. Where TensorFlow Probability is installed it runs
in the same process; all alternate, so that ratios hold on a busy machine. Medians, in milliseconds.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from distrax_like import random

try:
    from tensorflow_probability.substrates import jax as tfp

    tfd = tfp.distributions
except ImportError:
    tfd = None

DRAWS = 100_000
rng = np.random.default_rng(0)


def spread(low, high, size=DRAWS):
    """Parameters spread evenly in their logs."""
    return jnp.asarray(np.exp(rng.uniform(np.log(low), np.log(high), size)), jnp.float32)


a, b, df, rate = spread(0.1, 100), spread(0.1, 100), spread(1, 100), spread(0.1, 1000)
n, p = jnp.ceil(spread(1, 1000)), jnp.asarray(rng.uniform(0.05, 0.95, DRAWS), jnp.float32)
alpha, low = spread(0.1, 100, (DRAWS // 5, 5)), jnp.asarray(rng.uniform(-2, 2, DRAWS), jnp.float32)

# name: parameters, ours, that of jax.random, that of TFP.
CASES = {
    "gamma": ((a,), random.gamma, jax.random.gamma, lambda k, a: tfd.Gamma(a, jnp.float32(1)).sample(seed=k)),
    "loggamma": (
        (a,),
        random.loggamma,
        jax.random.loggamma,
        lambda k, a: tfd.ExpGamma(a, jnp.float32(1)).sample(seed=k),
    ),
    "beta": ((a, b), random.beta, jax.random.beta, lambda k, a, b: tfd.Beta(a, b).sample(seed=k)),
    "t": (
        (df,),
        random.t,
        jax.random.t,
        lambda k, df: tfd.StudentT(df, jnp.float32(0), jnp.float32(1)).sample(seed=k),
    ),
    "dirichlet": (
        (alpha,),
        random.dirichlet,
        jax.random.dirichlet,
        lambda k, alpha: tfd.Dirichlet(alpha).sample(seed=k),
    ),
    "poisson": ((rate,), random.poisson, jax.random.poisson, lambda k, rate: tfd.Poisson(rate).sample(seed=k)),
    "binomial": (
        (n, p),
        random.binomial,
        jax.random.binomial,
        lambda k, n, p: tfd.Binomial(n, probs=p).sample(seed=k),
    ),
    # TFP takes seconds for these.
    "negative_binomial": ((n, p), random.negative_binomial, None, None),
    "von_mises": ((rate,), random.von_mises, None, lambda k, c: tfd.VonMises(jnp.float32(0), c).sample(seed=k)),
    "truncated_normal": (
        (low, low + 1),
        random.truncated_normal,
        jax.random.truncated_normal,
        lambda k, low, high: tfd.TruncatedNormal(jnp.float32(0), jnp.float32(1), low, high).sample(seed=k),
    ),
    "normal, the floor": ((a,), lambda k, a: jax.random.normal(k, a.shape, a.dtype), None, None),
}


def main(rounds: int) -> None:
    key = jax.random.key(0)
    print(f"{'':18} {'ms: ours':>9} {'jax':>8} {'tfp':>8} {'/jax':>6} {'/tfp':>6}   s to compile: ours, jax, tfp")
    for name, (params, *samplers) in CASES.items():
        times, compiles, programs = {}, {}, {}
        for who, sampler in zip(("ours", "jax", "tfp"), samplers):
            if sampler is None or (who == "tfp" and tfd is None):
                continue
            # Twice: what is imported and set up at the first use is no part of compiling.
            for _ in range(2):
                jax.clear_caches()
                start = time.perf_counter()
                programs[who] = jax.jit(lambda key, *params, sampler=sampler: sampler(key, *params)).lower(
                    key, *params
                ).compile()
                compiles[who] = time.perf_counter() - start
            times[who] = []
        for _ in range(rounds):
            for who, program in programs.items():
                start = time.perf_counter()
                jax.block_until_ready(program(key, *params))
                times[who].append(time.perf_counter() - start)
        ms = {who: 1e3 * float(np.median(t)) for who, t in times.items()}
        show = [f"{ms.get(who, np.nan):8.2f}" for who in ("ours", "jax", "tfp")]
        ratios = [f"{ms['ours'] / ms.get(who, np.nan):6.3f}" for who in ("jax", "tfp")]
        seconds = [f"{compiles.get(who, np.nan):.2f}" for who in ("ours", "jax", "tfp")]
        print(f"{name:18}", *show, *ratios, "  ", *seconds, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
