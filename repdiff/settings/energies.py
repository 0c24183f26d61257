"""Settings of the verbs that compute energies."""

from pathlib import Path
from typing import ClassVar, Literal

from repdiff.settings.base import Settings, setting


class RelaxSettings(Settings):
    """Settings of `repdiff relax`."""

    verb: ClassVar[str] = "relax"
    structures: str | None = setting(
        None, "Crystals to relax, as for evaluate; without them the newest of the workspace", positional=True
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input", group="more"
    )
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    fmax: float = setting(0.05, "Largest force of a relaxed crystal, those on the cell included, eV/Å", gt=0)
    max_steps: int = setting(500, "Steps for a crystal at most", ge=0)
    n: int | None = setting(
        None, "Relax this many only, chosen at random; without it all", ge=1, role="extent"
    )
    seed: int = setting(0, "Seed of the choice of --n", ge=0)
    atoms_at_once: int | None = setting(
        None, "Atoms in a batch; without it as it suits the device", ge=1, role="speed", group="more"
    )
    part_size: int | None = setting(
        None,
        "Crystals that are written together; without it as it suits the device",
        ge=1,
        role="speed",
        group="output",
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    n_workers: int | None = setting(None, "Processes on a CPU; without it one per core", ge=1, role="speed")


class HullSettings(Settings):
    """Settings of `repdiff hull build`."""

    verb: ClassVar[str] = "hull"
    action: Literal["build"] = setting(
        "build",
        "What to do; build: compute the energies of a data set that a hull is made of",
        positional=True,
    )
    dataset: str = setting(..., "Data set of known crystals, as for encode", positional=True)
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input", group="more"
    )
    split: Literal["train", "val", "test", "all"] = setting("all", "Which part of the data set")
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    relax: bool = setting(False, "Relax the crystals first, instead of taking them as they are")
    fmax: float = setting(0.05, "With --relax: largest force of a relaxed crystal, eV/Å", gt=0)
    max_steps: int = setting(500, "With --relax: steps for a crystal at most", ge=0)
    n: int | None = setting(None, "Take this many crystals only, chosen at random", ge=1, role="extent")
    seed: int = setting(0, "Seed of the choice of --n", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None, "Processes on a CPU; without it one per core", ge=1, role="speed", group="more"
    )
