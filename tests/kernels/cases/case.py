"""What a case says of a kernel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distrax_like.kernels import Kernel


@dataclass(frozen=True)
class Case:
    """What is to be known of a stationary kernel amplitude^2 f(r^2) with r = |x - y| / length_scale.

    - `make(amplitude, length_scale, inverse_length_scale=…)`: the kernel; each argument may be left out.
    - `formula(r)`: the correlation f(r^2), as a function of the scaled distance.
    - `slope`: the derivative f'(0). 0 where there is none, as is the gradient that the kernel gives at equal points.
    """

    make: Callable[..., Kernel]
    formula: Callable[[np.ndarray], np.ndarray]
    slope: float
