"""Distributions made of one other."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import MEANS, POSITIVE, SCALE, TAILS, VECTORS, Case


def product(part: Callable[[int], Any]) -> Any:
    """The reference of a vector with independent coordinates."""
    return SimpleNamespace(
        logpdf=lambda x: sum(part(j).logpdf(x[j]) for j in range(len(x))),
        cdf=lambda xs: [np.prod([part(j).cdf(x[j]) for j in range(len(x))]) for x in xs],
    )


CASES = {
    "Independent": Case(
        make=lambda a: dist.Independent(dist.Normal(a(MEANS), a([0.5, 2.0])), 1),
        other=lambda a: dist.Independent(dist.Normal(a([0.1, 0.2]), a(MEANS**2 + 0.5)), 1),
        values=VECTORS,
        reference=lambda i: product(lambda j: st.norm(MEANS[i, j], [0.5, 2.0][j])),
        marginal=lambda i, j: st.norm(MEANS[i, j], [0.5, 2.0][j]),
        outside=[[np.inf, 0.0]],
        lacks="survival_function log_survival_function quantile median",
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
        lacks="survival_function log_survival_function quantile median mode",
    ),
    "Sample": Case(
        make=lambda a: dist.Sample(dist.Gamma(a(POSITIVE), a(1.7)), 2),
        other=lambda a: dist.Sample(dist.Gamma(a(2.5), a(SCALE)), 2),
        values=[[0.3, 0.9], [1.0, 5.0]],
        reference=lambda i: product(lambda j: st.gamma(POSITIVE[i], scale=1 / 1.7)),
        marginal=lambda i, j: st.gamma(POSITIVE[i], scale=1 / 1.7),
        outside=[[-1.0, 1.0], [1.0, np.inf]],
        boundary=[[0.0, 1.0]],
        lacks=f"{TAILS} quantile median",
    ),
}
