import numpy as np
import pytest
from ase.build import bulk
from sample_crystals import crystal, cubic_perovskite

from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.primitive_cells import reduce_crystals
from repdiff.metrics.structure_groups import find_known, group_same
from repdiff.metrics.substitution_matcher import alloy_groups, replaceable
from repdiff.metrics.uniqueness import Uniqueness


def on_lattice(id, lattice, symbols, a=3.8, repeat=(2, 2, 2)):
    """Put elements on the sites of a repeated cubic lattice, in ASE's order."""
    atoms = bulk("Cu", lattice, a=a, cubic=True).repeat(repeat)
    atoms.set_chemical_symbols((symbols * len(atoms))[: len(atoms)])
    return crystal(id, atoms.numbers, atoms.cell.array, atoms.get_scaled_positions())


L1_0 = on_lattice("CuAu layers", "fcc", ["Cu", "Au", "Au", "Cu"], repeat=(1, 1, 1))
OTHER_ORDER = on_lattice("CuAu other", "fcc", ["Cu"] * 4 + ["Au"] * 4, repeat=(2, 1, 1))
B2 = crystal("CuAu B2", [29, 79], np.eye(3) * 3.0, [[0, 0, 0], [0.5, 0.5, 0.5]])
NACL = crystal("NaCl", [11, 17], 2.82 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]])
NACL_LAYERS = on_lattice("NaCl layers", "sc", ["Na", "Na", "Cl", "Cl"], a=2.82, repeat=(1, 1, 4))
DOUBLE = cubic_perovskite("BaTiO3", 56).lattice * [[2], [1], [1]]
FRAC = [[0, 0, 0], [0.5, 0, 0], [0.25, 0.5, 0.5], [0.75, 0.5, 0.5], [0.25, 0.5, 0], [0.25, 0, 0.5], [0, 0.5, 0.5],
        [0.75, 0.5, 0], [0.75, 0, 0.5], [0.5, 0.5, 0.5]]  # fmt: skip
BA_SR = crystal("BaSrTi2O6", [56, 38, 22, 22, *[8] * 6], DOUBLE, FRAC)
BA_TI = crystal("BaTi on A", [56, 22, 38, 22, *[8] * 6], DOUBLE, FRAC)

# One of each pair, another, and what the matcher of mattergen 1.0.3 says (DefaultDisorderedStructureMatcher.fit, Python
# 3.11, pymatgen 2026.10.24).
VERDICTS = [
    (L1_0, L1_0, True),
    (L1_0, OTHER_ORDER, True),
    (OTHER_ORDER, L1_0, True),
    (L1_0, B2, False),
    (NACL, NACL_LAYERS, False),
    (BA_SR, BA_TI, False),
]


@pytest.mark.parametrize(
    ("one", "known", "same"), VERDICTS, ids=lambda value: getattr(value, "id", str(value))
)
def test_the_verdict_is_that_of_mattergens_program(one, known, same):
    found = find_known(reduce_crystals([one]), reduce_crystals([known]), matcher="mattergen-disordered")
    assert (found.row.tolist() == [0]) is same


def test_the_ordered_matcher_tells_orderings_of_an_alloy_apart():
    cells = reduce_crystals([L1_0, OTHER_ORDER, B2])
    assert group_same(cells).first.tolist() == [0, 1, 2]
    assert sorted(set(group_same(cells, matcher="mattergen-disordered").first.tolist())) != [0, 1, 2]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("Fe", "Ni", True),  # 1.40 and 1.35 Å, 1.83 and 1.91
        ("Cu", "Au", True),  # 1.35 and 1.35 Å, 1.90 and 2.54
        ("Ba", "Sr", True),  # 2.15 and 2.00 Å
        ("Na", "Cl", False),  # 1.80 and 1.00 Å
        ("Cs", "Li", False),  # 2.60 and 1.45 Å
        ("O", "F", True),  # 0.60 and 0.50 Å, 3.44 and 3.98
        ("Fe", "He", False),  # helium has neither
    ],
)
def test_elements_replace_each_other_by_radius_and_electronegativity(one, other, wanted):
    assert replaceable(one, other) == replaceable(other, one) == wanted


def test_elements_join_a_group_by_way_of_a_third():
    assert not replaceable("Cs", "Ca")  # 2.60 and 1.80 Å: 36 %
    assert replaceable("Cs", "Ba")
    assert replaceable("Ba", "Ca")
    assert alloy_groups(["Cs", "Ca", "Ba", "O"]) == [{"Cs", "Ca", "Ba"}]


def test_uniqueness_takes_the_matcher_and_names_it():
    generated = CrystalSet(crystals=[L1_0, OTHER_ORDER])
    ordered, disordered = (
        Uniqueness().compute(generated, Context(matcher=name))
        for name in ("mattergen-ordered", "mattergen-disordered")
    )
    assert ordered.values["unique"].value == 1
    assert disordered.values["unique"].value == 0.5
    assert disordered.values["unique"].protocol == "mattergen-disordered"
    assert "alloys" in disordered.protocols["mattergen-disordered"]
