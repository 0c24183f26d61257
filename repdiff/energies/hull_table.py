"""Energies of known crystals by one force field, as the file that a hull is built from.

One parquet file: reduced formula, energy per atom, and the name of the crystal where there is one. Which force field,
data set and geometry is in the metadata of the file, so that it cannot be separated from its numbers.
"""

import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from repdiff.energies.conventions import CONVENTIONS, Convention, convention_of
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.errors import UserError
from repdiff.runs.parquet_files import read_own_table, write_table
from repdiff.runs.workspace import Workspace

SHIPPED = Path(__file__).parent / "reference"
TABLE_FILE = "hull.parquet"
METADATA = b"repdiff"


@dataclass(frozen=True, kw_only=True)
class HullTable:
    """Energies of known crystals.

    Attributes:
        name: Name of the data set, such as "mp_20".
        force_field: What computed the energies.
        convention: What the energies mean, see `repdiff.energies.conventions`; those of an uncorrected force field
            are stored with their corrections, as "mp2020".
        geometry: "as given", or "relaxed" by the same force field.
        note: What results with this table must say; None if nothing.
        ids: Names in the data set; none in the table that is shipped, which holds formulas and energies only.
        formulas: Reduced, such as "SrTiO3".
        energies: eV per atom.
        datasets: Names of the data sets that it was built from, NAME or NAME:SPLIT; its own name if none is given.
    """

    name: str
    force_field: ForceFieldIdentity
    convention: Convention
    geometry: str
    note: str | None
    ids: Sequence[str]
    formulas: Sequence[str]
    energies: Float[np.ndarray, " n_crystals"]
    datasets: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Take the name for that of the data set, where none is given."""
        object.__setattr__(self, "datasets", tuple(self.datasets) or (self.name,))

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.energies)

    def lowest(self) -> dict[str, float]:
        """Return the lowest energy of each formula, eV per atom: no other one is on a hull."""
        found: dict[str, float] = {}
        for formula, energy in zip(self.formulas, self.energies.tolist(), strict=True):
            found[formula] = min(energy, found.get(formula, np.inf))
        return found

    def without_names(self) -> "HullTable":
        """Keep the lowest energy of each formula, in the order of the formulas, and no names."""
        lowest = dict(sorted(self.lowest().items()))
        note = f"lowest of each formula of {len(self)} crystals"
        return replace(
            self,
            note="; ".join(text for text in (self.note, note) if text),
            ids=(),
            formulas=tuple(lowest),
            energies=np.array(list(lowest.values())),
        )

    def describe(self) -> str:
        """Say in a few words which table this is, for protocols."""
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}, {len(self)} energies of crystals {self.geometry}{note}"


def join_hull_tables(tables: Sequence[HullTable], *, name: str) -> HullTable:
    """Join tables into one without names, the lowest energy of each formula.

    Args:
        tables: At least one.
        name: Name of the joined table.

    Raises:
        ValueError: If they are not of one force field, convention and geometry.
    """
    first = tables[0]
    kinds = {(table.force_field, table.convention, table.geometry) for table in tables}
    if len(kinds) > 1:
        raise ValueError(
            f"the tables are of {len(kinds)} force fields, conventions or geometries, expected one"
        )
    joined = replace(
        first,
        name=name,
        note=None,
        ids=(),
        formulas=[formula for table in tables for formula in table.formulas],
        energies=np.concatenate([table.energies for table in tables]),
        datasets=tuple(dict.fromkeys(one for table in tables for one in table.datasets)),
    )
    lowest = dict(sorted(joined.lowest().items()))
    parts = " and ".join(f"{table.name} ({table.note})" if table.note else table.name for table in tables)
    return replace(
        joined,
        note=parts if len(tables) > 1 else first.note,
        formulas=tuple(lowest),
        energies=np.array(list(lowest.values())),
    )


def shipped_names() -> list[str]:
    """Return the names of the tables that are shipped, each once."""
    return sorted({read_hull_table(file).name for file in SHIPPED.glob("*.parquet")})


def write_hull_table(path: Path, table: HullTable) -> None:
    """Write a table, replacing the file as a whole; energies are kept to 1e-6 relative."""
    import pyarrow as pa

    facts = {
        "format": 1,
        "name": table.name,
        "force_field": asdict(table.force_field),
        "convention": table.convention,
        "geometry": table.geometry,
        "note": table.note,
        "datasets": list(table.datasets),
    }
    columns = {
        **({"id": pa.array(table.ids, pa.string())} if table.ids else {}),
        "formula": pa.array(table.formulas, pa.string()),
        "energy_per_atom": pa.array(table.energies, pa.float32()),
    }
    content = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(facts).encode()})
    write_table(path, content, level=19)


def read_hull_table(path: Path) -> HullTable:
    """Read a table, from its file or the folder of a run that made it.

    Raises:
        UserError: If there is none, or it is not one of ours.
    """
    file = path / TABLE_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path}: no hull table there, expected what `repdiff hull build DATASET` made")
    try:
        content = read_own_table(file)
        facts = json.loads((content.schema.metadata or {})[METADATA])
        identity = ForceFieldIdentity(**facts["force_field"])
        return HullTable(
            name=facts["name"],
            force_field=identity,
            convention=facts.get("convention") or convention_of(identity.name),
            geometry=facts["geometry"],
            note=facts["note"],
            ids=content["id"].to_pylist() if "id" in content.column_names else [],
            formulas=content["formula"].to_pylist(),
            energies=content["energy_per_atom"].to_numpy().astype(np.float64),
            datasets=facts.get("datasets", ()),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: not a hull table ({type(error).__name__}), expected what `repdiff hull build DATASET` made"
        ) from error


def find_hull_table(force_field: ForceFieldIdentity, path: Path | None = None) -> HullTable:
    """Return the table to judge energies of a force field by.

    Args:
        force_field: What computed the energies.
        path: The user's table, or the name of a shipped one; None for the largest that is shipped for this force field.

    Raises:
        UserError: If there is none, or it is of another force field, version or weights, or its energies mean
            something else.
    """
    build = f"make one by `repdiff hull build DATASET --force-field {force_field.name}`"
    wanted = force_field.hull_convention
    shipped = [read_hull_table(file) for file in sorted(SHIPPED.glob("*.parquet"))]
    if path is not None and not path.exists() and str(path) in {table.name for table in shipped}:
        shipped = [table for table in shipped if table.name == str(path)]
    elif path is not None:
        table = read_hull_table(path)
        if table.force_field != force_field:
            raise UserError(
                f"{path} holds energies of {table.force_field}, expected {force_field}, which computed the others: "
                f"{build}"
            )
        if table.convention != wanted:
            raise UserError(
                f"{path} holds energies of {force_field.name} that are {CONVENTIONS[table.convention]}, expected "
                f"{CONVENTIONS[wanted]}: {build}"
            )
        return table
    fitting = [table for table in shipped if (table.force_field, table.convention) == (force_field, wanted)]
    if fitting:
        return max(fitting, key=len)
    others = ", ".join(f"{table.name} by {table.force_field}" for table in shipped) or "none"
    raise UserError(f"no hull table of {force_field} is shipped ({others}): {build}")


def locate_hull(named: Path | None, workspace: Workspace) -> Path | None:
    """Find the table that is named: one that is shipped, by its name, or a run of `repdiff hull build`, or a file.

    Raises:
        UserError: If there is none.
    """
    if named is None or (not named.exists() and str(named) in shipped_names()):
        return named
    return workspace.find("hull", named)


def reduced_name(formula: str) -> str:
    """Return a formula without a common divisor, elements by electronegativity: "O6Ti2Sr2" is "SrTiO3".

    Gases keep their molecule: "O8" is "O2".
    """
    from pymatgen.core import Composition

    with without_electronegativity():
        return Composition(formula).get_integer_formula_and_factor()[0]


@contextmanager
def without_electronegativity() -> Generator[None, None, None]:
    """Silence pymatgen on elements that have none, where it only sorts symbols."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        yield
