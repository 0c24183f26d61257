import json

import gemmi
import moyopy
import numpy as np
import pytest
import spglib
from hypothesis import given
from hypothesis import strategies as st

from descriptors.symmetry.affine import Affine, parse_affine, write_affine
from descriptors.symmetry.space_group import TABLE, read_table, space_group

pytestmark = pytest.mark.filterwarnings("ignore:.*OLD_ERROR_HANDLING:DeprecationWarning")  # spglib
NUMBERS = range(1, 231)


def positions():
    return [position for number in NUMBERS for position in space_group(number).positions]


def operations_by_rotation(rotations, translations, to_primitive):
    """Translations modulo the lattice by rotation, both acting on rows."""
    return {
        np.asarray(rotation).T.astype(np.int64).tobytes(): np.rint(24 * np.asarray(shift) @ to_primitive) % 24
        for rotation, shift in zip(rotations, translations, strict=True)
    }


@pytest.mark.parametrize("source", ["moyopy", "spglib"])
def test_operations_are_those_of_another_program(source):
    for number in NUMBERS:
        group = space_group(number)
        entry = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
        rotations, translations = entry.rotations, entry.translations
        if source == "spglib":
            hall = next(
                hall
                for hall in range(1, 531)
                if (kind := spglib.get_spacegroup_type(hall)).number == number
                and kind.choice in ("", "b", "b1", "2", "H")
            )
            database = spglib.get_symmetry_from_database(hall)
            rotations, translations = database["rotations"], database["translations"]
        known = operations_by_rotation(rotations, translations, group.to_primitive)
        own = operations_by_rotation(
            group.rotations.transpose(0, 2, 1), group.translations / 24, group.to_primitive
        )
        assert own.keys() == known.keys()
        assert all((own[key] == known[key]).all() for key in own), number


def test_there_are_1731_positions_and_the_last_of_each_group_is_the_general_one():
    assert len(positions()) == 1731
    for number in NUMBERS:
        general = space_group(number).positions[-1]
        assert general.n_free == 3
        assert general.site_symmetry == "1"


def test_multiplicity_times_site_symmetry_is_the_order_of_the_group():
    for position in positions():
        n_points = len(position.group.centring_translations)
        order = len(position.group.rotations) * n_points
        assert position.multiplicity * position.site_symmetry_order == order
        assert len(position.conventional_images.rotations) == position.multiplicity
        assert len(position.primitive_images.rotations) == position.primitive_multiplicity
        assert position.primitive_multiplicity * n_points == position.multiplicity


def test_projectors_are_idempotent_and_leave_what_the_free_coordinates_move():
    for position in positions():
        projector = position.projector
        np.testing.assert_allclose(projector @ projector, projector, atol=1e-14)
        assert round(np.trace(projector)) == position.n_free == np.linalg.matrix_rank(projector)
        np.testing.assert_allclose(position.directions @ projector, position.directions, atol=1e-14)
        np.testing.assert_allclose(
            position.directions @ position.to_free, np.eye(position.n_free), atol=1e-14
        )


def test_the_stabilizer_keeps_every_point_of_the_position():
    for position in positions():
        point = (
            position.origin / 24 + np.array([0.1379, 0.2713, 0.4127])[: position.n_free] @ position.directions
        )
        group = position.group
        images = point @ group.rotations + group.translations / 24
        steps = (images - point) @ group.to_primitive
        kept = np.flatnonzero((np.abs(steps - np.rint(steps)) < 1e-9).all(1))
        assert kept.tolist() == position.stabilizer.tolist()


def test_site_symmetries_of_well_known_positions():
    """From the International Tables, volume A."""
    known = {(225, "a"): "m-3m", (225, "c"): "-43m", (227, "c"): "-3m", (136, "f"): "mm2", (194, "c"): "-62m",
             (166, "a"): "-3m", (62, "c"): "m", (14, "a"): "-1", (139, "d"): "-42m", (47, "A"): "1"}  # fmt: skip
    for (number, letter), symbol in known.items():
        assert space_group(number).position(letter).site_symmetry == symbol


def test_operations_close():
    for number in NUMBERS:
        group = space_group(number)
        lookup = {
            rotation.tobytes(): shift
            for rotation, shift in zip(group.rotations, group.translations, strict=True)
        }
        for rotation, shift in zip(group.rotations, group.translations, strict=True):
            products = rotation @ group.rotations
            expected = shift @ group.rotations + group.translations
            gaps = np.array([lookup[product.tobytes()] for product in products]) - expected
            assert ((gaps @ group.to_primitive) % 24 == 0).all(), number


def test_the_table_is_small_and_names_its_sources():
    assert TABLE.stat().st_size < 500_000
    assert {"moyopy", "pyxtal"} <= {
        word for text in read_table()["sources"].values() for word in text.split()
    }
    assert json.loads(TABLE.read_text())["groups"][226]["symbol"] == "Fd-3m"


@given(
    linear=st.lists(st.integers(-2, 2), min_size=9, max_size=9),
    shift=st.lists(st.integers(-23, 23), min_size=3, max_size=3),
)
def test_maps_survive_their_text(linear, shift):
    affine = Affine(np.array(linear).reshape(3, 3), np.array(shift))
    again = parse_affine(write_affine(affine))
    assert (again.linear == affine.linear).all()
    assert (again.shift == affine.shift).all()


@pytest.mark.parametrize("text", ["x,y", "x,y,w", "x,y,z+1/7", "x,y,z,"])
def test_text_that_is_no_map_is_refused(text):
    with pytest.raises(ValueError, match=r"expected three|no sum|no multiple"):
        parse_affine(text)


@pytest.mark.parametrize("number", [0, 231])
def test_a_number_of_no_group_is_refused(number):
    with pytest.raises(ValueError, match="expected 1 to 230"):
        space_group(number)


def test_crystal_systems_are_those_of_another_program():
    for number in range(1, 231):
        named = gemmi.find_spacegroup_by_number(number).crystal_system_str()
        assert space_group(number).crystal_system == named
