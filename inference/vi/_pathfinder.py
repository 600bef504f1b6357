"""Pathfinder: normal approximations along the paths of an optimizer."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from distrax_like._arguments import PositiveInt, checked
from distrax_like._misc import Seed, as_callable, as_key, tree_where
from distrax_like.distributions import JointDistributionPinned
from distrax_like.inference._resampling import resample_systematic
from distrax_like.inference._start import check_start, find_start
from distrax_like.inference._target import as_draw, as_vectors, density_at, value_and_grad
from distrax_like.inference.optimizer._directions import ScaleByLBFGSState, remember
from distrax_like.inference.optimizer._minimize import LBFGS, Limits, Search
from distrax_like.inference.stats import psis

# Evaluations in a line search.
_MAX_LINE_SEARCH = 50
# A path ends when a step raises the log density by less than this.
_MIN_RISE = 1e-8
# The number that the key of the draws is folded with.
_DRAWS = 2**32 - 3


class PathfinderResults(eqx.Module):
    """What `pathfinder` found.

    - `draws`: in the container of one draw of the model, or of the start; parts have a leading axis of draws.
    - `positions`: for a model, the draws as vectors of free reals; for a log density, the draws themselves. Chains of
      `mcmc.sample` can start from them.
    - `pareto_k`: the shape of the tail of the weights, see `stats.psis`: above 0.7 the draws are starting points rather
      than an approximation of the target.
    - `elbo`: for each path, the evidence lower bound of its best approximation; -inf for a path without one.
    - `num_iterations`, `num_evaluations`: for each path, the numbers of steps of the optimizer and of evaluations of
      the target's gradient.
    """

    draws: PyTree
    positions: PyTree
    pareto_k: Float[Array, ""]
    elbo: Float[Array, " paths"]
    num_iterations: Int[Array, " paths"]
    num_evaluations: Int[Array, " paths"]


@checked
def pathfinder(
    target: Any,
    init: Any = None,
    *,
    num_draws: PositiveInt = 1000,
    num_paths: PositiveInt = 8,
    num_elbo_draws: PositiveInt = 10,
    num_correction_pairs: PositiveInt = 6,
    max_iterations: PositiveInt = 200,
    replacement: bool = True,
    seed: Seed | None = None,
) -> PathfinderResults:
    r"""Draws from the best normal approximations along the paths of an optimizer from several starts.

    ```python
    found = inference.vi.pathfinder(model.pin(y=y), seed=jax.random.key(0))
    ```

    Each path is the path of L-BFGS towards a mode. Every point x on it gives the approximation $N(x + H g, H)$, where g
    is the gradient of the log density and H the estimate of the inverse Hessian from the last steps. The approximation
    with the largest evidence lower bound is kept. The draws of all paths are weighted as draws from the mixture of the
    paths' approximations, the weights are smoothed (`psis`), and the result is sampled with these weights. So the
    weight of a mode does not depend on how many paths end there. In the paper it does, because each draw is weighted by
    the approximation of its own path alone.

    H is $F F^T$ with $F = (I + s_m v_m^T) \dots (I + s_1 v_1^T) D^{1/2}$, a product form of the BFGS formula over the
    last m steps s and changes y of the gradient, scaled so that $s^T y = 1$: $v = B s / \sqrt{s^T B s} - y$ with B the
    inverse of H before the step, and $\det(I + s v^T) = \sqrt{s^T B s}$.

    **Arguments:**

    - `target`, `init`: as for `mcmc.sample`, except that `init` is not "pathfinder"; a position may be one for all
      paths, or one for each along the leading axis.
    - `num_draws`: how many to return.
    - `num_paths`: the number of paths, with `max(num_draws, 200)` weighted draws each.
    - `num_elbo_draws`: the number of draws at each point from which the bound is estimated; each needs an evaluation of
      the target.
    - `num_correction_pairs`: m; with a larger one H has correlations in more directions.
    - `max_iterations`: the largest number of steps of the optimizer, which usually stops before.
    - `replacement`: whether a draw may be returned more than once. Without replacement, draws with a weight above
      1 / num_draws are returned less often than they should be, which is right for the starts of chains.
    - `seed`: a key.

    **Returns:** `PathfinderResults`.

    **Raises:** as `sample` for starts, and `ValueError` where there is nothing to sample.

    L. Zhang, B. Carpenter, A. Gelman and A. Vehtari, Pathfinder: parallel quasi-Newton variational inference, JMLR 23
    (2022); J. C. Gilbert and C. Lemaréchal, Some numerical experiments with variable-storage quasi-Newton algorithms
    (1989) for the diagonal D.
    """
    seed = as_key(seed, "pathfinder")
    if isinstance(target, JointDistributionPinned):
        target = target.unconstrained()
    target = as_callable(target, "pathfinder: target")
    points = find_start("pathfinder", target, init, num_paths, seed)
    if not sum(x.size for x in jtu.tree_leaves(points.positions)):
        raise ValueError("pathfinder: there is nothing to sample, since a position has no free entries")
    starts = _start(target, points.positions)
    while (others := points.retry(starts)) is not None:
        points, starts = others, _start(target, others.positions)
    check_start("pathfinder", target, starts)
    paths = _Paths(target, max(num_draws, 200), num_elbo_draws, num_correction_pairs)
    key = jax.random.fold_in(seed, _DRAWS)
    positions, log_ratios, elbo, iterations, evaluations = paths(
        starts.position, jnp.asarray(max_iterations, jnp.int32), key
    )
    # If no draw has a density, all get the same weight.
    usable = jnp.any(jnp.isfinite(log_ratios))
    log_weights, pareto_k = psis(jnp.where(usable, log_ratios, 0), axis=0)
    choose, shuffle = jax.random.split(jax.random.fold_in(key, num_paths))
    if replacement:
        chosen = jax.random.permutation(shuffle, resample_systematic(log_weights, num_draws, seed=choose))
    else:
        # The largest sums of log weight and Gumbel noise are a weighted sample without replacement.
        noise = jax.random.gumbel(choose, log_weights.shape, log_weights.dtype)
        chosen = jax.lax.top_k(log_weights + noise, num_draws)[1]
    positions = jtu.tree_map(lambda x: x[chosen], positions)
    draws = eqx.filter_jit(eqx.filter_vmap(as_draw, in_axes=(None, 0)))(target, positions)
    return PathfinderResults(draws, positions, pareto_k, elbo, iterations, evaluations)


class _Start(eqx.Module):
    position: PyTree
    target_log_prob: Float[Array, " paths"]
    grads_target_log_prob: PyTree


@eqx.filter_jit
def _start(target: Callable[..., Any], positions: PyTree) -> _Start:
    return _Start(positions, *jax.vmap(lambda x: value_and_grad(target, x, "pathfinder"))(positions))


class _Normal(eqx.Module):
    """N(mean, F Fᵀ), with F as in `pathfinder`; `s` are the steps of the pairs, `norms` the square roots of sᵀ B s."""

    mean: Float[Array, " d"]
    scale: Float[Array, " d"]
    s: Float[Array, "m d"]
    v: Float[Array, "m d"]
    norms: Float[Array, " m"]

    @property
    def log_det(self) -> Float[Array, ""]:
        return jnp.sum(jnp.log(self.scale)) + jnp.sum(jnp.log(self.norms))

    def sample_and_log_prob(self, key: Seed, num: int) -> tuple[Float[Array, "num d"], Float[Array, " num"]]:
        """Draws, and their log densities before the draws are rounded, which matters for a normal of a few ulp."""
        u = jax.random.normal(key, (num, self.mean.size), self.mean.dtype)
        x, _ = jax.lax.scan(lambda x, sv: (x + (x @ sv[1])[:, None] * sv[0], None), u * self.scale, (self.s, self.v))
        return self.mean + x, _log_prob(u) - self.log_det

    def log_prob(self, x: Float[Array, "num d"]) -> Float[Array, " num"]:
        factors = self.s, self.v, self.norms
        x, _ = jax.lax.scan(
            lambda x, f: (x - (x @ f[1])[:, None] / f[2] * f[0], None), x - self.mean, factors, reverse=True
        )
        return _log_prob(x / self.scale) - self.log_det


def _log_prob(u: Float[Array, "num d"]) -> Float[Array, " num"]:
    return -0.5 * jnp.sum(u**2 + jnp.log(2 * jnp.pi), axis=1)


def _approximate(
    position: Float[Array, " d"], grad: Float[Array, " d"], diagonal: Float[Array, " d"], pairs: ScaleByLBFGSState
) -> _Normal:
    """The approximation at a point with this gradient of the log density; missing pairs are zero."""
    s, y, scale = pairs.position_deltas, pairs.gradient_deltas, jnp.sqrt(diagonal)
    m = len(s)

    def next_factor(k: Array, carry: Any) -> Any:
        v, norms = carry
        # B s = F⁻ᵀ F⁻¹ s with the factors so far; later factors are the identity, since their v are zero.
        r, _ = jax.lax.scan(lambda r, f: (r - f[1] @ r / f[2] * f[0], None), s[k], (s, v, norms), reverse=True)
        r = r / diagonal
        norm = jnp.sqrt(r @ (diagonal * r))
        t, _ = jax.lax.scan(lambda t, f: (t - f[0] @ t / f[2] * f[1], None), r, (s, v, norms))
        exists = jnp.any(s[k] != 0)
        safe = jnp.where(exists, norm, 1)
        return v.at[k].set(jnp.where(exists, t / safe - y[k], 0)), norms.at[k].set(safe)

    v, norms = jax.lax.fori_loop(0, m, next_factor, (jnp.zeros_like(s), jnp.ones(m, s.dtype)))
    # H g by Fᵀ, then F.
    ascent, _ = jax.lax.scan(lambda x, sv: (x + sv[0] @ x * sv[1], None), grad, (s, v), reverse=True)
    ascent, _ = jax.lax.scan(lambda x, sv: (x + sv[1] @ x * sv[0], None), ascent * diagonal, (s, v))
    return _Normal(position + ascent, scale, s, v, norms)


def _next_diagonal(diagonal: Float[Array, " d"], s: Float[Array, " d"], y: Float[Array, " d"]) -> Float[Array, " d"]:
    """The diagonal after a step s with sᵀ y = 1: scaled to agree with it along y, then updated by the BFGS formula."""
    scaled = diagonal / (y @ (diagonal * y))
    curvature = 1 / scaled + y**2 - (s / scaled) ** 2 / (s @ (s / scaled))
    new = 1 / curvature
    return jnp.where(jnp.all((new > 0) & jnp.isfinite(new)), new, diagonal)


class _Paths(eqx.Module):
    target: Callable[..., Any]
    num_draws: PositiveInt = eqx.field(static=True)
    num_elbo_draws: PositiveInt = eqx.field(static=True)
    num_correction_pairs: PositiveInt = eqx.field(static=True)

    @eqx.filter_jit
    def __call__(self, positions: PyTree, max_iterations: Int[Array, ""], key: Seed) -> Any:
        """The draws of all paths along one axis, their log ratios, and for each path its bound and numbers of steps."""
        flat = as_vectors(positions)
        unravel = ravel_pytree(jtu.tree_map(lambda x: x[0], positions))[1]

        def density(x: Float[Array, " d"]) -> Array:
            return density_at(self.target, unravel(x), "pathfinder").astype(x.dtype)

        def minus(x: Float[Array, " d"]) -> tuple[Array, Array]:
            value, grad = value_and_grad(self.target, unravel(x), "pathfinder")
            return -value, -ravel_pytree(grad)[0]

        limits = Limits(0, 0, 0, _MIN_RISE, max_iterations, _MAX_LINE_SEARCH, flat.dtype)
        search = Search(minus, LBFGS(self.num_correction_pairs), limits)

        def draws(normal: _Normal, key: Seed, num: int) -> tuple[Array, Array, Array]:
            """Draws, the target at them, which is -inf where it is not finite, and the log density of the normal."""
            x, log_prob = normal.sample_and_log_prob(key, num)
            log_density = jax.vmap(density)(x)
            good = jnp.isfinite(log_density) & jnp.all(jnp.isfinite(x), axis=1)
            return jnp.where(good[:, None], x, normal.mean), jnp.where(good, log_density, -jnp.inf), log_prob

        def path(start: Float[Array, " d"], key: Seed) -> Any:
            state = search.begin(start)
            # A copy of the pairs, since the search adds a pair only when it needs the next direction.
            pairs, diagonal = state.memory, jnp.ones_like(start)
            no_steps = jnp.zeros_like(pairs.position_deltas)
            best = _Normal(start, diagonal, no_steps, no_steps, jnp.ones_like(no_steps[:, 0]))

            def step(carry: Any) -> Any:
                before, known, diagonal, best, elbo = carry
                # A bound method is hashed with all its arrays, a function is not.
                state = jax.lax.while_loop(
                    lambda state: search.active(state) & (state.iterations == before.iterations),
                    lambda state: search.turn(state),
                    before,
                )
                pairs = remember(known, state.position - before.position, state.gradient - before.gradient)
                learnt = jnp.any(pairs.position_deltas[-1] != known.position_deltas[-1])
                newest = _next_diagonal(diagonal, pairs.position_deltas[-1], pairs.gradient_deltas[-1])
                diagonal = jnp.where(learnt, newest, diagonal)
                normal = _approximate(state.position, -state.gradient, diagonal, pairs)
                _, log_density, log_prob = draws(normal, jax.random.fold_in(key, state.iterations), self.num_elbo_draws)
                bound = jnp.mean(log_density - log_prob)
                better = bound > elbo
                best, elbo = tree_where(better, (normal, bound), (best, elbo))
                return state, pairs, diagonal, best, elbo

            carry = state, pairs, diagonal, best, jnp.full((), -jnp.inf, start.dtype)
            state, _, _, best, elbo = jax.lax.while_loop(lambda carry: search.active(carry[0]), step, carry)
            x, log_density, _ = draws(best, jax.random.fold_in(key, 0), self.num_draws)
            return best, x, log_density, elbo, state.iterations, state.evaluations

        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(flat)))
        # One after the other, so that on a CPU no path waits for another's line search.
        normals, x, log_density, elbo, *counts = jax.lax.map(lambda args: path(*args), (flat, keys))
        x, log_density = x.reshape(-1, x.shape[-1]), log_density.reshape(-1)
        # The mixture of those paths that have an approximation.
        log_probs = jax.lax.map(lambda normal: normal.log_prob(x), normals)
        log_mixture = jax.nn.logsumexp(jnp.where(jnp.isfinite(elbo)[:, None], log_probs, -jnp.inf), axis=0)
        good = jnp.repeat(jnp.isfinite(elbo), self.num_draws) & jnp.isfinite(log_density)
        return jax.vmap(unravel)(x), jnp.where(good, log_density - log_mixture, -jnp.inf), elbo, *counts
