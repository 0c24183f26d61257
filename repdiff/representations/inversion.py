"""Representation vectors → crystals by a search, over processes that may share a GPU; resumable in a folder."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reconstruction.given_symmetry import GivenSymmetry, Template
from reconstruction.inversion import prepare
from reconstruction.parallel import reconstruct_groups
from reconstruction.presets import SEARCHES, Search
from reconstruction.progress import ReconstructionBar
from reconstruction.result import ReconstructionResult
from repdiff.crystals.crystal import Crystal, from_batch
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.resumable_parts import ResumableParts
from repdiff.errors import UserError, unknown
from repdiff.execution.jobs import workers_to_use
from repdiff.execution.memory import SEARCH_WORKER
from repdiff.execution.progress import progress_bar
from repdiff.hardware import n_cores
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.proposals import propose
from repdiff.settings.conditions import HELD

MAX_ATOMS = 300
SET_ASIDE = "it was set aside in an earlier session: workers ended at it, or memory was not enough"
GPU_WORKERS, GPU_SHARE = 12, 6 * 2**30  # processes that share a GPU at most, and bytes of its memory for each


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """Crystals found for vectors, and what it took.

    Attributes:
        crystals: Crystals in the order of the vectors, with loss, confidence and the like as labels; `failed` has the
            reason of each vector that gives none.
        seconds: Wall-clock time; where an interrupted search was resumed, an estimate from the crystals' own times.
        n_workers: Number of processes.
        search: The settings of the search.
    """

    crystals: CrystalSet
    seconds: float
    n_workers: int
    search: Search


def named_search(name: str) -> Search:
    """Return the settings of a named search.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in SEARCHES:
        raise UserError(unknown("search", name, SEARCHES))
    return SEARCHES[name]


def invert(
    batch: RepresentationBatch,
    *,
    search: Search,
    exact: bool,
    seed: int,
    device: torch.device,
    n_workers: int | None,
    folder: Path,
    symmetric: bool = True,
    proposals: bool = False,
    hold: Collection[str] = (),
    progress: bool = True,
) -> Inverted:
    """Find the crystals of vectors; every group is on disk once it is found, so that a later call resumes.

    Args:
        batch: The vectors.
        search: How long and how to search.
        exact: Whether the vectors belong to true crystals.
        seed: Seed of the random starts.
        device: Where to search.
        n_workers: Processes; None takes one per core, on a GPU no more than its memory has room for.
        folder: Keeps finished groups in a folder of their own until `repdiff.crystals.resumable_parts.forget_parts`.
        symmetric: Whether to keep to the protostructures that come with the vectors; where there are none, all
            positions are sought.
        proposals: Whether crystals without a given protostructure get the symmetry that they nearly have; see
            `repdiff.representations.proposals`.
        hold: Names of parts that are held in the vectors; of "cell", "shape" and "volume" the search keeps the cells of
            given symmetry, which it otherwise moves a little. What `batch.asked` says is held counts too.
        progress: Whether to show a bar.

    Raises:
        UserError: If no vector makes a crystal.
    """
    started, ids = time.perf_counter(), batch.ids
    inversion = prepare(
        batch.vectors,
        batch.layout.representation(),
        search=search,
        exact=exact,
        seed=seed,
        device=device,
        max_atoms=MAX_ATOMS,
        symmetry=_given(batch, hold) if symmetric else None,
    )
    groups, reasons = inversion.groups, inversion.decoded.reasons
    if not groups:
        raise UserError(
            f"none of {len(ids)} vectors makes a crystal; the first: {_why(batch, 0, reasons[0])}"
        )
    parts = ResumableParts(folder, [(group[0], [(row, ids[row]) for row in group]) for group in groups])
    missing = [groups[place] for place in parts.missing()]
    places = {tuple(group): place for place, group in enumerate(groups)}
    workers = workers_to_use(n_workers, default_workers(device), each=SEARCH_WORKER)
    aside: dict[int, str] = {}
    with ReconstructionBar(inversion, missing=missing, disable=not progress, make_bar=progress_bar) as bar:
        for group, found in reconstruct_groups(inversion, missing, n_workers=workers):
            parts.write(places[tuple(group)], _labelled(found, batch))
            aside |= found.refused
            bar.add(group)
    seconds = time.perf_counter() - started
    crystals = {crystal.id: crystal for crystal in parts.read()}
    if missing != groups:  # resumed: nobody knows how long the earlier part took, but the crystals do
        own = np.array([crystal.labels["seconds"] for crystal in crystals.values()], dtype=float)
        seconds = float(own.sum()) / workers
    if proposals:
        sought = {row: crystals[name] for row, name in enumerate(ids) if name in crystals}
        given = [] if inversion.symmetry is None else inversion.symmetry.protostructures
        unknown_ones = {row: one for row, one in sought.items() if not given or given[row] is None}
        symmetrised = propose(batch, unknown_ones, search=search, seed=seed, device=device)
        crystals |= {ids[row]: crystal for row, crystal in symmetrised.items()}
    whys = {
        name: _why(batch, row, reason) if reason or name in crystals else aside.get(row, SET_ASIDE)
        for row, (name, reason) in enumerate(zip(ids, reasons, strict=True))
    }
    found = CrystalSet(
        crystals=[crystals[name] for name, reason in whys.items() if reason is None],
        failed={name: reason for name, reason in whys.items() if reason},
    )
    return Inverted(crystals=found, seconds=seconds, n_workers=workers, search=inversion.search)


