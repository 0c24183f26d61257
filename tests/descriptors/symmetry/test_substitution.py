import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from symmetric_crystals import choices, generic_cell, protostructure_of, with_random_coordinates

from descriptors.base import make_descriptor
from descriptors.neighbors import find_neighborhood
from descriptors.symmetry import unit_cell
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import change_setting, prototype, settings_of_cell
from descriptors.symmetry.substitution import substitute, substitutions

ELEMENTS = (3, 8, 22, 38, 92)
OTHERS = (11, 16, 40, 56, 90)


def described_elsewhere(protostructure, lattice, free, seed):
    """The same crystal in a setting chosen at random."""
    possible = settings_of_cell(protostructure.number)
    return change_setting(protostructure, free, lattice, possible[seed % len(possible)])


def vector(protostructure, free, cell):
    batch = orbit_maps([protostructure]).crystals(torch.from_numpy(free), cell)
    descriptor = make_descriptor("ead")
    neighborhood = find_neighborhood(batch, descriptor.cutoff)
    return descriptor.evaluate(neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice))


@given(choices(4), st.integers(0, 10_000))
def test_a_crystal_with_other_elements_in_another_setting_becomes_itself_again(choice, seed):
    protostructure = protostructure_of(choice)
    batch, free = with_random_coordinates(protostructure, seed)
    assume(float(torch.linalg.det(batch.lattice)) / batch.n_atoms > 4)
    numbers = torch.tensor([protostructure.number])
    cell = generic_cell(protostructure.number)
    lattice = unit_cell.to_lattice(cell, numbers)[0].numpy()
    moved, coordinates, turned = described_elsewhere(protostructure, lattice, free.numpy(), seed)
    exchange = dict(zip(ELEMENTS, OTHERS, strict=True))
    other = Protostructure(
        moved.number, tuple(Orbit(orbit.index, exchange[orbit.element]) for orbit in moved.orbits)
    )
    found = substitutions(other, protostructure)
    back = {exchange[element]: element for element in protostructure.elements}
    chosen = [one for one in found if one.elements == back]
    assert len(chosen) == 1
    again, again_free, again_lattice = substitute(other, coordinates, turned, chosen[0])
    assert again == protostructure
    again_cell = unit_cell.from_lattice(torch.from_numpy(again_lattice)[None], numbers)
    expected = vector(protostructure, free.numpy(), cell)
    torch.testing.assert_close(vector(again, again_free, again_cell), expected, rtol=1e-5, atol=1e-6)


@given(choices(3), choices(3))
def test_there_is_a_substitution_only_within_a_prototype(one, other):
    known, wanted = protostructure_of(one), protostructure_of(other)
    found = substitutions(known, wanted)
    if prototype(known) != prototype(wanted):
        assert not found
    for substitution in found:
        changed = substitution.setting.apply(known)
        orbits = tuple(Orbit(orbit.index, substitution.elements[orbit.element]) for orbit in changed.orbits)
        assert Protostructure(known.number, orbits) == wanted
    assert len({tuple(sorted(one.elements.items())) for one in found}) == len(found)


def test_elements_on_equal_positions_may_be_assigned_either_way():
    spinel = Protostructure.of(62, [(20, "c"), (22, "b"), (8, "c"), (8, "d")])
    wanted = Protostructure.of(62, [(38, "c"), (40, "b"), (16, "c"), (16, "d")])
    assert [one.elements for one in substitutions(spinel, wanted)] == [{20: 38, 22: 40, 8: 16}]
    alloy = Protostructure.of(194, [(12, "f"), (30, "f"), (28, "f")])
    assert len(substitutions(alloy, Protostructure.of(194, [(4, "f"), (48, "f"), (46, "f")]))) == 6
