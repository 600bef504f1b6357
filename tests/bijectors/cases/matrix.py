"""Bijectors onto matrices."""

import jax.numpy as jnp

import distrax_like.bijectors as bij
from distrax_like import supports

from .case import CHOLESKY, SIX, VECTORS, Case, from_lower, lower

CASES = {
    "FillTriangular": Case(lambda a: bij.FillTriangular(), SIX, pick=lower),
    "FillTriangularUpper": Case(lambda a: bij.FillTriangular(upper=True), SIX, pick=lambda y: lower(y.T)),
    "TransformDiagonal": Case(lambda a: bij.TransformDiagonal(bij.Exp()), CHOLESKY),
    "FillScaleTriL": Case(lambda a: bij.FillScaleTriL(), SIX, pick=lower, image=supports.lower_cholesky, exact=1e4),
    "FillScaleTriLExp": Case(
        lambda a: bij.FillScaleTriL(bij.Exp(), None), SIX, pick=lower, image=supports.lower_cholesky
    ),
    "CholeskyOuterProduct": Case(
        lambda a: bij.CholeskyOuterProduct(),
        CHOLESKY,
        unlift=lower,
        lift=from_lower,
        pick=lower,
        image=supports.positive_definite,
        exact=1000,
    ),
    "CorrelationCholesky": Case(
        lambda a: bij.CorrelationCholesky(),
        VECTORS,
        pick=lambda y: y[jnp.tril_indices(3, -1)],
        image=supports.correlation_cholesky,
    ),
}
