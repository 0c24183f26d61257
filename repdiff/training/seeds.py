"""What follows from the settings of a training run alone: data order and random numbers."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def derived_seed(*parts: int) -> int:
    """Mix numbers into one seed of 32 bits, all that torch's CPU generator uses."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def derived_generator(*parts: int, device: torch.device) -> torch.Generator:
    """Return a generator whose numbers depend on `parts` alone, so that none need be stored to resume."""
    return torch.Generator(device=device).manual_seed(derived_seed(*parts))


def epoch_order(n_rows: int, *, seed: int, epoch: int) -> Int[Tensor, " n_rows"]:
    """Return the order of the training data in an epoch, a function of seed and epoch alone.

    Example:
        >>> sorted(epoch_order(4, seed=0, epoch=0).tolist())
        [0, 1, 2, 3]
    """
    return torch.randperm(n_rows, generator=derived_generator(seed, 1, epoch, device=torch.device("cpu")))
