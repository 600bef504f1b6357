"""Microcanonical kernels: the isokinetic integrator, what is conserved, the bias of the unadjusted one, the tuning.

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
from distrax_like.inference.mcmc import _mclmc
from distrax_like.inference.mcmc._mclmc import (
    AdjustedMicrocanonicalLangevin,
    MicrocanonicalLangevin,
    tune_microcanonical_langevin,
)

from .conservation import NUM, STARTS, banana


def quartic(x):
    return -jnp.sum(x**4) / 4 - 0.5 * jnp.sum(x[1:] * x[:-1])


FACTOR = np.array([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0], [-0.4, 0.2, 2.0]])
METRICS = [mcmc.DiagonalMetric([0.5, 1.2, 0.8]), mcmc.DenseMetric.of(FACTOR @ FACTOR.T)]
x0, p0 = jnp.array([0.3, -0.7, 0.9]), jnp.array([1.0, 0.4, -0.8])


def trajectory(integrator="mclachlan", metric=None, total=1.0):
    """From a position and a momentum, in a number of steps, to the last position, direction in rows, and the energy
    error."""

    @jax.jit
    def run(x, p, num_steps):
        kernel = MicrocanonicalLangevin(quartic, total / num_steps, 1.0, metric, integrator)
        space = kernel.phase_space(mcmc.HamiltonianMonteCarlo(quartic, 1.0, 1).init(x))

        def body(_, carry):
            x, u, force, _, gain = carry
            x, u, force, value, _, more = kernel._move(space, x, u, force)
            return x, u, force, value, gain + more

        carry = x, _mclmc._unit(space.rows(p)), space.force(space.grad), space.target_log_prob, jnp.zeros(())
        x, u, _, value, gain = jax.lax.fori_loop(0, num_steps, body, carry)
        return x, u, gain - value + space.target_log_prob

    return run


@pytest.mark.parametrize(("integrator", "metric"), list(zip(["mclachlan", "velocity_verlet"], METRICS)))
def test_the_integrator_is_isokinetic_and_reversible(integrator, metric):
    run = trajectory(integrator, metric, total=4.0)
    x, u, error = run(x0, p0, 40)
    assert np.max(np.abs(x - x0)) > 0.1
    assert abs(np.sum(u[0] * metric.velocity(u[0])) - 1) < 1e-13
    np.testing.assert_allclose(u[-1], metric.velocity(u[0]), rtol=0, atol=1e-12)
    back, minus, other = run(x, -u[0], 40)
    np.testing.assert_allclose(back, x0, rtol=0, atol=1e-10)
    u0 = p0 / math.sqrt(np.sum(p0 * metric.velocity(p0)))
    np.testing.assert_allclose(-minus[0], u0, rtol=0, atol=1e-10)
    assert abs(error + other) < 1e-10 < abs(error)


@pytest.mark.parametrize("integrator", ["mclachlan", "velocity_verlet"])
def test_the_energy_error_is_of_second_order(integrator):
    run = trajectory(integrator)
    errors = [abs(float(run(x0, p0, n)[2])) for n in (32, 64, 128)]
    np.testing.assert_allclose(np.diff(np.log2(errors)), -2, atol=0.1)


def test_the_kinetic_gain_is_the_contraction_of_the_sphere():
    # Of three coordinates, on the sphere's tangent planes: the volume shrinks by exp(-gain).
    force = jnp.array([[0.7, -1.1, 0.4]])
    kick = lambda u: _mclmc._kick(_mclmc._unit(u[None]), force)[0][0]

    @jax.jit
    def run(v):
        u = _mclmc._unit(v)
        return u[0], *_mclmc._kick(u, force), jax.jacfwd(kick)(u[0])

    u, new, gain, jacobian = run(jnp.array([[0.2, 0.5, -0.9]]))

    def plane(u):
        return np.linalg.svd(np.asarray(u)[None])[2][1:]

    volume = abs(np.linalg.det(plane(new[0]) @ np.asarray(jacobian) @ plane(u).T))
    assert abs(math.log(volume) + gain) < 1e-12 < abs(gain)


KEYS = jax.random.split(jax.random.key(1), NUM)
# Distances compared: under 20 of 3 or 4 marginals each; half of the false-alarm rate.
BOUND = math.sqrt(math.log(2 * 80 / 5e-7) / (2 * NUM))


def distance(x):
    """How far the marginals of the banana are from uniform ones after Rosenblatt's transform."""
    x = np.asarray(x)
    u = special.ndtr(np.stack([x[:, 0], x[:, 1] - 0.5 * x[:, 0] ** 2, -x[:, 1] + 0.5 * x[:, 0] ** 2 + x[:, 0]]))
    u[2] = special.ndtr(special.ndtri(u[2]) / math.sqrt(2))
    return max(uniform_distance(row) for row in u)


