"""Which crystals are the same: duplicates within a set, and members of a known set, by StructureMatcher.

The tolerances are those of pymatgen, which MatterGen's evaluation uses: 0.3 for sites, 0.2 for lengths, 5° for angles;
volumes are made equal. The matcher "mattergen-disordered" also takes two orderings of one alloy for the same (see
`substitution_matcher`). Matching is not transitive: that a matches b and b matches c does not imply that a matches c.
Groups are therefore formed as pymatgen forms them, around a first member that all others match, in an order that only
depends on the names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Int

from repdiff.crystals.crystal import to_structure
from repdiff.execution.jobs import map_jobs
from repdiff.metrics.primitive_cells import (
    MAX_CANDIDATES,
    Nearby,
    Reduced,
    find_candidates,
    fingerprints,
    group_by_key,
)
from repdiff.metrics.substitution_matcher import same_alloy

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

MatcherName = Literal["mattergen-ordered", "mattergen-disordered"]
STOL, LTOL, ANGLE_TOL = 0.3, 0.2, 5.0  # site, length (both relative), angle in degrees
STRUCTURES_HELD = (
    5000  # of first members of one formula, 20 kB each; others are made again when they are compared
)
COMPARISONS_PER_PROCESS = 2000  # 3 s; with fewer, a process takes longer to start than it saves


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Which crystals are the same as an earlier one of the set.

    Attributes:
        first: Row of the first member of the group; the crystal's own if it is that one, -1 if it could not be
            compared with any.
        n_not_compared: Pairs of equal formula and size that were left out because nearer ones filled the limit.
    """

    first: Int[np.ndarray, " n_crystals"]
    n_not_compared: int


@dataclass(frozen=True, kw_only=True)
class Known:
    """Which crystals are the same as a known one.

    Attributes:
        row: Index of the known crystal that each is the same as; -1 if there is none.
        n_not_compared: Number of pairs not compared, as in `Grouping`.
    """

    row: Int[np.ndarray, " n_crystals"]
    n_not_compared: int


