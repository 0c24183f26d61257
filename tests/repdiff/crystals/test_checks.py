"""What is refused, and that what is sound is not."""

import time

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from repdiff.crystals.checks import check_crystal, check_crystals
from repdiff.crystals.crystal import Crystal, from_structure


def crystal(lattice, frac_coords, numbers=None) -> Crystal:
    frac = np.array(frac_coords, dtype=float).reshape(-1, 3)
    return Crystal(
        id="x",
        atomic_numbers=np.array(numbers or [6] * len(frac), dtype=np.int64),
        lattice=np.array(lattice, dtype=float),
        frac_coords=frac,
    )


CUBE = 3.0 * np.eye(3)
# A unimodular change of cell with long, nearly parallel vectors: the same crystal seen through needles.
NEEDLES = np.array([[1, 0, 0], [40, 1, 0], [900, 30, 1]])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (crystal(CUBE, []), "no atoms"),
        (crystal(CUBE * [1, 1, 0], [[0, 0, 0]]), "volume"),
        (crystal(CUBE * [1, 1, 1e-3], [[0, 0, 0]]), "volume"),
        (crystal(CUBE, [[0, np.nan, 0]]), "coordinate is NaN"),
        (crystal(CUBE, [[0, np.inf, 0]]), "coordinate is NaN or infinite"),
        (crystal(CUBE * np.nan, [[0, 0, 0]]), "cell vector is NaN"),
        (crystal(CUBE, [[0, 0, 0]], [0]), "unknown element"),
        (crystal(CUBE, [[0, 0, 0]], [119]), "unknown element"),
        (crystal(CUBE, [[0, 0, 0], [0.02, 0, 0]]), "overlapping atoms: atoms 0 and 1 are 0.06 Å apart"),
        (crystal(CUBE, [[0, 0, 0], [0, 0.99, 0]]), "overlapping atoms"),
        (crystal(CUBE, [[0, 0, 0], [5, -3, 7]]), "atoms 0 and 1 are 0 Å apart"),
        (crystal(np.diag([0.05, 10, 10]), [[0, 0, 0]]), "atom 0 and its own image are 0.05 Å apart"),
        (crystal(CUBE * [1, 1, 1e5], [[0, 0, 0]]), "cell vector of 3e+05 Å"),
    ],
)
def test_a_bad_crystal_is_refused_for_what_is_wrong_with_it(bad, words):
    reason = check_crystal(bad)
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(
    "good",
    [
        crystal(CUBE, [[0, 0, 0]]),
        crystal(CUBE, [[0, 0, 0], [0.5, 0.5, 7.5]]),
        crystal(-CUBE, [[0, 0, 0]]),
        crystal(CUBE, [[0, 0, 0], [0.04, 0, 0]]),
        crystal(NEEDLES @ CUBE, [[0, 0, 0]]),
        crystal(np.diag([0.15, 10, 10]), [[0, 0, 0]]),
    ],
)
def test_a_sound_crystal_is_not_refused(good):
    assert check_crystal(good) is None


@pytest.mark.parametrize("gap", [0.05, 0.2])
def test_overlap_is_seen_through_any_choice_of_cell(gap):
    frac = np.array([[0.3, 0.1, 0.9], [0.3, 0.1 + gap / 3, 0.9]]) @ np.linalg.inv(NEEDLES)
    reason = check_crystal(crystal(NEEDLES @ CUBE, frac))
    assert (reason is not None) == (gap < 0.1)


def test_the_largest_number_of_atoms_is_the_callers_choice():
    many = from_structure(Structure(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]) * (10, 10, 3), id="big")
    assert check_crystal(many) is None
    assert check_crystal(many, 20) == "300 atoms, expected at most 20"


def test_each_crystal_of_many_gets_its_own_verdict():
    good, bad = crystal(CUBE, [[0, 0, 0]]), crystal(CUBE, [[0, 0, 0], [0, 0, 0.01]])
    mixed = [bad if number % 7 == 3 else good for number in range(5000)]
    verdicts = check_crystals(mixed, progress=False)
    assert [number for number, verdict in enumerate(verdicts) if verdict] == list(range(3, 5000, 7))


def test_many_crystals_are_checked_fast():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3), -1).reshape(-1, 3)
    many = [crystal(7 * np.eye(3), grid[rng.permutation(27)[:10]]) for _ in range(4500)]
    start = time.perf_counter()
    check_crystals(many, progress=False)
    assert time.perf_counter() - start < 10  # a tenth of MP-20; takes 0.4 s on a quiet core
