"""Settings of the commands that start from given crystals: variations of them, and what is like them."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.base import Settings, seed_setting, setting
from repdiff.settings.workers import WorkerSettings


class VarySettings(WorkerSettings, Settings):
    """Settings of `repdiff vary`."""

    verb: ClassVar[str] = "vary"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "sampling"
    crystals: str = setting(..., "Crystals to vary: a data set, NAME:SPLIT, a run or a path", positional=True)
    model: Path | None = setting(None, "Trained model; default: the newest in the workspace", role="input")
    backend: str | None = setting(
        None, "Backend whose newest model is used; default: the newest model of any backend", role="input"
    )
    strength: float = setting(
        0.3,
        "Share of the noise process that the crystals are taken through, above 0 (as given) and at most 1 (new)",
        gt=0,
        le=1,
    )
    n: int = setting(10, "Number of variations of each crystal", ge=1, le=1_000_000)
    keep: Literal["protostructure", "composition", "nothing"] | None = setting(
        None,
        "What variations keep exactly. protostructure: space group, elements and occupied positions; composition: the "
        "atoms of the primitive cell; default: what the backend is conditioned on",
    )
    hold: tuple[str, ...] = setting(
        (),
        "Parts of the vectors of the crystals to hold, of models that make vectors, such as cell, volume, min_distance "
        "or descriptor",
        group="conditions",
    )
    among: str | None = setting(
        None,
        "Known crystals to find the nearest of each variation among: a data set, NAME:SPLIT, a path or an encoded set; "
        "default: the training crystals of the model, where its run says which",
    )
    matcher: Literal["mattergen-ordered", "mattergen-disordered"] = setting(
        "mattergen-ordered",
        "What counts as the same structure; mattergen-disordered: orderings of one alloy count as the same",
        group="more",
    )
    limit: int | None = setting(
        None, "Vary only this many of the crystals, chosen at random", ge=1, group="more"
    )
    preset: Literal["default", "fast", "thorough", "paper"] = setting(
        "default", "Search effort, where the model makes vectors that are inverted"
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    seed: int = seed_setting("Seed of the variations, of the search, and of the choice of --limit crystals")
    steps: int | None = setting(
        None,
        "Number of denoising steps of a new sample, of which the share of the strength is taken; default: chosen for "
        "the sampler",
        ge=1,
    )
    shard_size: int = setting(
        1000, "Number of variations made together and written to one file", ge=1, group="output"
    )
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None,
        "Number of processes that invert vectors; default: one per core, on a GPU no more than fit into its memory",
        ge=1,
        role="speed",
        group="more",
    )


class SimilarSettings(WorkerSettings, Settings):
    """Settings of `repdiff similar`."""

    verb: ClassVar[str] = "similar"
    crystals: str = setting(
        ..., "Crystals to look for: a data set, NAME:SPLIT, a run or a path", positional=True
    )
    among: str | None = setting(
        None,
        "Known crystals to search: a data set such as mp_20, NAME:SPLIT, a path or a run of encode (required)",
    )
    n: int = setting(5, "Number of nearest crystals for each", ge=1)
    descriptor: str | None = setting(
        None,
        "Descriptor, NAME or NAME:PRESET; default: that of the encoded set that is searched, or else ead",
    )
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    device: str = setting(
        "auto", "Device for encoding: auto, cpu, cuda or cuda:N", role="speed", group="more"
    )

    @model_validator(mode="after")
    def _needs_a_set(self) -> "SimilarSettings":
        if self.among is None:
            raise ValueError("`among` is missing: name the crystals to search, such as mp_20")
        return self
