"""The files of a relaxation: structures in all formats, what failed, and which force field it was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.structure_files import FAILED, read_structures, write_structures
from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json, replacing, write_json

FORCE_FIELD = "force_field.json"


def write_relaxed(
    folder: Path,
    crystals: Sequence[Crystal],
    missing: Mapping[str, str],
    force_field: ForceFieldIdentity,
    protocol: Mapping[str, float | int | str | bool],
) -> None:
    """Write what became of crystals: `structures.extxyz` and its like, `failed.jsonl`, `force_field.json`.

    Args:
        folder: Of the run.
        crystals: With the labels of `relax_part`; those with a reason go to `failed.jsonl`.
        missing: Reason by name, of what was no crystal before.
        force_field: What computed the energies.
        protocol: How it was relaxed.

    Raises:
        UserError: If the folder cannot be written.
    """
    relaxed = [crystal for crystal in crystals if not crystal.labels["reason"]]
    entries: list[dict[str, Label]] = [
        {
            "id": crystal.id,
            "reason": crystal.labels["reason"],
            "n_steps": crystal.labels["n_steps"],
            "initial_energy_per_atom": crystal.labels["initial_energy_per_atom"],
        }
        for crystal in crystals
        if crystal.labels["reason"]
    ]
    entries += [{"id": name, "reason": reason} for name, reason in missing.items()]
    with replacing(folder / FAILED) as partial:
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    write_structures(folder, [_without_reason(crystal) for crystal in relaxed], progress=True)
    write_json(folder / FORCE_FIELD, {"force_field": asdict(force_field), "protocol": dict(protocol)})


def read_relaxed(path: Path) -> RelaxedSet:
    """Read a run of `repdiff relax`.

    Raises:
        UserError: If it is none, or damaged.
    """
    if not (path / FORCE_FIELD).is_file():
        raise UserError(f"{path} holds no {FORCE_FIELD}, expected the folder of a run of `repdiff relax`")
    facts: dict[str, Any] = read_json(path / FORCE_FIELD)
    try:
        relaxations = {crystal.id: _relaxation(crystal) for crystal in read_structures(path)}
        for line in (path / FAILED).read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            relaxations[entry["id"]] = Relaxation(
                crystal=None,
                initial_energy=entry.get("initial_energy_per_atom"),
                energy=None,
                n_steps=entry.get("n_steps", 0),
                converged=False,
                rmsd=None,
                reason=entry["reason"],
            )
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


def _relaxation(crystal: Crystal) -> Relaxation:
    labels: Mapping[str, Any] = crystal.labels
    return Relaxation(
        crystal=crystal,
        initial_energy=labels["initial_energy_per_atom"],
        energy=labels["energy_per_atom"],
        n_steps=labels["n_steps"],
        converged=labels["converged"],
        rmsd=labels["rmsd"],
    )


def _without_reason(crystal: Crystal) -> Crystal:
    return crystal.replace(labels={name: value for name, value in crystal.labels.items() if name != "reason"})
