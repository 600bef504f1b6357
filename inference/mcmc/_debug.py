"""`debug`: finds what is wrong with a model or a log density before a long run."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from distrax_like._misc import Seed, as_key
from distrax_like.bijectors import Bijector
from distrax_like.distributions import Distribution, JointDistributionPinned, UnconstrainedDensity
from distrax_like.inference._start import check_init, point_draws
from distrax_like.inference._target import as_position, evaluate, part_name, value_and_grad
from distrax_like.supports import Independent, Support

from ._kernel import TransitionKernel

# The Jacobian of a site with more free reals is not computed.
_MAX_JACOBIAN_SIZE = 64
# A distance beyond the mass of any sensible density, whose fourth power is finite in float32 and bfloat16.
_FAR = 1e8


class Finding(NamedTuple):
    """A fault.

    - `severity`: "error" or "warning".
    - `where`: the site, or the part of the state.
    - `message`: what is wrong.
    - `hint`: how to fix it.
    """

    severity: str
    where: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}\n    {self.hint}"


class Report(NamedTuple):
    """What `debug` has found, which prints as a list, errors first. `ok` says that there are no errors."""

    findings: tuple[Finding, ...]
    num_points: int

    @property
    def ok(self) -> bool:
        return all(finding.severity != "error" for finding in self.findings)

    def __str__(self) -> str:
        errors = sum(finding.severity == "error" for finding in self.findings)
        counts = f"{errors} errors, {len(self.findings) - errors} warnings, {self.num_points} points"
        return "\n".join([counts, *(str(finding) for finding in self.findings)])


def debug(
    target: JointDistributionPinned | TransitionKernel | Callable[..., Any],
    init: PyTree = None,
    *,
    num_points: int = 8,
    seed: Seed | None = None,
) -> Report:
    """Checks a model or a log density at several points.

    ```python
    print(inference.mcmc.debug(model.pin(y=y), seed=jax.random.key(0)))
    ```

    It checks that the log density is a finite scalar of the position's dtype; that its value is the same when it is
    called again, under `jax.jit`, which must compile it only once, and under `jax.vmap`; that its gradient is finite
    and agrees with differences along a random direction in each part; that it depends on every part, and decreases far
    out in each. For a model it also checks that the values of sites lie in their supports, that the maps from free
    reals and their inverses undo each other, and that their log determinants are those of their Jacobians. An exception
    in a model is a finding.

    **Arguments:**

    - `target`: as for `sample`.
    - `init`: one chain's position, which is checked together with points near it, or a function from a key to one. By
      default a model is checked at points between -2 and 2 in every free real, and at draws from the prior.
    - `num_points`: how many points of each kind.
    - `seed`: a key.

    **Returns:** a `Report`. A fault at all points where chains would start is an error, other faults are warnings.

    **Raises:** `TypeError` for an invalid target, for a log density without `init`, and without a seed.
    """
    key = as_key(seed, "debug")
    if num_points < 1:
        raise ValueError(f"debug: num_points must be at least 1, got {num_points}")
    given = _checked_target(target)
    check = _Check()
    try:
        density = given.unconstrained() if isinstance(given, JointDistributionPinned) else given
    except Exception as error:  # The user's function may fail in any way, here and below.
        message = f"raises {_first_line(error)}"
        check.add("error", "the model", message, "Fix the model so that it runs; see the message.")
        return check.report()
    model = density if isinstance(density, UnconstrainedDensity) else None
    check_init("debug", model, init, ("pathfinder",))
    if model is not None and not model.dim:
        check.add("error", "the model", "has no free site", "Pin only what has been observed.")
        return check.report()
    try:
        check.gather(model, init, num_points, key)
    except Exception as error:
        if not callable(init):
            raise
        check.add("error", "init", f"raises {_first_line(error)}", "Fix the function so that it gives a position.")
        return check.report()
    if check.values(density, model):
        if model is not None:
            check.sites(model)
        check.slopes(density, model, key)
    return check.report()


def _checked_target(target: object) -> JointDistributionPinned | Callable[..., Any]:
    """The model or log density to check; of a kernel, its target."""
    if isinstance(target, TransitionKernel):
        return target.log_density()
    if isinstance(target, JointDistributionPinned) or callable(target):
        return target
    raise TypeError(f"debug: target must be a pinned model, a log density or a kernel, got {type(target).__name__}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _quoted(name: str) -> str:
    return f"site {name!r}"


class _Check:
    """The points, and what has been found at them.

    - `points`: vectors, one in each row.
    - `starts`: whether chains may start at each point.
    - `like`: a position, for its containers and shapes.
    """

    points: np.ndarray
    starts: np.ndarray
    like: PyTree
    _eager: Array | None = None

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self.points, self.starts = np.zeros((0, 0)), np.zeros(0, bool)

    def report(self) -> Report:
        return Report(tuple(sorted(self._found, key=lambda finding: finding.severity)), len(self.points))

    def add(self, severity: str, where: str, message: str, hint: str) -> None:
        self._found.append(Finding(severity, where, message, hint))

    def at(
        self, bad: Bool[np.ndarray, " points"], where: str, message: str, hint: str, one_is_enough: bool = False
    ) -> None:
        """Adds a finding if points are `bad`: an error if so are all starts, or one where that is enough."""
        if bad.any():
            fatal = bad[self.starts].any() if one_is_enough else bad[self.starts].all()
            self.add("error" if fatal else "warning", where, f"{message} at {bad.sum()} of {len(bad)} points", hint)

    def gather(self, model: UnconstrainedDensity | None, init: PyTree, num: int, key: Seed) -> None:
        """Makes the points."""
        kinds: list[PyTree] = []
        if callable(init):
            kinds.append(point_draws("debug", None, init, num, key)(0))
        elif init is None or isinstance(init, str):
            kinds.append(point_draws("debug", model, "uniform", num, key)(0))
            try:
                prior = np.asarray(point_draws("debug", model, "prior", num, key)(0))
                prior = prior[np.isfinite(prior).all(axis=1)]
                kinds.insert(0 if init == "prior" and len(prior) else 1, prior)
            except Exception as error:
                message = f"a draw from it raises {_first_line(error)}"
                self.add("warning", "the model", message, "Fix how its sites draw.")
        else:
            rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
            position = as_position(init, "debug")
            kinds.append(jtu.tree_map(lambda x: np.asarray(x)[None], position))
            kinds.append(
                jtu.tree_map(
                    lambda x: x + rng.uniform(-0.1, 0.1, (num - 1, *x.shape)) * np.maximum(1, np.abs(x)), position
                )
            )
        self.like = jtu.tree_map(lambda x: jnp.asarray(np.asarray(x)[0]), kinds[0])
        # NumPy, since JAX compiles a program for each operation outside of a compiled function.
        flat = [[np.reshape(x, (len(x), -1)) for x in jtu.tree_leaves(kind)] for kind in kinds]
        self.points = np.concatenate([np.concatenate(kind, axis=1) for kind in flat])
        self.points = self.points.astype(jnp.result_type(*jtu.tree_leaves(self.like)))
        self.starts = np.arange(len(self.points)) < len(flat[0][0])

    def values(self, target: Callable[..., Any], model: UnconstrainedDensity | None) -> bool:
        """Checks values at one point, and returns whether the target can be called, so that more can be checked."""
        who = "the log density" if model is None else "the model"
        _, unravel = ravel_pytree(self.like)
        try:
            position = unravel(jnp.asarray(self.points[0]))
            value, again = (jnp.asarray(evaluate(target, position)) for _ in range(2))
        except Exception as error:
            self.add("error", who, f"raises {_first_line(error)}", "Fix it so that it can be called; see the message.")
            return False
        if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            message = f"is no real scalar at one position, but has shape {value.shape} and dtype {value.dtype}"
            hint = "Sum it over all axes that are not chains, and give one chain's position as init."
            self.add("error", who, message, hint)
            return False
        if value.weak_type or value.dtype != self.points.dtype:
            message = f"has dtype {'weak ' * value.weak_type}{value.dtype} at positions of dtype {self.points.dtype}"
            self.add("warning", who, message, "Cast the data and constants to the dtype of the position.")
        traces: list[None] = []

        @eqx.filter_jit
        def compiled(target: Callable[..., Any], position: PyTree) -> PyTree:
            traces.append(None)
            return evaluate(target, position)

        try:
            under_jit, _ = (compiled(target, position) for _ in range(2))
        except Exception as error:
            message = f"runs eagerly, but under jax.jit raises {_first_line(error)}"
            self.add("error", who, message, "Use jax.numpy, jnp.where and jax.lax.cond where it depends on values.")
            return False
        if len(traces) > 1:
            hint = "Let equal static fields compare and hash as equal, or make them arrays."
            self.add("warning", who, "is compiled again in every call, since its structure does not equal itself", hint)
        if not self._same(value, again):
            message = f"is {value} and then {again} at the same point"
            self.add("error", who, message, "Let it draw no random numbers and change no state.")
        elif not self._same(value, under_jit):
            message = f"is {value} eagerly, but {under_jit} under jax.jit at the same point"
            self.add(
                "error", who, message, "Let it depend on its arguments alone, not on state that changes between calls."
            )
        else:
            self._eager = value
        return True

    def _same(self, a: ArrayLike, b: ArrayLike) -> bool:
        tolerance = float(jnp.finfo(self.points.dtype).eps) ** 0.25
        return bool(np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))

    def over_points(self, who: str, doing: str, hint: str, check: Callable[[Array], PyTree]) -> PyTree:
        """The results of `check` at all points, or `None` where it cannot be called."""
        try:
            return jtu.tree_map(np.asarray, _mapped(check, jnp.asarray(self.points), True))
        except Exception as error:
            reason = _first_line(error)
        try:
            out = jtu.tree_map(np.asarray, _mapped(check, jnp.asarray(self.points), False))
        except Exception as error:
            self.add("error", who, f"{doing} raises {_first_line(error)}", hint)
            return None
        hint = 'Use operations that have a batching rule, or sample with execution="sequential".'
        self.add("error", who, f"runs under jax.jit, but under jax.vmap raises {reason}", hint)
        return out

    def sites(self, model: UnconstrainedDensity) -> None:
        """Checks the sites of a model."""
        hint = "Fix its support and the bijector that is registered for it."
        out = self.over_points("the model", "looking at supports and their bijectors", hint, jtu.Partial(_sites, model))
        for name, site in (out or {}).items():
            where, pinned, free = _quoted(name), name in model.pinned.pins, name in dict(model.layout)
            # A site without randomness may record any value.
            outside, term = (site["outside"] > 0) & (pinned or free), site["term"]
            if outside.any():
                i = int(np.argmax(outside))
                message = f"{site['outside'][i]} of {site['count'][i]} {'observed' if pinned else 'constrained'} values"
                message += f" ({site['example'][i]:.6g}) " if np.isfinite(site["example"][i]) else " "
                hint = "Fix the data, or choose a distribution that can give them."
                hint = hint if pinned else "The bijector of its support must map every real into it."
                self.at(outside, where, message + "outside the support", hint)
            bad = ~np.isfinite(term) & ~outside
            if bad.any():
                message = f"the log density is {term[np.argmax(bad)]}"
                hint = "Look at the parameters that its distribution has there, and at the value."
                self.at(bad, where, message, hint)
            if free:
                hint = "Fix the bijector of its support: forward and inverse must undo each other."
                self.at(site["lossy"], where, "free reals do not come back from their values", hint, True)
                off = site["log_det"]
                message = f"the log determinant of its bijector is off by {off[np.argmax(np.abs(off))]:.4g}"
                hint = "Fix the bijector: it must be log |det dy/dx| of the forward map."
                self.at(self.starts & (off != 0), where, message, hint, True)

    def slopes(self, target: Callable[..., Any], model: UnconstrainedDensity | None, key: Seed) -> None:
        """Checks values and gradients."""
        who = "the log density"
        if model is not None:
            names, sizes = [_quoted(name) for name, _ in model.layout], [math.prod(shape) for _, shape in model.layout]
        else:
            leaves = jtu.tree_leaves_with_path(self.like)
            names, sizes = [part_name(path) for path, _ in leaves], [x.size for _, x in leaves]
        which = np.repeat(np.arange(len(sizes)), sizes)
        check = jtu.Partial(_slopes, target, self.like, key, jnp.asarray(which), len(sizes))
        hint = "Use operations that have a reverse-mode derivative, for example lax.scan for lax.while_loop."
        out = self.over_points(who, "its gradient", hint, check)
        if out is None:
            return
        value, grads, wrong, endless = out
        if self._eager is not None and not self._same(value[0], self._eager):
            message = f"is {self._eager} eagerly, but {value[0]} under jax.vmap"
            self.add("error", who, message, "Look for axes that are counted from the front, or sums over all of them.")
        finite = np.isfinite(value)
        if model is None:
            message = f"is {value[np.argmin(finite)]}"
            self.at(~finite, who, message, "Look where it divides, or takes logs or roots, and at its domain.")
        for k, name in enumerate(names):
            part = grads[:, which == k]
            bad = finite & ~np.isfinite(part).all(axis=1)
            if bad.any():
                x = jnp.asarray(self.points[int(np.argmax(bad))])
                terms = [] if model is None else _steep_terms(model, x, which == k)
                of = f" of the term of {' and '.join(_quoted(term) for term in terms)}" if terms else ""
                hint = "Keep what jnp.where masks inside the domain: put a safe value in before the function too."
                self.at(bad, name, f"the gradient{of} with respect to it is not finite", hint, True)
            if not finite.any():
                continue
            if wrong[:, k].any():
                hint = "Look at custom derivatives, stop_gradient, rounding and jumps."
                message = "the gradient with respect to it does not agree with differences of the log density"
                self.at(wrong[:, k], name, message, hint, True)
                continue
            zeros = int((part[finite] == 0).all(axis=0).sum())
            if zeros:
                message = f"the log density does not depend on {zeros} of its {part.shape[1]} numbers"
                self.add("warning", name, message, "Give them a prior or leave them out: their posterior is improper.")
            elif endless[finite, k].all():
                message = "the log density does not fall far out in some direction"
                self.add("warning", name, message, "Give it a proper prior: its posterior seems to be improper.")


@eqx.filter_jit
def _mapped(
    check: Callable[[Array], PyTree], points: Float[Array, "points dim"], at_once: bool
) -> PyTree:
    return jax.vmap(check)(points) if at_once else jax.lax.map(check, points)


def _sites(model: UnconstrainedDensity, x: Float[Array, " dim"]) -> dict[str, dict[str, Array]]:
    """Results of checks at a point by the name of the site.

    For every site: its term of the log density, how many values are outside of the support, their number, and an
    example. For free sites: whether their free reals are lost on the way to the value and back, and the error of the
    log determinant, or zero where that is rounding.
    """
    pieces = model.split(x)
    tolerance = float(jnp.finfo(x.dtype).eps) ** 0.25
    out = {name: {"term": term} for name, term in model.log_densities(x).items()}

    def look(name: str, distribution: Distribution, value: Array) -> None:
        support: Support = distribution.support
        while isinstance(support, Independent):
            support = support.base
        value = distribution._clean(distribution._cast(value, "log_prob"))
        outside = ~support.contains(value)
        example = jnp.ravel(value)[jnp.argmax(outside)] if value.size and not support.event_ndims else jnp.nan
        out[name] |= {"outside": jnp.sum(outside), "count": jnp.asarray(outside.size), "example": jnp.asarray(example)}

    def free(name: str, distribution: Distribution, bijector: Bijector) -> Array:
        z = pieces[name]
        value, log_det = bijector.forward_and_log_det(z)
        look(name, distribution, value)
        back = jnp.broadcast_to(bijector.inverse(value), z.shape)
        # If the values agree, free reals are lost to rounding alone, which is no fault.
        lossy = ~_close(back, z, tolerance) & ~_close(bijector.forward(back), value, tolerance)
        off = _log_dets(bijector, z, value) - jnp.sum(log_det)
        off = jnp.min(jnp.abs(off))
        far = jnp.isfinite(off) & (off > tolerance * (z.size + jnp.abs(jnp.sum(log_det))))
        out[name] |= {"lossy": lossy & jnp.all(jnp.isfinite(value)), "log_det": jnp.where(far, off, 0)}
        return value

    model._run(free, look)
    return out


def _close(a: Array, b: Array, tolerance: float) -> Bool[Array, ""]:
    return jnp.all(jnp.abs(a - b) <= tolerance * (1 + jnp.abs(b)))


def _log_dets(bijector: Bijector, x: Array, y: Array) -> Float[Array, " ways"]:
    """The log determinant of the Jacobian at `x` from derivatives of the forward map.

    Where the map adds coordinates there are several conventions in use, and the result has one number for each. It is
    NaN where no convention is known, and where the Jacobian is large.
    """
    if not bijector.forward_min_event_ndims:
        return jnp.sum(jnp.log(jnp.abs(jax.jvp(bijector.forward, (x,), (jnp.ones_like(x),))[1])))[None]
    if x.size > _MAX_JACOBIAN_SIZE or not x.size:
        return jnp.full(1, jnp.nan)
    jacobian = jnp.moveaxis(jax.jacfwd(lambda z: bijector.forward(jnp.reshape(z, x.shape)))(jnp.ravel(x)), -1, 0)
    picks = [jacobian]
    if bijector.inverse_min_event_ndims == 1:
        picks = [jacobian[..., : x.shape[-1]]]
    elif bijector.inverse_min_event_ndims == 2:
        picks = [jacobian[(..., *np.tril_indices(y.shape[-1], i))] for i in (0, -1)] + picks
    square = [jnp.reshape(pick, (x.size, -1)) for pick in picks if pick.size == x.size**2]
    ways = [jnp.linalg.slogdet(pick)[1] for pick in square]
    if y.size > x.size and bijector.inverse_min_event_ndims == 1:
        flat = jnp.reshape(jacobian, (x.size, -1))
        ways.append(jnp.linalg.slogdet(flat @ flat.T)[1] / 2)  # of the surface element
    return jnp.stack(ways) if ways else jnp.full(1, jnp.nan)


def _steep_terms(model: UnconstrainedDensity, x: Float[Array, " dim"], of: np.ndarray) -> list[str]:
    """The sites whose terms have gradients that are not finite in the coordinates `of`."""

    @eqx.filter_jit
    def steepness(model: UnconstrainedDensity, x: Array) -> dict[str, Array]:
        # One by one, since the zero cotangents of other terms would turn into NaN.
        return {n: jax.grad(lambda x, n=n: model.log_densities(x)[n])(x) for n in model.pinned.distribution.names}

    grads = steepness(model, x)
    return [name for name, grad in grads.items() if not np.isfinite(np.asarray(grad)[of]).all()]


def _slopes(
    target: Callable[..., Any],
    like: PyTree,
    key: Seed,
    which: Int[Array, " dim"],
    num: int,
    x: Float[Array, " dim"],
) -> tuple[Array, Array, Array, Array]:
    """The value and gradient; and for a random direction in each part, whether the gradient is wrong along it, and
    whether the density does not decrease far out.

    With the differences d(h) = (f(x + h v) - f(x - h v)) / 2, the extrapolation (4 d(h) - d(2h) / 2) / 3 is h f'(x) v
    up to O(h^5), and d(h) - d(2h) / 2 estimates the error that higher derivatives cause.
    """
    _, unravel = ravel_pytree(like)
    value, grads = value_and_grad(target, unravel(x), "debug")
    grad = ravel_pytree(grads)[0]
    eps = jnp.finfo(x.dtype).eps
    h = eps**0.2
    scales = jnp.array([h, -h, 2 * h, -2 * h, _FAR, 2 * _FAR, -_FAR, -2 * _FAR], x.dtype)

    def part(k: Int[Array, ""]) -> tuple[Array, Array]:
        v = jnp.where(which == k, jax.random.normal(jax.random.fold_in(key, k), x.shape, x.dtype), 0)
        v = v / jnp.linalg.norm(v)
        f = jax.lax.map(lambda s: evaluate(target, unravel(x + s * v)), scales)
        near, far = (f[0] - f[1]) / 2, (f[2] - f[3]) / 4
        # The steps after rounding.
        steps = (2 * ((x + h * v) - (x - h * v)) - ((x + 2 * h * v) - (x - 2 * h * v)) / 4) / 3
        terms = jnp.where(which == k, grad * steps, 0)
        error = jnp.abs((4 * near - far) / 3 - jnp.sum(terms))
        noise = 10 * jnp.abs(near - far) + 100 * eps * (1 + jnp.max(jnp.abs(f[:4])))
        # Along a line a density can be integrated only if it decreases faster than 1 / distance.
        endless = (f[5] - f[4] > -0.6) & jnp.isfinite(f[4]) | (f[7] - f[6] > -0.6) & jnp.isfinite(f[6])
        return error > noise + eps**0.25 * jnp.sum(jnp.abs(terms)), endless

    wrong, endless = jax.lax.map(part, jnp.arange(num))
    return value, grad, wrong, endless
