"""What the readers of all formats hand over: rows that are crystals, texts to parse, or refusals."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from repdiff.crystals.arrays import Arrays
from repdiff.crystals.crystal import RESERVED_COLUMNS, SPLITS, Crystal, Label
from repdiff.crystals.label_names import free_name
from repdiff.crystals.parse import parse_texts
from repdiff.datasets.readers.stated import STATED, disagreeing
from repdiff.settings.paths import readable

STRUCTURE_COLUMNS = ("cif", "cif_string", "structure")
# the first that is there names
ID_COLUMNS = ("material_id", "id", "entry_id", "mat_id", "immutable_id", "jid")
SPLIT_NAMES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
NO_LABELS = frozenset((*STRUCTURE_COLUMNS, *STATED, "split"))
TAKEN = frozenset((*RESERVED_COLUMNS, "numbers", "frac")) - NO_LABELS  # names that mean arrays
INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)$")
NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|[+-]?(inf|infinity|nan)$", re.I
)
BOOLEANS = {"true": True, "false": False}
BOOLS, INTEGERS, FLOATS = (bool, np.bool_), (int, np.integer), (float, np.floating)
SCALARS = (
    str,
    type(None),
    *BOOLS,
    *INTEGERS,
    *FLOATS,
    Decimal,
    date,
    time,
    np.datetime64,
)  # that can be labels
BAD_STRUCTURE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
NOT_FINITE = "is left empty: no finite number"  # ends the note on such a label
REASON_LENGTH, LONGEST_REASON = 200, 1500  # characters: of a structure, and with names of files
LARGEST_INTEGER = 2**63 - 1  # that a column of a table can hold
EXACT_INTEGER = 2**53  # beyond it a float has lost digits
LONGEST_INTEGER = 25  # characters; longer ones are above 64 bits, and Python does not read thousands


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A row that gave no crystal: where it stood, what it was called, and why it was refused."""

    source: str
    row: int
    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a source, before it is parsed and checked.

    Attributes:
        source: The file it is from.
        row: Its place there, from 0.
        id: Its name.
        content: A crystal, a text to be parsed, or None if `reason` says why there is neither.
        form: Format of the text, one of `parse.FORMATS`, or None to recognise it.
        split: "train", "val", "test" or None.
        labels: Scalars that came with it.
        stated: What the source says of the structure itself, to be compared with it.
        reason: Why the row is refused already.
        notes: What was changed or left out on reading, in words that can be counted.
        unread: True for what is no crystal and was not read, such as a text file in a folder.
    """

    source: str
    row: int
    id: str
    content: Crystal | str | None
    form: str | None = None
    split: str | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    stated: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    notes: tuple[str, ...] = ()
    unread: bool = False


def parse_rows(
    rows: Sequence[Row], *, progress: bool = True, processes: int | None = None
) -> list[tuple[Row, Crystal | str]]:
    """Turn every row into a crystal or the reason why there is none, in the order of the rows.

    A text that holds several crystals gives several pairs, whose rows are named id#1, id#2, ... Rows that were
    not read give none.
    """
    texts = [(row.content, row.form) for row in rows if isinstance(row.content, str) and not row.unread]
    parsed = iter(parse_texts(texts, progress=progress, processes=processes))
    pairs: list[tuple[Row, Crystal | str]] = []
    for row in rows:
        if row.unread:
            continue
        if row.reason is not None or row.content is None:
            pairs.append((row, row.reason or "no structure"))
        elif isinstance(row.content, Crystal):
            pairs.append((_compared(row, row.content), row.content))
        else:
            pairs += _pairs_of(row, next(parsed))
    return pairs


def _pairs_of(row: Row, results: Sequence[Arrays | str]) -> list[tuple[Row, Crystal | str]]:
    pairs: list[tuple[Row, Crystal | str]] = []
    for number, result in enumerate(results, start=1):
        named = row if len(results) == 1 else replace(row, id=f"{row.id}#{number}")
        if isinstance(result, str):
            pairs.append((named, result))
            continue
        crystal = crystal_of(result, id=named.id, split=row.split, labels=row.labels)
        pairs.append((_compared(replace(named, notes=(*row.notes, *result.notes)), crystal), crystal))
    return pairs


def _compared(row: Row, crystal: Crystal) -> Row:
    return replace(row, notes=(*row.notes, *disagreeing(row.stated, crystal))) if row.stated else row


def crystal_of(
    arrays: Arrays, *, id: str = "", split: str | None = None, labels: Mapping[str, Label] | None = None
) -> Crystal:
    """Give arrays a name, a split and labels."""
    return Crystal(
        id=id,
        atomic_numbers=arrays.atomic_numbers,
        lattice=arrays.lattice,
        frac_coords=arrays.frac_coords,
        split=split,
        labels=labels or {},
    )


def row_of(
    source: Path | str,
    row: int,
    content: Crystal | str | None,
    facts: Mapping[str, Any],
    *,
    id: str | None = None,
    form: str | None = None,
    reason: str | None = None,
    notes: Sequence[str] = (),
    suffix: str = "",
) -> Row:
    """Make a row, taking its name, split and labels out of what the source says of it.

    The first of `ID_COLUMNS` among the facts names it, else `id`, else the row number, `suffix` behind it. Scalars
    under other names become labels (infinite ones are left empty, and noted), except those that the structure itself
    says ("natoms"), which are compared
    with it; a name that is taken ("id", "lattice") gets "_label" behind it. A split that is none of train, val and
    test becomes the label "split_name". What is no scalar is noted.
    """
    naming = next((key for key in ID_COLUMNS if not _is_missing(facts.get(key))), None)
    name = plain_text((str(facts[naming]) if naming else id if id is not None else str(row)) + suffix)
    split = split_name(facts.get("split"))
    labels, left = {}, []
    for key, value in ((plain_text(str(key)), value) for key, value in facts.items()):
        if key in NO_LABELS or key == naming:
            continue
        if key in TAKEN and (not is_scalar(value) or str(value).lstrip().startswith("[")):
            continue  # the arrays of the structure
        if is_scalar(value):
            called = free_name(key, facts) if key in TAKEN else key
            labels[called] = clean_label(value)
            if isinstance(value, FLOATS) and math.isinf(value):
                labels[called] = None
                left.append(f"the label {key!r} of {value:g} {NOT_FINITE}")
            if key in TAKEN - {"id"}:
                left.append(f"label {key!r} is called {called!r}: the name is taken")
        else:
            left.append(f"{key!r} is no label: {_what(value)}")
    if split is None and not _is_missing(facts.get("split")):
        labels["split_name"] = plain_text(str(facts["split"]))
    if isinstance(content, Crystal):
        content = content.replace(id=name, split=split, labels=labels)
    return Row(
        source=readable(str(source)),
        row=row,
        id=name,
        content=content,
        form=form,
        split=split,
        labels=labels,
        stated={key: facts[key] for key in STATED if not _is_missing(facts.get(key))},
        reason=None if reason is None else plain_text(readable(reason))[:LONGEST_REASON],
        notes=(*notes, *left),
    )


def plain_text(text: str) -> str:
    r"""Return a text as UTF-8 can hold it: halves of signs, as JSON can state them, are written as \udxxx."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def reason_of(error: Exception) -> str:
    """Say in one line why a structure is refused, given what a reader raised at it."""
    told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
    return " ".join(told.split())[:REASON_LENGTH]


