"""The model of protostructures as the training loop sees it."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.networks.protostructure import OrbitSequences, ProtostructureModel
from repdiff.training.likelihood import Likelihood
from repdiff.training.trainable import TrainingData

KIND = "protostructures"


class ProtostructureData(TrainingData):
    """Protostructures, each in all its equivalent settings.

    Args:
        sequences: A row for each setting, those of a crystal side by side; crystals are numbered from 0.
    """

    def __init__(self, sequences: OrbitSequences) -> None:
        self.sequences = sequences
        self.n_settings = torch.bincount(sequences.crystal)
        self.start = self.n_settings.cumsum(0) - self.n_settings

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.n_settings)

    def to(self, device: torch.device) -> "ProtostructureData":
        """Move the sequences."""
        return ProtostructureData(self.sequences.to(device))


class ProtostructureTraining(Likelihood[ProtostructureModel]):
    """Maximum likelihood of the orbits given group, number of atoms and of elements, in a random setting each time.

    The errors for the log are the negative log-probability of all orbits of a crystal, and of one orbit.
    """

    kind = KIND

    @property
    def parts(self) -> Mapping[str, slice]:
        """Nats a crystal, and nats an orbit."""
        return {"protostructure": slice(0, 1), "orbit": slice(1, 2)}

    def inputs(
        self, data: ProtostructureData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> OrbitSequences:
        """Choose a setting for each crystal of the whole batch, and take this part of it."""
        share = torch.rand(len(rows), generator=generator, device=generator.device).to(rows.device)
        n_settings = data.n_settings[rows]
        chosen = data.start[rows] + (share * n_settings).long().clamp(max=n_settings - 1)
        return data.sequences.rows(chosen[mine])

    def forward(self, inputs: OrbitSequences) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:
        """Return the mean negative log-probability of an orbit, and what the log shows."""
        found = self.model.step_log_prob(inputs)
        by_orbit = -found.sum() / inputs.present.sum()
        by_crystal = -found.sum(1).mean()
        return by_orbit, torch.stack([by_crystal, by_orbit]).detach()
