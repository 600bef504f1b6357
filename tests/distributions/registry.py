"""One `Case` for each distribution: what `test_generic.py` needs to know of it to test everything else.

A class joins with one entry. Parameters have a batch of three where they can, and one of them is a scalar where there
are two, so that broadcasting is always part of the game.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.stats as st

import distrax_like.bijectors as bij
import distrax_like.distributions as dist
from distrax_like.distributions import Distribution

from .rayleigh import Rayleigh

TAILS = "cdf survival_function log_cdf log_survival_function"
MOMENTS = "mean variance stddev"


@dataclass(frozen=True)
class Case:
    """What is to be known of a distribution.

    - `make(a)`: the distribution of batch shape (3,), where `a` turns numbers into arrays of the dtype under test.
    - `values`: points of the support, of shape `(n,) + event`.
    - `reference(i)`: batch element i as a frozen SciPy distribution, or anything with `logpdf` or `logpmf`. Where it
      also has `cdf`, `sf`, `ppf`, `mean`, `var` or `entropy`, those are compared too.
    - `other(a)`: a second member of the family, for the KL divergence; None where there is no closed form.
    - `outside`, `boundary`: points outside the support and on its edge.
    - `lacks`: the methods that raise NotImplementedError, besides the covariance of events that are no vectors. All
      others must work.
    - `count`: for a discrete distribution, the number of points 0, 1, … that hold all the mass to rounding.
    - `marginal(i, j)`: for an event that is not a scalar, the frozen distribution of its flat coordinate j.
    - `dtype`: of draws, where it is not that of the parameters.
    - `heavy`: the fourth moment is infinite, so that a z-test of the variance would mean nothing.
    - `ulps`: the error of log densities against the reference in float64, relative to 1 + |value|, in machine epsilons.
    - `line`: an event is any real vector, on which Stein's identity holds.
    - `start(a)`: where training starts, for supports that a perturbed member might not share.
    """

    make: Callable[[Callable[..., Any]], Distribution]
    values: Any
    reference: Callable[[int], Any]
    other: Callable[[Callable[..., Any]], Distribution] | None = None
    outside: Any = ()
    boundary: Any = ()
    lacks: str = ""
    count: int | None = None
    marginal: Callable[[int, int], Any] | None = None
    dtype: Any = None
    heavy: bool = False
    ulps: float = 32
    line: bool = False
    start: Callable[[Callable[..., Any]], Distribution] | None = None
    name: str = field(default="")

    def at(self, dtype: Any) -> Distribution:
        return self.make(partial(jnp.asarray, dtype=dtype))

    def other_at(self, dtype: Any) -> Distribution:
        assert self.other is not None
        return self.other(partial(jnp.asarray, dtype=dtype))


# Parameters shared by a case and its reference.
LOC = [-0.5, 0.0, 1.5]
SCALE = [0.5, 1.3, 2.0]
POSITIVE = [0.7, 2.0, 9.5]
PROBS = [0.2, 0.5, 0.93]
LOGITS = list(np.log(PROBS) - np.log1p(-np.asarray(PROBS)))
# Numbers that float32 holds, so that a point of the simplex is one in either dtype.
SIMPLEX = np.array([[0.25, 0.5, 0.25], [0.0625, 0.0625, 0.875], [0.375, 0.375, 0.25]])
VECTORS = np.array([[0.0, 0.0], [1.0, -2.0], [0.3, 0.9], [-3.0, 2.5]])
MATRICES = np.array([[[0.8, 0.0], [0.3, 1.1]], [[2.0, 0.0], [-0.7, 0.4]], [[1.0, 0.0], [0.0, 1.0]]])
CONCENTRATION = np.array([[0.8, 2.0, 3.5], [1.0, 1.0, 1.0], [6.0, 2.5, 20.0]])
WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[-1.0, 2.0], [0.0, 0.5], [4.0, -3.0]])
LINE = [-4.0, -0.3, 0.0, 0.8, 6.0]
HALF_LINE = [1e-3, 0.4, 1.0, 3.7, 15.0]


def mixture(weights: Any, parts: list[Any]) -> Any:
    """The reference of a mixture of frozen distributions."""

    def logpdf(x):
        return np.log(sum(w * p.pdf(x) for w, p in zip(weights, parts)))

    return SimpleNamespace(logpdf=logpdf, cdf=lambda x: sum(w * p.cdf(x) for w, p in zip(weights, parts)))


def product(part: Callable[[int], Any]) -> Any:
    """The reference of a vector with independent coordinates."""
    return SimpleNamespace(logpdf=lambda x: sum(part(j).logpdf(x[j]) for j in range(len(x))))


def mvn(i: int) -> Any:
    return st.multivariate_normal(MEANS[i], MATRICES[i] @ MATRICES[i].T)


def table(probs: Any) -> Any:
    return st.rv_discrete(values=(np.arange(len(probs)), probs))


CASES = {
    "Normal": Case(
        make=lambda a: dist.Normal(a(LOC), a(0.8)),
        other=lambda a: dist.Normal(a(0.3), a(SCALE)),
        values=LINE,
        reference=lambda i: st.norm(LOC[i], 0.8),
        outside=[np.inf, -np.inf],
        line=True,
    ),
    "LogNormal": Case(
        make=lambda a: dist.LogNormal(a(LOC), a(0.8)),
        other=lambda a: dist.LogNormal(a(0.3), a(SCALE)),
        values=HALF_LINE,
        reference=lambda i: st.lognorm(0.8, scale=np.exp(LOC[i])),
        outside=[-1.0, -1e-20, np.inf],
        boundary=[0.0],
    ),
    "HalfNormal": Case(
        make=lambda a: dist.HalfNormal(a(SCALE)),
        other=lambda a: dist.HalfNormal(a(1.1)),
        values=HALF_LINE,
        reference=lambda i: st.halfnorm(scale=SCALE[i]),
        outside=[-1.0, -1e-20, np.inf],
        boundary=[0.0],
    ),
    "HalfCauchy": Case(
        make=lambda a: dist.HalfCauchy(a(LOC), a(0.8)),
        values=[1.5, 1.7, 3.0, 100.0],
        reference=lambda i: st.halfcauchy(LOC[i], 0.8),
        outside=[-1.0, -np.inf, np.inf],
        boundary=[-0.5],
        start=lambda a: dist.HalfCauchy(a([-1.0, -0.5, 1.0]), a(1.2)),
        heavy=True,
    ),
    "StudentT": Case(
        make=lambda a: dist.StudentT(a([2.5, 7.0, 80.0]), a(LOC), a(0.8)),
        values=[*LINE, 1e6],
        reference=lambda i: st.t([2.5, 7.0, 80.0][i], LOC[i], 0.8),
        outside=[np.inf, -np.inf],
        heavy=True,
        line=True,
        ulps=100,
    ),
    "Uniform": Case(
        make=lambda a: dist.Uniform(a(LOC), a([2.5, 2.5, 2.5])),
        start=lambda a: dist.Uniform(a([-1.5, -1.0, 0.5]), a([3.5, 4.0, 3.0])),
        other=lambda a: dist.Uniform(a(-0.7), a(2.8)),
        values=[1.6, 2.0, 2.4999],
        reference=lambda i: st.uniform(LOC[i], 2.5 - LOC[i]),
        outside=[-1.0, 2.6, np.inf, -np.inf],
        boundary=[2.5],
        lacks="mode",
    ),
    "Exponential": Case(
        make=lambda a: dist.Exponential(a(POSITIVE)),
        other=lambda a: dist.Exponential(a(1.4)),
        values=HALF_LINE,
        reference=lambda i: st.expon(scale=1 / POSITIVE[i]),
        outside=[-1.0, -1e-20, np.inf],
        boundary=[0.0],
    ),
    "Gamma": Case(
        make=lambda a: dist.Gamma(a(POSITIVE), a(1.7)),
        other=lambda a: dist.Gamma(a(2.5), a(SCALE)),
        values=HALF_LINE,
        reference=lambda i: st.gamma(POSITIVE[i], scale=1 / 1.7),
        outside=[-1.0, -1e-20, np.inf],
        boundary=[0.0],
    ),
    "Beta": Case(
        make=lambda a: dist.Beta(a(POSITIVE), a(2.5)),
        other=lambda a: dist.Beta(a(1.2), a(SCALE)),
        values=[1e-4, 0.2, 0.5, 0.93, 0.999],
        reference=lambda i: st.beta(POSITIVE[i], 2.5),
        outside=[-0.1, 1.2, np.inf],
        boundary=[0.0, 1.0],
    ),
    "Poisson": Case(
        make=lambda a: dist.Poisson(log_rate=a(LOC)),
        other=lambda a: dist.Poisson(a(SCALE)),
        values=[0.0, 1.0, 2.0, 7.0],
        reference=lambda i: st.poisson(np.exp(LOC[i])),
        outside=[-1.0, 0.5, np.inf],
        count=60,
        lacks="quantile median entropy",
    ),
    "Binomial": Case(
        make=lambda a: dist.Binomial(a([1.0, 6.0, 40.0]), a(LOGITS)),
        other=lambda a: dist.Binomial(a([1.0, 6.0, 40.0]), probs=a(0.6)),
        values=[0.0, 1.0],
        reference=lambda i: st.binom([1, 6, 40][i], PROBS[i]),
        outside=[-1.0, 0.5, 41.0, np.inf],
        count=41,
        lacks="quantile median entropy",
        ulps=100,
    ),
    "Bernoulli": Case(
        make=lambda a: dist.Bernoulli(a(LOGITS)),
        other=lambda a: dist.Bernoulli(probs=a(0.6)),
        values=[0, 1],
        reference=lambda i: st.bernoulli(PROBS[i]),
        outside=[-1.0, 0.5, 2.0, np.inf],
        count=2,
        dtype=jnp.int32,
        lacks=f"{TAILS} quantile median",
    ),
    "Categorical": Case(
        make=lambda a: dist.Categorical(probs=a(SIMPLEX)),
        other=lambda a: dist.Categorical(a([0.3, -1.0, 2.0])),
        values=[0, 1, 2],
        reference=lambda i: table(SIMPLEX[i]),
        outside=[-1.0, 0.5, 3.0, np.inf],
        count=3,
        dtype=jnp.int32,
        lacks=f"{TAILS} quantile median {MOMENTS}",
    ),
    "CategoricalMany": Case(
        # More categories than are summed with a mask.
        make=lambda a: dist.Categorical(probs=a(np.arange(1.0, 61).reshape(3, 20))),
        other=lambda a: dist.Categorical(a(np.linspace(-1.0, 1, 20))),
        values=[0, 3, 19],
        reference=lambda i: table(np.arange(1.0, 61).reshape(3, 20)[i] / np.arange(1.0, 61).reshape(3, 20)[i].sum()),
        outside=[-1.0, 0.5, 20.0],
        count=20,
        dtype=jnp.int32,
        lacks=f"{TAILS} quantile median {MOMENTS}",
    ),
    "Dirichlet": Case(
        make=lambda a: dist.Dirichlet(a(CONCENTRATION)),
        other=lambda a: dist.Dirichlet(a([1.5, 2.0, 3.0])),
        values=SIMPLEX,
        reference=lambda i: st.dirichlet(CONCENTRATION[i]),
        marginal=lambda i, j: st.beta(CONCENTRATION[i, j], CONCENTRATION[i].sum() - CONCENTRATION[i, j]),
        outside=[[0.5, 0.4, 0.2], [-0.1, 0.6, 0.5]],
        boundary=[[0.0, 0.4, 0.6], [1.0, 0.0, 0.0]],
        lacks=f"{TAILS} quantile median",
        ulps=200,
    ),
    "MultivariateNormalDiag": Case(
        make=lambda a: dist.MultivariateNormalDiag(a(MEANS), a([0.5, 2.0])),
        other=lambda a: dist.MultivariateNormalDiag(a([0.1, 0.2]), a(MEANS**2 + 0.5)),
        values=VECTORS,
        reference=lambda i: st.multivariate_normal(MEANS[i], np.diag([0.25, 4.0])),
        marginal=lambda i, j: st.norm(MEANS[i, j], [0.5, 2.0][j]),
        outside=[[np.inf, 0.0]],
        lacks=f"{TAILS} quantile median",
        line=True,
    ),
    "MultivariateNormalTriL": Case(
        make=lambda a: dist.MultivariateNormalTriL(a(MEANS), a(MATRICES)),
        other=lambda a: dist.MultivariateNormalTriL(a([0.1, 0.2]), a(MATRICES[1])),
        values=VECTORS,
        reference=mvn,
        marginal=lambda i, j: st.norm(MEANS[i, j], np.sqrt((MATRICES[i] @ MATRICES[i].T)[j, j])),
        outside=[[np.inf, 0.0]],
        lacks=f"{TAILS} quantile median",
        line=True,
        ulps=100,
    ),
    "Independent": Case(
        make=lambda a: dist.Independent(dist.Normal(a(MEANS), a([0.5, 2.0])), 1),
        other=lambda a: dist.Independent(dist.Normal(a([0.1, 0.2]), a(MEANS**2 + 0.5)), 1),
        values=VECTORS,
        reference=lambda i: st.multivariate_normal(MEANS[i], np.diag([0.25, 4.0])),
        marginal=lambda i, j: st.norm(MEANS[i, j], [0.5, 2.0][j]),
        outside=[[np.inf, 0.0]],
        lacks=f"{TAILS} quantile median covariance",
        line=True,
    ),
    "IndependentUniform": Case(
        # A support whose ends differ by event coordinate and by batch element.
        make=lambda a: dist.Independent(dist.Uniform(a(MEANS), a([[5.0, 3.0]] * 3)), 1),
        start=lambda a: dist.Independent(dist.Uniform(a(MEANS - 1), a([[6.0, 4.0]] * 3)), 1),
        other=lambda a: dist.Independent(dist.Uniform(a(-6.0), a([[6.0, 5.0]])), 1),
        values=[[4.5, 2.5], [4.2, 2.1]],
        reference=lambda i: product(lambda j: st.uniform(MEANS[i, j], [5.0, 3.0][j] - MEANS[i, j])),
        marginal=lambda i, j: st.uniform(MEANS[i, j], [5.0, 3.0][j] - MEANS[i, j]),
        outside=[[-2.0, 2.5], [4.5, np.inf]],
        boundary=[[5.0, 3.0]],
        lacks=f"{TAILS} quantile median mode covariance",
    ),
    "Sample": Case(
        make=lambda a: dist.Sample(dist.Gamma(a(POSITIVE), a(1.7)), 2),
        other=lambda a: dist.Sample(dist.Gamma(a(2.5), a(SCALE)), 2),
        values=[[0.3, 0.9], [1.0, 5.0]],
        reference=lambda i: product(lambda j: st.gamma(POSITIVE[i], scale=1 / 1.7)),
        marginal=lambda i, j: st.gamma(POSITIVE[i], scale=1 / 1.7),
        outside=[[-1.0, 1.0], [1.0, np.inf]],
        boundary=[[0.0, 1.0]],
        lacks=f"{TAILS} quantile median covariance",
    ),
    "TransformedExp": Case(
        make=lambda a: bij.Exp()(dist.Normal(a(LOC), a(0.8))),
        values=HALF_LINE,
        reference=lambda i: st.lognorm(0.8, scale=np.exp(LOC[i])),
        outside=[-1.0, -1e-20, 0.0, np.inf],
        lacks=f"{MOMENTS} mode entropy",
    ),
    "TransformedSigmoid": Case(
        make=lambda a: bij.Sigmoid()(dist.Normal(a(LOC), a(0.8))),
        values=[1e-3, 0.2, 0.5, 0.9],
        reference=lambda i: SimpleNamespace(
            logpdf=lambda x: st.norm(LOC[i], 0.8).logpdf(np.log(x / (1 - x))) - np.log(x * (1 - x)),
            cdf=lambda x: st.norm(LOC[i], 0.8).cdf(np.log(x / (1 - x))),
        ),
        outside=[-1.0, 0.0, 1.0, 2.0],
        lacks=f"{MOMENTS} mode entropy",
    ),
    "TransformedAffine": Case(
        # A decreasing map of a half-line, with parameters of its own.
        make=lambda a: bij.Shift(a(LOC))(bij.Scale(a(-2.0))(dist.Exponential(a(1.7)))),
        values=[-20.0, -3.0, -0.6],
        reference=lambda i: SimpleNamespace(
            logpdf=lambda x: st.expon(scale=2 / 1.7).logpdf(LOC[i] - x),
            cdf=lambda x: st.expon(scale=2 / 1.7).sf(LOC[i] - x),
            mean=lambda: LOC[i] - 2 / 1.7,
        ),
        outside=[1.6, np.inf, -np.inf],
        boundary=[-0.5],
        start=lambda a: bij.Shift(a([-0.1, 0.4, 2.0]))(bij.Scale(a(-2.0))(dist.Exponential(a(1.7)))),
        lacks="variance stddev",
    ),
    "TransformedVector": Case(
        # A bijector with a batch of its own: each batch element must have its own noise.
        make=lambda a: bij.ScaleMatvecTriL(a(MATRICES))(dist.Sample(dist.Normal(a(0.5), a(1.5)), 2)),
        values=VECTORS,
        reference=lambda i: st.multivariate_normal(MATRICES[i] @ [0.5, 0.5], 2.25 * MATRICES[i] @ MATRICES[i].T),
        marginal=lambda i, j: st.norm(
            (MATRICES[i] @ [0.5, 0.5])[j], 1.5 * np.sqrt((MATRICES[i] @ MATRICES[i].T)[j, j])
        ),
        outside=[[np.inf, 0.0]],
        lacks=f"{TAILS} quantile median variance stddev covariance",
        line=True,
        ulps=100,
    ),
    "MixtureSameFamily": Case(
        make=lambda a: dist.MixtureSameFamily(
            dist.Categorical(a(np.log(WEIGHTS) + 3)), dist.Normal(a(MEANS), a([0.6, 1.4]))
        ),
        values=LINE,
        reference=lambda i: mixture(WEIGHTS, [st.norm(MEANS[i, 0], 0.6), st.norm(MEANS[i, 1], 1.4)]),
        outside=[np.inf, -np.inf],
        lacks="quantile median mode entropy",
        line=True,
    ),
    "MixtureOfVectors": Case(
        make=lambda a: dist.MixtureSameFamily(
            dist.Categorical(probs=a(SIMPLEX)), dist.MultivariateNormalTriL(a(MEANS), a(MATRICES))
        ),
        values=VECTORS,
        reference=lambda i: mixture(SIMPLEX[i], [mvn(k) for k in range(3)]),
        marginal=lambda i, j: mixture(
            SIMPLEX[i], [st.norm(MEANS[k, j], np.sqrt((MATRICES[k] @ MATRICES[k].T)[j, j])) for k in range(3)]
        ),
        outside=[[np.inf, 0.0]],
        lacks=f"{TAILS} quantile median mode entropy",
        line=True,
        ulps=100,
    ),
    "Rayleigh": Case(
        make=lambda a: Rayleigh(a(SCALE)),
        values=HALF_LINE,
        reference=lambda i: st.rayleigh(scale=SCALE[i]),
        outside=[-1.0, -1e-20, np.inf],
        lacks=f"{TAILS} quantile median mode entropy {MOMENTS}",
    ),
}
CASES = {name: Case(**{**case.__dict__, "name": name}) for name, case in CASES.items()}
