"""One word to a data set: the prototypes, a named benchmark, or any path."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from repdiff.crystals.checks import check_crystals, check_sizes
from repdiff.crystals.convert import distinct_names
from repdiff.crystals.crystal import Crystal
from repdiff.datasets.benchmarks import BENCHMARKS, find_benchmark
from repdiff.datasets.dataset import Dataset, with_splits
from repdiff.datasets.download import verify_download
from repdiff.datasets.readers.any_path import hash_inputs, read_path
from repdiff.datasets.readers.rows import NOT_FINITE, Rejection, Row, parse_rows, row_of
from repdiff.datasets.splits import draw_rows
from repdiff.errors import UserError, did_you_mean
from repdiff.settings.limits import cut, shown
from repdiff.settings.paths import home_expanded, opening

PROTOTYPES = "prototypes"
RECONSTRUCTED_NOTE = "MP-20 (reconstructed train split)"  # results on it must bear this name
LEAK_LABEL = "matches_val_test"
N_NAMED = 5  # of a kind; the rest is counted
log = logging.getLogger(__name__)


def load_dataset(
    source: str,
    *,
    data_dir: Path | None,
    downloads: Path | None = None,
    max_atoms: int | None = None,
    progress: bool = True,
    limit: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    sound_only: bool = True,
) -> Dataset:
    """Read, check and split a data set. Bad rows never stop it: they are listed with their reasons.

    Splits of the source are kept when all its crystals name one, otherwise drawn by `assign_splits`. A name
    that occurs again gets "#2", "#3", ... behind it, be it of a crystal or of a row that was refused.

    Args:
        source: "prototypes", a benchmark ("perov_5", "carbon_24", "mp_20"), or a path (see `read_path`).
        data_dir: Folder to look for benchmarks in, before `downloads`.
        downloads: Folder where downloads go, `<workspace>/data`.
        max_atoms: Refuse larger cells.
        progress: Show bars on stderr.
        limit: Take only so many rows, chosen at random by `seed`, in the order of the source.
        seed: Seed of the choice of rows and of drawn splits.
        processes: Worker processes that parse texts; None takes one per core.
        sound_only: False keeps what could be read but is not fit for use, such as overlapping atoms; only cells
            of more than 3000 atoms are still refused. No splits are drawn then, and all may be bad.

    Raises:
        UserError: If the source is unknown, absent, unreadable or empty, or all its rows are bad.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}, expected at least 1 row")
    rows, hashes, name = _read(source, [place for place in (data_dir, downloads) if place is not None])
    note = RECONSTRUCTED_NOTE if name == "mp_20" and any(LEAK_LABEL in row.labels for row in rows) else None
    left_out = [row for row in rows if row.unread]
    rows = [row for row in rows if not row.unread]
    rows = [rows[number] for number in draw_rows(len(rows), limit, seed)]
    pairs = parse_rows(rows, progress=progress, processes=processes)
    found = [crystal for _, crystal in pairs if isinstance(crystal, Crystal)]
    check = check_crystals if sound_only else check_sizes
    reasons = iter(check(found, max_atoms, progress=progress))
    crystals: list[Crystal] = []
    rejected: list[Rejection] = []
    for row, result in pairs:
        reason = result if isinstance(result, str) else next(reasons)
        if isinstance(result, Crystal) and reason is None and note and _leaks(result):
            reason = "left out of train: its structure is in val or test"
        if isinstance(result, Crystal) and reason is None:
            crystals.append(result)
        else:
            rejected.append(Rejection(source=row.source, row=row.row, id=row.id, reason=str(reason)))
    if not crystals and (sound_only or not rejected):
        raise UserError(_all_bad(source, rejected))
    (crystals, rejected), split_note = _with_unique_ids(crystals, rejected), None
    remarks = _remarks([row for row, result in pairs if isinstance(result, Crystal)], left_out)
    for remark in remarks:
        log.warning("%s: %s", name, remark)
    if sound_only:
        crystals, split_note = with_splits(crystals, seed)
    notes = [text for text in (note, split_note) if text]
    return Dataset(
        name=name,
        crystals=crystals,
        rejected=rejected,
        input_hashes=hashes,
        note="; ".join(notes) or None,
        remarks=remarks,
    )


