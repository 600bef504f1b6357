"""Markov chain Monte Carlo."""

from distrax_like.inference.mcmc._adaptation import (
    DualAveragingState as DualAveragingState,
    DualAveragingStepSizeAdaptation as DualAveragingStepSizeAdaptation,
)
from distrax_like.inference.mcmc._hmc import HamiltonianMonteCarlo as HamiltonianMonteCarlo
from distrax_like.inference.mcmc._kernel import (
    HamiltonianInfo as HamiltonianInfo,
    HamiltonianState as HamiltonianState,
    InterleavedKernel as InterleavedKernel,
    TransitionKernel as TransitionKernel,
)
from distrax_like.inference.mcmc._metric import (
    DenseMetric as DenseMetric,
    DiagonalMetric as DiagonalMetric,
    LowRankMetric as LowRankMetric,
    Metric as Metric,
)
from distrax_like.inference.mcmc._nuts import NoUTurnSampler as NoUTurnSampler
from distrax_like.inference.mcmc._run import KernelResults as KernelResults
from distrax_like.inference.mcmc._sample import sample as sample
from distrax_like.inference.mcmc._sample_chain import (
    CheckpointableStatesAndTrace as CheckpointableStatesAndTrace,
    StatesAndTrace as StatesAndTrace,
    sample_chain as sample_chain,
)
from distrax_like.inference.mcmc._samples import Samples as Samples, Summary as Summary
from distrax_like.inference.mcmc._warmup import (
    Adaptation as Adaptation,
    FisherAdaptation as FisherAdaptation,
    StanAdaptation as StanAdaptation,
)
from distrax_like.inference.stats import (
    effective_sample_size as effective_sample_size,
    potential_scale_reduction as potential_scale_reduction,
)

__all__ = [
    "Adaptation",
    "CheckpointableStatesAndTrace",
    "DenseMetric",
    "DiagonalMetric",
    "DualAveragingState",
    "DualAveragingStepSizeAdaptation",
    "FisherAdaptation",
    "HamiltonianInfo",
    "HamiltonianMonteCarlo",
    "HamiltonianState",
    "InterleavedKernel",
    "KernelResults",
    "LowRankMetric",
    "Metric",
    "NoUTurnSampler",
    "Samples",
    "StanAdaptation",
    "StatesAndTrace",
    "Summary",
    "TransitionKernel",
    "effective_sample_size",
    "potential_scale_reduction",
    "sample",
    "sample_chain",
]
