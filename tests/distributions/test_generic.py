"""What every distribution must do, for every case of `cases`.

Compilation is what these tests cost, so each compiled function below computes all that one case needs of its kind,
takes the distribution as an argument, and its result is shared by the tests that look at it.
"""

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
import pytest
import scipy.stats as st

from distrax_like import constrain, trainable, unconstrain
from distrax_like.bijectors import bijector_for
from distrax_like.distributions import Distribution
from distrax_like.supports import Real, Support

from .cases import CASES, Case

TAILS = ("cdf", "survival_function", "log_cdf", "log_survival_function")
MOMENTS = ("mean", "median", "mode", "variance", "stddev", "covariance", "entropy")
METHODS = (*TAILS, "quantile", *MOMENTS)

DRAWS = 20_000
ALARM = 1e-7  # the false-alarm rate of one test; z beyond 5.33
Z = 5.33

QUANTILES = np.array([1e-4, 0.01, 0.2, 0.5, 0.77, 0.99, 0.9999])[:, None]


def cases_that(holds: Callable[[Case], bool]) -> Any:
    """Runs a test on the cases with a property, each class on one worker, which compiles it once."""
    chosen = [pytest.param(c, id=name, marks=pytest.mark.xdist_group(name)) for name, c in CASES.items() if holds(c)]
    return pytest.mark.parametrize("case", chosen)


every_case = cases_that(lambda case: True)
scalar_cases = cases_that(lambda case: np.ndim(case.values) == 1)
event_cases = cases_that(lambda case: np.ndim(case.values) > 1)


def lacks(case: Case, method: str) -> bool:
    return method not in methods(case)


def per_batch(points: Any, dtype: Any) -> Any:
    """Points of shape `(n,) + event` with an axis for the batch: `(n, 1) + event`."""
    return jnp.asarray(points, dtype)[:, None]


def fits(x: np.ndarray, cdf: Any) -> None:
    """The Kolmogorov-Smirnov test; P(sqrt(n) D > c) = 2 exp(-2 c^2)."""
    u, k = np.asarray(cdf(np.sort(x))), np.arange(len(x))
    distance = max(np.max(u - k / len(x)), np.max((k + 1) / len(x) - u))
    assert distance * np.sqrt(len(x)) < np.sqrt(np.log(2 / ALARM) / 2)


def close(a: Any, b: Any, ulps: float, dtype: Any = np.float64) -> None:
    np.testing.assert_array_less(np.abs(np.asarray(a) - b), ulps * np.finfo(dtype).eps * (1 + np.abs(b)) + 1e-300)


# Compiled functions, one of each kind for each case and dtype.


@eqx.filter_jit
def _evaluate(d: Distribution, values: Any, quantiles: Any, methods: tuple[str, ...]) -> dict[str, Any]:
    out = {"log_prob": d.log_prob(values), "prob": d.prob(values)}
    for method in methods:
        if method in TAILS:
            # The far ends too, where all the mass lies on one side.
            far = jnp.asarray([-jnp.inf, -1e30, 1e30, jnp.inf, jnp.nan], values.dtype)
            far = jnp.broadcast_to(far.reshape(5, 1, *(1,) * len(d.event_shape)), (5, *values.shape[1:]))
            out[method] = getattr(d, method)(jnp.concatenate([values, far]))
        else:
            out[method] = d.quantile(quantiles) if method == "quantile" else getattr(d, method)()
    if "quantile" in methods and "cdf" in methods:
        out["cdf(quantile)"] = d.cdf(out["quantile"])
    if "mode" in methods:
        out["log_prob(mode)"] = d.log_prob(out["mode"])
    return out


def methods(case: Case) -> tuple[str, ...]:
    without = [*case.lacks.split(), *["covariance"] * (np.ndim(case.values) != 2)]
    return tuple(m for m in METHODS if m not in without)


@functools.cache
def evaluated(name: str, dtype: Any, rounded: bool = False) -> dict[str, Any]:
    """All methods at the values of the case; `rounded`: in float64 at parameters and values rounded to float32."""
    case = CASES[name]
    d, values = case.at(dtype), per_batch(case.values, dtype)
    if rounded:
        d, values = jtu.tree_map(lambda x: x.astype(jnp.float32).astype(dtype), (d, values))
    return jtu.tree_map(np.asarray, _evaluate(d, values, jnp.asarray(QUANTILES, dtype), methods(case)))