def group_same(
    reduced: Sequence[Reduced],
    *,
    matcher: MatcherName = "mattergen-ordered",
    max_candidates: int = MAX_CANDIDATES,
    n_workers: int = 1,
    progress: bool = False,
) -> Grouping:
    """Group crystals around first members.

    Taken by the length of their names, then by name, a crystal joins the first group whose first member it is the same
    as, or opens one. The number of groups depends neither on the order of the set nor on cells or orientations, and
    is that of `StructureMatcher.group_structures` of the sorted set.

    Args:
        reduced: What `reduce_crystals` returned.
        matcher: What counts as the same.
        max_candidates: Largest number of first members that a crystal is compared with; those of the nearest
            fingerprints are taken.
        n_workers: Processes, where it helps.
        progress: Show a bar on stderr.
    """
    first = np.array([-1 if one.crystal is None else row for row, one in enumerate(reduced)], np.int64)
    grouped = group_by_key(reduced, any_size=matcher == "mattergen-disordered")
    groups = [sorted(rows, key=lambda row: _rank(reduced[row])) for rows in grouped.values()]
    groups = sorted((rows for rows in groups if len(rows) > 1), key=len, reverse=True)
    found = map_jobs(
        _group_members,
        [([reduced[row] for row in rows], max_candidates, matcher) for rows in groups],
        n_workers=min(n_workers, sum(map(_n_expected, groups)) // COMPARISONS_PER_PROCESS),
        progress=progress and len(groups) > 0,
        label="duplicates",
        unit="formula",
    )
    for rows, (places, _) in zip(groups, found, strict=True):
        first[rows] = np.array(rows)[places]
    return Grouping(first=first, n_not_compared=sum(n_dropped for _, n_dropped in found))


def find_known(
    reduced: Sequence[Reduced],
    known: Sequence[Reduced],
    *,
    matcher: MatcherName = "mattergen-ordered",
    max_candidates: int = MAX_CANDIDATES,
    n_workers: int = 1,
    progress: bool = False,
) -> Known:
    """Find for each crystal a known one that it is the same as, the first by name where they are few.

    Args:
        reduced: What `reduce_crystals` returned.
        known: The same of known crystals.
        matcher: What counts as the same.
        max_candidates: Largest number of known crystals that a crystal is compared with; those of the nearest
            fingerprints are taken.
        n_workers: Processes, where it helps.
        progress: Show a bar on stderr.
    """
    order = sorted(range(len(known)), key=lambda row: _rank(known[row]))
    candidates = find_candidates(
        reduced,
        [known[row] for row in order],
        max_candidates=max_candidates,
        any_size=matcher == "mattergen-disordered",
    )
    asking = [row for row, others in enumerate(candidates.rows) if len(others)]
    found = map_jobs(
        _find_first,
        [(reduced[row], [known[order[place]] for place in candidates.rows[row]], matcher) for row in asking],
        n_workers=min(n_workers, sum(len(candidates.rows[row]) for row in asking) // COMPARISONS_PER_PROCESS),
        progress=progress and len(asking) > 0,
        label="known crystals",
    )
    rows = np.full(len(reduced), -1, np.int64)
    for row, place in zip(asking, found, strict=True):
        if place is not None:
            rows[row] = order[candidates.rows[row][place]]
    missed = candidates.n_dropped[rows < 0]  # of the others no more was to be asked
    return Known(row=rows, n_not_compared=int(missed.sum()))


def _rank(reduced: Reduced) -> tuple[int, str, bytes]:
    """Sort "a9" before "a10"; where names repeat, the contents decide."""
    crystal = reduced.crystal
    if crystal is None:
        return 0, "", b""
    return len(crystal.id), crystal.id, crystal.lattice.tobytes() + crystal.frac_coords.tobytes()


def _n_expected(rows: Sequence[int]) -> int:
    return len(rows) * min(len(rows), MAX_CANDIDATES) // 2


def _group_members(task: tuple[Sequence[Reduced], int, MatcherName]) -> tuple[list[int], int]:
    """Return the place of each member's first member, and how many comparisons were left out."""
    members, max_candidates, matcher = task
    structure_at = lru_cache(STRUCTURES_HELD)(lambda place: _structure(members[place]))
    features = fingerprints(members, range(len(members))) if len(members) > max_candidates else None
    nearby = None if features is None else Nearby(features.shape[1])
    heads: list[int] = []
    first: list[int] = []
    n_dropped = 0
    for place, one in enumerate(members):
        structure = _structure(one)
        order = list(range(len(heads)))
        if features is not None and nearby is not None and len(heads) > max_candidates:
            order = nearby.nearest(features[place], max_candidates).tolist()
        head = next((heads[k] for k in order if _fits(structure, structure_at(heads[k]), matcher)), None)
        if head is None:
            n_dropped += len(heads) - len(order)
            heads.append(place)
            if features is not None and nearby is not None:
                nearby.add(features[place])
        first.append(place if head is None else head)
    return first, n_dropped


def _find_first(task: tuple[Reduced, Sequence[Reduced], MatcherName]) -> int | None:
    reduced, others, matcher = task
    structure = _structure(reduced)
    return next(
        (place for place, other in enumerate(others) if _fits(structure, _structure(other), matcher)), None
    )


def _structure(reduced: Reduced) -> "Structure":
    if reduced.crystal is None:
        raise ValueError("a crystal without a reduced cell cannot be compared: leave it out")
    return to_structure(reduced.crystal)


def _fits(one: "Structure", known: "Structure", matcher: MatcherName) -> bool:
    try:
        if bool(_matcher().fit(known, one, skip_structure_reduction=True)):
            return True
        return matcher == "mattergen-disordered" and same_alloy(one, known)
    except Exception:  # the matcher gives up on some cells with any of several exceptions: not the same, then
        return False


@cache
def _matcher() -> "StructureMatcher":
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(stol=STOL, ltol=LTOL, angle_tol=ANGLE_TOL)
