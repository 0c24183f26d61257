"""The model of protostructures as the training loop sees it."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.networks.property_adapters import Labels
from repdiff.networks.protostructure import OrbitSequences, ProtostructureModel
from repdiff.training.labels import labels_to, shown_labels
from repdiff.training.likelihood import Likelihood
from repdiff.training.shares import mean_weight
from repdiff.training.trainable import TrainingData

KIND = "protostructures"


class ProtostructureData(TrainingData):
    """Protostructures, each in all its equivalent settings.

    Args:
        sequences: A row for each setting, those of a crystal side by side; crystals are numbered from 0.
        labels: Known property labels of the crystals, by name.
        places: Places of each crystal's size and prototype in the tables of the model, -1 for none; needed with labels.
    """

    def __init__(
        self,
        sequences: OrbitSequences,
        *,
        labels: Labels | None = None,
        places: Int[Tensor, "n_crystals 2"] | None = None,
    ) -> None:
        self.sequences = sequences
        self.n_settings = torch.bincount(sequences.crystal)
        self.start = self.n_settings.cumsum(0) - self.n_settings
        self.labels: Labels = labels or {}
        nowhere = torch.full((len(self.n_settings), 2), -1, device=sequences.crystal.device)
        self.places = nowhere if places is None else places

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.n_settings)

    def to(self, device: torch.device) -> "ProtostructureData":
        """Move the sequences and labels."""
        return ProtostructureData(
            self.sequences.to(device),
            labels=labels_to(self.labels, device),
            places=self.places.to(device),
        )


class ProtostructureExamples(NamedTuple):
    """What one call of the loss takes: crystals in one setting each, and what is known of them.

    Attributes:
        weight: Factor of means over orbits, see `mean_weight`.
    """

    sequences: OrbitSequences
    labels: Labels
    places: Int[Tensor, "n_crystals 2"]
    weight: Float[Tensor, ""] | float = 1.0


class ProtostructureTraining(Likelihood[ProtostructureModel]):
    """Maximum likelihood of the orbits given group, number of atoms and of elements, in a random setting each time.

    With labels, that of size and prototype given the labels is added, and all is given the labels. The errors for the
    log are the negative log-probability of all orbits of a crystal, and of one orbit.

    Args:
        model: Model with its initial weights.
        dropout: Share of the examples that are shown without their labels.
    """

    kind = KIND

    def __init__(self, model: ProtostructureModel, *, dropout: float = 0.0) -> None:
        super().__init__(model)
        self.dropout = dropout

    @property
    def parts(self) -> Mapping[str, slice]:
        """Nats a crystal, and nats an orbit."""
        return {"protostructure": slice(0, 1), "orbit": slice(1, 2)}

    def inputs(
        self, data: ProtostructureData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> ProtostructureExamples:
        """Choose a setting and the labels withheld of each crystal of the batch, and take this part of it."""
        share = torch.rand(len(rows), generator=generator, device=generator.device).to(rows.device)
        n_settings = data.n_settings[rows]
        chosen = data.start[rows] + (share * n_settings).long().clamp(max=n_settings - 1)
        labels = shown_labels(data.labels, rows, mine, dropout=self.dropout, generator=generator)
        weight = mean_weight(self.units(data, rows), mine)
        return ProtostructureExamples(
            data.sequences.rows(chosen[mine]), labels, data.places[rows[mine]], weight
        )

    def units(self, data: ProtostructureData, rows: Int[Tensor, " n_rows"]) -> Int[Tensor, " n_rows"]:
        """Count the orbits of each crystal, which are as many in all its settings."""
        return data.sequences.present[data.start[rows]].sum(1)

    def forward(self, inputs: ProtostructureExamples) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:
        """Return the mean negative log-probability by orbit, and what the log shows."""
        sequences, labels, places, weight = inputs
        found = self.model.step_log_prob(sequences, labels)
        n_orbits = sequences.present.sum()
        by_orbit = weight * -found.sum() / n_orbits
        by_crystal = -found.sum(1).mean()
        shown = torch.stack([by_crystal, by_orbit]).detach()
        if not labels:
            return by_orbit, shown
        return by_orbit - weight * self.model.table_log_prob(labels, places).sum() / n_orbits, shown
