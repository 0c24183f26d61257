"""What is asked of protostructures: the masks that conditions mean, and what is drawn again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.held_wishes import with_held
from repdiff.conditions import Condition, How, typed
from repdiff.conditions.contradictions import allowed_groups
from repdiff.conditions.grammar import OF_ELEMENTS, OF_GROUPS
from repdiff.conditions.kinds import Elements, Interval, Numbers
from repdiff.crystals.formula import Composition
from repdiff.crystals.plain_properties import OF_FORMULA
from repdiff.networks.protostructure import ProtostructureRequest

WISHES = (*OF_GROUPS, *OF_ELEMENTS, "n_atoms", "formula_units")
"""Conditions that are masks, so that nothing else is drawn."""
HONOURED = dict.fromkeys(("composition", "protostructure", *WISHES, *OF_FORMULA), How.EXACTLY) | {
    "properties": How.SOFTLY
}


def read_wishes(
    conditions: Mapping[str, Any] | None,
    compositions: Sequence[Composition] | None,
    elements: Sequence[int],
) -> list[ProtostructureRequest] | None:
    """Return the masks for each sample, or for all if there are no compositions; None for none.

    Args:
        conditions: What is asked of all samples, by name.
        compositions: One for each sample.
        elements: Atomic numbers that the model knows.

    Raises:
        UserError: If a condition cannot be read.
    """
    asked = typed(conditions or {})
    shared = _shared(asked, elements)
    if compositions is None:
        return None if shared.is_empty else [shared]
    units = asked.get("formula_units")
    numbers = sorted(units.numbers) if isinstance(units, Numbers) else [1]
    formulas = [
        ProtostructureRequest.of_formula(counts, formula_units=numbers).formulas for counts in compositions
    ]
    return [replace(shared, formulas=one) for one in formulas]


def unwanted_formulas(conditions: Mapping[str, Any] | None) -> Callable[[Protostructure], bool] | None:
    """Return what tells protostructures whose formulas do not obey; None if no such condition is asked."""
    limits = [one for one in typed(conditions or {}).values() if isinstance(one, Interval)]
    if not limits:
        return None
    return lambda one: not all(limit.allows_formula(one.composition()) for limit in limits)


def _shared(asked: Mapping[str, Condition], elements: Sequence[int]) -> ProtostructureRequest:
    """Return what is asked of all samples alike."""
    named = {name: one.elements for name, one in asked.items() if isinstance(one, Elements)}
    required = named.get("chemical_system", frozenset())
    allowed = named.get("elements_allowed")
    if required:
        allowed = required if allowed is None else allowed & required
    if (excluded := named.get("elements_excluded")) is not None:
        allowed = (frozenset(elements) if allowed is None else allowed) - excluded
    sizes = asked.get("n_atoms")
    request = ProtostructureRequest(
        groups=allowed_groups(asked),
        n_atoms=sizes.numbers if isinstance(sizes, Numbers) else None,
        allowed=allowed,
        required=required,
    )
    return with_held(request, asked.values(), elements)
