import pytest
import torch
from hypothesis import given, settings
from symmetric_crystals import choices, generic_cell, protostructure_of
from torch.autograd import gradcheck

from descriptors.base import make_descriptor
from descriptors.batch import CrystalBatch, join
from descriptors.moving_vectors import moving_vectors
from descriptors.neighbors import Centres, find_neighborhood, find_pairs
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure

DESCRIPTORS = {name: make_descriptor(name) for name in ("ead", "soap")}
PAIR = [Protostructure.of(136, [(22, "a"), (8, "f")]), Protostructure.of(62, [(20, "c"), (8, "d")])]


def made(protostructures, seed):
    """Crystals at random free coordinates, and one atom of each orbit."""
    maps = orbit_maps(protostructures)
    generator = torch.Generator().manual_seed(seed)
    free = torch.rand(maps.n_free, dtype=torch.float64, generator=generator)
    cells = torch.cat([generic_cell(protostructure.number) for protostructure in protostructures])
    return maps.crystals(free, cells), Centres(atoms=maps.representative, multiplicity=maps.multiplicity)


@pytest.mark.parametrize("name", sorted(DESCRIPTORS))
@settings(max_examples=12, deadline=None)
@given(choice=choices(max_orbits=3), other=choices(max_orbits=2))
def test_one_atom_of_each_orbit_gives_what_all_atoms_give(name, choice, other):
    descriptor = DESCRIPTORS[name]
    batch, centres = made([protostructure_of(choice), protostructure_of(other)], seed=0)
    neighborhood = find_neighborhood(batch, descriptor.cutoff, centres=centres)
    vectors = moving_vectors(neighborhood, batch.frac_coords, batch.lattice)
    torch.testing.assert_close(
        descriptor.evaluate(neighborhood, vectors), descriptor(batch), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("centred", [True, False])
def test_moving_vectors_are_the_vectors_and_know_their_gradient(centred):
    batch, centres = made(PAIR, seed=1)
    neighborhood = find_neighborhood(batch, 3.0, centres=centres if centred else None)
    vectors = neighborhood.vectors(batch.frac_coords, batch.lattice)
    moving = moving_vectors(neighborhood, batch.frac_coords, batch.lattice)
    torch.testing.assert_close(moving[neighborhood.present], vectors[neighborhood.present])
    weights = torch.rand(vectors.shape, dtype=torch.float64) * neighborhood.present[..., None]

    def moved(frac_coords, lattice):
        return (moving_vectors(neighborhood, frac_coords, lattice) ** 2 * weights).sum()

    inputs = (batch.frac_coords.clone().requires_grad_(), batch.lattice.clone().requires_grad_())
    assert gradcheck(moved, inputs)


def test_pairs_of_some_centres_are_those_of_all_atoms_that_begin_there():
    batch, centres = made(PAIR, seed=2)
    whole, part = find_pairs(batch, 4.0), find_pairs(batch, 4.0, centres=centres.atoms)
    kept = torch.isin(whole.pair_idx[0], centres.atoms)
    assert torch.equal(part.pair_idx, whole.pair_idx[:, kept])
    assert torch.equal(part.shifts, whole.shifts[kept])


def test_selected_maps_make_the_selected_crystals():
    maps = orbit_maps(PAIR)
    free = torch.rand(maps.n_free, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    cells = torch.cat([generic_cell(protostructure.number) for protostructure in PAIR])
    batch = maps.crystals(free, cells)
    parts = free.split([protostructure.n_free for protostructure in PAIR])
    systems = torch.tensor([1, 0, 1])
    chosen = maps.select(systems).crystals(torch.cat([parts[1], parts[0], parts[1]]), cells[systems])
    expected = join([batch.select(torch.tensor([system])) for system in (1, 0, 1)])
    for field in ("frac_coords", "lattice", "atomic_numbers", "system_idx"):
        torch.testing.assert_close(getattr(chosen, field), getattr(expected, field))
    assert isinstance(expected, CrystalBatch)


def test_a_size_is_told_where_every_atom_is_a_centre_and_all_crystals_have_as_many():
    batch, centres = made(PAIR[:1] * 2, seed=3)
    other, _ = made(PAIR, seed=3)
    assert find_neighborhood(batch, 3.0).size == batch.n_atoms // 2
    assert find_neighborhood(other, 3.0).size is None
    assert find_neighborhood(batch, 3.0, centres=centres).size is None
