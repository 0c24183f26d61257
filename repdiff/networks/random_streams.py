"""Random numbers of samples: streams of their own, so that a sample depends neither on its batch nor on the device.

Every stream is a Philox generator of numpy whose key holds the seed of a run and the number of the sample.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

FORMULA, NOISE, CANDIDATE = 1, 2, 3
"""What a stream of `stream` is for; below 8."""
UNIFORM_START = (0, 0, 0, 1)  # far behind where the `NoiseStreams` of the same key start


def stream(seed: int, number: int, purpose: int) -> np.random.Generator:
    """Return the random numbers of one sample for one purpose.

    Args:
        seed: Seed that all samples have in common.
        number: Number of the sample.
        purpose: One of the constants of this module.
    """
    return _philox(seed, number * 8 + purpose)


def uniform_streams(key: int, numbers: Sequence[int], n_draws: int) -> Float[Tensor, "n n_draws"]:
    """Draw uniform numbers in [0, 1) for samples, in double precision.

    Row i is the beginning of a Philox stream with key (key, numbers[i]).

    Args:
        key: Key that a run's samples have in common, 0 to 2^63 - 1.
        numbers: Numbers of the samples within the run.
        n_draws: Numbers a sample; more do not change the first ones.
    """
    block = np.empty((len(numbers), n_draws))
    for row, number in zip(block, numbers, strict=True):
        _philox(key, number, UNIFORM_START).random(out=row)
    return torch.from_numpy(block)


def choose(scores: Float[Tensor, "n n_choices"], uniform: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Choose by the inverse of the cumulative softmax; a score of -inf is never chosen."""
    cumulative = scores.softmax(1).cumsum(1)
    return (cumulative / cumulative[:, -1:] <= uniform[:, None]).sum(1)


class NoiseStreams:
    """Normal random numbers, an independent stream for each sample.

    Stream i is a Philox generator with key (key, i), so that the noise of a sample depends neither on its
    batch nor on the device. `ahead` steps are drawn at a time, which saves visits to the streams.

    Args:
        key: Key that a run's samples have in common, 0 to 2^63 - 1.
        numbers: Numbers of the samples within the run.
        n_features: Length of a vector.
        device: Where the noise goes.
        ahead: Steps drawn at a time; does not change the numbers.
    """

    def __init__(
        self, key: int, numbers: Sequence[int], n_features: int, *, device: torch.device, ahead: int = 16
    ) -> None:
        self.key, self.numbers, self.n_features, self.device, self.ahead = (
            key,
            numbers,
            n_features,
            device,
            ahead,
        )

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.numbers)

    def select(self, rows: slice) -> "NoiseStreams":
        """Return the streams of some of the samples, from their beginning."""
        return NoiseStreams(
            self.key, self.numbers[rows], self.n_features, device=self.device, ahead=self.ahead
        )

    def steps(self) -> Iterator[Float[Tensor, "n_samples n_features"]]:
        """Iterate, without end, over noise for all samples."""
        streams = [_philox(self.key, number) for number in self.numbers]
        while True:
            block = np.empty((len(streams), self.ahead, self.n_features), dtype=np.float32)
            for row, stream in zip(block, streams, strict=True):
                stream.standard_normal(dtype=np.float32, out=row)
            ready = torch.from_numpy(block).to(self.device)
            for step in range(self.ahead):
                yield ready[:, step]


def _philox(seed: int, number: int, counter: tuple[int, int, int, int] = (0, 0, 0, 0)) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, number], counter=counter))
