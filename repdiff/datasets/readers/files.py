"""Collections of structure files: folder, zip, extxyz, ase.db, pymatgen JSON."""

import gzip
import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.parse import arrays_of_json
from repdiff.datasets.readers.rows import Row, is_scalar, row_of
from repdiff.errors import UserError

if TYPE_CHECKING:
    from ase import Atoms

POSCAR_SUFFIXES = (".vasp", ".poscar")


def form_of_name(name: str) -> str | None:
    """Name the format of a structure file by its name: "cif", "poscar", or None if it is neither."""
    path = PurePosixPath(name)
    if path.name.startswith(".") or "__MACOSX" in path.parts:
        return None
    if path.suffix.lower() == ".cif":
        return "cif"
    is_poscar = path.suffix.lower() in POSCAR_SUFFIXES or path.name.upper().startswith(("POSCAR", "CONTCAR"))
    return "poscar" if is_poscar else None


def read_folder(path: Path) -> list[Row]:
    """Read all CIF and POSCAR files below a folder, sorted by path, which is what names the crystals.

    Raises:
        UserError: If there is none.
    """
    names = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if form_of_name(file.relative_to(path).as_posix()) and file.is_file()
    )
    if not names:
        raise UserError(
            f"{path} holds no structure, expected .cif, .vasp, POSCAR* or CONTCAR* files, "
            "or train.csv, val.csv and test.csv"
        )
    return [_file_row(path, row, name, _read_bytes(path / name)) for row, name in enumerate(names)]


def read_zip(path: Path) -> list[Row]:
    """Read all CIF and POSCAR files of a zip, sorted by name.

    Raises:
        UserError: If it is no zip, or holds none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if form_of_name(name))
            contents = [_read_member(archive, name) for name in names]
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} cannot be read as zip: {error}; is it complete?") from error
    if not names:
        raise UserError(f"{path} holds no structure, expected .cif, .vasp, POSCAR* or CONTCAR* files")
    return [
        _file_row(path, row, name, data) for row, (name, data) in enumerate(zip(names, contents, strict=True))
    ]


def read_extxyz(path: Path) -> list[Row]:
    """Read extended XYZ frame by frame, so that one bad frame does not hide the others.

    Scalars of a frame's comment line become labels; `material_id` or `id` names it.
    """
    from ase.io import read

    rows: list[Row] = []
    for number, frame in enumerate(_frames(path)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                atoms = read(io.StringIO(frame), format="extxyz")
            if isinstance(atoms, list):
                raise ValueError(f"{len(atoms)} structures in one frame")
            rows.append(_atoms_row(path, number, atoms, _energies(atoms) | atoms.info))
        except Exception as error:  # whatever the reader raises becomes the reason of this frame alone
            reason = f"cannot be read as extxyz: {type(error).__name__} {error}"
            rows.append(row_of(path, number, None, {}, reason=" ".join(reason.split())[:200]))
    return rows


def read_ase_db(path: Path) -> list[Row]:
    """Read a database of ASE; its key-value pairs become labels.

    Raises:
        UserError: If it is none.
    """
    from ase.db import connect

    rows: list[Row] = []
    try:
        for number, entry in enumerate(connect(path, type="db", use_lock_file=False).select()):
            facts = {"id": str(entry.id)} | entry.key_value_pairs
            rows.append(_atoms_row(path, number, entry.toatoms(), facts))
    except Exception as error:  # sqlite3, JSON and ASE raise many kinds here
        raise UserError(f"{path} cannot be read as a database of ASE: {error}; is it complete?") from error
    return rows


def read_json(path: Path) -> list[Row]:
    """Read pymatgen JSON(.gz): a list of structures, a mapping from name to structure, or a single one.

    An entry may also be a mapping with the structure under "structure" and its name and labels beside it.

    Raises:
        UserError: If it is no JSON, or not of this form.
    """
    try:
        data = path.read_bytes()
        document = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (ValueError, EOFError, gzip.BadGzipFile, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}; is it complete?") from error
    if isinstance(document, Mapping) and ("lattice" in document or "structure" in document):
        document = [document]
    if isinstance(document, Mapping):
        entries = [({"id": str(name)}, entry) for name, entry in document.items()]
    elif isinstance(document, list):
        entries = [({}, entry) for entry in document]
    else:
        raise UserError(
            f"{path} holds a {type(document).__name__}, expected a list of structures, a mapping from "
            "name to structure, or a single one"
        )
    return [_json_row(path, row, facts, entry) for row, (facts, entry) in enumerate(entries)]


def _json_row(path: Path, row: int, facts: dict[str, Any], entry: object) -> Row:
    try:
        if isinstance(entry, Mapping) and isinstance(entry.get("structure"), Mapping):
            facts |= {"id": entry["entry_id"]} if entry.get("entry_id") else {}
            facts |= {str(k): v for k, v in entry.items() if is_scalar(v) and not str(k).startswith("@")}
            entry = entry["structure"]
        if not isinstance(entry, Mapping):
            raise ValueError(f"a {type(entry).__name__}, expected the mapping of a structure")
        arrays = arrays_of_json(entry)
        crystal = Crystal(
            id="",
            atomic_numbers=arrays.atomic_numbers,
            lattice=arrays.lattice,
            frac_coords=arrays.frac_coords,
        )
        properties = entry.get("properties")
        labels = dict(properties) if isinstance(properties, Mapping) else {}
        return row_of(path, row, crystal, labels | facts)
    except ValueError as error:
        return row_of(path, row, None, facts, reason=str(error))


def _read_bytes(path: Path) -> bytes | str:
    try:
        return path.read_bytes()
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes | str:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as error:
        return f"cannot be unpacked: {error}"


def _file_row(path: Path, row: int, name: str, data: bytes | str) -> Row:
    """Make the row of one file of a collection; a text instead of bytes says why it could not be opened."""
    form = form_of_name(name)
    plain = PurePosixPath(name)
    stem = str(plain.with_suffix("")) if plain.suffix.lower() in (".cif", *POSCAR_SUFFIXES) else name
    if isinstance(data, str):
        return row_of(path, row, None, {}, id=stem, reason=data)
    return row_of(path, row, data.decode("utf-8", errors="replace"), {}, id=stem, form=form)


def _frames(path: Path) -> Iterator[str]:
    """Cut an XYZ file into frames by their counts of atoms; all after an unreadable count is one frame."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                n_lines = int(line) + 1
            except ValueError:
                yield line + file.read()
                return
            yield line + "".join(text for _, text in zip(range(n_lines), file, strict=False))


def _atoms_row(path: Path, row: int, atoms: "Atoms", facts: Mapping[str, Any]) -> Row:
    if not atoms.pbc.all():
        return row_of(path, row, None, facts, reason=f"pbc is {atoms.pbc.tolist()}, expected all three true")
    if abs(atoms.cell.volume) < 1e-12:
        return row_of(path, row, None, facts, reason="the cell has no volume")
    occupancies = atoms.info.get("occupancy") or {}
    if any(len(site) != 1 or set(site.values()) != {1} for site in occupancies.values()):
        return row_of(path, row, None, facts, reason="partial occupancy")
    crystal = Crystal(
        id="",
        atomic_numbers=atoms.numbers.astype(np.int64),
        lattice=np.array(atoms.cell.array, dtype=np.float64),
        frac_coords=np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T,
    )
    return row_of(path, row, crystal, facts)


def _energies(atoms: "Atoms") -> dict[str, float]:
    """Take the scalars that ASE's reader moves from the comment line into a calculator."""
    results = getattr(atoms.calc, "results", {})
    return {name: float(value) for name, value in results.items() if np.ndim(value) == 0}
