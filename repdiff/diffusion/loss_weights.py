"""What parts of a vector, and what times, count how much in the loss of a diffusion of vectors."""

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repdiff.diffusion.samplers import Schedule
from repdiff.errors import UserError
from repdiff.settings.backends.structrepdiff import NoiseSettings


def given_mask(
    given: Collection[str], blocks: Mapping[str, slice], n_features: int
) -> Bool[Tensor, " n_features"]:
    """Mark the features of the blocks that are not generated.

    Raises:
        UserError: If there is no block of a name.
    """
    mask = torch.zeros(n_features, dtype=torch.bool)
    for name in given:
        if name not in blocks:
            raise UserError(f"given names {name!r}, expected one of {', '.join(blocks) or 'none'}")
        mask[blocks[name]] = True
    return mask


def feature_weights(
    block_weights: Mapping[str, float], blocks: Mapping[str, slice], given: Bool[Tensor, " n_features"]
) -> Float[Tensor, " n_features"]:
    """Return the weight of each feature, 1 on average and 0 where it is given.

    Raises:
        UserError: If a block is unknown, a weight is negative, or all are 0.
    """
    weights = torch.ones(len(given))
    for name, weight in block_weights.items():
        if name not in blocks:
            raise UserError(f"block_weights names {name!r}, expected one of {', '.join(blocks) or 'none'}")
        if weight < 0:
            raise UserError(f"block_weights gives {name} the weight {weight}, expected 0 or more")
        weights[blocks[name]] = weight
    weights[given] = 0
    if not bool(weights.any()):
        raise UserError("block_weights are all 0, expected at least one positive: nothing would be learnt")
    return weights / weights.mean()


def time_weights(
    settings: NoiseSettings, of_noise: Float[Tensor, " n_times"], schedule: Schedule
) -> Float[Tensor, " n_times"]:
    """Return the weight of each time.

    Args:
        settings: Name of the weighting.
        of_noise: Weights that make an error of the training target one of the noise.
        schedule: The noise process.
    """
    if settings.weighting == "uniform":
        return torch.ones_like(of_noise)
    if settings.weighting == "noise":
        return of_noise.clone()
    snr = schedule.signals / (1 - schedule.signals)
    return (of_noise * snr.clamp(max=settings.min_snr_gamma) / snr).float()
