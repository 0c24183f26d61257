"""Whether crystals are stable: what relaxation did to them, and how far they are above the hull of the known ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.energies.conventions import CONVENTIONS, Convention, describe_correction
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import HullTable, reduced_name
from repdiff.energies.relaxed import Relaxation, RelaxedSet
from repdiff.metrics.base import (
    METRICS,
    NEEDS,
    CellValue,
    Constant,
    Context,
    Metric,
    MetricResult,
    MetricValue,
    absent,
    mean,
    share,
)
from repdiff.metrics.bootstrap import bootstrap
from repdiff.metrics.hull_rows import STABLE, HullRow, look_up, open_hull
from repdiff.metrics.relaxed_symmetry import GroupPair, find_groups, group_columns, kept, symmetry_constants
from repdiff.metrics.sun import NONE_RELAXED, count_sun, sun_constants
from repdiff.metrics.templates import without_templates

N_RESAMPLES = 200
TOLD_APART = ("sun", "sun_symmetric")  # with and without crystals that were started from templates
NO_NAMES = (
    "the shipped hull table has no energies of single crystals: build one of the reference's data set by "
    "`repdiff hull build`, and name it by `hull`"
)


@METRICS.register("stability")
class Stability(Metric):
    """Energy above the hull, stable share, S.U.N., and what relaxation changed.

    Shares are of all structures: what was not made, cannot be computed, or has no place on the hull counts as
    not stable. A relaxation that was stopped by its limit of steps counts by the energy it had reached, which is
    an upper bound. Unique and novel (S.U.N.) are judged on the relaxed structures; symmetric ones are not P1.

    Source: Zeni et al., arXiv 2312.03687, for "stable" as at most 0.1 eV per atom above the hull, and S.U.N.
    """

    description = "energy above the hull, stable share, S.U.N., displacement and energy of relaxation"
    needs = frozenset({"relaxed"})
    takes = frozenset({"reference", "training", "known_set", "hull"})

    def __init__(self, hull: Path | None = None) -> None:
        """Choose the hull.

        Args:
            hull: Table or run of `repdiff hull build`; None for that of the context, or else the one that is shipped
                for the force field.
        """
        self.hull = hull

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Look every structure up among the relaxed.

        Raises:
            UserError: If nothing was relaxed, or the table that was named is not of the same force field.
        """
        relaxed = context.relaxations()
        hull, why_not = open_hull(relaxed, self.hull or context.hull)
        rows = [look_up(crystal.id, relaxed, hull, why_not) for crystal in generated.crystals]
        partial = any(row.relaxation is None for row in rows)
        rows += [look_up(name, relaxed, hull, why_not, failed=not partial) for name in generated.failed]
        counted = [row for row in rows if row.relaxation is not None]
        name = f"{relaxed.force_field.name}-{relaxed.force_field.version}"
        over = f"{name}-hull-{hull.table.name if hull else 'none'}"
        groups = find_groups(generated, rows, context)
        sun, sun_values = count_sun(rows, groups, context, over, hull, why_not)
        apart = without_templates(
            generated,
            {key: sun[key] for key in TOLD_APART if sun_values[key].value is not None},
            dict.fromkeys(TOLD_APART, sun_values["sun"].protocol),
        )
        care = sun_values["sun"].reason
        constants = _constants(relaxed) | symmetry_constants()
        of_hull = constants | _hull_constants(hull, why_not, relaxed.force_field.convention)
        return MetricResult(
            values={
                **_hull_values(counted, over, why_not),
                **sun_values,
                **{key: replace(value, reason=value.reason or care) for key, value in apart.items()},
                "symmetry_kept": kept(groups, name),
                **_relaxation_values([row.relaxation for row in counted if row.relaxation], name),
                "energy_emd": _energy_distance(counted, context, hull.table if hull else None, why_not, over),
            },
            protocols={name: constants, over: of_hull, **sun_constants(over, of_hull, context)},
            columns=_columns(rows, groups, sun),
            details={
                "reasons": dict(Counter(row.reason for row in counted if row.reason).most_common()),
                "n_not_relaxed": len(rows) - len(counted),
            },
        )


def _hull_values(rows: Sequence[HullRow], protocol: str, why_not: str) -> dict[str, MetricValue]:
    above = [row.above_hull for row in rows if row.above_hull is not None]
    no_hull = why_not or "no structure has an energy above the hull"
    values = {
        "e_above_hull": mean(above, protocol, reason=no_hull, unit="eV/atom"),
        "e_above_hull_median": _median(above, protocol, no_hull),
    }
    for name, limit in (("stable", STABLE), ("on_hull", 0.0)):
        values[name] = (
            absent(protocol, why_not, "fraction")
            if why_not
            else share([row.stable(limit) for row in rows], protocol, reason=NONE_RELAXED)
        )
    return values


