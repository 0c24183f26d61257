"""Random numbers of the joint diffusion of elements, coordinates and cells, each crystal's from its own stream."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.diffusion.predictor_corrector import Draws
from repdiff.diffusion.symmetric_lattice import N_ELEMENTS
from repdiff.networks.random_streams import FORMULA, stream

AHEAD = 16  # steps for which a stream gives its numbers at once


def random_draws(
    streams: Sequence[np.random.Generator], sizes: Sequence[int], device: torch.device
) -> Iterator[Draws]:
    """Iterate, without end, over the random numbers of a batch, each crystal's from its own stream."""
    while True:
        blocks = [
            (
                one.standard_normal((AHEAD, N_ELEMENTS + 3 * size), dtype=np.float32),
                one.random((AHEAD, size, 2), dtype=np.float32),
            )
            for one, size in zip(streams, sizes, strict=True)
        ]
        lattice = np.stack([normal[:, :N_ELEMENTS] for normal, _ in blocks], 1)
        coords = np.concatenate([normal[:, N_ELEMENTS:].reshape(AHEAD, -1, 3) for normal, _ in blocks], 1)
        chances = np.concatenate([uniform for _, uniform in blocks], 1)
        ready = Draws(*[torch.from_numpy(part).to(device) for part in (coords, lattice, chances)])
        for step in range(AHEAD):
            yield Draws(*[part[step] for part in ready])


def hiding_chances(
    seed: int, numbers: Sequence[int], sizes: Sequence[int], *, kept: bool
) -> Float[Tensor, " n_atoms"]:
    """Return the chances by which elements are hidden: uniform, or 1 where they are kept."""
    if kept:
        return torch.ones(sum(sizes))
    pairs = zip(numbers, sizes, strict=True)
    chances = [stream(seed, number, FORMULA).random(size, dtype=np.float32) for number, size in pairs]
    return torch.from_numpy(np.concatenate(chances))
