"""Crystals to score, together with those that should exist but could not be made or read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from repdiff.crystals.crystal import Crystal

N_NAMED = 3  # reasons


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Crystals to score, and those that should exist but could not be made or read.

    Attributes:
        crystals: As they came; a metric must cope with NaN, flat cells and unknown elements.
        failed: Reason by name. They count in every fraction, as the worst there is, and come last in columns.
        remarks: What was changed or left out on reading, in words for the reader of a result.
        refused: Rows of a source of known crystals that could not be read, counted by reason; no part of the set.
    """

    crystals: Sequence[Crystal]
    failed: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Names of all, the failed last."""
        return [crystal.id for crystal in self.crystals] + list(self.failed)

    @property
    def refusal(self) -> str:
        """Say how many rows of the source were refused and why; "" if none was."""
        if not self.refused:
            return ""
        listed = "; ".join(f"{count} × {reason}" for reason, count in list(self.refused.items())[:N_NAMED])
        more = f"; {len(self.refused) - N_NAMED} other reasons" if len(self.refused) > N_NAMED else ""
        return f"{sum(self.refused.values())} rows of its source were refused ({listed}{more})"

    def __len__(self) -> int:
        """Count all, the failed too."""
        return len(self.crystals) + len(self.failed)
