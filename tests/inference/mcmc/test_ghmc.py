"""Generalised Hamiltonian Monte Carlo: the joint state it conserves, its parts, the tuning by many chains.

The statistical tests together raise a false alarm with probability 1e-6.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _ghmc, _hamiltonian
from distrax_like.inference.mcmc._ghmc import GeneralizedHamiltonianMonteCarlo, meads

from .conservation import NUM, STARTS, banana

# Distances compared: under 100; half of the false-alarm rate.
BOUND = math.sqrt(math.log(2 * 100 / 5e-7) / (2 * NUM))


def one_step(kernel):
    @jax.jit
    def run(x, keys):
        def step(x, key):
            first, second = jax.random.split(key)
            before = kernel.init(x, seed=first)
            return before, *kernel.step(before, seed=second)

        return jax.vmap(step)(x, keys)

    return run(STARTS, jax.random.split(jax.random.key(1), NUM))


def distance(state):
    """How far the joint state's marginals are from uniform: position, momentum, slice, and mixtures of them."""
    x, p = np.asarray(state.position), np.asarray(state.momentum)
    z = np.stack([x[:, 0], x[:, 1] - 0.5 * x[:, 0] ** 2, p[:, 0], p[:, 1], special.ndtri(0.5 + 0.5 * state.slice)])
    pairs = [(i, j, s) for i in range(5) for j in range(i) for s in (-1, 1)]
    # What is accepted depends on the slice's size and the energy; so do mistakes in the slice's factor.
    w = special.ndtri(np.abs(np.asarray(state.slice)))
    e = special.ndtri(stats.chi2(4).cdf(np.sum(z[:4] ** 2, axis=0)))
    mixed = [(z[i] + s * z[j]) / math.sqrt(2) for i, j, s in pairs]
    z = np.concatenate([z, mixed, [w, e, (w + e) / math.sqrt(2), (w - e) / math.sqrt(2)]])
    return np.max(np.abs(np.sort(special.ndtr(z), axis=1) - (np.arange(NUM) + 0.5) / NUM))


KERNEL = GeneralizedHamiltonianMonteCarlo(banana, 0.8, 0.3, 0.4, num_leapfrog_steps=2)


def test_the_joint_state_is_conserved():
    before, after, info = one_step(KERNEL)
    rate = np.mean(info.is_accepted)
    assert 0.5 < rate < 0.95
    assert np.mean(np.any(after.position != STARTS, axis=1)) == rate
    assert distance(before) < BOUND
    assert distance(after) < BOUND
    assert np.all(np.abs(after.slice) <= 1)


def _unwrapped(u):
    return jnp.where(u > 1, 2 - u, u)  # turns back at one end, and does not come in at the other


@pytest.mark.parametrize(
    ("where", "name", "mutant"),
    [
        (_ghmc, "_wrapped", _unwrapped),
        (_hamiltonian, "energy_drop", lambda start, end: jnp.zeros_like(start)),
        (_hamiltonian, "hamiltonian", lambda value, p: -value),
        (
            _ghmc,
            "_persistent",
            lambda s, p, u: _ghmc.PersistentState(
                s.position, s.target_log_prob, s.grads_target_log_prob, jnp.abs(p), u
            ),
        ),  # fmt: skip # noqa: E501
    ],
)
def test_a_broken_kernel_does_not_conserve_it(monkeypatch, where, name, mutant):
    monkeypatch.setattr(where, name, mutant)
    assert distance(one_step(KERNEL)[1]) > BOUND


def test_a_forgotten_slice_update_is_seen(monkeypatch):
    step = GeneralizedHamiltonianMonteCarlo.step

    def forgetful(self, state, *, seed):
        new, info = step(self, state, seed=seed)
        u = jnp.where(info.is_accepted, new.slice * jnp.exp(info.log_accept_ratio), new.slice)
        return eqx.tree_at(lambda s: s.slice, new, u), info

    monkeypatch.setattr(GeneralizedHamiltonianMonteCarlo, "step", forgetful)
    assert distance(one_step(KERNEL)[1]) > BOUND


