"""The beta distribution."""

import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import POSITIVE, SCALE, Case

CASES = {
    "Beta": Case(
        make=lambda a: dist.Beta(a(POSITIVE), a(2.5)),
        other=lambda a: dist.Beta(a(1.2), a(SCALE)),
        values=[1e-4, 0.2, 0.5, 0.93, 0.999],
        reference=lambda i: st.beta(POSITIVE[i], 2.5),
        outside=[-0.1, 1.2, np.inf],
        boundary=[0.0, 1.0],
    ),
}
