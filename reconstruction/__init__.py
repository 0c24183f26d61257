"""Vector → crystal: integer formulas, valid cells, and the inversion of descriptors by a search for the positions."""

from reconstruction.api import reconstruct
from reconstruction.inversion import Inversion, TooLargeError, prepare
from reconstruction.parallel import reconstruct_groups
from reconstruction.presets import SEARCHES, Rung, Search
from reconstruction.result import ReconstructionResult

__all__ = [
    "SEARCHES",
    "Inversion",
    "ReconstructionResult",
    "Rung",
    "Search",
    "TooLargeError",
    "prepare",
    "reconstruct",
    "reconstruct_groups",
]
