import json

import numpy as np
import pytest

from repdiff.report import (
    Series,
    category_bars,
    crystal_system_bars,
    distribution,
    element_difference,
    element_table,
    embedding,
    space_group_bars,
)
from repdiff.report.labels import AXES, LABELS, metric_label
from repdiff.report.png import drawn_numbers
from repdiff.report.theme import COLOURS, DARK, styles

RNG = np.random.default_rng(0)
TRAINING = Series(name="train", role="training", values=RNG.normal(5, 1, 500))
GENERATED = Series(name="ours <b>", role="generated", values=RNG.normal(6, 1, 300))


def areas(figure):
    """Return the sum of the heights of each outline, each bin once, without the closing ends."""
    return [sum(trace.y[1:-1:2]) for trace in figure.data]


def test_a_histogram_shows_shares_that_add_up_whatever_the_size_of_the_set():
    figure = distribution([TRAINING, GENERATED], "density")
    assert areas(figure) == pytest.approx([100, 100], abs=0.1)
    assert figure.data[0].x == figure.data[1].x
    assert figure.layout.xaxis.title.text == "Density (g/cm³)"


def test_values_beyond_the_range_are_counted_in_the_outermost_bins():
    outlier = Series(name="x", role="generated", values=np.append(RNG.normal(size=999), 1e6))
    figure = distribution([outlier], "density")
    assert max(figure.data[0].x) < 10
    assert areas(figure) == pytest.approx([100], abs=0.1)


def test_what_is_not_a_number_is_left_out_of_a_histogram():
    holes = Series(name="x", role="generated", values=np.array([1.0, np.nan, 2.0, np.inf, 3.0]))
    assert areas(distribution([holes], "density")) == pytest.approx([100], abs=0.1)


@pytest.mark.parametrize("values", [np.zeros(0), np.full(3, np.nan), np.array([-1.0, 0.0])])
def test_a_set_without_drawable_values_gives_a_figure_that_says_so(values):
    figure = distribution([Series(name="x", role="generated", values=values)], "loss")
    assert len(figure.data) == 0
    assert "no values" in figure.layout.annotations[0].text


@pytest.mark.parametrize("values", [np.array([2.0]), np.full(7, 3.0)])
def test_a_single_value_is_drawn(values):
    assert areas(distribution([Series(name="x", role="generated", values=values)], "density")) == [100]


def test_whole_numbers_have_a_bar_each():
    figure = distribution([Series(name="x", role="generated", values=np.array([1, 1, 3]))], "n_elements")
    assert figure.data[0].x == ("1", "2", "3")
    assert figure.data[0].y == pytest.approx((66.67, 0, 33.33), abs=0.01)


def test_a_loss_is_drawn_on_a_logarithmic_axis_in_its_own_unit():
    figure = distribution([Series(name="x", role="generated", values=np.geomspace(1e-4, 1, 200))], "loss")
    assert figure.layout.xaxis.type == "log"
    assert min(figure.data[0].x) == pytest.approx(1e-4, rel=0.1)


def test_names_from_files_are_escaped_in_legends():
    figure = distribution([GENERATED], "density")
    assert figure.data[0].name == "ours &lt;b&gt;"


def test_points_that_are_not_finite_are_not_drawn_and_labels_follow():
    points = np.array([[0.0, 1.0], [np.nan, np.nan], [2.0, 3.0]])
    series = Series(name="x", role="generated", values=points, labels=["a", "b", "c<"])
    figure = embedding([series], "PCA", (0.5, 0.25))
    assert figure.data[0].x == (0, 2)
    assert figure.data[0].text == ("a", "c&lt;")
    assert figure.layout.xaxis.title.text == "PCA 1 (50 % of the variance)"


def test_an_empty_set_of_points_is_drawn_as_nothing():
    figure = embedding([Series(name="x", role="generated", values=np.zeros((0, 2)))])
    assert len(figure.data[0].x) == 0


