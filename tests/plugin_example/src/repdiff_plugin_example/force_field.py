"""A force field: repelling pairs, which take no time."""

import torch

from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_pairs
from repdiff.energies.base import Energies, ForceField
from repdiff.energies.bonds import forces_and_stress
from repdiff.energies.relaxed import ForceFieldIdentity

CUTOFF = 4.0  # Å


class Springs(ForceField):
    """Pairs nearer than 4 Å repel and attract each other smoothly."""

    description = "pairs that repel each other within 4 Å"
    package = "repdiff-plugin-example"
    convention = "consistent"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def identity(self) -> ForceFieldIdentity:
        """Name, version and weights, of which there are none."""
        return ForceFieldIdentity(
            name="springs", version="1", weights_sha256="0" * 64, convention=self.convention
        )

    @property
    def known_elements(self) -> frozenset[int]:
        """All elements."""
        return frozenset(range(1, 119))

    def evaluate(self, batch: CrystalBatch, *, gradients: bool = True) -> Energies:
        """Sum over pairs: (1 - (r / 4 Å)²)³, in eV."""
        pairs = find_pairs(batch, CUTOFF)
        vectors = pairs.displacements(batch).requires_grad_()
        near = (1 - (vectors.norm(dim=1) / CUTOFF) ** 2).clamp(min=0) ** 3
        systems = batch.system_idx[pairs.pair_idx[0]]
        energy = torch.zeros(batch.n_systems, dtype=torch.float64).index_add(0, systems, near / 2)
        (slope,) = torch.autograd.grad(energy.sum(), vectors)
        forces, stress = forces_and_stress(batch, pairs.pair_idx, vectors, slope)
        if not gradients:
            forces, stress = torch.zeros_like(forces), torch.zeros_like(stress)
        return Energies(energy=energy.detach(), forces=forces, stress=stress)
