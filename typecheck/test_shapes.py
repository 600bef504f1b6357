"""Wrong shapes and types that must raise at run time, and right ones that must not."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

import distrax_like as dl
from distrax_like import bijectors as tfb, distributions as tfd, kernels as tfpk
from distrax_like._module import Module


class Plain(Module):
    """Without an `__init__` of its own: the fields convert."""

    loc: Float[Array, "*#batch d"] = dl.parameter(dl.supports.real)
    factor: Float[Array, "*#batch d d"] = dl.parameter(dl.supports.lower_cholesky)
    weights: Float[Array, " n"] = dl.data()


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: tfd.Normal(jnp.ones(3), jnp.ones(4)), ["Normal", "(3,) of loc", "(4,) of scale"]),
        (lambda: tfd.MultivariateNormalTriL(jnp.ones(3), jnp.eye(4)), ["MultivariateNormalTriL", "'d'", "3", "4"]),
        (lambda: tfd.MultivariateNormalDiag(jnp.ones(2), jnp.ones(3)), ["MultivariateNormalDiag", "axis 'd'", "2"]),
        (lambda: tfd.Categorical(logits=0.0), ["Categorical", "logits", "'*#batch n'", "()"]),
        (lambda: Plain(jnp.ones(3), jnp.ones((2, 3, 4)), jnp.ones(2)), ["Plain", "'d'", "3", "4"]),
        (lambda: Plain(jnp.ones((2, 3)), jnp.ones((5, 3, 3)), jnp.ones(2)), ["Plain", "(2,) of loc", "(5,) of factor"]),
        (lambda: Plain(jnp.ones(3), jnp.eye(3), jnp.ones((2, 2))), ["Plain", "weights", "'n'", "(2, 2)"]),
        (lambda: tfb.Sigmoid(jnp.zeros(2), jnp.ones(3)), ["Sigmoid", "(2,) of low", "(3,) of high"]),
        (lambda: tfb.ScaleMatvecTriL(jnp.ones(3)), ["ScaleMatvecTriL", "scale_tril", "(3,)"]),
        (lambda: tfpk.ExponentiatedQuadratic(jnp.ones(2), jnp.ones(3)), ["ExponentiatedQuadratic", "(2,)", "(3,)"]),
        (
            lambda: tfd.MixtureSameFamily(
                tfd.Categorical(logits=jnp.zeros((2, 3))), tfd.Normal(jnp.zeros((5, 3)), 1.0)
            ),
            ["MixtureSameFamily", "(2,)", "(5,)"],
        ),
    ],
)
def test_shapes_that_do_not_fit_raise_one_readable_error(build, words):
    with pytest.raises(ValueError) as caught:
        build()
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: tfd.Normal("a", 1.0),  # pyright: ignore[reportArgumentType]
        lambda: tfd.Normal(1j, 1.0),
        lambda: tfd.Normal(None, 1.0),  # pyright: ignore[reportArgumentType]
        lambda: tfb.Chain([3.0]),  # pyright: ignore[reportArgumentType]
        lambda: tfd.Independent(3.0),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_is_no_number_or_module_raises_a_type_error(build):
    with pytest.raises((TypeError, ValueError)):
        build()


def test_right_shapes_pass_under_every_transformation():
    for loc, scale in [(0, 1), (0.0, jnp.ones(3)), (jnp.ones((2, 1)), jnp.ones(3)), ([0.0, 1.0], 2)]:
        tfd.Normal(loc, scale)
    normal = jax.vmap(lambda s: tfd.Normal(0.0, s).broadcast_to(()))(jnp.ones(4))
    assert normal.batch_shape == (4,)
    assert eqx.filter_jit(lambda d: dataclasses.replace(d, loc=d.loc + 1.0))(normal).batch_shape == (4,)
    jax.grad(lambda s: tfd.Normal(0.0, s).log_prob(1.0))(1.0)
    # Placeholders, which trees are full of, are not checked.
    jax.tree.map(lambda _: None, normal)
    assert jax.eval_shape(lambda d: d, normal).loc.shape == (4,)
    assert dataclasses.replace(normal, loc=jnp.ones((2, 4))).batch_shape == (2, 4)
    with pytest.raises(ValueError, match="do not broadcast"):
        dataclasses.replace(normal, loc=jnp.ones(3))


def test_modules_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tfd.Normal(0.0, 1.0).loc = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_every_public_module_declares_its_arrays():
    """Each array field of each public class carries a jaxtyping annotation, and the class is documented."""
    for room in (tfd, tfb, tfpk):
        for name in (n for n in dir(room) if not n.startswith("_")):
            cls = getattr(room, name)
            if not (isinstance(cls, type) and issubclass(cls, Module)):
                continue
            assert cls.__doc__, name
            for field in dataclasses.fields(cls):
                assert not (field.type is Array or field.type is jax.Array), f"{name}.{field.name}"
                if (
                    "distrax_like" in field.metadata
                    and field.metadata["distrax_like"].__class__.__name__ == "_Parameter"
                ):
                    options = [field.type, *getattr(field.type, "__args__", ())]
                    assert any(hasattr(t, "dim_str") for t in options), f"{name}.{field.name}"
