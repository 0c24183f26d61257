"""Plots as PNG files, with the numbers they draw beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repdiff.errors import UserError
from repdiff.report.theme import PAPER
from repdiff.runs.atomic_files import write_json

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from repdiff.report.sections import Plot

SCALE = 2.0  # device pixels for each pixel of the layout
WIDTH, WIDE = 620, 1000
NO_BROWSER = (
    "PNG files need Chrome or Chromium, which plotly (kaleido) cannot find: "
    "run `plotly_get_chrome`, or install Chromium (apt install chromium), or leave `png` out"
)


def write_pngs(plots: Sequence["Plot"], folder: Path) -> list[Path]:
    """Write each plot as `<id>.png` and its numbers as `<id>.json`.

    Raises:
        UserError: If no browser is found to draw with, kaleido is not installed, or the folder cannot be written.
    """
    import plotly.graph_objects as go
    import plotly.io as pio

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"`png` is {folder}, which cannot be made ({error.strerror}): choose another"
        ) from error
    paths: list[str | Path] = [folder / f"{plot.id}.png" for plot in plots]
    on_paper: list[dict[Any, Any] | go.Figure] = [
        go.Figure(plot.figure).update_layout(paper_bgcolor=PAPER) for plot in plots
    ]
    try:
        pio.write_images(
            fig=on_paper,
            file=paths,
            scale=SCALE,
            width=[WIDE if plot.wide else WIDTH for plot in plots],
            height=[plot.height for plot in plots],
        )
    except (RuntimeError, ValueError) as error:
        if "chrome" in str(error).lower() or "kaleido" in str(error).lower():
            raise UserError(NO_BROWSER) from error
        raise
    for plot, path in zip(plots, paths, strict=True):
        write_json(Path(path).with_suffix(".json"), drawn_numbers(plot.figure), checksum=False)
    return [Path(path) for path in paths]


def drawn_numbers(figure: "go.Figure") -> dict[str, Any]:
    """Return axes and traces of a figure as plain numbers and text."""
    document = figure.to_plotly_json()
    layout = document.get("layout", {})
    titles = {axis: (layout.get(f"{axis}axis", {}).get("title") or {}).get("text") for axis in ("x", "y")}
    kept = ("type", "name", "x", "y", "z", "text", "customdata")
    return {
        "axes": titles,
        "traces": [
            {key: _plain(trace[key]) for key in kept if trace.get(key) is not None}
            for trace in document.get("data", [])
        ],
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 (plotly's own values)
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
