"""S.U.N.: crystals that are stable, unique and novel at once, all of them and those that have symmetry."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.sources import dataset_names, split_name
from repdiff.energies.hull import Hull
from repdiff.metrics.base import NEEDS, CellValue, Constant, Context, MetricValue, absent, share
from repdiff.metrics.hull_rows import HullRow
from repdiff.metrics.relaxed_symmetry import GroupPair
from repdiff.metrics.uniqueness import matcher_constants, novel_flags, novelty_constants, unique_flags

ORDERS = {  # protocol by value
    "sun": "sun",
    "sun_symmetric": "sun",
    "sun_symmetric_before": "sun",
    "sun_mattergen": "mattergen",
}
FILTERS = {
    "sun": "stable, of these novel, of these unique",
    "mattergen": "the first of each group of duplicates among all, if novel and stable",
}
NO_KNOWN_SET = f"{NEEDS['training']}, or name what counts as known by `novelty`"
NONE_RELAXED = "none of these structures was relaxed"


def count_sun(
    rows: Sequence[HullRow],
    groups: Sequence[GroupPair],
    context: Context,
    protocol: str,
    hull: Hull | None,
    why_not: str,
) -> tuple[dict[str, list[CellValue]], dict[str, MetricValue]]:
    """Count the stable, unique and novel crystals by both orders of the filters.

    `sun`: the stable ones, of these the novel, and of these each of a group of duplicates once. `sun_mattergen`: each
    of a group of duplicates among all relaxed crystals once, if that one is novel and stable. `sun_symmetric`: those
    of `sun` that are not P1 after relaxation; `sun_symmetric_before`: those that were not before it.

    Args:
        rows: The structures, those that were never made last.
        groups: Their space groups.
        context: What is known, and what counts as the same.
        protocol: Beginning of the names of the protocols.
        hull: The hull; None if there is none.
        why_not: Why not; "" if there is one.

    Returns:
        Flag of each structure by value, None where it was not relaxed; and the values.
    """
    known, n = context.known_to_all(), len(rows)
    if known is None or why_not:
        none = absent(protocol, why_not or NO_KNOWN_SET, "fraction")
        return dict.fromkeys(ORDERS, [None] * n), dict.fromkeys(ORDERS, none)
    unique = partial(
        unique_flags, matcher=context.matcher, n_workers=context.n_workers, progress=context.progress
    )
    stable = [place for place, row in enumerate(rows) if row.stable()]
    new = novel_flags(
        _relaxed(rows, stable),
        known.crystals,
        matcher=context.matcher,
        n_workers=context.n_workers,
        progress=context.progress,
    )
    novel = _where(stable, new)
    made = [place for place, row in enumerate(rows) if row.relaxation is not None and row.relaxation.crystal]
    sun = set(_where(novel, unique(_relaxed(rows, novel))))
    chosen = {
        "sun": sun,
        "sun_symmetric": {place for place in sun if groups[place].symmetric_after},
        "sun_symmetric_before": {place for place in sun if groups[place].symmetric_before},
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
    care = "; ".join(_cares(known, hull))
    return flags, {name: replace(value, reason=value.reason or care) for name, value in values.items()}


def _cares(known: CrystalSet, hull: Hull | None) -> Iterator[str]:
    """Say what of the known crystals could not be read, and that the hull is of data sets beside them, if so."""
    if refusal := known.refusal:
        yield f"not claimed over all known crystals: {refusal}"
    built_from, held = () if hull is None else hull.table.datasets, dataset_names(known.name)
    if not all({name, split_name(name)[0]} & held for name in built_from):
        them = "them" if len(built_from) > 1 else "it"
        yield (
            f"known is what {known.name} holds, and the hull is of {' and '.join(built_from)}: name {them} by `novelty`"
        )


def _where(places: Sequence[int], flags: Sequence[bool]) -> list[int]:
    return [place for place, flag in zip(places, flags, strict=True) if flag]


def _relaxed(rows: Sequence[HullRow], places: Sequence[int]) -> list[Crystal]:
    ends = [rows[place].relaxation for place in places]
    return [end.crystal for end in ends if end is not None and end.crystal is not None]


def sun_constants(
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
            "filters": FILTERS[order],
            "sun_compares": "relaxed structures",
        }
        for order in FILTERS
    }
