"""A CIF gives the crystal that it states, or the reason why it cannot: symmetry, labels, syntax, contradictions."""

from collections import Counter
from dataclasses import replace

import gemmi
import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.data import chemical_symbols
from hypothesis import given
from hypothesis import strategies as st

from repdiff.crystals.arrays import Arrays
from repdiff.crystals.cif import DUMMY_NOTE, EMPTY_NOTE, read_cif, symbol_of
from repdiff.crystals.cif_symmetry import _groups_of, operations_of_group, same_but_for_origin

HEAD = "_atom_site_label _atom_site_type_symbol _atom_site_fract_x _atom_site_fract_y _atom_site_fract_z"
CUBIC = (5.64, 5.64, 5.64, 90, 90, 90)
SALT = "Na1 Na 0 0 0\nCl1 Cl 0.5 0.5 0.5"
OPERATION = "loop_\n_symmetry_equiv_pos_as_xyz\n"


def cif(cell: tuple[float, ...], sites: str, *facts: str, head: str = HEAD) -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    return "\n".join(["data_x", *lines, *facts, "loop_", *head.split(), sites]) + "\n"


def crystal(text: str) -> Arrays:
    (result,) = read_cif(text)
    assert isinstance(result, Arrays), result
    return result


def reason(text: str) -> str:
    (result,) = read_cif(text)
    assert isinstance(result, str), formula(result)
    return result


def formula(arrays: Arrays) -> dict[str, int]:
    return dict(Counter(chemical_symbols[number] for number in arrays.atomic_numbers))


def positions(arrays: Arrays, symbol: str) -> list[tuple[float, ...]]:
    chosen = arrays.frac_coords[arrays.atomic_numbers == chemical_symbols.index(symbol)]
    return sorted(tuple(row) for row in np.round(chosen, 4).tolist())


ROCK_SALT = {
    "the Hall symbol": "_symmetry_space_group_name_Hall '-F 4 2 3'",
    "the full symbol": "_symmetry_space_group_name_H-M 'F 4/m -3 2/m'",
    "the symbol": "_symmetry_space_group_name_H-M 'F m -3 m'",
    "the symbol without spaces": "_space_group_name_H-M_alt Fm-3m",
    "the symbol of before 1995": "_symmetry_space_group_name_H-M 'F m 3 m'",
    "the number": "_symmetry_Int_Tables_number 225",
    "names with dots": "_space_group.name_H-M_alt 'F m -3 m'",
}


@pytest.mark.parametrize("name", sorted(ROCK_SALT))
def test_rock_salt_has_eight_atoms_by_every_statement_of_its_group(name):
    arrays = crystal(cif(CUBIC, SALT, ROCK_SALT[name], "_chemical_formula_sum 'Na Cl'"))
    assert formula(arrays) == {"Na": 4, "Cl": 4}


@pytest.mark.parametrize(("cell", "n_atoms"), [((4.746, 57.23), 2), ((4.546, 11.86), 6)])
def test_a_rhombohedral_symbol_means_the_axes_of_the_cell(cell, n_atoms):
    if n_atoms == 2:
        full, site = (cell[0],) * 3 + (cell[1],) * 3, "Bi1 Bi 0.2341 0.2341 0.2341"
    else:
        full, site = (cell[0], cell[0], cell[1], 90, 90, 120), "Bi1 Bi 0 0 0.2341"
    arrays = crystal(cif(full, site, "_symmetry_space_group_name_H-M 'R -3 m'"))
    assert formula(arrays) == {"Bi": n_atoms}


@pytest.mark.parametrize("symbol", ["F d -3 m:2", "F d -3 m :2", "F d -3 m Z", "Fd-3mZ"])
def test_the_origin_choice_is_read_off_the_symbol(symbol):
    cell, site = (5.431,) * 3 + (90,) * 3, "Si1 Si 0.125 0.125 0.125"
    assert len(crystal(cif(cell, site, f"_symmetry_space_group_name_H-M '{symbol}'")).atomic_numbers) == 8


def test_an_origin_left_open_is_decided_by_z_and_refused_without():
    cell, site = (5.431,) * 3 + (90,) * 3, "Si1 Si 0.125 0.125 0.125"
    symbol = "_symmetry_space_group_name_H-M 'F d -3 m'"
    decided = crystal(cif(cell, site, symbol, "_chemical_formula_sum Si", "_cell_formula_units_Z 8"))
    assert formula(decided) == {"Si": 8}
    assert "two origins" in reason(cif((9.0,) * 3 + (90,) * 3, site, symbol))