def test_the_periodic_table_holds_every_element_once_and_colours_those_that_occur():
    figure = element_table({8: 0.9, 22: 0.01})
    symbols = [s for trace in figure.data for row in trace.text for s in row if s]
    assert len(symbols) == len(set(symbols)) == 118
    coloured = [s for row in figure.data[1].text for s in row if s]
    assert sorted(coloured) == ["O", "Ti"]
    shown = [text for row in figure.data[1].hovertext for text in row if text]
    assert sorted(shown) == ["1", "90"]


def test_elements_stand_in_their_groups():
    grid = element_table({1: 0.1}).data[0].text
    assert grid[0][17] == "He"
    assert grid[5][1] == "Ba"
    assert grid[7][2] == "La"
    assert grid[8][16] == "Lr"
    assert grid[5][3] == "Hf"


def test_differences_are_in_percentage_points_on_a_symmetric_scale():
    heat = element_difference({8: 0.5}, {8: 0.4, 9: 0.3}).data[1]
    assert sorted(value for row in heat.z for value in row if value is not None) == pytest.approx([-30, 10])
    assert (heat.zmin, heat.zmax) == pytest.approx((-30, 30))


def test_space_groups_are_named_and_the_rest_counts_in_the_shares():
    figure = space_group_bars([Series(name="x", role="generated", values=np.array([225, 225, 1, np.nan]))])
    assert dict(zip(figure.data[0].x, figure.data[0].y, strict=True)) == {"P1 (1)": 25, "Fm-3m (225)": 50}


def test_only_the_most_frequent_space_groups_are_shown():
    values = np.array([*range(1, 31), *range(1, 21)])
    figure = space_group_bars([Series(name="x", role="generated", values=values)], n_shown=20)
    assert len(figure.data[0].x) == 20
    assert "P1 (1)" in figure.data[0].x


def test_crystal_systems_stand_in_order_and_none_found_only_if_it_occurs():
    some = Series(name="x", role="generated", values=np.array([1, 225, 225, np.nan]))
    shown = crystal_system_bars([some]).data[0]
    assert (shown.x[0], shown.x[6], shown.x[7]) == ("triclinic", "cubic", "none found")
    assert (shown.y[0], shown.y[6], shown.y[7]) == (25, 50, 25)
    assert len(crystal_system_bars([Series(name="x", role="generated", values=np.array([2]))]).data[0].x) == 7


def test_names_are_counted_the_most_frequent_first():
    figure = category_bars([Series(name="x", role="generated", values=np.array(["b", "a", "b"]))], "Why")
    assert figure.data[0].x == ("b", "a")


def test_sets_of_one_role_differ_by_more_than_colour():
    found = styles([GENERATED, GENERATED, TRAINING, GENERATED])
    assert len({(one.colour, one.dash, one.symbol) for one in found}) == 4
    assert found[0].dash != found[1].dash


def test_every_colour_of_a_set_has_a_partner_for_dark_pages():
    assert {colour for colours in COLOURS.values() for colour in colours} <= set(DARK)


def test_the_drawn_numbers_are_plain_and_complete():
    figure = distribution([TRAINING], "density")
    document = json.loads(json.dumps(drawn_numbers(figure)))
    assert document["axes"] == {"x": "Density (g/cm³)", "y": "Share of structures (%)"}
    assert document["traces"][0]["y"] == list(figure.data[0].y)


def test_every_label_explains_itself():
    assert all(label.name and label.text.endswith(".") for label in LABELS.values())
    assert all(axis.name for axis in AXES.values())


def test_a_metric_without_a_label_gets_a_name_and_a_variant_that_of_its_kind():
    assert metric_label("new_thing").name == "New thing"
    assert metric_label("cov_recall_structrepdiff").name == "Coverage, recall, structrepdiff"
    assert metric_label("cov_recall_structrepdiff").better == "up"
