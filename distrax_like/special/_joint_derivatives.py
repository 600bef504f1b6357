"""Derivatives in several arguments from one pass, for functions that are a factor times an exponential."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from distrax_like._misc import Real

from ._compensated import Pair, set_derivatives


class Joint:
    """An elementwise `fn` of arrays, of one or more results, with derivatives of every order, in both modes.

    As `differentiable`, but `along` gives the results with their derivatives in several arguments from one pass through
    the loops in `fn`, which costs little more to compile than those in one argument.
    """

    def __init__(self, fn: Callable[..., Any]):
        self._fn = fn
        self._compiled = jax.custom_jvp(jax.jit(fn))
        self._compiled.defjvp(self._rule, symbolic_zeros=True)
        self._along: dict[tuple[int, ...], Joint] = {}

    def __call__(self, *args: Real) -> Any:
        return self._compiled(*args)

    def along(self, active: tuple[int, ...]) -> "Joint":
        """A function of the same arguments: the results, and for each the derivatives in these arguments, stacked."""

        def both(*args: Real) -> Any:
            def push(direction: Real) -> Any:
                def moved(*some: Real) -> Any:
                    return self._fn(*(some[active.index(i)] if i in active else arg for i, arg in enumerate(args)))

                tangents = tuple(jnp.broadcast_to(t, args[0].shape) for t in direction)
                return jax.jvp(moved, tuple(args[i] for i in active), tangents)

            return jax.vmap(push, out_axes=(None, 0))(jnp.eye(len(active), dtype=args[0].dtype))

        if active not in self._along:
            self._along[active] = Joint(both)
        return self._along[active]

    def _rule(self, primals: tuple[Real, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        active = tuple(i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero))
        results, derivatives = self.along(active)(*primals)
        given = [tangents[i] for i in active]
        return results, jax.tree.map(lambda derivative: sum(s * t for s, t in zip(derivative, given)), derivatives)


def weighting(exponent: Callable[..., Pair], derivatives: Sequence[Callable[..., Real]]) -> Callable[..., Real]:
    """A function of the arguments and a factor: the factor times the exponential of `exponent`, whose derivatives are
    `derivatives`."""

    @jax.custom_jvp
    @jax.jit
    def root(*args: Real) -> Real:
        hi, lo = exponent(*args)
        # Where lo is not small, hi is so large that the exponential is 0.
        return jnp.exp(hi / 2) * (1 + jnp.clip(lo / 2, -0.25, 0.25))

    set_derivatives(root, *(lambda *args, fn=fn: root(*args) * fn(*args) / 2 for fn in derivatives))

    def times(args: tuple[Real, ...], factor: Real) -> Real:
        # From both sides: the exponential may be below the normal range where the product is not.
        return root(*args) * factor * root(*args)

    return times


def with_factor(parts: Any, value: Any, in_shape: Any, in_last: Any) -> Any:
    """`value` of the arguments and a factor, with its derivatives: in the last argument, and in the shapes before it.

    `parts(args, active)` gives the factor and its derivatives in the shapes numbered. `in_shape` makes of each of these
    a derivative of the value.
    """
    fn = jax.custom_jvp(jax.jit(lambda *args: value(args, parts(args)[0])))

    def rule(primals: tuple[Real, ...], tangents: tuple[Any, ...]) -> tuple[Real, Real]:
        active = tuple(i for i, t in enumerate(tangents[:-1]) if not isinstance(t, SymbolicZero))
        factor, derivatives = parts(primals, active)
        total = jnp.zeros_like(factor)
        for i, derivative in zip(active, derivatives):
            total = total + in_shape(primals, factor, derivative) * tangents[i]
        if not isinstance(tangents[-1], SymbolicZero):
            total = total + in_last(primals, factor) * tangents[-1]
        return value(primals, factor), total

    fn.defjvp(rule, symbolic_zeros=True)
    return fn
