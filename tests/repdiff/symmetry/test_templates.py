import numpy as np
import pytest
import torch

from descriptors.symmetry import unit_cell
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import equivalent_settings, prototype
from repdiff.symmetry import SymmetryTable, read_protostructures
from repdiff.symmetry.templates import TemplateLibrary
from repdiff.testing.example_crystals import family


@pytest.fixture(scope="module")
def table():
    return SymmetryTable.of_readings(read_protostructures(family(), canonical=True))


@pytest.fixture(scope="module")
def library(table):
    return TemplateLibrary.of([crystal.id for crystal in family()], table)


def volume(protostructure, cell):
    numbers = torch.tensor([protostructure.number])
    return float(torch.linalg.det(unit_cell.to_lattice(torch.as_tensor(cell)[None].double(), numbers)).abs())


def test_a_known_crystal_is_its_own_template_and_gives_its_cell_back(library, table):
    for row, protostructure in enumerate(table.protostructures):
        (found,) = library.nearest(protostructure)
        assert found.row == row
        assert found.distance == 0
        np.testing.assert_allclose(found.cell, table.cells[row], rtol=1e-6)


def test_after_the_crystal_itself_comes_the_nearest_on_the_chemical_scale(library, table):
    from pymatgen.core import Element

    names = list(library.names)
    row = names.index("halide-11-17")
    itself, found = library.nearest(table.protostructures[row], 2)
    assert itself.row == row

    def difference(name):
        pairs = zip(name.split("-")[1:], (11, 17), strict=True)
        scale = [
            abs(Element.from_Z(int(z)).mendeleev_no - Element.from_Z(own).mendeleev_no) for z, own in pairs
        ]
        return sum(scale) / 2

    others = [name for name in names if name.startswith("halide") and name != "halide-11-17"]
    assert difference(names[found.row]) == min(map(difference, others))
    assert found.distance == pytest.approx(difference(names[found.row]))


def test_a_protostructure_that_comes_again_is_not_looked_for_again(table, monkeypatch):
    library = TemplateLibrary.of([crystal.id for crystal in family()], table)
    described, plain = [], TemplateLibrary._described
    monkeypatch.setattr(
        TemplateLibrary, "_described", lambda self, *which: described.append(which) or plain(self, *which)
    )
    wanted = table.protostructures[0]
    first = library.nearest(wanted, 2)
    n_described = len(described)
    first.append(first[0])  # what is handed out may be changed
    again = library.nearest(wanted, 2)
    assert [one.row for one in again] == [one.row for one in first[:2]]
    assert len(described) == n_described > 0


def test_the_nearest_come_in_order_each_once(library, table):
    found = library.nearest(table.protostructures[0], 30)
    halides = [name for name in library.names if name.startswith("halide")]
    assert sorted(one.row for one in found) == list(range(len(halides)))
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_known_crystals_are_counted_as_much_as_their_elements_are_like_those_asked_for(library, table):
    from pymatgen.core import Element

    names = list(library.names)
    asked = table.protostructures[names.index("halide-11-17")]
    halides = [name.split("-")[1:] for name in names if name.startswith("halide")]
    numbers = {z: Element.from_Z(int(z)).mendeleev_no for pair in halides for z in pair}
    by_hand = 0.0
    for pair in halides:  # either element may stand for either, in rock salt
        ways = [
            sum(abs(numbers[z] - numbers[own]) for z, own in zip(order, ("11", "17"), strict=True))
            for order in (pair, pair[::-1])
        ]
        by_hand += np.exp(-min(ways) / 1.5)
    assert library.n_alike(asked) == pytest.approx(by_hand)
    assert library.n_alike(asked) > 1  # itself, and its neighbours
    for setting, _ in equivalent_settings(asked):
        assert library.n_alike(setting) == pytest.approx(by_hand)
    unknown = Protostructure.of(230, [(11, "a"), (17, "b")])
    assert library.n_alike(unknown) == 0


def test_cells_are_scaled_by_the_volumes_of_the_atoms(library, table):
    wanted = Protostructure.of(225, [(55, "a"), (85, "b")])
    (found,) = library.nearest(wanted)
    known = table.protostructures[found.row]
    rooms = [
        sum(library.volumes[z] * count for z, count in one.composition().items()) for one in (wanted, known)
    ]
    ratio = volume(wanted, found.cell) / volume(known, table.cells[found.row])
    assert ratio == pytest.approx(rooms[0] / rooms[1])


def test_there_is_none_of_an_unknown_prototype(library):
    assert library.nearest(Protostructure.of(136, [(22, "a"), (8, "f")])) == []


def test_tensors_hold_all_of_it(library):
    again = TemplateLibrary.from_tensors(library.tensors(), library.names)
    assert again.names == library.names
    assert again.known.protostructures == library.known.protostructures
    torch.testing.assert_close(again.known.cells, library.known.cells)
    np.testing.assert_allclose(again.volumes, library.volumes, rtol=1e-6)
    assert len(again) == len(family())
    with pytest.raises(ValueError, match="expected as many"):
        TemplateLibrary.from_tensors(library.tensors(), library.names[1:])


def test_free_coordinates_come_back_from_tensors_of_unlike_lengths():
    protostructures = (Protostructure.of(136, [(22, "a"), (8, "f")]), Protostructure.of(221, [(55, "a")]))
    cells = torch.tensor([[4.6, 2.96, 0, 0, 0, 0], [6.1, 0, 0, 0, 0, 0]])
    free = torch.tensor([[0.305], [torch.nan]])
    known = SymmetryTable(protostructures=protostructures, cells=cells, free=free)
    library = TemplateLibrary.of(["rutile", "caesium"], known)
    again = TemplateLibrary.from_tensors(library.tensors(), library.names)
    assert again.known.free_of(0).tolist() == pytest.approx([0.305])
    (found,) = again.nearest(Protostructure.of(136, [(50, "b"), (8, "f")]))
    assert prototype(protostructures[0]) == prototype(Protostructure.of(136, [(50, "b"), (8, "f")]))
    assert len(found.free) == 1
    assert again.nearest(protostructures[0])[0].free.tolist() == pytest.approx([0.305])
