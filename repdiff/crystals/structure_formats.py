"""One file of crystals each: extended XYZ, CIF, pymatgen JSON, CSV."""

import csv
import gzip
import json
import zipfile
from collections.abc import Callable, Container, Sequence
from functools import cache
from pathlib import Path

from repdiff.crystals.cif_names import named_cif
from repdiff.crystals.crystal import Crystal, Label, to_structure
from repdiff.crystals.extxyz_texts import EXACT_TEXTS, written_texts
from repdiff.crystals.label_names import UNWRITABLE, free_names
from repdiff.runs.csv_text import COLUMNS, escaped

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # no clock in the files: equal crystals give equal bytes
RESERVED_KEYS = (  # beside those of ASE's calculators
    *("lattice", "properties", "pbc", "id", "species", "symbols", "pos", "z", "tags", "masses", "momenta"),
    EXACT_TEXTS,
    *("virial", "virials", "occupancy", "spacegroup", "arrays", "info", "initial_charges", "initial_magmoms"),
)
TABLE_KEYS = (
    *COLUMNS,
    "cif",
    "structure",
    "id",
    "split",
    "pretty_formula",
    "natoms",
    "nsites",
)  # mean other things
Tick = Callable[[], object]  # called once for each crystal, for a progress bar


def write_extxyz_file(path: Path, crystals: Sequence[Crystal], tick: Tick) -> None:
    """Write crystals as frames; id, split and labels in the comment lines.

    Labels whose name extended XYZ or ASE reserves, or cannot hold, get another: `stress` would be read as a tensor,
    `Lattice` as the cell; `energy`, `free_energy` and `magmom` are numbers there.
    """
    from ase import Atoms
    from ase.io.extxyz import write_extxyz

    written = _labels(crystals, _reserved_keys())
    with path.open("w", encoding="utf-8") as file:
        for crystal, labels in zip(crystals, written, strict=True):
            known = {name: value for name, value in labels.items() if value not in (None, "")}
            frame = Atoms(
                numbers=crystal.atomic_numbers,
                scaled_positions=crystal.frac_coords,
                cell=crystal.lattice,
                pbc=True,
                info=written_texts({"id": crystal.id, **known}),
            )
            write_extxyz(file, [frame])
            tick()


def _labels(crystals: Sequence[Crystal], reserved: Container[str]) -> list[dict[str, Label]]:
    """Return split and labels of each crystal under names that a format can hold."""
    names = {name for crystal in crystals for name in crystal.labels}
    taken = sorted(name for name in names if name.lower() in reserved or UNWRITABLE.search(name))
    others = free_names(taken, names)
    return [
        ({} if crystal.split is None else {"split": crystal.split})
        | {others.get(name, name): value for name, value in crystal.labels.items()}
        for crystal in crystals
    ]


@cache
def _reserved_keys() -> frozenset[str]:
    from ase.calculators.calculator import all_changes, all_properties

    scalars = {"energy", "free_energy", "magmom"}
    keys = {*all_properties, *all_changes, *RESERVED_KEYS, *TABLE_KEYS} - scalars
    return frozenset(key.lower() for key in keys)


def cif_text(crystal: Crystal, tick: Tick) -> str:
    """Return a crystal as CIF, symmetry P1, nothing symmetrised."""
    from pymatgen.io.cif import CifWriter

    tick()
    return str(CifWriter(to_structure(crystal)))


def write_cif_zip(path: Path, crystals: Sequence[Crystal], cifs: Sequence[str]) -> None:
    """Write one CIF a crystal into a zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for index, (crystal, cif) in enumerate(zip(crystals, cifs, strict=True)):
            entry = zipfile.ZipInfo(f"{index:05d}_{crystal.labels['reduced_formula']}.cif", ZIP_DATE)
            archive.writestr(entry, named_cif(crystal.id, cif), zipfile.ZIP_DEFLATED)


def write_json_gz(path: Path, crystals: Sequence[Crystal], tick: Tick) -> None:
    """Write one structure after another, so that 10 000 of them need no memory to speak of; labels as properties."""
    written = _labels(crystals, TABLE_KEYS)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(b"[")
        for index, (crystal, labels) in enumerate(zip(crystals, written, strict=True)):
            document = {**to_structure(crystal).as_dict(), "properties": {"id": crystal.id, **labels}}
            file.write((b",\n" if index else b"") + json.dumps(document).encode())
            tick()
        file.write(b"]\n")


def write_csv(path: Path, crystals: Sequence[Crystal], cifs: Sequence[str]) -> None:
    """Write id, formula and CIF of each crystal as a row, split and labels behind them."""
    written = _labels(crystals, TABLE_KEYS)
    names = list(dict.fromkeys(name for labels in written for name in labels if name != "reduced_formula"))
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*COLUMNS, *map(escaped, names)])
        for crystal, labels, cif in zip(crystals, written, cifs, strict=True):
            row = [escaped(crystal.id), crystal.labels["reduced_formula"], cif]
            rows.writerow([*row, *(_cell(labels.get(name)) for name in names)])


def _cell(value: Label) -> Label:
    return escaped(value) if isinstance(value, str) and value else value
