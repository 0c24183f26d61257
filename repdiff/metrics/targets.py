"""Several attempts at one known crystal: which target each generated crystal names, and the best of its attempts."""

import math
from collections import defaultdict
from collections.abc import Container, Sequence

from repdiff.crystals.crystal_set import CrystalSet

LABEL = "target"  # the label of a crystal that names its target
MARK = "#"  # "mp-149#2" is an attempt at "mp-149"


def find_targets(generated: CrystalSet, known: Container[str]) -> list[str | None]:
    """Name the reference crystal that each one, the failed last, is an attempt at; None if there is none.

    It is what the label `target` says, if there is one; else the crystal's own name; else that name up to its last
    "#", so that "mp-149", "mp-149#1" and "mp-149#2" are three attempts at mp-149. Only known names count.

    Args:
        generated: The crystals, and those that failed: these have no labels.
        known: Names of the reference.
    """
    labels = [crystal.labels.get(LABEL) for crystal in generated.crystals] + [None] * len(generated.failed)
    return [_target(name, label, known) for name, label in zip(generated.ids, labels, strict=True)]


def best_attempts(targets: Sequence[str | None], rms: Sequence[float]) -> dict[str, float]:
    """Return the smallest displacement by target, NaN where no attempt matched.

    Args:
        targets: One for each attempt; attempts at nothing are left out.
        rms: Root mean square displacement of each attempt, NaN without a match.

    Example:
        >>> best_attempts(["mp-149", None, "mp-149"], [0.2, 0.0, 0.1])
        {'mp-149': 0.1}
    """
    attempts: dict[str, list[float]] = defaultdict(list)
    for target, value in zip(targets, rms, strict=True):
        if target is not None:
            attempts[target].append(value)
    return {
        target: min((value for value in values if not math.isnan(value)), default=math.nan)
        for target, values in sorted(attempts.items())
    }


def _target(name: str, label: object, known: Container[str]) -> str | None:
    if label is not None:
        return str(label) if str(label) in known else None
    stem = name.rpartition(MARK)[0]
    return next((candidate for candidate in (name, stem) if candidate in known), None)
