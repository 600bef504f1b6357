"""From supports to bijectors, and from trees of modules to trees of free parameters and back."""

import functools
from typing import Any, Generic, TypeVar, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from distrax_like import supports
from distrax_like._misc import as_instance
from distrax_like._module import Module, _Data, _Parameter, _specs, copy_with, resolve_support

from ._bijector import Bijector
from ._compose import Chain
from ._elementwise import Exp, Identity, OntoInterval, Shift, Sigmoid
from ._matrix import CholeskyOuterProduct, CorrelationCholesky, FillScaleTriL
from ._vector import Ascending, SoftmaxCentered, UnitVector

T = TypeVar("T")
M = TypeVar("M", bound=Module)


@functools.singledispatch
def bijector_for(support: Any) -> Bijector:
    """The bijector that maps the reals onto the interior of a continuous support.

    | support | bijector |
    |---|---|
    | real, extended_real, category_logits | Identity |
    | positive, nonnegative | Exp |
    | greater_than(low) | Shift(low) after Exp |
    | unit_interval, interval(low, high) | Sigmoid |
    | independent(base, n) | that of base |
    | simplex | SoftmaxCentered |
    | ordered; positive_ordered | Ascending; Exp after it |
    | unit_vector | UnitVector |
    | lower_cholesky | FillScaleTriL(Exp) |
    | positive_definite | CholeskyOuterProduct after that |
    | correlation_cholesky | CorrelationCholesky |

    Register a support of your own with `@bijector_for.register`.

    **Raises:** `ValueError` for a support without such a map, discrete ones among them.
    """
    as_instance(support, supports.Support, "bijector_for: support")
    raise ValueError(f"no bijector maps the reals onto {support}")


bijector_for.register(supports.Real, lambda _: Identity())
bijector_for.register(supports.ExtendedReal, lambda _: Identity())
bijector_for.register(supports.CategoryLogits, lambda _: Identity())
bijector_for.register(supports.Positive, lambda _: Exp())
bijector_for.register(supports.Nonnegative, lambda _: Exp())
bijector_for.register(supports.GreaterThan, lambda s: Chain([Shift(s.low), Exp()]))
bijector_for.register(supports.UnitInterval, lambda _: Sigmoid())
bijector_for.register(supports.Interval, lambda s: _onto_interval(s.low, s.high))
bijector_for.register(supports.Independent, lambda s: bijector_for(s.base))
bijector_for.register(supports.Simplex, lambda _: SoftmaxCentered())
bijector_for.register(supports.Ordered, lambda _: Ascending())
bijector_for.register(supports.PositiveOrdered, lambda _: Chain([Exp(), Ascending()]))
bijector_for.register(supports.UnitVector, lambda _: UnitVector())
bijector_for.register(supports.LowerCholesky, lambda _: FillScaleTriL(Exp(), None))
bijector_for.register(supports.PositiveDefinite, lambda _: Chain([CholeskyOuterProduct(), FillScaleTriL(Exp(), None)]))
bijector_for.register(supports.CorrelationCholesky, lambda _: CorrelationCholesky())


def _onto_interval(low: Array, high: Array) -> Bijector:
    # `OntoInterval` is needed only where an end may be infinite. By NumPy, since under a trace JAX's operations give
    # tracers even of concrete arrays.
    known = not isinstance(low, Tracer) and not isinstance(high, Tracer)
    finite = known and np.isfinite(np.asarray(low)).all() and np.isfinite(np.asarray(high)).all()
    return Sigmoid(low, high) if finite else OntoInterval(low, high)


class Unconstrained(eqx.Module, Generic[M]):
    """The free parameters of a distribution, bijector or kernel: a pytree node without methods, undone by `constrain`.

    Its parameter leaves are unconstrained reals that an optimizer may move anywhere.
    """

    _module: M


def _is_node(x: Any) -> bool:
    return isinstance(x, Module | Unconstrained)


@overload
def unconstrain(tree: M) -> Unconstrained[M]: ...
@overload
def unconstrain(tree: T) -> T: ...
def unconstrain(tree: Any) -> Any:
    """Replaces each distribution, bijector and kernel in a pytree by its free parameters; see `constrain`.

    Every parameter is mapped by the inverse of the bijector of its support, `bijector_for`. Everything else is left
    unchanged: other leaves, neural networks, and the modules' own data.

    **Raises:** `ValueError` where the tree holds free parameters already.
    """

    def visit(node: Any) -> Any:
        if isinstance(node, Unconstrained):
            raise ValueError(f"unconstrain: the parameters of {type(node._module).__name__} are free already")
        return Unconstrained(_free(node)) if isinstance(node, Module) else node

    return jtu.tree_map(visit, tree, is_leaf=_is_node)


