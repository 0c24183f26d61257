"""Settings of the verbs that read crystals into representations."""

from pathlib import Path
from typing import ClassVar, Literal

from repdiff.settings.base import Settings, setting


class EncodeSettings(Settings):
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
        "Folder of the benchmark files; without it `data` in the workspace, which `repdiff download` fills",
        role="input",
        group="more",
    )
    descriptor: str = setting("ead", "Descriptor, NAME or NAME:PRESET, such as ead, ead:paper or soap")
    niggli: bool = setting(True, "Reduce every cell to its Niggli cell first")
    max_atoms: int | None = setting(None, "Leave out crystals of more atoms than this", ge=1)
    limit: int | None = setting(None, "Take this many crystals only, chosen at random", ge=1)
    seed: int = setting(0, "Seed of the choice of --limit and of the split where the data set has none", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")


class DegeneracySettings(Settings):
    """Settings of `repdiff degeneracy`."""

    verb: ClassVar[str] = "degeneracy"
    dataset: str = setting(..., "Data set, as for encode", positional=True)
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input", group="more"
    )
    descriptor: str = setting("ead", "Descriptor, NAME or NAME:PRESET, such as ead, ead:paper or soap")
    niggli: bool = setting(True, "Reduce every cell to its Niggli cell first", group="more")
    split: Literal["train", "val", "test", "all"] = setting("all", "Which part of the data set")
    n: int | None = setting(None, "Take this many crystals only, chosen at random; without it all", ge=1)
    tolerance: float = setting(
        0.01,
        "Pairs: largest difference of two descriptors, relative L1 as the loss of the reconstruction",
        gt=0,
    )
    cell_tolerance: float = setting(
        0.05,
        "Pairs: largest difference of cell lengths, relative, and of angles, in radians",
        gt=0,
        group="more",
    )
    same_rms: float = setting(
        0.05,
        "Pairs: largest rms of duplicates, over the cube root of the volume per atom",
        ge=0,
        group="more",
    )
    max_comparisons: int | None = setting(
        50000, "Pairs: crystals compared at most, about 20 ms each; none for no limit", ge=1, group="more"
    )
    probe: int = setting(20, "Probes: random crystals whose response to displacements is analysed", ge=0)
    rattle: float = setting(
        0.1,
        "Probes: random displacement that breaks the symmetry first, Å along each axis",
        ge=0,
        group="more",
    )
    displacement: float = setting(
        0.1, "Probes: displacement that the vector should tell, Å (rms)", gt=0, group="more"
    )
    probe_tolerance: float = setting(
        2e-4,
        "Probes: relative change of the vector that counts as none; a search stops there",
        gt=0,
        group="more",
    )
    seed: int = setting(0, "Seed of the choice of crystals and of the rattling", ge=0)
    device: str = setting("auto", "Where to encode: auto, cpu, cuda or cuda:N", role="speed")
