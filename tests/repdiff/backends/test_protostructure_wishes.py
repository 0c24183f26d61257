import pytest

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.options import parse_options
from repdiff.backends.protostructure_wishes import read_wishes, unwanted_formulas
from repdiff.errors import UserError
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling

ELEMENTS = (3, 8, 22, 26, 38)


def wishes(compositions=None, **conditions):
    return read_wishes(conditions, compositions, ELEMENTS)


def test_nothing_asked_is_nothing():
    assert wishes() is None


def test_groups_and_systems_are_combined():
    assert wishes(space_group="225")[0].groups == {225}
    assert wishes(space_group="221, 225,12", crystal_system="cubic")[0].groups == {221, 225}
    assert wishes(crystal_system="triclinic")[0].groups == {1, 2}
    assert wishes(crystal_system="Monoclinic,cubic")[0].groups == {*range(3, 16), *range(195, 231)}


def test_elements_are_allowed_required_and_excluded():
    (system,) = wishes(chemical_system="Li-Fe-O")
    assert system.allowed == system.required == {3, 26, 8}
    assert wishes(elements_allowed="Li,O,Ti", elements_excluded="Ti")[0].allowed == {3, 8}
    assert wishes(elements_excluded="Sr-Fe")[0].allowed == {3, 8, 22}


def test_sizes_are_numbers_or_ranges():
    assert wishes(n_atoms="8")[0].n_atoms == {8}
    assert wishes(n_atoms="5-7")[0].n_atoms == {5, 6, 7}


def test_one_number_needs_no_quotes():
    assert wishes(n_atoms=8, space_group=225) == wishes(n_atoms="8", space_group="225")
    assert wishes([{3: 1, 8: 1}], formula_units=2) == wishes([{3: 1, 8: 1}], formula_units="2")


@pytest.mark.parametrize("sampler", ["ddpm", "dpm"])
def test_an_eta_that_the_sampler_would_ignore_is_refused(sampler):
    with pytest.raises(UserError, match=f"`eta` is 0.5, expected it with `sampler` ddim only, not {sampler}"):
        parse_options(StructRepDiffSampling, {"sampler": sampler, "eta": 0.5})


def test_compositions_are_asked_one_by_one_in_all_numbers_of_formula_units():
    asked = wishes([{22: 1, 8: 2}, {3: 1, 8: 1}], formula_units="1-2", space_group="136")
    assert [wish.formulas for wish in asked] == [
        (((8, 2), (22, 1)), ((8, 4), (22, 2))),
        (((3, 1), (8, 1)), ((3, 2), (8, 2))),
    ]
    assert all(wish.groups == {136} for wish in asked)


def test_lists_mean_what_text_means():
    assert wishes(space_group=225, chemical_system=["Li", "O"]) == wishes(
        space_group="225", chemical_system="Li-O"
    )


def test_formulas_that_do_not_obey_are_unwanted():
    salt, oxide = Protostructure.of(225, [(3, "a"), (9, "b")]), Protostructure.of(225, [(38, "a"), (8, "b")])
    unwanted = unwanted_formulas({"mass_per_atom": "..20", "space_group": 225})
    assert unwanted is not None
    assert not unwanted(salt)  # LiF, 13 u
    assert unwanted(oxide)
    assert unwanted_formulas({"space_group": 225}) is None
