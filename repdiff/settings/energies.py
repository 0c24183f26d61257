"""Settings of the commands that compute energies."""

from pathlib import Path
from typing import ClassVar, Literal

from repdiff.settings.base import Settings, seed_setting, setting
from repdiff.settings.workers import WorkerSettings


class RelaxSettings(WorkerSettings, Settings):
    """Settings of `repdiff relax`."""

    verb: ClassVar[str] = "relax"
    structures: str | None = setting(
        None,
        "Crystals to relax, named as for evaluate; default: the newest in the workspace",
        positional=True,
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    fmax: float = setting(0.05, "Convergence criterion: largest force on an atom or on the cell, eV/Å", gt=0)
    max_steps: int = setting(500, "Largest number of relaxation steps per crystal", ge=0)
    max_seconds: float | None = setting(
        None,
        "Time limit per crystal, seconds of processor time, its share of that of its batch; what reaches it keeps its "
        "last geometry; default: none",
        gt=0,
    )
    rattle: float = setting(
        0.0, "Standard deviation of normal displacements of the atoms before relaxation, Å", ge=0
    )
    n: int | None = setting(
        None, "Relax only this many crystals, chosen at random; default: all", ge=1, role="extent"
    )
    seed: int = seed_setting("Seed of the random choice of --n crystals and of --rattle")
    atoms_at_once: int | None = setting(
        None, "Number of atoms in a batch; default: chosen for the device", ge=1, role="speed", group="more"
    )
    part_size: int | None = setting(
        None,
        "Number of crystals written together; default: chosen for the device",
        ge=1,
        role="speed",
        group="output",
    )
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed")
    n_workers: int | None = setting(
        None, "Number of processes on a CPU; default: one per core", ge=1, role="speed"
    )


class HullSettings(WorkerSettings, Settings):
    """Settings of `repdiff hull build`."""

    verb: ClassVar[str] = "hull"
    action: Literal["build"] = setting(
        "build",
        "Action; build: compute the energies of a data set, from which a convex hull is made",
        positional=True,
    )
    dataset: str = setting(..., "Data set of known crystals, named as for encode", positional=True)
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    split: Literal["train", "val", "test", "all"] = setting("all", "Split of the data set")
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    relax: bool = setting(False, "Relax the crystals before computing their energies")
    fmax: float = setting(
        0.05, "With --relax: convergence criterion, largest force on an atom or on the cell, eV/Å", gt=0
    )
    max_steps: int = setting(500, "With --relax: largest number of relaxation steps per crystal", ge=0)
    n: int | None = setting(None, "Use only this many crystals, chosen at random", ge=1, role="extent")
    seed: int = seed_setting("Seed of the random choice of --n crystals")
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None, "Number of processes on a CPU; default: one per core", ge=1, role="speed", group="more"
    )
