"""Files of ASE: extended XYZ and databases."""

import io
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repdiff.crystals.arrays import ISOTOPE_NOTE
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.extxyz_texts import EXACT_TEXTS, exact_texts
from repdiff.datasets.readers.blocks import Block, in_blocks
from repdiff.datasets.readers.databases import checked_ids
from repdiff.datasets.readers.rows import Row, is_number, is_scalar, row_of
from repdiff.errors import UserError
from repdiff.runs.csv_text import too_many_rows
from repdiff.settings.limits import HOPELESS, MAX_COLUMNS, MAX_ROWS, cut

if TYPE_CHECKING:
    from ase import Atoms
    from ase.db.row import AtomsRow

LONGEST_COUNT = 15  # characters of the line with the number of atoms
N_SHOWN = 100  # lines that are kept of what cannot be read
ISOTOPE = re.compile(r"(?m)^([ \t]*)[DT](?=\s)")  # at the start of an atom's line
PROPERTIES = re.compile(r"""(?:^|\s)Properties=(?:"([^"]*)"|(\S*))""", re.I)
PAIR = re.compile(
    r"""(?<!\S)("[^"]+"|[^\s="]+)=("[^"\s]+"|[^\s"'{\[]+)(?=\s|$)"""
)  # of a comment line, of one word


def read_extxyz(path: Path) -> list[Row]:
    """Read extended XYZ frame by frame, so that one bad frame does not hide the others.

    Scalars of a frame's comment line become labels; `material_id` or `id` names it.
    """
    rows: list[Row] = []
    for number, frame in enumerate(_frames(path)):
        if number == HOPELESS and all(row.content is None for row in rows):
            raise UserError(
                f"{path} cannot be read as extxyz: none of its first {HOPELESS} frames can, the first: {rows[0].reason}"
            )
        rows.append(_frame_row(path, number, frame))
        if len(rows) > MAX_ROWS:
            raise too_many_rows(path)
    return rows


def extxyz_blocks(path: Path) -> Iterator[Block]:
    """Read extended XYZ as `read_extxyz` does, in blocks.

    Raises:
        UserError: If it has more frames than are read.
    """
    first = 0
    for frames in in_blocks(_frames(path), len):
        yield partial(_frame_rows, path, first, frames)
        first += len(frames)
        if first > MAX_ROWS:
            raise too_many_rows(path)


def _frame_rows(path: Path, first: int, frames: Sequence[str]) -> list[Row]:
    return [_frame_row(path, number, frame) for number, frame in enumerate(frames, first)]


def _frame_row(path: Path, number: int, frame: str) -> Row:
    """Read one frame; what is wrong with it stays with it."""
    from ase.io import read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head, _, body = frame.partition("\n")
            comment, _, lines = body.partition("\n")
            _check_columns(comment)
            _check_count(head, lines)
            lines, n_isotopes = ISOTOPE.subn(r"\1H", lines)
            atoms = read(io.StringIO(f"{head}\n{comment}\n{lines}"), format="extxyz")
        if isinstance(atoms, list):
            raise ValueError(f"{len(atoms)} structures in one frame")
        notes = (ISOTOPE_NOTE,) if n_isotopes else ()
        facts = _energies(atoms) | atoms.info | _names_of_digits(comment, atoms.info)
        exact = exact_texts(facts.pop(EXACT_TEXTS, None))
        facts |= exact
        named = "" if exact.get("id") == "" else None
        return _atoms_row(path, number, atoms, facts, id=named, notes=notes)
    except UserError:
        raise
    except Exception as error:  # whatever the reader raises becomes the reason of this frame alone
        reason = f"cannot be read as extxyz: {type(error).__name__} {error}"
        return row_of(path, number, None, {}, reason=" ".join(reason.split())[:200])


def read_ase_db(path: Path) -> list[Row]:
    """Read a database of ASE; its key-value pairs, data and calculated energies become labels.

    Raises:
        UserError: If it is none.
    """
    return [row for block in ase_db_blocks(path) for row in block()]


def ase_db_blocks(path: Path) -> Iterator[Block]:
    """Read a database of ASE as `read_ase_db` does, in blocks.

    Raises:
        UserError: If it is none, before the first block.
    """
    with _as_database(path):
        ids = checked_ids(path)
    first = 0
    for some in in_blocks(ids):
        yield partial(_entry_rows, path, first, some)
        first += len(some)