@overload
def constrain(tree: Unconstrained[M]) -> M: ...
@overload
def constrain(tree: T) -> T: ...
def constrain(tree: Any) -> Any:
    """Turns free parameters back into distributions, bijectors and kernels; the inverse of `unconstrain`.

    Gradients do not flow into fields that hold data. To train, differentiate through it:
    `loss = lambda free: -jnp.mean(constrain(free).log_prob(x))`.

    **Raises:** `ValueError` where the tree holds a module whose parameters are not free.
    """

    def visit(node: Any) -> Any:
        if isinstance(node, Module):
            raise ValueError(f"constrain: the parameters of {type(node).__name__} are constrained already")
        return _constrained(node._module) if isinstance(node, Unconstrained) else node

    return jtu.tree_map(visit, tree, is_leaf=_is_node)


def _free(module: Module) -> Module:
    def visit(spec: Any, value: Any) -> Any:
        if isinstance(spec.role, _Parameter):
            # A parameter tied by `eqx.nn.Shared` is a marker here; the array it is tied to is transformed elsewhere.
            if not eqx.is_array_like(value):
                return value
            return bijector_for(resolve_support(spec, module)).inverse(value)
        return value if isinstance(spec.role, _Data) else _inside(_free, value)

    return copy_with(module, **{s.name: visit(s, v) for s, v in _fields(module)})


def _constrained(free: Module) -> Module:
    module = free
    for spec, value in _fields(free):
        if isinstance(spec.role, _Parameter):
            if eqx.is_array_like(value):
                value = bijector_for(resolve_support(spec, module)).forward(value)
        elif isinstance(spec.role, _Data):
            value = jtu.tree_map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, value)
        else:
            value = _inside(_constrained, value)
        # One field at a time, since the support of the next may depend on it.
        module = copy_with(module, **{spec.name: value})
    return module


def _fields(module: Module) -> list[tuple[Any, Any]]:
    return [(s, value) for s in _specs(type(module)) if (value := getattr(module, s.name)) is not None]


def _inside(fn: Any, value: Any) -> Any:
    """`fn` of the modules inside the value of a field; static values and other leaves are left unchanged."""
    return jtu.tree_map(lambda x: fn(x) if isinstance(x, Module) else x, value, is_leaf=lambda x: isinstance(x, Module))


def trainable(tree: T) -> T:
    """A pytree of booleans, True for the floating arrays of `tree` that are parameters, False for data and the rest.

    For `equinox.partition(tree, trainable(tree))` and for masked optimizers.
    """

    def visit(node: Any) -> Any:
        if isinstance(node, Unconstrained):
            return Unconstrained(flags(node._module))
        return flags(node) if isinstance(node, Module) else eqx.is_inexact_array(node)

    def flags(module: Module) -> Module:
        changes = {}
        for spec, value in _fields(module):
            is_data = isinstance(spec.role, _Data)
            changes[spec.name] = jtu.tree_map(lambda x: False if is_data else visit(x), value, is_leaf=_is_node)
        return copy_with(module, **changes)

    return jtu.tree_map(visit, tree, is_leaf=_is_node)


def validate(tree: T) -> T:
    """Checks that every parameter of the modules in a pytree lies in its support, and data that declare one.

    Outside `jit` it raises at once; under `jit` the check runs with the program (`equinox.error_if`), so use the
    returned tree.

    **Raises:** `ValueError` (or Equinox's run-time error) naming the class, the parameter and the support.
    """

    def check(module: Module) -> Module:
        changes = {}
        for spec, value in _fields(module):
            if isinstance(spec.role, _Parameter | _Data) and spec.role.support is not None:
                support = resolve_support(spec, module)
                bad = ~jnp.all(support.contains(value))
                message = f"{type(module).__name__}: {spec.name} lies outside its support, {type(support).__name__}"
                if not isinstance(bad, Tracer) and bad:
                    raise ValueError(f"{message}: {value}")
                value = eqx.error_if(value, bad, message) if isinstance(bad, Tracer) else value
            elif not isinstance(spec.role, _Data):
                value = _inside(check, value)
            changes[spec.name] = value
        return copy_with(module, **changes)

    return _inside(check, tree)
