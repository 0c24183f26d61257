"""Progress: lines in a log, silence where it is asked for, whatever the work does."""

import io
import sys
import warnings
from types import SimpleNamespace

import pytest

from repdiff.execution import progress
from repdiff.execution.progress import LineBar, bars, progress_bar


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, in seconds."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def go_through(clock, n, seconds_each, **options):
    told = io.StringIO()
    with LineBar(
        total=n, file=told, desc="searching", unit="crystal", mininterval=0, miniters=1, **options
    ) as bar:
        for _ in range(n):
            clock[0] += seconds_each
            bar.update()
    return told.getvalue()


def test_a_log_gets_a_line_every_30_seconds_and_one_at_the_end(clock):
    told = go_through(clock, 100, 1.0)
    assert "\r" not in told
    lines = told.splitlines()
    assert [line.split()[2] for line in lines] == ["30/100", "60/100", "90/100", "100/100"]
    assert lines[0].startswith("searching:  30% 30/100 [")


def test_what_takes_less_than_30_seconds_says_nothing(clock):
    assert go_through(clock, 20, 1.0) == ""


def test_a_log_keeps_the_words_of_a_bar_with_its_own_format(clock):
    told = go_through(clock, 1, 40.0, bar_format="{desc}: {percentage:3.0f}%|{bar}| 1/1 crystals")
    assert told.splitlines()[0] == "searching: 100% 1/1 crystals"


def test_a_description_that_changes_on_the_way_has_one_colon(clock):
    told = io.StringIO()
    with LineBar(total=1, file=told, mininterval=0, miniters=1) as bar:
        bar.set_description("decorating")
        clock[0] += 40
        bar.update()
    assert told.getvalue().startswith("decorating: 100% 1/1 [")


def test_a_notebook_without_widgets_gets_bars_and_no_warning(monkeypatch):
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setitem(
        sys.modules, "ipykernel.zmqshell", SimpleNamespace()
    )  # by which tqdm knows a notebook
    for module in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        progress_bar(total=1, disable=True).close()
    assert [str(one.message) for one in told] == []


def test_where_stderr_is_no_terminal_bars_are_lines(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(total=1) as bar:
        assert isinstance(bar, LineBar)


def test_in_a_notebook_bars_are_those_of_the_notebook(monkeypatch):
    from tqdm.auto import tqdm as notebook_bar

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    with progress_bar(total=1, disable=True) as bar:
        assert isinstance(bar, notebook_bar)


def test_bars_can_be_silenced_from_outside_and_come_back():
    with bars(False), bars(True), progress_bar(total=1) as bar:
        assert bar.disable
    with progress_bar(total=1) as bar:
        assert not bar.disable


def test_no_file_makes_bars_of_its_own():
    from pathlib import Path

    root = Path(progress.__file__).parents[1]
    makers = [
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        if "tqdm(" in file.read_text(encoding="utf-8") and file.name not in ("progress.py", "processes.py")
    ]
    assert makers == []
