"""Colours and the common layout of the plots; every colour has a partner for dark pages.

Source of the colours of sets: Okabe and Ito, Color Universal Design (2008), told apart by all kinds of colour
vision; sets differ by dashes and markers too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Shaped

if TYPE_CHECKING:
    import plotly.graph_objects as go

Role = Literal["training", "reference", "generated"]
TEXT, MUTED, GRID, PAPER = "#1f2328", "#656d76", "#e4e7eb", "#ffffff"
CLEAR = "rgba(0,0,0,0)"
SEQUENTIAL = ("#eef4fa", "#bcd7ec", "#6fabd6", "#2171b5", "#08306b")
DIVERGING = ("#005a8f", "#6fabd6", "#f4f4f2", "#eb9a5f", "#b34700")
ABSENT = "#f1f3f5"
COLOURS: dict[Role, tuple[str, ...]] = {
    "training": ("#8c959f",),
    "reference": ("#0072b2", "#3a5fcd", "#117a8b"),
    "generated": ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7a5195"),
}
DASHES, SYMBOLS = ("solid", "dash", "dot", "dashdot"), ("circle", "diamond", "square", "cross")
DARK: dict[str, str] = {
    TEXT: "#e6e9ed",
    MUTED: "#9aa4af",
    GRID: "#2c333b",
    PAPER: "#14181d",
    ABSENT: "#1d2329",
    "#8c959f": "#8f99a4",
    "#0072b2": "#56b4e9",
    "#3a5fcd": "#8aa4f5",
    "#117a8b": "#4cc3d6",
    "#d55e00": "#f58a4b",
    "#009e73": "#2fc79c",
    "#cc79a7": "#e3a0c6",
    "#e69f00": "#f5c451",
    "#7a5195": "#b794d6",
    **dict(zip(SEQUENTIAL, ("#1d2a36", "#1f4a73", "#2f78b3", "#74b6e4", "#dff0ff"), strict=True)),
    **dict(zip(DIVERGING, ("#7cc4f2", "#2f78b3", "#1d2329", "#b5622b", "#ffb07c"), strict=True)),
}
"""Partner on a dark page of every colour that the plots use."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One quantity of one set of crystals.

    Attributes:
        name: Name of the set in the legend.
        role: Decides its colour.
        values: One entry a crystal: numbers, pairs of coordinates, or names.
        labels: What the mouse shows of each crystal; empty for nothing.
    """

    name: str
    role: Role
    values: Shaped[np.ndarray, "n ..."]
    labels: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one set is told from the others."""

    colour: str
    dash: str
    symbol: str


def styles(series: Sequence[Series]) -> list[Style]:
    """Choose a style for each set, by its role and its place among those of that role."""
    seen: dict[Role, int] = {}
    found = []
    for one in series:
        place = seen.setdefault(one.role, 0)
        seen[one.role] += 1
        colours = COLOURS[one.role]
        found.append(
            Style(
                colour=colours[place % len(colours)],
                dash=DASHES[place % len(DASHES)],
                symbol=SYMBOLS[place % len(SYMBOLS)],
            )
        )
    return found


def figure(**layout: Any) -> "go.Figure":  # noqa: ANN401 (plotly's own settings)
    """Make an empty figure in the common layout; the page behind it shows through."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "ticks": "outside",
        "tickcolor": GRID,
        "tickfont": {"color": MUTED},
        "title": {"standoff": 8},
        "automargin": True,
    }
    common: dict[str, Any] = {
        "template": "none",
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
            "size": 13,
            "color": TEXT,
        },
        "margin": {"l": 56, "r": 12, "t": 34, "b": 48},
        "height": 320,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": PAPER, "font": {"color": TEXT}, "bordercolor": GRID},
        "hovermode": "closest",
    }
    found = go.Figure(layout=common)
    found.update_xaxes(**axis, showgrid=False)
    found.update_yaxes(**axis, rangemode="tozero", showline=False)
    return found.update_layout(**layout)
