"""Probability distributions."""

from ._beta import Beta as Beta, Dirichlet as Dirichlet
from ._categorical import Bernoulli as Bernoulli, Categorical as Categorical
from ._cauchy import HalfCauchy as HalfCauchy
from ._counts import Binomial as Binomial, Poisson as Poisson
from ._distribution import Distribution as Distribution
from ._gamma import Exponential as Exponential, Gamma as Gamma
from ._gaussian_process import (
    GaussianProcess as GaussianProcess,
    GaussianProcessRegressionModel as GaussianProcessRegressionModel,
)
from ._hidden_markov import HiddenMarkovModel as HiddenMarkovModel
from ._joint import (
    JointDistribution as JointDistribution,
    JointDistributionPinned as JointDistributionPinned,
    UnconstrainedDensity as UnconstrainedDensity,
)
from ._joint_models import (
    JointDistributionCoroutine as JointDistributionCoroutine,
    JointDistributionCoroutineAutoBatched as JointDistributionCoroutineAutoBatched,
    JointDistributionNamed as JointDistributionNamed,
    JointDistributionNamedAutoBatched as JointDistributionNamedAutoBatched,
    JointDistributionSequential as JointDistributionSequential,
    JointDistributionSequentialAutoBatched as JointDistributionSequentialAutoBatched,
)
from ._kl import (
    kl_divergence as kl_divergence,
    monte_carlo_kl_divergence as monte_carlo_kl_divergence,
    register_kl as register_kl,
)
from ._mixture import MixtureSameFamily as MixtureSameFamily
from ._mvn import (
    MultivariateNormalDiag as MultivariateNormalDiag,
    MultivariateNormalTriL as MultivariateNormalTriL,
)
from ._normal import HalfNormal as HalfNormal, LogNormal as LogNormal, Normal as Normal
from ._student_t import StudentT as StudentT
from ._transformed import TransformedDistribution as TransformedDistribution
from ._uniform import Uniform as Uniform
from ._wrappers import Independent as Independent, Sample as Sample
