"""Splits: official ones are kept, drawn ones keep duplicates together."""

from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from repdiff.crystals.crystal import Crystal, from_structure
from repdiff.crystals.duplicates import group_duplicates
from repdiff.datasets.splits import assign_splits

ELEMENTS = ["Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P"]


def random_structure(rng: np.random.Generator, elements: list[str]) -> Structure:
    lattice = Lattice(np.diag(rng.uniform(4, 6, 3)) + rng.uniform(-0.8, 0.8, (3, 3)))
    while True:
        structure = Structure(lattice, elements, rng.random((len(elements), 3)))
        if structure.is_valid(1.2):
            return structure


def rotated(structure: Structure, rng: np.random.Generator) -> Structure:
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return Structure(structure.lattice.matrix @ turn, structure.species, structure.frac_coords)


def translated(structure: Structure, rng: np.random.Generator) -> Structure:
    return Structure(structure.lattice, structure.species, structure.frac_coords + rng.random(3))


def permuted(structure: Structure, rng: np.random.Generator) -> Structure:
    return Structure.from_sites([structure[k] for k in rng.permutation(len(structure))])


def supercell(structure: Structure, rng: np.random.Generator) -> Structure:
    return structure * (2, 1, 1)


def recut(structure: Structure, rng: np.random.Generator) -> Structure:
    change = np.array([[1, 0, 0], [2, 1, 0], [-1, 1, 1]])
    return Structure(
        change @ structure.lattice.matrix, structure.species, structure.frac_coords @ np.linalg.inv(change)
    )


def noisy(structure: Structure, rng: np.random.Generator) -> Structure:
    cart = structure.cart_coords + rng.normal(scale=0.01, size=(len(structure), 3))
    return Structure(structure.lattice, structure.species, cart, coords_are_cartesian=True)


MOVES = {move.__name__: move for move in (rotated, translated, permuted, supercell, recut, noisy)}


def family(move, n_structures: int = 30) -> tuple[list[Crystal], list[Crystal]]:
    """Different structures of few formulas, and a moved copy of each."""
    rng = np.random.default_rng(8)
    originals = [
        random_structure(rng, ["Si", "O", "O"] + ["Na"] * (number % 3)) for number in range(n_structures)
    ]
    copies = [move(structure, rng) for structure in originals]
    return (
        [from_structure(structure, id=f"o{n}") for n, structure in enumerate(originals)],
        [from_structure(structure, id=f"c{n}") for n, structure in enumerate(copies)],
    )


@pytest.mark.parametrize("name", sorted(MOVES))
def test_a_moved_copy_is_the_same_crystal_and_others_are_not(name):
    originals, copies = family(MOVES[name])
    groups = group_duplicates(originals + copies)
    assert groups[:30].tolist() == groups[30:].tolist()
    assert len(set(groups.tolist())) == 30


@pytest.mark.parametrize("name", sorted(MOVES))
def test_duplicates_land_in_the_same_split(name):
    originals, copies = family(MOVES[name])
    splits = assign_splits(originals + copies, seed=1)
    assert splits[:30] == splits[30:]
    assert set(splits) == {"train", "val", "test"}


def test_the_same_sites_with_two_elements_exchanged_are_another_crystal():
    rng = np.random.default_rng(2)
    one = random_structure(rng, ["Na", "Cl", "K", "Br"])
    other = Structure(one.lattice, ["Cl", "Na", "K", "Br"], one.frac_coords)
    groups = group_duplicates([from_structure(one, id="a"), from_structure(other, id="b")])
    assert groups[0] != groups[1]


def test_one_formula_a_thousand_times_is_grouped_rightly():
    rng = np.random.default_rng(5)
    distinct = [random_structure(rng, ["C"] * 4) for _ in range(20)]
    crystals = [from_structure(rotated(distinct[n % 20], rng), id=str(n)) for n in range(1000)]
    groups = group_duplicates(crystals, progress=False)
    assert groups.tolist() == groups[:20].tolist() * 50
    assert len(set(groups.tolist())) == 20


def distinct_crystals(n_crystals: int) -> list[Crystal]:
    rng = np.random.default_rng(0)
    return [
        from_structure(random_structure(rng, rng.choice(ELEMENTS, 3).tolist()), id=str(n))
        for n in range(n_crystals)
    ]


def test_the_fractions_are_met():
    counts = Counter(assign_splits(distinct_crystals(200), seed=0))
    assert abs(counts["train"] - 120) <= 2
    assert abs(counts["val"] - 40) <= 2
    assert abs(counts["test"] - 40) <= 2


def test_a_seed_repeats_its_splits_and_another_does_not():
    crystals = distinct_crystals(60)
    assert assign_splits(crystals, seed=4) == assign_splits(crystals, seed=4)
    assert assign_splits(crystals, seed=4) != assign_splits(crystals, seed=5)


def test_official_splits_are_kept():
    official = ["test", "train", "train", "val", "test"]
    crystals = [c.replace(split=s) for c, s in zip(distinct_crystals(5), official, strict=True)]
    assert assign_splits(crystals, seed=0) == official


def test_splits_named_in_part_are_drawn_anew():
    crystals = [c.replace(split="test") for c in distinct_crystals(20)]
    crystals[7] = crystals[7].replace(split=None)
    assert Counter(assign_splits(crystals, seed=0))["train"] == 12


def test_fractions_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        assign_splits(distinct_crystals(3), fractions=(0.6, 0.2, 0.1), seed=0)


def test_no_crystals_need_no_splits():
    assert assign_splits([], seed=0) == []
