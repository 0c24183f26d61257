"""`repdiff hull build`: a data set → the energies that a convex hull is built from, by one force field."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.resumable_parts import compute_in_parts
from repdiff.datasets.dataset import Dataset
from repdiff.datasets.load import load_dataset
from repdiff.datasets.sources import crystals_of_split
from repdiff.energies.conventions import CONVENTIONS, Convention, hull_energy
from repdiff.energies.hull_table import TABLE_FILE, HullTable, reduced_name, write_hull_table
from repdiff.energies.registered import load_force_field
from repdiff.energies.relax import (
    Limits,
    atoms_at_once,
    energies_of_part,
    part_without_energies,
    relax_part,
    unrelaxed_part,
)
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.energies.workers import work_through
from repdiff.errors import UserError
from repdiff.execution.jobs import map_jobs, workers_to_use
from repdiff.execution.memory import FORCE_FIELD_WORKER
from repdiff.hardware import choose_device, n_cores
from repdiff.runs.failures import FAILED, write_records
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import HullSettings

PART_SIZE = {"cpu": 128, "cuda": 4096}
CRYSTALS_AT_ONCE = {"cpu": 8, "cuda": 512}
CORRECTIONS_PER_PROCESS = 2000  # with fewer, a process takes longer to start than it saves
log = logging.getLogger(__name__)


def run_hull(settings: HullSettings, workspace: Workspace) -> Path:
    """Compute the energies of known crystals, each part written as soon as it is done.

    Returns:
        The run's folder: `hull.parquet`, and `failed.jsonl` with what has no energy.

    Raises:
        UserError: If the data set cannot be read, the force field cannot be loaded, or nothing has an energy.
    """
    device = choose_device(settings.device)
    dataset = load_dataset(settings.dataset, data_dir=settings.data_dir, downloads=workspace.data_dir)
    chosen = crystals_of_split(dataset, settings.split, n=settings.n, seed=settings.seed)
    split = "" if settings.split == "all" else f"-{settings.split}"
    some = "" if settings.n is None else f"-n{len(chosen)}-seed{settings.seed}"
    name = f"{dataset.name}{split}{some}-{settings.force_field}{'-relaxed' if settings.relax else ''}"
    inputs = {key: Input(path=key, sha256=digest) for key, digest in dataset.input_hashes.items()}
    with workspace.run(settings, plain_name(name), inputs=inputs) as run:
        if run.state != "finished":
            run.summary.update(_build(replace(dataset, crystals=chosen), settings, run.path, device))
    return run.path


def _build(dataset: Dataset, settings: HullSettings, folder: Path, device: torch.device) -> dict[str, object]:
    """Do the work in `folder` and return the summary."""
    started = time.perf_counter()
    identity = load_force_field(settings.force_field, device).identity
    limits = Limits(fmax=settings.fmax, max_steps=settings.max_steps)
    n_workers = workers_to_use(settings.n_workers, n_cores(), each=FORCE_FIELD_WORKER)
    work = (
        partial(relax_part, limits=limits, atoms_at_once=atoms_at_once(device))
        if settings.relax
        else partial(energies_of_part, at_once=CRYSTALS_AT_ONCE[device.type])
    )
    done = compute_in_parts(
        folder,
        [crystal.replace(labels={}) for crystal in dataset.crystals],
        partial(
            work_through,
            work=work,
            force_field=settings.force_field,
            device=device,
            n_workers=n_workers,
            instead=unrelaxed_part if settings.relax else part_without_energies,
        ),
        part_size=PART_SIZE[device.type] // (8 if settings.relax else 1),
        label="relaxing" if settings.relax else "energies",
    )
    done = _as_on_a_hull(done, identity, n_workers)
    with_energy = [crystal for crystal in done if crystal.labels["energy_per_atom"] is not None]
    failed = [
        {"id": crystal.id, "reason": str(crystal.labels["reason"])}
        for crystal in done
        if crystal.labels["energy_per_atom"] is None
    ]
    if not with_energy:
        raise UserError(
            f"none of {len(done)} crystals of {dataset.name} has an energy; the first: {failed[0]['reason']}"
        )
    write_hull_table(folder / TABLE_FILE, _table(dataset, settings, identity, with_energy))
    unread = [{"id": str(entry.id), "reason": entry.reason} for entry in dataset.rejected]
    write_records(folder / FAILED, failed + unread)
    reasons = Counter(entry["reason"] for entry in failed)
    log.info(
        "%d energies; %d without (in %s)%s",
        len(with_energy),
        len(failed) + len(unread),
        FAILED,
        "".join(f"; {count}: {reason}" for reason, count in reasons.most_common()),
    )
    return {
        "n_energies": len(with_energy),
        "n_failed": len(failed),
        "n_unread": len(unread),
        "force_field": str(identity),
        "energies": CONVENTIONS[identity.hull_convention],
        "weights_sha256": identity.weights_sha256,
        "package": identity.package,
        "seconds_per_structure": (time.perf_counter() - started) / len(done),
    }


def _as_on_a_hull(crystals: Sequence[Crystal], identity: ForceFieldIdentity, n_workers: int) -> list[Crystal]:
    """Add the Materials Project's corrections to the energies of a force field that lacks them."""
    if identity.convention != "uncorrected":
        return list(crystals)
    return map_jobs(
        partial(_corrected, convention=identity.convention),
        crystals,
        n_workers=min(n_workers, len(crystals) // CORRECTIONS_PER_PROCESS),
        progress=True,
        label="corrections",
    )


def _corrected(crystal: Crystal, *, convention: Convention) -> Crystal:
    energy = crystal.labels["energy_per_atom"]
    if not isinstance(energy, float):
        return crystal
    found, reason = hull_energy(crystal, energy, convention)
    return crystal.replace(labels={"energy_per_atom": found, "reason": reason})


def _table(
    dataset: Dataset, settings: HullSettings, identity: ForceFieldIdentity, crystals: list[Crystal]
) -> HullTable:
    split = "" if settings.split == "all" else f":{settings.split}"
    notes = [dataset.note, f"{settings.n} of them by seed {settings.seed}" if settings.n else None]
    return HullTable(
        name=f"{dataset.name}{split}",
        force_field=identity,
        convention=identity.hull_convention,
        geometry=f"relaxed to {settings.fmax} eV/Å" if settings.relax else "as given",
        note="; ".join(note for note in notes if note) or None,
        ids=[crystal.id for crystal in crystals],
        formulas=[reduced_name(crystal.formula) for crystal in crystals],
        energies=np.array([crystal.labels["energy_per_atom"] for crystal in crystals], dtype=np.float64),
    )
