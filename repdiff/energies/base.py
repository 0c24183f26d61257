"""What a force field is: `ForceField`, from a batch of crystals to energies, forces and stresses; `FORCE_FIELDS`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.registry import Registry
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.energies.conventions import Convention
from repdiff.energies.relaxed import ForceFieldIdentity

MIN_VOLUME_PER_ATOM = 1.0  # Å³; a fifth of diamond's, the densest crystal there is
NO_ATOMS = "no atoms"
NOT_FINITE = "a coordinate or a cell vector is not finite"
TOO_DENSE = f"volume below {MIN_VOLUME_PER_ATOM} Å³ per atom"


@dataclass(frozen=True, kw_only=True)
class Energies:
    """What a force field says about a batch, on the CPU.

    Attributes:
        energy: eV per cell.
        forces: eV/Å; zeros if they were not asked for.
        stress: eV/Å³, tension positive, the derivative of the energy by strain over the volume; zeros if not
            asked for.
        problems: Reason by the crystal's place in the batch, where there is no answer; its numbers are NaN.
    """

    energy: Float[Tensor, " n_systems"]
    forces: Float[Tensor, "n_atoms 3"]
    stress: Float[Tensor, "n_systems 3 3"]
    problems: Mapping[int, str] = field(default_factory=dict)


class ForceField(ABC):
    """A pretrained model of energies, ready on a device.

    Attributes:
        description: One line for people.
        package: Name of the distribution that holds the model and its weights.
        convention: What its energies mean: "mp2020", "uncorrected" or "consistent", see
            `repdiff.energies.conventions`. Uncorrected energies are corrected before they are put on a hull.
    """

    description: ClassVar[str]
    package: ClassVar[str]
    convention: ClassVar[Convention]

    @abstractmethod
    def __init__(self, device: torch.device) -> None:
        """Load the weights.

        Raises:
            ImportError: If the package is not installed.
        """

    @property
    @abstractmethod
    def identity(self) -> ForceFieldIdentity:
        """Which model this is; part of every result."""

    @property
    @abstractmethod
    def known_elements(self) -> frozenset[int]:
        """Atomic numbers that the model has learned."""

    @abstractmethod
    def evaluate(self, batch: CrystalBatch, *, gradients: bool = True) -> Energies:
        """Compute every crystal of a batch, independently of the others.

        Args:
            batch: Crystals of known elements, on any device.
            gradients: Whether forces and stress are wanted; without them it takes half the time.
        """

    def refusal(self, crystal: Crystal) -> str:
        """Say why this crystal cannot be computed; "" if it can be tried."""
        if crystal.n_atoms == 0:
            return NO_ATOMS
        if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
            return NOT_FINITE
        if foreign := sorted(set(crystal.atomic_numbers.tolist()) - self.known_elements):
            return f"unknown to the force field: {_symbols(foreign)}"
        if not MIN_VOLUME_PER_ATOM * crystal.n_atoms <= crystal.volume < np.inf:
            return TOO_DENSE
        return ""


FORCE_FIELDS: Registry[ForceField] = Registry("force field", group="repdiff.force_fields")


def _symbols(numbers: Sequence[int]) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[z] if 0 < z < len(chemical_symbols) else f"Z = {z}" for z in numbers)


def single_points(
    crystals: Sequence[Crystal], force_field: ForceField
) -> tuple[list[float | None], list[str]]:
    """Compute energies of crystals as they are.

    Returns:
        eV per atom, None where there is no answer; and the reasons, "" where there is one.
    """
    reasons = [force_field.refusal(crystal) for crystal in crystals]
    energies: list[float | None] = [None] * len(crystals)
    places = [place for place, reason in enumerate(reasons) if not reason]
    if not places:
        return energies, reasons
    found = force_field.evaluate(to_batch([crystals[place] for place in places]), gradients=False)
    for row, place in enumerate(places):
        energy = float(found.energy[row]) / crystals[place].n_atoms
        if reason := found.problems.get(row) or ("" if np.isfinite(energy) else "the energy is not a number"):
            reasons[place] = reason
        else:
            energies[place] = energy
    return energies, reasons


def spread(
    batch: CrystalBatch,
    good: Sequence[int],
    problems: Mapping[int, str],
    evaluate: Callable[[CrystalBatch], Energies],
) -> Energies:
    """Compute the good crystals of a batch alone, and put NaN where the others are.

    Args:
        batch: All crystals.
        good: Places of those to compute.
        problems: Reason by place, of the others.
        evaluate: What computes them.
    """
    energy = torch.full((batch.n_systems,), torch.nan, dtype=torch.float64)
    forces = torch.full((batch.n_atoms, 3), torch.nan, dtype=torch.float64)
    stress = torch.full((batch.n_systems, 3, 3), torch.nan, dtype=torch.float64)
    if not good:
        return Energies(energy=energy, forces=forces, stress=stress, problems=problems)
    chosen = torch.tensor(good)
    found = evaluate(batch.select(chosen.to(batch.device)))
    energy[chosen], stress[chosen] = found.energy, found.stress
    forces[torch.isin(batch.system_idx.cpu(), chosen)] = found.forces
    further = {good[place]: reason for place, reason in found.problems.items()}
    return Energies(energy=energy, forces=forces, stress=stress, problems={**problems, **further})
