"""Variations beside what was held of their parents: columns for the table, and rates."""

from collections.abc import Sequence
from dataclasses import replace

from repdiff.backends.variations import Parents, VariationRequest
from repdiff.conditions import HeldPart, How, Judged, read_held
from repdiff.conditions.verdicts import Rate, columns, verdicts
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.settings.conditions import HELD


def beside_parents(made: CrystalSet, parents: Parents, request: VariationRequest) -> Judged:
    """Put what was held of its parent beside each variation, and count how many have it.

    Args:
        made: Variations, with the columns of `repdiff.backends.variation_columns`.
        parents: The parents.
        request: What was asked for.
    """
    if not request.hold:
        return Judged(crystals=made)
    held = {one.id: _of_parent(one, request.hold) for one in parents.crystals}
    told = verdicts(made.crystals, [held[str(one.labels["parent"])] for one in made.crystals])
    labelled = [
        crystal.replace(labels={**crystal.labels, **columns(verdict)})
        for crystal, verdict in zip(made.crystals, told, strict=True)
    ]
    rates = {}
    for part in request.hold:
        within = [one[f"{HELD}{part}"].within for one in told]
        known = [one for one in within if one is not None]
        rates[f"{HELD}{part}"] = Rate(
            asked="of the parent",
            how=How.HELD,
            n=len(told),
            n_within=sum(known) if known or not told else None,
        )
    judged = Judged(crystals=made, rates=rates)
    return replace(
        judged, crystals=replace(made, crystals=labelled, remarks=(*made.remarks, *judged.lines()))
    )


def _of_parent(parent: Crystal, parts: Sequence[str]) -> list[HeldPart]:
    return [read_held(f"{HELD}{part}", parent) for part in parts]
