"""Markov chain Monte Carlo."""

from distrax_like.inference.mcmc._adaptation import (
    DualAveragingState as DualAveragingState,
    DualAveragingStepSizeAdaptation as DualAveragingStepSizeAdaptation,
)
from distrax_like.inference.mcmc._annealed import (
    AISResults as AISResults,
    AnnealedImportanceChains as AnnealedImportanceChains,
    sample_annealed_importance_chain as sample_annealed_importance_chain,
)
from distrax_like.inference.mcmc._debug import Finding as Finding, Report as Report, debug as debug
from distrax_like.inference.mcmc._density import (
    DensityState as DensityState,
)
from distrax_like.inference.mcmc._elliptical_slice import (
    EllipticalSliceInfo as EllipticalSliceInfo,
    EllipticalSliceSampler as EllipticalSliceSampler,
    EllipticalSliceState as EllipticalSliceState,
)
from distrax_like.inference.mcmc._ghmc import (
    GeneralizedHamiltonianMonteCarlo as GeneralizedHamiltonianMonteCarlo,
    PersistentState as PersistentState,
    meads as meads,
)
from distrax_like.inference.mcmc._gibbs import (
    ConditionalInfo as ConditionalInfo,
    ConditionalSampler as ConditionalSampler,
    ConditionalTarget as ConditionalTarget,
    GibbsInfo as GibbsInfo,
    GibbsKernel as GibbsKernel,
    GibbsState as GibbsState,
)
from distrax_like.inference.mcmc._hmc import (
    HamiltonianMonteCarlo as HamiltonianMonteCarlo,
    UncalibratedHamiltonianMonteCarlo as UncalibratedHamiltonianMonteCarlo,
)
from distrax_like.inference.mcmc._kernel import (
    HamiltonianInfo as HamiltonianInfo,
    HamiltonianState as HamiltonianState,
    InterleavedKernel as InterleavedKernel,
    TransitionKernel as TransitionKernel,
)
from distrax_like.inference.mcmc._langevin import (
    MetropolisAdjustedLangevinAlgorithm as MetropolisAdjustedLangevinAlgorithm,
    UncalibratedLangevin as UncalibratedLangevin,
)
from distrax_like.inference.mcmc._mclmc import (
    AdjustedMicrocanonicalLangevin as AdjustedMicrocanonicalLangevin,
    MicrocanonicalInfo as MicrocanonicalInfo,
    MicrocanonicalLangevin as MicrocanonicalLangevin,
    MicrocanonicalState as MicrocanonicalState,
    tune_microcanonical_langevin as tune_microcanonical_langevin,
)
from distrax_like.inference.mcmc._metric import (
    DenseMetric as DenseMetric,
    DiagonalMetric as DiagonalMetric,
    LowRankMetric as LowRankMetric,
    Metric as Metric,
)
from distrax_like.inference.mcmc._metropolis_hastings import (
    MetropolisHastings as MetropolisHastings,
    MetropolisHastingsInfo as MetropolisHastingsInfo,
    UncalibratedInfo as UncalibratedInfo,
)
from distrax_like.inference.mcmc._nuts import NoUTurnSampler as NoUTurnSampler
from distrax_like.inference.mcmc._random_walk import (
    RandomWalkMetropolis as RandomWalkMetropolis,
    UncalibratedRandomWalk as UncalibratedRandomWalk,
    random_walk_normal_fn as random_walk_normal_fn,
    random_walk_uniform_fn as random_walk_uniform_fn,
)
from distrax_like.inference.mcmc._replica_exchange import (
    ReplicaExchangeInfo as ReplicaExchangeInfo,
    ReplicaExchangeMC as ReplicaExchangeMC,
    ReplicaExchangeState as ReplicaExchangeState,
    TemperedTarget as TemperedTarget,
    default_swap_proposal_fn as default_swap_proposal_fn,
    even_odd_swap_proposal_fn as even_odd_swap_proposal_fn,
)
from distrax_like.inference.mcmc._run import KernelResults as KernelResults
from distrax_like.inference.mcmc._sample import sample as sample
from distrax_like.inference.mcmc._sample_chain import (
    CheckpointableStatesAndTrace as CheckpointableStatesAndTrace,
    StatesAndTrace as StatesAndTrace,
    sample_chain as sample_chain,
)
from distrax_like.inference.mcmc._samples import Samples as Samples, Summary as Summary
from distrax_like.inference.mcmc._slice import (
    SliceInfo as SliceInfo,
    SliceSampler as SliceSampler,
)
from distrax_like.inference.mcmc._trajectory_length import (
    DynamicHamiltonianMonteCarlo as DynamicHamiltonianMonteCarlo,
    DynamicState as DynamicState,
    chees_criterion as chees_criterion,
    sample_snaper_hmc as sample_snaper_hmc,
    snaper_criterion as snaper_criterion,
)
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
    "AISResults",
    "Adaptation",
    "AdjustedMicrocanonicalLangevin",
    "AnnealedImportanceChains",
    "CheckpointableStatesAndTrace",
    "ConditionalInfo",
    "ConditionalSampler",
    "ConditionalTarget",
    "DenseMetric",
    "DensityState",
    "DiagonalMetric",
    "DualAveragingState",
    "DualAveragingStepSizeAdaptation",
    "DynamicHamiltonianMonteCarlo",
    "DynamicState",
    "EllipticalSliceInfo",
    "EllipticalSliceSampler",
    "EllipticalSliceState",
    "Finding",
    "FisherAdaptation",
    "GeneralizedHamiltonianMonteCarlo",
    "GibbsInfo",
    "GibbsKernel",
    "GibbsState",
    "HamiltonianInfo",
    "HamiltonianMonteCarlo",
    "HamiltonianState",
    "InterleavedKernel",
    "KernelResults",
    "LowRankMetric",
    "Metric",
    "MetropolisAdjustedLangevinAlgorithm",
    "MetropolisHastings",
    "MetropolisHastingsInfo",
    "MicrocanonicalInfo",
    "MicrocanonicalLangevin",
    "MicrocanonicalState",
    "NoUTurnSampler",
    "PersistentState",
    "RandomWalkMetropolis",
    "ReplicaExchangeInfo",
    "ReplicaExchangeMC",
    "ReplicaExchangeState",
    "Report",
    "Samples",
    "SliceInfo",
    "SliceSampler",
    "StanAdaptation",
    "StatesAndTrace",
    "Summary",
    "TemperedTarget",
    "TransitionKernel",
    "UncalibratedHamiltonianMonteCarlo",
    "UncalibratedInfo",
    "UncalibratedLangevin",
    "UncalibratedRandomWalk",
    "chees_criterion",
    "debug",
    "default_swap_proposal_fn",
    "effective_sample_size",
    "even_odd_swap_proposal_fn",
    "meads",
    "potential_scale_reduction",
    "random_walk_normal_fn",
    "random_walk_uniform_fn",
    "sample",
    "sample_annealed_importance_chain",
    "sample_chain",
    "sample_snaper_hmc",
    "snaper_criterion",
    "tune_microcanonical_langevin",
]
