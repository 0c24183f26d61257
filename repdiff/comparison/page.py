"""The comparison as one page: the table, plots of every seed with the baseline, and where the numbers come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from repdiff.comparison.results import Result, Spread
from repdiff.comparison.table import Comparison, Row, show
from repdiff.report.html import fill, page_data
from repdiff.report.labels import MetricLabel, family_label, metric_label
from repdiff.report.provenance import flat
from repdiff.report.sections import Plot, Section
from repdiff.report.theme import COLOURS, MUTED, figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

COST_LABELS: Mapping[str, MetricLabel] = {
    "n_parameters": MetricLabel(name="Parameters", text="Learnt numbers of the network."),
    "training_seconds": MetricLabel(name="Training", text="Wall-clock of the whole run, loading included."),
    "training_steps": MetricLabel(name="Optimiser steps", text="In the training."),
    "samples_seen": MetricLabel(
        name="Samples seen", text="Crystals, each counted whenever it is in a batch."
    ),
    "sampling_seconds": MetricLabel(
        name="Sampling", text="Wall-clock of generation and reconstruction, loading included.", better="down"
    ),
    "seconds_per_structure": MetricLabel(
        name="Time for a structure", text="Sampling over the number of structures.", better="down"
    ),
    "training_memory_gib": MetricLabel(
        name="Memory of training", text="Peak of the process, libraries included.", better="down"
    ),
    "sampling_memory_gib": MetricLabel(
        name="Memory of sampling", text="Peak of the process, libraries included.", better="down"
    ),
}
MAX_SHOWN = 36  # plots; further metrics stand in the table alone


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """One line of the table: text of each cell, and the values of its seeds."""

    label: MetricLabel
    cells: list[tuple[str, str]]
    protocol: str


def render_comparison(comparison: Comparison) -> str:
    """Make the page, complete in one file."""
    metrics, costs = comparison.metrics(), comparison.costs()
    sections = [
        Section(
            id="table",
            title="Table",
            text="Mean ± sample standard deviation over the seeds; the mouse shows each seed. The baseline is what "
            "real "
            "crystals of the training set score when they are judged like generated ones."
            if comparison.baseline
            else "Mean ± sample standard deviation over the runs of a system; the mouse shows each.",
            messages=[
                *comparison.notes,
                *(f"{name} failed: {reason}" for name, reason in comparison.failed.items()),
            ],
        ),
        Section(
            id="plots",
            title="Plots",
            text="A point for each seed, a bar for their mean; the dashed line is the baseline.",
            plots=[
                Plot(
                    id=f"{row.family}-{row.name}-{number}",
                    title=_label(row).name,
                    caption=_label(row).text,
                    figure=seed_plot(comparison, row),
                )
                for number, row in enumerate([*_worth_drawing(metrics), *costs])
            ],
        ),
        Section(id="provenance", title="Provenance", text="The settings of every run, and the machine."),
    ]
    families: dict[str, list[ShownRow]] = {}
    for row in [*costs, *metrics]:
        families.setdefault(family_label(row.family), []).append(
            _shown(row, has_baseline=comparison.baseline is not None)
        )
    return fill(
        "comparison.html.j2",
        sections=sections,
        data=page_data(sections, []),
        title=comparison.title,
        lead=f"{len(comparison.systems)} systems, judged alike.",
        systems=comparison.systems,
        has_baseline=comparison.baseline is not None,
        families=list(families.items()),
        protocols=comparison.protocols,
        provenance=[
            (result.name, _tables(result)) for system in comparison.systems for result in system.results
        ],
    )


def seed_plot(comparison: Comparison, row: Row) -> "go.Figure":
    """Draw one quantity: a point for each seed of each system, their mean, and the baseline.

    Args:
        comparison: Names the systems.
        row: The quantity.
    """
    import plotly.graph_objects as go

    factor, unit = row.known[0].shown_in[0], escape(row.known[0].shown_in[1])
    shown = figure(height=260, showlegend=False)
    names = [escape(system.name) for system in comparison.systems]
    for place, (name, cell) in enumerate(zip(names, row.cells, strict=True)):
        if cell is None:
            continue
        colour = COLOURS["generated"][place % len(COLOURS["generated"])]
        values = [float(f"{factor * value:.5g}") for value in cell.values]
        shown.add_trace(
            go.Bar(
                x=[name],
                y=[float(f"{factor * cell.mean:.5g}")],
                marker={"color": f"{colour}40"},
                hovertemplate=f"mean of {len(values)}: %{{y:.4g}} {unit}<extra>{name}</extra>",
            )
        )
        shown.add_trace(
            go.Scatter(
                x=[name] * len(values),
                y=values,
                mode="markers",
                marker={"color": colour, "size": 8},
                hovertemplate=f"%{{y:.4g}} {unit}<extra>{name}</extra>",
            )
        )
    if row.baseline is not None:
        shown.add_hline(y=float(f"{factor * row.baseline.mean:.5g}"), line={"color": MUTED, "dash": "dash"})
    shown.update_xaxes(type="category", categoryorder="array", categoryarray=names)
    return shown.update_yaxes(title_text=unit)


def _shown(row: Row, *, has_baseline: bool) -> ShownRow:
    cells = [*row.cells, *([row.baseline] if has_baseline else [])]
    return ShownRow(
        label=_label(row),
        cells=[(show(cell), _seeds(cell)) for cell in cells],
        protocol=row.known[0].protocol,
    )


def _seeds(cell: Spread | None) -> str:
    if cell is None:
        return ""
    factor, unit = cell.shown_in
    return ", ".join(f"{factor * value:.4g}" for value in cell.values) + f" {unit}".rstrip()


def _label(row: Row) -> MetricLabel:
    return COST_LABELS[row.name] if row.family == "cost" else metric_label(row.name)


def _worth_drawing(rows: list[Row]) -> list[Row]:
    """Choose metrics of which it is known which direction is better."""
    return [row for row in rows if metric_label(row.name).better][:MAX_SHOWN]


def _tables(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what a result was made with, verb by verb from the first, and the machine."""
    tables: list[tuple[str, Any]] = [*list(result.settings.items())[::-1], ("machine", result.hardware)]
    return [(title, flat(values)) for title, values in tables]
