"""Protostructures as sequences of orbits in the order in which the model draws them, in arrays of whole numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import equivalent_settings
from descriptors.symmetry.space_group import LETTERS
from repdiff.networks.protostructure.allowed import allowed_positions, is_fixed, unpack


@dataclass(frozen=True, kw_only=True)
class OrbitSequences:
    """Orbits of protostructures, padded to one length; what each step may choose from is kept beside it.

    Attributes:
        group: Space group.
        n_atoms: Atoms of the primitive cell.
        n_elements: Elements that occur.
        element: Place of each orbit's element in the order of generation; -1 behind the last orbit.
        letter: Place of its Wyckoff letter in the alphabet; 0 behind the last orbit.
        same: Positions that the element of the orbit before may take, as bits.
        new: Positions that a new element may take, as bits.
        crystal: Number of the crystal; several rows are equivalent settings of one.
    """

    group: Int[Tensor, " n"]
    n_atoms: Int[Tensor, " n"]
    n_elements: Int[Tensor, " n"]
    element: Int[Tensor, "n n_orbits"]
    letter: Int[Tensor, "n n_orbits"]
    same: Int[Tensor, "n n_orbits"]
    new: Int[Tensor, "n n_orbits"]
    crystal: Int[Tensor, " n"]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.group)

    @property
    def present(self) -> Bool[Tensor, "n n_orbits"]:
        """Tell where there is an orbit."""
        return self.element >= 0

    def rows(self, rows: Int[Tensor, " n_rows"]) -> "OrbitSequences":
        """Return some of the rows, no longer than they need."""
        longest = int(self.present[rows].sum(1).max()) if len(rows) else 0
        return OrbitSequences(
            group=self.group[rows],
            n_atoms=self.n_atoms[rows],
            n_elements=self.n_elements[rows],
            element=self.element[rows, :longest],
            letter=self.letter[rows, :longest],
            same=self.same[rows, :longest],
            new=self.new[rows, :longest],
            crystal=self.crystal[rows],
        )

    def to(self, device: torch.device | str) -> "OrbitSequences":
        """Move the arrays."""
        return OrbitSequences(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class SequenceCoder:
    """Turns protostructures into sequences and back.

    Attributes:
        order: Atomic numbers in the order of generation, by ascending electronegativity.
    """

    order: tuple[int, ...]

    def encode(
        self, protostructures: Iterable[Protostructure], *, all_settings: bool = True
    ) -> OrbitSequences:
        """Write protostructures as sequences, in all their equivalent settings that keep the cell or as they are.

        Args:
            protostructures: Their elements must be among those of the order; 1 ms each.
            all_settings: Write a row for each setting that differs.

        Raises:
            ValueError: If there is an element that the order lacks.
        """
        place = {number: column for column, number in enumerate(self.order)}
        rows: list[_Row] = []
        for crystal, protostructure in enumerate(protostructures):
            if strange := set(protostructure.elements) - set(place):
                raise ValueError(
                    f"protostructure {crystal} has the element of atomic number {min(strange)}, expected those of "
                    f"the model: {sorted(self.order)}"
                )
            variants = (
                {variant for variant, _ in equivalent_settings(protostructure, sheared=False)}
                if all_settings
                else {protostructure}
            )
            rows += [
                _row(variant, place, crystal) for variant in sorted(variants, key=lambda one: one.orbits)
            ]
        return _pack(rows)

    def decode(self, group: int, elements: Sequence[int], letters: Sequence[int]) -> Protostructure:
        """Build the protostructure of one sequence."""
        return Protostructure(
            group,
            tuple(
                Orbit(letter, self.order[element]) for element, letter in zip(elements, letters, strict=True)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Row:
    head: tuple[int, int, int, int]  # group, atoms, elements, crystal
    steps: list[tuple[int, int, int, int]]  # element, letter, same, new


def _row(protostructure: Protostructure, place: dict[int, int], crystal: int) -> _Row:
    """Walk through the orbits in the order of generation, and note what was allowed at each."""
    orbits = sorted((place[orbit.element], orbit.index) for orbit in protostructure.orbits)
    sizes = [position.primitive_multiplicity for position in protostructure.group.positions]
    number, n_left = protostructure.number, protostructure.n_atoms()
    n_elements = len(protostructure.elements)
    used, last, before, n_to_come = "", "", -1, n_elements
    steps = []
    for element, index in orbits:
        same, new = allowed_positions(number, n_left, used, last, n_to_come)
        steps.append((element, index, same, new))
        n_to_come -= element != before
        n_left -= sizes[index]
        before, last = element, LETTERS[index]
        if is_fixed(number, last):
            used = "".join(sorted(used + last))
    return _Row(head=(number, protostructure.n_atoms(), n_elements, crystal), steps=steps)


def _pack(rows: Sequence[_Row]) -> OrbitSequences:
    longest = max((len(row.steps) for row in rows), default=0)
    packed = np.zeros((len(rows), longest, 4), dtype=np.int64)
    packed[:, :, 0] = -1
    for target, row in zip(packed, rows, strict=True):
        target[: len(row.steps)] = row.steps
    heads = torch.tensor([row.head for row in rows], dtype=torch.long).reshape(-1, 4)
    element, letter, same, new = torch.from_numpy(packed).unbind(2)
    return OrbitSequences(
        group=heads[:, 0],
        n_atoms=heads[:, 1],
        n_elements=heads[:, 2],
        crystal=heads[:, 3],
        element=element,
        letter=letter,
        same=same,
        new=new,
    )


def letter_flags(bits: Int[Tensor, " n"]) -> Bool[Tensor, "n n_letters"]:
    """Turn bits of positions into one flag a letter."""
    return torch.from_numpy(unpack(bits.cpu().numpy())).to(bits.device)
