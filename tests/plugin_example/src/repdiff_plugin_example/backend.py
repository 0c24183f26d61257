"""A backend: it remembers training crystals, and learns by how much their cells are scaled on average."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends import Backend, Composition, Samples, TrainingJob
from repdiff.backends.crystal_data import CrystalData
from repdiff.backends.options import parse_options
from repdiff.backends.refusals import refuse_conditions, refuse_protostructures
from repdiff.crystals.crystal import Crystal, from_batch, to_batch
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.settings.base import Options
from repdiff.training import Trainable


class NoOptions(Options):
    """It has no options."""


class Scale(Trainable):
    """One number: a tenth of the mean logarithm of the volume, Å³."""

    kind = "memory"
    parts: Mapping[str, slice] = {"volume": slice(0, 1)}
    n_errors = 1

    def __init__(self) -> None:
        super().__init__()
        self.learnt_scale = nn.ParameterDict({"log_volume": nn.Parameter(torch.zeros(()))})

    @property
    def learnt(self) -> nn.Module:
        """The number."""
        return self.learnt_scale

    def inputs(self, data: CrystalData, rows: Tensor, mine: slice, generator: torch.Generator) -> Tensor:
        """Take the volumes of a part of a batch."""
        return torch.linalg.det(data.select(rows[mine]).batch.lattice).log()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared error."""
        loss = ((inputs - 10 * self.learnt_scale["log_volume"]) ** 2).mean()
        return loss, loss.detach()[None]

    def describe(self) -> dict[str, Any]:
        """There is nothing to describe."""
        return {}


class Memory(Backend):
    """Repeats training crystals, with a random strain of 1 %."""

    description = "repeats training crystals with a random strain"
    makes = "crystals"
    conditions = frozenset()
    kind = "memory"
    training_options = sampling_options = NoOptions

    def __init__(self, crystals: list[Crystal]) -> None:
        self.crystals = crystals

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Keep the training crystals in the file of the model."""
        parse_options(NoOptions, options)
        batch = to_batch([encoded.crystals[row] for row in encoded.rows("train")])
        tensors = {
            name: getattr(batch, name) for name in ("frac_coords", "lattice", "atomic_numbers", "system_idx")
        }
        return TrainingJob(
            model=Scale(),
            training=CrystalData.of(encoded, "train"),
            validation=CrystalData.of(encoded, "val"),
            metadata={},
            tensors=tensors,
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "Memory":
        """Read the training crystals."""
        from descriptors.batch import CrystalBatch

        tensors, _ = load_checkpoint(path, kind=cls.kind)
        names = ("frac_coords", "lattice", "atomic_numbers", "system_idx")
        batch = CrystalBatch(**{name: tensors[name] for name in names})
        return cls(from_batch(batch, [str(row) for row in range(batch.n_systems)]))

    def check(
        self,
        *,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse options and conditions."""
        parse_options(NoOptions, options)
        refuse_conditions("memory", conditions, guidance)
        refuse_protostructures("memory", protostructures)

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Draw training crystals and strain them."""
        made = []
        for number in range(first, first + n):
            rng = np.random.default_rng((seed, number))
            crystal = self.crystals[int(rng.integers(len(self.crystals)))]
            strained = crystal.lattice @ (np.eye(3) + 0.01 * rng.normal(size=(3, 3)))
            made.append(crystal.replace(id=f"gen-{number:06d}", lattice=strained))
        return Samples(made=tuple(made))
