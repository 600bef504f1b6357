import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from distrax_like import data, parameter
from distrax_like._misc import as_key, as_shape, promote
from distrax_like._module import Module
from distrax_like.bijectors import Exp, SoftmaxCentered
from distrax_like.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormalTriL,
    Normal,
    TransformedDistribution,
)
from distrax_like.supports import positive, real


class Plain(Module):
    """A user's class without `__init__`."""

    loc: Float[Array, "*#batch d"] = parameter(real)
    scale: Float[Array, "*#batch d"] = parameter(positive)
    points: Float[Array, "n d"] | None = data(default=None)


def test_construction_check():
    message = r"Normal: batch shapes do not broadcast: \(3,\) of loc, \(4,\) of scale"
    with pytest.raises(ValueError, match=message):
        Normal(jnp.zeros(3), jnp.ones(4))
    with pytest.raises(ValueError, match=r"MultivariateNormalTriL: axis 'd' has size 3 in loc but 2 in scale_tril"):
        MultivariateNormalTriL(jnp.zeros(3), jnp.eye(2))
    with pytest.raises(ValueError, match=r"MultivariateNormalTriL: axis 'd' has size 2 in loc but 3 in scale_tril"):
        MultivariateNormalTriL(scale_tril=jnp.ones((2, 3)), loc=jnp.zeros(2))
    with pytest.raises(ValueError, match=r"Categorical: logits needs the dimensions '\*#batch n', got shape \(\)"):
        Categorical(0.0)
    with pytest.raises(ValueError, match="MixtureSameFamily: batch shapes do not broadcast: .* of mixture_dist"):
        MixtureSameFamily(Categorical(jnp.zeros((3, 2))), Normal(jnp.zeros((4, 2)), 1.0))
    with pytest.raises(ValueError, match="MixtureSameFamily: mixture_distribution has 3 categories"):
        MixtureSameFamily(Categorical(jnp.zeros(3)), Normal(jnp.zeros((4, 2)), 1.0))
    with pytest.raises(ValueError, match="make an event of repeated draws with Sample"):
        TransformedDistribution(Normal(0.0, 1.0), SoftmaxCentered())
    with pytest.raises(ValueError, match="Independent: reinterpreted_batch_ndims=2 does not fit Normal"):
        Independent(Normal(jnp.zeros(3), 1.0), 2)


def test_user_class():
    plain = Plain([0.0, 1.0], [[1, 2], [3, 4], [5, 6]])
    assert plain.batch_shape == (3,) and plain[1].batch_shape == () and plain.points is None
    assert plain.scale.dtype == jnp.float64 and not plain.loc.weak_type
    with pytest.raises(ValueError, match="Plain: axis 'd' has size 2 in loc but 3 in points"):
        Plain([0.0, 1.0], [1.0, 2.0], jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match="Plain: points needs the dimensions 'n d'"):
        Plain([0.0, 1.0], [1.0, 2.0], jnp.zeros(3))


def test_unflattening_is_not_checked():
    d = Normal(jnp.zeros(3), 1.0)
    assert jax.tree.map(lambda _: None, d).loc is None
    assert jax.tree.map(lambda x: (x, x), d).scale[0] == 1
    grown = eqx.filter_vmap(lambda m: Normal(m, 1.0))(jnp.zeros((5, 3)))
    assert grown.loc.shape == (5, 3) and grown.scale.shape == (5,)
    assert eqx.filter_vmap(lambda m: Normal(m, 1.0).broadcast_to(m.shape))(jnp.zeros((5, 3))).batch_shape == (5, 3)


def test_indexing():
    d = Normal(jnp.arange(12.0).reshape(4, 3), jnp.ones(3))
    assert d[1, 2].loc == 5 and d[1, 2].batch_shape == ()
    assert d[..., 1:].batch_shape == (4, 2) and d[:, None].batch_shape == (4, 1, 3)
    assert d[jnp.array([True, False, True, False])].batch_shape == (2, 3)
    np.testing.assert_array_equal(d[np.array([0, 2])].loc, d.loc[::2])
    with pytest.raises(TypeError, match="Normal is not iterable"):
        list(d)


def test_promote():
    single = jnp.zeros(3, jnp.float32)
    for other in (1, 1.0, True, np.float32(2), jnp.asarray(1.0), jnp.asarray(1), np.arange(3)):
        a, b = promote(single, other)
        assert a.dtype == b.dtype == jnp.float32 and not a.weak_type and not b.weak_type
    assert promote(single, np.float64(1))[0].dtype == jnp.float64
    assert promote(1).dtype == promote([1, 2]).dtype == promote((True,)).dtype == jnp.float64
    assert promote(single, None)[1] is None and promote(None) is None and promote(None, None) == (None, None)
    assert promote(jnp.zeros(2, jnp.bfloat16), 1.0)[1].dtype == jnp.bfloat16
    assert not promote(1.0).weak_type and not jax.jit(lambda x: promote(x, single)[0])(1.0).weak_type
    with pytest.raises(TypeError, match="real numbers"):
        promote(1j)


def test_keys_and_shapes():
    assert jnp.issubdtype(as_key(jax.random.PRNGKey(0), "f").dtype, jax.dtypes.prng_key)
    assert as_shape(3) == (3,) and as_shape([2, 3]) == (2, 3) and as_shape(()) == ()
    with pytest.raises(TypeError, match="f needs a seed"):
        as_key(None, "f")
    with pytest.raises(TypeError, match="f needs a random key"):
        as_key(jnp.zeros(2), "f")
    with pytest.raises(ValueError, match="f takes one key"):
        as_key(jax.random.split(jax.random.PRNGKey(0)), "f")


def test_small_arrays_are_printed_with_their_values():
    single = jnp.float32(0.1)
    assert repr(Normal(0.0, 1.0)) == "Normal(loc=0.0, scale=1.0)"
    assert repr(Normal([0, 1], 2.5)) == "Normal(loc=[0.0, 1.0], scale=2.5)"
    assert repr(Normal(single, jnp.ones(100, jnp.float32))) == "Normal(loc=0.1, scale=f32[100])"
    assert repr(Normal(jnp.zeros((2, 2)), 1.0)) == "Normal(loc=[[0.0, 0.0], [0.0, 0.0]], scale=1.0)"
    assert repr(Normal(jnp.float16(0.1), jnp.float16(1.0))) == "Normal(loc=0.1, scale=1.0)"
    assert repr(Normal(jnp.zeros(0), 1.0)) == "Normal(loc=f64[0], scale=1.0)"
    assert repr(Exp()(Normal(0.0, 1.0))) == (
        "TransformedDistribution(distribution=Normal(loc=0.0, scale=1.0), bijector=Exp())"
    )
    assert repr(jax.tree.map(lambda _: None, Normal(0.0, 1.0))) == "Normal(loc=None, scale=None)"
    seen = []
    jax.jit(lambda scale: seen.append(repr(Normal(0.0, scale))))(1.0)
    assert seen == ["Normal(loc=f64[], scale=f64[])"]