def test_a_setting_is_taken_from_the_symbol_not_from_the_number():
    cell = (5.0, 6.0, 7.0, 90, 100, 90)
    facts = ("_symmetry_space_group_name_H-M 'P 21/n'", "_symmetry_Int_Tables_number 14")
    arrays = crystal(cif(cell, "Zn1 Zn 0 0 0\nO1 O 0.2 0.3 0.15", *facts))
    assert positions(arrays, "Zn") == [(0, 0, 0), (0.5, 0.5, 0.5)]


def test_pbnm_of_calcium_titanate_keeps_calcium_and_oxygen_apart():
    sites = "Ca1 Ca 0.0065 0.0356 0.25\nTi1 Ti 0 0.5 0\nO1 O 0.9289 0.4838 0.25\nO2 O 0.7108 0.2888 0.0371"
    facts = (
        "_symmetry_space_group_name_H-M 'P b n m'",
        "_symmetry_Int_Tables_number 62",
        "_cell_formula_units_Z 4",
    )
    arrays = crystal(cif((5.37, 5.44, 7.64, 90, 90, 90), sites, *facts, "_chemical_formula_sum 'Ca Ti O3'"))
    atoms = Atoms(arrays.atomic_numbers, scaled_positions=arrays.frac_coords, cell=arrays.lattice, pbc=True)
    distances = atoms.get_all_distances(mic=True)
    assert formula(arrays) == {"Ca": 4, "Ti": 4, "O": 12}
    assert distances[np.ix_(arrays.atomic_numbers == 20, arrays.atomic_numbers == 8)].min() > 2.3


@pytest.mark.parametrize("symbol", ["P n m a", "P m n b", "P b n m", "P c m n", "P m c n", "P n a m"])
@pytest.mark.parametrize("with_z", [True, False])
def test_a_wrong_digit_that_puts_oxygen_on_calcium_is_refused_in_every_setting(symbol, with_z):
    """O1 with x = 0.5711 for 0.0711: no setting of the group mends it, so the digit is at fault, not the symbol."""
    sites = "Ca1 Ca 0.0065 0.0356 0.25\nTi1 Ti 0 0.5 0\nO1 O 0.5711 0.4838 0.25\nO2 O 0.7108 0.2888 0.0371"
    facts = [f"_symmetry_space_group_name_H-M '{symbol}'", "_chemical_formula_sum 'Ca Ti O3'"]
    text = cif(
        (5.37, 5.44, 7.64, 90, 90, 90), sites, *facts, *(["_cell_formula_units_Z 4"] if with_z else [])
    )
    if symbol in ("P b n m", "P n a m"):  # those in which the sites have the right multiplicities
        assert "overlapping atoms: the symmetry puts" in reason(text)
    else:
        assert "which is not the formula the file states" in reason(text)


def test_three_decimals_of_a_third_stay_on_the_special_position():
    cell, sites = (3.21, 3.21, 5.21, 90, 90, 120), "Mg1 Mg 0.333 0.667 0.25"
    arrays = crystal(cif(cell, sites, "_symmetry_space_group_name_H-M 'P 63/m m c'"))
    np.testing.assert_allclose(sorted(arrays.frac_coords[:, 0]), [1 / 3, 2 / 3], atol=1e-9)
    assert len(arrays.atomic_numbers) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("hall_number", range(1, 531, 23))
def test_a_general_site_gives_the_orbit_that_spglib_has_for_the_setting(hall_number):
    kind = spglib.get_spacegroup_type(hall_number)
    known = spglib.get_symmetry_from_database(hall_number)
    group = next((g for g in gemmi.spacegroup_table() if g.hall == kind.hall_symbol), None)
    if group is None:
        pytest.skip(f"{kind.hall_symbol} is in one table only")
    site = np.array([0.1234, 0.2131, 0.3717])
    expected = (known["rotations"] @ site + known["translations"]) % 1
    cell = {1: (7, 8, 9, 80, 95, 100), 2: (7, 8, 9, 90, 90, 90), 3: (8, 8, 9, 90, 90, 90)}
    number = kind.number
    shape = cell[1] if number < 3 else cell[2] if number < 75 else cell[3]
    if 143 <= number <= 194:
        shape = (8, 8, 8, 80, 80, 80) if group.ext == "R" else (8, 8, 9, 90, 90, 120)
    if number >= 195:
        shape = (30, 30, 30, 90, 90, 90)
    scaled = tuple(4 * edge for edge in shape[:3]) + shape[3:]
    found = crystal(
        cif(scaled, f"U1 U {site[0]} {site[1]} {site[2]}", f"_symmetry_space_group_name_H-M '{group.xhm()}'")
    )
    gaps = found.frac_coords[:, None] - expected[None]
    assert len(found.frac_coords) == len(expected)
    assert (np.abs(gaps - np.round(gaps)).max(-1) < 1e-6).any(0).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_full_symbol_of_the_tables_is_known():
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        groups = _groups_of(kind.international_full.split("=")[0].strip())
        assert groups, kind.international_full
        assert groups[0].number == kind.number


