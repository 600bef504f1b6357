"""The Bernoulli and binomial distributions."""

import jax.numpy as jnp
import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import LOGITS, PROBS, Case

CASES = {
    "Bernoulli": Case(
        make=lambda a: dist.Bernoulli(a(LOGITS)),
        other=lambda a: dist.Bernoulli(probs=a(0.6)),
        values=[0, 1],
        reference=lambda i: st.bernoulli(PROBS[i]),
        outside=[-1.0, 0.5, 2.0, np.inf],
        count=2,
        dtype=jnp.int32,
    ),
    "Binomial": Case(
        make=lambda a: dist.Binomial(a([1.0, 6.0, 40.0]), a(LOGITS)),
        other=lambda a: dist.Binomial(a([1.0, 6.0, 40.0]), probs=a(0.6)),
        values=[0.0, 1.0],
        reference=lambda i: st.binom([1, 6, 40][i], PROBS[i]),
        outside=[-1.0, 0.5, 41.0, np.inf],
        count=41,
        ulps=100,
    ),
}
