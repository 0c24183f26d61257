"""The autoencoder: a crystal's latent vector, what it says of the crystal, and the denoiser that it guides.

Sources: Pakornchote et al., arXiv 2308.02165 (DP-CDVAE); Xie et al., arXiv 2110.06197 (CDVAE).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.coordinates import make_process
from repdiff.diffusion.cdvae.latents import DecodedHeads, LatentHeads, LatentMoments, Vocabulary, per_atom
from repdiff.diffusion.cdvae.losses import (
    Composition,
    mean_over_crystals,
    noise_loss,
    noised_types,
    path_loss,
    type_loss,
)
from repdiff.diffusion.cdvae.occupation import OccupationReader, OccupationWriter
from repdiff.diffusion.cdvae.targets import nearest_paths
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.networks.crystal import (
    CoordinateHead,
    CrystalHead,
    CrystalNetwork,
    TypeHead,
    to_fractional,
)
from repdiff.settings.backends.dpcdvae import CdvaeSettings

LOSSES = ("n_atoms", "lattice", "composition", "kl", "coordinates", "types")
UNIFORM = (
    0.3  # over the cube root of the volume: how far the nearest image of a random place is along an axis
)


class Noise(NamedTuple):
    """The random numbers of one loss; times that noise kinds are independent of those that noise coordinates."""

    times: Int[Tensor, " n_systems"]
    latents: Float[Tensor, "n_systems n_latent"]
    coords: Float[Tensor, "n_atoms 3"]
    type_noise: Float[Tensor, " n_systems"]
    types: Float[Tensor, "n_atoms 2"]


class Posterior(NamedTuple):
    """The normal distribution of a crystal's latent vector."""

    mean: Float[Tensor, "n_systems n_latent"]
    log_variance: Float[Tensor, "n_systems n_latent"]

    def draw(self, noise: Float[Tensor, "n_systems n_latent"]) -> Float[Tensor, "n_systems n_latent"]:
        """Turn standard normal numbers into latent vectors."""
        return self.mean + (self.log_variance / 2).exp() * noise

    def log_density(self, latents: Float[Tensor, "n_systems n_latent"]) -> Float[Tensor, " n_systems"]:
        """Return the logarithm of the density at one vector each, but for a constant."""
        away = (latents - self.mean).square() * (-self.log_variance).exp()
        return -(away + self.log_variance).sum(1) / 2

    def divergence(self) -> Float[Tensor, " n_systems"]:
        """Return the Kullback-Leibler divergence from the standard normal distribution."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(1) / 2


class DenoiserOutput(NamedTuple):
    """What the denoiser believes: the fractional path to the goal, and the logits of each atom's element."""

    path: Float[Tensor, "n_atoms 3"]
    types: Float[Tensor, "n_atoms n_elements"]


