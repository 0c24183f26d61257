"""A descriptor: mean over the atoms of Gaussians of the distances to the neighbours."""

import torch
from torch import Tensor

from descriptors.base import Descriptor, padded_distances
from descriptors.neighbors import Neighborhood
from descriptors.pooling import pool_all

CENTRES = (1.5, 2.5, 3.5)  # Å


class GaussianPairs(Descriptor):
    """Three numbers a crystal, smooth at the cutoff."""

    depends_on = frozenset({"frac_coords", "lattice"})

    def __init__(self, cutoff: float = 5.0) -> None:
        super().__init__()
        self.cutoff, self.n_features = cutoff, len(CENTRES)
        self.stages = (slice(0, len(CENTRES)),)

    @classmethod
    def from_preset(cls, preset: str) -> "GaussianPairs":
        """Build it; there is one preset."""
        return cls()

    def settings(self) -> dict[str, object]:
        """Return what decides the vector."""
        return {"cutoff": self.cutoff, "centres": list(CENTRES)}

    def feature_names(self) -> list[str]:
        """Name each Gaussian by its centre."""
        return [f"{centre} Å" for centre in CENTRES]

    def evaluate(self, neighborhood: Neighborhood, vectors: Tensor, *, n_stages: int | None = None) -> Tensor:
        """Sum over the neighbours, and take the mean over the atoms of each crystal."""
        distances = padded_distances(neighborhood, vectors, absent=self.cutoff)
        falling = (1 - (distances / self.cutoff).clamp(max=1) ** 2) ** 3
        centres = torch.tensor(CENTRES, dtype=distances.dtype, device=distances.device)
        atoms = (torch.exp(-((distances[..., None] - centres) ** 2)) * falling[..., None]).sum(1)
        return pool_all(atoms, neighborhood, ["mean"])
