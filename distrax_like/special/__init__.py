"""Special functions that JAX lacks or gets wrong in the last bits."""

from ._bessel import (
    iv_ratio as iv_ratio,
    ive as ive,
    kve as kve,
    log_ive as log_ive,
    log_kve as log_kve,
)
from ._beta import lbeta as lbeta
from ._beta_inverse import betainccinv as betainccinv, betaincinv as betaincinv
from ._densities import (
    log_beta_density as log_beta_density,
    log_beta_density_of_logs as log_beta_density_of_logs,
    log_binomial_mass as log_binomial_mass,
    log_binomial_mass_of_logits as log_binomial_mass_of_logits,
    log_dirichlet_density as log_dirichlet_density,
    log_dirichlet_density_of_logs as log_dirichlet_density_of_logs,
    log_gamma_density as log_gamma_density,
    log_gamma_density_of_log as log_gamma_density_of_log,
    log_poisson_mass as log_poisson_mass,
    log_poisson_mass_of_log as log_poisson_mass_of_log,
)
from ._divergences import (
    bernoulli_divergence as bernoulli_divergence,
    bernoulli_entropy as bernoulli_entropy,
    categorical_divergence as categorical_divergence,
    categorical_entropy as categorical_entropy,
    dirichlet_divergence as dirichlet_divergence,
    dirichlet_entropy as dirichlet_entropy,
    gamma_divergence as gamma_divergence,
    gamma_entropy as gamma_entropy,
)
from ._elementary import (
    atan_difference as atan_difference,
    clip_by_value_preserve_gradient as clip_by_value_preserve_gradient,
    log1mexp as log1mexp,
    log1psquare as log1psquare,
    log_combinations as log_combinations,
    log_cosh as log_cosh,
    log_sub_exp as log_sub_exp,
    mul0 as mul0,
    round_exponential_bump_function as round_exponential_bump_function,
    smootherstep as smootherstep,
    soft_threshold as soft_threshold,
    softplus_inverse as softplus_inverse,
    sqrt1pm1 as sqrt1pm1,
    xlog1py as xlog1py,
    xlogy as xlogy,
)
from ._gamma_inverse import gammainccinv as gammainccinv, gammaincinv as gammaincinv
from ._incomplete_beta import (
    betainc as betainc,
    betaincc as betaincc,
    log_betainc as log_betainc,
    log_betaincc as log_betaincc,
)
from ._incomplete_gamma import (
    gammainc as gammainc,
    gammaincc as gammaincc,
    log_gammainc as log_gammainc,
    log_gammaincc as log_gammaincc,
)
from ._lambertw import lambertw as lambertw, lambertw_exp as lambertw_exp
from ._log_series import expm1mx as expm1mx, log1pmx as log1pmx
from ._normal import (
    erfcinv as erfcinv,
    erfcx as erfcx,
    log_ndtr as log_ndtr,
    log_ndtr_difference as log_ndtr_difference,
    logerfc as logerfc,
    logerfcx as logerfcx,
    ndtr as ndtr,
    ndtri as ndtri,
    ndtri_exp as ndtri_exp,
)
from ._owens_t import owens_t as owens_t
from ._root_term import log_minus_digamma as log_minus_digamma
from ._stirling import (
    bd0 as bd0,
    log_gamma_correction as log_gamma_correction,
    log_gamma_difference as log_gamma_difference,
    multidigamma as multidigamma,
    multigammaln as multigammaln,
    stirlerr as stirlerr,
)
from ._student_t import log_stdtr as log_stdtr, stdtr as stdtr, stdtrit as stdtrit
from ._von_mises import (
    von_mises_cdf as von_mises_cdf,
    von_mises_cdf_inverse as von_mises_cdf_inverse,
)
