"""The kernels without trees: proposals and their correction, slices, replicas, Gibbs sweeps."""

import math
from collections import namedtuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import special, stats

from distrax_like.distributions import Normal
from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import (
    _elliptical_slice,
    _gibbs,
    _hmc,
    _metropolis_hastings,
    _replica_exchange,
    _slice,
)
from distrax_like.inference.mcmc._elliptical_slice import EllipticalSliceSampler
from distrax_like.inference.mcmc._gibbs import ConditionalSampler, GibbsKernel
from distrax_like.inference.mcmc._hmc import UncalibratedHamiltonianMonteCarlo
from distrax_like.inference.mcmc._langevin import MetropolisAdjustedLangevinAlgorithm, UncalibratedLangevin
from distrax_like.inference.mcmc._metropolis_hastings import MetropolisHastings
from distrax_like.inference.mcmc._random_walk import (
    RandomWalkMetropolis,
    UncalibratedRandomWalk,
    random_walk_normal_fn,
    random_walk_uniform_fn,
)
from distrax_like.inference.mcmc._replica_exchange import (
    ReplicaExchangeMC,
    default_swap_proposal_fn,
    even_odd_swap_proposal_fn,
)
from distrax_like.inference.mcmc._slice import SliceSampler

from .conservation import BOUND, NUM, STARTS, banana, bend, bound, distance, distance_from_uniform, one_step

PRIOR = Normal(jnp.array([0.4, -0.2]), jnp.array([1.3, 1.1]))
DENSE = mcmc.DenseMetric.of(jnp.array([[1.0, 0.3], [0.3, 0.7]]))

RWM = RandomWalkMetropolis(banana, random_walk_normal_fn(1.2))
MALA = MetropolisAdjustedLangevinAlgorithm(banana, 0.9, DENSE)
UHMC = UncalibratedHamiltonianMonteCarlo(banana, 0.9, 3)
SLICE = SliceSampler(banana, 0.7, 4)
ELLIPTICAL = EllipticalSliceSampler(PRIOR, lambda x: banana(x) - jnp.sum(PRIOR.log_prob(x)))


def centred(seed):
    return jnp.array([1.3, 1.1]) * jax.random.normal(seed, (2,))


