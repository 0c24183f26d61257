"""What the training loop asks of a model and of its data; every backend brings its own pair."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class TrainingData(ABC):
    """Examples that a model learns from, in rows."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the rows."""

    @abstractmethod
    def to(self, device: torch.device) -> "TrainingData":
        """Move the data."""


class Trainable(nn.Module, ABC):
    """A model with its loss.

    Attributes:
        kind: File type tag, used to find the backend of a checkpoint.
        fitted: Whether it is complete as it is prepared: the training loop saves it and takes no step.
    """

    kind: ClassVar[str]
    fitted: ClassVar[bool] = False

    @property
    @abstractmethod
    def learnt(self) -> nn.Module:
        """All that is learnt, and saved."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, slice]:
        """Names of parts of the loss, each with its place among the errors that `forward` returns."""

    @property
    @abstractmethod
    def n_errors(self) -> int:
        """Number of the errors that `forward` returns."""

    @abstractmethod
    def inputs(
        self,
        data: Any,  # noqa: ANN401 (the pair of this model)
        rows: Int[Tensor, " n_rows"],
        mine: slice,
        generator: torch.Generator,
    ) -> Any:  # noqa: ANN401 (what this model's `forward` takes)
        """Return what `forward` takes for a part of a batch, its random numbers included.

        Args:
            data: All examples.
            rows: Those of the batch, all processes together.
            mine: The part of `rows` that this call is for.
            generator: Seeded for the batch, the same in all processes and for all parts.

        The mean of the losses of parts of equally many rows must be the loss of the batch. A mean over other units than
        rows is multiplied by their `mean_weight` for that.
        """

    @abstractmethod
    def forward(self, inputs: Any) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:  # noqa: ANN401
        """Return the loss, and the errors that the log shows by parts, detached."""

    def units(
        self,
        data: Any,  # noqa: ANN401 (the pair of this model)
        rows: Int[Tensor, " n_rows"],
    ) -> Int[Tensor, " n_rows"]:
        """Count, for each row, what the loss is averaged over and dropout is drawn for: by default the row itself.

        What several processes do of a batch is put together by these numbers, see `repdiff.training.shares`.
        """
        return torch.ones_like(rows)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return all that is needed to build the model again, apart from its weights, as plain JSON."""

    def part_means(self, errors: Float[Tensor, " n_errors"]) -> dict[str, Float[Tensor, ""]]:
        """Average the errors over each part."""
        return {name: errors[part].mean() for name, part in self.parts.items()}
