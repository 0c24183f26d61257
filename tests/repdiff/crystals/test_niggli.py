import known_crystals
import numpy as np
import pytest
import spglib
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from strategies import crystals

from descriptors.base import make_descriptor
from repdiff.crystals.crystal import from_batch, from_structure, to_batch, to_structure
from repdiff.crystals.niggli import niggli_reduced

SHEARS = [
    np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]),
    np.array([[1, 0, 0], [0, 1, 0], [-2, 0, 1]]),
    np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    np.array([[1, 0, 0], [0, 1, 3], [0, 0, 1]]),
    np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
]
batches = crystals(max_systems=1)
changes = st.lists(st.sampled_from(range(len(SHEARS))), min_size=1, max_size=4)


def in_other_cell(crystal, numbers):
    """Describe the same crystal by other vectors of its lattice."""
    change = np.eye(3)
    for number in numbers:
        change = SHEARS[number] @ change
    return crystal.replace(
        lattice=change @ crystal.lattice, frac_coords=crystal.frac_coords @ np.linalg.inv(change)
    )


def parameters(crystal):
    return np.array(to_structure(crystal).lattice.parameters)


@given(batch=batches)
def test_the_result_is_right_handed_wrapped_and_of_the_same_volume(batch):
    (crystal,) = from_batch(batch, ["x"])
    reduced = niggli_reduced(crystal)
    assert np.linalg.det(reduced.lattice) == pytest.approx(crystal.volume)
    assert ((reduced.frac_coords >= 0) & (reduced.frac_coords < 1)).all()
    assert reduced.id == "x"


@given(batch=batches, numbers=changes)
def test_every_atom_stays_where_it_is_but_for_lattice_vectors(batch, numbers):
    (crystal,) = from_batch(batch, ["x"])
    reduced = niggli_reduced(in_other_cell(crystal, numbers))
    np.testing.assert_array_equal(reduced.atomic_numbers, crystal.atomic_numbers)
    moved = reduced.frac_coords @ reduced.lattice - crystal.frac_coords @ crystal.lattice
    steps = moved @ np.linalg.inv(crystal.lattice)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-6)
    change = reduced.lattice @ np.linalg.inv(crystal.lattice)
    np.testing.assert_allclose(change, change.round(), atol=1e-6)


@given(batch=batches, numbers=changes)
def test_every_cell_of_a_lattice_has_the_same_reduced_parameters(batch, numbers):
    (crystal,) = from_batch(batch, ["x"])
    one, other = niggli_reduced(crystal), niggli_reduced(in_other_cell(crystal, numbers))
    np.testing.assert_allclose(parameters(one), parameters(other), atol=2e-3)


@given(batch=batches)
def test_the_edges_are_those_of_pymatgen(batch):
    (crystal,) = from_batch(batch, ["x"])
    expected = to_structure(crystal).lattice.get_niggli_reduced_lattice().lengths
    np.testing.assert_allclose(parameters(niggli_reduced(crystal))[:3], expected, atol=1e-4)


@given(batch=batches)
def test_a_reduced_crystal_stays_as_it_is(batch):
    (crystal,) = from_batch(batch, ["x"])
    once = niggli_reduced(crystal)
    twice = niggli_reduced(once)
    np.testing.assert_allclose(parameters(twice), parameters(once), atol=1e-6)


@settings(max_examples=15)
@given(batch=batches, numbers=changes)
def test_the_descriptor_does_not_notice(batch, numbers):
    (crystal,) = from_batch(batch, ["x"])
    descriptor = make_descriptor("ead")
    before, after = (
        descriptor(to_batch([one])) for one in (crystal, niggli_reduced(in_other_cell(crystal, numbers)))
    )
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("number", range(0, 41, 8))
def test_known_crystals_stay_the_same_crystals(number):
    structure = known_crystals.family()[number]
    crystal = from_structure(structure, id="x")
    reduced = to_structure(niggli_reduced(in_other_cell(crystal, [0, 1, 2, 3])))
    assert StructureMatcher(primitive_cell=False).fit(reduced, structure)
    np.testing.assert_allclose(reduced.lattice.parameters, parameters(niggli_reduced(crystal)), atol=1e-6)


def test_a_face_centred_cube_reduces_to_its_rhombohedron():
    cubic = from_structure(known_crystals.rocksalt() * [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], id="x")
    assert parameters(niggli_reduced(cubic))[3:] == pytest.approx([90] * 3)
    primitive = from_structure(known_crystals.rocksalt(), id="x")
    assert parameters(niggli_reduced(in_other_cell(primitive, [0, 3])))[3:] == pytest.approx([60] * 3)


@pytest.mark.parametrize(
    ("answer", "message"), [(None, "does not converge"), (np.eye(3) * 8, "a cell of another volume")]
)
def test_a_reduction_that_fails_is_named(answer, message, monkeypatch):
    monkeypatch.setattr(spglib, "niggli_reduce", lambda *_, **__: answer)
    crystal = from_structure(known_crystals.caesium_chloride(), id="CsCl")
    with pytest.raises(ValueError, match=f"CsCl: Niggli reduction.*{message}"):
        niggli_reduced(crystal)


def test_a_version_of_spglib_that_raises_is_understood(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no Niggli cell")

    monkeypatch.setattr(spglib, "niggli_reduce", refuse)
    with pytest.raises(ValueError, match="does not converge"):
        niggli_reduced(from_structure(known_crystals.caesium_chloride(), id="CsCl"))
