"""Variational inference."""

from ._pathfinder import (
    PathfinderResults as PathfinderResults,
    pathfinder as pathfinder,
)
