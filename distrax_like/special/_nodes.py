"""Nodes and weights of quadrature rules, correctly rounded."""

import decimal
import functools
import math


@functools.cache
def legendre(n: int) -> list[tuple[float, float]]:
    """Gauss and Legendre's n nodes in [-1, 1] and their weights, correctly rounded. NumPy's weights have 12 digits."""
    found = []
    with decimal.localcontext(prec=40):
        for i in range(n):
            x, weight = decimal.Decimal(-math.cos(math.pi * (i + 0.75) / (n + 0.5))), decimal.Decimal(0)
            for _ in range(5):
                last, value = decimal.Decimal(1), x
                for k in range(2, n + 1):
                    last, value = value, ((2 * k - 1) * x * value - (k - 1) * last) / k
                derivative = n * (x * value - last) / (x * x - 1)
                weight, x = 2 / ((1 - x * x) * derivative * derivative), x - value / derivative
            found.append((float(x), float(weight)))
    return found
