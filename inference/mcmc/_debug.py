"""`debug`: what is wrong with a model or a log density, found before a long run."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from distrax_like._misc import as_key
from distrax_like.bijectors import Bijector
from distrax_like.distributions import Distribution, JointDistributionPinned, UnconstrainedDensity
from distrax_like.supports import Independent, Support

from ._kernel import TransitionKernel
from ._start import _points, check_init
from ._target import as_position, evaluate, part_name, value_and_grad

# Of free reals of one site, beyond which a Jacobian is not computed.
_LARGE = 64
# Far beyond the mass of any sensible density; its fourth power is finite in every dtype of eight bits of exponent.
_FAR = 1e8


class Finding(NamedTuple):
    """A fault: its severity, "error" or "warning"; the site or part; what is wrong; and how to mend it."""

    severity: str
    part: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.part}: {self.what}\n    {self.mend}"


class Report(NamedTuple):
    """What `debug` has found; it prints as a list, errors first. It is `ok` where there are no errors."""

    findings: tuple[Finding, ...]
    num_points: int

    @property
    def ok(self) -> bool:
        return all(finding.severity != "error" for finding in self.findings)

    def __str__(self) -> str:
        errors = sum(finding.severity == "error" for finding in self.findings)
        counts = f"{errors} errors, {len(self.findings) - errors} warnings, {self.num_points} points"
        return "\n".join([counts, *(str(finding) for finding in self.findings)])


def debug(target: Any, init: Any = None, *, num_points: int = 8, seed: Any = None) -> Report:
    """Looks for what is wrong with a model or a log density, at several points.

    ```python
    print(inference.mcmc.debug(model.pin(y=y), seed=jax.random.key(0)))
    ```

    Checked are: that the log density is a finite scalar of the position's dtype, the same when called again, under
    `jax.jit`, which compiles it once, and under `jax.vmap`; that its gradient is finite and agrees with differences
    along a random direction in each part; that it depends on every part, and falls far out in each. Of a model also:
    that the values of sites lie in their supports, and that the maps from free reals are inverted by their inverses
    and have the log determinants of their Jacobians. An exception in a model is a finding.

    **Arguments:**

    - `target`: as for `sample`.
    - `init`: one chain's position, which is looked at with points near it, or a function from a key to one. For a model
      by default points between -2 and 2 in every free real, and draws from the prior.
    - `num_points`: how many of each kind.
    - `seed`: a key.

    **Returns:** a `Report`. What is wrong wherever chains would start is an error, elsewhere a warning.

    **Raises:** `TypeError` for a target that is none, a log density without `init`, and without a seed.
    """
    key = as_key(seed, "debug")
    if num_points < 1:
        raise ValueError(f"debug: num_points must be at least 1, got {num_points}")
    if isinstance(target, TransitionKernel):
        target = target.log_density()
    if not callable(target):
        raise TypeError(f"debug: target must be a pinned model, a log density or a kernel, got {type(target).__name__}")
    check = _Check()
    try:
        if isinstance(target, JointDistributionPinned):
            target = target.unconstrained()
    except Exception as error:  # The user's function may fail in any way, here and below.
        check.add("error", "the model", f"raises {_said(error)}", "Mend the model so that it runs; see the message.")
        return check.report()
    model: Any = target if isinstance(target, UnconstrainedDensity) else None
    check_init("debug", model, init)
    if model is not None and not model.dim:
        check.add("error", "the model", "has no free site", "Pin only what has been observed.")
        return check.report()
    try:
        check.gather(model, init, num_points, key)
    except Exception as error:
        if not callable(init):
            raise
        check.add("error", "init", f"raises {_said(error)}", "Mend the function so that it gives a position.")
        return check.report()
    if check.values(target, model):
        if model is not None:
            check.sites(model)
        check.slopes(target, model, key)
    return check.report()


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _quoted(name: str) -> str:
    return f"site {name!r}"


class _Check:
    """The points, and what has been found at them.

    `points` are vectors, one a row; at those that `starts` marks chains might start.
    """

    points: np.ndarray
    starts: np.ndarray
    like: PyTree
    _eager: Any = None

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self.points, self.starts = np.zeros((0, 0)), np.zeros(0, bool)

    def report(self) -> Report:
        return Report(tuple(sorted(self._found, key=lambda finding: finding.severity)), len(self.points))

    def add(self, severity: str, part: str, what: str, mend: str) -> None:
        self._found.append(Finding(severity, part, what, mend))

    def at(self, bad: Any, part: str, what: str, mend: str, one_is_enough: bool = False) -> None:
        """A finding where `bad` marks points: an error if these are all (or one) of those that chains start at."""
        bad = np.asarray(bad)
        if bad.any():
            fatal = bad[self.starts].any() if one_is_enough else bad[self.starts].all()
            self.add("error" if fatal else "warning", part, f"{what} at {bad.sum()} of {len(bad)} points", mend)

    def gather(self, model: UnconstrainedDensity | None, init: Any, num: int, key: Any) -> None:
        """Makes the points."""
        kinds: list[Any] = []
        if callable(init):
            kinds.append(_points("debug", None, init, num, key)(0))
        elif init is None or isinstance(init, str):
            kinds.append(_points("debug", model, "uniform", num, key)(0))
            try:
                prior = np.asarray(_points("debug", model, "prior", num, key)(0))
                prior = prior[np.isfinite(prior).all(axis=1)]
                kinds.insert(0 if init == "prior" and len(prior) else 1, prior)
            except Exception as error:
                self.add("warning", "the model", f"a draw from it raises {_said(error)}", "Mend how its sites draw.")
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
        # NumPy, since each operation of JAX outside of a compiled function is a program to compile.
        flat = [[np.reshape(x, (len(x), -1)) for x in jtu.tree_leaves(kind)] for kind in kinds]
        self.points = np.concatenate([np.concatenate(kind, axis=1) for kind in flat])
        self.points = self.points.astype(jnp.result_type(*jtu.tree_leaves(self.like)))
        self.starts = np.arange(len(self.points)) < len(flat[0][0])

    def values(self, target: Any, model: UnconstrainedDensity | None) -> bool:
        """Whether the target can be called at all, and under jit, so that more can be checked."""
        who = "the log density" if model is None else "the model"
        _, unravel = ravel_pytree(self.like)
        try:
            position = unravel(jnp.asarray(self.points[0]))
            value, again = (jnp.asarray(evaluate(target, position)) for _ in range(2))
        except Exception as error:
            self.add("error", who, f"raises {_said(error)}", "Mend it so that it can be called; see the message.")
            return False
        if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            what = f"is no real scalar at one position, but has shape {value.shape} and dtype {value.dtype}"
            self.add("error", who, what, "Sum it over all that is not a chain, and give one chain's position as init.")
            return False
        if value.weak_type or value.dtype != self.points.dtype:
            what = f"has dtype {'weak ' * value.weak_type}{value.dtype} at positions of dtype {self.points.dtype}"
            self.add("warning", who, what, "Cast the data and constants to the dtype of the position.")
        traces: list[None] = []

        @eqx.filter_jit
        def compiled(target: Any, position: PyTree) -> Any:
            traces.append(None)
            return evaluate(target, position)

        try:
            under_jit, _ = (compiled(target, position) for _ in range(2))
        except Exception as error:
            what = f"runs eagerly, but under jax.jit raises {_said(error)}"
            self.add("error", who, what, "Use jax.numpy, jnp.where and jax.lax.cond where it depends on values.")
            return False
        if len(traces) > 1:
            mend = "Let equal static fields compare and hash as equal, or make them arrays."
            self.add("warning", who, "is compiled anew in every call, since its structure does not equal itself", mend)
        if not self._same(value, again):
            what = f"is {value} and then {again} at the same point"
            self.add("error", who, what, "Let it draw no random numbers and change no state.")
        elif not self._same(value, under_jit):
            what = f"is {value} eagerly, but {under_jit} under jax.jit at the same point"
            self.add(
                "error", who, what, "Let it depend on its arguments alone, not on state that changes between calls."
            )
        else:
            self._eager = value
        return True

    def _same(self, a: Any, b: Any) -> bool:
        rough = float(jnp.finfo(self.points.dtype).eps) ** 0.25
        return bool(np.isclose(a, b, rtol=rough, atol=rough, equal_nan=True))

    def over_points(self, who: str, doing: str, mend: str, check: Callable[..., Any]) -> Any:
        """`check` at all points, or None where it cannot be."""
        try:
            return jtu.tree_map(np.asarray, _mapped(check, self.points, True))
        except Exception as error:
            said = _said(error)
        try:
            out = jtu.tree_map(np.asarray, _mapped(check, self.points, False))
        except Exception as error:
            self.add("error", who, f"{doing} raises {_said(error)}", mend)
            return None
        mend = 'Use operations that have a batching rule, or sample with execution="sequential".'
        self.add("error", who, f"runs under jax.jit, but under jax.vmap raises {said}", mend)
        return out

    def sites(self, model: UnconstrainedDensity) -> None:
        """Finds at fault: sites of a model."""
        mend = "Mend its support and the bijector that is registered for it."
        out = self.over_points("the model", "looking at supports and their bijectors", mend, jtu.Partial(_sites, model))
        for name, site in (out or {}).items():
            part, pinned = _quoted(name), name in model.pinned.pins
            outside, term = site["outside"] > 0, site["term"]
            if outside.any():
                i = int(np.argmax(outside))
                what = f"{site['outside'][i]} of {site['count'][i]} {'observed' if pinned else 'constrained'} values"
                what += f" ({site['example'][i]:.6g}) " if np.isfinite(site["example"][i]) else " "
                mend = "Mend the data, or choose a distribution that can give them."
                mend = mend if pinned else "The bijector of its support must map every real into it."
                self.at(outside, part, what + "outside the support", mend)
            bad = ~np.isfinite(term) & ~outside
            if bad.any():
                what = f"the log density is {term[np.argmax(bad)]}"
                mend = "Look at the parameters that its distribution has there, and at the value."
                self.at(bad, part, what, mend)
            if not pinned:
                mend = "Mend the bijector of its support: forward and inverse must undo each other."
                self.at(site["lossy"], part, "free reals do not come back from their values", mend, True)
                off = site["log_det"]
                what = f"the log determinant of its bijector is off by {off[np.argmax(np.abs(off))]:.4g}"
                mend = "Mend the bijector: it must be log |det dy/dx| of the forward map."
                self.at(self.starts & (off != 0), part, what, mend, True)

    def slopes(self, target: Any, model: UnconstrainedDensity | None, key: Any) -> None:
        """Finds at fault: values and gradients."""
        who = "the log density"
        if model is not None:
            names, sizes = [_quoted(name) for name, _ in model.layout], [math.prod(shape) for _, shape in model.layout]
        else:
            leaves = jtu.tree_leaves_with_path(self.like)
            names, sizes = [part_name(path) for path, _ in leaves], [x.size for _, x in leaves]
        which = np.repeat(np.arange(len(sizes)), sizes)
        check = jtu.Partial(_slopes, target, self.like, key, jnp.asarray(which), len(sizes))
        mend = "Use operations that have a reverse-mode derivative, for example lax.scan for lax.while_loop."
        out = self.over_points(who, "its gradient", mend, check)
        if out is None:
            return
        value, grads, wrong, endless = out
        if self._eager is not None and not self._same(value[0], self._eager):
            what = f"is {self._eager} eagerly, but {value[0]} under jax.vmap"
            self.add("error", who, what, "Look for axes that are counted from the front, or sums over all of them.")
        finite = np.isfinite(value)
        if model is None:
            what = f"is {value[np.argmin(finite)]}"
            self.at(~finite, who, what, "Look where it divides, or takes logs or roots, and at its domain.")
        for k, name in enumerate(names):
            part = grads[:, which == k]
            bad = finite & ~np.isfinite(part).all(axis=1)
            if bad.any():
                x = jnp.asarray(self.points[int(np.argmax(bad))])
                terms = [] if model is None else _steep_terms(model, x, which == k)
                of = f" of the term of {' and '.join(_quoted(term) for term in terms)}" if terms else ""
                mend = "Keep what jnp.where masks inside the domain: put a safe value in before the function too."
                self.at(bad, name, f"the gradient{of} with respect to it is not finite", mend, True)
            if not finite.any():
                continue
            if wrong[:, k].any():
                mend = "Look at custom derivatives, stop_gradient, rounding and jumps."
                what = "the gradient with respect to it does not agree with differences of the log density"
                self.at(wrong[:, k], name, what, mend, True)
                continue
            zeros = int((part[finite] == 0).all(axis=0).sum())
            if zeros:
                what = f"the log density does not depend on {zeros} of its {part.shape[1]} numbers"
                self.add("warning", name, what, "Give them a prior or leave them out: their posterior is improper.")
            elif endless[finite, k].all():
                what = "the log density does not fall far out in some direction"
                self.add("warning", name, what, "Give it a proper prior: its posterior seems to be improper.")


@eqx.filter_jit
def _mapped(check: Callable[..., Any], points: Any, at_once: bool) -> Any:
    return jax.vmap(check)(points) if at_once else jax.lax.map(check, points)


def _sites(model: UnconstrainedDensity, x: Float[Array, " dim"]) -> dict[str, dict[str, Array]]:
    """By site, its term, how many values are outside the support and an example; of free ones, whether their reals
    do not come back, and what their log determinant is off by, zero where that is rounding."""
    pieces = model.split(x)
    rough = jnp.finfo(x.dtype).eps ** 0.25
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
        # Real too: where they are all but equal, reals cannot come back, and that is no fault.
        lossy = ~_close(back, z, rough) & ~_close(bijector.forward(back), value, rough)
        off = _log_dets(bijector, z, value) - jnp.sum(log_det)
        off = jnp.min(jnp.abs(off))
        far = jnp.isfinite(off) & (off > rough * (z.size + jnp.abs(jnp.sum(log_det))))
        out[name] |= {"lossy": lossy & jnp.all(jnp.isfinite(value)), "log_det": jnp.where(far, off, 0)}
        return value

    model._run(free, lambda name, distribution: look(name, distribution, model.pinned.pins[name]))
    return out


def _close(a: Array, b: Array, rough: Any) -> Array:
    return jnp.all(jnp.abs(a - b) <= rough * (1 + jnp.abs(b)))


def _log_dets(bijector: Bijector, x: Array, y: Array) -> Float[Array, " ways"]:
    """The log determinant of the Jacobian at `x` from derivatives of the forward map; in each way that is in use where
    there are more coordinates after the map, and NaN where that is not known or not cheap."""
    if not bijector.forward_min_event_ndims:
        return jnp.sum(jnp.log(jnp.abs(jax.jvp(bijector.forward, (x,), (jnp.ones_like(x),))[1])))[None]
    if x.size > _LARGE or not x.size:
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
    """The sites whose terms have gradients that are not finite."""

    @eqx.filter_jit
    def steepness(model: UnconstrainedDensity, x: Array) -> dict[str, Array]:
        # One by one: a zero cotangent of another term would turn into NaN.
        return {n: jax.grad(lambda x, n=n: model.log_densities(x)[n])(x) for n in model.pinned.distribution.names}

    grads = steepness(model, x)
    return [name for name, grad in grads.items() if not np.isfinite(np.asarray(grad)[of]).all()]


def _slopes(
    target: Any, like: PyTree, key: Any, which: Int[Array, " dim"], num: int, x: Float[Array, " dim"]
) -> tuple[Array, Array, Array, Array]:
    """The value and gradient; and for a random direction in each part, whether the gradient is wrong along it, and
    whether the density does not fall far out.

    With the differences d(h) = (f(x + h v) - f(x - h v)) / 2, the extrapolation (4 d(h) - d(2h) / 2) / 3 is h f'(x) v
    up to O(h^5), and d(h) - d(2h) / 2 says how far the curvature spoils it.
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
        # Steps as they were rounded.
        steps = (2 * ((x + h * v) - (x - h * v)) - ((x + 2 * h * v) - (x - 2 * h * v)) / 4) / 3
        terms = jnp.where(which == k, grad * steps, 0)
        error = jnp.abs((4 * near - far) / 3 - jnp.sum(terms))
        noise = 10 * jnp.abs(near - far) + 100 * eps * (1 + jnp.max(jnp.abs(f[:4])))
        # Along a line a density has an integral only if it falls faster than 1 / distance.
        endless = (f[5] - f[4] > -0.6) & jnp.isfinite(f[4]) | (f[7] - f[6] > -0.6) & jnp.isfinite(f[6])
        return error > noise + eps**0.25 * jnp.sum(jnp.abs(terms)), endless

    wrong, endless = jax.lax.map(part, jnp.arange(num))
    return value, grad, wrong, endless
