"""The categorical distribution."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.stats as st

import distrax_like.distributions as dist

from .case import MOMENTS, SIMPLEX, Case


def table(probs: Any) -> Any:
    return st.rv_discrete(values=(np.arange(len(probs)), probs))


CASES = {
    "Categorical": Case(
        make=lambda a: dist.Categorical(probs=a(SIMPLEX)),
        other=lambda a: dist.Categorical(a([0.3, -1.0, 2.0])),
        values=[0, 1, 2],
        reference=lambda i: table(SIMPLEX[i]),
        outside=[-1.0, 0.5, 3.0, np.inf],
        count=3,
        dtype=jnp.int32,
        lacks=MOMENTS,
    ),
    "CategoricalMany": Case(
        # More categories than are summed with a mask.
        make=lambda a: dist.Categorical(probs=a(np.arange(1.0, 61).reshape(3, 20))),
        other=lambda a: dist.Categorical(a(np.linspace(-1.0, 1, 20))),
        values=[0, 3, 19],
        reference=lambda i: table(np.arange(1.0, 61).reshape(3, 20)[i] / np.arange(1.0, 61).reshape(3, 20)[i].sum()),
        outside=[-1.0, 0.5, 20.0],
        count=20,
        dtype=jnp.int32,
        lacks=MOMENTS,
    ),
}
