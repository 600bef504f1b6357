"""`sample` against nine reference posteriors: both moments of every parameter, and R-hat.

The folder with the references is named by `DISTRAX_LIKE_POSTERIORDB`.
"""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.scipy.stats as jst
import numpy as np
import pytest

from distrax_like import distributions as dl
from distrax_like.inference import mcmc, stats

FOLDER = os.environ.get("DISTRAX_LIKE_POSTERIORDB")
pytestmark = pytest.mark.skipif(not FOLDER, reason="needs DISTRAX_LIKE_POSTERIORDB, a folder of reference posteriors")


# Each gives the target, a start, and the reference's parameters as a vector from a draw. Positive parameters of
# densities that are written by hand are exponentials, whose log is the log determinant.


def eight_schools(data):
    sigma = jnp.asarray(data["sigma"], float)

    def model():
        mu = yield "mu", dl.Normal(0.0, 5.0)
        tau = yield "tau", dl.HalfCauchy(0.0, 5.0)
        z = yield "z", dl.Sample(dl.Normal(0.0, 1.0), 8)
        yield "y", dl.Independent(dl.Normal(mu + tau * z, sigma), 1)

    pinned = dl.JointDistributionCoroutine(model).pin(y=jnp.asarray(data["y"], float))
    return pinned, None, lambda d: jnp.concatenate([d.mu + d.tau * d.z, jnp.stack([d.mu, d.tau])])


def regression(y, x):
    def target(v):
        beta, sigma = v[:-1], jnp.exp(v[-1])
        return jnp.sum(jst.norm.logpdf(y, x @ beta, sigma)) + v[-1]

    # The start is the least-squares fit.
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    start = jnp.append(beta, np.log(np.std(y - x @ beta)))
    return target, start, lambda v: v.at[-1].set(jnp.exp(v[-1]))


def kidiq(data):
    y, hs, iq = (np.asarray(data[name], float) for name in ("kid_score", "mom_hs", "mom_iq"))
    target, start, names = regression(y, np.stack([np.ones_like(y), hs, iq], 1))
    return lambda v: target(v) - jnp.log1p((jnp.exp(v[-1]) / 2.5) ** 2), start, names


def earnings(data):
    earn, height, male = (np.asarray(data[name], float) for name in ("earn", "height", "male"))
    return regression(np.log(earn), np.stack([np.ones_like(height), height, male, height * male], 1))


def autoregression(data):
    y, k = jnp.asarray(data["y"], float), data["K"]
    lagged = jnp.stack([y[k - i - 1 : len(y) - i - 1] for i in range(k)], 1)

    def model():
        alpha = yield "alpha", dl.Normal(0.0, 10.0)
        beta = yield "beta", dl.Sample(dl.Normal(0.0, 10.0), k)
        sigma = yield "sigma", dl.HalfCauchy(0.0, 2.5)
        yield "y", dl.Independent(dl.Normal(alpha + lagged @ beta, sigma), 1)

    pinned = dl.JointDistributionCoroutine(model).pin(y=y[k:])
    return pinned, None, lambda d: jnp.concatenate([d.alpha[None], d.beta, d.sigma[None]])


def garch(data):
    y, first = jnp.asarray(data["y"], float), data["sigma1"]

    def unpack(v):
        alpha1 = jax.nn.sigmoid(v[2])
        return v[0], jnp.exp(v[1]), alpha1, (1 - alpha1) * jax.nn.sigmoid(v[3])

    def target(v):
        mu, alpha0, alpha1, beta1 = unpack(v)

        def step(variance, y):
            return alpha0 + alpha1 * (y - mu) ** 2 + beta1 * variance, variance

        _, variances = jax.lax.scan(step, jnp.asarray(first**2, float), y)
        jacobian = v[1] + sum(jax.nn.log_sigmoid(s * v[i]) for s in (1, -1) for i in (2, 3)) + jnp.log1p(-alpha1)
        return jnp.sum(jst.norm.logpdf(y, mu, jnp.sqrt(variances))) + jacobian

    return target, jnp.zeros(4), lambda v: jnp.stack(unpack(v))


def gaussian_process(data):
    x, k = (jnp.asarray(data[name], float) for name in ("x", "k"))

    def latent(rho, alpha, z):
        covariance = alpha**2 * jnp.exp(-((x[:, None] - x) ** 2) / (2 * rho**2)) + 1e-10 * jnp.eye(len(x))
        return jnp.linalg.cholesky(covariance) @ z

    def model():
        rho = yield "rho", dl.Gamma(25.0, 4.0)
        alpha = yield "alpha", dl.HalfNormal(2.0)
        z = yield "z", dl.Sample(dl.Normal(0.0, 1.0), len(x))
        yield "k", dl.Independent(dl.Poisson(log_rate=latent(rho, alpha, z)), 1)

    pinned = dl.JointDistributionCoroutine(model).pin(k=k)
    return pinned, None, lambda d: jnp.concatenate([jnp.stack([d.rho, d.alpha]), latent(d.rho, d.alpha, d.z)])


