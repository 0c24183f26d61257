"""The three noise processes of the coordinates: about x_0, about √ᾱ x_0, and in ångströms for Langevin steps."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.process import CoordinateProcess
from repdiff.diffusion.samplers import step_down
from repdiff.diffusion.schedules import AddedNoise, schedule_of
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.diffusion.torus import add_noise, centred, reverse_step, wrap
from repdiff.settings.backends.dpcdvae import CdvaeSampling, CdvaeSettings


class AboutClean(CoordinateProcess):
    """Noise whose mean is x_0 itself.

    Args:
        noise: Its standard deviations, in the unit of the process.
    """

    def __init__(self, noise: AddedNoise) -> None:
        self.noise = noise

    @property
    def n_times(self) -> int:
        """Number of times."""
        return self.noise.n_times

    def at(self, times: Int[Tensor, " n_steps"]) -> "AboutClean":
        """Keep some of the times."""
        return type(self)(AddedNoise(self.noise.stds[times]))

    def goal(self, clean: CrystalBatch, times: Int[Tensor, " n_systems"]) -> Float[Tensor, "n_atoms 3"]:
        """Return x_0."""
        return clean.frac_coords


class KeptMean(AboutClean):
    """Noise about x_0 itself, in fractions of the cell: the normal distribution wrapped round the torus."""

    def add_noise(
        self, clean: CrystalBatch, times: Int[Tensor, " n_systems"], noise: Float[Tensor, "n_atoms 3"]
    ) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_t in [0, 1)."""
        return add_noise(clean.frac_coords, times[clean.system_idx], noise, self.noise)

    def width(
        self, times: Int[Tensor, " n_systems"], lattice: Float[Tensor, "n_systems 3 3"]
    ) -> Float[Tensor, " n_systems"]:
        """Return s_t times the cube root of the volume."""
        return self.noise.std(times).to(lattice) * cells.volume(lattice).pow(1 / 3)

    def prior(self, atoms: CrystalBatch, noise: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_T, but for rounding uniform on the torus."""
        return wrap(noise * float(self.noise.stds[-1]))

    def step_back(
        self,
        noisy: CrystalBatch,
        path: Float[Tensor, "n_atoms 3"],
        time: int,
        noise: Float[Tensor, "n_atoms 3"],
        sampling: CdvaeSampling,
    ) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_{t-1} by the rule that the sampling names."""
        times = torch.full_like(noisy.system_idx, time)
        if sampling.step == "unscaled":
            raise ValueError("step is unscaled with the mean kept, expected posterior or renoise")
        return reverse_step(noisy.frac_coords, path, times, noise, self.noise, rule=sampling.step)


class ScaledMean(CoordinateProcess):
    """Noise about √ᾱ_t x_0, with x_0 in the cell and centred: the process of DP-CDVAE.

    It is not periodic: which image an atom was given in decides where √ᾱ_t puts it. Hence the wrapping while sampling,
    which brings the predicted x_0, or in the published program x_t, to where training had x_0.
    """

    def __init__(self, signals: Float[Tensor, " n_times"]) -> None:
        self.signals = signals

    @cached_property
    def _tables(self) -> Float[Tensor, "2 n_times"]:
        return torch.stack([self.signals.sqrt(), (1 - self.signals).sqrt()])

    @property
    def n_times(self) -> int:
        """Number of times."""
        return len(self.signals)

    def at(self, times: Int[Tensor, " n_steps"]) -> "ScaledMean":
        """Keep some of the times."""
        return ScaledMean(self.signals[times])

    def add_noise(
        self, clean: CrystalBatch, times: Int[Tensor, " n_systems"], noise: Float[Tensor, "n_atoms 3"]
    ) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_t, not wrapped."""
        std = self._tables[1].to(noise)[times]
        return self.goal(clean, times) + std[clean.system_idx, None] * noise

    def goal(self, clean: CrystalBatch, times: Int[Tensor, " n_systems"]) -> Float[Tensor, "n_atoms 3"]:
        """Return √ᾱ_t x_0."""
        mean = self._tables[0].to(clean.frac_coords)[times]
        return mean[clean.system_idx, None] * centred(wrap(clean.frac_coords), clean)

    def width(
        self, times: Int[Tensor, " n_systems"], lattice: Float[Tensor, "n_systems 3 3"]
    ) -> Float[Tensor, " n_systems"]:
        """Return √(1 - ᾱ_t) times the cube root of the volume."""
        return self._tables[1].to(lattice)[times] * cells.volume(lattice).pow(1 / 3)

    def prior(self, atoms: CrystalBatch, noise: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Return the noise."""
        return noise

    def step_back(
        self,
        noisy: CrystalBatch,
        path: Float[Tensor, "n_atoms 3"],
        time: int,
        noise: Float[Tensor, "n_atoms 3"],
        sampling: CdvaeSampling,
    ) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_{t-1} by the rule that the sampling names, from the predicted x_0 in the cell and centred.

        The rules, with x̂_0 = (x_t + path) / √ᾱ_t:

        * "posterior": a draw from q(x_{t-1} | x_t, x̂_0) (Ho et al., arXiv 2006.11239, eq. 6);
        * "renoise": √ᾱ_{t-1} x̂_0 + √(1 - ᾱ_{t-1}) ε;
        * "unscaled": x̂_0 + √β̃_t ε, where x_t and not x̂_0 is brought into the cell and centred before.

        Source of the last: the sampler of DP-CDVAE's program (`dpcdvae/models.py` at revision 80b8431, predictor
        "modified"); it is neither of the equations of arXiv 2308.02165, and ends at its time 1 with noise of 7e-4.
        """
        wrapped = sampling.wrap == "every" or (sampling.wrap == "last" and time == 0)
        root = float(self._tables[0, time])
        if sampling.step == "unscaled":
            start = wrap(noisy.frac_coords) if wrapped else noisy.frac_coords
            clean = (centred(start, noisy) + path) / root
            return clean if time == 0 else clean + self._posterior_std(time) * noise
        clean = (noisy.frac_coords + path) / root
        clean = centred(wrap(clean) if wrapped else clean, noisy)
        if time == 0:
            return clean
        if sampling.step == "renoise":
            mean, std = self._tables[:, time - 1].tolist()
            return mean * clean + std * noise
        signal, signal_next = (float(self.signals[at]) for at in (time, time - 1))
        return step_down(clean, noisy.frac_coords, noise, signal=signal, signal_next=signal_next, eta=1.0)

    def symmetric_noise(
        self, noise: Float[Tensor, "n_atoms 3"], constraint: SymmetryConstraint, atoms: CrystalBatch
    ) -> Float[Tensor, "n_atoms 3"]:
        """Refuse: √ᾱ_t x_0 of symmetric x_0 is not symmetric.

        Raises:
            ValueError: Always.
        """
        raise ValueError("this process shrinks coordinates and keeps no symmetry, expected one about x_0")

    def _posterior_std(self, time: int) -> float:
        """Return √β̃_t."""
        signal, before = (float(self.signals[at]) for at in (time, time - 1))
        return ((1 - before) / (1 - signal) * (1 - signal / before)) ** 0.5


class CartesianNoise(AboutClean):
    """Noise about x_0 in ångströms, from which annealed Langevin steps lead back: the process of CDVAE.

    Source: Xie et al., arXiv 2110.06197, section 3.3 and appendix; Song and Ermon, arXiv 1907.05600, algorithm 1.
    """

    def add_noise(
        self, clean: CrystalBatch, times: Int[Tensor, " n_systems"], noise: Float[Tensor, "n_atoms 3"]
    ) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_t in [0, 1)."""
        std = self.noise.std(times).to(noise)[clean.system_idx, None]
        return wrap(clean.frac_coords + _to_fractional(std * noise, clean))

    def width(
        self, times: Int[Tensor, " n_systems"], lattice: Float[Tensor, "n_systems 3 3"]
    ) -> Float[Tensor, " n_systems"]:
        """Return σ_t."""
        return self.noise.std(times).to(lattice)

    def prior(self, atoms: CrystalBatch, noise: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Draw about the origin with the greatest σ, which in cells of crystals is as good as uniform."""
        return wrap(_to_fractional(float(self.noise.stds[-1]) * noise, atoms))

    def symmetric_noise(
        self, noise: Float[Tensor, "n_atoms 3"], constraint: SymmetryConstraint, atoms: CrystalBatch
    ) -> Float[Tensor, "n_atoms 3"]:
        """Turn standard normal numbers into noise in Å that keeps the symmetry."""
        return constraint.cartesian_noise(noise, atoms.lattice)

    def repeats(self, sampling: CdvaeSampling) -> int:
        """Take as many Langevin steps at a level as asked for."""
        return sampling.langevin_steps

    def step_back(
        self,
        noisy: CrystalBatch,
        path: Float[Tensor, "n_atoms 3"],
        time: int,
        noise: Float[Tensor, "n_atoms 3"],
        sampling: CdvaeSampling,
    ) -> Float[Tensor, "n_atoms 3"]:
        """Move by α score + √(2α) ε, with α the rate times σ² and the score the path over σ²."""
        spread = (2 * sampling.langevin_rate) ** 0.5 * float(self.noise.stds[time])
        return wrap(noisy.frac_coords + sampling.langevin_rate * path + _to_fractional(spread * noise, noisy))


def make_process(settings: CdvaeSettings) -> CoordinateProcess:
    """Build the process that the settings name."""
    if settings.denoiser == "langevin":
        return CartesianNoise(
            AddedNoise.geometric(settings.levels, first=settings.narrowest, last=settings.widest)
        )
    schedule = schedule_of(settings.schedule, settings.timesteps)
    if settings.mean == "scaled":
        return ScaledMean(schedule.signals)
    return KeptMean(AddedNoise.from_betas(schedule))


def _to_fractional(vectors: Float[Tensor, "n_atoms 3"], batch: CrystalBatch) -> Float[Tensor, "n_atoms 3"]:
    return cells.cart_to_frac(vectors, batch.lattice, batch.system_idx)
