"""A user's own kernel: the guide's example goes through `sample`, and what a state or info lacks is named.

The statistical test raises a false alarm with probability 1e-6.
"""

import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import special

from distrax_like import inference
from distrax_like.inference import mcmc, stats

KEY = jax.random.key(0)
GUIDE = pathlib.Path(__file__).parents[3] / "docs" / "guide.md"


@pytest.fixture(scope="module")
def guide():
    """What the section of the guide defines."""
    section = GUIDE.read_text().split("## Your own sampler")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {"jax": jax, "jnp": jnp, "tfp": inference, "key": KEY, "NamedTuple": NamedTuple, "Callable": Callable}
    exec(code, names)
    return names


def test_the_guide_s_sampler_goes_through_sample(guide):
    samples = guide["samples"]
    assert samples.draws.shape == (1000, 4, 2)
    # The warm-up has moved the step size, to the same one in all chains.
    step_size = samples.kernel.step_size
    assert isinstance(samples.kernel, guide["RandomWalk"]) and abs(step_size - 1) > 0.1
    rates = samples.sample_stats["acceptance_rate"]
    assert set(samples.sample_stats) == {"acceptance_rate", "accepted"} and rates.shape == (1000, 4)
    assert abs(np.mean(rates) - 0.4) < 0.1
    assert abs(np.mean(samples.sample_stats["accepted"]) - np.mean(rates)) < 0.1


SCALE = np.array([0.5, 2.0])


def log_density(x):
    return -0.5 * jnp.sum((x / SCALE - 1) ** 2)


def test_its_moments(guide):
    samples = mcmc.sample(
        log_density,
        jnp.ones(2),
        num_samples=5000,
        num_warmup=500,
        num_chains=8,
        kernel=lambda target: guide["RandomWalk"](target, jnp.array(10.0)),
        adaptation=mcmc.StanAdaptation(target_accept_prob=0.4),
        seed=KEY,
    )
    z = samples.draws / SCALE - 1
    for x, truth in ((z, 0.0), (z**2, 1.0)):
        # Four means; their errors are normal, with a standard error that is itself good to about a tenth.
        bound = 1.2 * -special.ndtri(0.5 * 1e-6 / 4) * np.asarray(stats.mcse_mean(x))
        assert np.all(bound < 0.3) and np.all(np.abs(np.mean(x, axis=(0, 1)) - truth) < bound)


class Walk(mcmc.TransitionKernel):
    """A walk whose parts can be left out."""

    target_log_prob_fn: Callable
    step_size: jax.Array
    state: type = eqx.field(static=True)
    info: type = eqx.field(static=True)

    def init(self, position, *, seed=None):
        return self.state(position)

    def step(self, state, *, seed):
        return state, self.info(jnp.zeros(()))


class Good(NamedTuple):
    position: jax.Array


class Place(NamedTuple):
    place: jax.Array


class Accepted(NamedTuple):
    is_accepted: jax.Array


class Ratio(NamedTuple):
    log_accept_ratio: jax.Array


def run(state, info, step_size=jnp.array(1.0), **options):
    options = {"num_samples": 3, "num_warmup": 3, "num_chains": 2, "seed": KEY} | options
    return mcmc.sample(log_density, jnp.ones(2), kernel=lambda f: Walk(f, step_size, state, info), **options)


def test_what_is_missing_is_named(monkeypatch):
    assert run(Good, Ratio).draws.shape == (3, 2, 2)
    with pytest.raises(TypeError, match=r"the state that `init` returns \(Place\) needs a field `position`, .*draw"):
        run(Place, Ratio)
    message = r"Walk: the info that `step` returns \(Accepted\) needs a field `log_accept_ratio`.*step_size is adapted"
    with pytest.raises(TypeError, match=message):
        run(Good, Accepted)
    assert run(Good, Accepted, num_warmup=0).draws.shape == (3, 2, 2)
    with pytest.raises(TypeError, match="Walk: step_size must be a floating JAX array .* got 1.0"):
        run(Good, Ratio, step_size=1.0)

    kernel = Walk(log_density, jnp.array(1.0), Place, Ratio)
    for wrapped in (kernel, mcmc.DualAveragingStepSizeAdaptation(kernel, 5)):
        with pytest.raises(TypeError, match="Walk: .* needs a field `position`"):
            mcmc.sample_chain(3, jnp.ones(2), kernel=wrapped, seed=KEY)
    kernel = mcmc.DualAveragingStepSizeAdaptation(Walk(log_density, jnp.array(1.0), Good, Accepted), 5)
    with pytest.raises(TypeError, match="Walk: .* needs a field `log_accept_ratio`"):
        mcmc.sample_chain(3, jnp.ones(2), kernel=kernel, seed=KEY)

    class Proposes(Walk):
        def step(self, state, *, seed):
            return state, mcmc.UncalibratedInfo(jnp.zeros(()), jnp.zeros(()))

    kernel = mcmc.MetropolisHastings(Proposes(log_density, jnp.array(1.0), Good, Ratio))
    # As for a user, for whom nothing checks the annotations.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=r"Proposes: the state that `init` returns \(Good\) needs .* `target_log_prob`"):
        kernel.step(kernel.init(jnp.ones(2)), seed=KEY)


def test_a_kernel_without_a_target():
    class Nowhere(mcmc.TransitionKernel):
        def init(self, position, *, seed=None):
            return Good(position)

        def step(self, state, *, seed):
            return state, Ratio(jnp.zeros(()))

    with pytest.raises(TypeError, match="Nowhere needs a field target_log_prob_fn, or a method log_density"):
        mcmc.sample_chain(3, jnp.ones(2), kernel=Nowhere(), seed=KEY)


def test_step_sizes_that_no_acceptance_rate_adapts():
    kernel = mcmc.SliceSampler(log_density, 0.7, 4)
    samples = mcmc.sample(kernel, jnp.ones(2), num_samples=5, num_warmup=5, num_chains=2, seed=KEY)
    assert samples.kernel.step_size == 0.7 and samples.draws.shape == (5, 2, 2)
    with pytest.raises(TypeError, match="the step_size of SliceSampler cannot be adapted"):
        mcmc.DualAveragingStepSizeAdaptation(kernel, 5)
