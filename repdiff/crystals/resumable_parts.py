"""Crystals made part by part, each on disk as soon as it is done, so that none is made twice.

Two forms: parts that are removed once the results are elsewhere, named by all that is in them, and shards that stay
and may be asked to hold more.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.on_disk import CrystalsOnDisk
from repdiff.errors import DamagedError
from repdiff.execution.progress import progress_bar
from repdiff.runs.atomic_files import PARTS

SHARDS = "shards"
log = logging.getLogger(__name__)
Part = list[Crystal]
Piece = TypeVar("Piece")


class ResumableParts:
    """Parts of a work, in a folder of a run; those that an earlier session has finished are there already.

    Args:
        folder: Folder of the run; the parts have one of their own in it.
        members: What is in each part, as JSON values: the number of the first, and what tells the part from others.
    """

    def __init__(self, folder: Path, members: Sequence[tuple[int, object]]) -> None:
        self.folder = folder / PARTS
        self.folder.mkdir(exist_ok=True)
        self.files = [self.folder / f"{part_name(first, known)}.parquet" for first, known in members]

    def missing(self) -> list[int]:
        """Return the places of the parts that are still to be made; a damaged one is said, and is among them."""
        return [place for place, file in enumerate(self.files) if kept(file, read_crystals) is None]

    def write(self, place: int, crystals: Sequence[Crystal]) -> None:
        """Keep the crystals of a part."""
        write_crystals(self.files[place], crystals)

    def read(self) -> list[Crystal]:
        """Read all parts, in their order."""
        return [crystal for file in self.files for crystal in read_crystals(file)]


def forget_parts(folder: Path) -> None:
    """Remove the parts of a work, once the results are elsewhere; those of a run go with its end."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def kept(file: Path, read: Callable[[Path], Piece]) -> Piece | None:
    """Read a piece of a work that an earlier session wrote; None, to be made again, if it is absent or damaged.

    Args:
        file: Where it is.
        read: Reads it, and raises DamagedError if it cannot be read.
    """
    if not file.is_file():
        return None
    try:
        return read(file)
    except DamagedError as error:
        log.warning("%s; computing what it held again", error.damage)
        return None


def compute_in_parts(
    folder: Path,
    crystals: Sequence[Crystal],
    compute: Callable[[list[Part]], Iterator[tuple[Sequence[Crystal], Part]]],
    *,
    part_size: int,
    label: str,
    progress: bool = True,
) -> list[Crystal]:
    """Return what was computed of all crystals, in their order; an interrupted call resumes where it was.

    Args:
        folder: Folder of the run; `forget_parts` removes what is kept there.
        crystals: All of them, names differ.
        compute: Yields the parts it is given, in any order, each with as many crystals that are the answer; the
            same for the same part.
        part_size: Crystals in a part.
        label: Text before the progress bar.
        progress: Show the bar.
    """
    cut = [list(crystals[start : start + part_size]) for start in range(0, len(crystals), part_size)]
    parts = ResumableParts(
        folder, [(place * part_size, [crystal.id for crystal in part]) for place, part in enumerate(cut)]
    )
    missing = parts.missing()
    by_first = {cut[place][0].id: place for place in missing}
    left = sum(len(cut[place]) for place in missing)
    answers = compute([cut[place] for place in missing])
    bar = progress_bar(
        total=len(crystals),
        initial=len(crystals) - left,
        desc=label,
        unit="crystal",
        disable=not progress,
    )
    with bar:
        for part, answer in answers:
            parts.write(by_first[part[0].id], answer)
            bar.update(len(part))
    return parts.read()


def each_shard(n: int, size: int, extend: Callable[[int, int, int], int]) -> int:
    """Complete one shard after the other, and count the new samples.

    Args:
        n: Samples in all.
        size: Samples in a shard, but for the last.
        extend: Completes a shard, given its number, its first sample and how many it shall hold; returns how many
            it had to make.
    """
    return sum(extend(number, first, min(size, n - first)) for number, first in enumerate(range(0, n, size)))


def crystals_in_shards(
    folder: Path, n: int, size: int, make: Callable[[int, int], list[Crystal]]
) -> tuple[CrystalsOnDisk, int]:
    """Make crystals, each shard on disk as soon as it is done; an interrupted call resumes where it was.

    Args:
        folder: Folder of the run.
        n: Crystals in all.
        size: Crystals in a shard.
        make: Makes some, given the number of the first and how many.

    Returns:
        All crystals, which stay in the shards, and how many of them are new.
    """
    shards: list[Path] = []

    def extend(number: int, first: int, wanted: int) -> int:
        path = folder / SHARDS / f"{number:05d}.parquet"
        shards.append(path)
        held = kept(path, read_crystals) or []
        if len(held) >= wanted:
            return 0
        path.parent.mkdir(exist_ok=True)
        write_crystals(path, [*held, *make(first + len(held), wanted - len(held))])
        return wanted - len(held)

    n_made = each_shard(n, size, extend)
    return CrystalsOnDisk(shards), n_made


def part_name(first: int, members: object) -> str:
    """Name a part by the number of its first member and by what tells its members, JSON values, from others."""
    digest = hashlib.sha256(json.dumps(members).encode()).hexdigest()
    return f"{first:08d}-{digest[:16]}"