def uniform_distance(u):
    return np.max(np.abs(np.sort(u) - (np.arange(NUM) + 0.5) / NUM))


def one_transition(kernel):
    @jax.jit
    def run(x, keys):
        def step(x, key):
            state, info = kernel.step(kernel.init(x), seed=key)
            return state.position, info

        return jax.vmap(step)(x, keys)

    return run(STARTS, KEYS)


ADJUSTED = AdjustedMicrocanonicalLangevin(banana, 1.5, 3.0)


def noisy():
    return AdjustedMicrocanonicalLangevin(banana, 0.8, 1.6, decoherence_length=2.0, integrator="velocity_verlet")


@pytest.mark.parametrize("kernel", [ADJUSTED, noisy()], ids=["plain", "noisy"])
def test_the_adjusted_kernel_conserves_its_target(kernel):
    x, info = one_transition(kernel)
    rate = np.mean(info.is_accepted)
    assert 0.5 < rate < 0.97
    assert np.mean(np.any(x != STARTS, axis=1)) == rate
    assert len(np.unique(info.leapfrogs_taken)) == 4
    assert distance(x) < BOUND


def _kick_without_gain(u, force, kick=_mclmc._kick):
    return kick(u, force)[0], jnp.zeros(())


def _kick_too_strong(u, force, kick=_mclmc._kick):
    return kick(u, 1.5 * force)


def _refresh_to_one_side(u, noise, time, length):
    return _mclmc._unit(u + jnp.abs(noise))


@pytest.mark.parametrize(
    ("kernel", "name", "mutant"),
    [
        (ADJUSTED, "_kick", _kick_without_gain),
        (ADJUSTED, "_unit", lambda u: jnp.abs(u) / jnp.sqrt(jnp.sum(u**2))),
        (noisy(), "_refreshed", _refresh_to_one_side),
    ],
)
def test_a_broken_adjusted_kernel_does_not(monkeypatch, kernel, name, mutant):
    monkeypatch.setattr(_mclmc, name, mutant)
    assert distance(one_transition(kernel)[0]) > BOUND


def unadjusted_run(step_size, total=6.0):
    """Position and direction after a time, from exact draws and uniform directions."""
    kernel = MicrocanonicalLangevin(banana, step_size, 1.5, integrator="velocity_verlet")

    @jax.jit
    def run(x, keys):
        def chain(x, key):
            first, key = jax.random.split(key)
            state = kernel.init(x, seed=first)
            keys = jax.random.split(key, round(total / step_size))
            state, info = jax.lax.scan(lambda s, k: kernel.step(s, seed=k), state, keys)
            return state.position, state.direction, info.is_accepted

        return jax.vmap(chain)(x, keys)

    return run(STARTS, KEYS)


def test_the_bias_falls_with_the_step_size(monkeypatch):
    biased, unbiased = unadjusted_run(2.0), unadjusted_run(0.2)
    assert np.all(biased[2]) and np.all(unbiased[2])
    angle = np.arctan2(*np.asarray(unbiased[1]).T) / (2 * math.pi) + 0.5
    # What is left of the bias at the small step is far below the bound.
    assert distance(unbiased[0]) < BOUND
    assert uniform_distance(angle) < BOUND
    assert distance(biased[0]) > 2 * BOUND
    monkeypatch.setattr(_mclmc, "_kick", _kick_too_strong)
    assert distance(unadjusted_run(0.2)[0]) > 2 * BOUND


SCALES = jnp.logspace(-2, 2, 20)
CHAINS = 64


def wide_normal(x):
    return -0.5 * jnp.sum((x / SCALES) ** 2)


def z_scores(kernel, state, num, burnin):
    """Of the second moments, from independent chains: Student's t with CHAINS - 1 degrees of freedom."""

    @jax.jit
    def run(keys):
        def chain(key):
            init = state
            out = jax.lax.scan(lambda s, k: (lambda o: (o[0], (o[0].position, o[1])))(kernel.step(s, seed=k)),
                               init, jax.random.split(key, num))[1]  # fmt: skip
            return out

        return jax.vmap(chain)(keys)

    x, info = run(jax.random.split(jax.random.key(7), CHAINS))
    per_chain = np.mean(np.asarray(x / SCALES)[:, burnin:] ** 2, axis=1)
    mean, error = per_chain.mean(0), per_chain.std(0, ddof=1) / math.sqrt(CHAINS)
    return mean, error, info


