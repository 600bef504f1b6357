"""Probability distributions."""

from distrax_like.distributions._beta import Beta as Beta, Dirichlet as Dirichlet
from distrax_like.distributions._categorical import Bernoulli as Bernoulli, Categorical as Categorical
from distrax_like.distributions._cauchy import HalfCauchy as HalfCauchy
from distrax_like.distributions._counts import Binomial as Binomial, Poisson as Poisson
from distrax_like.distributions._distribution import Distribution as Distribution
from distrax_like.distributions._gamma import Exponential as Exponential, Gamma as Gamma
from distrax_like.distributions._gaussian_process import (
    GaussianProcess as GaussianProcess,
    GaussianProcessRegressionModel as GaussianProcessRegressionModel,
)
from distrax_like.distributions._hidden_markov import HiddenMarkovModel as HiddenMarkovModel
from distrax_like.distributions._joint import (
    JointDistribution as JointDistribution,
    JointDistributionPinned as JointDistributionPinned,
    UnconstrainedDensity as UnconstrainedDensity,
)
from distrax_like.distributions._joint_models import (
    JointDistributionCoroutine as JointDistributionCoroutine,
    JointDistributionCoroutineAutoBatched as JointDistributionCoroutineAutoBatched,
    JointDistributionNamed as JointDistributionNamed,
    JointDistributionNamedAutoBatched as JointDistributionNamedAutoBatched,
    JointDistributionSequential as JointDistributionSequential,
    JointDistributionSequentialAutoBatched as JointDistributionSequentialAutoBatched,
)
from distrax_like.distributions._kl import (
    kl_divergence as kl_divergence,
    monte_carlo_kl_divergence as monte_carlo_kl_divergence,
    register_kl as register_kl,
)
from distrax_like.distributions._mixture import MixtureSameFamily as MixtureSameFamily
from distrax_like.distributions._mvn import (
    MultivariateNormalDiag as MultivariateNormalDiag,
    MultivariateNormalTriL as MultivariateNormalTriL,
)
from distrax_like.distributions._normal import HalfNormal as HalfNormal, LogNormal as LogNormal, Normal as Normal
from distrax_like.distributions._student_t import StudentT as StudentT
from distrax_like.distributions._transformed import TransformedDistribution as TransformedDistribution
from distrax_like.distributions._uniform import Uniform as Uniform
from distrax_like.distributions._wrappers import Independent as Independent, Sample as Sample

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Gamma",
    "GaussianProcess",
    "GaussianProcessRegressionModel",
    "HalfCauchy",
    "HalfNormal",
    "HiddenMarkovModel",
    "Independent",
    "JointDistribution",
    "JointDistributionCoroutine",
    "JointDistributionCoroutineAutoBatched",
    "JointDistributionNamed",
    "JointDistributionNamedAutoBatched",
    "JointDistributionPinned",
    "JointDistributionSequential",
    "JointDistributionSequentialAutoBatched",
    "LogNormal",
    "MixtureSameFamily",
    "MultivariateNormalDiag",
    "MultivariateNormalTriL",
    "Normal",
    "Poisson",
    "Sample",
    "StudentT",
    "TransformedDistribution",
    "UnconstrainedDensity",
    "Uniform",
    "kl_divergence",
    "monte_carlo_kl_divergence",
    "register_kl",
]
