"""Settings of the verb that writes crystals for the evaluators of others."""

from pathlib import Path
from typing import ClassVar

from pydantic import model_validator

from repdiff.settings.base import Settings, seed_setting, setting


class ExportSettings(Settings):
    """Settings of `repdiff export`."""

    verb: ClassVar[str] = "export"
    crystals: str | None = setting(
        None, "Crystals: a run, a path, a data set or NAME:SPLIT; default: the newest", positional=True
    )
    lemat: bool = setting(False, "Write 2,500 CIFs for LeMat-GenBench")
    mattergen: bool = setting(False, "Write an extended XYZ file for MatterGen's evaluator")
    seed: int = seed_setting("Seed of the choice where there are more than 2,500")
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )

    @model_validator(mode="after")
    def _needs_a_reader(self) -> "ExportSettings":
        if not (self.lemat or self.mattergen):
            raise ValueError("nothing to write for: give `lemat`, `mattergen` or both")
        return self
