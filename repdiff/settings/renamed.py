"""Settings that had another name once: files, flags and folders of runs may still use it."""

import logging
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "evaluate": {"floor": "baseline", "floor_size": "baseline_size", "floor_halves": "baseline_halves"},
    "compare": {"floor": "baseline"},
    "generate": {"composition_temperature": "temperature"},
}
"""New names by verb and old name."""
STEP_NOISES = ("posterior", "beta", "beta_before")
"""What `lattice` once meant to gemsdiff, which is called `lattice_noise` now."""
log = logging.getLogger(__name__)


def under_new_names(verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a verb by today's names.

    Example:
        >>> under_new_names("generate", {"lattice": "beta", "n": 3})
        {'lattice_noise': 'beta', 'n': 3}
    """
    renamed = RENAMED.get(verb, {})
    found = {renamed.get(str(name), name): value for name, value in values.items()}
    for old in renamed.keys() & values.keys():
        log.warning("%s is called %s now; the old name is still read", old, renamed[old])
    if verb == "generate":
        return {("lattice_noise" if is_noise(name, value) else name): value for name, value in found.items()}
    return found


def is_noise(name: object, value: object) -> bool:
    """Tell whether `lattice` is given in its old meaning."""
    return name == "lattice" and isinstance(value, str) and value in STEP_NOISES
