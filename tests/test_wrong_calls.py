"""Wrong calls of the public functions and constructors: each raises an error that names where it is wrong, and what."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like import bijectors, distributions as D, inference, kernels as K, validate
from distrax_like.inference import mcmc as M

# What the expressions below may use beside the names of this module.
SCOPE = {
    "B": bijectors,
    "I": inference,
    "O": inference.optimizer,
    "S": inference.stats,
    "smc": inference.smc,
    "vi": inference.vi,
    "validate": validate,
}

KEY = jax.random.key(0)
A = np.asarray
MASKED = np.ma.masked_array([1.0, 2.0], [False, True])


def f(x):
    return -0.5 * jnp.sum(x**2)


def g(x):
    return jnp.sum(x**2), 2 * x


def model():
    mu = yield "mu", D.Normal(0.0, 1.0)
    yield "y", D.Sample(D.Normal(mu, 1.0), 3)


JOINT = D.JointDistributionCoroutine(model)
PINNED = JOINT.pin(y=jnp.zeros(3))
FEW = {"num_samples": 2, "num_warmup": 2, "num_chains": 2, "seed": KEY}
NORMAL = D.Normal(0.0, 1.0)
THREE = D.Normal(jnp.zeros(3), 1.0)
CATEGORICAL = D.Categorical(logits=jnp.zeros(2))
RBF = K.ExponentiatedQuadratic(1.0, 1.0)
NUTS = M.NoUTurnSampler(f, 0.1)
HMM = D.HiddenMarkovModel(CATEGORICAL, D.Categorical(logits=jnp.zeros((2, 2))), D.Normal(jnp.zeros(2), 1.0), 5)
DRAWS = np.random.default_rng(0).normal(size=(20, 4))
POINTS = jnp.zeros((4, 1))

# What no array of real numbers is.
NO_ARRAYS = ["'a'", "{'a': 1}", "KEY", "jnp.exp", "1j", "D.Normal", "A([1, None], object)", "MASKED", "['a', 'b']"]

# Constructors and functions with good arguments; of which the first ones are arrays, each replaced by what is none.
# `array?` stands for one that may be None.
ARRAYS = {
    "D.Normal": ("loc=0.0, scale=1.0", "loc scale"),
    "D.LogNormal": ("loc=0.0, scale=1.0", "loc scale"),
    "D.HalfNormal": ("scale=1.0", "scale"),
    "D.HalfCauchy": ("loc=0.0, scale=1.0", "loc scale"),
    "D.StudentT": ("df=3.0, loc=0.0, scale=1.0", "df loc scale"),
    "D.Exponential": ("rate=1.0", "rate"),
    "D.Gamma": ("concentration=1.0, rate=1.0", "concentration rate?"),
    "D.Beta": ("concentration1=1.0, concentration0=1.0", "concentration1 concentration0"),
    "D.Dirichlet": ("concentration=jnp.ones(3)", "concentration"),
    "D.Uniform": ("low=0.0, high=1.0", "low high"),
    "D.Poisson": ("rate=1.0", "rate?"),
    "D.Bernoulli": ("probs=0.5", "probs?"),
    "D.Categorical": ("logits=jnp.zeros(3)", "logits?"),
    "D.Binomial": ("total_count=5, probs=0.5", "total_count probs?"),
    "D.MultivariateNormalDiag": ("loc=jnp.zeros(2), scale_diag=jnp.ones(2)", "loc? scale_diag?"),
    "D.MultivariateNormalTriL": ("loc=jnp.zeros(2), scale_tril=jnp.eye(2)", "loc? scale_tril?"),
    "D.GaussianProcess": ("kernel=RBF, index_points=POINTS", "index_points?"),
    "B.Shift": ("shift=1.0", "shift"),
    "B.Scale": ("scale=1.0", "scale?"),
    "B.Softplus": ("hinge_softness=1.0", "hinge_softness?"),
    "B.ScaleMatvecDiag": ("scale_diag=jnp.ones(2)", "scale_diag"),
    "B.ScaleMatvecTriL": ("scale_tril=jnp.eye(2)", "scale_tril"),
    "K.Constant": ("constant=1.0", "constant"),
    "K.ExponentiatedQuadratic": ("amplitude=1.0", "amplitude?"),
    "K.MaternOneHalf": ("length_scale=1.0", "length_scale?"),
    "K.FeatureScaled": ("kernel=RBF, scale_diag=jnp.ones(1)", "scale_diag?"),
    "M.NoUTurnSampler": ("target_log_prob_fn=f, step_size=0.1", "step_size"),
    "M.DiagonalMetric": ("scale=1.0", "scale"),
    "S.loo": ("log_likelihood=DRAWS", "log_likelihood"),
    "S.percentile": ("x=DRAWS, q=50.0", "x q"),
    "smc.resample_systematic": ("log_probs=jnp.zeros(3), event_size=2, seed=KEY", "log_probs"),
    "O.bfgs_minimize": ("value_and_gradients_function=g, initial_position=jnp.ones(2), tolerance=1e-3", "tolerance"),
}

# What no integer is, and the arguments that must be one.
NO_INTEGERS = ["2.5", "'a'", "True", "jnp.ones(2)", "jnp.exp"]
INTEGERS = {
    "B.Exp().forward_and_log_det": ("x=0.0, event_ndims=0", "event_ndims?"),
    "RBF.apply": ("x1=POINTS, x2=POINTS, example_ndims=1", "example_ndims"),
    "K.Power": ("kernel=RBF, exponent=2", "exponent"),
    "K.Constant": ("constant=1.0, feature_ndims=1", "feature_ndims"),
    "D.HiddenMarkovModel": (
        "initial_distribution=HMM.initial_distribution, transition_distribution=HMM.transition_distribution, "
        "observation_distribution=HMM.observation_distribution, num_steps=5",
        "num_steps",
    ),
    "D.Independent": ("distribution=THREE, reinterpreted_batch_ndims=1", "reinterpreted_batch_ndims?"),
    "M.NoUTurnSampler": ("target_log_prob_fn=f, step_size=0.1, max_tree_depth=5", "max_tree_depth"),
    "M.HamiltonianMonteCarlo": ("target_log_prob_fn=f, step_size=0.1, num_leapfrog_steps=5", "num_leapfrog_steps"),
    "M.SliceSampler": ("target_log_prob_fn=f, step_size=0.1, max_doublings=5", "max_doublings"),
    "M.DualAveragingStepSizeAdaptation": ("inner_kernel=NUTS, num_adaptation_steps=5", "num_adaptation_steps"),
    "M.sample_chain": (
        "num_results=5, current_state=0.0, kernel=NUTS, seed=KEY, num_burnin_steps=1, num_steps_between_results=1",
        "num_results num_burnin_steps num_steps_between_results",
    ),
    "vi.pathfinder": (
        "target=f, init=jnp.zeros(2), seed=KEY, num_draws=5, num_paths=2, num_elbo_draws=3",
        "num_draws num_paths num_elbo_draws",
    ),
    "O.lbfgs_minimize": (
        "value_and_gradients_function=g, initial_position=jnp.ones(2), max_iterations=5, num_correction_pairs=3",
        "max_iterations num_correction_pairs",
    ),
    "smc.resample_systematic": ("log_probs=jnp.zeros(3), event_size=2, seed=KEY", "event_size"),
    "smc.sample_sequential_monte_carlo": (
        "prior_log_prob_fn=f, likelihood_log_prob_fn=f, current_state=jnp.ones((9, 2)), max_stage=5, num_particles=5, "
        "seed=KEY",
        "max_stage num_particles",
    ),
    "S.quantiles": ("x=DRAWS, num_quantiles=4", "num_quantiles"),
}

# Arguments that must be instances of a class, or functions.
NO_INSTANCES = ["None", "3", "'a'", "D.Normal", "B.Exp"]
INSTANCES = {
    "D.Independent": ("distribution=THREE", "distribution"),
    "D.Sample": ("distribution=NORMAL, sample_shape=2", "distribution"),
    "D.TransformedDistribution": ("distribution=NORMAL, bijector=B.Exp()", "distribution bijector"),
    "D.MixtureSameFamily": (
        "mixture_distribution=CATEGORICAL, components_distribution=D.Normal(jnp.zeros(2), 1.0)",
        "mixture_distribution components_distribution",
    ),
    "D.GaussianProcess": ("kernel=RBF, index_points=POINTS", "kernel"),
    "NORMAL.kl_divergence": ("other=NORMAL", "other"),
    "NORMAL.cross_entropy": ("other=NORMAL", "other"),
    "B.Invert": ("bijector=B.Exp()", "bijector"),
    "B.TransformDiagonal": ("diag_bijector=B.Exp()", "diag_bijector"),
    "B.FillScaleTriL": ("diag_bijector=B.Exp()", "diag_bijector?"),
    "B.Chain": ("bijectors=[B.Exp()]", "bijectors"),
    "K.Power": ("kernel=RBF, exponent=2", "kernel"),
    "K.FeatureScaled": ("kernel=RBF, scale_diag=jnp.ones(1)", "kernel"),
    "K.Sum": ("kernels=[RBF]", "kernels"),
    "M.MetropolisHastings": ("inner_kernel=M.UncalibratedRandomWalk(f)", "inner_kernel"),
    "M.DualAveragingStepSizeAdaptation": ("inner_kernel=NUTS, num_adaptation_steps=5", "inner_kernel"),
    "M.NoUTurnSampler": ("target_log_prob_fn=f, step_size=0.1, metric=None", "metric?"),
    "M.sample_chain": ("num_results=5, current_state=0.0, kernel=NUTS, seed=KEY", "kernel"),
    "M.sample_annealed_importance_chain": (
        "num_steps=3, proposal_log_prob_fn=f, target_log_prob_fn=f, current_state=0.0, seed=KEY, "
        "make_kernel_fn=lambda f: NUTS",
        "make_kernel_fn!",
    ),
}
NO_FUNCTIONS = ["None", "3", "'a'"]
FUNCTIONS = {
    "D.GaussianProcess": ("kernel=RBF, index_points=POINTS, mean_fn=f", "mean_fn?"),
    "M.NoUTurnSampler": ("target_log_prob_fn=f, step_size=0.1", "target_log_prob_fn"),
    "M.RandomWalkMetropolis": ("target_log_prob_fn=f", "target_log_prob_fn"),
    "M.EllipticalSliceSampler": ("normal_sampler_fn=f, log_likelihood_fn=f", "log_likelihood_fn"),
    "O.bfgs_minimize": (
        "value_and_gradients_function=g, initial_position=jnp.ones(2), stopping_condition=None",
        "value_and_gradients_function stopping_condition?",
    ),
    "smc.particle_filter": (
        "observations=jnp.zeros(3), initial_state_prior=NORMAL, transition_fn=f, observation_fn=f, num_particles=3, "
        "seed=KEY",
        "transition_fn observation_fn",
    ),
}


def calls_of(table, wrong_values):
    for callee, (good, names) in table.items():
        for name in names.split():
            if name.endswith("!"):
                continue
            allowed = "None" if name.endswith("?") else ""
            name = name.rstrip("?")
            for value in dict.fromkeys([*wrong_values, "None"]):
                is_tree = name == "step_size" and value == "{'a': 1}"  # a step size for each part of the state
                if value != allowed and not is_tree:
                    kept = [x for x in re.split(r", (?=\w+=)", good) if not x.startswith(f"{name}=")]
                    yield f"{callee}({', '.join([*kept, f'{name}={value}'])})", name


# An expression, and words of its message.
SINGLE = {
    "constructors": """
        D.Normal(jnp.zeros(2), jnp.ones(3)) | Normal: batch shapes
        D.Normal([[1.0], [1.0, 2.0]], 1.0) | Normal: loc must be an array
        D.Normal(0.0, 1.0, name="x") | Normal: name is not an argument; modules take no name
        D.Normal(0.0, 1.0, validate_args=True) | Normal: validate_args
        B.Exp(name="e") | Exp: name
        RBF.__class__(1.0, name="k") | ExponentiatedQuadratic: name
        D.Bernoulli(0.0, 0.5) | Bernoulli takes exactly one of
        D.Bernoulli() | Bernoulli takes exactly one
        D.Gamma(1.0) | Gamma takes exactly one of rate and log_rate
        D.Poisson() | Poisson takes exactly one
        D.Bernoulli(probs=0.5, dtype="banana") | Bernoulli: dtype
        D.Categorical(probs=A([0.5, 0.5]), dtype="banana") | Categorical: dtype
        D.Categorical(probs=A([])) | Categorical: probs
        D.Categorical(logits=jnp.zeros((3, 0))) | Categorical: logits
        D.Categorical(logits=0.0) | Categorical: logits
        D.Dirichlet(1.0) | Dirichlet: concentration
        D.Dirichlet(jnp.zeros(0)) | Dirichlet: concentration
        D.MultivariateNormalTriL(jnp.zeros(2), jnp.eye(3)) | MultivariateNormalTriL: axis 'd'
        D.MultivariateNormalTriL() | MultivariateNormalTriL takes at least one of loc and scale_tril
        D.MultivariateNormalDiag(0.0, 1.0) | MultivariateNormalDiag: loc
        D.Independent(NORMAL, 1) | Independent: reinterpreted_batch_ndims
        D.Independent(THREE, -1) | Independent: reinterpreted_batch_ndims
        D.Sample(NORMAL, 2.5) | Sample: sample_shape must be an integer
        D.Sample(NORMAL, None) | Sample: sample_shape
        D.Sample(NORMAL, -2) | Sample: sample_shape must not have negative
        D.Sample(NORMAL, "ab") | Sample: sample_shape
        D.Sample(NORMAL, (2, 1.5)) | Sample: sample_shape
        D.Sample(NORMAL, {2: 3}) | Sample: sample_shape
        D.TransformedDistribution(B.Exp(), NORMAL) | TransformedDistribution: distribution must be a Distribution
        D.TransformedDistribution(NORMAL, jnp.exp) | TransformedDistribution: bijector
        D.TransformedDistribution(NORMAL, B.SoftmaxCentered()) | SoftmaxCentered acts on events of at least 1
        D.MixtureSameFamily(CATEGORICAL, THREE) | MixtureSameFamily: mixture_distribution has 2 categories
        D.MixtureSameFamily(D.Bernoulli(0.0), THREE) | MixtureSameFamily: mixture_distribution must be a Categorical
        D.HiddenMarkovModel(CATEGORICAL, CATEGORICAL, NORMAL, -1) | HiddenMarkovModel: num_steps
        D.HiddenMarkovModel(NORMAL, CATEGORICAL, NORMAL, 3) | HiddenMarkovModel: initial_distribution
        D.GaussianProcess(RBF, jnp.zeros(3)).log_prob(0.0) | GaussianProcess: index_points
        D.GaussianProcess(RBF, POINTS, observation_noise_variance="a") | GaussianProcess: observation_noise_variance
        D.GaussianProcess(POINTS, RBF) | GaussianProcess: kernel must be a Kernel
        B.Scale() | Scale takes exactly one of scale and log_scale
        B.Sigmoid(1.0) | Sigmoid takes both of low and high
        B.Chain(B.Exp()) | Chain: bijectors must be a sequence
        B.Chain([B.Exp(), 3]) | Chain: bijectors[1] must be a Bijector
        B.Chain([B.Exp]) | make an instance, Exp(...)
        B.Chain([B.Shift(jnp.zeros(2)), B.Shift(jnp.zeros(3))]) | Chain: batch shapes do not broadcast
        B.FillTriangular("yes") | FillTriangular: upper must be True or False
        K.Sum([]) | Sum needs at least one kernel
        K.Power(RBF, -2) | Power: exponent must be at least 1
        K.Power(RBF, 0) | Power: exponent
        K.Constant(1.0, -1) | Constant: feature_ndims
        K.FeatureScaled(RBF) | FeatureScaled takes exactly one of
        RBF + "a" | Constant: constant
        RBF * None | Constant: constant
        RBF ** 0.5 | exponent must be an integer
        RBF + K.Constant(1.0, 2) | Sum: the kernels act on points of
    """,
    "methods": """
        NORMAL.log_prob("a") | Normal.log_prob: the value must be an array of real numbers
        NORMAL.log_prob(None) | Normal.log_prob: the value
        NORMAL.log_prob(KEY) | Normal.log_prob: the value
        NORMAL.log_prob(1j) | Normal.log_prob: the value
        NORMAL.log_prob({"a": 1.0}) | Normal.log_prob: the value
        NORMAL.log_prob(D.Normal) | Normal.log_prob: the value
        NORMAL.log_prob(NORMAL) | Normal.log_prob: the value
        NORMAL.log_prob(["a"]) | Normal.log_prob: the value
        NORMAL.log_prob(MASKED) | Normal.log_prob: the value
        NORMAL.log_prob([[1.0], [1.0, 2.0]]) | Normal.log_prob: the value must be an array
        NORMAL.prob("a") | Normal.log_prob: the value
        NORMAL.cdf("a") | Normal.cdf: the value
        NORMAL.survival_function(None) | Normal.survival_function: the value
        NORMAL.quantile("a") | Normal.quantile: the value
        NORMAL.inverse_survival_function(None) | Normal.inverse_survival_function: the value
        THREE.log_prob(jnp.zeros(2)) | Normal.log_prob: a value of shape (2,) does not broadcast
        THREE.cdf(jnp.zeros(2)) | Normal.cdf: a value of shape (2,)
        THREE.quantile(jnp.zeros(2)) | Normal.quantile: a value of shape (2,) does not broadcast
        D.MultivariateNormalDiag(jnp.zeros(2)).log_prob(jnp.zeros(3)) | MultivariateNormalDiag.log_prob: the value must
        D.MultivariateNormalDiag(jnp.zeros(2)).log_prob(0.0) | MultivariateNormalDiag.log_prob: the value must end in
        D.Dirichlet(jnp.ones(3)).log_prob(jnp.ones(2)) | Dirichlet.log_prob: the value must end in the event shape
        NORMAL.kl_divergence(D.Gamma(1.0, 1.0)) | Normal
        THREE.kl_divergence(D.Normal(jnp.zeros(2), 1.0)) | Normal.kl_divergence: other has batch shape (2,)
        NORMAL.covariance() | Normal has no covariance
        NORMAL.broadcast_to(-1) | Normal.broadcast_to: batch_shape
        NORMAL.broadcast_to((2, -1)) | Normal.broadcast_to: batch_shape
        NORMAL.broadcast_to("a") | Normal.broadcast_to: batch_shape
        NORMAL.broadcast_to(2.5) | Normal.broadcast_to: batch_shape
        THREE.broadcast_to((2,)) | Normal: batch shape (3,) does not broadcast to (2,)
        THREE[5] | Normal of batch shape (3,): index 5 is out of bounds
        THREE[-4] | Normal of batch shape (3,): index -4
        THREE[0, 0] | Normal of batch shape (3,): too many indices
        THREE["loc"] | Normal of batch shape (3,):
        THREE[A([0, 7])] | Normal of batch shape (3,): index 7
        THREE[1.5] | Normal of batch shape (3,):
        list(THREE) | Normal is not iterable
        validate(D.Normal(0.0, -1.0)) | Normal: scale lies outside its support
        validate(D.Normal(np.nan, 1.0)) | Normal: loc lies outside its support
        validate(D.Binomial(-3, probs=0.5)) | Binomial: total_count lies outside its support
        validate(D.Binomial(2.5, probs=0.5)) | Binomial: total_count lies outside its support
        validate(D.Categorical(probs=jnp.zeros(3))) | Categorical: logits lies outside its support
        validate(D.Categorical(logits=A([0.0, np.nan]))) | Categorical: logits lies outside its support
        validate(D.Uniform(1.0, 0.0)) | Uniform: high lies outside its support
        validate(D.Bernoulli(probs=1.5)) | Bernoulli: logits lies outside its support
        validate([{"a": D.Gamma(-1.0, 1.0)}]) | Gamma: concentration lies outside its support
        validate(D.Sample(D.HalfNormal(0.0), 2)) | HalfNormal: scale lies outside its support
        validate(D.GaussianProcess(RBF, POINTS * np.nan)) | GaussianProcess: index_points lies outside its support
    """,
    "draws": """
        NORMAL.sample() | Normal.sample needs a seed
        NORMAL.sample(3) | Normal.sample needs a seed
        NORMAL.sample(seed=0) | Normal.sample needs a random key
        NORMAL.sample(seed="a") | Normal.sample needs a random key
        NORMAL.sample(seed=jax.random.split(KEY)) | Normal.sample takes one key
        NORMAL.sample(-1, seed=KEY) | Normal.sample: sample_shape must not have negative
        NORMAL.sample((2, -1), seed=KEY) | Normal.sample: sample_shape
        NORMAL.sample(2.5, seed=KEY) | Normal.sample: sample_shape must be an integer
        NORMAL.sample(None, seed=KEY) | Normal.sample: sample_shape
        NORMAL.sample("a", seed=KEY) | Normal.sample: sample_shape
        NORMAL.sample((2, "a"), seed=KEY) | Normal.sample: sample_shape
        NORMAL.sample(KEY, seed=KEY) | Normal.sample: sample_shape
        NORMAL.sample(jnp.ones(2), seed=KEY) | Normal.sample: sample_shape
        NORMAL.sample_and_log_prob(2.5, seed=KEY) | Normal.sample_and_log_prob: sample_shape
        NORMAL.sample_and_log_prob() | Normal.sample_and_log_prob needs a seed
        D.Flat().sample(seed=KEY) | Flat has no sample
    """,
    "bijectors": """
        B.Exp().forward(None) | Exp.forward: the value must be an array of real numbers
        B.Exp().forward("a") | Exp.forward: the value
        B.Exp().inverse(KEY) | Exp.inverse: the value
        B.Exp().forward({"a": 1}) | Exp.forward: the value
        B.Exp().forward_log_det_jacobian(None) | Exp.forward_log_det_jacobian: x
        B.Exp().inverse_log_det_jacobian("a") | Exp.inverse_log_det_jacobian: y
        B.Exp().forward_log_det_jacobian(1.0, 3) | Exp.forward_and_log_det: event_ndims must lie between
        B.Exp().forward_log_det_jacobian(1.0, "a") | Exp.forward_log_det_jacobian: event_ndims
        B.Exp()("a") | Exp.forward: the value
        B.Shift(A([1.0, 2.0])).forward(jnp.zeros(3)) | Shift.forward: a value of shape (3,) does not broadcast
        B.Scale(A([1.0, 2.0])).inverse(jnp.zeros(3)) | Scale.inverse: a value of shape (3,) does not broadcast
        B.ScaleMatvecDiag(A([1.0, 2.0])).forward(jnp.zeros(3)) | ScaleMatvecDiag.forward: the value
        B.ScaleMatvecTriL(jnp.eye(2)).forward(jnp.zeros(3)) | ScaleMatvecTriL.forward: the value
        B.ScaleMatvecTriL(jnp.eye(2)).inverse(jnp.zeros(3)) | ScaleMatvecTriL.inverse: the value
        B.ScaleMatvecTriL(jnp.zeros((2, 3))) | ScaleMatvecTriL: axis
        B.FillTriangular().forward(jnp.zeros(4)) | FillTriangular.forward: a triangular matrix has
        B.FillTriangular().inverse(jnp.zeros((2, 3))) | FillTriangular.inverse: the value must be square matrices
        B.FillTriangular().forward(0.0) | FillTriangular.forward acts on events of at least 1
        B.FillScaleTriL().forward(jnp.zeros(4)) | FillScaleTriL.forward: a triangular matrix has
        B.CorrelationCholesky().forward(jnp.zeros(4)) | CorrelationCholesky.forward: a
        B.CorrelationCholesky().inverse(jnp.zeros((2, 3))) | CorrelationCholesky.inverse: the value must be square
        B.CholeskyOuterProduct().forward(jnp.zeros((2, 3))) | CholeskyOuterProduct.forward: the value must be square
        B.TransformDiagonal(B.Exp()).forward(jnp.zeros((2, 3))) | TransformDiagonal.forward: the value must be square
        B.SoftmaxCentered().inverse(0.5) | SoftmaxCentered.inverse acts on events of at least 1
        B.SoftmaxCentered().inverse(jnp.zeros(0)) | SoftmaxCentered.inverse: the value
        B.UnitVector().inverse(jnp.zeros(0)) | UnitVector.inverse: the value
        B.Exp().forward_event_shape("a") | Exp.forward_event_shape: shape
        B.Exp().forward_event_shape((2, -1)) | Exp.forward_event_shape: shape
        B.FillTriangular().forward_event_shape((4,)) | FillTriangular.forward_event_shape: a triangular matrix has
        B.FillTriangular().forward_event_shape(()) | FillTriangular.forward_event_shape: shape needs at least 1
        B.bijector_for(None) | bijector_for: support must be a Support
        B.bijector_for("positive") | bijector_for: support must be a Support
        B.bijector_for(NORMAL) | bijector_for: support must be a Support
        B.unconstrain(B.unconstrain(NORMAL)) | unconstrain: the parameters of Normal are free already
        B.constrain(NORMAL) | constrain: the parameters of Normal are constrained already
    """,
    "kernels": """
        RBF.matrix("a") | ExponentiatedQuadratic.matrix: x1
        RBF.matrix(None) | ExponentiatedQuadratic.matrix: x1
        RBF.matrix(POINTS, "a") | ExponentiatedQuadratic.matrix: x2
        RBF.matrix(0.0) | ExponentiatedQuadratic.matrix: x1 must have the 1 feature dimensions
        RBF.matrix(jnp.zeros((2, 1)), jnp.zeros((2, 2))) | ExponentiatedQuadratic.matrix: the points have features
        RBF.apply(jnp.zeros(2), jnp.zeros(3)) | ExponentiatedQuadratic.apply: the points have features of shapes
        RBF.apply(None, jnp.zeros(3)) | ExponentiatedQuadratic.apply: x1
        RBF.apply(POINTS, POINTS, -1) | ExponentiatedQuadratic.apply: example_ndims
        RBF.diag("a") | ExponentiatedQuadratic.diag: x
        RBF.diag(jnp.zeros(3)) | ExponentiatedQuadratic: points need at least 2 dimensions
        RBF.tensor(POINTS, None, 1, 1) | ExponentiatedQuadratic.tensor: x2
        RBF.tensor(POINTS, POINTS, 3, 1) | ExponentiatedQuadratic.tensor: x1
        RBF.matvec(POINTS, POINTS, jnp.ones(3)) | ExponentiatedQuadratic.matvec takes
        RBF.matvec(POINTS, POINTS, "a") | ExponentiatedQuadratic.matvec: v
        RBF.matvec(POINTS, POINTS, jnp.ones(4), block_size=0) | ExponentiatedQuadratic.matvec: block_size
        K.FeatureScaled(RBF, jnp.ones(2)).matrix(jnp.zeros((4, 3))) | FeatureScaled.matrix: x1 has 3 features
        K.FeatureScaled(RBF, jnp.ones(2)).matrix(jnp.zeros((4, 1))) | FeatureScaled.matrix: x1 has 1 features
        (RBF + K.FeatureScaled(RBF, jnp.ones(2))).matrix(jnp.zeros((4, 3))) | Sum.matrix: x1 has 3 features
        D.GaussianProcess(K.FeatureScaled(RBF, jnp.ones(2)), jnp.zeros((4, 3))).log_prob(jnp.zeros(4)) | FeatureScaled
    """,
    "transition kernels": """
        M.NoUTurnSampler(f, 0.0) | NoUTurnSampler: step_size must be greater than 0
        M.NoUTurnSampler(f, -0.1) | NoUTurnSampler: step_size must be greater than 0
        M.NoUTurnSampler(f, np.nan) | NoUTurnSampler: step_size must be greater than 0
        M.NoUTurnSampler(f, jnp.asarray([0.1, -0.1])) | NoUTurnSampler: step_size
        M.NoUTurnSampler(f, {"a": 0.1, "b": None}) | NoUTurnSampler: step_size
        M.NoUTurnSampler(f, [0.1, -0.1]) | NoUTurnSampler: step_size
        M.NoUTurnSampler(f, 0.1, max_tree_depth=0) | NoUTurnSampler: max_tree_depth
        M.NoUTurnSampler(f, 0.1, max_tree_depth=99) | NoUTurnSampler: max_tree_depth
        M.NoUTurnSampler(f, 0.1, max_energy_diff=-1.0) | NoUTurnSampler: max_energy_diff
        M.NoUTurnSampler(f, 0.1, extra_turn_checks=1) | NoUTurnSampler: extra_turn_checks must be True or False
        M.NoUTurnSampler(0.1, f) | NoUTurnSampler: target_log_prob_fn must be callable
        M.NoUTurnSampler(f, 0.1, metric=M.DiagonalMetric) | make an instance, DiagonalMetric(...)
        M.HamiltonianMonteCarlo(f, 0.1, 0) | HamiltonianMonteCarlo: num_leapfrog_steps must be at least 1
        M.HamiltonianMonteCarlo(f, -1.0, 3) | HamiltonianMonteCarlo: step_size
        M.MetropolisAdjustedLangevinAlgorithm(f, 0.0) | MetropolisAdjustedLangevinAlgorithm: step_size
        M.GeneralizedHamiltonianMonteCarlo(f, 0.1, damping=-1.0) | GeneralizedHamiltonianMonteCarlo: damping
        M.GeneralizedHamiltonianMonteCarlo(f, 0.1, 1.0, num_leapfrog_steps=0) | num_leapfrog_steps
        M.MicrocanonicalLangevin(f, -0.1, 1.0) | MicrocanonicalLangevin: step_size
        M.MicrocanonicalLangevin(f, 0.1, -1.0) | MicrocanonicalLangevin: length
        M.MicrocanonicalLangevin(f, 0.1, 1.0, integrator="x") | MicrocanonicalLangevin: integrator must be one of
        M.SliceSampler(f, 0.0, 3) | SliceSampler: step_size
        M.SliceSampler(f, 1.0, -3) | SliceSampler: max_doublings must not be negative
        M.random_walk_normal_fn(-1.0) | random_walk_normal_fn: scale
        M.random_walk_uniform_fn("a") | random_walk_uniform_fn: scale
        M.DiagonalMetric(A([-1.0, 1.0])) | DiagonalMetric: scale must be greater than 0
        M.DiagonalMetric(0.0) | DiagonalMetric: scale
        M.DenseMetric.of(jnp.zeros(3)) | DenseMetric.of: covariance must be a square matrix
        M.DenseMetric.of("a") | DenseMetric.of: covariance
        M.LowRankMetric(1.0, jnp.zeros((2, 1)), -1.0) | LowRankMetric: values
        M.DualAveragingStepSizeAdaptation(NUTS, -1) | DualAveragingStepSizeAdaptation: num_adaptation_steps
        M.DualAveragingStepSizeAdaptation(NUTS, 5, 1.5) | target_accept_prob must be greater than 0 and less than 1
        M.DualAveragingStepSizeAdaptation(NUTS, 5, 0.0) | DualAveragingStepSizeAdaptation: target_accept_prob
        M.DualAveragingStepSizeAdaptation(NUTS, 5, np.nan) | DualAveragingStepSizeAdaptation: target_accept_prob
        M.DualAveragingStepSizeAdaptation(NUTS, 5, exploration_shrinkage=0.0) | exploration_shrinkage
        M.ReplicaExchangeMC(f, A([1.0, -0.5]), lambda t: NUTS) | ReplicaExchangeMC: inverse_temperatures
        M.ReplicaExchangeMC(f, 1.0, lambda t: NUTS) | ReplicaExchangeMC: inverse_temperatures must be a vector
        M.ReplicaExchangeMC(f, A([1.0, 0.5]), lambda t: 3).init(jnp.zeros(2), seed=KEY) | ReplicaExchangeMC: make_kernel
        M.default_swap_proposal_fn(-1.0) | default_swap_proposal_fn: prob_swap
        M.EllipticalSliceSampler(3, f) | EllipticalSliceSampler: normal_sampler_fn
        M.GibbsKernel(f, 3) | GibbsKernel: blocks
        M.GibbsKernel(f, {"a": 3}) | GibbsKernel: block 'a' must be callable
        NUTS.init("a") | NoUTurnSampler
        NUTS.init(None) | NoUTurnSampler
        NUTS.init(jnp.zeros(2), seed=0) | NoUTurnSampler.init needs a random key
        NUTS.step(None, seed=KEY) | NoUTurnSampler.step: state must be a HamiltonianState
        NUTS.step(NUTS.init(jnp.zeros(2)), seed=0) | NoUTurnSampler.step needs a random key
        NUTS.step(NUTS.init(jnp.zeros(2)), seed=None) | NoUTurnSampler.step needs a seed
        M.NoUTurnSampler(lambda x: x, 0.1).init(jnp.zeros(2)) | the target of one chain must be a scalar
        M.NoUTurnSampler(lambda x: None, 0.1).init(jnp.zeros(2)) | the log density must return a real floating number
        M.NoUTurnSampler(lambda x: "a", 0.1).init(jnp.zeros(2)) | the log density must return a real floating number
        M.NoUTurnSampler(lambda x: (f(x), x), 0.1).init(jnp.zeros(2)) | the log density must return a real floating
        M.NoUTurnSampler(lambda x: {"lp": f(x)}, 0.1).init(jnp.zeros(2)) | the log density must return a real floating
        M.NoUTurnSampler(lambda x: f(x) + 0j, 0.1).init(jnp.zeros(2)) | the log density must return a real floating
        M.NoUTurnSampler(lambda x: f(x) > 0, 0.1).init(jnp.zeros(2)) | the log density must return a real floating
        M.NoUTurnSampler(lambda x: jnp.asarray(3), 0.1).init(jnp.zeros(2)) | the log density must return a real floating
    """,
    "sample_chain": """
        M.sample_chain(-1, 0.0, kernel=NUTS, seed=KEY) | sample_chain: num_results must not be negative
        M.sample_chain(5, None, kernel=NUTS, seed=KEY) | sample_chain: the state must be an array of real numbers
        M.sample_chain(5, "a", kernel=NUTS, seed=KEY) | sample_chain: the state
        M.sample_chain(5, (), kernel=NUTS, seed=KEY) | sample_chain: the state () has no arrays
        M.sample_chain(5, [None, 1.0], kernel=NUTS, seed=KEY) | sample_chain: state part [0]
        M.sample_chain(5, KEY, kernel=NUTS, seed=KEY) | sample_chain: the state
        M.sample_chain(5, 1j, kernel=NUTS, seed=KEY) | sample_chain: the state
        M.sample_chain(5, 0.0, kernel=M.NoUTurnSampler, seed=KEY) | sample_chain: kernel
        M.sample_chain(5, 0.0, kernel=NUTS) | sample_chain needs a seed
        M.sample_chain(5, 0.0, kernel=NUTS, seed=3) | sample_chain needs a random key
        M.sample_chain(5, 0.0, kernel=NUTS, seed=KEY, trace_fn=3) | sample_chain: trace_fn must be callable
        M.sample_chain(5, 0.0, kernel=NUTS, seed=KEY, trace_fn=lambda x: x) | sample_chain: trace_fn is called with 2
        M.sample_chain(5, 0.0, kernel=NUTS, seed=KEY, execution="fast") | sample_chain: execution
        M.sample_chain(5, 0.0, kernel=NUTS, seed=KEY, progress_bar="yes") | sample_chain: progress_bar
        M.sample_chain(5, 0.0, previous_kernel_results=3, kernel=NUTS, seed=KEY) | sample_chain: previous_kernel_results
        M.sample_chain(5, 0.0, kernel=M.NoUTurnSampler(lambda x: None, 0.1), seed=KEY) | sample_chain: the log density
        M.sample_chain(5, 0.0, kernel=M.NoUTurnSampler(lambda x: "a", 0.1), seed=KEY) | sample_chain: the log density
        M.sample_chain(5, 0.0, kernel=M.NoUTurnSampler(lambda x: x > 0, 0.1), seed=KEY) | sample_chain: the log density
        M.sample_chain(5, jnp.zeros(2), kernel=M.NoUTurnSampler(lambda x: jnp.zeros(3), 0.1), seed=KEY) | sample_chain:
        M.sample_annealed_importance_chain(0, f, f, 0.0, lambda t: NUTS, seed=KEY) | num_steps must be at least 1
        M.sample_annealed_importance_chain(3, f, f, None, lambda t: NUTS, seed=KEY) | sample_annealed_importance_chain:
        M.sample_snaper_hmc(f, None, seed=KEY) | sample_snaper_hmc:
        M.sample_snaper_hmc(f, jnp.zeros((4, 2)), seed=KEY, init_step_size=-1.0) | sample_snaper_hmc: init_step_size
        M.meads(f, jnp.zeros((8, 2)), 0, seed=KEY) | meads: num_steps must be at least 1
    """,
    "smc, vi and optimizers": """
        O.bfgs_minimize(g, "a") | bfgs_minimize: initial_position
        O.bfgs_minimize(g, None) | bfgs_minimize: initial_position
        O.bfgs_minimize(g, {}) | bfgs_minimize needs an initial_position
        O.bfgs_minimize(3, jnp.ones(2)) | bfgs_minimize: value_and_gradients_function must be callable
        O.bfgs_minimize(lambda x: jnp.sum(x**2), jnp.ones(2)) | bfgs_minimize: value_and_gradients_function must return
        O.bfgs_minimize(g, jnp.ones(2), tolerance=-1.0) | bfgs_minimize: tolerance must be at least 0
        O.bfgs_minimize(g, jnp.ones(2), max_iterations=-1) | bfgs_minimize: max_iterations must not be negative
        O.bfgs_minimize(g, jnp.ones(2), stopping_condition=lambda x: x) | bfgs_minimize: stopping_condition is called
        O.bfgs_minimize(g, jnp.ones(2), scale_initial_inverse_hessian="no") | scale_initial_inverse_hessian
        O.bfgs_minimize(g, jnp.ones(2), initial_inverse_hessian_estimate="a") | initial_inverse_hessian_estimate
        O.lbfgs_minimize(g, jnp.ones(2), num_correction_pairs=0) | lbfgs_minimize: num_correction_pairs
        O.lbfgs_minimize(g, jnp.ones(2), previous_optimizer_results=3) | lbfgs_minimize: previous_optimizer_results
        O.lbfgs_minimize(g) | lbfgs_minimize
        vi.pathfinder(3, jnp.zeros(2), seed=KEY) | pathfinder: target must be callable
        vi.pathfinder(f, seed=KEY) | pathfinder: a log density needs init
        vi.pathfinder(f, "a", seed=KEY) | pathfinder: init
        vi.pathfinder(f, KEY, seed=KEY) | pathfinder: the state
        vi.pathfinder(f, jnp.zeros(2)) | pathfinder needs a seed
        vi.pathfinder(f, jnp.zeros(2), seed=KEY, num_draws=0) | pathfinder: num_draws must be at least 1
        vi.pathfinder(f, jnp.zeros(2), seed=KEY, replacement=1) | pathfinder: replacement
        vi.pathfinder(f, jnp.zeros(0), seed=KEY) | pathfinder
        vi.pathfinder(lambda x: None, jnp.zeros(2), seed=KEY) | pathfinder: the log density must return
        vi.pathfinder(lambda x: x > 0, 0.5, seed=KEY) | pathfinder: the log density must return
        smc.sample_sequential_monte_carlo(f, seed=KEY) | sample_sequential_monte_carlo needs likelihood_log_prob_fn
        smc.sample_sequential_monte_carlo(f, f, None, seed=KEY) | sample_sequential_monte_carlo needs
        smc.sample_sequential_monte_carlo(f, f, "a", seed=KEY) | sample_sequential_monte_carlo: the state
        smc.sample_sequential_monte_carlo(f, f, 0.0, seed=KEY) | sample_sequential_monte_carlo: every part
        smc.sample_sequential_monte_carlo(f, 3, jnp.ones((5, 2)), seed=KEY) | likelihood_log_prob_fn must be callable
        smc.sample_sequential_monte_carlo(f, f, jnp.ones((5, 2)), 5, 3, seed=KEY) | min_num_steps
        smc.sample_sequential_monte_carlo(f, f, jnp.ones((5, 2)), max_stage=0, seed=KEY) | max_stage
        smc.sample_sequential_monte_carlo(f, f, jnp.ones((5, 2)), ess_threshold_ratio=1.5, seed=KEY) | ess_threshold
        smc.sample_sequential_monte_carlo(f, f, jnp.ones((5, 2))) | sample_sequential_monte_carlo needs a seed
        smc.sample_sequential_monte_carlo(f, lambda x: None, jnp.ones((9, 2)), seed=KEY) | the log density must return
        smc.resample_systematic(0.0, 3, seed=KEY) | resample_systematic: log_probs
        smc.resample_systematic(jnp.zeros(3), 0, seed=KEY) | resample_systematic: event_size must be at least 1
        smc.resample_residual(jnp.zeros(3), 2, 1.5, seed=KEY) | resample_residual: sample_shape
        smc.resample_stratified(jnp.zeros(3), 2) | resample_stratified needs a seed
        smc.particle_filter(jnp.zeros(3), NORMAL, f, f, 0, seed=KEY) | particle_filter: num_particles
        smc.gen_make_hmc_kernel_fn(0) | gen_make_hmc_kernel_fn: num_leapfrog_steps
    """,
    "statistics": """
        S.rhat(None) | rhat: draws must be an array of real numbers
        S.rhat("a") | rhat: draws must be an array of real numbers
        S.rhat({}) | rhat takes draws
        S.rhat({"a": None}) | rhat: draws
        S.rhat(KEY) | rhat: draws
        S.rhat(jnp.zeros(5)) | rhat takes draws of shape (draw, chain, ...)
        S.ess(jnp.zeros((0, 4))) | ess needs at least one draw
        S.mcse_mean(jnp.zeros((0, 4))) | mcse_mean needs at least one draw
        S.rhat(jnp.zeros((4, 0))) | rhat needs at least one draw of one chain
        S.e_bfmi(jnp.zeros(0)) | e_bfmi needs at least one draw
        S.ess(DRAWS, "best") | kind must be one of
        S.mcse_quantile(DRAWS, 1.5) | mcse_quantile: prob must be between 0 and 1
        S.mcse_quantile(DRAWS, "a") | mcse_quantile: prob
        S.ess_quantile(DRAWS, None) | prob
        S.percentile(DRAWS, 150.0) | percentile: q must be between 0 and 100
        S.percentile(DRAWS, -1.0) | percentile: q
        S.percentile(DRAWS, np.nan) | percentile: q
        S.percentile(jnp.zeros(0), 50.0) | at least one entry
        S.percentile(DRAWS, 50.0, axis=5) | axis 5 is out of range
        S.percentile(DRAWS, 50.0, axis="a") | percentile: axis
        S.percentile(DRAWS, 50.0, interpolation="x") | interpolation must be one of
        S.quantiles(DRAWS, 0) | quantiles: num_quantiles must be at least 1
        S.variance("a") | variance: x
        S.variance(DRAWS, sample_axis=9) | axis 9 is out of range
        S.covariance(None) | covariance: x
        S.covariance(DRAWS, DRAWS[1:]) | x and y must have one shape
        S.auto_correlation("a") | auto_correlation: x
        S.auto_correlation(DRAWS, max_lags=1.5) | auto_correlation: max_lags
        S.loo(None) | loo: log_likelihood
        S.waic("a") | waic: log_likelihood
        S.psis(None) | psis
        S.effective_sample_size(None) | effective_sample_size: states
        S.potential_scale_reduction("a") | potential_scale_reduction: chains_states
        S.brier_score("a", jnp.zeros(3)) | brier_score: labels
        S.ecdf_bands("a", 10) | ecdf_bands: ranks
    """,
}

# Of these `FEW` are the other arguments.
SINGLE |= {
    "sample": """
        I.sample(PINNED, **FEW, num_samples=10.0) | sample: num_samples must be an integer
        I.sample(PINNED, **FEW, num_samples=None) | sample: num_samples
        I.sample(PINNED, **FEW, num_samples=-1) | sample: num_samples must not be negative
        I.sample(PINNED, **FEW, num_warmup="a") | sample: num_warmup
        I.sample(PINNED, **FEW, num_warmup=None) | sample: num_warmup
        I.sample(PINNED, **FEW, num_chains=2.0) | sample: num_chains
        I.sample(PINNED, **FEW, num_chains=True) | sample: num_chains
        I.sample(PINNED, **FEW, num_chains=0) | sample: num_chains must be at least 1
        I.sample(PINNED, **FEW, thin=1.5) | sample: thin
        I.sample(PINNED, **FEW, thin=0) | sample: thin
        I.sample(PINNED, **FEW, max_tree_depth=2.5) | sample: max_tree_depth
        I.sample(PINNED, **FEW, max_tree_depth=99) | max_tree_depth
        I.sample(PINNED, **FEW, target_accept_prob=1.5) | sample: target_accept_prob
        I.sample(PINNED, **FEW, target_accept_prob="a") | sample: target_accept_prob
        I.sample(PINNED, **FEW, target_accept_prob=jnp.ones(3) / 2) | sample: target_accept_prob
        I.sample(PINNED, num_samples=2) | sample needs a seed
        I.sample(PINNED, num_samples=2, seed=3) | sample needs a random key
        I.sample(PINNED, {"nu": 0.0}, **FEW) | nu
        I.sample(PINNED, {"mu": jnp.zeros(7)}, **FEW) | mu
        I.sample(PINNED, {"mu": "a"}, **FEW) | mu
        I.sample(PINNED, {}, **FEW) | mu
        I.sample(PINNED, jnp.zeros(5), **FEW) | sample: init must be a vector of the model's 1 free reals
        I.sample(PINNED, "zeros", **FEW) | sample: init must be
        I.sample(PINNED, 1j, **FEW) | sample
        I.sample(PINNED, lambda: 0.0, **FEW) | sample: init
        I.sample(PINNED, lambda key: "a", **FEW) | sample
        I.sample(PINNED, kernel=NUTS, **FEW) | sample: kernel must be a function
        I.sample(PINNED, kernel=M.NoUTurnSampler, **FEW) | sample: kernel is called with 1 arguments
        I.sample(PINNED, kernel=lambda target: None, **FEW) | sample: what kernel returns
        I.sample(PINNED, kernel="nuts", **FEW) | sample: kernel must be callable
        I.sample(PINNED, kernel=lambda: NUTS, **FEW) | sample: kernel is called with 1 arguments
        I.sample(NUTS, jnp.zeros(2), kernel=lambda t: NUTS, **FEW) | sample: give a kernel as target
        I.sample(NUTS, jnp.zeros(2), max_tree_depth=3, **FEW) | sample: give a kernel as target
        I.sample(PINNED, kernel=lambda t: M.NoUTurnSampler(t, 1.0), max_tree_depth=3, **FEW) | sample: max_tree_depth
        I.sample(PINNED, adaptation=M.StanAdaptation, **FEW) | sample: adaptation
        I.sample(PINNED, adaptation="stan", **FEW) | sample: adaptation
        I.sample(PINNED, trace_fn="lp", **FEW) | sample: trace_fn must be callable
        I.sample(PINNED, trace_fn=lambda x: x, **FEW) | sample: trace_fn is called with 2 arguments
        I.sample(PINNED, trace_fn=lambda x, i: "a", **FEW) | sample: trace_fn must return arrays
        I.sample(PINNED, mesh=4, **FEW) | sample: mesh
        I.sample(PINNED, reducers=3, **FEW) | sample: reducers
        I.sample(PINNED, reducers="mean", **FEW) | sample: reducers
        I.sample(PINNED, reducers={"nu": S.RunningVariance.from_shape(())}, **FEW) | sample: reducers
        I.sample(PINNED, reducers={"mu": 3}, **FEW) | sample: reducers
        I.sample(PINNED, keep_draws=False, **FEW) | sample: keep_draws=False without reducers
        I.sample(PINNED, keep_draws=1, **FEW) | sample: keep_draws
        I.sample(PINNED, execution="all", **FEW) | sample: execution
        I.sample(PINNED, execution=3, **FEW) | sample: execution
        I.sample(PINNED, checkpoint=3, **FEW) | sample: checkpoint
        I.sample(PINNED, progress_bar="a", **FEW) | sample: progress_bar
        I.sample(model, **FEW) | sample: target must be a pinned model
        I.sample(JOINT, **FEW) | sample: target must be a pinned model
        I.sample(3, **FEW) | sample: target must be
        I.sample(None, **FEW) | sample: target must be
        I.sample(f, **FEW) | sample: a log density needs init
        I.sample(f, jnp.zeros(0), **FEW) | sample: there is nothing to sample
        I.sample(f, {}, **FEW) | sample: there is nothing to sample
        I.sample(f, None, **FEW) | sample: a log density needs init
        I.sample(lambda a, b: f(a), [None, 1.0], **FEW) | sample
        I.sample(JOINT.pin(mu=0.0, y=jnp.zeros(3)), **FEW) | sample: there is nothing to sample
        I.sample(lambda x: None, 0.5, **FEW) | sample: the log density must return
        I.sample(lambda x: (-(x**2), x), 0.5, **FEW) | sample: the log density must return
        I.sample(lambda x: {"lp": x}, 0.5, **FEW) | sample: the log density must return
        I.sample(lambda x: x > 0, 0.5, **FEW) | sample: the log density must return
        I.sample(lambda x: -(x**2) + 0j, 0.5, **FEW) | sample: the log density must return
        I.sample(lambda x: jnp.asarray(3), 0.5, **FEW) | sample: the log density must return
        jax.jit(lambda k: I.sample(f, jnp.zeros(2), num_samples=2, seed=k).draws)(KEY) | sample runs on the host
        jax.vmap(lambda s: I.sample(lambda x: f(x), s, **FEW).draws)(jnp.zeros((2, 2))) | sample runs on the host
        M.FisherAdaptation(target_accept_prob=2.0) | FisherAdaptation: target_accept_prob
        M.FisherAdaptation(target_accept_prob="a") | FisherAdaptation: target_accept_prob
        M.FisherAdaptation(max_rank=1.5) | FisherAdaptation: max_rank
        M.FisherAdaptation(cutoff=-1.0) | FisherAdaptation: cutoff
        M.StanAdaptation(target_accept_prob=0.0) | StanAdaptation: target_accept_prob
        M.StanAdaptation(dense=3) | StanAdaptation: dense
    """,
    "joint": """
        D.JointDistributionNamed(None) | JointDistributionNamed: model
        D.JointDistributionNamed(3) | JointDistributionNamed: model
        D.JointDistributionNamed({}) | JointDistributionNamed
        D.JointDistributionNamed({"a": 3}) | a
        D.JointDistributionNamed({"a": D.Normal}) | a
        D.JointDistributionSequential([]) | JointDistributionSequential
        D.JointDistributionSequential(None) | JointDistributionSequential
        D.JointDistributionSequential([3]) | JointDistributionSequential
        D.JointDistributionCoroutine(3) | JointDistributionCoroutine
        D.JointDistributionCoroutine(None) | JointDistributionCoroutine
        D.JointDistributionCoroutine(lambda: 3).sample(seed=KEY) | JointDistributionCoroutine
        JOINT.sample(-1, seed=KEY) | sample
        JOINT.sample(2.5, seed=KEY) | sample
        JOINT.sample() | seed
        JOINT.log_prob() | has 2 sites (mu, y), got 0
        JOINT.log_prob(3.0) | has 2 sites (mu, y), got 1
        JOINT.log_prob(mu=0.0) | y
        JOINT.log_prob(mu=0.0, y="a") | y
        JOINT.log_prob(mu=0.0, y=jnp.zeros(5)) | y
        JOINT.log_prob(mu=0.0, y=jnp.zeros(3), z=1.0) | z
        JOINT.log_prob({"mu": "a", "y": jnp.zeros(3)}) | mu
        JOINT.log_prob({"mu": None, "y": jnp.zeros(3)}) | mu
        JOINT.log_prob({"mu": KEY, "y": jnp.zeros(3)}) | mu
        JOINT.log_prob({"mu": 1j, "y": jnp.zeros(3)}) | mu
        JOINT.pin() | pin
        JOINT.pin(3) | has 2 sites (mu, y), got 1
        JOINT.pin(y=None) | y
        JOINT.pin(z=3.0) | z
        JOINT.pin(y="abc") | y
        JOINT.pin(y=[1.0, None, 2.0]) | y
        JOINT.pin(y=MASKED) | y
        JOINT.pin(y=jnp.zeros(4)) | y
        JOINT.pin(y=jnp.exp) | y
        PINNED.unconstrained()(None) | UnconstrainedDensity
        PINNED.unconstrained()("a") | UnconstrainedDensity
        PINNED.unconstrained()(jnp.zeros(3)) | UnconstrainedDensity
        PINNED.unconstrained().constrain("a") | UnconstrainedDensity
        PINNED.unconstrained().init() | seed
        PINNED.unconstrained().position_of({"nu": 1.0}) | nu
        PINNED.unconstrained().unconstrain(nu=1.0) | nu
        I.log_likelihood(JOINT, DRAWS) | log_likelihood: model must be
        I.log_likelihood(PINNED, None) | log_likelihood
        I.log_likelihood(PINNED, "a") | the value of site 'mu' must be an array
        I.log_likelihood(PINNED, {"mu": jnp.zeros(3)}) | mu
        I.predictive(PINNED, {"mu": jnp.zeros((3, 2))}) | predictive needs a seed
        I.predictive(PINNED, {"nu": jnp.zeros((3, 2))}, seed=KEY) | nu
        I.loo(3, DRAWS) | loo
        I.compare(3) | compare
        D.Deterministic(None) | Deterministic: loc
        D.Deterministic(0.0, atol="a") | Deterministic: atol
        D.IncrementLogProb("a") | IncrementLogProb
    """,
}

# What JAX, NumPy, Equinox and beartype say of a wrong argument, in terms that the caller of a function did not use.
OBSCURE = re.compile(
    "Type-check error|valid JAX (array )?type|object has no attribute|cannot be interpreted|not supported between|"
    "incompatible shapes|Cannot determine dtype|invalid literal|object is not|unsupported operand|dtype promotion|"
    "Error interpreting|not understood|ZeroDivision|modulo by zero|zero-size|limit_indices|grad requires"
)


def all_calls():
    yield "arrays", list(calls_of(ARRAYS, NO_ARRAYS))
    yield "integers", list(calls_of(INTEGERS, NO_INTEGERS))
    yield "instances", list(calls_of(INSTANCES, NO_INSTANCES))
    yield "functions", list(calls_of(FUNCTIONS, NO_FUNCTIONS))
    for group, text in SINGLE.items():
        yield group, [tuple(line.strip().split(" | ")) for line in text.strip().splitlines()]


def judge(call, words):
    """How a wrong call ends, "clear", "obscure" or "silent", and the message."""
    few = {name: value for name, value in FEW.items() if f"{name}=" not in call}
    try:
        result = eval(call, {**globals(), **SCOPE, "FEW": few})
    except (TypeError, ValueError, IndexError, NotImplementedError) as error:
        return ("clear" if words in str(error) and not OBSCURE.search(str(error)) else "obscure"), str(error)
    except Exception as error:
        return "obscure", f"{type(error).__name__}: {error}"
    return "silent", repr(result)[:80]


@pytest.mark.parametrize("group, calls", [pytest.param(*x, id=x[0].replace(" ", "-")) for x in all_calls()])
def test_wrong_calls_are_refused_clearly(group, calls):
    faults = [f"{call}\n    {how}: {message}" for call, words in calls for how, message in [judge(call, words)]
              if how != "clear"]  # fmt: skip
    assert not faults, "\n".join(faults)


def test_there_are_many():
    assert sum(len(calls) for _, calls in all_calls()) > 1100


def test_they_are_refused_in_the_same_way_without_the_checking_of_annotations():
    program = (
        "import test_wrong_calls as t; calls = [x for _, calls in t.all_calls() for x in calls][::20]\n"
        "print([(c, t.judge(c, w)) for c, w in calls if t.judge(c, w)[0] != 'clear'])"
    )
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]), "DISTRAX_LIKE_TYPECHECK": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
