"""An ensemble that predicts a property from the blocks of representations, and how far it may be wrong.

Each member gives the mean and the variance of a normal distribution; together they are one whose variance is that of
the means and the mean of the variances. The prediction depends on descriptor, shortest distance, composition and volume
per atom, not on the number of atoms, so that it is the same whichever cell a crystal is given in. A property that grows
with the cell has to be given per atom.

Source: Lakshminarayanan et al., arXiv 1612.01474 (deep ensembles).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from repdiff.errors import UserError
from repdiff.networks.element_table import ElementTable

FARTHEST = 6.0  # standard deviations of the training data; inputs beyond are compressed below it
LOG_VARIANCES = (-9.0, 6.0)  # of standardised labels
STRANGE_SHARE = 1e-3  # of atoms of unknown elements, above which nothing is said


class EnsembleSettings(BaseModel):
    """Size of an ensemble, and what it predicts from what."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str = Field(min_length=1, description="name of the label that is predicted")
    elements: tuple[int, ...] = Field(min_length=1, description="atomic numbers that may occur, ascending")
    n_descriptor: int = Field(ge=1, description="length of the descriptor")
    width: int = Field(128, ge=8, description="channels of each member")
    n_members: int = Field(4, ge=2, le=16, description="networks with initial weights of their own")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability before the last layer")
    center: float = Field(0.0, description="mean of the labels it learns from, in their unit")
    scale: float = Field(1.0, gt=0, description="standard deviation of these labels")
    low: float = Field(0.0, description="least of these labels")
    high: float = Field(0.0, description="largest of these labels")


class Moments(NamedTuple):
    """What an ensemble says of crystals, in the unit of the label.

    Attributes:
        mean: Mean.
        variance: Variance; large where the members disagree, or say that they do not know.
    """

    mean: Float[Tensor, " n"]
    variance: Float[Tensor, " n"]


class PropertyEnsemble(nn.Module):
    """Networks that predict the same label.

    Args:
        settings: Size, label and elements.
    """

    input_center: Tensor
    input_scale: Tensor
    widening: Tensor
    typical: Tensor

    def __init__(self, settings: EnsembleSettings) -> None:
        super().__init__()
        self.settings = settings
        table = ElementTable.of(settings.elements)
        by_number = torch.empty_like(table.properties)
        by_number[table.order] = table.properties
        self.register_buffer("properties", by_number, persistent=False)
        n_elements, n_properties = by_number.shape
        n_inputs = settings.n_descriptor + 2 + 2 * n_elements + 2 * n_properties
        self.register_buffer("input_center", torch.zeros(n_inputs))
        self.register_buffer("input_scale", torch.ones(n_inputs))
        self.register_buffer("widening", torch.ones(()))
        self.register_buffer("typical", torch.ones(()))
        width = settings.width
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(n_inputs, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Dropout(settings.dropout),
                nn.Linear(width, 2),
            )
            for _ in range(settings.n_members)
        )

    def inputs(self, blocks: Mapping[str, Tensor]) -> Float[Tensor, "n n_inputs"]:
        """Put blocks into numbers before standardisation; elements that the ensemble does not know are left out."""
        shares = blocks["composition"][:, list(self.settings.elements)].clamp(min=0)
        properties = self.get_buffer("properties").to(shares)
        mean = shares @ properties
        spread = (shares @ properties.square() - mean.square()).clamp(min=0)
        parts = (
            blocks["descriptor"],
            blocks["min_distance"],
            blocks["volume_per_atom"].clamp(min=1e-3).log(),
            shares,
            (shares + 1e-4).sqrt(),
            mean,
            spread,
        )
        return torch.cat(parts, 1)

    def fit_inputs(self, inputs: Float[Tensor, "n n_inputs"]) -> None:
        """Choose the standardisation; what never varies in the training data is not looked at."""
        spread = inputs.std(0, correction=0)
        self.input_center.copy_(inputs.mean(0))
        varies = spread > 1e-5 * (1 + inputs.mean(0).abs())
        self.input_scale.copy_(torch.where(varies, spread.clamp(min=1e-12), torch.inf))

    def standardised(self, inputs: Float[Tensor, "n n_inputs"]) -> Float[Tensor, "n n_inputs"]:
        """Standardise inputs; far from the training data they saturate smoothly."""
        plain = (inputs - self.input_center) / self.input_scale
        return plain / (1 + (plain / FARTHEST).square()).sqrt()

    def forward(
        self, standardised: Float[Tensor, "n n_inputs"]
    ) -> tuple[Float[Tensor, "n n_members"], Float[Tensor, "n n_members"]]:
        """Return mean and logarithm of the variance of each member, for standardised labels."""
        found = torch.stack([member(standardised) for member in self.members], 1)
        return found[..., 0], found[..., 1].clamp(*LOG_VARIANCES)

    def moments(self, blocks: Mapping[str, Tensor]) -> Moments:
        """Predict the label, with a gradient; see `knows` for where that means anything.

        Args:
            blocks: Blocks of representations, see `repdiff.representations.blocks.Blocks`.
        """
        inputs = self.inputs(blocks).to(self.input_center)
        means, log_variances = self(self.standardised(inputs))
        mean = means.mean(1)
        variance = (means - mean[:, None]).square().mean(1) + log_variances.exp().mean(1)
        scale = self.settings.scale
        return Moments(
            mean=self.settings.center + scale * mean, variance=(self.widening * scale) ** 2 * variance
        )

    def knows(self, blocks: Mapping[str, Tensor]) -> Bool[Tensor, " n"]:
        """Tell where all elements are known."""
        shares = blocks["composition"]
        return shares.sum(1) - shares[:, list(self.settings.elements)].sum(1) < STRANGE_SHARE

    def tensors_and_metadata(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `from_tensors_and_metadata` needs, as tensors and plain JSON values."""
        return dict(self.state_dict()), self.settings.model_dump(mode="json")

    @classmethod
    def from_tensors_and_metadata(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> "PropertyEnsemble":
        """Build an ensemble again.

        Raises:
            UserError: If the tensors are not those of such an ensemble.
        """
        ensemble = cls(EnsembleSettings.model_validate(metadata))
        try:
            ensemble.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise UserError(f"not the weights of such an ensemble ({error})") from error
        return ensemble.eval()
