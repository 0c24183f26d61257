"""Whether crystals are stable: what relaxation did to them, and how far they are above the hull of the known ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.energies.conventions import CONVENTIONS, Convention, describe_correction, hull_energy
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import HullTable, find_hull_table, reduced_name
from repdiff.energies.relaxed import Relaxation, RelaxedSet
from repdiff.errors import UserError
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
from repdiff.metrics.uniqueness import matcher_constants, novel_flags, novelty_constants, unique_flags
from repdiff.metrics.validity import NOT_MADE

STABLE = 0.1  # eV per atom above the hull
ORDERS = {"sun": "sun", "sun_mattergen": "mattergen"}  # protocol by value
FILTERS = {
    "sun": "stable, of these novel, of these unique",
    "sun_mattergen": "the first of each group of duplicates among all, if novel and stable",
}
NO_KNOWN_SET = f"{NEEDS['training']}, or name what counts as known by `novelty`"
N_RESAMPLES = 200
NONE_RELAXED = "none of these structures was relaxed"
NOT_RELAXED = "not among the relaxed"
NO_NAMES = (
    "the shipped hull table has no energies of single crystals: build one of the reference's data set by "
    "`repdiff hull build`, and name it by `hull`"
)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One structure: what relaxation made of it, and its energy above the hull or why there is none."""

    relaxation: Relaxation | None
    energy: float | None = (
        None  # eV per atom as on the hull: with corrections, where the force field lacks them
    )
    above_hull: float | None = None
    reason: str

    def stable(self, limit: float) -> bool:
        return self.above_hull is not None and self.above_hull <= limit


