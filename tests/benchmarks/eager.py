"""Calls one at a time, outside of `jax.jit`: microseconds of constructors and methods beside other libraries.

Run from the checkout: `PYTHONPATH=. python tests/benchmarks/eager.py [rounds]`. Peers that are installed run in the
same process, alternating. Warm calls: the median over rounds of the mean of many calls. The last column is the first
call of a new shape in this process, in milliseconds, which compiles.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from distrax_like import bijectors as tfb, distributions as dist, kernels as tfk

PEERS = {}
try:
    import numpyro.distributions as npd

    PEERS["numpyro"] = npd
except ImportError:
    pass
try:
    import distrax

    PEERS["distrax"] = distrax
except ImportError:
    pass
try:
    import tensorflow_probability.substrates.jax.distributions as tfd

    PEERS["tfp"] = tfd
except ImportError:
    pass

CALLS = 200
KEY = jax.random.key(0)
RAW = jax.random.PRNGKey(0)
X = jnp.float32(0.3)
POINTS = jnp.linspace(0, 1, 8)[:, None]


def draw(library, d):
    if library is dist:
        return lambda: d.sample(seed=KEY)
    # NumPyro's first argument is the key.
    return (lambda: d.sample(RAW)) if library is PEERS.get("numpyro") else (lambda: d.sample(seed=RAW))


def calls(library):
    """The calls to time, by name, of one library."""
    normal, gamma, bernoulli = library.Normal(0.0, 1.0), library.Gamma(2.0, 1.0), library.Bernoulli(probs=0.3)
    vector = library.Normal(jnp.zeros(100), jnp.ones(100))
    found = {
        "construct Normal(0., 1.)": lambda: library.Normal(0.0, 1.0),
        "construct Gamma(2., 1.)": lambda: library.Gamma(2.0, 1.0),
        "Normal.log_prob(0.3)": lambda: normal.log_prob(0.3),
        "Normal.log_prob(array)": lambda: normal.log_prob(X),
        "Normal of 100, log_prob": lambda: vector.log_prob(X),
        "Gamma.log_prob": lambda: gamma.log_prob(X),
        "Bernoulli.log_prob": lambda: bernoulli.log_prob(1),
        "Normal.sample": draw(library, normal),
        "Gamma.sample": draw(library, gamma),
        "Normal.cdf": lambda: normal.cdf(X),
        "Normal.entropy": lambda: normal.entropy(),
    }
    if library is dist:
        sigmoid, kernel = tfb.Sigmoid(), tfk.MaternFiveHalves(1.0, 0.5)
        found |= {
            "Normal.quantile": lambda: normal.quantile(X),
            "Normal.mean": normal.mean,
            "Normal.kl_divergence": lambda: normal.kl_divergence(normal),
            "Sigmoid.forward": lambda: sigmoid.forward(X),
            "Sigmoid.forward_log_det_jacobian": lambda: sigmoid.forward_log_det_jacobian(X),
            "MaternFiveHalves.matrix": lambda: kernel.matrix(POINTS),
        }
    return found


def main(rounds: int) -> None:
    libraries = {"ours": dist, **PEERS}
    table = {who: calls(library) for who, library in libraries.items()}
    first, times = {}, {}
    for who, rows in table.items():
        for name, call in rows.items():
            start = time.perf_counter()
            try:
                jax.block_until_ready(jax.tree.leaves(call()))
            except Exception:
                continue
            first[name, who] = 1e3 * (time.perf_counter() - start)
            times[name, who] = []
    for _ in range(rounds):
        for name, who in times:
            call = table[who][name]
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[name, who].append(1e6 * (time.perf_counter() - start) / CALLS)
    print(f"{'':34}" + "".join(f"{who:>10}" for who in libraries) + "   first ms: " + ", ".join(libraries))
    for name in table["ours"]:
        cells = [f"{np.median(times[name, who]):10.0f}" if (name, who) in times else f"{'-':>10}" for who in libraries]
        started = ", ".join(f"{first[name, who]:.0f}" for who in libraries if (name, who) in first)
        print(f"{name:34}" + "".join(cells) + "   " + started)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
