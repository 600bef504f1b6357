"""Markov chain Monte Carlo.

What is where:

- `_kernel.py`: the protocol of transition kernels. `_hamiltonian.py`: what the kernels with gradients share.
  `_density.py`: what those without share. `_metropolis_hastings.py`: accepting what another kernel proposes.
- One file for each family of kernels: `_hmc.py`, `_nuts.py`, `_langevin.py`, `_ghmc.py`, `_mclmc.py`,
  `_trajectory_length.py` (ChEES, SNAPER), `_random_walk.py`, `_slice.py`, `_elliptical_slice.py`; and for those made of
  other kernels: `_gibbs.py`, `_replica_exchange.py`, `_adaptation.py` (of the step size). `_metric.py`: inverse mass
  matrices. `_annealed.py`: annealed importance sampling.
- Drivers: `_sample.py` with its warm-up (`_warmup.py`), and `_sample_chain.py`, on the compiled loop in `_run.py`.
  `_results.py`: what a run of `sample` collects. `_checkpoint.py`: its folder. `_identity.py`: which run that is of.
  `_samples.py`: what `sample` returns. `_debug.py`: checks of a model before a run. `_diagnose.py`: what is wrong with
  one after it. `_predictive.py`: likelihoods and predictive draws of a model beside its draws.

To add a sampler: write a `TransitionKernel` with `init` and `step` in a file of its own, with a state and an info that
hold what `KernelState` and `KernelInfo` say; a subclass of `HamiltonianKernel` or `DensityKernel` has most of it.
Export it here. Test that it leaves a target invariant and that broken versions of it do not, as in
`tests/inference/mcmc/test_simple_kernels.py`.
"""

from distrax_like._misc import Seed as Seed
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
from ._diagnose import diagnose as diagnose
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
from ._hamiltonian import (
    HamiltonianInfo as HamiltonianInfo,
    HamiltonianState as HamiltonianState,
)
from ._hmc import (
    HamiltonianMonteCarlo as HamiltonianMonteCarlo,
    UncalibratedHamiltonianMonteCarlo as UncalibratedHamiltonianMonteCarlo,
)
from ._kernel import (
    InterleavedKernel as InterleavedKernel,
    KernelInfo as KernelInfo,
    KernelState as KernelState,
    LogDensity as LogDensity,
    Position as Position,
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
from ._predictive import (
    compare as compare,
    log_likelihood as log_likelihood,
    loo as loo,
    predictive as predictive,
)
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
from ._sample import SamplingWarning as SamplingWarning, sample as sample
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
