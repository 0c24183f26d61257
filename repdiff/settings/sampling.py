"""Settings of the commands that generate crystals."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.base import Settings, seed_setting, setting
from repdiff.settings.conditions import ConditionSettings
from repdiff.settings.memory import MemorySettings
from repdiff.settings.steering import SteeringSettings
from repdiff.settings.workers import WorkerSettings

DEFAULT_N = 1000  # samples of a run that is told no number


class GenerateSettings(ConditionSettings, SteeringSettings, WorkerSettings, Settings):
    """Settings of `repdiff generate` that all backends share."""

    verb: ClassVar[str] = "generate"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "sampling"
    model: Path | None = setting(None, "Trained model; default: the newest in the workspace", role="input")
    backend: str | None = setting(
        None, "Backend whose newest model is used; default: the newest model of any backend", role="input"
    )
    n: int | None = setting(
        None,
        "Number of samples; default: 1000, or one for each of several compositions or protostructures",
        ge=1,
        role="extent",
    )
    composition: str | None = setting(
        None, "Formula of all samples, counting the atoms in the cell, such as Li2Fe2O4"
    )
    compositions: Path | None = setting(
        None, "File with one such formula per line; samples take them in turn", role="input", group="more"
    )
    compositions_from: str | None = setting(
        None, "Data set whose formulas the samples take in turn, such as mp_20:test"
    )
    protostructures: str | None = setting(
        None,
        "Protostructures that the samples keep exactly, in turn: a text file (.txt) of labels, one a line, such as "
        "AB_cF8_225_a_b:Cl-Na, a file of crystals, or a data set such as mp_20:test",
        group="more",
    )
    data_dir: Path | None = setting(
        None,
        "With --compositions-from or --protostructures: folder with the benchmark files; default: `data` in the "
        "workspace",
        role="input",
        group="more",
    )
    seed: int = seed_setting("Seed of the samples")
    steps: int | None = setting(None, "Number of denoising steps; default: chosen for the sampler", ge=1)
    shard_size: int = setting(
        1000, "Number of samples made together and written to one file", ge=1, group="output"
    )
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")


OF_ACTIONS = {
    "n": ("encode", "reconstruct", "interpolate", "optimize"),
    "given": ("reconstruct",),
    "start": ("interpolate",),
    "end": ("interpolate",),
    "property": ("optimize",),
    "goal": ("optimize",),
    "labelled": ("optimize",),
    "head_options": ("optimize",),
    "move_options": ("optimize",),
    "steps": ("decode", "reconstruct", "interpolate", "optimize"),
}
"""Settings of `repdiff latents` that only some actions use."""
NEEDED = {"interpolate": ("start", "end"), "optimize": ("property", "goal")}


class LatentsSettings(MemorySettings, Settings):
    """Settings of `repdiff latents`."""

    verb: ClassVar[str] = "latents"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "sampling"
    only_backend: ClassVar[str | None] = "dpcdvae"
    action: Literal["encode", "decode", "reconstruct", "interpolate", "optimize"] = setting(
        ...,
        "Action; encode: crystals to latent vectors; decode: latent vectors to crystals; reconstruct: both; "
        "interpolate: crystals between two given ones; optimize: crystals whose latent vectors are moved towards a "
        "goal of a property",
        positional=True,
    )
    crystals: str = setting(
        ...,
        "Input crystals: a data set, NAME:SPLIT, a run or a path; for decode: an output of encode",
        positional=True,
    )
    model: Path | None = setting(
        None, "Trained model of dpcdvae; default: the newest in the workspace", role="input"
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    n: int | None = setting(
        None,
        "Use only this many crystals, chosen at random; interpolate: number of points including both ends, by "
        "default 11",
        ge=1,
    )
    given: bool = setting(
        False,
        "reconstruct: keep cells and elements of the crystals, and decode the coordinates only",
        group="more",
    )
    start: str | int | None = setting(None, "interpolate: first crystal, by its name, or its row from 0")
    end: str | int | None = setting(None, "interpolate: last crystal, by its name, or its row from 0")
    property: str | None = setting(None, "optimize: numeric label of the crystals to use as property")
    goal: str | float | None = setting(
        None, "optimize: goal of the property: max, min, or a target value in its unit"
    )
    labelled: str | None = setting(
        None,
        "optimize: labelled crystals that the property head is trained on; default: the train split of the data set"
        " of CRYSTALS, or else CRYSTALS",
        group="more",
    )
    head_options: dict[str, Any] = setting(
        {},
        "optimize: settings of the property head that differ from the defaults, such as n_steps=2000",
        group="more",
    )
    move_options: dict[str, Any] = setting(
        {},
        "optimize: settings of the latent optimisation that differ from the defaults, such as tether=0.1",
        group="more",
    )
    seed: int = seed_setting(
        "Seed of the random choice of --n crystals, of the decoding, and of the property head"
    )
    steps: int | None = setting(None, "Number of denoising steps; default: as many as in training", ge=1)
    shard_size: int = setting(
        256, "Number of crystals decoded together and written to one file", ge=1, group="output"
    )
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")

    @model_validator(mode="after")
    def _suits_its_action(self) -> "LatentsSettings":
        fields = type(self).model_fields
        of_sampling = dict.fromkeys(set(fields) - set(LatentsSettings.model_fields), OF_ACTIONS["steps"])
        for name, actions in (OF_ACTIONS | of_sampling).items():
            default = fields[name].default
            if self.action not in actions and getattr(self, name) != default:
                raise ValueError(
                    f"`{name}` is given, which {self.action} makes no use of: expected it with "
                    f"{' or '.join(actions)} only"
                )
        for name in NEEDED.get(self.action, ()):
            if getattr(self, name) is None:
                raise ValueError(f"`{name}` is missing, which {self.action} needs")
        if self.action == "interpolate" and self.n == 1:
            raise ValueError("`n` is 1, expected at least 2 points from one crystal to the other")
        if self.goal is not None and self.goal not in ("max", "min") and not _is_finite(self.goal):
            raise ValueError(f"`goal` is {self.goal!r}, expected max, min or a finite number")
        return self


def _is_finite(text: str | float) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


class ReconstructSettings(WorkerSettings, Settings):
    """Settings of `repdiff reconstruct`."""

    verb: ClassVar[str] = "reconstruct"
    generated: Path | None = setting(
        None, "Generated representations; default: the newest in the workspace", role="input"
    )
    dataset: str | None = setting(None, "Benchmark: instead invert the true representations of this data set")
    split: Literal["train", "val", "test", "all"] = setting("test", "With --dataset: split to invert")
    n: int | None = setting(None, "Number of crystals to reconstruct; default: all", ge=1, role="extent")
    symmetry: Literal["auto", "given", "none", "propose"] = setting(
        "auto",
        "Given: keep to the protostructures that come with the vectors, or are read off the crystals of --dataset, and "
        "search free coordinates only; none: search the positions of all atoms; propose: as none, and symmetrise what "
        "is nearly symmetric where the vector allows it; auto: given for generated vectors, none with --dataset",
        group="more",
    )
    preset: Literal["default", "fast", "thorough", "paper"] = setting(
        "default", "Search effort; paper: 6 x 7 x 300 steps"
    )
    max_seconds: float | None = setting(
        None, "Time limit per crystal, seconds, 0 for none; default: that of the preset", ge=0
    )
    max_evaluations: int | None = setting(
        None, "Largest number of evaluations per crystal, 0 for no limit; default: that of the preset", ge=0
    )
    repulsion: float | None = setting(
        None,
        "Weight, per Å², of the penalty on atoms closer than the vector's shortest distance; default: that of the "
        "preset",
        ge=0,
        group="more",
    )
    descriptor: str = setting("ead", "With --dataset: descriptor, NAME or NAME:PRESET", group="more")
    niggli: bool = setting(True, "With --dataset: reduce every cell to its Niggli cell first", group="more")
    data_dir: Path | None = setting(
        None,
        "With --dataset: folder with the benchmark files; default: `data` in the workspace",
        role="input",
        group="more",
    )
    seed: int = seed_setting("Seed of the random starts")
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None,
        "Number of processes; default: one per core, on a GPU no more than fit into its memory",
        ge=1,
        role="speed",
    )

    @model_validator(mode="after")
    def _take_one_source(self) -> "ReconstructSettings":
        if self.generated is not None and self.dataset is not None:
            raise ValueError(
                f"both `generated` ({self.generated}) and `dataset` ({self.dataset}), expected one of them"
            )
        return self
