"""Settings of the verbs that make crystals."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.base import Settings, setting

DEFAULT_N = 1000  # samples of a run that is told no number


class GenerateSettings(Settings):
    """Settings of `repdiff generate` that all backends share."""

    verb: ClassVar[str] = "generate"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "sampling"
    model: Path | None = setting(None, "Trained model; without it the newest of the workspace", role="input")
    backend: str | None = setting(
        None, "System whose model is taken; without it the newest model, whatever its system", role="input"
    )
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
        None, "File with one such formula a line, to be taken in turn", role="input", group="more"
    )
    compositions_from: str | None = setting(
        None, "Take the formulas of a data set in turn, such as mp_20:test"
    )
    data_dir: Path | None = setting(
        None,
        "With --compositions-from: folder of the benchmark files; without it `data` in the workspace",
        role="input",
        group="more",
    )
    seed: int = setting(0, "Seed of the samples", ge=0)
    steps: int | None = setting(None, "Denoising steps; without it what suits the sampler", ge=1)
    shard_size: int = setting(
        1000, "Representations made at once and written to one file", ge=1, group="output"
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed", group="more")


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


class LatentsSettings(Settings):
    """Settings of `repdiff latents`."""

    verb: ClassVar[str] = "latents"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "sampling"
    only_backend: ClassVar[str | None] = "dpcdvae"
    action: Literal["encode", "decode", "reconstruct", "interpolate", "optimize"] = setting(
        ...,
        "What to do; encode: crystals into latent vectors; decode: these into crystals; reconstruct: both; "
        "interpolate: crystals between two; optimize: crystals moved to where a property is as wanted",
        positional=True,
    )
    crystals: str = setting(
        ...,
        "Crystals to begin with, as for evaluate: a data set, NAME:SPLIT, a run or a path; decode: a run of encode",
        positional=True,
    )
    model: Path | None = setting(
        None, "Trained model of dpcdvae; without it the newest of the workspace", role="input"
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input", group="more"
    )
    n: int | None = setting(
        None,
        "Take this many crystals only, chosen at random; interpolate: points with both ends, 11 without it",
        ge=1,
    )
    given: bool = setting(
        False,
        "reconstruct: take cells and atoms of the crystals as known, so that places alone are decoded",
        group="more",
    )
    start: str | int | None = setting(None, "interpolate: first crystal, by its name, or its row from 0")
    end: str | int | None = setting(None, "interpolate: last crystal, by its name, or its row from 0")
    property: str | None = setting(None, "optimize: numeric label of crystals")
    goal: str | float | None = setting(
        None, "optimize: what the property shall be: max, min, or a number in its unit"
    )
    labelled: str | None = setting(
        None,
        "optimize: crystals with labels, from which the property is learnt; without them the train split of the "
        "data set of CRYSTALS, or else CRYSTALS",
        group="more",
    )
    head_options: dict[str, Any] = setting(
        {},
        "optimize: how the property is learnt where that differs from the defaults, such as n_steps=2000",
        group="more",
    )
    move_options: dict[str, Any] = setting(
        {},
        "optimize: how latent vectors are moved where that differs from the defaults, such as tether=0.1",
        group="more",
    )
    seed: int = setting(0, "Seed of the choice of --n, of the decoding, and of the property's network", ge=0)
    steps: int | None = setting(None, "Denoising steps; without it as many as in training", ge=1)
    shard_size: int = setting(
        256, "Crystals that are decoded together and written to one file", ge=1, group="output"
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed", group="more")

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
        group="more",
    )
    descriptor: str = setting("ead", "With --dataset: descriptor, NAME or NAME:PRESET", group="more")
    niggli: bool = setting(True, "With --dataset: reduce every cell to its Niggli cell first", group="more")
    data_dir: Path | None = setting(
        None,
        "With --dataset: folder of the benchmark files; without it `data` in the workspace",
        role="input",
        group="more",
    )
    seed: int = setting(0, "Seed of the random starts", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None,
        "Processes; without it one per core, on a GPU no more than its memory has room for",
        ge=1,
        role="speed",
    )

    @model_validator(mode="after")
    def _take_one_source(self) -> "ReconstructSettings":
        if self.generated is not None and self.dataset is not None:
            raise ValueError(
                f"both generated ({self.generated}) and dataset ({self.dataset}), expected one of them"
            )
        return self
