"""What a descriptor is: an invariant, differentiable map from a crystal to a vector."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descriptors.batch import CrystalBatch
from descriptors.neighbors import Neighborhood, find_neighborhood
from descriptors.registry import Registry, unknown

ALL_INVARIANCES = frozenset(
    {"image", "rotation", "reflection", "translation", "permutation", "supercell", "cell"}
)


class Descriptor(nn.Module, ABC):
    """Base of all descriptors. One file adds one; registering it is enough to have it tested and offered.

    A descriptor is evaluated on a padded table of neighbours rather than on a batch, so that a caller which
    moves atoms by little (inversion by gradient descent) can keep the table for many steps.

    Attributes:
        invariant_to: The moves that leave the vector unchanged; see `descriptors.testing`.
        depends_on: Which of "frac_coords", "lattice", "atomic_numbers" the vector depends on.
        cutoff: How far an atom sees, Å.
        stages: Slices of the vector from coarse to fine. An inverter may match the first alone, then all; a
            descriptor of one resolution has one stage, the whole vector.
    """

    invariant_to: ClassVar[frozenset[str]] = ALL_INVARIANCES
    depends_on: ClassVar[frozenset[str]] = frozenset({"frac_coords", "lattice", "atomic_numbers"})
    presets: ClassVar[tuple[str, ...]] = ("default",)
    cutoff: float
    n_features: int
    stages: tuple[slice, ...]

    @classmethod
    @abstractmethod
    def from_preset(cls, preset: str) -> "Descriptor":
        """Build the descriptor with named settings, one of `presets`; the first of them is the default."""

    @classmethod
    def example(cls) -> "Descriptor":
        """Build a small instance for tests."""
        return cls.from_preset(cls.presets[0])

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Return everything that decides the vector, as plain JSON values."""

    @abstractmethod
    def feature_names(self) -> list[str]:
        """Return a name for each entry of the vector."""

    @abstractmethod
    def evaluate(
        self,
        neighborhood: Neighborhood,
        vectors: Float[Tensor, "n_centres n_slots 3"],
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, "n_systems n_features"]:
        """Encode the crystals whose centres have these neighbours.

        Under a given symmetry one atom of each orbit is a centre and stands for all of them: crystals of centres are
        `neighborhood.system_of_centre`, elements `descriptors.elements.at_centres`, and a mean over atoms weighs
        centres by `neighborhood.share`. `descriptors.pooling.pool_all` does that.

        Args:
            neighborhood: Neighbours within at least `cutoff`; farther ones do not contribute.
            vectors: Vectors from each centre to its neighbours, Å.
            n_stages: Evaluate the first so many of `stages` only; None for all.
        """

    def forward(self, batch: CrystalBatch) -> Float[Tensor, "n_systems n_features"]:
        """Encode every crystal of the batch."""
        neighborhood = find_neighborhood(batch, self.cutoff)
        return self.evaluate(neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice))


DESCRIPTORS: Registry[Descriptor] = Registry(
    "descriptor", group="repdiff.descriptors", modules=("descriptors.ead", "descriptors.soap")
)


def make_descriptor(spec: str) -> Descriptor:
    """Build a descriptor from NAME or NAME:PRESET, for example "ead" or "ead:paper".

    Raises:
        KeyError: If there is no such descriptor or preset; the message lists what there is.

    Example:
        >>> make_descriptor("ead:compact").n_features
        648
    """
    name, _, preset = spec.partition(":")
    cls = DESCRIPTORS[name]
    if preset and preset not in cls.presets:
        raise KeyError(unknown(f"preset of descriptor {name!r}", preset, sorted(cls.presets)))
    return cls.from_preset(preset or cls.presets[0])


def padded_distances(
    neighborhood: Neighborhood, vectors: Float[Tensor, "n_centres n_slots 3"], *, absent: float
) -> Float[Tensor, "n_centres n_slots"]:
    """Return the distances to the neighbours, Å, and `absent` for entries that only fill the table."""
    return torch.where(neighborhood.present, vectors.norm(dim=2), absent)
