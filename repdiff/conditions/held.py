"""Parts of a vector that samples are made around: what was held, and whether a finished crystal still has it.

Held parts are conditions like others, called `held_PART`; what is held is a number, or is taken from a crystal. The
tolerances are those within which a crystal that was made of a vector counts as having what was held.
"""

import re
from abc import abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from descriptors import lattice as cells
from descriptors.symmetry.symbols import ATOMIC_NUMBERS
from repdiff.conditions.facts import Facts, read_facts
from repdiff.conditions.kinds import Condition
from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.formula import Composition, Formula, formula_text, parse_formula, reduced_formula
from repdiff.crystals.niggli import niggli_lattice
from repdiff.errors import UserError, unknown
from repdiff.settings.conditions import CELL, HELD

SHARE, VOLUME, DISTANCE, LENGTH, ANGLE = 0.005, 0.03, 0.1, 0.02, 2.0
"""Tolerances: of a share; of a volume, relative; Å; of a length, relative; degrees."""
OF_CELL = ("cell", "shape")
NAMES = ("cell", "shape", "volume", "lattice", "descriptor", "min_distance", "composition", "n_atoms")
NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+"
ABOUT = re.compile(rf"({NUMBER})(?:(?:±|\+/?-)({NUMBER}))?")
FRACTION = re.compile(r"(\d{1,4})/(\d{1,4})")
Six = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class HeldPart(Condition):
    """A part of the vector that is held; `read_held` makes one.

    Attributes:
        crystal: Where its values are from; None if they are numbers, or were read back.
    """

    crystal: Crystal | None = field(default=None, compare=False)

    @property
    def part(self) -> str:
        """What is held, as it was asked for, such as "composition.Li"."""
        return self.name.removeprefix(HELD)

    @property
    def block(self) -> str:
        """First word of the part, such as "composition"."""
        return re.split(r"[.\[]", self.part, maxsplit=1)[0]

    @property
    @abstractmethod
    def text(self) -> str:
        """What is held, as text that is read back."""


@dataclass(frozen=True, kw_only=True)
class HeldNumber(HeldPart):
    """One number: volume per atom, shortest distance, number of atoms, a share of an element, a length or an angle.

    Attributes:
        value: The number, Å³, Å, degrees or none.
        tolerance: How far that of a crystal may be from it.
    """

    value: float
    tolerance: float

    @property
    def text(self) -> str:
        """The number and its tolerance."""
        return f"{self.value:.9g}±{self.tolerance:.6g}"

    @property
    def element(self) -> int | None:
        """Atomic number of the element whose share is held; None if it is another number."""
        return ATOMIC_NUMBERS[self.part.partition(".")[2]] if self.block == "composition" else None

    def obtained(self, facts: Facts) -> Label:
        """Return the number of a crystal."""
        return measured(self.part, facts)

    def holds(self, facts: Facts) -> bool | None:
        """Compare within the tolerance."""
        found = measured(self.part, facts)
        return found is not None and abs(found - self.value) <= self.tolerance + 1e-9

    def allows_formula(self, counts: Composition) -> bool:
        """Compare a share, or the number of atoms."""
        size = sum(counts.values())
        if self.element is not None:
            return abs(counts.get(self.element, 0) / size - self.value) <= self.tolerance + 1e-9
        return self.part != "n_atoms" or abs(size - self.value) <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class HeldCell(HeldPart):
    """The cell of a crystal, or its shape alone.

    Attributes:
        system: Crystal system of the crystal.
        conventional: Lengths (Å) and angles (degrees) of its conventional cell.
        primitive: The same of a primitive cell.
    """

    system: str
    conventional: Six
    primitive: Six

    @property
    def text(self) -> str:
        """Crystal system, conventional and primitive cell."""
        both = (" ".join(f"{value:.7g}" for value in one) for one in (self.conventional, self.primitive))
        return f"{self.system} {' primitive '.join(both)}"

    def obtained(self, facts: Facts) -> Label:
        """Return the conventional cell."""
        found = facts.conventional_cell
        return None if found is None else " ".join(f"{value:.7g}" for value in found)

    def holds(self, facts: Facts) -> bool | None:
        """Compare reduced cells: the conventional ones, or the primitive ones.

        The latter agree where a crystal of the held cell has another symmetry than the one it was taken from.
        """
        found = facts.conventional_cell
        if found is None:
            return False
        pairs = [(found, self.conventional), (_parameters(facts.crystal.lattice), self.primitive)]
        return any(_same_cell(one, other, scaled=self.part == "shape") for one, other in pairs)

    def allows_group(self, number: int) -> bool:
        """Compare the crystal system."""
        from descriptors.symmetry.space_group import LAST_OF_SYSTEM

        return next(name for name, last in LAST_OF_SYSTEM.items() if number <= last) == self.system


