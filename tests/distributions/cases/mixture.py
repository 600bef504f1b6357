"""Mixtures."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import LINE, MATRICES, MEANS, SIMPLEX, TAILS, VECTORS, WEIGHTS, Case
from .multivariate_normal import mvn


def mixture(weights: Any, parts: list[Any]) -> Any:
    """The reference of a mixture of frozen distributions."""

    def logpdf(x):
        return np.log(sum(w * p.pdf(x) for w, p in zip(weights, parts)))

    return SimpleNamespace(logpdf=logpdf, cdf=lambda x: sum(w * p.cdf(x) for w, p in zip(weights, parts)))


CASES = {
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
}
