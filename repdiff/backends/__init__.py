"""The systems that make crystals, one a file.

Asking for `BACKENDS` registers them all and loads what they compute with; `find_model` does without.
"""

import importlib
from typing import TYPE_CHECKING, Any

from repdiff.settings.backends import OWN

if TYPE_CHECKING:
    from repdiff.backends.base import BACKENDS, Backend, RepresentationBatch, Samples, TrainingJob
    from repdiff.backends.find_model import backend_of
    from repdiff.crystals.formula import Composition

__all__ = [
    "BACKENDS",
    "Backend",
    "Composition",
    "RepresentationBatch",
    "Samples",
    "TrainingJob",
    "backend_of",
]

PLACES = {"backend_of": "repdiff.backends.find_model", "Composition": "repdiff.crystals.formula"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever is asked for)
    """Import what is asked for, and with `BACKENDS` every system.

    Raises:
        AttributeError: If there is no such name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "BACKENDS":
        for system in OWN:
            importlib.import_module(f"{__name__}.{system}")
    return getattr(importlib.import_module(PLACES.get(name, f"{__name__}.base")), name)
