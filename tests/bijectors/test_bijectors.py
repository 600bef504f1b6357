"""What every bijector must do, for every case of `cases`."""

import dataclasses
import functools
import io
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import distrax_like.bijectors as bij
from distrax_like import constrain, trainable, unconstrain
from distrax_like.bijectors import Bijector
from distrax_like.distributions import Normal

from .cases import CASES, Case

every_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


@eqx.filter_jit
def _apply(b: Bijector, x: Any) -> Any:
    y, forward = b.forward_and_log_det(x)
    back, inverse = b.inverse_and_log_det(y)
    plain = b.forward(x), b.inverse(y), b.forward_log_det_jacobian(x), b.inverse_log_det_jacobian(y)
    return y, forward, back, inverse, plain


@every_case
def test_round_trip_shapes_and_dtypes(case: Case):
    for dtype in (jnp.float32, jnp.float64):
        b, x = case.at(dtype), jnp.asarray(case.points, dtype)
        rank, image_rank = b.forward_min_event_ndims, b.inverse_min_event_ndims
        y, forward, back, inverse, plain = jtu.tree_map(np.asarray, _apply(b, x))
        for out in (y, forward, back, inverse):
            assert out.dtype == dtype and np.all(np.isfinite(out))
        batch = np.broadcast_shapes(x.shape[: x.ndim - rank], case.batch)
        assert forward.shape == inverse.shape == batch
        event = x.shape[x.ndim - rank :]
        assert y.shape == (*batch, *b.forward_event_shape(event)) and len(b.forward_event_shape(event)) == image_rank
        assert b.inverse_event_shape(b.forward_event_shape(event)) == event
        eps = case.exact * np.finfo(dtype).eps
        np.testing.assert_array_less(np.abs(back - x), eps * (1 + np.abs(x)))
        np.testing.assert_array_less(np.abs(forward + inverse), eps * (1 + np.abs(forward)))
        for a, c in zip(plain, (y, back, forward, inverse)):
            np.testing.assert_array_equal(a, c)
        assert np.all(case.image.contains(jnp.asarray(y)))
        assert np.broadcast_shapes(b.batch_shape, case.batch) is not None


@every_case
def test_log_det_against_jacobian(case: Case):
    @eqx.filter_jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def jacobians(b, x):
        fn = lambda v: case.pick(b.forward(case.lift(v, x)))
        return jax.jacfwd(fn)(case.unlift(x)), b.forward_log_det_jacobian(x)

    b, x = case.at(jnp.float64), jnp.asarray(case.points)
    # The first element of the batch of parameters, where there is one.
    if case.batch:
        rank = b.forward_min_event_ndims
        b = jtu.tree_map(lambda p: p[0] if p.ndim > rank and p.shape[0] == case.batch[0] else p, b)
        x = x[:, 0]
    jacobian, log_det = jacobians(b, x)
    if jacobian.ndim == 3 and jacobian.shape[-1] != jacobian.shape[-2]:
        expected = 0.5 * np.linalg.slogdet(np.swapaxes(jacobian, -1, -2) @ jacobian)[1]
    else:
        expected = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_det, expected, rtol=1e-9, atol=1e-12)


@every_case
def test_event_ndims(case: Case):
    b, x = case.at(jnp.float64), jnp.asarray(case.points)
    rank = b.forward_min_event_ndims
    log_det = b.forward_log_det_jacobian(x)
    for extra in range(1, log_det.ndim + 1):
        axes = tuple(range(log_det.ndim - extra, log_det.ndim))
        summed = b.forward_log_det_jacobian(x, event_ndims=rank + extra)
        np.testing.assert_allclose(summed, log_det.sum(axis=axes), rtol=1e-13, atol=1e-13)
        back = b.inverse_log_det_jacobian(b.forward(x), event_ndims=b.inverse_min_event_ndims + extra)
        np.testing.assert_allclose(back, -summed, rtol=1e-6, atol=1e-9)
    for wrong in (rank - 1, x.ndim + 1):
        with pytest.raises(ValueError, match=f"{type(b).__name__}.forward_and_log_det: event_ndims must lie between"):
            b.forward_log_det_jacobian(x, event_ndims=wrong)
    if rank:
        with pytest.raises(ValueError, match=f"{type(b).__name__}.forward acts on events"):
            b.forward(1.0)


