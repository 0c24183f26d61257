import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from textbook_symmetry import CRYSTALS, textbook, textbook_batch

from descriptors.base import make_descriptor
from descriptors.batch import to_structures
from descriptors.representation import Representation
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from reconstruction import SEARCHES, GivenSymmetry, Rung, Template, prepare, reconstruct
from reconstruction.orbit_search import Effort

FAST = replace(SEARCHES["default"], n_rounds=4)
NAMES = tuple(CRYSTALS)


@pytest.fixture(scope="module")
def representation():
    elements = sorted({z for protostructure, _, _ in CRYSTALS.values() for z in protostructure.elements})
    return Representation(descriptor=make_descriptor("ead"), elements=tuple(elements))


@pytest.fixture(scope="module")
def vectors(representation):
    with torch.no_grad():
        return representation.encode(textbook_batch())


@pytest.fixture
def symmetry():
    protostructures, _, cells = textbook()
    return GivenSymmetry(protostructures=protostructures, cells=cells)


@pytest.fixture(scope="module")
def found(vectors, representation):
    protostructures, _, cells = textbook()
    symmetry = GivenSymmetry(protostructures=protostructures, cells=cells)
    return reconstruct(vectors, representation, search=FAST, exact=True, symmetry=symmetry)


def test_textbook_crystals_come_back(found):
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(stol=0.1)
    for made, true in zip(to_structures(found.batch), to_structures(textbook_batch()), strict=True):
        assert matcher.fit(made, true), made
    assert bool((found.losses < 1e-4).all())
    assert found.stopped == ["solved"] * len(NAMES)
    assert int(found.n_evaluations[0]) == 1, "a crystal without free coordinates is one evaluation"


def test_elements_and_cells_are_those_given(found):
    expected = textbook_batch()
    assert torch.equal(found.batch.atomic_numbers, expected.atomic_numbers)
    torch.testing.assert_close(found.batch.lattice.double(), expected.lattice, rtol=1e-6, atol=1e-5)


def test_labels_tell_where_a_crystal_was_found(found):
    for place, name in enumerate(NAMES):
        protostructure, _, cell = CRYSTALS[name]
        labels = found.labels(place)
        assert labels["start"] == "random"
        assert np.array(labels["cell_parameters"].split(), dtype=float) == pytest.approx(cell)
        free = np.array(labels["free_coordinates"].split(), dtype=float)
        cells = torch.zeros(1, 6, dtype=torch.float64)
        cells[0, : len(cell)] = torch.tensor(cell)
        again = orbit_maps([protostructure]).crystals(torch.from_numpy(free), cells).wrapped()
        step = again.frac_coords - found.batch.select(torch.tensor([place])).frac_coords
        assert float((step - step.round()).abs().max()) < 1e-5
        assert labels["confidence"] is None


def test_the_seed_and_not_the_number_of_workers_decides(
    vectors, representation, symmetry, monkeypatch, pickled_pool
):
    monkeypatch.setattr("reconstruction.orbit_inversion.CPU_CENTRES", 20)
    settings = replace(FAST, n_rounds=1)
    one, two, other = (
        reconstruct(
            vectors, representation, search=settings, exact=True, symmetry=symmetry, n_workers=n, seed=seed
        )
        for n, seed in ((1, 0), (2, 0), (1, 1))
    )
    assert torch.equal(one.batch.frac_coords, two.batch.frac_coords)
    assert not torch.equal(one.batch.frac_coords, other.batch.frac_coords)
    assert pickled_pool == [2]


def test_cells_that_are_off_are_found_with_the_coordinates(vectors, representation):
    names = ("rock salt", "pyrite", "spinel")  # first one without a free coordinate
    protostructures, _, cells = textbook(*names)
    rows = [NAMES.index(name) for name in names]
    off = cells * 1.03
    symmetry = GivenSymmetry(protostructures=protostructures, cells=off)
    found = reconstruct(vectors[rows], representation, search=FAST, exact=False, symmetry=symmetry)
    for placed, row in zip(found.placed, cells, strict=True):
        assert placed.cell == pytest.approx(row[: len(placed.cell)].tolist(), rel=2e-3)


