"""The kernels themselves: the integrator, what they leave invariant, the tree of the no-U-turn sampler."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _hamiltonian, _hash, _nuts

from .conservation import BOUND, NUM, STARTS, banana, distance, one_step


def quartic(x):
    return -jnp.sum(x**4) / 4 - 0.5 * jnp.sum(x[1:] * x[:-1])


def trajectory(step_size, num_steps, target=quartic):
    kernel = mcmc.HamiltonianMonteCarlo(target, step_size, 1)

    def run(x, p):
        space = kernel.phase_space(kernel.init(x))

        def body(_, carry):
            return space.leapfrog(1, *carry)[:3]

        x, p, _ = jax.lax.fori_loop(0, num_steps, body, (x, p[None], space.force(space.grad)))
        return x, p[0]

    return jax.jit(run)


x0, p0 = jnp.array([0.3, -0.7, 0.9]), jnp.array([1.0, 0.4, -0.8])


def test_leapfrog_is_reversible():
    run = trajectory(0.1, 50)
    x, p = run(x0, p0)
    back, minus = run(x, -p)
    assert np.max(np.abs(x - x0)) > 0.1
    np.testing.assert_allclose(back, x0, rtol=0, atol=1e-10)
    np.testing.assert_allclose(-minus, p0, rtol=0, atol=1e-10)


def test_leapfrog_preserves_volume():
    def flat(z):
        return jnp.concatenate(trajectory(0.2, 7)(z[:3], z[3:]))

    # Forward mode: a loop with a dynamic end has no reverse.
    jacobian = jax.jacfwd(flat)(jnp.concatenate([x0, p0]))
    assert abs(np.linalg.det(jacobian) - 1) < 1e-8
    assert np.max(np.abs(jacobian - np.eye(6))) > 0.1


def test_leapfrog_energy_error_is_of_second_order():
    def error(num_steps):
        x, p = trajectory(1.0 / num_steps, num_steps)(x0, p0)
        energy = _hamiltonian.hamiltonian
        return abs(float(energy(quartic(x), p[None]) - energy(quartic(x0), p0[None])))

    errors = [error(n) for n in (32, 64, 128)]
    slopes = np.diff(np.log2(errors))
    np.testing.assert_allclose(slopes, -2, atol=0.1)


HMC = mcmc.HamiltonianMonteCarlo(banana, 0.9, 3)
NUTS = mcmc.NoUTurnSampler(banana, 0.8, max_tree_depth=5)


def test_the_starts_are_exact():
    assert distance(STARTS) < BOUND


def test_hmc_conserves_its_target():
    x, info = one_step(HMC)
    rate = np.mean(info.is_accepted)
    assert 0.5 < rate < 0.95  # else the correction is not tested
    assert np.mean(np.any(x != STARTS, axis=1)) == rate
    assert distance(x) < BOUND


def test_the_energy_error_of_hmc_averages_to_one():
    kernel = mcmc.HamiltonianMonteCarlo(lambda x: -0.5 * jnp.sum(x**2), 0.9, 3)
    x = jax.random.normal(jax.random.key(3), (NUM, 2))
    step = jax.jit(jax.vmap(lambda x, key: kernel.step(kernel.init(x), seed=key)[1].log_accept_ratio))
    ratio = np.exp(np.asarray(step(x, jax.random.split(jax.random.key(4), NUM))))
    assert np.std(ratio) > 0.1
    assert abs(np.mean(ratio) - 1) < 5 * np.std(ratio) / math.sqrt(NUM)


@pytest.mark.parametrize("extra", [True, False])
def test_nuts_conserves_its_target(extra):
    kernel = mcmc.NoUTurnSampler(banana, 0.8, max_tree_depth=5, extra_turn_checks=extra)
    x, info = one_step(kernel)
    assert distance(x) < BOUND
    assert np.mean(np.abs(x - STARTS)) > 0.8
    assert len(np.unique(info.leapfrogs_taken)) > 4


def _euler(space, sign, x, p, force):
    p = p + sign * force
    x = x + sign * space.step_size * p[-1]
    value, grad = space.value_and_grad(x)
    return x, p, space.force(grad), value, grad


@pytest.mark.parametrize(
    ("kernel", "where", "name", "mutant"),
    [
        (HMC, _hamiltonian.PhaseSpace, "leapfrog", _euler),
        (HMC, _hamiltonian, "energy_drop", lambda start, end: end - start),
        (NUTS, _hamiltonian.PhaseSpace, "leapfrog", _euler),
        (NUTS, _nuts, "energy_drop", lambda start, end: jnp.zeros_like(start)),
        (NUTS, _nuts, "uniform", lambda words, a, b, dtype: jnp.full(jnp.shape(a), 1e-9, dtype)),
    ],
)
def test_a_broken_kernel_does_not(monkeypatch, kernel, where, name, mutant):
    monkeypatch.setattr(where, name, mutant)
    x, _ = one_step(kernel)
    assert distance(x) > BOUND


def turned(ps, extra):
    """Whether the block of leaves with these momenta turns back, by sums over the block."""
    rho = np.sum(ps, axis=0)
    tests = [(ps[0], ps[-1], rho)]
    if extra:
        left, right = np.split(np.asarray(ps), 2)
        tests += [
            (ps[0], right[0], np.sum(left, axis=0) + right[0]),
            (left[-1], ps[-1], left[-1] + np.sum(right, axis=0)),
        ]
    return any(a @ rho <= 0 or b @ rho <= 0 for a, b, rho in tests)


def blocks(leaf):
    """The sizes of the subtrees that a leaf completes."""
    return [2**k for k in range(1, 30) if (leaf + 1) % 2**k == 0]


@pytest.mark.parametrize("check", [mcmc.NoUTurnSampler._turned, mcmc.NoUTurnSampler._turned_at_once])
@pytest.mark.parametrize("extra", [True, False])
def test_the_checkpoints_find_the_blocks_that_turn(extra, check):
    kernel = mcmc.NoUTurnSampler(banana, 0.1, max_tree_depth=7, extra_turn_checks=extra)
    # A rotating momentum with noise: blocks of every size turn in some of the sequences, and not in others.
    angle = jnp.linspace(0.0, 1.0, 64)[:, None] * jnp.linspace(0.5, 9.0, 100)
    momenta = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) + 0.8 * jax.random.normal(jax.random.key(0), (64, 100, 2))

    @jax.jit
    @jax.vmap
    def run(momenta):
        def body(carry, p):
            leaf, p_sum, before, checkpoints = carry
            checkpoints = kernel._write(leaf, before, p[None], p_sum + p, checkpoints)
            turning = check(kernel, leaf, p[None], p_sum + p, checkpoints)
            return (leaf + 1, p_sum + p, p[None], checkpoints), turning

        of_momenta, of_sums = jnp.full((7, 1, 2), jnp.nan), jnp.full((7, 2), jnp.nan)
        checkpoints = _nuts.Checkpoints(of_momenta, of_sums, of_momenta if extra else None)
        start = jnp.zeros((), jnp.int32), jnp.zeros(2), jnp.zeros((1, 2)), checkpoints
        return jax.lax.scan(body, start, momenta)[1]

    found = np.asarray(run(jnp.swapaxes(momenta, 0, 1)))
    momenta = np.asarray(momenta)
    for i in range(100):
        expected = [any(turned(momenta[n + 1 - b : n + 1, i], extra) for b in blocks(n)) for n in range(64)]
        np.testing.assert_array_equal(found[i], expected)
    share = np.mean(found[:, 1::2], axis=0)
    assert np.all((share > 0) & (share < 1))


def reference_nuts(target, step_size, max_depth, extra, x0, seed, max_energy_diff=1000.0):
    """The same transition written without checkpoints: all momenta are kept and every aligned block is summed anew."""
    momentum_key, tree_key = jax.random.split(seed)
    p0 = np.asarray(jax.random.normal(momentum_key, x0.shape, x0.dtype))
    words = jax.random.bits(tree_key, (3,), jnp.uint32)
    uniforms = [np.asarray(_hash.uniform(words[:2], jnp.arange(2**max_depth), b, jnp.float64)) for b in (0, 1)]

    def leap(x, p, direction):
        h = direction * step_size
        half = p + h / 2 * np.asarray(target(x)[1])
        x = x + h * half
        value, grad = map(np.asarray, target(x))
        return x, half + h / 2 * grad, float(value)

    energy0 = p0 @ p0 / 2 - float(target(x0)[0])
    tree = [(np.asarray(x0), p0, 0.0)]  # from left to right: position, momentum, log weight
    draw, leapfrogs, accept, diverged, depth, stop = tree[0][0], 0, 0.0, False, 0, False
    while depth < max_depth and not stop:
        forward = int(words[2]) >> depth & 1
        x, p, _ = tree[-1] if forward else tree[0]
        size, new, log_weight, new_draw = 2**depth, [], -np.inf, None
        for leaf in range(size):
            x, p, value = leap(x, p, 1 if forward else -1)
            drop = energy0 - (p @ p / 2 - value)
            new.append((x, p, drop))
            leapfrogs += 1
            accept += math.exp(min(0.0, drop))
            log_weight = np.logaddexp(log_weight, drop)
            if math.log(uniforms[0][size + leaf]) <= drop - log_weight:
                new_draw = x
            ps = [p for _, p, _ in new]
            diverged = drop < -max_energy_diff
            if diverged or any(turned(ps[-block:], extra) for block in blocks(leaf)):
                stop = True
                break
        if not stop:
            old = np.logaddexp.reduce([w for *_, w in tree])
            if math.log(uniforms[1][depth]) <= log_weight - old:
                draw = new_draw
            tree = tree + new if forward else new[::-1] + tree
            stop = turned([p for _, p, _ in tree], extra)
        depth += 1
    return draw, leapfrogs, accept / leapfrogs, diverged, not stop


@pytest.mark.parametrize("extra", [True, False])
def test_nuts_walks_the_tree_that_recursion_gives(extra):
    def target(x):
        return quartic(x) - 5 * (x[0] - x[1] - 0.3) ** 2

    kernel = mcmc.NoUTurnSampler(target, 0.02, max_tree_depth=7, extra_turn_checks=extra, max_energy_diff=3.0)

    @jax.jit
    def step(step_size, key):
        k = eqx.tree_at(lambda k: k.step_size, kernel, step_size)
        return k.step(k.init(x0), seed=key)

    seen = set()
    value_and_grad = jax.jit(jax.value_and_grad(target))
    for i, step_size in enumerate([0.001, 0.02, 0.06, 0.09, 0.13, 0.2, 0.28, 0.33, 0.38, 0.45, 0.6, 0.9] * 2):
        key = jax.random.key(i)
        state, info = step(jnp.asarray(step_size), key)
        draw, leapfrogs, accept, diverged, reached = reference_nuts(value_and_grad, step_size, 7, extra, x0, key, 3.0)
        assert info.leapfrogs_taken == leapfrogs
        assert (info.has_divergence, info.reach_max_depth) == (diverged, reached)
        np.testing.assert_allclose(state.position, draw, rtol=0, atol=1e-10)
        np.testing.assert_allclose(np.exp(info.log_accept_ratio), accept, rtol=1e-9, atol=1e-12)
        assert info.is_accepted == bool(np.any(draw != x0))
        np.testing.assert_allclose(state.target_log_prob, target(state.position), rtol=1e-12)
        np.testing.assert_allclose(state.grads_target_log_prob, jax.grad(target)(state.position), rtol=1e-9, atol=1e-9)
        seen.add((leapfrogs, diverged, reached))
    # Trees of many shapes, cut short within a half and at its end, by a divergence and by the depth.
    assert any(d for _, d, _ in seen) and any(r for _, _, r in seen) and len(seen) > 10


def test_the_extra_checks_matter_for_independent_normals():
    def leapfrogs(extra):
        kernel = mcmc.NoUTurnSampler(lambda x: -0.5 * jnp.sum(x**2), 0.8, max_tree_depth=7, extra_turn_checks=extra)
        x = jax.random.normal(jax.random.key(5), (100, 50))
        run = jax.jit(
            lambda x, k: jax.lax.map(lambda xk: kernel.step(kernel.init(xk[0]), seed=xk[1])[1].leapfrogs_taken, (x, k))
        )
        return np.asarray(run(x, jax.random.split(jax.random.key(6), 100)))

    # Eight steps of 0.8 are about a period of every coordinate: the ends of eight leaves are next to each other,
    # their summed momentum is about 0, and without the extra tests most trajectories run on.
    assert np.max(leapfrogs(True)) <= 7
    assert np.mean(leapfrogs(False) == 127) > 0.5


def test_the_cipher_is_the_one_of_jax_random():
    from jax.extend.random import threefry_2x32

    key = jax.random.bits(jax.random.key(3), (2,), jnp.uint32)
    counts = jnp.arange(20, dtype=jnp.uint32)
    ours = _hash.threefry2x32(key, counts[:10], counts[10:])
    np.testing.assert_array_equal(jnp.concatenate(ours), threefry_2x32(key, counts))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_uniforms(dtype):
    key = jax.random.bits(jax.random.key(3), (2,), jnp.uint32)
    u = _hash.uniform(key, jnp.arange(NUM), 0, dtype)
    assert u.dtype == dtype
    u = np.asarray(u, np.float64)
    assert u.min() > 0 and u.max() <= 1
    resolution = 0.5 * float(jnp.finfo(dtype).eps)
    assert np.all(u / resolution == np.round(u / resolution))
    assert np.max(np.abs(np.sort(u) - (np.arange(NUM) + 0.5) / NUM)) < BOUND + resolution


def test_by_hand():
    kernel = mcmc.HamiltonianMonteCarlo(banana, 0.3, 4)

    @eqx.filter_jit
    def run(kernel, x, key):
        def body(state, key):
            state, info = kernel.step(state, seed=key)
            return state, (state.position, info.is_accepted)

        return jax.lax.scan(body, kernel.init(x), jax.random.split(key, 20))[1]

    x, accepted = run(kernel, jnp.zeros(2), jax.random.key(0))
    assert x.shape == (20, 2) and np.any(accepted)
    doubled = eqx.tree_at(lambda k: k.step_size, kernel, 2 * kernel.step_size)
    y, _ = run(doubled, jnp.zeros(2), jax.random.key(0))
    assert np.any(x != y)
    assert isinstance(kernel, mcmc.TransitionKernel)
    with pytest.raises(Exception, match="cannot assign"):
        kernel.step_size = 1.0


def test_step_sizes_for_parts_are_rescaled_coordinates():
    scales = jnp.array([0.1, 3.0, 3.0])

    def target(a, b):
        return quartic(jnp.concatenate([a[None] / 0.1, b / 3.0]))

    seed = jax.random.key(2)
    for make in (lambda f, s: mcmc.NoUTurnSampler(f, s, 4), lambda f, s: mcmc.HamiltonianMonteCarlo(f, s, 3)):
        one = make(quartic, 0.2)
        many = make(target, [0.02, jnp.array([0.6, 0.6])])
        state, _ = jax.jit(lambda: one.step(one.init(x0), seed=seed))()
        start = [x0[0] * 0.1, x0[1:] * 3.0]
        parts, info = jax.jit(lambda: many.step(many.init(start), seed=seed))()
        assert isinstance(parts.position, list)
        np.testing.assert_allclose(
            jnp.concatenate([parts.position[0][None], parts.position[1]]), state.position * scales, rtol=1e-10
        )
        assert isinstance(info.step_size, list) and info.step_size[1].shape == (2,)


FACTOR = np.array([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0], [-0.4, 0.2, 2.0]])
VALUES, VECTORS = np.linalg.eigh(FACTOR @ FACTOR.T)
METRICS = [
    mcmc.DiagonalMetric([0.5, 1.2, 0.8]),
    mcmc.DenseMetric.of(FACTOR @ FACTOR.T),
    mcmc.LowRankMetric(np.full(3, np.sqrt(VALUES[1])), VECTORS[:, [0, 2]], VALUES[[0, 2]] / VALUES[1]),
]


def inverse_mass(metric):
    inner = jax.vmap(metric.velocity)(jnp.eye(3))
    return metric.scale[:, None] * inner * metric.scale


def test_metrics_say_what_they_are():
    for metric in METRICS:
        momentum = jax.vmap(metric.momentum)(jnp.eye(3)).T
        np.testing.assert_allclose(momentum @ momentum.T @ jax.vmap(metric.velocity)(jnp.eye(3)), np.eye(3), atol=1e-12)
    for metric in METRICS[1:]:
        np.testing.assert_allclose(inverse_mass(metric), FACTOR @ FACTOR.T, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    "make",
    [
        lambda f, m: mcmc.NoUTurnSampler(f, 0.2, 4, metric=m),
        lambda f, m: mcmc.HamiltonianMonteCarlo(f, 0.2, 3, m),
    ],
)
def test_a_metric_is_a_change_of_coordinates(make, metric):
    """The momentum F noise of the metric is noise in the coordinates z with x = S F^-T z."""
    inner = np.asarray(jax.vmap(metric.momentum)(jnp.eye(3)).T)
    change = np.asarray(metric.scale)[:, None] * np.linalg.inv(inner).T
    np.testing.assert_allclose(change @ change.T, inverse_mass(metric), atol=1e-12)
    seed, start = jax.random.key(2), change @ x0
    kernel, plain = make(quartic, metric), make(lambda z: quartic(jnp.asarray(change) @ z), mcmc.DiagonalMetric())

    @jax.jit
    def run():
        return kernel.step(kernel.init(start), seed=seed), plain.step(plain.init(x0), seed=seed)

    (state, info), (other, expected) = run()
    assert np.any(other.position != x0)
    np.testing.assert_allclose(state.position, change @ other.position, rtol=1e-10)
    np.testing.assert_allclose(info.energy, expected.energy, rtol=1e-10)
    np.testing.assert_allclose(info.log_accept_ratio, expected.log_accept_ratio, rtol=0, atol=1e-10)
    assert info.leapfrogs_taken == expected.leapfrogs_taken > 2


def test_a_metric_of_another_size():
    kernel = mcmc.NoUTurnSampler(banana, 0.1, metric=mcmc.DiagonalMetric(jnp.ones(3)))
    with pytest.raises(ValueError, match="NoUTurnSampler: the metric is for 3 coordinates, the state has 2"):
        kernel.step(kernel.init(jnp.zeros(2)), seed=jax.random.key(0))


def test_step_size_errors():
    with pytest.raises(ValueError, match=r"NoUTurnSampler: step_size of shape \(3,\).*the state of shape \(2,\)"):
        kernel = mcmc.NoUTurnSampler(banana, jnp.ones(3))
        kernel.step(kernel.init(jnp.zeros(2)), seed=jax.random.key(0))
    with pytest.raises(
        ValueError, match="NoUTurnSampler: a list of step sizes must have one for each state part, got 2"
    ):
        kernel = mcmc.NoUTurnSampler(banana, [0.1, 0.1])
        kernel.step(kernel.init(jnp.zeros(2)), seed=jax.random.key(0))
    with pytest.raises(ValueError, match=r"step_size of shape \(3,\) does not broadcast against state part \[1\]"):
        kernel = mcmc.NoUTurnSampler(lambda a, b: banana(b) - a**2, [0.1, jnp.ones(3)])
        kernel.step(kernel.init([0.0, jnp.zeros(2)]), seed=jax.random.key(0))


def test_construction_errors():
    with pytest.raises(ValueError, match="max_tree_depth must be between 1 and 30, got 0"):
        mcmc.NoUTurnSampler(banana, 0.1, max_tree_depth=0)
    with pytest.raises(ValueError, match="num_leapfrog_steps must be at least 1, got 0"):
        mcmc.HamiltonianMonteCarlo(banana, 0.1, 0)


def test_the_target_of_one_chain_is_a_scalar(monkeypatch):
    kernel = mcmc.HamiltonianMonteCarlo(lambda x: -0.5 * jnp.sum(x**2, -1), 0.1, 2)
    with pytest.raises(
        ValueError, match=r"HamiltonianMonteCarlo: the target of one chain must be a scalar, got shape \(4,\)"
    ):
        kernel.init(jnp.zeros((4, 2)))
    # As for a user, for whom nothing checks the annotations.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match="HamiltonianMonteCarlo.step needs a seed"):
        kernel.step(kernel.init(jnp.zeros(2)), seed=None)


def test_a_module_as_target_stays_dynamic():
    class Normal(eqx.Module):
        scale: jax.Array

        def log_prob(self, x):
            return -0.5 * jnp.sum((x / self.scale) ** 2)

    kernel = mcmc.NoUTurnSampler(Normal(jnp.array(2.0)).log_prob, 0.1)
    assert len(jax.tree_util.tree_leaves(kernel)) == 4  # scale, step size, metric, energy bound
    assert kernel.init(jnp.ones(2)).target_log_prob == -0.25


def test_depth_one():
    kernel = mcmc.NoUTurnSampler(banana, 0.1, max_tree_depth=1)
    state, info = kernel.step(kernel.init(jnp.ones(2)), seed=jax.random.key(0))
    assert info.leapfrogs_taken == 1 and info.reach_max_depth