def _relaxation_values(relaxations: Sequence[Relaxation], protocol: str) -> dict[str, MetricValue]:
    changes = [end.energy_change for end in relaxations if end.energy_change is not None]
    moves = [end.rmsd for end in relaxations if end.rmsd is not None]
    return {
        "rmsd": mean(moves, protocol, reason="no structure was relaxed", unit="Å"),
        "energy_change": mean(changes, protocol, reason="no structure was relaxed", unit="eV/atom"),
        "converged": share([end.converged for end in relaxations], protocol, reason=NONE_RELAXED),
    }


def _energy_distance(
    rows: Sequence[HullRow], context: Context, table: HullTable | None, why_not: str, protocol: str
) -> MetricValue:
    """Compare energies per atom with those of the reference, where the table holds the same crystals."""
    from scipy.stats import wasserstein_distance

    unit = "eV/atom"
    if context.reference is None:
        return absent(protocol, NEEDS["reference"], unit)
    if table is None:
        return absent(protocol, why_not, unit)
    energies = np.sort([row.energy for row in rows if row.energy is not None])
    if not table.ids:
        return absent(protocol, NO_NAMES, unit)
    reference = _energies_of(context.reference.crystals, table)
    if not len(energies):
        return absent(protocol, NONE_RELAXED, unit)
    if 2 * len(reference) <= len(context.reference.crystals) or not len(reference):
        return absent(
            protocol,
            f"the hull table {table.name} holds {len(reference)} of {len(context.reference.crystals)} reference "
            "crystals, expected most of them",
            unit,
        )
    distance = float(wasserstein_distance(energies, reference))

    def resampled(one: Int[np.ndarray, " n"], other: Int[np.ndarray, " m"]) -> float:
        return float(wasserstein_distance(energies[one], reference[other]))

    interval = bootstrap(
        resampled,
        [len(energies), len(reference)],
        distance,
        seed=context.seed,
        n_resamples=N_RESAMPLES,
        bounds=(0.0, np.inf),
    )
    return MetricValue(
        value=distance,
        n=len(energies),
        protocol=protocol,
        unit=unit,
        interval=interval,
        sizes=(len(energies), len(reference)),
    )


def _energies_of(crystals: Sequence[Crystal], table: HullTable) -> Float[np.ndarray, " n_found"]:
    """Look crystals up in a table by name and formula, eV per atom, ascending."""
    known: Mapping[str, int] = {name: row for row, name in enumerate(table.ids)}
    rows = [
        known[crystal.id]
        for crystal in crystals
        if crystal.id in known and table.formulas[known[crystal.id]] == reduced_name(crystal.formula)
    ]
    return np.sort(table.energies[rows])


def _columns(
    rows: Sequence[HullRow], groups: Sequence[GroupPair], sun: Mapping[str, Sequence[CellValue]]
) -> dict[str, Sequence[CellValue]]:
    ends = [row.relaxation for row in rows]
    return {
        "relaxed_energy": [None if end is None else end.energy for end in ends],
        "energy_change": [None if end is None else end.energy_change for end in ends],
        "hull_energy": [row.energy for row in rows],
        "e_above_hull": [row.above_hull for row in rows],
        "rmsd_relaxed": [None if end is None else end.rmsd for end in ends],
        "converged": [None if end is None else end.converged for end in ends],
        "stable": [None if row.relaxation is None else row.stable(STABLE) for row in rows],
        **sun,
        **group_columns(groups),
        "stability_reason": [row.reason for row in rows],
    }


def _constants(relaxed: RelaxedSet) -> dict[str, Constant]:
    return {
        "force_field": relaxed.force_field.name,
        "version": relaxed.force_field.version,
        "weights_sha256": relaxed.force_field.weights_sha256,
        "package": relaxed.force_field.package,
        "energies": CONVENTIONS[relaxed.force_field.convention],
        **relaxed.protocol,
        "rmsd": "atom by atom without drift, in the mean cell",
    }


def _hull_constants(hull: Hull | None, why_not: str, convention: Convention) -> dict[str, Constant]:
    return {
        "hull_table": hull.table.describe() if hull else why_not,
        "added_to_energies": describe_correction(convention),
        "stable_at_most_eV_per_atom": STABLE,
        "on_hull_at_most_eV_per_atom": 0.0,
        "without_energy_counts_as": "not stable",
    }


def _median(numbers: Sequence[float], protocol: str, reason: str) -> MetricValue:
    if not numbers:
        return absent(protocol, reason, "eV/atom")
    values = np.sort(numbers)
    median = float(np.median(values))

    def resampled(rows: Int[np.ndarray, " n"]) -> float:
        return float(np.median(values[rows]))

    interval = bootstrap(resampled, [len(values)], median, seed=0, n_resamples=N_RESAMPLES)
    return MetricValue(value=median, n=len(values), protocol=protocol, unit="eV/atom", interval=interval)
