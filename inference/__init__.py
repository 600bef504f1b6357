"""Inference: Markov chain Monte Carlo, optimizers and statistics."""

if __name__ != "distrax_like.inference":
    raise ImportError("this folder is imported as distrax_like.inference")

from distrax_like.inference import mcmc as mcmc, optimizer as optimizer, stats as stats

__all__ = ["mcmc", "optimizer", "stats"]
