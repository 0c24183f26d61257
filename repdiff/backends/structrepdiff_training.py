"""The diffusion of vectors as the training loop sees it."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repdiff.diffusion.build import KIND, describe
from repdiff.diffusion.ddpm import Draws, VectorDiffusion
from repdiff.errors import UserError
from repdiff.networks.property_adapters import Labels
from repdiff.training.labels import labels_to, shown_labels
from repdiff.training.trainable import Trainable, TrainingData


class VectorData(TrainingData):
    """Vectors in [0, 1].

    Args:
        what: "training" or "validation", for messages.
        features: The vectors; for validation there may be none.
        n_features: Length that the model wants.
        protostructures: Those that the vectors belong to, encoded, for a model that is given them.
        labels: Known property labels of the crystals, by name.

    Raises:
        UserError: If they have another length or are not finite.
    """

    def __init__(
        self,
        what: str,
        features: Float[Tensor, "n width"],
        *,
        n_features: int,
        protostructures: Int[Tensor, "n n_columns"] | None = None,
        labels: Labels | None = None,
    ) -> None:
        if features.ndim != 2 or features.shape[1] != n_features:
            raise UserError(
                f"{what} features have shape {tuple(features.shape)}, expected (n, {n_features}): "
                "encode the data with the representation of the model"
            )
        bad = (~torch.isfinite(features)).any(1).nonzero()[:, 0]
        if len(bad):
            raise UserError(
                f"{what} features: {len(bad)} rows are not finite, the first is row {int(bad[0])}: encode again"
            )
        self.what, self.features, self.protostructures = what, features.float(), protostructures
        self.labels: Labels = labels or {}

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self.features)

    def to(self, device: torch.device) -> "VectorData":
        """Move the vectors."""
        known = None if self.protostructures is None else self.protostructures.to(device)
        width = self.features.shape[1]
        return VectorData(
            self.what,
            self.features.to(device),
            n_features=width,
            protostructures=known,
            labels=labels_to(self.labels, device),
        )


class VectorTraining(Trainable):
    """The loss of a `VectorDiffusion`; one error for each feature, averaged by blocks for the log.

    Args:
        diffusion: Diffusion model with its initial weights.
        dropout: Share of the examples that are shown without their labels.
    """

    kind = KIND

    def __init__(self, diffusion: VectorDiffusion, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.diffusion, self.dropout = diffusion, dropout

    @property
    def learnt(self) -> nn.Module:
        """The network of the diffusion."""
        return self.diffusion.network

    @property
    def parts(self) -> Mapping[str, slice]:
        """The blocks of the vector."""
        return self.diffusion.blocks

    @property
    def n_errors(self) -> int:
        """The number of features."""
        return self.diffusion.n_features

    def inputs(
        self, data: VectorData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> tuple[Tensor, Draws, Tensor | None, Labels]:
        """Draw times, noise and the labels that are withheld for the whole batch, and take this part of it."""
        draws = self.diffusion.draw(len(rows), generator=generator).rows(mine)
        known = None if data.protostructures is None else data.protostructures[rows[mine]]
        labels = shown_labels(data.labels, rows, mine, dropout=self.dropout, generator=generator)
        return data.features[rows[mine]], draws, known, labels

    def forward(
        self, inputs: tuple[Float[Tensor, "n n_features"], Draws, Int[Tensor, "n n_columns"] | None, Labels]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " n_features"]]:
        """Return the weighted loss, and the error of each feature."""
        features, draws, protostructures, labels = inputs
        return self.diffusion(features, *draws, protostructures, labels)

    def describe(self) -> dict[str, Any]:
        """Return the settings that `build_diffusion` would build this model from."""
        return describe(self.diffusion).model_dump(mode="json")
