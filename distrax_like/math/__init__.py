"""Numerical methods: linear algebra, interpolation, root finding, quadrature and sums, under TFP's names.

Special functions are in `distrax_like.special`.
"""

from ._cholesky import (
    LowRankCholesky as LowRankCholesky,
    cholesky_concat as cholesky_concat,
    cholesky_update as cholesky_update,
    jittered_cholesky as jittered_cholesky,
    low_rank_cholesky as low_rank_cholesky,
    pivoted_cholesky as pivoted_cholesky,
)
from ._interpolation import (
    batch_interp_rectilinear_nd_grid as batch_interp_rectilinear_nd_grid,
    batch_interp_regular_1d_grid as batch_interp_regular_1d_grid,
    batch_interp_regular_nd_grid as batch_interp_regular_nd_grid,
    interp_regular_1d_grid as interp_regular_1d_grid,
)
from ._linear_algebra import (
    diag_jacobian as diag_jacobian,
    gram_schmidt as gram_schmidt,
    hpsd_logdet as hpsd_logdet,
    hpsd_quadratic_form_solve as hpsd_quadratic_form_solve,
    hpsd_quadratic_form_solvevec as hpsd_quadratic_form_solvevec,
    hpsd_solve as hpsd_solve,
    hpsd_solvevec as hpsd_solvevec,
    lu_matrix_inverse as lu_matrix_inverse,
    lu_reconstruct as lu_reconstruct,
    lu_solve as lu_solve,
)
from ._quadrature import (
    QuadratureResults as QuadratureResults,
    gauss_legendre as gauss_legendre,
    integrate as integrate,
)
from ._reductions import (
    KahanSum as KahanSum,
    log_cumsum_exp as log_cumsum_exp,
    reduce_kahan_sum as reduce_kahan_sum,
    reduce_log_harmonic_mean_exp as reduce_log_harmonic_mean_exp,
    reduce_logmeanexp as reduce_logmeanexp,
    reduce_weighted_logsumexp as reduce_weighted_logsumexp,
    soft_sorting_matrix as soft_sorting_matrix,
)
from ._root import (
    RootSearchResults as RootSearchResults,
    bracket_root as bracket_root,
    find_root_chandrupatla as find_root_chandrupatla,
    find_root_secant as find_root_secant,
    secant_root as secant_root,
)
from ._triangular import (
    fill_triangular as fill_triangular,
    fill_triangular_inverse as fill_triangular_inverse,
    solve_lower as solve_lower,
    triangular_size as triangular_size,
)
