"""Settings of the command that learns properties from representations."""

from pathlib import Path
from typing import ClassVar, Literal

from repdiff.settings.base import Settings, again, seed_setting, setting
from repdiff.settings.memory import MemorySettings
from repdiff.settings.training import TrainingSettings


class HeadSettings(MemorySettings, Settings, TrainingSettings):
    """Settings of `repdiff head fit`."""

    verb: ClassVar[str] = "head"
    action: Literal["fit"] = setting(
        "fit", "Action; fit: learn a numeric label of crystals from their representations", positional=True
    )
    dataset: str | None = setting(
        None,
        "Labelled crystals: a run of encode, or a data set, named as for encode, which is encoded here; default: the "
        "newest run of encode",
        positional=True,
    )
    property: str | None = setting(None, "Numeric label to learn (required)")
    descriptor: str = setting(
        "ead",
        "With a data set: descriptor, NAME or NAME:PRESET; that of the model that is to be steered",
        group="more",
    )
    data_dir: Path | None = setting(
        None,
        "With a data set: folder with the benchmark files; default: `data` in the workspace",
        role="input",
        group="more",
    )
    width: int = setting(128, "Channels of each network of the ensemble", ge=8, group="model")
    n_members: int = setting(
        4, "Networks in the ensemble, which differ in their initial weights", ge=2, le=16, group="model"
    )
    dropout: float = setting(0.1, "Dropout probability before the last layer", ge=0, lt=1, group="model")
    max_steps: int | None = again(TrainingSettings, "max_steps", 3000)
    learning_rate: float = again(TrainingSettings, "learning_rate", 1e-3)
    weight_decay: float = again(TrainingSettings, "weight_decay", 0.02)
    warmup_steps: int = again(TrainingSettings, "warmup_steps", 50)
    ema_decay: float = again(TrainingSettings, "ema_decay", 0.99)
    validate_every: int = again(TrainingSettings, "validate_every", 100)
    seed: int = seed_setting(
        "Seed of the initial weights, data order and dropout, and of the split where the data set has none"
    )
    resume: bool = setting(
        True, "Continue from the last checkpoint of an interrupted run", role="speed", group="output"
    )
