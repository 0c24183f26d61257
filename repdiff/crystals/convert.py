"""Whatever a Python user holds → crystals: pymatgen structures, ASE atoms, batches, and our own sets."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from descriptors.batch import CrystalBatch
from repdiff.crystals.crystal import RESERVED_COLUMNS, Crystal, Label, from_batch, from_structure
from repdiff.crystals.crystal_set import CrystalSet, CrystalViews
from repdiff.errors import UserError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    CrystalsLike = (
        Structure | Atoms | Crystal | CrystalBatch | CrystalViews | Iterable[Structure | Atoms | Crystal]
    )
else:
    CrystalsLike = object

KINDS = "a pymatgen Structure, ASE Atoms, a Crystal, a list of these, a CrystalBatch, or a set of crystals"
MAX_LABEL_LENGTH = 200  # characters; longer texts are documents, not labels


def as_crystal_set(crystals: CrystalsLike, *, what: str = "crystals") -> CrystalSet:
    """Convert what a user holds into a set of crystals with names of their own.

    A name is the `id` or `material_id` that a structure has in `properties` or atoms in `info`, otherwise the place in
    the list; a name that occurs again gets "#2", "#3", ... behind it.

    Args:
        crystals: One structure, atoms or crystal; a list of them, mixed or not; a batch; or a set.
        what: Name of the argument, for messages.

    Raises:
        UserError: If it is of another kind, empty, disordered, or not periodic in all three directions. The message
            names the first that does not fit, and how many there are.

    Example:
        >>> from ase.build import bulk
        >>> as_crystal_set(bulk("Si")).ids
        ['crystal-0']
        >>> as_crystal_set([])
        Traceback (most recent call last):
        repdiff.errors.UserError: crystals holds nothing, expected at least one crystal
    """
    if isinstance(crystals, CrystalSet):
        found = crystals
    elif isinstance(crystals, CrystalViews):
        found = CrystalSet(
            crystals=list(crystals.crystals), failed=dict(crystals._missing()), encoded=crystals._encoded
        )
    elif isinstance(crystals, CrystalBatch):
        found = CrystalSet(crystals=from_batch(crystals, [place_name(i) for i in range(crystals.n_systems)]))
    else:
        found = CrystalSet(crystals=_converted(_listed(crystals, what), what))
    if not len(found):
        raise UserError(f"{what} holds nothing, expected at least one crystal")
    return found


def place_name(place: int) -> str:
    """Name a crystal by its place."""
    return f"crystal-{place}"


def unique_names(crystals: Iterable[Crystal]) -> list[Crystal]:
    """Put "#2", "#3", ... behind names of crystals that occur again."""
    found = list(crystals)
    names = distinct_names([crystal.id for crystal in found])
    return [
        crystal if crystal.id == name else crystal.replace(id=name)
        for crystal, name in zip(found, names, strict=True)
    ]


def distinct_names(names: Sequence[str]) -> list[str]:
    """Put "#2", "#3", ... behind names that occur again.

    Example:
        >>> distinct_names(["a", "b", "a"])
        ['a', 'b', 'a#2']
    """
    taken, seen = set(names), Counter[str]()
    distinct = []
    for name in names:
        seen[name] += 1
        number, own = seen[name], name
        if number > 1:
            while (own := f"{name}#{number}") in taken:
                number += 1
            taken.add(own)
        distinct.append(own)
    return distinct


def _listed(crystals: object, what: str) -> list[object]:
    """Return the things that are to be converted, one by one."""
    if _kind(crystals) is not None:
        return [crystals]
    if isinstance(crystals, str | bytes | Mapping) or not isinstance(crystals, Iterable):
        raise UserError(f"{what} is {_described(crystals)}, expected {KINDS}")
    return list(crystals)


def _converted(things: list[object], what: str) -> list[Crystal]:
    found: list[Crystal] = []
    wrong: list[str] = []
    for place, thing in enumerate(things):
        try:
            found.append(_crystal(thing, place))
        except ValueError as error:
            wrong.append(f"{what}[{place}] {error}")
    if wrong:
        more = f" ({len(wrong)} of {len(things)} do not fit)" if len(things) > 1 else ""
        raise UserError(wrong[0] + more)
    return unique_names(found)


def _crystal(thing: object, place: int) -> Crystal:
    """Convert one thing.

    Raises:
        ValueError: If it cannot be; the message goes on after the name of the thing.
    """
    match _kind(thing):
        case "crystal":
            assert isinstance(thing, Crystal)
            return thing
        case "structure":
            return _of_structure(cast("Structure", thing), place)
        case "atoms":
            return _of_atoms(cast("Atoms", thing), place)
    raise ValueError(f"is {_described(thing)}, expected {KINDS}")


def _of_structure(structure: "Structure", place: int) -> Crystal:
    facts = dict(structure.properties or {})
    if not all(structure.lattice.pbc):
        raise ValueError(
            f"has pbc {list(structure.lattice.pbc)}, expected a crystal, periodic in all three directions"
        )
    try:
        return from_structure(structure, id=_name(facts, place), labels=_labels(facts))
    except ValueError as error:
        raise ValueError(f"cannot be taken: {error}; expected an ordered structure") from error


def _of_atoms(atoms: "Atoms", place: int) -> Crystal:
    pbc, cell = atoms.pbc.tolist(), np.array(atoms.cell.array, dtype=np.float64)
    if not all(pbc):
        raise ValueError(
            f"has pbc {pbc}, expected a crystal, periodic in all three directions: set pbc = True if it is one"
        )
    if abs(np.linalg.det(cell)) < 1e-12:
        raise ValueError("has a cell of no volume, expected three independent cell vectors")
    if not len(atoms):
        raise ValueError("holds no atoms, expected at least one")
    shares = (atoms.info.get("occupancy") or {}).values()
    if any(len(site) != 1 or set(site.values()) != {1} for site in shares):
        raise ValueError("has sites of partial occupancy, expected an ordered crystal")
    facts = dict(atoms.info)
    return Crystal(
        id=_name(facts, place),
        atomic_numbers=np.array(atoms.numbers, dtype=np.int64),
        lattice=cell,
        frac_coords=np.linalg.solve(cell.T, atoms.positions.T).T,
        labels=_labels(facts),
    )


def _kind(thing: object) -> str | None:
    """Say what a thing is by the classes of the library that made it, which need not be loaded for it."""
    if isinstance(thing, Crystal):
        return "crystal"
    for base in type(thing).__mro__:
        if base.__name__ in ("IStructure", "Structure") and base.__module__.startswith("pymatgen."):
            return "structure"
        if base.__name__ == "Atoms" and base.__module__.startswith("ase."):
            return "atoms"
    return None


def _described(thing: object) -> str:
    shown = repr(thing)
    return (
        f"{type(thing).__name__} {shown}"
        if len(shown) <= 40 and "\n" not in shown
        else f"a {type(thing).__name__}"
    )


def _name(facts: dict[str, object], place: int) -> str:
    given = next((str(facts[key]) for key in ("material_id", "id") if facts.get(key) not in (None, "")), None)
    return place_name(place) if given is None else given


def _labels(facts: dict[str, object]) -> dict[str, Label]:
    """Keep the numbers and short texts among what a structure carries along."""
    return {
        str(key): clean
        for key, value in facts.items()
        if key not in (*RESERVED_COLUMNS, "material_id") and (clean := _label(value)) is not None
    }


def _label(value: object) -> Label:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return value if len(value) <= MAX_LABEL_LENGTH and "\n" not in value else None
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, int) else None
