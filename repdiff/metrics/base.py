"""What a metric is: `Metric`, from an `CrystalSet` to a `MetricResult`, and the registry `METRICS`."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from descriptors.registry import Registry
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.energies.relaxed import RelaxedSet
from repdiff.errors import UserError
from repdiff.metrics.bootstrap import Interval, interval_of_mean
from repdiff.metrics.structure_groups import MatcherName

SUBSAMPLE = 10_000  # structures; the sets that published evaluations score are no larger
Constant = float | int | str | bool
Need = Literal["reference", "training", "relaxed"]
Take = Literal["reference", "training", "known_set", "hull", "benchmark"]
NEEDS: dict[Need, str] = {
    "reference": "needs known crystals to compare with: name them by `reference`",
    "training": "needs the crystals that the model was trained on: name them by `training`",
    "relaxed": "needs relaxed crystals: make them by `repdiff relax` and name them by `relaxed`",
}
CellValue = float | int | str | bool | None  # one entry of a column


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """One number, with what it takes to read it.

    Attributes:
        value: Finite, or None where the question has no answer.
        n: Number of structures that it is a mean over.
        protocol: Key into `MetricResult.protocols`; numbers of different protocols do not compare.
        unit: "" for a plain number, "fraction" for a share between 0 and 1.
        reason: Why `value` is None, or why it is to be read with care.
        interval: 95 % interval by bootstrap over the structures; None where there are fewer than two.
        sizes: Numbers of generated and of reference crystals, for values that depend on both: they compare at equal
            sizes only. None for the others.

    Raises:
        ValueError: If the value is NaN or infinite, or None without a reason.
    """

    value: float | None
    n: int
    protocol: str
    unit: str = ""
    reason: str = ""
    interval: Interval | None = None
    sizes: tuple[int, int] | None = None

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
        values: Metric values by name.
        protocols: Constants of each protocol, by name; every value names its protocol.
        columns: Values per structure, by name, in the order of the set, the failed last.
        details: Histograms and lists behind the values, as JSON types.
    """

    values: Mapping[str, MetricValue]
    protocols: Mapping[str, Mapping[str, Constant]]
    columns: Mapping[str, Sequence[CellValue]] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a metric may use besides the crystals that it scores.

    Attributes:
        reference: Known crystals, such as the test set.
        training: The crystals that the model has seen.
        known_set: What S.U.N. calls known; None takes the training crystals.
        matcher: What counts as the same crystal, for uniqueness and novelty.
        relaxed: What a force field made of the crystals that are scored.
        hull: Table of reference energies, of the force field that relaxed; None for the one that is shipped.
        benchmark: Benchmark that has the published thresholds to use: "perov_5", "carbon_24" or "mp_20".
        cache: Folder for what takes long and belongs to a crystal, such as fingerprints; None keeps nothing.
        seed: Seed of random subsets and of the bootstrap.
        subsample: Structures that a metric is computed of where it takes a sample of large sets, see `Metric.samples`;
            0 for all.
        n_workers: Processes to use where it helps.
        progress: Show bars on stderr.
    """

    reference: CrystalSet | None = None
    training: CrystalSet | None = None
    known_set: CrystalSet | None = None
    matcher: MatcherName = "mattergen-ordered"
    relaxed: RelaxedSet | None = None
    hull: Path | None = None
    benchmark: str = "mp_20"
    cache: Path | None = None
    seed: int = 0
    subsample: int = SUBSAMPLE
    n_workers: int = 1
    progress: bool = False

    def missing(self, needs: frozenset[Need]) -> str | None:
        """Say what of `needs` is not there, and how to give it; None if all is."""
        return next((f"{NEEDS[need]}" for need in sorted(needs) if getattr(self, need) is None), None)

    def known(self) -> CrystalSet:
        """Return the reference.

        Raises:
            UserError: If there is none.
        """
        return self._given("reference", self.reference)

    def seen(self) -> CrystalSet:
        """Return the training set.

        Raises:
            UserError: If there is none.
        """
        return self._given("training", self.training)

    def known_to_all(self) -> CrystalSet | None:
        """Return what S.U.N. calls known: the named set, else the training crystals, else None."""
        if self.known_set is not None or self.training is None:
            return self.known_set
        return replace(self.training, name="training crystals")

    def relaxations(self) -> RelaxedSet:
        """Return what relaxation gave.

        Raises:
            UserError: If nothing was relaxed.
        """
        return self._given("relaxed", self.relaxed)

    def _given(self, need: Need, value: Any) -> Any:  # noqa: ANN401 (what comes in goes out)
        if value is None:
            raise UserError(f"the metric {NEEDS[need]}")
        return value


class Metric(ABC):
    """A family of metrics that are computed together.

    Attributes:
        description: One line for the help text and the results file.
        needs: What of the context it cannot do without.
        takes: What of the context it uses where it is there; an evaluation to which that is added computes it again.
    """

    description: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    takes: ClassVar[frozenset[Take]] = frozenset()

    @abstractmethod
    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Score a set; the order of its crystals does not matter, and no crystal makes it raise.

        Args:
            generated: The set.
            context: What else there is; all of `needs` is.

        Raises:
            UserError: If the metric does not apply to these sets, or needs a package that is not installed.
        """

    def samples(self, generated: CrystalSet, context: Context) -> bool:
        """Tell whether a set of more than `context.subsample` structures is scored by a random sample of as many."""
        return False

    @classmethod
    def example(cls) -> "Metric":
        """Build one for the acceptance tests."""
        return cls()


METRICS: Registry[Metric] = Registry("metric", group="repdiff.metrics")


def share(flags: Sequence[bool], protocol: str, *, reason: str = "no structures") -> MetricValue:
    """Return the fraction that is true, with its interval; `reason` says why there are no flags."""
    return mean([float(flag) for flag in flags], protocol, reason=reason, unit="fraction")


def absent(protocol: str, reason: str, unit: str = "") -> MetricValue:
    """Return what stands where there is no value."""
    return MetricValue(value=None, n=0, protocol=protocol, unit=unit, reason=reason)


def mean(numbers: Sequence[float | int], protocol: str, *, reason: str, unit: str = "") -> MetricValue:
    """Return the mean with its interval, the same in any order; `reason` says why there are no numbers."""
    if not numbers:
        return absent(protocol, reason, unit)
    return MetricValue(
        value=math.fsum(numbers) / len(numbers),
        n=len(numbers),
        protocol=protocol,
        unit=unit,
        interval=interval_of_mean(numbers),
    )


def tally(reasons: Iterable[str]) -> dict[str, int]:
    """Count reasons, the commonest first; "" is none."""
    counts = Counter(reason for reason in reasons if reason)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
