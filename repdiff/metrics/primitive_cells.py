"""Crystals in their reduced primitive cells, as StructureMatcher compares them, and who may be like whom.

StructureMatcher reduces both crystals anew for every comparison, which takes longer than the comparison itself, and
it refuses two whose primitive cells differ in size. Reduced once and sorted by formula and size, crystals are compared
with few others, and with the same answer.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from repdiff.crystals.crystal import Crystal, from_structure, to_structure
from repdiff.crystals.duplicates import distance_fingerprints
from repdiff.crystals.formula import Formula, count_elements, reduced_formula
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.stored_crystals import CrystalRows
from repdiff.execution.jobs import map_jobs

REDUCTIONS_PER_PROCESS = 2000  # with fewer, a process takes longer to start than it saves
MAX_CANDIDATES = 30  # how many others StructureMatcher compares a crystal with
FEW_TIMES = 4  # with as many times the fingerprints that are asked for, it pays to look at their means first
ROUNDING = 1e-9  # of lengths in units of the cube root of the volume per atom
Key = tuple[
    Formula, int
]  # crystals of equal formula and number of atoms in the primitive cell may be the same


@dataclass(frozen=True)
class Reduced:
    """A crystal in its primitive cell.

    Attributes:
        crystal: The crystal in its Niggli-reduced primitive cell; None if there is none.
        reason: Why there is none; "" if there is one.
    """

    crystal: Crystal | None
    reason: str = ""

    @property
    def key(self) -> Key | None:
        """What two crystals must share to be compared; None for one that cannot be."""
        if self.crystal is None:
            return None
        return reduced_formula(count_elements(self.crystal)), self.crystal.n_atoms


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """For each crystal, those that it is to be compared with.

    Attributes:
        rows: Indices of the crystals to compare each with; nearest first where there were too many.
        n_dropped: How many others of its formula and size it is not compared with, because as many as there may be
            are nearer.
    """

    rows: Sequence[Sequence[int]]
    n_dropped: Int[np.ndarray, " n_crystals"]


def reduce_crystals(
    crystals: Sequence[Crystal], *, n_workers: int = 1, progress: bool = False
) -> list[Reduced]:
    """Bring crystals to their primitive cells as pymatgen's StructureMatcher does.

    One that fails `check_structures` has no reduced cell, and its reason: such cells can keep pymatgen busy for hours.

    Args:
        crystals: They may be of any quality.
        n_workers: Processes, if there are at least 2000 crystals for each.
        progress: Show a bar on stderr.
    """
    answers = [Reduced(None, check.reason) for check in check_structures(crystals)]
    sound = [index for index, answer in enumerate(answers) if not answer.reason]
    found = map_jobs(
        _reduce,
        CrystalRows(crystals, sound),
        n_workers=min(n_workers, len(sound) // REDUCTIONS_PER_PROCESS),
        progress=progress and len(sound) >= REDUCTIONS_PER_PROCESS,
        label="primitive cells",
        instead=_not_reduced,
    )
    for index, reduced in zip(sound, found, strict=True):
        answers[index] = reduced
    return answers


def _not_reduced(_crystal: Crystal, reason: str) -> Reduced:
    return Reduced(None, reason)


def of_formulas(crystals: Sequence[Crystal], wanted: Sequence[Crystal]) -> list[Crystal]:
    """Return those crystals whose reduced formula one of `wanted` has."""
    formulas = {reduced_formula(count_elements(crystal)) for crystal in wanted}
    return [crystal for crystal in crystals if reduced_formula(count_elements(crystal)) in formulas]


def group_by_key(reduced: Sequence[Reduced], *, any_size: bool = False) -> dict[Key, list[int]]:
    """Sort rows by what crystals must share to be compared, without those that cannot be.

    Args:
        reduced: What `reduce_crystals` returned.
        any_size: Whether primitive cells of different sizes are compared too.
    """
    groups: dict[Key, list[int]] = defaultdict(list)
    for row, one in enumerate(reduced):
        if (key := one.key) is not None:
            groups[(key[0], 0) if any_size else key].append(row)
    return dict(groups)


def find_candidates(
    queries: Sequence[Reduced],
    others: Sequence[Reduced],
    *,
    max_candidates: int = MAX_CANDIDATES,
    any_size: bool = False,
) -> Candidates:
    """List the others that each crystal may be the same as: those of its formula and primitive size.

    Where there are more than `max_candidates`, those with the nearest distance fingerprints (see
    `datasets.duplicates`) are taken, the first of equals. That is a limit for sets of very few formulas: MP-20 never
    reaches 30. Of 50 crystals of Carbon-24 compared with all others, StructureMatcher finds 37 again, 36 of them at the
    first place of this order and one at the tenth; with noise of 0.3 Å, one of 18 that it finds lies beyond the 30th.

    Args:
        queries: The crystals.
        others: What they are compared with.
        max_candidates: Largest number of candidates per crystal.
        any_size: Whether primitive cells of different sizes are compared too.
    """
    offered = group_by_key(others, any_size=any_size)
    rows: list[Sequence[int]] = [[]] * len(queries)
    n_dropped = np.zeros(len(queries), np.int64)
    for key, asking in group_by_key(queries, any_size=any_size).items():
        near = offered.get(key, [])
        if len(near) > max_candidates:
            n_dropped[asking] = len(near) - max_candidates
            ours, theirs = fingerprints(queries, asking), fingerprints(others, near)
            nearby = Nearby(theirs.shape[1], theirs)
            for row, features in zip(asking, ours, strict=True):
                rows[row] = [near[k] for k in nearby.nearest(features, max_candidates).tolist()]
        else:
            for row in asking:
                rows[row] = near
    return Candidates(rows=rows, n_dropped=n_dropped)


def fingerprints(reduced: Sequence[Reduced], rows: Sequence[int]) -> Float[np.ndarray, "n_rows n_features"]:
    """Compute the distance fingerprints of crystals of one formula, without their length scale.

    StructureMatcher brings two crystals to one volume, so that the scale says nothing here.

    Args:
        reduced: Crystals, of which those in `rows` have a reduced cell.
        rows: Which ones.
    """
    found = [crystal for row in rows if (crystal := reduced[row].crystal) is not None]
    return np.array(distance_fingerprints(found))[:, 1:]


class Nearby:
    """Fingerprints that are added one after the other, of which the nearest are asked for.

    The mean difference of two fingerprints is at least the difference of their means. So those whose means are nearest
    are looked at first, and of the others only those that their means leave a chance.

    Args:
        n_features: Length of a fingerprint.
        features: Fingerprints to begin with.

    Example:
        >>> near = Nearby(2, np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 1.0]]))
        >>> near.nearest(np.array([1.0, 1.0]), 2).tolist()
        [2, 0]
    """

    def __init__(self, n_features: int, features: Float[np.ndarray, "n n_features"] | None = None) -> None:
        self._n = 0
        self._features = np.zeros((0, n_features))
        self._means = np.zeros(0)
        if features is not None:
            self._n, self._features, self._means = len(features), features, features.mean(1)

    def __len__(self) -> int:
        """Count them."""
        return self._n

    def add(self, features: Float[np.ndarray, " n_features"]) -> None:
        """Add one behind the others."""
        if self._n == len(self._features):
            room = max(64, self._n)
            self._features = np.concatenate([self._features, np.zeros((room, len(features)))])
            self._means = np.concatenate([self._means, np.zeros(room)])
        self._features[self._n], self._means[self._n] = features, features.mean()
        self._n += 1

    def nearest(self, features: Float[np.ndarray, " n_features"], n: int) -> Int[np.ndarray, " n_near"]:
        """Return the places of the `n` nearest by mean difference, nearest first, the first of equals."""
        least = np.abs(self._means[: self._n] - features.mean())
        rows = np.arange(self._n)
        if self._n > FEW_TIMES * n:
            first = np.argpartition(least, n)[:n]
            farthest = self._distances(first, features).max()
            rows = np.flatnonzero(least <= farthest * (1 + ROUNDING) + ROUNDING)
        return rows[np.argsort(self._distances(rows, features), kind="stable")[:n]]

    def _distances(
        self, rows: Int[np.ndarray, " k"], features: Float[np.ndarray, " n_features"]
    ) -> Float[np.ndarray, " k"]:
        return np.abs(self._features[rows] - features).mean(1)


def _reduce(crystal: Crystal) -> Reduced:
    try:
        structure = to_structure(crystal).get_reduced_structure("niggli").get_primitive_structure()
    except Exception as error:  # pymatgen gives up on some cells with any of several exceptions
        return Reduced(None, f"no primitive cell: {type(error).__name__}")
    return Reduced(from_structure(structure, id=crystal.id))
