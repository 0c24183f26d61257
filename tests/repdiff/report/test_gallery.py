import re

import known_crystals
import numpy as np
import pytest
from pymatgen.core import Structure

from repdiff.crystals.crystal import Crystal, from_structure, to_structure
from repdiff.report.cards import card_of
from repdiff.report.embed import project
from repdiff.report.gallery import cif_of, drawing, is_drawable, scene_of


@pytest.fixture
def perovskite():
    return from_structure(known_crystals.perovskite(), id="x")


def test_atoms_on_faces_are_drawn_on_the_opposite_ones_too(perovskite):
    scene = scene_of(perovskite)
    numbers, counts = np.unique(scene.numbers, return_counts=True)
    # the largest atom, Sr, is moved to the corners: then Ti fills the centre and O the faces
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == {8: 6, 22: 1, 38: 8}


def test_bonds_join_neighbours_and_no_two_metals(perovskite):
    scene = scene_of(perovskite)
    pairs = {tuple(sorted(scene.numbers[pair].tolist())) for pair in scene.bonds}
    assert (8, 22) in pairs
    assert (22, 38) not in pairs


def test_the_drawing_is_the_same_wherever_the_origin_is(perovskite):
    moved = perovskite.replace(frac_coords=perovskite.frac_coords + np.array([0.3, -2.1, 7.0]))
    one, other = (scene_of(crystal) for crystal in (perovskite, moved))
    np.testing.assert_allclose(np.sort(one.positions, axis=0), np.sort(other.positions, axis=0), atol=1e-9)


def test_a_drawing_has_a_circle_for_each_atom_within_its_frame_and_a_text_alternative(perovskite):
    scene = scene_of(perovskite)
    svg = drawing(scene, 'Sr<Ti> "O3"')
    assert svg.count("<circle") == len(scene.numbers)
    assert 'aria-label="Sr&lt;Ti&gt; &quot;O3&quot;"' in svg
    for number in re.findall(r'c[xy]="([-.\d]+)"', svg):
        assert 0 <= float(number) <= 180


def test_a_cif_gives_the_same_crystal_back(perovskite):
    read = Structure.from_str(cif_of(perovskite), fmt="cif")
    assert read.composition == to_structure(perovskite).composition
    np.testing.assert_allclose(
        np.sort(read.distance_matrix), np.sort(to_structure(perovskite).distance_matrix), atol=1e-5
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"frac_coords": np.full((2, 3), np.nan)},
        {"lattice": np.zeros((3, 3))},
        {"lattice": np.full((3, 3), np.inf)},
        {"atomic_numbers": np.array([0, 8])},
        {"atomic_numbers": np.zeros(0, int), "frac_coords": np.zeros((0, 3))},
    ],
)
def test_a_broken_crystal_has_a_card_without_a_drawing(changes):
    good = from_structure(known_crystals.rocksalt(), id="x")
    bad = good.replace(**changes)
    assert not is_drawable(bad)
    card = card_of("run", {"index": 0, "structure_valid": False, "structure_reason": "bad cell"}, bad)
    assert card.cif is None
    assert card.scene is None
    assert "cannot be drawn" in card.svg
    assert ("bad", "invalid") in card.chips
    assert ("Structure valid", "no: bad cell") in card.details


def test_a_card_says_what_was_not_computed(perovskite):
    card = card_of("run", {"index": 0, "loss": 0.01}, perovskite)
    assert dict(card.facts) == {"Loss": "0.01", "Confidence": "–", "Above hull": "–"}
    assert dict(card.details)["Energy above hull"] == "not computed"
    assert card.formula_html == "SrTiO<sub>3</sub>"


def cubes(edges) -> list[Crystal]:
    return [
        Crystal(id=str(a), atomic_numbers=np.array([11]), lattice=np.eye(3) * a, frac_coords=np.zeros((1, 3)))
        for a in edges
    ]


def test_a_projection_keeps_broken_crystals_in_their_places():
    first = cubes(np.linspace(3, 5, 8))
    second = cubes([3.5, 4.5])
    second.insert(1, second[0].replace(frac_coords=np.full((1, 3), np.nan)))
    found = project([first, second], descriptor="ead", method="pca", seed=0)
    assert [points.shape for points in found.points] == [(8, 2), (3, 2)]
    assert np.isfinite(found.points[1]).all(1).tolist() == [True, False, True]
    assert found.n_left_out == [0, 1]
    assert 0 < found.explained[1] <= found.explained[0] <= 1


def test_a_projection_does_not_depend_on_the_other_sets():
    first, second = cubes(np.linspace(3, 5, 8)), cubes([3.5, 4.5])
    alone = project([first], descriptor="ead", method="pca", seed=0).points[0]
    both = project([first, second], descriptor="ead", method="pca", seed=0).points[0]
    np.testing.assert_allclose(alone, both, atol=1e-5)
