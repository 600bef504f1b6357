"""Log densities beside the textbook formulas and other libraries: time, compile time, size and error.

Run from the checkout: `python -m tests.benchmarks.distributions [names]`. The values are a million numbers in single
precision, with scalar parameters and with parameters for each value. Columns: milliseconds of the formula; time over
that of the formula, of the density as its class computes it (`hook`) and of `log_prob`, and the same of their gradients
in parameters and continuous values; time to trace and compile over the formula's, for value and gradient; primitive
operations in the program and in the formula; `log_prob` of NumPyro, TFP and distrax, and its gradient, over the
formula, where installed; the largest error in ulp, of 1 where the log density is below it, in single and double
precision. All that is compared alternates; times are medians of the faster half, since other work only adds to them.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import jax.scipy.stats as jss
import mpmath as mp
import numpy as np

import distrax_like.distributions as dist

try:
    import numpyro.distributions as npd
except ImportError:
    npd = None
try:
    import tensorflow_probability.substrates.jax.distributions as tfd
except ImportError:
    tfd = None
try:
    import distrax
except ImportError:
    distrax = None

SIZE, ROUNDS = 1_000_000, 40
WIDTH = 4  # of events that are vectors


@dataclasses.dataclass(frozen=True)
class Case:
    """`ours`, `plain`, and the peers by name; `params`: scalars or vectors; `draw`: values for them."""

    ours: Callable[..., dist.Distribution]
    plain: Callable[..., Any]
    params: tuple[Any, ...]
    draw: Callable[..., Any]
    truth: Callable[..., Any] | None = None
    peers: dict[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    discrete: bool = False
    event: int = 0  # dimensions of an event
    parameter_ndims: int = 0
    fixed: int = 0  # how many of the first parameters have no gradient


def peers(name: str, tfp_name: str = "", **arguments: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Constructors of each library that is installed."""
    found: dict[str, Callable[..., Any]] = {}
    for who, module, cls in (
        ("numpyro", npd, name),
        ("tfp", tfd, tfp_name or name),
        ("distrax", distrax, tfp_name or name),
    ):
        make = getattr(module, cls, None) if module else None
        if make is not None:
            found[who] = arguments.get(who, lambda make: make)(make)
    return found


def log_gamma_formula(x, a, rate):
    return a * jnp.log(rate) + (a - 1) * jnp.log(x) - rate * x - jsp.gammaln(a)


def log_beta_formula(x, a, b):
    return (a - 1) * jnp.log(x) + (b - 1) * jnp.log1p(-x) - (jsp.gammaln(a) + jsp.gammaln(b) - jsp.gammaln(a + b))


def log_dirichlet_formula(x, a):
    return jnp.sum((a - 1) * jnp.log(x), -1) + jsp.gammaln(jnp.sum(a, -1)) - jnp.sum(jsp.gammaln(a), -1)


def log_poisson_formula(k, log_rate):
    return k * log_rate - jnp.exp(log_rate) - jsp.gammaln(k + 1)


def log_binomial_formula(k, n, logits):
    ways = jsp.gammaln(n + 1) - jsp.gammaln(k + 1) - jsp.gammaln(n - k + 1)
    return ways + k * jax.nn.log_sigmoid(logits) + (n - k) * jax.nn.log_sigmoid(-logits)


def log_categorical_formula(k, logits):
    if logits.ndim == 1:
        return logits[k.astype(int)] - jax.nn.logsumexp(logits)
    chosen = jnp.take_along_axis(logits, k.astype(int)[..., None], -1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, -1)


def log_mixture_formula(x, logits, loc, scale):
    parts = jax.nn.log_softmax(logits) + jss.norm.logpdf(x[..., None], loc, scale)
    return jax.nn.logsumexp(parts, -1)


def log_normal_formula(x, loc, scale):
    return -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * np.log(2 * np.pi)


def log_t_formula(x, df, loc, scale):
    z = (x - loc) / scale
    top = jsp.gammaln((df + 1) / 2) - jsp.gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi) - jnp.log(scale)
    return top - (df + 1) / 2 * jnp.log1p(z * z / df)


def log_diag_formula(x, loc, scale):
    z = (x - loc) / scale
    return -0.5 * jnp.sum(z * z, -1) - jnp.sum(jnp.log(scale), -1) - 0.5 * x.shape[-1] * np.log(2 * np.pi)


def log_tril_formula(x, loc, tril):
    z = jax.scipy.linalg.solve_triangular(tril, (x - loc).T, lower=True).T
    log_det = jnp.sum(jnp.log(jnp.diagonal(tril)))
    return -0.5 * jnp.sum(z * z, -1) - log_det - 0.5 * x.shape[-1] * np.log(2 * np.pi)


def mixture_of(module):
    return lambda logits, loc, scale: module.MixtureSameFamily(
        module.Categorical(logits=logits), module.Normal(loc, scale)
    )


