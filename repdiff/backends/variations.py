"""Variations of given crystals by any model that can: parents made ready, varied, vectors inverted.

Variation j of the crystal in row i of what was given has the number i · 10⁶ + j: it is the same whatever else is
varied.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from pydantic import BaseModel

from reconstruction.presets import Search
from repdiff.backends.base import BACKENDS, Backend, Samples
from repdiff.backends.primitive_parents import in_primitive_cell
from repdiff.backends.refusals import nothing_to_hold
from repdiff.crystals.checks import check_crystals
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.resumable_parts import crystals_in_shards, each_shard
from repdiff.crystals.structure_files import writable_of
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.inversion import invert
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.shards import held_shard, read_generated, write_shard

MOST = 1_000_000  # variations of a parent
N_REASONS = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VariationRequest:
    """What variations are asked for.

    Attributes:
        n: Number of variations of each parent.
        strength: Share of the times of the noise process.
        keep: What of the parents is kept; None for what the model keeps by default.
        seed: Seed of the variations, and of the search.
        steps: Denoising steps from the noisiest time of all; None as for new samples.
        options: Sampling options of the backend.
        hold: Parts of the parents' vectors that are held, of a backend that can.
    """

    n: int
    strength: float
    keep: str | None = None
    seed: int = 0
    steps: int | None = None
    options: BaseModel | Mapping[str, Any] | None = None
    hold: tuple[str, ...] = ()

    @property
    def how(self) -> dict[str, Any]:
        """Arguments that `Backend.check_variation` and `Backend.vary` have in common."""
        names = ("strength", "keep", "steps", "options")
        held = {"hold": self.hold} if self.hold else {}
        return {name: getattr(self, name) for name in names} | held


@dataclass(frozen=True, kw_only=True)
class Parents:
    """Crystals that a model can vary.

    Attributes:
        crystals: The crystals, in primitive cells as the model knows them.
        rows: Their places among what was given.
        failed: Reason of each given crystal that cannot be varied, by name.
    """

    crystals: list[Crystal]
    rows: list[int]
    failed: dict[str, str]

    def names(self, n: int) -> list[tuple[str, int]]:
        """Return the name and the number of each of `n` variations of each, parent by parent."""
        return [
            (f"{crystal.id}-{place:03d}", row * MOST + place)
            for crystal, row in zip(self.crystals, self.rows, strict=True)
            for place in range(n)
        ]


def ready_parents(
    given: CrystalSet, backend: Backend, request: VariationRequest, name: str, layout: RepresentationSpec
) -> Parents:
    """Bring crystals into primitive cells as the model has learnt them; what it cannot vary counts as failed.

    Args:
        given: Crystals, valid or not, with names of their own.
        backend: Trained model.
        request: What is asked for.
        name: Name of the set in messages.
        layout: What the model was trained on: elements, and whether cells were Niggli cells.

    Raises:
        UserError: If the request does not fit the model, or no crystal can be varied.
    """
    if not 1 <= request.n <= MOST:
        raise UserError(f"`n` is {request.n}, expected a number of variations from 1 to {MOST}")
    check_request(backend, request)
    crystals: list[Crystal] = []
    rows: list[int] = []
    failed = {}
    reasons = zip(check_crystals(given.crystals), check_structures(given.crystals), strict=True)
    bar = progress_bar(given.crystals, desc="parents", unit="crystal", disable=len(given.crystals) < 20)
    for row, (crystal, (unfit, check)) in enumerate(zip(bar, reasons, strict=True)):
        try:
            if reason := unfit or check.reason or _strange(crystal, layout):
                raise UserError(reason)
            ready = in_primitive_cell(crystal, niggli=layout.niggli)
            backend.check_variation([ready], **request.how)
        except UserError as error:
            failed[crystal.id] = str(error)
            continue
        crystals.append(ready)
        rows.append(row)
    missing = {**failed, **given.failed}
    if not crystals:
        first = next(iter(missing.values()), "there are none")
        raise UserError(f"{name}: none of {len(given)} crystals can be varied; the first: {first}")
    if missing:
        common = Counter(missing.values()).most_common(N_REASONS)
        told = "; ".join(f"{count}: {reason}" for reason, count in common)
        log.warning("%d of %d crystals cannot be varied: %s", len(missing), len(given), told)
    return Parents(crystals=crystals, rows=rows, failed=missing)


def check_request(backend: Backend, request: VariationRequest) -> None:
    """Refuse a request that no crystal could suit.

    Raises:
        UserError: If it does not fit the model.
    """
    if request.hold and not backend.holds:
        raise UserError(nothing_to_hold(next(name for name in BACKENDS if BACKENDS[name] is type(backend))))
    backend.check_variation([], **request.how)


def _strange(crystal: Crystal, layout: RepresentationSpec) -> str:
    """Name the elements that a model has never seen; "" if it has seen all."""
    strange = sorted(set(crystal.atomic_numbers.tolist()) - set(layout.elements))
    symbols = ", ".join(chemical_symbols[number] for number in strange)
    return f"unknown to the model: {symbols}" if strange else ""


def make_variations(
    backend: Backend,
    parents: Parents,
    request: VariationRequest,
    *,
    folder: Path,
    search: Search,
    device: torch.device,
    shard_size: int = 1000,
    n_workers: int | None = 1,
    progress: bool = True,
) -> CrystalSet:
    """Make variations; shards and groups of inverted vectors are on disk once they are there, so that a call resumes.

    Args:
        backend: Trained model.
        parents: What `ready_parents` returned for the same request.
        request: What is asked for.
        folder: Keeps the shards, and `repdiff.crystals.resumable_parts.forget_parts` removes the inverted groups.
        search: How to invert vectors, where the model makes vectors.
        device: Where to invert.
        shard_size: Variations made together.
        n_workers: Processes that invert; None for one a core.
        progress: Whether to show bars.

    Returns:
        The crystals, parent by parent, named after their parents; `failed` has the variations that make none.
    """
    named = parents.names(request.n)
    flat = [crystal for crystal in parents.crystals for _ in range(request.n)]

    def vary(first: int, size: int) -> Samples:
        part = slice(first, first + size)
        numbers = [number for _, number in named[part]]
        return backend.vary(flat[part], numbers, seed=request.seed, **request.how)

    names = [name for name, _ in named]
    if backend.makes == "crystals":
        made, _ = crystals_in_shards(
            folder, len(flat), shard_size, lambda first, size: vary(first, size).crystals
        )
        varied = [crystal.replace(id=name) for crystal, name in zip(made, names, strict=True)]
        return writable_of(CrystalSet(crystals=varied))
    batch = replace(_vectors(folder, len(flat), shard_size, vary), names=names)
    return invert(
        batch,
        search=search,
        exact=False,
        hold=request.hold,
        seed=request.seed,
        device=device,
        n_workers=n_workers,
        folder=folder,
        progress=progress,
    ).crystals


def _vectors(folder: Path, n: int, size: int, vary: Callable[[int, int], Samples]) -> RepresentationBatch:
    """Complete the shards of vectors, and read them."""

    def extend(number: int, first: int, wanted: int) -> int:
        held = held_shard(folder, number)
        n_held = sum(map(len, held))
        if n_held < wanted:
            more = vary(first + n_held, wanted - n_held).representations
            write_shard(folder, number, RepresentationBatch.joined([*held, more]))
        return wanted - n_held

    each_shard(n, size, extend)
    return read_generated(folder)
