"""Train an ensemble that predicts a property from representations."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.networks.property_ensemble import PropertyEnsemble
from repdiff.training.likelihood import Likelihood
from repdiff.training.trainable import TrainingData

KIND = "property-head"
BETA = 0.5  # power of the variance that weights the likelihood of each example


class PropertyData(TrainingData):
    """Standardised inputs with a standardised label each.

    Args:
        inputs: See `PropertyEnsemble.standardised`.
        targets: Labels minus their mean, over their standard deviation.
    """

    def __init__(self, inputs: Float[Tensor, "n n_inputs"], targets: Float[Tensor, " n"]) -> None:
        self.inputs, self.targets = inputs.float(), targets.float()

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.targets)

    def to(self, device: torch.device) -> "PropertyData":
        """Move the data."""
        return PropertyData(self.inputs.to(device), self.targets.to(device))


class PropertyTraining(Likelihood[PropertyEnsemble]):
    """Negative log-likelihood of each member by itself, weighted so that hard examples are not given up.

    In training each example counts by the square root of the predicted variance (β-NLL, Seitzer et al., arXiv
    2203.09168); in validation all count alike, and the likelihood is that of the whole ensemble. The errors for the log
    are that, and the squared error of the mean.
    """

    kind = KIND

    @property
    def parts(self) -> Mapping[str, slice]:
        """Likelihood, and squared error of the mean of all members."""
        return {"likelihood": slice(0, 1), "squared_error": slice(1, 2)}

    def inputs(
        self, data: PropertyData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> tuple[Float[Tensor, "n n_inputs"], Float[Tensor, " n"]]:
        """Take this part of the batch; nothing is random but dropout, which each member has of its own."""
        return data.inputs[rows[mine]], data.targets[rows[mine]]

    def forward(
        self, inputs: tuple[Float[Tensor, "n n_inputs"], Float[Tensor, " n"]]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:
        """Return the loss, and what the log shows."""
        standardised, targets = inputs
        means, log_variances = (part.float() for part in self.model(standardised))
        squared = (means - targets[:, None]).square()
        members = 0.5 * (log_variances + squared * (-log_variances).exp())
        mean = means.mean(1)
        variance = (means - mean[:, None]).square().mean(1) + log_variances.exp().mean(1)
        off = (mean - targets).square()
        whole = 0.5 * (variance.log() + off / variance).mean()
        weights = (BETA * log_variances.detach()).exp()
        loss = (weights * members).mean() if self.training else whole
        return loss, torch.stack([whole, off.mean()]).detach()
