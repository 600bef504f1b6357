"""Multivariate normal distributions."""

from typing import Any

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import MATRICES, MEANS, TAILS, VECTORS, Case


def mvn(i: int) -> Any:
    return st.multivariate_normal(MEANS[i], MATRICES[i] @ MATRICES[i].T)


CASES = {
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
}
