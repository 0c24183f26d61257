"""Candidates of formulas: protostructures that a model names or draws, each once, with their vectors."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descriptors.symmetry.labels import write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.backends import Backend, Samples
from repdiff.conditions import How, honoured
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.formula import Formula
from repdiff.crystals.resumable_parts import kept
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.phase_search.enumerate import name_of, system_name
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.shards import held_shard, write_shard

MAX_ROUNDS = 4  # in which formulas that lack distinct candidates are drawn again
PER_NEW = 4  # samples drawn in a round for each new one of the round before
LIKELIEST_SHARE = 0.75
NEEDED = frozenset({"composition", "chemical_system", "formula_units", "n_atoms"})
NO_PROTOSTRUCTURES = (
    "it was not trained with protostructures: train one of structrepdiff with `compositions` 'protostructure'"
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What is to be built, each candidate distinct from the others, in the order in which they take their turn.

    Attributes:
        names: A name each, such as "LiFeO2-003".
        made: Their vectors, or crystals where these were made at once.
        protostructures: Label of the protostructure that was drawn, by name; empty for crystals.
        n_asked: How many were asked for.
        n_drawn: How many samples were drawn for them.
        failed: Reason by name, of samples that have no protostructure.
    """

    names: Sequence[str]
    made: RepresentationBatch | Sequence[Crystal]
    protostructures: Mapping[str, str] = field(default_factory=dict)
    n_asked: int
    n_drawn: int
    failed: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the distinct candidates."""
        return len(self.names)

    def part(self, first: int, n: int) -> RepresentationBatch | list[Crystal]:
        """Return candidates number `first` to `first + n`, under their names."""
        places = range(first, min(first + n, len(self)))
        if isinstance(self.made, RepresentationBatch):
            return self.made.rows(places)
        return [self.made[place].replace(id=self.names[place]) for place in places]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How candidates are drawn.

    Attributes:
        backend: Trained model.
        formula_units: How many formula units the primitive cell may hold, such as "1-4".
        max_atoms: Atoms of the primitive cell at most.
        seed: Seed of the samples.
        steps: Denoising steps; None for what suits the sampler.
        options: Further options of the backend's sampling.
        likeliest_share: Share of the candidates of a formula that are its likeliest protostructures; the others are
            drawn.
    """

    backend: Backend
    formula_units: str
    max_atoms: int
    seed: int
    steps: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    likeliest_share: float = LIKELIEST_SHARE

    def how(self) -> dict[str, Any]:
        """Gather the arguments that `Backend.check` and `Backend.sample` have in common."""
        own = {"formula_units": self.formula_units, "n_atoms": f"1-{self.max_atoms}"}
        return {"steps": self.steps, "conditions": own, "options": self.options}

    def check_model(self, elements: Sequence[int], *, name: str) -> None:
        """Refuse a model that draws no protostructures, or lacks an element.

        Args:
            elements: Atomic numbers of the system.
            name: Name of the model, for the message.

        Raises:
            UserError: If it cannot be used.
        """
        how = honoured(self.backend.conditions)
        if not all(how.get(name) is How.EXACTLY for name in NEEDED):
            raise UserError(f"{name} cannot be asked for phases: {NO_PROTOSTRUCTURES}")
        system = system_name(elements)
        try:
            self.backend.check(conditions={"chemical_system": system}, options=dict(self.options))
        except UserError as error:
            why = NO_PROTOSTRUCTURES if "needs protostructures" in str(error) else str(error)
            raise UserError(f"{name} cannot be asked for {system}: {why}") from error

    def likeliest(self, shares: Mapping[Formula, int]) -> list[tuple[Formula, Protostructure]]:
        """List the likeliest protostructures of formulas, as many of each as its share of the candidates.

        Candidates that are ranked are all drawn.

        Args:
            shares: Candidates of each formula.
        """
        if self.options.get("keep_best") is not None:
            return []
        how = {"conditions": self.how()["conditions"], "options": self.options}
        bar = progress_bar(shares.items(), desc="comparing protostructures", unit="formula")
        return [
            (formula, one)
            for formula, n in bar
            if (most := math.ceil(n * self.likeliest_share))
            for one in self.backend.likeliest(dict(formula), most, **how)
        ]

    def refusal(self, formula: Formula) -> str:
        """Say why the model cannot make a formula; "" if it can."""
        try:
            self.backend.check(compositions=[dict(formula)], **self.how())
        except UserError as error:
            return str(error)
        return ""


def draw_candidates(drawing: Drawing, shares: Mapping[Formula, int], folder: Path) -> Candidates:
    """Draw candidates of formulas, each protostructure once; every round is on disk once it is drawn.

    The first round has the likeliest protostructures of each formula, which the model names; the others are drawn, so
    that there are prototypes among them which no training crystal has. A formula that has fewer distinct
    protostructures than candidates is drawn again, a few times; it may end with fewer. The candidates of all formulas
    take turns, so that whatever is done of them first covers all formulas.

    Args:
        drawing: How to draw.
        shares: Candidates of each formula that are wanted.
        folder: Keeps the rounds.

    Raises:
        UserError: If nothing could be drawn.
    """
    selection = _Selection(shares)
    bar = progress_bar(total=sum(shares.values()), desc="drawing", unit="candidate")
    with bar:
        for number in range(1 + MAX_ROUNDS):
            given: list[Protostructure] | None = None
            if number == 0:
                likely = drawing.likeliest(shares)
                asked, given = [formula for formula, _ in likely], [one for _, one in likely]
            elif not (asked := selection.missing()):
                break
            if not asked:
                continue
            made = _round(drawing, asked, given, number, selection.n_drawn, folder)
            if len(made) != len(asked):
                raise UserError(
                    f"{folder} holds {len(made)} samples of round {number}, expected {len(asked)}: it is of another "
                    "search or version; give the command again with `overwrite`, or name another folder"
                )
            before = selection.n_found
            selection.add(asked, made, drawn=given is None)
            bar.update(selection.n_found - before)
    if selection.n_found == 0:
        reason = next(iter(selection.failed.values()), "nothing was drawn")
        raise UserError(f"none of {selection.n_drawn} samples is a candidate; the first: {reason}")
    return selection.candidates()


