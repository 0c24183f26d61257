"""The tab of conditions: what crystals were asked to be, and what they are."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from repdiff.conditions.grammar import read_back
from repdiff.conditions.kinds import Interval, Learnt
from repdiff.conditions.verdicts import ASKED, OBTAINED, WITHIN
from repdiff.metrics.base import share
from repdiff.report.collect import EvaluatedRun, Record
from repdiff.report.labels import shown_number
from repdiff.report.sections import Plot, Section
from repdiff.report.tables import Table, shown_share
from repdiff.report.theme import MUTED, Series, figure, styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

PREDICTED = "predicted_"  # beginning of the columns of what a head says of the finished crystal
N_VALUES = 6  # what was asked most often, in the table


def conditions(runs: Sequence[EvaluatedRun]) -> list[Section]:
    """Return the tab; none where no crystal says what it was asked to be."""
    names = list(dict.fromkeys(name for run in runs for name in asked_of(run.records)))
    if not names:
        return []
    rows = [row for name in names for run in runs for row in _row(name, run, alone=len(runs) == 1)]
    columns = ("condition", *(("run",) if len(runs) > 1 else ()), "asked", "obtained", "within", "share")
    plots = [plot for name in names if (plot := _plot(name, runs)) is not None]
    return [
        Section(
            id="conditions",
            title="Conditions",
            text="What the crystals were asked to be, and what they are: measured on the crystal where it tells; of a "
            "label that it was steered to, what its head predicts. Shares are of all that were made and asked, with "
            "95 % intervals. What must obey and does not counts as not made: it is in the share, and not in the plots.",
            plots=plots,
            tables=[Table(title="Asked and obtained", columns=columns, rows=rows)],
        )
    ]


def asked_of(records: Sequence[Record]) -> list[str]:
    """Name the conditions that any structure was asked for."""
    return sorted(
        {
            key.removesuffix(ASKED)
            for one in records
            for key in one
            if key.endswith(ASKED) and one[key] is not None
        }
    )


def _row(name: str, run: EvaluatedRun, *, alone: bool) -> list[tuple[str, ...]]:
    made = [
        record for record in run.records if record.get(name + ASKED) is not None and not record.get("failure")
    ]
    counts = _counts(name, run, made)
    if counts is None:
        return []
    n_within, n = counts
    within = f"not known of {n}" if n_within is None else f"{n_within} of {n}"
    flags = [row < (n_within or 0) for row in range(n)]
    shares = "" if n_within is None else shown_share(share(flags, "within"))
    asked = _listed([record.get(name + ASKED) for record in made])
    obtained = _listed([_obtained(name, record) for record in made])
    return [(name.replace("_", " "), *(() if alone else (run.name,)), asked, obtained, within, shares)]


def _counts(name: str, run: EvaluatedRun, made: Sequence[Record]) -> tuple[int | None, int] | None:
    """Count what is within, of what: by the run that made the crystals, which knows of those that count as not made."""
    told = {} if run.made_by is None else run.made_by.summary.get("conditions") or {}
    if name in told:
        return told[name]["n_within"], int(told[name]["n"])
    if not made:
        return None
    flags = [bool(record[name + WITHIN]) for record in made if record.get(name + WITHIN) is not None]
    return (sum(flags), len(flags)) if flags else (None, len(made))


def _obtained(name: str, record: Record) -> object:
    """Return what was measured on a crystal; of a label that it was steered to, what its head predicts."""
    measured = record.get(name + OBTAINED)
    return record.get(PREDICTED + name) if measured is None else measured


def _listed(values: Sequence[object]) -> str:
    """Write what values there are: the range of numbers, else the most frequent texts."""
    known = [value for value in values if value is not None]
    numbers = [float(value) for value in known if isinstance(value, int | float)]
    if known and len(numbers) == len(known):
        low, high = min(numbers), max(numbers)
        return shown_number(low) if low == high else f"{shown_number(low)} to {shown_number(high)}"
    texts = list(dict.fromkeys(str(value) for value in known))
    more = f" and {len(texts) - N_VALUES} more" if len(texts) > N_VALUES else ""
    return ", ".join(texts[:N_VALUES]) + more


def _plot(name: str, runs: Sequence[EvaluatedRun]) -> Plot | None:
    """Draw obtained numbers against asked ones, of conditions that ask for a number or a range."""
    series = []
    for run in runs:
        points = [point for record in run.records if (point := _point(name, record)) is not None]
        if points:
            series.append(Series(name=run.name, role="generated", values=np.array(points)))
    if not series:
        return None
    title = name.replace("_", " ")
    return Plot(
        id=f"asked-{name.replace('_', '-')}",
        title=title[:1].upper() + title[1:],
        caption="Each point is a crystal, its bar the range that was asked for; on the line it is what it should be.",
        figure=_against(series),
    )


def _point(name: str, record: Record) -> tuple[float, float, float] | None:
    """Return the middle and half the width of the range that was asked for, and what was obtained."""
    asked, obtained = record.get(name + ASKED), _obtained(name, record)
    if asked is None or not isinstance(obtained, int | float):
        return None
    condition = read_back(name, str(asked))
    if isinstance(condition, Interval):
        middle, width = (condition.low + condition.high) / 2, (condition.high - condition.low) / 2
    elif isinstance(condition, Learnt):
        try:
            middle, width = float(str(condition.value)), 0.0
        except ValueError:  # a class
            return None
    else:
        return None
    return (middle, width, float(obtained)) if np.isfinite([middle, width, obtained]).all() else None


def _against(series: Sequence[Series]) -> "go.Figure":
    import plotly.graph_objects as go

    shown = figure()
    everything = np.concatenate([one.values[:, [0, 2]].ravel() for one in series]).astype(float)
    ends = [float(everything.min()), float(everything.max())]
    shown.add_trace(
        go.Scatter(
            x=ends,
            y=ends,
            mode="lines",
            line={"color": MUTED, "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    for one, style in zip(series, styles(series), strict=True):
        shown.add_trace(
            go.Scatter(
                x=one.values[:, 0].tolist(),
                y=one.values[:, 2].tolist(),
                error_x={"array": one.values[:, 1].tolist(), "width": 0, "thickness": 1},
                mode="markers",
                name=escape(one.name),
                marker={"color": style.colour, "symbol": style.symbol, "size": 5, "opacity": 0.6},
            )
        )
    shown.update_xaxes(title_text="asked", showgrid=True)
    return shown.update_yaxes(title_text="obtained", rangemode="normal")
