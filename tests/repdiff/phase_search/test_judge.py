import numpy as np
import pytest
from judged_phases import judged, relaxation, salt

from repdiff.energies.relaxed import Relaxation
from repdiff.errors import UserError
from repdiff.phase_search.figures import hull_figure
from repdiff.phase_search.page import render_phases

CSCL = np.eye(3) * 3.5


def caesium_chloride(name, numbers=(11, 17)):
    return salt(name, numbers=numbers).replace(lattice=CSCL)


@pytest.fixture
def binary():
    rock, again = salt("NaCl-000"), salt("NaCl-001", a=5.65)
    return judged(
        {
            "NaCl-000": relaxation(rock, -1.45),
            "NaCl-001": relaxation(again, -1.449),
            "NaCl-002": relaxation(caesium_chloride("NaCl-002"), -1.6),
            "NaCl-003": relaxation(
                caesium_chloride("NaCl-003").replace(lattice=np.diag([3.5, 4.4, 5.6])),
                -1.0,
                stopped="max_seconds",
            ),
            "NaCl-004": Relaxation.without_result("the cell collapsed"),
        },
        (11, 17),
        known=[salt("mp-22862", a=5.7)],
        not_built={"NaCl-005": "too small"},
        duplicates={"NaCl-006": "NaCl-000"},
        not_tried=["NaCl-007"],
    )


def test_energies_are_taken_from_the_hull_of_the_known(binary):
    found = binary.to_frame()["e_above_hull"]
    assert found["NaCl-000"] == pytest.approx(0.05)
    assert found["NaCl-002"] == pytest.approx(-0.1)
    formation = binary.to_frame()["formation_energy"]["NaCl-000"]
    assert formation == pytest.approx(-1.45 - (-1.0 - 0.5) / 2)
    assert binary.rows[0].id == "NaCl-002"
    assert binary.rows[0].competitors == "1.00 NaCl"


def test_a_crystal_is_known_if_a_known_one_is_the_same(binary):
    frame = binary.to_frame()
    assert (frame["status"]["NaCl-000"], frame["known_as"]["NaCl-000"]) == ("known", "mp-22862")
    assert frame["status"]["NaCl-002"] == "new"
    assert frame["space_group"]["NaCl-000"] == 225
    assert frame["protostructure"]["NaCl-002"] == "AB_cP2_221_b_a:Cl-Na"


def test_what_becomes_the_same_counts_once_and_names_the_lowest(binary):
    assert binary.to_frame()["duplicate_of"]["NaCl-001"] == "NaCl-000"
    assert [row.id for row in binary.best()] == ["NaCl-002", "NaCl-000"]


def test_every_candidate_is_counted_somewhere_in_the_funnel(binary):
    assert binary.funnel == {
        "asked": 9,
        "drawn": 13,
        "distinct": 8,
        "tried": 7,
        "built": 6,
        "distinct crystals": 5,
        "relaxed": 4,
        "converged": 3,
        "distinct when relaxed": 3,
        "within 0.1 eV/atom": 2,
        "new within 0.1 eV/atom": 1,
        "on the hull": 1,
        "new on the hull": 1,
    }
    assert set(binary.failed) == {"NaCl-004", "NaCl-005", "NaCl-007"}
    assert set(binary.to_frame().index) | {"NaCl-006"} == {f"NaCl-{k:03d}" for k in range(8)}
    told = " ".join(binary.notes)
    assert "1 relaxations were stopped by the limit of time" in told
    assert "1 candidates were not tried" in told


def test_the_diagram_of_pymatgen_holds_the_known_and_what_was_found(binary):
    assert "NaCl-002" in {entry.name for entry in binary.hull.stable_entries}
    assert {entry.composition.reduced_formula for entry in binary.known_hull.stable_entries} == {
        "Na",
        "Cl2",
        "NaCl",
    }


def test_the_curve_of_two_elements_has_the_known_hull_and_every_distinct_phase(binary):
    drawn = hull_figure(binary)
    traces = {trace.name: trace for trace in drawn.data}
    assert list(traces["hull of the known"].y) == pytest.approx([0.0, -0.75, 0.0])
    assert min(traces["hull with what was found"].y) == pytest.approx(-0.85)
    assert list(traces["found, new"].y) == pytest.approx([-0.85, -0.25])
    assert list(traces["found, known"].x) == pytest.approx([0.5])


def test_the_triangle_joins_what_coexists(binary):
    found = judged(
        {"Na2ClF-000": relaxation(salt("Na2ClF-000", numbers=(11, 17, 9, 11), frac=np.eye(4, 3) / 2), -1.55)},
        (11, 17, 9),
    )
    drawn = hull_figure(found)
    lines = next(trace for trace in drawn.data if trace.name == "coexisting phases")
    corners = {(a, b, c) for a, b, c in zip(lines.a, lines.b, lines.c, strict=True) if a is not None}
    assert corners == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.5, 0, 0.5)}
    assert len([a for a in lines.a if a is None]) == 7  # edges of the three triangles, each once
    assert found.to_frame()["status"].isna().all()
    assert "New or known was not decided" in " ".join(found.notes)
    (row,) = found.rows
    assert row.competitors == "0.50 NaF + 0.50 NaCl"
    assert row.e_above_hull == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("elements", [(11,), (11, 17), (11, 17, 9), (11, 17, 9, 8)])
def test_the_page_is_whole_for_any_number_of_elements(elements):
    energies = {"Na": -1.0, "Cl2": -0.5, "F2": -0.4, "O2": -0.3, "NaCl": -1.5}
    formula = {1: "Na", 2: "NaCl"}.get(len(elements), "NaCl")
    numbers = (11, 11) if len(elements) == 1 else (11, 17)
    name = f"{formula}-000"
    found = judged({name: relaxation(salt(name, numbers=numbers), -1.2)}, elements, energies=energies)
    page = render_phases(found, {"n": 1})
    assert page.count("<html") == 1
    assert "https://" not in page.split('id="report-data"')[0]
    assert ('data-figure="hull"' in page) == (len(elements) in (2, 3))
    assert name in page
    assert found.system in page


def test_an_empty_result_makes_a_page_too():
    found = judged({}, (11, 17), not_built={"NaCl-000": "too <small>"})
    assert found.funnel["relaxed"] == 0
    page = render_phases(found, {})
    assert "too &lt;small&gt;" in page
    assert "Phases of Na-Cl: 0 crystals relaxed" in found._repr_html_()


def test_a_hull_without_an_element_is_refused_in_one_line():
    with pytest.raises(UserError, match="no crystal of Cl alone, expected all elements of Cl-Na"):
        judged({}, (11, 17), energies={"Na": -1.0, "NaCl": -1.5})
