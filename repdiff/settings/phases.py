"""Settings of `repdiff phases`."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from repdiff.settings.base import Settings, seed_setting, setting
from repdiff.settings.workers import WorkerSettings


class PhasesSettings(WorkerSettings, Settings):
    """Settings of `repdiff phases`."""

    verb: ClassVar[str] = "phases"
    system: str | None = setting(
        None, "Chemical system, such as Li-Fe-O; default: the elements of --formulas", positional=True
    )
    n: int = setting(300, "Number of candidates", ge=1)
    formulas: str | None = setting(
        None,
        "Formulas to try, such as LiFeO2,Li5FeO4, or a text file of them, one a line; default: those of the system, "
        "first those that many known compounds with elements alike have",
    )
    scope: Literal["system", "compounds", "all"] = setting(
        "system",
        "Formulas that belong to the system; system: with all its elements; compounds: those of its sub-systems too; "
        "all: the elements themselves as well",
    )
    max_atoms: int = setting(20, "Largest number of atoms of the primitive cell", ge=1)
    formula_units: str = setting("1-4", "Formula units of the primitive cell, such as 2 or 1-4", group="more")
    model: Path | None = setting(
        None,
        "Trained model of structrepdiff, with protostructures; default: the newest in the workspace",
        role="input",
    )
    known: str | None = setting(
        None,
        "Data sets whose crystals count as known, separated by commas; default: that of the model",
        group="more",
    )
    data_dir: Path | None = setting(
        None,
        "With --known: folder with the benchmark files; default: `data` in the workspace",
        role="input",
        group="more",
    )
    hull: Path | None = setting(
        None,
        "Reference energies: an output of `repdiff hull build`, or a shipped table, mp_le20 or mp_20; default: the "
        "largest shipped one of the force field",
        role="input",
        group="more",
    )
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    fmax: float = setting(
        0.05, "Convergence criterion: largest force on an atom or on the cell, eV/Å", gt=0, group="more"
    )
    max_steps: int = setting(500, "Largest number of relaxation steps per crystal", ge=0, group="more")
    max_seconds: float | None = setting(
        60.0,
        "Time limit of the relaxation of a crystal, seconds of processor time, its share of that of its batch; none "
        "for no limit",
        gt=0,
    )
    max_minutes: float | None = setting(
        None,
        "Minutes of building and relaxing after which no further batch of candidates begins, including earlier "
        "sessions of a resumed run; default: no limit",
        role="budget",
        gt=0,
    )
    search: Literal["default", "fast", "thorough"] = setting(
        "fast", "Search effort of the inversion of vectors", group="more"
    )
    steps: int | None = setting(50, "Number of denoising steps", ge=1, group="more")
    likeliest_share: float = setting(
        0.75,
        "Share of the candidates of a formula that are its likeliest protostructures on known prototypes; the others "
        "are drawn",
        ge=0,
        le=1,
        group="more",
    )
    sampling_options: dict[str, Any] = setting(
        {"sampler": "ddim"},
        "Options of the sampling, as `repdiff generate` takes them, such as sampler=ddim,temperature=0.9; "
        "conditions are none of them",
        group="more",
    )
    seed: int = seed_setting("Seed of the samples and of the search")
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None, "Number of processes on a CPU; default: one per core", ge=1, role="speed", group="more"
    )
