"""The hull of a system as a figure: a curve over the composition of two elements, a triangle of three."""

from collections.abc import Sequence
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING, Any

from repdiff.phase_search.result import ON_HULL, Phase, Phases
from repdiff.report.theme import CLEAR, COLOURS, GRID, MUTED, PAPER, TEXT, figure

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.entries import Entry

KNOWN_COLOUR, NEW_COLOUR = COLOURS["reference"][0], COLOURS["generated"][0]
HIGHEST = 0.5  # eV per atom above the hull; what is higher is left out of the figure
GROUPS = (
    ("new", NEW_COLOUR, "circle"),
    ("known", KNOWN_COLOUR, "diamond"),
    ("not compared", MUTED, "square"),
)


def hull_figure(phases: Phases) -> "go.Figure | None":
    """Draw the hull of a system of two or three elements; None of others, which a table shows."""
    match len(phases.known.elements):
        case 2:
            return binary_figure(phases)
        case 3:
            return ternary_figure(phases)
    return None


def binary_figure(phases: Phases) -> "go.Figure":
    """Draw formation energies over the share of the second element.

    The line is the hull of the known crystals; the dashed one that of the known and the new ones together, where it
    differs.
    """
    import plotly.graph_objects as go

    elements = phases.known.elements
    shown = figure(height=480)
    for diagram, name, dash, colour in (
        (phases.known_hull, "hull of the known", "solid", MUTED),
        (phases.hull, "hull with what was found", "dash", NEW_COLOUR),
    ):
        points = sorted(
            (_share(entry, elements[1]), float(diagram.get_form_energy_per_atom(entry)))
            for entry in diagram.stable_entries
        )
        if diagram is phases.known_hull or _improves(phases):
            shown.add_trace(
                go.Scatter(
                    x=[x for x, _ in points], y=[y for _, y in points], mode="lines", name=name, hoverinfo="skip",
                    line={"color": colour, "dash": dash, "width": 1.5},
                )
            )  # fmt: skip
    diagram = phases.known_hull
    stable = list(diagram.stable_entries)
    shown.add_trace(
        go.Scatter(
            x=[_share(entry, elements[1]) for entry in stable],
            y=[float(diagram.get_form_energy_per_atom(entry)) for entry in stable],
            mode="markers+text",
            name="known phases on the hull",
            text=[entry.composition.reduced_formula for entry in stable],
            textposition="bottom center",
            textfont={"color": MUTED, "size": 11},
            hovertemplate="%{text}<br>%{y:.3f} eV/atom<extra>known</extra>",
            marker={"color": PAPER, "size": 10, "line": {"color": TEXT, "width": 1.5}},
        )
    )
    for title, colour, symbol, rows in _grouped(phases):
        composed = [(row, _shares(row.formula, elements)[1]) for row in rows]
        shown.add_trace(
            go.Scatter(
                x=[share for _, share in composed], y=[row.formation_energy for row, _ in composed], mode="markers",
                name=title, text=[_hover(row) for row, _ in composed], hovertemplate="%{text}<extra></extra>",
                marker={"color": colour, "symbol": symbol, "size": 8, "opacity": 0.8},
            )
        )  # fmt: skip
    shown.update_xaxes(
        title_text=f"share of {elements[1]} in {elements[0]}–{elements[1]}", range=[-0.04, 1.04]
    )
    return shown.update_yaxes(title_text="formation energy, eV/atom", rangemode="normal", zeroline=True)


