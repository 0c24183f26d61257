"""Which conditions nothing can obey together, said in one line before anything is drawn."""

from collections.abc import Mapping

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS
from repdiff.conditions.held_contradictions import contradiction_of_held
from repdiff.conditions.kinds import Condition, Elements, Interval, Numbers, system_text
from repdiff.crystals.formula import Composition, formula_text
from repdiff.settings.conditions import CELL

SAME_LENGTHS = {"tetragonal": "ab", "trigonal": "ab", "hexagonal": "ab", "cubic": "abc"}
ANGLES = {
    "monoclinic": {"alpha": 90.0, "gamma": 90.0},
    "orthorhombic": {"alpha": 90.0, "beta": 90.0, "gamma": 90.0},
    "tetragonal": {"alpha": 90.0, "beta": 90.0, "gamma": 90.0},
    "trigonal": {"alpha": 90.0, "beta": 90.0, "gamma": 120.0},
    "hexagonal": {"alpha": 90.0, "beta": 90.0, "gamma": 120.0},
    "cubic": {"alpha": 90.0, "beta": 90.0, "gamma": 90.0},
}
"""What a crystal system fixes of the conventional cell, hexagonal axes for trigonal groups."""


def contradiction(
    conditions: Mapping[str, Condition], given: Composition | Protostructure | None = None
) -> str:
    """Say why nothing can obey all conditions at once; "" if nothing is found.

    Args:
        conditions: Conditions by their names.
        given: Composition or protostructure that a sample shall have.

    Example:
        >>> from repdiff.conditions.grammar import typed
        >>> contradiction(typed({"space_group": 225, "crystal_system": "tetragonal"}))
        'no space group of 225 is tetragonal: leave one of `space_group` and `crystal_system` out'
    """
    return (
        _of_groups(conditions)
        or _of_elements(conditions)
        or _of_cell(conditions)
        or contradiction_of_held(conditions, allowed_groups(conditions), given)
        or (
            _of_protostructure(conditions, given)
            if isinstance(given, Protostructure)
            else _of_composition(conditions, given)
        )
    )


def allowed_groups(conditions: Mapping[str, Condition]) -> frozenset[int] | None:
    """Return the space groups that conditions leave; None if they ask for none."""
    asked = [one for one in conditions.values() if one.name in ("space_group", "crystal_system")]
    if not asked:
        return None
    everything = range(1, N_SPACE_GROUPS + 1)
    return frozenset(number for number in everything if all(one.allows_group(number) for one in asked))


def _of_groups(conditions: Mapping[str, Condition]) -> str:
    if allowed_groups(conditions) == frozenset():
        numbers, systems = conditions["space_group"].text, conditions["crystal_system"].text
        return (
            f"no space group of {numbers} is {systems}: leave one of `space_group` and `crystal_system` out"
        )
    return ""


def _of_elements(conditions: Mapping[str, Condition]) -> str:
    asked = {name: one.elements for name, one in conditions.items() if isinstance(one, Elements)}
    system, allowed = asked.get("chemical_system"), asked.get("elements_allowed")
    excluded = asked.get("elements_excluded", frozenset())
    if system is not None:
        if allowed is not None and (strange := system - allowed):
            return f"{system_text(strange)} is asked for by `chemical_system` and not in `elements_allowed`"
        if both := system & excluded:
            return f"{system_text(both)} is asked for by `chemical_system` and in `elements_excluded`"
        sizes = conditions.get("n_atoms")
        if isinstance(sizes, Numbers) and max(sizes.numbers) < len(system):
            return f"`n_atoms` is {sizes.text}, too few for the {len(system)} elements of `chemical_system`"
    if allowed is not None and allowed <= excluded:
        return "no element is left that samples may have: allow more, or exclude fewer"
    return ""


def _of_cell(conditions: Mapping[str, Condition]) -> str:
    """Find crystal systems that the asked lengths and angles leave."""
    cell = {name: one for name in CELL if isinstance(one := conditions.get(f"lattice_{name}"), Interval)}
    groups = allowed_groups(conditions)
    if not cell or groups is None:
        return ""
    firsts = [0, *LAST_OF_SYSTEM.values()]
    systems = [
        name
        for (name, last), before in zip(LAST_OF_SYSTEM.items(), firsts, strict=False)
        if groups & set(range(before + 1, last + 1))
    ]
    if any(_fits(cell, system) for system in systems):
        return ""
    asked = ", ".join(f"{name} {one.text}" for name, one in cell.items())
    return f"`lattice` is {asked}, which no {' or '.join(systems)} cell has"


def _fits(cell: Mapping[str, Interval], system: str) -> bool:
    lengths = [cell[name] for name in SAME_LENGTHS.get(system, "") if name in cell]
    same = not lengths or max(one.low for one in lengths) <= min(one.high for one in lengths)
    angles = ANGLES.get(system, {}).items()
    return same and all(cell[name].low <= angle <= cell[name].high for name, angle in angles if name in cell)


def _of_composition(conditions: Mapping[str, Condition], given: Composition | None) -> str:
    units = conditions.get("formula_units")
    if given is None:
        if units is None:
            return ""
        return f"`formula_units` is {units.text}, expected it beside a composition only"
    numbers = sorted(units.numbers) if isinstance(units, Numbers) else [1]
    cells = [{number: n * count for number, count in given.items()} for n in numbers]
    others = [one for one in conditions.values() if one.name != "formula_units"]
    if any(all(one.allows_formula(cell) for one in others) for cell in cells):
        return ""
    for one in others:
        if not any(one.allows_formula(cell) for cell in cells):
            return f"the composition {formula_text(given)} {_ruled_out(one)}"
    return f"no number of units of {formula_text(given)} suits all conditions"


def _of_protostructure(conditions: Mapping[str, Condition], given: Protostructure) -> str:
    if "formula_units" in conditions:
        return "`formula_units` is given, expected it beside a composition only, not a protostructure"
    for one in conditions.values():
        if not (one.allows_formula(given.composition()) and one.allows_group(given.number)):
            return f"the protostructure {given} {_ruled_out(one)}"
    return ""


def _ruled_out(condition: Condition) -> str:
    return f"is asked for, which `{condition.name}` {condition.text} rules out: leave one of them out"
