"""Tabs of what became of relaxed crystals, and of what crystals were asked to be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.symmetry.groups import PointGroup, sg_symbol_from_int_number
from pymatgen.symmetry.groups import SpaceGroup as PymatgenGroup
from sample_crystals import crystal

from repdiff.cli.main import main
from repdiff.crystals.crystal import write_crystals
from repdiff.report.asked import conditions
from repdiff.report.collect import EvaluatedRun
from repdiff.report.relaxation import FATES, fate, relaxation
from repdiff.runs.manifest import Manifest

GROUPS = st.integers(1, 230)


def run_of(records, name="generated"):
    """An evaluated run, as far as these tabs read it."""
    return EvaluatedRun(
        name=name,
        path=Path("evaluate"),
        title=name,
        metrics={},
        records=records,
        crystals={},
        manifest=Manifest.model_construct(),
        made_by=None,
        failed={},
        reference=None,
        training=None,
        n_structures=len(records),
    )


def relaxed(n=20):
    return [
        {
            "id": f"g{row}",
            "formula": "NaCl",
            "e_above_hull": row * 0.02 - 0.1,
            "novel": row % 2 == 0,
            "space_group_before": 225 if row else None,
            "space_group_relaxed": 221 if row % 4 == 0 else 225,
        }
        for row in range(n)
    ] + [{"id": "gone", "failure": "no lattice"}]


def table(section, title):
    [found] = [one for one in section.tables if one.title.endswith(title)]
    return {row[0]: row[1:] for row in found.rows}


@given(GROUPS, GROUPS)
def test_the_fate_of_a_group_is_that_of_the_order_of_its_point_group(before, after):
    orders = [
        len(PointGroup(PymatgenGroup(sg_symbol_from_int_number(n)).point_group).symmetry_ops)
        for n in (before, after)
    ]
    expected = (
        FATES[0]
        if before == after
        else FATES[1 + (orders[1] < orders[0])]
        if orders[0] != orders[1]
        else FATES[3]
    )
    assert fate(before, after) == expected


def test_crystals_are_counted_below_each_energy():
    [section] = relaxation([run_of(relaxed())])
    rows = table(section, "Above the hull")
    assert rows["on the hull or below"][0] == "6 of 20"  # -0.1, -0.08, ... 0
    assert rows["within 0.1 eV/atom"] == ("11 of 20", rows["within 0.1 eV/atom"][1])
    assert rows["within 0.1 eV/atom"][1].startswith("55.0 % (")


def test_the_lowest_come_first_with_what_is_known_of_them():
    [section] = relaxation([run_of(relaxed())])
    [lowest] = [one for one in section.tables if one.title.startswith("The lowest")]
    assert lowest.columns == ("crystal", "formula", "space group", "above the hull, eV/atom", "novel")
    assert [row[0] for row in lowest.rows] == [f"g{row}" for row in range(15)]
    assert lowest.rows[1] == ("g1", "NaCl", "Fm-3m (225)", "−0.08", "no")


def test_groups_before_and_after_are_compared():
    [section] = relaxation([run_of(relaxed())])
    fates = table(section, "before and after relaxation")
    assert fates["kept"][0] == "15 of 19"  # the first has no group before
    assert fates["another of the same order"][0] == "4 of 19"
    assert fates["raised"][0] == fates["lowered"][0] == "0 of 19"
    assert table(section, "most frequent changes") == {"Fm-3m (225)": ("Pm-3m (221)", "4")}


def test_several_runs_are_told_apart():
    [section] = relaxation([run_of(relaxed(), "one"), run_of(relaxed(4), "other")])
    titles = [one.title for one in section.tables]
    assert "one: Above the hull" in titles
    assert "other: Above the hull" in titles


def test_there_is_no_tab_where_nothing_was_relaxed_or_asked():
    assert relaxation([run_of([{"id": "a"}])]) == []
    assert conditions([run_of([{"id": "a"}])]) == []


def asked(n=10):
    rows = [
        {
            "id": f"g{row}",
            "density_asked": "5..7",
            "density_obtained": 5 + row / 3,
            "density_within": 5 + row / 3 <= 7,
            "space_group_asked": "221,225",
            "space_group_obtained": 225,
            "space_group_within": True,
            "band_gap_asked": "1.5",
            "band_gap_obtained": None,
            "band_gap_within": None,
        }
        for row in range(n)
    ]
    return [*rows, {"id": "gone", "failure": "no lattice", "density_asked": "5..7"}]


def test_conditions_are_asked_obtained_and_counted():
    [section] = conditions([run_of(asked())])
    [found] = section.tables
    rows = {row[0]: row[1:] for row in found.rows}
    assert rows["density"][:3] == ("5..7", "5 to 8", "7 of 10")
    assert rows["density"][3].startswith("70.0 % (")
    assert rows["space group"][:3] == ("221,225", "225", "10 of 10")
    assert rows["band gap"] == ("1.5", "", "not known of 10", "")


def test_a_plot_has_what_was_obtained_above_the_middle_of_what_was_asked():
    [section] = conditions([run_of(asked())])
    [plot] = section.plots  # whole numbers have no middle, and the gap is not known
    line, points = plot.figure.data
    assert list(points.x) == [6.0] * 10
    assert list(points.error_x.array) == [1.0] * 10
    assert list(points.y) == pytest.approx([5 + row / 3 for row in range(10)])
    assert list(line.x) == list(line.y)


def test_rates_count_what_was_made_and_does_not_obey():
    maker = Manifest.model_construct(
        summary={"conditions": {"density": {"asked": "5..7", "how": "by selection", "n": 40, "n_within": 7}}}
    )
    [section] = conditions([replace(run_of(asked()), made_by=maker)])
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    assert rows["density"][2:] == ("7 of 40", rows["density"][3])
    assert rows["density"][3].startswith("17.5 % (")
    assert rows["space group"][2] == "10 of 10"


def test_a_label_that_was_steered_to_is_what_its_head_predicts():
    records = [{"id": str(k), "gap_asked": str(float(k)), "predicted_gap": k + 0.5} for k in (1, 2)]
    [section] = conditions([run_of(records)])
    assert list(section.plots[0].figure.data[1].y) == [1.5, 2.5]
    assert section.tables[0].rows[0][1:4] == ("1.0, 2.0", "1.5 to 2.5", "not known of 2")


def test_the_page_shows_both_tabs_of_an_evaluation(tmp_path):
    made = [
        crystal(f"c{k}", [14, 6], np.eye(3) * (4 + k / 10), [[0, 0, 0], [0.5] * 3]).replace(
            labels={"density_asked": "2..20", "n_atoms_asked": "2"}
        )
        for k in range(4)
    ]
    write_crystals(tmp_path / "made.parquet", made)
    place = ("--workspace", str(tmp_path / "w"))
    only = ("--only", "conditions", "--n-workers", "1")
    assert main(["evaluate", str(tmp_path / "made.parquet"), *only, *place]) == 0
    page = tmp_path / "page.html"
    assert main(["report", "-o", str(page), *place]) == 0
    text = page.read_text(encoding="utf-8")
    assert 'id="tab-conditions"' in text
    assert "Asked and obtained" in text
    assert 'id="tab-relaxation"' not in text
