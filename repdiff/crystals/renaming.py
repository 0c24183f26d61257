"""Names of their own for any number of crystals, of whose names a few bytes each are in memory."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from repdiff.crystals.marks import mark


def renamed(names: Callable[[], Iterable[str]]) -> dict[int, str]:
    """Find the names that occur again, and what `repdiff.crystals.convert.distinct_names` calls them.

    Args:
        names: Goes through all names, the same each time.

    Returns:
        The new names by their places; those of all other places stay.

    Example:
        >>> renamed(lambda: ["a", "b", "a"])
        {2: 'a#2'}
    """
    marks = np.fromiter(map(mark, names()), dtype=np.uint64)
    taken, counts = np.unique(marks, return_counts=True)
    repeated = set(taken[counts > 1].tolist())
    found: dict[int, str] = {}
    if not repeated:
        return found
    seen, given = Counter[str](), set[str]()
    for place, name in enumerate(names()):
        if int(marks[place]) not in repeated:
            continue
        seen[name] += 1
        number = seen[name]
        if number > 1:
            while (own := f"{name}#{number}") in given or _holds(taken, own):
                number += 1
            given.add(own)
            found[place] = own
    return found


def _holds(marks: np.ndarray, name: str) -> bool:
    own = np.uint64(mark(name))  # where two names share it, only a number may be left out
    place = int(np.searchsorted(marks, own))
    return place < len(marks) and bool(marks[place] == own)
