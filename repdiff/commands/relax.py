"""`repdiff relax`: crystals → crystals at rest in a force field, with their energies."""

import logging
import time
from pathlib import Path

import numpy as np

from repdiff.datasets.sources import CrystalSets, choose
from repdiff.energies.rattle import Rattle
from repdiff.energies.registered import load_force_field
from repdiff.energies.relax import Limits
from repdiff.energies.relax_set import relax_set
from repdiff.energies.relaxed import RelaxedSet
from repdiff.energies.relaxed_files import read_relaxed, write_relaxed
from repdiff.hardware import choose_device
from repdiff.runs.failures import FAILED
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import RelaxSettings

PART_SIZE = {"cpu": 16, "cuda": 1024}
log = logging.getLogger(__name__)

__all__ = ["read_relaxed", "run_relax"]


def run_relax(settings: RelaxSettings, workspace: Workspace) -> Path:
    """Relax crystals; every part of them is written as soon as it is finished.

    What was not reconstructed, cannot be read, or holds an element that the force field does not know is named in
    `failed.jsonl`, and counts in every share that is made of this run.

    Returns:
        The run's folder: `structures.extxyz`, `cif.zip`, `structures.json.gz`, `structures.csv`, `table.parquet`
        in one order, `failed.jsonl`, and `force_field.json`.

    Raises:
        UserError: If there are no structures, or the force field cannot be loaded.
    """
    device = choose_device(settings.device)
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    structures, inputs = sets.locate(settings.structures)
    settings = settings.model_copy(update={"structures": structures})
    load_force_field(settings.force_field, device)  # what is wrong with it is told before a folder is made
    some = "" if settings.n is None else f"-n{settings.n}"
    rattled = f"-rattle{settings.rattle:g}" if settings.rattle else ""
    name = plain_name(f"{Path(structures).name}{some}-{settings.force_field}{rattled}")
    with workspace.run(settings, name, inputs=inputs) as run:
        if run.state != "finished":
            started = time.perf_counter()
            given = choose(sets.to_judge(structures), settings.n, settings.seed)
            relaxed = relax_set(
                given,
                force_field=settings.force_field,
                limits=Limits(
                    fmax=settings.fmax, max_steps=settings.max_steps, max_seconds=settings.max_seconds
                ),
                rattle=Rattle(width=settings.rattle, seed=settings.seed),
                device=device,
                folder=run.path,
                n_workers=settings.n_workers,
                batch_atoms=settings.atoms_at_once,
                part_size=settings.part_size,
            )
            write_relaxed(run.path, relaxed)
            seconds = (time.perf_counter() - started) / max(len(given.crystals), 1)
            run.summary.update(_summary(relaxed), seconds_per_structure=seconds)
    return run.path


def _summary(relaxed: RelaxedSet) -> dict[str, object]:
    ends = [relaxation for relaxation in relaxed.relaxations.values() if relaxation.crystal is not None]
    n_failed = len(relaxed.relaxations) - len(ends)
    n_converged = sum(end.converged for end in ends)
    late = relaxed.n_out_of_time
    log.info(
        "%d of %d converged by %s%s; %d without result (in %s)%s",
        n_converged,
        len(relaxed.relaxations),
        relaxed.force_field,
        f"; {late} stopped by the limit of time" if late else "",
        n_failed,
        FAILED,
        "".join(f"; {count}: {reason}" for reason, count in relaxed.reasons().items()),
    )
    change = [end.energy_change for end in ends if end.energy_change is not None]
    rmsd = [end.rmsd for end in ends if end.rmsd is not None]
    return {
        "n_relaxed": len(ends),
        "n_converged": n_converged,
        "n_failed": n_failed,
        "n_out_of_time": late,
        "failures": relaxed.reasons(),
        "mean_energy_change": float(np.mean(change)) if change else None,
        "mean_rmsd": float(np.mean(rmsd)) if rmsd else None,
        "force_field": str(relaxed.force_field),
        "weights_sha256": relaxed.force_field.weights_sha256,
        "package": relaxed.force_field.package,
    }
