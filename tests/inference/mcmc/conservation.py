"""One step from exact draws must give exact draws.

Rosenblatt's transform makes both coordinates of the banana uniform, so that the Dvoretzky-Kiefer-Wolfowitz inequality
bounds the distance of the empirical distributions.
"""

import math

import jax
import numpy as np
from scipy import special

NUM = 50_000


def banana(x):
    return -0.5 * x[0] ** 2 - 0.5 * (x[1] - 0.5 * x[0] ** 2) ** 2


def bend(z):
    """Draws of the banana from standard normal ones."""
    return z.at[..., 1].add(0.5 * z[..., 0] ** 2)


STARTS = bend(jax.random.normal(jax.random.key(0), (NUM, 2)))


def bound(num=NUM):
    """The distance that `num` exact draws exceed with a probability of 1e-6 in all the comparisons, under 200, of the
    conservation tests of the kernels together."""
    return math.sqrt(math.log(2 * 200 / 1e-6) / (2 * num))


BOUND = bound()


def one_step(kernel, starts=STARTS):
    """The positions after a step from each start, and the infos."""

    @jax.jit
    def run(x, keys):
        def step(x, key):
            state, info = kernel.step(kernel.init(x), seed=key)
            return state.position, info

        # In batches, for a loop that ends when the last of a batch does.
        return jax.lax.map(lambda xk: step(*xk), (x, keys), batch_size=500)

    return run(starts, jax.random.split(jax.random.key(1), NUM))


def distance_from_uniform(u):
    """The largest distance of the rows' distributions from the uniform one."""
    num = u.shape[1]
    # The empirical distribution jumps: on both sides of a jump its distance is half a step more.
    return np.max(np.abs(np.sort(u, axis=1) - (np.arange(num) + 0.5) / num)) + 0.5 / num


def distance(x):
    """Three distances of draws from the banana: of its coordinates, and of a sum of them."""
    x = np.asarray(x)
    u = special.ndtr(np.stack([x[:, 0], x[:, 1] - 0.5 * x[:, 0] ** 2, -x[:, 1] + 0.5 * x[:, 0] ** 2 + x[:, 0]]))
    u[2] = special.ndtr(special.ndtri(u[2]) / math.sqrt(2))
    return distance_from_uniform(u)
