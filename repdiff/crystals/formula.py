"""Chemical formulas as counts by atomic number: reduced, anonymous, and the proportions of perovskites."""

import re
import string
from collections.abc import Mapping
from math import gcd

import numpy as np

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError

Formula = tuple[tuple[int, int], ...]  # (atomic number, count), ascending, without common divisor
Composition = Mapping[int, int]
"""Number of atoms in the cell by atomic number."""
MAX_ATOMS = 1000  # in one cell that is asked for
AMOUNT = re.compile(r"\d+(?:\.\d*)?|\.\d+")
PEROVSKITE_ANIONS = frozenset({7, 8, 9, 16})  # N, O, F, S


def count_elements(crystal: Crystal) -> dict[int, int]:
    """Count the atoms of the cell by atomic number, as plain integers; the numbers are not checked.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite
        >>> count_elements(cubic_perovskite())
        {8: 3, 22: 1, 38: 1}
    """
    numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def safe_formula(crystal: Crystal) -> str | None:
    """Return the formula of the cell, or None if there are no atoms or some are of no known element."""
    numbers = crystal.atomic_numbers
    known = len(numbers) and numbers.min() >= 1 and numbers.max() <= MAX_ATOMIC_NUMBER
    return crystal.formula if known else None


def reduced_formula(counts: Mapping[int, int]) -> Formula:
    """Divide the counts by their common divisor; nothing gives nothing.

    Example:
        >>> reduced_formula({22: 2, 8: 4})
        ((8, 2), (22, 1))
    """
    divisor = gcd(*counts.values())
    return tuple(sorted((number, count // divisor) for number, count in counts.items()))


def anonymous_formula(counts: Mapping[int, int]) -> str:
    """Write the proportions without the elements, counts ascending: "ABC3" for SrTiO3 in any multiple.

    Example:
        >>> anonymous_formula({38: 1, 22: 1, 8: 3})
        'ABC3'
    """
    letters = string.ascii_uppercase + string.ascii_lowercase
    parts = enumerate(sorted(count for _, count in reduced_formula(counts)))
    return "".join(
        (letters[i] if i < len(letters) else f"[{i}]") + (str(n) if n > 1 else "") for i, n in parts
    )


def is_abx3(counts: Mapping[int, int], anions: frozenset[int] = PEROVSKITE_ANIONS) -> bool:
    """Tell whether a cell has the five atoms of a perovskite ABX3, where X may be a mixture of anions.

    Three atoms of the anion set, and two that are not, of one or two elements. All 18 928 crystals of Perov-5
    satisfy it; their anions are O3, N3, O2N, ON2, O2F, O2S or OFN.

    Args:
        counts: Atoms of the cell by atomic number.
        anions: Atomic numbers that may occupy X.

    Source: Castelli et al., Energy Environ. Sci. 5, 9034 (2012), for the data set.

    Example:
        >>> is_abx3({38: 1, 22: 1, 8: 3}), is_abx3({22: 1, 8: 2})
        (True, False)
    """
    return sum(counts.values()) == 5 and sum(counts.get(number, 0) for number in anions) == 3


def is_strict_abx3(counts: Mapping[int, int]) -> bool:
    """Tell whether a cell has five atoms of three elements as 1:1:3; 28 % of Perov-5 have."""
    return sorted(counts.values()) == [1, 1, 3]


def formula_text(counts: Mapping[int, int]) -> str:
    """Write a formula by ascending atomic number, such as "Na4Cl4"; what is no element is written "Z = 119".

    Example:
        >>> formula_text({17: 4, 11: 4}), formula_text({8: 1})
        ('Na4Cl4', 'O')
    """
    from ase.data import chemical_symbols

    names = {number: f"Z = {number}" for number in counts} | dict(enumerate(chemical_symbols))
    return "".join(f"{names[number]}{count if count > 1 else ''}" for number, count in sorted(counts.items()))


def parse_formula(text: str) -> Composition:
    """Read the formula of a cell, such as Li2Fe2O4: all its atoms, not the reduced formula.

    Raises:
        UserError: If it is no formula, or a number of atoms is not whole or 0, or there are too many.

    Example:
        >>> parse_formula("Li2Fe2O4")
        {3: 2, 8: 4, 26: 2}
    """
    from pymatgen.core import Composition as Amounts
    from pymatgen.core import Element

    try:
        amounts = Amounts(text).get_el_amt_dict()
        counts = {Element(symbol).Z: amount for symbol, amount in amounts.items()}
    except (ValueError, KeyError) as error:
        raise UserError(f"{text!r} is no formula, expected one such as Li2Fe2O4") from error
    if zeros := [number for number in AMOUNT.findall(text) if not float(number)]:
        raise UserError(
            f"{text!r} has an element {zeros[0]} times, expected one such as Li2Fe2O4: leave out what it has not"
        )
    if not counts or any(amount % 1 for amount in counts.values()) or sum(counts.values()) > MAX_ATOMS:
        raise UserError(
            f"{text!r} has {sum(counts.values()):g} atoms, expected whole numbers, 1 to {MAX_ATOMS} in all"
        )
    return {number: int(amount) for number, amount in sorted(counts.items())}
