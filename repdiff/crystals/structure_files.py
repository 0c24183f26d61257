"""The files that hold generated crystals, in the formats that viewers and other evaluators read.

One folder, one order in all files:

* `structures.extxyz`: all crystals as frames; `index`, `id` and the scalars of the table in the comment line, those
  whose name the format reserves with `_label` behind it (`stress_label`).
  Read by ASE, OVITO and MatterGen's evaluator (give it this file; in a folder it reads one frame per file).
* `cif.zip`: one CIF a crystal at the top level, `00042_SrTiO3.cif`, symmetry P1, nothing symmetrised.
* `structures.json.gz`: a list of pymatgen `Structure.as_dict()`, read by `monty.serialization.loadfn`.
* `structures.csv`: `material_id`, `formula` and `cif_string`, the input of LeMat-GenBench.
* `table.parquet`: all scalars, and the exact arrays; `read_structures` needs this file alone.
"""

import csv
import gzip
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from descriptors.batch import MAX_ATOMIC_NUMBER, MIN_VOLUME
from repdiff.crystals.crystal import Crystal, Label, read_crystals, to_structure, write_crystals
from repdiff.crystals.formula import count_elements
from repdiff.errors import UserError
from repdiff.runs.atomic_files import replacing

EXTXYZ, CIF_ZIP, JSON_GZ = "structures.extxyz", "cif.zip", "structures.json.gz"
CSV, TABLE, FAILED = "structures.csv", "table.parquet", "failed.jsonl"
RESERVED_KEYS = (  # beside those of ASE's calculators
    *("lattice", "properties", "pbc", "id", "species", "symbols", "pos", "z", "tags", "masses", "momenta"),
    *("virial", "virials", "occupancy", "spacegroup", "arrays", "info", "initial_charges", "initial_magmoms"),
)
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # no clock in the files: equal crystals give equal bytes


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
        crystals: In the order that all files will have; none gives files that hold none.
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
    for index, crystal in enumerate(crystals):
        if reason := unwritable(crystal):
            raise ValueError(f"crystal {index} ({crystal.id}) {reason}, expected one that passed the checks")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            warnings.catch_warnings(),
            tqdm(total=3 * len(crystals), desc="writing", unit="entry", disable=not progress) as bar,
        ):
            warnings.filterwarnings("ignore", "No Pauling electronegativity")  # used to sort symbols only
            labelled = [
                crystal.replace(labels=_labels(index, crystal, columns))
                for index, crystal in enumerate(crystals)
            ]
            cifs = [_cif(crystal, bar.update) for crystal in labelled]
            return [
                _write_whole(folder / EXTXYZ, lambda path: _write_extxyz(path, labelled, bar.update)),
                _write_whole(folder / CIF_ZIP, lambda path: _write_zip(path, labelled, cifs)),
                _write_whole(folder / JSON_GZ, lambda path: _write_json(path, labelled, bar.update)),
                _write_whole(folder / CSV, lambda path: _write_csv(path, labelled, cifs)),
                _write_whole(folder / TABLE, lambda path: write_crystals(path, labelled)),
            ]
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the structures ({error.strerror or error}), expected a writable folder "
            "with room: choose another one"
        ) from error


