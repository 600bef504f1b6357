"""Linear interpolation of tables on grids."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from distrax_like._misc import Numeric, Real, promote

Fill = Numeric | str

_KINDS = ("constant_extension", "extrapolate")


def _cell(position: Real, size: int) -> tuple[Int[Array, "..."], Real]:
    """The cell of a position measured in steps of a regular grid, and the position relative to it, in [0, 1] inside."""
    cell = jnp.clip(jnp.floor(jax.lax.stop_gradient(position)), 0, max(size - 2, 0))
    # The cell of a NaN is the first one; its weight stays NaN.
    return jnp.where(jnp.isnan(cell), 0, cell).astype(int), position - cell


def _blend(
    table: Real, ndim: int, cells: Sequence[Int[Array, "... d"]], weights: Sequence[Real], num_values: int
) -> Real:
    """The sum over the corners of each cell of the table's entry there times its weight.

    **Arguments:** `table`: shape `(*batch, c1, …, cnd, *values)`, with `ndim` batch and `num_values` trailing
    dimensions; `cells`, `weights`: for each dimension of the grid, shape `(*batch, d)`.
    """
    nd = len(cells)
    sizes = table.shape[ndim : ndim + nd]
    lead = jnp.broadcast_shapes(table.shape[:ndim], *(c.shape[:-1] for c in cells))
    d = max(c.shape[-1] for c in cells)
    values = table.shape[ndim + nd :]
    flat = jnp.broadcast_to(table, (*lead, *table.shape[ndim:])).reshape(*lead, -1, *values)
    total: Any = 0
    for corner in itertools.product((0, 1), repeat=nd):
        index, weight = jnp.zeros((), int), jnp.ones((), table.dtype)
        for cell, w, size, up in zip(cells, weights, sizes, corner):
            index = index * size + jnp.minimum(cell + up, size - 1)
            weight = weight * (w if up else 1 - w)
        index = jnp.broadcast_to(index, (*lead, d)).reshape(*lead, d, *(1,) * num_values)
        picked = jnp.take_along_axis(flat, index, axis=len(lead))
        total = total + picked * jnp.reshape(jnp.broadcast_to(weight, (*lead, d)), index.shape)
    return total


def batch_interp_regular_1d_grid(
    x: Numeric,
    x_ref_min: Numeric,
    x_ref_max: Numeric,
    y_ref: Numeric,
    axis: int = -1,
    fill_value: Fill = "constant_extension",
    fill_value_below: Fill | None = None,
    fill_value_above: Fill | None = None,
    grid_regularizing_transform: Callable[[Real], Real] | None = None,
) -> Real:
    """Linear interpolation of a table on a regular grid x_ref_min, …, x_ref_max of one dimension.

    **Arguments:**

    - `x`: the points, shape `(*batch, d)`; `x_ref_min`, `x_ref_max`: the ends of the grid, shape `(*batch)`.
    - `y_ref`: shape `(*batch, c, *values)`, the c values on the grid along `axis`; batch shapes broadcast.
    - `fill_value`: the values beyond the grid: "constant_extension", "extrapolate" or a number; `fill_value_below` and
      `fill_value_above` are for one side.
    - `grid_regularizing_transform`: a function, such as log, after which the grid is regular.

    **Returns:** shape `(*batch, d, *values)`; NaN where x is.
    """
    at, low, high, table = promote(x, x_ref_min, x_ref_max, y_ref)
    axis = axis % table.ndim
    size = table.shape[axis]
    if grid_regularizing_transform is not None:
        at, low, high = (grid_regularizing_transform(v) for v in (at, low, high))
    scalar = at.ndim == 0
    at = at[None] if scalar else at
    position = (at - low[..., None]) / (high - low)[..., None] * (size - 1)
    cell, weight = _cell(position, size)
    below = fill_value if fill_value_below is None else fill_value_below
    above = fill_value if fill_value_above is None else fill_value_above
    num_values = table.ndim - axis - 1
    is_below, is_above = position < 0, position > size - 1
    weight = jnp.where(is_below & (_kind(below) != "extrapolate"), 0, weight)
    weight = jnp.where(is_above & (_kind(above) != "extrapolate"), 1, weight)
    out = _blend(table, axis, [cell], [weight], num_values)
    for outside, fill in ((is_below, below), (is_above, above)):
        if _kind(fill) == "number":
            mask = jnp.reshape(outside, (*outside.shape, *(1,) * num_values))
            out = jnp.where(mask, jnp.asarray(fill, out.dtype), out)
    return jnp.take(out, 0, axis=out.ndim - num_values - 1) if scalar else out


def _kind(fill: Fill) -> str:
    if not isinstance(fill, str):
        return "number"
    if fill not in _KINDS:
        raise ValueError(f"fill_value must be a number or one of {', '.join(_KINDS)}, got {fill!r}")
    return fill


def interp_regular_1d_grid(
    x: Numeric, x_ref_min: Numeric, x_ref_max: Numeric, y_ref: Numeric, axis: int = -1, **options: Any
) -> Real:
    """Linear interpolation of one table at points of any shape; arguments as for `batch_interp_regular_1d_grid`.

    **Returns:** the shape of `y_ref` with that of `x` in the place of `axis`.
    """
    x, y_ref = promote(x, y_ref)
    axis = axis % y_ref.ndim
    table = jnp.moveaxis(y_ref, axis, 0)
    out = batch_interp_regular_1d_grid(jnp.ravel(x), x_ref_min, x_ref_max, table, axis=0, **options)
    out = jnp.reshape(out, (*x.shape, *table.shape[1:]))
    return jnp.moveaxis(out, tuple(range(x.ndim)), tuple(range(axis, axis + x.ndim)))


def batch_interp_regular_nd_grid(
    x: Numeric,
    x_ref_min: Numeric,
    x_ref_max: Numeric,
    y_ref: Numeric,
    axis: int,
    fill_value: Fill = "constant_extension",
) -> Real:
    """Multilinear interpolation of a table on a regular grid of several dimensions.

    **Arguments:** `x`: shape `(*batch, d, nd)`; `x_ref_min`, `x_ref_max`: shape `(*batch, nd)`; `y_ref`: shape
    `(*batch, c1, …, cnd, *values)`, whose dimension `axis` is c1; `fill_value`: "constant_extension", "extrapolate" or
    a number, for points beyond the grid in any direction. **Returns:** shape `(*batch, d, *values)`.
    """
    at, low, high, table = promote(x, x_ref_min, x_ref_max, y_ref)
    axis = axis % table.ndim
    sizes = table.shape[axis : axis + at.shape[-1]]
    low, high = low[..., None, :], high[..., None, :]
    positions = (at - low) / (high - low) * (jnp.asarray(sizes, at.dtype) - 1)
    cells = [_cell(positions[..., i], n) for i, n in enumerate(sizes)]
    outside = [(p < 0, p > n - 1) for p, n in zip(jnp.moveaxis(positions, -1, 0), sizes)]
    return _filled(table, axis, cells, outside, fill_value)


def batch_interp_rectilinear_nd_grid(
    x: Numeric, x_grid_points: Sequence[Numeric], y_ref: Numeric, axis: int, fill_value: Fill = "constant_extension"
) -> Real:
    """Multilinear interpolation of a table on a grid with increasing, unequally spaced points in each dimension.

    **Arguments:** `x`: shape `(*batch, d, nd)`; `x_grid_points`: for each dimension, shape `(*batch, ck)`; the rest as
    for `batch_interp_regular_nd_grid`. **Returns:** shape `(*batch, d, *values)`.
    """
    where, table, *points = promote(x, y_ref, *x_grid_points)
    axis = axis % table.ndim
    cells, outside = [], []
    for i, grid in enumerate(points):
        at = where[..., i]
        lead = jnp.broadcast_shapes(grid.shape[:-1], at.shape[:-1])
        at = jnp.broadcast_to(at, (*lead, at.shape[-1]))
        grid = jnp.broadcast_to(grid, (*lead, grid.shape[-1]))
        flat = jax.vmap(lambda g, v: jnp.searchsorted(g, v, side="right"))(
            jnp.reshape(grid, (-1, grid.shape[-1])), jnp.reshape(at, (-1, at.shape[-1]))
        )
        cell = jnp.clip(jnp.reshape(flat, at.shape) - 1, 0, max(grid.shape[-1] - 2, 0))
        left, right = (jnp.take_along_axis(grid, jnp.minimum(cell + up, grid.shape[-1] - 1), -1) for up in (0, 1))
        cells.append((cell, (at - left) / jnp.where(right > left, right - left, 1)))
        outside.append((at < grid[..., :1], at > grid[..., -1:]))
    return _filled(table, axis, cells, outside, fill_value)


def _filled(table: Real, axis: int, cells: Any, outside: Any, fill_value: Fill) -> Real:
    weights = [w for _, w in cells]
    if _kind(fill_value) != "extrapolate":
        weights = [jnp.where(below, 0, jnp.where(above, 1, w)) for w, (below, above) in zip(weights, outside)]
    num_values = table.ndim - axis - len(cells)
    out = _blend(table, axis, [c for c, _ in cells], weights, num_values)
    if _kind(fill_value) == "number":
        beyond = jnp.any(jnp.stack([b | a for b, a in outside]), 0)
        beyond = jnp.reshape(beyond, (*beyond.shape, *(1,) * num_values))
        out = jnp.where(beyond, jnp.asarray(fill_value, out.dtype), out)
    return out
