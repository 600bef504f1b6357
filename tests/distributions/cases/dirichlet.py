"""The Dirichlet distribution."""

import scipy.stats as st

import distrax_like.distributions as dist

from .case import CONCENTRATION, SIMPLEX, TAILS, Case

CASES = {
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
}