def write_made(
    folder: Path, crystals: Sequence[Crystal], failed: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Write the crystals that can be written, and name the rest with their reasons.

    Args:
        folder: Of a run.
        crystals: Of any quality.
        failed: Reasons of those that there should be and are not, by name.

    Returns:
        For the summary of the run: how many there are, and how many not.

    Raises:
        UserError: If the folder cannot be written.
    """
    reasons = {crystal.id: unwritable(crystal) for crystal in crystals}
    write_structures(folder, [crystal for crystal in crystals if not reasons[crystal.id]], progress=True)
    bad = {name: reason for name, reason in reasons.items() if reason}
    write_failed(folder, {**bad, **(failed or {})})
    return {"n_crystals": len(crystals) - len(bad), "n_failed": len(bad) + len(failed or {})}


def write_failed(folder: Path, reasons: Mapping[str, str]) -> None:
    """Write why crystals are missing, by name."""
    with replacing(folder / FAILED) as partial:
        lines = [json.dumps({"id": name, "reason": reason}) for name, reason in reasons.items()]
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_structures(path: Path) -> list[Crystal]:
    """Read back what `write_structures` wrote: the same crystals, bit by bit, with the table as labels.

    Args:
        path: The folder, or its `table.parquet`.

    Raises:
        UserError: If there is no such table, or it is not one of ours.
    """
    table = path / TABLE if path.is_dir() else path
    if not table.is_file():
        raise UserError(f"{path} holds no {TABLE}, expected a folder of reconstructed structures")
    try:
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


def _labels(index: int, crystal: Crystal, columns: Mapping[str, Sequence[Label]]) -> dict[str, Label]:
    """Put the scalars of one crystal together, the position first."""
    from pymatgen.core import Composition

    counts = count_elements(crystal)
    formula = Composition({_symbol(number): count for number, count in counts.items()}).reduced_formula
    own: dict[str, Label] = {"index": index, "n_atoms": crystal.n_atoms, "reduced_formula": formula}
    return {**own, **crystal.labels, **{name: values[index] for name, values in columns.items()}, **own}


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return chemical_symbols[number]


def _write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` make a file beside `path`, then put it in its place: it is whole or not there."""
    with replacing(path) as partial:
        write(partial)
    return path


def _write_extxyz(path: Path, crystals: Sequence[Crystal], tick: Callable[[], object]) -> None:
    from ase import Atoms
    from ase.io.extxyz import write_extxyz

    with path.open("w", encoding="utf-8") as file:
        for crystal in crystals:
            known = {
                extxyz_name(name): value for name, value in crystal.labels.items() if value not in (None, "")
            }
            frame = Atoms(
                numbers=crystal.atomic_numbers,
                scaled_positions=crystal.frac_coords,
                cell=crystal.lattice,
                pbc=True,
                info={"id": crystal.id, **known},
            )
            write_extxyz(file, [frame])
            tick()


def extxyz_name(label: str) -> str:
    """Return the key of a label in the comment line; names that extended XYZ or ASE reserve get "_label" behind.

    `stress` would be read as a tensor, `Lattice` as the cell; `energy`, `free_energy` and `magmom` are numbers there.
    """
    return f"{label}_label" if label.lower() in _reserved_keys() else label


@cache
def _reserved_keys() -> frozenset[str]:
    from ase.calculators.calculator import all_changes, all_properties

    scalars = {"energy", "free_energy", "magmom"}
    keys = {*all_properties, *all_changes, *RESERVED_KEYS} - scalars
    return frozenset(key.lower() for key in keys)


def _cif(crystal: Crystal, tick: Callable[[], object]) -> str:
    from pymatgen.io.cif import CifWriter

    tick()
    return str(CifWriter(to_structure(crystal)))


def _write_zip(path: Path, crystals: Sequence[Crystal], cifs: Sequence[str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index, (crystal, cif) in enumerate(zip(crystals, cifs, strict=True)):
            entry = zipfile.ZipInfo(f"{index:05d}_{crystal.labels['reduced_formula']}.cif", ZIP_DATE)
            archive.writestr(entry, cif, zipfile.ZIP_DEFLATED)


def _write_json(path: Path, crystals: Sequence[Crystal], tick: Callable[[], object]) -> None:
    """Write one structure after another, so that 10 000 of them need no memory to speak of."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(b"[")
        for index, crystal in enumerate(crystals):
            document = {**to_structure(crystal).as_dict(), "properties": {"id": crystal.id}}
            file.write((b",\n" if index else b"") + json.dumps(document).encode())
            tick()
        file.write(b"]\n")


def _write_csv(path: Path, crystals: Sequence[Crystal], cifs: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["material_id", "formula", "cif_string"])
        for crystal, cif in zip(crystals, cifs, strict=True):
            rows.writerow([crystal.id, crystal.labels["reduced_formula"], cif])
