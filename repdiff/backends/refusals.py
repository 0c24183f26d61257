"""What a backend refuses: options, conditions and formulas that its model cannot make."""

import importlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from descriptors.symmetry.protostructure import Protostructure
from repdiff.conditions import GRAMMAR
from repdiff.conditions.how import SELECTED_BY_ALL
from repdiff.crystals.formula import Composition, formula_text, reduced_formula
from repdiff.errors import UserError, unknown
from repdiff.settings.conditions import HELD


def chosen_keep(keep: str | None, keeps: Sequence[str]) -> str:
    """Return what variations keep: what was asked for, or the default.

    Raises:
        UserError: If the model cannot keep that.
    """
    if keep is None:
        return keeps[0]
    if keep not in keeps:
        raise UserError(f"`keep` is {keep!r}, expected {' or '.join(keeps)} for this model")
    return keep


def check_steps(steps: int | None, n_times: int) -> None:
    """Refuse more steps than a model was trained with.

    Raises:
        UserError: If there are more.
    """
    if steps is not None and steps > n_times:
        raise UserError(f"`steps` is {steps}, expected at most {n_times}, as in training")


def refuse_conditions(backend: str, conditions: Mapping[str, Any] | None, guidance: float | None) -> None:
    """Refuse conditions that a backend does not honour, and say which do.

    Args:
        backend: Name of the backend.
        conditions: What it does not honour of what is asked, by name.
        guidance: Strength of properties that it was taught, of which there are none.

    Raises:
        UserError: If there are any.
    """
    every = importlib.import_module("repdiff.backends").BACKENDS  # those of this package are registered by it
    for name in conditions or ():
        if name.startswith(HELD):
            raise UserError(nothing_to_hold(backend))
        if name in SELECTED_BY_ALL:
            raise UserError(
                f"`{name}` is checked on finished crystals, which the backend {backend} does not see: ask by "
                "`repdiff generate` or Model.sample"
            )
        if name in GRAMMAR:
            others = [other for other in every if name in every[other].conditions]
            raise UserError(
                f"the backend {backend} does not honour `{name}`, expected one that does: {', '.join(others)}"
            )
        others = [other for other in every if "properties" in every[other].conditions]
        raise UserError(
            f"the backend {backend} takes no properties, expected {' or '.join(others)} for those that are learnt: "
            f"{unknown('condition', name, GRAMMAR)}"
        )
    if guidance is not None:
        raise UserError(f"guidance given, expected none: the backend {backend} takes no properties")


def nothing_to_hold(backend: str) -> str:
    """Say why a backend can hold no part of what it draws."""
    every = importlib.import_module("repdiff.backends").BACKENDS
    others = [other for other in every if every[other].holds]
    return (
        f"`hold` is given, and the backend {backend} draws no vectors, parts of which could be held: use a model of "
        f"{' or '.join(others)}"
    )


def seen_only(compositions: Iterable[Composition], seen: Collection[int]) -> None:
    """Refuse compositions with an element that the training data lacks.

    Raises:
        UserError: If there is one; the message lists the elements.
    """
    if strange := {number for counts in compositions for number in counts} - set(seen):
        raise UserError(
            f"a composition has {formula_text({min(strange): 1})}, expected elements of the training data: "
            f"{', '.join(formula_text({number: 1}) for number in sorted(seen))}"
        )


def check_compositions(
    compositions: Sequence[Composition] | None, seen: Collection[int], n_most: int
) -> None:
    """Refuse compositions of strange elements, and those larger than anything the model has learnt.

    Raises:
        UserError: If there is one.
    """
    seen_only(compositions or (), seen)
    largest: Composition = max(compositions or (), key=lambda counts: sum(counts.values()), default={})
    if (size := sum(largest.values())) > n_most:
        unit = dict(reduced_formula(largest))
        fits = sum(unit.values()) <= n_most
        smaller = f", such as {formula_text(unit)}" if fits else ""
        raise UserError(
            f"a composition has {size} atoms, {formula_text(largest)}, expected at most {n_most}, the most of a "
            f"training crystal; the primitive cell is meant, not the conventional one: give a smaller formula{smaller}"
        )


def formulas_asked(
    compositions: Sequence[Composition] | None, protostructures: Sequence[Protostructure] | None
) -> Sequence[Composition] | None:
    """Return the formulas of the primitive cells where protostructures are given, else the compositions.

    Raises:
        UserError: If both are given.
    """
    if protostructures is None:
        return compositions
    if compositions is not None:
        raise UserError(
            "compositions and protostructures given, expected one of them: a protostructure has a formula"
        )
    return [protostructure.composition() for protostructure in protostructures]


def refuse_protostructures(backend: str, protostructures: Sequence[Protostructure] | None) -> None:
    """Refuse protostructures for a backend that takes none.

    Raises:
        UserError: If there are any.
    """
    if protostructures is not None:
        raise UserError(f"protostructures given, expected none: the backend {backend} takes none")
