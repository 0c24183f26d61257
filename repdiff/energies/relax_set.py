"""A set of crystals → the same crystals at rest in a force field; resumable in a folder."""

from functools import partial
from pathlib import Path

import torch

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.resumable_parts import compute_in_parts
from repdiff.energies.rattle import Rattle
from repdiff.energies.registered import load_force_field
from repdiff.energies.relax import NO_RATTLE, Limits, atoms_at_once, relax_part, unrelaxed_part
from repdiff.energies.relaxed import Relaxation, RelaxedSet
from repdiff.energies.workers import work_through
from repdiff.errors import UserError
from repdiff.execution.jobs import workers_to_use
from repdiff.execution.memory import FORCE_FIELD_WORKER
from repdiff.hardware import n_cores

PART_SIZE = {"cpu": 16, "cuda": 1024}


def relax_set(
    crystals: CrystalSet,
    *,
    force_field: str,
    limits: Limits,
    rattle: Rattle = NO_RATTLE,
    device: torch.device,
    folder: Path,
    n_workers: int | None = None,
    batch_atoms: int | None = None,
    part_size: int | None = None,
    progress: bool = True,
) -> RelaxedSet:
    """Relax crystals; every part of them is on disk once it is done, so that a later call resumes.

    Args:
        crystals: Crystals of any quality, with names of their own; what failed before stays failed.
        force_field: Name of a registered force field.
        limits: When a relaxation ends.
        rattle: How to displace the atoms before it.
        device: Where to compute.
        folder: Keeps finished parts until `repdiff.crystals.resumable_parts.forget_parts`.
        n_workers: Processes on a CPU; None takes one per core.
        batch_atoms: Atoms in a batch; None takes what suits the device.
        part_size: Crystals written together; None takes what suits the device.
        progress: Whether to show a bar.

    Raises:
        UserError: If the force field cannot be loaded, or two crystals have one name.
    """
    if repeated := len(crystals) - len(set(crystals.ids)):
        raise UserError(f"{repeated} names of crystals occur more than once, expected names of their own")
    identity = load_force_field(force_field, device).identity
    done = compute_in_parts(
        folder,
        crystals.crystals,
        partial(
            work_through,
            work=partial(
                relax_part,
                limits=limits,
                atoms_at_once=batch_atoms or atoms_at_once(device),
                rattle=rattle,
            ),
            force_field=force_field,
            device=device,
            n_workers=workers_to_use(n_workers, n_cores(), each=FORCE_FIELD_WORKER),
            instead=unrelaxed_part,
        ),
        part_size=part_size or PART_SIZE[device.type],
        label="relaxing",
        progress=progress,
    )
    missing = {name: Relaxation.without_result(reason) for name, reason in crystals.failed.items()}
    return RelaxedSet(
        force_field=identity,
        relaxations={crystal.id: _relaxation(crystal) for crystal in done} | missing,
        protocol={
            "optimizer": "FIRE",
            "cell_filter": "Frechet",
            "fmax_eV_per_angstrom": limits.fmax,
            "max_steps": limits.max_steps,
            **({} if limits.max_seconds is None else {"max_seconds": limits.max_seconds}),
            "rattle_angstrom": rattle.width,
            **({"rattle_seed": rattle.seed} if rattle.width else {}),
        },
    )


def _relaxation(crystal: Crystal) -> Relaxation:
    """Take the result out of the labels that `relax_part` gave."""
    if reason := str(crystal.labels["reason"] or ""):
        return Relaxation.from_labels(crystal.labels, reason=reason)
    own = {name: value for name, value in crystal.labels.items() if name != "reason"}
    return Relaxation.from_labels(own, crystal=crystal.replace(labels=own))
