"""Crystals for the evaluators of others, in the files that these take."""

import csv
import logging
import random
from collections.abc import Sequence
from pathlib import Path

from repdiff.crystals.cif_names import named_cif
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.structure_files import no_warnings, writable_of, write_file
from repdiff.crystals.structure_formats import cif_text
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.runs.atomic_files import replacing

N_LEMAT = 2500  # structures that LeMat-GenBench asks for
CIFS, CIF_NAMES = "cifs", "cifs.csv"
MATTERGEN = "generated_crystals.extxyz"
EXPORTED = frozenset({CIFS, CIF_NAMES, MATTERGEN})  # all that lies in a folder after an export
CIF_FILES = frozenset(f"{number:05d}.cif" for number in range(N_LEMAT))
log = logging.getLogger(__name__)


def writable_for_others(made: CrystalSet, *, what: str = "crystals") -> CrystalSet:
    """Leave out what no file can hold, which is counted among those that failed, and said.

    Args:
        made: Crystals of any quality.
        what: What they are called in messages.

    Raises:
        UserError: If nothing is left.
    """
    found = writable_of(made)
    if not found.crystals:
        raise UserError(f"{what}: none of {len(made)} can be written, expected one or more")
    if found.failed:
        first = next(iter(found.failed.values()))
        log.warning("%d of %d crystals left out; the first: %s", len(found.failed), len(found), first)
    return found


def chosen_for_lemat(crystals: Sequence[Crystal], *, seed: int = 0, what: str = "crystals") -> list[Crystal]:
    """Choose as many crystals as LeMat-GenBench takes, at random if there are more, in their order.

    Args:
        crystals: Crystals that can be written.
        seed: Seed of the choice.
        what: What they are called in messages.

    Raises:
        UserError: If there are fewer.
    """
    if len(crystals) < N_LEMAT:
        raise UserError(
            f"{what}: {len(crystals)} crystals can be written, expected at least {N_LEMAT} for LeMat-GenBench: "
            f"make more, such as by `repdiff generate --n {N_LEMAT}`"
        )
    rows = sorted(random.Random(seed).sample(range(len(crystals)), N_LEMAT))
    return [crystals[row] for row in rows]


def write_for_lemat(folder: Path, crystals: Sequence[Crystal], *, progress: bool = False) -> list[Path]:
    """Write one CIF a crystal into the folder `cifs`, and beside it which crystal each is.

    LeMat-GenBench takes the folder: `scripts/run_benchmarks.py --cifs cifs`.

    Args:
        folder: Made if it does not exist; CIFs that an earlier call wrote there are removed first.
        crystals: Crystals that can be written, see `chosen_for_lemat`.
        progress: Whether to show a bar.

    Returns:
        The folder of the CIFs, and the table of their names.
    """
    place = folder / CIFS
    place.mkdir(parents=True, exist_ok=True)
    for old in CIF_FILES:
        (place / old).unlink(missing_ok=True)
    names = []
    bar = progress_bar(total=len(crystals), desc="writing", unit="crystal", disable=not progress)
    with no_warnings(), bar:
        for number, crystal in enumerate(crystals):
            name = f"{number:05d}.cif"
            (place / name).write_text(named_cif(crystal.id, cif_text(crystal)), encoding="utf-8")
            names.append((name, crystal.id))
            bar.update()
    with replacing(folder / CIF_NAMES) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "id"), *names])
    return [place, folder / CIF_NAMES]


def write_for_mattergen(folder: Path, crystals: Sequence[Crystal]) -> Path:
    """Write extended XYZ without labels, which MatterGen's evaluator takes: `--structures_path FILE`.

    Args:
        folder: Made if it does not exist.
        crystals: Crystals that can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return write_file(folder / MATTERGEN, [crystal.replace(labels={}) for crystal in crystals])
