"""What latent vectors say of a crystal as a whole: number of atoms, cell, composition."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from reconstruction.cell import decode_cells
from reconstruction.composition import decode_compositions
from repdiff.diffusion.lattice_ddpm import ParameterScale
from repdiff.networks.crystal.layers import two_layers

MOMENTS_DECAY = 0.99  # a step; with 100 vectors a step, 10 000 count
JITTER = 1e-6
CONTENTS_JITTER = 1e-5  # variance of a share of an element; a rare one has 1e-4 or more
WIDEST = 6.0  # standard deviations that cell parameters may leave the data by
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What a training set has, and the scale of its cells.

    Attributes:
        elements: Atomic numbers, ascending.
        sizes: Numbers of atoms of a cell, ascending.
        scale: Mean and standard deviation of the parameters of cells divided by the cube root of their number of atoms.
    """

    elements: Int[Tensor, " n_elements"]
    sizes: Int[Tensor, " n_sizes"]
    scale: ParameterScale

    @classmethod
    def of(cls, batch: CrystalBatch, *, min_length_std: float, min_angle_std: float) -> "Vocabulary":
        """Take it from a training set."""
        scale = ParameterScale.fit(
            per_atom(batch.lattice, batch.n_atoms_per_system),
            min_length_std=min_length_std,
            min_angle_std=min_angle_std,
        )
        return cls(
            elements=batch.atomic_numbers.unique(), sizes=batch.n_atoms_per_system.unique(), scale=scale
        )


class DecodedHeads(NamedTuple):
    """Answers of the heads: logits, z-scores, logits."""

    n_atoms: Float[Tensor, "n_systems n_sizes"]
    lattice: Float[Tensor, "n_systems 6"]
    composition: Float[Tensor, "n_systems n_elements"]


class LatentHeads(nn.Module):
    """Number of atoms, cell and composition from a latent vector.

    Args:
        n_latent: Length of a latent vector.
        width: Inner channels.
        n_sizes: Numbers of atoms to tell apart.
        n_elements: Elements to tell apart.
    """

    def __init__(self, n_latent: int, width: int, n_sizes: int, n_elements: int) -> None:
        super().__init__()
        self.n_atoms = two_layers(n_latent, width, n_sizes)
        self.lattice = two_layers(n_latent, width, 6)
        self.composition = two_layers(n_latent, width, n_elements)

    def forward(self, latents: Float[Tensor, "n_systems n_latent"]) -> DecodedHeads:
        """Compute the answers."""
        return DecodedHeads(self.n_atoms(latents), self.lattice(latents), self.composition(latents))


class LatentMoments(nn.Module):
    """Mean and covariance of the latent vectors of a training set and of what its crystals contain.

    They are moving averages over the steps of training. The normal distribution that they make is nearer to the vectors
    that the decoder knows than the prior is, above all where the weight of the divergence is small; and it says what
    else goes with given contents, the size of the cell for one.

    Args:
        n_latent: Length of a latent vector.
        n_contents: Numbers that describe the contents of a crystal.

    Source: Ghosh et al., arXiv 1903.12436, section 4 (fitting a density after training).
    """

    mean: Tensor
    square: Tensor

    def __init__(self, n_latent: int, n_contents: int) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.register_buffer("mean", torch.zeros(n_latent + n_contents))
        self.register_buffer("square", torch.eye(n_latent + n_contents))

    @torch.no_grad()
    def follow(self, latents: Float[Tensor, "n n_latent"], contents: Float[Tensor, "n n_contents"]) -> None:
        """Take the crystals of one step into the averages; those of all processes that train together."""
        both = torch.cat([latents, contents], 1)
        self.mean.lerp_(_over_processes(both.mean(0)), 1 - MOMENTS_DECAY)
        self.square.lerp_(_over_processes(both.mT @ both / len(both)), 1 - MOMENTS_DECAY)

    def factor(self) -> Float[Tensor, "n_latent n_latent"]:
        """Return the lower triangle L with L Lᵀ the covariance of the latent vectors, in double precision."""
        return _factor(self._covariance()[: self.n_latent, : self.n_latent])

    @torch.no_grad()
    def draw(
        self,
        noise: Float[Tensor, "n n_latent"],
        contents: Float[Tensor, "n n_contents"] | None = None,
    ) -> Float[Tensor, "n n_latent"]:
        """Turn standard normal numbers into vectors with these moments, of crystals with given contents if any."""
        mean, n = self.mean.double(), self.n_latent
        if contents is None:
            return (mean[:n] + noise.double() @ self.factor().mT).to(noise)
        covariance = self._covariance()
        among = covariance[n:, n:] + CONTENTS_JITTER * torch.eye(len(mean) - n, device=mean.device)
        slope = torch.linalg.solve(among, covariance[n:, :n])
        rest = _factor(covariance[:n, :n] - covariance[:n, n:] @ slope)
        expected = mean[:n] + (contents.double() - mean[n:]) @ slope
        return (expected + noise.double() @ rest.mT).to(noise)

    @torch.no_grad()
    def _covariance(self) -> Float[Tensor, "n_both n_both"]:
        mean = self.mean.double()
        return self.square.double() - mean[:, None] * mean


