"""The 230 space groups in their standard settings, and their Wyckoff positions.

Standard settings are those of the International Tables: unique axis b and cell choice 1 for monoclinic groups, origin
choice 2 where there are two, hexagonal axes for rhombohedral groups. The shipped table holds the operations, one
representative of each position and the equivalent settings; all else follows from these.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from descriptors.symmetry.affine import DENOMINATOR, Affine, parse_affine
from descriptors.symmetry.point_groups import point_group_symbol

TABLE = Path(__file__).with_name("space_groups.json")
N_SPACE_GROUPS = 230
LETTERS = "abcdefghijklmnopqrstuvwxyzA"
LAST_OF_SYSTEM = {
    "triclinic": 2, "monoclinic": 15, "orthorhombic": 74, "tetragonal": 142,
    "trigonal": 167, "hexagonal": 194, "cubic": 230,
}  # fmt: skip
TO_CONVENTIONAL = {  # rows: the conventional cell vectors as sums of the primitive ones
    "P": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "A": ((1, 0, 0), (0, 1, 1), (0, -1, 1)),
    "C": ((1, 1, 0), (-1, 1, 0), (0, 0, 1)),
    "I": ((0, 1, 1), (1, 0, 1), (1, 1, 0)),
    "F": ((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
    "R": ((1, -1, 0), (0, 1, -1), (1, 1, 1)),
}  # the primitive vectors: A (b ∓ c)/2, C (a ∓ b)/2, I (−a+b+c)/2 ..., F (b+c)/2 ..., R obverse


@dataclass(frozen=True, eq=False, kw_only=True)
class Images:
    """The operations that make an orbit out of its representative atom, in one kind of cell; the unit one first.

    Attributes:
        rotations: Linear parts, acting on rows of fractional coordinates of that cell.
        translations: Translation parts, in units of the vectors of that cell.
    """

    rotations: Int[np.ndarray, "multiplicity 3 3"]
    translations: Float[np.ndarray, "multiplicity 3"]


@dataclass(frozen=True, eq=False, kw_only=True)
class WyckoffPosition:
    """A Wyckoff position: its representative point is origin / 24 + p @ directions in the conventional cell.

    Attributes:
        group: The space group it belongs to.
        letter: a to z, then A.
        origin: Representative point where all free coordinates are zero, in twenty-fourths.
        directions: How the point moves with each free coordinate; integers.
        stabilizer: Which operations of the group keep the representative point, modulo the lattice.
    """

    group: "SpaceGroup"
    letter: str
    origin: Int[np.ndarray, "3"]
    directions: Int[np.ndarray, "n_free 3"]
    stabilizer: Int[np.ndarray, " site_symmetry_order"]

    @property
    def n_free(self) -> int:
        """Number of free coordinates, 0 to 3."""
        return len(self.directions)

    @property
    def index(self) -> int:
        """Place of the letter in the alphabet, from 0."""
        return LETTERS.index(self.letter)

    @property
    def site_symmetry_order(self) -> int:
        """Number of operations of the site-symmetry group."""
        return len(self.stabilizer)

    @property
    def site_symmetry(self) -> str:
        """Hermann-Mauguin symbol of the site-symmetry point group, without orientation: "mm2"."""
        return point_group_symbol(self.group.rotations[self.stabilizer])

    @property
    def multiplicity(self) -> int:
        """Number of atoms of an orbit in the conventional cell."""
        return self.primitive_multiplicity * len(self.group.centring_translations)

    @property
    def primitive_multiplicity(self) -> int:
        """Number of atoms of an orbit in the primitive cell."""
        return len(self.group.rotations) // self.site_symmetry_order

    @cached_property
    def projector(self) -> Float[np.ndarray, "3 3"]:
        """The mean of the rotations that keep the point; projects steps, as rows, onto those that keep the symmetry."""
        return self.group.rotations[self.stabilizer].sum(0) / self.site_symmetry_order

    @cached_property
    def to_free(self) -> Float[np.ndarray, "3 n_free"]:
        """Gives the free coordinates of a point near the position, p = (point - origin / 24) @ to_free."""
        if self.n_free == 0:
            return np.zeros((3, 0))
        return self.projector @ np.linalg.pinv(self.directions.astype(float))

    @cached_property
    def primitive_images(self) -> Images:
        """The operations that make the orbit in the primitive cell."""
        return self._images(primitive=True)

    @cached_property
    def conventional_images(self) -> Images:
        """The operations that make the orbit in the conventional cell."""
        return self._images(primitive=False)

    def _images(self, *, primitive: bool) -> Images:
        group = self.group
        rotations, shifts = group.rotations, group.translations
        if not primitive:
            n_centring = len(group.centring_translations)
            shifts = (shifts[None] + group.centring_translations[:, None]).reshape(-1, 3)
            rotations = np.tile(rotations, (n_centring, 1, 1))
        keys = _image_keys(self.origin, self.directions, rotations, shifts, group.to_primitive, primitive)
        chosen = np.sort(np.unique(keys, axis=0, return_index=True)[1])
        rotations, shifts = rotations[chosen], shifts[chosen]
        if primitive:
            rotations = np.rint(group.primitive_vectors @ rotations @ group.to_primitive).astype(np.int64)
            shifts = shifts @ group.to_primitive
        return Images(rotations=rotations, translations=shifts / DENOMINATOR)


@dataclass(frozen=True, eq=False, kw_only=True)
class SpaceGroup:
    """A space group in its standard setting.

    Attributes:
        number: 1 to 230.
        symbol: Short Hermann-Mauguin symbol without spaces.
        centring: P, A, C, I, F or R.
        rotations: Linear parts of the operations, acting on rows, one for each of the point group; the unit first.
        translations: Their translations, in twenty-fourths of the conventional cell vectors.
        centring_translations: Lattice points of the conventional cell, in twenty-fourths; zero first.
    """

    number: int
    symbol: str
    centring: str
    rotations: Int[np.ndarray, "n_operations 3 3"]
    translations: Int[np.ndarray, "n_operations 3"]
    centring_translations: Int[np.ndarray, "n_lattice_points 3"]
    representatives: tuple[Affine, ...]

    @cached_property
    def crystal_system(self) -> str:
        """triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal or cubic."""
        return next(system for system, last in LAST_OF_SYSTEM.items() if self.number <= last)

    @cached_property
    def to_primitive(self) -> Int[np.ndarray, "3 3"]:
        """Gives fractional coordinates in the primitive cell, frac_conventional @ to_primitive."""
        return np.array(TO_CONVENTIONAL[self.centring])

    @cached_property
    def primitive_vectors(self) -> Float[np.ndarray, "3 3"]:
        """Rows: the primitive cell vectors as sums of the conventional ones."""
        return np.linalg.inv(self.to_primitive)

    @cached_property
    def positions(self) -> tuple[WyckoffPosition, ...]:
        """All Wyckoff positions, a first and the general position last."""
        return tuple(
            self._position(letter, affine)
            for letter, affine in zip(LETTERS, self.representatives, strict=False)
        )

    def position(self, letter: str) -> WyckoffPosition:
        """Return the Wyckoff position of a letter.

        Raises:
            ValueError: If the group has no such position.
        """
        index = LETTERS.find(letter) if len(letter) == 1 else -1
        if not 0 <= index < len(self.positions):
            raise ValueError(
                f"space group {self.number} ({self.symbol}) has no Wyckoff position {letter!r}, expected one of "
                f"{LETTERS[: len(self.positions)]}"
            )
        return self.positions[index]

    def _position(self, letter: str, affine: Affine) -> WyckoffPosition:
        directions = affine.linear[affine.linear.any(1)]
        keys = _image_keys(
            affine.shift, directions, self.rotations, self.translations, self.to_primitive, True
        )
        return WyckoffPosition(
            group=self,
            letter=letter,
            origin=affine.shift,
            directions=directions,
            stabilizer=np.nonzero((keys == keys[0]).all(1))[0],
        )


def _image_keys(
    origin: Int[np.ndarray, "3"],
    directions: Int[np.ndarray, "n_free 3"],
    rotations: Int[np.ndarray, "n 3 3"],
    shifts: Int[np.ndarray, "n 3"],
    to_primitive: Int[np.ndarray, "3 3"],
    primitive: bool,
) -> Int[np.ndarray, "n n_key"]:
    """Number the images of a representative as functions of p; equal rows are one point for every p, exactly."""
    points = origin @ rotations + shifts
    if primitive:
        points = points @ to_primitive
    moved = np.einsum("fi,nij->nfj", directions, rotations).reshape(len(rotations), -1)
    return np.concatenate([points % DENOMINATOR, moved], 1)


def check_number(number: int) -> None:
    """Refuse what is no number of a space group.

    Raises:
        ValueError: If it is not within 1 to 230.
    """
    if not 1 <= number <= N_SPACE_GROUPS:
        raise ValueError(f"space group is {number}, expected 1 to {N_SPACE_GROUPS}")


@cache
def read_table() -> dict[str, Any]:
    """Read the shipped table: its sources, and one record for each space group."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


