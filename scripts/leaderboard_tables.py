"""Write records of measurements as tables in Markdown; `scripts/leaderboards.py` makes pages of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import binomtest

from repdiff.report.labels import metric_label

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks"
PUBLISHED = Path(__file__).with_name("published.yaml")
ABSENT = "not measured"
Row = Sequence[str]


@cache
def read(name: str) -> dict[str, Any]:
    """Read a record."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def mark(name: str) -> str:
    """Name a record and the beginning of its hash."""
    digest = hashlib.sha256((RECORDS / f"{name}.json").read_bytes()).hexdigest()
    return f"`{name}` `{digest[:8]}`"


def table(columns: Row, rows: Sequence[Row]) -> str:
    """Write a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits, never as a power of ten."""
    if value is None:
        return ABSENT
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else f"{value:.7f}".rstrip("0").rstrip(".") if "e" in text else text


def percent(value: float | None) -> str:
    """Write a fraction in percent."""
    return ABSENT if value is None else f"{100 * value:.1f} %"


def counted(share: float, n: int) -> str:
    """Write a share of n crystals with Wilson's 95 % interval."""
    interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return f"{100 * share:.1f} % ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def judged(metrics: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Write a measure of an evaluation with its interval, and its baseline."""
    family, _, name = key.partition(".")
    found = metrics[key] if key in metrics else metrics.get(family, {}).get("values", {}).get(name)
    if not found or found.get("value") is None:
        return ABSENT, ""
    write = percent if found.get("unit") == "fraction" else number
    text, interval = write(found["value"]), found.get("interval")
    if interval:
        scale = 100 if found.get("unit") == "fraction" else 1
        low, high = (f"{scale * end:.1f}" if scale == 100 else number(end) for end in interval)
        text += f" ({low}–{high})"
    baseline = next(iter(found.get("baseline", {}).values()), {})
    return text, write(baseline["value"]) if baseline.get("value") is not None else ""


def label(key: str) -> str:
    """Name a measure as reports do."""
    return metric_label(key.partition(".")[2]).name


def published(name: str) -> str:
    """Write a table of published figures, with source and definition."""
    found = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))[name]
    rows = [(system, *map(str, cells)) for system, cells in found["rows"].items()]
    return (
        f"Published, not measured here. Source: {found['source']}. Definition: {found['definition']}.\n\n"
        + table(("published", *found["columns"]), rows)
    )


def evaluated(records: Mapping[str, Sequence[str]], keys: Sequence[str]) -> str:
    """Write evaluations beside each other, each with the baseline that was measured with it.

    Args:
        records: Names of the records of each column, by its title.
        keys: Measures, one a row.
    """
    columns: list[str] = [""]
    for title in records:
        columns += [title, "real crystals"]
    rows = []
    for key in keys:
        row = [label(key)]
        for names in records.values():
            cells = [judged(read(name)["metrics"], key) for name in names]
            row += next((cell for cell in cells if cell[0] != ABSENT), (ABSENT, ""))
        rows.append(row)
    for title, write in (
        ("crystals", lambda d: f"{d['n_generated']:,}"),
        ("seed of the evaluation", lambda d: str(d["seed"])),
    ):
        rows.append([title, *(text for names in records.values() for text in (write(read(names[0])), ""))])
    rows.append(
        ["record", *(text for names in records.values() for text in (", ".join(map(mark, names)), ""))]
    )
    return table(columns, rows)


def compared(name: str, keys: Sequence[str], systems: Sequence[str]) -> str:
    """Write the systems of a comparison beside each other: the mean over seeds, and their standard deviation."""
    document = read(name)
    by_key = {one["name"]: one for one in document["metrics"] + document["costs"]}
    rows = []
    for key in keys:
        found = by_key.get(key)
        row = [label(key) if "." in key else key.replace("_", " ")]
        for system in systems:
            one = (found or {}).get("systems", {}).get(system)
            row.append(ABSENT if found is None or one is None else _with_deviation(one, found["unit"]))
        rows.append(row)
    seeds = {one["name"]: len(one["runs"]) for one in document["systems"]}
    rows.append(["seeds", *(str(seeds.get(system, "")) for system in systems)])
    rows.append(["record", mark(name), *("" for _ in systems[1:])])
    return table(("", *systems), rows)


def _with_deviation(one: Mapping[str, Any], unit: str) -> str:
    scale = 100 if unit == "fraction" else 1
    text = percent(one["mean"]) if scale == 100 else f"{number(one['mean'])} {unit}".strip()
    if not one.get("std"):
        return text
    deviation = f"{100 * one['std']:.1f}" if scale == 100 else number(one["std"], 2)
    return text.replace(" %", f" ± {deviation} %") if scale == 100 else f"{text} ± {deviation}"
