"""Which held parts nothing can have together, or beside conditions, said in one line before anything is drawn."""

from collections.abc import Mapping, Sequence

from descriptors.symmetry.protostructure import Protostructure
from repdiff.conditions.held import LENGTH, HeldCell, HeldNumber, HeldPart
from repdiff.conditions.kinds import Condition, Elements, Interval, Numbers
from repdiff.crystals.formula import Composition
from repdiff.settings.conditions import CELL

OF_CELL = ("cell", "shape", "volume", "lattice")
"""Blocks that say something of the cell: one of them at a time, but for shape with volume and several of lattice."""


def contradiction_of_held(
    conditions: Mapping[str, Condition],
    groups: frozenset[int] | None,
    given: Composition | Protostructure | None,
) -> str:
    """Say why nothing can have what is held; "" if nothing is found.

    Args:
        conditions: Conditions by their names, held parts among them.
        groups: Space groups that the other conditions leave; None for all.
        given: Composition or protostructure that a sample shall have.
    """
    held = [one for one in conditions.values() if isinstance(one, HeldPart)]
    return (
        _of_overlaps(held)
        or _of_shares(held, conditions, given)
        or _of_groups(held, groups, given)
        or _of_numbers(held, conditions)
    )


def _of_overlaps(held: Sequence[HeldPart]) -> str:
    blocks = [one.block for one in held if one.block in OF_CELL]
    if len(set(blocks)) > 1 and set(blocks) != {"shape", "volume"}:
        return f"`hold` gives {' and '.join(dict.fromkeys(blocks))}, expected one of them: both are the cell"
    parts = [one.part for one in held if one.block == "composition"]
    if "composition" in parts and len(parts) > 1:
        return f"`hold` gives composition and {parts[-1]}, expected one of them"
    return ""


def _of_shares(
    held: Sequence[HeldPart], conditions: Mapping[str, Condition], given: Composition | Protostructure | None
) -> str:
    """Find shares that are too large together, or of elements that are asked for or excluded otherwise."""
    if given is not None and (parts := [one.part for one in held if one.block in ("composition", "n_atoms")]):
        what = "protostructure" if isinstance(given, Protostructure) else "composition"
        return f"`hold` gives {parts[0]} beside a {what}, which decides it: leave one of them out"
    shares = {one.element: one for one in held if isinstance(one, HeldNumber) and one.element is not None}
    total = sum(one.value - one.tolerance for one in shares.values())
    if total > 1:
        told = ", ".join(f"{one.part}={one.value:g}" for one in shares.values())
        return f"`hold` gives {told}, expected shares of at most 1 together"
    for element, one in shares.items():
        for other in conditions.values():
            if isinstance(other, Elements) and not _suits(element, one.value, other):
                return (
                    f"`hold` gives {one.part}={one.value:g}, which `{other.name}` {other.text} rules out: leave one of "
                    "them out"
                )
    return ""


def _suits(element: int, share: float, asked: Elements) -> bool:
    if asked.name == "elements_excluded":
        return share == 0 or element not in asked.elements
    if share > 0:
        return element in asked.elements
    return asked.name == "elements_allowed" or element not in asked.elements


def _of_groups(
    held: Sequence[HeldPart], groups: frozenset[int] | None, given: Composition | Protostructure | None
) -> str:
    """Find cells of another crystal system than the space groups."""
    for one in held:
        if not isinstance(one, HeldCell):
            continue
        if isinstance(given, Protostructure) and not one.allows_group(given.number):
            return (
                f"`hold` gives {one.part} of a {one.system} crystal, and the protostructure {given} is of space group "
                f"{given.number}: hold one of a crystal of its system"
            )
        if groups is not None and not any(one.allows_group(number) for number in groups):
            return (
                f"`hold` gives {one.part} of a {one.system} crystal, and no space group that is asked for is "
                f"{one.system}: leave `space_group` and `crystal_system` out"
            )
    return ""


def _of_numbers(held: Sequence[HeldPart], conditions: Mapping[str, Condition]) -> str:
    """Find ranges that a held number lies outside of."""
    for one in held:
        ranges: dict[str, tuple[float, float]] = {}
        if isinstance(one, HeldCell) and one.part == "cell":
            ranges = {
                f"lattice_{name}": (value, LENGTH * value)
                for name, value in zip(CELL, one.conventional, strict=True)
            }
        if isinstance(one, HeldNumber):
            named = {"volume": "volume_per_atom", "min_distance": "shortest_distance"}.get(one.part, "")
            ranges = {named: (one.value, one.tolerance)}
            sizes = conditions.get("n_atoms")
            if one.part == "n_atoms" and isinstance(sizes, Numbers) and round(one.value) not in sizes.numbers:
                return f"`hold` gives n_atoms={one.value:g}, which `n_atoms` {sizes.text} rules out"
        for name, (value, around) in ranges.items():
            limit = conditions.get(name)
            if isinstance(limit, Interval) and not limit.low - around <= value <= limit.high + around:
                return f"`hold` gives {one.part}, which {name} {limit.text} rules out: {value:.6g} is held"
    return ""
