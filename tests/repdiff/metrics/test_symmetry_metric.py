import logging

import numpy as np
import pytest
from moved_crystals import MOVES, shaken
from sample_crystals import crystal, cubic_perovskite, invalid_crystals
from scipy.spatial.distance import jensenshannon
from scipy.stats import chisquare

from repdiff.crystals.symmetry import find_symmetries, space_groups
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.symmetry import SymmetrySummary
from repdiff.metrics.validity import NOT_MADE

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8


def rock_salt(id="NaCl"):
    return crystal(id, [11, 17], FCC, [[0, 0, 0], [0.5, 0.5, 0.5]])


def zinc_blende(id="ZnS"):
    return crystal(id, [30, 16], FCC, [[0, 0, 0], [0.25, 0.25, 0.25]])


def hexagonal_close_packed(id="Mg"):
    lattice = [[3.2, 0, 0], [-1.6, 1.6 * np.sqrt(3), 0], [0, 0, 5.2]]
    return crystal(id, [12, 12], lattice, [[0, 0, 0], [1 / 3, 2 / 3, 0.5]])


def without_symmetry(id="P1"):
    frac = [[0, 0, 0], [0.31, 0.22, 0.57], [0.68, 0.12, 0.29], [0.13, 0.71, 0.83]]
    return crystal(id, [11, 17, 19, 35], [[4, 0, 0], [0.7, 5, 0], [0.4, 0.9, 6]], frac)


@pytest.mark.parametrize(
    ("one", "number", "symbol", "system"),
    [
        (rock_salt(), 225, "Fm-3m", "cubic"),
        (zinc_blende(), 216, "F-43m", "cubic"),
        (cubic_perovskite(), 221, "Pm-3m", "cubic"),
        (hexagonal_close_packed(), 194, "P6_3/mmc", "hexagonal"),
        (without_symmetry(), 1, "P1", "triclinic"),
    ],
)
def test_crystals_of_textbooks_have_their_space_groups(one, number, symbol, system):
    (found,) = find_symmetries([one])
    assert (found.number, found.symbol, found.crystal_system, found.reason) == (number, symbol, system, "")


@pytest.mark.parametrize("move", sorted(MOVES))
def test_the_space_group_does_not_depend_on_the_description(move):
    rng = np.random.default_rng(0)
    crystals = [rock_salt(), zinc_blende(), cubic_perovskite(), hexagonal_close_packed(), without_symmetry()]
    assert space_groups([MOVES[move](one, rng) for one in crystals]) == [225, 216, 221, 194, 1]


def test_noise_within_the_tolerance_is_forgiven_and_beyond_it_is_not():
    noisy = [shaken(cubic_perovskite(), np.random.default_rng(0), noise) for noise in (0.005, 0.15)]
    assert space_groups(noisy) == [221, 1]
    assert space_groups(noisy, symprec=1e-4) == [1, 1]


def test_a_sheared_cell_is_judged_by_the_tolerance_of_angles_in_degrees():
    lattice = np.array([[3.9, 0, 0], [0.05, 3.9, 0], [0, 0, 3.9]])  # sheared by 0.7°
    sheared = cubic_perovskite().replace(lattice=lattice)
    assert space_groups([sheared], angle_tolerance=0.5) == [65]
    assert space_groups([sheared], angle_tolerance=2.0) == [221]


def test_a_crystal_without_a_cell_or_atoms_has_no_space_group_and_a_reason():
    found = find_symmetries([*invalid_crystals(), rock_salt()])
    assert [symmetry.number for symmetry in found] == [None] * 7 + [225]
    assert all(symmetry.reason for symmetry in found[:-1])
    assert found[0].symbol is None
    assert found[0].crystal_system is None


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING")  # what spglib tells all its callers
def test_real_crystals_have_the_space_groups_that_spglib_finds(benchmark):
    import spglib

    crystals = benchmark("mp20", "test", 150)
    cells = [(one.lattice, one.frac_coords, one.atomic_numbers) for one in crystals]
    expected = [spglib.get_symmetry_dataset(cell, symprec=0.01).number for cell in cells]
    assert space_groups(crystals, symprec=0.01) == expected


