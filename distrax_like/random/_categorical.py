"""Bernoulli and categorical variables whose rare outcomes are as frequent as their probabilities say."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from distrax_like._misc import Real, Seed, Shape


def fine_uniform(key: Seed, shape: Shape, dtype: jnp.dtype) -> Real:
    """Uniform variables in (0, 1) from 64 random bits, so that small ones have full relative precision.

    Those of `jax.random.uniform` are multiples of 2^-23 in single precision, and zero once in eight million draws.
    """
    high, low = jax.random.bits(key, (2, *shape), jnp.uint32).astype(dtype)
    # The half keeps zero out; one is rounded to, and taken down.
    u = high * 2.0**-32 + (low + 0.5) * 2.0**-64
    return jnp.minimum(u, 1 - jnp.finfo(dtype).epsneg)


def bernoulli(key: Seed, logits: Real, shape: Shape) -> Bool[Array, "..."]:
    """True with probability 1 / (1 + exp(-logits)).

    **Arguments:** `logits`: shape that broadcasts to `shape`. **Returns:** the shape `shape`.
    """
    u = fine_uniform(key, shape, logits.dtype)
    # The rarer of the two outcomes is where u is small.
    return (u < jax.nn.sigmoid(-jnp.abs(logits))) == (logits < 0)


def categorical_table(logits: Real) -> tuple[Real, Int[Array, "... n"]]:
    """What `categorical_choice` needs of a distribution: cumulative probabilities of its categories from the rarest on,
    and which these are."""
    order = jnp.argsort(logits, axis=-1)
    probs = jnp.take_along_axis(jax.nn.softmax(logits), order, axis=-1)
    return jnp.cumsum(probs, axis=-1), order


def categorical_choice(table: tuple[Real, Int[Array, "... n"]], u: Real) -> Int[Array, "..."]:
    """The category in which a `fine_uniform` variable falls.

    Sums from the rarest category on lose none of the rare ones to rounding, and small uniform variables are precise.
    """
    cumulative, order = table
    place = jnp.sum(cumulative[..., :-1] <= (u * cumulative[..., -1])[..., None], axis=-1)
    order = jnp.broadcast_to(order, (*place.shape, order.shape[-1]))
    return jnp.take_along_axis(order, place[..., None], axis=-1)[..., 0]


def categorical(key: Seed, logits: Real, shape: Shape) -> Int[Array, "..."]:
    """The category k with probability in proportion to exp(logits[..., k]).

    One uniform variable a draw, where `jax.random.categorical` takes one for each category.

    **Arguments:** `logits`: shape `batch + (n,)`, whose batch broadcasts to `shape`. **Returns:** the shape `shape`.
    """
    return categorical_choice(categorical_table(logits), fine_uniform(key, shape, logits.dtype))
