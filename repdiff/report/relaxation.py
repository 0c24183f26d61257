"""The tab of relaxed crystals: how far they are above the hull, and what became of their space groups."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from descriptors.symmetry.space_group import space_group
from repdiff.report.collect import EvaluatedRun, Record
from repdiff.report.labels import AXES, shown_number
from repdiff.report.plots import distribution, space_group_name
from repdiff.report.sections import Plot, Section
from repdiff.report.tables import Table, share_row
from repdiff.report.theme import Series

LIMITS = (0.0, 0.025, 0.05, 0.1, 0.2)  # eV/atom above the hull
N_LOWEST, N_CHANGES = 15, 12
FATES = ("kept", "raised", "lowered", "another of the same order")
FLAGS = ("unique", "novel", "converged")


def relaxation(runs: Sequence[EvaluatedRun]) -> list[Section]:
    """Return the tab; none where no run was relaxed."""
    relaxed = [run for run in runs if run.has("e_above_hull") or run.has("space_group_relaxed")]
    if not relaxed:
        return []
    tables = [table for run in relaxed for table in _tables(run, alone=len(runs) == 1)]
    series = [
        Series(name=run.name, role="generated", values=run.column("e_above_hull"))
        for run in relaxed
        if run.has("e_above_hull")
    ]
    plots = []
    if series:
        axis = AXES["e_above_hull"]
        plots = [
            Plot(
                id="above-hull",
                title=axis.name,
                caption=f"{axis.text} Shares of the crystals that were placed on it.",
                figure=distribution(series, "e_above_hull"),
                wide=True,
            )
        ]
    return [
        Section(
            id="relaxation",
            title="Hull and relaxation",
            text="Energies above the convex hull of known crystals, by the force field of the run, and space groups "
            "before and after relaxation. Shares are of the crystals that were relaxed, with 95 % intervals.",
            plots=plots,
            tables=tables,
        )
    ]


def fate(before: int, after: int) -> str:
    """Say what became of a space group: one of `FATES`, by the order of the point groups.

    Example:
        >>> fate(221, 221), fate(99, 221), fate(221, 99), fate(75, 81)
        ('kept', 'raised', 'lowered', 'another of the same order')
    """
    if before == after:
        return "kept"
    orders = [len(space_group(number).rotations) for number in (before, after)]
    return (
        "another of the same order"
        if orders[0] == orders[1]
        else "raised"
        if orders[1] > orders[0]
        else "lowered"
    )


def _tables(run: EvaluatedRun, *, alone: bool) -> Iterator[Table]:
    of = "" if alone else f"{run.name}: "
    placed = [record for record in run.records if _number(record, "e_above_hull") is not None]
    if placed:
        yield _within(placed, of)
        yield _lowest(placed, of)
    pairs = [
        (int(record["space_group_before"]), int(record["space_group_relaxed"]))
        for record in run.records
        if record.get("space_group_before") and record.get("space_group_relaxed")
    ]
    if pairs:
        yield _fates(pairs, of)
        changes = Counter(pair for pair in pairs if pair[0] != pair[1])
        if changes:
            yield _changes(changes, len(pairs), of)


def _within(placed: Sequence[Record], of: str) -> Table:
    energies = np.array([_number(record, "e_above_hull") for record in placed])
    rows = [
        share_row(
            "on the hull or below" if limit == 0 else f"within {limit:g} eV/atom",
            (energies <= limit).tolist(),
        )
        for limit in LIMITS
    ]
    return Table(title=f"{of}Above the hull", columns=("", "crystals", "share"), rows=rows)


def _lowest(placed: Sequence[Record], of: str) -> Table:
    known = [flag for flag in FLAGS if any(record.get(flag) is not None for record in placed)]
    lowest = sorted(placed, key=lambda record: float(record["e_above_hull"]))[:N_LOWEST]
    rows = [
        (
            str(record.get("id")),
            str(record.get("reduced_formula") or record.get("formula") or ""),
            _group(record, "space_group_relaxed"),
            shown_number(float(record["e_above_hull"])),
            *(_yes(record.get(flag)) for flag in known),
        )
        for record in lowest
    ]
    columns = ("crystal", "formula", "space group", "above the hull, eV/atom", *known)
    return Table(title=f"{of}The lowest {len(rows)}", columns=columns, rows=rows)


def _fates(pairs: Sequence[tuple[int, int]], of: str) -> Table:
    found = [fate(before, after) for before, after in pairs]
    rows = [share_row(name, [one == name for one in found]) for name in FATES]
    rows += [
        share_row(f"without symmetry (P1) {when}", [pair[place] == 1 for pair in pairs])
        for place, when in enumerate(("before", "after"))
    ]
    return Table(
        title=f"{of}Space groups before and after relaxation",
        columns=("space group", "crystals", "share"),
        rows=rows,
        note="Raised and lowered by the number of operations of the point group; found within 0.1 Å.",
    )


def _changes(changes: Counter[tuple[int, int]], n: int, of: str) -> Table:
    rows = [
        (space_group_name(before), space_group_name(after), str(count))
        for (before, after), count in changes.most_common(N_CHANGES)
    ]
    return Table(
        title=f"{of}The most frequent changes",
        columns=("before", "after", f"crystals of {n}"),
        rows=rows,
    )


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _group(record: Record, key: str) -> str:
    value = _number(record, key)
    return "" if value is None else space_group_name(int(value))


def _yes(flag: object) -> str:
    return "" if flag is None else "yes" if flag else "no"
