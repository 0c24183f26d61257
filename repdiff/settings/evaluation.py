"""Settings of the verbs that judge crystals, and show what they found."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from repdiff.settings.base import Settings, setting


class EvaluateSettings(Settings):
    """Settings of `repdiff evaluate`."""

    verb: ClassVar[str] = "evaluate"
    structures: str | None = setting(
        None,
        "Crystals to judge: a reconstruction, a data set or NAME:SPLIT, or a path to CIF, zip, extxyz, CSV, "
        "JSON or parquet; without them the newest of the workspace",
        positional=True,
    )
    reference: str | None = setting(None, "Known crystals to compare with: a data set, NAME:SPLIT, or a path")
    training: str | None = setting(
        None,
        "Crystals the model has seen, for novelty; without it the train split of the reference's data set",
    )
    novelty: str | None = setting(
        None,
        "Crystals that S.U.N. calls known: a data set, NAME:SPLIT, or a path; without it the whole data set of the "
        "reference, all its splits",
        group="more",
    )
    matcher: Literal["mattergen-ordered", "mattergen-disordered"] = setting(
        "mattergen-ordered",
        "What counts as the same crystal for uniqueness and novelty; mattergen-disordered, the default of MatterGen's "
        "program, takes orderings of one alloy for the same",
        group="more",
    )
    relaxed: Path | None = setting(
        None, "Output of `repdiff relax` for these crystals, for energies and stability", role="input"
    )
    hull: Path | None = setting(
        None,
        "Output of `repdiff hull build`, or a shipped table: mp_le20, mp_20; without it mp_le20",
        role="input",
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input", group="more"
    )
    only: tuple[str, ...] | None = setting(None, "Families of metrics, separated by commas; without it all")
    n: int | None = setting(None, "Judge this many crystals only, chosen at random", ge=1)
    floor: bool = setting(
        True,
        "What as many real crystals score, beside each value: random training crystals against the reference, or, "
        "without training crystals, some of the reference against the rest",
    )
    floor_size: int | None = setting(
        None,
        "Real crystals for the floor, chosen at random; without it as many as are judged",
        ge=1,
        group="more",
    )
    floor_halves: bool = setting(
        False, "With --floor: two halves of the reference against each other, too", group="more"
    )
    benchmark: Literal["perov_5", "carbon_24", "mp_20"] | None = setting(
        None,
        "Whose published thresholds of coverage hold; without it the reference's, or mp_20",
        group="more",
    )
    cache: Path | None = setting(
        None,
        "Folder for fingerprints, kept for next time; without it `cache` in the workspace",
        role="speed",
        group="more",
    )
    seed: int = setting(0, "Seed of random subsets and of the intervals", ge=0, group="more")
    n_workers: int | None = setting(None, "Processes; without it one per core", ge=1, role="speed")


class CompareSettings(Settings):
    """Settings of `repdiff compare`."""

    verb: ClassVar[str] = "compare"
    what: tuple[Path, ...] = setting(
        (),
        "A YAML file that describes a comparison, or two or more outputs of `repdiff evaluate`, by path or name",
        positional=True,
        role="input",
    )
    systems: dict[str, dict[str, Any] | None] = setting(
        {},
        "By name, what each system has of its own in the sections of the verbs: `train: {backend: gemsdiff}`",
        role="budget",
        only_in_file=True,
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = setting(
        (0, 1, 2), "Seeds, each of which is a run of every system", role="budget"
    )
    floor: bool = setting(
        True, "Judge as many real crystals of the training set too, once for each seed", role="budget"
    )
    at_once: int = setting(
        1, "Cells (a system with a seed) that run at the same time, each on its share of the cores", ge=1
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input"
    )

    @model_validator(mode="after")
    def _has_seeds(self) -> "CompareSettings":
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}, expected one or more, each once")
        return self


class ReportSettings(Settings):
    """Settings of `repdiff report`."""

    verb: ClassVar[str] = "report"
    runs: tuple[Path, ...] = setting(
        (),
        "Outputs of `repdiff evaluate`, by path or name, shown side by side; without them the newest of the "
        "workspace",
        positional=True,
        role="input",
    )
    output: Path | None = setting(
        None,
        "The page to write; without it `report/RUN.html` in the workspace",
        role="input",
        short="o",
    )
    png: Path | None = setting(
        None, "Folder for all plots as PNG too, with their numbers; needs Chrome or Chromium", role="input"
    )
    gallery: int = setting(60, "Structures of each run in the gallery, chosen at random", ge=0)
    training: str | None = setting(
        None, "Training crystals to compare with: a data set, NAME:SPLIT, or a path; without it the runs' own"
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it that of the runs", role="input", group="more"
    )
    embedding: Literal["pca", "umap"] = setting(
        "pca", "How representations are projected; umap needs the package umap-learn"
    )
    descriptor: str = setting("ead", "Descriptor of the projection, NAME or NAME:PRESET", group="more")
    samples: int = setting(2000, "Crystals of each set in the projection at most", ge=3, group="more")
    seed: int = setting(0, "Seed of the choice of crystals, and of umap", ge=0, group="more")
