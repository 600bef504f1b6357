"""Bijectors: smooth invertible maps with known Jacobian determinants, and the maps from the reals onto supports."""

from distrax_like.bijectors._bijector import Bijector as Bijector
from distrax_like.bijectors._compose import Chain as Chain, Invert as Invert
from distrax_like.bijectors._elementwise import (
    Exp as Exp,
    Identity as Identity,
    OntoInterval as OntoInterval,
    Scale as Scale,
    Shift as Shift,
    Sigmoid as Sigmoid,
    Softplus as Softplus,
    Tanh as Tanh,
)
from distrax_like.bijectors._image import Image as Image
from distrax_like.bijectors._matrix import (
    CholeskyOuterProduct as CholeskyOuterProduct,
    CorrelationCholesky as CorrelationCholesky,
    FillScaleTriL as FillScaleTriL,
    FillTriangular as FillTriangular,
    TransformDiagonal as TransformDiagonal,
)
from distrax_like.bijectors._unconstrain import (
    Unconstrained as Unconstrained,
    bijector_for as bijector_for,
    constrain as constrain,
    trainable as trainable,
    unconstrain as unconstrain,
    validate as validate,
)
from distrax_like.bijectors._vector import (
    Ascending as Ascending,
    ScaleMatvecDiag as ScaleMatvecDiag,
    ScaleMatvecTriL as ScaleMatvecTriL,
    SoftmaxCentered as SoftmaxCentered,
    UnitVector as UnitVector,
)

__all__ = [
    "Ascending",
    "Bijector",
    "Chain",
    "CholeskyOuterProduct",
    "CorrelationCholesky",
    "Exp",
    "FillScaleTriL",
    "FillTriangular",
    "Identity",
    "Image",
    "Invert",
    "OntoInterval",
    "Scale",
    "ScaleMatvecDiag",
    "ScaleMatvecTriL",
    "Shift",
    "Sigmoid",
    "SoftmaxCentered",
    "Softplus",
    "Tanh",
    "TransformDiagonal",
    "Unconstrained",
    "UnitVector",
    "bijector_for",
    "constrain",
    "trainable",
    "unconstrain",
    "validate",
]
