"""Step size adaptation, and that neither it nor the kernels break on densities that misbehave."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.inference import mcmc

KEY = jax.random.key(0)


def normal(x):
    return -0.5 * jnp.sum(x**2, axis=-1)


def _nan_gradient(x):
    # Finite everywhere, but beyond 1 the gradient is NaN: a select whose dead branch has an infinite slope.
    bad = jnp.where(x > 1, x, 1.0)
    return -0.5 * jnp.sum(x**2) + jnp.sum(jnp.where(x > 1, 0 * jnp.sqrt(bad - bad), 0.0))


HOSTILE = {
    "outside the support": lambda x: jnp.sum(jnp.log(x) - x),
    "a wall": lambda x: jnp.sum(jnp.where(x > 0, -x, -jnp.inf)),
    "NaN beyond 1": lambda x: jnp.sum(jnp.where(x > 1, jnp.nan, -0.5 * x**2)),
    "NaN gradient beyond 1": _nan_gradient,
    "infinite beyond 1": lambda x: jnp.sum(jnp.where(x > 1, jnp.inf, -0.5 * x**2)),
    "a step": lambda x: jnp.sum(jnp.where(x > 0.7, -1e6, 0.0) - 0.5 * x**2),
    "improper": lambda x: jnp.sum(x**2),
    "flat": lambda x: 0 * jnp.sum(x),
    "a needle": lambda x: -1e20 * jnp.sum((x - 0.5) ** 2),
    "nothing accepted": lambda x: jnp.sum(jnp.where(x == 0.5, 0 * x, -jnp.inf)),
}


class Hostile(eqx.Module):
    """One of them; which is data, so that all share one compiled program."""

    index: jax.Array

    def __call__(self, x):
        return jax.lax.switch(self.index, list(HOSTILE.values()), x)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "make", [lambda f: mcmc.NoUTurnSampler(f, 0.3, 4), lambda f: mcmc.HamiltonianMonteCarlo(f, 0.3, 5)]
)
def test_hostile_densities(name, make):
    kernel = mcmc.DualAveragingStepSizeAdaptation(make(Hostile(jnp.asarray(list(HOSTILE).index(name)))), 400)
    states, info = mcmc.sample_chain(500, jnp.full(2, 0.5, jnp.float32), kernel=kernel, seed=KEY)
    assert np.all(np.isfinite(states)) and np.all(np.isfinite(info.target_log_prob))
    assert np.all(np.isfinite(info.energy))
    assert np.all(np.isfinite(info.step_size)) and np.all(info.step_size > 0)
    assert not np.any(np.isnan(info.log_accept_ratio))
    if "beyond 1" in name or name in ("a wall", "a step", "nothing accepted"):
        assert np.any(info.has_divergence)
    if name == "nothing accepted":
        assert np.all(states == 0.5)


def scaled(x):
    return -0.5 * jnp.sum((x / jnp.linspace(1.0, 3.0, 6)) ** 2)


@pytest.mark.parametrize(
    ("inner", "goal"),
    [
        (mcmc.NoUTurnSampler(scaled, 1e-3, 8), 0.6),
        (mcmc.NoUTurnSampler(scaled, 20.0, 8), 0.9),
        # With a fixed length the acceptance of a Gaussian drops from above 0.8 to 0 where the integrator turns
        # unstable.
        (mcmc.HamiltonianMonteCarlo(scaled, 1e-3, 5), 0.9),
        (mcmc.HamiltonianMonteCarlo(scaled, 50.0, 5), 0.95),
    ],
)
def test_dual_averaging_reaches_its_goal(inner, goal):
    kernel = mcmc.DualAveragingStepSizeAdaptation(inner, 1500, target_accept_prob=goal)
    result = mcmc.sample_chain(
        1000, jnp.ones(6), kernel=kernel, num_burnin_steps=1500, seed=KEY, return_final_kernel_results=True
    )
    info = result.trace
    rate = np.mean(np.exp(np.minimum(info.log_accept_ratio, 0)))
    assert abs(rate - goal) < 0.08
    # The adaptation has ended, and the adapted kernel is an ordinary one.
    assert np.all(info.step_size == info.step_size[0])
    adapted = kernel.adapted_kernel(result.final_kernel_results.state)
    assert type(adapted) is type(inner) and adapted.step_size == info.step_size[0]


def test_dual_averaging_of_several_step_sizes():
    kernel = mcmc.DualAveragingStepSizeAdaptation(
        mcmc.HamiltonianMonteCarlo(lambda a, b: normal(a) + normal(b), [0.1, jnp.array([0.2, 0.4])], 3), 50
    )
    info = mcmc.sample_chain(100, (jnp.ones(2), jnp.ones(2)), kernel=kernel, seed=KEY).trace
    first, second = info.step_size
    assert first.shape == (100,) and second.shape == (100, 2)
    np.testing.assert_allclose(second, first[:, None] * jnp.array([2.0, 4.0]))
    assert len(np.unique(first)) == 51
    anchored = mcmc.DualAveragingStepSizeAdaptation(mcmc.HamiltonianMonteCarlo(normal, 0.1, 4), 50, shrinkage_target=3)
    state = anchored.init(jnp.ones(2))
    np.testing.assert_allclose(state.log_shrinkage_target, np.log(3.0))
    with pytest.raises(TypeError, match="inner_kernel must have a step_size, got DualAveraging"):
        mcmc.DualAveragingStepSizeAdaptation(anchored, 5)