def hidden_markov(data):
    y = jnp.asarray(data["y"], float)

    def unpack(v):
        p, q = jax.nn.sigmoid(v[0]), jax.nn.sigmoid(v[1])
        low = jnp.exp(v[2])
        return jnp.array([[p, 1 - p], [q, 1 - q]]), jnp.stack([low, low + jnp.exp(v[3])])

    def target(v):
        transition, mu = unpack(v)
        emission = jst.norm.logpdf(y[:, None], mu, 1.0)

        def step(log_alpha, log_y):
            return jax.nn.logsumexp(log_alpha[:, None] + jnp.log(transition), 0) + log_y, None

        last, _ = jax.lax.scan(step, emission[0], emission[1:])
        prior = jnp.sum(jst.norm.logpdf(mu, jnp.array([3.0, 10.0]), 1.0))
        jacobian = v[2] + v[3] + sum(jax.nn.log_sigmoid(s * v[i]) for s in (1, -1) for i in (0, 1))
        return jax.nn.logsumexp(last) + prior + jacobian

    return target, jnp.array([0.0, 0.0, 1.0, 2.0]), lambda v: jnp.concatenate([unpack(v)[0].ravel(), unpack(v)[1]])


def mixture(data):
    y = jnp.asarray(data["y"], float)

    def unpack(v):
        return jnp.stack([v[0], v[0] + jnp.exp(v[1])]), jnp.exp(v[2:4]), jax.nn.sigmoid(v[4])

    def target(v):
        mu, sigma, theta = unpack(v)
        parts = jst.norm.logpdf(y[:, None], mu, sigma) + jnp.log(jnp.stack([theta, 1 - theta]))
        prior = jnp.sum(jst.norm.logpdf(mu, 0.0, 2.0)) + jnp.sum(jst.norm.logpdf(sigma, 0.0, 2.0))
        logs = jax.nn.log_sigmoid(v[4]) + jax.nn.log_sigmoid(-v[4])
        return jnp.sum(jax.nn.logsumexp(parts, 1)) + prior + 5 * logs + v[1] + v[2] + v[3]

    return (
        target,
        jnp.array([-1.0, 0.5, 0.0, 0.0, 0.0]),
        lambda v: jnp.concatenate([*unpack(v)[:2], unpack(v)[2][None]]),
    )


def linear(data):
    y, x = jnp.asarray(data["y"], float), jnp.asarray(data["X"], float)

    def model():
        beta = yield "beta", dl.Sample(dl.Normal(0.0, 10.0), x.shape[1])
        sigma = yield "sigma", dl.HalfNormal(10.0)
        yield "y", dl.Independent(dl.Normal(x @ beta, sigma), 1)

    pinned = dl.JointDistributionCoroutine(model).pin(y=y)
    return pinned, None, lambda d: jnp.append(d.beta, d.sigma)


# The posterior of the process has a narrow tail, in which a chain whose steps are longer gets stuck now and then.
TARGET_ACCEPT = {"gp_pois_regr-gp_pois_regr": 0.98}
POSTERIORS = {
    "eight_schools-eight_schools_noncentered": eight_schools,
    "kidiq-kidscore_momhsiq": kidiq,
    "earnings-logearn_interaction": earnings,
    "arK-arK": autoregression,
    "garch-garch11": garch,
    "gp_pois_regr-gp_pois_regr": gaussian_process,
    "hmm_example-hmm_example": hidden_markov,
    "low_dim_gauss_mix-low_dim_gauss_mix": mixture,
    "sblrc-blr": linear,
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_reference_posterior(name):
    posterior = json.loads((Path(FOLDER) / f"{name}.json").read_text())
    target, start, names = POSTERIORS[name](posterior["data"])
    samples = mcmc.sample(
        target,
        start,
        num_samples=2000,
        num_warmup=1000,
        num_chains=4,
        adaptation=mcmc.FisherAdaptation(target_accept_prob=TARGET_ACCEPT.get(name, 0.9)),
        trace_fn=lambda draw, info: names(draw),
        seed=jax.random.key(1),
    )
    draws, reference = jnp.asarray(samples.trace), posterior["reference"]
    assert draws.shape == (2000, 4, len(reference["names"]))
    assert np.max(stats.rhat(draws)) < 1.01
    for x, moment in ((draws, "mean"), (draws**2, "mean_squared")):
        # A simplex has two columns that say the same, so a maximum over columns is over parameters.
        error = np.hypot(stats.mcse_mean(x), reference[f"mcse_{moment}"])
        z = (np.mean(x, (0, 1)) - np.asarray(reference[moment])) / error
        assert np.max(np.abs(z)) < 4, dict(zip(reference["names"], z))
    assert np.mean(samples.sample_stats["diverging"]) < 0.005
