"""Which crystals of many are the same one, of which a part at a time is in memory."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Integer

from repdiff.crystals.crystal import Crystal, LabelKinds, crystal_table, read_crystals
from repdiff.crystals.duplicates import group_duplicates, reduced_formula_of
from repdiff.crystals.marks import mark
from repdiff.crystals.on_disk import CrystalsOnDisk
from repdiff.crystals.resumable_parts import kept
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.parquet_files import read_own_table, table_writer

PART = 10_000  # crystals that are compared at once, about; more if a formula has more
MAX_PARTS = 200  # files that are written at once
KIND, NUMBER, PARTED = "duplicates", "number", "parted.json"
log = logging.getLogger(__name__)


def group_duplicates_on_disk(
    crystals: CrystalsOnDisk, folder: Path, *, progress: bool = True
) -> Int[np.ndarray, " n_crystals"]:
    """Number the distinct crystals, as `repdiff.crystals.duplicates.group_duplicates` does.

    Crystals are sorted into files by their reduced formula, since no others are compared, and worked through file by
    file. An interrupted call goes on where it was.

    Args:
        crystals: The crystals.
        folder: Holds what is done until the caller removes it.
        progress: Show bars on stderr for large sets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = _sorted_by_formula(crystals, folder)
    owner = np.arange(len(crystals))
    for number, part in enumerate(parts):
        if len(parts) > 1:
            log.info("duplicates: part %d of %d", number + 1, len(parts))
        members, first = _groups_of(part, progress)
        owner[members] = first
    return owner


def _sorted_by_formula(crystals: CrystalsOnDisk, folder: Path) -> list[Path]:
    """Write the crystals whose formula occurs again into files, all of a formula into the same, and return these."""
    done = kept(folder / PARTED, read_json)
    if done is None or any(kept(_part(folder, k), read_own_table) is None for k in range(done["n"])):
        part_of = _parts(np.fromiter(map(_mark, crystals), dtype=np.uint64))
        n_parts = int(part_of.max(initial=-1)) + 1
        _write_parts(crystals, part_of, [_part(folder, number) for number in range(n_parts)])
        done = {"n": n_parts}
        write_json(folder / PARTED, done)
    return [_part(folder, number) for number in range(done["n"])]


def _part(folder: Path, number: int) -> Path:
    return folder / f"formulas-{number:05d}.parquet"


def _mark(crystal: Crystal) -> int:
    """Return 64 bits that stand for the reduced formula."""
    return mark(repr(reduced_formula_of(crystal)))


def _parts(marks: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the part of each crystal; -1 for one whose formula no other has."""
    _, formula, counts = np.unique(marks, return_inverse=True, return_counts=True)
    counts = np.where(counts > 1, counts, 0)
    size = max(PART, -(-int(counts.sum()) // MAX_PARTS))
    place = (np.cumsum(counts) - counts) // size  # formulas that begin within so many crystals are together
    _, place[counts > 0] = np.unique(place[counts > 0], return_inverse=True)
    return np.where(counts > 0, place, -1)[formula]


def _write_parts(crystals: CrystalsOnDisk, part_of: Int[np.ndarray, " n"], files: Sequence[Path]) -> None:
    kinds: LabelKinds = {NUMBER: {int}}
    schema = crystal_table([], kinds).schema
    first = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(table_writer(file, schema)) for file in files]
        for table in crystals.files:
            some = read_crystals(table)
            parts = part_of[first : first + len(some)]
            for part in np.unique(parts[parts >= 0]).tolist():
                chosen = [
                    some[row].replace(labels={NUMBER: first + row})
                    for row in np.flatnonzero(parts == part).tolist()
                ]
                writers[part](crystal_table(chosen, kinds))
            first += len(some)


def _groups_of(part: Path, progress: bool) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return the numbers of the crystals of a part, and the number that stands for the group of each."""
    file = part.with_suffix(".safetensors")
    found = kept(file, lambda path: load_checkpoint(path, kind=KIND)[0])
    if found is None:
        some = read_crystals(part)
        members = np.array([crystal.labels[NUMBER] for crystal in some], dtype=np.int64)
        owner = members[group_duplicates(some, progress=progress)]
        found = {"members": torch.from_numpy(members), "owner": torch.from_numpy(owner)}
        save_checkpoint(file, found, {}, kind=KIND)
    return found["members"].numpy(), found["owner"].numpy()
