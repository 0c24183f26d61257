"""`SymmetricScale`: vectors given protostructures, scaled to [0, 1] after what a linear model tells of them is off."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.normalization import Normalizer
from repdiff.networks.protostructure.features import linear_features
from repdiff.representations.trend import Trend
from repdiff.runs.checkpoint import tensors_under

Training = tuple[Float[Tensor, "n width"], Int[Tensor, "n n_columns"]]
Validation = tuple[Float[Tensor, "m width"], Int[Tensor, "m n_validation_columns"]]


@dataclass(frozen=True, kw_only=True)
class SymmetricScale:
    """Three maps one after another: each entry to about [0, 1], minus its trend, the rest to [0, 1].

    Attributes:
        raw: Scales vectors in physical units, so that long tails do not rule the trend.
        trend: What the protostructure tells of the scaled vectors.
        rest: Scales what is left.
        elements: Atomic numbers that may occur, ascending.
    """

    raw: Normalizer
    trend: Trend
    rest: Normalizer
    elements: tuple[int, ...]

    @classmethod
    def fit(cls, training: Training, validation: Validation, elements: tuple[int, ...]) -> "SymmetricScale":
        """Fit to vectors in physical units with the encoded protostructures that they belong to.

        Args:
            training: Vectors and protostructures.
            validation: The same to choose the strength of the regularisation by; may be empty.
            elements: Atomic numbers that may occur, ascending.
        """
        vectors, known = training
        exact = torch.zeros(vectors.shape[1], dtype=torch.bool)
        raw = Normalizer.fit(vectors, exact=exact)
        scaled, features = raw.normalize(vectors), linear_features(known, elements)
        held_out = (linear_features(validation[1], elements), raw.normalize(validation[0]))
        trend = Trend.fit(features, scaled, held_out=held_out)
        rest = Normalizer.fit(scaled - trend(features), exact=exact)
        return cls(raw=raw, trend=trend, rest=rest, elements=elements)

    def normalize(
        self, vectors: Float[Tensor, "n width"], known: Int[Tensor, "n n_columns"]
    ) -> Float[Tensor, "n width"]:
        """Map vectors in physical units to what the diffusion learns."""
        return self.rest.normalize(self.raw.normalize(vectors) - self.expected(known))

    def restore(
        self, unit: Float[Tensor, "n width"], known: Int[Tensor, "n n_columns"]
    ) -> Float[Tensor, "n width"]:
        """Map back; what is outside the range of the training vectors is clipped."""
        return self.restore_beside(unit, self.expected(known))

    def expected(self, known: Int[Tensor, "n n_columns"]) -> Float[Tensor, "n width"]:
        """Return what the protostructures alone tell of vectors, scaled by the first map."""
        return self.trend(linear_features(known, self.elements))

    def restore_beside(
        self, unit: Float[Tensor, "n width"], expected: Float[Tensor, "n width"]
    ) -> Float[Tensor, "n width"]:
        """Map back beside what `expected` returned, which need not be computed again at every step of a sampler."""
        return self.raw.restore(self.rest.restore(unit) + expected)

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it as named tensors, for a checkpoint."""
        parts = {"raw": self.raw.tensors(), "trend": self.trend.tensors(), "rest": self.rest.tensors()}
        return {f"{part}.{name}": value for part, own in parts.items() for name, value in own.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], elements: tuple[int, ...]) -> "SymmetricScale":
        """Build from what `tensors` returned.

        Raises:
            KeyError: If one is missing.
        """
        return cls(
            raw=Normalizer.from_tensors(tensors_under("raw.", tensors)[0]),
            trend=Trend.from_tensors(tensors_under("trend.", tensors)[0]),
            rest=Normalizer.from_tensors(tensors_under("rest.", tensors)[0]),
            elements=elements,
        )
