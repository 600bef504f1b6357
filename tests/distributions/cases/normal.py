"""The normal distribution and what is made of it."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import HALF_LINE, LINE, LOC, SCALE, Case

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
}
