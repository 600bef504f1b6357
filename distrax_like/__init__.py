"""Probability for JAX as Equinox modules: distributions, bijectors, kernels, joint distributions, MCMC, optimizers.

`DISTRAX_LIKE_TYPECHECK=1` in the environment switches on run-time checking of every annotation in the library, for use
while developing.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if os.environ.get("DISTRAX_LIKE_TYPECHECK", "0") not in ("", "0"):
    from jaxtyping import install_import_hook as _install

    _install("distrax_like", "beartype.beartype")

from . import (
    bijectors as bijectors,
    distributions as distributions,
    kernels as kernels,
    math as math,
    special as special,
    supports as supports,
)
from ._misc import Numeric as Numeric, promote as promote
from ._module import data as data, parameter as parameter, submodule as submodule
from .bijectors import (
    constrain as constrain,
    trainable as trainable,
    unconstrain as unconstrain,
    validate as validate,
)

if TYPE_CHECKING:
    from . import inference as inference

__version__ = "0.1.0"



def __getattr__(name: str) -> Any:
    # Optax costs a third of a second to import; who only wants a density does not pay it.
    if name == "inference":
        return importlib.import_module("distrax_like.inference")
    raise AttributeError(f"module 'distrax_like' has no attribute {name!r}")
