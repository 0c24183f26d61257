"""Which crystals are the same as one another and as known ones, formula by formula where there are many.

Only crystals of equal reduced formula can be the same, so that a large set falls into parts that have nothing to do
with one another. It is worked through in batches of whole formulas: a hash of 8 bytes a crystal says which go together,
and primitive cells exist for one batch at a time. What is found does not depend on the batches. The hashes are sorted
in memory: a database that sorts on disk, such as DuckDB, would pay from some hundred million crystals on.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import count_elements, reduced_formula
from repdiff.crystals.stored_crystals import LARGE, CrystalRows
from repdiff.metrics.primitive_cells import MAX_CANDIDATES, reduce_crystals
from repdiff.metrics.structure_groups import MatcherName, find_known, group_same

Keys = UInt[np.ndarray, " _"]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What each crystal of a set is the same as.

    Attributes:
        reasons: Why a crystal can be compared with none; "" if it can.
        first: Row of the first member of its group, see `Grouping`; -1 where it can be compared with none, or groups
            were not asked for.
        known: Row of the known crystal that it is the same as; -1 if there is none, or none was given.
        n_pairs_dropped: Pairs within the set that were not compared, see `Grouping`.
        n_known_dropped: The same with known crystals.
    """

    reasons: Sequence[str]
    first: Int[np.ndarray, " n_crystals"]
    known: Int[np.ndarray, " n_crystals"]
    n_pairs_dropped: int
    n_known_dropped: int


def find_likeness(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal] | None = None,
    *,
    grouped: bool = True,
    matcher: MatcherName = "mattergen-ordered",
    max_candidates: int = MAX_CANDIDATES,
    n_workers: int = 1,
    progress: bool = False,
) -> Likeness:
    """Group crystals, and look for them among known ones.

    Args:
        crystals: They may be of any quality.
        known: Crystals of any quality; None for none.
        grouped: Whether to group the crystals.
        matcher: What counts as the same.
        max_candidates: Largest number of others that a crystal is compared with in either search.
        n_workers: Processes, where it helps.
        progress: Show bars on stderr, those of each batch.
    """
    n = len(crystals)
    reasons = [""] * n
    first, among_known = np.full((2, n), -1, np.int64)
    n_dropped = [0, 0]
    how: dict[str, Any] = {"n_workers": n_workers, "progress": progress}
    search: dict[str, Any] = {"matcher": matcher, "max_candidates": max_candidates, **how}
    for rows, known_rows in _batches(crystals, known or ()):
        reduced = reduce_crystals(CrystalRows(crystals, rows), **how)
        for row, one in zip(rows.tolist(), reduced, strict=True):
            reasons[row] = one.reason
        if grouped:
            groups = group_same(reduced, **search)
            first[rows] = np.where(groups.first < 0, -1, rows[groups.first])
            n_dropped[0] += groups.n_not_compared
        if known is not None:
            others = reduce_crystals(CrystalRows(known, known_rows), **how)
            found = find_known(reduced, others, **search)
            if len(known_rows):
                among_known[rows] = np.where(found.row < 0, -1, known_rows[found.row])
            n_dropped[1] += found.n_not_compared
    return Likeness(
        reasons=reasons,
        first=first,
        known=among_known,
        n_pairs_dropped=n_dropped[0],
        n_known_dropped=n_dropped[1],
    )


def _batches(
    crystals: Sequence[Crystal], known: Sequence[Crystal]
) -> Iterator[tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]]:
    """Cut a set into batches of whole formulas, with the rows of the known crystals of the same formulas.

    One formula of more crystals than a batch may hold is a batch by itself.
    """
    ours, theirs = _keys(crystals), _keys(known)
    if len(ours) <= LARGE:
        yield np.arange(len(ours)), np.flatnonzero(np.isin(theirs, ours))
        return
    order = np.argsort(ours, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ours[order]) != 0]))
    begin = 0
    for start, end in zip(starts, [*starts[1:], len(ours)], strict=True):
        if end - begin > LARGE and start > begin:
            yield _batch(ours, theirs, order[begin:start])
            begin = start
    yield _batch(ours, theirs, order[begin:])


def _batch(
    ours: Keys, theirs: Keys, rows: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    return np.sort(rows), np.flatnonzero(np.isin(theirs, ours[rows]))


def _keys(crystals: Sequence[Crystal]) -> Keys:
    """Hash the reduced formulas; two formulas of one hash share a batch, which does no harm."""
    keys = np.empty(len(crystals), np.uint64)
    for row, crystal in enumerate(crystals):
        formula = repr(reduced_formula(count_elements(crystal))).encode()
        keys[row] = int.from_bytes(hashlib.blake2b(formula, digest_size=8).digest(), "little")
    return keys
