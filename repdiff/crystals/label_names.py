"""Names of labels in files: those of our columns, and what labels are called whose name is taken."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, count

from repdiff.crystals.crystal import Crystal, Label, LabelKinds, add_kinds
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


class FullLabels:
    """Gives crystals their position, number of atoms and reduced formula as labels, before those that they have.

    A label that says something else under one of these names is kept under another.

    Args:
        crystals: All crystals of a file, in its order; gone through once.
        columns: Further labels by name, one entry a crystal; they win over labels of the same name.

    Attributes:
        kinds: Types of the labels of all crystals together, by name in the order of the file.
        with_splits: Whether any crystal has a split.
    """

    def __init__(
        self, crystals: Iterable[Crystal], columns: Mapping[str, Sequence[Label]] | None = None
    ) -> None:
        self._columns = columns or {}
        self.with_splits = False
        own: LabelKinds = {}
        given: LabelKinds = {}
        moved: LabelKinds = {}
        for place, crystal in enumerate(crystals):
            row, mine = self._given(place, crystal), _own(place, crystal)
            clashing = {name: row[name] for name in OWN if row.get(name) not in (None, mine[name])}
            for labels, kinds in ((mine, own), (row, given), (clashing, moved)):
                add_kinds(labels, kinds)
            self.with_splits |= crystal.split is not None
        self._others = free_names([name for name in OWN if name in moved], given)
        renamed = {other: moved[name] for name, other in self._others.items()}
        self.kinds: LabelKinds = {**own, **renamed, **given, **own}

    def of(self, place: int, crystal: Crystal) -> Crystal:
        """Return the crystal at some place of the file with all its labels."""
        given, own = self._given(place, crystal), _own(place, crystal)
        moved = {
            other: given[name]
            for name, other in self._others.items()
            if given.get(name) not in (None, own[name])
        }
        return crystal.replace(labels={**own, **moved, **given, **own})

    def _given(self, place: int, crystal: Crystal) -> dict[str, Label]:
        return {**crystal.labels, **{name: values[place] for name, values in self._columns.items()}}


def _own(place: int, crystal: Crystal) -> dict[str, Label]:
    from pymatgen.core import Composition

    counts = {_symbol(number): n_atoms for number, n_atoms in count_elements(crystal).items()}
    formula = Composition(counts).reduced_formula
    return {"index": place, "n_atoms": crystal.n_atoms, "reduced_formula": formula}


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return chemical_symbols[number]
