"""Sequential Monte Carlo."""

from distrax_like.inference._resampling import (
    ess_below_threshold as ess_below_threshold,
    log_ess_from_log_weights as log_ess_from_log_weights,
    resample_deterministic_minimum_error as resample_deterministic_minimum_error,
    resample_independent as resample_independent,
    resample_residual as resample_residual,
    resample_stratified as resample_stratified,
    resample_systematic as resample_systematic,
)

from ._particle_filter import (
    FilteredParticles as FilteredParticles,
    SequentialMonteCarlo as SequentialMonteCarlo,
    SequentialMonteCarloResults as SequentialMonteCarloResults,
    SequentialMonteCarloState as SequentialMonteCarloState,
    Trajectories as Trajectories,
    WeightedParticles as WeightedParticles,
    infer_trajectories as infer_trajectories,
    particle_filter as particle_filter,
    reconstruct_trajectories as reconstruct_trajectories,
)
from ._random_walk import (
    gen_make_hmc_kernel_fn as gen_make_hmc_kernel_fn,
    make_rwmh_kernel_fn as make_rwmh_kernel_fn,
)
from ._tempered import (
    TemperedSamples as TemperedSamples,
    default_make_tempered_target_log_prob_fn as default_make_tempered_target_log_prob_fn,
    sample_sequential_monte_carlo as sample_sequential_monte_carlo,
    simple_heuristic_tuning as simple_heuristic_tuning,
)
