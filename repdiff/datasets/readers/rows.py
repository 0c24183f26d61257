"""What the readers of all formats hand over: rows that are crystals, texts to parse, or refusals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repdiff.crystals.crystal import RESERVED_COLUMNS, SPLITS, Crystal, Label
from repdiff.crystals.parse import parse_texts

STRUCTURE_COLUMNS = ("cif", "cif_string", "structure")
ID_COLUMNS = ("material_id", "id")
SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
STRUCTURE_FACTS = ("natoms", "nsites", "numbers", "frac", "pretty_formula")  # what the structure itself says
NO_LABELS = frozenset((*RESERVED_COLUMNS, *ID_COLUMNS, *STRUCTURE_COLUMNS, *STRUCTURE_FACTS))
MAX_LABEL_LENGTH = 200  # longer texts are documents, not labels


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
        reason: Why the row is refused already.
    """

    source: str
    row: int
    id: str
    content: Crystal | str | None
    form: str | None = None
    split: str | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    reason: str | None = None


def parse_rows(
    rows: Sequence[Row], *, progress: bool = True, processes: int | None = None
) -> list[tuple[Row, Crystal | str]]:
    """Turn every row into a crystal or the reason why there is none, in the order of the rows.

    A text that holds several crystals gives several pairs, named id#1, id#2, ...
    """
    texts = [(row.content, row.form) for row in rows if isinstance(row.content, str)]
    parsed = iter(parse_texts(texts, progress=progress, processes=processes))
    pairs: list[tuple[Row, Crystal | str]] = []
    for row in rows:
        if row.reason is not None or row.content is None:
            pairs.append((row, row.reason or "no structure"))
        elif isinstance(row.content, Crystal):
            pairs.append((row, row.content))
        else:
            results = next(parsed)
            for number, result in enumerate(results, start=1):
                name = row.id if len(results) == 1 else f"{row.id}#{number}"
                pairs.append(
                    (
                        row,
                        result
                        if isinstance(result, str)
                        else Crystal(
                            id=name,
                            atomic_numbers=result.atomic_numbers,
                            lattice=result.lattice,
                            frac_coords=result.frac_coords,
                            split=row.split,
                            labels=row.labels,
                        ),
                    )
                )
    return pairs


def row_of(
    source: Path | str,
    row: int,
    content: Crystal | str | None,
    facts: Mapping[str, Any],
    *,
    id: str | None = None,
    form: str | None = None,
    reason: str | None = None,
) -> Row:
    """Make a row, taking its name, split and labels out of what the source says of it.

    The name is `material_id` or `id` of the facts, else `id`, else the row number. Scalars under other names
    become labels, except those that the structure itself says ("natoms"). A split that is none of train, val
    and test becomes the label "split_name".
    """
    given = [str(facts[key]) for key in ID_COLUMNS if not _is_missing(facts.get(key))]
    name = given[0] if given else id if id is not None else str(row)
    split = split_name(facts.get("split"))
    labels = {
        key: clean_label(value) for key, value in facts.items() if key not in NO_LABELS and is_scalar(value)
    }
    if split is None and not _is_missing(facts.get("split")):
        labels["split_name"] = str(facts["split"])
    if isinstance(content, Crystal):
        content = content.replace(id=name, split=split, labels=labels)
    return Row(
        source=str(source),
        row=row,
        id=name,
        content=content,
        form=form,
        split=split,
        labels=labels,
        reason=reason,
    )


def reasons_by_name(rejected: Iterable[Rejection]) -> dict[str, str]:
    """Return the reasons of what was rejected by its name, or its row where it has none or the name occurs again."""
    reasons: dict[str, str] = {}
    for entry in rejected:
        name = entry.id or f"row {entry.row}"
        reasons[f"{name} (row {entry.row})" if name in reasons else name] = entry.reason
    return reasons


def split_name(value: object) -> str | None:
    """Read the name of a split, long forms ("validation") included; None for anything else."""
    name = str(value).strip().lower()
    name = SPLIT_NAMES.get(name, name)
    return name if name in SPLITS else None


def is_scalar(value: object) -> bool:
    """Tell whether a value can be a label: a number, a short text of one line, or nothing."""
    if isinstance(value, str):
        return len(value) <= MAX_LABEL_LENGTH and "\n" not in value
    return value is None or isinstance(value, bool | int | float | np.integer | np.floating | np.bool_)


def clean_label(value: object) -> Label:
    """Turn numpy scalars and truth values into plain numbers, and NaN into None."""
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, bool | int | np.integer | np.bool_):
        return int(value)
    raise TypeError(f"a label is a {type(value).__name__}, expected a number or a text")


def typed_columns(columns: Mapping[str, Sequence[str | None]]) -> dict[str, list[Label]]:
    """Give every column of texts the narrowest type that fits all of it: int, float, or text."""
    return {name: _typed(values) for name, values in columns.items()}


def _typed(values: Sequence[str | None]) -> list[Label]:
    given = [value for value in values if value not in (None, "")]
    for kind in (int, float):
        if given and _all(kind, given):
            return [clean_label(kind(value)) if value not in (None, "") else None for value in values]
    return [value or None for value in values]


def _all(kind: type[int] | type[float], values: Iterable[str | None]) -> bool:
    try:
        for value in values:
            kind(value)  # ty: ignore
    except ValueError:
        return False
    return True


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float | np.floating) and math.isnan(value))
