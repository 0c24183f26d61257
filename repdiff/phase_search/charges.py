"""How well the charges of a formula balance, for the order in which formulas are tried."""

import math
from collections.abc import Mapping
from enum import IntEnum
from functools import cache

from repdiff.energies.hull_table import without_electronegativity
from repdiff.metrics.charge_balance import check_composition


class Balance(IntEnum):
    """Classes of formulas, the most promising first."""

    COMMON = 0
    UNCOMMON = 1
    NONE = 2


def balance_of(counts: Mapping[int, int]) -> Balance:
    """Say how the charges of a formula balance.

    COMMON: with common oxidation states alone, where an element may be in several of them, as iron in magnetite; or
    there are only metals. UNCOMMON: by the test that papers use, one state of any kind for each element, see
    `repdiff.metrics.charge_balance`. NONE: neither.

    Args:
        counts: Atoms of the formula by atomic number.

    Source of the common states: pymatgen, `Element.common_oxidation_states`.

    Example:
        >>> magnetite, superoxide = {26: 3, 8: 4}, {3: 1, 8: 2}
        >>> balance_of(magnetite).name, balance_of(superoxide).name
        ('COMMON', 'NONE')
    """
    verdict = check_composition(counts)
    if verdict.valid and all(_is_metal(number) for number in counts):
        return Balance.COMMON
    if _balances(counts):
        return Balance.COMMON
    return Balance.UNCOMMON if verdict.valid else Balance.NONE


def electronegativity(number: int) -> tuple[float, int]:
    """Return Pauling's value and the atomic number, to sort elements by; those without a value come last."""
    from pymatgen.core import Element

    with without_electronegativity():
        value = float(Element.from_Z(number).X)
    return (value if math.isfinite(value) else math.inf, number)


def _balances(counts: Mapping[int, int]) -> bool:
    """Tell whether the sum of charges can be zero, the most electronegative element alone being negative for sure.

    Metals are positive, other elements anything that is common for them. Between its lowest and its highest state an
    element may have any mean charge.
    """
    anion = max(counts, key=electronegativity)
    lowest = highest = 0
    for number, count in counts.items():
        states = _states(number)
        if number == anion:
            states = tuple(state for state in states if state < 0)
        elif _is_metal(number):
            states = tuple(state for state in states if state > 0)
        if not states:
            return False
        lowest += count * min(states)
        highest += count * max(states)
    return len(counts) == 1 or lowest <= 0 <= highest


@cache
def _states(number: int) -> tuple[int, ...]:
    from pymatgen.core import Element

    return tuple(Element.from_Z(number).common_oxidation_states)


@cache
def _is_metal(number: int) -> bool:
    from pymatgen.core import Element

    return bool(Element.from_Z(number).is_metal)
