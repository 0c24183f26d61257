"""Diffusion of cells: a Gaussian process on their nine coordinates, and a loss on lattice parameters.

Formulas are those of arXiv 2401.05402 (GemsDiff) and, for the process, of Ho et al., arXiv 2006.11239. Times run
from 0, the least noisy, so that time t is t + 1 of the papers.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.diffusion.lattice_space import N_COORDINATES, ROTATION, VOLUME
from repdiff.diffusion.samplers import Schedule
from repdiff.diffusion.schedules import linear_schedule
from repdiff.settings.backends.gemsdiff import LatticeSettings, LatticeTarget, ParameterLoss, StepNoise

TINY = 1e-12  # squared length of unit vectors' cross product below which an angle counts as 0 or 180°


def lattice_process(settings: LatticeSettings) -> "LatticeProcess":
    """Build the noise process of the cell."""
    factors = torch.ones(N_COORDINATES, dtype=torch.float64)
    factors[ROTATION] = settings.rotation_noise
    factors[VOLUME] = settings.volume_noise
    schedule = linear_schedule(settings.timesteps, first=settings.beta_first, last=settings.beta_last)
    return LatticeProcess(schedule=schedule, factors=factors)


@dataclass(frozen=True, kw_only=True)
class LatticeProcess:
    """Process v_t = √ᾱ_t v_0 + √(1 - ᾱ_t) m ε, with a factor m of the noise for each coordinate.

    A coordinate with m = 0 is not random: it shrinks along √ᾱ_t, and every formula below still holds.
    """

    schedule: Schedule
    factors: Float[Tensor, " 9"]

    @property
    def n_times(self) -> int:
        """Number of times."""
        return len(self.schedule.betas)

    def to(self, device: torch.device | str) -> "LatticeProcess":
        """Move the tables to a device, once, so that no look-up has to."""
        return LatticeProcess(
            schedule=Schedule(self.schedule.betas.to(device)), factors=self.factors.to(device)
        )

    def prior(
        self, n_systems: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n_systems 9"]:
        """Draw v_T from N(0, m²), on the generator's device (algorithm 2, line 2)."""
        noise = torch.randn(
            n_systems, N_COORDINATES, generator=generator, device=generator.device, dtype=dtype
        )
        return noise * self.factors.to(noise)

    def add_noise(
        self, clean: Float[Tensor, "n 9"], times: Int[Tensor, " n"], noise: Float[Tensor, "n 9"]
    ) -> Float[Tensor, "n 9"]:
        """Draw v_t from q(v_t | v_0), closed form after eq. 6; `noise` is standard normal."""
        signal = self._signals.to(times.device)[times]
        mean, std = self._columns(clean, signal.sqrt(), (1 - signal).sqrt())
        return mean * clean + std * self.factors.to(clean) * noise

    def add_step(
        self, before: Float[Tensor, "n 9"], times: Int[Tensor, " n"], noise: Float[Tensor, "n 9"]
    ) -> Float[Tensor, "n 9"]:
        """Draw v_t from q(v_t | v_{t-1}), eq. 3, the one step that ends at `times`."""
        betas = self.schedule.betas.to(times.device)[times]
        mean, std = self._columns(before, (1 - betas).sqrt(), betas.sqrt())
        return mean * before + std * self.factors.to(before) * noise

    def posterior_mean(
        self, noisy: Float[Tensor, "n 9"], clean: Float[Tensor, "n 9"], times: Int[Tensor, " n"]
    ) -> Float[Tensor, "n 9"]:
        """Return μ̃_t(v_t, v_0), the mean of v_{t-1} given both (eq. 6); v_0 itself at time 0."""
        betas, before, signal = self._at(times)
        of_clean, of_noisy = self._columns(
            noisy,
            before.sqrt() * betas / (1 - signal),
            (1 - betas).sqrt() * (1 - before) / (1 - signal),
        )
        return of_clean * clean + of_noisy * noisy

    def step_variance(self, times: Int[Tensor, " n"], *, kind: StepNoise) -> Float[Tensor, "n 9"]:
        """Return the variance of v_{t-1} in a step back, zero at time 0.

        Args:
            times: t, from which the step starts.
            kind: "posterior": β̃_t = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t), that of v_{t-1} given v_t and v_0; "beta": β_t;
                "beta_before": β_{t-1}, as in the published program. Each times m².
        """
        betas, before, signal = self._at(times)
        if kind == "posterior":
            variance = betas * (1 - before) / (1 - signal)
        elif kind == "beta":
            variance = torch.where(times > 0, betas, 0.0)
        else:
            earlier = self.schedule.betas.to(times.device)[(times - 1).clamp(min=0)]
            variance = torch.where(times > 0, earlier, 0.0)
        return variance[:, None] * self.factors.to(times.device).square()

    def reverse_step(
        self,
        noisy: Float[Tensor, "n 9"],
        predicted: Float[Tensor, "n 9"],
        times: Int[Tensor, " n"],
        noise: Float[Tensor, "n 9"],
        *,
        target: LatticeTarget,
        step_noise: StepNoise,
    ) -> Float[Tensor, "n 9"]:
        """Draw v_{t-1} (algorithm 2, lines 6 and 7).

        A network trained on `target` "posterior_mean" has answered with μ̃ already, so its answer is the mean
        of the step; algorithm 2 would apply μ̃ once more, which fits the target "clean" alone.

        Args:
            noisy: v_t.
            predicted: Coordinates of the network's cell.
            times: t.
            noise: Standard normal numbers.
            target: What the network was trained to answer with.
            step_noise: See `step_variance`.
        """
        mean = self.posterior_mean(noisy, predicted, times) if target == "clean" else predicted
        return mean + self.step_variance(times, kind=step_noise).sqrt().to(noisy) * noise

    @cached_property
    def _signals(self) -> Float[Tensor, " n_times"]:
        return self.schedule.signals

    def _at(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return β_t, ᾱ_{t-1} and ᾱ_t."""
        signals = self._signals.to(times.device)
        before = torch.cat([signals.new_ones(1), signals[:-1]])
        return self.schedule.betas.to(times.device)[times], before[times], signals[times]

    def _columns(self, like: Tensor, *rows: Tensor) -> list[Tensor]:
        return [row.to(like.dtype)[:, None] for row in rows]


def lattice_parameters(lattice: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 6"]:
    """Return a, b, c in Å and α, β, γ in RADIANS, with gradients that are finite for every cell.

    The angle is the arctangent of sine and cosine: the slope of an arccosine is infinite where two vectors are
    parallel. There, and for vectors of length zero, the gradient is a finite one of no meaning.
    """
    lengths = (lattice.square().sum(-1) + TINY).sqrt()
    unit = lattice / lengths[..., None]
    first, second = unit[:, [1, 0, 0]], unit[:, [2, 2, 1]]
    sines = (torch.linalg.cross(first, second).square().sum(-1) + TINY).sqrt()
    return torch.cat([lengths, torch.atan2(sines, (first * second).sum(-1))], 1)


@dataclass(frozen=True, kw_only=True)
class ParameterScale:
    """Mean and spread of a, b, c, Å, and α, β, γ, radians, of a training set, for z-scores."""

    mean: Float[Tensor, " 6"]
    std: Float[Tensor, " 6"]

    @classmethod
    def fit(
        cls, lattice: Float[Tensor, "n_systems 3 3"], *, min_length_std: float, min_angle_std: float
    ) -> "ParameterScale":
        """Take mean and spread of a training set.

        Args:
            lattice: Cells as rows, Å.
            min_length_std: Least spread of a length, Å, for sets in which it hardly varies.
            min_angle_std: Least spread of an angle, radians; cubic cells have none of their own.

        Raises:
            ValueError: If there is no cell, or a least spread is not positive.
        """
        if not len(lattice) or min(min_length_std, min_angle_std) <= 0:
            raise ValueError(
                f"{len(lattice)} cells, least spreads {min_length_std} Å and {min_angle_std}, expected one cell "
                "or more, and positive spreads"
            )
        parameters = lattice_parameters(lattice.detach().double())
        least = parameters.new_tensor([min_length_std] * 3 + [min_angle_std] * 3)
        return cls(mean=parameters.mean(0), std=torch.maximum(parameters.std(0, correction=0), least))

    def to(self, device: torch.device | str) -> "ParameterScale":
        """Move the tables to a device."""
        return ParameterScale(mean=self.mean.to(device), std=self.std.to(device))

    def scores(self, lattice: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 6"]:
        """Return the z-scored parameters of cells: p of eq. 15; differentiable."""
        return (lattice_parameters(lattice) - self.mean.to(lattice)) / self.std.to(lattice)


def lattice_loss(
    predicted: Float[Tensor, "n_systems 3 3"],
    target: Float[Tensor, "n_systems 3 3"],
    scale: ParameterScale,
    *,
    kind: ParameterLoss,
) -> Float[Tensor, " n_systems"]:
    """Return the distance of each predicted cell from its target: d of eq. 15, the same for all orientations.

    The target is ρ_0, or for the setting "posterior_mean" the cell of μ̃_t(v_t, v_0).

    Args:
        predicted: Cells of the network.
        target: Cells to compare with.
        scale: z-scores of the training set.
        kind: "l1", mean absolute difference (published program); "l2", root mean square one (eq. 15, up to √6).
    """
    difference = scale.scores(predicted) - scale.scores(target)
    if kind == "l1":
        return difference.abs().mean(1)
    return (difference.square().mean(1) + TINY).sqrt()
