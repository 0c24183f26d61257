"""The page of evaluations, and its plots as functions that return figures."""

from repdiff.report.gallery import drawing, gradients, scene_of
from repdiff.report.periodic import element_difference, element_table
from repdiff.report.plots import (
    category_bars,
    crystal_system_bars,
    distribution,
    embedding,
    space_group_bars,
)
from repdiff.report.theme import Series

__all__ = [
    "Series",
    "category_bars",
    "crystal_system_bars",
    "distribution",
    "drawing",
    "element_difference",
    "element_table",
    "embedding",
    "gradients",
    "scene_of",
    "space_group_bars",
]
