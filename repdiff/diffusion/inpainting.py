"""Inpainting: some features of vectors are held, and a trained model draws the others to suit them.

At every step the held features are drawn from the noise process of their values, the others by the step of the model,
which so sees both. A step alone makes the drawn features suit the held ones badly; so each stretch of the way is gone
several times, back by adding noise.

Source: Lugmayr et al., RePaint, CVPR 2022, arXiv 2201.09865, algorithm 1; there, too, 250 steps in stretches of 10,
each gone 10 times, are the default. Of features that follow a normal distribution mean and width come out nearly right;
the shares of modes are approached slowly (`docs/notes/inpainting.md` has figures).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from repdiff.diffusion.samplers import Estimate, Sampler, SamplerSettings, Schedule, step_down
from repdiff.errors import UserError

N_STEPS = 250  # unless asked otherwise
N_STRETCHES = 25  # that the steps are divided into
RESAMPLINGS = 10


@dataclass(frozen=True, kw_only=True)
class Held:
    """What of vectors is held.

    Attributes:
        values: Vectors in [0, 1]; entries that are not held do not count.
        mask: Which entries are held.
        resamplings: Times that each stretch of the way is gone; 1 for once.
    """

    values: Float[Tensor, "n n_features"]
    mask: Bool[Tensor, "n n_features"]
    resamplings: int = RESAMPLINGS

    def __post_init__(self) -> None:
        """Check that values and mask belong together."""
        if self.values.shape != self.mask.shape:
            raise ValueError(
                f"mask is {tuple(self.mask.shape)}, expected {tuple(self.values.shape)}, as the values"
            )
        if self.resamplings < 1:
            raise ValueError(f"resamplings is {self.resamplings}, expected at least 1")

    def rows(self, rows: slice) -> "Held":
        """Return what is held of some of the vectors."""
        return Held(values=self.values[rows], mask=self.mask[rows], resamplings=self.resamplings)

    def to(self, device: torch.device) -> "Held":
        """Move to a device."""
        return Held(values=self.values.to(device), mask=self.mask.to(device), resamplings=self.resamplings)

    def put_into(self, vectors: Float[Tensor, "n n_features"]) -> Float[Tensor, "n n_features"]:
        """Return vectors in [0, 1] with the held values in their places."""
        return torch.where(self.mask.to(vectors.device), self.values.to(vectors), vectors)


def check_sampler(name: str) -> None:
    """Refuse samplers that cannot hold parts of vectors: those without noise, and those with a memory of steps.

    Raises:
        UserError: If it is one of these.
    """
    if name != "ddpm":
        raise UserError(
            f"`sampler` is {name!r}, which cannot hold parts of vectors, expected 'ddpm', with fewer `steps` if time "
            "is short"
        )


class InpaintingSampler(Sampler):
    """Ancestral sampling with held features.

    Args:
        settings: Its number of steps counts; 250, or all of a shorter process, unless asked otherwise.
        held: What is held of the vectors that it samples.

    Raises:
        UserError: If another sampler than "ddpm" is asked for.
    """

    def __init__(self, settings: SamplerSettings, held: Held) -> None:
        check_sampler(settings.name)
        super().__init__(settings)
        self.held = held

    def of_rows(self, rows: slice) -> "InpaintingSampler":
        """Return the sampler of some of the vectors."""
        return InpaintingSampler(self.settings, self.held.rows(rows))

    def n_steps(self, schedule: Schedule) -> int:
        """Count the evaluations of the network, repeated ones included."""
        return sum(after > before for before, after in moves(self._n_places(schedule), self.held.resamplings))

    def run(self, estimate: Estimate, schedule: Schedule, noise: Iterator[Tensor], bar: tqdm) -> Tensor:
        """Sample one batch."""
        times = schedule.times(self._n_places(schedule))
        signals = [*(schedule.signal(time) for time in times), 1.0]
        mask, values = self.held.mask, 2 * self.held.values - 1
        begun = next(noise)
        noisy = torch.where(mask, _noised(values, signals[0], next(noise)), begun)
        clean = None
        for before, after in moves(len(times), self.held.resamplings):
            fresh = next(noise)
            if after < before:
                noisy = _noised(noisy, signals[after] / signals[before], fresh)
                continue
            clean = torch.where(mask, values, estimate(noisy, times[before], clean))
            moved = step_down(
                clean, noisy, fresh, signal=signals[before], signal_next=signals[after], eta=1.0
            )
            noisy = torch.where(mask, _noised(values, signals[after], fresh), moved)
            bar.update()
        return noisy

    def _n_places(self, schedule: Schedule) -> int:
        """Count the noise levels that are visited, the clean one not counted."""
        return self.settings.n_steps or min(N_STEPS, len(schedule.betas))


def moves(n_steps: int, resamplings: int) -> list[tuple[int, int]]:
    """Return the way through the noise levels, as pairs of places: 0 is the noisiest level, `n_steps` the clean one.

    Example:
        >>> moves(3, 2)
        [(0, 1), (1, 0), (0, 1), (1, 2), (2, 1), (1, 2), (2, 3)]
    """
    length = max(1, n_steps // N_STRETCHES)
    found: list[tuple[int, int]] = []
    for start in range(0, n_steps - 1, length):
        end = min(start + length, n_steps - 1)
        down = [(place, place + 1) for place in range(start, end)]
        found += down + (resamplings - 1) * [(end, start), *down]
    return [*found, (n_steps - 1, n_steps)]


def _noised(clean: Tensor, signal: float, noise: Tensor) -> Tensor:
    """Draw from q(x_t | x_s), `signal` being ᾱ_t over ᾱ_s."""
    return signal**0.5 * clean + max(1 - signal, 0.0) ** 0.5 * noise
