"""What models that are trained by maximum likelihood have in common as the training loop sees them."""

from typing import Any, Generic, TypeVar

from torch import nn

from repdiff.training.trainable import Trainable

M = TypeVar("M", bound=nn.Module)


class Likelihood(Trainable, Generic[M]):
    """The negative log-probability of a model; a subclass says of what, by `parts`, `inputs` and `forward`.

    Args:
        model: Its `tensors_and_metadata` says how it is built again.
    """

    model: M

    def __init__(self, model: M) -> None:
        super().__init__()
        self.model = model

    @property
    def learnt(self) -> nn.Module:
        """The model."""
        return self.model

    @property
    def n_errors(self) -> int:
        """One for each part."""
        return len(self.parts)

    def describe(self) -> dict[str, Any]:
        """Return what the model's `from_tensors_and_metadata` needs beside the tensors."""
        model: Any = self.model
        return model.tensors_and_metadata()[1]
