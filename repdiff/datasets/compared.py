"""What crystals are compared with: the sets that were named, and those that follow from them where none was."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.datasets.sources import CrystalSets, each_name, split_name

DEFAULT_BENCHMARK = "mp_20"
Known = str | CrystalSet  # by name, or in hand


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The sets that crystals are compared with, by name or in hand.

    Attributes:
        reference: Known crystals to compare with.
        training: Crystals that the model was trained on.
        novelty: Sets whose crystals are not new in S.U.N.; empty if none was named and none was asked for.
        benchmark: Benchmark that has the published thresholds to use; None where no set names one.
    """

    reference: Known | None
    training: Known | None
    novelty: tuple[Known, ...]
    benchmark: str | None

    @property
    def thresholds(self) -> str:
        """The benchmark, or the default one."""
        return self.benchmark or DEFAULT_BENCHMARK

    @property
    def names(self) -> list[str]:
        """Names of all sets that have to be read, each once."""
        given = (self.reference, self.training, *self.novelty)
        return list(dict.fromkeys(known for known in given if isinstance(known, str)))


def choose_compared(
    sets: CrystalSets,
    *,
    reference: Known | None,
    training: Known | None,
    novelty: Known | None,
    benchmark: str | None,
    stability: bool,
) -> Compared:
    """Complete the sets that were named.

    The training set is by default the training split of the data set that the reference is a test or validation split
    of. New is by default what neither the whole data set of the training set nor that of the reference holds: the
    model was trained on the one, and the hull may be built from the other. The thresholds are those of the benchmark
    that the reference is part of.

    Args:
        sets: Where names are looked up.
        reference: Known crystals to compare with, if any.
        training: What the model was trained on, if it is said.
        novelty: What is not new in S.U.N., if it is said; a text may name several sets, separated by commas.
        benchmark: The benchmark, if it is said.
        stability: Whether there are energies, so that a default of `novelty` is wanted.

    Raises:
        UserError: If the reference's data set cannot be read.
    """
    named = reference if isinstance(reference, str) else None
    training = sets.training_of(named) if training is None else training
    known_sets: list[Known] = []
    if novelty is not None:
        known_sets = [*each_name(novelty)] if isinstance(novelty, str) else [novelty]
    for known in (training, reference) if stability and novelty is None else ():
        whole = split_name(known)[0] if isinstance(known, str) else known
        if whole is not None and (not isinstance(whole, str) or whole not in known_sets):
            known_sets.append(whole)
    source = split_name(named or "")[0]
    return Compared(
        reference=reference,
        training=training,
        novelty=tuple(known_sets),
        benchmark=benchmark or (source if source in BENCHMARKS else None),
    )


def read_known(known: Known | None, sets: CrystalSets) -> CrystalSet | None:
    """Read a set that is given by name; None of None.

    Raises:
        UserError: If it cannot be read.
    """
    return sets.known_set(known) if isinstance(known, str) else known


def read_together(known: Sequence[Known], sets: CrystalSets) -> CrystalSet | None:
    """Read sets as one, with what could not be read of all of them; None of none.

    Raises:
        UserError: If one cannot be read.
    """
    parts = [read for one in known if (read := read_known(one, sets)) is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    refused = sum((Counter(part.refused) + Counter(part.failed.values()) for part in parts), Counter[str]())
    return CrystalSet(
        name=", ".join(part.name for part in parts),
        crystals=[crystal for part in parts for crystal in part.crystals],
        refused=dict(refused.most_common()),
    )