@dataclass(frozen=True, kw_only=True)
class HeldFormula(HeldPart):
    """The composition of a crystal, in any number of units."""

    formula: Formula

    @property
    def text(self) -> str:
        """The reduced formula."""
        return formula_text(dict(self.formula))

    def obtained(self, facts: Facts) -> Label:
        """Return the formula of the cell."""
        return facts.crystal.formula if facts.is_readable else None

    def holds(self, facts: Facts) -> bool | None:
        """Compare reduced formulas."""
        return facts.is_readable and reduced_formula(facts.counts) == self.formula


@dataclass(frozen=True, kw_only=True)
class HeldDescriptor(HeldPart):
    """The descriptor of a crystal, or some of its entries; how near a crystal comes is its loss.

    Attributes:
        source: Name of the crystal.
    """

    source: str

    @property
    def text(self) -> str:
        """Name of the crystal."""
        return f"of {self.source}"

    def obtained(self, facts: Facts) -> Label:
        """Return None."""
        return None

    def holds(self, facts: Facts) -> bool | None:
        """Return None."""
        return None


def read_held(name: str, value: object) -> HeldPart:
    """Read one held part.

    Args:
        name: `held_` and the part.
        value: A number, a text such as "0.25", "1/4" or "12.5±0.5", or a crystal; or what `HeldPart.text` wrote.

    Raises:
        UserError: If there is no such part, or it takes no such value.

    Example:
        >>> read_held("held_composition.Li", "1/4").text
        '0.25±0.005'
        >>> read_held("held_volume", "12.5").text
        '12.5±0.375'
    """
    part = name.removeprefix(HELD)
    block, entry = check_part(part)
    if block == "descriptor":
        if isinstance(value, Crystal):
            return HeldDescriptor(name=name, source=value.id, crystal=value)
        if isinstance(value, str) and value.startswith("of "):
            return HeldDescriptor(name=name, source=value.removeprefix("of "))
        raise _not_a_crystal(part, value)
    if block in OF_CELL:
        return _cell(name, value)
    if block == "composition" and not entry:
        if isinstance(value, Crystal):
            counts = read_facts([value], symmetry=False)[0].counts
            return HeldFormula(name=name, formula=reduced_formula(counts), crystal=value)
        if isinstance(value, str):
            return HeldFormula(name=name, formula=reduced_formula(parse_formula(value)))
        raise _not_a_crystal(part, value)
    return _number(name, part, value)


def check_part(part: str) -> tuple[str, str]:
    """Return block and entry of a part.

    Raises:
        UserError: If it is none.

    Example:
        >>> check_part("composition.Li"), check_part("descriptor[0:10]"), check_part("cell")
        (('composition', 'Li'), ('descriptor', '[0:10]'), ('cell', ''))
    """
    found = re.fullmatch(r"([a-zA-Z_]+)(?:\.(.+)|(\[.*\]))?", part)
    block, entry = (found[1], found[2] or found[3] or "") if found else (part, "")
    if block not in NAMES:
        raise UserError(unknown("part to hold", block, NAMES))
    if block == "composition" and entry and entry not in ATOMIC_NUMBERS:
        raise UserError(f"`hold` gives {part}, expected the symbol of an element, such as composition.Li")
    if block == "lattice" and entry not in CELL:
        raise UserError(f"`hold` gives {part}, expected lattice. and one of {', '.join(CELL)}")
    if entry and block not in ("composition", "lattice", "descriptor"):
        raise UserError(f"`hold` gives {part}, expected {block} alone, which has no parts")
    return block, entry