@eqx.filter_jit
def _derivatives(d: Distribution, values: Any) -> Any:
    def at(x: Any) -> Any:
        log_prob, pullback = jax.vjp(lambda d, x: d.log_prob(x), d, x)
        return log_prob, pullback(jnp.ones_like(log_prob))

    return jax.vmap(at)(jnp.broadcast_to(values, shape(values, d)))


@functools.cache
def differentiated(name: str) -> dict[str, list[Any]]:
    """(log density, its gradients) for each kind of point of the case."""
    case = CASES[name]
    event = case.at(jnp.float64).event_shape
    kinds = {"inside": case.values, "outside": case.outside, "boundary": case.boundary, "nan": [np.full(event, np.nan)]}
    points = [(kind, x) for kind, xs in kinds.items() for x in xs]
    log_prob, gradients = _derivatives(case.at(jnp.float64), per_batch([x for _, x in points], jnp.float64))
    out: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for i, (kind, _) in enumerate(points):
        leaves = [np.asarray(g[i]) for g in jtu.tree_leaves(gradients)]
        out[kind].append((np.asarray(log_prob[i]), leaves))
    return out


@eqx.filter_jit
def _draw(d: Distribution, key: Any, n: int) -> Any:
    x = d.sample(n, seed=key)
    if type(d)._sample_and_log_prob is Distribution._sample_and_log_prob:
        return x, d.log_prob(x), None
    return x, d.log_prob(x), d.sample_and_log_prob(n, seed=key)


@functools.cache
def drawn(name: str) -> Any:
    """Draws, in float32 since that is where samplers break, their log densities, and the same from one pass."""
    d = CASES[name].at(jnp.float32)
    x, log_prob, pair = jtu.tree_map(np.asarray, _draw(d, jax.random.key(3), DRAWS))
    return (x.astype(np.float64) if x.dtype == np.float32 else x), log_prob.astype(np.float64), pair


@eqx.filter_jit
def _transformed(d: Distribution, values: Any) -> dict[str, Any]:
    full = d.broadcast_to(d.batch_shape)
    remade = jax.vmap(lambda d: dataclasses.replace(d))(full)
    _, scanned = jax.lax.scan(lambda carry, _: (carry, carry.log_prob(values)), d, None, length=2)
    return {
        "broadcast_to": full.log_prob(values),
        "vmap of a method": jax.vmap(lambda d, x: d.log_prob(x), (0, 1), 1)(full, values),
        "out of vmap": remade.log_prob(values),
        "scan": scanned[1],
        "[0]": d[0].log_prob(values[:, 0])[:, None],
        "[1:]": d[1:].log_prob(values[:, 1:]),
        "[..., None]": d[..., None].log_prob(values[:, :, None])[..., 0],
        "replace": dataclasses.replace(d).log_prob(values),
    }


def shape(values: Any, d: Distribution) -> tuple[int, ...]:
    return values.shape[:1] + d.batch_shape + d.event_shape


def nodes(d: Distribution, count: int | None) -> tuple[Any, Any] | None:
    """Points x and logarithms of weights w with ∫ f = Σ w f(x) over the support, or None for an event."""
    if d.event_shape:
        return None
    if count is not None:
        return jnp.arange(count, dtype=jnp.float64)[:, None], jnp.zeros((count, 1))
    # The double exponential rule: the trapezoidal one in u with the reals at (pi / 2) sinh(u).
    u = jnp.linspace(-4.2, 4.2, 2401)[:, None]
    t, log_dt = jnp.pi / 2 * jnp.sinh(u), jnp.log(jnp.pi / 2 * jnp.cosh(u) * (u[1, 0] - u[0, 0]))
    if isinstance(d.support, Real):
        return jnp.sinh(t), log_dt + jnp.log(jnp.cosh(t))
    x, log_dx = bijector_for(d.support).forward_and_log_det(t + jnp.zeros(d.batch_shape))
    return x, log_dt + log_dx