def ternary_figure(phases: Phases) -> "go.Figure":
    """Draw the known phases of the hull, the lines between those that coexist, and the candidates by their height."""
    import plotly.graph_objects as go

    elements = phases.known.elements
    diagram = phases.known_hull
    shown = figure(height=600)
    lines: dict[str, list[float | None]] = {"a": [], "b": [], "c": []}
    for one, other in _tie_lines(diagram):
        for entry in (one, other, None):
            shares = (None, None, None) if entry is None else _shares(entry.composition.formula, elements)
            for axis, share in zip("abc", shares, strict=True):
                lines[axis].append(share)
    shown.add_trace(
        go.Scatterternary(
            **lines,
            mode="lines",
            line={"color": MUTED, "width": 1},
            hoverinfo="skip",
            name="coexisting phases",
        )
    )
    stable = sorted(diagram.stable_entries, key=lambda entry: entry.composition.reduced_formula)
    shown.add_trace(
        go.Scatterternary(
            **_corners([entry.composition.formula for entry in stable], elements),
            mode="markers+text",
            cliponaxis=False,
            name="known phases on the hull",
            text=[entry.composition.reduced_formula for entry in stable],
            textposition="top center",
            textfont={"color": TEXT, "size": 11},
            hovertemplate="%{text}<extra>known, on the hull</extra>",
            marker={"color": PAPER, "size": 11, "line": {"color": TEXT, "width": 1.5}},
        )
    )
    for title, colour, symbol, rows in _grouped(phases):
        lowest = _lowest_of_each(rows)
        shown.add_trace(
            go.Scatterternary(
                **_corners([row.formula for row in lowest], elements),
                mode="markers",
                cliponaxis=False,
                name=title,
                text=[_hover(row) for row in lowest],
                hovertemplate="%{text}<extra></extra>",
                marker=_by_height(lowest, colour, symbol),
            )
        )
    axis = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickfont": {"color": MUTED, "size": 10},
        "ticks": "outside",
    }
    return shown.update_layout(
        ternary={
            "sum": 1,
            "bgcolor": CLEAR,
            **{
                f"{name}axis": {**axis, "title": {"text": element}}
                for name, element in zip("abc", elements, strict=True)
            },
        },
        margin={"l": 50, "r": 50, "t": 50, "b": 90},
        legend={"orientation": "h", "x": 0, "y": -0.08, "yanchor": "top"},
    )


def _grouped(phases: Phases) -> list[tuple[str, str, str, list[Phase]]]:
    """Sort the distinct phases that are not too high by whether they are new."""
    shown = phases.best(HIGHEST)
    found = []
    for name, colour, symbol in GROUPS:
        rows = [row for row in shown if (row.status or "not compared") == name]
        if rows:
            found.append((f"found, {name}", colour, symbol, rows))
    return found


def _lowest_of_each(rows: Sequence[Phase]) -> list[Phase]:
    """Keep the lowest phase of each formula, the highest first, so that low ones are drawn above others."""
    lowest: dict[str, Phase] = {}
    for row in rows:
        lowest.setdefault(row.formula, row)
    return list(lowest.values())[::-1]


def _by_height(rows: Sequence[Phase], colour: str, symbol: str) -> dict[str, Any]:
    """Make markers the larger and the fuller the nearer to the hull."""
    heights = [max(0.0, row.e_above_hull or 0.0) for row in rows]
    nearness = [1 - min(height, HIGHEST) / HIGHEST for height in heights]
    return {
        "color": colour,
        "symbol": symbol,
        "size": [round(5 + 9 * near, 1) for near in nearness],
        "opacity": [round(0.25 + 0.7 * near, 2) for near in nearness],
        "line": {"color": TEXT, "width": [1.5 if height <= ON_HULL else 0 for height in heights]},
    }


def _hover(row: Phase) -> str:
    parts = [
        f"<b>{escape(row.formula)}</b> ({escape(row.id)})",
        f"{row.e_above_hull:+.3f} eV/atom from the hull" if row.e_above_hull is not None else "",
        f"{escape(row.space_group_symbol or '?')}, {escape(row.status or 'not compared')}",
        f"the same as {escape(row.known_as)}" if row.known_as else "",
        f"competes with {escape(row.competitors)}" if row.competitors else "",
    ]
    return "<br>".join(part for part in parts if part)


def _improves(phases: Phases) -> bool:
    """Tell whether what was found changes the hull."""
    return any((row.e_above_hull or 0.0) < -1e-6 for row in phases.best(0.0))


def _tie_lines(diagram: "PhaseDiagram") -> "list[tuple[PDEntry, PDEntry]]":
    """List the pairs of stable entries that share a facet of the hull, each once."""
    pairs = {
        tuple(sorted(pair)) for facet in diagram.facets for pair in combinations((int(k) for k in facet), 2)
    }
    return [(diagram.qhull_entries[one], diagram.qhull_entries[other]) for one, other in sorted(pairs)]


def _corners(formulas: Sequence[str], elements: Sequence[str]) -> dict[str, list[float]]:
    shares = [_shares(formula, elements) for formula in formulas]
    return {axis: [one[place] for one in shares] for place, axis in enumerate("abc")}


def _shares(formula: str, elements: Sequence[str]) -> tuple[float, ...]:
    from pymatgen.core import Composition

    composition = Composition(formula)
    return tuple(round(float(composition.get_atomic_fraction(element)), 6) for element in elements)


def _share(entry: "Entry", element: str) -> float:
    return float(entry.composition.get_atomic_fraction(element))