def test_one_step_by_hand():
    kernel = GeneralizedHamiltonianMonteCarlo(banana, 0.5, 0.36, 0.1, metric=mcmc.DiagonalMetric([2.0, 0.5]))

    @jax.jit
    def run(x, key):
        first, second = jax.random.split(key)
        state = kernel.init(x, seed=first)
        return state, *kernel.step(state, seed=second), jax.random.normal(second, (2,), x.dtype)

    seen = set()
    grad, value = jax.jit(jax.grad(banana)), jax.jit(banana)
    for i in range(40):
        x0 = jnp.array([1.5, -2.0])
        state, new, info, noise = run(x0, jax.random.key(i))
        p = 0.8 * np.asarray(state.momentum) + 0.6 * np.asarray(noise)
        u = (float(state.slice) + 0.1 + 1) % 2 - 1
        h = 0.5 * np.array([2.0, 0.5])
        half = p + 0.5 * h * np.asarray(grad(x0))
        x = np.asarray(x0) + h * half
        end = half + 0.5 * h * np.asarray(grad(x))
        drop = float(value(x)) - end @ end / 2 - float(value(x0)) + p @ p / 2
        accept = abs(u) < math.exp(drop)
        assert bool(info.is_accepted) == accept
        np.testing.assert_allclose(info.log_accept_ratio, drop, atol=1e-12)
        np.testing.assert_allclose(new.position, x if accept else x0, atol=1e-12)
        np.testing.assert_allclose(new.momentum, end if accept else -p, atol=1e-12)
        np.testing.assert_allclose(new.slice, u * math.exp(-drop) if accept else u, atol=1e-12)
        seen.add(accept)
    assert len(seen) == 2


def test_where_the_density_is_not_finite():
    def hole(a, b):
        x = a + jnp.sum(b)
        return jnp.where(x > 1.5, jnp.nan, jnp.where(x < -1.5, -jnp.inf, -0.5 * a**2 - 0.5 * jnp.sum(b**2)))

    kernel = GeneralizedHamiltonianMonteCarlo(hole, 0.7, 0.5)

    @jax.jit
    def run(key):
        state = kernel.init((jnp.asarray(0.3, jnp.float32), jnp.ones(2, jnp.float32) * 0.1), seed=key)

        def body(state, key):
            state, info = kernel.step(state, seed=key)
            return state, (state, info)

        return jax.lax.scan(body, state, jax.random.split(key, 300))[1]

    states, info = run(jax.random.key(0))
    assert all(x.dtype == jnp.float32 for x in jax.tree_util.tree_leaves((states, info.log_accept_ratio)))
    assert all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(states))
    assert np.any(info.log_accept_ratio == -jnp.inf) and np.any(info.is_accepted)


CHAINS, SCALES = 64, jnp.logspace(-1, 1, 20)


def wide_normal(x):
    return -0.5 * jnp.sum((x / SCALES) ** 2)


def test_meads_on_an_ill_conditioned_normal():
    starts = jax.random.normal(jax.random.key(2), (CHAINS, 20))
    kernel, states = meads(wide_normal, starts, 1200, seed=jax.random.key(3))
    assert states.slice.shape == (CHAINS,) and states.position.shape == (CHAINS, 20)
    np.testing.assert_allclose(kernel.metric.scale, SCALES, rtol=0.5)
    # In the units of the scales the gradients' and the positions' largest eigenvalues are not far above 1.
    assert 0.25 < kernel.step_size < 0.7 and 0.2 < kernel.damping < 0.8
    assert kernel.slice_shift == 0.5 * kernel.damping

    @jax.jit
    def run(states, keys):
        def chain(state, key):
            def body(state, key):
                state, info = kernel.step(state, seed=key)
                return state, (state.position**2, info.is_accepted)

            squares, accepted = jax.lax.scan(body, state, jax.random.split(key, 200))[1]
            return jnp.mean(squares, axis=0) / SCALES**2, jnp.mean(accepted)

        return jax.vmap(chain)(states, keys)

    moments, rate = run(states, jax.random.split(jax.random.key(4), CHAINS))
    assert np.mean(rate) > 0.8
    error = np.std(moments, axis=0, ddof=1) / math.sqrt(CHAINS)
    assert np.max(error) < 0.12
    assert np.all(np.abs(np.mean(moments, axis=0) - 1) < error * stats.t(CHAINS - 1).isf(5e-7 / (2 * 20)))


def test_the_largest_eigenvalue():
    x = np.asarray(jax.random.normal(jax.random.key(0), (400, 6))) * np.array([5.0, 0.3, 0.2, 0.1, 0.1, 0.1])
    exact = np.linalg.eigvalsh(x.T @ x / 400)
    estimate = float(_ghmc._largest_eigenvalue(jnp.asarray(x)))
    np.testing.assert_allclose(estimate, np.sum(exact**2) / np.sum(exact), rtol=0.02)
    np.testing.assert_allclose(estimate, exact[-1], rtol=0.05)


def test_errors():
    with pytest.raises(ValueError, match="num_leapfrog_steps must be at least 1, got 0"):
        GeneralizedHamiltonianMonteCarlo(banana, 0.1, 0.5, num_leapfrog_steps=0)
    with pytest.raises(TypeError, match="GeneralizedHamiltonianMonteCarlo.init needs a seed"):
        KERNEL.init(jnp.zeros(2))
    for chains, folds in ((10, 4), (4, 4), (8, 1)):
        with pytest.raises(ValueError, match=f"meads: {chains} chains cannot be dealt into {folds} folds"):
            meads(banana, jnp.zeros((chains, 2)), seed=jax.random.key(0), num_folds=folds)
