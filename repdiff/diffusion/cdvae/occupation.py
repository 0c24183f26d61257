"""Which element is on which site: how the latent vector is told of it, and how the denoiser asks.

The sum of products of what an element is and where it sits is an associative memory: each term is found again by
its element. Without it, two crystals that differ by an exchange of two elements had nearly the same latent vector.

Source: the memory is tensor product binding (Smolensky, Artif. Intell. 1990, 46, 159), of whose products the diagonal
is kept; its use for crystals is ours.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from repdiff.networks.crystal import CrystalFeatures, CrystalNetworkSettings
from repdiff.networks.crystal.layers import take_rows


class OccupationWriter(nn.Module):
    """The mean over atoms of (vector of the element) ∘ (vector of the site), the same for a supercell.

    Args:
        settings: Settings of the network whose features describe the sites.
        n_latent: Length of the vectors.
    """

    def __init__(self, settings: CrystalNetworkSettings, n_latent: int) -> None:
        super().__init__()
        self.elements = nn.Embedding(settings.n_species, n_latent)
        self.site = nn.Linear(settings.width, n_latent, bias=False)

    def forward(
        self, features: CrystalFeatures, atomic_numbers: Int[Tensor, " n_atoms"]
    ) -> Float[Tensor, "n_systems n_latent"]:
        """Compute the mean."""
        return features.graph.mean_over_atoms(self.elements(atomic_numbers) * self.site(features.scalars))


class OccupationReader(nn.Module):
    """What a latent vector says of the sites of each atom's element: (a linear map of it) ∘ (vector of the element).

    Args:
        n_latent: Length of the latent vectors.
        n_species: Kinds of atoms.
        width: Length of the answers.
    """

    def __init__(self, n_latent: int, n_species: int, width: int) -> None:
        super().__init__()
        self.elements = nn.Embedding(n_species, width)
        self.memory = nn.Linear(n_latent, width, bias=False)

    def forward(
        self,
        latents: Float[Tensor, "n_systems n_latent"],
        atomic_numbers: Int[Tensor, " n_atoms"],
        system_idx: Int[Tensor, " n_atoms"],
    ) -> Float[Tensor, "n_atoms width"]:
        """Read for every atom."""
        return take_rows(self.memory(latents), system_idx) * self.elements(atomic_numbers)
