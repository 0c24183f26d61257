"""Prototypes of the training set, and how often each occurs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import prototype
from descriptors.symmetry.space_group import LETTERS, space_group
from repdiff.networks.protostructure.request import Choices, ProtostructureRequest, most_elements, nothing

Parts = tuple[str, ...]  # Wyckoff letters that each of the elements takes


@dataclass(frozen=True)
class Prototype:
    """A space group, and the Wyckoff letters that each of the elements takes, whichever they are.

    Attributes:
        number: Space group.
        parts: Letters of each element, ascending.
    """

    number: int
    parts: Parts

    @classmethod
    def of(cls, protostructure: Protostructure) -> "Prototype":
        """Leave out the elements; in a setting that suits a reduced cell."""
        return cls(*prototype(protostructure, sheared=False))

    @classmethod
    def parse(cls, text: str) -> "Prototype":
        """Read what `str` wrote.

        >>> Prototype.parse("225_a_b").parts
        ('a', 'b')

        Raises:
            ValueError: If it is no such text.
        """
        number, *parts = text.split("_")
        found = cls(int(number), tuple(parts))
        letters = LETTERS[: len(space_group(found.number).positions)]
        if not parts or not all(part and set(part) <= set(letters) for part in parts):
            raise ValueError(
                f"{text!r} is no prototype, expected a space group and letters such as '225_a_b'"
            )
        return found

    def __str__(self) -> str:
        """Write group and letters."""
        return "_".join([str(self.number), *self.parts])

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Atoms of the primitive cell that each part stands for."""
        return tuple(part_size(self.number, part) for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class PrototypeTable:
    """How often the prototypes of the training set occur there.

    Attributes:
        prototypes: Each once.
        counts: How often.
    """

    prototypes: tuple[Prototype, ...]
    counts: Int[Tensor, " n"]

    @classmethod
    def of(cls, protostructures: Iterable[Protostructure]) -> "PrototypeTable":
        """Count, the commonest first."""
        found = Counter(map(Prototype.of, protostructures)).most_common()
        return cls(
            prototypes=tuple(one for one, _ in found),
            counts=torch.tensor([n for _, n in found], dtype=torch.long),
        )

    def places(self, protostructures: Iterable[Protostructure]) -> Int[Tensor, " n"]:
        """Return the place of the prototype of each; -1 for one that the training set lacks."""
        known = {one: place for place, one in enumerate(self.prototypes)}
        return torch.tensor([known.get(Prototype.of(one), -1) for one in protostructures], dtype=torch.long)

    @cached_property
    def _by_sizes(self) -> dict[tuple[int, ...], list[int]]:
        places: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(self.prototypes):
            places.setdefault(tuple(sorted(one.sizes)), []).append(place)
        return places

    def choices(self, request: ProtostructureRequest, elements: Sequence[int]) -> Choices:
        """Find the prototypes that a request leaves open.

        Args:
            request: What is asked for.
            elements: Atomic numbers that the model knows.

        Returns:
            Entries are the place in this table, atoms, elements, and the place of the formula among those asked for.
        """
        n_most = most_elements(request, elements)
        pairs = [
            (place, number)
            for number, formula in enumerate(request.formulas or ())
            for place in self._by_sizes.get(tuple(sorted(count for _, count in formula)), ())
        ]
        if request.formulas is None:
            pairs = [(place, 0) for place in range(len(self.prototypes))]
        rows = [
            (place, sum(one.sizes), len(one.parts), number)
            for place, number in pairs
            if (one := self.prototypes[place])
            and (request.groups is None or one.number in request.groups)
            and (request.n_atoms is None or sum(one.sizes) in request.n_atoms)
            and len(request.required) <= len(one.parts) <= n_most
        ]
        if not rows:
            return nothing("no training crystal has a prototype that fits")
        entries = torch.tensor(rows)
        return Choices(entries=entries, log_prob=self.counts[entries[:, 0]].double().log())


@lru_cache(maxsize=1 << 16)
def part_size(number: int, part: str) -> int:
    """Count the atoms of the primitive cell on some positions of a group."""
    positions = space_group(number).positions
    return sum(positions[LETTERS.index(letter)].primitive_multiplicity for letter in part)