def _read(source: str, places: Sequence[Path]) -> tuple[list[Row], dict[str, str], str]:
    """Read the rows of a source, with the hashes of its files and its name."""
    path = home_expanded(source)
    if source == PROTOTYPES:
        from repdiff.datasets.prototypes.build import build_prototypes

        crystals = build_prototypes()
        rows = [
            row_of(
                PROTOTYPES, row, crystal, {"id": crystal.id, "split": crystal.split} | dict(crystal.labels)
            )
            for row, crystal in enumerate(crystals)
        ]
        return rows, {}, PROTOTYPES
    if source in BENCHMARKS:
        path = find_benchmark(source, places)
        hashes = hash_inputs(path)
        verify_download(path, hashes)
        return read_path(path), hashes, source
    with opening(path):
        exists = path.exists()
    if not exists:
        known = [PROTOTYPES, *BENCHMARKS]
        raise UserError(
            f"{source!r} is neither a path nor a data set; known: {', '.join(known)}."
            + did_you_mean(source, known)
        )
    return read_path(path), hash_inputs(path), path.resolve().name.split(".")[0] or "data"


def _leaks(crystal: Crystal) -> bool:
    return crystal.split == "train" and bool(crystal.labels.get(LEAK_LABEL))


def _all_bad(source: str, rejected: Sequence[Rejection]) -> str:
    if not rejected:
        return f"{source} holds no crystal, expected at least one"
    reasons = Counter(rejection.reason for rejection in rejected).most_common(3)
    listed = "; ".join(f"{count} × {reason}" for reason, count in reasons)
    return f"none of the {len(rejected)} rows of {source} can be used: {listed}"


def _remarks(rows: Sequence[Row], left_out: Sequence[Row]) -> tuple[str, ...]:
    """Count what was changed or left out, and name the files that were not read and the splits nobody knows."""
    counts = Counter(note for row in rows for note in dict.fromkeys(row.notes))
    remarks = [
        f"{count} × {note}{_names(rows, note) if note.endswith(NOT_FINITE) else ''}"
        for note, count in counts.items()
    ]
    splits = Counter(str(split) for row in rows if (split := row.labels.get("split_name")) is not None)
    if splits:
        named = ", ".join(f"{shown(split)} ({count})" for split, count in splits.most_common(N_NAMED))
        more = f" and {len(splits) - N_NAMED} more" if len(splits) > N_NAMED else ""
        remarks.append(f"unknown splits, expected train, val or test: {named}{more}")
    if left_out:
        named = ", ".join(f"{cut(row.id)} ({row.reason})" for row in left_out[:N_NAMED])
        more = f" and {len(left_out) - N_NAMED} more" if len(left_out) > N_NAMED else ""
        remarks.append(f"{len(left_out)} files not read: {named}{more}")
    return tuple(remarks)


def _names(rows: Sequence[Row], note: str) -> str:
    names = [row.id for row in rows if note in row.notes]
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return f": {', '.join(map(cut, names[:N_NAMED]))}{more}"


def _with_unique_ids(
    crystals: Sequence[Crystal], rejected: Sequence[Rejection]
) -> tuple[list[Crystal], list[Rejection]]:
    """Give every crystal and every refused row a name of its own, so that no result falls on another's."""
    unique = distinct_names([entry.id for entry in (*crystals, *rejected)])
    renamed = [
        crystal if crystal.id == own else crystal.replace(id=own)
        for crystal, own in zip(crystals, unique, strict=False)
    ]
    refused = [replace(entry, id=own) for entry, own in zip(rejected, unique[len(crystals) :], strict=True)]
    return renamed, refused