KERNELS = {
    "normal walk": RWM,
    "uniform walk": RandomWalkMetropolis(banana, random_walk_uniform_fn(jnp.array([1.5, 2.0]))),
    "langevin": MALA,
    "hmc": MetropolisHastings(UHMC),
    "slice": SLICE,
    "elliptical": ELLIPTICAL,
    "elliptical by function": EllipticalSliceSampler(
        centred, lambda x: banana(x) + 0.5 * jnp.sum((x / jnp.array([1.3, 1.1])) ** 2)
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_conserves_its_target(name):
    x, info = one_step(KERNELS[name])
    rate = np.mean(info.is_accepted)
    moved = np.mean(np.any(x != STARTS, axis=1))
    if name in ("slice", "elliptical", "elliptical by function"):
        assert rate == moved == 1
    else:
        assert 0.4 < rate < 0.95 and rate == moved
    assert np.mean(np.abs(x - STARTS)) > 0.3
    assert distance(x) < BOUND


# Slices of two separate parts, which the banana's seldom are, and of unlike ones: a bias must not cancel.
MODES, WIDTHS, SHARES = np.array([-1.5, 1.5]), np.array([0.15, 0.7]), np.array([0.5, 0.5])
TWO_STARTS = jnp.concatenate(
    [
        m + s * jax.random.normal(jax.random.key(i), (int(NUM * share), 1))
        for i, (m, s, share) in enumerate(zip(MODES, WIDTHS, SHARES))
    ]
)


def two_modes(x):
    return jax.nn.logsumexp(-0.5 * ((x[0] - MODES) / WIDTHS) ** 2 + np.log(SHARES / WIDTHS))


def two_modes_distance(x):
    return distance_from_uniform(np.sum(SHARES * special.ndtr((np.asarray(x) - MODES) / WIDTHS), axis=1)[None])


def test_slice_sampling_conserves_two_modes():
    kernel = SliceSampler(two_modes, 0.5, 4)
    x, info = one_step(kernel, TWO_STARTS)
    assert two_modes_distance(TWO_STARTS) < BOUND and two_modes_distance(x) < BOUND
    assert 0.02 < np.mean((x[:, 0] > 0) != (TWO_STARTS[:, 0] > 0)) < 0.5
    assert len(np.unique(info.num_doublings)) == 5 and np.any(info.reach_max_doublings)


def always(*args):
    return args[-1]


def leftwards(density, above, low, high, lefts):
    return DOUBLE(density, above, low, high, jnp.ones_like(lefts))


def first(candidate, low, high, key, first=None):
    t = low + (high - low) * jax.random.uniform(key, (), low.dtype) if first is None else first
    return t, candidate(t)[1], jnp.zeros((), jnp.int32), jnp.asarray(True)


DOUBLE = _slice.double


@pytest.mark.parametrize(
    ("kernel", "where", "name", "mutant"),
    [
        (RWM, _metropolis_hastings, "log_accept_ratio", lambda old, new, info: jnp.zeros_like(old.target_log_prob)),
        (RWM, _metropolis_hastings, "energy_drop", lambda start, end: end - start),
        (MALA, _hmc, "hamiltonian", lambda value, p: jnp.zeros_like(value)),
        (KERNELS["hmc"], _hmc, "hamiltonian", lambda value, p: -0.5 * jnp.sum(p[0] * p[-1])),
        (SLICE, _slice, "shrink", first),
        (ELLIPTICAL, _elliptical_slice, "shrink", first),
        (
            ELLIPTICAL,
            EllipticalSliceSampler,
            "_prior",
            lambda self, x, key: (jnp.zeros(2), self.normal_sampler_fn.sample(seed=key)),
        ),
    ],
)
def test_a_broken_kernel_does_not(monkeypatch, kernel, where, name, mutant):
    monkeypatch.setattr(where, name, mutant)
    assert distance(one_step(kernel)[0]) > BOUND


@pytest.mark.parametrize(("name", "mutant"), [("acceptable", always), ("double", leftwards)])
def test_a_broken_slice_sampler_does_not(monkeypatch, name, mutant):
    monkeypatch.setattr(_slice, name, mutant)
    assert two_modes_distance(one_step(SliceSampler(two_modes, 0.5, 4), TWO_STARTS)[0]) > BOUND


def test_the_corrected_proposal_of_hmc_is_hmc():
    both = [mcmc.HamiltonianMonteCarlo(banana, 0.9, 3, DENSE)]
    both.append(MetropolisHastings(UncalibratedHamiltonianMonteCarlo(banana, 0.9, 3, DENSE)))
    run = jax.jit(lambda k, x, key: [kernel.step(kernel.init(x), seed=key) for kernel in k])
    accepted = set()
    for i in range(20):
        (state, info), (other, other_info) = run(both, STARTS[i], jax.random.key(i))
        np.testing.assert_allclose(other.position, state.position, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(other.grads_target_log_prob, state.grads_target_log_prob, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(other_info.log_accept_ratio, info.log_accept_ratio, rtol=0, atol=1e-10)
        assert other_info.is_accepted == info.is_accepted and other_info.step_size == info.step_size
        accepted.add(bool(info.is_accepted))
    assert accepted == {True, False}


def test_langevin_proposes_what_it_says():
    cov = 0.3 * np.asarray([[1.0, 0.3], [0.3, 0.7]])
    kernel, gradient = UncalibratedLangevin(banana, 0.3, DENSE), jax.jit(jax.grad(banana))

    def log_q(new, old):
        return stats.multivariate_normal.logpdf(new, old + 0.5 * cov @ gradient(old), cov)

    x = jnp.array([0.7, -0.4])
    start = kernel.init(x)
    states, infos = jax.jit(jax.vmap(lambda key: kernel.step(start, seed=key)))(
        jax.random.split(jax.random.key(0), NUM)
    )
    noise = np.linalg.solve(np.linalg.cholesky(cov), np.asarray(states.position - x - 0.5 * cov @ gradient(x)).T)
    assert (
        distance_from_uniform(special.ndtr(np.stack([noise[0], noise[1], (noise[0] + noise[1]) / math.sqrt(2)])))
        < BOUND
    )
    for i in range(5):
        expected = log_q(x, states.position[i]) - log_q(states.position[i], x)
        np.testing.assert_allclose(infos.log_acceptance_correction[i], expected, rtol=1e-9, atol=1e-10)


def test_random_walks_step_as_they_say():
    position = {"a": jnp.array(1.0), "b": jnp.array([0.0, 5.0], jnp.float32)}
    keys = jax.random.split(jax.random.key(0), NUM)
    scale = {"a": 2.0, "b": jnp.array([1.0, 0.1])}

    def draws(fn):
        new = jax.jit(jax.vmap(lambda key: fn(position, key)))(keys)
        assert new["b"].dtype == jnp.float32
        return (np.stack([new["a"], *new["b"].T]) - [[1.0], [0.0], [5.0]]) / [[2.0], [1.0], [0.1]]

    assert distance_from_uniform(special.ndtr(draws(random_walk_normal_fn(scale)))) < BOUND
    uniform = draws(random_walk_uniform_fn(scale))
    assert distance_from_uniform(0.5 * uniform + 0.5) < BOUND and np.max(np.abs(uniform)) < 1.0001
    half = jax.jit(jax.vmap(lambda key: random_walk_uniform_fn(1.0)(jnp.zeros(3, jnp.float16), key)))(keys)
    assert half.dtype == jnp.float16 and np.min(half) == -np.max(half) > -1


def test_a_doubled_bracket_is_that_of_the_reference():
    """Figures 4 and 6 of Neal (2003), with the same coins."""

    def density(t):
        return -0.5 * min((t - 1.0) ** 2, (t + 4.0) ** 2)

    def traced(t):
        return -0.5 * jnp.minimum((t - 1.0) ** 2, (t + 4.0) ** 2)

    run = jax.jit(
        lambda height, low, lefts: _slice.double(traced, lambda v: v >= height, low, low + 1, lefts),
    )
    check = jax.jit(
        lambda height, low, high, t: _slice.acceptable(traced, lambda v: v >= height, low, high, t, jnp.asarray(True))
    )
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(100):
        height, low, lefts = density(0.0) - rng.exponential(), -rng.uniform(), rng.integers(0, 2, 5).astype(bool)
        left, right, count = low, low + 1, 0
        while count < 5 and (density(left) >= height or density(right) >= height):
            left, right = (left - (right - left), right) if lefts[count] else (left, right + (right - left))
            count += 1
        found = run(height, low, lefts)
        np.testing.assert_allclose(found[:2], (left, right), rtol=1e-12)
        assert found[2] == count and found[3] == (density(left) >= height or density(right) >= height)
        t = rng.uniform(left, right)
        a, b, apart, good = left, right, False, True
        while b - a > 1.1 and good:
            middle = (a + b) / 2
            apart |= (0 < middle and t >= middle) or (0 >= middle and t < middle)
            a, b = (a, middle) if t < middle else (middle, b)
            good = not (apart and density(a) < height and density(b) < height)
        assert check(height, left, right, t) == good
        seen.add((count, good))
    assert {c for c, _ in seen} >= {2, 3, 4, 5} and {g for _, g in seen} == {True, False}


# Replicas: x0 is N(0, 1 / beta), and x1 - x0^2 / 2 is N(0, 1), or N(0, 1 / beta) where all is tempered.
BETAS = np.array([1.0, 0.6, 0.3])
REPLICAS = jax.random.normal(jax.random.key(5), (NUM, 3, 2))


def make_walk(target):
    return RandomWalkMetropolis(target, random_walk_normal_fn(1.0 / jnp.sqrt(target.inverse_temperature)))


def replica_kernels(swaps):
    yield ReplicaExchangeMC(banana, BETAS, make_walk, swaps), np.sqrt(BETAS)[:, None]
    split = ReplicaExchangeMC(
        None,
        BETAS,
        make_walk,
        swaps,
        untempered_log_prob_fn=lambda x: -0.5 * (x[1] - 0.5 * x[0] ** 2) ** 2,
        tempered_log_prob_fn=lambda x: -0.5 * x[0] ** 2,
    )
    yield split, np.stack([np.sqrt(BETAS), np.ones(3)], axis=1)


def run_replicas(kernel, scale):
    """Two transitions from exact draws at every temperature; the draws, brought back to standard normal, and infos."""
    starts = bend(REPLICAS / scale)

    @jax.jit
    def run(starts, keys):
        def one(x, key):
            states = jax.vmap(lambda beta, x: kernel._kernel(beta).init(x))(kernel.inverse_temperatures, x)
            state = eqx.tree_at(lambda s: s.replica_states, kernel.init(x[0]), states)
            state, info = kernel.step(state, seed=jax.random.fold_in(key, 0))
            return kernel.step(state, seed=jax.random.fold_in(key, 1))[0], info

        return jax.vmap(one)(starts, keys)

    state, info = run(starts, jax.random.split(jax.random.key(6), NUM))
    x = np.array(state.replica_states.position)
    x[..., 1] -= 0.5 * x[..., 0] ** 2
    x = x * scale
    x[..., 1] += 0.5 * x[..., 0] ** 2
    return state, info, max(distance(x[:, k]) for k in range(3))


@pytest.mark.parametrize("which", [0, 1])
def test_replica_exchange_conserves_every_temperature(which):
    kernel, scale = list(replica_kernels(even_odd_swap_proposal_fn(1.0) if which else None))[which]
    state, info, far = run_replicas(kernel, scale)
    assert far < BOUND
    proposed, accepted = (np.mean(x, axis=0) for x in (info.is_swap_proposed_adjacent, info.is_swap_accepted_adjacent))
    np.testing.assert_allclose(proposed, [1.0, 0.0] if which else [0.5, 0.5], atol=0.02)
    assert np.all((accepted[proposed > 0] > 0.3 * proposed[proposed > 0]) & (accepted[proposed > 0] < 0.9))
    np.testing.assert_array_equal(state.position, state.replica_states.position[:, 0])
    # What the states hold of their targets is for where they are.
    targets = jax.vmap(lambda beta, x: kernel._kernel(beta).init(x).target_log_prob, (0, 0))
    held = jax.jit(jax.vmap(targets, (None, 0)))(kernel.inverse_temperatures, state.replica_states.position)
    np.testing.assert_allclose(state.replica_states.target_log_prob, held, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        state.target_log_prob, jax.jit(jax.vmap(kernel.log_density()))(state.position), rtol=1e-10
    )


def stale(kernel, state, position):
    return eqx.tree_at(lambda s: s.position, state, position)


@pytest.mark.parametrize(
    ("name", "mutant"), [("log_density", lambda f, x, who: -f(x)), ("moved", stale)], ids=["sign", "stale"]
)
def test_broken_replicas_do_not(monkeypatch, name, mutant):
    monkeypatch.setattr(_replica_exchange, name, mutant)
    assert run_replicas(*next(replica_kernels(None)))[2] > BOUND


def test_swap_proposals():
    fn = even_odd_swap_proposal_fn(0.5)
    proposed = jax.jit(lambda i: fn(5, seed=jax.random.key(0), step_count=i))
    found = [proposed(jnp.asarray(i)).tolist() for i in range(5)]
    even, odd, none = [1, 0, 3, 2, 4], [0, 2, 1, 4, 3], [0, 1, 2, 3, 4]
    assert found == [even, none, odd, none, even]
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: default_swap_proposal_fn(0.7)(5, seed=key)))(keys))
    rates = [np.mean(np.all(drawn == s, axis=1)) for s in (even, odd, none)]
    # Five standard deviations of 4000 coins of probability 0.35.
    np.testing.assert_allclose(rates, [0.35, 0.35, 0.3], atol=0.038)
    assert fn(4, batch_shape=(3,), seed=keys[0], step_count=jnp.zeros(3, jnp.int32)).shape == (4, 3)


# Geweke's test: parameters and data simulated in turn, each given the other, have the joint distribution.
Model = namedtuple("Model", ["y", "mean", "log_scale", "effects"])
GROUPS, CHAINS, SWEEPS = 3, 10_000, 6


def log_joint(y, mean, log_scale, effects):
    scaled = (effects - mean) * jnp.exp(-log_scale)
    prior = -0.5 * mean**2 - 2 * log_scale**2
    return prior - 0.5 * jnp.sum(scaled**2) - GROUPS * log_scale - 0.5 * jnp.sum((y - effects) ** 2)


def draw_y(state, seed):
    return state.effects + jax.random.normal(seed, (GROUPS,))


def draw_mean(wrong, state, seed):
    precision = jnp.exp(-2 * state.log_scale)
    total = 1 + GROUPS * precision
    noise = jax.random.normal(seed) / jnp.sqrt(total)
    return (1 + wrong) * noise + precision * jnp.sum(state.effects) / total


SCALES = {
    "log_scale": lambda f: SliceSampler(f, 0.5, 3),
    "effects": lambda f: MetropolisAdjustedLangevinAlgorithm(f, 0.5),
    ("log_scale", "effects"): lambda f: mcmc.HamiltonianMonteCarlo(f, {"log_scale": 0.3, "effects": 0.5}, 3),
}


def hierarchy(names=("log_scale", "effects"), wrong=0.0):
    mean = ConditionalSampler(jax.tree_util.Partial(draw_mean, jnp.asarray(wrong)))
    return GibbsKernel(
        log_joint, {"y": ConditionalSampler(draw_y), "mean": mean, **{name: SCALES[name] for name in names}}
    )


@eqx.filter_jit
def simulate(kernel, keys, patched):
    def one(key):
        keys = jax.random.split(key, 4)
        mean, log_scale = jax.random.normal(keys[0]), 0.5 * jax.random.normal(keys[1])
        effects = mean + jnp.exp(log_scale) * jax.random.normal(keys[2], (GROUPS,))
        y = effects + jax.random.normal(keys[3], (GROUPS,))
        state = kernel.init(Model(y, mean, log_scale, effects))

        def body(state, i):
            state, info = kernel.step(state, seed=jax.random.fold_in(key, i))
            return state, info

        return jax.lax.scan(body, state, jnp.arange(SWEEPS))

    return jax.lax.map(one, keys, batch_size=500)


def geweke(kernel, patched=""):
    """The largest distance, of the parameters and data after some sweeps from exact draws, from their joint
    distribution, the chains being independent; and the last state. What is patched is compiled anew."""
    state, info = simulate(kernel, jax.random.split(jax.random.key(7), CHAINS), patched)
    y, mean, log_scale, effects = map(np.asarray, state.position)
    residual = (effects - mean[:, None]) / np.exp(log_scale)[:, None]
    normal = [mean, 2 * log_scale, *residual.T[:2], (y - effects)[:, 0]]
    normal += [np.sum(residual, axis=1) / math.sqrt(3), (mean + 2 * log_scale) / math.sqrt(2)]
    normal += [(residual[:, 0] - (y - effects)[:, 0]) / math.sqrt(2)]
    scatter = stats.chi2.cdf(np.sum(residual**2, axis=1), 3)
    return distance_from_uniform(np.concatenate([special.ndtr(normal), scatter[None]])), state, info


@pytest.mark.parametrize("names", [("log_scale", "effects"), (("log_scale", "effects"),)], ids=["apart", "together"])
def test_gibbs_passes_gewekes_test(names):
    far, state, info = geweke(hierarchy(names))
    assert far < bound(CHAINS)
    info = info.blocks["effects" if len(names) == 2 else "log_scale,effects"]
    assert 0.3 < np.mean(info.is_accepted) < 0.97
    # The last block's kernel has the joint density.
    expected = jax.jit(jax.vmap(log_joint))(*state.position)
    np.testing.assert_allclose(state.block_states[-1].target_log_prob, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fault", ["stale", "variance"])
def test_a_broken_gibbs_sweep_does_not(monkeypatch, fault):
    if fault == "stale":
        monkeypatch.setattr(_gibbs, "moved", lambda kernel, state, position: state)
    kernel = hierarchy(wrong=0.4 if fault == "variance" else 0.0)
    assert geweke(kernel, "moved" if fault == "stale" else "")[0] > bound(CHAINS)


def cut(x):
    """Normal, but with a hole of NaN, one of +inf, and a place where only the gradient is infinite."""
    value = -0.5 * jnp.sum(x**2) + jnp.where(x[0] > 1.0, jnp.sqrt(jnp.abs(x[1])), 0.0)
    return jnp.where(x[0] > 1.5, jnp.nan, jnp.where(x[0] < -1.5, jnp.inf, value))


HARD = {
    "normal walk": RandomWalkMetropolis(cut),
    "uniform walk": RandomWalkMetropolis(cut, random_walk_uniform_fn(jnp.inf)),
    "uncalibrated walk": UncalibratedRandomWalk(cut),
    "langevin": MetropolisAdjustedLangevinAlgorithm(cut, 0.8),
    "uncalibrated langevin": UncalibratedLangevin(cut, 0.8),
    "uncalibrated hmc": UncalibratedHamiltonianMonteCarlo(cut, 0.8, 2),
    "slice": SliceSampler(cut, 0.7, 3),
    "elliptical": EllipticalSliceSampler(lambda seed: jax.random.normal(seed, (2,)), cut),
    "replicas": ReplicaExchangeMC(cut, [1.0, 0.5, 0.0], RandomWalkMetropolis),
}


@pytest.mark.parametrize("name", HARD)
def test_what_is_not_finite_is_never_accepted(name):
    kernel = HARD[name]

    @jax.jit
    def run(x):
        def body(state, key):
            state = kernel.step(state, seed=key)[0]
            return state, state.position

        return jax.lax.scan(body, kernel.init(x), jax.random.split(jax.random.key(0), 100))[1]

    x = np.asarray(run(jnp.array([0.3, -0.2])))
    assert np.all(np.isfinite(x)) and np.all(np.abs(x[:, 0]) <= 1.5)
    assert (len(np.unique(x[:, 0])) > 10) == (name != "uniform walk")
    x = np.asarray(run(jnp.array([2.0, 0.0])))  # starts at NaN
    assert np.all(np.isfinite(x))


def parts(a, b):
    return -0.5 * a**2 - 0.5 * (b[..., 0] - 0.5 * a**2) ** 2


def as_dict(state):
    return parts(state["a"], state["b"])


START = (jnp.zeros((4,)), jnp.zeros((4, 1)))
RUN = {
    "adapted": (mcmc.DualAveragingStepSizeAdaptation(MetropolisHastings(UncalibratedLangevin(parts, 1e-3)), 25), START),
    "slice": (SliceSampler(parts, (0.5, 0.7), 3), START),
    "elliptical": (
        EllipticalSliceSampler(lambda seed: (jax.random.normal(seed), jax.random.normal(seed, (1,))), parts),
        START,
    ),
    "replicas": (
        ReplicaExchangeMC(
            parts,
            [1.0, 0.4],
            lambda f: mcmc.DualAveragingStepSizeAdaptation(MetropolisAdjustedLangevinAlgorithm(f, 0.1), 25),
        ),
        START,
    ),
    "gibbs": (
        GibbsKernel(
            as_dict,
            {
                "b": ConditionalSampler(lambda s, seed: 0.5 * s["a"] ** 2 + jax.random.normal(seed, (1,))),
                "a": lambda f: mcmc.DualAveragingStepSizeAdaptation(MetropolisAdjustedLangevinAlgorithm(f, 0.1), 25),
            },
        ),
        dict(zip("ab", START)),
    ),
}


@pytest.mark.parametrize("name", RUN)
def test_sample_chain_runs_it(name):
    kernel, start = RUN[name]
    out = mcmc.sample_chain(40, start, kernel=kernel, num_burnin_steps=10, seed=jax.random.key(0))
    leaves = jax.tree_util.tree_leaves(out.all_states)
    assert jax.tree_util.tree_structure(out.all_states) == jax.tree_util.tree_structure(start)
    assert [x.shape for x in leaves] == [(40, 4), (40, 4, 1)]
    assert all(np.all(np.isfinite(x)) and np.min(np.std(x, axis=0)) > 0.05 for x in leaves)
    if name != "slice":
        return
    again = mcmc.sample_chain(
        40, start, kernel=kernel, num_burnin_steps=10, seed=jax.random.key(0), execution="batched"
    )
    for x, y in zip(leaves, jax.tree_util.tree_leaves(again.all_states)):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("make", [RandomWalkMetropolis, lambda f: SliceSampler(f, 1.0, 2)])
def test_a_target_with_a_parameter_for_each_chain(make):
    scale = jnp.array([0.1, 10.0])
    out = mcmc.sample_chain(200, jnp.zeros(2), kernel=make(lambda x: -0.5 * (x / scale) ** 2), seed=jax.random.key(0))
    spread = np.std(out.all_states, axis=0)
    assert spread[0] < 0.3 and spread[1] > 1


def test_float32_stays():
    x = jnp.zeros(2, jnp.float32)
    for kernel in (RWM, MALA, SLICE, ELLIPTICAL, ReplicaExchangeMC(banana, [1.0, 0.5], make_walk)):
        start = eqx.filter_eval_shape(lambda k, x: k.init(x), kernel, x)
        state, info = eqx.filter_eval_shape(lambda k, s: k.step(s, seed=jax.random.key(0)), kernel, start)
        assert jax.tree_util.tree_map(lambda a: (a.shape, a.dtype), state) == jax.tree_util.tree_map(
            lambda a: (a.shape, a.dtype), start
        )
        floats = [a for a in jax.tree_util.tree_leaves(info) if jnp.issubdtype(a.dtype, jnp.floating)]
        assert all(a.dtype == jnp.float32 for a in floats)


def test_tunables_are_leaves():
    step = eqx.filter_jit(lambda kernel, x: kernel.step(kernel.init(x), seed=jax.random.key(0))[0].position)
    kernel = eqx.tree_at(lambda k: k.new_state_fn.scale, RWM, jnp.array(1e-9))
    assert 0 < np.max(np.abs(step(kernel, jnp.zeros(2)))) < 1e-8
    kernel = eqx.tree_at(lambda k: k.step_size, MALA, jnp.array(1e-18))
    assert 0 < np.max(np.abs(step(kernel, jnp.zeros(2)))) < 1e-7


def test_errors(monkeypatch):
    key, x = jax.random.key(0), jnp.zeros(2)
    with pytest.raises(TypeError, match="(?s)MetropolisHastings.*inner_kernel.*TransitionKernel"):
        MetropolisHastings(3)
    kernel = MetropolisHastings(RWM)
    with pytest.raises(TypeError, match="inner_kernel must be uncalibrated.*got RandomWalkMetropolis"):
        kernel.step(kernel.init(x), seed=key)
    with pytest.raises(ValueError, match=r"UncalibratedRandomWalk: the target of one chain .* got shape \(2,\)"):
        RandomWalkMetropolis(lambda x: x).init(x)
    with pytest.raises(ValueError, match=r"new_state_fn must return shapes \(2,\) like the state, got \(3,\)"):
        kernel = RandomWalkMetropolis(banana, lambda x, seed: jnp.zeros(3))
        kernel.step(kernel.init(x), seed=key)
    with pytest.raises(ValueError, match="num_leapfrog_steps must be at least 1, got 0"):
        UncalibratedHamiltonianMonteCarlo(banana, 0.1, 0)
    with pytest.raises(ValueError, match="max_doublings must not be negative, got -1"):
        SliceSampler(banana, 1.0, -1)
    with pytest.raises(ValueError, match=r"normal_sampler_fn must draw shapes \(2,\), got \(3,\)"):
        kernel = EllipticalSliceSampler(Normal(jnp.zeros(3), 1.0), banana)
        kernel.step(kernel.init(x), seed=key)
    with pytest.raises(TypeError, match="either target_log_prob_fn or both"):
        ReplicaExchangeMC(banana, [1.0], make_walk, untempered_log_prob_fn=banana)
    with pytest.raises(ValueError, match=r"inverse_temperatures must be a vector, got shape \(\)"):
        ReplicaExchangeMC(banana, 1.0, make_walk)
    with pytest.raises(TypeError, match="make_kernel_fn must return a TransitionKernel, got 3"):
        ReplicaExchangeMC(banana, [1.0], lambda f: 3).init(x)
    with pytest.raises(TypeError, match="the state must be a dictionary or a namedtuple, got list"):
        GibbsKernel(banana, {"a": RandomWalkMetropolis}).init([0.0])
    with pytest.raises(ValueError, match=r"has the parts \['a', 'b'\], the blocks are of \['a'\]"):
        GibbsKernel(as_dict, {"a": RandomWalkMetropolis}).init({"a": 0.0, "b": jnp.zeros(1)})
    with pytest.raises(TypeError, match="block a must be a ConditionalSampler or a function that returns"):
        GibbsKernel(lambda s: s["a"], {"a": lambda f: 3}).init({"a": 0.0})
    with pytest.raises(ValueError, match=r"the sampler of block a must return shapes \(\), got \(2,\)"):
        kernel = GibbsKernel(lambda s: s["a"], {"a": ConditionalSampler(lambda s, seed: x)})
        kernel.step(kernel.init({"a": 0.0}), seed=key)
    # As for a user, for whom nothing checks the annotations.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match="RandomWalkMetropolis.step needs a seed"):
        RWM.step(RWM.init(x), seed=None)


@pytest.mark.parametrize("container", [list, namedtuple("Pair", ["u", "v"])._make])
def test_a_block_that_is_itself_a_container(container):
    def target(state):
        u, v = state["a"]
        return -0.5 * (u**2 + v**2 + (state["b"] - u) ** 2)

    kernel = GibbsKernel(target, {"a": lambda f: SliceSampler(f, 1.0, 2), "b": lambda f: SliceSampler(f, 1.0, 2)})
    start = {"a": container([0.0, 1.0]), "b": 0.5}
    state, info = jax.jit(lambda x: kernel.step(kernel.init(x), seed=jax.random.key(0)))(start)
    assert type(state.position["a"]) is type(start["a"]) and info.blocks["a"].is_accepted
    np.testing.assert_allclose(state.block_states[1].target_log_prob, target(state.position), rtol=1e-12)
