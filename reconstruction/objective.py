"""How far a crystal is from the vector it should have, and from being physical."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.base import Descriptor
from descriptors.ead import EmbeddedAtomDensity
from descriptors.neighbors import Neighborhood
from descriptors.pooling import pool
from descriptors.radii import covalent_radii
from reconstruction.compiled_overlap import missing_squares

CLOSEST = 0.75  # of the sum of two covalent radii; in 0.4 % of the crystals of MP-20 two atoms are nearer


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Relative L1 error between the descriptors of crystals and their targets, one target a crystal.

    The error is Σ|features - target| / Σ|target| over the stages compared, so that 0.01 means one per cent whatever
    the scale of the descriptor. A hinge keeps atoms apart: each pair closer than `shortest`, or than the sum of its
    radii, adds the square of what is missing, Å², averaged over atoms, times `repulsion`. It vanishes at the solution
    if both are below the distances of the crystal sought.

    Attributes:
        descriptor: Gives the features.
        targets: The vectors sought.
        shortest: Distance that no pair should fall below, Å, for each crystal.
        repulsion: Weight of the hinge, Å⁻²; 0 turns it off.
        radii: Radius of each element by atomic number, Å; None for none.

    Source: L1 as in StructRepDiff, arXiv 2408.07213, section A.3.5; the scale and the hinge are ours.
    """

    descriptor: Descriptor
    targets: Float[Tensor, "n_systems n_features"]
    shortest: Float[Tensor, " n_systems"]
    repulsion: float
    radii: Float[Tensor, "119"] | None = None

    def __call__(
        self,
        neighborhood: Neighborhood,
        vectors: Float[Tensor, "n_centres n_slots 3"],
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, " n_systems"]:
        """Return the loss of each crystal; with `n_stages`, over the leading stages of the descriptor alone."""
        features = self.descriptor.evaluate(neighborhood, vectors, n_stages=n_stages)
        targets = self.targets[:, : features.shape[1]]
        error = (features - targets).abs().sum(1) / targets.abs().sum(1).clamp(min=1e-12)
        return error + self.repulsion * self.overlap(neighborhood, vectors) if self.repulsion else error

    def overlap(
        self, neighborhood: Neighborhood, vectors: Float[Tensor, "n_centres n_slots 3"]
    ) -> Float[Tensor, " n_systems"]:
        """Return the mean over atoms of Σ max(0, floor - r)², Å²."""
        floor = self._floor(neighborhood)
        if neighborhood.centres is not None and vectors.device.type == "cpu":
            per_centre = missing_squares(neighborhood, vectors, floor)[:, None]
        else:
            squared = (vectors**2).sum(2).clamp(min=1e-12)
            missing = torch.where(neighborhood.present, (floor - squared.sqrt()).clamp(min=0), 0.0)
            per_centre = (missing**2).sum(1)[:, None]
        return pool(
            per_centre,
            neighborhood.system_of_centre,
            neighborhood.n_atoms_per_system,
            how="mean",
            share=neighborhood.share,
        )[:, 0]

    def _floor(self, neighborhood: Neighborhood) -> Float[Tensor, "n_centres n_slots"]:
        """Return the distance that each pair should not fall below, Å."""
        shortest = self.shortest[neighborhood.system_of_centre][:, None].expand(neighborhood.present.shape)
        if self.radii is None:
            return shortest
        own = self.radii[neighborhood.atomic_numbers]
        centre = own if neighborhood.centres is None else own[neighborhood.centres.atoms]
        return torch.maximum(shortest, centre[:, None] + own[neighborhood.neighbor_idx])

    def select(self, systems: Int[Tensor, " n_selected"]) -> "Objective":
        """Return the objective of the named crystals, in that order."""
        return Objective(
            descriptor=self.descriptor,
            targets=self.targets[systems],
            shortest=self.shortest[systems],
            repulsion=self.repulsion,
            radii=self.radii,
        )

    def last_stage(self) -> "Objective":
        """Return the objective of the last stage of the descriptor alone, or this one if there is no other stage."""
        if not isinstance(self.descriptor, EmbeddedAtomDensity) or len(self.descriptor.stages) == 1:
            return self
        return replace(
            self,
            descriptor=EmbeddedAtomDensity(self.descriptor.resolutions[-1:]),
            targets=self.targets[:, self.descriptor.stages[-1]],
        )


def closest_radii(*, exact: bool, device: torch.device) -> Float[Tensor, "119"] | None:
    """Return radii whose sums atoms should not be nearer than, Å; none for vectors that say it exactly themselves.

    Args:
        exact: Whether the vectors belong to true crystals.
        device: Where to compute.
    """
    return None if exact else (CLOSEST * covalent_radii()).to(device)
