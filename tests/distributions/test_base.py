"""What the base class does for every distribution: the ends of the support, checks of hooks, compiled calls, and
densities in free coordinates."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jaxtyping import Array, Float

import distrax_like.bijectors as bij
import distrax_like.distributions as dist
from distrax_like import data, kernels, parameter, promote, supports
from distrax_like.supports import positive, real

mp.mp.dps = 40
INF = np.inf


# The ends of the support.


class Exponential(dist.Distribution):
    """Written without any care for points outside."""

    rate: Float[Array, "*#batch"] = parameter(positive)

    def __init__(self, rate):
        self.rate = promote(rate)

    @property
    def support(self):
        return supports.nonnegative

    def _log_prob(self, value):
        return jnp.log(self.rate) - self.rate * value

    def _cdf(self, value):
        return -jnp.expm1(-self.rate * value)

    def _log_survival_function(self, value):
        return -self.rate * value

    def _quantile(self, p):
        return -jnp.log1p(-p) / self.rate


class Geometric(dist.Distribution):
    """The number of failures before the first success, with a hook that is wrong at -1 and between integers."""

    p: Float[Array, "*#batch"] = parameter(supports.unit_interval)

    def __init__(self, p):
        self.p = promote(p)

    @property
    def support(self):
        return supports.nonnegative_integer

    def _log_prob(self, value):
        return jnp.log(self.p) + value * jnp.log1p(-self.p)

    def _cdf(self, value):
        return 1 - (1 - self.p) ** (value + 1)


def test_a_users_tails_are_right_beyond_the_ends():
    d = Exponential(2.0)
    x = jnp.array([-INF, -1.0, 0.0, 1.0, INF, jnp.nan])
    np.testing.assert_allclose(d.cdf(x), [0, 0, 0, -np.expm1(-2), 1, np.nan])
    np.testing.assert_allclose(d.log_survival_function(x), [0, 0, 0, -2, -INF, np.nan])
    slope = jax.vmap(jax.grad(d.log_survival_function))(x)
    np.testing.assert_allclose(slope, [0, 0, 0, -2, 0, 0])
    median = np.log(2) / 2
    np.testing.assert_allclose(d.quantile(jnp.array([-0.1, 0.0, 0.5, 1.0, 1.1])), [np.nan, 0, median, INF, np.nan])
    np.testing.assert_allclose(d.inverse_survival_function(jnp.array([0.0, 0.5, 1.0])), [INF, median, 0])


def test_hooks_of_discrete_families_see_members_only():
    d = Geometric(jnp.array([0.25, 0.5]))
    x = jnp.array([-INF, -0.5, 0.0, 0.5, 1.0, 2.999, INF, jnp.nan])[:, None]
    np.testing.assert_allclose(d.cdf(x)[:, 0], [0, 0, 0.25, 0.25, 1 - 0.75**2, 1 - 0.75**3, 1, np.nan])
    np.testing.assert_allclose(d.prob(x)[:, 1], [0, 0, 0.5, 0, 0.25, 0, 0, np.nan])


def test_ends_vary_over_a_batch():
    d = dist.Uniform(jnp.array([0.0, 2.0]), jnp.array([1.0, 5.0]))
    np.testing.assert_allclose(d.cdf(jnp.array([[0.5], [1.5], [3.5]])), [[0.5, 0], [1, 0], [1, 0.5]])
    mixture = dist.MixtureSameFamily(dist.Categorical(probs=[0.5, 0.5]), d)
    np.testing.assert_allclose(mixture.cdf(jnp.array([-1.0, 0.5, 1.5, 3.5, 6.0])), [0, 0.25, 0.5, 0.75, 1])
    shifted = bij.Exp()(d)
    np.testing.assert_allclose(shifted.quantile(jnp.array([[0.0], [1.0]])), np.exp([[0, 2], [1, 5]]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_both_tails_of_mirrored_families(dtype):
    """A decreasing map takes the lower tail from the upper one of what it maps."""
    q, tol = dtype(1e-20), 8 * float(jnp.finfo(dtype).eps)
    minus = bij.Scale(dtype(-1.0))
    normal = -float(mp.sqrt(2) * mp.erfinv(1 - 2 * mp.mpf(float(q))))
    for d, expected in (
        (dist.Normal(dtype(0), dtype(1)), normal),
        (dist.Exponential(dtype(1)), float(mp.log(mp.mpf(float(q))))),
        (dist.HalfCauchy(dtype(0), dtype(1)), -float(mp.tan(mp.pi / 2 - mp.mpf(float(q)) * mp.pi / 2))),
        (dist.LogNormal(dtype(0), dtype(1)), -float(mp.exp(-normal))),
    ):
        np.testing.assert_allclose(minus(d).quantile(q), expected, rtol=tol)
        np.testing.assert_allclose(d.inverse_survival_function(q), -expected, rtol=tol)
        np.testing.assert_allclose(minus(minus(d)).inverse_survival_function(q), -expected, rtol=tol)


@pytest.mark.parametrize(
    "d",
    [
        dist.StudentT(3.5, 0.2, 1.3),
        dist.HalfNormal(0.7),
        dist.Gamma(2.5, 0.4),
        dist.Beta(2.5, 0.4),
        dist.Uniform(-1.0, 3.0),
        dist.HalfCauchy(-0.3, 2.0),
        dist.LogNormal(0.3, 0.6),
    ],
    ids=lambda d: type(d).__name__,
)
def test_inverse_survival_function_inverts(d):
    # Close to an upper end that is finite, points are too far apart to tell small probabilities.
    bounded = isinstance(d, dist.Beta | dist.Uniform)
    q = jnp.array([1e-3 if bounded else 1e-30, 1e-2 if bounded else 1e-9, 0.3, 0.5, 0.9])
    np.testing.assert_allclose(d.log_survival_function(d.inverse_survival_function(q)), np.log(q), rtol=1e-9)


# Declarations.


def test_an_undeclared_array_is_an_error():
    with pytest.raises(TypeError, match=r"Undeclared: declare the array field scale with parameter\(support\)"):

        class Undeclared(dist.Distribution):
            scale: Float[Array, "*#batch"]

    with pytest.raises(TypeError, match="Optional: declare the array field scale"):

        class Optional(bij.Bijector):
            scale: Array | None = None

    with pytest.raises(TypeError, match="Text: the annotation of scale is a string"):

        class Text(kernels.Kernel):
            scale: "Float[Array, '']" = parameter(positive)


def test_hooks_and_properties_are_not_mixed_up():
    with pytest.raises(TypeError, match="Event: _event_shape must be a method"):

        class Event(dist.Distribution):
            @property
            def _event_shape(self):
                return (3,)

    with pytest.raises(TypeError, match="Support: support must be a property"):

        class Support(dist.Distribution):
            def support(self):
                return real

    with pytest.raises(TypeError, match="Final: log_prob is final; write the hook _log_prob"):

        class Final(dist.Distribution):
            def log_prob(self, value):
                return value


class Misshapen(dist.Distribution):
    loc: Float[Array, "*#batch"] = parameter(real)
    offsets: Float[Array, " n"] = data()

    def __init__(self, loc):
        self.loc, self.offsets = promote(loc), jnp.zeros(2)

    @property
    def support(self):
        return real

    def _log_prob(self, value):
        return value[..., None] + self.offsets

    def _sample(self, key, shape):
        return jax.random.normal(key, (2, *shape))


def test_hooks_of_the_wrong_shape():
    d = Misshapen(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"Misshapen._log_prob must give shape \(3,\) here, got \(3, 2\)"):
        d.log_prob(0.0)
    with pytest.raises(ValueError, match=r"Misshapen._sample must give shape \(5, 3\) here, got \(2, 5, 3\)"):
        d.sample(5, seed=jax.random.key(0))


# Location and scale.


class Laplace(dist.LocationScale):
    is_symmetric: ClassVar[bool] = True

    def __init__(self, loc, scale):
        self.loc, self.scale = promote(loc, scale)

    def _standard_log_prob(self, z):
        return -jnp.abs(z) - jnp.log(2.0)

    def _standard_cdf(self, z):
        return jnp.where(z < 0, jnp.exp(z) / 2, 1 - jnp.exp(-z) / 2)

    def _standard_quantile(self, p):
        return jnp.where(p < 0.5, jnp.log(2 * p), -jnp.log(2 - 2 * p))


def test_a_symmetric_family_has_both_tails_and_its_centre():
    d = Laplace(jnp.array([1.0, -2.0]), 3.0)
    np.testing.assert_allclose(d.survival_function(100.0), np.exp(-(100 - np.array([1, -2])) / 3) / 2, rtol=1e-13)
    np.testing.assert_allclose(d.inverse_survival_function(1e-40), np.array([1, -2]) - 3 * np.log(2e-40), rtol=1e-14)
    assert all(np.array_equal(fn(), [1, -2]) for fn in (d.mean, d.median, d.mode))
    with pytest.raises(NotImplementedError, match="Laplace has no log_survival_function|Laplace has no log_cdf"):
        d.log_survival_function(0.0)


# Compiled calls.


class Counting(dist.Normal):
    """Counts how often its density is traced or run."""

    calls: ClassVar[list[str]] = []

    def _log_prob(self, value):
        self.calls.append("")
        return super()._log_prob(value)


def test_concrete_calls_are_compiled_once_for_each_shape():
    d, Counting.calls[:] = Counting(0.0, 1.0), []
    for x in (0.1, 0.2, 0.3):
        d.log_prob(x)
    Counting(jnp.float64(3.0), 2.0).log_prob(0.5)
    assert len(Counting.calls) == 1
    d.log_prob(jnp.zeros(3))
    assert len(Counting.calls) == 2
    jax.jit(lambda x: d.log_prob(x))(0.5)
    assert len(Counting.calls) == 3


class Branching(dist.Normal):
    """Asks for the value of its argument, so it cannot be traced."""

    def _log_prob(self, value):
        return super()._log_prob(value) if value > 0 else jnp.zeros(())


def test_a_subclass_that_needs_concrete_values_runs_as_it_is():
    d = Branching(0.0, 1.0)
    for _ in range(2):
        assert d.log_prob(-1.0) == 0 and d.log_prob(1.0) == dist.Normal(0.0, 1.0).log_prob(1.0)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda x: d.log_prob(x))(1.0)


def test_compiled_calls_keep_dtypes_and_errors():
    d = dist.Normal(jnp.float32(0), 1.0)
    for x in (0, 0.5, True, np.float32(1), np.float64(1), [0, 1], jnp.zeros(2, jnp.int32), np.arange(2)):
        assert d.log_prob(x).dtype == d.cdf(x).dtype == jnp.float32 and not d.log_prob(x).weak_type
    assert d.log_prob(np.zeros(2)).dtype == jnp.float64
    assert bij.Exp().forward(1).dtype == jnp.float64 and bij.Exp().forward(np.float32(1)).dtype == jnp.float32
    with pytest.raises(NotImplementedError, match="Exponential has no survival_function"):
        Exponential(1.0).survival_function(1.0)
    with pytest.raises(ValueError, match="ScaleMatvecDiag.forward acts on events of at least 1 dimensions"):
        bij.ScaleMatvecDiag(jnp.ones(3)).forward(1.0)
    with jax.disable_jit():
        assert d.log_prob(0.5).dtype == jnp.float32


def test_a_leaf_that_is_no_array_is_no_obstacle():
    mean = eqx.nn.Lambda(lambda x: x[..., 0])
    process = dist.GaussianProcess(kernels.ExponentiatedQuadratic(), jnp.zeros((1, 2)), mean_fn=mean)
    assert process.log_prob(jnp.zeros(1)).shape == ()


# Densities in free coordinates.


def free(d):
    return dist.JointDistributionNamed(dict(x=d)).pin({}).unconstrained()


def log_gamma_at(a, b, x):
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    return a * (x + mp.log(b)) - b * mp.exp(x) - mp.loggamma(a)


def log_beta_at(a, b, x):
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    return -a * mp.log1p(mp.exp(-x)) - b * mp.log1p(mp.exp(x)) - mp.log(mp.beta(a, b))


def log_dirichlet_at(a, x):
    a, x = [mp.mpf(v) for v in a], [*map(mp.mpf, x), mp.mpf(0)]
    total = mp.log(mp.fsum(map(mp.exp, x)))
    constant = mp.loggamma(mp.fsum(a)) - mp.fsum(map(mp.loggamma, a))
    return constant + mp.fsum(v * (y - total) for v, y in zip(a, x))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    "make, x, expected, slope",
    [
        (lambda a: dist.Gamma(a(0.001), a(0.001)), [-90], log_gamma_at(0.001, 0.001, -90), [0.001]),
        (lambda a: dist.Gamma(a(0.001), a(0.001)), [-800], log_gamma_at(0.001, 0.001, -800), [0.001]),
        (lambda a: dist.Gamma(a(2.5), a(4.0)), [0.5], log_gamma_at(2.5, 4, 0.5), [2.5 - 4 * np.exp(0.5)]),
        (lambda a: dist.Beta(a(0.01), a(0.01)), [50], log_beta_at(0.01, 0.01, 50), [-0.01]),
        (lambda a: dist.Beta(a(0.01), a(0.01)), [-300], log_beta_at(0.01, 0.01, -300), [0.01]),
        (
            lambda a: dist.LogNormal(a(0), a(50)),
            [-90],
            -(mp.mpf(90) ** 2) / 5000 - mp.log(50 * mp.sqrt(2 * mp.pi)),
            [0.036],
        ),
        (lambda a: dist.Dirichlet(a([0.01, 0.01])), [-90], log_dirichlet_at([0.01, 0.01], [-90]), [0.01]),
        (
            lambda a: dist.Dirichlet(a([2.5, 10, 2, 3])),
            [-1, 0.5, -89],
            log_dirichlet_at([2.5, 10, 2, 3], [-1, 0.5, -89]),
            np.array([2.5, 10, 2]) - 17.5 * np.exp([-1, 0.5, -89]) / (1 + np.exp([-1, 0.5, -89]).sum()),
        ),
    ],
)
def test_free_coordinates_of_concentrated_priors(make, x, expected, slope, dtype):
    x = jnp.asarray(x, dtype)
    value, gradient = jax.jit(jax.value_and_grad(free(make(lambda v: jnp.asarray(v, dtype)))))(x)
    eps = float(jnp.finfo(dtype).eps)
    # The parameters round to the dtype, which moves the log density by as much as they weigh.
    np.testing.assert_allclose(value, float(expected), rtol=16 * eps)
    np.testing.assert_allclose(gradient, slope, rtol=32 * eps)


def test_free_coordinates_pass_through_wrappers():
    gamma = dist.Gamma(0.001, 0.001)
    one = float(log_gamma_at(0.001, 0.001, -90))
    np.testing.assert_allclose(free(dist.Sample(gamma, 2))(jnp.full(2, -90.0)), 2 * one, rtol=1e-13)
    batch = dist.Gamma(jnp.full(2, 0.001), 0.001)
    np.testing.assert_allclose(free(dist.Independent(batch, 1))(jnp.full(2, -90.0)), 2 * one, rtol=1e-13)
    mixture = dist.MixtureSameFamily(dist.Categorical(probs=[0.3, 0.7]), batch)
    np.testing.assert_allclose(free(mixture)(jnp.full(1, -900.0)), float(log_gamma_at(0.001, 0.001, -900)), rtol=1e-13)
    # The free coordinate of an image is that of what is mapped.
    np.testing.assert_allclose(
        free(bij.Scale(3.0)(gamma))(jnp.full(1, -900.0)), float(log_gamma_at(0.001, 0.001, -900))
    )
    np.testing.assert_allclose(
        free(bij.Exp()(dist.Normal(0.0, 1.0)))(jnp.full(1, -900.0)), dist.Normal(0.0, 1.0).log_prob(-900.0)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_transformed_to_the_free_coordinate(dtype):
    log, logit = bij.Invert(bij.Exp()), bij.Invert(bij.Sigmoid())
    rtol = 16 * float(jnp.finfo(dtype).eps)
    gamma = dist.Gamma(dtype(0.5), dtype(1))
    np.testing.assert_allclose(log(gamma).log_prob(dtype(-90)), float(log_gamma_at(0.5, 1, -90)), rtol=rtol)
    scaled = bij.Shift(dtype(1))(bij.Scale(dtype(2))(log(gamma)))
    np.testing.assert_allclose(scaled.log_prob(dtype(-399)), float(log_gamma_at(0.5, 1, -200) - mp.log(2)), rtol=rtol)
    beta = dist.Beta(dtype(0.5), dtype(0.25))
    np.testing.assert_allclose(logit(beta).log_prob(dtype(120)), float(log_beta_at(0.5, 0.25, 120)), rtol=rtol)
    simplex = bij.Invert(bij.SoftmaxCentered())(dist.Dirichlet(jnp.asarray([0.5, 0.25, 2], dtype)))
    x = jnp.asarray([-200, 3], dtype)
    np.testing.assert_allclose(simplex.log_prob(x), float(log_dirichlet_at([0.5, 0.25, 2], [-200, 3])), rtol=rtol)
    assert simplex.log_prob(x.at[0].set(INF)) == -INF
