import pytest

from repdiff.report.labels import shown_number, shown_symbol
from repdiff.report.summary import summarize


def document(value, interval=None, baseline=None, unit="fraction", **more):
    shown = {"value": value, "n": 10, "protocol": "p", "unit": unit, "interval": interval, **more}
    if baseline is not None:
        shown["baseline"] = baseline
    return {
        "metrics": {
            "validity": {"description": "d", "values": {"valid": shown}, "protocols": {"p": {"a": 1}}}
        }
    }


def cells(*documents):
    summary = summarize({f"run {place}": found for place, found in enumerate(documents)})
    return summary.families[0].rows[0].cells


def test_a_fraction_is_shown_in_percent_with_its_interval_and_baselines():
    baseline = {
        "training": {"value": 0.99, "n": 9, "interval": [0.98, 1.0]},
        "halves": {"value": None, "n": 0},
    }
    (cell,) = cells(document(0.9853, [0.9771, 0.9918], baseline))
    assert (cell.value, cell.unit, cell.interval) == ("98.5", "%", "97.7 – 99.2")
    assert cell.baselines == (("training", "99.0", "98.0 – 100.0"),)
    assert cell.bar.dot > cell.bar.span[0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.00339, "0.00339"), (1.474e-6, "1.47 × 10⁻⁶"), (-2, "−2"), (123456.0, "1.23 × 10⁵")]
)
def test_numbers_are_written_for_people(value, text):
    assert shown_number(value) == text


def test_screw_axes_are_subscripts():
    assert shown_symbol("P6_3/mmc") == "P6₃/mmc"


def test_digits_follow_the_interval():
    (wide,) = cells(document(3.82512, [3.6, 3.9], unit=""))
    (narrow,) = cells(document(3.82512, [3.8251, 3.8252], unit=""))
    assert (wide.value, narrow.value) == ("3.83", "3.825120")


def test_a_value_without_an_interval_is_shown_as_older_evaluations_wrote_it():
    old = {"value": 0.985, "n": 1000, "protocol": "p", "unit": "fraction"}
    (cell,) = cells({"metrics": {"validity": {"values": {"valid": old}}}})
    assert (cell.value, cell.interval, cell.bar.span) == ("98.5", "", None)


def test_no_value_shows_its_reason():
    (cell,) = cells(document(None, reason="no structures"))
    assert (cell.value, cell.reason, cell.bar) == ("", "no structures", None)


def test_a_value_keeps_what_qualifies_it():
    (cell,) = cells(document(0.5, reason="3 pairs not compared"))
    assert (cell.value, cell.reason) == ("50.0", "3 pairs not compared")


def test_runs_stand_side_by_side_with_equal_digits_and_gaps_are_told():
    first, second = cells(document(0.5, [0.4, 0.6]), document(0.25, [0.2495, 0.2505]))
    assert (first.value, second.value) == ("50.00", "25.00")
    _, missing = cells(document(0.5), {"metrics": {}})
    assert missing.reason == "not computed"


def test_bars_of_one_row_share_a_scale():
    small, large = cells(document(1.0, unit=""), document(4.0, unit=""))
    assert small.bar.dot - 4 < (large.bar.dot - 4) / 3.9


def test_values_below_zero_have_a_true_minus_and_a_place_on_the_bar():
    (cell,) = cells(document(-0.5, [-0.7, -0.3], unit="eV/atom"))
    assert cell.value == "−0.50"
    assert cell.bar is not None


def test_a_protocol_of_one_name_with_other_constants_is_told_apart():
    other = document(0.5)
    other["metrics"]["validity"]["protocols"]["p"] = {"a": 2}
    summary = summarize({"x": document(0.5), "y": other})
    assert summary.protocols == {"p": {"a": 1}, "p (y)": {"a": 2}}


def test_what_was_skipped_is_listed_with_its_run():
    summary = summarize({"x": {"skipped": {"matching": "needs known crystals"}}})
    assert summary.families == []
    assert summary.skipped == [("x", "Agreement with known crystals", "needs known crystals")]