def _over_processes(mean: Tensor) -> Tensor:
    """Average over the processes that train together, each of which has as many crystals."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mean
    distributed.all_reduce(mean)
    return mean / distributed.get_world_size()


def _factor(covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Return a Cholesky factor of a matrix that rounding may have left slightly indefinite."""
    shift = JITTER - torch.linalg.eigvalsh(covariance)[0].clamp(max=0)
    return torch.linalg.cholesky(covariance + shift * torch.eye(len(covariance), device=covariance.device))


def per_atom(
    lattice: Float[Tensor, "n_systems 3 3"], n_atoms: Int[Tensor, " n_systems"]
) -> Float[Tensor, "n_systems 3 3"]:
    """Divide cells by the cube root of their number of atoms."""
    return lattice / n_atoms.to(lattice).pow(1 / 3)[:, None, None]


def whole_compositions(guess: DecodedHeads, vocabulary: Vocabulary) -> list[Int[Tensor, " n_atoms"]]:
    """Take the likeliest number of atoms and the nearest whole formula; returns atomic numbers of every crystal."""
    sizes = vocabulary.sizes[guess.n_atoms.argmax(1)].cpu()
    shares = guess.composition.softmax(1).double().cpu()
    counts = decode_compositions(shares, sizes.double(), max_atoms=int(sizes.max())).counts
    elements = vocabulary.elements.cpu()
    return [torch.repeat_interleave(elements, row) for row in counts]


def make_cells(
    scores: Float[Tensor, "n_systems 6"], n_atoms: Sequence[int], scale: ParameterScale
) -> Float[Tensor, "n_systems 3 3"]:
    """Build cells from z-scored parameters, by the rules of `reconstruction.cell`.

    A cell that cannot be built becomes a cube of the training cells' mean volume per atom, with a warning.
    """
    counts = torch.tensor(n_atoms)
    parameters = scores.double().cpu().clamp(-WIDEST, WIDEST) * scale.std.cpu() + scale.mean.cpu()
    growth = counts.double().pow(1 / 3)[:, None]
    in_degrees = torch.cat([parameters[:, :3] * growth, torch.rad2deg(parameters[:, 3:])], 1)
    made = decode_cells(in_degrees, counts.double())
    bad = torch.tensor([reason is not None for reason in made.reasons], dtype=torch.bool)
    if bool(bad.any()):
        log.warning(
            "%d of %d cells could not be read (%s); cubes take their place",
            int(bad.sum()), len(bad), next(filter(None, made.reasons)),
        )  # fmt: skip
    usual = torch.cat([scale.mean[:3].cpu(), torch.rad2deg(scale.mean[3:].cpu())])[None]
    edge = cells.volume(decode_cells(usual, torch.ones(1)).lattice).pow(1 / 3)
    cubes = torch.eye(3, dtype=torch.float64) * (edge * growth)[:, :, None]
    return torch.where(bad[:, None, None], cubes, made.lattice).to(scores)
