"""Draws from categories by random numbers that belong to each sample, whatever its batch."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

STREAM_START = (0, 0, 0, 1)  # far behind where the diffusion's `NoiseStreams` of the same key start


def uniform_streams(key: int, numbers: range, n_draws: int) -> Float[Tensor, "n n_draws"]:
    """Draw uniform numbers in [0, 1) for samples, in double precision.

    Row i is the beginning of a Philox stream with key (key, numbers[i]).

    Args:
        key: Key that a run's samples have in common, 0 to 2^63 - 1.
        numbers: Numbers of the samples within the run.
        n_draws: Numbers a sample; more do not change the first ones.
    """
    block = np.empty((len(numbers), n_draws))
    for row, number in zip(block, numbers, strict=True):
        np.random.Generator(np.random.Philox(key=[key, number], counter=STREAM_START)).random(out=row)
    return torch.from_numpy(block)


def choose(scores: Float[Tensor, "n n_choices"], uniform: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Choose by the inverse of the cumulative softmax; a score of -inf is never chosen."""
    cumulative = scores.softmax(1).cumsum(1)
    return (cumulative / cumulative[:, -1:] <= uniform[:, None]).sum(1)
