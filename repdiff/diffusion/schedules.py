"""How much noise there is at each time: the usual schedules, and what is added where the mean stays as it is."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.diffusion.samplers import Schedule

GREATEST_BETA = 0.999
SIGMOID_TIMES = 1000  # for which the published β are; with fewer, each is greater in proportion
SIGMOID_ENDS = (-10.0, 6.0)
SIGMOID_BETAS = (1e-10, 0.01)
COSINE_OFFSET = 0.008
LINEAR_BETAS = (1e-4, 0.02)  # for SIGMOID_TIMES as well


def linear_schedule(n_times: int, *, first: float, last: float) -> Schedule:
    """Let β grow linearly; time 0 is the first step of the noise process (t = 1 in the papers).

    Raises:
        ValueError: Unless 0 < first ≤ last < 1 and there are at least two times.
    """
    if n_times < 2 or not 0 < first <= last < 1:
        raise ValueError(
            f"β from {first} to {last} in {n_times} times, expected 0 < first ≤ last < 1 and at least 2 times"
        )
    return Schedule(torch.linspace(first, last, n_times, dtype=torch.float64))


def schedule_of(name: str, n_times: int) -> Schedule:
    """Build one of the schedules; a smaller number of times leads to as much noise at the end.

    Args:
        name: "sigmoid", β = sigmoid(-10 … 6) · (0.01 - 1e-10) + 1e-10 (arXiv 2308.02165); "cosine" (Nichol and
            Dhariwal, arXiv 2102.09672, eq. 17); "linear", β from 1e-4 to 0.02 (Ho et al., arXiv 2006.11239).
        n_times: Number of times.

    Raises:
        ValueError: If there is no such schedule.
    """
    stretch = SIGMOID_TIMES / n_times
    if name == "linear":
        first, last = (min(beta * stretch, GREATEST_BETA) for beta in LINEAR_BETAS)
        return linear_schedule(n_times, first=first, last=last)
    if name == "sigmoid":
        low, high = SIGMOID_BETAS
        rising = torch.linspace(*SIGMOID_ENDS, n_times, dtype=torch.float64).sigmoid()
        return Schedule(((rising * (high - low) + low) * stretch).clamp(max=GREATEST_BETA))
    if name != "cosine":
        raise ValueError(f"schedule is {name!r}, expected sigmoid, cosine or linear")
    times = torch.linspace(0, 1, n_times + 1, dtype=torch.float64)
    signals = ((times + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos().square()
    return Schedule((1 - signals[1:] / signals[:-1]).clamp(max=GREATEST_BETA))


def spread_times(n: int, n_times: int, *, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Draw the times of a batch, spread evenly from a random start: each is uniform, together they cover all.

    The generator gives one number, and its device the tensor's.
    """
    start = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
    fractions = (torch.arange(n, device=generator.device, dtype=torch.float64) / n + start) % 1
    return (fractions * n_times).long().clamp_(max=n_times - 1)


@dataclass(frozen=True)
class AddedNoise:
    """Noise process x_t = x_0 + s_t ε with s growing in time ("variance exploding"), in double precision.

    Time t runs from 0, the least noisy, to `n_times` - 1; time -1 is clean, s = 0. Standard deviations have the
    unit of x. Make one by `from_betas` or `geometric`.

    Args:
        stds: s_t of every time, increasing.
        betas: β_t where the process was defined by them; two published sampling rules use them.

    Raises:
        ValueError: If the standard deviations are not positive and increasing.
    """

    stds: Float[Tensor, " n_times"]
    betas: Float[Tensor, " n_times"] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not bool((self.stds.diff(prepend=self.stds.new_zeros(1)) > 0).all()):
            raise ValueError("standard deviations of the noise must be positive and increase with time")

    @classmethod
    def from_betas(cls, schedule: Schedule) -> "AddedNoise":
        """Let s_t² be 1 - ᾱ_t (GemsDiff, arXiv 2401.05402, eq. 16, right)."""
        return cls((1 - schedule.signals).sqrt(), schedule.betas)

    @classmethod
    def geometric(cls, n_times: int, *, first: float, last: float) -> "AddedNoise":
        """Let s_t grow geometrically (Song et al., arXiv 2011.13456, appendix C; MatterGen: 0.005 to 5).

        Raises:
            ValueError: Unless 0 < first < last and there are at least two times.
        """
        if n_times < 2 or not 0 < first < last:
            raise ValueError(
                f"noise from {first} to {last} in {n_times} times, expected 0 < first < last and 2 or more"
            )
        return cls(first * (last / first) ** torch.linspace(0, 1, n_times, dtype=torch.float64))

    @property
    def n_times(self) -> int:
        """Number of times."""
        return len(self.stds)

    def to(self, device: torch.device | str) -> "AddedNoise":
        """Move the tables to a device, once, so that no look-up has to."""
        return AddedNoise(self.stds.to(device), None if self.betas is None else self.betas.to(device))

    @cached_property
    def _before(self) -> Float[Tensor, " n_times"]:
        return torch.cat([self.stds.new_zeros(1), self.stds[:-1]])

    def std(self, times: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return s_t: how far x_t lies from x_0."""
        return self.stds.to(times.device)[times]

    def std_before(self, times: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return s of one time less, zero for time 0."""
        return self._before.to(times.device)[times]

    def step_std(self, times: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return √(s_t² - s_{t-1}²), the noise of the one step that ends at t."""
        return (self.std(times).square() - self.std_before(times).square()).sqrt()
