import gemmi
import numpy as np
import pytest

from descriptors.symmetry.point_groups import POINT_GROUPS, point_group_symbol


def rotations_of(number):
    operations = gemmi.find_spacegroup_by_number(number).operations()
    return np.array([operation.rot for operation in operations.sym_ops]) // gemmi.Op.DEN


def test_every_space_group_has_the_point_group_that_gemmi_names():
    named = {number: gemmi.find_spacegroup_by_number(number).point_group_hm() for number in range(1, 231)}
    assert {number: point_group_symbol(rotations_of(number)) for number in named} == named
    assert set(named.values()) == set(POINT_GROUPS.values())
    assert len(set(POINT_GROUPS.values())) == len(POINT_GROUPS) == 32


@pytest.mark.parametrize("number", [16, 89, 225])
def test_rotations_that_are_no_group_have_no_name(number):
    with pytest.raises(ValueError, match="make no crystallographic point group"):
        point_group_symbol(rotations_of(number)[1:])
