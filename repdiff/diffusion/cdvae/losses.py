"""Noise of the kinds of atoms, and the errors of what the denoiser answers: this project's form and the published one.

Sources: Xie et al., arXiv 2110.06197, section 3.3 (CDVAE); Pakornchote et al., arXiv 2308.02165 (DP-CDVAE). The
published form is that of DP-CDVAE's program (https://github.com/trachote/dp-cdvae, `dpcdvae/models.py` at revision
80b8431, `l2_loss` and `type_loss`).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch


class Composition(NamedTuple):
    """What latent vectors say of the composition: shares of the elements, of sum 1, for every crystal."""

    elements: Int[Tensor, " n_elements"]
    shares: Float[Tensor, "n_systems n_elements"]


def noised_types(
    clean: CrystalBatch,
    weight: Float[Tensor, " n_systems"],
    uniform: Float[Tensor, "n_atoms 2"],
    *,
    said: Composition | None = None,
) -> Int[Tensor, " n_atoms"]:
    """Draw kinds of atoms from one-hot + weight · composition, scaled to a sum of 1.

    An atom keeps its kind with the probability 1 / (1 + weight), and else takes one drawn from the composition.

    Args:
        clean: Crystals with their true kinds.
        weight: Weight of the composition, for each crystal.
        uniform: Random numbers in [0, 1).
        said: Composition to draw from; without it the crystal's own.
    """
    index, counts = clean.system_idx, clean.n_atoms_per_system
    if said is None:
        starts = counts.cumsum(0) - counts
        chosen = torch.minimum((uniform[:, 1] * counts[index]).long(), counts[index] - 1) + starts[index]
        other = clean.atomic_numbers[chosen]
    else:
        cumulative = said.shares.double().cumsum(1)[index]
        levels = uniform[:, 1:].double() * cumulative[:, -1:]
        column = torch.searchsorted(cumulative, levels, right=True)[:, 0]
        other = said.elements[column.clamp(max=len(said.elements) - 1)]
    kept = uniform[:, 0] * (1 + weight[index]) < 1
    return torch.where(kept, clean.atomic_numbers, other)


def path_loss(
    error: Float[Tensor, "n_atoms 3"], reach: Float[Tensor, " n_systems"], clean: CrystalBatch
) -> Float[Tensor, ""]:
    """Average the squared Cartesian components of the error of paths over all atoms of a batch.

    Args:
        error: Fractional.
        reach: Length in which errors are measured, Å.
        clean: Crystals with the true cells.
    """
    moved = cells.frac_to_cart(error, clean.lattice, clean.system_idx)
    return (moved / reach[clean.system_idx, None]).square().mean()


def noise_loss(
    error: Float[Tensor, "n_atoms 3"], std: Float[Tensor, " n_systems"], clean: CrystalBatch
) -> Float[Tensor, ""]:
    """Return |ε̂ - ε|², summed over the three components in fractions of the cell, a mean over atoms, then crystals.

    Args:
        error: Error of paths, fractional, which is -s_t (ε̂ - ε).
        std: s_t, the standard deviation of the noise in fractions of the cell.
        clean: Crystals.
    """
    return mean_over_crystals((error / std[clean.system_idx, None]).square().sum(1), clean)


def type_loss(
    logits: Float[Tensor, "n_atoms n_elements"],
    targets: Int[Tensor, " n_atoms"],
    clean: CrystalBatch,
    *,
    over: Float[Tensor, " n_systems"] | None,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the kinds, a mean over the atoms of each crystal and then over crystals.

    Args:
        logits: Logits of each element.
        targets: Column of the true element.
        clean: Crystals.
        over: Weights of the composition in the noised kinds, by which the cross-entropy is divided. Drawn from 0.01 to
            5 with a uniform logarithm they multiply it by 16.1 on average, and kinds that are hardly noised by 100.
    """
    surprise = functional.cross_entropy(logits, targets, reduction="none")
    return mean_over_crystals(surprise if over is None else surprise / over[clean.system_idx], clean)


def mean_over_crystals(values: Float[Tensor, " n_atoms"], batch: CrystalBatch) -> Float[Tensor, ""]:
    """Average over the atoms of each crystal, and then over crystals."""
    shares = (batch.n_atoms_per_system * batch.n_systems).to(values).reciprocal()
    return (values * shares[batch.system_idx]).sum()
