"""What the training loop needs of the variational autoencoder: its random numbers and its loss."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repdiff.backends.crystal_data import CrystalData, atoms_of_part
from repdiff.diffusion.cdvae.model import LOSSES, Cdvae, Noise
from repdiff.diffusion.schedules import spread_times
from repdiff.diffusion.torus import centred
from repdiff.training import Trainable
from repdiff.training.shares import mean_weight


class CdvaeTraining(Trainable):
    """The loss as the training loop sees it, with its parts."""

    kind = "dpcdvae"

    def __init__(self, model: Cdvae) -> None:
        super().__init__()
        self.model = model

    @property
    def learnt(self) -> nn.Module:
        """Encoder, heads and decoder."""
        return self.model.network

    @property
    def parts(self) -> Mapping[str, slice]:
        """The parts of the loss, before they are weighted."""
        return {name: slice(number, number + 1) for number, name in enumerate(LOSSES)}

    @property
    def n_errors(self) -> int:
        """One for each part."""
        return len(LOSSES)

    def inputs(
        self, data: CrystalData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> tuple[CrystalData, Noise, Float[Tensor, ""]]:
        """Draw times, spread evenly over the batch, and noise; this part of the batch and its own numbers."""
        n, device, settings = len(rows), generator.device, self.model.settings
        counts = self.units(data, rows)
        n_atoms = int(counts.sum())
        times = spread_times(n, self.model.n_times, generator=generator)
        level = torch.rand(n, generator=generator, device=device)
        latents = torch.randn(n, settings.n_latent, generator=generator, device=device)
        coords = torch.randn(n_atoms, 3, generator=generator, device=device)
        types = torch.rand(n_atoms, 2, generator=generator, device=device)
        atoms = atoms_of_part(counts, mine)
        part = data.select(rows[mine])
        ratio = settings.most_type_noise / settings.least_type_noise
        noise = Noise(
            times=times[mine],
            latents=latents[mine],
            coords=centred(coords[atoms], part.batch),
            type_noise=settings.least_type_noise * ratio ** level[mine],
            types=types[atoms],
        )
        return part, noise, mean_weight(counts, mine)

    def units(self, data: CrystalData, rows: Int[Tensor, " n_rows"]) -> Int[Tensor, " n_rows"]:
        """Count the atoms of each crystal."""
        return data.batch.n_atoms_per_system[rows]

    def forward(
        self, inputs: tuple[CrystalData, Noise, Float[Tensor, ""]]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 6"]]:
        """Return the loss and its parts."""
        data, noise, weight = inputs
        return self.model(data.batch, data.finder, noise, weight)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return self.model.settings.model_dump(mode="json")
