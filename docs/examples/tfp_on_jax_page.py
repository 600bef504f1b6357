"""A tour that follows the page "TensorFlow Probability on JAX": every feature shown there, here, with its figures.

The names and arguments are TFP's; only the imports differ. Deterministic results are checked against the page's. Random
draws differ from the page's, since JAX's default generator has changed since it was written. What the page lists as
not possible, bijectors and distributions through `vmap` among it, comes last.

    python docs/examples/tfp_on_jax_page.py [folder for the figures]
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from jax import grad, jit, random, value_and_grad, vmap
from sklearn import datasets

from distrax_like import bijectors as tfb, distributions as tfd, inference as tfp, kernels as tfpk

FIGURES = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "figures")
KEY = random.PRNGKey(0)
BLUE, ORANGE = "#3b6ea5", "#d95f02"


def new_axes(title, xlabel="", ylabel="", columns=1):
    """A figure with `columns` axes side by side."""
    figure, axes = plt.subplots(1, columns, figsize=(5 * columns, 3.4), layout="constrained", squeeze=False)
    for ax in axes[0]:
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return figure, axes[0][0] if columns == 1 else axes[0]


def save(figure, name):
    """Writes a figure to the folder."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / f"{name}.png", dpi=130)
    plt.close(figure)


def bayesian_logistic_regression():
    """Iris: a joint distribution of weights and labels, NUTS, and Bayesian model averaging."""
    iris = datasets.load_iris()
    features, labels = iris["data"], iris["target"]
    num_features, num_classes = features.shape[-1], len(iris.target_names)
    root = tfd.JointDistributionCoroutine.Root

    def model():
        w = yield root(tfd.Sample(tfd.Normal(0.0, 1.0), sample_shape=(num_features, num_classes)))
        b = yield root(tfd.Sample(tfd.Normal(0.0, 1.0), sample_shape=(num_classes,)))
        yield tfd.Independent(tfd.Categorical(logits=jnp.dot(features, w) + b), reinterpreted_batch_ndims=1)

    dist = tfd.JointDistributionCoroutine(model)

    def target_log_prob(*params):
        return dist.log_prob(params + (labels,))

    init_key, sample_key = random.split(KEY)
    init_params = tuple(dist.sample(seed=init_key)[:-1])

    @jit
    def run_chain(key, state):
        kernel = tfp.mcmc.NoUTurnSampler(target_log_prob, 1e-3)
        return tfp.mcmc.sample_chain(
            500,
            current_state=state,
            kernel=kernel,
            trace_fn=lambda _, results: results.target_log_prob,
            num_burnin_steps=500,
            seed=key,
        )

    states, log_probs = run_chain(sample_key, init_params)
    figure, ax = new_axes("Bayesian logistic regression", "Iterations of NUTS", "Target log density")
    ax.plot(log_probs, color=BLUE, lw=0.8)
    save(figure, "page_iris_trace")

    def classifier_probs(params):
        dists, _ = dist.sample_distributions(seed=KEY, value=params + (None,))
        return dists[-1].distribution.probs_parameter()

    all_probs = jit(vmap(classifier_probs))(states)
    average = jnp.mean(all_probs.argmax(axis=-1) == labels)
    averaged = jnp.mean(all_probs.mean(axis=0).argmax(axis=-1) == labels)
    print(f"Iris: average accuracy {average:.4f} (page 0.9695), BMA accuracy {averaged:.4f} (page 0.98)")


def simple_distributions():
    """Densities, draws, shapes, transformations, distributions in and out of compiled functions."""
    print("Normal(0, 1).log_prob(0) =", tfd.Normal(0.0, 1.0).log_prob(0.0))
    np.testing.assert_allclose(tfd.Normal(0.0, 1.0).log_prob(0.0), -0.9189385, rtol=1e-7)
    try:
        tfd.Normal(0.0, 1.0).sample()
    except TypeError as error:
        print("Without a seed:", error)
    vector = tfd.MultivariateNormalDiag(loc=jnp.zeros(5), scale_diag=jnp.ones(5))
    batch = tfd.Normal(loc=jnp.ones(5), scale=jnp.ones(5))
    assert (vector.event_shape, vector.batch_shape) == ((5,), ())
    assert (batch.event_shape, batch.batch_shape) == ((), (5,))
    draws = batch.sample(sample_shape=(10, 2), seed=KEY)
    assert batch.log_prob(draws).shape == (10, 2, 5)
    assert tfd.Independent(batch, 1).log_prob(draws).shape == (10, 2)

    figure, axes = new_axes("The standard normal distribution", columns=3)
    x = jnp.linspace(-5.0, 5.0, 100)
    axes[0].hist(tfd.Normal(0.0, 1.0).sample(1000, seed=KEY), bins=30, density=True, color=BLUE, alpha=0.7)
    axes[0].set_title("1000 draws")
    mapped = jit(vmap(lambda key: tfd.Normal(0.0, 1.0).sample(seed=key)))(random.split(KEY, 2000))
    axes[1].hist(mapped, bins=30, density=True, color=BLUE, alpha=0.7)
    axes[1].set_title("2000 keys under vmap")
    axes[2].plot(x, jit(vmap(grad(tfd.Normal(0.0, 1.0).prob)))(x), color=BLUE)
    axes[2].set_title("Derivative of the density")
    save(figure, "page_normal")

    @jit
    def random_distribution(key):
        loc_key, scale_key = random.split(key)
        return tfd.Normal(random.normal(loc_key), jnp.exp(random.normal(scale_key)))

    random_dist = random_distribution(KEY)
    print("A distribution out of jit: mean", random_dist.mean(), "variance", random_dist.variance())

    figure, ax = new_axes("Sigmoid of a normal variable")
    squashed = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfb.Sigmoid())
    ax.hist(squashed.sample(1000, seed=KEY), bins=30, density=True, color=BLUE, alpha=0.7)
    grid = jnp.linspace(0.01, 0.99, 99)
    ax.plot(grid, squashed.prob(grid), color=ORANGE)
    save(figure, "page_transformed")