CONTRADICTIONS = {
    "Z": (("_cell_formula_units_Z 4", OPERATION + "'x, y, z'"), "Z × formula asks for 8 atoms, 2 read"),
    "formula": (
        ("_symmetry_space_group_name_H-M 'F m -3 m'", "_chemical_formula_sum 'Na Cl2'"),
        "not the formula",
    ),
    "density": (("_exptl_crystal_density_diffrn 2.165",), "density of 0.541"),
    "number": (
        ("_symmetry_space_group_name_H-M 'F m -3 m'", "_symmetry_Int_Tables_number 62"),
        "is of space group 225, the file states number 62",
    ),
    "cell": (("_symmetry_space_group_name_H-M 'P 63/m m c'",), "the cell does not have the symmetry"),
    "symbol unknown": (("_symmetry_space_group_name_H-M 'Q 5'",), "'Q 5' is unknown"),
    "operations cut": (
        ("_symmetry_space_group_name_H-M 'F m -3 m'", OPERATION + "'x, y, z'"),
        "operations listed are not those of 'F m -3 m'",
    ),
    "no group": ((OPERATION + "'x, y, z'\n'-x, y, z+1/3'\n'x, -y, z'",), "not those of a group"),
}


@pytest.mark.parametrize("name", sorted(CONTRADICTIONS))
def test_a_crystal_that_is_not_what_its_file_states_is_refused(name):
    facts, words = CONTRADICTIONS[name]
    more = () if name in ("formula",) else ("_chemical_formula_sum 'Na Cl'",)
    sites = SALT if name != "no group" else "Na1 Na 0.1 0 0.1\nCl1 Cl 0.6 0.5 0.6"
    assert words in reason(cif(CUBIC, sites, *facts[:-1], *more, facts[-1]))


P21C = OPERATION + "'x,y,z'\n'-x,-y,-z'\n'-x,y+1/2,-z+1/2'\n'x,-y+1/2,z+1/2'"
MONOCLINIC = (5.1, 6.2, 7.3, 90, 101, 90)


@pytest.mark.parametrize(
    ("cell", "symbol", "fits"),
    [
        (MONOCLINIC, "P 21/c", True),
        (MONOCLINIC, "P 1 21/c 1", True),
        (MONOCLINIC, "P 21/n", False),
        (MONOCLINIC, "P 21/a", False),
        ((5.1, 6.2, 7.3, 90, 90, 90), "P 2 2 2", False),
    ],
)
def test_listed_operations_of_another_setting_or_group_than_the_symbol_are_refused(cell, symbol, fits):
    text = cif(cell, "Zn1 Zn 0 0 0\nO1 O 0.11 0.23 0.34", f"_symmetry_space_group_name_H-M '{symbol}'", P21C)
    if fits:
        assert formula(crystal(text)) == {"Zn": 2, "O": 4}
    else:
        assert f"4 operations listed are not those of '{symbol}'" in reason(text)


@given(number=st.integers(0, 558), shift=st.tuples(*[st.integers(0, 23)] * 3))
def test_operations_about_another_origin_are_those_of_their_setting(number, shift):
    groups = list(gemmi.spacegroup_table())
    group = groups[number % len(groups)]
    given = operations_of_group(group)
    moved = replace(
        given, translations=given.translations + (np.eye(3) - given.rotations) @ (np.array(shift) / 24)
    )
    assert same_but_for_origin(moved, given)
    for other in groups:
        if other.number != group.number and other.point_group_hm() == group.point_group_hm():
            assert not same_but_for_origin(moved, operations_of_group(other)), (group.xhm(), other.xhm())


def test_a_multiplicity_that_the_symmetry_does_not_make_is_refused():
    head, symbol = f"{HEAD} _atom_site_symmetry_multiplicity", "_symmetry_space_group_name_H-M 'F m -3 m'"
    assert formula(crystal(cif(CUBIC, "Na1 Na 0 0 0 4", symbol, head=head))) == {"Na": 4}
    assert "multiplicity of 24" in reason(cif(CUBIC, "Na1 Na 0 0 0 24", symbol, head=head))


