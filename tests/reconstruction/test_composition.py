from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reconstruction.composition import decode_compositions

counts = st.lists(st.integers(0, 20), min_size=1, max_size=8).filter(any)


def decode(frequencies, n_atoms, max_atoms=200):
    return decode_compositions(
        torch.tensor([frequencies], dtype=torch.float32),
        torch.tensor([n_atoms], dtype=torch.float32),
        max_atoms=max_atoms,
    )


@given(counts=counts, noise=st.lists(st.floats(-1, 1), min_size=9, max_size=9))
def test_true_frequencies_give_their_formula_back_under_noise_below_half_an_atom(counts, noise):
    n = sum(counts)
    shifts = [0.45 * noise[k] / n / len(counts) for k in range(len(counts))]
    read = decode([c / n + s for c, s in zip(counts, shifts, strict=True)], n + 0.45 * noise[8])
    assert read.reasons == [None]
    assert read.counts.tolist() == [counts]


@given(
    frequencies=st.lists(st.floats(-0.2, 1), min_size=1, max_size=8).filter(lambda f: max(f) > 1e-3),
    n_atoms=st.floats(0.6, 60),
)
def test_counts_add_up_to_the_rounded_number_of_atoms(frequencies, n_atoms):
    read = decode(frequencies, n_atoms)
    assert int(read.counts.sum()) == round(n_atoms)
    assert int(read.counts.min()) >= 0


@given(
    frequencies=st.lists(st.floats(-0.3, 1), min_size=3, max_size=3).filter(lambda f: max(f) > 1e-3),
    n_atoms=st.integers(1, 8),
)
def test_no_formula_of_that_many_atoms_is_nearer(frequencies, n_atoms):
    positive = [max(f, 0) for f in frequencies]
    ideal = [n_atoms * f / sum(positive) for f in positive]

    def distance(formula):
        return sum(abs(count - wanted) for count, wanted in zip(formula, ideal, strict=True))

    nearest = min(map(distance, (f for f in product(range(n_atoms + 1), repeat=3) if sum(f) == n_atoms)))
    assert distance(decode(frequencies, n_atoms).counts[0].tolist()) == pytest.approx(nearest, abs=1e-4)


def test_the_residual_is_the_distance_in_atoms():
    read = decode([0.5, 0.4, -0.1], 2.2)
    assert read.counts.tolist() == [[1, 1, 0]]
    assert float(read.residuals) == pytest.approx(abs(1.1 - 1) + abs(0.88 - 1) + abs(-0.22))


@pytest.mark.parametrize("n_atoms", [0.4, -3.0, 21.0, float("nan"), float("inf")])
def test_a_number_of_atoms_that_cannot_be_is_named(n_atoms):
    read = decode([1.0, 0.0], n_atoms, max_atoms=20)
    (reason,) = read.reasons
    assert reason == f"number of atoms is {n_atoms:.3g}, expected 1 to 20"
    assert read.counts.tolist() == [[0, 0]]
    assert bool(read.residuals.isnan())


@pytest.mark.parametrize(
    "frequencies", [[0.0, 0.0], [-0.1, -0.5], [float("nan"), 1.0], [float("inf"), 1.0], [1.0, float("-inf")]]
)
def test_frequencies_that_name_no_element_are_refused_or_read_without_harm(frequencies):
    read = decode(frequencies, 4.0)
    assert int(read.counts.min()) >= 0
    if read.reasons[0] is None:
        assert read.counts.tolist() == [[4, 0]]
    else:
        assert read.reasons[0].startswith("element frequencies add up to")
        assert read.counts.tolist() == [[0, 0]]


def test_a_refused_row_leaves_its_neighbours_alone():
    frequencies = torch.tensor([[0.5, 0.5], [torch.nan, 0.5], [0.0, 1.0]])
    read = decode_compositions(frequencies, torch.tensor([2.0, 2.0, 3.0]), max_atoms=20)
    assert [reason is None for reason in read.reasons] == [True, False, True]
    assert read.counts.tolist() == [[1, 1], [0, 0], [0, 3]]


def test_atoms_are_listed_by_element():
    read = decode([0.6, 0.2, 0.0, 0.2], 5)
    assert read.atomic_numbers(0, (8, 22, 26, 38)).tolist() == [8, 8, 8, 22, 38]
