"""A small ensemble that predicts a label, such as the energy above the hull, from protostructures alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from descriptors.symmetry.encoding import encode_protostructures
from descriptors.symmetry.protostructure import Protostructure
from repdiff.errors import UserError
from repdiff.networks.protostructure.encoder import ProtostructureEncoder, ProtostructureEncoderSettings

ROWS_AT_ONCE = 4096


class RankerSettings(BaseModel):
    """Size of the ensemble, and what it predicts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str = Field(min_length=1, description="name of the label that is predicted")
    elements: tuple[int, ...] = Field(min_length=1, description="atomic numbers that may occur, ascending")
    width: int = Field(64, ge=8, description="channels of each member")
    n_members: int = Field(4, ge=2, le=16, description="networks with initial weights of their own")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability before the last layer")
    center: float = Field(0.0, description="median of the labels it learns from, in their unit")
    scale: float = Field(1.0, gt=0, description="spread of these labels, in their unit")

    def compressed(self, labels: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return what the members predict: asinh((label - center) / scale), which keeps outliers near the others."""
        return ((labels - self.center) / self.scale).asinh()

    def restored(self, compressed: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Turn what the members predict into labels."""
        return self.center + self.scale * compressed.sinh()


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What an ensemble says of protostructures, in the unit of the label.

    Attributes:
        mean: Mean of the members.
        spread: Standard deviation of the members.
    """

    mean: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]

    @property
    def pessimistic(self) -> Float[np.ndarray, " n"]:
        """Mean and one standard deviation together: what draws are ranked by, the lowest first."""
        return self.mean + self.spread


class ProtostructureRanker(nn.Module):
    """Networks that predict the same label, each from an encoder of its own.

    Args:
        settings: Size and label.
    """

    def __init__(self, settings: RankerSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        encoder = ProtostructureEncoderSettings(elements=settings.elements, width=width)
        self.members = nn.ModuleList(
            nn.Sequential(
                ProtostructureEncoder(encoder),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Dropout(settings.dropout),
                nn.Linear(width, 1),
            )
            for _ in range(settings.n_members)
        )

    def forward(self, encoded: Int[Tensor, "n n_columns"]) -> Float[Tensor, "n n_members"]:
        """Predict compressed labels by each member.

        Args:
            encoded: Protostructures, written by `descriptors.symmetry.encoding.encode_protostructures`.
        """
        return torch.cat([member(encoded) for member in self.members], 1)

    @torch.no_grad()
    def predict(self, protostructures: Sequence[Protostructure]) -> Prediction:
        """Predict the label of protostructures, whose elements are among those of the ensemble.

        Raises:
            ValueError: If there is another element.
        """
        seen = set(self.settings.elements)
        for place, one in enumerate(protostructures):
            if strange := set(one.elements) - seen:
                raise ValueError(
                    f"protostructure {place} has the element of atomic number {min(strange)}, expected those of the "
                    f"ensemble: {sorted(seen)}"
                )
        if not protostructures:
            return Prediction(mean=np.zeros(0), spread=np.zeros(0))
        longest = max(len(one.orbits) for one in protostructures)
        encoded = torch.from_numpy(encode_protostructures(protostructures, max_orbits=longest))
        device = next(self.parameters()).device
        self.eval()
        found = torch.cat([self(part.to(device)).cpu() for part in encoded.split(ROWS_AT_ONCE)])
        labels = self.settings.restored(found.double())
        return Prediction(mean=labels.mean(1).numpy(), spread=labels.std(1, correction=0).numpy())

    def tensors_and_metadata(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `from_tensors_and_metadata` needs, as tensors and plain JSON values."""
        return dict(self.state_dict()), self.settings.model_dump(mode="json")

    @classmethod
    def from_tensors_and_metadata(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> "ProtostructureRanker":
        """Build the ensemble that `tensors_and_metadata` described, in evaluation mode.

        Raises:
            UserError: If tensors and metadata do not fit together.
        """
        try:
            ranker = cls(RankerSettings.model_validate(metadata))
            ranker.load_state_dict(dict(tensors))
        except (KeyError, ValueError, RuntimeError) as error:  # pydantic's error is a ValueError
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the ranking model cannot be restored ({reason}): train it again") from error
        return ranker.eval()
