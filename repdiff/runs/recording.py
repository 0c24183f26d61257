"""A run's folder while its verb works in it, and its manifest, kept true from the start to the end."""

import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from repdiff.hardware import forget_peak_memory, hardware, peak_memory_gib
from repdiff.runs.atomic_files import CONFIG, MANIFEST, PASSING, RESERVE, replacing, write_json
from repdiff.runs.fresh import CONFIG_BEGINS
from repdiff.runs.manifest import Manifest, Status, now
from repdiff.settings.base import Settings
from repdiff.settings.paths import readable

State = Literal["new", "resumed", "extended", "finished"]
RESERVED_BYTES = 65536


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run's folder while its verb works in it.

    `state` is "new" for an empty folder, "resumed" where an earlier session with the same settings left files
    (the verb looks at them itself), "extended" where something is added to a finished run, which stays what it
    is until that is done, and "finished" where there is nothing left to do.

    Attributes:
        path: The folder.
        state: See above.
        changed: Names of the settings that are not what they were in the session before.
        summary: What the verb puts in ends up in the manifest; that of a finished run is there.
        added: What the verb computed in this session, by names of its own, for the manifest.
    """

    path: Path
    state: State
    changed: frozenset[str] = frozenset()
    summary: dict[str, Any] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)


def _write_config(path: Path, settings: Settings) -> None:
    import yaml

    text = yaml.safe_dump(
        {settings.verb: settings.model_dump(mode="json")}, sort_keys=False, allow_unicode=True
    )
    with replacing(path / CONFIG) as partial:
        partial.write_text(
            f"{CONFIG_BEGINS}{settings.verb} --config {readable(str(path))}/config.yaml\n{text}",
            encoding="utf-8",
        )


def forget_passing(path: Path) -> None:
    """Remove what a run needs only until it is finished."""
    for name in PASSING:
        shutil.rmtree(path / name, ignore_errors=True)


@contextmanager
def recorded(run: Run, manifest: Manifest, settings: Settings) -> Generator[None, None, None]:
    """Keep the manifest of a run true from its start to its end, whichever end it takes.

    The manifest is the first file of a run, so that a folder that holds anything is known for one. That of a run that
    is extended stays as it was until the end is reached. What is needed only until then is removed afterwards.
    """
    file, before, start = run.path / MANIFEST, manifest.seconds, time.monotonic()

    def record(status: Status, reason: str | None) -> None:
        seconds = time.monotonic() - start
        manifest.status, manifest.reason, manifest.summary = status, reason, run.summary
        manifest.seconds = round(before + seconds, 2)
        manifest.sessions[-1].seconds, manifest.sessions[-1].added = round(seconds, 2), run.added
        manifest.peak_memory_gib = peak_memory_gib()
        manifest.hardware = hardware()
        manifest.finished = now() if status == "finished" else None
        write_json(file, manifest.model_dump(mode="json"))

    forget_peak_memory()
    extends, finished = run.state == "extended", False
    try:
        if not extends:
            record("running", None)
            _write_config(run.path, settings)
        with _reserve(run.path):
            yield
        if extends:
            _write_config(run.path, settings)
        record("finished", None)
        finished = True
    except BaseException as error:
        if not extends and not finished:
            with suppress(OSError):  # a full disk must not hide the error that is under way
                record("interrupted", f"{type(error).__name__}: {error}".rstrip(": "))
        if isinstance(error, KeyboardInterrupt):
            kept = "stays as it was; give the same command again to add to it"
            if not extends:
                kept = "keeps what was done; give the same command again to go on"
            error.add_note(f"{run.path} {kept}")
        raise
    forget_passing(run.path)


@contextmanager
def _reserve(path: Path) -> Generator[None, None, None]:
    """Hold some room on the disk during the block, so that its end can be recorded though the disk be full."""
    file = path / RESERVE
    with suppress(OSError):
        file.write_bytes(os.urandom(RESERVED_BYTES))  # which no disk packs
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
