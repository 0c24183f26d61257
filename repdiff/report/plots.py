"""The plots: each function takes arrays and returns a plotly Figure; it reads nothing and shows nothing."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from repdiff.crystals.symmetry import CRYSTAL_SYSTEMS, Symmetry
from repdiff.report.labels import AXES, SHARE, Axis, shown_symbol
from repdiff.report.theme import GRID, TEXT, Series, Style, figure, styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

OUTSIDE = 0.005  # share of each set in either tail that the range of a histogram may leave out
MIN_BINS, MAX_BINS = 12, 60
N_SPACE_GROUPS, NONE_FOUND = 230, "none found"
LONG_NAME = 24  # characters
MAX_WHOLE = 40  # with more distinct whole numbers than this, bars would be slivers


def distribution(series: Sequence[Series], quantity: str | Axis) -> "go.Figure":
    """Draw the histograms of a quantity in common bins, each as shares of its set.

    NaN and infinities are left out of the shares. Where tails are long, the outermost 0.5 % of each set is
    counted in the first and the last bin.

    Args:
        series: Sets of numbers; empty ones are left out.
        quantity: Key into `labels.AXES`, or an axis.
    """
    axis = AXES[quantity] if isinstance(quantity, str) else quantity
    sets = [(one, style, _finite(one, axis)) for one, style in zip(series, styles(series), strict=True)]
    sets = [(one, style, values) for one, style, values in sets if len(values)]
    if not sets:
        return _nothing(f"{axis.name}: no values")
    pooled = np.concatenate([values for *_, values in sets])
    if axis.whole and len(np.unique(np.rint(pooled))) <= MAX_WHOLE:
        return _bars(
            [(one, style, Counter(np.rint(values).astype(int).tolist())) for one, style, values in sets],
            list(range(round(pooled.min()), round(pooled.max()) + 1)),
            axis.title,
        )
    return _steps(sets, axis)


def embedding(series: Sequence[Series], method: str = "PCA", explained: Sequence[float] = ()) -> "go.Figure":
    """Draw sets of points in the plane, such as projected representations.

    Args:
        series: Sets of coordinate pairs, drawn in their order, the later above the earlier.
        method: Name of the projection, part of the axis labels: "PCA" or "UMAP".
        explained: Share of the variance along each axis, if it is known.

    Source: StructRepDiff, arXiv 2408.07213, figure 5.
    """
    import plotly.graph_objects as go

    shown = figure(height=560)
    shown.update_layout(legend_itemsizing="constant")
    for one, style in zip(series, styles(series), strict=True):
        coordinates = one.values.astype(np.float64).reshape(-1, 2)
        good = np.isfinite(coordinates).all(axis=1)
        points = _rounded(coordinates[good])
        labels = [escape(one.labels[place]) for place in np.flatnonzero(good)] if one.labels else None
        shown.add_trace(
            go.Scatter(
                x=points[:, 0].tolist(),
                y=points[:, 1].tolist(),
                mode="markers",
                name=escape(one.name),
                text=labels,
                hovertemplate="%{text}<extra>%{fullData.name}</extra>" if one.labels else None,
                marker={
                    "color": style.colour,
                    "symbol": style.symbol,
                    "size": 4 if one.role != "generated" else 4.5,
                    "opacity": 0.35 if one.role == "training" else 0.55,
                },
            )
        )
    for number, update in enumerate((shown.update_xaxes, shown.update_yaxes)):
        share = f" ({100 * explained[number]:.0f} % of the variance)" if len(explained) > number else ""
        update(title_text=f"{method} {number + 1}{share}", showgrid=True, rangemode="normal", zeroline=False)
    return shown


def space_group_bars(series: Sequence[Series], *, n_shown: int = 20) -> "go.Figure":
    """Draw the most frequent space groups of all sets together, as shares of each set.

    Args:
        series: Sets of space-group numbers; 0 and NaN stand for none found, and count in the shares.
        n_shown: Number of space groups.
    """
    counts = [Counter(int(n) for n in one.values.astype(float) if np.isfinite(n)) for one in series]
    shares: dict[int, float] = {}
    for one, found in zip(series, counts, strict=True):
        for number, count in found.items():
            shares[number] = shares.get(number, 0.0) + count / len(one.values)
    chosen = sorted(sorted(shares, key=lambda number: (-shares[number], number))[:n_shown])
    named = [
        (one, style, Counter({space_group_name(number): found[number] for number in chosen}))
        for one, style, found in zip(series, styles(series), counts, strict=True)
    ]
    return _bars(named, [space_group_name(number) for number in chosen], "Space group")


def crystal_system_bars(series: Sequence[Series]) -> "go.Figure":
    """Draw the crystal systems, as shares of each set.

    Args:
        series: Sets of space-group numbers; what lies outside 1 to 230 counts as "none found".
    """
    named = [
        (one, style, Counter(_system(n) for n in one.values.astype(float)))
        for one, style in zip(series, styles(series), strict=True)
    ]
    found = {name for *_, counts in named for name in counts}
    return _bars(named, [*CRYSTAL_SYSTEMS, *({NONE_FOUND} & found)], "Crystal system")


def category_bars(series: Sequence[Series], title: str) -> "go.Figure":
    """Draw how often each name occurs in each set, the most frequent first.

    Args:
        series: Sets of names.
        title: Title of the axis.
    """
    counted = [
        (one, style, Counter(str(value) for value in one.values))
        for one, style in zip(series, styles(series), strict=True)
    ]
    total: Counter[str] = Counter()
    for *_, found in counted:
        total.update(found)
    return _bars(counted, [name for name, _ in total.most_common(12)], title)


def space_group_name(number: int) -> str:
    """Write a space group for people: "Pm-3m (221)"; "none found" outside 1 to 230."""
    symbol = Symmetry(number if 1 <= number <= N_SPACE_GROUPS else None).symbol
    return NONE_FOUND if symbol is None else f"{shown_symbol(symbol)} ({number})"


def _system(number: float) -> str:
    known = np.isfinite(number) and 1 <= number <= N_SPACE_GROUPS
    return (Symmetry(int(number)).crystal_system if known else None) or NONE_FOUND


def _finite(one: Series, axis: Axis) -> Float[np.ndarray, " n"]:
    values = one.values.astype(np.float64)
    values = values[np.isfinite(values)]
    return values[values > 0] if axis.log else values


def _edges(sets: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, " n_edges"]:
    """Choose common bins: narrow enough for the largest set (Freedman and Diaconis), wide enough for all."""
    low = min(float(np.quantile(values, OUTSIDE)) for values in sets)
    high = max(float(np.quantile(values, 1 - OUTSIDE)) for values in sets)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):
        return np.array([low - 0.5, low + 0.5])
    largest = max(sets, key=len)
    spread = float(np.subtract(*np.quantile(largest, [0.75, 0.25])))
    width = 2 * spread / len(largest) ** (1 / 3)
    n_bins = MAX_BINS if width <= 0 else int(np.clip(np.ceil((high - low) / width), MIN_BINS, MAX_BINS))
    return np.linspace(low, high, n_bins + 1)


def _steps(sets: Sequence[tuple[Series, Style, Float[np.ndarray, " _"]]], axis: Axis) -> "go.Figure":
    """Draw histograms as outlines; the training set is filled."""
    import plotly.graph_objects as go

    scaled = [np.log10(values) if axis.log else values for *_, values in sets]
    edges = _edges(scaled)
    drawn = 10**edges if axis.log else edges
    shown = figure(height=_height([one for one, *_ in sets]))
    for (one, style, _), values in zip(sets, scaled, strict=True):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        heights = 100 * counts / len(values)
        shown.add_trace(
            go.Scatter(
                x=_rounded(np.repeat(drawn, 2)).tolist(),
                y=_rounded(np.concatenate([[0], np.repeat(heights, 2), [0]])).tolist(),
                name=escape(one.name),
                mode="lines",
                line={
                    "color": style.colour,
                    "dash": style.dash,
                    "width": 2 if one.role == "generated" else 1.5,
                },
                fill="tozeroy" if one.role == "training" else None,
                fillcolor=f"{style.colour}40" if one.role == "training" else None,
                hovertemplate="%{x:.4g}: %{y:.3g} %<extra>%{fullData.name}</extra>",
            )
        )
    shown.update_xaxes(title_text=axis.title, type="log" if axis.log else None, exponentformat="power")
    return shown.update_yaxes(title_text=SHARE.title)


def _bars(
    sets: Sequence[tuple[Series, Style, Counter]], names: Sequence[str | int], title: str
) -> "go.Figure":
    """Draw grouped bars of the shares of each set; shares are of all its members, drawn or not."""
    import plotly.graph_objects as go

    if not names:
        return _nothing(f"{title}: no values")
    shown = figure(barmode="group", bargap=0.25, bargroupgap=0.05, height=_height([one for one, *_ in sets]))
    for one, style, counts in sets:
        n = max(len(one.values), 1)
        shown.add_trace(
            go.Bar(
                x=[escape(str(name)) for name in names],
                y=[float(f"{100 * counts[name] / n:.4g}") for name in names],
                name=escape(one.name),
                marker={"color": style.colour},
                hovertemplate="%{x}: %{y:.3g} %<extra>%{fullData.name}</extra>",
            )
        )
    shown.update_xaxes(title_text=title, type="category")
    return shown.update_yaxes(title_text=SHARE.title)


def _height(series: Sequence[Series]) -> int:
    """Make room for a legend whose long names take a line each, px."""
    long = any(len(one.name) > LONG_NAME for one in series)
    return 320 + (20 * (len(series) - 1) if long else 0)


def _rounded(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Keep five significant digits, so that the page stays small."""
    values = np.asarray(values, dtype=np.float64)
    sizes = np.abs(values)
    scale = 10.0 ** (4 - np.floor(np.log10(np.where((sizes > 1e-300) & np.isfinite(sizes), sizes, 1.0))))
    return np.round(values * scale) / scale


def _nothing(message: str) -> "go.Figure":
    """Make a figure that says why it is empty."""
    shown = figure(height=120)
    shown.add_annotation(
        text=escape(message), showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"color": TEXT}
    )
    shown.update_xaxes(visible=False, gridcolor=GRID)
    return shown.update_yaxes(visible=False)
