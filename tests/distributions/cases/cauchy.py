"""The half-Cauchy distribution."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import LOC, Case

CASES = {
    "HalfCauchy": Case(
        make=lambda a: dist.HalfCauchy(a(LOC), a(0.8)),
        values=[1.5, 1.7, 3.0, 100.0],
        reference=lambda i: st.halfcauchy(LOC[i], 0.8),
        outside=[-1.0, -np.inf, np.inf],
        boundary=[-0.5],
        start=lambda a: dist.HalfCauchy(a([-1.0, -0.5, 1.0]), a(1.2)),
        heavy=True,
    ),
}
