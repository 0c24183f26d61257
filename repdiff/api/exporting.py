"""Crystals for the evaluators of others."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.api.checks import checked
from repdiff.api.folders import refuse_other_files
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.exports import (
    CIF_FILES,
    CIFS,
    EXPORTED,
    chosen_for_lemat,
    writable_for_others,
    write_for_lemat,
    write_for_mattergen,
)
from repdiff.errors import UserError
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


@checked
def export(
    crystals: CrystalsLike,
    folder: str | Path,
    *,
    lemat: bool = False,
    mattergen: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> list[Path]:
    """Write crystals in the files that the evaluators of others take.

    Args:
        crystals: Structures, atoms, crystals, or a set of them; what no file can hold is left out,
            which is said.
        folder: Where the files go; made if it does not exist. One that exists must be empty or hold an export, which
            is replaced.
        lemat: Whether to write for LeMat-GenBench: `cifs/`, 2,500 CIFs, drawn at random if there are more, and
            `cifs.csv`, which crystal each is.
        mattergen: Whether to write for MatterGen's evaluator: `generated_crystals.extxyz`, all crystals.
        seed: Seed of the random choice.
        progress: Whether to show a bar.

    Returns:
        What was written.

    Raises:
        UserError: If neither is asked for, something is no crystal, none can be written, there are fewer than 2,500
            for LeMat-GenBench, the folder holds other files, or the disk refuses.

    Example:
        >>> import tempfile
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [file] = rd.export([bulk("Cu"), bulk("Ag")], folder, mattergen=True)
        ...     file.name, rd.read(file)
        ('generated_crystals.extxyz', CrystalSet: 2 crystals)
    """
    if not (lemat or mattergen):
        raise UserError("nothing to write for: give `lemat`, `mattergen` or both")
    place = home_expanded(folder)
    refuse_other_files(place, written=EXPORTED, always=frozenset())
    refuse_other_files(place / CIFS, written=CIF_FILES, always=frozenset())
    made = writable_for_others(as_crystal_set(crystals))
    chosen = chosen_for_lemat(made.crystals, seed=seed) if lemat else []
    found = write_for_lemat(place, chosen, progress=progress) if lemat else []
    return [*found, *([write_for_mattergen(place, made.crystals)] if mattergen else [])]
