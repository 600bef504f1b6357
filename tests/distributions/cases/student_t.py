"""Student's t distribution."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import LINE, LOC, Case

CASES = {
    "StudentT": Case(
        make=lambda a: dist.StudentT(a([2.5, 7.0, 80.0]), a(LOC), a(0.8)),
        values=[*LINE, 1e6],
        reference=lambda i: st.t([2.5, 7.0, 80.0][i], LOC[i], 0.8),
        outside=[np.inf, -np.inf],
        heavy=True,
        line=True,
        ulps=100,
    ),
}
