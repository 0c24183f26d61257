"""Space groups of crystals, found by moyopy over processes."""

import logging
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.stored_crystals import CrystalRows
from repdiff.execution.jobs import map_jobs

SYMPREC = 0.1  # Å
CRYSTALS_PER_CHUNK = 250  # 0.1 s
CHUNKS_PER_PROCESS = 40  # with fewer, a process takes longer to start than it saves
CRYSTAL_SYSTEMS = (
    "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Symmetry:
    """The space group that was found.

    Attributes:
        number: 1 to 230 as in the International Tables; None if none was found.
        reason: Why none was; "" if one was.
    """

    number: int | None
    reason: str = ""

    @property
    def symbol(self) -> str | None:
        """Short Hermann-Mauguin symbol without spaces, "Fm-3m"; None without a space group."""
        return None if self.number is None else _space_group_type(self.number)[0]

    @property
    def crystal_system(self) -> str | None:
        """One of `CRYSTAL_SYSTEMS`; None without a space group."""
        return None if self.number is None else _space_group_type(self.number)[1]


def space_groups(
    crystals: Sequence[Crystal],
    *,
    symprec: float = SYMPREC,
    angle_tolerance: float | None = None,
    n_workers: int = 1,
    progress: bool = False,
) -> list[int | None]:
    """Return the number of each crystal's space group, None where `find_symmetries` gives a reason.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite, rock_salt
        >>> space_groups([cubic_perovskite(), rock_salt()])
        [221, 225]
    """
    found = find_symmetries(
        crystals, symprec=symprec, angle_tolerance=angle_tolerance, n_workers=n_workers, progress=progress
    )
    return [symmetry.number for symmetry in found]


def find_symmetries(
    crystals: Sequence[Crystal],
    *,
    symprec: float = SYMPREC,
    angle_tolerance: float | None = None,
    n_workers: int = 1,
    progress: bool = False,
) -> list[Symmetry]:
    """Find the space groups of crystals.

    moyopy tightens the tolerance by itself where the operations found do not make a group. Of 2000 test crystals of
    MP-20 it and spglib at 0.1 Å disagree on 0.6 %; with noise of 0.02 Å on every coordinate it still finds the space
    group of 75 %, spglib that of 26 %, and it takes a tenth of the time.

    A crystal that fails `check_structures` has no symmetry that is worth the name, and its cell may keep the search
    busy forever: it gets the reason of that check.

    Args:
        crystals: They may be of any quality.
        symprec: How far an atom may be from where an operation puts it, Å.
        angle_tolerance: How far angles of the cell may be off, degrees; None derives that from `symprec`.
        n_workers: Processes, if there are more than 10 000 crystals for each.
        progress: Show a bar on stderr, if there are more than 10 000 crystals.
    """
    answers = [Symmetry(None, check.reason) for check in check_structures(crystals)]
    sound = [index for index, answer in enumerate(answers) if not answer.reason]
    parts = [sound[k : k + CRYSTALS_PER_CHUNK] for k in range(0, len(sound), CRYSTALS_PER_CHUNK)]
    found = map_jobs(
        _search_chunk,
        [(CrystalRows(crystals, part), symprec, angle_tolerance) for part in parts],
        n_workers=min(n_workers, len(parts) // CHUNKS_PER_PROCESS),
        progress=progress and len(parts) > CHUNKS_PER_PROCESS,
        label="space groups",
        unit=f"{CRYSTALS_PER_CHUNK} crystals",
        instead=_unsearched_chunk,
    )
    for part, symmetries in zip(parts, found, strict=True):
        for index, symmetry in zip(part, symmetries, strict=True):
            answers[index] = symmetry
    return answers


def _unsearched_chunk(task: tuple[Sequence[Crystal], float, float | None], reason: str) -> list[Symmetry]:
    return [Symmetry(None, reason) for _ in task[0]]


def _search_chunk(task: tuple[Sequence[Crystal], float, float | None]) -> list[Symmetry]:
    crystals, symprec, angle_tolerance = task
    with quiet_moyopy():
        return [_search(crystal, symprec, angle_tolerance) for crystal in crystals]


def _search(crystal: Crystal, symprec: float, angle_tolerance: float | None) -> Symmetry:
    import moyopy

    cell = moyopy.Cell(
        crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.atomic_numbers.tolist()
    )
    angle = None if angle_tolerance is None else math.radians(angle_tolerance)
    try:
        return Symmetry(moyopy.MoyoDataset(cell, symprec=symprec, angle_tolerance=angle).number)
    except ValueError as error:
        return Symmetry(None, f"moyopy: {error}")


@contextmanager
def quiet_moyopy() -> Generator[None, None, None]:
    """Keep moyopy from reporting operations that a supercell breaks: its space group does not depend on them."""
    log = logging.getLogger("moyo")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@cache
def _space_group_type(number: int) -> tuple[str, str]:
    import moyopy

    kind = moyopy.SpaceGroupType(number)
    return kind.hm_short.replace(" ", ""), kind.crystal_system.lower()
