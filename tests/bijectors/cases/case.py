"""What a case says of a bijector, and the values that cases share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from distrax_like import supports
from distrax_like.bijectors import Bijector


@dataclass(frozen=True)
class Case:
    """What is to be known of a bijector.

    - `make(a)`: the bijector, where `a` turns numbers into arrays of the dtype under test.
    - `points`: of shape `(n,) + batch + event`, where the event is the smallest the bijector acts on.
    - `batch`: its batch shape at events of that rank.
    - `unlift`, `pick`: the free coordinates of an event before and after the map, as vectors. Where both have the same
      length, the log determinant is that of the Jacobian between them; where the second is longer, that of the surface
      element. `lift(v, like)`: the event with coordinates `v`, of the shape of the event `like`; undoes `unlift`.
    - `image`: a support that contains the images.
    - `exact`: the largest error of the round trip, in units of epsilon (1 + |x|).
    """

    make: Callable[[Callable[..., Any]], Bijector]
    points: Any
    batch: tuple[int, ...] = ()
    unlift: Callable[[Any], Any] = jnp.ravel
    lift: Callable[[Any, Any], Any] = lambda v, like: v.reshape(like.shape)
    pick: Callable[[Any], Any] = jnp.ravel
    image: supports.Support = supports.real
    exact: float = 64

    def at(self, dtype: Any) -> Bijector:
        return self.make(functools.partial(jnp.asarray, dtype=dtype))


def lower(x: Any) -> Any:
    return x[jnp.tril_indices(x.shape[-1])]


def from_lower(v: Any, like: Any) -> Any:
    return jnp.zeros_like(like).at[jnp.tril_indices(like.shape[-1])].set(v)


LINE = [-3.0, -0.2, 0.0, 0.7, 4.0]
BATCHED = np.repeat(np.array(LINE)[:, None], 3, axis=1)
VECTORS = np.array([[0.3, -1.0, 0.2], [2.0, 0.1, -0.7], [0.0, 0.0, 0.0]])
# Six numbers fill the triangle of a 3 x 3 matrix.
SIX = np.concatenate([VECTORS, VECTORS[::-1] - 0.4], axis=1)
CHOLESKY = np.array([[[0.8, 0.0, 0.0], [0.3, 1.1, 0.0], [-0.5, 0.2, 0.6]], np.eye(3)])