def joint_distributions():
    """The three ways to write a joint distribution."""
    pair = tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), lambda x: tfd.Normal(x, 1e-1)])
    figure, ax = new_axes("JointDistributionSequential", "x", "y given x")
    ax.scatter(*pair.sample(1000, seed=KEY), alpha=0.5, s=8, color=BLUE)
    save(figure, "page_joint")
    named = tfd.JointDistributionNamed(
        dict(
            e=tfd.Exponential(rate=1.0),
            n=tfd.Normal(loc=0.0, scale=2.0),
            m=lambda n, e: tfd.Normal(loc=n, scale=e),
            x=lambda m: tfd.Sample(tfd.Bernoulli(logits=m), 12),
        )
    )
    print("JointDistributionNamed:", named.sample(seed=KEY))
    root = tfd.JointDistributionCoroutine.Root

    def model():
        e = yield root(tfd.Exponential(rate=1.0))
        n = yield root(tfd.Normal(loc=0, scale=2.0))
        m = yield tfd.Normal(loc=n, scale=e)
        yield tfd.Sample(tfd.Bernoulli(logits=m), 12)

    print("JointDistributionCoroutine:", tfd.JointDistributionCoroutine(model).sample(seed=KEY))


def gaussian_process_regression():
    """Draws from the posterior of a Gaussian process."""
    k1, k2, k3 = random.split(KEY, 3)
    noise = 0.01
    f = lambda x: jnp.sin(10 * x[..., 0]) * jnp.exp(-(x[..., 0] ** 2))
    observed = random.uniform(k1, [50], minval=-1.0, maxval=1.0)[..., jnp.newaxis]
    observations = f(observed) + tfd.Normal(loc=0.0, scale=jnp.sqrt(noise)).sample(seed=k2)
    index_points = jnp.linspace(-1.0, 1.0, 100)[..., jnp.newaxis]
    gprm = tfd.GaussianProcessRegressionModel(
        kernel=tfpk.ExponentiatedQuadratic(length_scale=0.1),
        index_points=index_points,
        observation_index_points=observed,
        observations=observations,
        observation_noise_variance=noise,
    )
    figure, ax = new_axes("Gaussian process regression", "x", "f(x)")
    for draw in gprm.sample(10, seed=k3):
        ax.plot(index_points[:, 0], draw, alpha=0.5, lw=0.9)
    ax.plot(observed[:, 0], observations, marker="o", linestyle="", color="black", ms=4)
    save(figure, "page_gaussian_process")


def hidden_markov_model():
    """Temperatures on hot and cold days."""
    model = tfd.HiddenMarkovModel(
        initial_distribution=tfd.Categorical(probs=[0.8, 0.2]),
        transition_distribution=tfd.Categorical(probs=[[0.7, 0.3], [0.2, 0.8]]),
        observation_distribution=tfd.Normal(loc=[0.0, 15.0], scale=[5.0, 10.0]),
        num_steps=7,
    )
    print("HiddenMarkovModel: mean", model.mean(), "log_prob", model.log_prob(jnp.zeros(7)))
    print("a draw", model.sample(seed=KEY))
    np.testing.assert_array_max_ulp(
        np.asarray(model.mean()), np.array([3, 6, 7.5, 8.25, 8.625, 8.8125, 8.90625], np.asarray(model.mean()).dtype), 4
    )
    np.testing.assert_allclose(model.log_prob(jnp.zeros(7)), -19.855635, rtol=1e-7)


