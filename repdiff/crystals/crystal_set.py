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


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """Crystals that count as known: what is among them is not novel.

    Attributes:
        name: Of the set, such as "mp_20" or "mp_20:train"; part of every result.
        crystals: Those that could be read.
        unread: Number of rows by the reason why they are not among the crystals.
    """

    name: str
    crystals: Sequence[Crystal]
    unread: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_unread(self) -> int:
        """Count the rows that are not among the crystals."""
        return sum(self.unread.values())

    def describe(self) -> dict[str, float | int | str | bool]:
        """Return what a protocol must say about novelty against this set."""
        return {
            "novel_against": self.name,
            "n_novel_against": len(self.crystals),
            "n_novel_against_not_read": self.n_unread,
        }
