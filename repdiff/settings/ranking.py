"""Settings of the command that learns to rank protostructures."""

from pathlib import Path
from typing import ClassVar

from pydantic import model_validator

from repdiff.settings.base import Settings, again, seed_setting, setting
from repdiff.settings.training import TrainingSettings
from repdiff.settings.workers import WorkerSettings


class RankSettings(WorkerSettings, Settings, TrainingSettings):
    """Settings of `repdiff rank`."""

    verb: ClassVar[str] = "rank"
    dataset: str | None = setting(
        None,
        "Labelled data set, named as for encode, whose protostructures are read here; default: an encoded one",
        positional=True,
    )
    by: str = setting(
        "e_above_hull", "Numeric label to predict; protostructures with lower values are ranked first"
    )
    encoded: Path | None = setting(
        None, "Encoded data set with labels; default: the newest in the workspace", role="input"
    )
    data_dir: Path | None = setting(
        None,
        "With DATASET: folder with the benchmark files; default: `data` in the workspace",
        role="input",
        group="more",
    )
    symprec: float = setting(
        0.1,
        "With DATASET: tolerance within which protostructures are read off crystals, Å",
        gt=0,
        group="more",
    )
    width: int = setting(64, "Channels of each network of the ensemble", ge=8, group="model")
    n_members: int = setting(
        4, "Networks in the ensemble, which differ in their initial weights", ge=2, le=16, group="model"
    )
    dropout: float = setting(0.1, "Dropout probability before the last layer", ge=0, lt=1, group="model")
    max_steps: int | None = again(TrainingSettings, "max_steps", 1000)
    learning_rate: float = again(TrainingSettings, "learning_rate", 2e-3)
    weight_decay: float = again(TrainingSettings, "weight_decay", 0.01)
    ema_decay: float = again(TrainingSettings, "ema_decay", 0.99)
    validate_every: int = again(TrainingSettings, "validate_every", 100)
    seed: int = seed_setting(
        "Seed of the initial weights, data order and dropout, and of the split where the data set has none"
    )
    resume: bool = setting(
        True, "Continue from the last checkpoint of an interrupted run", role="speed", group="output"
    )

    @model_validator(mode="after")
    def _take_one_source(self) -> "RankSettings":
        if self.dataset is not None and self.encoded is not None:
            raise ValueError(
                f"both `dataset` ({self.dataset}) and `encoded` ({self.encoded}), expected one of them"
            )
        return self
