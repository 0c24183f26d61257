"""The page: one HTML file that holds its data, its plots and the library that draws them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import repdiff
from repdiff.report.cards import FILTERS, ORDERS, Card, useful
from repdiff.report.collect import EvaluatedRun
from repdiff.report.gallery import EDGES, elements_to_json, gradients
from repdiff.report.provenance import Chain
from repdiff.report.sections import Section
from repdiff.report.summary import Summary, TableCell
from repdiff.report.theme import DARK

if TYPE_CHECKING:
    from markupsafe import Markup

TILES = (
    "validity.valid", "coverage.cov_recall", "coverage.cov_precision", "matching.match_rate",
    "uniqueness.unique", "uniqueness.novel", "stability.stable", "stability.sun", "distributions.emd_density",
)  # fmt: skip
MAX_TILES = 7
HEAD = 4000  # characters of a page, among which its origin is


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One large number at the head of the page."""

    name: str
    value: str
    unit: str = ""
    note: str = ""


def render(
    *,
    title: str,
    lead: str,
    runs: Sequence[EvaluatedRun],
    summary: Summary,
    sections: Sequence[Section],
    cards: Sequence[Card],
    provenance: Sequence[Chain],
    settings: Sequence[tuple[str, str]],
    origin: str,
) -> str:
    """Put the page together; all text from files is escaped.

    Args:
        title: Title of the page.
        lead: One line below the title.
        runs: The evaluations.
        summary: The table of metrics.
        sections: The tabs, with their plots.
        cards: The gallery.
        provenance: Runs behind each evaluation.
        settings: Settings of this report, as pairs of name and value.
        origin: What the page is made from, as one hash; see `origin_of`.
    """
    return fill(
        "report.html.j2",
        origin=origin,
        sections=sections,
        data=page_data(sections, cards),
        title=title,
        lead=lead,
        runs=[
            {
                "name": run.name,
                "n": run.n_structures,
                "n_failed": len(run.failed),
                "failed": run.failed,
                "funnel": run.metrics.get("funnel") or [],
            }
            for run in runs
        ],
        tiles=tiles(runs, summary),
        summary=summary,
        reasons=invalid_reasons(runs),
        cards=cards,
        filters=useful(FILTERS, cards),
        orders=useful(ORDERS, cards),
        provenance=provenance,
        settings=settings,
        shades=gradients([number for card in cards for number in card.numbers]),
    )


def origin_of(page: Path) -> str | None:
    """Read what a page says that it was made from; None if it says nothing, or is no page of a report."""
    with page.open(encoding="utf-8", errors="replace") as stream:
        found = re.search(r'<meta name="made-from" content="([0-9a-f]+)">', stream.read(HEAD))
    return found[1] if found else None


def fill(
    template: str,
    *,
    sections: Sequence[Section],
    data: Mapping[str, Any],
    **values: Any,  # noqa: ANN401 (what the template names)
) -> str:
    """Fill a template that extends `page.html.j2` into a page that loads nothing from elsewhere.

    Args:
        template: Name of its file.
        sections: The tabs.
        data: What the page's script reads; see `page_data`.
        values: What else the template names; all text is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("repdiff.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    templates = files("repdiff.report") / "templates"
    return environment.get_template(template).render(
        sections=sections,
        version=repdiff.__version__,
        made=datetime.now(UTC).strftime("%d %B %Y"),
        css=(templates / "report.css").read_text(encoding="utf-8"),
        js=(templates / "report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        data=_script_safe(data),
        **values,
    )


def page_data(sections: Sequence[Section], cards: Sequence[Card]) -> dict[str, Any]:
    """Return what the page's script reads."""
    return {
        "figures": {
            plot.id: json.loads(plot.figure.to_json()) for section in sections for plot in section.plots
        },
        "structures": [card.to_json() for card in cards],
        "elements": elements_to_json([number for card in cards for number in card.numbers]),
        "edges": EDGES,
        "dark": DARK,
    }


def tiles(runs: Sequence[EvaluatedRun], summary: Summary) -> list[Tile]:
    """Choose the numbers for the head of the page; none for several runs, which the table compares."""
    if len(runs) != 1:
        return []
    found = {row.key: row for family in summary.families for row in family.rows}
    n_failed = len(runs[0].failed)
    first = Tile(
        name="Structures", value=str(runs[0].n_structures), note=f"{n_failed} failed" if n_failed else ""
    )
    n_known = runs[0].metrics.get("n_reference")
    firsts = [first] + ([Tile(name="Known structures", value=str(n_known))] if n_known else [])
    rows = [found[key] for key in TILES if key in found and found[key].cells[0].value]
    others = [
        Tile(name=row.label.name, value=row.cells[0].value, unit=row.cells[0].unit, note=_note(row.cells[0]))
        for row in rows
    ]
    return [*firsts, *others][:MAX_TILES]


def invalid_reasons(runs: Sequence[EvaluatedRun]) -> list[tuple[str, list[int]]]:
    """Count why structures are invalid, the most frequent reason first."""
    counts: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        for record in run.records:
            for kind in ("structure", "composition"):
                if record.get(f"{kind}_valid") is False:
                    reason = str(record.get(f"{kind}_reason") or record.get("failure") or "no reason given")
                    counts.setdefault(f"{kind.capitalize()}: {reason}", [0] * len(runs))[place] += 1
    return sorted(counts.items(), key=lambda item: -sum(item[1]))[:20]


def coded(text: str) -> "Markup":
    """Escape text, and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _note(cell: TableCell) -> str:
    if cell.baselines:
        return f"baseline {cell.baselines[0][1]} {cell.unit}"
    return f"{cell.interval}" if cell.interval else ""


def _script_safe(data: Mapping[str, Any]) -> str:
    """Write JSON that cannot end the script it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
