"""What a metric is: `Metric`, from an `EvaluationSet` to a `MetricResult`, and the registry `METRICS`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from descriptors.registry import Registry
from repdiff.datasets.crystal import Crystal

Constant = float | int | str | bool
Cell = float | int | str | bool | None  # one entry of a column


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
class MetricValue:
    """One number, with what it takes to read it.

    Attributes:
        value: Finite, or None where the question has no answer.
        n: Number of structures that it is a mean over.
        protocol: Key into `MetricResult.protocols`; numbers of different protocols do not compare.
        unit: "" for a plain number, "fraction" for a share between 0 and 1.
        reason: Why `value` is None.

    Raises:
        ValueError: If the value is NaN or infinite, or None without a reason.
    """

    value: float | None
    n: int
    protocol: str
    unit: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what a results file could not hold."""
        if self.value is None and not self.reason:
            raise ValueError("a metric has no value and no reason, expected one of them")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a metric is {self.value}, expected a finite number, or None and a reason")


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """The answer of one family of metrics.

    Attributes:
        values: By name.
        protocols: Constants by protocol; every value names one.
        columns: By name, one entry per structure of the set in its order, the failed last.
        details: Histograms and lists behind the values, made of what JSON knows.
    """

    values: Mapping[str, MetricValue]
    protocols: Mapping[str, Mapping[str, Constant]]
    columns: Mapping[str, Sequence[Cell]] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


class Metric(ABC):
    """A family of metrics that are computed together.

    Attributes:
        description: One line for the help text and the results file.
        needs_reference: Whether it compares with known crystals.
    """

    description: ClassVar[str]
    needs_reference: ClassVar[bool] = False

    @abstractmethod
    def compute(
        self,
        generated: EvaluationSet,
        reference: EvaluationSet | None = None,
        *,
        progress: bool = False,
        n_workers: int = 1,
    ) -> MetricResult:
        """Score a set; the order of its crystals does not matter, and no crystal makes it raise.

        Args:
            generated: The set.
            reference: Known crystals; None only if `needs_reference` is False.
            progress: Show a bar on stderr.
            n_workers: Processes to use where it helps.

        Raises:
            UserError: If the metric does not apply to these sets.
        """

    @classmethod
    def example(cls) -> "Metric":
        """Build one for the acceptance tests."""
        return cls()


METRICS: Registry[Metric] = Registry("metric")


def share(flags: Sequence[bool], protocol: str) -> MetricValue:
    """Return the fraction that is true."""
    if not flags:
        return MetricValue(value=None, n=0, protocol=protocol, unit="fraction", reason="no structures")
    return MetricValue(value=sum(flags) / len(flags), n=len(flags), protocol=protocol, unit="fraction")


def mean(numbers: Sequence[float | int], protocol: str, *, reason: str, unit: str = "") -> MetricValue:
    """Return the mean, the same to the last bit in any order; `reason` says why there are no numbers."""
    if not numbers:
        return MetricValue(value=None, n=0, protocol=protocol, unit=unit, reason=reason)
    return MetricValue(value=math.fsum(numbers) / len(numbers), n=len(numbers), protocol=protocol, unit=unit)