def _why(batch: RepresentationBatch, row: int, reason: str | None) -> str | None:
    """Say why a vector makes no crystal: first of all, because there is none."""
    table = batch.symmetry
    if (
        reason
        and table is not None
        and table.protostructures[row] is None
        and batch.vectors[row].isnan().any()
    ):
        return "no protostructure was found that is as asked, so that there is no vector"
    return reason


def _given(batch: RepresentationBatch, hold: Collection[str]) -> GivenSymmetry | None:
    """Hand protostructures, cells, and the coordinates of templates or parents in these cells over to the search."""
    table = batch.symmetry
    if table is None:
        return None
    cells = table.cells.nan_to_num(0.0).double()
    templates = None
    known = batch.templates if batch.parents is None else batch.parents
    if known is not None:
        templates = [
            () if name is None else (Template(free=table.free_of(row), cell=cells[row]),)
            for row, name in enumerate(known)
        ]
    held = {*hold, *(name.removeprefix(HELD) for name in batch.asked.conditions if name.startswith(HELD))}
    return GivenSymmetry(
        protostructures=table.protostructures,
        cells=cells,
        templates=templates,
        hold_volume=bool(held & {"cell", "volume"}),
        hold_shape=bool(held & {"cell", "shape"}),
    )


def default_workers(device: torch.device) -> int:
    """Return how many processes to start: one per core, on a GPU no more than its memory has room for."""
    if device.type == "cpu":
        return n_cores()
    n_shares = torch.cuda.get_device_properties(device).total_memory // GPU_SHARE
    return max(1, min(n_cores(), GPU_WORKERS, n_shares))


def _labelled(found: ReconstructionResult, batch: RepresentationBatch) -> list[Crystal]:
    """Turn a group of results into crystals with labels.

    A crystal whose vector was drawn towards a template counts as one from a template, whatever start led to it; a
    variation says whether it was reached from the coordinates of its parent.
    """
    ids, labelled = batch.ids, []
    for place, (row, crystal) in enumerate(
        zip(found.rows, from_batch(found.batch, [ids[row] for row in found.rows]), strict=True)
    ):
        labels = found.labels(place) | {name: values[row] for name, values in batch.columns.items()}
        if batch.parents is not None:
            labels |= {"start": "parent" if labels["start"] == "template" else labels["start"]}
        elif batch.templates is not None:
            name = batch.templates[row]
            labels |= {"start": labels["start"] if name is None else "template", "template": name}
        labelled.append(crystal.replace(labels=labels))
    return labelled