def bijectors():
    """Maps, their inverses, composition, and JAX's transformations of them."""
    assert tfb.Exp().inverse(1.0) == 0.0
    affine = tfb.Shift(1.0)(tfb.Scale(3.0))
    print("Shift(1)(Scale(3)):", affine.forward(jnp.ones(5)), affine.inverse(jnp.ones(5)))
    tril = tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None)
    np.testing.assert_array_equal(tril.forward(x=[0.0, 0.0, 0.0]), np.eye(2))
    np.testing.assert_allclose(tril.inverse(y=[[1.0, 0], [0.5, 2]]), [0.6931472, 0.5, 0.0], rtol=1e-7)
    chain = tfb.Chain([tfb.Exp(), tfb.Softplus()])
    np.testing.assert_allclose(chain.forward(-jnp.ones(5)), 1.3678794, rtol=1e-7)
    np.testing.assert_array_equal(tfb.Exp()(tfb.Softplus()).forward(-jnp.ones(5)), chain.forward(-jnp.ones(5)))
    logs = jit(vmap(tfb.Exp().inverse))(jnp.arange(4.0))
    np.testing.assert_allclose(logs, [-np.inf, 0.0, 0.6931472, 1.0986123], rtol=1e-7)
    x = jnp.linspace(0.0, 1.0, 100)
    figure, ax = new_axes("Slope of the inverse sigmoid")
    ax.plot(x, jit(grad(lambda x: vmap(tfb.Sigmoid().inverse)(x).sum()))(x), color=BLUE)
    save(figure, "page_inverse_sigmoid")


def markov_chain_monte_carlo():
    """NUTS on a two-dimensional normal distribution: one chain, and ten in one call."""
    target_log_prob = tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)).log_prob

    def run_chain(key, state):
        kernel = tfp.mcmc.NoUTurnSampler(target_log_prob, 1e-1)
        return tfp.mcmc.sample_chain(
            1000,
            current_state=state,
            kernel=kernel,
            trace_fn=lambda _, results: results.target_log_prob,
            seed=key,
        )

    for name, start in [("one", jnp.zeros(2)), ("ten", jnp.zeros([10, 2]))]:
        states, log_probs = jit(run_chain)(KEY, start)
        states, log_probs = states.reshape(1000, -1, 2), log_probs.reshape(1000, -1)
        figure, axes = new_axes(f"NUTS, {name} chain{'s' if name == 'ten' else ''}", columns=2)
        for i in range(states.shape[1]):
            axes[0].scatter(*states[:, i].T, alpha=0.5, s=6)
            axes[1].plot(log_probs[:, i], alpha=0.5, lw=0.7)
        axes[0].set(title="Draws", aspect="equal")
        axes[1].set(title="Log density", xlabel="Transition")
        save(figure, f"page_nuts_{name}")


def optimizers():
    """BFGS and L-BFGS on a quadratic, from one start and from ten under vmap."""
    minimum = jnp.array([1.0, 1.0])
    scales = jnp.array([2.0, 3.0])
    start = jnp.array([0.6, 0.8])

    def quadratic_loss(x):
        return jnp.sum(scales * jnp.square(x - minimum))

    for minimize in (tfp.optimizer.bfgs_minimize, tfp.optimizer.lbfgs_minimize):
        results = minimize(value_and_grad(quadratic_loss), initial_position=start, tolerance=1e-8)
        assert results.converged
        np.testing.assert_allclose(results.position, minimum)
        print(f"{minimize.__name__}: function evaluations {results.num_objective_evaluations} (page 5)")

    def optimize_single(start):
        return tfp.optimizer.lbfgs_minimize(value_and_grad(quadratic_loss), initial_position=start, tolerance=1e-8)

    results = jit(vmap(optimize_single))(random.normal(KEY, (10, 2)))
    assert all(results.converged)
    for position in results.position:
        np.testing.assert_allclose(position, minimum, rtol=1e-6)
    print("Ten starts: function evaluations", results.num_objective_evaluations)


def beyond_the_page():
    """What the page's closing list says is not possible."""
    scales = jax.vmap(lambda s: tfb.Scale(s))(jnp.arange(1.0, 4.0))
    print("Bijectors are pytrees:", jax.vmap(lambda b: b.forward(2.0))(scales))
    normals = jax.vmap(lambda loc: tfd.Normal(loc, 1.0).broadcast_to(()))(jnp.arange(3.0)).broadcast_to((3,))
    print("Distributions as arguments of vmap:", jax.vmap(lambda d: d.log_prob(0.0))(normals))


def main():
    """Runs every part of the page in its order."""
    for part in (
        bayesian_logistic_regression,
        simple_distributions,
        joint_distributions,
        gaussian_process_regression,
        hidden_markov_model,
        bijectors,
        markov_chain_monte_carlo,
        optimizers,
        beyond_the_page,
    ):
        part()
    print(f"Figures in {FIGURES}")


if __name__ == "__main__":
    main()
