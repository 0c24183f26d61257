"""Settings of the verbs that make crystals."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.base import Settings, setting


class GenerateSettings(Settings):
    """Settings of `repdiff generate`."""

    verb: ClassVar[str] = "generate"
    model: Path | None = setting(None, "Trained model; without it the newest of the workspace", role="input")
    n: int | None = setting(
        None,
        "Samples to generate; without it 1000, or one for each of several compositions",
        ge=1,
        role="extent",
    )
    composition: str | None = setting(
        None, "Make all samples of this formula, which counts the atoms of the cell, such as Li2Fe2O4"
    )
    compositions: Path | None = setting(
        None, "File with one such formula a line, to be taken in turn", role="input"
    )
    compositions_from: str | None = setting(
        None, "Take the formulas of a data set in turn, such as mp_20:test"
    )
    data_dir: Path | None = setting(
        None,
        "With --compositions-from: folder of the benchmark files; without it `data` in the workspace",
        role="input",
    )
    condition: dict[str, Any] = setting(
        {},
        "Properties that samples should have, of a model from finetune: band_gap=1.5 or chemical_system=Li-O; "
        "may be given several times",
    )
    guidance: float | None = setting(
        None, "With --condition: 0 ignores it, 1 is as trained, which is the default, more exaggerates"
    )
    seed: int = setting(0, "Seed of the samples", ge=0)
    sampler: Literal["ddpm", "ddim", "dpm"] = setting(
        "ddpm", "ddpm: ancestral, all steps; ddim and dpm (DPM-Solver++): fewer steps"
    )
    steps: int | None = setting(None, "Denoising steps; without it what suits the sampler", ge=1)
    backend_options: dict[str, Any] = setting(
        {},
        "Settings of the sampling of a backend other than structrepdiff, where they differ from its defaults",
    )
    eta: float = setting(0.0, "ddim only: share of the ancestral noise, 0 (none) to 1 (as ddpm)", ge=0, le=1)
    composition_temperature: float = setting(
        1.0, "Of formulas drawn first: below 1 likelier ones, less diverse", gt=0, le=2
    )
    shard_size: int = setting(1000, "Representations made at once and written to one file", ge=1)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")


class ReconstructSettings(Settings):
    """Settings of `repdiff reconstruct`."""

    verb: ClassVar[str] = "reconstruct"
    generated: Path | None = setting(
        None, "Generated representations; without them the newest of the workspace", role="input"
    )
    dataset: str | None = setting(
        None, "Invert true representations of this data set instead, as a benchmark"
    )
    split: Literal["train", "val", "test", "all"] = setting("test", "With --dataset: which part of it")
    n: int | None = setting(None, "Crystals to reconstruct; without it all", ge=1, role="extent")
    preset: Literal["default", "fast", "thorough", "paper"] = setting(
        "default", "How hard to search; paper: 6 x 7 x 300 steps"
    )
    max_seconds: float | None = setting(
        None, "Seconds for a crystal at most, 0 for no limit; without it as the preset has it", ge=0
    )
    max_evaluations: int | None = setting(
        None, "Evaluations for a crystal at most, 0 for no limit; without it as the preset has it", ge=0
    )
    repulsion: float | None = setting(
        None,
        "Physics against fidelity: weight, per Å², of atoms closer than the vector's shortest distance; "
        "without it as the preset has it",
        ge=0,
    )
    descriptor: str = setting("ead", "With --dataset: descriptor, NAME or NAME:PRESET")
    niggli: bool = setting(True, "With --dataset: reduce every cell to its Niggli cell first")
    data_dir: Path | None = setting(
        None,
        "With --dataset: folder of the benchmark files; without it `data` in the workspace",
        role="input",
    )
    seed: int = setting(0, "Seed of the random starts", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    n_workers: int | None = setting(None, "Processes; without it one per core", ge=1, role="speed")

    @model_validator(mode="after")
    def _take_one_source(self) -> "ReconstructSettings":
        if self.generated is not None and self.dataset is not None:
            raise ValueError(
                f"both generated ({self.generated}) and dataset ({self.dataset}), expected one of them"
            )
        return self
