"""What is asked of a protostructure: all of it is a mask, so that draws satisfy it exactly."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.symmetry.feasibility import possible_groups
from descriptors.symmetry.symbols import SYMBOLS
from repdiff.networks.protostructure.sizes import SizeTable

Formula = tuple[tuple[int, int], ...]  # (atomic number, atoms of the primitive cell), ascending


@dataclass(frozen=True, kw_only=True)
class ProtostructureRequest:
    """Conditions that a protostructure shall satisfy, all of them; None where anything will do.

    Attributes:
        groups: Space groups, one of which it shall have.
        n_atoms: Numbers of atoms of the primitive cell.
        allowed: Atomic numbers that may occur.
        required: Atomic numbers that shall occur.
        formulas: Atoms of the primitive cell by element, one of which it shall have exactly.
    """

    groups: frozenset[int] | None = None
    n_atoms: frozenset[int] | None = None
    allowed: frozenset[int] | None = None
    required: frozenset[int] = frozenset()
    formulas: tuple[Formula, ...] | None = None

    @classmethod
    def of_formula(
        cls,
        counts: Mapping[int, int],
        *,
        formula_units: Iterable[int] = (1,),
        groups: Iterable[int] | None = None,
    ) -> "ProtostructureRequest":
        """Ask for a formula.

        >>> ProtostructureRequest.of_formula({22: 1, 8: 2}, formula_units=[1, 2]).formulas
        (((8, 2), (22, 1)), ((8, 4), (22, 2)))

        Args:
            counts: Atoms by atomic number, in one formula unit.
            formula_units: How many units the primitive cell may hold.
            groups: Space groups, one of which it shall have.
        """
        formulas = [tuple((number, counts[number] * n) for number in sorted(counts)) for n in formula_units]
        return cls(formulas=tuple(formulas), groups=None if groups is None else frozenset(groups))

    @classmethod
    def of_system(
        cls, elements: Iterable[int], *, groups: Iterable[int] | None = None
    ) -> "ProtostructureRequest":
        """Ask for a chemical system: all of these elements and no others, in one of the space groups."""
        chosen = frozenset(elements)
        return cls(allowed=chosen, required=chosen, groups=None if groups is None else frozenset(groups))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == ProtostructureRequest()


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Group, number of atoms and number of elements that a request leaves open.

    Attributes:
        entries: Space group, atoms, elements, and the place of the formula among those asked for.
        log_prob: Log-probability of each, as in the training set, not normalised.
        reason: Why there is none; "" if there are some.
    """

    entries: Int[Tensor, "n 4"]
    log_prob: Float[Tensor, " n"]
    reason: str = ""


def most_elements(request: ProtostructureRequest, elements: Collection[int]) -> int:
    """Count the elements that a request allows of those that a model knows.

    Args:
        request: What is asked for.
        elements: Atomic numbers that the model knows.
    """
    return len(elements) if request.allowed is None else len(request.allowed & set(elements))


def choices(request: ProtostructureRequest, sizes: SizeTable, elements: tuple[int, ...]) -> Choices:
    """Find what a request leaves open, or say why nothing can satisfy it.

    Args:
        request: What is asked for.
        sizes: Frequencies of groups and sizes that the model draws from.
        elements: Atomic numbers that the model knows, ascending.
    """
    table = sizes.table.clone()
    if reason := _contradiction(request, sizes, elements):
        return nothing(reason)
    if request.groups is not None:
        table[~_flags(request.groups, 231)] = 0
    if request.n_atoms is not None:
        table[:, ~_flags(request.n_atoms, sizes.n_max + 1)] = 0
    table[:, :, most_elements(request, elements) + 1 :] = 0
    table[:, :, : len(request.required)] = 0
    if request.formulas is None:
        entries = table.nonzero()
        found = torch.nn.functional.pad(entries, (0, 1))
        weights = table[tuple(entries.T)]
    else:
        parts = [_of_formula(place, formula, table) for place, formula in enumerate(request.formulas)]
        found = torch.cat([entries for entries, _ in parts])
        weights = torch.cat([weight for _, weight in parts])
    if not len(found):
        return nothing("no space group of the training data has Wyckoff positions for these atoms")
    return Choices(entries=found, log_prob=weights.log())


