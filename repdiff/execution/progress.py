"""Progress bars, in one place: bars on a terminal and in notebooks, a line every 30 seconds elsewhere."""

import sys
import time
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import TqdmWarning, tqdm

SECONDS_A_LINE = 30.0
_SHOWN: ContextVar[bool] = ContextVar("bars_are_shown", default=True)


class LineBar(tqdm):
    """A progress bar for a log: a whole line every 30 seconds, nothing at all for what takes less."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (those of tqdm)
        self._last_line = time.monotonic()
        self._wrote = False
        kwargs.setdefault("mininterval", SECONDS_A_LINE)
        kwargs.setdefault("maxinterval", SECONDS_A_LINE)
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line if the last one is long enough ago."""
        if time.monotonic() - self._last_line >= SECONDS_A_LINE:
            self._write_line()
        return True

    def close(self) -> None:
        """End; where lines were written, a last one says how far it came."""
        if self.disable:
            return
        self.disable = True
        self._decr_instances(self)
        if self._wrote:
            self._write_line()

    def _write_line(self) -> None:
        self._last_line, self._wrote = time.monotonic(), True
        facts = self.format_dict | {"ncols": None}
        facts["prefix"] = (facts["prefix"] or "").removesuffix(": ")  # which set_description adds
        if self.total and not facts.get("bar_format"):
            facts["bar_format"] = (
                "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
            )
        elif facts.get("bar_format"):
            facts["bar_format"] = facts["bar_format"].replace("|{bar}|", "")
        self.fp.write(f"{self.format_meter(**facts)}\n")
        self.fp.flush()


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:  # noqa: ANN401 (those of tqdm)
    """Make a progress bar that suits where it is shown.

    Args:
        iterable: What to go through; None for a bar that is updated by hand.
        options: Those of tqdm, such as total, desc, unit, disable.

    Example:
        >>> sum(progress_bar([1, 2, 3], desc="adding", disable=True))
        6
    """
    if not _SHOWN.get():
        options["disable"] = True
    return _kind()(iterable, **options)


@contextmanager
def bars(shown: bool) -> Generator[None, None, None]:
    """Show no progress bar inside the block, unless `shown`."""
    token = _SHOWN.set(shown and _SHOWN.get())
    try:
        yield
    finally:
        _SHOWN.reset(token)


def _kind() -> type[tqdm]:
    """Return the class that suits: of notebooks, of terminals, or of logs."""
    if in_notebook():
        with warnings.catch_warnings():  # without ipywidgets it warns and makes bars of text
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm as notebook_bar

        return notebook_bar
    return tqdm if sys.stderr is not None and sys.stderr.isatty() else LineBar


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    instance = None if shell is None else shell.get_ipython()
    return instance is not None and "IPKernelApp" in getattr(instance, "config", {})
