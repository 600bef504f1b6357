"""Markov chain Monte Carlo."""

from distrax_like.inference.stats import (
    effective_sample_size as effective_sample_size,
    potential_scale_reduction as potential_scale_reduction,
)

from ._adaptation import (
    DualAveragingState as DualAveragingState,
    DualAveragingStepSizeAdaptation as DualAveragingStepSizeAdaptation,
)
from ._annealed import (
    AISResults as AISResults,
    AnnealedImportanceChains as AnnealedImportanceChains,
    sample_annealed_importance_chain as sample_annealed_importance_chain,
)
from ._debug import Finding as Finding, Report as Report, debug as debug
from ._density import (
    DensityState as DensityState,
)
from ._elliptical_slice import (
    EllipticalSliceInfo as EllipticalSliceInfo,
    EllipticalSliceSampler as EllipticalSliceSampler,
    EllipticalSliceState as EllipticalSliceState,
)
from ._ghmc import (
    GeneralizedHamiltonianMonteCarlo as GeneralizedHamiltonianMonteCarlo,
    PersistentState as PersistentState,
    meads as meads,
)
from ._gibbs import (
    ConditionalInfo as ConditionalInfo,
    ConditionalSampler as ConditionalSampler,
    ConditionalTarget as ConditionalTarget,
    GibbsInfo as GibbsInfo,
    GibbsKernel as GibbsKernel,
    GibbsState as GibbsState,
)
from ._hmc import (
    HamiltonianMonteCarlo as HamiltonianMonteCarlo,
    UncalibratedHamiltonianMonteCarlo as UncalibratedHamiltonianMonteCarlo,
)
from ._kernel import (
    HamiltonianInfo as HamiltonianInfo,
    HamiltonianState as HamiltonianState,
    InterleavedKernel as InterleavedKernel,
    TransitionKernel as TransitionKernel,
)
from ._langevin import (
    MetropolisAdjustedLangevinAlgorithm as MetropolisAdjustedLangevinAlgorithm,
    UncalibratedLangevin as UncalibratedLangevin,
)
from ._mclmc import (
    AdjustedMicrocanonicalLangevin as AdjustedMicrocanonicalLangevin,
    MicrocanonicalInfo as MicrocanonicalInfo,
    MicrocanonicalLangevin as MicrocanonicalLangevin,
    MicrocanonicalState as MicrocanonicalState,
    tune_microcanonical_langevin as tune_microcanonical_langevin,
)
from ._metric import (
    DenseMetric as DenseMetric,
    DiagonalMetric as DiagonalMetric,
    LowRankMetric as LowRankMetric,
    Metric as Metric,
)
from ._metric_adaptation import (
    Adaptation as Adaptation,
    FisherAdaptation as FisherAdaptation,
    StanAdaptation as StanAdaptation,
)
from ._metropolis_hastings import (
    MetropolisHastings as MetropolisHastings,
    MetropolisHastingsInfo as MetropolisHastingsInfo,
    UncalibratedInfo as UncalibratedInfo,
)
from ._nuts import NoUTurnSampler as NoUTurnSampler
from ._random_walk import (
    RandomWalkMetropolis as RandomWalkMetropolis,
    UncalibratedRandomWalk as UncalibratedRandomWalk,
    random_walk_normal_fn as random_walk_normal_fn,
    random_walk_uniform_fn as random_walk_uniform_fn,
)
from ._replica_exchange import (
    ReplicaExchangeInfo as ReplicaExchangeInfo,
    ReplicaExchangeMC as ReplicaExchangeMC,
    ReplicaExchangeState as ReplicaExchangeState,
    TemperedTarget as TemperedTarget,
    default_swap_proposal_fn as default_swap_proposal_fn,
    even_odd_swap_proposal_fn as even_odd_swap_proposal_fn,
)
from ._run import KernelResults as KernelResults
from ._sample import sample as sample
from ._sample_chain import (
    CheckpointableStatesAndTrace as CheckpointableStatesAndTrace,
    StatesAndTrace as StatesAndTrace,
    sample_chain as sample_chain,
)
from ._samples import Samples as Samples, Summary as Summary
from ._slice import (
    SliceInfo as SliceInfo,
    SliceSampler as SliceSampler,
)
from ._trajectory_length import (
    DynamicHamiltonianMonteCarlo as DynamicHamiltonianMonteCarlo,
    DynamicState as DynamicState,
    chees_criterion as chees_criterion,
    sample_snaper_hmc as sample_snaper_hmc,
    snaper_criterion as snaper_criterion,
)
