"""Settings of the commands that encode crystals and analyse representations."""

from pathlib import Path
from typing import ClassVar, Literal

from repdiff.settings.base import Settings, seed_setting, setting
from repdiff.settings.workers import WorkerSettings


class EncodeSettings(WorkerSettings, Settings):
    """Settings of `repdiff encode`."""

    verb: ClassVar[str] = "encode"
    dataset: str = setting(
        ...,
        "Data set: prototypes (built in), a benchmark (perov_5, carbon_24, mp_20), or a path to CSV, CIF, "
        "POSCAR, extxyz, ase.db, pymatgen JSON or parquet",
        positional=True,
    )
    data_dir: Path | None = setting(
        None,
        "Folder with the benchmark files; default: `data` in the workspace, where `repdiff download` puts them",
        role="input",
        group="more",
    )
    descriptor: str = setting("ead", "Descriptor, NAME or NAME:PRESET, such as ead, ead:paper or soap")
    niggli: bool = setting(True, "Reduce every cell to its Niggli cell first")
    symprec: float | None = setting(
        0.1,
        "Tolerance within which the protostructure (space group and occupied Wyckoff positions) is read off each "
        "crystal, Å; none leaves it out",
        gt=0,
    )
    max_atoms: int | None = setting(None, "Leave out crystals with more atoms per cell than this", ge=1)
    limit: int | None = setting(None, "Use only this many crystals, chosen at random", ge=1)
    seed: int = seed_setting(
        "Seed of the random choice of --limit crystals, and of the split where the data set has none"
    )
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed")


class DegeneracySettings(WorkerSettings, Settings):
    """Settings of `repdiff degeneracy`."""

    verb: ClassVar[str] = "degeneracy"
    dataset: str = setting(..., "Data set, named as for encode", positional=True)
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    descriptor: str = setting("ead", "Descriptor, NAME or NAME:PRESET, such as ead, ead:paper or soap")
    niggli: bool = setting(True, "Reduce every cell to its Niggli cell first", group="more")
    split: Literal["train", "val", "test", "all"] = setting("all", "Split of the data set")
    n: int | None = setting(None, "Use only this many crystals, chosen at random; default: all", ge=1)
    tolerance: float = setting(
        0.01,
        "Pairs: largest relative L1 difference of two descriptors, the same measure as the loss of the "
        "reconstruction",
        gt=0,
    )
    cell_tolerance: float = setting(
        0.05,
        "Pairs: largest difference of the cells: relative for lengths, in radians for angles",
        gt=0,
        group="more",
    )
    same_rms: float = setting(
        0.05,
        "Pairs: largest rms displacement of duplicates, divided by the cube root of the volume per atom",
        ge=0,
        group="more",
    )
    max_comparisons: int | None = setting(
        50000,
        "Pairs: largest number of comparisons of crystals, about 20 ms each; none for no limit",
        ge=1,
        role="extent",
        group="more",
    )
    probe: int = setting(
        20,
        "Probes: number of random crystals whose response to displacements is analysed",
        ge=0,
        role="extent",
    )
    rattle: float = setting(
        0.1,
        "Probes: random displacement that breaks the symmetry beforehand, Å along each axis",
        ge=0,
        group="more",
    )
    displacement: float = setting(
        0.1, "Probes: displacement that should change the vector, Å (rms)", gt=0, group="more"
    )
    probe_tolerance: float = setting(
        2e-4,
        "Probes: relative change of the vector below which it counts as unchanged; the search stops there",
        gt=0,
        group="more",
    )
    seed: int = seed_setting("Seed of the random choice of crystals and of the random displacements")
    device: str = setting("auto", "Device for encoding: auto, cpu, cuda or cuda:N", role="speed")