def test_formula_and_z_may_both_be_those_of_the_whole_cell():
    sites = "".join(
        f"Na{n} Na {x} {y} {z}\nCl{n} Cl {(x + 0.5) % 1} {y} {z}\n"
        for n, (x, y, z) in enumerate([(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)])
    )
    facts = ("_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4")
    assert formula(crystal(cif(CUBIC, sites, *facts))) == {"Na": 4, "Cl": 4}


def test_hydrogens_without_positions_are_refused():
    text = cif(CUBIC, "O1 O 0 0 0 2", head=f"{HEAD} _atom_site_attached_hydrogens")
    assert "hydrogens without positions: 2 are attached to O1" in reason(text)


def test_dummy_atoms_and_empty_sites_are_left_out_and_said():
    dummy = crystal(cif(CUBIC, "Na1 Na 0 0 0 d\nCn1 Cn 0.2 0.2 0.2 dum", head=f"{HEAD} _atom_site_calc_flag"))
    empty = crystal(cif(CUBIC, "Na1 Na 0 0 0 1\nK1 K 0.2 0.2 0.2 0", head=f"{HEAD} _atom_site_occupancy"))
    assert (formula(dummy), dummy.notes) == ({"Na": 1}, (DUMMY_NOTE,))
    assert (formula(empty), empty.notes) == ({"Na": 1}, (EMPTY_NOTE,))


@pytest.mark.parametrize("value", [".", "?", "nan", "1/3"])
def test_a_coordinate_that_is_no_number_is_refused(value):
    assert "Na1 has a coordinate that is no number" in reason(cif(CUBIC, f"Na1 Na 0 {value} 0"))


def test_a_cell_without_an_angle_is_refused_by_its_name():
    text = cif(CUBIC, SALT).replace("_cell_angle_gamma 90\n", "")
    assert reason(text) == "cannot be read as CIF: the cell has no _cell_angle_gamma"


def test_cartesian_sites_are_read_in_a_rectangular_cell_alone():
    head = HEAD.replace("fract", "Cartn")
    sites = "Na1 Na 0 0 0\nCl1 Cl 2.82 2.82 2.82"
    assert positions(crystal(cif(CUBIC, sites, head=head)), "Cl") == [(0.5, 0.5, 0.5)]
    assert "axes are not named" in reason(cif((5.64, 5.64, 5.64, 90, 90, 100), sites, head=head))


def test_syntax_that_the_standard_allows_is_read():
    plain = cif(CUBIC, SALT)
    field = "_publ_section_comment\n;\ndata_collection at 100 K\n_atom_site_ list follows\n;\nloop_"
    for text in (
        "\ufeff" + plain,
        plain.replace("data_", "DATA_"),
        plain.replace("loop_", field, 1),
        plain.upper().replace("_ATOM", "_atom"),
    ):
        assert formula(crystal(text)) == {"Na": 1, "Cl": 1}


def test_blocks_of_one_file_are_crystals_of_their_own():
    second = "   " + cif(CUBIC, SALT.replace("Na", "K"))
    first, other = read_cif(cif(CUBIC, SALT) + second + "data_fcf\nloop_\n_atom_site_aniso_label\nNa1\n")
    assert (formula(first), formula(other)) == ({"Na": 1, "Cl": 1}, {"K": 1, "Cl": 1})


def test_a_block_of_broken_syntax_does_not_hide_the_next():
    broken = cif(CUBIC, SALT + "\nK1 K 0.1")
    bad, good = read_cif(broken + cif(CUBIC, SALT))
    assert "cannot be read as CIF" in bad
    assert formula(good) == {"Na": 1, "Cl": 1}


SYMBOLS = {
    ("Fe1", "Fe3+"): "Fe",
    ("O1", "O2-"): "O",
    ("x", "CL"): "Cl",
    ("Na1+", "Na+1"): "Na",
    ("Mg1", None): "Mg",
    ("O12", None): "O",
    ("CL1", None): "Cl",
    ("D1", "D"): "D",
}


@pytest.mark.parametrize(("names", "symbol"), SYMBOLS.items())
def test_the_element_is_read_off_type_symbol_or_label(names, symbol):
    assert symbol_of(*names) == symbol


@pytest.mark.parametrize("names", [("OH1", None), ("Wat", None), ("1", None), ("Q1", None), ("x", "OH2+x")])
def test_letters_that_are_no_element_are_not_cut_to_one(names):
    with pytest.raises(ValueError, match="unknown element"):
        symbol_of(*names)


def test_two_capitals_mean_what_the_formula_has():
    assert symbol_of("CO1", None, frozenset({"C", "H"})) == "C"
    assert symbol_of("CO1", None, frozenset({"Co", "O"})) == "Co"
