"""Joint diffusion of coordinates on the torus and of cells in their Lie algebra, given the composition.

The processes are those of `torus` and `lattice_ddpm`; this module joins them over one network that answers with the
clean positions and the clean cell.

Source: Klipfel et al., arXiv 2401.05402 (GemsDiff), algorithms 1 and 2. Unlike there, one network works on the noised
cell, and the field it proposes acts through its exponential, so that no answer is a flat cell.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from descriptors.batch import CrystalBatch
from repdiff.diffusion.lattice_ddpm import (
    LatticeProcess,
    ParameterScale,
    lattice_loss,
    lattice_process,
)
from repdiff.diffusion.lattice_space import LatticeCoordinates
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.diffusion.samplers import Schedule
from repdiff.diffusion.schedules import AddedNoise
from repdiff.diffusion.symmetry_constraint import SymmetricLatticeCoordinates, SymmetryConstraint
from repdiff.diffusion.torus import (
    add_noise,
    centred,
    path_loss,
    path_target,
    reverse_step,
    torus_noise,
    wrap,
)
from repdiff.networks.crystal import (
    CoordinateHead,
    CrystalNetwork,
    LatticeHead,
    to_fractional,
)
from repdiff.settings.backends.gemsdiff import ReverseSettings, TorusLatticeSettings

LARGEST_STRAIN = 4.0  # norm that a proposed strain tends to
WIDEST = 8.0  # standard deviations that a cell's coordinates may leave the data by
LARGEST = 5.0  # of a coordinate itself: volumes from 2e-4 to 6e3 Å³, an atom's where it is diffused per atom


class Noise(NamedTuple):
    """The random numbers of one loss."""

    times: Int[Tensor, " n_systems"]
    coords: Float[Tensor, "n_atoms 3"]
    lattice: Float[Tensor, "n_systems 9"]


class Clean(NamedTuple):
    """What the network believes to be without noise."""

    path: Float[Tensor, "n_atoms 3"]
    lattice: Float[Tensor, "n_systems 3 3"]


class TorusLatticeDiffusion(nn.Module):
    """The network with its processes.

    Args:
        settings: Settings of the network, the processes and the loss.
        coordinates: Coordinates in which cells are diffused, fitted to the training set.
        scale: Mean and standard deviation of the cell parameters, fitted to the training set.
    """

    def __init__(
        self, settings: TorusLatticeSettings, coordinates: LatticeCoordinates, scale: ParameterScale
    ) -> None:
        super().__init__()
        if settings.torus.timesteps != settings.lattice.timesteps:
            raise ValueError(
                f"{settings.torus.timesteps} steps of the positions and {settings.lattice.timesteps} of the cell, "
                "expected as many"
            )
        self.settings, self.coordinates, self.scale = settings, coordinates, scale
        self.network = nn.ModuleDict(
            {
                "backbone": CrystalNetwork(settings.network),
                "positions": CoordinateHead(settings.network),
                "cell": LatticeHead(settings.network, symmetric=True),
            }
        )
        self.torus, self.process = torus_noise(settings.torus), lattice_process(settings.lattice)

    @property
    def n_times(self) -> int:
        """Steps of the noise processes."""
        return self.settings.torus.timesteps

    def denoise(self, noisy: CrystalBatch, times: Int[Tensor, " n_systems"]) -> Clean:
        """Propose the fractional path of every atom to its clean place, and the clean cells."""
        backbone = self.network["backbone"]
        assert isinstance(backbone, CrystalNetwork)
        graph = backbone.graph(noisy)
        features = backbone(graph, noisy.atomic_numbers, times * (1000.0 / self.n_times))
        strain = self.network["cell"](features).float()
        size = strain.square().sum((1, 2), keepdim=True)
        bounded = strain / (1 + size / LARGEST_STRAIN**2).sqrt()
        path = to_fractional(self.network["positions"](features).float(), graph)
        return Clean(path=path, lattice=noisy.lattice @ torch.linalg.matrix_exp(bounded))

    def add_noise(self, clean: CrystalBatch, noise: Noise) -> CrystalBatch:
        """Draw x_t and ρ_t; the noise of coordinates should have no mean over a crystal."""
        times = noise.times[clean.system_idx]
        counts = clean.n_atoms_per_system
        vector = self.process.add_noise(
            self.coordinates.encode(clean.lattice.double(), counts).float(), noise.times, noise.lattice
        )
        return CrystalBatch(
            frac_coords=add_noise(clean.frac_coords, times, noise.coords, self.torus),
            lattice=self.coordinates.decode(vector, counts),
            atomic_numbers=clean.atomic_numbers,
            system_idx=clean.system_idx,
        )

    def forward(
        self,
        clean: CrystalBatch,
        finder: ImageFinder,
        noise: Noise,
        atoms_weight: Float[Tensor, ""] | float = 1.0,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 2"]]:
        """Return the loss, and the mean errors of positions, Å or Å², and of cells, detached.

        All is computed in float32: half precision would move atoms.

        Args:
            clean: Crystals.
            finder: Finder of the shortest images in their cells.
            noise: Random numbers.
            atoms_weight: Factor of means over atoms, for a part of a batch.
        """
        with torch.autocast(clean.device.type, enabled=False):
            return self._loss(clean, finder, noise, atoms_weight)

    def _loss(
        self,
        clean: CrystalBatch,
        finder: ImageFinder,
        noise: Noise,
        atoms_weight: Float[Tensor, ""] | float,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 2"]]:
        noisy = self.add_noise(clean, noise)
        answer = self.denoise(noisy, noise.times)
        target = path_target(clean.frac_coords, noisy.frac_coords, finder, clean.system_idx)
        positions = path_loss(
            answer.path, target, clean.lattice, clean.system_idx, kind=self.settings.torus.loss
        ).mean()
        positions = atoms_weight * positions
        cells = lattice_loss(
            answer.lattice,
            self._cell_target(clean, noisy, noise),
            self.scale,
            kind=self.settings.lattice.loss,
        ).mean()
        loss = self.settings.position_weight * positions + self.settings.lattice_weight * cells
        return loss, torch.stack([positions, cells]).detach()

    @torch.no_grad()
    def sample(
        self,
        atoms: CrystalBatch,
        prior: Float[Tensor, "n_systems 9"],
        coord_noise: Float[Tensor, "n_steps n_atoms 3"],
        lattice_noise: Float[Tensor, "n_steps n_systems 9"],
        reverse: ReverseSettings,
        constraint: SymmetryConstraint | None = None,
        *,
        since: int | None = None,
    ) -> CrystalBatch:
        """Run the reverse processes, in as many steps as there is noise for.

        Args:
            atoms: Composition of each crystal, at x_T, or at the time `since`; its cells do not count.
            prior: Standard normal numbers, of which the first cells are made; with `since` what `noised` returned.
            coord_noise: Standard normal numbers.
            lattice_noise: Standard normal numbers.
            reverse: How to step.
            constraint: Symmetry that the crystals keep, which `atoms` has; None for none.
            since: Time that crystals were noised to, to begin there; None to begin at the last with noise alone.
        """
        steps = self._respaced(len(coord_noise), since)
        coordinates = self.coordinates
        if constraint is not None:
            coordinates = SymmetricLatticeCoordinates(base=self.coordinates, constraint=constraint)
        counts, index = atoms.n_atoms_per_system, atoms.system_idx
        ends = [(end - self.coordinates.mean) / self.coordinates.std for end in (-LARGEST, LARGEST)]
        bounds = [end.to(prior).clamp(-WIDEST, WIDEST) for end in ends]
        vector = prior * steps.process.factors.to(prior) if since is None else prior
        coords = wrap(atoms.frac_coords)
        for step in reversed(range(len(coord_noise))):
            noisy = CrystalBatch(
                frac_coords=coords,
                lattice=coordinates.decode(vector, counts),
                atomic_numbers=atoms.atomic_numbers,
                system_idx=index,
            )
            shown = torch.full_like(counts, int(steps.times[step]))
            answer = self.denoise(noisy, shown)
            here = torch.full_like(counts, step)
            predicted = coordinates.encode(answer.lattice.double(), counts).float()
            path, noise = answer.path, coord_noise[step]
            if constraint is not None:
                path, noise = constraint.project(path), constraint.noise(noise)
            vector = steps.process.reverse_step(
                vector, predicted, here, lattice_noise[step],
                target=self.settings.lattice.target, step_noise=reverse.lattice_noise,
            ).clamp(*bounds)  # fmt: skip
            coords = reverse_step(
                coords,
                path,
                here[index],
                noise,
                steps.torus,
                rule=reverse.positions,
            )
        return CrystalBatch(
            frac_coords=coords if constraint is None else wrap(constraint.exact(coords)),
            lattice=coordinates.decode(vector, counts),
            atomic_numbers=atoms.atomic_numbers,
            system_idx=index,
        )

    def _cell_target(
        self, clean: CrystalBatch, noisy: CrystalBatch, noise: Noise
    ) -> Float[Tensor, "n_systems 3 3"]:
        """Return the clean cells, or those of the mean of the step back (eq. 15)."""
        if self.settings.lattice.target == "clean":
            return clean.lattice
        counts = clean.n_atoms_per_system
        encoded = [self.coordinates.encode(batch.lattice.double(), counts) for batch in (noisy, clean)]
        return self.coordinates.decode(
            self.process.posterior_mean(encoded[0], encoded[1], noise.times), counts
        ).float()

    def noised(
        self,
        clean: CrystalBatch,
        time: int,
        coord_noise: Float[Tensor, "n_atoms 3"],
        lattice_noise: Float[Tensor, "n_systems 9"],
        constraint: SymmetryConstraint | None = None,
    ) -> tuple[CrystalBatch, Float[Tensor, "n_systems 9"]]:
        """Noise crystals to a time, from which `sample` leads them back: atoms at x_t, and the cells' coordinates.

        Args:
            clean: Crystals; with a constraint in the order and the cells of its protostructures.
            time: t.
            coord_noise: Standard normal numbers.
            lattice_noise: Standard normal numbers.
            constraint: Symmetry that the crystals have and keep; None for none.
        """
        counts = clean.n_atoms_per_system
        coordinates, noise = self.coordinates, centred(coord_noise, clean)
        if constraint is not None:
            coordinates = SymmetricLatticeCoordinates(base=self.coordinates, constraint=constraint)
            noise = constraint.noise(coord_noise)
        times = torch.full_like(counts, time)
        coords = add_noise(clean.frac_coords, times[clean.system_idx], noise, self.torus)
        vector = coordinates.encode(clean.lattice.double(), counts).to(lattice_noise)
        return replace(clean, frac_coords=coords), self.process.add_noise(vector, times, lattice_noise)

    def _respaced(self, n_steps: int, since: int | None) -> "_Steps":
        """Take `n_steps` of the times, evenly; the processes that visit only those have the same marginals."""
        last = self.n_times - 1 if since is None else since
        times = torch.linspace(0, last, n_steps).round().long()
        if since is not None and n_steps == 1:
            times = torch.tensor([since])
        return _Steps(
            times=times,
            torus=AddedNoise.from_betas(Schedule(_respaced_betas(_torus_betas(self.torus), times))),
            process=LatticeProcess(
                schedule=Schedule(_respaced_betas(self.process.schedule.betas, times)),
                factors=self.process.factors,
            ),
        )


class _Steps(NamedTuple):
    times: Int[Tensor, " n_steps"]
    torus: AddedNoise
    process: LatticeProcess


def _torus_betas(process: AddedNoise) -> Float[Tensor, " n_times"]:
    assert process.betas is not None
    return process.betas


def _respaced_betas(
    betas: Float[Tensor, " n_times"], times: Int[Tensor, " n_steps"]
) -> Float[Tensor, " n_steps"]:
    """Return the β of a process that has the marginals of another at some of its times."""
    signals = (1 - betas).cumprod(0)[times.to(betas.device)]
    before = torch.cat([signals.new_ones(1), signals[:-1]])
    return 1 - signals / before
