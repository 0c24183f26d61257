"""The files of a relaxation: structures in all formats, what failed, and which force field it was."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from repdiff.crystals.crystal import Label
from repdiff.crystals.structure_files import read_structures, write_structures
from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.failures import FAILED, read_records, write_records

FORCE_FIELD = "force_field.json"


def write_relaxed(folder: Path, relaxed: RelaxedSet) -> None:
    """Write what became of crystals: `structures.extxyz` and its like, `failed.jsonl`, `force_field.json`.

    Raises:
        UserError: If the folder cannot be written.
    """
    entries: list[dict[str, Label]] = [
        {
            "id": name,
            "reason": end.reason,
            "n_steps": end.n_steps,
            "initial_energy_per_atom": end.initial_energy,
        }
        for name, end in relaxed.relaxations.items()
        if end.crystal is None
    ]
    write_records(folder / FAILED, entries)
    write_structures(folder, relaxed.crystals, progress=True)
    facts = {"force_field": asdict(relaxed.force_field), "protocol": dict(relaxed.protocol)}
    write_json(folder / FORCE_FIELD, facts)


def read_relaxed(path: Path) -> RelaxedSet:
    """Read a run of `repdiff relax`.

    Raises:
        UserError: If it is none, or damaged.
    """
    if not (path / FORCE_FIELD).is_file():
        raise UserError(f"{path} holds no {FORCE_FIELD}, expected the folder of a run of `repdiff relax`")
    facts: dict[str, Any] = read_json(path / FORCE_FIELD)
    try:
        relaxations = {
            crystal.id: Relaxation.from_labels(crystal.labels, crystal=crystal)
            for crystal in read_structures(path)
        }
        for entry in read_records(path / FAILED):
            relaxations[entry["id"]] = Relaxation.from_labels(entry, reason=entry["reason"])
        return RelaxedSet(
            force_field=ForceFieldIdentity(**facts["force_field"]),
            relaxations=relaxations,
            protocol=facts["protocol"],
        )
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {error}), expected a run of `repdiff relax`: "
            "give its command again with `overwrite`"
        ) from error
