"""One text to arrays, and what each kind of broken text is refused for."""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from repdiff.crystals.parse import Arrays, parse_text, parse_texts

ROCK_SALT = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CIF = ROCK_SALT.to(fmt="cif")
NA, CL = "0.00000000  0.00000000  0.00000000  1", "0.50000000  0.50000000  0.50000000"

BROKEN = {
    "partial occupancy": (CIF.replace(NA, NA[:-1] + "0.5"), "partial occupancy: a site holds Na 0.5"),
    "unknown element": (CIF.replace("Na  Na0", "Qq  Qq0"), "unknown element: Qq"),
    "dummy": (CIF.replace("Na  Na0", "X  X0"), "unknown element: X"),
    "NaN": (CIF.replace(CL, "nan 0.5 0.5"), "cannot be read as CIF"),
    "unknown coordinate": (CIF.replace(CL, "? 0.5 0.5"), "cannot be read as CIF"),
    "one position twice": (CIF.replace(CL, "0.0 0.0 0.0"), "overlapping atoms"),
    "no volume": (CIF.replace("_cell_length_a   4.0", "_cell_length_a   0.0"), "the cell has no volume"),
    "cut off": (CIF[: len(CIF) // 2], "cannot be read as CIF"),
    "one atom lost": (CIF.replace("  Cl  Cl1", "# "), "which is not the formula the file states"),
    "no CIF at all": ("hello", "cannot be read as POSCAR"),
    "nothing": ("  \n", "no structure: the text is empty"),
    "broken JSON": ('{"lattice": ', "cannot be read as JSON"),
    "other JSON": ('{"a": 1}', "not a pymatgen structure"),
}


def is_rock_salt(arrays: object) -> bool:
    return (
        isinstance(arrays, Arrays)
        and arrays.atomic_numbers.tolist() == [11, 17]
        and np.allclose(arrays.lattice, 4 * np.eye(3))
        and np.allclose(arrays.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]])
    )


@pytest.mark.parametrize(
    "text",
    [CIF, Poscar(ROCK_SALT).get_str(), json.dumps(ROCK_SALT.as_dict()), str(ROCK_SALT.as_dict())],
    ids=["cif", "poscar", "json", "python"],
)
def test_every_kind_of_text_is_recognised(text):
    (arrays,) = parse_text(text)
    assert is_rock_salt(arrays)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_text_is_refused_for_what_is_wrong_with_it(name):
    text, words = BROKEN[name]
    (reason,) = parse_text(text)
    assert isinstance(reason, str)
    assert words in reason
    assert "\n" not in reason


def test_a_site_of_mixed_species_in_json_is_refused():
    mixed = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    assert parse_text(json.dumps(mixed.as_dict())) == ["partial occupancy: a site holds Na 0.5, K 0.5"]


def test_a_cif_of_two_blocks_gives_two_verdicts():
    good, bad = parse_text(CIF + BROKEN["unknown element"][0].replace("data_NaCl", "data_two"))
    assert is_rock_salt(good)
    assert bad == "unknown element: Qq"


def test_a_block_without_atoms_is_no_crystal():
    (arrays,) = parse_text("data_global\n_journal_name 'x'\n" + CIF)
    assert is_rock_salt(arrays)


def test_symmetry_operations_of_a_cif_are_applied():
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\n 'x, y, z'\n '-x, -y, -z'\n"
    sites = "".join(f"_atom_site_{name}\n" for name in ("label", "fract_x", "fract_y", "fract_z"))
    cell = "".join(f"_cell_length_{axis} 5\n" for axis in "abc")
    cell += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
    (arrays,) = parse_text(f"data_iron\n{cell}{operations}loop_\n{sites}Fe1 0.1 0.2 0.3\n")
    assert isinstance(arrays, Arrays)
    assert arrays.atomic_numbers.tolist() == [26, 26]
    np.testing.assert_allclose((arrays.frac_coords.sum(0) + 0.5) % 1, 0.5)


def test_oxidation_states_do_not_disturb():
    charged = ROCK_SALT.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert is_rock_salt(parse_text(charged.to(fmt="cif"))[0])
    assert is_rock_salt(parse_text(json.dumps(charged.as_dict()))[0])


def test_json_is_read_without_importing_what_it_names():
    text = json.dumps(ROCK_SALT.as_dict())
    assert is_rock_salt(parse_text(text.replace("pymatgen.core", "no_such_module"))[0])


def test_deuterium_is_hydrogen():
    (arrays,) = parse_text(
        CIF.replace("Na  Na0", "D  D0").replace("Na1 Cl1", "D1 Cl1").replace("NaCl", "DCl")
    )
    assert isinstance(arrays, Arrays)
    assert arrays.atomic_numbers.tolist() == [1, 17]


@pytest.mark.parametrize("processes", [1, 2])
def test_many_texts_keep_their_order(processes):
    lengths = np.linspace(3, 6, 250)
    texts = [(Structure(Lattice.cubic(a), ["Fe"], [[0, 0, 0]]).to(fmt="cif"), None) for a in lengths]
    texts[17] = ("data_broken\n_cell_length_a 3\n", None)
    results = parse_texts(texts, progress=False, processes=processes)
    assert isinstance(results.pop(17)[0], str)
    found = [result[0].lattice[0, 0] for result in results if isinstance(result[0], Arrays)]
    assert np.allclose(found, np.delete(lengths, 17), atol=1e-6)
