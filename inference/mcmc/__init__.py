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
from distrax_like.inference.mcmc._samples import Samples as Samples
from distrax_like.inference.mcmc._warmup import (
    Adaptation as Adaptation,
    FisherAdaptation as FisherAdaptation,
    StanAdaptation as StanAdaptation,
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
    "TransitionKernel",
    "sample",
    "sample_chain",
]
