"""Probability distributions."""

from distrax_like.distributions._categorical import Bernoulli as Bernoulli, Categorical as Categorical
from distrax_like.distributions._distribution import Distribution as Distribution
from distrax_like.distributions._kl import (
    kl_divergence as kl_divergence,
    monte_carlo_kl_divergence as monte_carlo_kl_divergence,
    register_kl as register_kl,
)
from distrax_like.distributions._mvn import (
    MultivariateNormalDiag as MultivariateNormalDiag,
    MultivariateNormalTriL as MultivariateNormalTriL,
)
from distrax_like.distributions._normal import Normal as Normal
from distrax_like.distributions._transformed import TransformedDistribution as TransformedDistribution
from distrax_like.distributions._wrappers import Independent as Independent, Sample as Sample
