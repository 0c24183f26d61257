"""Crystals in a notebook."""

import sys

import numpy as np
import pytest
from ase.build import bulk

import repdiff as rd
from repdiff.testing.example_crystals import family, rock_salt


def test_each_crystal_has_a_picture_of_its_own():
    html = rd.view(family()[:5], n=4).write_html()
    assert html.count("addModel") == 4
    assert html.count("addUnitCell") == 4
    assert all(f"viewergrid_UNIQUEID[{row}][{column}]" in rd.view(family()[:4]).startjs + rd.view(family()[:4]).updatejs
               for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)))  # fmt: skip


def test_the_cell_is_repeated_where_that_is_asked_for():
    assert "replicateUnitCell(3,2,1)" in rd.view(bulk("Cu"), supercell=(3, 2, 1)).updatejs
    assert "replicateUnitCell" not in rd.view(bulk("Cu")).updatejs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"supercell": (2, 2)}, r"supercell is \(2, 2\), expected three whole numbers"),
        ({"supercell": (0, 1, 1)}, "expected three whole numbers of at least 1"),
        ({"n": 0}, "n is 0, expected at least 1"),
        ({"width": 0}, "width is 0, expected at least 1"),
    ],
)
def test_nonsense_is_one_line(arguments, said):
    with pytest.raises(rd.UserError, match=said):
        rd.view(bulk("Cu"), **arguments)


def test_what_no_file_can_hold_is_not_shown():
    flat = rock_salt().replace(lattice=np.zeros((3, 3)))
    assert rd.view([flat, rock_salt()]).updatejs.count("addModel") == 1
    with pytest.raises(rd.UserError, match="none that can be shown"):
        rd.view(flat)


def test_without_py3dmol_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3Dmol", None)
    with pytest.raises(rd.UserError, match=r"pip install \"repdiff\[notebook\]\""):
        rd.view(bulk("Cu"))


def test_a_copy_of_the_script_takes_the_place_of_the_public_one():
    html = rd.view(bulk("Cu"), script="./3Dmol-min.js").write_html()
    assert "./3Dmol-min.js" in html
    assert "https://" not in html