@eqx.filter_jit
def _integrals(d: Distribution, other: Distribution | None, count: int | None) -> dict[str, Any]:
    found = nodes(d, count)
    assert found is not None
    x, log_w = found
    log_p = d.log_prob(x)
    # Points that rounding put on the edge of the support, or out of it, carry no mass that counts.
    w = jnp.where(jnp.isfinite(log_p), jnp.exp(log_p + log_w), 0)
    mean_of = lambda f: jnp.sum(jnp.where(w > 0, w * f, 0), axis=0)
    out = {"log_prob": log_p, "total": jnp.sum(w, axis=0), "mean": mean_of(x), "entropy": mean_of(-log_p)}
    out["variance"] = mean_of((x - out["mean"]) ** 2)
    if other is not None:
        out["kl"] = mean_of(log_p - other.log_prob(x))
        out["kl_divergence"] = d.kl_divergence(other)
        out["kl_of_self"] = d.kl_divergence(d)
    return out


@functools.cache
def integrated(name: str) -> dict[str, Any]:
    case = CASES[name]
    other = case.other and case.other_at(jnp.float64)
    return jtu.tree_map(np.asarray, _integrals(case.at(jnp.float64), other, case.count))


# The tests.


@every_case
def test_shapes_and_dtypes(case: Case):
    n = len(case.values)
    for dtype in (jnp.float32, jnp.float64):
        d = case.at(dtype)
        event = d.event_shape
        drawn_dtype = dtype if case.dtype is None else case.dtype
        assert d.batch_shape == (3,) and d.dtype == drawn_dtype
        assert all(leaf.dtype == dtype and not leaf.weak_type for leaf in jtu.tree_leaves(d))
        trailing = {
            "log_prob": (n, 3),
            "log_prob(mode)": (3,),
            "prob": (n, 3),
            **dict.fromkeys(TAILS, (n + 5, 3)),
            "quantile": (7, 3),
            "cdf(quantile)": (7, 3),
            "entropy": (3,),
            "covariance": (3, *event, *event),
        }
        for method, result in evaluated(case.name, dtype).items():
            assert result.shape == trailing.get(method, (3, *event)), method
            assert result.dtype == (drawn_dtype if method == "mode" else dtype), method

    d = case.at(jnp.float32)
    drawn_dtype = jnp.float32 if case.dtype is None else case.dtype

    def many(d: Distribution, key: Any, x: Any, xs: Any) -> Any:
        one = [getattr(d, method)(x) for method in TAILS if not lacks(case, method)]
        return d.sample(seed=key), d.sample_and_log_prob((2, 5), seed=key), [d.log_prob(x), *one], d.log_prob(xs)

    value, values = (jax.ShapeDtypeStruct((*lead, *event), drawn_dtype) for lead in ((), (2, 5, 3)))
    x, (y, log_prob), single, several = eqx.filter_eval_shape(many, d, jax.random.key(0), value, values)
    assert x.shape == (3, *event) and y.shape == (2, 5, 3, *event) and x.dtype == y.dtype == drawn_dtype
    assert log_prob.shape == several.shape == (2, 5, 3)
    assert all(s.shape == (3,) and s.dtype == jnp.float32 for s in single)
    assert log_prob.dtype == several.dtype == jnp.float32


@every_case
def test_reference(case: Case):
    result = evaluated(case.name, jnp.float64)
    # The two are programs of their own, and a last bit of the logarithm moves the exponential by its size.
    expected = np.exp(result["log_prob"])
    size = np.abs(np.where(expected > 0, result["log_prob"], 0))
    np.testing.assert_array_less(np.abs(result["prob"] - expected), (5e-16 * size + 1e-15) * expected + 1e-300)
    pairs = {"cdf": "cdf", "survival_function": "sf", "log_cdf": "logcdf", "log_survival_function": "logsf"}
    for i in range(3):
        reference = case.reference(i)
        log_density = reference.logpmf if hasattr(reference, "logpmf") else reference.logpdf
        expected = np.array([log_density(x) for x in np.asarray(case.values)]).reshape(-1)
        close(result["log_prob"][:, i], expected, case.ulps)
        n = len(case.values)
        for ours, theirs in pairs.items():
            if ours in methods(case) and hasattr(reference, theirs):
                expected = getattr(reference, theirs)(np.asarray(case.values))
                if theirs.startswith("log"):
                    # Some of scipy's are the log of a number that has been rounded to nearly 1.
                    other = (reference.sf if theirs == "logcdf" else reference.cdf)(np.asarray(case.values))
                    expected = np.where(other < 0.5, np.log1p(-np.minimum(other, 0.5)), expected)
                    # Others are the log of a tail that underflows.
                    expected = np.where(np.isneginf(expected), result[ours][:n, i], expected)
                np.testing.assert_allclose(result[ours][:n, i], expected, rtol=2e-12, atol=1e-300, err_msg=ours)
        if "quantile" in methods(case) and hasattr(reference, "ppf"):
            np.testing.assert_allclose(result["quantile"][:, i], reference.ppf(QUANTILES[:, 0]), rtol=1e-11)
        for ours, theirs in (("mean", "mean"), ("median", "median"), ("entropy", "entropy")):
            if ours in methods(case) and callable(getattr(reference, theirs, None)):
                expected = getattr(reference, theirs)()
                np.testing.assert_allclose(result[ours][i], expected, rtol=1e-11, atol=1e-14, err_msg=ours)
        if "variance" in methods(case) and hasattr(reference, "var") and not case.heavy:
            np.testing.assert_allclose(result["variance"][i], reference.var(), rtol=1e-11)


