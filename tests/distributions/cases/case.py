"""What a case says of a distribution, and the parameters and values that cases share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from distrax_like.distributions import Distribution

TAILS = "cdf survival_function log_cdf log_survival_function"
MOMENTS = "mean variance stddev"


@dataclass(frozen=True)
class Case:
    """What is to be known of a distribution.

    - `make(a)`: the distribution of batch shape (3,), where `a` turns numbers into arrays of the dtype under test.
    - `values`: points of the support, of shape `(n,) + event`.
    - `reference(i)`: batch element i as a frozen SciPy distribution, or anything with `logpdf` or `logpmf`. Where it
      also has `cdf`, `sf`, `ppf`, `mean`, `var` or `entropy`, those are compared too.
    - `other(a)`: a second member of the family, for the KL divergence; None where there is no closed form.
    - `outside`, `boundary`: points outside the support and on its edge.
    - `lacks`: the methods that raise NotImplementedError, besides the covariance of events that are no vectors. All
      others must work.
    - `count`: for a discrete distribution, the number of points 0, 1, … that hold all the mass to rounding.
    - `marginal(i, j)`: for an event that is not a scalar, the frozen distribution of its flat coordinate j.
    - `dtype`: of draws, where it is not that of the parameters.
    - `heavy`: the fourth moment is infinite, so that a z-test of the variance would mean nothing.
    - `ulps`: the error of log densities against the reference in float64, relative to 1 + |value|, in machine epsilons.
    - `line`: an event is any real vector, on which Stein's identity holds.
    - `start(a)`: where training starts, for supports that a perturbed member might not share.
    """

    make: Callable[[Callable[..., Any]], Distribution]
    values: Any
    reference: Callable[[int], Any]
    other: Callable[[Callable[..., Any]], Distribution] | None = None
    outside: Any = ()
    boundary: Any = ()
    lacks: str = ""
    count: int | None = None
    marginal: Callable[[int, int], Any] | None = None
    dtype: Any = None
    heavy: bool = False
    ulps: float = 32
    line: bool = False
    start: Callable[[Callable[..., Any]], Distribution] | None = None
    name: str = field(default="")

    def at(self, dtype: Any) -> Distribution:
        return self.make(partial(jnp.asarray, dtype=dtype))

    def other_at(self, dtype: Any) -> Distribution:
        assert self.other is not None
        return self.other(partial(jnp.asarray, dtype=dtype))


# Parameters shared by a case and its reference.
LOC = [-0.5, 0.0, 1.5]
SCALE = [0.5, 1.3, 2.0]
POSITIVE = [0.7, 2.0, 9.5]
PROBS = [0.2, 0.5, 0.93]
LOGITS = list(np.log(PROBS) - np.log1p(-np.asarray(PROBS)))
# Numbers that float32 holds, so that a point of the simplex is one in either dtype.
SIMPLEX = np.array([[0.25, 0.5, 0.25], [0.0625, 0.0625, 0.875], [0.375, 0.375, 0.25]])
VECTORS = np.array([[0.0, 0.0], [1.0, -2.0], [0.3, 0.9], [-3.0, 2.5]])
MATRICES = np.array([[[0.8, 0.0], [0.3, 1.1]], [[2.0, 0.0], [-0.7, 0.4]], [[1.0, 0.0], [0.0, 1.0]]])
CONCENTRATION = np.array([[0.8, 2.0, 3.5], [1.0, 1.0, 1.0], [6.0, 2.5, 20.0]])
WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[-1.0, 2.0], [0.0, 0.5], [4.0, -3.0]])
LINE = [-4.0, -0.3, 0.0, 0.8, 6.0]
HALF_LINE = [1e-3, 0.4, 1.0, 3.7, 15.0]
