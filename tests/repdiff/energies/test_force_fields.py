import io
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import toy_force_field
from ase.build import bulk
from stand_in_gpu import stand_in_gpu

from repdiff.crystals.crystal import Crystal, to_batch, to_structure
from repdiff.energies.base import TOO_DENSE, single_points
from repdiff.energies.registered import FORCE_FIELDS, load_force_field
from repdiff.energies.relax import Limits, relax_part
from repdiff.errors import UserError
from repdiff.testing.force_field import CHECKS, check_force_field, known_crystals

loaded = cache(load_force_field)


@pytest.mark.parametrize("check", sorted(CHECKS))
@pytest.mark.parametrize("name", sorted(FORCE_FIELDS))
def test_a_force_field_passes_the_acceptance_kit(name, check):
    try:
        force_field = loaded(name)
    except UserError as error:
        pytest.skip(str(error))
    CHECKS[check](force_field, known_crystals(force_field))


def test_the_kit_catches_forces_that_are_not_the_slope_of_the_energy(monkeypatch):
    toy = toy_force_field.register()(torch.device("cpu"))
    check_force_field(toy)
    right = toy.evaluate

    def doubled(batch, *, gradients=True):
        found = right(batch, gradients=gradients)
        return replace(found, forces=2 * found.forces)

    monkeypatch.setattr(toy, "evaluate", doubled)
    with pytest.raises(AssertionError, match="a force is"):
        check_force_field(toy)


@pytest.mark.parametrize("name", sorted(FORCE_FIELDS))
def test_a_gpu_relaxes_as_the_processor(name, rattled, rock_salt):
    crystals, limits = [rattled, rock_salt], Limits(fmax=0.01, max_steps=3)
    try:
        here = relax_part(loaded(name), crystals, limits=limits, atoms_at_once=64)
    except UserError as error:
        pytest.skip(str(error))
    with stand_in_gpu() as gpu:
        there = relax_part(load_force_field(name, gpu), crystals, limits=limits, atoms_at_once=64)
    for found, expected in zip(there, here, strict=True):
        assert found.labels["energy_per_atom"] == pytest.approx(expected.labels["energy_per_atom"], abs=1e-5)
        np.testing.assert_allclose(found.lattice, expected.lattice, atol=1e-4)


def test_energies_forces_and_stress_are_those_of_the_package(chgnet, rattled, rock_salt):
    from chgnet.model import CHGNet

    diamond = bulk("C").repeat(2)
    crystals = [
        rattled,
        rock_salt,
        Crystal(
            id="C",
            atomic_numbers=diamond.numbers.astype(np.int64),
            lattice=diamond.cell.array * 1.02,
            frac_coords=diamond.get_scaled_positions(),
        ),
    ]
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CHGNet.load(use_device="cpu", verbose=False)
        theirs = [model.predict_structure(to_structure(crystal), task="efs") for crystal in crystals]
    ours = chgnet.evaluate(to_batch(crystals))
    forces = ours.forces.split([crystal.n_atoms for crystal in crystals])
    for row, (crystal, their) in enumerate(zip(crystals, theirs, strict=True)):
        assert float(ours.energy[row]) / crystal.n_atoms == pytest.approx(float(their["e"]), abs=1e-5)
        np.testing.assert_allclose(forces[row].numpy(), their["f"], atol=5e-4)
        np.testing.assert_allclose(ours.stress[row].numpy() * 160.21766208, their["s"], atol=1e-2)


def test_a_lonely_atom_is_named_and_leaves_the_others_alone(chgnet, rattled, rock_salt):
    lonely = rock_salt.replace(
        id="lonely",
        lattice=np.eye(3) * 20.0,
        frac_coords=np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
    )
    energies, reasons = single_points([rattled, lonely, rock_salt], chgnet)
    alone, _ = single_points([rattled, rock_salt], chgnet)
    assert energies[1] is None
    assert "no neighbour within 6 Å" in reasons[1]
    assert [energies[0], energies[2]] == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"atomic_numbers": np.array([86, 17])}, "unknown to the force field: Rn"),
        ({"atomic_numbers": np.array([119, 0])}, "unknown to the force field: Z = 0, Z = 119"),
        ({"lattice": np.eye(3)}, TOO_DENSE),
        ({"lattice": np.full((3, 3), np.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_computed_is_named(chgnet, rock_salt, change, reason):
    energies, reasons = single_points([rock_salt.replace(**change)], chgnet)
    assert energies == [None]
    assert reason in reasons[0]


def test_a_heap_of_atoms_is_refused_before_it_takes_the_memory(chgnet):
    rng = np.random.default_rng(0)
    heap = Crystal(
        id="heap",
        atomic_numbers=np.full(120, 6),
        lattice=np.eye(3) * 5.0,
        frac_coords=rng.random((120, 3)) * 0.5,
    )
    assert "angles" in single_points([heap], chgnet)[1][0]


def test_the_identity_names_model_and_weights(chgnet):
    assert chgnet.identity.name == "chgnet"
    assert chgnet.identity.version == "0.3.0"
    assert len(chgnet.identity.weights_sha256) == 64
    assert replace(chgnet.identity, package="chgnet 9") == chgnet.identity
    assert replace(chgnet.identity, weights_sha256="0" * 64) != chgnet.identity


def test_sevennet_agrees_with_its_calculator(rock_salt, rattled):
    pytest.importorskip("sevenn", reason="sevenn is not installed")
    from descriptors.batch import to_atoms

    sevennet = load_force_field("sevennet")
    found = sevennet.evaluate(to_batch([rock_salt, rattled]))
    assert {38, 22, 8, 11, 17} <= sevennet.known_elements
    assert 86 not in sevennet.known_elements
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator("7net-0", device="cpu")
        atoms = to_atoms(to_batch([rock_salt, rattled]))
        for row, (system, forces) in enumerate(zip(atoms, found.forces.split([2, 5]), strict=True)):
            system.calc = calculator
            assert float(found.energy[row]) == pytest.approx(system.get_potential_energy(), abs=1e-4)
            np.testing.assert_allclose(forces.numpy(), system.get_forces(), atol=1e-4)
            np.testing.assert_allclose(found.stress[row].numpy(), system.get_stress(voigt=False), atol=1e-5)


@pytest.mark.parametrize("name", ["chgnet", "sevennet"])
def test_an_absent_package_is_named_with_the_way_to_get_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, FORCE_FIELDS[name].package, None)
    for module in [m for m in sys.modules if m.startswith(f"{FORCE_FIELDS[name].package}.")]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"pip install repdiff\[relax\]"):
        load_force_field(name)


def test_an_unknown_force_field_is_answered_with_the_known_ones():
    with pytest.raises(
        UserError, match=r"unknown force field 'chgnt'; known: chgnet, .*Did you mean 'chgnet'"
    ):
        load_force_field("chgnt")
