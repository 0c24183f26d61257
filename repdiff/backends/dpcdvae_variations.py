"""Between a crystal and a new one in the latent space of the autoencoder: vectors and cells of variations."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.decoding import towards_composition
from repdiff.diffusion.cdvae.latents import make_cells, per_atom
from repdiff.diffusion.cdvae.model import Cdvae
from repdiff.settings.backends.dpcdvae import CdvaeSampling


def draw_latents(
    model: Cdvae,
    normal: Float[Tensor, "n n_latent"],
    species: Sequence[Int[Tensor, " _"]] | None,
    sampling: CdvaeSampling,
) -> tuple[Float[Tensor, "n n_latent"], Float[Tensor, "n n_latent"]]:
    """Turn standard normal numbers into latent vectors of new crystals, and say where their distribution is centred.

    Args:
        model: Trained model.
        normal: One row a crystal.
        species: Atomic numbers of each crystal, where they are given; None where the vectors say them.
        sampling: The prior, and how far vectors are moved towards the compositions.
    """
    contents = None
    if species is not None:
        counts = torch.tensor([len(atoms) for atoms in species], device=normal.device)
        contents = model.contents(torch.cat(list(species)).to(normal.device), counts)
    drawn, centre = normal, torch.zeros_like(normal)
    if sampling.prior == "fitted":
        drawn, centre = (model.moments.draw(numbers, contents) for numbers in (drawn, centre))
    if species is not None:
        drawn = towards_composition(model, drawn, species, n_steps=sampling.composition_steps)
    return drawn, centre


@torch.no_grad()
def mix(
    model: Cdvae,
    clean: CrystalBatch,
    drawn: Float[Tensor, "n n_latent"],
    centre: Float[Tensor, "n n_latent"],
    strength: float,
) -> tuple[Float[Tensor, "n n_latent"], Float[Tensor, "n 3 3"]]:
    """Take the latent vectors of crystals, and their cells, towards those of new ones.

    A share s of the variance is new: z = c + √(1 - s) (z_0 - c) + √s (z_1 - c), which leaves the distribution of new
    vectors as it is. What the heads get wrong of the cell of z_0 is added to that of z, times √(1 - s): at s = 0 it is
    the crystal's own.

    Args:
        model: Trained model.
        clean: The crystals.
        drawn: z_1, vectors of new crystals.
        centre: c, the mean of their distribution.
        strength: s.
    """
    old, new = (1 - strength) ** 0.5, strength**0.5
    counts, own = clean.n_atoms_per_system, model.encode(clean).mean
    latents = centre + old * (own - centre) + new * (drawn - centre)
    missed = model.scale.scores(per_atom(clean.lattice, counts)) - model.guess(own).lattice
    scores = model.guess(latents).lattice + old * missed
    return latents, make_cells(scores, counts.tolist(), model.scale)