def measured(part: str, facts: Facts) -> float | None:
    """Return the number that a crystal has; None where it cannot be said."""
    block, _, entry = part.partition(".")
    match block:
        case "volume":
            return facts.number("volume_per_atom")
        case "min_distance":
            return facts.number("shortest_distance")
        case "n_atoms":
            return float(facts.crystal.n_atoms)
        case "lattice":
            return _parameters(facts.crystal.lattice)[CELL.index(entry)]
        case _:
            if not facts.is_readable:
                return None
            return facts.counts.get(ATOMIC_NUMBERS[entry], 0) / facts.crystal.n_atoms


def _number(name: str, part: str, value: object) -> HeldNumber:
    crystal = value if isinstance(value, Crystal) else None
    if crystal is not None:
        number, tolerance = measured(part, read_facts([crystal], symmetry=False)[0]), None
    else:
        number, tolerance = _about(value)
    if number is None:
        raise UserError(
            f"`hold` gives {part}={value if crystal is None else crystal.id}, expected a number such as 12.5 or "
            "12.5±0.5, a share such as 1/4, or a crystal that has one"
        )
    share = part.startswith("composition")
    if share and not 0 <= number <= 1:
        raise UserError(f"`hold` gives {part}={number:g}, expected a share from 0 to 1")
    if not share and number <= 0:
        raise UserError(f"`hold` gives {part}={number:g}, expected a positive number")
    if part == "n_atoms" and number != round(number):
        raise UserError(f"`hold` gives n_atoms={number:g}, expected a whole number")
    return HeldNumber(
        name=name,
        value=number,
        tolerance=_tolerance(part, number) if tolerance is None else tolerance,
        crystal=crystal,
    )


def _about(value: object) -> tuple[float | None, float | None]:
    text = str(value).replace(" ", "")
    if isinstance(value, bool):
        return None, None
    if (found := FRACTION.fullmatch(text)) and int(found[2]):
        return float(Fraction(text)), None
    if found := ABOUT.fullmatch(text):
        return float(found[1]), None if found[2] is None else float(found[2])
    try:
        return float(text), None  # negative numbers, which are refused with their value
    except ValueError:
        return None, None


def _tolerance(part: str, value: float) -> float:
    block, _, entry = part.partition(".")
    if block == "lattice":
        return ANGLE if entry in ("alpha", "beta", "gamma") else LENGTH * value
    return {"volume": VOLUME * value, "min_distance": DISTANCE, "n_atoms": 0.0}.get(block, SHARE)


def _cell(name: str, value: object) -> HeldCell:
    if isinstance(value, Crystal):
        facts = read_facts([value], symmetry=True)[0]
        conventional, system = facts.conventional_cell, facts.symmetry.crystal_system
        if conventional is None or system is None:
            raise UserError(
                f"`hold` takes the cell of {value.id}, which has no space group that can be found"
            )
        return HeldCell(
            name=name,
            system=system,
            conventional=conventional,
            primitive=facts.primitive_cell or _parameters(value.lattice),
            crystal=value,
        )
    words = str(value).replace(" primitive ", " ").split()
    if len(words) != 13:
        raise _not_a_crystal(name.removeprefix(HELD), value)
    numbers = [float(word) for word in words[1:]]
    return HeldCell(name=name, system=words[0], conventional=_six(numbers[:6]), primitive=_six(numbers[6:]))


def _not_a_crystal(part: str, value: object) -> UserError:
    return UserError(
        f"`hold` gives {part}={value}, expected a crystal: a file with one, such as structure.cif"
    )


def _six(numbers: list[float]) -> Six:
    a, b, c, alpha, beta, gamma = numbers
    return a, b, c, alpha, beta, gamma


def _parameters(lattice: np.ndarray) -> Six:
    return _six(cells.to_parameters(torch.from_numpy(np.asarray(lattice, dtype=float))[None])[0].tolist())


def _same_cell(one: Six, other: Six, *, scaled: bool) -> bool:
    """Compare reduced cells within the tolerances."""
    both = []
    for cell in (one, other):
        lattice = cells.from_parameters(torch.tensor([cell], dtype=torch.float64))[0].numpy()
        reduced = niggli_lattice(lattice)
        lattice = lattice if reduced is None else reduced
        both.append(_parameters(lattice / abs(np.linalg.det(lattice)) ** (1 / 3) if scaled else lattice))
    found, wanted = both
    lengths = all(abs(a - b) <= LENGTH * b for a, b in zip(found[:3], wanted[:3], strict=True))
    return lengths and all(abs(a - b) <= ANGLE for a, b in zip(found[3:], wanted[3:], strict=True))
