"""Names of labels in files: those of our columns, and what labels are called whose name is taken."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, count

from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.formula import count_elements

OWN = ("index", "n_atoms", "reduced_formula")
UNWRITABLE = re.compile(r"[^\S ]|[=\\]")  # in the key of a comment line of extended XYZ
log = logging.getLogger(__name__)


def free_name(name: str, names: Collection[str]) -> str:
    """Return another name for a label whose name is taken: with "_label" behind, and a number if that is taken too.

    What no key can hold becomes "_".

    Example:
        >>> free_name("lattice", ["lattice"]), free_name("lattice", ["lattice", "lattice_label"])
        ('lattice_label', 'lattice_label_2')
        >>> free_name("U=4", [])
        'U_4_label'
    """
    stem = f"{UNWRITABLE.sub('_', name)}_label"
    others = chain([stem], (f"{stem}_{number}" for number in count(2)))
    return next(other for other in others if other not in names)


def free_names(taken: Iterable[str], names: Collection[str]) -> dict[str, str]:
    """Return another name for each of some labels, and log it; none of `names`, and none twice."""
    others: dict[str, str] = {}
    for name in taken:
        others[name] = free_name(name, {*names, *others.values()})
        why = "cannot be written" if UNWRITABLE.search(name) else "is taken"
        log.info("the label %r is called %r in the file: the name %s", name, others[name], why)
    return others


def fully_labelled(
    crystals: Sequence[Crystal], columns: Mapping[str, Sequence[Label]] | None = None
) -> list[Crystal]:
    """Give crystals their position, number of atoms and reduced formula as labels, before those that they have.

    Args:
        crystals: Crystals in the order of the file.
        columns: Further labels by name, one entry a crystal; they win over labels of the same name.

    Returns:
        The crystals. A label that says something else under one of our names is kept under another.
    """
    rows = [
        {**crystal.labels, **{name: values[place] for name, values in (columns or {}).items()}}
        for place, crystal in enumerate(crystals)
    ]
    owned = [_own(place, crystal) for place, crystal in enumerate(crystals)]
    differs = [
        {name for name in OWN if given.get(name) not in (None, own[name])}
        for given, own in zip(rows, owned, strict=True)
    ]
    moved = [name for name in OWN if any(name in names for names in differs)]
    others = free_names(moved, {name for given in rows for name in given})
    return [
        crystal.replace(
            labels={**own, **{others[name]: given[name] for name in OWN if name in names}, **given, **own}
        )
        for crystal, own, given, names in zip(crystals, owned, rows, differs, strict=True)
    ]


def _own(place: int, crystal: Crystal) -> dict[str, Label]:
    from pymatgen.core import Composition

    counts = {_symbol(number): n_atoms for number, n_atoms in count_elements(crystal).items()}
    formula = Composition(counts).reduced_formula
    return {"index": place, "n_atoms": crystal.n_atoms, "reduced_formula": formula}


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return chemical_symbols[number]
