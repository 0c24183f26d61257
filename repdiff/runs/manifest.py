"""The manifest of a run: what was done, with what, on which machine, how long."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from repdiff.errors import DamagedError
from repdiff.hardware import hardware
from repdiff.runs.atomic_files import MANIFEST, read_json
from repdiff.runs.provenance import versions

Status = Literal["running", "interrupted", "finished"]


def now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Input(BaseModel):
    """A file or folder that a run read."""

    path: str
    sha256: str


class Session(BaseModel):
    """One time that a command worked in the folder of a run.

    Attributes:
        started: When, ISO 8601 in UTC.
        seconds: How long.
        command: The command line.
        versions: Versions of what computed.
        changed: Settings that were not what they had been in the session before, in words.
        added: What was computed beside what was there, by the names that the command gives it.
    """

    started: str = Field(default_factory=now)
    seconds: float = 0.0
    command: list[str] = Field(default_factory=lambda: list(sys.argv))
    versions: dict[str, str] = Field(default_factory=versions)
    changed: list[str] = Field(default_factory=list)
    added: list[str] = Field(default_factory=list)


class Manifest(BaseModel):
    """What `manifest.json` holds. Times are ISO 8601 in UTC; `seconds` adds up over the sessions."""

    format: int = 1
    verb: str
    name: str
    status: Status = "running"
    reason: str | None = None
    summary: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    inputs: dict[str, Input] = Field(default_factory=dict)
    created: str = Field(default_factory=now)
    finished: str | None = None
    seconds: float = 0.0
    n_sessions: int = 0
    sessions: list[Session] = Field(default_factory=list)
    peak_memory_gib: float | None = None
    command: list[str] = Field(default_factory=lambda: list(sys.argv))
    versions: dict[str, str] = Field(default_factory=versions)
    hardware: dict[str, str | int | float] = Field(default_factory=hardware)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a run's folder.

    Raises:
        UserError: If it is absent or, as DamagedError, damaged.
    """
    file = path / MANIFEST
    try:
        return Manifest.model_validate(read_json(file))
    except ValidationError as error:
        fields = ", ".join(str(item["loc"][0]) if item["loc"] else "all" for item in error.errors())
        raise DamagedError(f"{file}: damaged ({fields}), expected the manifest of a run") from error
