"""Inference: Markov chain Monte Carlo and optimizers."""

if __name__ != "distrax_like.inference":
    raise ImportError("this folder is imported as distrax_like.inference")

from distrax_like.inference import mcmc as mcmc, optimizer as optimizer

__all__ = ["mcmc", "optimizer"]
