"""Elementwise bijectors."""

import numpy as np

import distrax_like.bijectors as bij
from distrax_like import supports

from .case import BATCHED, LINE, Case

CASES = {
    "Identity": Case(lambda a: bij.Identity(), LINE),
    "Exp": Case(lambda a: bij.Exp(), LINE, image=supports.positive),
    "Shift": Case(lambda a: bij.Shift(a([1.0, -2.0, 0.5])), BATCHED, (3,)),
    "Scale": Case(lambda a: bij.Scale(a([1.5, -2.0, 0.5])), BATCHED, (3,)),
    "LogScale": Case(lambda a: bij.Scale(log_scale=a([1.5, -2.0, 0.5])), BATCHED, (3,)),
    "Softplus": Case(lambda a: bij.Softplus(), LINE, image=supports.positive),
    "SoftplusOf": Case(
        lambda a: bij.Softplus(a([0.5, 1.0, 3.0]), a(1.0)), BATCHED, (3,), image=supports.greater_than(1.0)
    ),
    "OntoInterval": Case(
        lambda a: bij.OntoInterval(a([-1.0, 2.0, -np.inf, -np.inf]), a([3.0, np.inf, 1.0, np.inf])),
        np.repeat(np.array(LINE)[:, None], 4, axis=1),
        batch=(4,),
        image=supports.interval(np.array([-1.0, 2.0, -np.inf, -np.inf]), np.array([3.0, np.inf, 1.0, np.inf])),
    ),
    "Sigmoid": Case(lambda a: bij.Sigmoid(), LINE, image=supports.unit_interval),
    "SigmoidOf": Case(
        lambda a: bij.Sigmoid(a([-1.0, 0.0, 2.0]), a([3.0, 3.0, 3.0])),
        BATCHED,
        (3,),
        image=supports.interval(-1.0, 3.0),
    ),
    "Tanh": Case(lambda a: bij.Tanh(), LINE, image=supports.interval(-1, 1), exact=10_000),
}