@every_case
def test_float32_against_float64(case: Case):
    single, double = evaluated(case.name, jnp.float32), evaluated(case.name, jnp.float64, rounded=True)
    for method, b in double.items():
        a, n = single[method], len(case.values)
        a, b = (a[:n], b[:n]) if method in TAILS else (a, b)
        a, b = (x[1:-1] if method == "quantile" else x for x in (a, b))
        if method in ("log_prob", "prob", *TAILS, "quantile", *MOMENTS):
            both = np.isfinite(b)
            assert np.array_equal(np.isfinite(a), both), method
            bound = np.finfo(np.float32).eps * 40 * (1 + np.abs(b[both]))
            np.testing.assert_array_less(np.abs(a[both] - b[both]), bound, err_msg=method)


@every_case
def test_tails(case: Case):
    result, n = evaluated(case.name, jnp.float64), len(case.values)
    ends = {"cdf": (0, 1), "survival_function": (1, 0), "log_cdf": (-np.inf, 0), "log_survival_function": (0, -np.inf)}
    for method in set(TAILS) & set(methods(case)):
        for dtype in (jnp.float64, jnp.float32):
            far = evaluated(case.name, dtype)[method][n:]
            below, above = ends[method]
            assert np.all(np.isnan(far[-1])), method
            assert np.all(far[0] == below) and np.all(far[3] == above), method
            if np.isfinite(below):
                np.testing.assert_allclose(far[1], below, atol=1e-11, err_msg=method)
            if np.isfinite(above):
                np.testing.assert_allclose(far[2], above, atol=1e-11, err_msg=method)
    if "cdf" in methods(case) and "survival_function" in methods(case):
        np.testing.assert_allclose(result["cdf"][:n] + result["survival_function"][:n], 1, rtol=1e-13)
    for method in ("cdf", "survival_function"):
        log_method = f"log_{method}"
        if method in methods(case) and log_method in methods(case):
            plain, log = result[method][:n], result[log_method][:n]
            np.testing.assert_allclose(np.exp(log), plain, rtol=1e-12, atol=1e-300)
            # The other tail is accurate where the plain one has rounded to one.
            assert np.all(log <= 0)
    if "cdf(quantile)" in result and case.count is not None:
        # The smallest point at which the distribution function reaches the probability.
        q, p = result["quantile"], np.broadcast_to(QUANTILES, (7, 3))
        reached = result["cdf(quantile)"]
        assert np.all(reached >= p)
        mass = np.exp(np.asarray(case.at(jnp.float64).log_prob(q)))
        assert np.all(reached - mass < p + 1e-12)
    elif "cdf(quantile)" in result:
        np.testing.assert_allclose(result["cdf(quantile)"], np.broadcast_to(QUANTILES, (7, 3)), rtol=1e-10)


