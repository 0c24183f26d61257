"""The files that hold generated crystals, in the formats that viewers and other evaluators read.

One folder, one order in all files:

* `structures.extxyz`: all crystals as frames; `index`, `id` and the scalars of the table in the comment line, those
  whose name the format reserves with `_label` behind it (`stress_label`).
  Read by ASE, OVITO and MatterGen's evaluator (give it this file; in a folder it reads one frame per file).
* `cif.zip`: one CIF a crystal at the top level, `00042_SrTiO3.cif`, symmetry P1, nothing symmetrised.
* `structures.json.gz`: a list of pymatgen `Structure.as_dict()` with the scalars as `properties`, read by
  `monty.serialization.loadfn`.
* `structures.csv`: `material_id`, `formula` and `cif_string`, the input of LeMat-GenBench, and the scalars behind.
* `table.parquet`: all scalars, and the exact arrays; `read_structures` needs this file alone.
"""

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from descriptors.batch import MIN_VOLUME
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.cif_names import named_cif
from repdiff.crystals.crystal import Crystal, Label, read_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.label_names import FullLabels
from repdiff.crystals.stored_crystals import LARGE, StoredCrystals
from repdiff.crystals.structure_formats import (
    Add,
    cif_text,
    cif_zip_file,
    csv_file,
    extxyz_file,
    json_gz_file,
    table_file,
)
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.runs.atomic_files import replacing
from repdiff.runs.failures import write_failed
from repdiff.runs.parquet_files import count_rows

EXTXYZ, CIF_ZIP, JSON_GZ = "structures.extxyz", "cif.zip", "structures.json.gz"
CSV, TABLE = "structures.csv", "table.parquet"
OpenFile = Callable[[Path, FullLabels], AbstractContextManager[Add]]
FILES: dict[str, OpenFile] = {
    EXTXYZ: extxyz_file,
    CIF_ZIP: cif_zip_file,
    JSON_GZ: json_gz_file,
    CSV: csv_file,
    TABLE: table_file,
}


def write_structures(
    folder: Path,
    crystals: Sequence[Crystal],
    table: Mapping[str, Sequence[Label]] | None = None,
    *,
    progress: bool = False,
) -> list[Path]:
    """Write crystals in all formats, each file replaced as a whole once it is complete.

    Args:
        folder: Made if it does not exist.
        crystals: Crystals in the order of all files; an empty sequence gives files without crystals.
        table: Further scalars by name ("loss"), one entry per crystal; they win over labels of the same name.
        progress: Show a bar on stderr.

    Returns:
        The paths: extxyz, CIF zip, JSON, CSV, table.

    Raises:
        UserError: If the folder cannot be written.
        ValueError: If a column has another length, or a crystal is not finite, holds no atoms, has no volume
            or an unknown element.
    """
    columns = dict(table or {})
    for name, values in columns.items():
        if len(values) != len(crystals):
            raise ValueError(f"column {name!r} has {len(values)} entries for {len(crystals)} crystals")
    files = {folder / name: open_file for name, open_file in FILES.items()}
    with no_warnings():
        labels = FullLabels(_writable(crystals), columns)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with progress_bar(total=len(crystals), desc="writing", unit="crystal", disable=not progress) as bar:
            return _write(files, crystals, labels, bar.update)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the structures ({error.strerror or error}), expected a writable folder "
            "with room: choose another one"
        ) from error


def _writable(crystals: Iterable[Crystal]) -> Iterator[Crystal]:
    """Go through crystals, and stop at one that no format can hold."""
    for index, crystal in enumerate(crystals):
        if reason := unwritable(crystal):
            raise ValueError(f"crystal {index} ({crystal.id}) {reason}, expected one that passed the checks")
        yield crystal


def _write(
    files: Mapping[Path, OpenFile],
    crystals: Iterable[Crystal],
    labels: FullLabels,
    tick: Callable[[], object],
) -> list[Path]:
    """Write crystals to several files at once; each takes its place when all are complete."""
    with ExitStack() as stack, no_warnings():
        partials = [stack.enter_context(replacing(path)) for path in files]
        with ExitStack() as opened:
            adds = [
                opened.enter_context(open_file(partial, labels))
                for partial, open_file in zip(partials, files.values(), strict=True)
            ]
            for place, crystal in enumerate(crystals):
                full = labels.of(place, crystal)
                cif = cif_text(full)
                for add in adds:
                    add(full, cif)
                tick()
    return list(files)


