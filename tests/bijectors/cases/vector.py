"""Bijectors of vectors."""

import distrax_like.bijectors as bij
from distrax_like import supports

from .case import CHOLESKY, VECTORS, Case

CASES = {
    "ScaleMatvecDiag": Case(lambda a: bij.ScaleMatvecDiag(a([1.5, -2.0, 0.5])), VECTORS),
    "ScaleMatvecTriL": Case(lambda a: bij.ScaleMatvecTriL(a(CHOLESKY)), VECTORS[:, None] * [[1], [2]], (2,)),
    "SoftmaxCentered": Case(lambda a: bij.SoftmaxCentered(), VECTORS, pick=lambda y: y[:-1], image=supports.simplex),
    "Ascending": Case(lambda a: bij.Ascending(), VECTORS, image=supports.ordered),
    "UnitVector": Case(lambda a: bij.UnitVector(), VECTORS, image=supports.unit_vector),
}
