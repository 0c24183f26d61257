import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from symmetric_crystals import choices, generic_cell, on_position, protostructure_of

from descriptors.symmetry import unit_cell
from descriptors.symmetry.locate import locate, locate_at
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import (
    canonical,
    canonical_setting,
    change_setting,
    equivalent_settings,
    prototype,
    representative_points,
    settings,
)
from descriptors.symmetry.space_group import LETTERS, space_group

GENERIC = np.array([0.1379, 0.2713, 0.4127])


@pytest.mark.parametrize("number", range(1, 231))
def test_maps_normalise_their_group_and_permute_letters_as_stated(number):
    group = space_group(number)
    shifts = {
        rotation.tobytes(): shift for rotation, shift in zip(group.rotations, group.translations, strict=True)
    }
    chosen = settings(number)
    for setting in chosen[:: max(1, len(chosen) // 8)]:
        linear, shift = setting.affine.linear, setting.affine.shift
        inverse = np.rint(np.linalg.inv(linear)).astype(np.int64)
        for rotation, translation in zip(group.rotations, group.translations, strict=True):
            conjugate = inverse @ rotation @ linear
            moved = translation @ linear + shift - shift @ conjugate
            gap = (moved - shifts[conjugate.tobytes()]) @ group.to_primitive
            assert (gap % 24 == 0).all()
        for position, index in zip(group.positions, setting.letters, strict=True):
            point = setting.affine(position.origin / 24 + GENERIC[: position.n_free] @ position.directions)
            assert locate(group, point).letter == LETTERS[index]


def test_settings_of_each_group_are_a_group_and_keep_the_kind_of_position():
    for number in range(1, 231):
        permutations = np.array([setting.letters for setting in settings(number)])
        positions = space_group(number).positions
        kinds = np.array([(p.multiplicity, p.n_free, p.site_symmetry_order) for p in positions])
        assert (kinds[permutations] == kinds).all()
        known = {row.tobytes() for row in permutations}
        assert len(known) == len(permutations)
        for row in permutations[:: max(1, len(permutations) // 20)]:
            assert {product.tobytes() for product in row[permutations]} == known
        assert permutations[0].tolist() == list(range(len(positions)))


@pytest.mark.parametrize(
    ("number", "n_settings"), [(1, 1), (2, 1344), (47, 48), (62, 2), (221, 2), (225, 2), (227, 2), (14, 8)]
)
def test_known_numbers_of_settings(number, n_settings):
    """AGL(3, 2) of P-1; eight origins by six orders of axes of Pmmm; two origins of the rest, four by two of P2_1/c."""
    assert len(settings(number)) == n_settings


@given(choice=choices(), pick=st.floats(0, 1, exclude_max=True))
def test_equivalent_settings_share_canonical_form_and_prototype(choice, pick):
    protostructure = protostructure_of(choice)
    equivalents = equivalent_settings(protostructure)
    assert equivalents[0][0] == protostructure
    assert len({other for other, _ in equivalents}) == len(equivalents)
    other, setting = equivalents[int(pick * len(equivalents))]
    assert setting.apply(protostructure) == other
    assert canonical(other) == canonical(protostructure) == canonical_setting(other)[1].apply(other)
    assert canonical(canonical(other)) == canonical(other)
    assert prototype(other) == prototype(protostructure)
    assert len(equivalent_settings(other)) == len(equivalents)


@given(choice=choices(max_orbits=4), pick=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 1000))
def test_another_setting_is_the_same_crystal(choice, pick, seed):
    protostructure = protostructure_of(choice)
    equivalents = equivalent_settings(protostructure)
    setting = equivalents[int(pick * len(equivalents))][1]
    free = np.random.default_rng(seed).random(protostructure.n_free)
    numbers = torch.tensor([protostructure.number])
    lattice = unit_cell.to_lattice(generic_cell(protostructure.number), numbers)[0].numpy()
    other, changed, turned = change_setting(protostructure, free, lattice, setting)
    assert other == setting.apply(protostructure)
    assert np.linalg.det(turned) != 0
    for number in (0, 1):
        proto, p, cell = [(protostructure, free, lattice), (other, changed, turned)][number]
        made = orbit_maps([proto], primitive=False).frac_coords(torch.from_numpy(p)).numpy() @ cell
        atoms = orbit_maps([proto], primitive=False)
        elements = atoms.elements[atoms.orbit_of_atom].numpy()
        if number == 0:
            moved = setting.affine(made @ np.linalg.inv(cell))
            expected, of = moved, elements
    ours = made @ np.linalg.inv(turned)
    for element in protostructure.elements:
        steps = expected[of == element][:, None] - ours[elements == element]
        far = np.abs(steps - np.rint(steps)).max(-1)
        assert far.min(1).max() < 1e-6
        assert far.min(0).max() < 1e-6


@given(
    number=st.integers(1, 230),
    where=st.floats(0, 1, exclude_max=True),
    free=st.lists(st.floats(0.01, 0.99, allow_subnormal=False), min_size=3, max_size=3),
)
def test_every_atom_of_an_orbit_gives_the_same_free_coordinates(number, where, free):
    positions = space_group(number).positions
    position = positions[int(where * len(positions))]
    protostructure = Protostructure.of(number, [(8, position.letter)])
    coordinates = torch.tensor(free[: position.n_free], dtype=torch.float64)
    points = orbit_maps([protostructure], primitive=False).frac_coords(coordinates).numpy()
    assume(locate(position.group, points[0], tolerance=1e-3).letter == position.letter)
    first = locate_at(position, points[0])
    assert first.residual < 1e-9
    for point in points:
        placement = locate_at(position, point)
        assert placement.residual < 1e-9
        np.testing.assert_allclose(placement.free, first.free, atol=1e-6)
    again = orbit_maps([protostructure], primitive=False).frac_coords(torch.from_numpy(first.free)).numpy()
    steps = again[:, None] - points
    assert np.abs(steps - np.rint(steps)).max(-1).min(1).max() < 1e-9


def test_representative_points_are_the_first_atoms_of_the_map():
    protostructure, free = on_position(63, 3, GENERIC)
    maps = orbit_maps([protostructure], primitive=False)
    points = np.stack(representative_points(protostructure, free.numpy()))
    np.testing.assert_allclose(maps.frac_coords(free)[maps.representative].numpy(), points)