@METRICS.register("stability")
class Stability(Metric):
    """Energy above the hull, stable share, S.U.N., and what relaxation changed.

    Shares are of all structures: what was not made, cannot be computed, or has no place on the hull counts as
    not stable. A relaxation that was stopped by its limit of steps counts by the energy it had reached, which is
    an upper bound. Unique and novel (S.U.N.) are judged on the relaxed structures.

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
        hull, why_not = _open(relaxed, self.hull or context.hull)
        rows = [_look_up(crystal.id, relaxed, hull, why_not) for crystal in generated.crystals]
        partial = any(row.relaxation is None for row in rows)
        rows += [_look_up(name, relaxed, hull, why_not, failed=not partial) for name in generated.failed]
        counted = [row for row in rows if row.relaxation is not None]
        name = f"{relaxed.force_field.name}-{relaxed.force_field.version}"
        over = f"{name}-hull-{hull.table.name if hull else 'none'}"
        sun, sun_values = _sun(rows, context, over, hull, why_not)
        constants = _constants(relaxed)
        of_hull = constants | _hull_constants(hull, why_not, relaxed.force_field.convention)
        return MetricResult(
            values={
                **_hull_values(counted, over, why_not),
                **sun_values,
                **_relaxation_values([row.relaxation for row in counted if row.relaxation], name),
                "energy_emd": _energy_distance(counted, context, hull.table if hull else None, why_not, over),
            },
            protocols={name: constants, over: of_hull, **_sun_constants(over, of_hull, context)},
            columns=_columns(rows, sun),
            details={
                "reasons": dict(Counter(row.reason for row in counted if row.reason).most_common()),
                "n_not_relaxed": len(rows) - len(counted),
            },
        )


def _open(relaxed: RelaxedSet, path: Path | None) -> tuple[Hull | None, str]:
    """Return the hull, or why there is none; a table that was named must fit."""
    try:
        return Hull(find_hull_table(relaxed.force_field, path)), ""
    except UserError as error:
        if path is not None:
            raise
        return None, str(error)


def _look_up(
    name: str, relaxed: RelaxedSet, hull: Hull | None, why_not: str, *, failed: bool = False
) -> _Row:
    """Find one structure; `failed` for one that was never made, and counts all the same."""
    relaxation = relaxed.relaxations.get(name)
    if relaxation is None and failed:
        relaxation = Relaxation(
            crystal=None,
            initial_energy=None,
            energy=None,
            n_steps=0,
            converged=False,
            rmsd=None,
            reason=NOT_MADE,
        )
    if relaxation is None:
        return _Row(relaxation=None, reason=NOT_RELAXED)
    if relaxation.crystal is None or relaxation.energy is None:
        return _Row(relaxation=relaxation, reason=relaxation.reason)
    if hull is None:
        return _Row(relaxation=relaxation, reason=why_not)
    energy, reason = hull_energy(relaxation.crystal, relaxation.energy, relaxed.force_field.convention)
    if energy is None:
        return _Row(relaxation=relaxation, reason=reason)
    above, reason = hull.above(relaxation.crystal.formula, energy)
    return _Row(relaxation=relaxation, energy=energy, above_hull=above, reason=reason)


def _hull_values(rows: Sequence[_Row], protocol: str, why_not: str) -> dict[str, MetricValue]:
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


def _sun(
    rows: Sequence[_Row], context: Context, protocol: str, hull: Hull | None, why_not: str
) -> tuple[dict[str, list[CellValue]], dict[str, MetricValue]]:
    """Count the stable, unique and novel crystals by both orders of the filters.

    `sun`: the stable ones, of these the novel, and of these each of a group of duplicates once. `sun_mattergen`: each
    of a group of duplicates among all relaxed crystals once, if that one is novel and stable.
    """
    known, n = context.known_to_all(), len(rows)
    if known is None or why_not:
        none = absent(protocol, why_not or NO_KNOWN_SET, "fraction")
        return dict.fromkeys(ORDERS, [None] * n), dict.fromkeys(ORDERS, none)
    unique = partial(
        unique_flags, matcher=context.matcher, n_workers=context.n_workers, progress=context.progress
    )
    stable = [place for place, row in enumerate(rows) if row.stable(STABLE)]
    new = novel_flags(
        _relaxed(rows, stable),
        known.crystals,
        matcher=context.matcher,
        n_workers=context.n_workers,
        progress=context.progress,
    )
    novel = _where(stable, new)
    made = [place for place, row in enumerate(rows) if row.relaxation is not None and row.relaxation.crystal]
    chosen = {
        "sun": set(_where(novel, unique(_relaxed(rows, novel)))),
        "sun_mattergen": set(novel) & set(_where(made, unique(_relaxed(rows, made)))),
    }
    flags: dict[str, list[CellValue]] = {
        name: [None if row.relaxation is None else place in places for place, row in enumerate(rows)]
        for name, places in chosen.items()
    }
    counted = {name: [bool(flag) for flag in found if flag is not None] for name, found in flags.items()}
    values = {
        name: share(counted[name], f"{protocol}-{order}", reason=NONE_RELAXED)
        for name, order in ORDERS.items()
    }
    if hull is None or known.name == hull.table.name:
        return flags, values
    care = f"known is what {known.name} holds, and the hull is of {hull.table.name}: name its crystals by `novelty`"
    return flags, {name: replace(value, reason=value.reason or care) for name, value in values.items()}


def _where(places: Sequence[int], flags: Sequence[bool]) -> list[int]:
    return [place for place, flag in zip(places, flags, strict=True) if flag]


def _relaxed(rows: Sequence[_Row], places: Sequence[int]) -> list[Crystal]:
    ends = [rows[place].relaxation for place in places]
    return [end.crystal for end in ends if end is not None and end.crystal is not None]


def _energy_distance(
    rows: Sequence[_Row], context: Context, table: HullTable | None, why_not: str, protocol: str
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


def _columns(rows: Sequence[_Row], sun: Mapping[str, Sequence[CellValue]]) -> dict[str, Sequence[CellValue]]:
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


def _sun_constants(
    protocol: str, of_hull: Mapping[str, Constant], context: Context
) -> dict[str, dict[str, Constant]]:
    """Return the protocols of S.U.N. by both orders of the filters; none without a set of known crystals."""
    known = context.known_to_all()
    if known is None:
        return {}
    return {
        f"{protocol}-{order}": {
            **of_hull,
            **novelty_constants(known, known.name),
            **matcher_constants(context.matcher),
            "filters": FILTERS[name],
            "sun_compares": "relaxed structures",
        }
        for name, order in ORDERS.items()
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
