"""Quasi-Newton minimizers that advance a batch of problems together, with one evaluation of each at a time."""

from ._directions import (
    ScaleByBFGSState as ScaleByBFGSState,
    ScaleByLBFGSState as ScaleByLBFGSState,
    scale_by_bfgs as scale_by_bfgs,
    scale_by_lbfgs as scale_by_lbfgs,
)
from ._minimize import (
    BFGSOptimizerResults as BFGSOptimizerResults,
    LBFGSOptimizerResults as LBFGSOptimizerResults,
    bfgs_minimize as bfgs_minimize,
    converged_all as converged_all,
    converged_any as converged_any,
    lbfgs_minimize as lbfgs_minimize,
)