class Cdvae(nn.Module):
    """Encoder, heads and denoiser, with the noise process and the loss.

    Args:
        settings: Settings of the networks, the noise process and the loss.
        vocabulary: Elements, cell sizes and cell scale of the training set.
    """

    elements: Tensor
    sizes: Tensor

    def __init__(self, settings: CdvaeSettings, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.settings, self.scale = settings, vocabulary.scale
        self.register_buffer("elements", vocabulary.elements.clone(), persistent=False)
        self.register_buffer("sizes", vocabulary.sizes.clone(), persistent=False)
        n_latent, width = settings.n_latent, settings.network.width
        decoder = settings.network.model_copy(update={"condition_width": n_latent, "atom_width": width})
        n_elements, n_sizes = len(vocabulary.elements), len(vocabulary.sizes)
        self.network = nn.ModuleDict(
            {
                "encoder": CrystalNetwork(settings.encoder),
                "posterior": CrystalHead(settings.encoder, 2 * n_latent, with_size=True),
                "contents": nn.Embedding(settings.encoder.n_species, n_latent),
                "occupation": OccupationWriter(settings.encoder, n_latent),
                "heads": LatentHeads(n_latent, settings.head_width, n_sizes, n_elements),
                "moments": LatentMoments(n_latent, n_elements + n_sizes),
                "asked": OccupationReader(n_latent, decoder.n_species, width),
                "decoder": CrystalNetwork(decoder),
                "path": CoordinateHead(decoder),
                "types": TypeHead(decoder, n_elements),
            }
        )
        self.process = make_process(settings)

    @property
    def n_times(self) -> int:
        """Times of the noise process."""
        return self.process.n_times

    @property
    def vocabulary(self) -> Vocabulary:
        """What the training set has, on the device of the model."""
        return Vocabulary(elements=self.elements, sizes=self.sizes, scale=self.scale)

    def encode(self, clean: CrystalBatch) -> Posterior:
        """Find the latent distributions of crystals; the same for another cell, image, origin or orientation.

        The mean has a part that depends on the composition alone, linearly, and one that says which element is on
        which site. Without the first the messages must carry the elements, and on Perov-5 the composition was learnt
        many times as slowly; without the second crystals with two elements exchanged were hardly told apart.
        """
        encoder = self.network["encoder"]
        assert isinstance(encoder, CrystalNetwork)
        still = torch.zeros(clean.n_systems, device=clean.device)
        features = encoder(encoder.graph(clean), clean.atomic_numbers, still)
        mean, log_variance = self.network["posterior"](features).chunk(2, dim=1)
        contents = features.graph.mean_over_atoms(self.network["contents"](clean.atomic_numbers))
        occupation = self.network["occupation"](features, clean.atomic_numbers)
        return Posterior(mean + contents + occupation, log_variance)

    @property
    def moments(self) -> LatentMoments:
        """Mean and covariance of the latent vectors of the training set."""
        moments = self.network["moments"]
        assert isinstance(moments, LatentMoments)
        return moments

    def contents(
        self, atomic_numbers: Int[Tensor, " n_atoms"], counts: Int[Tensor, " n_systems"]
    ) -> Float[Tensor, "n_systems n_contents"]:
        """Describe what crystals contain: the share of each element, and which of the known numbers of atoms it is."""
        index = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        number_of = counts.new_zeros(len(counts), len(self.elements))
        number_of.index_put_((index, self._classes(atomic_numbers)), counts.new_ones(()), accumulate=True)
        sizes = counts[:, None] == self.sizes
        return torch.cat([number_of / counts[:, None], sizes], 1).to(self.moments.mean)

    def guess(self, latents: Float[Tensor, "n_systems n_latent"]) -> DecodedHeads:
        """Read number of atoms, cell and composition from latent vectors."""
        return self.network["heads"](latents)

    def denoise(
        self,
        noisy: CrystalBatch,
        times: Int[Tensor, " n_systems"],
        latents: Float[Tensor, "n_systems n_latent"],
    ) -> DenoiserOutput:
        """Propose the path to every atom's goal, and its element, from noised coordinates and kinds.

        The network's answer is scaled so that its target is of order 1 at all times: by the width of the noise
        where that is small, by the greatest distance of images where it is not (arXiv 2206.00364, table 1).
        """
        decoder = self.network["decoder"]
        assert isinstance(decoder, CrystalNetwork)
        graph = decoder.graph(noisy)
        shown = times * (1000.0 / self.n_times)
        asked = self.network["asked"](latents, noisy.atomic_numbers, noisy.system_idx)
        features = decoder(graph, noisy.atomic_numbers, shown, atoms=asked, condition=latents)
        unit = (self._reach(times, noisy.lattice) / graph.spacing)[noisy.system_idx, None]
        path = to_fractional(self.network["path"](features) * unit, graph)
        return DenoiserOutput(path=path, types=self.network["types"](features))

    def forward(
        self,
        clean: CrystalBatch,
        finder: ImageFinder,
        noise: Noise,
        atoms_weight: Float[Tensor, ""] | float = 1.0,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 6"]]:
        """Return the loss, and its parts before they are weighted, detached, in the order of `LOSSES`.

        All is computed in float32: half precision would move atoms.

        Args:
            clean: Crystals.
            finder: Finder of the shortest images in their cells.
            noise: Random numbers.
            atoms_weight: Factor of means over all atoms, for a part of a batch.
        """
        with torch.autocast(clean.device.type, enabled=False):
            posterior = self.encode(clean)
            latents = posterior.draw(noise.latents)
            if self.training:
                self.moments.follow(latents, self.contents(clean.atomic_numbers, clean.n_atoms_per_system))
            guess = self.guess(latents)
            parts = torch.stack(
                [
                    *self._errors_of_guess(guess, clean),
                    posterior.divergence().mean(),
                    *self._errors_of_atoms(latents, guess, clean, finder, noise, atoms_weight),
                ]
            )
        weights = self.settings.weights
        return parts @ parts.new_tensor([getattr(weights, name) for name in LOSSES]), parts.detach()

    def _errors_of_guess(self, guess: DecodedHeads, clean: CrystalBatch) -> tuple[Tensor, Tensor, Tensor]:
        counts = clean.n_atoms_per_system
        n_atoms = functional.cross_entropy(
            guess.n_atoms, torch.searchsorted(self.sizes, counts).clamp(max=len(self.sizes) - 1)
        )
        scores = self.scale.scores(per_atom(clean.lattice, counts))
        lattice = (guess.lattice - scores).square().mean()
        by_atom = functional.cross_entropy(
            guess.composition[clean.system_idx], self._classes(clean.atomic_numbers), reduction="none"
        )
        return n_atoms, lattice, mean_over_crystals(by_atom, clean)

    def _errors_of_atoms(
        self,
        latents: Tensor,
        guess: DecodedHeads,
        clean: CrystalBatch,
        finder: ImageFinder,
        noise: Noise,
        atoms_weight: Tensor | float,
    ) -> tuple[Tensor, Tensor]:
        said = None
        if self.settings.type_noise == "predicted":
            said = Composition(elements=self.elements, shares=guess.composition.detach().softmax(1))
        noisy = CrystalBatch(
            frac_coords=self.process.add_noise(clean, noise.times, noise.coords),
            lattice=clean.lattice,
            atomic_numbers=noised_types(clean, noise.type_noise, noise.types, said=said),
            system_idx=clean.system_idx,
        )
        answer = self.denoise(noisy, noise.times, latents)
        error = answer.path - self._path_target(clean, noisy, finder, noise.times)
        if self.settings.coordinate_loss == "noise":
            width = self.process.width(noise.times, clean.lattice) / cells.volume(clean.lattice).pow(1 / 3)
            coordinates = noise_loss(error, width, clean)
        else:
            coordinates = atoms_weight * path_loss(error, self._reach(noise.times, clean.lattice), clean)
        weight = noise.type_noise if self.settings.type_loss == "over_noise" else None
        types = type_loss(answer.types, self._classes(clean.atomic_numbers), clean, over=weight)
        return coordinates, types

    def _path_target(
        self, clean: CrystalBatch, noisy: CrystalBatch, finder: ImageFinder, times: Tensor
    ) -> Float[Tensor, "n_atoms 3"]:
        """Return the fractional path that the denoiser should answer with."""
        goal = self.process.goal(clean, times)
        if self.settings.target == "nearest":
            return nearest_paths(goal, noisy.frac_coords, clean, finder)
        if self.settings.target == "own":
            return finder.shortest(goal - noisy.frac_coords, clean.system_idx)
        return goal - noisy.frac_coords

    def _reach(self, times: Tensor, lattice: Tensor) -> Tensor:
        """Return how far along an axis the goal is from x_t, Å, for every crystal."""
        width = self.process.width(times, lattice)
        if self.settings.target == "noise":
            return width
        most = UNIFORM * cells.volume(lattice).pow(1 / 3)
        return width * most / (width.square() + most.square()).sqrt()

    def _classes(self, atomic_numbers: Int[Tensor, " n_atoms"]) -> Int[Tensor, " n_atoms"]:
        """Return the column of each element; of one that the training set lacks, a neighbour's."""
        return torch.searchsorted(self.elements, atomic_numbers).clamp(max=len(self.elements) - 1)
