"""The gamma and exponential distributions."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import HALF_LINE, POSITIVE, SCALE, Case

CASES = {
    "Exponential": Case(
        make=lambda a: dist.Exponential(a(POSITIVE)),
        other=lambda a: dist.Exponential(a(1.4)),
        values=HALF_LINE,
        reference=lambda i: st.expon(scale=1 / POSITIVE[i]),
        outside=[-1.0, -1e-20, np.inf],
        boundary=[0.0],
    ),
    "Gamma": Case(
        make=lambda a: dist.Gamma(a(POSITIVE), a(1.7)),
        other=lambda a: dist.Gamma(a(2.5), a(SCALE)),
        values=HALF_LINE,
        reference=lambda i: st.gamma(POSITIVE[i], scale=1 / 1.7),
        outside=[-1.0, -1e-20, np.inf],
        boundary=[0.0],
    ),
}
