"""The page that lists the evaluations of a workspace, and compares them in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repdiff.metrics.evaluation import read_summary
from repdiff.report.collect import known_name
from repdiff.report.html import fill, page_data
from repdiff.report.labels import Better, MetricLabel, metric_label
from repdiff.report.provenance import behind
from repdiff.report.sections import Section
from repdiff.report.summary import TableCell, summarize
from repdiff.runs.manifest import Manifest, read_manifest

LANDING = "index.html"
SHOWN = (
    "validity.structure_valid", "validity.composition_valid", "symmetry.p1", "coverage.cov_recall",
    "coverage.cov_precision", "distributions.emd_density", "distributions.js_space_groups", "matching.match_rate",
    "uniqueness.unique_and_novel", "stability.stable", "stability.sun", "stability.sun_symmetric",
)  # fmt: skip
"""Metrics of the table, those that some run has."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One finished evaluation, and the page that was made of it.

    Attributes:
        name: Name of its folder.
        href: The page, from where the landing page lies.
        manifest: Its manifest.
        metrics: What its `metrics.json` holds.
    """

    name: str
    href: str
    manifest: Manifest
    metrics: Mapping[str, Any]

    @property
    def system(self) -> str:
        """The backend that the crystals are from; "" where that is not known."""
        told = (one.summary.get("backend") or one.config.get("backend") for one in behind([self.manifest]))
        return next((str(name) for name in told if name), "")

    @property
    def facts(self) -> list[str]:
        """System, reference, number of crystals, seed and day."""
        reference = self.manifest.config.get("reference")
        return [
            self.system or "–",
            known_name(str(reference)) if reference else "–",
            str(self.metrics.get("n_generated", "–")),
            str(self.manifest.seed if self.manifest.seed is not None else "–"),
            (self.manifest.finished or self.manifest.created)[:10],
        ]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of all runs; `best` marks the best of those that are judged by the same protocol."""

    label: MetricLabel
    cells: Sequence[TableCell]
    values: Sequence[float | None]
    best: Sequence[bool]


def read_judged(path: Path, page: Path, landing: Path) -> Judged:
    """Read an evaluation for the list.

    Args:
        path: Folder of the evaluation.
        page: The page that was made of it.
        landing: Folder of the page that lists it.

    Raises:
        UserError: If the folder is damaged.
    """
    href = page.relative_to(landing).as_posix()
    return Judged(name=path.name, href=href, manifest=read_manifest(path), metrics=read_summary(path))


def landing_page(title: str, runs: Sequence[Judged], lost: Mapping[str, str]) -> str:
    """Write the page: every run with a link to its own page, and the main metrics beside each other.

    Args:
        title: Title of the page.
        runs: The evaluations.
        lost: Why there is no page of an evaluation, by its name.
    """
    section = Section(
        id="runs",
        title="Evaluations",
        text="A name leads to the page of its evaluation, a heading sorts the table. Below a value stand its 95 % "
        "interval and its baseline, what as many real crystals score. The best of a column is bold, where all are "
        "judged by one protocol. Values against different references do not compare.",
        messages=[f"{name} is left out: {reason}" for name, reason in lost.items()],
    )
    return fill(
        "landing.html.j2",
        sections=[section],
        data=page_data([section], []),
        title=title,
        lead=f"{len(runs)} evaluation{'' if len(runs) == 1 else 's'}.",
        runs=runs,
        columns=columns_of(runs),
    )


def columns_of(runs: Sequence[Judged]) -> list[Column]:
    """Put the metrics of the table together, those that some run has."""
    summary = summarize({str(place): run.metrics for place, run in enumerate(runs)})
    rows = {row.key: row for family in summary.families for row in family.rows}
    found = []
    for key in (key for key in SHOWN if key in rows):
        family, _, name = key.partition(".")
        values = [_value(run.metrics, family, name) for run in runs]
        label = metric_label(name)
        protocols = {cell.protocol for cell in rows[key].cells if cell.value}
        best = best_of(values, label.better) if len(protocols) == 1 else [False] * len(runs)
        found.append(Column(label=label, cells=rows[key].cells, values=values, best=best))
    return found


def best_of(values: Sequence[float | None], better: Better | None) -> list[bool]:
    """Mark the best values; none where no direction is better, or there are fewer than two.

    Example:
        >>> best_of([0.2, None, 0.5], "up"), best_of([0.2, 0.5], None), best_of([0.2], "up")
        ([False, False, True], [False, False], [False])
    """
    known = [value for value in values if value is not None]
    if better is None or len(known) < 2:
        return [False] * len(values)
    top = max(known) if better == "up" else min(known)
    return [value == top for value in values]


def _value(metrics: Mapping[str, Any], family: str, name: str) -> float | None:
    found = ((metrics.get("metrics") or {}).get(family, {}).get("values") or {}).get(name) or {}
    return found.get("value")
