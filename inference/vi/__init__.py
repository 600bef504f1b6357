"""Variational inference."""

from distrax_like.inference.vi._pathfinder import (
    PathfinderResults as PathfinderResults,
    pathfinder as pathfinder,
)

__all__ = ["PathfinderResults", "pathfinder"]
