"""What of a vector a linear model tells from the protostructure, and what is left for the diffusion to learn."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # of the regularisation, in units of one crystal


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Ridge regression of vectors on features of what they belong to.

    Attributes:
        weights: Change of each vector entry with each feature.
        offset: Mean of the training vectors.
        center: Mean of the training features.
    """

    weights: Float[Tensor, "n_features width"]
    offset: Float[Tensor, " width"]
    center: Float[Tensor, " n_features"]

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n n_features"],
        vectors: Float[Tensor, "n width"],
        *,
        held_out: tuple[Float[Tensor, "m n_features"], Float[Tensor, "m width"]] | None = None,
    ) -> "Trend":
        """Fit by least squares; the regularisation is the one of `STRENGTHS` that suits the held-out vectors best.

        Args:
            features: What is known.
            vectors: What is to be told from it.
            held_out: Features and vectors to choose the regularisation by; without any the strongest is taken.
        """
        center, offset = features.mean(0), vectors.mean(0)
        known, wanted = (features - center).double(), (vectors - offset).double()
        gram, moment = known.T @ known, known.T @ wanted
        unit = torch.eye(len(gram), dtype=gram.dtype)

        def solved(strength: float) -> "Trend":
            weights = torch.linalg.solve(gram + strength * unit, moment).to(vectors)
            return cls(weights=weights, offset=offset, center=center)

        if held_out is None or not len(held_out[0]):
            return solved(STRENGTHS[-1])
        return min(
            (solved(strength) for strength in STRENGTHS),
            key=lambda trend: float((held_out[1] - trend(held_out[0])).square().mean()),
        )

    def __call__(self, features: Float[Tensor, "n n_features"]) -> Float[Tensor, "n width"]:
        """Return the vectors that are to be expected."""
        return self.offset + (features - self.center) @ self.weights

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it as named tensors, for a checkpoint."""
        return {"weights": self.weights, "offset": self.offset, "center": self.center}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Trend":
        """Build from what `tensors` returned.

        Raises:
            KeyError: If one is missing.
        """
        return cls(**{name: tensors[name] for name in ("weights", "offset", "center")})