@every_case
def test_transformations(case: Case):
    b, x = case.at(jnp.float64), jnp.asarray(case.points)

    @eqx.filter_jit
    def run(b, x):
        loss = lambda b, x: sum(jnp.sum(jnp.sin(out)) for out in (*b.forward_and_log_det(x),))
        grads = jax.grad(loss, (0, 1))(b, x)
        _, carried = jax.lax.scan(lambda carry, _: (carry, carry.forward(x)), b, None, length=2)
        return grads, carried[1], jax.vmap(lambda x: b.forward(x))(x), constrain(unconstrain(b))

    grads, carried, mapped, again = run(b, x)
    assert all(np.all(np.isfinite(g)) for g in jtu.tree_leaves(grads))
    for out in (carried, mapped, dataclasses.replace(b).forward(x)):
        np.testing.assert_allclose(out, b.forward(x), rtol=1e-13, atol=1e-14)
    for new, old in zip(jtu.tree_leaves(again), jtu.tree_leaves(b), strict=True):
        assert np.all((new == old) | (np.abs(new - old) <= 16 * np.finfo(float).eps * np.abs(old)))
    assert all(jtu.tree_leaves(trainable(b)))
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, b)
    file.seek(0)
    read = eqx.tree_deserialise_leaves(file, jtu.tree_map(jnp.zeros_like, b))
    assert jtu.tree_all(jtu.tree_map(lambda p, q: bool(jnp.all(p == q)), read, b))


@every_case
def test_composition_by_call(case: Case):
    b, x = case.at(jnp.float64), jnp.asarray(case.points)
    there_and_back = bij.Invert(b)(b)
    assert isinstance(there_and_back, bij.Chain)
    y, log_det = there_and_back.forward_and_log_det(x)
    np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_det, 0, atol=1e-9)
    np.testing.assert_array_equal(b(x), b.forward(x))


def test_batch_shapes():
    assert bij.Shift(jnp.zeros((4, 1))).batch_shape == (4, 1)
    chain = bij.Shift(jnp.zeros((4, 3)))(bij.ScaleMatvecDiag(jnp.ones((5, 1, 3))))
    assert chain.batch_shape == (5, 4)
    assert chain[0].batch_shape == (4,) and chain.broadcast_to((2, 5, 4)).batch_shape == (2, 5, 4)
    assert bij.FillScaleTriL(bij.Softplus(jnp.ones((7, 3)))).batch_shape == (7,)


def test_dtype_is_kept_by_defaults():
    x = jnp.zeros(3, jnp.float32)
    plain = (bij.Softplus(), bij.Sigmoid(), bij.Tanh(), bij.FillScaleTriL(), bij.SoftmaxCentered())
    for b in (*plain, bij.Scale(jnp.float32(2))):
        y, log_det = b.forward_and_log_det(x)
        assert y.dtype == log_det.dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_saturation(dtype: Any):
    x = jnp.asarray([-1e4, -200.0, -40.0, 40.0, 200.0, 1e4], dtype)
    for b in (bij.Sigmoid(), bij.Tanh(), bij.Sigmoid(dtype(-1), dtype(2))):
        y, log_det = b.forward_and_log_det(x)
        assert np.all(b.image.contains(y)) and np.all(np.isfinite(log_det))
        assert np.all(np.isfinite(b.inverse(y)))
        slope = jax.vmap(jax.grad(lambda x: b.forward(x)))(x)
        assert np.all(np.isfinite(slope)) and np.all(slope >= 0)
        assert np.all(np.isfinite(jax.vmap(jax.grad(lambda x: b.forward_log_det_jacobian(x)))(x)))
    y, log_det = bij.Softplus().forward_and_log_det(x)
    np.testing.assert_allclose(y[3:], x[3:], rtol=1e-6)
    np.testing.assert_allclose(log_det[:3], x[:3], rtol=1e-6)
    small = jnp.asarray([1e-30, 1e-10], dtype)
    np.testing.assert_allclose(bij.Softplus().forward(bij.Softplus().inverse(small)), small, rtol=1e-4)
    np.testing.assert_allclose(bij.Softplus().inverse(x[3:]), x[3:], rtol=1e-6)


def test_monotone():
    assert bij.Exp()(bij.Shift(1.0)).is_increasing is True
    assert bool(bij.Scale(-1.0).is_increasing) is False
    assert bool(bij.Scale(-1.0)(bij.Scale(-2.0)).is_increasing) is True
    assert list(bij.Invert(bij.Scale([2.0, -1.0])).is_increasing) == [True, False]
    assert bij.SoftmaxCentered().is_increasing is None and bij.Exp()(bij.SoftmaxCentered()).is_increasing is None


def test_errors():
    with pytest.raises(ValueError, match="exactly one of scale and log_scale"):
        bij.Scale()
    with pytest.raises(ValueError, match="both of low and high"):
        bij.Sigmoid(0.0)
    with pytest.raises(TypeError, match="Chain"):
        bij.Chain([Normal(0.0, 1.0)])
    with pytest.raises(ValueError, match="1, 3, 6, 10"):
        bij.FillTriangular().forward(jnp.zeros(5))
    with pytest.raises(NotImplementedError, match="Half has no inverse map"):
        type("Half", (Bijector,), {})().inverse(1.0)
