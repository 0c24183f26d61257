"""Samplers: from noise to vectors, given an estimate of the clean vector at every step."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from tqdm import tqdm

from descriptors.registry import Registry
from reconstruction.out_of_memory import in_halves
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.networks.random_streams import NoiseStreams

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

MIN_HALF_LOG_SNR = (
    -4.0
)  # the few-step solver starts here: above it a vector is noise, and steps would be lost


class SamplerSettings(BaseModel):
    """Which sampler generates, and in how many steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["ddpm", "ddim", "dpm"] = Field("ddpm", description="ancestral, implicit, or DPM-Solver++")
    n_steps: int | None = Field(
        None,
        ge=1,
        description="steps; by default all steps of the process for ddpm, 100 for ddim, 25 for dpm",
    )
    eta: float = Field(
        0.0, ge=0, le=1, description="ddim only: share of the ancestral noise, 0 (none) to 1 (ddpm)"
    )


@dataclass(frozen=True)
class Schedule:
    """Noise process x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε, in double precision."""

    betas: Float[Tensor, " n_times"]

    @cached_property
    def signals(self) -> Float[Tensor, " n_times"]:
        """ᾱ of every time."""
        return torch.cumprod(1 - self.betas, dim=0)

    def signal(self, time: int) -> float:
        """ᾱ of one time; 1 for time -1, the clean vector."""
        return 1.0 if time < 0 else float(self.signals[time])

    def until(self, time: int) -> "Schedule":
        """Return the process that ends at a time, this one included."""
        return Schedule(self.betas[: time + 1])

    def times(self, n_steps: int) -> list[int]:
        """Spread `n_steps` times evenly from the noisiest to 0.

        Raises:
            UserError: If there are more steps than times.
        """
        n_times = len(self.betas)
        if n_steps > n_times:
            raise UserError(
                f"{n_steps} sampling steps, but the model was trained with {n_times}: ask for no more"
            )
        return torch.linspace(n_times - 1, 0, n_steps, dtype=torch.float64).round().long().tolist()


Estimate = Callable[[Tensor, int, Tensor | None], Tensor]
"""Estimates the clean vectors, in [-1, 1], from noisy ones, their time and the estimate before."""


