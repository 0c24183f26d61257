"""Periodic tables coloured by how many structures hold each element."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from repdiff.report.theme import ABSENT, DIVERGING, MUTED, SEQUENTIAL, figure

if TYPE_CHECKING:
    import plotly.graph_objects as go


def element_table(shares: Mapping[int, float], *, highest: float | None = None) -> "go.Figure":
    """Draw the periodic table, coloured by the share of structures that hold each element.

    Args:
        shares: Share between 0 and 1 by atomic number; elements at 0 stay grey.
        highest: End of the colour scale, to compare tables; the largest share if it is not given.
    """
    present = {z: 100 * share for z, share in shares.items() if share > 0}
    top = 100 * highest if highest else max(present.values(), default=1.0)
    shown = _periodic_table(
        present,
        [[place / (len(SEQUENTIAL) - 1), colour] for place, colour in enumerate(SEQUENTIAL)],
        (0.0, top),
        "% of structures",
        "%{customdata}: %{hovertext} % of structures<extra></extra>",
    )
    return _by_square_root(shown, top)


def element_difference(generated: Mapping[int, float], known: Mapping[int, float]) -> "go.Figure":
    """Draw the periodic table, coloured by how much more often each element is generated than known.

    Args:
        generated: Share between 0 and 1 of the generated structures, by atomic number.
        known: Share between 0 and 1 of the known structures, by atomic number.
    """
    excess = {
        z: 100 * (generated.get(z, 0.0) - known.get(z, 0.0))
        for z in {*generated, *known}
        if generated.get(z, 0.0) or known.get(z, 0.0)
    }
    top = max((abs(value) for value in excess.values()), default=1.0) or 1.0
    return _periodic_table(
        excess,
        [[place / (len(DIVERGING) - 1), colour] for place, colour in enumerate(DIVERGING)],
        (-top, top),
        "percentage points",
        "%{customdata}: %{z:+.3g} percentage points<extra></extra>",
    )


def _periodic_table(
    values: Mapping[int, float],
    colours: list[list[float | str]],
    limits: tuple[float, float],
    unit: str,
    hover: str,
) -> "go.Figure":
    """Draw elements at their places in the table; those without a value are grey."""
    import plotly.graph_objects as go
    from pymatgen.core import Element

    grid = np.full((9, 18), np.nan)
    empty = np.full((9, 18), np.nan)
    symbols = [["" for _ in range(18)] for _ in range(9)]
    names = [["" for _ in range(18)] for _ in range(9)]
    for z in range(1, 119):
        element = Element.from_Z(z)
        row, column = _place(element)
        symbols[row][column], names[row][column] = element.symbol, str(element.long_name)
        (grid if z in values else empty)[row, column] = float(f"{values.get(z, 0.0):.4g}")
    blank, filled = (np.where(np.isfinite(part), symbols, "").tolist() for part in (empty, grid))
    shown = figure(height=360, margin={"l": 4, "r": 4, "t": 4, "b": 4}, showlegend=False)
    shown.add_trace(
        go.Heatmap(
            z=_lists(empty),
            text=blank,
            texttemplate="%{text}",
            textfont={"color": MUTED, "size": 11},
            colorscale=[[0, ABSENT], [1, ABSENT]],
            showscale=False,
            xgap=2,
            ygap=2,
            customdata=names,
            hovertemplate="%{customdata}: none<extra></extra>",
            hoverongaps=False,
        )
    )
    shown.add_trace(
        go.Heatmap(
            z=_lists(grid),
            text=filled,
            texttemplate="%{text}",
            textfont={"size": 11},
            colorscale=colours,
            zmin=limits[0],
            zmax=limits[1],
            xgap=2,
            ygap=2,
            customdata=names,
            hovertemplate=hover,
            hoverongaps=False,
            colorbar={
                "orientation": "h",
                "x": 0.42,
                "y": 0.93,
                "len": 0.4,
                "thickness": 9,
                "outlinewidth": 0,
                "title": {"text": unit, "side": "top", "font": {"size": 12}},
                "tickfont": {"color": MUTED, "size": 11},
                "tickangle": 0,
                "nticks": 5,
            },
        )
    )
    shown.update_xaxes(visible=False, fixedrange=True)
    return shown.update_yaxes(visible=False, autorange="reversed", fixedrange=True, rangemode="normal")


def _by_square_root(shown: "go.Figure", top: float) -> "go.Figure":
    """Colour a table by the square root, so that rare elements differ too; the scale keeps its true numbers."""
    heat = shown.data[1]
    heat.hovertext = [["" if value is None else f"{value:.3g}" for value in row] for row in heat.z]
    heat.z = [[None if value is None else float(f"{value**0.5:.4g}") for value in row] for row in heat.z]
    heat.zmax = top**0.5
    ticks = [0.0]
    for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        if tick <= top and (tick**0.5 - ticks[-1] ** 0.5) >= 0.18 * top**0.5:
            ticks.append(tick)
    heat.colorbar.update(tickvals=[tick**0.5 for tick in ticks], ticktext=[f"{tick:g}" for tick in ticks])
    return shown


def _place(element: object) -> tuple[int, int]:
    """Return row and column, the lanthanides and actinides in two rows of their own below."""
    z = int(element.Z)  # ty: ignore
    if 57 <= z <= 71:
        return 7, z - 57 + 2
    if 89 <= z <= 103:
        return 8, z - 89 + 2
    return int(element.row) - 1, int(element.group) - 1  # ty: ignore


def _lists(grid: Float[np.ndarray, "n_rows n_columns"]) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in row] for row in grid]
