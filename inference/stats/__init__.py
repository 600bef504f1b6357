"""Statistics of samples, convergence diagnostics of chains, and checks of models. Draws are `(draw, chain, ...)`."""

from ._calibrate_inference import (
    PosteriorPredictiveCheck as PosteriorPredictiveCheck,
    SimulationBasedCalibration as SimulationBasedCalibration,
    posterior_predictive_check as posterior_predictive_check,
    simulation_based_calibration as simulation_based_calibration,
)
from ._calibration import (
    BrierDecomposition as BrierDecomposition,
    CalibrationQuantiles as CalibrationQuantiles,
    brier_decomposition as brier_decomposition,
    brier_score as brier_score,
    expected_calibration_error as expected_calibration_error,
    expected_calibration_error_quantiles as expected_calibration_error_quantiles,
)
from ._diagnostics import (
    e_bfmi as e_bfmi,
    ess as ess,
    ess_bulk as ess_bulk,
    ess_quantile as ess_quantile,
    ess_tail as ess_tail,
    mcse_mean as mcse_mean,
    mcse_quantile as mcse_quantile,
    mcse_sd as mcse_sd,
    rhat as rhat,
    rhat_nested as rhat_nested,
)
from ._leave_one_out import (
    log_loomean_exp as log_loomean_exp,
    log_loosum_exp as log_loosum_exp,
    log_soomean_exp as log_soomean_exp,
    log_soosum_exp as log_soosum_exp,
)
from ._moments import (
    MovingMeanVariance as MovingMeanVariance,
    assign_log_moving_mean_exp as assign_log_moving_mean_exp,
    assign_moving_mean_variance as assign_moving_mean_variance,
    auto_correlation as auto_correlation,
    cholesky_covariance as cholesky_covariance,
    correlation as correlation,
    covariance as covariance,
    cumulative_variance as cumulative_variance,
    log_average_probs as log_average_probs,
    moving_mean_variance_zero_debiased as moving_mean_variance_zero_debiased,
    stddev as stddev,
    variance as variance,
    windowed_mean as windowed_mean,
    windowed_variance as windowed_variance,
)
from ._psis import (
    LOO as LOO,
    WAIC as WAIC,
    Comparison as Comparison,
    compare as compare,
    loo as loo,
    pareto_k_threshold as pareto_k_threshold,
    psis as psis,
    waic as waic,
)
from ._quantiles import (
    count_integers as count_integers,
    find_bins as find_bins,
    histogram as histogram,
    kendalls_tau as kendalls_tau,
    percentile as percentile,
    quantile_auc as quantile_auc,
    quantiles as quantiles,
)
from ._running import (
    RunningCentralMoments as RunningCentralMoments,
    RunningCovariance as RunningCovariance,
    RunningMean as RunningMean,
    RunningPotentialScaleReduction as RunningPotentialScaleReduction,
    RunningVariance as RunningVariance,
)
from ._sketch import RunningQuantiles as RunningQuantiles
from ._tfp import (
    effective_sample_size as effective_sample_size,
    potential_scale_reduction as potential_scale_reduction,
)
from ._uniformity import (
    ECDFBands as ECDFBands,
    ecdf_bands as ecdf_bands,
    uniformity_p_value as uniformity_p_value,
)
