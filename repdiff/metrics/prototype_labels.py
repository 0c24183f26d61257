"""Protostructures and prototypes of crystals as labels, kept for next time."""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from descriptors.symmetry.labels import prototype_label, write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.stored_crystals import CrystalRows
from repdiff.execution.jobs import run_jobs
from repdiff.execution.progress import progress_bar
from repdiff.metrics.feature_cache import ShardWriter, content_key, read_shards, still_missing
from repdiff.symmetry import protostructures_of, read_protostructures
from repdiff.symmetry.columns import PROTOSTRUCTURE, TOLERANCE

log = logging.getLogger(__name__)
PER_TASK = (
    50  # crystals handed to a process at once, about half a second; Ctrl-C loses as many for each process
)
PER_PROCESS = 1000  # with fewer, a process takes longer to start than it saves
ROWS_PER_SHARD = 4096  # a row is a few words
WORTH_A_WORD = 2000  # crystals; about half a minute on one core
REVISION = 1  # of what is kept; raise it when labels change


@dataclass(frozen=True, kw_only=True, slots=True)
class PrototypeLabels:
    """The symmetry of one crystal in words that compare: equal for all its equivalent descriptions.

    Attributes:
        protostructure: Label of the canonical protostructure, with its elements; None if it could not be read.
        prototype: Label without elements; None as above.
        reason: Why there is none; "" if there is one.
    """

    protostructure: str | None
    prototype: str | None
    reason: str = ""

    @property
    def space_group(self) -> int | None:
        """Number of the space group; None if it could not be read."""
        return None if self.prototype is None else int(self.prototype.split("_")[2])


def read_labels(
    crystals: Sequence[Crystal],
    *,
    symprec: float,
    cache: Path | None = None,
    n_workers: int = 1,
    progress: bool = False,
    encoded: bool = False,
) -> list[PrototypeLabels]:
    """Read the labels off crystals, or take them from the cache.

    Labels that crystals carry are trusted if `encode` read them off within the same tolerance, and no others: a sample
    may bear the protostructure that it was asked to have. They are not put into the cache.

    Args:
        crystals: Crystals of any quality; those that fail `check_structures` get its reason.
        symprec: How far an atom may be from where an operation puts it, Å.
        cache: Folder in which labels are kept, by content, tolerance and the version of moyopy; None keeps nothing.
        n_workers: Processes, where it helps.
        progress: Show a bar on stderr.
        encoded: Whether the crystals are as `encode` left them.
    """
    folder = (
        None if cache is None else cache / f"prototypes-{REVISION}-moyopy-{version('moyopy')}-{symprec:g}"
    )
    keys = [content_key(crystal) for crystal in crystals]
    found = {} if folder is None else read_shards(folder, keys, PrototypeLabels)
    new = {key: row for row, key in enumerate(keys) if key not in found}
    carried = {
        key: _carried(crystals[row]) for key, row in new.items() if encoded and _says(crystals[row], symprec)
    }
    found |= carried
    rows = {key: row for key, row in new.items() if key not in carried}
    with still_missing(folder, rows, found, PrototypeLabels, worth_waiting=WORTH_A_WORD) as todo:
        if len(todo) >= WORTH_A_WORD:
            kept = (
                "not kept: name a folder by --cache" if folder is None else f"kept in {folder} for next time"
            )
            log.info("reading protostructures off %d of %d crystals, %s", len(todo), len(crystals), kept)
        with ShardWriter[PrototypeLabels](folder, ROWS_PER_SHARD) as writer:
            items = list(todo), CrystalRows(crystals, list(todo.values()))
            for key, one in _read(*items, symprec, n_workers=n_workers, progress=progress):
                found[key] = one
                writer.add(key, one)
    return [found[key] for key in keys]


def _read(
    keys: Sequence[str], crystals: CrystalRows, symprec: float, *, n_workers: int, progress: bool
) -> Generator[tuple[str, PrototypeLabels], None, None]:
    """Read the labels off crystals, in processes where there are many."""
    starts = range(0, len(keys), PER_TASK)
    finished = run_jobs(
        partial(_read_chunk, symprec),
        [(keys[start : start + PER_TASK], crystals[start : start + PER_TASK]) for start in starts],
        n_workers=min(n_workers, len(keys) // PER_PROCESS),
    )
    bar = progress_bar(
        total=len(keys), desc="protostructures", unit="crystal", disable=not progress or not keys
    )
    with closing(finished), bar:
        for _, labels in finished:
            yield from labels
            bar.update(len(labels))


def _read_chunk(
    symprec: float, items: tuple[Sequence[str], Sequence[Crystal]]
) -> list[tuple[str, PrototypeLabels]]:
    keys, crystals = items
    readings = read_protostructures(list(crystals), symprec=symprec)
    return [
        (key, _labels(reading.protostructure, reading.reason))
        for key, reading in zip(keys, readings, strict=True)
    ]


def _says(crystal: Crystal, symprec: float) -> bool:
    """Tell whether `encode` read off the crystal within a tolerance; where that was tightened it must be read again."""
    return crystal.labels.get(TOLERANCE) == symprec and crystal.labels.get(PROTOSTRUCTURE) is not None


def _carried(crystal: Crystal) -> PrototypeLabels:
    return _labels(protostructures_of([crystal])[0])


def _labels(found: Protostructure | None, reason: str = "") -> PrototypeLabels:
    return PrototypeLabels(
        protostructure=None if found is None else write_label(canonical(found)),
        prototype=None if found is None else prototype_label(found),
        reason=reason,
    )
