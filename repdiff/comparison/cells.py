"""Running cells: each is a process of its own, so that one that fails leaves the others alone."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from repdiff.comparison.plan import Trial
from repdiff.execution.progress import progress_bar
from repdiff.hardware import n_cores
from repdiff.runs.atomic_files import write_json
from repdiff.runs.workspace import Workspace

log = logging.getLogger(__name__)
NOT_BEGUN = "stopped before it began"
SECONDS_TO_SAVE = 30.0


@dataclass(kw_only=True)
class TrialRunner:
    """Runs cells, several at a time, and keeps what each says in a log of its own.

    A step that is finished already costs nothing, because every verb recognises its own finished runs.

    Attributes:
        folder: Folder for settings and logs of the trials.
        workspace: Workspace that holds the runs.
        at_once: Number of trials that run at the same time, each on its share of the cores.
    """

    folder: Path
    workspace: Workspace
    at_once: int
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, cells: Sequence[Trial]) -> dict[str, str]:
        """Run cells to their ends, and return the reason of each that failed, by name.

        Raises:
            KeyboardInterrupt: If the user stops; what runs is asked to save its state, and waited for.
        """
        failed: dict[str, str] = {}
        n_steps = sum(len(cell.steps) for cell in cells)
        with (
            progress_bar(total=n_steps, desc="comparing", unit="step", disable=not cells) as bar,
            ThreadPoolExecutor(self.at_once) as pool,
        ):
            futures = {pool.submit(self._run_cell, cell, bar): cell for cell in cells}
            try:
                for future in as_completed(futures):
                    if (reason := future.result()) is not None:
                        failed[futures[future].name] = reason
                        log.warning("%s failed: %s", futures[future].name, reason)
            except BaseException:
                self._stop()
                raise
        return failed

    def _run_cell(self, cell: Trial, bar: tqdm) -> str | None:
        """Run a cell to its end, or up to the first of its steps that fails."""
        path = self.folder / "logs" / f"{cell.name}.log"
        with self._lock:
            if self._stopped:
                return NOT_BEGUN
            process = self._processes[cell.name] = self._start(cell, path)
        ends = [str(step.folder(self.workspace)) for step in cell.steps]
        n_done = 0
        self._show(cell, n_done)
        assert process.stdout is not None
        with path.open("ab") as stream, process.stdout as said:
            for line in said:
                stream.write(line)
                if n_done < len(ends) and line.decode(errors="replace").strip() == ends[n_done]:
                    n_done += 1
                    self._show(cell, n_done)
                    bar.update()
        code = process.wait()
        assert process.stdin is not None
        process.stdin.close()
        with self._lock:
            del self._processes[cell.name]
        bar.update(len(ends) - n_done)
        if code:
            verb = cell.steps[min(n_done, len(ends) - 1)].verb
            return f"{verb}: {_last_line(path) or f'exit status {code}'} ({path})"
        return None

    def _start(self, cell: Trial, path: Path) -> subprocess.Popen[bytes]:
        config = cell.write(self.folder / "cells")
        common = ["--config", str(config), "--workspace", str(self.workspace.root)]
        common += ["--overwrite"] if self.workspace.overwrite else []
        commands = config.with_suffix(".json")
        write_json(commands, [[step.verb, *common, "--name", step.name] for step in cell.steps])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", "repdiff.cli.steps", str(commands)],
                stdin=subprocess.PIPE,  # closed when this process is killed, which ends them
                stdout=subprocess.PIPE,
                stderr=stream,
                env=os.environ | {"OMP_NUM_THREADS": str(max(1, n_cores() // self.at_once))},
                start_new_session=True,  # Ctrl-C reaches this process alone, which asks them once
            )

    def _show(self, cell: Trial, n_done: int) -> None:
        """Say on the log which step of a cell begins."""
        if n_done < len(cell.steps):
            log.info("%s: %s", cell.name, cell.steps[n_done].verb)

    def _stop(self) -> None:
        """Ask what runs to save its state and end; again if it does not, because it may not have been listening."""
        with self._lock:
            self._stopped = True
        while self._processes:
            with self._lock:
                for process in self._processes.values():
                    process.terminate()
            deadline = time.monotonic() + SECONDS_TO_SAVE
            while self._processes and time.monotonic() < deadline:
                time.sleep(0.1)


def _last_line(path: Path) -> str:
    """Return the last line of a log that says anything."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
