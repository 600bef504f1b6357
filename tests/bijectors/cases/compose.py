"""Compositions and inverses."""

import jax.numpy as jnp
import numpy as np

import distrax_like.bijectors as bij
from distrax_like import supports

from .case import BATCHED, CHOLESKY, LINE, SIX, VECTORS, Case, lower

CASES = {
    "Chain": Case(lambda a: bij.Shift(a([1.0, -2.0, 0.5]))(bij.Exp()(bij.Scale(a(0.5)))), BATCHED, (3,), exact=300),
    "ChainOfRanks": Case(
        lambda a: bij.Exp()(bij.ScaleMatvecTriL(a(CHOLESKY))(bij.Shift(a([0.1, 0.2, 0.3])))),
        VECTORS[:, None] * [[1], [0.5]],
        (2,),
        image=supports.independent(supports.positive, 1),
        exact=1000,
    ),
    "ChainOfNone": Case(lambda a: bij.Chain([]), LINE),
    "ChainToMatrices": Case(
        lambda a: bij.CholeskyOuterProduct()(bij.FillScaleTriL(bij.Exp(), None)(bij.Scale(a(0.5)))),
        SIX,
        pick=lower,
        image=supports.positive_definite,
        exact=1e4,
    ),
    "Invert": Case(lambda a: bij.Invert(bij.Softplus(a([0.5, 1.0, 3.0]))), np.exp(BATCHED), (3,)),
    "InvertVector": Case(
        lambda a: bij.Invert(bij.SoftmaxCentered()),
        [[0.25, 0.5, 0.25], [0.0625, 0.0625, 0.875]],
        unlift=lambda x: x[:-1],
        lift=lambda v, like: jnp.append(v, 1 - v.sum()),
    ),
}
