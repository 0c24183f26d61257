"""Known crystals of the prototypes that are asked for: what a new crystal of a prototype will look like."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, permutations, product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.symmetry import unit_cell
from descriptors.symmetry.encoding import decode_protostructures, encode_protostructures
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import Setting, canonical, change_setting, prototype, settings
from descriptors.symmetry.space_group import LETTERS
from descriptors.symmetry.substitution import MAX_ASSIGNMENTS, replace_elements, substitutions
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.pettifor import likeness, pettifor_number
from repdiff.crystals.plain_properties import GRAMS_PER_DALTON, PLAIN_PROPERTIES, mass
from repdiff.crystals.volumes import atomic_volumes
from repdiff.symmetry.table import SymmetryTable

N_REMEMBERED = 65536  # protostructures whose templates are kept, a kilobyte each
Pattern = tuple[int, tuple[str, ...]]  # space group, and the Wyckoff letters of each element


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """A known crystal, described as one of the protostructure that is asked for.

    Attributes:
        row: Place of the known crystal in its library.
        free: Free coordinates of the orbits, in the order of the protostructure asked for.
        cell: Free parameters of its conventional cell, Å and degrees, scaled by the volumes of the atoms.
        distance: Mean difference of the Pettifor numbers of its elements from those asked for, by atoms.
    """

    row: int
    free: Float[np.ndarray, " n_free"]
    cell: Float[np.ndarray, "6"]
    distance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Family:
    """The known crystals of one prototype, each in all its descriptions with the positions of the prototype.

    Attributes:
        rows: Place of the crystal in the library, for each description.
        scale: Pettifor number of the element on each part of the prototype.
    """

    rows: Int[np.ndarray, " n_descriptions"]
    scale: Float[np.ndarray, "n_descriptions n_parts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateLibrary:
    """Known crystals by prototype.

    Attributes:
        names: One for each crystal.
        known: Their protostructures, cells and free coordinates; each has all of them.
        volumes: Volume of an atom by atomic number, Å³, as these crystals tell it.
    """

    names: tuple[str, ...]
    known: SymmetryTable
    volumes: Float[np.ndarray, "119"]

    @classmethod
    def of(cls, names: Sequence[str], known: SymmetryTable) -> "TemplateLibrary":
        """Build a library of the crystals that have a protostructure, and learn volumes of atoms from them."""
        table = known.rows(known.known)
        present = [one for one in table.protostructures if one is not None]
        counts = np.zeros((len(present), MAX_ATOMIC_NUMBER + 1))
        for row, one in enumerate(present):
            for element, count in one.composition(primitive=False).items():
                counts[row, element] = count
        numbers = torch.tensor([one.number for one in present])
        volumes = torch.linalg.det(unit_cell.to_lattice(table.cells.double(), numbers)).abs().numpy()
        return cls(
            names=tuple(names[row] for row in known.known),
            known=table,
            volumes=atomic_volumes(counts, volumes),
        )

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.names)

    def range_of(self, name: str) -> tuple[float, float] | None:
        """Return the least and the largest value of a plain property; None if formulas and volumes do not tell it."""
        if name in ("density", "volume_per_atom"):
            values: list[float | None] = list(self._volumes_and_densities[name == "density"])
        elif (of_formula := getattr(PLAIN_PROPERTIES.get(name), "of_formula", None)) is not None:
            values = [of_formula(one.composition()) for one in self._present]
        else:
            return None
        known = [value for value in values if value is not None]
        return (min(known), max(known)) if known else None

    @cached_property
    def _present(self) -> list[Protostructure]:
        return [one for one in self.known.protostructures if one is not None]

    @cached_property
    def _volumes_and_densities(self) -> tuple[list[float], list[float]]:
        """Volumes per atom, Å³, and densities, g/cm³."""
        numbers = torch.tensor([one.number for one in self._present])
        volumes = torch.linalg.det(unit_cell.to_lattice(self.known.cells.double(), numbers)).abs().tolist()
        contents = [one.composition(primitive=False) for one in self._present]
        pairs = list(zip(volumes, contents, strict=True))
        return (
            [volume / sum(counts.values()) for volume, counts in pairs],
            [mass(counts) * GRAMS_PER_DALTON / volume for volume, counts in pairs],
        )

    def holds(self, protostructure: Protostructure) -> bool:
        """Tell whether a known crystal has this protostructure, in whatever setting."""
        kind = prototype(protostructure)
        if kind not in self._canonical:
            rows = self._rows_by_prototype.get(kind, [])
            self._canonical[kind] = frozenset(canonical(self._present[row]) for row in rows)
        return canonical(protostructure) in self._canonical[kind]

    @cached_property
    def _canonical(self) -> dict[Pattern, frozenset[Protostructure]]:
        """Protostructures in the first of their settings, of the prototypes that were asked for."""
        return {}

    @cached_property
    def _families(self) -> dict[Pattern, _Family]:
        """The prototypes that were asked for."""
        return {}

    @cached_property
    def _rows_by_prototype(self) -> Mapping[Pattern, list[int]]:
        alike: dict[Pattern, list[int]] = {}
        for row, one in enumerate(self._present):
            alike.setdefault(_pattern(one), []).append(row)
        found: dict[Pattern, list[int]] = {}
        for rows in alike.values():
            found.setdefault(prototype(self._present[rows[0]]), []).extend(rows)
        return {kind: sorted(rows) for kind, rows in found.items()}

    def nearest(self, wanted: Protostructure, most: int = 1) -> list[Template]:
        """Return the known crystals of a prototype whose elements are most like those asked for, the nearest first.

        Likeness is that on Pettifor's chemical scale: the mean, over the atoms, of the difference of the numbers of the
        two elements. A crystal comes once, with the assignment of its elements that suits best.

        Args:
            wanted: Protostructure asked for.
            most: Number of templates at most.
        """
        return list(self._remembered(wanted, most))

    @cached_property
    def _remembered(self) -> Callable[[Protostructure, int], tuple[Template, ...]]:
        """Find templates, and remember those of the last protostructures: large sets come back to many of them."""
        return lru_cache(maxsize=N_REMEMBERED)(self._find)

    def _find(self, wanted: Protostructure, most: int) -> tuple[Template, ...]:
        if (family := self._family_of(wanted)) is None:
            return ()
        own, scale = _scale(wanted)
        counts = np.array([wanted.composition()[wanted.elements[place]] for place in own], dtype=float)
        distances = np.abs(family.scale - scale) @ (counts / counts.sum())
        found: dict[int, Template] = {}
        for place in np.argsort(distances, kind="stable").tolist():
            row = int(family.rows[place])
            if row in found:
                continue
            template = self._described(row, wanted)
            if template is not None:
                found[row] = template
            if len(found) == most:
                break
        return tuple(found.values())

    def n_alike(self, wanted: Protostructure) -> float:
        """Count the known crystals of a prototype, each as much as its elements are like those asked for.

        Args:
            wanted: Protostructure asked for.

        Returns:
            Sum of `repdiff.crystals.pettifor.likeness` over the crystals, each described as suits best.
        """
        if (family := self._family_of(wanted)) is None:
            return 0.0
        weights = likeness(family.scale, _scale(wanted)[1])
        best = np.zeros(len(self))
        np.maximum.at(best, family.rows, weights)
        return float(best.sum())

    def _family_of(self, wanted: Protostructure) -> _Family | None:
        """Return the known crystals of its prototype; None if there is none."""
        kind = prototype(wanted)
        if kind not in self._rows_by_prototype:
            return None
        if kind not in self._families:
            self._families[kind] = self._family(self._rows_by_prototype[kind])
        return self._families[kind]

    def _family(self, rows: Sequence[int]) -> _Family:
        """Describe the crystals of one prototype in all ways."""
        found: list[tuple[int, list[float]]] = []
        for row in rows:
            one = self._present[row]
            scale = [pettifor_number(element) for element in one.elements]
            found.extend((row, [scale[place] for place in order]) for order in _descriptions(_pattern(one)))
        return _Family(
            rows=np.array([row for row, _ in found]), scale=np.array([numbers for _, numbers in found])
        )

    def _described(self, row: int, wanted: Protostructure) -> Template | None:
        """Describe a known crystal as one of the protostructure asked for, by the likest elements."""
        known = self.known.protostructures[row]
        assert known is not None
        possible = [(_distance(known, one.elements), one) for one in substitutions(known, wanted)]
        if not possible:  # they differ by a setting that shears the cell
            return None
        distance, chosen = min(possible, key=lambda pair: pair[0])
        described, free, cell = self._settled(row, chosen.setting)
        _, free = replace_elements(described, free, chosen.elements)
        cell = cell * (self._room(wanted) / self._room(known)) ** (1 / 3)
        numbers = torch.tensor([known.number])
        return Template(
            row=row,
            free=free,
            cell=unit_cell.from_lattice(torch.from_numpy(cell)[None], numbers, exact=True)[0].numpy(),
            distance=distance,
        )

    @cached_property
    def _settled(self) -> Callable[[int, Setting], tuple[Protostructure, np.ndarray, np.ndarray]]:
        """Describe a known crystal in another setting, and remember the last ones: some serve many draws."""

        @lru_cache(maxsize=N_REMEMBERED)
        def settled(row: int, setting: Setting) -> tuple[Protostructure, np.ndarray, np.ndarray]:
            known = self.known.protostructures[row]
            assert known is not None
            cell = self.known.cells[row : row + 1].double()
            lattice = unit_cell.to_lattice(cell, torch.tensor([known.number]))[0].numpy()
            return change_setting(known, self.known.free_of(row).double().numpy(), lattice, setting)

        return settled

    def _room(self, protostructure: Protostructure) -> float:
        """Sum the volumes of the atoms, Å³."""
        return sum(count * self.volumes[element] for element, count in protostructure.composition().items())

    def tensors(self) -> dict[str, Tensor]:
        """Return protostructures, cells and free coordinates as named tensors, packed."""
        present = [one for one in self.known.protostructures if one is not None]
        packed = [encode_protostructures([one], max_orbits=len(one.orbits))[0] for one in present]
        free = [self.known.free_of(row) for row in range(len(self))]
        return {
            "lengths": torch.tensor([len(one) for one in packed], dtype=torch.int16),
            "protostructures": torch.from_numpy(np.concatenate([*packed, np.zeros(0, dtype=np.int16)])),
            "cells": self.known.cells.float(),
            "free": torch.cat([*free, torch.zeros(0)]).float(),
            "volumes": torch.from_numpy(self.volumes).float(),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], names: Sequence[str]) -> "TemplateLibrary":
        """Build from what `tensors` returned.

        Raises:
            KeyError: If one is missing.
            ValueError: If a row describes what cannot exist, or the numbers of rows differ.
        """
        lengths, rows = tensors["lengths"].long(), tensors["protostructures"].numpy()
        if len(rows) != int(lengths.sum()):
            raise ValueError(f"`protostructures` has shape ({len(rows)},), expected ({int(lengths.sum())},)")
        parts = np.split(rows, lengths.cumsum(0).numpy()[:-1]) if len(lengths) else []
        found = [decode_protostructures(part[None])[0] for part in parts]
        counts = [one.n_free for one in found]
        if not len(found) == len(names) == len(tensors["cells"]) or sum(counts) != len(tensors["free"]):
            raise ValueError(
                f"the shapes of {len(found)} templates with {len(names)} names, {len(tensors['cells'])} cells and "
                f"{len(tensors['free'])} free coordinates differ, expected as many and {sum(counts)} coordinates"
            )
        bare = SymmetryTable.without_coordinates(found, tensors["cells"])
        table = bare.with_coordinates(tensors["free"].split(counts))
        volumes = tensors["volumes"].double().numpy()
        return cls(names=tuple(names), known=table, volumes=volumes)


def _pattern(protostructure: Protostructure) -> Pattern:
    letters = protostructure.letters_by_element()
    return protostructure.number, tuple(letters[element] for element in protostructure.elements)


@lru_cache(maxsize=65536)
def _descriptions(pattern: Pattern) -> list[tuple[int, ...]]:
    """Return, for each way to lay elements on the parts of their prototype, which element lies on which part."""
    number, letters = pattern
    kinds = [[LETTERS.index(letter) for letter in part] for part in letters]
    described = [
        [
            "".join(LETTERS[place] for place in sorted(setting.letters[index] for index in kind))
            for kind in kinds
        ]
        for setting in settings(number)
    ]
    first = min(_in_order(parts) for parts in described)
    found: dict[tuple[int, ...], None] = {}
    for parts in described:
        if _in_order(parts) != first:
            continue
        alike = [
            [place for place, part in enumerate(parts) if part == wanted] for wanted in dict.fromkeys(first)
        ]
        choices = product(*(permutations(places) for places in alike))
        for choice in islice(choices, MAX_ASSIGNMENTS):
            found[tuple(place for part in choice for place in part)] = None
    return list(found)


def _scale(wanted: Protostructure) -> tuple[tuple[int, ...], Float[np.ndarray, " n_parts"]]:
    """Return the places of its elements on the parts of its prototype, and their Pettifor numbers."""
    own = _descriptions(_pattern(wanted))[0]
    return own, np.array([pettifor_number(wanted.elements[place]) for place in own])


def _in_order(parts: Sequence[str]) -> tuple[str, ...]:
    """Sort lists of letters as `descriptors.symmetry.settings.prototype` does."""
    return tuple(sorted(parts, key=lambda part: [LETTERS.index(letter) for letter in part]))


def _distance(known: Protostructure, elements: Mapping[int, int]) -> float:
    counts = known.composition()
    total = sum(
        count * abs(pettifor_number(old) - pettifor_number(elements[old])) for old, count in counts.items()
    )
    return total / sum(counts.values())
