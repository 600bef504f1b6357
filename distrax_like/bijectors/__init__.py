"""Bijectors: smooth invertible maps with known Jacobian determinants, and the maps from the reals onto supports."""

from ._bijector import Bijector as Bijector
from ._compose import Chain as Chain, Invert as Invert
from ._elementwise import (
    Exp as Exp,
    Identity as Identity,
    OntoInterval as OntoInterval,
    Scale as Scale,
    Shift as Shift,
    Sigmoid as Sigmoid,
    Softplus as Softplus,
    Tanh as Tanh,
)
from ._image import Image as Image
from ._matrix import (
    CholeskyOuterProduct as CholeskyOuterProduct,
    CorrelationCholesky as CorrelationCholesky,
    FillScaleTriL as FillScaleTriL,
    FillTriangular as FillTriangular,
    TransformDiagonal as TransformDiagonal,
)
from ._unconstrain import (
    Unconstrained as Unconstrained,
    bijector_for as bijector_for,
    constrain as constrain,
    trainable as trainable,
    unconstrain as unconstrain,
    validate as validate,
)
from ._vector import (
    Ascending as Ascending,
    ScaleMatvecDiag as ScaleMatvecDiag,
    ScaleMatvecTriL as ScaleMatvecTriL,
    SoftmaxCentered as SoftmaxCentered,
    UnitVector as UnitVector,
)
