"""Settings of the commands that evaluate crystals and present the results."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from repdiff.settings.base import MAX_SEED, Settings, seed_setting, setting
from repdiff.settings.workers import WorkerSettings


class EvaluateSettings(WorkerSettings, Settings):
    """Settings of `repdiff evaluate`."""

    verb: ClassVar[str] = "evaluate"
    structures: str | None = setting(
        None,
        "Crystals to evaluate: a reconstruction, a data set or NAME:SPLIT, or a path to CIF, zip, extxyz, CSV, JSON"
        " or parquet; default: the newest in the workspace",
        positional=True,
    )
    reference: str | None = setting(
        None, "Known crystals to compare with: a data set, NAME:SPLIT, or a path", role="adds"
    )
    training: str | None = setting(
        None,
        "Training crystals of the model, for novelty; default: the train split of the reference's data set",
        role="adds",
    )
    novelty: str | None = setting(
        None,
        "Known crystals for the novelty in S.U.N.: data sets, NAME:SPLIT, or paths, separated by commas; default: all "
        "splits of the data sets of training and reference",
        role="adds",
        of="relaxed",
        group="more",
    )
    matcher: Literal["mattergen-ordered", "mattergen-disordered"] = setting(
        "mattergen-ordered",
        "Matcher that decides which crystals are the same, for uniqueness and novelty; mattergen-disordered, the "
        "default of MatterGen's program, counts different orderings of one alloy as the same",
        group="more",
    )
    relaxed: Path | None = setting(
        None, "Output of `repdiff relax` for these crystals, for energies and stability", role="adds"
    )
    hull: Path | None = setting(
        None,
        "Output of `repdiff hull build`, or a shipped table: mp_le20 or mp_20; default: mp_le20",
        role="adds",
        of="relaxed",
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    only: tuple[str, ...] | None = setting(
        None, "Families of metrics to compute, separated by commas; default: all", role="adds"
    )
    n: int | None = setting(None, "Evaluate only this many crystals, chosen at random", ge=1)
    subsample: int = setting(
        10_000,
        "Score coverage, Fréchet distance and rediscovery of a larger set by as many of its structures, chosen at "
        "random; 0 for all",
        ge=0,
        group="more",
    )
    baseline: bool = setting(
        True,
        "Show beside each value what as many real crystals score: random training crystals against the reference, "
        "or, without training crystals, part of the reference against the rest",
        role="adds",
    )
    baseline_size: int | None = setting(
        None,
        "Number of real crystals for the baseline, chosen at random; default: as many as are evaluated",
        ge=1,
        role="adds",
        of="baseline",
        group="more",
    )
    baseline_halves: bool = setting(
        False,
        "With --baseline: also compare two halves of the reference with each other",
        role="adds",
        group="more",
    )
    benchmark: Literal["perov_5", "carbon_24", "mp_20"] | None = setting(
        None,
        "Benchmark that has the published coverage thresholds to use; default: that of the reference, or mp_20",
        role="adds",
        of="reference",
        group="more",
    )
    cache: Path | None = setting(
        None,
        "Folder in which fingerprints are cached; default: `cache` in the workspace",
        role="speed",
        group="more",
    )
    seed: int = seed_setting("Seed of random subsets and of the confidence intervals", group="more")
    n_workers: int | None = setting(None, "Number of processes; default: one per core", ge=1, role="speed")


class CompareSettings(WorkerSettings, Settings):
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
        "Settings of each system, by its name, that differ from the common sections: `train: {backend: gemsdiff}`",
        role="budget",
        only_in_file=True,
    )
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = setting(
        (0, 1, 2), "Seeds; every system is run once with each", role="budget"
    )
    baseline: bool = setting(
        True, "Also evaluate as many real crystals of the training set, once for each seed", role="budget"
    )
    at_once: int = setting(
        1,
        "Number of trials (a system with a seed) that run at the same time, each on its share of the cores",
        ge=1,
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input"
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
        "Outputs of `repdiff evaluate`, by path or name, shown side by side; default: the newest in the workspace",
        positional=True,
        role="input",
    )
    all: bool = setting(
        False,
        "A page for every finished evaluation of the workspace, and index.html, which lists and compares them",
        role="input",
    )
    output: Path | None = setting(
        None,
        "HTML file to write; default: `report/RUN.html` in the workspace",
        role="input",
        short="o",
    )
    png: Path | None = setting(
        None,
        "Folder to which all plots are also written as PNG, with their data; needs Chrome or Chromium",
        role="input",
    )
    gallery: int = setting(60, "Number of structures of each run in the gallery, chosen at random", ge=0)
    training: str | None = setting(
        None,
        "Training crystals to compare with: a data set, NAME:SPLIT, or a path; default: those of the runs",
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: that of the runs", role="input", group="more"
    )
    embedding: Literal["pca", "umap"] = setting(
        "pca", "Projection of the representations to the plane; umap needs the package umap-learn"
    )
    descriptor: str = setting("ead", "Descriptor of the projection, NAME or NAME:PRESET", group="more")
    samples: int = setting(
        2000, "Largest number of crystals of each set in the projection", ge=3, group="more"
    )
    seed: int = seed_setting("Seed of the random choice of crystals, and of umap", group="more")

    @model_validator(mode="after")
    def _all_or_some(self) -> "ReportSettings":
        given = [name for name in ("runs", "output", "png") if getattr(self, name)]
        if self.all and given:
            raise ValueError(f"`all` makes pages of all evaluations in the workspace: leave out `{given[0]}`")
        return self
