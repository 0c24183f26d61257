"""Folders and zips: tables named after splits, results of known programs, or files of any formats together."""

import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from repdiff.crystals.structure_files import EXTXYZ, TABLE
from repdiff.datasets.readers.archives import (
    TWICE,
    Texts,
    check_total,
    leads_out,
    member_reader,
    open_zip,
    refusal,
)
from repdiff.datasets.readers.blocks import Block
from repdiff.datasets.readers.formats import (
    TABLE_SUFFIXES,
    is_readable,
    read_file,
    rows_in_blocks,
    text_row,
)
from repdiff.datasets.readers.json_files import NoStructures
from repdiff.datasets.readers.names import form_of_name, stem_of_name
from repdiff.datasets.readers.parquet_tables import parquet_blocks, read_parquet
from repdiff.datasets.readers.rows import Row, row_of, split_name, unread
from repdiff.datasets.readers.tables import csv_blocks, read_csv
from repdiff.errors import UserError
from repdiff.runs.atomic_files import MANIFEST
from repdiff.runs.unpacking import PACKED, UnpackingError
from repdiff.settings.paths import readable

ALIKE = {  # the file that holds all crystals of a folder that a program wrote, and what shows whose it is
    "generated_crystals.extxyz": None,  # MatterGen
    TABLE: EXTXYZ,  # repdiff
    EXTXYZ: MANIFEST,  # repdiff, where the table was lost
}
TRAJECTORIES = "generated_trajectories.zip"  # of MatterGen: how its samples came to be
EXPECTED = (
    "expected .cif, .vasp, POSCAR*, extxyz, JSON, CSV or parquet files, or train.csv, val.csv and test.csv"
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is read of a folder or zip, by name, and what is not, by the reason.

    Attributes:
        read: Names of the files that are read, in order.
        splits: Split by name, of tables named after splits.
        left: Reason by name, of files that are not read.
    """

    read: tuple[str, ...]
    splits: dict[str, str]
    left: dict[str, str]


def contents_of(names: Iterable[str]) -> Contents:
    """Decide what is read of the files of a folder or zip, given their paths in it."""
    seen = sorted(name for name in names if not _hidden(name))
    left = {name: "steps of the sampling" for name in seen if PurePosixPath(name).name == TRAJECTORIES}
    left |= _held_elsewhere([name for name in seen if name not in left])
    seen = [name for name in seen if name not in left]
    splits = _split_tables(seen)
    chosen = tuple(splits) if splits else tuple(name for name in seen if is_readable(name) or _is_zip(name))
    why = "beside tables named after splits" if splits else "of no known format"
    left |= {name: why for name in seen if name not in set(chosen)}
    return Contents(read=chosen, splits=splits, left=dict(sorted(left.items())))


def _held_elsewhere(names: Sequence[str]) -> dict[str, str]:
    """Name what lies in or below a folder that a program wrote, beside the one file that holds its crystals."""
    present, left = set(names), {}
    order = list(ALIKE)

    def turn(name: str) -> tuple[int, int]:  # a folder before those in it
        path = PurePosixPath(name)
        return len(path.parts), order.index(path.name) if path.name in ALIKE else len(order)

    for name in sorted(names, key=turn):
        path = PurePosixPath(name)
        mark = ALIKE.get(path.name)
        if path.name in ALIKE and name not in left and (mark is None or str(path.with_name(mark)) in present):
            held = [other for other in names if path.parent in PurePosixPath(other).parents and other != name]
            left |= {other: f"{name} holds the crystals" for other in held if other not in left}
    return left


def contents_of_folder(path: Path) -> Contents:
    """Decide what is read of the files below a folder; links to folders are not followed.

    Raises:
        OSError: If the folder itself cannot be listed.
    """
    names: list[str] = []
    lost: dict[str, str] = {}

    def note(error: OSError) -> None:
        if Path(error.filename) == path:
            raise error
        lost[_below(path, error.filename)] = f"cannot be opened: {error.strerror}"

    for folder, folders, files in os.walk(path, onerror=note):
        for name in (*folders, *files):
            place = Path(folder, name)
            if reason := _unreachable(place, is_folder=name in folders):
                lost[_below(path, place)] = reason
            elif name in files:
                names.append(_below(path, place))
    contents = contents_of(names)
    seen = {name: why for name, why in lost.items() if not _hidden(name)}
    return replace(contents, left=dict(sorted({**contents.left, **seen}.items())))


def _below(path: Path, place: str | Path) -> str:
    return Path(place).relative_to(path).as_posix()


def _unreachable(place: Path, *, is_folder: bool) -> str:
    """Say why what is listed in a folder cannot be read; "" if it can, or is a folder to look into."""
    if is_folder:
        return "a link to a folder" if place.is_symlink() else ""
    try:
        return "" if stat.S_ISREG(place.stat().st_mode) else "neither a file nor a folder"
    except FileNotFoundError:
        return "a link that leads nowhere"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def read_folder(path: Path) -> list[Row]:
    """Read the files below a folder, sorted by path, which is what names the crystals that have no name.

    Tables named after splits (train, val or valid, test) give their splits, and then nothing else is read. Of the
    results of MatterGen or repdiff, at any depth, the one file with all crystals is read. What is not read is named
    in a row.

    Raises:
        UserError: If there is nothing to read.
    """
    contents = contents_of_folder(path)
    if not contents.read:
        raise _no_structure(path, _left(path, contents))
    if contents.splits:
        rows = [row for name, split in contents.splits.items() for row in _read_table(path / name, split)]
        return [*rows, *_left(path, contents)]
    rows, texts = [], Texts(path)
    for name in contents.read:
        members = _member(path, name, len(rows), lambda name=name: (path / name).read_bytes(), path / name)
        rows += members
        texts.add(members if name.lower().endswith((*PACKED, ".zip")) else [], n_rows=len(rows))
    rows += _left(path, contents)
    if all(row.unread for row in rows):
        raise _no_structure(path, rows)
    return rows


def folder_blocks(path: Path) -> Iterator[Block]:
    """Read a folder as `read_folder` does, in blocks; what is no table named after a split is in memory as a whole.

    Raises:
        UserError: If there is nothing to read.
    """
    contents = contents_of_folder(path)
    if not contents.splits:
        yield from rows_in_blocks(read_folder(path))
        return
    for name, split in contents.splits.items():
        file = _checked_table(path / name)
        yield from parquet_blocks(file, split=split) if _is_parquet(file) else csv_blocks(file, split=split)
    yield from rows_in_blocks(_left(path, contents))


def _no_structure(path: Path, unread_rows: Sequence[Row]) -> UserError:
    first = [f"; not read: {row.id} ({row.reason})" for row in unread_rows[:1]]
    more = [f" and {len(unread_rows) - 1} more"] if len(unread_rows) > 1 else []
    return UserError(f"{path} holds no structure, {EXPECTED}{''.join([*first, *more])}")


def read_zip(path: Path) -> list[Row]:
    """Read the files of a zip as those of a folder; a damaged one is named and does not hide the others.

    Raises:
        UserError: If it is no zip, or there is nothing to read.
    """
    with open_zip(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
        twice = Counter(entry.filename for entry in archive.infolist()) - Counter(entries.keys())
        outside = [
            name
            for name, entry in entries.items()
            if leads_out(entry) and is_readable(PureWindowsPath(name).name)
        ]
        contents = contents_of(name for name, entry in entries.items() if not leads_out(entry))
        nested = [name for name in contents.read if _is_zip(name)]
        chosen = [*(name for name in contents.read if name not in nested), *outside]
        check_total(path, [entries[name] for name in chosen if not refusal(entries[name])])
        rows: list[Row] = []
        texts = Texts(path)
        for name in chosen:
            members = _member(path, name, len(rows), member_reader(archive, entries[name]), None)
            split = contents.splits.get(name)
            rows += members if split is None else [_with_split(row, split) for row in members]
            texts.add(members, n_rows=len(rows))
    if not chosen:
        raise UserError(f"{path} holds no structure, {EXPECTED}")
    rows += [unread(path, readable(name), TWICE) for name in twice if not name.endswith("/")]
    return [
        *rows,
        *_left(path, contents),
        *(unread(path, readable(name), "a zip inside of a zip") for name in nested),
    ]


def split_tables(folder: Path) -> dict[str, Path]:
    """Find the tables of a folder that are named after splits, by split."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    return {split: folder / name for name, split in _split_tables(names).items()}


def _member(path: Path, name: str, start: int, read: Callable[[], bytes], file: Path | None) -> list[Row]:
    """Read one file of a collection; whatever is wrong with it stays with it."""
    source, stem = readable(f"{path}/{name}"), stem_of_name(name)
    try:
        if form_of_name(name):
            return [text_row(path, start, name, read())]
        if file is not None:
            rows = read_zip(file) if _is_zip(name) else read_file(file)
        else:
            with tempfile.TemporaryDirectory() as place:
                copy = Path(place) / PurePosixPath(name).name
                copy.write_bytes(read())
                rows = read_file(copy)
    except UnpackingError as error:
        return [row_of(source, start, None, {}, id=stem, reason=error.reason)]
    except NoStructures as error:
        return [unread(path, readable(name), str(error).removeprefix(f"{path}/"))]
    except UserError as error:
        return [row_of(source, start, None, {}, id=stem, reason=str(error))]
    except OSError as error:
        return [row_of(path, start, None, {}, id=stem, reason=f"cannot be opened: {error.strerror or error}")]
    return [_named(replace(row, source=source), stem, single=len(rows) == 1) for row in rows]


def _named(row: Row, stem: str, *, single: bool) -> Row:
    """Name a crystal without a name after its file."""
    if row.unread or row.id != str(row.row):
        return row
    name = stem if single else f"{stem}#{row.row + 1}"
    if row.content is None or isinstance(row.content, str):
        return replace(row, id=name)
    return replace(row, id=name, content=row.content.replace(id=name))


def _with_split(row: Row, split: str) -> Row:
    content = row.content
    if content is not None and not isinstance(content, str):
        content = content.replace(split=split)
    return replace(row, split=split, content=content)


def _read_table(path: Path, split: str) -> list[Row]:
    file = _checked_table(path)
    return read_parquet(file, split=split) if _is_parquet(file) else read_csv(file, split=split)


def _checked_table(path: Path) -> Path:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is an empty file, expected a table with one crystal a row")
    return path


def _is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet"


def _split_tables(names: list[str]) -> dict[str, str]:
    """Find tables at the top that are named after splits, one a split: train, val, test."""
    found: dict[str, str] = {}
    for suffix in TABLE_SUFFIXES:
        for name in names:
            if "/" not in name and name.lower().endswith(suffix):
                split = split_name(name[: -len(suffix)])
                if split and split not in found:
                    found[split] = name
    return {found[split]: split for split in ("train", "val", "test") if split in found}


def _left(path: Path, contents: Contents) -> list[Row]:
    return [unread(path, readable(name), reason) for name, reason in contents.left.items()]


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")