def test_a_crystal_that_a_template_leads_to_says_so(vectors, representation, monkeypatch):
    rung = Rung(n_trials=1, n_steps=1)
    one = ((10_000, Effort(n_drawn=1, rungs=(rung,))),)
    monkeypatch.setattr("reconstruction.orbit_search.EFFORTS", one)
    monkeypatch.setattr("reconstruction.orbit_inversion.EFFORTS", one)
    name = "orthorhombic perovskite"
    protostructures, free, cells = textbook(name)
    row = vectors[[NAMES.index(name)]]
    for templates, start in (
        ([[Template(free=free[0] + 0.004, cell=cells[0])]], "template"),
        (None, "random"),
    ):
        symmetry = GivenSymmetry(protostructures=protostructures, cells=cells, templates=templates)
        settings = replace(FAST, n_rounds=1)
        found = reconstruct(row, representation, search=settings, exact=True, symmetry=symmetry)
        assert found.labels(0)["start"] == start
        assert (float(found.losses[0]) < 1e-4) == (start == "template")


def test_rows_without_a_protostructure_are_searched_as_ever(vectors, representation, symmetry):
    rows = [0, 1]
    tiny = replace(FAST, n_rounds=1)
    mixed = replace(symmetry, protostructures=[None, symmetry.protostructures[1]], cells=symmetry.cells[rows])
    found = reconstruct(vectors[rows], representation, search=tiny, exact=True, symmetry=mixed)
    alone = reconstruct(vectors[rows[:1]], representation, search=tiny, exact=True)
    assert found.placed[0] is None
    assert found.placed[1] is not None
    torch.testing.assert_close(found.losses[:1], alone.losses)
    assert "free_coordinates" not in found.labels(0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell": [4.6, 3.0, 90.0, 0, 0, 0]}, "tetragonal cell is given by a, c alone"),
        ({"cell": [4.6, -3.0, 0, 0, 0, 0]}, "expected positive lengths"),
        ({"cell": [1.1, 1.1, 0, 0, 0, 0]}, "volume is"),
        ({"protostructure": Protostructure.of(136, [(92, "a"), (8, "f")])}, r"\[92\], which have no column"),
        (
            {"protostructure": Protostructure.of(136, [(22, "f"), (8, "a")])},
            "atoms from that of its protostr",
        ),
        ({"max_atoms": 5}, "6 atoms in its primitive cell, expected at most 5"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(vectors, representation, change, reason):
    protostructures, _, cells = textbook("rutile")
    if "cell" in change:
        cells = torch.tensor([change["cell"]], dtype=torch.float64)
    symmetry = GivenSymmetry(protostructures=[change.get("protostructure", protostructures[0])], cells=cells)
    row = vectors[[NAMES.index("rutile")]]
    inversion = prepare(
        row,
        representation,
        search=FAST,
        exact=True,
        symmetry=symmetry,
        max_atoms=change.get("max_atoms", 100),
    )
    assert inversion.groups == []
    assert re.search(reason, inversion.decoded.refused[0])


def test_arguments_of_different_lengths_are_refused(vectors, representation, symmetry):
    protostructures, _, cells = textbook()
    with pytest.raises(ValueError, match="one for each vector"):
        GivenSymmetry(protostructures=protostructures, cells=cells[:2])
    with pytest.raises(ValueError, match="its protostructure 1"):
        GivenSymmetry(
            protostructures=protostructures[1:2],
            cells=cells[1:2],
            templates=[[Template(free=torch.zeros(2), cell=cells[0])]],
        )
    with pytest.raises(ValueError, match="expected one"):
        prepare(vectors[:2], representation, search=FAST, exact=True, symmetry=symmetry)
