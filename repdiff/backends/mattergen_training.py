"""Data and loss of the joint diffusion as the training loop sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from descriptors.batch import CrystalBatch
from repdiff.backends.crystal_data import atoms_of_part
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.diffusion.joint import JointDiffusion, JointNoise
from repdiff.diffusion.joint_process import StateNoise
from repdiff.diffusion.lattice_space import right_handed
from repdiff.diffusion.schedules import spread_times
from repdiff.diffusion.symmetric_lattice import N_ELEMENTS, symmetric_cells
from repdiff.networks.property_adapters import Labels
from repdiff.training import Trainable, TrainingData
from repdiff.training.labels import labels_to, shown_labels
from repdiff.training.shares import mean_weight


@dataclass(frozen=True, kw_only=True)
class SymmetricData(TrainingData):
    """Crystals turned such that their cells are symmetric matrices.

    Attributes:
        batch: The crystals in float32.
        labels: Known property labels of the crystals, by name.
    """

    batch: CrystalBatch
    labels: Labels = field(default_factory=dict)

    @classmethod
    def of(cls, crystals: Sequence[Crystal], labels: Labels | None = None) -> "SymmetricData":
        """Take crystals, in their order."""
        batch = right_handed(to_batch(crystals))
        turned = replace(batch, lattice=symmetric_cells(batch.lattice))
        return cls(batch=turned.to(dtype=torch.float32), labels=labels or {})

    def __len__(self) -> int:
        """Count the crystals."""
        return self.batch.n_systems

    def to(self, device: torch.device) -> "SymmetricData":
        """Move the crystals."""
        labels = labels_to(self.labels, device)
        return SymmetricData(batch=self.batch.to(device), labels=labels)


@dataclass(frozen=True, kw_only=True)
class JointExample:
    """What one call of the loss takes.

    Attributes:
        weight: Factor of means over atoms, see `mean_weight`.
    """

    batch: CrystalBatch
    noise: JointNoise
    labels: Labels
    weight: Float[Tensor, ""]


class MatterGenTraining(Trainable):
    """The joint loss: three errors, of coordinates, cells and elements.

    Args:
        diffusion: Diffusion model with its initial weights.
        dropout: Share of the examples that are shown without their labels. Of several properties each is withheld
            from that share of the rest too, so that any of them can be asked for alone.
    """

    kind = "mattergen"

    def __init__(self, diffusion: JointDiffusion, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.diffusion, self.dropout = diffusion, dropout

    @property
    def learnt(self) -> nn.Module:
        """The network."""
        return self.diffusion.network

    @property
    def parts(self) -> Mapping[str, slice]:
        """Coordinates, cells and elements."""
        return {"positions": slice(0, 1), "lattice": slice(1, 2), "types": slice(2, 3)}

    @property
    def n_errors(self) -> int:
        """One for each part."""
        return 3

    def inputs(
        self, data: SymmetricData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> JointExample:
        """Draw times, spread evenly over the batch, and noise; this part of the batch and its own numbers."""
        counts = self.units(data, rows)
        noise = draw_noise(counts, mine, self.diffusion.process.n_times, generator)
        labels = shown_labels(data.labels, rows, mine, dropout=self.dropout, generator=generator)
        weight = mean_weight(counts, mine)
        return JointExample(batch=data.batch.select(rows[mine]), noise=noise, labels=labels, weight=weight)

    def units(self, data: SymmetricData, rows: Int[Tensor, " n_rows"]) -> Int[Tensor, " n_rows"]:
        """Count the atoms of each crystal."""
        return data.batch.n_atoms_per_system[rows]

    def forward(self, inputs: JointExample) -> tuple[Float[Tensor, ""], Float[Tensor, " 3"]]:
        """Return the loss and its parts."""
        return self.diffusion(inputs.batch, inputs.noise, inputs.labels, inputs.weight)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return self.diffusion.settings.model_dump(mode="json")


def draw_noise(
    counts: Int[Tensor, " n_rows"], mine: slice, n_times: int, generator: torch.Generator
) -> JointNoise:
    """Draw the random numbers of a batch, of which a part is returned.

    Args:
        counts: Atoms of each crystal of the batch.
        mine: Rows of the batch whose numbers are returned.
        n_times: Number of time steps of the noise processes.
        generator: Generator on the device of the numbers.
    """
    n, n_atoms, device = len(counts), int(counts.sum()), generator.device
    times = spread_times(n, n_times, generator=generator)
    lattice = torch.randn(n, N_ELEMENTS, generator=generator, device=device)
    given = torch.rand(n, generator=generator, device=device)
    coords = torch.randn(n_atoms, 3, generator=generator, device=device)
    chances = torch.rand(n_atoms, generator=generator, device=device)
    atoms = atoms_of_part(counts, mine)
    state = StateNoise(coords=coords[atoms], lattice=lattice[mine], chances=chances[atoms])
    return JointNoise(times=times[mine], state=state, given=given[mine])
