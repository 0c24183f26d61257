"""Build and relax candidates, some at a time, so that whatever ends the work early leaves results of all formulas.

A batch of candidates is built, duplicates among these crystals and with those of earlier batches are left out, and the
rest is relaxed. Each finished batch lies in a folder of its own, and so do the parts of the one at work: what is
interrupted goes on where it was.
"""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from reconstruction.presets import Search
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.resumable_parts import forget_parts, kept
from repdiff.energies.registered import load_force_field
from repdiff.energies.relax import Limits
from repdiff.energies.relax_set import relax_set
from repdiff.energies.relaxed import Relaxation, RelaxedSet
from repdiff.errors import DamagedError, UserError
from repdiff.execution.progress import progress_bar
from repdiff.metrics.primitive_cells import reduce_crystals
from repdiff.metrics.structure_groups import find_known, group_same
from repdiff.phase_search.candidates import Candidates
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.inversion import invert
from repdiff.runs.atomic_files import read_json, write_json

BATCHES, BUILDING = "batches", "building"
MEMBERS, RECORD, BUILT, RELAXED = "members.json", "record.json", "built.parquet", "relaxed.parquet"
FIRST, LARGEST, SMALLEST = 16, 48, 4  # candidates of a batch: of the first, at most, and at least
PART_SIZE = {"cpu": 8, "cuda": 1024}  # crystals relaxed together
NOT_TRIED = "not tried: the time of `max_minutes` was used up"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Methods:
    """How candidates are built and relaxed.

    Attributes:
        force_field: Name of a registered one.
        limits: When a relaxation ends.
        search: How hard vectors are inverted.
        seed: Seed of the search.
        device: Where to compute.
        n_workers: Processes on a CPU; None takes one per core.
        max_minutes: Minutes after which no further batch begins, earlier sessions included; None for no limit.
    """

    force_field: str
    limits: Limits
    search: Search
    seed: int
    device: torch.device
    n_workers: int | None = None
    max_minutes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the candidates.

    Attributes:
        relaxed: Relaxation of each distinct crystal, by the name of its candidate.
        not_built: Reason by name, of candidates that make no crystal.
        duplicates: Name of the crystal that each is the same as before relaxation, by name.
        not_tried: Names of candidates that the time did not suffice for.
        seconds: Time of all batches.
    """

    relaxed: RelaxedSet
    not_built: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, str] = field(default_factory=dict)
    not_tried: Sequence[str] = ()
    seconds: float = 0.0


@dataclass
class _Progress:
    """Where a campaign stands."""

    first: int = 0
    seconds: float = 0.0
    built: list[Crystal] = field(default_factory=list)
    relaxations: dict[str, Relaxation] = field(default_factory=dict)
    not_built: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, float | int | str | bool] = field(default_factory=dict)

    def size(self, n_left: int, seconds_left: float | None) -> int:
        """Choose how many candidates come next: as many as there is time for, by what the others took."""
        if self.first == 0:
            return min(n_left, FIRST)
        if seconds_left is None:
            return min(n_left, LARGEST)
        affordable = int(seconds_left / max(self.seconds / self.first, 1e-3))
        return min(n_left, LARGEST, max(SMALLEST, affordable))


def run_campaign(candidates: Candidates, methods: Methods, folder: Path) -> Outcome:
    """Build and relax candidates in their order, until all are done or the time is used up.

    Args:
        candidates: Distinct candidates.
        methods: How to do it.
        folder: Keeps finished batches; a later call with the same candidates and methods goes on.

    Raises:
        UserError: If the force field cannot be loaded.
    """
    identity = load_force_field(methods.force_field, methods.device).identity
    done = _Progress()
    budget = None if methods.max_minutes is None else 60 * methods.max_minutes
    bar = progress_bar(total=len(candidates), desc="building and relaxing", unit="candidate")
    with bar:
        number = 0
        while done.first < len(candidates):
            place = folder / BATCHES / f"{number:03d}"
            left = None if budget is None else budget - done.seconds
            if left is not None and left <= 0 and not (place / RECORD).is_file():
                break
            size = _members(place, candidates, done, left)
            if kept(place / RECORD, _read_batch) is None:
                _do_batch(candidates, size, methods, done, place)
            _take(place, done)
            done.first += size
            bar.update(size)
            number += 1
    not_tried = list(candidates.names[done.first :])
    if not_tried:
        log.warning("%d of %d candidates were not tried within the time", len(not_tried), len(candidates))
    return Outcome(
        relaxed=RelaxedSet(force_field=identity, relaxations=done.relaxations, protocol=done.protocol),
        not_built=done.not_built,
        duplicates=done.duplicates,
        not_tried=not_tried,
        seconds=done.seconds,
    )


def _members(place: Path, candidates: Candidates, done: _Progress, seconds_left: float | None) -> int:
    """Say how many candidates a batch has: what was decided when it began, or what suits now."""
    if (names := kept(place / MEMBERS, _read_names)) is not None:
        if names != list(candidates.names[done.first : done.first + len(names)]):
            raise UserError(
                f"{place} holds other candidates than {candidates.names[done.first]} and those behind it: "
                "give the command again with `overwrite`, or another folder"
            )
        return len(names)
    size = done.size(len(candidates) - done.first, seconds_left)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / MEMBERS, list(candidates.names[done.first : done.first + size]))
    return size


def _do_batch(candidates: Candidates, size: int, methods: Methods, done: _Progress, place: Path) -> None:
    """Build, compare and relax one batch, and write what became of it."""
    started = time.perf_counter()
    made = candidates.part(done.first, size)
    found = (
        _build(made, methods, place) if isinstance(made, RepresentationBatch) else CrystalSet(crystals=made)
    )
    distinct, duplicates = _distinct(found.crystals, done.built)
    relaxed = relax_set(
        CrystalSet(crystals=distinct),
        force_field=methods.force_field,
        limits=methods.limits,
        device=methods.device,
        folder=place,
        n_workers=methods.n_workers,
        part_size=PART_SIZE[methods.device.type],
    )
    write_crystals(place / BUILT, distinct)
    write_crystals(place / RELAXED, relaxed.crystals)
    failed = [
        {**end.labels(), "id": name, "reason": end.reason}
        for name, end in relaxed.relaxations.items()
        if end.crystal is None
    ]
    record = {
        "seconds": time.perf_counter() - started,
        "not_built": dict(found.failed),
        "duplicates": duplicates,
        "failed": failed,
        "protocol": dict(relaxed.protocol),
    }
    write_json(place / RECORD, record)


def _build(batch: RepresentationBatch, methods: Methods, place: Path) -> CrystalSet:
    """Invert vectors; where none makes a crystal, each has the reason."""
    folder = place / BUILDING
    folder.mkdir(exist_ok=True)
    try:
        return invert(
            batch,
            search=methods.search,
            exact=False,
            seed=methods.seed,
            device=methods.device,
            n_workers=methods.n_workers,
            folder=folder,
        ).crystals
    except UserError as error:
        return CrystalSet(crystals=[], failed=dict.fromkeys(batch.ids, str(error)))


def _distinct(
    crystals: Sequence[Crystal], earlier: Sequence[Crystal]
) -> tuple[list[Crystal], dict[str, str]]:
    """Leave out what another crystal of the batch is the same as, or one of an earlier batch.

    Crystals that cannot be compared are kept: the relaxation says what is wrong with them.
    """
    reduced = reduce_crystals(crystals)
    duplicates: dict[str, str] = {}
    for row, first in enumerate(group_same(reduced).first.tolist()):
        if first not in (row, -1):
            duplicates[crystals[row].id] = crystals[first].id
    rows = find_known(reduced, reduce_crystals(earlier)).row.tolist()
    duplicates |= {crystals[row].id: earlier[place].id for row, place in enumerate(rows) if place >= 0}
    direct = {name: duplicates.get(same, same) for name, same in duplicates.items()}
    return [crystal for crystal in crystals if crystal.id not in direct], direct


def _take(place: Path, done: _Progress) -> None:
    """Add what a finished batch says, and remove what was needed to finish it."""
    batch = _read_batch(place / RECORD)
    done.seconds += batch.seconds
    done.built += batch.built
    done.relaxations |= batch.relaxations
    done.not_built |= batch.not_built
    done.duplicates |= batch.duplicates
    done.protocol |= batch.protocol
    forget_parts(place)
    shutil.rmtree(place / BUILDING, ignore_errors=True)


def _read_names(file: Path) -> list[str]:
    """Read the names of the candidates of a batch.

    Raises:
        DamagedError: If they cannot be read.
    """
    names = read_json(file)
    if not isinstance(names, list) or not names:
        raise DamagedError(f"{file}: damaged, expected the names of candidates")
    return names


def _read_batch(file: Path) -> _Progress:
    """Read what became of the candidates of a batch, by its record and the tables beside it.

    Raises:
        DamagedError: If a part of it is absent or cannot be read.
    """
    record, place = read_json(file), file.parent
    try:
        found = _Progress(seconds=float(record["seconds"]), built=read_crystals(place / BUILT))
        for crystal in read_crystals(place / RELAXED):
            found.relaxations[crystal.id] = Relaxation.from_labels(crystal.labels, crystal=crystal)
        for entry in record["failed"]:
            found.relaxations[entry["id"]] = Relaxation.from_labels(entry, reason=entry["reason"])
        found.not_built |= record["not_built"]
        found.duplicates |= record["duplicates"]
        found.protocol |= record["protocol"]
    except DamagedError:
        raise
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise DamagedError(f"{file}: damaged ({error}), expected what became of candidates") from error
    return found