RNG = np.random.default_rng(0)
LOGITS = np.linspace(-1, 1, 10)
CASES = {
    "Gamma": Case(
        dist.Gamma,
        log_gamma_formula,
        (3.0, 2.0),
        lambda a, rate: RNG.gamma(a, 1 / rate),
        lambda x, a, r: a * mp.log(r) + (a - 1) * mp.log(x) - r * x - mp.loggamma(a),
        peers("Gamma"),
    ),
    "Beta": Case(
        dist.Beta,
        log_beta_formula,
        (3.0, 5.0),
        RNG.beta,
        lambda x, a, b: (a - 1) * mp.log(x)
        + (b - 1) * mp.log1p(-x)
        + mp.loggamma(a + b)
        - mp.loggamma(a)
        - mp.loggamma(b),
        peers("Beta"),
    ),
    "Dirichlet": Case(
        dist.Dirichlet,
        log_dirichlet_formula,
        (np.array([1.5, 3.0, 0.5, 10.0]),),
        lambda a: (lambda z: z / z.sum(-1, keepdims=True))(RNG.gamma(a)),
        lambda x, a: sum((b - 1) * mp.log(y) - mp.loggamma(b) for y, b in zip(x, a)) + mp.loggamma(mp.fsum(a)),
        peers("Dirichlet"),
        event=1,
        parameter_ndims=1,
    ),
    "Poisson": Case(
        lambda log_rate: dist.Poisson(log_rate=log_rate),
        log_poisson_formula,
        (2.0,),
        lambda log_rate: RNG.poisson(np.exp(log_rate)),
        lambda k, r: k * r - mp.exp(r) - mp.loggamma(k + 1),
        peers(
            "Poisson",
            numpyro=lambda make: lambda r: make(jnp.exp(r)),
            tfp=lambda make: lambda r: make(log_rate=r),
            distrax=lambda make: lambda r: make(jnp.exp(r)),
        ),
        discrete=True,
    ),
    "Binomial": Case(
        dist.Binomial,
        log_binomial_formula,
        (40.0, -0.7),
        lambda n, logits: RNG.binomial(int(np.max(n)), 1 / (1 + np.exp(-logits))),
        lambda k, n, l: mp.log(mp.binomial(n, k)) - k * mp.log1p(mp.exp(-l)) - (n - k) * mp.log1p(mp.exp(l)),
        peers("BinomialLogits", "Binomial", numpyro=lambda make: lambda n, l: make(l, n)),
        discrete=True,
        fixed=1,
    ),
    "Categorical": Case(
        dist.Categorical,
        log_categorical_formula,
        (LOGITS,),
        lambda logits: RNG.integers(0, logits.shape[-1], logits.shape[:-1]),
        lambda k, l: l[int(k)] - mp.log(mp.fsum(mp.exp(x) for x in l)),
        peers("CategoricalLogits", "Categorical"),
        discrete=True,
        parameter_ndims=1,
    ),
    "Mixture": Case(
        mixture_of(dist),
        log_mixture_formula,
        (np.linspace(0, 1, 3), np.linspace(-2, 2, 3), np.linspace(0.5, 1, 3)),
        lambda *p: RNG.normal(size=p[0].shape[:-1]),
        None,
        {who: mixture_of(module) for who, module in (("numpyro", npd), ("tfp", tfd)) if module}
        | (
            {
                "distrax": lambda l, m, s: distrax.MixtureSameFamily(
                    distrax.Categorical(logits=l), distrax.Normal(m, s)
                )
            }
            if distrax
            else {}
        ),
        parameter_ndims=1,
    ),
    "Normal": Case(dist.Normal, log_normal_formula, (0.5, 2.0), RNG.normal, None, peers("Normal")),
    "StudentT": Case(
        dist.StudentT,
        log_t_formula,
        (5.0, 0.5, 2.0),
        lambda df, loc, scale: loc + scale * RNG.standard_t(df),
        None,
        peers("StudentT"),
    ),
    "MultivariateNormalDiag": Case(
        dist.MultivariateNormalDiag,
        log_diag_formula,
        (np.linspace(0, 1, WIDTH), np.linspace(1, 2, WIDTH)),
        RNG.normal,
        None,
        peers("", "MultivariateNormalDiag"),
        event=1,
        parameter_ndims=1,
    ),
    "MultivariateNormalTriL": Case(
        dist.MultivariateNormalTriL,
        log_tril_formula,
        (np.linspace(0, 1, WIDTH), np.eye(WIDTH) + np.tril(np.full((WIDTH, WIDTH), 0.1))),
        lambda loc, tril: RNG.normal(size=loc.shape),
        None,
        peers(
            "MultivariateNormal",
            "MultivariateNormalTriL",
            numpyro=lambda make: lambda loc, tril: make(loc, scale_tril=tril),
        ),
        event=1,
        parameter_ndims=1,
    ),
}


