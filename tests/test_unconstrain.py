import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from distrax_like import constrain, trainable, unconstrain, validate
from distrax_like.bijectors import Exp, Shift
from distrax_like.distributions import (
    Binomial,
    Categorical,
    Dirichlet,
    Gamma,
    MixtureSameFamily,
    MultivariateNormalTriL,
    Normal,
    Uniform,
)


def nested():
    """Distributions within containers, beside a network and numbers."""
    return {
        "net": eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0)),
        "list": [Gamma(2.0, 3.0), (Normal(0.0, jnp.ones(3)), 4.0)],
        "mixture": MixtureSameFamily(Categorical([0.0, 1.0]), Normal([0.0, 1.0], 2.0)),
        "transformed": Shift(1.0)(Exp()(Normal(0.0, 1.0))),
        "none": None,
    }


def test_nested_round_trip():
    tree = nested()
    free = unconstrain(tree)
    assert free["net"] is tree["net"] or eqx.tree_equal(free["net"], tree["net"])
    again = constrain(free)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(tree)):
        if eqx.is_inexact_array(a):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    assert free["list"][0]._module.rate == np.log(3.0)


def test_applying_either_twice():
    d = {"a": [Gamma(2.0, 3.0)]}
    with pytest.raises(ValueError, match="unconstrain: the parameters of Gamma are free already"):
        unconstrain(unconstrain(d))
    with pytest.raises(ValueError, match="constrain: the parameters of Gamma are constrained already"):
        constrain(d)
    assert not hasattr(unconstrain(d)["a"][0], "log_prob")


def test_support_that_depends_on_a_field():
    free = unconstrain(Uniform(jnp.array([0.0, -5.0]), jnp.array([1.0, 7.0])))
    np.testing.assert_allclose(free._module.high, np.log([1.0, 12.0]))
    moved = jax.tree.map(lambda x: x - 3, free)
    u = constrain(moved)
    assert np.all(u.high > u.low)


def test_training_a_network_with_a_distribution():
    """A regression whose network, noise and mixture all learn, through containers and `eqx.nn.Shared`."""
    x = jnp.linspace(-1, 1, 64)[:, None]
    y = 2 * x[:, 0] + 1 + 0.1 * jnp.sin(50 * x[:, 0])
    model = (eqx.nn.MLP(1, "scalar", 8, 1, key=jax.random.key(1)), Normal(0.0, 3.0))
    optimizer = optax.adam(0.05)

    @eqx.filter_jit
    def step(free, state):
        def loss(free):
            net, noise = constrain(free)
            return -jnp.mean(noise.log_prob(y - jax.vmap(net)(x)))

        value, grads = eqx.filter_value_and_grad(loss)(free)
        updates, state = optimizer.update(grads, state, eqx.filter(free, eqx.is_inexact_array))
        return eqx.apply_updates(free, updates), state, value

    free = unconstrain(model)
    state = optimizer.init(eqx.filter(free, eqx.is_inexact_array))
    values = []
    for _ in range(150):
        free, state, value = step(free, state)
        values.append(float(value))
    _, noise = constrain(free)
    assert values[-1] < values[0] - 1 and 0 < noise.scale < 1.0


def test_shared_ties():
    pair = (Normal(0.0, 2.0), Normal(1.0, 2.0))
    shared = eqx.nn.Shared(pair, where=lambda p: p[1].scale, get=lambda p: p[0].scale)
    free = unconstrain(shared)
    moved = jax.tree.map(lambda x: x + 1 if eqx.is_inexact_array(x) else x, free)
    a, b = constrain(moved)()
    np.testing.assert_allclose([a.scale, b.scale], 2 * np.e)


def test_data_is_held():
    d = Binomial(10.0, 0.3)
    flags = trainable({"d": d, "n": 3, "x": jnp.zeros(2), "i": jnp.arange(2)})
    assert flags["d"].total_count is False and flags["d"].logits is True
    assert flags["n"] is False and flags["x"] is True and flags["i"] is False
    assert trainable(unconstrain(d))._module.total_count is False
    grads = jax.grad(lambda free: constrain(free).log_prob(4.0))(unconstrain(d))
    assert grads._module.total_count == 0 and grads._module.logits != 0


@pytest.mark.parametrize(
    "bad, message",
    [
        (Normal(0.0, -1.0), "Normal: scale lies outside its support, Positive"),
        (Normal(jnp.nan, 1.0), "Normal: loc lies outside its support, Real"),
        (Uniform(2.0, 1.0), "Uniform: high lies outside its support, GreaterThan"),
        (Dirichlet([1.0, 0.0]), "Dirichlet: concentration lies outside"),
        (MultivariateNormalTriL(jnp.zeros(2), -jnp.eye(2)), "MultivariateNormalTriL: scale_tril lies outside"),
        (Exp()(Normal(0.0, -1.0)), "Normal: scale lies outside"),
    ],
)
def test_validate(bad, message):
    with pytest.raises(ValueError, match=message):
        validate({"a": [bad]})


def test_validate_passes_and_works_under_jit():
    tree = nested()
    assert jax.tree.structure(validate(tree)) == jax.tree.structure(tree)
    run = eqx.filter_jit(lambda scale: validate(Normal(0.0, scale)).log_prob(0.0))
    assert np.isfinite(run(jnp.asarray(1.0)))
    with pytest.raises(Exception, match="Normal: scale lies outside its support"):
        run(jnp.asarray(-1.0))
