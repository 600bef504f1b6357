"""Special functions: time of 1e5 values in single precision and of compiling, beside JAX, TFP and scipy.

Run from the checkout: `python -m tests.benchmarks.special [names]`. Arguments are those of the tables of
`tests/special` of size 1e-3 to 1e3, repeated, so that many regions are met; where TensorFlow Probability is installed
it runs in the same process. All alternate. Medians, in milliseconds of one core; seconds for tracing and compiling the
value, and the value with a derivative.
"""

import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special as sp

from tests.special.truth import entries

try:
    from tensorflow_probability.substrates.jax import math as tfp
except ImportError:
    tfp = None

SIZE, ROUNDS = 100_000, 7
SCIPY = {
    "gammainc": sp.gammainc,
    "gammaincc": sp.gammaincc,
    "gammaincinv": sp.gammaincinv,
    "gammainccinv": sp.gammainccinv,
    "lbeta": sp.betaln,
    "betainc": sp.betainc,
    "betaincc": getattr(sp, "betaincc", None),
    "betaincinv": sp.betaincinv,
    "betainccinv": getattr(sp, "betainccinv", None),
    "normal_log_ndtr": sp.log_ndtr,
    "normal_ndtr": sp.ndtr,
    "normal_ndtri": sp.ndtri,
    "normal_ndtri_exp": sp.ndtri_exp,
    "normal_erfcx": sp.erfcx,
    "normal_erfcinv": sp.erfcinv,
    "normal_owens_t": sp.owens_t,
    "student_t_stdtr": sp.stdtr,
    "student_t_stdtrit": sp.stdtrit,
    "bessel_ive": sp.ive,
    "bessel_kve": sp.kve,
    "lambertw": sp.lambertw,
}


def compiled(fn, args):
    """The program and the seconds to make it: the second time, what is imported and set up at the first is no part."""
    for _ in range(2):
        jax.clear_caches()
        start = time.perf_counter()
        program = jax.jit(fn).lower(*args).compile()
        seconds = time.perf_counter() - start
    return program, seconds


def main(names: Sequence[str]) -> None:
    print(f"{'':26} ms: {'ours':>8} {'jax':>8} {'tfp':>8} {'scipy':>8}  /best   s to compile: value, with slopes")
    for name, entry in entries().items():
        if names and name not in names:
            continue
        points = np.unique(np.asarray(entry.points, np.float32), axis=0)
        # Where the others converge: JAX's gammainc takes minutes for the whole table.
        points = points[np.all((np.abs(points) >= 1e-3) & (np.abs(points) <= 1e3), axis=1)]
        points = np.random.default_rng(0).choice(points, SIZE)
        args = [jnp.asarray(x) for x in points.T]
        fns = {"ours": entry.fn, "jax": entry.jax, "tfp": entry.tfp(tfp) if tfp and entry.tfp else None}
        programs, seconds, slopes = {}, {}, {}
        for who, fn in fns.items():
            if fn is None:
                continue
            programs[who], seconds[who] = compiled(fn, args)
            for i in entry.derivatives or (0,):
                try:
                    slope = jax.vmap(jax.value_and_grad(fn, i))
                    slopes[who] = max(slopes.get(who, 0), compiled(slope, args)[1])
                except (NotImplementedError, TypeError, ValueError):
                    slopes[who] = np.nan
        calls = {who: lambda p=p: jax.block_until_ready(p(*args)) for who, p in programs.items()}
        if SCIPY.get(name):
            calls["scipy"] = lambda: SCIPY[name](*points.T)
        times = {who: [] for who in calls}
        with np.errstate(all="ignore"):
            for _ in range(ROUNDS):
                for who, call in calls.items():
                    # Some of the others take a minute where they do not converge.
                    if sum(times[who]) > 2:
                        continue
                    start = time.perf_counter()
                    call()
                    times[who].append(time.perf_counter() - start)
        ms = {who: 1e3 * float(np.median(t)) for who, t in times.items()}
        shown = " ".join(f"{ms.get(who, np.nan):8.2f}" for who in ("ours", "jax", "tfp", "scipy"))
        ratio = ms["ours"] / min((ms[who] for who in ("jax", "tfp") if who in ms), default=np.nan)
        times_ = "; ".join(f"{who} {seconds[who]:.2f}, {slopes[who]:.2f}" for who in programs)
        print(f"{name:26}     {shown}  {ratio:5.2f}   {times_}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