def count(jaxpr: Any) -> int:
    """Operations, those of inner programs counted one by one."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [x for p in equation.params.values() for x in (p if isinstance(p, tuple | list) else [p])]
        inner = [getattr(x, "jaxpr", x) for x in inner if hasattr(getattr(x, "jaxpr", x), "eqns")]
        total += sum(map(count, inner)) if inner else 1
    return total


def seconds_to_compile(fn: Callable[..., Any], args: Sequence[Any]) -> float:
    times = []
    for _ in range(3):
        jax.clear_caches()
        start = time.perf_counter()
        jax.jit(fn).lower(*args).compile()
        times.append(time.perf_counter() - start)
    return min(times)


def race(fns: dict[str, Callable[..., Any]], args: Sequence[Any]) -> dict[str, float]:
    """Milliseconds of each, alternating: the median of the faster half."""
    programs = {name: jax.jit(fn) for name, fn in fns.items()}
    times: dict[str, list[float]] = {name: [] for name in fns}
    for name in fns:
        jax.block_until_ready(programs[name](*args))
    for _ in range(ROUNDS):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*args))
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * sorted(t)[ROUNDS // 4] for name, t in times.items()}


def functions(case: Case) -> tuple[dict[str, Callable[..., Any]], dict[str, Callable[..., Any]]]:
    """Log densities of (value, *parameters), and their gradients."""
    values: dict[str, Callable[..., Any]] = {
        "plain": case.plain,
        "hook": lambda x, *p: case.ours(*p)._log_prob(x.astype(jnp.float32)),
        "ours": lambda x, *p: case.ours(*p).log_prob(x),
    }
    for who, make in case.peers.items():
        values[who] = lambda x, *p, make=make: make(*p).log_prob(x)
    first, last = 1 + case.fixed, 1 + len(case.params)
    along = tuple(range(first, last)) if case.discrete else (0, *range(first, last))
    return values, {who: jax.grad(lambda *a, fn=fn: jnp.sum(fn(*a)), along) for who, fn in values.items()}


def arguments(case: Case, each: bool) -> list[Any]:
    params = [np.asarray(p) for p in case.params]
    per = SIZE // (WIDTH if case.event or (each and case.parameter_ndims) else 1)
    wide = [np.broadcast_to(p, (per, *p.shape)) for p in params]
    value = case.draw(*wide)
    # Categories, which other libraries take as integers only.
    kind = jnp.int32 if case.discrete and case.parameter_ndims else jnp.float32
    return [jnp.asarray(value, kind), *(jnp.asarray(p, jnp.float32) for p in (wide if each else params))]


def worst(case: Case, dtype: Any) -> float:
    """In ulp, over 200 draws; of the hook, since what sums to 1 in single precision is off the simplex in double."""
    params = [np.asarray(p, np.float32) for p in case.params]
    value = np.asarray(case.draw(*(np.broadcast_to(p, (200, *p.shape)) for p in params)), np.float32)
    if case.event:
        value[..., -1] = 1 - value[..., :-1].sum(-1)
    with jax.enable_x64(True):
        args = [jnp.asarray(v, dtype) for v in (value, *params)]
        got = np.asarray(eqx.filter_jit(lambda x, *p: case.ours(*p)._log_prob(x))(*args), np.float64)
    eps, found = float(np.finfo(dtype).eps), 0.0
    precise = lambda x: [mp.mpf(float(v)) for v in x] if np.ndim(x) else mp.mpf(float(x))
    assert case.truth is not None
    for x, g in zip(value, got):
        at = [precise(v) for v in (x, *params)]
        truth = case.truth(*at)
        found = max(found, float(abs(mp.mpf(g) - truth) / (eps * max(abs(truth), 1))))
    return found


def main(names: Sequence[str]) -> None:
    mp.mp.dps = 40
    columns = ("plain ms", "hook", "log_prob", "grad hook", "grad", "compile", "+grad", "ops", "plain")
    for each in (False, True):
        print(f"\n{'a parameter for each value' if each else 'scalar parameters':28}", end="")
        print(*(f"{c:>9}" for c in columns), "  peers: value, gradient", "" if each else "; ulp, single and double")
        for name, case in CASES.items():
            if (names and name not in names) or (each and name == "MultivariateNormalTriL"):
                continue
            args = arguments(case, each)
            values, slopes = functions(case)
            times, slope_times = race(values, args), race(slopes, args)
            compile_times = [seconds_to_compile(f[who], args) for f in (values, slopes) for who in ("ours", "plain")]
            ops = [count(jax.make_jaxpr(values[who])(*args).jaxpr) for who in ("ours", "plain")]
            row = [times["plain"], times["hook"] / times["plain"], times["ours"] / times["plain"]]
            row += [slope_times[who] / slope_times["plain"] for who in ("hook", "ours")]
            row += [compile_times[0] / compile_times[1], compile_times[2] / compile_times[3], *ops]
            print(f"{name:28}", *(f"{v:9.3g}" for v in row), end="  ")
            for who in case.peers:
                print(
                    f"{who} {times[who] / times['plain']:.3g}, {slope_times[who] / slope_times['plain']:.3g}", end="  "
                )
            if case.truth and not each:
                print(";", *(f"{worst(case, dtype):.1f}" for dtype in (np.float32, np.float64)), end="")
            print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
