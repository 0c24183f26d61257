"""Whether a chemical formula can be charge-balanced: the SMACT test as papers on generation apply it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from repdiff.crystals.formula import Formula, reduced_formula

OXIDATION_STATES = "smact14"  # the list that smact < 3 had as default, and with it all published figures
SINGLE_ELEMENT = "single element"
ALL_METALS = "all metals"
NEUTRAL = "charge neutral"


@dataclass(frozen=True)
class Verdict:
    """Whether something is valid, and why it is or is not; reasons are few, so that they can be counted."""

    valid: bool
    reason: str


@dataclass(frozen=True)
class _IonData:
    states: tuple[int, ...]  # empty if the list names none
    electronegativity: float | None  # Pauling
    is_metal: bool


def check_composition(counts: Mapping[int, int]) -> Verdict:
    """Test a formula for charge neutrality with cations less electronegative than anions.

    A single element and a formula of metals alone are valid. Otherwise each element takes one oxidation state
    of the list of 2014 (`smact14`; smact 3 and later default to another), the charges must cancel, and every
    element in a positive state must have a lower Pauling electronegativity than every element in a negative
    state. An element without known states or electronegativity makes a compound invalid.

    The answer is exact for any number of elements: a cut on the electronegativity scale decides who may be a
    cation, and the reachable sums of charge are collected element by element, so that no product of states is
    enumerated.

    Args:
        counts: Atoms of the formula by atomic number; a common divisor does not matter.

    Source: Davies et al., J. Open Source Softw. 4, 1361 (2019), the test; Xie et al., arXiv 2110.06197,
        appendix on metrics, its use as composition validity.
    """
    return _check(reduced_formula(counts))


@lru_cache(maxsize=100_000)
def _check(formula: Formula) -> Verdict:
    ions = [(_ion_data(number), count) for number, count in formula]
    known = [(data, count) for data, count in ions if data is not None]
    if not known or len(known) < len(ions):
        return Verdict(False, "an element unknown to smact")
    if len(known) == 1:
        return Verdict(True, SINGLE_ELEMENT)
    if all(data.is_metal for data, _ in known):
        return Verdict(True, ALL_METALS)
    if not all(data.states for data, _ in known):
        return Verdict(False, "an element without oxidation states")
    scale = sorted({data.electronegativity for data, _ in known if data.electronegativity is not None})
    if not _reaches_zero([(data.states, count) for data, count in known]):
        return Verdict(False, "not charge neutral")
    if any(data.electronegativity is None for data, _ in known):
        return Verdict(False, "an element without electronegativity")
    if any(_reaches_zero([(_allowed(data, cut), count) for data, count in known]) for cut in scale):
        return Verdict(True, NEUTRAL)
    return Verdict(False, "neutral only with cations more electronegative than anions")


def _allowed(data: _IonData, cut: float) -> tuple[int, ...]:
    """Keep the states that fit: positive below the cut, negative from the cut on."""
    assert data.electronegativity is not None
    sign = 1 if data.electronegativity < cut else -1
    return tuple(state for state in data.states if state * sign >= 0)


def _reaches_zero(ions: list[tuple[tuple[int, ...], int]]) -> bool:
    sums = {0}
    for states, count in ions:
        sums = {total + count * state for total in sums for state in states}
    return 0 in sums


@cache
def _ion_data(number: int) -> _IonData | None:
    """Look an element up; None if smact does not know it (beyond lawrencium)."""
    import smact
    from ase.data import chemical_symbols

    if not 1 <= number < len(chemical_symbols):
        return None
    try:
        element = smact.Element(chemical_symbols[number])
    except (KeyError, NameError):  # NameError up to smact 3
        return None
    return _IonData(
        states=tuple(element.oxidation_states_smact14 or ()),
        electronegativity=element.pauling_eneg,
        is_metal=element.symbol in smact.metals,
    )
