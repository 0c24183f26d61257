"""The workspace: one folder per run, with a manifest, found again, resumed and never overwritten unasked.

A run lives in `<root>/<verb>/<name>` beside `manifest.json` (what was done, with what, where, how long) and
`config.yaml` (the settings, to be run again).
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from repdiff.errors import UserError, did_you_mean
from repdiff.hardware import forget_peak_memory, hardware, peak_memory_gib
from repdiff.runs.atomic_files import replacing, sha256, write_json
from repdiff.runs.manifest import Input, Manifest, Status, differences, now, read_manifest
from repdiff.settings.base import DEFAULT_ROOT, Settings

BEFORE = {
    "encode": "`repdiff encode prototypes`",
    "train": "`repdiff train`",
    "finetune": "`repdiff finetune --property NAME`",
    "generate": "`repdiff generate`",
    "latents": "`repdiff latents reconstruct CRYSTALS`",
    "reconstruct": "`repdiff reconstruct`",
    "relax": "`repdiff relax`",
    "hull": "`repdiff hull build DATASET`",
    "evaluate": "`repdiff evaluate`",
    "compare": "`repdiff compare CONFIG`",
}  # what makes the output of each verb, for messages
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run's folder while its verb works in it.

    `state` is "new" for an empty folder, "resumed" where an earlier session with the same settings left files
    (the verb looks at them itself), "finished" where there is nothing left to do. What the verb puts into
    `summary` ends up in the manifest.
    """

    path: Path
    state: Literal["new", "resumed", "finished"]
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where runs are kept. `name` and `overwrite` are the user's wishes for the run to be made."""

    root: Path = DEFAULT_ROOT
    name: str | None = None
    overwrite: bool = False

    @property
    def data_dir(self) -> Path:
        """Where `repdiff download` puts benchmark files."""
        return self.root / "data"

    def runs(self, verb: str) -> dict[Path, Manifest]:
        """Return the runs of a verb, oldest first; one with a damaged manifest is reported and left out."""
        found: dict[Path, Manifest] = {}
        for file in (self.root / verb).glob("[!.]*/manifest.json"):
            try:
                found[file.parent] = read_manifest(file.parent)
            except UserError as error:
                log.warning("left out: %s", error)
        return dict(sorted(found.items(), key=lambda item: (item[1].finished or item[1].created, item[0])))

    def newest(self, verb: str, *, summary: Mapping[str, Any] | None = None) -> Path:
        """Return the newest finished run of a verb, and say on the log which it is.

        Args:
            verb: What made it.
            summary: Entries that its summary must have, such as its backend.

        Raises:
            UserError: If there is none; the message names the command that makes one.
        """
        wanted = dict(summary or {})
        runs = {
            path: manifest
            for path, manifest in self.runs(verb).items()
            if wanted.items() <= manifest.summary.items()
        }
        finished = [path for path, manifest in runs.items() if manifest.status == "finished"]
        if finished:
            log.info("using %s, the newest output of `repdiff %s`", finished[-1], verb)
            return finished[-1]
        if runs:
            raise UserError(
                f"{list(runs)[-1]} is not finished, and {self.root} has no other output of `repdiff {verb}`: "
                "give its command again to go on, or name the folder explicitly"
            )
        of = "".join(f" with {name} {value}" for name, value in wanted.items())
        raise UserError(f"no output of `repdiff {verb}`{of} in {self.root}: run {BEFORE[verb]} first")

    def find(self, verb: str, given: Path | None) -> Path:
        """Return the input a user means: a path, the name of a run of `verb`, or (None) its newest run.

        Raises:
            UserError: If it does not exist.
        """
        if given is None:
            return self.newest(verb)
        for path in (given, self.root / verb / given):
            if path.exists():
                if (path / "manifest.json").exists() and (status := read_manifest(path).status) != "finished":
                    log.warning("using %s although it is %s", path, status)
                return path
        names = [path.name for path in self.runs(verb)]
        known = f"; runs of `repdiff {verb}` in {self.root}: {', '.join(names)}" if names else ""
        raise UserError(f"{given}: no such path{known}.{did_you_mean(str(given), names)}")

    @contextmanager
    def run(
        self,
        settings: Settings,
        default_name: str,
        *,
        inputs: Mapping[str, Path | Input] | None = None,
        resume: bool = True,
    ) -> Generator[Run, None, None]:
        """Open the folder of a run, and keep its manifest while the verb works.

        Leaving the block normally marks the run finished; leaving it by an exception marks it interrupted and
        keeps what is there. Of several processes of one job (variable RANK) only the first writes.

        Args:
            settings: The resolved settings.
            default_name: Name of the folder unless the user chose one.
            inputs: What the run reads, by name; paths are hashed here.
            resume: False to throw away what an interrupted session left.

        Raises:
            UserError: If the folder holds a run with other settings or inputs (and `overwrite` is false), is
                in use, or is not a run of this tool.
        """
        name = plain_name(self.name or default_name)
        path = self.root / settings.verb / name
        hashed = {key: _hashed(found) for key, found in (inputs or {}).items()}
        if os.environ.get("RANK", "0") != "0":
            yield Run(path=path, state=self._state(path, settings, hashed, resume=resume)[0])
            return
        with _locked(path):
            state, manifest = self._state(path, settings, hashed, resume=resume)
            if state == "new" and path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
            run = Run(
                path=path, state=state, summary=manifest.summary if manifest and state == "finished" else {}
            )
            if state == "finished":
                log.info("%s is finished already, with the same settings: nothing to do", path)
                yield run
                return
            if state == "resumed":
                log.info("resuming %s", path)
            fresh = Manifest(verb=settings.verb, name=name)
            manifest = (
                fresh
                if manifest is None
                else fresh.model_copy(
                    update={
                        "created": manifest.created,
                        "seconds": manifest.seconds,
                        "n_sessions": manifest.n_sessions,
                    }
                )
            )
            manifest.config, manifest.inputs = settings.model_dump(mode="json"), hashed
            manifest.seed = manifest.config.get("seed")
            manifest.n_sessions += 1
            _write_config(path, settings)
            with _recorded(run, manifest):
                yield run

    def _state(
        self, path: Path, settings: Settings, inputs: Mapping[str, Input], *, resume: bool
    ) -> tuple[Literal["new", "resumed", "finished"], Manifest | None]:
        if not path.exists() or not any(path.iterdir()):
            return "new", None
        if not (path / "manifest.json").exists():
            raise UserError(
                f"{path} holds files but no run of repdiff: move them away or choose another `name`"
            )
        if self.overwrite:
            return "new", None
        old = read_manifest(path)
        differ = differences(old, settings, inputs)
        if changed := [text for role, text in differ if role != "extent"]:
            raise UserError(
                f"{path} holds a run with other settings ({'; '.join(changed)}): "
                "choose another `name`, or give `overwrite` to replace it"
            )
        if old.status == "finished" and not differ:
            return "finished", old
        return ("resumed", old) if resume else ("new", None)