@every_case
def test_mode_and_stddev(case: Case):
    result = evaluated(case.name, jnp.float64)
    if "stddev" in methods(case):
        np.testing.assert_allclose(result["stddev"] ** 2, result["variance"], rtol=1e-13)
    if "covariance" in methods(case) and "variance" in methods(case):
        diagonal = np.diagonal(result["covariance"], axis1=-2, axis2=-1)
        np.testing.assert_allclose(diagonal, result["variance"], rtol=1e-13)
    if "median" in methods(case) and "quantile" in methods(case):
        np.testing.assert_allclose(result["median"], result["quantile"][3], rtol=1e-13, atol=1e-15)
    if "mode" in methods(case):
        peak = result["log_prob(mode)"]
        # NaN is a mode that is not defined; it must not be all of them.
        defined = ~np.isnan(result["mode"].reshape(3, -1).astype(float)).any(axis=-1)
        assert defined.any()
        highest = np.max(drawn(case.name)[1], axis=0)
        assert np.all(peak[defined] >= highest[defined] - 1e-5)


@scalar_cases
def test_integrals(case: Case):
    integrals = integrated(case.name)
    np.testing.assert_allclose(integrals["total"], 1, rtol=1e-10)
    known = evaluated(case.name, jnp.float64)
    for method in ("mean", "variance", "entropy"):
        if method in methods(case) and np.all(np.isfinite(known[method])) and not (case.heavy and method == "variance"):
            np.testing.assert_allclose(known[method], integrals[method], rtol=1e-8, atol=1e-10, err_msg=method)
    if case.other is not None:
        np.testing.assert_allclose(integrals["kl_divergence"], integrals["kl"], rtol=1e-8, atol=1e-12)
        assert np.all(integrals["kl"] > 0)
        np.testing.assert_allclose(integrals["kl_of_self"], 0, atol=1e-13)


@event_cases
def test_events_by_monte_carlo(case: Case):
    x, log_p, _ = drawn(case.name)
    flat = x.reshape(DRAWS, 3, -1)
    for i in range(3):
        assert case.marginal is not None
        for j in range(flat.shape[-1]):
            fits(flat[:, i, j], case.marginal(i, j).cdf)
    known = evaluated(case.name, jnp.float64)
    if "entropy" in methods(case):
        # The mean of the log density ties the dependence of the coordinates to the density; that it integrates to one
        # follows from the reference values.
        _is_mean(-log_p, known["entropy"])
    if "mean" in methods(case):
        _is_mean(x, known["mean"])
    if "variance" in methods(case):
        _is_mean((x - x.mean(axis=0)) ** 2, known["variance"])
    if "covariance" in methods(case):
        deviations = x - known["mean"]
        _is_mean(deviations[..., :, None] * deviations[..., None, :], known["covariance"])
    if case.other is not None:
        pair = case.at(jnp.float32), case.other_at(jnp.float32)
        log_q, divergence, of_self = _pair(*pair, jnp.asarray(x, jnp.float32))
        _is_mean(log_p - np.asarray(log_q), np.asarray(divergence))
        np.testing.assert_allclose(of_self, 0, atol=1e-5)


@eqx.filter_jit
def _pair(d: Distribution, other: Distribution, x: Any) -> Any:
    return other.log_prob(x), d.kl_divergence(other), d.kl_divergence(d)


def _is_mean(x: np.ndarray, expected: np.ndarray) -> None:
    error = x.std(axis=0, ddof=1) / np.sqrt(len(x))
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - expected), Z * error + 1e-6 * (1 + np.abs(expected)))


@every_case
def test_draws(case: Case):
    x, log_prob, pair = drawn(case.name)
    assert np.all(np.isfinite(log_prob))  # nothing outside the support
    if pair is not None:
        assert np.array_equal(pair[0], x)
        np.testing.assert_allclose(pair[1], log_prob, rtol=1e-4, atol=1e-4)
    if x.ndim > 2:
        return
    for i in range(3):
        if case.count is not None:
            expected = DRAWS * np.exp(integrated(case.name)["log_prob"][:, i])
            observed = np.bincount(x[:, i].astype(int), minlength=case.count)
            # Bins of few expected draws are thrown together, and left out where they are next to nothing.
            rare = expected < 20
            observed = np.append(observed[~rare], observed[rare].sum())
            expected = np.append(expected[~rare], expected[rare].sum())
            if expected[-1] < 5:
                assert observed[-1] < 40
                observed, expected = observed[:-1], expected[:-1]
            statistic = np.sum((observed - expected) ** 2 / expected)
            assert st.chi2.sf(statistic, max(len(observed) - 1, 1)) > ALARM
        else:
            fits(x[:, i], case.reference(i).cdf)
    known = evaluated(case.name, jnp.float64)
    if "mean" in methods(case) and np.all(np.isfinite(known["mean"])):
        _is_mean(x, known["mean"])
    if "variance" in methods(case) and not case.heavy:
        _is_mean((x - x.mean(axis=0)) ** 2, known["variance"])


