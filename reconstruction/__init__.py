"""Vector → crystal: integer formulas, valid cells, and the inversion of descriptors by a search for the positions.

What is offered here is loaded when it is first used: a worker process imports this package before it knows its task.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconstruction.api import reconstruct
    from reconstruction.given_symmetry import GivenSymmetry, Template
    from reconstruction.inversion import Inversion, prepare
    from reconstruction.parallel import reconstruct_groups
    from reconstruction.presets import SEARCHES, Rung, Search
    from reconstruction.result import ReconstructionResult

__all__ = [
    "SEARCHES",
    "GivenSymmetry",
    "Inversion",
    "ReconstructionResult",
    "Rung",
    "Search",
    "Template",
    "prepare",
    "reconstruct",
    "reconstruct_groups",
]

_MODULES = {
    "SEARCHES": "presets",
    "GivenSymmetry": "given_symmetry",
    "Inversion": "inversion",
    "ReconstructionResult": "result",
    "Rung": "presets",
    "Search": "presets",
    "Template": "given_symmetry",
    "prepare": "inversion",
    "reconstruct": "api",
    "reconstruct_groups": "parallel",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module.

    Raises:
        AttributeError: If the package offers no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
