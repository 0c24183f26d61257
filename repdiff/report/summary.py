"""The summary table: every metric of every run with its interval, its baselines and a small bar."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repdiff.report.labels import BASELINES, MetricLabel, family_label, metric_label

BAR_WIDTH, BAR_HEIGHT = 120.0, 14.0


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Where the marks of a cell stand on its scale, in pixels from the left."""

    dot: float
    span: tuple[float, float] | None
    ticks: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One value of one run as it is shown; without a value only the reason, with one what qualifies it.

    `baselines` holds short name, value and interval of each baseline.
    """

    value: str = ""
    unit: str = ""
    interval: str = ""
    n: int = 0
    protocol: str = ""
    baselines: tuple[tuple[str, str, str], ...] = ()
    reason: str = ""
    bar: Bar | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric: a cell for each run."""

    key: str
    label: MetricLabel
    cells: list[TableCell]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Metrics that were computed together."""

    name: str
    text: str
    rows: list[Row]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The table, and what its footnotes need.

    Attributes:
        families: Families of metrics, in the order of the first run that has each.
        protocols: Constants by protocol; where runs differ in them, the later is named with its run.
        skipped: Run, family and reason of what was not computed.
        baselines: Short name and explanation of the baselines that occur.
    """

    families: list[Family]
    protocols: dict[str, dict[str, Any]]
    skipped: list[tuple[str, str, str]]
    baselines: list[tuple[str, str]] = field(default_factory=list)


def summarize(metrics: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Put the results of runs side by side.

    Args:
        metrics: What each run's `metrics.json` holds, by the name of the run.
    """
    families: dict[str, Family] = {}
    protocols: dict[str, dict[str, Any]] = {}
    for run, document in metrics.items():
        for family, found in (document.get("metrics") or {}).items():
            known = families.setdefault(
                family, Family(name=family_label(family), text=str(found.get("description", "")), rows=[])
            )
            have = {row.key for row in known.rows}
            known.rows.extend(
                Row(key=f"{family}.{name}", label=metric_label(name), cells=_cells(metrics, family, name))
                for name in (found.get("values") or {})
                if f"{family}.{name}" not in have
            )
            for name, constants in (found.get("protocols") or {}).items():
                shown = name if protocols.get(name, constants) == constants else f"{name} ({run})"
                protocols[shown] = dict(constants)
    used = {
        short
        for family in families.values()
        for row in family.rows
        for c in row.cells
        for short, *_ in c.baselines
    }
    return Summary(
        families=list(families.values()),
        protocols=protocols,
        skipped=[
            (run, family_label(family), str(reason))
            for run, document in metrics.items()
            for family, reason in (document.get("skipped") or {}).items()
        ],
        baselines=[known for known in BASELINES.values() if known[0] in used],
    )


def _cells(metrics: Mapping[str, Mapping[str, Any]], family: str, name: str) -> list[TableCell]:
    """Show one metric of all runs with equally many digits and on one scale."""
    values = [
        ((document.get("metrics") or {}).get(family, {}).get("values") or {}).get(name)
        for document in metrics.values()
    ]
    present = [value for value in values if value]
    numbers = [number for value in present for number in _numbers(value)]
    fraction = any(value.get("unit") == "fraction" for value in present)
    decimals = _decimals(present, fraction=fraction)
    low, high = (0.0, 1.0) if fraction else (min([0.0, *numbers]), 1.1 * max([0.0, *numbers]))
    return [_cell(value, decimals, (low, high)) for value in values]


def _cell(value: Mapping[str, Any] | None, decimals: int, limits: tuple[float, float]) -> TableCell:
    if value is None:
        return TableCell(reason="not computed")
    n, protocol = int(value.get("n") or 0), str(value.get("protocol", ""))
    if value.get("value") is None:
        return TableCell(reason=str(value.get("reason") or "no value"), n=n, protocol=protocol)
    fraction = value.get("unit") == "fraction"
    interval = value.get("interval")
    baselines = {
        BASELINES.get(key, (key, ""))[0]: found for key, found in (value.get("baseline") or {}).items()
    }
    return TableCell(
        value=_show(value["value"], decimals, fraction=fraction),
        unit="%" if fraction else str(value.get("unit") or ""),
        interval=_show_interval(interval, decimals, fraction=fraction),
        n=n,
        protocol=protocol,
        reason=str(value.get("reason") or ""),
        baselines=tuple(
            (
                short,
                _show(found["value"], decimals, fraction=fraction),
                _show_interval(found.get("interval"), decimals, fraction=fraction),
            )
            for short, found in baselines.items()
            if found.get("value") is not None
        ),
        bar=_bar(value["value"], interval, baselines, limits),
    )


def _bar(
    value: float | int,
    interval: Sequence[float | int] | None,
    baselines: Mapping[str, Any],
    limits: tuple[float, float],
) -> Bar | None:
    low, high = limits
    if not high > low:
        return None

    def place(number: float | int) -> float:
        return round(4 + (BAR_WIDTH - 8) * min(max((number - low) / (high - low), 0.0), 1.0), 1)

    return Bar(
        dot=place(value),
        span=(place(interval[0]), place(interval[1])) if interval else None,
        ticks=tuple(
            (short, place(found["value"]))
            for short, found in baselines.items()
            if found.get("value") is not None
        ),
    )


def _numbers(value: Mapping[str, Any]) -> list[float]:
    """Collect what must fit on the scale of a bar."""
    parts = [value, *(value.get("baseline") or {}).values()]
    found = [part.get("value") for part in parts] + [
        end for part in parts for end in part.get("interval") or ()
    ]
    return [float(number) for number in found if number is not None]


def _decimals(values: Sequence[Mapping[str, Any]], *, fraction: bool) -> int:
    """Choose the digits behind the point: two of the half-width of the narrowest interval."""
    widths = [
        (end - start) / 2 * (100 if fraction else 1)
        for value in values
        if value.get("interval")
        for start, end in [value["interval"]]
        if end > start
    ]
    if widths:
        decimals = (0 if fraction else 1) - math.floor(math.log10(min(widths)))
        return min(max(decimals, 1 if fraction else 0), 2 if fraction else 6)
    if fraction:
        return 1
    sizes = [abs(float(value["value"])) for value in values if value.get("value")]
    return min(max(3 - math.floor(math.log10(min(sizes))), 0), 6) if sizes else 1


def _show(number: float | int, decimals: int, *, fraction: bool) -> str:
    text = f"{100 * number if fraction else number:.{decimals}f}"
    return text.replace("-", "−")


def _show_interval(interval: Sequence[float | int] | None, decimals: int, *, fraction: bool) -> str:
    if not interval:
        return ""
    low, high = (_show(end, decimals, fraction=fraction) for end in interval)
    return f"{low} – {high}"
