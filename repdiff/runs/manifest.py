"""The manifest of a run: what was done, with what, on which machine, how long; and how two runs differ."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticUndefined, to_jsonable_python

from repdiff.errors import UserError
from repdiff.hardware import hardware
from repdiff.runs.atomic_files import read_json
from repdiff.runs.provenance import versions
from repdiff.settings.backends import DEFAULT_BACKEND
from repdiff.settings.base import Settings
from repdiff.settings.compose import OLD_KEY, modernised
from repdiff.settings.leaves import leaves, value_at

Status = Literal["running", "interrupted", "finished"]


def now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Input(BaseModel):
    """A file or folder that a run read."""

    path: str
    sha256: str


class Manifest(BaseModel):
    """What `manifest.json` holds. Times are ISO 8601 in UTC; `seconds` adds up over resumed sessions."""

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
    peak_memory_gib: float | None = None
    command: list[str] = Field(default_factory=lambda: list(sys.argv))
    versions: dict[str, str] = Field(default_factory=versions)
    hardware: dict[str, str | int | float] = Field(default_factory=hardware)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a run's folder.

    Raises:
        UserError: If it is absent or damaged.
    """
    file = path / "manifest.json"
    try:
        return Manifest.model_validate(read_json(file))
    except ValidationError as error:
        fields = ", ".join(str(item["loc"][0]) if item["loc"] else "all" for item in error.errors())
        raise UserError(f"{file}: damaged ({fields}), expected the manifest of a run") from error


def differences(
    old: Manifest, settings: Settings, inputs: Mapping[str, Input]
) -> list[tuple[Literal["result", "extent"], str]]:
    """List what sets a run apart from an earlier one of its folder; what lets that go on is an "extent"."""
    found: list[tuple[Literal["result", "extent"], str]] = []
    now, config = settings.model_dump(mode="json"), old.config
    if OLD_KEY in config:
        backend = (
            config.get("backend") or old.summary.get("backend") or settings.only_backend or DEFAULT_BACKEND
        )
        config = modernised(config, type(settings), str(backend))
    for leaf in leaves(type(settings)):
        role = leaf.extra.get("role", "result")
        after = _dig(now, leaf.path, None)
        before = _dig(config, leaf.path, _plain(leaf.default))  # settings that were not there yet
        if before == after or role in ("speed", "input"):
            continue
        more = role == "budget" or (
            role == "extent" and (after is None or (before is not None and after > before))
        )
        found.append(
            ("extent" if more else "result", f"{leaf.key} was {before}, now {value_at(settings, leaf)}")
        )
    for key in sorted({*old.inputs, *inputs}):
        before, after = old.inputs.get(key), inputs.get(key)
        if before is None or after is None or before.sha256 != after.sha256:
            found.append(("result", f"{key} was {before and before.path}, now {after and after.path}"))
    return found


def _plain(default: object) -> object:
    return None if default is PydanticUndefined else to_jsonable_python(default)


def _dig(config: Mapping[str, Any], path: tuple[str, ...], default: object) -> Any:  # noqa: ANN401 (JSON holds anything)
    value: Any = config
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value