def plain_name(name: str) -> str:
    """Turn a label such as "perov_5-ead:paper" into a folder's name: letters, digits and `_.+-`.

    Raises:
        UserError: If nothing is left.
    """
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.")
    if not plain:
        raise UserError(f"`name` is {name!r}, expected letters, digits and _ . + -")
    return plain


def _hashed(found: Path | Input) -> Input:
    return found if isinstance(found, Input) else Input(path=str(found.resolve()), sha256=sha256(found))


def _write_config(path: Path, settings: Settings) -> None:
    import yaml

    text = yaml.safe_dump(
        {settings.verb: settings.model_dump(mode="json")}, sort_keys=False, allow_unicode=True
    )
    with replacing(path / "config.yaml") as partial:
        partial.write_text(
            f"# To repeat this run: repdiff {settings.verb} --config {path / 'config.yaml'}\n{text}",
            encoding="utf-8",
        )


@contextmanager
def _recorded(run: Run, manifest: Manifest) -> Generator[None, None, None]:
    """Keep the manifest of a run true from its start to its end, whichever end it takes."""
    file, before, start = run.path / "manifest.json", manifest.seconds, time.monotonic()

    def record(status: Status, reason: str | None) -> None:
        manifest.status, manifest.reason, manifest.summary = status, reason, run.summary
        manifest.seconds = round(before + time.monotonic() - start, 2)
        manifest.peak_memory_gib = peak_memory_gib()
        manifest.hardware = hardware()
        manifest.finished = now() if status == "finished" else None
        write_json(file, manifest.model_dump(mode="json"))

    forget_peak_memory()
    record("running", None)
    try:
        yield
    except BaseException as error:
        with suppress(OSError):  # a full disk must not hide the error that is under way
            record("interrupted", f"{type(error).__name__}: {error}".rstrip(": "))
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"{run.path} keeps what was done; give the same command again to go on")
        raise
    record("finished", None)


@contextmanager
def _locked(path: Path) -> Generator[None, None, None]:
    """Hold the folder against other processes; the system lets go of it if this one dies."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{path} is in use by another process: wait for it, or choose another `name`"
        ) from error
    try:
        yield
    finally:
        lock.release()
