"""What a noise process of the coordinates is.

Noise is standard normal with no mean over a crystal. A network sees x_t in the periodic crystal and answers with the
path, in fractions of the cell, from x_t to the nearest image of the place that x_t lies around: `goal`.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.settings.backends.dpcdvae import CdvaeSampling


class CoordinateProcess(ABC):
    """One noise process, at some or all of its times."""

    @property
    @abstractmethod
    def n_times(self) -> int:
        """Number of times, from 0, the least noisy."""

    @abstractmethod
    def at(self, times: Int[Tensor, " n_steps"]) -> "CoordinateProcess":
        """Return the process that visits only these times, ascending, and has the same marginals there."""

    @abstractmethod
    def add_noise(
        self, clean: CrystalBatch, times: Int[Tensor, " n_systems"], noise: Float[Tensor, "n_atoms 3"]
    ) -> Float[Tensor, "n_atoms 3"]:
        """Draw x_t of every atom, in fractions of the cell."""

    @abstractmethod
    def goal(self, clean: CrystalBatch, times: Int[Tensor, " n_systems"]) -> Float[Tensor, "n_atoms 3"]:
        """Return what x_t lies around: the mean of its distribution."""

    @abstractmethod
    def width(
        self, times: Int[Tensor, " n_systems"], lattice: Float[Tensor, "n_systems 3 3"]
    ) -> Float[Tensor, " n_systems"]:
        """Return the standard deviation of x_t, Å; of noise in fractions of the cell, its mean over directions."""

    @abstractmethod
    def prior(self, atoms: CrystalBatch, noise: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Turn noise into x_T."""

    def repeats(self, sampling: CdvaeSampling) -> int:
        """Return the number of steps at each time: one, unless a process says otherwise."""
        return 1

    def symmetric_noise(
        self, noise: Float[Tensor, "n_atoms 3"], constraint: SymmetryConstraint, atoms: CrystalBatch
    ) -> Float[Tensor, "n_atoms 3"]:
        """Turn standard normal numbers into noise that keeps the symmetry; in fractions of the cell, unless overridden.

        Raises:
            ValueError: If the process has no symmetric noise.
        """
        return constraint.noise(noise)

    @abstractmethod
    def step_back(
        self,
        noisy: CrystalBatch,
        path: Float[Tensor, "n_atoms 3"],
        time: int,
        noise: Float[Tensor, "n_atoms 3"],
        sampling: CdvaeSampling,
    ) -> Float[Tensor, "n_atoms 3"]:
        """Take one step at a time.

        Args:
            noisy: Its coordinates are x_t.
            path: Fractional path from x_t to the predicted goal.
            time: t.
            noise: Standard normal numbers without mean over a crystal.
            sampling: How to step.
        """
