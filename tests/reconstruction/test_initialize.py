import pytest
import torch

from reconstruction import initialize

N_SYSTEMS, N_ATOMS = 200, 5


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def frac_coords(generator):
    return torch.rand(N_SYSTEMS, N_ATOMS, 3, dtype=torch.float64, generator=generator)


@pytest.fixture
def lattice(generator):
    noise = torch.rand(N_SYSTEMS, 3, 3, dtype=torch.float64, generator=generator)
    return 4 * torch.eye(3, dtype=torch.float64) + noise


def moved_atoms(before, after):
    return (before != after).any(2)


def test_random_positions_fill_the_cell_and_repeat_with_their_seed():
    draws = [
        initialize.random_positions(
            300, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert 0 <= float(draws[0].min()) < 0.01
    assert 0.99 < float(draws[0].max()) < 1


def test_a_swap_exchanges_exactly_two_atoms_of_different_elements(frac_coords, generator):
    numbers = torch.tensor([[8, 8, 8, 22, 38]]).repeat(N_SYSTEMS, 1)
    swapped = initialize.swap(frac_coords, numbers, generator=generator)
    moved = moved_atoms(frac_coords, swapped)
    assert bool((moved.sum(1) == 2).all())
    for row in range(N_SYSTEMS):
        one, other = torch.nonzero(moved[row]).flatten().tolist()
        assert numbers[row, one] != numbers[row, other]
        assert torch.equal(swapped[row, one], frac_coords[row, other])
        assert torch.equal(swapped[row, other], frac_coords[row, one])


def test_every_pair_of_different_elements_is_swapped_now_and_then(frac_coords, generator):
    numbers = torch.tensor([[8, 8, 8, 22, 38]]).repeat(N_SYSTEMS, 1)
    moved = moved_atoms(frac_coords, initialize.swap(frac_coords, numbers, generator=generator))
    assert len({tuple(row) for row in moved.tolist()}) == 7


def test_exchanges_are_all_swaps_of_different_elements_once(frac_coords, generator):
    numbers = torch.tensor([[8, 8, 8, 22, 38]]).repeat(N_SYSTEMS, 1)
    found, differs = initialize.exchanges(frac_coords, numbers, at_most=100, generator=generator)
    assert found.shape == (N_SYSTEMS, 7, N_ATOMS, 3)
    assert bool(differs.all())
    for row in range(0, N_SYSTEMS, 20):
        pairs = set()
        for crystal in found[row]:
            one, other = torch.nonzero((crystal != frac_coords[row]).any(1)).flatten().tolist()
            assert numbers[row, one] != numbers[row, other]
            assert torch.equal(crystal[one], frac_coords[row, other])
            assert torch.equal(crystal[other], frac_coords[row, one])
            pairs.add((one, other))
        assert len(pairs) == 7


def test_of_many_exchanges_some_are_drawn_and_few_are_filled_up(frac_coords, generator):
    numbers = torch.tensor([[8, 8, 8, 22, 38], [8, 8, 8, 8, 38]])
    found, differs = initialize.exchanges(frac_coords[:2], numbers, at_most=6, generator=generator)
    assert found.shape == (2, 6, N_ATOMS, 3)
    assert differs.sum(1).tolist() == [6, 4]


def test_a_swap_leaves_an_elemental_crystal_as_it_is(frac_coords, generator):
    numbers = torch.full((N_SYSTEMS, N_ATOMS), 6)
    numbers[1] = torch.tensor([6, 6, 6, 6, 14])
    swapped = initialize.swap(frac_coords, numbers, generator=generator)
    assert moved_atoms(frac_coords, swapped).sum(1).tolist() == [0, 2, *[0] * (N_SYSTEMS - 2)]


def test_a_relocation_moves_one_atom_and_at_times_each(frac_coords, lattice, generator):
    moved = moved_atoms(frac_coords, initialize.relocate(frac_coords, lattice, generator=generator))
    assert bool((moved.sum(1) == 1).all())
    assert bool(moved.any(0).all())


def test_a_relocated_atom_finds_more_room_than_a_random_one(frac_coords, lattice, generator):
    def room(positions, moved):
        steps = positions[moved][:, None] - frac_coords
        distances = ((steps - steps.round()) @ lattice).norm(dim=2)
        return float(distances.masked_fill(moved, torch.inf).amin(1).mean())

    relocated = initialize.relocate(frac_coords, lattice, generator=generator)
    moved = moved_atoms(frac_coords, relocated)
    anywhere = torch.rand(N_SYSTEMS, N_ATOMS, 3, dtype=torch.float64, generator=generator)
    assert room(relocated, moved) > 1.3 * room(anywhere, moved)


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_a_displacement_stays_within_its_range_along_every_axis(size, frac_coords, lattice, generator):
    displaced = initialize.displace(frac_coords, lattice, size=size, generator=generator)
    steps = ((displaced - frac_coords) @ lattice).abs()
    assert 0.99 * size < float(steps.max()) <= size * (1 + 1e-9)
    assert float(steps.mean()) == pytest.approx(size / 2, rel=0.05)


def test_moves_leave_their_input_alone(frac_coords, lattice, generator):
    before = frac_coords.clone()
    numbers = torch.arange(N_ATOMS).repeat(N_SYSTEMS, 1)
    initialize.swap(frac_coords, numbers, generator=generator)
    initialize.relocate(frac_coords, lattice, generator=generator)
    initialize.displace(frac_coords, lattice, size=1.0, generator=generator)
    assert torch.equal(frac_coords, before)


def test_a_single_atom_survives_every_move(lattice, generator):
    alone = torch.zeros(N_SYSTEMS, 1, 3, dtype=torch.float64)
    assert torch.equal(
        initialize.swap(alone, torch.ones(N_SYSTEMS, 1, dtype=torch.long), generator=generator), alone
    )
    assert bool(torch.isfinite(initialize.relocate(alone, lattice, generator=generator)).all())
