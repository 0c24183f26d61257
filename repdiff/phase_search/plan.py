"""What is checked and decided before anything is drawn: the system, its formulas, the force field and the hull."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from repdiff.crystals.formula import Formula
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import find_hull_table
from repdiff.energies.registered import load_force_field
from repdiff.errors import UserError
from repdiff.phase_search.candidates import Drawing
from repdiff.phase_search.charges import Balance
from repdiff.phase_search.enumerate import (
    LEAST,
    Scope,
    allot,
    enumerate_formulas,
    evenly,
    name_of,
    rank,
    read_formulas,
    read_system,
    system_name,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be drawn.

    Attributes:
        elements: Atomic numbers of the system.
        shares: Candidates of each formula, the most promising formula first.
        notes: What was left out, and why.
    """

    elements: tuple[int, ...]
    shares: Mapping[Formula, int]
    notes: Sequence[str] = field(default_factory=tuple)


def read_wanted(system: str | None, formulas: str | None) -> tuple[tuple[int, ...], list[Formula] | None]:
    """Read the system and the formulas that a user names, of which one follows from the other.

    Raises:
        UserError: If neither is given, one cannot be read, or a formula has an element outside the system.
    """
    if formulas is None:
        return read_system(system or ""), None
    chosen = read_formulas(formulas)
    own = list(dict.fromkeys(number for formula in chosen for number, _ in formula))
    if system is None:
        return read_system("-".join(name_of({number: 1}) for number in own)), chosen
    elements = read_system(system)
    for formula in chosen:
        if foreign := [number for number, _ in formula if number not in elements]:
            raise UserError(
                f"{name_of(dict(formula))} of `formulas` has {system_name(foreign)}, expected elements of "
                f"{system_name(elements)} alone"
            )
    return elements, chosen


def open_reference(
    elements: Sequence[int], *, force_field: str, hull: Path | None, device: torch.device
) -> Hull:
    """Load the force field and the reference energies, and refuse what they lack.

    Args:
        elements: Atomic numbers of the system.
        force_field: Name of a registered one.
        hull: Table of reference energies, see `find_hull_table`.
        device: Where the force field will compute.

    Raises:
        UserError: If there is no such force field or table, or one of the two lacks an element.
    """
    model = load_force_field(force_field, device)
    if strange := [number for number in elements if number not in model.known_elements]:
        raise UserError(
            f"the force field {force_field} does not know {system_name(strange)}: take another by `force_field`, or "
            f"another system than {system_name(elements)}"
        )
    found = Hull(find_hull_table(model.identity, hull))
    found.entries(system_name(elements).split("-"))  # which tells what is missing
    return found


def make_plan(
    elements: Sequence[int],
    formulas: Sequence[Formula] | None,
    *,
    n: int,
    scope: Scope,
    drawing: Drawing,
    known: Iterable[str],
) -> Plan:
    """Choose formulas, and spread the candidates over them.

    Formulas that are named get equal shares. Otherwise all of the system are listed, those first that many known
    compounds with elements alike have (see `count_alike`). As many are taken as get four candidates each, in proportion
    to the root of how many these are.

    Args:
        elements: Atomic numbers of the system.
        formulas: Formulas that are named; None to list them.
        n: Candidates in all.
        scope: What belongs to the system, see `enumerate_formulas`.
        drawing: The model, which cannot make every formula.
        known: Formulas of known compounds.

    Raises:
        UserError: If a named formula cannot be made, or no formula can.
    """
    if formulas is not None:
        for formula in formulas:
            if reason := drawing.refusal(formula):
                raise UserError(f"{name_of(dict(formula))} of `formulas` cannot be made: {reason}")
        return Plan(elements=tuple(elements), shares=evenly(n, formulas))
    listed = enumerate_formulas(elements, max_atoms=drawing.max_atoms, scope=scope)
    possible, refused = [], {}
    for one in rank(listed, known):
        if len(possible) == max(1, n // LEAST):
            break
        if reason := drawing.refusal(one.formula):
            refused[one.name] = reason
        else:
            possible.append(one)
    if not possible:
        name, reason = next(iter(refused.items()))
        raise UserError(f"no formula of {system_name(elements)} can be made; the first, {name}: {reason}")
    shares = allot(n, possible)
    n_balanced = sum(one.balance == Balance.COMMON for one in possible if one.formula in shares)
    names = ", ".join(name_of(dict(formula)) for formula in list(shares)[:5])
    log.info(
        "%d of %d formulas of %s, %d that balance with common charges: %s%s",
        len(shares), len(listed), system_name(elements), n_balanced, names, ", ..." if len(shares) > 5 else "",
    )  # fmt: skip
    notes = [
        f"{len(shares)} of {len(listed)} formulas with at most {drawing.max_atoms} atoms were tried, {n_balanced} of "
        "them with common charges that balance."
    ]
    if refused:
        first, reason = next(iter(refused.items()))
        notes.append(
            f"{len(refused)} formulas before them the model cannot make, the first {first}: {reason}."
        )
        log.warning(
            "%d formulas left out, which the model cannot make, the first: %s: %s",
            len(refused),
            first,
            reason,
        )
    return Plan(elements=tuple(elements), shares=shares, notes=notes)
