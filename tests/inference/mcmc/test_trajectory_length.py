"""Hamiltonian Monte Carlo with jittered lengths: what it conserves, the jitter, the criteria, what chains learn.

The statistical tests together raise a false alarm with probability 1e-6.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _hamiltonian, _trajectory_length
from distrax_like.inference.mcmc._trajectory_length import (
    DynamicHamiltonianMonteCarlo,
    chees_criterion,
    halton,
    sample_snaper_hmc,
    snaper_criterion,
)

from .conservation import NUM, STARTS, banana

# Distances compared: under 20; half of the false-alarm rate.
BOUND = math.sqrt(math.log(2 * 20 / 5e-7) / (2 * NUM))
KERNEL = DynamicHamiltonianMonteCarlo(banana, 0.9, 2.0)


def one_step(kernel):
    @jax.jit
    def run(x, keys, indices):
        def step(x, key, index):
            state = _trajectory_length._indexed(kernel.init(x), index)
            state, info = kernel.step(state, seed=key)
            return state, info

        return jax.vmap(step)(x, keys, indices)

    return run(STARTS, jax.random.split(jax.random.key(1), NUM), jnp.arange(NUM, dtype=jnp.int32) % 64)


def distance(x):
    x = np.asarray(x)
    u = special.ndtr(np.stack([x[:, 0], x[:, 1] - 0.5 * x[:, 0] ** 2, -x[:, 1] + 0.5 * x[:, 0] ** 2 + x[:, 0]]))
    u[2] = special.ndtr(special.ndtri(u[2]) / math.sqrt(2))
    return np.max(np.abs(np.sort(u, axis=1) - (np.arange(NUM) + 0.5) / NUM))


def test_the_target_is_conserved():
    state, info = one_step(KERNEL)
    rate = np.mean(info.is_accepted)
    assert 0.5 < rate < 0.95
    assert np.mean(np.any(state.position != STARTS, axis=1)) == rate
    assert np.all(np.unique(info.leapfrogs_taken) == np.arange(1, 6))
    np.testing.assert_array_equal(state.index, np.arange(NUM) % 64 + 1)
    assert distance(state.position) < BOUND


def _drifting(space, *args, leapfrog=_hamiltonian.PhaseSpace.leapfrog):
    x, *rest = leapfrog(space, *args)
    return x + 0.1, *rest  # keeps volumes, but the way back is another


@pytest.mark.parametrize(
    ("where", "name", "mutant"),
    [
        (_hamiltonian.PhaseSpace, "leapfrog", _drifting),
        (_hamiltonian, "energy_drop", lambda start, end: jnp.zeros_like(start)),
    ],
)
def test_a_broken_kernel_does_not_conserve_it(monkeypatch, where, name, mutant):
    monkeypatch.setattr(where, name, mutant)
    assert distance(one_step(KERNEL)[0].position) > BOUND


def test_a_length_that_depends_on_the_state_does_not_conserve_it(monkeypatch):
    propose = DynamicHamiltonianMonteCarlo.propose

    def dependent(self, state, num_leapfrog_steps, *, seed):
        return propose(self, state, jnp.where(state.position[0] > 0, 1, 3), seed=seed)

    monkeypatch.setattr(DynamicHamiltonianMonteCarlo, "propose", dependent)
    assert distance(one_step(KERNEL)[0].position) > BOUND


def test_with_one_length_it_is_hamiltonian_monte_carlo():
    other, x = mcmc.HamiltonianMonteCarlo(banana, 0.9, 3), jnp.array([0.4, -0.3])

    @jax.jit
    def run(key):
        state, info, _ = KERNEL.propose(KERNEL.init(x), jnp.asarray(3), seed=key)
        return state.position, info, *other.step(other.init(x), seed=key)

    for i in range(5):
        position, info, state, expected = run(jax.random.key(i))
        np.testing.assert_allclose(position, state.position, rtol=1e-12)
        np.testing.assert_allclose(info.log_accept_ratio, expected.log_accept_ratio, atol=1e-12)


def test_the_jitter():
    h = np.asarray(jax.jit(halton)(jnp.arange(1023)))
    np.testing.assert_array_equal(np.sort(h), np.arange(1, 1024) / 1024)
    np.testing.assert_array_equal(h[:5], [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8])
    steps = np.asarray(jax.jit(jax.vmap(KERNEL.num_leapfrog_steps))(jnp.arange(1023)))
    np.testing.assert_array_equal(steps, np.ceil(2 * h * 2.0 / 0.9))
    capped = DynamicHamiltonianMonteCarlo(banana, 0.9, 2.0, max_leapfrog_steps=3)
    assert np.max(jax.jit(jax.vmap(capped.num_leapfrog_steps))(jnp.arange(8))) == 3


def test_the_criteria():
    keys = jax.random.split(jax.random.key(0), 3)
    x, y = (np.asarray(jax.random.normal(k, (7, 3))) for k in keys[:2])
    a = np.asarray(jax.random.uniform(keys[2], (7,)))
    dx, dy = x - x.mean(0), y - a @ y / a.sum()
    expected = [((b @ b) - (c @ c)) ** 2 / 4 for b, c in zip(dy, dx)]
    args = jnp.asarray(x), jnp.asarray(y), jnp.asarray(a), 2.0
    np.testing.assert_allclose(jax.jit(chees_criterion)(*args), expected, rtol=1e-12)
    v, m = np.array([3.0, 0.0, 4.0]), np.array([1.0, -1.0, 2.0])
    expected = ((dy @ v / 5) ** 2 - (dx @ v / 5) ** 2) ** 2 / 2
    criterion = jax.jit(snaper_criterion)
    np.testing.assert_allclose(criterion(*args, jnp.asarray(v)), expected, rtol=1e-12)
    dx, dy = x - (0.25 * m + 0.75 * x.mean(0)), y - (0.25 * m + 0.75 * (a @ y / a.sum()))
    expected = ((dy @ v / 5) ** 2 - (dx @ v / 5) ** 2) ** 2 / 2
    np.testing.assert_allclose(criterion(*args, jnp.asarray(v), jnp.asarray(m), 0.25), expected, rtol=1e-12)


CHAINS, SCALES = 64, jnp.logspace(-1, 1, 10)
# After scaling, one direction of standard deviation sqrt(2.8) is left.
PRECISION = jnp.linalg.inv(0.9 * jnp.ones((3, 3)) + 0.1 * jnp.eye(3))


def correlated(x):
    z = x / SCALES
    return -0.5 * jnp.sum(z[3:] ** 2) - 0.5 * jnp.sum(PRECISION * z[:3] * z[:3, None])


@pytest.mark.parametrize("criterion", ["snaper", "chees"])
def test_chains_learn_an_ill_conditioned_normal(criterion):
    starts = jax.random.normal(jax.random.key(2), (CHAINS, 10))
    kernel, states = sample_snaper_hmc(correlated, starts, 500, seed=jax.random.key(3), criterion=criterion)
    np.testing.assert_allclose(kernel.metric.scale, SCALES, rtol=0.15)
    # For the widest direction the rate is highest at about 0.7 of its standard deviation.
    assert 0.7 < kernel.trajectory_length < 2.5

    @jax.jit
    def run(states, keys):
        def body(states, keys):
            states, info = jax.vmap(lambda s, k: kernel.step(s, seed=k))(states, keys)
            return states, (states.position**2, info.log_accept_ratio)

        squares, ratio = jax.lax.scan(body, states, keys)[1]
        return jnp.mean(squares, axis=0) / SCALES**2, jnp.minimum(jnp.exp(ratio), 1)

    moments, accept = run(states, jax.random.split(jax.random.key(4), (60, CHAINS)))
    harmonic = np.mean(1 / np.mean(1 / np.maximum(accept, 1e-3), axis=1))
    assert abs(harmonic - 0.8) < 0.12
    error = np.std(moments, axis=0, ddof=1) / math.sqrt(CHAINS)
    assert np.max(error) < 0.12
    assert np.all(np.abs(np.mean(moments, axis=0) - 1) < error * stats.t(CHAINS - 1).isf(5e-7 / (4 * 10)))


def test_where_the_density_is_not_finite():
    def hole(a, b):
        x = a + jnp.sum(b)
        return jnp.where(x > 1.5, jnp.nan, jnp.where(x < -1.5, -jnp.inf, -0.5 * a**2 - 0.5 * jnp.sum(b**2)))

    position = jnp.full((8,), 0.3, jnp.float32), jnp.full((8, 2), 0.1, jnp.float32)
    kernel, states = sample_snaper_hmc(hole, position, 100, seed=jax.random.key(0), init_step_size=1.0)
    leaves = jax.tree_util.tree_leaves((kernel, states))
    assert all(np.all(np.isfinite(x)) for x in leaves)
    assert all(x.dtype in (jnp.float32, jnp.int32) for x in leaves)
    assert np.std(states.position[0]) > 0.05


def test_errors():
    with pytest.raises(ValueError, match="max_leapfrog_steps must be at least 1, got 0"):
        DynamicHamiltonianMonteCarlo(banana, 0.1, 1.0, max_leapfrog_steps=0)
    with pytest.raises(ValueError, match="criterion must be snaper or chees, got 'esjd'"):
        sample_snaper_hmc(banana, jnp.zeros((4, 2)), seed=jax.random.key(0), criterion="esjd")
    with pytest.raises(ValueError, match="it takes at least 2 chains, got 1"):
        sample_snaper_hmc(banana, jnp.zeros((1, 2)), seed=jax.random.key(0))
