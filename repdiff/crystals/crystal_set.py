"""Crystals to score, together with those that should exist but could not be made or read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from repdiff.crystals.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Crystals to score, and those that should exist but could not be made or read.

    Attributes:
        crystals: As they came; a metric must cope with NaN, flat cells and unknown elements.
        failed: Reason by name. They count in every fraction, as the worst there is, and come last in columns.
    """

    crystals: Sequence[Crystal]
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Names of all, the failed last."""
        return [crystal.id for crystal in self.crystals] + list(self.failed)

    def __len__(self) -> int:
        """Count all, the failed too."""
        return len(self.crystals) + len(self.failed)
