import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from repdiff.crystals.crystal import Crystal, to_batch, to_structure
from repdiff.datasets.prototypes.build import _fill_evenly, build_prototypes
from repdiff.datasets.prototypes.decoration import (
    Decorations,
    all_different,
    decorate_with_metals,
    decorate_with_one_element,
)
from repdiff.datasets.prototypes.ions import decorate_with_ions
from repdiff.datasets.prototypes.library import Prototype, load_prototypes
from repdiff.datasets.prototypes.species import SpeciesTable
from repdiff.errors import UserError

TEXTBOOK = {
    "perovskite": "AB3C_cP5_221_a_c_b:CaTiO3",
    "rocksalt": "AB_cF8_225_a_b:NaCl",
    "zincblende": "AB_cF8_216_c_a:ZnS",
    "wurtzite": "AB_hP4_186_b_b:ZnS",
    "caesium chloride": "AB_cP2_221_b_a:CsCl",
    "fluorite": "AB2_cF12_225_a_c:CaF2",
    "rutile": "A2B_tP6_136_f_a:TiO2",
    "spinel": "A2BC4_cF56_227_d_a_e:MgAl2O4",
    "ilmenite": "AB3C_hR10_148_c_f_c:TiFeO3",
    "half-Heusler": "ABC_cF12_216_b_c_a:MgAgAs",
    "Heusler": "AB2C_cF16_225_a_c_b:MnAlCu2",
    "Laves": "A2B_cF24_227_d_a:MgCu2",
    "pyrite": "AB2_cP12_205_a_c:FeS2",
    "fcc": "A_cF4_225_a:Cu",
    "diamond": "A_cF8_227_a:C",
}
DIGEST_IN_ANOTHER_PROCESS = """
import sys
from test_prototypes import small_digest
sys.stdout.write(small_digest())
"""


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return build_prototypes(progress=False)


@pytest.fixture(scope="module")
def table() -> SpeciesTable:
    return SpeciesTable()


@pytest.fixture(scope="module")
def library() -> dict[str, Prototype]:
    return {prototype.name: prototype for prototype in load_prototypes(max_atoms=20)}


def formula(crystal: Crystal) -> str:
    return crystal.id.split("-")[2]


def digest(crystals: list[Crystal]) -> str:
    total = hashlib.sha256()
    for crystal in crystals:
        total.update(f"{crystal.id} {sorted(crystal.labels.items())}".encode())
        for array in (crystal.lattice.round(6), crystal.frac_coords.round(6), crystal.atomic_numbers):
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def way_to(ways: Decorations, table: SpeciesTable, *symbols: str) -> int | None:
    """Return the likeliest way with these elements on the sites, or None."""
    found = np.flatnonzero((table.symbol[ways.species] == np.array(symbols)).all(1))
    return int(found[ways.log_weight[found].argmax()]) if len(found) else None


def test_the_default_set_has_2400_crystals_of_at_most_20_atoms(crystals):
    assert len(crystals) == 2400
    assert max(crystal.n_atoms for crystal in crystals) <= 20
    assert to_batch(crystals).n_systems == 2400  # refuses flat cells, unknown elements and NaN


def test_ids_number_the_crystals_and_name_their_formula(crystals):
    for number, crystal in enumerate(crystals, start=1):
        assert crystal.id == f"proto-{number:04d}-{formula(crystal)}"
        composition = Composition(crystal.formula)
        assert composition.reduced_composition == Composition(formula(crystal))


def test_no_formula_occurs_twice_with_one_space_group_and_size(crystals):
    keys = {(formula(crystal), crystal.labels["spacegroup"], crystal.n_atoms) for crystal in crystals}
    assert len(keys) == len(crystals)


def test_prototypes_and_elements_are_many_and_evenly_used(crystals):
    counts = Counter(crystal.labels["prototype"] for crystal in crystals)
    assert len(counts) >= 150
    assert 4 <= min(counts.values()) <= max(counts.values()) <= 60
    elements = {number for crystal in crystals for number in crystal.atomic_numbers.tolist()}
    assert len(elements) >= 70


