import time

import moyopy
import numpy as np
import pytest
import spglib
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from symmetric_crystals import (
    choices,
    generic_cell,
    on_position,
    protostructure_of,
    shortest_distance,
    with_random_coordinates,
)
from torch.autograd import gradcheck

from descriptors.batch import join
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import canonical
from descriptors.symmetry.space_group import space_group

pytestmark = pytest.mark.filterwarnings("ignore:.*OLD_ERROR_HANDLING:DeprecationWarning")  # spglib
FREE = np.array([0.2217, 0.4391, 0.0853])


def seen_by(program, crystal):
    """Group and orbits as another program recognises them, and the number of orbits it counts."""
    lattice, frac = crystal.lattice[0].tolist(), crystal.frac_coords.tolist()
    elements = crystal.atomic_numbers.tolist()
    if program == "moyopy":
        cell = moyopy.Cell(lattice, frac, elements)
        dataset = moyopy.MoyoDataset(cell, symprec=1e-4, setting=moyopy.Setting.standard())
        roots, letters = dataset.orbits, dataset.wyckoffs
    else:
        dataset = spglib.get_symmetry_dataset((lattice, frac, elements), symprec=1e-4)
        roots, letters = dataset.crystallographic_orbits, dataset.wyckoffs
    orbits = tuple(Orbit.of(letters[root], elements[root]) for root in sorted(set(roots)))
    return Protostructure(dataset.number, orbits)


@pytest.mark.parametrize("number", range(1, 231))
def test_every_position_is_recognised_by_moyopy_and_spglib(number):
    for position in space_group(number).positions:
        protostructure, free = on_position(number, position.index, FREE)
        crystal = orbit_maps([protostructure]).crystals(free, generic_cell(number))
        assert crystal.n_atoms == protostructure.n_atoms()
        for program in ("moyopy", "spglib"):
            assert canonical(seen_by(program, crystal)) == canonical(protostructure), (
                program,
                position.letter,
            )


@given(
    number=st.integers(1, 230),
    where=st.floats(0, 1, exclude_max=True),
    free=st.lists(st.floats(0, 1, exclude_max=True, allow_subnormal=False), min_size=3, max_size=3),
    primitive=st.booleans(),
)
def test_positions_are_recognised_wherever_the_atom_sits_on_them(number, where, free, primitive):
    positions = space_group(number).positions
    protostructure, coordinates = on_position(number, int(where * len(positions)), np.array(free))
    crystal = orbit_maps([protostructure], primitive=primitive).crystals(coordinates, generic_cell(number))
    assume(shortest_distance(crystal.frac_coords.numpy(), crystal.lattice[0].numpy()) > 0.05)
    assert canonical(seen_by("moyopy", crystal)) == canonical(protostructure)


@given(choice=choices(), seed=st.integers(0, 2**32 - 1))
def test_primitive_and_conventional_cells_are_one_crystal(choice, seed):
    protostructure = protostructure_of(choice)
    primitive, free = with_random_coordinates(protostructure, seed)
    maps = orbit_maps([protostructure], primitive=False)
    conventional = maps.crystals(free, generic_cell(protostructure.number))
    n_points = len(protostructure.group.centring_translations)
    assert conventional.n_atoms == n_points * primitive.n_atoms == protostructure.n_atoms(primitive=False)
    torch.testing.assert_close(
        torch.linalg.det(conventional.lattice), n_points * torch.linalg.det(primitive.lattice)
    )
    inside = conventional.frac_coords.numpy() @ protostructure.group.to_primitive
    for element in protostructure.elements:
        ours = primitive.frac_coords[primitive.atomic_numbers == element].numpy()
        steps = inside[conventional.atomic_numbers.numpy() == element][:, None] - ours
        far = np.abs(steps - np.rint(steps)).max(-1)
        assert far.min(1).max() < 1e-9
        assert far.min(0).max() < 1e-9


