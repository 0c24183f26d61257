"""Plain tables of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from repdiff.metrics.base import MetricValue, share


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table below the plots of a tab; the first cell of a row is its heading.

    Attributes:
        title: What it shows.
        columns: Their headings.
        rows: Texts, as many each as there are columns.
        note: A line below it; "" for none.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def shown_share(value: MetricValue) -> str:
    """Write a share with its interval, in percent.

    Example:
        >>> from repdiff.metrics.base import share
        >>> shown_share(share([True] * 40 + [False] * 60, "p"))[:6]
        '40.0 %'
    """
    if value.value is None:
        return ""
    text = f"{100 * value.value:.1f} %"
    if value.interval is None:
        return text
    low, high = (100 * end for end in value.interval)
    return f"{text} ({low:.1f} to {high:.1f})"


def share_row(name: str, flags: Sequence[bool]) -> tuple[str, str, str]:
    """Write how many of some crystals are so, and their share with its interval.

    Example:
        >>> share_row("kept", [True, True])
        ('kept', '2 of 2', '100.0 % (100.0 to 100.0)')
    """
    return name, f"{sum(flags)} of {len(flags)}", shown_share(share(flags, name))