def reasons_by_name(rejected: Iterable[Rejection]) -> dict[str, str]:
    """Return the reasons of what was rejected by its name, or its row where it has none or the name occurs again."""
    reasons: dict[str, str] = {}
    for entry in rejected:
        name = entry.id or f"row {entry.row}"
        reasons[f"{name} (row {entry.row})" if name in reasons else name] = entry.reason
    return reasons


def unread(source: Path | str, name: str, reason: str) -> Row:
    """Make the row of something that was not read, so that it is counted and named."""
    return Row(source=readable(str(source)), row=0, id=name, content=None, reason=reason, unread=True)


def split_name(value: object) -> str | None:
    """Read the name of a split, long forms ("validation") included; None for anything else."""
    name = str(value).strip().lower()
    name = SPLIT_NAMES.get(name, name)
    return name if name in SPLITS else None


def is_scalar(value: object) -> bool:
    """Tell whether a value can be a label: a number, a truth value, a date, a text of one line, or nothing."""
    if isinstance(value, str):
        return "\n" not in value
    return isinstance(value, SCALARS)


def clean_label(value: object) -> Label:
    """Turn a scalar into a label of the same value.

    Numpy scalars become plain ones, dates ISO texts, decimals numbers where these have as many digits, and
    integers above 64 bits texts. NaN, NaT and "" become None; infinities stay, for the caller to refuse.
    """
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, BOOLS):
        return bool(value)
    if isinstance(value, INTEGERS):
        return int(value) if -LARGEST_INTEGER <= int(value) <= LARGEST_INTEGER else str(value)
    if isinstance(value, FLOATS):
        return float(value)
    if isinstance(value, Decimal):
        if value == value.to_integral_value() and value.as_tuple().exponent == 0:
            return clean_label(int(value))
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    raise TypeError(f"a label is a {type(value).__name__}, expected a number or a text")


