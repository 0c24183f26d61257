"""What nothing can obey is refused before anything is drawn."""

import pytest

from descriptors.symmetry.protostructure import Protostructure
from repdiff.conditions import Asked, typed
from repdiff.errors import UserError

SALT = Protostructure.of(225, [(11, "a"), (17, "b")])
NACL = {11: 1, 17: 1}


@pytest.mark.parametrize(
    ("conditions", "given", "message"),
    [
        ({"space_group": 225, "crystal_system": "tetragonal"}, {}, "no space group of 225 is tetragonal"),
        ({"elements_allowed": "Li", "elements_excluded": "Li"}, {}, "no element is left"),
        ({"chemical_system": "Li-O", "elements_allowed": "Li-Na"}, {}, "O is asked for by `chemical_system`"),
        ({"chemical_system": "Li-O", "elements_excluded": "O"}, {}, "O is asked for by `chemical_system`"),
        ({"chemical_system": "Li-Fe-O", "n_atoms": "1-2"}, {}, "too few for the 3 elements"),
        ({"formula_units": "2"}, {}, "beside a composition only"),
        ({"formula_units": "2"}, {"protostructures": [SALT]}, "beside a composition only"),
        ({"chemical_system": "Li-O"}, {"compositions": [NACL]}, "NaCl is asked for, which `chemical_system`"),
        ({"elements_excluded": "Cl"}, {"compositions": [NACL]}, "which `elements_excluded` Cl rules out"),
        ({"n_atoms": 3}, {"compositions": [NACL]}, "which `n_atoms` 3 rules out"),
        ({"n_atoms": 3, "formula_units": "1-4"}, {"compositions": [NACL]}, "which `n_atoms` 3 rules out"),
        ({"mass_per_atom": "..20"}, {"compositions": [NACL]}, "which `mass_per_atom` ..20 rules out"),
        ({"space_group": 221}, {"protostructures": [SALT]}, "which `space_group` 221 rules out"),
        ({"n_atoms": "3"}, {"protostructures": [SALT]}, "which `n_atoms` 3 rules out"),
        ({"crystal_system": "cubic", "lattice_a": "4-5", "lattice_c": "6-7"}, {}, "which no cubic cell has"),
        ({"space_group": "194", "lattice_gamma": "89-91"}, {}, "which no hexagonal cell has"),
        (
            {"crystal_system": "tetragonal,cubic", "lattice_beta": "95..100"},
            {},
            "no tetragonal or cubic cell has",
        ),
    ],
)
def test_contradictions_are_refused_in_one_line(conditions, given, message):
    with pytest.raises(UserError, match=message) as caught:
        Asked(conditions=typed(conditions)).check(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("conditions", "given"),
    [
        ({"space_group": "221,225", "crystal_system": "cubic"}, {}),
        ({"chemical_system": "Li-O", "elements_allowed": "Li-O-Na", "elements_excluded": "Fe"}, {}),
        ({"n_atoms": "5-6", "formula_units": "1-4"}, {"compositions": [NACL]}),
        ({"space_group": 225, "n_atoms": 2, "density": "2-3"}, {"protostructures": [SALT]}),
        ({"crystal_system": "tetragonal", "lattice_a": "4-5", "lattice_c": "6-7"}, {}),
        ({"crystal_system": "trigonal", "lattice_gamma": "120±0.1"}, {}),
        ({"lattice_a": "4-5", "lattice_c": "6-7"}, {}),
    ],
)
def test_what_can_be_obeyed_is_not_refused(conditions, given):
    Asked(conditions=typed(conditions)).check(**given)
