"""The model of formulas as the training loop sees it."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModel
from repdiff.training.likelihood import Likelihood
from repdiff.training.shares import mean_weight
from repdiff.training.trainable import TrainingData

KIND = "compositions"


class CompositionData(TrainingData):
    """Formulas.

    Args:
        what: "training" or "validation", for messages.
        counts: Atoms of each element, a crystal a row, columns in the order of the model's elements.
        elements: Atomic numbers of the columns, ascending.

    Raises:
        UserError: If there is no training crystal.
        ValueError: If a count is negative, a crystal has no atoms, or elements and columns disagree.
    """

    def __init__(self, what: str, counts: Int[Tensor, "n n_elements"], elements: tuple[int, ...]) -> None:
        if counts.shape[1] != len(elements):
            raise ValueError(
                f"{what} counts have {counts.shape[1]} columns, expected {len(elements)}, one an element"
            )
        if what == "training" and len(counts) == 0:
            raise UserError(
                "0 training crystals for the composition model, expected at least one: encode more"
            )
        bad = ((counts < 0).any(1) | (counts.sum(1) < 1)).nonzero()[:, 0]
        if len(bad):
            raise ValueError(
                f"{what} counts: {len(bad)} rows are negative or without atoms, the first is row {int(bad[0])}: "
                f"{counts[bad[0]].tolist()}"
            )
        self.what, self.counts, self.elements = what, counts, elements

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.counts)

    def to(self, device: torch.device) -> "CompositionData":
        """Move the counts."""
        return CompositionData(self.what, self.counts.to(device), self.elements)


class CompositionTraining(Likelihood[CompositionModel]):
    """Maximum likelihood of elements and counts, given the number of atoms.

    The errors for the log are the negative log-probability of a whole formula, and of one element with its count.
    """

    kind = KIND

    @property
    def parts(self) -> Mapping[str, slice]:
        """Nats a formula, and nats an element."""
        return {"formula": slice(0, 1), "element": slice(1, 2)}

    def inputs(
        self, data: CompositionData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> tuple[Int[Tensor, "n n_elements"], Float[Tensor, ""]]:
        """Take this part of the batch, and the factor of its means over elements; nothing is random but dropout."""
        return data.counts[rows[mine]], mean_weight(self.units(data, rows), mine)

    def units(self, data: CompositionData, rows: Int[Tensor, " n_rows"]) -> Int[Tensor, " n_rows"]:
        """Count the elements of each formula."""
        return (data.counts[rows] > 0).sum(1)

    def forward(
        self, inputs: tuple[Int[Tensor, "n n_elements"], Float[Tensor, ""]]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:
        """Return the mean negative log-probability of an element with its count, and what the log shows."""
        counts, weight = inputs
        counts = counts[:, self.model.order]
        crystal, element = counts.nonzero(as_tuple=True)
        found = -self.model.step_log_prob(counts[crystal], element)
        by_formula = found.sum() / len(counts)
        by_element = weight * found.mean()
        return by_element, torch.stack([by_formula, by_element]).detach()


@torch.no_grad()
def mean_loss(model: CompositionModel, counts: Int[Tensor, "n n_elements"]) -> float:
    """Return the mean of -log p(composition | number of atoms), nats, with dropout off."""
    return -float(model.eval().log_prob_given_size(counts).mean())
