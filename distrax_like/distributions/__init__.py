"""Probability distributions.

One family a file. A class belongs to the family whose formulas it shares:

| file | family |
|---|---|
| `_distribution`, `_location_scale`, `_logits` | the base classes |
| `_normal` | normal, log-normal, half-normal, truncated, two-piece, logit-normal, exponentially modified |
| `_student_t` | Student's t, half-t, two-piece, normal-inverse Gaussian and other scale mixtures of normals |
| `_cauchy` | Cauchy, half-Cauchy, truncated |
| `_laplace` | Laplace, generalised normal, horseshoe |
| `_logistic` | logistic, log-logistic, ordered logistic, stopping-ratio logistic |
| `_extreme_value` | Gumbel, generalised extreme value, Weibull, Fréchet, Moyal |
| `_pareto` | Pareto, generalised Pareto, Zipf |
| `_gamma` | gamma, exponential, inverse gamma, chi and chi-squared, their logarithms, compounds of gammas |
| `_inverse_gaussian` | inverse Gaussian |
| `_noncentral` | noncentral chi-squared, Skellam |
| `_beta` | beta, Dirichlet, Kumaraswamy, PERT, ratios of betas, their logits |
| `_uniform` | uniform, triangular, Bates |
| `_warped` | sinh-arcsinh, Johnson's SU, Lambert W |
| `_von_mises` | distributions of angles and directions: von Mises, von Mises-Fisher, power spherical, uniform |
| `_bernoulli`, `_binomial`, `_poisson` | counts and their compounds: negative binomial, beta-binomial, inflated |
| `_categorical` | categorical, one-hot, multinomial, Dirichlet-multinomial, finite, Plackett-Luce |
| `_relaxed` | relaxed Bernoulli and categorical, continuous Bernoulli |
| `_deterministic`, `_flat` | point masses, terms of a log density, empirical distributions; improper priors |
| `_mvn` | multivariate normal, by the form of the scale |
| `_multivariate_t`, `_matrix_variate` | multivariate t; matrix normal and t |
| `_wishart`, `_lkj` | Wishart; correlation matrices and their factors |
| `_determinantal` | determinantal point processes |
| `_wrappers` | of one other: batch dimensions as events, repetition, broadcasting, masks |
| `_mixture` | mixtures |
| `_transformed`, `_truncated` | images under bijectors; truncation, folding, rounding, censoring |
| `_joint`, `_joint_models` | joint distributions |
| `_markov`, `_hidden_markov` | Markov chains, autoregressive sequences; hidden Markov models |
| `_gaussian_process` | Gaussian and Student-t processes |
"""

from ._bernoulli import Bernoulli as Bernoulli
from ._beta import Beta as Beta, Dirichlet as Dirichlet
from ._binomial import Binomial as Binomial
from ._categorical import Categorical as Categorical
from ._cauchy import HalfCauchy as HalfCauchy
from ._deterministic import (
    Deterministic as Deterministic,
    IncrementLogProb as IncrementLogProb,
    VectorDeterministic as VectorDeterministic,
)
from ._distribution import Distribution as Distribution
from ._flat import Flat as Flat, HalfFlat as HalfFlat
from ._gamma import Exponential as Exponential, Gamma as Gamma
from ._gaussian_process import (
    GaussianProcess as GaussianProcess,
    GaussianProcessRegressionModel as GaussianProcessRegressionModel,
)
from ._hidden_markov import HiddenMarkovModel as HiddenMarkovModel
from ._joint import (
    JointDistribution as JointDistribution,
    JointDistributionPinned as JointDistributionPinned,
    Model as Model,
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
from ._location_scale import LocationScale as LocationScale
from ._logits import BinaryLogits as BinaryLogits, CategoricalLogits as CategoricalLogits
from ._mixture import MixtureSameFamily as MixtureSameFamily
from ._mvn import (
    MultivariateNormalDiag as MultivariateNormalDiag,
    MultivariateNormalTriL as MultivariateNormalTriL,
)
from ._normal import HalfNormal as HalfNormal, LogNormal as LogNormal, Normal as Normal
from ._poisson import Poisson as Poisson
from ._student_t import StudentT as StudentT
from ._transformed import TransformedDistribution as TransformedDistribution
from ._uniform import Uniform as Uniform
from ._wrappers import Independent as Independent, Sample as Sample
