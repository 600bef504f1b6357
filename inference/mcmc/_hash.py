"""Random numbers that fuse with the body of a loop."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(key: UInt[Array, " 2"], a: UInt[Array, "..."], b: UInt[Array, "..."]) -> tuple[Array, Array]:
    """The block cipher Threefry-2x32 with 20 rounds (Salmon et al., 2011), the one under `jax.random`.

    On a CPU `jax.random` compiles it to a loop, and a loop inside a loop body cannot be fused with the rest of the
    body: a number drawn there costs more than a small gradient. Unrolled, the cipher fuses.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    a, b = a + keys[0], b + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << jnp.uint32(rotation)) | (b >> jnp.uint32(32 - rotation)))
        a, b = a + keys[(group + 1) % 3], b + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return a, b


def uniform(key: UInt[Array, " 2"], a: Array, b: int, dtype: DTypeLike) -> Float[Array, "..."]:
    """A number uniform on (0, 1], at the full resolution of `dtype`, for each pair of counters (a, b)."""
    high, low = threefry2x32(key, a.astype(jnp.uint32), jnp.uint32(b))
    bits = jnp.finfo(dtype).nmant + 1
    if bits <= 32:
        return ((high >> jnp.uint32(32 - bits)).astype(dtype) + 1) * 2.0**-bits
    rest = bits - 32
    return (high.astype(dtype) * 2.0**rest + (low >> jnp.uint32(32 - rest)).astype(dtype) + 1) * 2.0**-bits