@pytest.mark.parametrize("make", [MicrocanonicalLangevin, AdjustedMicrocanonicalLangevin])
def test_the_tuned_kernel_samples_an_ill_conditioned_normal(make):
    kernel = make(wide_normal, 0.05, 1.0)
    kernel, state = tune_microcanonical_langevin(kernel, SCALES, 3000, seed=jax.random.key(3))
    assert type(kernel) is make
    # Of a window of 600 correlated draws, with a standard error of about 0.11.
    assert np.max(np.abs(np.log(kernel.metric.scale / SCALES))) < 0.6
    num = 300 if make is MicrocanonicalLangevin else 80
    mean, error, info = z_scores(kernel, state, num, num // 4)
    # The unadjusted draws have a bias of their own, of less than 2 % at this energy error.
    bias = 0.02 if make is MicrocanonicalLangevin else 0.0
    assert np.max(error) < 0.1
    assert np.all(np.abs(mean - 1) < bias + error * stats.t(CHAINS - 1).isf(5e-7 / (4 * len(SCALES))))
    if bias:
        spent = float(np.mean(info.log_accept_ratio**2)) / len(SCALES)
        assert 2e-4 < spent < 1.2e-3
    else:
        assert abs(float(np.mean(np.exp(np.minimum(info.log_accept_ratio, 0.0)))) - 0.9) < 0.06


def hole(a, b):
    """A density that is NaN in one place, zero in another, and has an infinite gradient in a third."""
    x = a + jnp.sum(b)
    return jnp.where(x > 1.5, jnp.nan, jnp.where(x < -1.5, -jnp.inf, -0.5 * a**2 - 0.5 * jnp.sum(b**2))) + jnp.sqrt(
        jnp.abs(a)
    )


@pytest.mark.parametrize("make", [MicrocanonicalLangevin, AdjustedMicrocanonicalLangevin])
def test_where_the_density_is_not_finite(make):
    kernel = make(hole, 0.7, 2.0)

    @jax.jit
    def run(key):
        state = kernel.init((jnp.asarray(0.3, jnp.float32), jnp.ones(2, jnp.float32) * 0.1), seed=key)
        return jax.lax.scan(
            lambda s, k: (lambda o: (o[0], (o[0], o[1])))(kernel.step(s, seed=k)), state, jax.random.split(key, 300)
        )[1]

    states, info = run(jax.random.key(0))
    assert all(x.dtype == jnp.float32 for x in jax.tree_util.tree_leaves((states, info.log_accept_ratio)))
    assert all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(states))
    assert np.any(info.log_accept_ratio == -jnp.inf) and np.any(info.is_accepted)
    total = states.position[0] + jnp.sum(states.position[1], -1)
    assert np.max(np.abs(total)) <= 1.5 and np.std(total) > 0.3


def test_by_driver():
    kernel = MicrocanonicalLangevin(banana, 0.3, 1.0)
    out = mcmc.sample_chain(5, jnp.zeros(2), kernel=kernel, seed=jax.random.key(0))
    assert np.all(np.isfinite(jax.tree_util.tree_leaves(out)[0]))


def test_errors():
    with pytest.raises(ValueError, match="integrator must be one of velocity_verlet, mclachlan, got 'euler'"):
        MicrocanonicalLangevin(banana, 0.1, 1.0, integrator="euler")
    with pytest.raises(ValueError, match=r"AdjustedMicrocanonicalLangevin: step_size must be one number, got shape"):
        AdjustedMicrocanonicalLangevin(banana, [0.1, 0.2], 1.0)
    with pytest.raises(ValueError, match="max_num_steps must be at least 1, got 0"):
        AdjustedMicrocanonicalLangevin(banana, 0.1, 1.0, max_num_steps=0)
    with pytest.raises(TypeError, match="MicrocanonicalLangevin.init needs a seed"):
        MicrocanonicalLangevin(banana, 0.1, 1.0).init(jnp.zeros(2))
    with pytest.raises(ValueError, match="a direction needs a state of at least two coordinates"):
        MicrocanonicalLangevin(lambda x: -(x**2), 0.1, 1.0).init(0.0, seed=jax.random.key(0))
    with pytest.raises(ValueError, match="num_steps must be at least 50, got 10"):
        tune_microcanonical_langevin(ADJUSTED, jnp.zeros(2), 10, seed=jax.random.key(0))
    doubled = eqx.tree_at(lambda k: k.step_size, ADJUSTED, jnp.asarray(0.2))
    assert doubled.step_size == 0.2
