"""Random variables that `jax.random` lacks or draws slowly.

Functions like those of `jax.random`: `sampler(key, *parameters, shape=None, dtype=None)`, for use in and out of `jit`
and `vmap`. A draw depends on the key, the shape and the parameters only.
"""

from ._categorical import (
    bernoulli as bernoulli,
    categorical as categorical,
    categorical_choice as categorical_choice,
    categorical_table as categorical_table,
    fine_uniform as fine_uniform,
)
from ._counts import (
    binomial as binomial,
    negative_binomial as negative_binomial,
    poisson as poisson,
)
from ._gamma import (
    beta as beta,
    dirichlet as dirichlet,
    gamma as gamma,
    log_beta as log_beta,
    log_dirichlet as log_dirichlet,
    loggamma as loggamma,
    t as t,
    wishart_factor as wishart_factor,
)
from ._truncated_normal import truncated_normal as truncated_normal
from ._von_mises import von_mises as von_mises
