"""Transformed distributions."""

from types import SimpleNamespace

import numpy as np
import scipy.stats as st

import distrax_like.bijectors as bij
import distrax_like.distributions as dist

from .case import HALF_LINE, LOC, MATRICES, MOMENTS, TAILS, VECTORS, Case

CASES = {
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
            var=lambda: (2 / 1.7) ** 2,
        ),
        outside=[1.6, np.inf, -np.inf],
        boundary=[-0.5],
        start=lambda a: bij.Shift(a([-0.1, 0.4, 2.0]))(bij.Scale(a(-2.0))(dist.Exponential(a(1.7)))),
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
        lacks=f"{TAILS} quantile median",
        line=True,
        ulps=100,
    ),
}
