"""`Protostructure`: a space group and which element sits on which Wyckoff position."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from descriptors.symmetry.space_group import LETTERS, SpaceGroup, WyckoffPosition, check_number, space_group
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER


@dataclass(frozen=True, order=True)
class Orbit:
    """All atoms that the symmetry makes out of one.

    Attributes:
        index: Place of the Wyckoff letter in the alphabet, from 0.
        element: Atomic number.
    """

    index: int
    element: int

    @classmethod
    def of(cls, letter: str, element: int) -> "Orbit":
        """Build an orbit from its Wyckoff letter.

        Raises:
            ValueError: If it is no letter from a to z, or A.
        """
        if len(letter) != 1 or letter not in LETTERS:
            raise ValueError(f"Wyckoff letter is {letter!r}, expected one of {LETTERS}")
        return cls(LETTERS.index(letter), element)

    @property
    def letter(self) -> str:
        """Wyckoff letter."""
        return LETTERS[self.index]


@dataclass(frozen=True)
class Protostructure:
    """A space group and its occupied orbits, an exact and discrete invariant of a crystal.

    The orbits are kept in ascending order of letter, then atomic number, whatever order they are given in: two
    protostructures are equal if they have the same orbits. Free coordinates follow that order.

    Attributes:
        number: Space group, 1 to 230, in its standard setting.
        orbits: At least one.

    Raises:
        ValueError: If the group does not exist, has no such position, a position without free coordinates is taken
            twice, an element does not exist, or there is no orbit.
    """

    number: int
    orbits: tuple[Orbit, ...]

    def __post_init__(self) -> None:
        """Sort the orbits and check that they can exist."""
        check_number(self.number)
        object.__setattr__(self, "orbits", tuple(sorted(self.orbits)))
        if not self.orbits:
            raise ValueError(
                f"protostructure of space group {self.number} has no orbit, expected at least one"
            )
        positions = self.group.positions
        for orbit in self.orbits:
            if not 0 <= orbit.index < len(positions):
                self.group.position(LETTERS[orbit.index] if 0 <= orbit.index < len(LETTERS) else "?")
            if not 1 <= orbit.element <= MAX_ATOMIC_NUMBER:
                raise ValueError(f"atomic number is {orbit.element}, expected 1 to {MAX_ATOMIC_NUMBER}")
        for index, times in Counter(orbit.index for orbit in self.orbits).items():
            if times > 1 and positions[index].n_free == 0:
                raise ValueError(
                    f"Wyckoff position {LETTERS[index]} of space group {self.number} ({self.group.symbol}) is taken "
                    f"{times} times, but it has no free coordinate: once is all it can be"
                )

    @classmethod
    def of(cls, number: int, orbits: Iterable[tuple[int, str]]) -> "Protostructure":
        """Build a protostructure from atomic numbers and Wyckoff letters.

        >>> Protostructure.of(136, [(22, "a"), (8, "f")]).composition()
        {8: 4, 22: 2}

        Raises:
            ValueError: If they describe no protostructure, as the class says.
        """
        return cls(number, tuple(Orbit.of(letter, element) for element, letter in orbits))

    @cached_property
    def group(self) -> SpaceGroup:
        """The space group."""
        return space_group(self.number)

    @cached_property
    def positions(self) -> tuple[WyckoffPosition, ...]:
        """Wyckoff position of each orbit."""
        return tuple(self.group.positions[orbit.index] for orbit in self.orbits)

    @property
    def n_free(self) -> int:
        """Number of free coordinates, the cell not counted."""
        return sum(position.n_free for position in self.positions)

    @property
    def free_offsets(self) -> list[int]:
        """Where the free coordinates of each orbit begin in the vector of all, and where the last ones end."""
        offsets = [0]
        for position in self.positions:
            offsets.append(offsets[-1] + position.n_free)
        return offsets

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(sorted({orbit.element for orbit in self.orbits}))

    def n_atoms(self, *, primitive: bool = True) -> int:
        """Count the atoms of the primitive or the conventional cell."""
        return sum(self.composition(primitive=primitive).values())

    def composition(self, *, primitive: bool = True) -> dict[int, int]:
        """Count the atoms of each element in the primitive or the conventional cell, by ascending atomic number."""
        counts: Counter[int] = Counter()
        for orbit, position in zip(self.orbits, self.positions, strict=True):
            counts[orbit.element] += position.primitive_multiplicity if primitive else position.multiplicity
        return {element: counts[element] for element in sorted(counts)}

    def letters_by_element(self) -> dict[int, str]:
        """Return the sorted Wyckoff letters of each element: {22: "a", 8: "f"}."""
        return {
            element: "".join(orbit.letter for orbit in self.orbits if orbit.element == element)
            for element in self.elements
        }