@contextmanager
def _as_database(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # sqlite3, JSON and ASE raise many kinds here
        raise UserError(f"{path} cannot be read as a database of ASE: {error}; is it complete?") from error


def _entry_rows(path: Path, first: int, ids: Sequence[int]) -> list[Row]:
    from ase.db import connect

    with _as_database(path), connect(path, type="db", use_lock_file=False) as database:
        return [entry_row(path, row, partial(database.get, id), id) for row, id in enumerate(ids, first)]


def entry_row(path: Path, row: int, get: Callable[[], "AtomsRow"], id: int) -> Row:
    """Read one entry of a database; what is wrong with it stays with it.

    Args:
        path: The database.
        row: Place of the entry.
        get: Returns the entry, or raises what is wrong.
        id: Its number.
    """
    try:
        entry = get()
        atoms = entry.toatoms()
        data = {str(name): value for name, value in dict(entry.data).items() if is_scalar(value)}
        facts = _energies(atoms) | data | entry.key_value_pairs
        return _atoms_row(path, row, atoms, facts, id=str(id))
    except Exception as error:
        reason = " ".join(f"cannot be read: {type(error).__name__} {error}".split())[:200]
        return row_of(path, row, None, {}, id=str(id), reason=reason)


def _check_columns(comment: str) -> None:
    """Refuse more columns of the atoms than a line holds, for which room would be made.

    Raises:
        ValueError: If there are so many.
    """
    found = PROPERTIES.search(comment)
    counts = (found[1] or found[2] or "").split(":")[2::3] if found else []
    n_columns = sum(int(count) for count in counts if count.isascii() and count.isdigit())
    if n_columns > MAX_COLUMNS:
        raise ValueError(f"Properties names {n_columns:.3g} columns, expected at most {MAX_COLUMNS}")


def _check_count(head: str, lines: str) -> None:
    """Refuse a count of atoms beyond the lines that there are, which the library would look for one by one.

    Raises:
        ValueError: If there are fewer lines.
    """
    n_lines = len(lines.splitlines())
    if head.strip().isdecimal() and (len(head) > 20 or int(head) > n_lines):
        raise ValueError(f"{cut(head.strip())} atoms, and {n_lines} lines of them")


def _frames(path: Path) -> Iterator[str]:
    """Cut an XYZ file into frames by their counts of atoms.

    What follows an unreadable count, up to the next one with a cell in the line below, is one frame.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = iter(file)
        line = next(lines, None)
        while line is not None:
            if not line.strip():
                line = next(lines, None)
            elif _is_count(line):
                yield line + "".join(islice(lines, int(line) + 1))
                line = next(lines, None)
            else:
                held, n_held = [line], 1
                before, line = line, next(lines, None)
                while line is not None and not (_is_count(before) and "lattice=" in line.lower()):
                    n_held += 1
                    if len(held) < N_SHOWN:
                        held.append(line)
                    before, line = line, next(lines, None)
                yield "".join(held) if line is None else "".join(held[: n_held - 1])
                if line is not None:
                    lines = chain([line], lines)
                    line = before


def _is_count(line: str) -> bool:
    return len(line) < LONGEST_COUNT and line.strip().isascii() and line.strip().isdecimal()


def _names_of_digits(comment: str, info: Mapping[str, Any]) -> dict[str, str]:
    """Find what ASE takes for a number and is a name: 0012, 1_2, and integers above 64 bits."""
    said = {key.strip('"'): value.strip('"') for key, value in PAIR.findall(comment)}
    numbers = [key for key, value in info.items() if isinstance(value, np.number) and key in said]
    return {key: said[key] for key in numbers if not is_number(said[key])}


def _atoms_row(
    path: Path,
    row: int,
    atoms: "Atoms",
    facts: Mapping[str, Any],
    *,
    id: str | None = None,
    notes: Sequence[str] = (),
) -> Row:
    if not atoms.pbc.all():
        return row_of(
            path, row, None, facts, id=id, reason=f"pbc is {atoms.pbc.tolist()}, expected all three true"
        )
    if abs(atoms.cell.volume) < 1e-12:
        return row_of(path, row, None, facts, id=id, reason="the cell has no volume")
    occupancies = atoms.info.get("occupancy") or {}
    if any(len(site) != 1 or set(site.values()) != {1} for site in occupancies.values()):
        return row_of(path, row, None, facts, id=id, reason="partial occupancy")
    crystal = Crystal(
        id="",
        atomic_numbers=atoms.numbers.astype(np.int64),
        lattice=np.array(atoms.cell.array, dtype=np.float64),
        frac_coords=np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T,
    )
    return row_of(path, row, crystal, facts, id=id, notes=notes)


def _energies(atoms: "Atoms") -> dict[str, float]:
    """Take the scalars that ASE's reader moves from the comment line into a calculator."""
    results = getattr(atoms.calc, "results", None) or {}
    return {name: float(value) for name, value in results.items() if np.ndim(value) == 0}
