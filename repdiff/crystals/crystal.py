"""`Crystal`, one crystal as plain arrays, its converters, and the parquet file that keeps many of them."""

import dataclasses
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from descriptors.batch import CrystalBatch
from repdiff.crystals.parse import arrays_of
from repdiff.errors import DamagedError
from repdiff.runs.parquet_files import read_own_table, table_writer

if TYPE_CHECKING:
    import pyarrow as pa
    from pymatgen.core import Structure

Label = float | int | str | bool | None
LabelKinds = dict[str, set[type]]
"""Types of the values of labels, without None, by the name of the label."""
SPLITS = ("train", "val", "test")
ROWS = 10_000  # rows of a table that are made at once
RESERVED_COLUMNS = ("id", "split", "formula", "atomic_numbers", "lattice", "frac_coords")


@dataclass(frozen=True, kw_only=True, eq=False)
class Crystal:
    """One crystal as plain arrays, cheap enough to hold 50 000 of.

    The arrays are not checked here, so that a reader can hand over what it found;
    `checks.check_crystals` checks them.

    Attributes:
        id: The name the source gave it, or one made from its place in the source.
        atomic_numbers: One per atom, as int64.
        lattice: Rows are the cell vectors, Å.
        frac_coords: Fractional coordinates, in any image.
        split: "train", "val", "test", or None if the source names none.
        labels: Scalars that came with it, by name; None where one is missing.

    Example:
        >>> import numpy as np
        >>> import repdiff as rd
        >>> iron = rd.Crystal(
        ...     id="bcc iron",
        ...     atomic_numbers=np.array([26, 26]),
        ...     lattice=2.87 * np.eye(3),
        ...     frac_coords=np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
        ... )
        >>> iron.formula, round(iron.volume, 1)
        ('Fe2', 23.6)
    """

    id: str
    atomic_numbers: Int[np.ndarray, " n_atoms"]
    lattice: Float[np.ndarray, "3 3"]
    frac_coords: Float[np.ndarray, "n_atoms 3"]
    split: str | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.atomic_numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³, positive for either handedness."""
        return abs(float(np.linalg.det(self.lattice)))

    @property
    def formula(self) -> str:
        """Chemical formula of the cell with its counts, elements by atomic number: "O3TiSr"."""
        from ase.data import chemical_symbols

        numbers, counts = np.unique(self.atomic_numbers, return_counts=True)
        return "".join(
            chemical_symbols[z] + (str(n) if n > 1 else "") for z, n in zip(numbers, counts, strict=True)
        )

    def replace(self, **changes: object) -> "Crystal":
        """Return a copy with some attributes changed."""
        return dataclasses.replace(self, **changes)


def from_structure(
    structure: "Structure", *, id: str, split: str | None = None, labels: Mapping[str, Label] | None = None
) -> Crystal:
    """Convert a pymatgen structure; oxidation states and site properties are dropped.

    Raises:
        ValueError: If a site is partially occupied, shared by several species, or holds no chemical element.
    """
    arrays = arrays_of(structure)
    return Crystal(
        id=id,
        atomic_numbers=arrays.atomic_numbers,
        lattice=arrays.lattice,
        frac_coords=arrays.frac_coords,
        split=split,
        labels=dict(labels or {}),
    )


def to_structure(crystal: Crystal) -> "Structure":
    """Convert to a pymatgen structure; coordinates stay in the image they are in."""
    from pymatgen.core import Structure

    return Structure(crystal.lattice, crystal.atomic_numbers.tolist(), crystal.frac_coords)


def to_batch(crystals: Sequence[Crystal], dtype: torch.dtype = torch.float64) -> CrystalBatch:
    """Put crystals into one batch, in their order; an empty sequence gives an empty batch.

    Raises:
        ValueError: If `CrystalBatch` refuses one; it refuses none that passed `check_crystal`.
    """
    sizes = torch.tensor([crystal.n_atoms for crystal in crystals], dtype=torch.long)
    no_numbers, no_coords = np.zeros(0, np.int64), np.zeros((0, 3))
    lattices = np.stack([crystal.lattice for crystal in crystals]) if crystals else np.zeros((0, 3, 3))
    return CrystalBatch(
        frac_coords=torch.as_tensor(
            np.concatenate([crystal.frac_coords for crystal in crystals] or [no_coords]), dtype=dtype
        ),
        lattice=torch.as_tensor(lattices, dtype=dtype),
        atomic_numbers=torch.as_tensor(
            np.concatenate([crystal.atomic_numbers for crystal in crystals] or [no_numbers])
        ),
        system_idx=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
    )


def from_batch(batch: CrystalBatch, ids: Sequence[str]) -> list[Crystal]:
    """Take a batch apart.

    Args:
        batch: Crystals on any device, of any floating-point type.
        ids: One name per crystal.

    Raises:
        ValueError: If there is not one name per crystal.
    """
    if len(ids) != batch.n_systems:
        raise ValueError(f"{len(ids)} names for {batch.n_systems} crystals, expected one name each")
    lattices = batch.lattice.detach().to("cpu", torch.float64).numpy()
    ends = np.cumsum(batch.n_atoms_per_system.cpu().numpy())[:-1]
    numbers = np.split(batch.atomic_numbers.to("cpu", torch.int64).numpy(), ends)
    coords = np.split(batch.frac_coords.detach().to("cpu", torch.float64).numpy(), ends)
    return [
        Crystal(id=id, atomic_numbers=z.copy(), lattice=lattice.copy(), frac_coords=frac.copy())
        for id, z, lattice, frac in zip(ids, numbers[: len(ids)], lattices, coords[: len(ids)], strict=True)
    ]


def write_crystals(path: Path, crystals: Sequence[Crystal]) -> None:
    """Write crystals as parquet (zstd), one row each, in their order, replacing the file as a whole.

    Columns: id, split, formula, atomic_numbers (list), lattice (9 numbers, row vectors, Å), frac_coords (3
    per atom), one column per label. A label that some crystals lack is null there.

    Raises:
        ValueError: If a label bears the name of one of the columns above.
    """
    with crystal_writer(path, label_kinds(crystals)) as add:
        for crystal in crystals:
            add(crystal)


@contextmanager
def crystal_writer(path: Path, kinds: LabelKinds) -> Generator[Callable[[Crystal], None], None, None]:
    """Write a table of `write_crystals` crystal by crystal; a part of it is in memory.

    Args:
        path: File to write or replace.
        kinds: Types of the labels of all crystals.

    Yields:
        A function that adds a crystal.

    Raises:
        ValueError: If a label bears the name of one of the columns.
    """
    held: list[Crystal] = []
    n_written = 0
    with table_writer(path, crystal_table([], kinds).schema) as write:

        def add(crystal: Crystal) -> None:
            nonlocal n_written
            held.append(crystal)
            if len(held) == ROWS:
                write(crystal_table(held, kinds))
                n_written += len(held)
                held.clear()

        yield add
        if held or not n_written:
            write(crystal_table(held, kinds))


def label_kinds(crystals: Iterable[Crystal]) -> LabelKinds:
    """Gather the types of labels, by name in the order in which the names appear."""
    kinds: LabelKinds = {}
    for crystal in crystals:
        add_kinds(crystal.labels, kinds)
    return kinds


def add_kinds(labels: Mapping[str, Label], kinds: LabelKinds) -> None:
    """Add the types of some labels to those of others."""
    for name, value in labels.items():
        known = kinds.setdefault(name, set())
        if value is not None:
            known.add(type(value))


def crystal_table(crystals: Sequence[Crystal], kinds: LabelKinds) -> "pa.Table":
    """Put crystals into the table of `write_crystals`.

    Args:
        crystals: Some of the crystals of the table.
        kinds: Types of the labels of all of them.

    Raises:
        ValueError: If a label bears the name of one of the columns.
    """
    import pyarrow as pa

    if taken := [name for name in kinds if name in RESERVED_COLUMNS]:
        raise ValueError(f"label {taken[0]!r} bears the name of a column of the file, expected another name")
    columns = {
        "id": pa.array([crystal.id for crystal in crystals], pa.string()),
        "split": pa.array([crystal.split for crystal in crystals], pa.string()),
        "formula": pa.array([crystal.formula for crystal in crystals], pa.string()),
        "atomic_numbers": pa.array(
            [crystal.atomic_numbers.tolist() for crystal in crystals], pa.list_(pa.int64())
        ),
        "lattice": pa.array(
            [crystal.lattice.ravel().tolist() for crystal in crystals], pa.list_(pa.float64())
        ),
        "frac_coords": pa.array(
            [crystal.frac_coords.ravel().tolist() for crystal in crystals], pa.list_(pa.float64())
        ),
    }
    for name, kind in kinds.items():
        columns[name] = _label_column([crystal.labels.get(name) for crystal in crystals], kind)
    return pa.table(columns)


def read_crystals(path: Path) -> list[Crystal]:
    """Read a file of `write_crystals`; arrays come back bit by bit.

    Raises:
        DamagedError: If it is cut short or changed, or a column is missing.
        OSError: If there is no such file, or the disk refuses.
    """
    table = read_own_table(path)
    check_columns(path, table.column_names)
    try:
        return _crystals_of(table)
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path}: damaged, a row is no crystal ({error})") from error


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a table that lacks a column of `write_crystals`.

    Raises:
        DamagedError: If it does.
    """
    if missing := [name for name in RESERVED_COLUMNS if name not in names]:
        raise DamagedError(
            f"{path} has no column {', '.join(missing)}, expected a file written by write_crystals"
        )


def _crystals_of(table: "pa.Table") -> list[Crystal]:
    labels = {name: table[name].to_pylist() for name in table.column_names if name not in RESERVED_COLUMNS}
    numbers = _ragged(table["atomic_numbers"])
    lattices, coords = _ragged(table["lattice"]), _ragged(table["frac_coords"])
    return [
        Crystal(
            id=id,
            atomic_numbers=numbers[row].astype(np.int64),
            lattice=lattices[row].astype(np.float64).reshape(3, 3),
            frac_coords=coords[row].astype(np.float64).reshape(-1, 3),
            split=split,
            labels={name: values[row] for name, values in labels.items()},
        )
        for row, (id, split) in enumerate(
            zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True)
        )
    ]


def _ragged(column: object) -> list[np.ndarray]:
    return [np.asarray(value) for value in column.to_numpy()]  # ty: ignore


def _label_column(values: list[Label], kinds: Collection[type]) -> object:
    """Make a column of labels: of numbers if all are numbers, of text if they are of several kinds."""
    import pyarrow as pa

    if not kinds:
        return pa.array(values, pa.null())
    if set(kinds) == {bool}:
        return pa.array(values, pa.bool_())
    if set(kinds) <= {bool, int}:
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    if set(kinds) <= {bool, int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