class _Selection:
    """What was drawn so far, and which of it is kept."""

    def __init__(self, shares: Mapping[Formula, int]) -> None:
        self.shares = shares
        self.places = {formula: place for place, formula in enumerate(shares)}
        self.counts: Counter[Formula] = Counter()
        self.new: Counter[Formula] = Counter()  # of the last round
        self.seen: set[Protostructure] = set()
        self.kept: list[tuple[tuple[int, int], str, str, int, int]] = []  # turn, name, label, round, row
        self.rounds: list[Samples] = []
        self.n_rounds_drawn = 0
        self.failed: dict[str, str] = {}
        self.n_drawn = 0

    @property
    def n_found(self) -> int:
        return len(self.kept)

    def missing(self) -> list[Formula]:
        """List the formulas to draw next, each as often as is worth it.

        That is as often as it lacks candidates, and in later rounds more often, as far as the last one found new ones.
        """
        lacking = {formula: n - self.counts[formula] for formula, n in self.shares.items()}
        times = (
            lacking
            if self.n_rounds_drawn == 0
            else {
                formula: min(self.n_rounds_drawn * n, PER_NEW * self.new[formula])
                for formula, n in lacking.items()
            }
        )
        return [formula for formula, n in times.items() for _ in range(n)]

    def add(self, asked: Sequence[Formula], made: Samples, *, drawn: bool) -> None:
        """Keep what is new of a round, drawn or named by the model."""
        self.n_rounds_drawn += drawn
        found, before = _protostructures(made), Counter(self.counts)
        for row, (formula, one) in enumerate(zip(asked, found, strict=True)):
            name = f"{name_of(dict(formula))}-{self.counts[formula]:03d}"
            if self.counts[formula] == self.shares[formula]:
                continue
            if isinstance(one, str):
                self.failed[f"{name_of(dict(formula))}-drawn-{self.n_drawn + row:04d}"] = one
                continue
            label = ""
            if one is not None:
                if (same := canonical(one)) in self.seen:
                    continue
                self.seen.add(same)
                label = write_label(same)
            turn = (self.counts[formula], self.places[formula])
            self.kept.append((turn, name, label, len(self.rounds), row))
            self.counts[formula] += 1
        self.rounds.append(made)
        self.new = self.counts - before
        self.n_drawn += len(asked)

    def candidates(self) -> Candidates:
        """Put the kept ones into the order of their turns."""
        kept = sorted(self.kept)
        names = [name for _, name, *_ in kept]
        starts = [0]
        for made in self.rounds:
            starts.append(starts[-1] + len(made))
        rows = [starts[number] + row for *_, number, row in kept]
        return Candidates(
            names=names,
            made=_joined(self.rounds, rows, names),
            protostructures={name: label for _, name, label, *_ in kept if label},
            n_asked=sum(self.shares.values()),
            n_drawn=self.n_drawn,
            failed=self.failed,
        )


def _joined(
    rounds: Sequence[Samples], rows: Sequence[int], names: Sequence[str]
) -> RepresentationBatch | list[Crystal]:
    if isinstance(rounds[0].made, RepresentationBatch):
        batch = RepresentationBatch.joined([made.representations for made in rounds]).rows(rows)
        return RepresentationBatch(
            vectors=batch.vectors,
            layout=batch.layout,
            names=list(names),
            symmetry=batch.symmetry,
            templates=batch.templates,
        )
    crystals = [crystal for made in rounds for crystal in made.crystals]
    return [crystals[row] for row in rows]


def _protostructures(made: Samples) -> list[Protostructure | str | None]:
    """Return the protostructure of each sample, the reason where a vector has none, None for crystals."""
    if not isinstance(made.made, RepresentationBatch):
        return [None] * len(made)
    table = made.made.symmetry
    if table is None:
        return ["the model drew no protostructure"] * len(made)
    return [one or "no protostructure could be drawn for this formula" for one in table.protostructures]


def _round(
    drawing: Drawing,
    asked: Sequence[Formula],
    given: Sequence[Protostructure] | None,
    number: int,
    first: int,
    folder: Path,
) -> Samples:
    """Draw a round, of formulas or of protostructures that are given, or read it if it was drawn before."""
    crystals = folder / "drawn" / f"{number:05d}.parquet"
    if held := held_shard(folder, number):
        return Samples(made=held[0])
    if (drawn := kept(crystals, read_crystals)) is not None:
        return Samples(made=tuple(drawn))
    how = drawing.how() | ({} if given is None else {"conditions": None})  # which given protostructures obey
    made = drawing.backend.sample(
        len(asked),
        seed=drawing.seed,
        first=first,
        compositions=[dict(formula) for formula in asked] if given is None else None,
        protostructures=given,
        **how,
    )
    if isinstance(made.made, RepresentationBatch):
        write_shard(folder, number, made.made)
    else:
        crystals.parent.mkdir(parents=True, exist_ok=True)
        write_crystals(crystals, made.crystals)
    return made
