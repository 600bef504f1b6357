"""Kullback-Leibler divergences: the table of closed forms and the Monte Carlo estimator."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_like._misc import Seed
from distrax_like._module import Module

from ._distribution import Distribution

_TABLE: dict[tuple[type, type], Callable[[Any, Any], Array]] = {}


def register_kl(p: type, q: type) -> Callable[[Callable[[Any, Any], Array]], Callable[[Any, Any], Array]]:
    """A decorator that registers the closed form of KL(p || q) for two classes of distributions.

    The function takes the two distributions and returns the divergence in nats by batch. Subclasses inherit it.

    **Raises:** `ValueError` where the pair has one.
    """

    def register(fn: Callable[[Any, Any], Array]) -> Callable[[Any, Any], Array]:
        if (p, q) in _TABLE:
            raise ValueError(f"KL({p.__name__} || {q.__name__}) is registered already")
        _TABLE[p, q] = fn
        return fn

    return register


def kl_divergence(p: Module, q: Module) -> Float[Array, "..."]:
    """KL(p || q) = E_p[log p(x) - log q(x)] in nats, of the broadcast batch shape.

    **Raises:** `NotImplementedError` for a pair without a closed form.
    """
    # The nearest pair of base classes, as method resolution would find it.
    for a in type(p).__mro__:
        for b in type(q).__mro__:
            if (a, b) in _TABLE:
                shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
                if isinstance(p, Distribution) and isinstance(q, Distribution):
                    p = p._comparable_to(q)
                return jnp.broadcast_to(_TABLE[a, b](p, q), shape)
    raise no_closed_form(p, q)


def no_closed_form(p: Module, q: Module, why: str = "") -> NotImplementedError:
    """The error for a pair that is not in the table, or one that is, for these members of the classes."""
    return NotImplementedError(
        f"no closed form of KL({type(p).__name__} || {type(q).__name__}){why}; "
        "monte_carlo_kl_divergence estimates it, register_kl adds one"
    )


def monte_carlo_kl_divergence(
    p: Distribution, q: Distribution, num_samples: int, *, seed: Seed | None = None
) -> Float[Array, "..."]:
    """An unbiased estimate of KL(p || q) in nats from `num_samples` draws of p."""
    x, log_p = p.sample_and_log_prob(num_samples, seed=seed)
    return jnp.mean(log_p - q.log_prob(x), axis=0)
