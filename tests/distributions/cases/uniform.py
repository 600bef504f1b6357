"""The uniform distribution."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import LOC, Case

CASES = {
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
}
