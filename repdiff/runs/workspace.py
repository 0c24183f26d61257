"""The workspace: one folder per run, with a manifest, found again, resumed and never overwritten unasked.

A run lives in `<root>/<verb>/<name>` beside `manifest.json` (what was done, with what, where, how long) and
`config.yaml` (the settings, to be run again).
"""

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repdiff.errors import DamagedError, UserError, did_you_mean
from repdiff.runs.atomic_files import MANIFEST, sha256
from repdiff.runs.differences import Difference, differences, with_kept
from repdiff.runs.fresh import fresh_folder, holds_beginning, holds_run, holds_work, put_back
from repdiff.runs.leftovers import remove_leftovers
from repdiff.runs.locks import current_manifest, locked
from repdiff.runs.manifest import Input, Manifest, Session, read_manifest
from repdiff.runs.recording import Run, State, forget_passing, recorded
from repdiff.settings.base import DEFAULT_ROOT, Settings

BEFORE = {
    "encode": "`repdiff encode prototypes`",
    "train": "`repdiff train`",
    "finetune": "`repdiff finetune --property NAME`",
    "rank": "`repdiff rank`",
    "head": "`repdiff head fit --property NAME`",
    "generate": "`repdiff generate`",
    "vary": "`repdiff vary CRYSTALS`",
    "optimize": "`repdiff optimize --property NAME --goal VALUE --start CRYSTALS`",
    "latents": "`repdiff latents reconstruct CRYSTALS`",
    "reconstruct": "`repdiff reconstruct`",
    "similar": "`repdiff similar CRYSTALS --among DATASET`",
    "relax": "`repdiff relax`",
    "hull": "`repdiff hull build DATASET`",
    "phases": "`repdiff phases SYSTEM`",
    "evaluate": "`repdiff evaluate`",
    "export": "`repdiff export CRYSTALS --lemat`",
    "compare": "`repdiff compare CONFIG`",
}  # what makes the output of each verb, for messages
S = TypeVar("S", bound=Settings)
N_NAMED = 3  # differences
MAX_NAME = 200  # bytes of a folder's name; file systems take 255, and files beside it are named after it
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where runs are kept. `name` and `overwrite` are the user's wishes for the run to be made."""

    root: Path = DEFAULT_ROOT
    name: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse a name that file systems would not take."""
        if self.name is not None and (size := len(os.fsencode(self.name))) > MAX_NAME:
            raise UserError(f"`name` has {size} bytes, expected at most {MAX_NAME}: choose a shorter one")
        if self.name is not None and ".." in re.split(r"[/\\]", self.name):
            raise UserError(
                f"`name` is {self.name!r}, expected the name of a folder: choose the place by `workspace`"
            )

    @property
    def data_dir(self) -> Path:
        """Where `repdiff download` puts benchmark files."""
        return self.root / "data"

    @property
    def descriptors_dir(self) -> Path:
        """Where descriptors of data sets that were searched are kept."""
        return self.root / "descriptors"

    def runs(self, verb: str) -> dict[Path, Manifest]:
        """Return the runs of a verb, oldest first; one with a damaged manifest is reported and left out."""
        found: dict[Path, Manifest] = {}
        for file in (self.root / verb).glob("[!.]*/manifest.json"):
            try:
                found[file.parent] = current_manifest(file.parent)
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

    def find(self, verb: str, given: Path | None, *, others: tuple[str, Sequence[str]] = ("", ())) -> Path:
        """Return the input a user means: a path, the name of a run of `verb`, or (None) its newest run.

        Args:
            verb: What makes such inputs.
            given: What the user said.
            others: What else could have been named, and the names, for the message.

        Raises:
            UserError: If it does not exist.
        """
        if given is None:
            return self.newest(verb)
        for path in (given, self.root / verb / given):
            if path.exists():
                if (path / MANIFEST).exists() and (status := current_manifest(path).status) != "finished":
                    log.warning("using %s although it is %s", path, status)
                return path
        names = [path.name for path in self.runs(verb)]
        known = f"; runs of `repdiff {verb}` in {self.root}: {', '.join(names)}" if names else ""
        known += f"; {others[0]}: {', '.join(others[1])}" if others[1] else ""
        raise UserError(f"{given}: no such path{known}.{did_you_mean(str(given), [*names, *others[1]])}")

    def with_kept(self, settings: S, default_name: str) -> S:
        """Complete settings by those of the run that is in the folder already, where they only add to it.

        Args:
            settings: Settings that the user gave.
            default_name: Name of the folder unless the user chose one.

        Raises:
            UserError: If the manifest of that run is damaged.
        """
        path = self.root / settings.verb / plain_name(self.name or default_name)
        if self.overwrite or not (path / MANIFEST).exists():
            return settings
        return with_kept(settings, read_manifest(path))

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
        with locked(path):
            put_back(path)
            state, old, differ = self._state(path, settings, hashed, resume=resume)
            remove_leftovers(path, alone=True)
            run = Run(
                path=path,
                state=state,
                changed=frozenset(one.key for one in differ),
                summary=dict(old.summary) if old and state in ("extended", "finished") else {},
            )
            if state == "finished":
                log.info("%s is finished already, with the same settings: nothing to do", path)
                forget_passing(path)
                yield run
                return
            if state == "resumed":
                log.info("resuming %s", path)
            if state == "extended":
                log.info("adding to %s: %s", path, _listed(differ))
            manifest = Manifest(verb=settings.verb, name=name, inputs=hashed)
            manifest.config = settings.model_dump(mode="json")
            manifest.seed = manifest.config.get("seed")
            if old is not None:
                manifest.created, manifest.seconds = old.created, old.seconds
                manifest.n_sessions, manifest.sessions = old.n_sessions, old.sessions
            manifest.n_sessions += 1
            manifest.sessions = [*manifest.sessions, Session(changed=[one.text for one in differ])]
            folder = fresh_folder(path) if state == "new" else nullcontext()
            with folder, recorded(run, manifest, settings):
                yield run

    def _state(
        self, path: Path, settings: Settings, inputs: Mapping[str, Input], *, resume: bool
    ) -> tuple[State, Manifest | None, list[Difference]]:
        if not path.exists() or holds_beginning(path):
            return "new", None, []
        if not (path / MANIFEST).exists() or (self.overwrite and not holds_run(path)):
            raise UserError(
                f"{path} holds files but no run of repdiff: move them away or choose another `name`"
            )
        if self.overwrite:
            return "new", None, []
        try:
            old = read_manifest(path)
        except DamagedError as error:
            way = "replace it with `overwrite`" if holds_run(path) else "move the folder away"
            raise DamagedError(error.damage, f"{way}, or choose another `name`") from error
        if old.status != "finished" and not holds_work(path):
            return "new", None, []
        differ = differences(old, settings, inputs)
        if changed := [one for one in differ if one.effect == "result"]:
            raise UserError(
                f"{path} was made with other settings: {_listed(changed)}: choose another `name`, "
                "or replace it with `overwrite`"
            )
        if old.status == "finished" and not differ:
            return "finished", old, []
        adds = {"adds"} if resume else {"adds", "extent"}
        if old.status == "finished" and all(one.effect in adds for one in differ):
            return "extended", old, differ
        return ("resumed", old, differ) if resume else ("new", None, [])


def plain_name(name: str) -> str:
    """Turn a label such as "perov_5-ead:paper" into a folder's name: letters of any script, digits and `_.+-`.

    A name that file systems would not take is cut. Such a name, and one that loses signs of other scripts, such as
    emoji, ends in a hash of the whole, so that names which differ in these alone stay apart.

    Raises:
        UserError: If nothing is left.

    Example:
        >>> plain_name("perov_5-ead:paper")
        'perov_5-ead-paper'
    """
    name = unicodedata.normalize("NFC", name)
    plain = re.sub(r"[^\w.+-]+", "-", name).strip("-.")
    if not plain:
        raise UserError(f"`name` is {name!r}, expected letters, digits and _ . + -")
    if len(plain.encode()) <= MAX_NAME and not re.search(r"[^\w\x00-\x7f]", name):
        return plain
    mark = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{plain.encode()[: MAX_NAME - 9].decode(errors='ignore')}-{mark}"


def _listed(differ: Sequence[Difference]) -> str:
    more = [f"{len(differ) - N_NAMED} more"] if len(differ) > N_NAMED else []
    return "; ".join([*(one.text for one in differ[:N_NAMED]), *more])


def _hashed(found: Path | Input) -> Input:
    return found if isinstance(found, Input) else Input(path=str(found.resolve()), sha256=sha256(found))
