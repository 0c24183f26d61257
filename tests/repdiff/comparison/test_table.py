import pytest

from repdiff.comparison.plan import BASELINE
from repdiff.comparison.results import Result, System
from repdiff.comparison.table import Comparison


def evaluated(name, rate, protocol):
    """A result of one metric."""
    values = {"rmse": {"value": rate, "protocol": protocol, "unit": ""}}
    metrics = {"metrics": {"matching": {"values": values, "protocols": {protocol: {"stol": 0.5}}}}}
    return Result(name=name, seeds={}, metrics=metrics, costs={}, settings={}, hardware={})


def test_values_by_different_protocols_stand_in_different_rows():
    one = System(name="one", results=(evaluated("a", 0.1, "pairs"), evaluated("b", 0.3, "pairs")))
    two = System(name="two", results=(evaluated("c", 0.2, "any"),))
    baseline = System(name=BASELINE, results=(evaluated("d", 0.4, "any"),))
    rows = Comparison(title="x", systems=(one, two), baseline=baseline).metrics()
    shown = [[cell and (cell.mean, cell.protocol) for cell in (*row.cells, row.baseline)] for row in rows]
    assert shown == [[(0.2, "pairs"), None, None], [None, (0.2, "any"), (0.4, "any")]]
    assert rows[0].cells[0].std == pytest.approx(0.02**0.5)
