"""The Poisson distribution."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import LOC, SCALE, Case

CASES = {
    "Poisson": Case(
        make=lambda a: dist.Poisson(log_rate=a(LOC)),
        other=lambda a: dist.Poisson(a(SCALE)),
        values=[0.0, 1.0, 2.0, 7.0],
        reference=lambda i: st.poisson(np.exp(LOC[i])),
        outside=[-1.0, 0.5, np.inf],
        count=60,
    ),
}
