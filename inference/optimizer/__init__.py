"""Quasi-Newton minimizers that advance a whole batch of problems with one evaluation each per turn."""

from distrax_like.inference.optimizer._directions import (
    ScaleByBFGSState as ScaleByBFGSState,
    ScaleByLBFGSState as ScaleByLBFGSState,
    scale_by_bfgs as scale_by_bfgs,
    scale_by_lbfgs as scale_by_lbfgs,
)
from distrax_like.inference.optimizer._minimize import (
    BFGSOptimizerResults as BFGSOptimizerResults,
    LBFGSOptimizerResults as LBFGSOptimizerResults,
    bfgs_minimize as bfgs_minimize,
    converged_all as converged_all,
    converged_any as converged_any,
    lbfgs_minimize as lbfgs_minimize,
)

__all__ = [
    "BFGSOptimizerResults",
    "LBFGSOptimizerResults",
    "ScaleByBFGSState",
    "ScaleByLBFGSState",
    "bfgs_minimize",
    "converged_all",
    "converged_any",
    "lbfgs_minimize",
    "scale_by_bfgs",
    "scale_by_lbfgs",
]