@every_case
def test_noise_is_not_shared(case: Case):
    x = drawn(case.name)[0].reshape(DRAWS, 3, -1)[..., 0]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        correlation = st.spearmanr(x[:, i], x[:, j]).statistic
        assert abs(correlation) < Z / np.sqrt(DRAWS)
    # Nor between one draw and the next.
    assert abs(st.spearmanr(x[1:, 0], x[:-1, 0]).statistic) < Z / np.sqrt(DRAWS)


@cases_that(lambda case: case.line)
def test_stein(case: Case):
    """E[score] = 0 and E[x score^T] = -I, which tie draws to the gradient of the density in every direction."""
    x = drawn(case.name)[0]
    score = np.asarray(_score(case.at(jnp.float64), x)).reshape(DRAWS, 3, -1)
    x = x.reshape(DRAWS, 3, -1)
    _is_mean(score, np.zeros(score.shape[1:]))
    product = x[..., :, None] * score[..., None, :]
    _is_mean(product, np.broadcast_to(-np.eye(x.shape[-1]), product.shape[1:]))


@eqx.filter_jit
def _score(d: Distribution, x: Any) -> Any:
    return jax.grad(lambda x: jnp.sum(d.log_prob(x)))(x)


@every_case
def test_gradients(case: Case):
    found = differentiated(case.name)
    for log_prob, gradients in found["inside"]:
        assert np.all(np.isfinite(log_prob)) and all(np.all(np.isfinite(g)) for g in gradients)
    for log_prob, gradients in found["outside"]:
        assert np.all(log_prob == -np.inf) and all(np.all(g == 0) for g in gradients)
    for log_prob, gradients in found["boundary"]:
        assert not np.any(np.isnan(log_prob)) and not any(np.any(np.isnan(g)) for g in gradients)
    for log_prob, _ in found["nan"]:
        assert np.all(np.isnan(log_prob))
    # Some gradient of some parameter is there.
    assert any(np.any(g != 0) for _, gradients in found["inside"] for g in gradients)


@every_case
def test_transformations(case: Case):
    d = case.at(jnp.float64)
    values = jnp.broadcast_to(per_batch(case.values, jnp.float64), (len(case.values), 3, *d.event_shape))
    expected = evaluated(case.name, jnp.float64)["log_prob"]
    for name, result in _transformed(d, values).items():
        wanted = {"[0]": expected[:, :1], "[1:]": expected[:, 1:]}.get(name, expected)
        np.testing.assert_allclose(result, wanted, rtol=1e-13, atol=1e-13, err_msg=name)
    assert d[0].batch_shape == () and d[1:].batch_shape == (2,) and d[..., None].batch_shape == (3, 1)
    assert d[None].batch_shape == (1, 3) and d.broadcast_to((2, 3)).batch_shape == (2, 3)
    assert d[0].event_shape == d[..., None].event_shape == d.event_shape
    with pytest.raises(ValueError, match=type(d).__name__):
        d.broadcast_to((2, 1))


@every_case
def test_serialisation(case: Case):
    d = case.at(jnp.float32)
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, d)
    file.seek(0)
    again = eqx.tree_deserialise_leaves(file, jtu.tree_map(jnp.zeros_like, d))
    assert eqx.tree_equal(d, again) is True or bool(eqx.tree_equal(d, again))


@every_case
def test_unconstrain(case: Case):
    d = case.at(jnp.float64)
    again = eqx.filter_jit(lambda d: constrain(unconstrain(d)))(d)
    assert jtu.tree_structure(again) == jtu.tree_structure(d)
    for a, b in zip(jtu.tree_leaves(again), jtu.tree_leaves(d)):
        assert a.dtype == b.dtype and a.shape == b.shape
        # Relative to the size of the array, since a simplex or a triangle is a whole.
        assert np.all(np.abs(a - b) <= 16 * np.finfo(float).eps * np.maximum(np.abs(b), np.abs(b).max() * 1e-3))
    flags = trainable(d)
    assert jtu.tree_structure(flags) == jtu.tree_structure(d)
    held = [f.name for f in dataclasses.fields(d) if f.name == "total_count"]
    assert all(jtu.tree_leaves(eqx.tree_at(lambda d: [getattr(d, n) for n in held], flags, [True for _ in held])))
    assert all(getattr(flags, name) is False for name in held)