@cache
def space_group(number: int) -> SpaceGroup:
    """Return a space group in its standard setting.

    >>> [(p.letter, p.multiplicity, p.n_free, p.site_symmetry) for p in space_group(221).positions[:3]]
    [('a', 1, 0, 'm-3m'), ('b', 1, 0, 'm-3m'), ('c', 3, 0, '4/mmm')]

    Raises:
        ValueError: If the number is not within 1 to 230.
    """
    check_number(number)
    record = read_table()["groups"][number - 1]
    return build_group(number, record["symbol"], record["operations"], record["positions"])


def build_group(
    number: int, symbol: str, operations: Sequence[str], representatives: Sequence[str]
) -> SpaceGroup:
    """Build a space group from the texts of its operations and of one representative a position.

    Args:
        number: 1 to 230.
        symbol: Short Hermann-Mauguin symbol; its first letter is the centring.
        operations: One for each rotation, the unit first.
        representatives: One representative per Wyckoff position, in the order of the letters, a first.
    """
    maps = [parse_affine(text) for text in operations]
    points = _lattice_points(np.array(TO_CONVENTIONAL[symbol[0]]))
    return SpaceGroup(
        number=number,
        symbol=symbol,
        centring=symbol[0],
        rotations=np.stack([affine.linear for affine in maps]),
        translations=np.stack([affine.shift for affine in maps]),
        centring_translations=points,
        representatives=tuple(parse_affine(text) for text in representatives),
    )


def _lattice_points(to_primitive: Int[np.ndarray, "3 3"]) -> Int[np.ndarray, "n 3"]:
    """Return the lattice points of the conventional cell, in twenty-fourths, zero first."""
    steps = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = np.rint(DENOMINATOR * (steps @ np.linalg.inv(to_primitive))).astype(np.int64) % DENOMINATOR
    return np.unique(points, axis=0)