def write_made(
    folder: Path,
    crystals: Sequence[Crystal],
    failed: Mapping[str, str] | None = None,
    *,
    progress: bool = True,
) -> dict[str, int]:
    """Write the crystals that can be written, and name the rest with their reasons.

    Args:
        folder: Folder of the run.
        crystals: Crystals, valid or not.
        failed: Reasons for the crystals that could not be made, by name.
        progress: Whether to show a bar.

    Returns:
        For the summary of the run: how many there are, and how many not.

    Raises:
        UserError: If the folder cannot be written.
    """
    found = writable_of(CrystalSet(crystals=crystals, failed=failed or {}))
    write_structures(folder, found.crystals, progress=progress)
    write_failed(folder, found.failed)
    return {
        "n_crystals": len(found.crystals),
        "n_failed": len(crystals) + len(failed or {}) - len(found.crystals),
    }


def writable_of(made: CrystalSet) -> CrystalSet:
    """Count crystals that no format can hold among those that failed, first."""
    reasons = {crystal.id: unwritable(crystal) for crystal in made.crystals}
    bad = {name: reason for name, reason in reasons.items() if reason}
    kept = [crystal for crystal in made.crystals if not reasons[crystal.id]]
    return replace(made, crystals=kept, failed={**bad, **made.failed})


def read_structures(path: Path) -> list[Crystal]:
    """Read back what `write_structures` wrote: the same crystals, bit by bit, with the table as labels.

    Args:
        path: The folder, or its `table.parquet`.

    Raises:
        UserError: If there is no such table, or it is not one of ours.
    """
    return list(_open(path, large=None))


def open_structures(path: Path) -> Sequence[Crystal]:
    """Do what `read_structures` does; of more than 50 000 crystals only those in use are held as objects.

    Args:
        path: The folder, or its `table.parquet`.

    Raises:
        UserError: If there is no such table, or it is not one of ours.
    """
    return _open(path, large=LARGE)


def _open(path: Path, *, large: int | None) -> Sequence[Crystal]:
    table = path / TABLE if path.is_dir() else path
    if not table.is_file():
        raise UserError(f"{path} holds no {TABLE}, expected a folder of reconstructed structures")
    try:
        if large is not None and count_rows(table) > large:
            return StoredCrystals(table)
        return read_crystals(table)
    except (ValueError, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{table} cannot be read ({why}), expected a table of structures") from error


def unwritable(crystal: Crystal) -> str:
    """Say why no format could hold a crystal; "" if all can."""
    if crystal.n_atoms == 0:
        return "holds no atoms"
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
        return "has a coordinate or a cell vector that is not finite"
    if crystal.volume < MIN_VOLUME:
        return f"has a volume of {crystal.volume:.2g} Å³"
    if crystal.atomic_numbers.min() < 1 or crystal.atomic_numbers.max() > MAX_ATOMIC_NUMBER:
        return "has an atom of no known element"
    return ""


def write_file(path: Path, crystals: Sequence[Crystal]) -> Path:
    """Write crystals to one file, in the format that its name says; it is there whole or not at all.

    Args:
        path: Ends in one of `SUFFIXES`; its folder is made if it does not exist.
        crystals: One for a CIF, any number for the others.

    Raises:
        UserError: If the ending is unknown, a crystal cannot be written, a CIF is asked to hold several, or the disk
            refuses.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise UserError(f"{path} has no known ending, expected one of {', '.join(SUFFIXES)}")
    bad = [(crystal.id, why) for crystal in crystals if (why := unwritable(crystal))]
    if bad:
        raise UserError(f"{bad[0][0]} {bad[0][1]}, so that {path.name} cannot hold it; leave it out")
    if suffix == ".cif" and len(crystals) != 1:
        raise UserError(
            f"{path.name} is asked to hold {len(crystals)} crystals, expected 1: write a .zip of CIFs"
        )
    with no_warnings():
        labels = FullLabels(crystals)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write({path: SUFFIXES[suffix]}, crystals, labels, _no_tick)[0]
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror or error}): choose another path") from error


def suffix_of(path: Path) -> str | None:
    """Return the ending that says the format of a file; None if there is none."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


@contextmanager
def no_warnings() -> Generator[None, None, None]:
    """Hide that noble gases have no electronegativity, which is used to sort symbols only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        yield


@contextmanager
def _cif_file(path: Path, _: FullLabels) -> Generator[Add, None, None]:
    yield lambda crystal, cif: path.write_text(named_cif(crystal.id, cif), encoding="utf-8")


def _no_tick() -> None:
    """Tell nobody."""


SUFFIXES: dict[str, OpenFile] = {
    ".cif": _cif_file,
    ".zip": cif_zip_file,
    ".extxyz": extxyz_file,
    ".xyz": extxyz_file,
    ".json.gz": json_gz_file,
    ".csv": csv_file,
    ".parquet": table_file,
}
"""What opens a file, by its ending."""
