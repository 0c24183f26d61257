"""Formulas for backends that take one: those of a training set, and those that a user asks for."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.backends.refusals import check_compositions
from repdiff.conditions import Condition
from repdiff.conditions.grammar import OF_ELEMENTS
from repdiff.conditions.kinds import FormulaUnits, Numbers
from repdiff.crystals.formula import Composition
from repdiff.crystals.plain_properties import OF_FORMULA, PLAIN_PROPERTIES
from repdiff.errors import UserError
from repdiff.networks.random_streams import FORMULA, stream

OF_FORMULAS = (*OF_ELEMENTS, "n_atoms", *OF_FORMULA)
"""Conditions that the formula of the cell decides."""


class TrainingFormulas:
    """The formulas of the training set: drawn from where none is asked for.

    Args:
        rows: Atoms of each element in each training crystal; the column is the atomic number.
    """

    def __init__(self, rows: Int[Tensor, "n_crystals n_elements"]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, batch: CrystalBatch) -> "TrainingFormulas":
        """Count the atoms of every crystal."""
        n_elements = int(batch.atomic_numbers.max()) + 1
        counts = torch.zeros(batch.n_systems, n_elements, dtype=torch.long)
        counts.index_put_(
            (batch.system_idx, batch.atomic_numbers),
            torch.ones(batch.n_atoms, dtype=torch.long),
            accumulate=True,
        )
        return cls(counts.to(torch.int16))

    def obeying(self, conditions: Mapping[str, Condition]) -> "TrainingFormulas":
        """Return the formulas that obey conditions, as often as they occur.

        Raises:
            UserError: If there is none.
        """
        if not conditions:
            return self
        different, place = self.rows.unique(dim=0, return_inverse=True)
        flags = torch.tensor(
            [all(one.allows_formula(cell) for one in conditions.values()) for cell in map(_counts, different)]
        )
        kept = self.rows[flags[place]]
        if not len(kept):
            asked = ", ".join(f"`{name}` {one.text}" for name, one in conditions.items())
            raise UserError(
                f"none of {len(self.rows)} training formulas obeys {asked}, expected one that does: ask for a "
                "composition, or for less"
            )
        return TrainingFormulas(kept)

    def range_of(self, name: str) -> tuple[float, float] | None:
        """Return the least and the largest value of a plain property; None if formulas do not tell it."""
        of_formula = getattr(PLAIN_PROPERTIES.get(name), "of_formula", None)
        if of_formula is None:
            return None
        values = [of_formula(_counts(row)) for row in self.rows.unique(dim=0)]
        known = [value for value in values if value is not None]
        return (min(known), max(known)) if known else None

    def draw(self, seed: int, number: int) -> Int[np.ndarray, " n_atoms"]:
        """Return the atoms of a random training crystal, the same for the same seed and number."""
        row = int(stream(seed, number, FORMULA).integers(len(self.rows)))
        counts = self.rows[row].numpy()
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def n_most(self) -> int:
        """Atoms of the largest training crystal."""
        return int(self.rows.sum(1).max())

    @cached_property
    def seen(self) -> set[int]:
        """Atomic numbers that the training set has."""
        return set(self.rows.any(0).nonzero()[:, 0].tolist())


def _counts(row: Int[Tensor, " n_elements"]) -> dict[int, int]:
    return {int(number): int(row[number]) for number in row.nonzero()[:, 0]}


def check_cells(
    compositions: Sequence[Composition] | None,
    conditions: Mapping[str, Condition],
    seen: Collection[int],
    n_most: int,
) -> None:
    """Refuse compositions of which no number of units that is asked for can be made; see `check_compositions`."""
    cells = [_cells(counts, conditions, n_most) for counts in compositions or ()]
    check_compositions([some[0] for some in cells], seen, n_most)


def choose_cells(
    compositions: Sequence[Composition],
    conditions: Mapping[str, Condition],
    *,
    seed: int,
    first: int,
    n_most: int,
) -> list[Composition]:
    """Choose how many units of its composition each sample holds, each that is possible as likely as the others.

    Args:
        compositions: One unit, for each sample.
        conditions: What is asked of all samples; formula units among them, or each holds one.
        seed: Seed of the stream.
        first: Number of the first sample.
        n_most: Atoms of the largest training crystal.
    """
    chosen: list[Composition] = []
    for number, counts in enumerate(compositions, first):
        cells = _cells(counts, conditions, n_most)
        place = 0 if len(cells) == 1 else int(stream(seed, number, FORMULA).integers(len(cells)))
        chosen.append(cells[place])
    return chosen


def _cells(counts: Composition, conditions: Mapping[str, Condition], n_most: int) -> list[Composition]:
    """Return the cells that may be made, small ones first; the smallest alone where all are too large."""
    units = conditions.get("formula_units")
    numbers = units.numbers if isinstance(units, Numbers) else frozenset({1})
    formula = FormulaUnits(name="composition", counts=tuple(sorted(counts.items())), units=numbers)
    wanted: list[Composition] = [*formula.cells()]
    cells = [cell for cell in wanted if all(one.allows_formula(cell) for one in conditions.values())]
    return [cell for cell in cells if sum(cell.values()) <= n_most] or (cells or wanted)[:1]