def test_shares_leave_out_what_has_no_space_group_but_for_the_symmetric():
    crystals = [rock_salt(), without_symmetry(), invalid_crystals()[0]]
    result = SymmetrySummary().compute(
        CrystalSet(crystals=crystals, failed={"lost": "no formula"}), Context()
    )
    values = {name: value.value for name, value in result.values.items()}
    assert values["symmetric"] == 0.25
    assert values["p1"] == 0.5
    assert (values["cubic"], values["triclinic"], values["hexagonal"]) == (0.5, 0.5, 0)
    assert result.columns["space_group"] == [225, 1, None, None]
    assert result.columns["space_group_symbol"] == ["Fm-3m", "P1", None, None]
    assert result.columns["symmetry_reason"][-1] == NOT_MADE


def test_the_histograms_of_generated_and_reference_lie_side_by_side():
    reference = CrystalSet(crystals=[rock_salt(), rock_salt("b"), hexagonal_close_packed()])
    result = SymmetrySummary().compute(CrystalSet(crystals=[rock_salt()]), Context(reference=reference))
    assert result.details["space_groups"] == {"225": 1}
    assert result.details["reference_space_groups"] == {"194": 1, "225": 2}
    assert result.details["reference_crystal_systems"]["cubic"] == 2
    assert result.details["crystal_systems"]["hexagonal"] == 0


def test_the_protocol_names_library_version_and_tolerance():
    result = SymmetrySummary(symprec=0.01).compute(CrystalSet(crystals=[rock_salt()]), Context())
    (name,) = result.protocols
    assert name == "moyopy-0.01"
    assert result.protocols[name]["symprec_angstrom"] == 0.01
    assert result.protocols[name]["version"]


def test_supercells_that_break_symmetry_are_not_reported_one_by_one(caplog):
    supercell = MOVES["supercell"](cubic_perovskite(), np.random.default_rng(0))
    with caplog.at_level(logging.WARNING):
        assert space_groups([supercell]) == [221]
        assert logging.getLogger("moyo").level == logging.NOTSET
    assert not caplog.records


def test_chi2_and_divergence_are_those_of_scipy():
    def several(make, n):
        return [make(f"{make.__name__} {k}") for k in range(n)]

    generated = several(rock_salt, 3) + several(zinc_blende, 4) + several(without_symmetry, 5)
    known = several(rock_salt, 6) + several(zinc_blende, 2) + several(hexagonal_close_packed, 2)
    found = SymmetrySummary().compute(
        CrystalSet(crystals=generated, failed={"lost": "no formula"}),
        Context(reference=CrystalSet(crystals=known)),
    )
    values = found.values  # of 225, 216 and 194; P1, which the reference lacks, is left out of χ²
    expected = chisquare([3 / 7, 4 / 7, 0], f_exp=[0.6, 0.2, 0.2]).statistic
    assert values["chi2_space_groups"].value == pytest.approx(expected)
    assert values["chi2_space_groups"].sizes == (12, 10)
    assert values["chi2_space_groups"].interval[0] < expected < values["chi2_space_groups"].interval[1]
    systems = jensenshannon([7 / 12, 5 / 12, 0], [0.8, 0, 0.2], base=2) ** 2
    assert values["js_crystal_systems"].value == pytest.approx(systems)


def test_chi2_of_frequencies_does_not_grow_with_the_number_of_crystals():
    def chi2(times):
        generated = [rock_salt(f"a {k}") for k in range(times)] + [
            zinc_blende(f"b {k}") for k in range(times)
        ]
        known = CrystalSet(crystals=[rock_salt(), zinc_blende(), zinc_blende("other")])
        context = Context(reference=known)
        return SymmetrySummary().compute(CrystalSet(crystals=generated), context).values["chi2_space_groups"]

    assert chi2(1).value == pytest.approx(chi2(5).value) == pytest.approx((1 / 6) ** 2 * (3 + 1.5))


def test_chi2_has_no_value_where_no_group_is_common():
    context = Context(reference=CrystalSet(crystals=[rock_salt()]))
    values = SymmetrySummary().compute(CrystalSet(crystals=[zinc_blende()]), context).values
    assert values["chi2_space_groups"].value is None
    assert "no structure has a space group that the reference has" in values["chi2_space_groups"].reason
    assert values["js_crystal_systems"].value == 0
