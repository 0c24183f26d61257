import moyopy
import pytest
import torch
from hypothesis import given, settings
from symmetric_crystals import choices, generic_cell, protostructure_of
from textbook_symmetry import textbook, textbook_batch
from torch.autograd import gradcheck

from descriptors.base import make_descriptor
from descriptors.moving_vectors import moving_vectors
from descriptors.symmetry import unit_cell
from reconstruction.orbit_space import MARK, STRAINS, OrbitSpace
from reconstruction.refine import smooth_columns


def space_of(protostructures, cells, *, hold_cell=False, **held):
    return OrbitSpace.make(
        protostructures, cells, hold_cell=hold_cell, device=torch.device("cpu"), dtype=torch.float64, **held
    )


@pytest.fixture(scope="module")
def several():
    protostructures, free, cells = textbook("rutile", "quartz", "orthorhombic perovskite")
    return space_of(protostructures, cells), free, cells


def test_points_and_their_values_belong_together(several):
    space, free, cells = several
    points = space.points_of(free, cells * 1.02)
    found, cell = space.free_values(points)
    torch.testing.assert_close(cell, cells * 1.02, rtol=1e-5, atol=1e-6)
    for coordinates, expected in zip(found, free, strict=True):
        assert coordinates == pytest.approx(expected.tolist())
    at_home = space.points_of(free, cells)
    made, expected = space.crystals(at_home), textbook_batch("rutile", "quartz", "orthorhombic perovskite")
    torch.testing.assert_close(made.frac_coords, expected.frac_coords)
    torch.testing.assert_close(made.lattice, expected.lattice)


def test_gradient_by_free_coordinates_and_strains_is_that_of_the_features(several):
    space, free, cells = several
    descriptor = make_descriptor("ead")
    points = space.points_of(free, cells * 1.01)
    neighborhood = space.neighborhood(points, descriptor.cutoff + 0.1)
    smooth = smooth_columns(descriptor)

    def features(moved):
        frac, lattice = space.coordinates(moved)
        return descriptor.evaluate(neighborhood, moving_vectors(neighborhood, frac, lattice))[:, smooth].mean(
            1
        )

    assert gradcheck(features, (points.requires_grad_(),), atol=1e-6, rtol=1e-4)


@given(choice=choices(max_orbits=4))
def test_any_point_keeps_the_symmetry(choice):
    protostructure = protostructure_of(choice)
    space = space_of([protostructure], generic_cell(protostructure.number))
    points = space.drawn(torch.zeros_like(space.lengths), generator=torch.Generator().manual_seed(0))
    points[:, STRAINS] += 0.02 * torch.where(space.lengths[:, STRAINS] > 0, 1.0, 0.0)
    batch = space.crystals(points).wrapped()
    assert batch.n_atoms == protostructure.n_atoms()
    cell = moyopy.Cell(batch.lattice[0].tolist(), batch.frac_coords.tolist(), batch.atomic_numbers.tolist())
    try:
        dataset = moyopy.MoyoDataset(cell, symprec=1e-5)
    except ValueError:
        return  # atoms of two orbits on top of each other
    n_kept = len(protostructure.group.rotations) / len(protostructure.group.to_primitive) * 3
    assert len(dataset.operations) >= n_kept


@pytest.mark.parametrize(
    "size", [0.01, 1.0]
)  # of the cell: it does not matter how far an entry moves an atom
@settings(max_examples=20, deadline=None)
@given(choice=choices(max_orbits=4))
def test_free_entries_of_a_point_are_free_coordinates_and_cell_parameters(choice, size):
    protostructure = protostructure_of(choice)
    names = unit_cell.parameter_names(protostructure.number)
    scales = [size if name in ("a", "b", "c") else 1.0 for name in names] + [1.0] * (6 - len(names))
    cells = generic_cell(protostructure.number) * torch.tensor(scales, dtype=torch.float64)
    space = space_of([protostructure], cells)
    assert int(space.is_free[:, STRAINS].sum()) == len(names)
    assert int(space.is_free.sum()) == len(names) + int(space.maps.free_mask.sum())


def test_cells_that_are_held_do_not_move():
    protostructures, free, cells = textbook("quartz")
    space = space_of(protostructures, cells, hold_cell=True)
    assert not bool(space.is_free[:, STRAINS].any())
    points = space.points_of(free, cells * 1.1)
    torch.testing.assert_close(space.crystals(points).lattice, space.lattice)


@pytest.mark.parametrize("kind", ["rutile", "quartz", "orthorhombic perovskite"])
def test_volumes_and_shapes_can_be_held_alone(kind):
    protostructures, free, cells = textbook(kind)
    moved = cells * torch.tensor([[1.04, 0.97, 1.02, 1, 1, 1]], dtype=torch.float64)
    space = space_of(protostructures, cells, hold_volume=True)
    lattice = space.crystals(space.points_of(free, moved)).lattice
    torch.testing.assert_close(lattice.det().abs(), space.lattice.det().abs(), rtol=1e-3, atol=0)
    assert not torch.allclose(lattice, space.lattice, rtol=1e-2)
    space = space_of(protostructures, cells, hold_shape=True)
    lattice = space.crystals(space.points_of(free, cells * 1.03)).lattice
    ratio = lattice.det() / space.lattice.det()
    assert float(ratio.abs()) > 1.02
    torch.testing.assert_close(lattice, space.lattice * ratio.abs() ** (1 / 3), rtol=1e-6, atol=1e-9)
    both = space_of(protostructures, cells, hold_shape=True, hold_volume=True)
    assert not bool(both.is_free[:, STRAINS].any())


def test_the_volume_of_a_cubic_cell_leaves_nothing_to_move():
    protostructures, _, cells = textbook("rock salt")
    assert not bool(space_of(protostructures, cells, hold_volume=True).is_free[:, STRAINS].any())


def test_a_mark_travels_and_does_nothing(several):
    space, free, cells = several
    points = space.points_of(free, cells)
    marked = points.clone()
    marked[:, MARK, 0] = 1
    torch.testing.assert_close(space.crystals(marked).frac_coords, space.crystals(points).frac_coords)
    assert not bool(space.is_free[:, MARK].any())
