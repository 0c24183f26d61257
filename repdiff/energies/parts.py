"""Crystals worked through by a force field in parts, each on disk as soon as it is done, so that none is done twice."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.energies.base import ForceField
from repdiff.energies.workers import work_through
from repdiff.execution.progress import progress_bar
from repdiff.runs.atomic_files import replacing

PARTS = "parts"
Part = list[Crystal]


def compute_in_parts(
    folder: Path,
    crystals: Sequence[Crystal],
    work: Callable[[ForceField, Part], Part],
    *,
    force_field: str,
    part_size: int,
    device: torch.device,
    n_workers: int,
    label: str,
    progress: bool = True,
) -> list[Crystal]:
    """Return what `work` made of all crystals, in their order; an interrupted call goes on where it was.

    Args:
        folder: Keeps the parts, in a folder of their own; `forget_parts` removes it.
        crystals: All of them.
        work: Answers a part by as many crystals, results among their labels; the same for the same part.
        force_field: Name of a registered one.
        part_size: Crystals in a part.
        device: Where to compute.
        n_workers: Processes on a CPU.
        label: Of the progress bar.
        progress: Whether to show it.

    Raises:
        UserError: If the force field cannot be loaded.
    """
    parts = folder / PARTS
    parts.mkdir(exist_ok=True)
    starts = range(0, len(crystals), part_size)
    files = {start: _name(parts, start, crystals[start : start + part_size]) for start in starts}
    jobs = [list(crystals[start : start + part_size]) for start in starts if not files[start].is_file()]
    by_first = {crystals[start].id: start for start in starts}
    left = sum(map(len, jobs))
    with progress_bar(
        total=len(crystals),
        initial=len(crystals) - left,
        desc=label,
        unit="crystal",
        disable=not progress,
    ) as bar:
        for job, answer in work_through(
            jobs, work, force_field=force_field, device=device, n_workers=n_workers
        ):
            with replacing(files[by_first[job[0].id]]) as partial:
                write_crystals(partial, answer)
            bar.update(len(job))
    return [crystal for file in files.values() for crystal in read_crystals(file)]


def forget_parts(folder: Path) -> None:
    """Remove the parts, once the results are elsewhere."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _name(parts: Path, start: int, crystals: Sequence[Crystal]) -> Path:
    """Name the file of a part by all that is in it."""
    members = json.dumps([crystal.id for crystal in crystals])
    return parts / f"{start:08d}-{hashlib.sha256(members.encode()).hexdigest()[:16]}.parquet"