@every_case
def test_training(case: Case):
    d = case.at(jnp.float32)
    x = jnp.asarray(drawn(case.name)[0][:256], jnp.float32)
    traces = []

    @eqx.filter_jit
    def step(free, state):
        traces.append(None)
        loss, grads = eqx.filter_value_and_grad(lambda free: -jnp.mean(constrain(free).log_prob(x)))(free)
        updates, state = optimizer.update(grads, state, free)
        return eqx.apply_updates(free, updates), state, loss

    optimizer = optax.adam(0.03)
    # Off the optimum, by which every step must gain.
    move = lambda x, train: x + 0.3 * np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype) if train else x
    if case.start is None:
        free = jtu.tree_map(move, unconstrain(d), trainable(unconstrain(d)))
    else:
        free = unconstrain(case.start(functools.partial(jnp.asarray, dtype=jnp.float32)))
    state = optimizer.init(eqx.filter(free, eqx.is_inexact_array))
    before, losses = jtu.tree_structure(free), []
    for _ in range(3):
        free, state, loss = step(free, state)
        losses.append(float(loss))
    assert len(traces) == 1
    assert jtu.tree_structure(free) == before
    assert np.all(np.isfinite(losses)) and losses[2] < losses[0]
    trained = eqx.filter_eval_shape(constrain, free)
    for a, b in zip(jtu.tree_leaves(trained), jtu.tree_leaves(d), strict=True):
        assert a.dtype == jnp.float32 and a.shape == b.shape


@every_case
def test_support(case: Case):
    d = case.at(jnp.float64)
    support = d.support
    assert isinstance(support, Support) and support.event_ndims == len(d.event_shape)
    assert support.is_discrete == (case.count is not None)
    values = jnp.broadcast_to(per_batch(case.values, jnp.float64), (len(case.values), 3, *d.event_shape))

    @eqx.filter_jit
    def contained(support, *points):
        return [support.contains(x) for x in (support.feasible_like(values), *points)]

    interior, inside, outside = contained(support, values, per_batch(case.outside, jnp.float64))
    assert np.all(interior) and np.all(inside) and not np.any(outside)


@every_case
def test_errors(case: Case):
    d = case.at(jnp.float64)
    name = type(d).__name__
    for seed in (None, 3, 0.5, "key"):
        with pytest.raises(TypeError, match=f"{name}.sample needs a"):
            d.sample(seed=seed)
        with pytest.raises(TypeError, match=f"{name}.sample_and_log_prob needs a"):
            d.sample_and_log_prob(seed=seed)
    with pytest.raises(ValueError, match=f"{name}.sample takes one key"):
        d.sample(seed=jax.random.split(jax.random.key(0)))
    with pytest.raises(ValueError, match=f"{name}.log_prob"):
        d.log_prob(jnp.zeros((7, *d.event_shape)))
    if d.event_shape:
        with pytest.raises(ValueError, match=f"{name}.log_prob: the value must end in the event shape"):
            d.log_prob(jnp.zeros((*d.event_shape[:-1], 17)))
    with pytest.raises(NotImplementedError, match=f"KL\\({name}"):
        d.kl_divergence(_Lonely())
    value = jnp.broadcast_to(per_batch(case.values, jnp.float64)[0], (3, *d.event_shape))
    for method in METHODS:
        if lacks(case, method):
            with pytest.raises(NotImplementedError, match=f"({'|'.join(_classes(d))}) has no {method}"):
                getattr(d, method)(*[value] * (method in TAILS), *[0.5] * (method == "quantile"))
    with pytest.raises(TypeError, match=f"{name} is not iterable"):
        iter(d)


def _classes(d: Distribution) -> list[str]:
    """The names of the class and those of the distributions inside it, which may be what lacks a method."""
    inner = [getattr(d, f.name) for f in dataclasses.fields(d)]
    return [type(d).__name__, *(name for x in inner if isinstance(x, Distribution) for name in _classes(x))]


class _Lonely(Distribution):
    pass
