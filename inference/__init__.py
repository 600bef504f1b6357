"""Inference: Markov chain Monte Carlo, sequential Monte Carlo, variational inference, optimizers and statistics."""

if __name__ != "distrax_like.inference":
    raise ImportError("this folder is imported as distrax_like.inference")

from . import mcmc as mcmc, optimizer as optimizer, smc as smc, stats as stats, vi as vi
from .mcmc import (
    Samples as Samples,
    compare as compare,
    log_likelihood as log_likelihood,
    loo as loo,
    predictive as predictive,
    sample as sample,
)