@pytest.mark.parametrize("name", sorted(TEXTBOOK))
def test_the_structure_types_of_the_textbooks_are_there(crystals, name):
    found = [crystal for crystal in crystals if crystal.labels["prototype"] == TEXTBOOK[name]]
    assert len(found) >= 4


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib, about itself
def test_crystals_have_the_space_group_of_their_label(crystals):
    sample = crystals[::30]
    agree = [
        SpacegroupAnalyzer(to_structure(crystal), symprec=0.01).get_space_group_number()
        == crystal.labels["spacegroup"]
        for crystal in sample
    ]
    assert np.mean(agree) > 0.9  # some library entries are rounded, or nearer to a higher symmetry


def test_atoms_keep_apart_and_volumes_are_those_of_solids(crystals):
    for crystal in crystals:
        distances = to_structure(crystal).get_neighbor_list(7.0)[3]
        assert 1.0 < distances.min() < 6.0, crystal.id
        assert 3.5 < crystal.volume / crystal.n_atoms < 125, crystal.id


def test_nearly_all_compositions_pass_the_smact_screening(crystals):
    from smact.screening import smact_validity

    valid = [smact_validity(formula(crystal), oxidation_states_set="smact14") for crystal in crystals]
    assert np.mean(valid) > 0.97


def small_digest() -> str:
    """Build from the prototypes of at most six atoms, which takes a fifth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repdiff.datasets.prototypes.build.MAX_ATOMS", 6)
        return digest(build_prototypes(n_crystals=400, progress=False))


def test_another_process_with_another_hash_seed_builds_the_same(pytestconfig):
    paths = [str(Path(__file__).parent), str(pytestconfig.rootpath)]
    quiet = ["-W", "ignore::FutureWarning"]  # of an old pymatgen beside a new monty
    result = subprocess.run(
        [sys.executable, *quiet, "-c", DIGEST_IN_ANOTHER_PROCESS],
        cwd=pytestconfig.rootpath,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == small_digest()
    assert result.stderr == ""


@pytest.fixture
def _few_prototypes(monkeypatch):
    """Build from every eighth prototype alone."""
    few = load_prototypes(max_atoms=20)[::8]
    monkeypatch.setattr("repdiff.datasets.prototypes.build.load_prototypes", lambda *, max_atoms: few)


@pytest.mark.usefixtures("_few_prototypes")
def test_another_seed_builds_others():
    one, other = (build_prototypes(n_crystals=200, seed=seed, progress=False) for seed in (0, 1))
    assert len(one) == len(other) == 200
    assert len({formula(c) for c in other} - {formula(c) for c in one}) > 20


@pytest.mark.parametrize(
    ("name", "symbols", "cell_volume"),
    [  # measured, per primitive cell, Å³
        ("rocksalt", ("Na", "Cl"), 5.640**3 / 4),
        ("rocksalt", ("Mg", "O"), 4.212**3 / 4),
        ("fluorite", ("Ca", "F"), 5.463**3 / 4),
        ("zincblende", ("Zn", "S"), 5.409**3 / 4),
        ("perovskite", ("Sr", "Ti", "O"), 3.905**3),
        ("pyrite", ("Fe", "S"), 5.418**3),
    ],
)
def test_salts_get_nearly_their_measured_volumes(library, table, name, symbols, cell_volume):
    prototype = library[TEXTBOOK[name]]
    ways = decorate_with_ions(prototype, table, np.random.default_rng(0))
    way = way_to(ways, table, *_in_order(prototype, *symbols))
    assert way is not None
    volume = prototype.volume * np.exp(3 * ways.log_scale[way])
    assert volume == pytest.approx(cell_volume, rel=0.15)  # 5 % in length


def test_every_salt_is_neutral_and_has_electronegative_anions(library, table):
    ways = decorate_with_ions(library[TEXTBOOK["spinel"]], table, np.random.default_rng(0))
    counts = library[TEXTBOOK["spinel"]].counts
    charges, electronegativity = table.charge[ways.species], table.electronegativity[ways.species]
    assert len(ways) > 50
    assert (charges @ counts == 0).all()
    highest_cation = np.where(charges > 0, electronegativity, -np.inf).max(1)
    lowest_anion = np.where(charges < 0, electronegativity, np.inf).min(1)
    assert (highest_cation < lowest_anion).all()


def test_ions_too_large_for_a_site_are_refused(library, table):
    zincblende = library[TEXTBOOK["zincblende"]]
    ways = decorate_with_ions(zincblende, table, np.random.default_rng(0))
    assert way_to(ways, table, *_in_order(zincblende, "Zn", "S")) is not None
    assert way_to(ways, table, *_in_order(zincblende, "Ba", "O")) is None


def test_salts_become_no_alloys_where_metals_would_leave_holes(library, table):
    rng = np.random.default_rng(0)
    assert len(decorate_with_metals(library[TEXTBOOK["rocksalt"]], table, rng)) == 0
    assert len(decorate_with_metals(library[TEXTBOOK["caesium chloride"]], table, rng)) > 100


def test_alloys_keep_the_size_ratio_of_the_laves_phase(library, table):
    laves = library[TEXTBOOK["Laves"]]
    ways = decorate_with_metals(laves, table, np.random.default_rng(0))
    ratios = table.bond_radius(ways.species, laves.counts)
    large, small = laves.symbols.index("Mg"), laves.symbols.index("Cu")
    assert way_to(ways, table, *_in_order(laves, "Zr", "Co")) is not None
    assert (ratios[:, large] / ratios[:, small]).min() > 1.05


@pytest.mark.parametrize(
    ("pair", "mix"),
    [("NaFe", False), ("KY", False), ("YMo", False), ("YSc", True), ("YRh", True), ("NaMg", True)],
)
def test_few_alloys_have_metals_of_families_that_hardly_mix(pair, mix, table):
    symbols = [symbol.symbol for symbol in Composition(pair)]
    rows = np.array([[np.flatnonzero((table.symbol == one) & (table.charge == 0))[0] for one in symbols]])
    spread = np.ptp(table.electronegativity[rows])
    assert table.miscibility(rows)[0] == pytest.approx(min(0.2 + spread, 1) * (1 if mix else 0.05))


def test_elements_get_their_measured_volume(library, table):
    fcc = library[TEXTBOOK["fcc"]]
    ways = decorate_with_one_element(fcc, table)
    gold = way_to(ways, table, "Au")
    assert fcc.volume * np.exp(3 * ways.log_scale[gold]) == pytest.approx(4.078**3 / 4, rel=0.01)
    assert way_to(ways, table, "O") is None


def test_shares_are_even_and_never_beyond_what_there_is():
    capacity, share = np.array([4, 60, 60, 20]), np.array([2, 2, 2, 1])
    assert _fill_evenly(capacity, share, 44).tolist() == [4, 16, 16, 8]
    assert _fill_evenly(capacity, share, 144).tolist() == capacity.tolist()
    assert _fill_evenly(capacity, share, 1).sum() == 1


@pytest.mark.usefixtures("_few_prototypes")
@pytest.mark.parametrize("n_crystals", [0, -3, 10**6])
def test_impossible_numbers_of_crystals_are_refused_in_one_line(n_crystals):
    with pytest.raises(UserError, match=f"n_crystals is {n_crystals}, expected at") as error:
        build_prototypes(n_crystals=n_crystals, progress=False)
    assert "\n" not in str(error.value)


def _in_order(prototype: Prototype, *symbols: str) -> tuple[str, ...]:
    """Put elements, written with rising electronegativity, on the sites of the original's in that order."""
    name = prototype.name.split(":")[1]
    rank = sorted(prototype.symbols, key=name.index)
    return tuple(symbols[rank.index(own)] for own in prototype.symbols)


def test_no_way_has_an_element_twice_and_neighbours_in_the_table_are_two():
    assert all_different(np.array([[22, 23], [22, 22], [8, 22], [23, 22]])).tolist() == [
        True,
        False,
        True,
        True,
    ]


def test_species_take_the_numbers_of_neighbours_that_they_are_known_with(table):
    """Be2+ is known with 3 to 6 neighbours, Cs+ with 6 to 12; one more or fewer is let pass."""
    names = list(zip(table.symbol.tolist(), table.charge.tolist(), strict=True))
    rows = np.array([[names.index(("Be", 2)), names.index(("Cs", 1))]])
    taken = {
        n: table.coordinates(rows, np.array([n, n], dtype=float))[0].tolist() for n in (1, 4, 6, 9, 12, 15)
    }
    assert taken == {
        1: [False, False], 4: [True, False], 6: [True, True], 9: [False, True], 12: [False, True], 15: [False, False]
    }  # fmt: skip
