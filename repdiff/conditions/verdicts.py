"""Finished crystals beside what was asked of them: columns for the table, rates, and what counts as not made."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from repdiff.conditions.asked import Asked
from repdiff.conditions.contradictions import allowed_groups
from repdiff.conditions.facts import Facts, read_facts
from repdiff.conditions.how import How
from repdiff.conditions.kinds import Condition
from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.crystal_set import CrystalSet

ASKED, OBTAINED, WITHIN = "_asked", "_obtained", "_within"  # endings of columns
BINDING = (How.EXACTLY, How.SELECTED)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was asked of one crystal, what it has, and whether that is within what was asked.

    Attributes:
        asked: What was asked, as text.
        obtained: Read off the crystal; None where it cannot be.
        within: None where no crystal tells.
    """

    asked: str
    obtained: Label
    within: bool | None


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often a condition was met.

    Attributes:
        asked: What was asked, as text; how many there are, if samples were asked for different ones.
        how: How it is honoured.
        n: Crystals that were made.
        n_within: Those of them that obey; None where no crystal tells.
    """

    asked: str
    how: How
    n: int
    n_within: int | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Crystals with the columns of what was asked, and the rates.

    Attributes:
        crystals: Those that count; `failed` has the others too, which do not obey what is honoured exactly or by
            selection.
        rates: Rates by the name of the condition.
        missed: Crystals that were made and do not count, with the same columns.
    """

    crystals: CrystalSet
    rates: Mapping[str, Rate] = field(default_factory=dict)
    missed: Sequence[Crystal] = ()

    def summary(self) -> dict[str, object]:
        """Return the rates for the summary of a run; nothing if nothing was asked."""
        if not self.rates:
            return {}
        return {
            "conditions": {name: asdict(rate) for name, rate in self.rates.items()},
            "n_not_as_asked": len(self.missed),
        }

    def lines(self) -> list[str]:
        """Say the rates in words, a line each, and how many crystals do not count."""
        if not self.rates:
            return []
        said = [
            f"{name} {rate.asked} ({rate.how.value}): "
            + (
                f"of {rate.n} crystals, none tells it"
                if rate.n_within is None
                else f"{rate.n_within} of {rate.n} crystals made obey"
            )
            for name, rate in self.rates.items()
        ]
        if self.missed:
            said.append(f"{len(self.missed)} crystals that do not obey count as not made")
        return said


def verdicts(
    crystals: Sequence[Crystal], asked: Sequence[Sequence[Condition]], *, progress: bool = False
) -> list[dict[str, Verdict]]:
    """Judge crystals.

    Args:
        crystals: Crystals of any quality.
        asked: What is asked of each.
        progress: Show a bar on stderr, where there are very many.
    """
    names = {one.name for some in asked for one in some}
    symmetry = allowed_groups({one.name: one for some in asked for one in some}) is not None
    facts = read_facts(crystals, symmetry=symmetry, progress=progress) if names else [None] * len(crystals)
    return [
        {} if fact is None else {one.name: _verdict(one, fact) for one in some}
        for fact, some in zip(facts, asked, strict=True)
    ]


def judge(found: CrystalSet, asked: Asked, names: Sequence[str], *, progress: bool = False) -> Judged:
    """Put what was asked and obtained beside each crystal, and count as not made what does not obey.

    Args:
        found: What was made of the samples, and what failed.
        asked: What was asked of them.
        names: Names of all samples, in the order of their numbers.
        progress: Show a bar on stderr, where there are very many.
    """
    if not asked:
        return Judged(crystals=found)
    number = {name: place for place, name in enumerate(names)}
    wanted = [asked.of_sample(number[crystal.id]) for crystal in found.crystals]
    told = verdicts(found.crystals, wanted, progress=progress)
    kept, missed, reasons = [], [], {}
    for crystal, verdict in zip(found.crystals, told, strict=True):
        labelled = crystal.replace(labels={**crystal.labels, **columns(verdict)})
        if reason := _reason(verdict, asked):
            reasons[crystal.id] = reason
            missed.append(labelled)
        else:
            kept.append(labelled)
    everything = {**found.failed, **reasons}
    failed = {name: everything[name] for name in sorted(everything, key=lambda name: number.get(name, -1))}
    judged = Judged(crystals=found, rates=rates_of([*kept, *missed], asked), missed=missed)
    crystals = replace(found, crystals=kept, failed=failed, remarks=(*found.remarks, *judged.lines()))
    return replace(judged, crystals=crystals)


def _reason(verdict: Mapping[str, Verdict], asked: Asked) -> str:
    """Say why a crystal does not count; "" if it does."""
    return "; ".join(
        f"{name} is {one.obtained}, asked for was {one.asked}"
        for name, one in verdict.items()
        if _how(asked, name) in BINDING and one.within is not True
    )


def columns(verdict: Mapping[str, Verdict]) -> dict[str, Label]:
    """Return the columns of one crystal."""
    found: dict[str, Label] = {}
    for name, one in verdict.items():
        found |= {
            f"{name}{ASKED}": one.asked,
            f"{name}{OBTAINED}": one.obtained,
            f"{name}{WITHIN}": one.within,
        }
    return found


def _verdict(condition: Condition, facts: Facts) -> Verdict:
    return Verdict(asked=condition.text, obtained=condition.obtained(facts), within=condition.holds(facts))


def _how(asked: Asked, name: str) -> How:
    return asked.how.get(name, How.EXACTLY)


def rates_of(crystals: Iterable[Crystal], asked: Asked) -> dict[str, Rate]:
    """Count how often each condition was met.

    Args:
        crystals: Crystals that were made, with the columns that `judge` gave them, whether they count or not; gone
            through once.
        asked: What was asked of them.
    """
    names = [one.name for one in asked.of_sample(0)]
    texts: dict[str, set[str]] = {name: set() for name in names}
    n, n_told, n_within = Counter[str](), Counter[str](), Counter[str]()
    for crystal in crystals:
        for name in names:
            if f"{name}{ASKED}" not in crystal.labels:
                continue
            within = crystal.labels[f"{name}{WITHIN}"]
            texts[name].add(str(crystal.labels[f"{name}{ASKED}"]))
            n[name] += 1
            n_told[name] += within is not None
            n_within[name] += within is True
    return {
        name: Rate(
            asked=_text(name, texts[name], asked),
            how=_how(asked, name),
            n=n[name],
            n_within=n_within[name] if n_told[name] or not n[name] else None,
        )
        for name in names
    }


def _text(name: str, texts: Collection[str], asked: Asked) -> str:
    """Say what was asked of all crystals together."""
    if (own := asked.conditions.get(name)) is not None:
        return own.text
    return next(iter(texts)) if len(texts) == 1 else f"{len(texts)} formulas"
