from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given
from pymatgen.core import Lattice, Structure
from strategies import crystals

from descriptors.batch import CrystalBatch, from_atoms, from_structures, join, to_atoms, to_structures


def two_crystals(**changes) -> CrystalBatch:
    fields = {
        "frac_coords": torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]]),
        "lattice": torch.stack([4 * torch.eye(3), 3 * torch.eye(3)]),
        "atomic_numbers": torch.tensor([55, 17, 6]),
        "system_idx": torch.tensor([0, 0, 1]),
    }
    return CrystalBatch(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system_idx": torch.tensor([0, 1, 0])}, "must ascend from 0 to 1"),
        ({"system_idx": torch.tensor([0, 0, 2])}, "must ascend from 0 to 1"),
        ({"system_idx": torch.tensor([0, 0, 0])}, "must ascend from 0 to 1"),
        ({"system_idx": torch.tensor([1, 1, 1])}, "must ascend from 0 to 1"),
        ({"system_idx": torch.tensor([-1, 0, 1])}, "must ascend from 0 to 1"),
        ({"frac_coords": torch.full((3, 3), torch.nan)}, "NaN or infinite"),
        ({"lattice": torch.full((2, 3, 3), torch.inf)}, "NaN or infinite"),
        ({"lattice": torch.stack([torch.eye(3), torch.ones(3, 3)])}, r"lattice\[1\] has volume"),
        ({"atomic_numbers": torch.tensor([55, 0, 6])}, "atomic numbers run from 0 to 55, expected 1 to 118"),
        ({"atomic_numbers": torch.tensor([55, 119, 6])}, "atomic numbers run from 6 to 119"),
        ({"lattice": torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)}, "expected one type"),
    ],
)
def test_bad_input_is_refused_with_its_value(changes, message):
    with pytest.raises(ValueError, match=message):
        two_crystals(**changes)


@pytest.mark.parametrize(
    "changes", [{"frac_coords": torch.zeros(2, 3)}, {"atomic_numbers": torch.tensor([55, 17])}]
)
def test_unequal_lengths_are_refused_where_shapes_are_not_checked(monkeypatch, changes):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"\d positions, \d atomic numbers and 3 system indices"):
        two_crystals(**changes)


@pytest.mark.filterwarnings("ignore:Crystal structure")
@given(batch=crystals())
def test_pymatgen_gives_back_what_it_was_given(batch):
    same = from_structures(to_structures(batch))
    torch.testing.assert_close(same.frac_coords, batch.frac_coords)
    torch.testing.assert_close(same.lattice, batch.lattice)
    assert torch.equal(same.atomic_numbers, batch.atomic_numbers)
    assert torch.equal(same.system_idx, batch.system_idx)


@given(batch=crystals())
def test_ase_gives_back_what_it_was_given(batch):
    same = from_atoms(to_atoms(batch))
    torch.testing.assert_close(same.frac_coords, batch.frac_coords)
    torch.testing.assert_close(same.lattice, batch.lattice)
    assert torch.equal(same.atomic_numbers, batch.atomic_numbers)
    assert torch.equal(same.system_idx, batch.system_idx)


@given(batch=crystals())
def test_ase_and_pymatgen_place_the_atoms_where_the_batch_does(batch):
    sizes = batch.n_atoms_per_system.tolist()
    for cart, atoms, structure in zip(
        batch.cart_coords.split(sizes), to_atoms(batch), to_structures(batch), strict=True
    ):
        np.testing.assert_allclose(atoms.positions, cart, atol=1e-9)
        np.testing.assert_allclose(structure.cart_coords, cart, atol=1e-9)


def test_converters_take_the_asked_precision():
    structure = Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert from_structures([structure], dtype=torch.float32).dtype == torch.float32
    assert from_structures([structure]).dtype == torch.float64


def test_no_crystals_make_an_empty_batch():
    for empty in (from_structures([]), from_atoms([])):
        assert (empty.n_systems, empty.n_atoms) == (0, 0)
        assert to_structures(empty) == []


def test_converting_a_batch_on_the_tape_leaves_the_tape():
    batch = two_crystals()
    batch = replace(batch, frac_coords=batch.frac_coords.requires_grad_())
    assert len(to_structures(batch)) == 2


def test_partial_occupancy_is_refused_by_name():
    whole = Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]])
    partial = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match=r"structure 1 \(K0.5 Na0.5\) is disordered"):
        from_structures([whole, partial])


def test_a_vacancy_is_refused():
    with pytest.raises(ValueError, match="disordered"):
        from_structures([Structure(Lattice.cubic(4), [{"Na": 0.5}], [[0, 0, 0]])])


def test_atoms_that_are_not_periodic_are_refused_by_name():
    with pytest.raises(ValueError, match=r"atoms 0 .*expected all True"):
        from_atoms([Atoms("H2", cell=[5, 5, 5], pbc=[True, True, False], positions=[[0, 0, 0], [0, 0, 1]])])


@given(batch=crystals())
def test_wrapping_brings_atoms_into_the_cell_by_whole_steps(batch):
    wrapped = batch.wrapped()
    assert bool(((wrapped.frac_coords >= 0) & (wrapped.frac_coords < 1)).all())
    steps = batch.frac_coords - wrapped.frac_coords
    torch.testing.assert_close(steps, steps.round())


def test_wrapping_a_tiny_negative_coordinate_stays_below_one():
    batch = two_crystals(frac_coords=torch.full((3, 3), -1e-12))
    assert float(batch.wrapped().frac_coords.max()) < 1


@given(batch=crystals())
def test_joining_the_single_crystals_makes_the_batch(batch):
    singles = [batch.select(torch.tensor([system])) for system in range(batch.n_systems)]
    same = join(singles)
    assert torch.equal(same.frac_coords, batch.frac_coords)
    assert torch.equal(same.lattice, batch.lattice)
    assert torch.equal(same.atomic_numbers, batch.atomic_numbers)
    assert torch.equal(same.system_idx, batch.system_idx)


def test_joining_nothing_is_refused():
    with pytest.raises(ValueError, match="0 batches"):
        join([])


def test_selecting_repeats_and_reorders():
    picked = two_crystals().select(torch.tensor([1, 0, 1]))
    assert picked.atomic_numbers.tolist() == [6, 55, 17, 6]
    assert picked.system_idx.tolist() == [0, 1, 1, 2]
    assert picked.lattice[:, 0, 0].tolist() == [3, 4, 3]


def test_selecting_a_crystal_that_is_not_there_is_an_index_error():
    with pytest.raises(IndexError):
        two_crystals().select(torch.tensor([2]))


def test_the_batch_counts_its_atoms():
    batch = two_crystals()
    assert batch.n_atoms_per_system.tolist() == [2, 1]
    assert (batch.n_systems, batch.n_atoms) == (2, 3)


def test_changing_the_precision_leaves_the_integers():
    batch = two_crystals().to(dtype=torch.float64)
    assert batch.frac_coords.dtype == batch.lattice.dtype == batch.dtype == torch.float64
    assert batch.atomic_numbers.dtype == torch.int64