def is_number(text: str) -> bool:
    """Say whether a text is a number and no name of digits such as 0012, 1_2 or an integer above 64 bits."""
    return bool(NUMBER.match(text)) and not (INTEGER.match(text) and abs(int(text)) > LARGEST_INTEGER)


class ColumnKind:
    """The narrowest type that fits all texts of a column, which are added one by one: bool, int, float, or text.

    Numbers that are names stay texts: 0012, 1_2, and integers above 64 bits.

    Example:
        >>> kind = ColumnKind()
        >>> for text in ("1", "", "0.5"):
        ...     kind.add(text)
        >>> kind.label_of("1"), kind.label_of("")
        (1.0, None)
    """

    def __init__(self) -> None:
        self._booleans = self._integers = self._numbers = True
        self._largest, self._any = 0, False

    def add(self, text: str | None) -> None:
        """Take a text of the column into account; empty ones do not count."""
        if not text or not (self._booleans or self._numbers):
            return
        self._any = True
        self._booleans = self._booleans and text.lower() in BOOLEANS
        if INTEGER.match(text):
            size = abs(int(text)) if len(text) <= LONGEST_INTEGER else LARGEST_INTEGER + 1
            self._largest = max(self._largest, size)
        else:
            self._integers = False
            self._numbers = self._numbers and NUMBER.match(text) is not None

    def label_of(self, text: str | None) -> Label:
        """Return a text of the column as the type that fits all that were added."""
        if not text:
            return None
        if self._any and self._booleans:
            return BOOLEANS[text.lower()]
        if self._any and self._integers and self._largest <= LARGEST_INTEGER:
            return int(text)
        if self._any and self._numbers and self._largest <= EXACT_INTEGER:
            return clean_label(float(text))
        return text


def typed_columns(columns: Mapping[str, Sequence[str | None]]) -> dict[str, list[Label]]:
    """Give every column of texts the narrowest type that fits all of it, see `ColumnKind`."""
    found: dict[str, list[Label]] = {}
    for name, texts in columns.items():
        kind = ColumnKind()
        for text in texts:
            kind.add(text)
        found[name] = [kind.label_of(text) for text in texts]
    return found


def _what(value: object) -> str:
    if isinstance(value, str):
        return "a text of several lines"
    return f"a {type(value).__name__}"


def _is_missing(value: object) -> bool:
    if value is None or (isinstance(value, str) and not value):
        return True
    if isinstance(value, FLOATS):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    return str(value) == "NaT" and not isinstance(value, str)
