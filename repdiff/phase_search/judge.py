"""Relaxed candidates → phases: their energies above the hull, symmetry, and whether they are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from descriptors.symmetry.labels import write_label
from descriptors.symmetry.settings import canonical
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import count_elements
from repdiff.crystals.symmetry import Symmetry
from repdiff.energies.hull import Hull
from repdiff.energies.relaxed import MAX_SECONDS
from repdiff.metrics.hull_rows import HullRow, look_up
from repdiff.metrics.primitive_cells import of_formulas, reduce_crystals
from repdiff.metrics.structure_groups import find_known, group_same
from repdiff.phase_search.campaign import NOT_TRIED, Outcome
from repdiff.phase_search.candidates import Candidates
from repdiff.phase_search.diagram import KnownPhases
from repdiff.phase_search.enumerate import name_of, system_name
from repdiff.phase_search.result import KNOWN, NEAR_HULL, NEW, ON_HULL, Phase, Phases
from repdiff.symmetry import read_protostructures

SYMPREC = 0.1  # Å


def judge(
    outcome: Outcome,
    candidates: Candidates,
    elements: Sequence[int],
    *,
    hull: Hull,
    known: CrystalSet | None,
    notes: Sequence[str] = (),
) -> Phases:
    """Put relaxed candidates into a table, and count the stages that led there.

    Args:
        outcome: What became of the candidates.
        candidates: What was drawn.
        elements: Atomic numbers of the system.
        hull: Reference energies, of the force field that relaxed.
        known: Known crystals; None if there are none to compare with.
        notes: What a reader must know beside the numbers.

    Raises:
        UserError: If an element has no reference energy.
    """
    name = system_name(elements)
    phases = KnownPhases(hull, name.split("-"))
    rows = _rows(outcome, candidates, hull, phases)
    made = {
        crystal.id: crystal
        for one, end in outcome.relaxed.relaxations.items()
        if (crystal := end.crystal) is not None and one in rows
    }
    for found in (_symmetries(made), _known_as(made, known), _duplicates(made, rows)):
        rows |= {one: replace(rows[one], **facts) for one, facts in found.items()}
    ordered = sorted(
        rows.values(), key=lambda row: (inf if row.e_above_hull is None else row.e_above_hull, row.id)
    )
    return Phases(
        system=name,
        rows=ordered,
        funnel=_funnel(ordered, outcome, candidates),
        known=phases,
        relaxed=outcome.relaxed,
        hull_name=hull.table.describe(),
        notes=[*_cares(outcome, phases, hull, known), *notes],
    )


def _rows(outcome: Outcome, candidates: Candidates, hull: Hull, phases: KnownPhases) -> dict[str, Phase]:
    """Start the row of each candidate that was built or could not be, duplicates before relaxation aside."""
    rows = {}
    for name in candidates.names:
        formula = name.rpartition("-")[0]
        drawn = candidates.protostructures.get(name)
        if name in outcome.not_built:
            rows[name] = Phase(id=name, formula=formula, drawn=drawn, reason=outcome.not_built[name])
        elif name in outcome.relaxed.relaxations:
            found = look_up(name, outcome.relaxed, hull, "")
            rows[name] = _row(name, formula, drawn, found, phases)
        elif name in set(outcome.not_tried):
            rows[name] = Phase(id=name, formula=formula, drawn=drawn, reason=NOT_TRIED)
    return rows


def _row(name: str, formula: str, drawn: str | None, found: HullRow, phases: KnownPhases) -> Phase:
    end = found.relaxation
    assert end is not None
    place = None
    if end.crystal is not None:
        formula = name_of(count_elements(end.crystal))
        if found.energy is not None and found.above_hull is not None:
            place = phases.place(formula, found.energy)
    return Phase(
        id=name,
        formula=formula,
        n_atoms=None if end.crystal is None else end.crystal.n_atoms,
        e_above_hull=found.above_hull,
        formation_energy=None if place is None else place.formation_energy,
        competitors=None if place is None else place.competitors,
        drawn=drawn,
        hull_energy=found.energy,
        converged=end.converged,
        stopped=end.stopped,
        n_steps=end.n_steps,
        reason=found.reason,
    )


def _symmetries(made: Mapping[str, Crystal]) -> dict[str, dict[str, object]]:
    """Read protostructure and space group off each relaxed crystal; nothing where that fails."""
    found: dict[str, dict[str, object]] = {}
    for name, reading in zip(made, read_protostructures(list(made.values()), symprec=SYMPREC), strict=True):
        if (one := reading.protostructure) is not None:
            found[name] = {
                "protostructure": write_label(canonical(one)),
                "space_group": one.number,
                "space_group_symbol": Symmetry(one.number).symbol,
            }
    return found


def _known_as(made: Mapping[str, Crystal], known: CrystalSet | None) -> dict[str, dict[str, object]]:
    """Find the known crystal that each is the same as."""
    if known is None:
        return {}
    crystals = list(made.values())
    alike = of_formulas(known.crystals, crystals)
    rows = find_known(reduce_crystals(crystals), reduce_crystals(alike)).row.tolist()
    return {
        name: {"status": NEW} if row < 0 else {"status": KNOWN, "known_as": alike[row].id}
        for name, row in zip(made, rows, strict=True)
    }


def _duplicates(made: Mapping[str, Crystal], rows: Mapping[str, Phase]) -> dict[str, dict[str, object]]:
    """Name the lowest of each group of crystals that have become the same, for the others of it."""

    def height(name: str) -> tuple[float, str]:
        above = rows[name].e_above_hull
        return (inf if above is None else above, name)

    names = list(made)
    groups: dict[int, list[str]] = {}
    for row, first in enumerate(group_same(reduce_crystals(list(made.values()))).first.tolist()):
        groups.setdefault(row if first < 0 else first, []).append(names[row])
    found: dict[str, dict[str, object]] = {}
    for members in groups.values():
        lowest = min(members, key=height)
        found |= {name: {"duplicate_of": lowest} for name in members if name != lowest}
    return found


def _funnel(rows: Sequence[Phase], outcome: Outcome, candidates: Candidates) -> dict[str, int]:
    relaxed = [row for row in rows if row.n_atoms is not None]
    n_built = len(outcome.relaxed.relaxations) + len(outcome.duplicates)
    near, on = ([row for row in rows if row.within(limit)] for limit in (NEAR_HULL, ON_HULL))
    return {
        "asked": candidates.n_asked,
        "drawn": candidates.n_drawn,
        "distinct": len(candidates),
        "tried": len(candidates) - len(outcome.not_tried),
        "built": n_built,
        "distinct crystals": len(outcome.relaxed.relaxations),
        "relaxed": len(relaxed),
        "converged": sum(row.converged for row in relaxed),
        "distinct when relaxed": sum(not row.duplicate_of for row in relaxed),
        f"within {NEAR_HULL:g} eV/atom": len(near),
        f"new within {NEAR_HULL:g} eV/atom": sum(row.status == NEW for row in near),
        "on the hull": len(on),
        "new on the hull": sum(row.status == NEW for row in on),
    }


def _cares(outcome: Outcome, phases: KnownPhases, hull: Hull, known: CrystalSet | None) -> list[str]:
    """Say what limits the numbers."""
    found = [
        f"Energies are of {outcome.relaxed.force_field}; the hull is that of {hull.table.describe()}.",
        f"On the hull means at most {ON_HULL:g} eV/atom above the hull of the known crystals, or below it.",
    ]
    if hull.table.geometry == "as given":
        found.append(
            "The known crystals of the hull are as given, not relaxed by the force field, so that a known crystal that "
            "is found again may lie some meV below the hull."
        )
    if not phases.n_compounds:
        found.append(
            "No compound of the system is known to the table: the hull is that of the elements alone."
        )
    if known is None:
        found.append("New or known was not decided: name known crystals by `known`.")
    else:
        found.append(f"New means: the same as none of the crystals of {known.name or 'the known ones'}.")
        if refusal := known.refusal:
            found.append(f"Not all known crystals could be read: {refusal}")
    if late := sum(end.stopped == MAX_SECONDS for end in outcome.relaxed.relaxations.values()):
        found.append(
            f"{late} relaxations were stopped by the limit of time for a crystal; their energies are too high."
        )
    if outcome.not_tried:
        found.append(f"{len(outcome.not_tried)} candidates were not tried within the time of `max_minutes`.")
    return found
