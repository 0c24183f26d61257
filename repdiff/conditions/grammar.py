"""One grammar of conditions, for the command line, YAML and Python alike: from text or plain values to `Condition`."""

import re
from collections.abc import Collection, Mapping

from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS
from descriptors.symmetry.symbols import ATOMIC_NUMBERS, SYMBOLS
from repdiff.conditions.held import read_held
from repdiff.conditions.how import SELECTED_BY_ALL
from repdiff.conditions.kinds import (
    Condition,
    CrystalSystems,
    Elements,
    FormulaUnits,
    Interval,
    Learnt,
    Numbers,
)
from repdiff.crystals.formula import parse_formula
from repdiff.errors import UserError, unknown
from repdiff.settings.conditions import ADAPTED, HELD

OF_ELEMENTS = ("chemical_system", "elements_allowed", "elements_excluded")
OF_GROUPS = ("space_group", "crystal_system")
GRAMMAR = (*OF_ELEMENTS, *OF_GROUPS, "n_atoms", "formula_units", *SELECTED_BY_ALL)
"""Names of all conditions that need no label."""
ANGLES = ("lattice_alpha", "lattice_beta", "lattice_gamma")
STRAIGHT = 180  # degrees
LARGEST = 1000  # number of atoms or formula units
NUMBER = r"([+-]?(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
AROUND = re.compile(rf"{NUMBER}(?:±|\+/?-){NUMBER}")
BETWEEN = re.compile(rf"{NUMBER}?\.\.{NUMBER}?|{NUMBER}-{NUMBER}")
ONE_SIDED = re.compile(rf"([<>])={NUMBER}")
RANGE = "a range such as 4.05-4.15, 4.1±0.05 or 4.1+-0.05, or a limit such as ..4 or 4.."


def typed(values: Mapping[str, object], *, learnt: Collection[str] = ()) -> dict[str, Condition]:
    """Read conditions by name; those that are read already stay as they are.

    Args:
        values: What is asked, as text or as plain numbers and lists.
        learnt: Labels that the model was taught. They go before a plain property of the same name. A name that is
            neither one nor the other is taken for a label, which a system then knows or refuses.

    Raises:
        UserError: If a value cannot be read.

    Example:
        >>> found = typed({"space_group": 225, "density": "5-7", "band_gap": 1.5})
        >>> [condition.text for condition in found.values()]
        ['225', '5..7', '1.5']
    """
    return {
        name: value if isinstance(value, Condition) else _typed(name, value, learnt)
        for name, value in values.items()
    }


def _typed(name: str, value: object, learnt: Collection[str]) -> Condition:
    if name.startswith(HELD):
        return read_held(name, value)
    if name not in GRAMMAR or (name in learnt and name not in ADAPTED):
        return Learnt(name=name, value=value)
    if name in OF_ELEMENTS:
        return Elements(name=name, elements=_elements(name, value))
    if name == "crystal_system":
        return CrystalSystems(name=name, systems=_systems(value))
    if name in SELECTED_BY_ALL:
        return interval(name, value)
    return Numbers(name=name, numbers=_numbers(name, value))


def read_back(name: str, text: str) -> Condition:
    """Read what `Condition.text` wrote; what is none of the grammar is a label."""
    if name == "composition":
        units, _, formula = text.rpartition(" x ")
        counts = tuple(parse_formula(formula).items())
        numbers = _numbers("formula_units", units or 1)
        return FormulaUnits(name=name, counts=counts, units=numbers)
    try:
        return _typed(name, text, ())
    except UserError:
        return Learnt(name=name, value=text)


def interval(name: str, value: object) -> Interval:
    """Read a range of numbers.

    Raises:
        UserError: If it is none, or its ends are the wrong way round.

    Example:
        >>> interval("lattice_a", "4.1±0.05")
        Interval(name='lattice_a', low=4.05, high=4.15)
        >>> interval("density", 5)
        Traceback (most recent call last):
        repdiff.errors.UserError: `density` is 5, which no crystal has to the last digit: expected a range such as ...
    """
    if value is None:
        raise UserError(f"`{name}` is empty, expected {RANGE}")
    text = "..".join(map(str, value)) if isinstance(value, list | tuple) else str(value).replace(" ", "")
    low, high = float("-inf"), float("inf")
    if found := AROUND.fullmatch(text):
        middle, width = map(float, found.groups())
        if width < 0:
            raise UserError(f"`{name}` is {text}, expected a tolerance of at least 0")
        low, high = middle - width, middle + width
    elif found := ONE_SIDED.fullmatch(text):
        low, high = (low, float(found[2])) if found[1] == "<" else (float(found[2]), high)
    elif (found := BETWEEN.fullmatch(text)) and any(found.groups()):
        first, last = (found[1], found[2]) if ".." in text else (found[3], found[4])
        low, high = float(first or low), float(last or high)
    elif re.fullmatch(NUMBER, text):
        raise UserError(f"`{name}` is {text}, which no crystal has to the last digit: expected {RANGE}")
    else:
        raise UserError(f"`{name}` is {value!r}, expected {RANGE}")
    if low > high:
        raise UserError(f"`{name}` is {text}, expected the smaller number first")
    if high < 0:
        raise UserError(f"`{name}` is {text}, expected a range that holds a positive number")
    if name in ANGLES and low >= STRAIGHT:
        raise UserError(f"`{name}` is {text}, expected an angle of a cell, less than {STRAIGHT} degrees")
    return Interval(name=name, low=low, high=high)


def _numbers(name: str, value: object) -> frozenset[int]:
    """Read whole numbers and ranges of them, with commas between several."""
    last, examples = (N_SPACE_GROUPS, "225 or 221,225") if name == "space_group" else (LARGEST, "8 or 2-8")
    expected = f"numbers from 1 to {last}, such as {examples}"
    words = list(map(str, value)) if isinstance(value, list | tuple) else str(value).split(",")
    found: set[int] = set()
    for word in words:
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word.replace(" ", ""), re.ASCII)
        if match is None or isinstance(value, bool):
            raise UserError(f"`{name}` is {value!r}, expected {expected}")
        first, end = int(match[1]), int(match[2] or match[1])
        if not (1 <= first <= last and 1 <= end <= last):
            raise UserError(f"`{name}` is {value!r}, expected {expected}")
        if first > end:
            raise UserError(f"`{name}` is {value!r}, expected the smaller number first: {end}-{first}")
        found |= set(range(first, end + 1))
    return frozenset(found)


def _systems(value: object) -> frozenset[str]:
    words = list(map(str, value)) if isinstance(value, list | tuple) else str(value).split(",")
    names = [word.strip().lower() for word in words]
    for name in names:
        if name not in LAST_OF_SYSTEM:
            raise UserError(unknown("crystal system", name, list(LAST_OF_SYSTEM)))
    return frozenset(names)


def _elements(name: str, value: object) -> frozenset[int]:
    """Read element symbols that are joined by - or commas, or a collection of symbols or atomic numbers."""
    if isinstance(value, list | tuple | set | frozenset):
        words = [
            SYMBOLS[one - 1] if isinstance(one, int) and 0 < one <= len(SYMBOLS) else str(one)
            for one in value
        ]
    else:
        words = str(value).replace(",", "-").replace(" ", "").split("-")
    for word in words:
        if word not in ATOMIC_NUMBERS:
            raise UserError(
                f"`{name}` is {value!r}, expected symbols of elements such as Li-Fe-O: {word!r} is none"
            )
    if not words:
        raise UserError(f"`{name}` is empty, expected symbols of elements such as Li-Fe-O")
    return frozenset(ATOMIC_NUMBERS[word] for word in words)
