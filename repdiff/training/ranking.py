"""The ensemble that ranks protostructures as the training loop sees it."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.networks.protostructure.ranking import ProtostructureRanker
from repdiff.training.likelihood import Likelihood
from repdiff.training.trainable import TrainingData

KIND = "protostructure-ranker"


class RankingData(TrainingData):
    """Protostructures with a label each.

    Args:
        encoded: Written by `descriptors.symmetry.encoding.encode_protostructures`.
        targets: Labels as the ensemble predicts them, see `RankerSettings.compressed`.
    """

    def __init__(self, encoded: Int[Tensor, "n n_columns"], targets: Float[Tensor, " n"]) -> None:
        self.encoded, self.targets = encoded, targets.float()

    def __len__(self) -> int:
        """Count the protostructures."""
        return len(self.targets)

    def to(self, device: torch.device) -> "RankingData":
        """Move the data."""
        return RankingData(self.encoded.to(device), self.targets.to(device))


class RankingTraining(Likelihood[ProtostructureRanker]):
    """Mean absolute error of the compressed label, of each member by itself.

    The errors for the log are that, and that of the members' mean.
    """

    kind = KIND

    @property
    def parts(self) -> Mapping[str, slice]:
        """Error of a member, and of the mean of all."""
        return {"member": slice(0, 1), "ensemble": slice(1, 2)}

    def inputs(
        self, data: RankingData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> tuple[Int[Tensor, "n n_columns"], Float[Tensor, " n"]]:
        """Take this part of the batch; nothing is random but dropout, which each member has of its own."""
        return data.encoded[rows[mine]], data.targets[rows[mine]]

    def forward(
        self, inputs: tuple[Int[Tensor, "n n_columns"], Float[Tensor, " n"]]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:
        """Return the mean error of the members, and what the log shows."""
        encoded, targets = inputs
        found = self.model(encoded).to(targets.dtype)
        by_member = (found - targets[:, None]).abs().mean()
        together = (found.mean(1) - targets).abs().mean()
        return by_member, torch.stack([by_member, together]).detach()
