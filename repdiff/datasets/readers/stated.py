"""What a source says of a structure beside it: left out where it repeats the structure, told where it does not."""

from collections.abc import Mapping, Sequence
from typing import Any

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import count_elements, parse_formula, reduced_formula

COUNTS, FORMULAS = ("natoms", "nsites"), ("formula", "pretty_formula")
STATED = (*COUNTS, *FORMULAS)


def disagreeing(stated: Mapping[str, Any], crystal: Crystal) -> tuple[str, ...]:
    """Note what is no repetition of the structure: another number of atoms, or other proportions of elements."""
    wrong = [name for name in COUNTS if name in stated and str(crystal.n_atoms) != _whole(stated[name])]
    formulas = {name: str(stated[name]) for name in FORMULAS if name in stated}
    if formulas:
        own = reduced_formula(count_elements(crystal))
        wrong += [name for name, text in formulas.items() if _proportions(text) != own]
    return tuple(f"{name!r} is left out: it does not say what the structure says" for name in wrong)


def distinct_columns(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Put _2, _3, ... behind names of columns that occur again, and note it; columns without a name stay so."""
    taken, found, notes = set(names), [], []
    for name in names:
        own, number = name, 2
        if name and name in found:
            while (own := f"{name}_{number}") in taken:
                number += 1
            taken.add(own)
            notes.append(f"another column {name!r} is called {own!r}")
        found.append(own)
    return found, tuple(notes)


def _whole(value: object) -> str:
    return str(value).removesuffix(".0")


def _proportions(text: str) -> object:
    from pymatgen.core import Composition

    try:
        return reduced_formula(parse_formula(text))
    except ValueError:  # parentheses, for which the other parser has words
        pass
    try:
        counts = Composition(text).reduced_composition.get_el_amt_dict()
        return reduced_formula(parse_formula("".join(f"{name}{int(n)}" for name, n in counts.items())))
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return None
