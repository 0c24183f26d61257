"""Scaling of representation vectors to [0, 1] and back."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MARGIN = 0.1  # what a compressed tail becomes, in units of the linear range
QUANTILE = 0.002  # share of the training values in each tail
SHORT = 0.15  # a tail longer than this, in units of the linear range, is compressed


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """A monotone map of each feature to [0, 1], fitted to training vectors.

    Most features are scaled by their minimum and maximum. Where outliers would squeeze the rest, the range between
    the 0.2 % and the 99.8 % quantile is scaled linearly, and a tail of length T beyond it, in units of that range, is
    bent by t → m log(1 + t / m) / log(1 + T / m) into a margin of m = 0.1: outliers stay apart and come back. A
    feature that never varies is mapped to ½ and comes back as its constant.

    Attributes:
        low: Lower end of the linear range of each feature.
        high: Upper end of this range.
        tail_low: Length of the compressed tail below, in units of the linear range; 0 if there is none.
        tail_high: Length of the compressed tail above, in the same units; 0 if there is none.
    """

    low: Float[Tensor, " n_features"]
    high: Float[Tensor, " n_features"]
    tail_low: Float[Tensor, " n_features"]
    tail_high: Float[Tensor, " n_features"]

    @classmethod
    def fit(
        cls, features: Float[Tensor, "n_systems n_features"], *, exact: Bool[Tensor, " n_features"]
    ) -> "Normalizer":
        """Choose the map of each feature; `exact` ones (counts, frequencies) never have tails.

        Raises:
            ValueError: If there is no vector, or one is not finite.
        """
        if len(features) == 0:
            raise ValueError("0 vectors to fit the normalisation to, expected at least one")
        if not bool(torch.isfinite(features).all()):
            raise ValueError("a vector holds NaN or infinity, expected finite numbers")
        ordered = features.sort(0).values
        last = len(features) - 1
        minimum, maximum = ordered[0], ordered[last]
        low = ordered[round(QUANTILE * last)]
        high = ordered[round((1 - QUANTILE) * last)]
        bend = ~exact & (high > low)
        long_low = bend & (low - minimum > SHORT * (high - low))
        long_high = bend & (maximum - high > SHORT * (high - low))
        low, high = torch.where(long_low, low, minimum), torch.where(long_high, high, maximum)
        width = torch.where(high > low, high - low, 1.0)
        return cls(low=low, high=high, tail_low=(low - minimum) / width, tail_high=(maximum - high) / width)

    @property
    def constant(self) -> Bool[Tensor, " n_features"]:
        """Which features never vary."""
        return self.high <= self.low

    def normalize(
        self, features: Float[Tensor, "n_systems n_features"]
    ) -> Float[Tensor, "n_systems n_features"]:
        """Map to [0, 1]; values beyond those of the training vectors are clipped."""
        unit = (features - self.low) / self._width()
        bent = unit.clamp(0, 1) - _bend(-unit, self.tail_low) + _bend(unit - 1, self.tail_high)
        start, span = self._margins()
        return torch.where(self.constant, 0.5, ((bent - start) / span).clamp(0, 1))

    def restore(self, unit: Float[Tensor, "n_systems n_features"]) -> Float[Tensor, "n_systems n_features"]:
        """Map back; values outside [0, 1] are clipped."""
        start, span = self._margins()
        bent = unit.clamp(0, 1) * span + start
        straight = bent.clamp(0, 1) - _unbend(-bent, self.tail_low) + _unbend(bent - 1, self.tail_high)
        return torch.where(self.constant, self.low, self.low + straight * self._width())

    def _width(self) -> Float[Tensor, " n_features"]:
        return torch.where(self.constant, 1.0, self.high - self.low)

    def _margins(self) -> tuple[Float[Tensor, " n_features"], Float[Tensor, " n_features"]]:
        """Return where the bent range starts, in units of the linear range, and how long it is."""
        start = -MARGIN * (self.tail_low > 0).to(self.low.dtype)
        return start, 1 - start + MARGIN * (self.tail_high > 0).to(self.low.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Return the settings as named tensors, for a checkpoint."""
        return {name: getattr(self, name) for name in ("low", "high", "tail_low", "tail_high")}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Normalizer":
        """Build from what `tensors` returned.

        Raises:
            KeyError: If one is missing.
        """
        return cls(**{name: tensors[name] for name in ("low", "high", "tail_low", "tail_high")})


def _bend(
    beyond: Float[Tensor, "n_systems n_features"], tail: Float[Tensor, " n_features"]
) -> Float[Tensor, "n_systems n_features"]:
    """Compress what lies beyond the linear range into the margin; 0 where there is no tail."""
    scale = torch.where(tail > 0, torch.log1p(tail / MARGIN), 1.0)
    return torch.where(tail > 0, MARGIN * torch.log1p(beyond.clamp(min=0) / MARGIN) / scale, 0.0)


def _unbend(
    beyond: Float[Tensor, "n_systems n_features"], tail: Float[Tensor, " n_features"]
) -> Float[Tensor, "n_systems n_features"]:
    """Undo `_bend`."""
    scale = torch.log1p(tail / MARGIN)
    return torch.where(tail > 0, MARGIN * torch.expm1(beyond.clamp(min=0) / MARGIN * scale), 0.0)
