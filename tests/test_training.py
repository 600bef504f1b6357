"""Distributions inside networks, trained with optax in one compiled step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random

import distrax_like as dl
from distrax_like import distributions as tfd

KEY = random.key(0)


def train(model, loss, *data, steps, rate):
    """Fits a tree of modules through its free parameters; returns the fitted tree, the losses and the traces."""
    optimizer = optax.adam(rate)
    traces = []

    @eqx.filter_jit
    def step(free, state, *data):
        traces.append(1)
        value, gradient = eqx.filter_value_and_grad(lambda f: loss(dl.constrain(f), *data))(free)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(free, updates), state, value

    free = dl.unconstrain(model)
    state = optimizer.init(eqx.filter(free, eqx.is_inexact_array))
    losses = []
    for _ in range(steps):
        free, state, value = step(free, state, *data)
        losses.append(float(value))
    return dl.constrain(free), losses, len(traces)


class Regression(eqx.Module):
    net: eqx.nn.MLP
    noise: tfd.HalfNormal

    def __call__(self, x):
        return tfd.Normal(jax.vmap(self.net)(x)[:, 0], self.noise.scale)


def test_a_regression_network_whose_output_is_a_distribution():
    x = random.uniform(KEY, (200, 1), minval=-2.0, maxval=2.0)
    y = jnp.sin(2 * x[:, 0]) + 0.1 * random.normal(random.key(1), (200,))
    model = Regression(eqx.nn.MLP(1, 1, 24, 2, activation=jnp.tanh, key=KEY), tfd.HalfNormal(1.0))
    loss = lambda model, x, y: -jnp.mean(model(x).log_prob(y))
    fitted, losses, traces = train(model, loss, x, y, steps=800, rate=1e-2)
    assert traces == 1
    # The best possible loss is the entropy of the noise, log(0.1 sqrt(2 pi e)) = -0.884.
    assert losses[0] > 1 and losses[-1] < -0.7
    assert 0.07 < fitted.noise.scale < 0.14
    np.testing.assert_allclose(fitted(x).mean(), jnp.sin(2 * x[:, 0]), atol=0.25)


def test_a_mixture_fitted_through_unconstrain():
    truth = tfd.MixtureSameFamily(tfd.Categorical(probs=[0.3, 0.7]), tfd.Normal([-2.0, 1.5], [0.5, 1.0]))
    data = truth.sample(4000, seed=KEY)
    start = tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal([-1.0, 1.0], [1.0, 1.0]))
    loss = lambda mixture, data: -jnp.mean(mixture.log_prob(data))
    fitted, losses, traces = train(start, loss, data, steps=300, rate=3e-2)
    assert traces == 1 and losses[-1] < losses[0]
    np.testing.assert_allclose(fitted.mixture_distribution.probs_parameter(), [0.3, 0.7], atol=0.03)
    np.testing.assert_allclose(fitted.components_distribution.loc, [-2.0, 1.5], atol=0.1)
    np.testing.assert_allclose(fitted.components_distribution.scale, [0.5, 1.0], atol=0.1)
    assert losses[-1] <= -jnp.mean(truth.log_prob(data)) + 1e-3


def test_distributions_are_carries_of_scans_and_elements_of_batches():
    def update(normal, x):
        # The posterior of a mean under unit noise, one observation at a time.
        precision = 1 / normal.scale**2 + 1
        new = tfd.Normal((normal.loc / normal.scale**2 + x) / precision, precision**-0.5)
        return new, new

    data = random.normal(KEY, (50,)) + 3
    last, path = jax.lax.scan(update, tfd.Normal(0.0, 10.0), data)
    np.testing.assert_allclose(last.loc, data.sum() / (50 + 0.01), rtol=1e-12)
    assert path.batch_shape == (50,) and path.sample(seed=KEY).shape == (50,)
    assert len(np.unique(path.sample(seed=KEY))) == 50
    densities = jax.vmap(lambda d, x: d.log_prob(x))(path, data)
    np.testing.assert_allclose(densities, path.log_prob(data), rtol=1e-14)
