"""One word to a data set: the prototypes, a named benchmark, or any path."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repdiff.crystals.convert import distinct_names
from repdiff.crystals.crystal import Crystal
from repdiff.datasets.benchmarks import BENCHMARKS, find_benchmark
from repdiff.datasets.dataset import Dataset, with_splits
from repdiff.datasets.download import verify_download
from repdiff.datasets.judged_rows import all_bad, judge_rows
from repdiff.datasets.readers.any_path import hash_inputs, path_blocks, read_path
from repdiff.datasets.readers.blocks import Block
from repdiff.datasets.readers.formats import rows_in_blocks
from repdiff.datasets.readers.rows import Rejection, Row, row_of
from repdiff.datasets.splits import draw_rows
from repdiff.errors import UserError, did_you_mean
from repdiff.settings.paths import home_expanded, opening

PROTOTYPES = "prototypes"
log = logging.getLogger(__name__)


def load_dataset(
    source: str,
    *,
    data_dir: Path | None,
    downloads: Path | None = None,
    max_atoms: int | None = None,
    progress: bool = True,
    limit: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    sound_only: bool = True,
) -> Dataset:
    """Read, check and split a data set. Bad rows never stop it: they are listed with their reasons.

    Splits of the source are kept when all its crystals name one, otherwise drawn by `assign_splits`. A name
    that occurs again gets "#2", "#3", ... behind it, be it of a crystal or of a row that was refused.

    Args:
        source: "prototypes", a benchmark ("perov_5", "carbon_24", "mp_20"), or a path (see `read_path`).
        data_dir: Folder to look for benchmarks in, before `downloads`.
        downloads: Folder where downloads go, `<workspace>/data`.
        max_atoms: Refuse larger cells.
        progress: Show bars on stderr.
        limit: Take only so many rows, chosen at random by `seed`, in the order of the source.
        seed: Seed of the choice of rows and of drawn splits.
        processes: Worker processes that parse texts; None takes one per core.
        sound_only: False keeps what could be read but is not fit for use, such as overlapping atoms; only cells
            of more than 3000 atoms are still refused. No splits are drawn then, and all may be bad.

    Raises:
        UserError: If the source is unknown, absent, unreadable or empty, or all its rows are bad.
    """
    check_limit(limit)
    origin = find_origin(source, [place for place in (data_dir, downloads) if place is not None])
    hashes, name = origin.hashes(), origin.name
    rows = origin.rows()
    left_out = [row for row in rows if row.unread]
    rows = [row for row in rows if not row.unread]
    rows = [rows[number] for number in draw_rows(len(rows), limit, seed)]
    judged = judge_rows(
        [*rows, *left_out],
        name=name,
        max_atoms=max_atoms,
        sound_only=sound_only,
        progress=progress,
        processes=processes,
    )
    if not judged.crystals and (sound_only or not judged.rejected):
        raise UserError(all_bad(source, Counter(entry.reason for entry in judged.rejected)))
    crystals, rejected = _with_unique_ids(judged.crystals, judged.rejected)
    remarks, split_note = judged.told.remarks(), None
    for remark in remarks:
        log.warning("%s: %s", name, remark)
    if sound_only:
        crystals, split_note = with_splits(crystals, seed)
    notes = [text for text in (judged.told.note(name), split_note) if text]
    return Dataset(
        name=name,
        crystals=crystals,
        rejected=rejected,
        input_hashes=hashes,
        note="; ".join(notes) or None,
        remarks=remarks,
    )


def check_limit(limit: int | None) -> None:
    """Refuse to take no rows.

    Raises:
        UserError: If the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}, expected at least 1 row")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a data set comes from.

    Attributes:
        given: What the user calls it.
        name: "prototypes", the benchmark's name, or the path's last part without its suffix.
        path: What is read; None for the prototypes, which are code.
        downloaded: Whether the path may be a download, which must be what was published.
    """

    given: str
    name: str
    path: Path | None
    downloaded: bool = False

    def rows(self) -> list[Row]:
        """Read all rows.

        Raises:
            UserError: If it cannot be read.
        """
        return _prototypes() if self.path is None else read_path(self.path)

    def blocks(self) -> Iterator[Block]:
        """Read the rows in blocks.

        Raises:
            UserError: If it cannot be read.
        """
        return rows_in_blocks(_prototypes()) if self.path is None else path_blocks(self.path)

    def hashes(self) -> dict[str, str]:
        """Compute the sha256 of what is read, by path.

        Raises:
            UserError: If a download is not what was published.
        """
        if self.path is None:
            return {}
        with opening(self.path):
            found = hash_inputs(self.path)
        if self.downloaded:
            verify_download(self.path, found)
        return found


def _prototypes() -> list[Row]:
    from repdiff.datasets.prototypes.build import build_prototypes

    return [
        row_of(PROTOTYPES, row, crystal, {"id": crystal.id, "split": crystal.split} | dict(crystal.labels))
        for row, crystal in enumerate(build_prototypes())
    ]


def find_origin(source: str, places: Sequence[Path]) -> Origin:
    """Find out what a source means.

    Args:
        source: "prototypes", a benchmark, or a path.
        places: Folders to look for benchmarks in.

    Raises:
        UserError: If there is no such thing.
    """
    if source == PROTOTYPES:
        return Origin(given=source, name=PROTOTYPES, path=None)
    if source in BENCHMARKS:
        return Origin(given=source, name=source, path=find_benchmark(source, places), downloaded=True)
    path = home_expanded(source)
    with opening(path):
        exists = path.exists()
    if not exists:
        known = [PROTOTYPES, *BENCHMARKS]
        raise UserError(
            f"{source!r} is neither a path nor a data set; known: {', '.join(known)}."
            + did_you_mean(source, known)
        )
    return Origin(given=source, name=path.resolve().name.split(".")[0] or "data", path=path)


def _with_unique_ids(
    crystals: Sequence[Crystal], rejected: Sequence[Rejection]
) -> tuple[list[Crystal], list[Rejection]]:
    """Give every crystal and every refused row a name of its own, so that no result falls on another's."""
    unique = distinct_names([entry.id for entry in (*crystals, *rejected)])
    renamed = [
        crystal if crystal.id == own else crystal.replace(id=own)
        for crystal, own in zip(crystals, unique, strict=False)
    ]
    refused = [replace(entry, id=own) for entry, own in zip(rejected, unique[len(crystals) :], strict=True)]
    return renamed, refused