@given(choice=choices(max_orbits=3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_gradients_by_coordinates_and_cell_are_exact(choice, seed):
    protostructure = protostructure_of(choice)
    maps = orbit_maps([protostructure])
    free = torch.from_numpy(np.random.default_rng(seed).random(maps.n_free)).requires_grad_()
    cell = generic_cell(protostructure.number).requires_grad_()

    def cartesian(free, cell):
        crystal = maps.crystals(free, cell)
        return crystal.cart_coords, crystal.lattice

    assert gradcheck(cartesian, (free, cell))


@given(drawn=st.lists(choices(), min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1))
def test_a_batch_equals_its_crystals_one_by_one(drawn, seed):
    several = [protostructure_of(choice) for choice in drawn]
    singles = [with_random_coordinates(protostructure, seed) for protostructure in several]
    cells = torch.cat([generic_cell(protostructure.number) for protostructure in several])
    together = orbit_maps(several).crystals(torch.cat([free for _, free in singles]), cells)
    expected = join([crystal for crystal, _ in singles])
    torch.testing.assert_close(together.frac_coords, expected.frac_coords)
    torch.testing.assert_close(together.lattice, expected.lattice)
    assert together.atomic_numbers.tolist() == expected.atomic_numbers.tolist()
    assert together.system_idx.tolist() == expected.system_idx.tolist()


@given(choice=choices(), seed=st.integers(0, 2**32 - 1))
def test_projected_steps_are_those_that_free_coordinates_make(choice, seed):
    protostructure = protostructure_of(choice)
    maps = orbit_maps([protostructure])
    random = np.random.default_rng(seed)
    steps = torch.from_numpy(random.normal(size=(len(maps.orbit_of_atom), 3)))
    projected = maps.project(steps)
    torch.testing.assert_close(maps.project(projected), projected)
    free = torch.zeros(maps.n_free, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(maps.frac_coords, free).flatten(0, 1)
    metric = maps.lattice(generic_cell(protostructure.number))[0]
    expected = (
        jacobian
        @ torch.linalg.lstsq(
            (jacobian.reshape(-1, 3, maps.n_free).transpose(1, 2) @ metric).transpose(1, 2).flatten(0, 1),
            (steps @ metric).reshape(-1, 1),
        ).solution
        if maps.n_free
        else torch.zeros(projected.numel(), 1, dtype=torch.float64)
    )
    torch.testing.assert_close(projected.reshape(-1, 1), expected)


@given(choice=choices(max_orbits=3))
@settings(max_examples=15)
def test_one_atom_an_orbit_stands_for_all(choice):
    protostructure = protostructure_of(choice)
    crystal, _ = with_random_coordinates(protostructure, 1)
    assume(shortest_distance(crystal.frac_coords.numpy(), crystal.lattice[0].numpy()) > 0.5)
    maps = orbit_maps([protostructure])
    distances = [
        np.sort(np.linalg.norm(neighbours(crystal, atom), axis=1)) for atom in range(crystal.n_atoms)
    ]
    for orbit, first in enumerate(maps.representative.tolist()):
        for atom in range(first, first + int(maps.multiplicity[orbit])):
            np.testing.assert_allclose(distances[atom][:8], distances[first][:8], atol=1e-8)


def neighbours(crystal, atom):
    frac = crystal.frac_coords.numpy()
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    gaps = frac - frac[atom]
    return ((gaps - np.rint(gaps)) + steps).reshape(-1, 3) @ crystal.lattice[0].numpy()


def test_copies_of_a_batch_are_made_at_once():
    maps = orbit_maps([Protostructure.of(136, [(22, "a"), (8, "f")]), Protostructure.of(62, [(22, "c")])])
    copies = torch.rand(4, maps.n_free, dtype=torch.float64)
    together = maps.frac_coords(copies)
    for copy, row in zip(copies, together, strict=True):
        torch.testing.assert_close(maps.frac_coords(copy), row)


def test_a_wrong_number_of_free_coordinates_is_refused():
    maps = orbit_maps([Protostructure.of(136, [(22, "a"), (8, "f")])])
    with pytest.raises(ValueError, match="have 1"):
        maps.crystals(torch.zeros(2, dtype=torch.float64), generic_cell(136))


def test_maps_can_be_single_precision():
    maps = orbit_maps([Protostructure.of(136, [(22, "a"), (8, "f")])]).to(dtype=torch.float32)
    assert maps.crystals(torch.tensor([0.3]), generic_cell(136).float()).dtype == torch.float32
    assert maps.orbit_of_atom.dtype == torch.int64


def test_maps_of_256_crystals_take_well_under_a_second():
    several = [
        Protostructure(number, tuple(Orbit(position.index, 8) for position in space_group(number).positions))
        for number in range(2, 231)
    ]
    orbit_maps(several)
    started = time.process_time()
    orbit_maps(several)
    assert time.process_time() - started < 0.5
