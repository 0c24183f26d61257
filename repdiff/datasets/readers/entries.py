"""One structure as JSON describes it, in the dialects that this field passes around."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repdiff.crystals.arrays import Arrays, isotope_notes, numbers_of_sites
from repdiff.crystals.parse import arrays_of_json

TEXTS = ("cif", "cif_string", "structure", "poscar")  # keys whose value may be a text
NESTED = ("structure", "atoms", "attributes")  # keys under which the structure stands
OPTIMADE = ("lattice_vectors", "cartesian_site_positions", "species_at_sites")
JARVIS = ("lattice_mat", "coords", "elements")
OF_THE_STRUCTURE = (*OPTIMADE, *JARVIS, "abc", "angles", "cartesian", "props")
BESIDE = ("data", "properties")  # mappings whose scalars are labels


def is_structure(value: object) -> bool:
    """Tell whether a value describes one structure, whatever its dialect."""
    if not isinstance(value, Mapping):
        return False
    keys = set(value)
    flat = [("lattice", "sites"), OPTIMADE, JARVIS]
    return any(keys.issuperset(names) for names in flat)


def is_entry(value: object) -> bool:
    """Tell whether a value is a structure, or a mapping with a structure and facts beside it."""
    if not isinstance(value, Mapping):
        return False
    if is_structure(value) or any(is_structure(value.get(key)) for key in NESTED):
        return True
    return any(isinstance(value.get(key), str) for key in TEXTS)


def structure_of(entry: object) -> Arrays | str:
    """Return the structure of an entry: arrays, or the text that is to be parsed.

    Raises:
        ValueError: If there is none, or it is refused.
    """
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"a {type(entry).__name__}, expected the mapping of a structure")
    for key in NESTED:
        if isinstance(entry.get(key), Mapping):
            return structure_of(entry[key])
    for key in TEXTS:
        if isinstance(entry.get(key), str):
            return str(entry[key])
    try:
        if set(entry).issuperset(OPTIMADE):
            return _of_optimade(entry)
        if set(entry).issuperset(JARVIS):
            return _of_jarvis(entry)
    except (KeyError, TypeError, np.linalg.LinAlgError) as error:
        raise ValueError(f"the structure is incomplete: {type(error).__name__} {error}") from error
    return arrays_of_json(entry)


def facts_of(entry: object) -> dict[str, Any]:
    """Return what an entry says beside its structure: its own keys, and those of `data` and `properties`."""
    if not isinstance(entry, Mapping):
        return {}
    if is_structure(entry):
        own = (
            {key: value for key, value in entry.items() if key == "id"} if "sites" in entry else _plain(entry)
        )
        own = {key: value for key, value in own.items() if key not in OF_THE_STRUCTURE}
        return _beside(entry, ("properties",)) | own
    facts: dict[str, Any] = {}
    for key in NESTED:
        if isinstance(entry.get(key), Mapping):
            facts |= facts_of(entry[key])
    return facts | _beside(entry, BESIDE) | _plain(entry)


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars of an entry, without the keys that pymatgen adds for itself."""
    hidden = (*NESTED, *BESIDE, *TEXTS, "type")
    return {
        str(key): value
        for key, value in entry.items()
        if not str(key).startswith("@") and key not in hidden and not isinstance(value, Mapping | list)
    }


def _beside(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in keys:
        if isinstance(entry.get(key), Mapping):
            found |= {str(name): value for name, value in entry[key].items()}
    return found


def _of_optimade(entry: Mapping[str, Any]) -> Arrays:
    """Read the attributes of OPTIMADE's structures, which LeMat-Bulk has as columns.

    Raises:
        ValueError: If it is not periodic in three directions, or a species is mixed or partial.
    """
    periodic = entry.get("dimension_types")
    if periodic is not None and not all(periodic):
        raise ValueError(f"dimension_types is {list(periodic)}, expected three periodic directions")
    species = {one["name"]: one for one in entry.get("species") or [] if isinstance(one, Mapping)}
    sites = [{"species": _species(str(name), species.get(str(name)))} for name in entry["species_at_sites"]]
    return _with_cartesian(entry["lattice_vectors"], entry["cartesian_site_positions"], sites)


def _species(name: str, known: Mapping[str, Any] | None) -> list[dict[str, object]]:
    if known is None:
        return [{"element": name}]
    shares = known.get("concentration") or [1] * len(known["chemical_symbols"])
    return [
        {"element": symbol, "occu": share}
        for symbol, share in zip(known["chemical_symbols"], shares, strict=True)
    ]


def _of_jarvis(entry: Mapping[str, Any]) -> Arrays:
    sites = [{"species": [{"element": str(symbol).strip()}]} for symbol in entry["elements"]]
    if entry.get("cartesian"):
        return _with_cartesian(entry["lattice_mat"], entry["coords"], sites)
    lattice = _floats(entry["lattice_mat"], (3, 3))
    return _arrays(lattice, _floats(entry["coords"], (-1, 3)), sites)


def _with_cartesian(lattice: object, positions: object, sites: Sequence[Mapping[str, Any]]) -> Arrays:
    cell, places = _floats(lattice, (3, 3)), _floats(positions, (-1, 3))
    if abs(np.linalg.det(cell)) < 1e-12:
        raise ValueError("the cell has no volume")
    return _arrays(cell, np.linalg.solve(cell.T, places.T).T, sites)


def _arrays(lattice: np.ndarray, frac: np.ndarray, sites: Sequence[Mapping[str, Any]]) -> Arrays:
    if len(frac) != len(sites):
        raise ValueError(f"{len(sites)} elements with {len(frac)} positions")
    return Arrays(
        atomic_numbers=numbers_of_sites(sites),
        lattice=lattice,
        frac_coords=frac,
        notes=isotope_notes(sites),
    )


def _floats(values: object, shape: tuple[int, int]) -> np.ndarray:
    rows = [list(row) if isinstance(row, Sequence | np.ndarray) else row for row in values]  # ty: ignore
    return np.array(rows, dtype=np.float64).reshape(shape)