class Sampler(ABC):
    """Turns noise into vectors in [-1, 1]."""

    def __init__(self, settings: SamplerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def n_steps(self, schedule: Schedule) -> int:
        """Count the evaluations of the network for one sample."""

    def of_rows(self, rows: slice) -> "Sampler":
        """Return the sampler of some of the samples: the same, unless it knows something of each."""
        return self

    @abstractmethod
    def run(
        self,
        estimate: Estimate,
        schedule: Schedule,
        noise: Iterator[Float[Tensor, "n n_features"]],
        bar: tqdm,
    ) -> Float[Tensor, "n n_features"]:
        """Sample one batch; `noise` gives a batch of normal numbers at every turn, `bar` counts the steps."""


SAMPLERS: Registry[Sampler] = Registry("sampler")


def step_down(
    clean: Tensor, noisy: Tensor, noise: Tensor | None, *, signal: float, signal_next: float, eta: float
) -> Tensor:
    """Move from one noise level to a lower one.

    With eta = 1 this draws from the posterior q(x_s | x_t, x_0) of the Gaussian process, for any s < t.

    Args:
        clean: Estimate of x_0.
        noisy: x_t.
        noise: Normal numbers; may be absent if eta is 0 or the next level is the clean one.
        signal: ᾱ_t, below 1.
        signal_next: ᾱ_s, above ᾱ_t.
        eta: Share of the ancestral standard deviation.

    Source: Song, Meng, Ermon, arXiv 2010.02502, equations 12 and 16.
    """
    epsilon = (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
    variance = eta**2 * (1 - signal_next) / (1 - signal) * (1 - signal / signal_next)
    moved = signal_next**0.5 * clean + max(1 - signal_next - variance, 0.0) ** 0.5 * epsilon
    return moved if variance == 0 or noise is None else moved + variance**0.5 * noise


def descend(
    estimate: Estimate,
    schedule: Schedule,
    noise: Iterator[Tensor],
    bar: tqdm,
    *,
    times: list[int],
    eta: float,
) -> Tensor:
    """Apply `step_down` along the times, then return the last estimate."""
    noisy = next(noise)
    clean = None
    for time, time_next in zip(times, [*times[1:], -1], strict=True):
        clean = estimate(noisy, time, clean)
        noisy = step_down(
            clean,
            noisy,
            next(noise) if eta > 0 and time_next >= 0 else None,
            signal=schedule.signal(time),
            signal_next=schedule.signal(time_next),
            eta=eta,
        )
        bar.update()
    return noisy


@SAMPLERS.register("ddpm")
class AncestralSampler(Sampler):
    """Draw from the reverse process itself, by default in all its steps (Ho et al., arXiv 2006.11239)."""

    def n_steps(self, schedule: Schedule) -> int:
        """Count the steps: all of the process, unless fewer are asked for."""
        return self.settings.n_steps or len(schedule.betas)

    def run(self, estimate: Estimate, schedule: Schedule, noise: Iterator[Tensor], bar: tqdm) -> Tensor:
        """Sample one batch."""
        return descend(estimate, schedule, noise, bar, times=schedule.times(self.n_steps(schedule)), eta=1.0)


@SAMPLERS.register("ddim")
class ImplicitSampler(Sampler):
    """Follow the implicit process, deterministic at eta 0 (Song, Meng, Ermon, arXiv 2010.02502)."""

    def n_steps(self, schedule: Schedule) -> int:
        """Count the steps: 100 unless asked otherwise, and never more than the process has."""
        return self.settings.n_steps or min(100, len(schedule.betas))

    def run(self, estimate: Estimate, schedule: Schedule, noise: Iterator[Tensor], bar: tqdm) -> Tensor:
        """Sample one batch."""
        times = schedule.times(self.n_steps(schedule))
        return descend(estimate, schedule, noise, bar, times=times, eta=self.settings.eta)


@SAMPLERS.register("dpm")
class MultistepSampler(Sampler):
    """DPM-Solver++ of order 2, the multistep solver of `diffusers` (Lu et al., arXiv 2211.01095)."""

    def n_steps(self, schedule: Schedule) -> int:
        """Count the steps: 25 unless asked otherwise, and never more than the process has."""
        return self.settings.n_steps or min(25, len(schedule.betas))

    def run(self, estimate: Estimate, schedule: Schedule, noise: Iterator[Tensor], bar: tqdm) -> Tensor:
        """Sample one batch."""
        n_steps = len(schedule.times(self.n_steps(schedule)))
        solver = _multistep_solver(schedule, n_steps)
        noisy = next(noise)
        clean = None
        for time in solver.timesteps.tolist():
            clean = estimate(noisy, int(time), clean)
            noisy = solver.step(clean, time, noisy, return_dict=False)[0]
            bar.update()
        return noisy


def _multistep_solver(schedule: Schedule, n_steps: int) -> "DPMSolverMultistepScheduler":
    """Return the solver with steps of equal size in log SNR, from `MIN_HALF_LOG_SNR` to the clean vector.

    With the exact denoiser of a Gaussian mixture, 20 such steps end 0.003 from the exact paths, 20 steps of
    equal size in time 0.022 and 20 of DDIM 0.023; without the cut it is 0.010.
    """
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    half_log_snr = 0.5 * (schedule.signals / (1 - schedule.signals)).log()
    n_times = max(1, int((half_log_snr > MIN_HALF_LOG_SNR).sum()))
    solver = DPMSolverMultistepScheduler(
        num_train_timesteps=n_times,
        trained_betas=schedule.betas[:n_times].tolist(),
        prediction_type="sample",
        use_lu_lambdas=True,
    )
    with warnings.catch_warnings():  # diffusers calls numpy in a way that numpy 2 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        solver.set_timesteps(n_steps)
    solver.set_begin_index(0)  # times may repeat after rounding, so the solver cannot find its place by them
    return solver


def sample_in_batches(
    sampler: Sampler,
    estimator: Callable[[slice], Estimate],
    schedule: Schedule,
    streams: NoiseStreams,
    *,
    batch_size: int,
    progress: bool,
    begin: Float[Tensor, "n_samples n_features"] | None = None,
) -> Float[Tensor, "n_samples n_features"]:
    """Sample all streams, so many at a time, with one progress bar over steps and batches.

    Args:
        sampler: Leads noise to vectors.
        estimator: Makes the estimate for the streams of a slice.
        schedule: The noise process, up to where the way back begins.
        streams: Noise of each sample.
        batch_size: Samples at a time; where memory is not enough, fewer.
        progress: Whether to show the bar.
        begin: Clean vectors in [-1, 1] whose noised form the way back begins at; None for noise alone.
    """
    parts = [torch.empty(0, streams.n_features, device=streams.device)]
    total = len(range(0, len(streams), batch_size)) * sampler.n_steps(schedule)
    with progress_bar(total=total, desc="sampling", unit="step", disable=not progress) as bar:

        def sample(rows: slice) -> Tensor:
            noise = streams.select(rows).steps()
            if begin is not None:
                noise = _noised(begin[rows], schedule.signal(len(schedule.betas) - 1), noise)
            return sampler.of_rows(rows).run(estimator(rows), schedule, noise, bar)

        parts += [found for _, found in in_halves(len(streams), batch_size, sample)]
    return torch.cat(parts)


def _noised(clean: Tensor, signal: float, noise: Iterator[Tensor]) -> Iterator[Tensor]:
    """Put clean vectors with noise, the signal of which is ᾱ, in the place of the first noise."""
    yield signal**0.5 * clean + (1 - signal) ** 0.5 * next(noise)
    yield from noise
