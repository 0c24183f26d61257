"""Commands of scripts/faults.py: each a process with a workspace of its own, compared with an undisturbed one."""

import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_commands import MARK
from fault_verbs import FIRST, VERBS, needed, results, write_inputs
from tqdm import tqdm

from repdiff.runs.atomic_files import RESERVE
from repdiff.runs.leftovers import is_partial

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS_TO_END = 5.0  # for processes whose parent was killed
LONGEST = 300.0  # seconds of one command


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a verb comes to when it is left alone."""

    results: dict[str, str]
    seconds: float
    n_bytes: int


@dataclass(kw_only=True)
class Trial:
    """One disturbance: what was done, and what was wrong afterwards."""

    kind: str
    verb: str
    what: str = ""
    outcome: str = "recovered"
    wrong: list[str] = field(default_factory=list)


class Session:
    """Runs commands in a folder of inputs, each with a workspace of its own.

    Args:
        folder: Empty folder; holds the inputs.
        seed: Seed of all that is drawn.
        fork: Whether commands are forked from a process that has imported everything.
    """

    def __init__(self, folder: Path, seed: int, *, fork: bool = False) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.server = Server() if fork else None
        self.references: dict[str, Reference] = {}
        self.commands: list[Command] = []

    def prepare(self, verbs: Sequence[str]) -> None:
        """Write the data set, and make the runs that some verbs read."""
        write_inputs(self.folder)
        for verb in tqdm(list(needed(verbs)), desc="inputs", file=sys.stderr):
            self.start(verb, self.folder / "ws", name=FIRST[verb]).finish_well()

    def start(
        self, verb: str, workspace: Path, *, name: str = "run", max_file: int | None = None
    ) -> "Command":
        """Start the command of a verb."""
        words = [*shlex.split(VERBS[verb].words), "--workspace", str(workspace), "--name", name]
        self.commands = [command for command in self.commands if command.process.poll() is None]
        self.commands.append(Command(words, self.folder, server=self.server, max_file=max_file))
        return self.commands[-1]

    def end(self) -> None:
        """End what is still running."""
        for command in self.commands:
            command.end_all()
        if self.server is not None:
            self.server.end()

    def reference(self, verb: str) -> Reference:
        """Return what a verb comes to when it is left alone."""
        if verb not in self.references:
            with self.workspace() as workspace:
                started = time.monotonic()
                self.start(verb, workspace).finish_well()
                seconds = time.monotonic() - started
                n_bytes = sum(file.stat().st_size for file in workspace.rglob("*") if file.is_file())
                self.references[verb] = Reference(
                    results=results(workspace), seconds=seconds, n_bytes=n_bytes
                )
        return self.references[verb]

    @contextmanager
    def workspace(self) -> Generator[Path, None, None]:
        """Lend an empty workspace, always at the same path."""
        path = self.folder / "trial"
        shutil.rmtree(path, ignore_errors=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def again(self, trial: Trial, workspace: Path, *, may_refuse: bool = False) -> None:
        """Give the same command again, and compare."""
        command = self.start(trial.verb, workspace)
        code, said = command.finish()
        trial.wrong += command.complaints()
        if code == 2 and may_refuse:
            trial.outcome = "told"
            return
        if code != 0:
            trial.wrong.append(f"the second call ended with {code}: {said[-300:]}")
            return
        if "computing what it held again" in said or "going on from" in said:
            trial.outcome = "computed again"
        expected, found = self.reference(trial.verb).results, results(workspace)
        if differ := sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name)):
            if "is finished already" in said and may_refuse:
                trial.outcome = "finished, not read again"
            elif trial.what.startswith("bit") and may_refuse:
                trial.outcome = "undetected"
            else:
                trial.wrong.append(f"other results: {', '.join(differ[:5])}")
        if left := [file.name for file in workspace.rglob(".*") if is_partial(file) or file.name == RESERVE]:
            trial.wrong.append(f"left behind: {', '.join(left[:5])}")


@dataclass
class Forked:
    """A process that the server of commands has forked, in the manner of `subprocess.Popen`."""

    pid: int
    server: "Server"
    code: int | None = None

    def wait(self, timeout: float = LONGEST) -> int:
        """Wait for the end, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: If it is still running after so many seconds.
        """
        if self.code is None:
            self.code = self.server.ask({"wait": self.pid, "seconds": timeout})
        if self.code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.code

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None


class Server:
    """The process of scripts/fault_commands.py."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fault_commands.py"))],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def start(self, words: list[str], folder: Path, said: Path, mark: str, max_file: int | None) -> Forked:
        """Fork a process that runs a command."""
        request = {
            "start": words,
            "folder": str(folder),
            "said": str(said),
            "mark": mark,
            "max_file": max_file,
        }
        return Forked(self.ask(request), self)

    def ask(self, request: dict[str, object]) -> Any:  # noqa: ANN401 (an exit code, or a number of a process)
        """Ask, and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Command:
    """A process, and all that descend from it, which a mark in their environment tells."""

    def __init__(
        self, words: list[str], folder: Path, *, server: "Server | None" = None, max_file: int | None = None
    ) -> None:
        self.words, self.mark = words, uuid.uuid4().hex
        self.said = folder / f".said-{self.mark}"
        self.process: subprocess.Popen[bytes] | Forked
        if server is not None:
            self.process = server.start(words, folder, self.said, self.mark, max_file)
            return
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "repdiff", *words],
                cwd=folder,
                env=os.environ | {MARK: self.mark, "PYTHONPATH": str(REPOSITORY)},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if max_file is None else lambda: _limit_files(max_file),
            )

    def finish(self) -> tuple[int, str]:
        """Wait for the end; return the exit code, and what was said."""
        try:
            code = self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            code = -1
        return code, self.text()

    def finish_well(self) -> None:
        """Wait for the end, which must be a good one."""
        code, said = self.finish()
        if code:
            raise SystemExit(f"{shlex.join(self.words)} ended with {code}: {said[-2000:]}")

    def text(self) -> str:
        """Return what was said so far."""
        return self.said.read_text(encoding="utf-8", errors="replace") if self.said.exists() else ""

    def complaints(self) -> list[str]:
        """Name what must never be said."""
        lines = self.text().splitlines()
        return (
            [f"traceback: {lines[-1][:300]}"] if any(line.startswith("Traceback") for line in lines) else []
        )

    def orphans(self) -> list[int]:
        """Return the processes that are still there some seconds after the end."""
        deadline = time.monotonic() + SECONDS_TO_END
        while (left := self._living()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def end_all(self) -> None:
        """Kill what is left of it."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        for number in self._living():
            os.kill(number, signal.SIGKILL)

    def _living(self) -> list[int]:
        mark, found = f"{MARK}={self.mark}".encode(), []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has ended, or is another user's
                continue
        return found


def _limit_files(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
