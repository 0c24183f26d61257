"""A data set of any size, read and checked block by block: each is on disk as soon as it is done."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
from jaxtyping import Int

from repdiff.crystals.crystal import SPLITS, Crystal, read_crystals, write_crystals
from repdiff.crystals.duplicates_on_disk import group_duplicates_on_disk
from repdiff.crystals.on_disk import CrystalsOnDisk
from repdiff.crystals.packed_labels import with_packed_labels, with_unpacked_labels
from repdiff.crystals.renaming import renamed
from repdiff.crystals.resumable_parts import kept, part_name
from repdiff.datasets.dataset import split_note
from repdiff.datasets.judged_rows import Judged, Told, all_bad, judge_rows
from repdiff.datasets.load import Origin
from repdiff.datasets.readers import blocks
from repdiff.datasets.readers.blocks import Block
from repdiff.datasets.readers.rows import Rejection
from repdiff.datasets.splits import draw_rows, draw_splits
from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.failures import REJECTED, read_records, write_records
from repdiff.runs.parquet_files import read_columns, read_own_table

CRYSTALS, READ, COUNTS = "crystals.parquet", "read.json", "counts.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DatasetInPieces:
    """What `repdiff.datasets.dataset.Dataset` holds, on disk: one piece at a time is in memory.

    Attributes:
        name: Name of the data set.
        note: What results on this set must say; None for nothing.
        places: Folders of the pieces, in order.
        ends: Number of the crystals of all pieces up to each.
        names: Names that crystals, and after them rejected rows, have instead of their own, by their places.
        splits: Split of each crystal, as its place in `SPLITS`; None if all have their own.
    """

    name: str
    note: str | None
    places: Sequence[Path]
    ends: Sequence[int]
    names: dict[int, str]
    splits: Int[np.ndarray, " n_crystals"] | None

    def first_of(self, piece: int) -> int:
        """Return the number of the first crystal of a piece."""
        return self.ends[piece - 1] if piece else 0

    def crystals(self, piece: int) -> list[Crystal]:
        """Read the crystals of a piece, with names and splits of their own."""
        found = []
        for number, stored in enumerate(read_crystals(self.places[piece] / CRYSTALS), self.first_of(piece)):
            crystal = with_unpacked_labels(stored)
            split = crystal.split if self.splits is None else SPLITS[self.splits[number]]
            found.append(crystal.replace(id=self.names.get(number, crystal.id), split=split))
        return found

    def rejected(self) -> Iterator[Rejection]:
        """Go through the rows that were refused, in the order of the source."""
        for number, entry in enumerate(_rejected(self.places), self.ends[-1]):
            yield replace(entry, id=self.names.get(number, entry.id))


def read_in_pieces(
    origin: Origin,
    folder: Path,
    *,
    max_atoms: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> DatasetInPieces:
    """Read, check and split a data set as `repdiff.datasets.load.load_dataset` does, in bounded memory.

    An interrupted call goes on where it was. In memory are the rows of a block, and a few bytes of every row.

    Args:
        origin: What is read.
        folder: Holds what is done until the caller removes it; removed here if no row can be used.
        max_atoms: Refuse larger cells.
        limit: Take only so many rows, chosen at random by `seed`.
        seed: Seed of the choice of rows and of drawn splits.
        progress: Show bars on stderr.

    Raises:
        UserError: If the source is unreadable or empty, or all its rows are bad.
    """
    folder.mkdir(exist_ok=True)
    places = _read_all(origin, folder, max_atoms=max_atoms, limit=limit, seed=seed, progress=progress)
    facts = [read_json(place / READ) for place in places]
    ends = list(accumulate(one["n"] for one in facts))
    told = Told()
    for one in facts:
        told.add(Told(**one["told"]))
    if not ends or not ends[-1]:
        reasons = Counter(entry.reason for entry in _rejected(places))
        shutil.rmtree(folder)
        raise UserError(all_bad(origin.given, reasons))
    for remark in told.remarks():
        log.warning("%s: %s", origin.name, remark)
    n_named, n_unknown = (sum(one[name] for one in facts) for name in ("n_named", "n_unknown"))
    splits = None
    if n_named < ends[-1]:
        stored = CrystalsOnDisk([place / CRYSTALS for place in places])
        groups = group_duplicates_on_disk(stored, folder / "duplicates", progress=progress)
        splits = draw_splits(groups, seed=seed)
    notes = [told.note(origin.name), split_note(ends[-1], n_named, n_unknown, seed)]
    return DatasetInPieces(
        name=origin.name,
        note="; ".join(text for text in notes if text) or None,
        places=places,
        ends=ends,
        names=renamed(lambda: chain(_ids(places), (entry.id for entry in _rejected(places)))),
        splits=splits,
    )


def _read_all(
    origin: Origin, folder: Path, *, max_atoms: int | None, limit: int | None, seed: int, progress: bool
) -> list[Path]:
    """Read all blocks, but for those that an earlier session has read, and return the folders of the pieces."""
    if (known := _all_read(folder)) is not None:
        return known
    places: list[Path] = []
    log.info("reading %s", origin.given)
    for number, (block, chosen) in enumerate(_blocks(origin, folder, limit, seed)):
        place = _place(folder, number)
        places.append(place)
        if _is_read(place):
            continue
        rows = block()
        if chosen is not None:
            read = [row for row in rows if not row.unread]
            rows = [*(read[row] for row in chosen), *(row for row in rows if row.unread)]
        judged = judge_rows(rows, name=origin.name, max_atoms=max_atoms, progress=progress)
        _write(place, judged)
        log.info("block %d: %d crystals, %d rejected", number + 1, len(judged.crystals), len(judged.rejected))
    write_json(folder / READ, {"n": len(places)})
    return places


def _place(folder: Path, number: int) -> Path:
    return folder / f"read-{part_name(number, [blocks.ROWS, blocks.SIZE])}"


def _all_read(folder: Path) -> list[Path] | None:
    """Return the folders of all pieces; None if some are still to be read."""
    done = kept(folder / READ, read_json)
    if done is None:
        return None
    places = [_place(folder, number) for number in range(done["n"])]
    return places if all(map(_is_read, places)) else None


def _is_read(place: Path) -> bool:
    """Say whether an earlier session has read all of a block, and all of it is intact."""
    files = ((READ, read_json), (CRYSTALS, read_own_table), (REJECTED, read_records))
    return all(kept(place / name, read) is not None for name, read in files)


def _blocks(
    origin: Origin, folder: Path, limit: int | None, seed: int
) -> Iterator[tuple[Block, list[int] | None]]:
    """Go through the blocks, each with the rows to take of it; None for all."""
    if limit is None:
        yield from ((block, None) for block in origin.blocks())
        return
    counts = kept(folder / COUNTS, read_json)
    if counts is None:
        counts = {"n": [sum(not row.unread for row in block()) for block in origin.blocks()]}
        write_json(folder / COUNTS, counts)
    drawn = np.array(draw_rows(sum(counts["n"]), limit, seed), dtype=np.int64)
    first = 0
    for block, n in zip(origin.blocks(), counts["n"], strict=True):
        yield block, (drawn[(drawn >= first) & (drawn < first + n)] - first).tolist()
        first += n


def _write(place: Path, judged: Judged) -> None:
    """Write what was read of a block, the file that says so last."""
    place.mkdir(exist_ok=True)
    write_records(place / REJECTED, map(asdict, judged.rejected), ascii_only=False)
    write_crystals(place / CRYSTALS, [with_packed_labels(crystal) for crystal in judged.crystals])
    facts = {
        "n": len(judged.crystals),
        "n_named": sum(crystal.split is not None for crystal in judged.crystals),
        "n_unknown": sum("split_name" in crystal.labels for crystal in judged.crystals),
        "told": judged.told.as_json(),
    }
    write_json(place / READ, facts)


def _ids(places: Sequence[Path]) -> Iterator[str]:
    for place in places:
        yield from read_columns(place / CRYSTALS, ["id"])["id"].to_pylist()


def _rejected(places: Sequence[Path]) -> Iterator[Rejection]:
    for place in places:
        yield from (Rejection(**record) for record in read_records(place / REJECTED))
