"""An evaluation for people: values with their units, aligned text, a data frame, what a notebook shows."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repdiff.crystals.views import html_of
from repdiff.metrics.base import MetricValue
from repdiff.metrics.funnel import MEANING, Stage

if TYPE_CHECKING:
    import pandas as pd

    from repdiff.metrics.evaluation import Evaluation


def values_frame(evaluation: "Evaluation") -> "pd.DataFrame":
    """Put the values of an evaluation into a data frame by "family.name".

    Returns:
        Columns value, low, high (95 % interval), n, unit, protocol, "baseline: NAME" for each baseline, and reason.
    """
    import pandas as pd

    rows = []
    for family, result in evaluation.results.items():
        for name, value in result.values.items():
            low, high = value.interval or (None, None)
            baselines = {
                f"baseline: {baseline}": other.results[family].values[name].value
                for baseline, other in evaluation.baselines.items()
                if family in other.results and name in other.results[family].values
            }
            numbers = {"value": value.value, "low": low, "high": high, "n": value.n, "unit": value.unit}
            rows.append(
                {
                    "metric": f"{family}.{name}",
                    **numbers,
                    **baselines,
                    "protocol": value.protocol,
                    "reason": value.reason,
                }
            )
    columns = ["metric", "value", "low", "high", "n", "unit", "protocol", "reason"]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=pd.Index(columns))
    return frame.set_index("metric").astype({name: float for name in ("value", "low", "high")})


def evaluation_html(evaluation: "Evaluation") -> str:
    """Write what a notebook shows of an evaluation: values in their units, what was skipped and what failed."""
    import pandas as pd

    baselines = list(evaluation.baselines)
    rows = {}
    for family, result in evaluation.results.items():
        for name, value in result.values.items():
            found = {baseline: evaluation.baselines[baseline].results.get(family) for baseline in baselines}
            rows[f"{family}.{name}"] = {
                "value": show(value),
                "95 % interval": show_interval(value),
                **{
                    f"baseline: {baseline}": show(other.values[name])
                    if other and name in other.values
                    else "-"
                    for baseline, other in found.items()
                },
                "n": value.n,
                "protocol": value.protocol,
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    parts = [html_of(repr(evaluation), table, evaluation.generated.failed, n_shown=len(table))]
    lines = [*(f"note: {note}" for note in evaluation.notes)]
    lines += [f"{name}: not computed: {reason}" for name, reason in evaluation.skipped.items()]
    parts += [f"<p>{html.escape(line)}</p>" for line in lines]
    return "\n".join(parts)


def show(value: MetricValue) -> str:
    """Write a value for people, with its unit; "-" if there is none."""
    if value.value is None:
        return "-"
    if value.unit == "fraction":
        return f"{100 * value.value:.2f} %"
    return f"{value.value:.4g} {value.unit}".rstrip()


def show_interval(value: MetricValue) -> str:
    """Write the interval of a value in the value's own unit; "" if it has none."""
    if value.interval is None:
        return ""
    low, high = value.interval
    return f"{100 * low:.2f} to {100 * high:.2f}" if value.unit == "fraction" else f"{low:.4g} to {high:.4g}"


def funnel_lines(stages: Sequence[Stage]) -> list[str]:
    """Write what was left after each stage, a line each; nothing without stages."""
    if not stages:
        return []
    rows = [("stage", "left", "of", "share", "95 % interval", "what")]
    for stage in stages:
        low, high = stage.interval or (None, None)
        rows.append(
            (
                stage.name,
                str(stage.n),
                "" if stage.of is None else str(stage.of),
                "" if stage.share is None else f"{100 * stage.share:.1f} %",
                "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}",
                MEANING[stage.name],
            )
        )
    return ["", *aligned(rows)]


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align the first and the last column to the left, the numbers between them to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = [
        "  ".join(
            text if place == last else f"{text:<{width}}" if place == 0 else f"{text:>{width}}"
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def show_number(value: MetricValue) -> str:
    """Write how many structures are behind a value: "300", or "300 vs 3785" where it depends on both sets' sizes."""
    return str(value.n) if value.sizes is None else "{} vs {}".format(*value.sizes)
