"""Results of an earlier evaluation of the same crystals, read from its files, to which others are added."""

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repdiff.crystals.stored_crystals import LARGE
from repdiff.errors import UserError
from repdiff.metrics.base import METRICS, CellValue, MetricResult, MetricValue
from repdiff.metrics.evaluation import ROWS, read_summary
from repdiff.metrics.stored_columns import StoredColumn
from repdiff.runs.parquet_files import read_own_table

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Results that need not be computed again.

    Attributes:
        results: Result of each family of metrics, by its name.
        baselines: The same of real crystals, by the name of the comparison.
    """

    results: Mapping[str, MetricResult] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, MetricResult]] = field(default_factory=dict)


def read_kept(folder: Path, ids: Sequence[str], *, summary: Mapping[str, Any], changed: Set[str]) -> Kept:
    """Read from the folder of a finished evaluation what still holds.

    Args:
        folder: Folder with `metrics.json` and `per_structure.parquet`.
        ids: Names of the crystals now, the failed last; nothing is kept if the table has others.
        summary: Values by "family.name" that the manifest names; a family with other values is not kept, since it was
            written by a session that did not end.
        changed: Entries of the context that were added since; what takes them is computed again.

    Returns:
        What holds; nothing, with a warning, if a file is damaged.
    """
    try:
        return _read_kept(folder, ids, summary=summary, changed=changed)
    except (UserError, OSError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: the metrics in it are computed again: %s", folder, error)
        return Kept()


def _read_kept(folder: Path, ids: Sequence[str], *, summary: Mapping[str, Any], changed: Set[str]) -> Kept:
    found, table = read_summary(folder), read_own_table(folder / ROWS)
    if table["id"].to_pylist() != list(ids):
        return Kept()
    results: dict[str, MetricResult] = {}
    baselines: dict[str, dict[str, MetricResult]] = {}
    for family, data in found["metrics"].items():
        values = data["values"]
        agree = all(summary.get(f"{family}.{name}") == value["value"] for name, value in values.items())
        known = family in METRICS and "columns" in data
        if not agree or not known or changed & (METRICS[family].needs | METRICS[family].takes):
            continue
        long = table.num_rows > LARGE
        columns: dict[str, Sequence[CellValue]] = {
            name: StoredColumn(table[name]) if long else table[name].to_pylist() for name in data["columns"]
        }
        results[family] = _result(data, values, columns)
        for name in found["baselines"]:
            of_real = {
                key: value["baseline"][name]
                for key, value in values.items()
                if name in value.get("baseline", {})
            }
            if of_real:
                baselines.setdefault(name, {})[family] = _result(data, of_real, {})
    return Kept(results=results, baselines=baselines)


def _result(
    data: Mapping[str, Any], values: Mapping[str, Any], columns: Mapping[str, Sequence[CellValue]]
) -> MetricResult:
    return MetricResult(
        values={name: _value(value) for name, value in values.items()},
        protocols=data["protocols"],
        columns=columns,
        details=data["details"],
    )


def _value(data: Mapping[str, Any]) -> MetricValue:
    return MetricValue(
        value=data["value"],
        n=data["n"],
        protocol=data["protocol"],
        unit=data["unit"],
        reason=data.get("reason", ""),
        interval=None if data["interval"] is None else tuple(data["interval"]),
        sizes=(data["n_generated"], data["n_reference"]) if "n_generated" in data else None,
    )
