"""`debug`: each fault that is planted is seen and named, and a clean model has none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like import distributions as dl, supports
from distrax_like.bijectors import Exp, bijector_for
from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _debug

pytestmark = pytest.mark.xdist_group("debug")

KEY = jax.random.key(0)


def found(report, severity=None):
    """What is found, by part; the first of each."""
    return {f.where: f.message for f in reversed(report.findings) if severity in (None, f.severity)}


def plain(target, init, **kwargs):
    return mcmc.debug(target, init, num_points=4, seed=KEY, **kwargs)


class Schools(eqx.Module):
    sigma: jax.Array

    def __call__(self):
        zero = jnp.zeros_like(self.sigma[0])
        mu = yield "mu", dl.Normal(zero, 5.0)
        tau = yield "tau", dl.HalfCauchy(zero, 5.0)
        theta = yield "theta", dl.Sample(dl.Normal(zero, 1.0), 8)
        yield "y", dl.Independent(dl.Normal(mu + tau * theta, self.sigma), 1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_clean_model(dtype):
    sigma = jnp.asarray([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype)
    y = jnp.asarray([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype)
    # In float32 from a position, else where chains start and at draws from the prior.
    init, num = (jnp.zeros(10, dtype), 8) if dtype == jnp.float32 else (None, 16)
    report = mcmc.debug(dl.JointDistributionCoroutine(Schools(sigma)).pin(y=y), init, seed=KEY)
    assert report.ok and report.findings == () and report.num_points == num
    assert str(report) == f"0 errors, 0 warnings, {num} points"


class WrongExp(Exp):
    def _forward_and_log_det(self, x):
        return jnp.exp(x), 2 * x


class Lossy(Exp):
    def _inverse_and_log_det(self, y):
        return jnp.log(y) + 1, -jnp.log(y)


class On(dl.Distribution):
    """exp(-x^2 / 2) on a support, without any batch."""

    on: supports.Support

    @property
    def support(self):
        return self.on

    @property
    def batch_shape(self):
        return ()

    def _log_prob(self, value):
        return -(value**2) / 2

    def _sample(self, key, shape):
        return jnp.ones(shape)


class Flat(On):
    def _log_prob(self, value):
        return 0 * value


class Nowhere(On):
    def _log_prob(self, value):
        return value - jnp.inf


class Wrong(supports.Positive):
    pass


class OneWay(supports.Positive):
    pass


class Negative(supports.Positive):
    def contains(self, x):
        return x < 0


bijector_for.register(Wrong, lambda _: WrongExp())
bijector_for.register(OneWay, lambda _: Lossy())
bijector_for.register(Negative, lambda _: Exp())


def of_model(model, **pins):
    return mcmc.debug(dl.JointDistributionCoroutine(model).pin(pins), num_points=2, seed=KEY)


def test_sites_outside_their_supports():
    def model():
        yield "wrong", On(Wrong())
        yield "one_way", On(OneWay())
        yield "negative", On(Negative())
        yield "nowhere", Nowhere(supports.real)
        yield "y", dl.Sample(dl.Exponential(1.0), 3)

    report = of_model(model, y=jnp.array([1.0, -2.0, 3.0]))
    whats = found(report, "error")
    assert not report.ok and set(whats) == {f"site {n!r}" for n in ("wrong", "one_way", "negative", "nowhere", "y")}
    assert "log determinant of its bijector is off by" in whats["site 'wrong'"]
    assert whats["site 'one_way'"] == "free reals do not come back from their values at 4 of 4 points"
    assert whats["site 'negative'"].startswith("1 of 1 constrained values (")
    assert whats["site 'nowhere'"] == "the log density is -inf at 4 of 4 points"
    assert whats["site 'y'"] == "1 of 3 observed values (-2) outside the support at 4 of 4 points"
    lines = str(report).splitlines()
    assert lines[0] == "5 errors, 0 warnings, 4 points" and len(lines) == 11
    assert "error: site 'nowhere': the log density is -inf at 4 of 4 points" in lines


def test_gradients_of_a_model():
    def model():
        mu = yield "mu", On(supports.real)
        yield "unused", Flat(supports.real)
        yield "z", dl.Normal(jnp.where(mu < -5, jnp.sqrt(jnp.minimum(mu, 0)), mu), 1.0)
        yield "y", dl.Normal(mu, 1.0)

    report = of_model(model, y=0.0)
    assert found(report, "error").keys() == {"site 'mu'"}
    assert found(report)["site 'mu'"].startswith("the gradient of the term of site 'z' with respect to it is not fin")
    assert found(report, "warning") == {"site 'unused'": "the log density does not depend on 1 of its 1 numbers"}


def test_the_ways_to_count_volumes():
    known = supports.simplex, supports.unit_vector, supports.lower_cholesky, supports.correlation_cholesky
    bijectors = [bijector_for(support) for support in (*known, supports.positive_definite)]

    @jax.jit
    def errors(x):
        out = []
        for b in bijectors:
            y, log_det = b.forward_and_log_det(x)
            out.append(jnp.min(jnp.abs(_debug._log_dets(b, x, y) - jnp.sum(log_det))))
        return jnp.stack(out)

    assert np.all(np.asarray(errors(jnp.array([0.3, -0.7, 1.1]))) < 1e-12)


def test_models_that_do_not_run():
    joint = dl.JointDistributionNamed({"mu": dl.Normal(0.0, 1.0), "n": dl.Poisson(3.0)})
    report = mcmc.debug(joint.pin(mu=0.0), seed=KEY)
    assert not report.ok and "the site 'n' is discrete" in found(report)["the model"]

    report = mcmc.debug(joint.pin(mu=0.0, n=1), seed=KEY)
    assert found(report) == {"the model": "has no free site"}

    def fails(x):
        raise RuntimeError("no such thing")

    report = plain(fails, 0.0)
    assert found(report) == {"the log density": "raises RuntimeError: no such thing"}
    report = plain(lambda x: -(x**2), lambda key: {}["start"])
    assert found(report) == {"init": "raises KeyError: 'start'"}


@jax.custom_jvp
def wrong_square(x):
    return x**2


wrong_square.defjvp(lambda x, t: (x[0] ** 2, 2.1 * x[0] * t[0]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_wrong_gradient(dtype):
    init = {"a": jnp.ones(3, dtype), "b": jnp.full(2, 0.7, dtype)}
    report = plain(lambda p: -jnp.sum(p["a"] ** 2) - jnp.sum(wrong_square(p["b"])), init)
    assert not report.ok and found(report) == {
        "state part ['b']": "the gradient with respect to it does not agree with differences of the log density at "
        "4 of 4 points"
    }


def test_curved_and_kinked_densities_are_no_fault():
    x = jnp.asarray([0.1, 2.0, -1.0], jnp.float32)
    assert plain(lambda x: -jnp.sum(jnp.abs(x)) - jnp.exp(3 * x[1]) - 1e4 * x[0] ** 2, x).findings == ()
    # A Cauchy density falls just fast enough.
    assert plain(lambda a, b: -jnp.log1p(a**2) - b**2 / 2 / 1e-4, (0.0, 1e-3)).findings == ()


def test_parts_that_matter_in_no_way_or_nowhere():
    report = plain(lambda a, b, c: -(a**2) - b[0] ** 2 - jnp.log1p(jnp.exp(-c)), (0.3, jnp.ones(2), 0.2))
    assert report.ok and found(report, "warning") == {
        "state part [1]": "the log density does not depend on 1 of its 2 numbers",
        "state part [2]": "the log density does not fall far out in some direction",
    }
    report = plain(lambda x: jnp.log(x) - x, -1.0)
    assert found(report) == {"the log density": "is nan at 4 of 4 points"}
    report = plain(lambda x: jnp.where(x >= 0, jnp.log(jnp.abs(x)) - x, -jnp.inf), lambda key: jax.random.normal(key))
    assert report.ok and found(report)["the log density"].startswith("is -inf at ")


def test_what_is_no_scalar_of_the_right_dtype():
    report = plain(lambda x: -(x**2), jnp.ones(3))
    assert not report.ok and "has shape (3,)" in found(report)["the log density"]
    report = plain(lambda x: jnp.int32(3), 1.0)
    assert not report.ok and "dtype int32" in found(report)["the log density"]
    report = plain(lambda x: -jnp.sum((x - np.ones(2)) ** 2), jnp.ones(2, jnp.float32))
    assert report.ok
    assert found(report) == {"the log density": "has dtype float64 at positions of dtype float32"}


@jax.custom_jvp
def unbatched(x):
    return jax.pure_callback(lambda x: -np.square(x), x, x)


unbatched.defjvp(lambda x, t: (unbatched(x[0]), -2 * x[0] * t[0]))


def test_transformations():
    report = plain(lambda x: -x if x > 0 else x, 1.0)
    assert "under jax.jit raises TracerBoolConversionError" in found(report)["the log density"]
    report = plain(unbatched, 1.0)
    assert "under jax.vmap raises NotImplementedError" in found(report)["the log density"]
    report = plain(lambda x: jax.lax.while_loop(lambda x: x > 0, lambda x: x - 1, x), 1.0)
    assert "its gradient raises ValueError: Reverse-mode" in found(report)["the log density"]
    rng = np.random.default_rng(0)
    report = plain(lambda x: -(x**2) + rng.normal(), 1.0)
    assert "at the same point" in found(report)["the log density"] and not report.ok


@jax.tree_util.register_pytree_node_class
class Restless:
    """Its structure is never the same."""

    def tree_flatten(self):
        return (), object()

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls()

    def __call__(self, x):
        return -(x**2)


def test_structures_that_change():
    report = plain(Restless(), 1.0)
    assert report.ok and "compiled again in every call" in found(report)["the log density"]


def test_what_targets_and_starts_are():
    kernel = mcmc.NoUTurnSampler(lambda x: -jnp.sum(x**2), 1.0)
    assert plain(kernel, jnp.ones(2)).findings == ()
    density = dl.JointDistributionNamed({"x": dl.Normal(0.0, 1.0)}).pin({}).unconstrained()
    assert plain(density, "prior").findings == ()
    # The tests check annotations at run time, which finds this mistake before the function does.
    with pytest.raises(TypeError, match="parameter 'target'"):
        plain(3, 1.0)
    with pytest.raises(TypeError, match="debug: target must be a pinned model, a log density or a kernel, got int"):
        _debug._checked_target(3)
    with pytest.raises(TypeError, match="debug: a log density needs init"):
        mcmc.debug(lambda x: -x, seed=KEY)
    with pytest.raises(TypeError, match="debug needs a seed"):
        mcmc.debug(density)
    with pytest.raises(ValueError, match="debug: init must be"):
        plain(density, "anywhere")
    with pytest.raises(ValueError, match="debug: num_points must be at least 1"):
        mcmc.debug(density, num_points=0, seed=KEY)
