"""What every force field must do: energies of the crystal however it is written, forces that are their slope."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from descriptors.testing import require_declared
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.energies.base import ForceField, single_points
from repdiff.testing.example_crystals import cubic_perovskite, rock_salt
from repdiff.testing.require import one_line, require

ENERGY = 2e-5  # eV per atom, by which a force field in single precision may differ
STEP = 1e-2  # Å
OFFSET = 0.15  # Å, by which an atom is moved to feel a force


def check_force_field(force_field: ForceField, crystals: list[Crystal] | None = None) -> None:
    """Hold a force field to all checks.

    Args:
        force_field: Loaded.
        crystals: Two or more crystals of elements that it knows; NaCl and a distorted SrTiO3 without them, or NaCl
            and LiF where those are unknown.

    Raises:
        AssertionError: At the first check that fails; the message says what was found and expected.
    """
    require_declared(force_field, ForceField)
    for check in CHECKS.values():
        check(force_field, crystals or known_crystals(force_field))


def known_crystals(force_field: ForceField) -> list[Crystal]:
    """Return crystals of elements that the force field knows.

    Raises:
        AssertionError: If it does not even know common ones.
    """
    rng = np.random.default_rng(0)
    rattled = cubic_perovskite("rattled")
    rattled = rattled.replace(
        frac_coords=rattled.frac_coords + rng.normal(0, 0.02, (5, 3)),
        lattice=rattled.lattice @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))),
    )
    strained = rock_salt("LiF", 3, 9, 4.03)
    strained = strained.replace(lattice=strained.lattice @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))))
    strained = strained.replace(frac_coords=strained.frac_coords + rng.normal(0, 0.02, (2, 3)))
    offered = [rattled, rock_salt(), strained]
    found = [one for one in offered if not force_field.refusal(one)][:2]
    require(
        len(found) == 2, "knows neither two of SrTiO3, NaCl and LiF: give the checks crystals that it knows"
    )
    return found


def check_same_crystal(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check that the energy does not depend on orientation, order, images or the choice of the cell."""
    for name, move in MOVES.items():
        for crystal in crystals:
            (before, after), reasons = single_points([crystal, move(crystal)], force_field)
            require(not any(reasons), f"{crystal.id} cannot be computed: {reasons}")
            assert before is not None
            assert after is not None
            require(
                abs(before - after) < ENERGY,
                f"the energy of {crystal.id} changes by {name}: {before}, {after}",
            )


def check_forces(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check a force against the slope of the energy, with one atom off its place, where the force is not zero."""
    batch = to_batch(crystals[:1])
    inverse = torch.linalg.inv(batch.lattice[0])
    step = torch.zeros_like(batch.frac_coords)
    step[-1, 0] = STEP
    batch = replace(batch, frac_coords=batch.frac_coords + OFFSET / STEP * step @ inverse)
    forces = force_field.evaluate(batch).forces
    ends = [
        float(
            force_field.evaluate(replace(batch, frac_coords=batch.frac_coords + sign * step @ inverse)).energy
        )
        for sign in (1, -1)
    ]
    expected, found = -(ends[0] - ends[1]) / (2 * STEP), float(forces[-1, 0])
    require(
        abs(found - expected) < 5e-3 + 1e-2 * abs(expected),
        f"a force is {found}, the energy falls by {expected}",
    )


def check_stress(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check the trace of the stress against the change of the energy with the volume."""
    batch, share = to_batch(crystals[:1]), 2e-3
    stress = force_field.evaluate(batch).stress[0]
    ends = [
        float(force_field.evaluate(replace(batch, lattice=batch.lattice * (1 + sign * share))).energy)
        for sign in (1, -1)
    ]
    volume = float(torch.linalg.det(batch.lattice[0]).abs())
    expected, found = (ends[0] - ends[1]) / (2 * share * volume), float(torch.trace(stress))
    require(
        abs(found - expected) < 2e-3 + 2e-2 * abs(expected),
        f"tr(stress) is {found} eV/Å³, expected {expected}",
    )


def check_without_gradients(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check that energies without gradients are the same, and gradients zero."""
    batch = to_batch(crystals)
    full, plain = force_field.evaluate(batch), force_field.evaluate(batch, gradients=False)
    require(torch.allclose(full.energy, plain.energy, atol=1e-4), "energies differ without gradients")


def check_batch(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check that a crystal has the same energy alone and in company."""
    together, _ = single_points(crystals, force_field)
    for crystal, energy in zip(crystals, together, strict=True):
        (alone,), _ = single_points([crystal], force_field)
        assert energy is not None
        assert alone is not None
        require(
            abs(energy - alone) < ENERGY, f"{crystal.id} has {alone} eV per atom alone, {energy} in company"
        )


def check_refusals(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check that unknown elements, dense heaps and what is not finite are refused with a reason."""
    one = crystals[0]
    changes = (
        one.replace(atomic_numbers=np.full(one.n_atoms, 119)),
        one.replace(lattice=np.eye(3) * 0.1),
        one.replace(lattice=np.full((3, 3), np.nan)),
    )
    for wrong in changes:
        energies, reasons = single_points([wrong, one], force_field)
        require(energies[0] is None and bool(reasons[0]), "computes what is no crystal, expected a reason")
        require(energies[1] is not None, f"a bad crystal takes a good one along: {reasons[1]}")


def check_identity(force_field: ForceField, crystals: list[Crystal]) -> None:
    """Check that the model names itself and the hash of its weights."""
    identity = force_field.identity
    require(
        bool(identity.name and identity.version), f"the identity is {identity}, expected name and version"
    )
    require(len(identity.weights_sha256) == 64, "weights_sha256 is not a sha256 of 64 digits")
    one_line(type(force_field).description, least=5)


def _rotated(crystal: Crystal) -> Crystal:
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    return crystal.replace(lattice=crystal.lattice @ (turn * np.sign(np.linalg.det(turn))))


def _permuted(crystal: Crystal) -> Crystal:
    order = np.random.default_rng(2).permutation(crystal.n_atoms)
    return crystal.replace(
        atomic_numbers=crystal.atomic_numbers[order], frac_coords=crystal.frac_coords[order]
    )


def _in_other_images(crystal: Crystal) -> Crystal:
    shift = np.random.default_rng(3).integers(-2, 3, size=crystal.frac_coords.shape)
    return crystal.replace(frac_coords=crystal.frac_coords + shift)


def _in_another_cell(crystal: Crystal) -> Crystal:
    change = np.array([[1, 2, 0], [0, 1, 0], [1, 0, 1]])
    return crystal.replace(
        lattice=change @ crystal.lattice, frac_coords=crystal.frac_coords @ np.linalg.inv(change)
    )


MOVES: dict[str, Callable[[Crystal], Crystal]] = {
    "rotation": _rotated,
    "permutation": _permuted,
    "other images": _in_other_images,
    "another cell": _in_another_cell,
}
CHECKS: dict[str, Callable[[ForceField, list[Crystal]], None]] = {
    "same crystal": check_same_crystal,
    "forces": check_forces,
    "stress": check_stress,
    "without gradients": check_without_gradients,
    "batch": check_batch,
    "refusals": check_refusals,
    "identity": check_identity,
}
