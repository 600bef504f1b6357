"""Random numbers for the inside of a loop."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(key: UInt[Array, " 2"], a: UInt[Array, "..."], b: UInt[Array, "..."]) -> tuple[Array, Array]:
    """The block cipher Threefry-2x32 with 20 rounds (Salmon et al., 2011), the one under `jax.random`.

    `jax.random` writes it as a loop on a CPU, and a loop inside a loop body keeps the rest of the body from being
    compiled into one piece: a number drawn there costs more than a small gradient. Written out it fuses.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    a, b = a + keys[0], b + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << jnp.uint32(rotation)) | (b >> jnp.uint32(32 - rotation)))
        a, b = a + keys[(group + 1) % 3], b + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return a, b


def uniform(key: UInt[Array, " 2"], a: Array, b: int, dtype: Any) -> Float[Array, "..."]:
    """A number uniform on (0, 1], with all the bits that `dtype` resolves, for each pair of counters (a, b)."""
    high, low = threefry2x32(key, a.astype(jnp.uint32), jnp.uint32(b))
    bits = jnp.finfo(dtype).nmant + 1
    if bits <= 32:
        return ((high >> jnp.uint32(32 - bits)).astype(dtype) + 1) * 2.0**-bits
    rest = bits - 32
    return (high.astype(dtype) * 2.0**rest + (low >> jnp.uint32(32 - rest)).astype(dtype) + 1) * 2.0**-bits
