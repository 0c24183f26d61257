"""Distributions whose score is known at every noise level, written down apart from the code under test."""

import math
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Modes:
    """Two normal modes, the same along each axis; on the torus [0, 1) where `wrapped`."""

    places: tuple[float, float]
    width: float
    shares: tuple[float, float] = (0.3, 0.7)
    wrapped: bool = True

    def away(self, noisy, signal, variance):
        """Weights and offsets of all modes and images about √signal · place, for noise of a variance."""
        images = (
            torch.arange(-6.0, 7.0, dtype=torch.float64)
            if self.wrapped
            else torch.zeros(1, dtype=torch.float64)
        )
        centres = torch.tensor(self.places, dtype=torch.float64)[:, None] + images
        offsets = noisy.double()[..., None, None] - math.sqrt(signal) * centres
        total = signal * self.width**2 + variance
        logits = torch.tensor(self.shares, dtype=torch.float64).log()[:, None] - offsets.square() / (
            2 * total
        )
        return logits.flatten(-2).softmax(-1).view_as(offsets), offsets, centres, total

    def score(self, noisy, variance):
        """Gradient of the log density of x_0 + noise."""
        weights, offsets, _, total = self.away(noisy, 1.0, variance)
        return (-(weights * offsets).sum((-2, -1)) / total).to(noisy.dtype)

    def clean(self, noisy, signal, variance=None):
        """Mean of x_0 given √signal · x_0 and noise of a variance, 1 - signal by default."""
        variance = 1 - signal if variance is None else variance
        weights, offsets, centres, total = self.away(noisy, signal, variance)
        gain = math.sqrt(signal) * self.width**2 / total
        return (weights * (centres + gain * offsets)).sum((-2, -1)).to(noisy.dtype)

    def draw(self, *shape, seed=5):
        """Draw from the distribution itself."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.rand(*shape, generator=generator) < self.shares[0]
        centres = torch.where(first, *map(torch.tensor, self.places))
        return (centres + self.width * torch.randn(*shape, generator=generator)).double()

    def path(self, noisy, signal, variance):
        """Mean way from a noisy √signal · x_0, or where `wrapped` from its image in the cell, to √signal · x_0."""
        scaled = tuple(math.sqrt(signal) * place for place in self.places)
        return variance * Modes(scaled, math.sqrt(signal) * self.width, self.shares, self.wrapped).score(
            noisy, variance
        )


@dataclass(frozen=True)
class Found:
    """What samples say of the modes."""

    share: float
    shifts: tuple[float, float]
    widths: tuple[float, float]

    @property
    def width(self):
        """Width of both modes, by their true shares; of one where the other is lost."""
        first, second = self.widths
        return second if math.isnan(first) else 0.3 * first + 0.7 * second


def measure(samples, modes):
    """Share of the first mode, and by mode the mean and the standard deviation over the true width."""
    offsets = samples.flatten().double()[:, None] - torch.tensor(modes.places, dtype=torch.float64)
    if modes.wrapped:
        offsets = offsets - offsets.round()
    nearest = offsets.abs().argmin(1)
    parts = [offsets[nearest == mode, mode].numpy() / modes.width for mode in (0, 1)]
    # the middle 95 % alone: a stray sample must not decide, and a normal distribution has 0.8711 of its width there
    widths, shifts = [], []
    for part in parts:
        if len(part) < 20:
            shifts.append(math.nan)
            widths.append(math.nan)
            continue
        low, high = np.quantile(part, [0.025, 0.975])
        kept = part[(part >= low) & (part <= high)]
        widths.append(float(kept.std()) / 0.8711)
        shifts.append(float(np.median(part)))
    return Found(share=float((nearest == 0).double().mean()), shifts=tuple(shifts), widths=tuple(widths))
