"""Rows to crystals that can be used, those that cannot with the reason, and what was changed on reading."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from repdiff.crystals.checks import check_crystals, check_sizes
from repdiff.crystals.crystal import Crystal
from repdiff.datasets.readers.rows import NOT_FINITE, Rejection, Row, parse_rows
from repdiff.settings.limits import cut, shown

MP_20 = "mp_20"
RECONSTRUCTED_NOTE = "MP-20 (reconstructed train split)"  # results on it must bear this name
LEAK_LABEL = "matches_val_test"
N_NAMED = 5  # of a kind; the rest is counted


@dataclass(kw_only=True)
class Told:
    """What is to be told of rows that were read, counted; those of several blocks can be added up.

    Attributes:
        notes: Number of rows by what was changed or left out.
        named: The first names of those whose label was left empty, by the note.
        splits: Number of rows by the name of a split that nobody knows.
        unread: The first things that were not read, each with its reason.
        n_unread: Number of all that were not read.
        reconstructed: Whether a row says that it is of the reconstructed MP-20.
    """

    notes: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    n_unread: int = 0
    reconstructed: bool = False

    def count(self, row: Row) -> None:
        """Count a row that could be read."""
        for note in dict.fromkeys(row.notes):
            self.notes[note] = self.notes.get(note, 0) + 1
            if note.endswith(NOT_FINITE) and len(names := self.named.setdefault(note, [])) < N_NAMED:
                names.append(cut(row.id))
        if (split := row.labels.get("split_name")) is not None:
            self.splits[str(split)] = self.splits.get(str(split), 0) + 1

    def add(self, other: "Told") -> None:
        """Add what is told of the rows after these."""
        for note, count in other.notes.items():
            self.notes[note] = self.notes.get(note, 0) + count
        for note, names in other.named.items():
            self.named[note] = [*self.named.get(note, ()), *names][:N_NAMED]
        for split, count in other.splits.items():
            self.splits[split] = self.splits.get(split, 0) + count
        self.unread = [*self.unread, *other.unread][:N_NAMED]
        self.n_unread += other.n_unread
        self.reconstructed = self.reconstructed or other.reconstructed

    def remarks(self) -> tuple[str, ...]:
        """Say what was changed or left out, what was not read, and which splits nobody knows."""
        remarks = [f"{count} × {note}{self._names(note)}" for note, count in self.notes.items()]
        if self.splits:
            most = Counter(self.splits).most_common(N_NAMED)
            named = ", ".join(f"{shown(split)} ({count})" for split, count in most)
            remarks.append(f"unknown splits, expected train, val or test: {named}{_more(len(self.splits))}")
        if self.n_unread:
            remarks.append(f"{self.n_unread} files not read: {', '.join(self.unread)}{_more(self.n_unread)}")
        return tuple(remarks)

    def note(self, name: str) -> str | None:
        """Return what results on a data set of some name must say; None for nothing."""
        return RECONSTRUCTED_NOTE if name == MP_20 and self.reconstructed else None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; `Told(**...)` takes them."""
        return asdict(self)

    def _names(self, note: str) -> str:
        if note not in self.named:
            return ""
        return f": {', '.join(self.named[note])}{_more(self.notes[note])}"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Rows of a source, judged.

    Attributes:
        crystals: Those that can be used, in the order of the rows.
        rejected: The others, in their order.
        told: What was changed or left out.
    """

    crystals: list[Crystal]
    rejected: list[Rejection]
    told: Told


def judge_rows(
    rows: Sequence[Row],
    *,
    name: str,
    max_atoms: int | None = None,
    sound_only: bool = True,
    progress: bool = True,
    processes: int | None = None,
) -> Judged:
    """Parse and check rows; bad ones never stop it. What is not read at all is no row, but told.

    Args:
        rows: Rows that follow one another.
        name: Name of the data set.
        max_atoms: Refuse larger cells.
        sound_only: False keeps what is not fit for use; only cells of more than 3000 atoms are refused.
        progress: Show bars on stderr.
        processes: Worker processes that parse texts; None takes one per core.
    """
    left_out = [row for row in rows if row.unread]
    told = Told(
        unread=[f"{cut(row.id)} ({row.reason})" for row in left_out[:N_NAMED]],
        n_unread=len(left_out),
        reconstructed=any(LEAK_LABEL in row.labels for row in rows),
    )
    pairs = parse_rows(rows, progress=progress, processes=processes)
    found = [crystal for _, crystal in pairs if isinstance(crystal, Crystal)]
    check = check_crystals if sound_only else check_sizes
    reasons = iter(check(found, max_atoms, progress=progress))
    crystals: list[Crystal] = []
    rejected: list[Rejection] = []
    for row, result in pairs:
        reason = result if isinstance(result, str) else next(reasons)
        if isinstance(result, Crystal):
            told.count(row)
            if reason is None and name == MP_20 and _leaks(result):
                reason = "left out of train: its structure is in val or test"
        if isinstance(result, Crystal) and reason is None:
            crystals.append(result)
        else:
            rejected.append(Rejection(source=row.source, row=row.row, id=row.id, reason=str(reason)))
    return Judged(crystals=crystals, rejected=rejected, told=told)


def all_bad(source: str, reasons: Counter[str]) -> str:
    """Say that no row of a source can be used, given how often each reason occurs."""
    if not reasons:
        return f"{source} holds no crystal, expected at least one"
    listed = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    return f"none of the {reasons.total()} rows of {source} can be used: {listed}"


def _leaks(crystal: Crystal) -> bool:
    return crystal.split == "train" and bool(crystal.labels.get(LEAK_LABEL))


def _more(n: int) -> str:
    return f" and {n - N_NAMED} more" if n > N_NAMED else ""
