"""Space groups of generated crystals: those of the evaluation, or found here where it has none."""

from collections.abc import Mapping, Sequence

from repdiff.crystals.symmetry import SYMPREC, find_symmetries
from repdiff.report.collect import EvaluatedRun


def add_space_groups(runs: Sequence[EvaluatedRun]) -> tuple[float, list[str]]:
    """Add space groups to the records of runs whose evaluation has none.

    Returns:
        The tolerance, Å, that of the evaluations if one names it; and a note on each run that needed it.
    """
    symprec = next((found for run in runs if (found := _tolerance(run)) is not None), SYMPREC)
    notes = []
    for run in runs:
        if run.has("space_group") or not run.crystals:
            continue
        found = find_symmetries(list(run.crystals.values()), symprec=symprec)
        for place, symmetry in zip(run.crystals, found, strict=True):
            if symmetry.number is not None:
                run.records[place] |= {
                    "space_group": symmetry.number,
                    "space_group_symbol": symmetry.symbol,
                    "crystal_system": symmetry.crystal_system,
                }
        notes.append(
            f"The evaluation of {run.name} has no space groups: they were found for this page, at {symprec:g} Å."
        )
    return symprec, notes


def _tolerance(run: EvaluatedRun) -> float | None:
    """Look up the tolerance of the symmetry metric, Å."""
    families: Mapping[str, Mapping[str, Mapping[str, Mapping[str, object]]]] = (
        run.metrics.get("metrics") or {}
    )
    for constants in families.get("symmetry", {}).get("protocols", {}).values():
        value = constants.get("symprec_angstrom")
        if isinstance(value, int | float):
            return float(value)
    return None
