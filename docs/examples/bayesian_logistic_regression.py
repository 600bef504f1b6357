"""Bayesian logistic regression of the Iris data with the No-U-Turn Sampler.

Prints the average accuracy of the posterior draws and that of Bayesian model averaging, and saves two figures: the
trace of the log density, and the predicted probabilities over the two petal measurements.

    python docs/examples/bayesian_logistic_regression.py [folder for the figures]
"""

import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from jax import random
from sklearn import datasets

from distrax_like import distributions as tfd, inference as tfp

FIGURES = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "figures")

iris = datasets.load_iris()
features, labels = iris["data"], iris["target"]
num_features, num_classes = features.shape[-1], len(iris.target_names)


def model():
    w = yield "w", tfd.Sample(tfd.Normal(0.0, 1.0), sample_shape=(num_features, num_classes))
    b = yield "b", tfd.Sample(tfd.Normal(0.0, 1.0), sample_shape=(num_classes,))
    yield "y", tfd.Independent(tfd.Categorical(logits=jnp.dot(features, w) + b), reinterpreted_batch_ndims=1)


joint = tfd.JointDistributionCoroutine(model)
posterior = joint.pin(y=labels)


def class_probs(params):
    """The probabilities of the classes of all flowers for one draw of the parameters."""
    distributions, _ = joint.sample_distributions(seed=random.key(0), value=(*params, None))
    return distributions.y.distribution.probs_parameter()


def run(key, num_results=500, num_burnin_steps=500, progress_bar=True):
    """Draws from the posterior with the step size of the original, and their log densities."""
    init_key, sample_key = random.split(key)
    start = tuple(joint.sample(seed=init_key)[:-1])
    return tfp.mcmc.sample_chain(
        num_results,
        current_state=start,
        kernel=tfp.mcmc.NoUTurnSampler(posterior, step_size=1e-3),
        trace_fn=lambda _, info: info.target_log_prob,
        num_burnin_steps=num_burnin_steps,
        seed=sample_key,
        progress_bar=progress_bar,
    )


def plot_trace(log_probs, path):
    """The log density along the chain."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, width_ratios=[4, 1], layout="constrained")
    axes[0].plot(log_probs, color="#3b6ea5", lw=0.8)
    axes[0].set(xlabel="Transition after burn-in", ylabel="Target log density", xlim=(0, len(log_probs)))
    axes[1].hist(log_probs, bins=30, orientation="horizontal", color="#3b6ea5", alpha=0.7)
    axes[1].set(xlabel="Draws")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle("NUTS on the Iris data")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_predictive(states, path):
    """The averaged class probabilities over petal length and width, at the mean sepal, as a mix of three colours."""
    colours = np.array([[0.85, 0.37, 0.01], [0.46, 0.44, 0.70], [0.11, 0.62, 0.47]])
    length, width = np.meshgrid(np.linspace(0.5, 7.5, 200), np.linspace(-0.1, 2.8, 160))
    sepal = np.broadcast_to(features[:, :2].mean(0), (*length.shape, 2))
    grid = jnp.concatenate([sepal, length[..., None], width[..., None]], axis=-1)
    w, b = (x[::5] for x in states)
    probs = jax.jit(lambda w, b: jnp.mean(jax.nn.softmax(jnp.einsum("xyf,sfc->sxyc", grid, w) + b[:, None, None]), 0))(
        w, b
    )
    figure, ax = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    shade = 1 - 0.75 * (1 - np.asarray(probs) @ colours)
    ax.imshow(
        np.clip(shade, 0, 1), origin="lower", aspect="auto", extent=(0.5, 7.5, -0.1, 2.8), interpolation="bilinear"
    )
    ax.contour(length, width, probs.max(-1), levels=[0.6, 0.9], colors="white", linewidths=0.9, linestyles=["--", "-"])
    for k, name in enumerate(iris.target_names):
        of_class = labels == k
        ax.scatter(*features[of_class][:, 2:].T, s=22, color=colours[k], edgecolor="black", lw=0.5, label=name)
    ax.set(xlabel="Petal length (cm)", ylabel="Petal width (cm)", title="Averaged predictive probabilities")
    ax.legend(loc="upper left", framealpha=0.9, title="contours at 0.6 and 0.9", title_fontsize=8, fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    """Runs the chain, prints the accuracies and saves the figures."""
    start = time.perf_counter()
    states, log_probs = run(random.key(0))
    jax.block_until_ready(states)
    print(f"1000 transitions in {time.perf_counter() - start:.1f} s, compilation included")
    probs = jax.jit(jax.vmap(class_probs))(states)
    print("Average accuracy:", jnp.mean(probs.argmax(axis=-1) == labels))
    print("BMA accuracy:", jnp.mean(probs.mean(axis=0).argmax(axis=-1) == labels))
    FIGURES.mkdir(parents=True, exist_ok=True)
    plot_trace(log_probs, FIGURES / "iris_trace.png")
    plot_predictive(states, FIGURES / "iris_predictive.png")
    print(f"Figures in {FIGURES}")


if __name__ == "__main__":
    main()
