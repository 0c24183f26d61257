"""Cutoff functions and radial bases; all vanish with their slope at the cutoff."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def cosine_cutoff(distances: Float[Tensor, "*shape"], *, cutoff: float) -> Float[Tensor, "*shape"]:
    """Weigh distances, Å, by ½ (cos(π r / cutoff) + 1) inside the cutoff and by 0 beyond.

    Source: Behler, J. Chem. Phys. 2011, 134, 074106, eq. 4.

    Example:
        >>> cosine_cutoff(torch.tensor([0.0, 3.0, 6.0]), cutoff=6.0)
        tensor([1.0000, 0.5000, 0.0000])
    """
    return 0.5 * (torch.cos(math.pi / cutoff * distances.clamp(max=cutoff)) + 1)


def smoothstep_cutoff(distances: Float[Tensor, "*shape"], *, cutoff: float) -> Float[Tensor, "*shape"]:
    """Weigh distances, Å, by 1 - 3 (r / cutoff)² + 2 (r / cutoff)³ inside the cutoff and by 0 beyond.

    Source: Caro, Phys. Rev. B 2019, 100, 024112.

    Example:
        >>> smoothstep_cutoff(torch.tensor([0.0, 3.0, 6.0]), cutoff=6.0)
        tensor([1.0000, 0.5000, 0.0000])
    """
    share = distances.clamp(max=cutoff) / cutoff
    return 1 - 3 * share**2 + 2 * share**3


def gaussians(
    distances: Float[Tensor, "*shape"], centers: Float[Tensor, " n_radial"], *, eta: float
) -> Float[Tensor, "*shape n_radial"]:
    """Expand distances in exp(-η (r - R_s)²); η in Å⁻², centres R_s in Å."""
    return torch.exp(-eta * (distances[..., None] - centers) ** 2)
