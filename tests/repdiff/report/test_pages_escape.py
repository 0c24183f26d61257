"""Names, ids and reasons from files never become markup: in the pages, nor in titles and hover texts of plots."""

import json
import re
from html.parser import HTMLParser

import judged_phases
import numpy as np
import pytest

from repdiff.comparison.page import render_comparison
from repdiff.comparison.plan import BASELINE
from repdiff.comparison.results import Result, System
from repdiff.comparison.table import Comparison
from repdiff.phase_search.page import render_phases
from repdiff.report.plots import category_bars, distribution, embedding
from repdiff.report.theme import Series

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '<a href="javascript:alert(1)">x</a>',
]
OUR_SCRIPTS = 3  # data, plotting library, script of the page


class Outline(HTMLParser):
    """Collects tags, and attributes that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [one for one in attrs if _runs_code(*one)]


def check(page: str, payload: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.tags.count("script") == OUR_SCRIPTS
    assert "img" not in outline.tags
    assert outline.handlers == []
    assert payload not in re.sub(
        r'<script type="text/plain" id="plotly">.*?</script>', "", page, flags=re.DOTALL
    )
    data = re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)
    check_texts(json.loads(data[1])["figures"], payload)


def check_texts(value: object, payload: str) -> None:
    """Plotly takes some tags in its texts: none of them may be from a file."""
    if isinstance(value, str):
        assert payload not in value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_texts(inner, payload)


def result(name, payload):
    values = {"rmse": {"value": 0.1, "protocol": payload, "unit": payload}}
    metrics = {"metrics": {"matching": {"values": values, "protocols": {payload: {payload: payload}}}}}
    return Result(
        name=name, seeds={}, metrics=metrics, costs={"training_seconds": 1.0},
        settings={payload: {payload: payload}}, hardware={payload: payload},
    )  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_page_of_a_comparison_escapes_everything(payload):
    system = System(name=payload, results=(result(payload, payload),), failed={payload: payload})
    baseline = System(name=BASELINE, results=(result(payload, payload),))
    comparison = Comparison(title=payload, systems=(system,), baseline=baseline, notes=(payload,))
    check(render_comparison(comparison), payload)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("elements", [(11, 17), (11, 17, 9)])
def test_the_page_of_phases_escapes_everything(payload, elements):
    salt = judged_phases.salt(payload)
    known = judged_phases.salt(payload, a=5.61)
    relaxations = {payload: judged_phases.relaxation(salt, -3.2)}
    lost = {f"{payload} 2": payload}
    found = judged_phases.judged(relaxations, elements, known=[known], not_built=lost)
    check(render_phases(found, {payload: payload}), payload)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_and_labels_of_plots_are_escaped(payload):
    points = Series(name=payload, role="generated", values=np.zeros((3, 2)), labels=[payload] * 3)
    texts = Series(name=payload, role="generated", values=np.array([payload] * 3))
    numbers = Series(name=payload, role="generated", values=np.arange(3.0))
    drawn = [embedding([points], method="PCA", explained=(0.5, 0.5)), category_bars([texts], "Why")]
    for figure in [*drawn, distribution([numbers], "density")]:
        check_texts(json.loads(figure.to_json()), payload)


def _runs_code(name: str, value: str | None) -> bool:
    said = (value or "").strip().lower()
    return (name.startswith("on") and "alert" in said) or (
        name in ("href", "src") and said.startswith("javascript:")
    )
