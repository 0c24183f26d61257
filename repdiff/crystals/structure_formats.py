"""Files of crystals, each written one crystal after another: extended XYZ, CIF, pymatgen JSON, CSV, parquet.

Every function here opens a file and yields what adds a crystal to it, so that any number of crystals needs no memory to
speak of. They get crystals that `label_names.FullLabels` has labelled, and are told of all labels beforehand.
"""

import csv
import gzip
import json
import zipfile
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from repdiff.crystals.cif_names import named_cif
from repdiff.crystals.crystal import Crystal, Label, crystal_writer, to_structure
from repdiff.crystals.extxyz_texts import EXACT_TEXTS, written_texts
from repdiff.crystals.label_names import UNWRITABLE, FullLabels, free_names
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
Add = Callable[[Crystal, str], object]
"""Adds a crystal to a file, given its CIF, which some files hold."""


@contextmanager
def extxyz_file(path: Path, labels: FullLabels) -> Generator[Add, None, None]:
    """Write crystals as frames; id, split and labels in the comment lines.

    Labels whose name extended XYZ or ASE reserves, or cannot hold, get another: `stress` would be read as a tensor,
    `Lattice` as the cell; `energy`, `free_energy` and `magmom` are numbers there.
    """
    from ase import Atoms
    from ase.io.extxyz import write_extxyz

    names = _names(labels, _reserved_keys())
    with path.open("w", encoding="utf-8") as file:

        def add(crystal: Crystal, _: str) -> None:
            own = _labels(crystal, names)
            known = {name: value for name, value in own.items() if value not in (None, "")}
            frame = Atoms(
                numbers=crystal.atomic_numbers,
                scaled_positions=crystal.frac_coords,
                cell=crystal.lattice,
                pbc=True,
                info=written_texts({"id": crystal.id, **known}),
            )
            write_extxyz(file, [frame])

        yield add


def _names(labels: FullLabels, reserved: Container[str]) -> dict[str, str]:
    """Say under which name a format holds each label that it cannot hold under its own."""
    taken = sorted(name for name in labels.kinds if name.lower() in reserved or UNWRITABLE.search(name))
    return free_names(taken, labels.kinds)


def _labels(crystal: Crystal, names: dict[str, str]) -> dict[str, Label]:
    """Return split and labels of a crystal under names that a format can hold."""
    split: dict[str, Label] = {} if crystal.split is None else {"split": crystal.split}
    return split | {names.get(name, name): value for name, value in crystal.labels.items()}


@cache
def _reserved_keys() -> frozenset[str]:
    from ase.calculators.calculator import all_changes, all_properties

    scalars = {"energy", "free_energy", "magmom"}
    keys = {*all_properties, *all_changes, *RESERVED_KEYS, *TABLE_KEYS} - scalars
    return frozenset(key.lower() for key in keys)


def cif_text(crystal: Crystal) -> str:
    """Return a crystal as CIF, symmetry P1, nothing symmetrised."""
    from pymatgen.io.cif import CifWriter

    return str(CifWriter(to_structure(crystal)))


@contextmanager
def cif_zip_file(path: Path, _: FullLabels) -> Generator[Add, None, None]:
    """Write one CIF a crystal into a zip archive."""
    with zipfile.ZipFile(path, "w") as archive:

        def add(crystal: Crystal, cif: str) -> None:
            index, formula = crystal.labels["index"], crystal.labels["reduced_formula"]
            entry = zipfile.ZipInfo(f"{index:05d}_{formula}.cif", ZIP_DATE)
            archive.writestr(entry, named_cif(crystal.id, cif), zipfile.ZIP_DEFLATED)

        yield add


@contextmanager
def json_gz_file(path: Path, labels: FullLabels) -> Generator[Add, None, None]:
    """Write a list of pymatgen structures, packed; labels as properties."""
    names = _names(labels, TABLE_KEYS)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(b"[")

        def add(crystal: Crystal, _: str) -> None:
            properties = {"id": crystal.id, **_labels(crystal, names)}
            document = {**to_structure(crystal).as_dict(), "properties": properties}
            file.write((b",\n" if crystal.labels["index"] else b"") + json.dumps(document).encode())

        yield add
        file.write(b"]\n")


@contextmanager
def csv_file(path: Path, labels: FullLabels) -> Generator[Add, None, None]:
    """Write id, formula and CIF of each crystal as a row, split and labels behind them."""
    names = _names(labels, TABLE_KEYS)
    behind = [names.get(name, name) for name in labels.kinds if name != "reduced_formula"]
    behind = ["split", *behind] if labels.with_splits else behind
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*COLUMNS, *map(escaped, behind)])

        def add(crystal: Crystal, cif: str) -> None:
            own = _labels(crystal, names)
            row = [escaped(crystal.id), crystal.labels["reduced_formula"], cif]
            rows.writerow([*row, *(_cell(own.get(name)) for name in behind)])

        yield add


def _cell(value: Label) -> Label:
    return escaped(value) if isinstance(value, str) and value else value


@contextmanager
def table_file(path: Path, labels: FullLabels) -> Generator[Add, None, None]:
    """Write a table of `repdiff.crystals.crystal.write_crystals`."""
    with crystal_writer(path, labels.kinds) as add:
        yield lambda crystal, _: add(crystal)
