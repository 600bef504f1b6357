"""Special functions that JAX lacks or gets wrong in the last bits."""

from distrax_like.special._cholesky import jittered_cholesky as jittered_cholesky
from distrax_like.special._elementary import softplus_inverse as softplus_inverse, xlog1py as xlog1py, xlogy as xlogy
from distrax_like.special._normal import log_ndtr as log_ndtr
from distrax_like.special._triangular import (
    fill_triangular as fill_triangular,
    fill_triangular_inverse as fill_triangular_inverse,
    solve_lower as solve_lower,
    triangular_size as triangular_size,
)

__all__ = [
    "fill_triangular",
    "fill_triangular_inverse",
    "jittered_cholesky",
    "log_ndtr",
    "softplus_inverse",
    "solve_lower",
    "triangular_size",
    "xlog1py",
    "xlogy",
]
