"""The kinds of conditions: what is asked as a value, and whether a crystal, a formula or a space group obeys."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS
from descriptors.symmetry.symbols import SYMBOLS
from repdiff.conditions.facts import Facts
from repdiff.crystals.crystal import Label
from repdiff.crystals.formula import Composition, formula_text
from repdiff.crystals.plain_properties import PLAIN_PROPERTIES


@dataclass(frozen=True, kw_only=True)
class Condition(ABC):
    """Something that is asked of a sample; `repdiff.conditions.grammar` reads it from text.

    Attributes:
        name: What it is about.
    """

    name: str

    @property
    @abstractmethod
    def text(self) -> str:
        """What is asked, as text that is read back as the same condition."""

    @abstractmethod
    def obtained(self, facts: Facts) -> Label:
        """Return what a crystal has; None if it cannot be said."""

    @abstractmethod
    def holds(self, facts: Facts) -> bool | None:
        """Tell whether a crystal obeys; None if that cannot be read off a crystal."""

    def allows_formula(self, counts: Composition) -> bool:
        """Tell whether a cell of these atoms can obey."""
        return True

    def allows_group(self, number: int) -> bool:
        """Tell whether a crystal of this space group can obey."""
        return True


@dataclass(frozen=True, kw_only=True)
class Numbers(Condition):
    """Whole numbers, one of which it shall be: space group, atoms of the cell, or formula units of a composition."""

    numbers: frozenset[int]

    @property
    def text(self) -> str:
        """Numbers and ranges with commas between them."""
        runs: list[list[int]] = []
        for number in sorted(self.numbers):
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)

    def obtained(self, facts: Facts) -> Label:
        """Return the space group or the number of atoms."""
        if self.name == "space_group":
            return facts.symmetry.number
        return facts.crystal.n_atoms if self.name == "n_atoms" else None

    def holds(self, facts: Facts) -> bool | None:
        """Compare; formula units are judged with their composition."""
        return None if self.name == "formula_units" else self.obtained(facts) in self.numbers

    def allows_formula(self, counts: Composition) -> bool:
        """Compare the number of atoms."""
        return self.name != "n_atoms" or sum(counts.values()) in self.numbers

    def allows_group(self, number: int) -> bool:
        """Compare the space group."""
        return self.name != "space_group" or number in self.numbers


@dataclass(frozen=True, kw_only=True)
class CrystalSystems(Condition):
    """Crystal systems, one of which it shall have."""

    systems: frozenset[str]

    @property
    def groups(self) -> frozenset[int]:
        """Space groups of these systems."""
        return frozenset(number for number in range(1, N_SPACE_GROUPS + 1) if self.allows_group(number))

    @property
    def text(self) -> str:
        """Names with commas between them, from low symmetry to high."""
        return ",".join(name for name in LAST_OF_SYSTEM if name in self.systems)

    def obtained(self, facts: Facts) -> Label:
        """Return the system of the space group."""
        return facts.symmetry.crystal_system

    def holds(self, facts: Facts) -> bool | None:
        """Compare."""
        return facts.symmetry.crystal_system in self.systems

    def allows_group(self, number: int) -> bool:
        """Compare the system of the group."""
        return next(name for name, last in LAST_OF_SYSTEM.items() if number <= last) in self.systems


@dataclass(frozen=True, kw_only=True)
class Elements(Condition):
    """Elements: all of them and no others (chemical_system), no others (elements_allowed), or none (_excluded)."""

    elements: frozenset[int]

    @property
    def text(self) -> str:
        """Symbols in alphabetical order with dashes between them."""
        return system_text(self.elements)

    def obtained(self, facts: Facts) -> Label:
        """Return the elements that occur."""
        return system_text(facts.counts) if facts.is_readable else None

    def holds(self, facts: Facts) -> bool | None:
        """Compare."""
        return facts.is_readable and self.allows_formula(facts.counts)

    def allows_formula(self, counts: Composition) -> bool:
        """Compare the elements."""
        match self.name:
            case "chemical_system":
                return set(counts) == self.elements
            case "elements_allowed":
                return set(counts) <= self.elements
            case _:
                return not set(counts) & self.elements


@dataclass(frozen=True, kw_only=True)
class FormulaUnits(Condition):
    """A composition, which the cell shall hold some number of times.

    Attributes:
        counts: Atoms by atomic number in one unit, ascending.
        units: Numbers of units.
    """

    counts: tuple[tuple[int, int], ...]
    units: frozenset[int] = frozenset({1})

    @property
    def text(self) -> str:
        """The formula, behind "1-4 x" or the like unless it is asked for once."""
        formula = formula_text(dict(self.counts))
        if self.units == {1}:
            return formula
        return f"{Numbers(name='formula_units', numbers=self.units).text} x {formula}"

    def obtained(self, facts: Facts) -> Label:
        """Return the formula of the cell."""
        return facts.crystal.formula if facts.is_readable else None

    def holds(self, facts: Facts) -> bool | None:
        """Compare."""
        return facts.is_readable and self.allows_formula(facts.counts)

    def allows_formula(self, counts: Composition) -> bool:
        """Tell whether a cell is one of the multiples."""
        return any(dict(counts) == cell for cell in self.cells())

    def cells(self) -> list[dict[int, int]]:
        """Return the cells that may be, small ones first."""
        return [{number: n * count for number, count in self.counts} for n in sorted(self.units)]


@dataclass(frozen=True, kw_only=True)
class Interval(Condition):
    """A number between two others, ends included: a plain property, or a length or an angle of the cell.

    Attributes:
        low: Smallest; -inf for none. Twelve digits are kept.
        high: Largest; inf for none.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Round, so that the text says all of it."""
        for end in ("low", "high"):
            object.__setattr__(self, end, float(f"{getattr(self, end):.12g}"))

    @property
    def text(self) -> str:
        """Both ends, with two dots between them; an end that is open is left out."""
        low, high = (f"{end:.12g}" if math.isfinite(end) else "" for end in (self.low, self.high))
        return f"{low}..{high}"

    def obtained(self, facts: Facts) -> Label:
        """Return the number."""
        return facts.number(self.name)

    def holds(self, facts: Facts) -> bool | None:
        """Compare."""
        return self._within(facts.number(self.name))

    def allows_formula(self, counts: Composition) -> bool:
        """Compare, where the formula decides."""
        one = PLAIN_PROPERTIES.get(self.name)
        return one is None or one.of_formula is None or self._within(one.of_formula(counts))

    def _within(self, value: float | None) -> bool:
        return value is not None and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Learnt(Condition):
    """A label that a model was taught; no crystal tells it without a model of its own.

    Attributes:
        value: The value as it was given.
    """

    value: object

    @property
    def text(self) -> str:
        """The value as text."""
        return str(self.value)

    def obtained(self, facts: Facts) -> Label:
        """Return None."""
        return None

    def holds(self, facts: Facts) -> bool | None:
        """Return None."""
        return None


def system_text(elements: Iterable[int]) -> str:
    """Write elements as a chemical system.

    Example:
        >>> system_text([3, 26, 8])
        'Fe-Li-O'
    """
    return "-".join(sorted(SYMBOLS[number - 1] for number in elements))