def _of_formula(
    place: int, formula: Formula, table: Float[Tensor, "231 n_sizes n_numbers"]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, " n"]]:
    counts = tuple(sorted(count for _, count in formula))
    n_atoms, n_elements = sum(counts), len(counts)
    if n_atoms >= table.shape[1] or n_elements >= table.shape[2]:
        return torch.zeros(0, 4, dtype=torch.long), table.new_zeros(0)
    weights = torch.where(torch.from_numpy(_groups_of(counts)), table[:, n_atoms, n_elements], 0.0)
    groups = weights.nonzero()[:, 0]
    others = torch.tensor([n_atoms, n_elements, place]).expand(len(groups), 3)
    return torch.cat([groups[:, None], others], 1), weights[groups]


@lru_cache(maxsize=4096)
def _groups_of(counts: tuple[int, ...]) -> Bool[np.ndarray, " 231"]:
    return possible_groups(counts)


def _contradiction(request: ProtostructureRequest, sizes: SizeTable, elements: tuple[int, ...]) -> str:
    """Say what in a request no draw of the model could satisfy; "" if nothing is found."""
    known = set(elements)
    formulas = request.formulas or ()
    asked = set(request.required) | {number for formula in formulas for number, _ in formula}
    if strange := asked - known:
        return f"the training data have no {_names(strange)}"
    if request.allowed is not None and (forbidden := asked - request.allowed):
        return f"{_names(forbidden)} is asked for and not allowed"
    if request.allowed is not None and not request.allowed & known:
        return f"the training data have none of the allowed elements {_names(request.allowed)}"
    if request.groups is not None and not any(bool(sizes.groups[number]) for number in request.groups):
        return (
            f"the training data have no crystal of space group {', '.join(map(str, sorted(request.groups)))}"
        )
    if request.n_atoms is not None and min(request.n_atoms) > sizes.n_max:
        return f"{min(request.n_atoms)} atoms are more than the {sizes.n_max} of the largest training crystal"
    if len(request.required) > sizes.k_max:
        return f"{len(request.required)} elements are more than the {sizes.k_max} of any training crystal"
    if formulas and min(sum(count for _, count in formula) for formula in formulas) > sizes.n_max:
        least = min(sum(count for _, count in formula) for formula in formulas)
        return f"{least} atoms are more than the {sizes.n_max} of the largest training crystal"
    if formulas and min(len(formula) for formula in formulas) > sizes.k_max:
        return f"a formula has more elements than any training crystal, {sizes.k_max}"
    return ""


def element_masks(
    requests: Sequence[ProtostructureRequest], formulas: Sequence[int], order: Sequence[int]
) -> tuple[Bool[Tensor, "n n_elements"], Bool[Tensor, "n n_elements"], Int[Tensor, "n n_elements"]]:
    """Lay out which elements draws may have, must have, and how many atoms of each (-1: any number).

    Args:
        requests: What is asked of each.
        formulas: Place of the formula of each among those asked for.
        order: Atomic numbers of the columns.
    """
    place = {number: column for column, number in enumerate(order)}
    allowed = torch.ones(len(requests), len(order), dtype=torch.bool)
    required = torch.zeros(len(requests), len(order), dtype=torch.bool)
    target = torch.full((len(requests), len(order)), -1)
    for row, request in enumerate(requests):
        if request.allowed is not None:
            allowed[row] = False
            allowed[row, [place[number] for number in request.allowed if number in place]] = True
        required[row, [place[number] for number in request.required]] = True
        if request.formulas is not None:
            target[row] = 0
            for number, count in request.formulas[formulas[row]]:
                target[row, place[number]] = count
    return allowed, required, target


def nothing(reason: str) -> Choices:
    """Leave nothing open, for a reason."""
    return Choices(
        entries=torch.zeros(0, 4, dtype=torch.long),
        log_prob=torch.zeros(0, dtype=torch.float64),
        reason=reason,
    )


def _flags(numbers: Iterable[int], n: int) -> Bool[Tensor, " n"]:
    flags = torch.zeros(n, dtype=torch.bool)
    flags[[number for number in numbers if 0 <= number < n]] = True
    return flags


def _names(numbers: Iterable[int]) -> str:
    return ", ".join(
        SYMBOLS[number - 1] if 1 <= number <= len(SYMBOLS) else str(number) for number in sorted(numbers)
    )
